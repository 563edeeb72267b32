/* Pooling of 3x3 windows, stride 2, padding 0 or 1, forward; see pool2d_common.c.  Vectors hold LANES columns of a row
 * of y.  Their windows span the columns c .. c + 2 * LANES of x; the last 2 * LANES of them, two loads, are split into
 * even and odd ones, the middle and the right taps.  The left taps are the right ones one lane up, with x[c] in lane 0.
 * (With padding 1 the loads begin at multiples of 2 * LANES, which saves those that cross a cache line; and no load but
 * the last of a row reaches outside.)
 *
 * Rows go in rising order, so the last row of a window is the first of the next: it is kept, with its codes.  The other
 * two are reduced over their columns, then added in order: each row of x is read once, and no row is looked up. */

FC_INLINE int FC(pool_is_3x3)(const fc_pool2d *p) {
    return p->kernel_h == 3 && p->kernel_w == 3 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h <= 1 &&
           p->pad_w <= 1 && p->dilation_h == 1 && p->dilation_w == 1;
}

enum { FC(POOL_BLOCKS) = 64 }; /* vectors of a row of y at a time */

/* Blocks of columns of y. */
typedef struct {
    ptrdiff_t width;
    FC(pool_strip) columns; /* but for `inside` */
    struct {
        int inside;     /* both loads */
        vmask lanes[2]; /* of the two loads: those inside the row; and what the others read as */
        ivec fill[2];
    } edge[FC(POOL_BLOCKS)];
    vec best[FC(POOL_BLOCKS)]; /* the row of x kept for the next row of y */
    ivec code[FC(POOL_BLOCKS)];
} FC(pool_3x3_strip);

static void FC(pool_3x3_plan)(const FC(pool) *job, ptrdiff_t first, ptrdiff_t width, int max,
                              FC(pool_3x3_strip) *strip) {
    const ptrdiff_t W = job->p->W;
    strip->width = width;
    FC(pool_plan_strip)(job, first, width, &strip->columns);
    for (ptrdiff_t v = 0; v < width; v++) {
        const ptrdiff_t c = 2 * strip->columns.start[v] - job->p->pad_w + 1;
        strip->edge[v].inside = c + 2 * LANES <= W;
        for (int k = 0; k < 2; k++) {
            const ptrdiff_t at = c + k * LANES, within = W - at < 0 ? 0 : W - at < LANES ? W - at : LANES;
            strip->edge[v].lanes[k] = vec_mask_within(at, W);
            strip->edge[v].fill[k] = (ivec_iota() >= (ireal)within) & (ivec)vec_set1(max ? -(real)INFINITY : 0);
        }
    }
}

/* Block v of one row of LANES windows.  *code: among the taps of this row. */
FC_INLINE vec FC(pool_3x3_reduce)(const FC(pool) *job, const FC(pool_3x3_strip) *strip, const real *row, ptrdiff_t v,
                                  const int max, ivec *code) {
    const ptrdiff_t c = 2 * strip->columns.start[v] - job->p->pad_w;
    const real *x = row + c + 1;
    const real corner = c < 0 ? (max ? -(real)INFINITY : 0) : row[c];
    vec a, b, middle, right;
    if (strip->edge[v].inside) {
        a = vec_load(x);
        b = vec_load(x + LANES);
    } else { /* lanes outside load as 0, all bits of it */
        a = (vec)((ivec)vec_load_masked(x, strip->edge[v].lanes[0]) | strip->edge[v].fill[0]);
        b = (vec)((ivec)vec_load_masked(x + LANES, strip->edge[v].lanes[1]) | strip->edge[v].fill[1]);
    }
    vec_deinterleave(a, b, &middle, &right);
    vec best = vec_shift_up(right, vec_set1(corner));
    *code = strip->columns.code[v];
    FC(pool_add)(max, &best, code, middle, ivec_set1((ireal)job->code_col));
    FC(pool_add)(max, &best, code, right, ivec_set1((ireal)(2 * job->code_col)));
    return best;
}

/* Row i of y of one plane; x: tap row 0 of its windows.  Of the three rows of taps, the kept row is the first if
 * `above`, and `below` more follow. */
FC_INLINE void FC(pool_3x3_row)(const FC(pool) *shared, FC(pool_3x3_strip) *strip, const real *x, ptrdiff_t plane,
                                ptrdiff_t i, const int above, const int below, const int max, const int codes) {
    const fc_pool2d shape = *shared->p, *p = &shape; /* copies, which no store can change: they stay in registers */
    FC(pool) copy = *shared;
    copy.p = p;
    if (!codes) copy.winners = NULL, copy.indices = NULL;
    if (p->OW >= LANES) copy.y_end = PTRDIFF_MAX; /* no vector reaches past the row */
    const FC(pool) *job = &copy;
    const ptrdiff_t top = 2 * i - p->pad_h, row = (plane * p->OH + i) * p->OW;
    const real rows = (real)FC(pool_count)(top, 3, p->H, p->pad_h, job->count_include_pad);
    const int n = p->OW < LANES ? (int)p->OW : LANES;
    const ivec second = ivec_set1((ireal)job->code_row), third = ivec_set1((ireal)(2 * job->code_row));
    for (ptrdiff_t v = 0; v < strip->width; v++) {
        const ptrdiff_t j = strip->columns.start[v];
        if (job->ahead) {
            FC(pool_prefetch)(x + p->W + 2 * j, job->ahead);
            FC(pool_prefetch)(x + 2 * p->W + 2 * j, job->ahead);
        }
        vec best = {0}, next;
        ivec code = {0}, next_code = {0};
        if (above) best = strip->best[v];
        if (above && codes) code = strip->code[v];
        if (below > 0) {
            next = FC(pool_3x3_reduce)(job, strip, x + p->W, v, max, &next_code);
            if (above) FC(pool_add)(max, &best, &code, next, next_code + second);
            else best = next, code = next_code + second;
        }
        if (below > 1) {
            next = FC(pool_3x3_reduce)(job, strip, x + 2 * p->W, v, max, &next_code);
            FC(pool_add)(max, &best, &code, next, next_code + third);
            strip->best[v] = next;
            if (codes) strip->code[v] = next_code;
        }
        const vec counted = strip->columns.columns[v] * rows;
        if (!max) best = FC(pool_mean)(best, job->divisor != 0 ? vec_set1(job->divisor) : counted);
        FC(pool_store)(job, row + j, best, code, n, top * p->W + 2 * j - p->pad_w, 2);
    }
}

/* Rows i0 .. i1-1 of y of one plane, in one strip. */
FC_INLINE void FC(pool_3x3_plane)(const FC(pool) *job, FC(pool_3x3_strip) *strip, ptrdiff_t plane, ptrdiff_t i0,
                                  ptrdiff_t i1, const int max, const int codes) {
    const fc_pool2d *p = job->p;
    const real *x = job->x + plane * p->H * p->W;
    const ptrdiff_t start = 2 * i0 - p->pad_h;
    for (ptrdiff_t v = 0; v < strip->width && start >= 0; v++)
        strip->best[v] = FC(pool_3x3_reduce)(job, strip, x + start * p->W, v, max, &strip->code[v]);
    for (ptrdiff_t i = i0; i < i1; i++) {
        const ptrdiff_t top = 2 * i - p->pad_h;
        const real *from = x + top * p->W;
        if (top >= 0 && top + 2 < p->H) FC(pool_3x3_row)(job, strip, from, plane, i, 1, 2, max, codes);
        else FC(pool_3x3_row)(job, strip, from, plane, i, top >= 0, top + 2 < p->H ? 2 : top + 1 < p->H, max, codes);
    }
}

/* Rows begin .. end-1 of all planes' rows of y. */
FC_INLINE void FC(pool_3x3_rows)(const FC(pool) *job, ptrdiff_t begin, ptrdiff_t end, const int max, const int codes) {
    const ptrdiff_t OH = job->p->OH, blocks = (job->p->OW + LANES - 1) / LANES;
    FC(pool_3x3_strip) strip;
    for (ptrdiff_t first = 0; first < blocks; first += FC(POOL_BLOCKS)) {
        FC(pool_3x3_plan)(job, first, blocks - first < FC(POOL_BLOCKS) ? blocks - first : FC(POOL_BLOCKS), max, &strip);
        for (ptrdiff_t row = begin, stop; row < end; row = stop) {
            const ptrdiff_t plane = row / OH, top = plane * OH;
            stop = top + OH < end ? top + OH : end;
            FC(pool_3x3_plane)(job, &strip, plane, row - top, stop - top, max, codes);
        }
    }
}
