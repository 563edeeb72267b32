/* Pooling with vectors over the columns of y; see pool2d_common.c.  Blocks of LANES columns walk down a plane together.
 * Where taps may be outside x, masked loads leave them out: they read as 0 in a sum and as -inf in a maximum, whose
 * code starts as that of the first tap inside.  A vector may write past the end of a row of y, into what the same call
 * writes later, but never past y_end. */

/* Blocks of columns of y. */
typedef struct {
    ptrdiff_t start[FC(POOL_KEPT)]; /* first column; the last block may overlap the one before */
    _Bool inside[FC(POOL_KEPT)];    /* vectors read nothing outside the row */
    vec columns[FC(POOL_KEPT)];     /* of an average: elements that count */
    ivec code[FC(POOL_KEPT)];       /* of a maximum: code of the first tap inside x */
} FC(pool_strip);

/* Blocks `first` .. of y, `width` of them. */
static void FC(pool_plan_strip)(const FC(pool) *job, ptrdiff_t first, ptrdiff_t width, FC(pool_strip) *strip) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t reach = (LANES - 1) * p->stride_w + (p->kernel_w - 1) * p->dilation_w + (p->stride_w == 2 ? 2 : 1);
    for (ptrdiff_t v = 0; v < width; v++) {
        ptrdiff_t start = (first + v) * LANES;
        if (p->OW >= LANES && start + LANES > p->OW) start = p->OW - LANES;
        const ptrdiff_t w0 = start * p->stride_w - p->pad_w;
        strip->start[v] = start;
        strip->inside[v] = w0 >= 0 && w0 + reach <= p->W;
        real columns[LANES];
        ireal code[LANES];
        for (int lane = 0; lane < LANES; lane++) {
            const ptrdiff_t w = w0 + lane * p->stride_w;
            columns[lane] = (real)FC(pool_count)(w, p->kernel_w, p->W, p->pad_w, job->count_include_pad);
            code[lane] = w < 0 ? (ireal)((-w + p->dilation_w - 1) / p->dilation_w * job->code_col) : 0;
        }
        strip->columns[v] = vec_load(columns);
        memcpy(&strip->code[v], code, sizeof code);
    }
}

/* Columns c .. c+LANES-1 of a row; those outside read as `fill`. */
FC_INLINE vec FC(pool_load)(const real *row, ptrdiff_t c, ptrdiff_t W, const int inside, vec fill) {
    if (inside || (c >= 0 && c + LANES <= W)) return vec_load(row + c);
    return vec_load_within(row, c, W, fill);
}

/* One row of LANES windows, tap 0 of lane 0 at column w0 of `row`.  S, stride and dilation are literals where they are
 * common; stride is 1 or 2 unless inside.  *code: of the first tap inside x. */
FC_INLINE vec FC(pool_reduce)(const FC(pool) *job, const real *row, ptrdiff_t w0, const ptrdiff_t S,
                              const ptrdiff_t stride, const ptrdiff_t dilation, const int inside, const int max,
                              ivec *code) {
    const ptrdiff_t W = job->p->W;
    const vec fill = max ? vec_set1(-(real)INFINITY) : (vec){0};
    const int pairs = stride == 2 && dilation == 1; /* two taps from one split into even and odd columns */
    vec best = fill, v, next;
#pragma GCC unroll 3
    for (ptrdiff_t s = 0; s < S; s += 1 + pairs) {
        const ptrdiff_t c = w0 + s * dilation;
        v = stride > 2 ? vec_load_strided(row + c, stride) : FC(pool_load)(row, c, W, inside, fill);
        if (stride == 2) vec_deinterleave(v, FC(pool_load)(row, c + LANES, W, inside, fill), &v, &next);
        if (inside && s == 0) best = v;
        else FC(pool_add)(max, &best, code, v, ivec_set1((ireal)(s * job->code_col)));
        if (pairs && s + 1 < S) FC(pool_add)(max, &best, code, next, ivec_set1((ireal)((s + 1) * job->code_col)));
    }
    return best;
}

/* The same, one lane after the other, for n lanes. */
static vec FC(pool_reduce_lanes)(const FC(pool) *job, const real *row, ptrdiff_t w0, int n, int max, ivec *code) {
    const fc_pool2d *p = job->p;
    real best[LANES];
    ireal codes[LANES];
    memcpy(codes, code, sizeof codes);
    for (int lane = 0; lane < LANES; lane++) {
        best[lane] = max ? -(real)INFINITY : 0;
        for (ptrdiff_t s = 0; s < p->kernel_w && lane < n; s++) {
            const ptrdiff_t w = w0 + lane * p->stride_w + s * p->dilation_w;
            if (w < 0 || w >= p->W) continue;
            if (!max) {
                best[lane] += row[w];
            } else if (row[w] > best[lane] || row[w] != row[w]) {
                best[lane] = row[w];
                codes[lane] = (ireal)(s * job->code_col);
            }
        }
    }
    memcpy(code, codes, sizeof codes);
    return vec_load(best);
}

/* One row of x, for all blocks of a strip, to `slot`. */
FC_INLINE void FC(pool_reduce_row)(const FC(pool) *job, const FC(pool_strip) *strip, const real *row, int slot,
                                   const ptrdiff_t S, const ptrdiff_t stride, const ptrdiff_t dilation, const int max,
                                   FC(pool_kept) *kept) {
    const fc_pool2d *p = job->p;
    for (ptrdiff_t v = 0; v < kept->width; v++) {
        const ptrdiff_t w0 = strip->start[v] * stride - p->pad_w;
        vec best;
        ivec code = strip->code[v];
        if (strip->inside[v]) best = FC(pool_reduce)(job, row, w0, S, stride, dilation, 1, max, &code);
        else if (stride <= 2) best = FC(pool_reduce)(job, row, w0, S, stride, dilation, 0, max, &code);
        else best = FC(pool_reduce_lanes)(job, row, w0, p->OW < LANES ? (int)p->OW : LANES, max, &code);
        kept->best[slot * kept->width + v] = best;
        if (max) kept->code[slot * kept->width + v] = code;
    }
}

/* Row i of y of one plane, whose rows of x are in `window`, n of them; in parts where n > POOL_ROWS. */
FC_INLINE void FC(pool_finish_row)(const FC(pool) *job, const FC(pool_strip) *strip, FC(pool_kept) *kept,
                                   const FC(pool_window) *window, const int n, int whole, int first, ptrdiff_t plane,
                                   ptrdiff_t i, const ptrdiff_t stride, const int max) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t top = i * p->stride_h - p->pad_h, row = (plane * p->OH + i) * p->OW;
    const real rows = (real)FC(pool_count)(top, p->kernel_h, p->H, p->pad_h, job->count_include_pad);
    for (ptrdiff_t v = 0; v < kept->width; v++) {
        const ptrdiff_t j = strip->start[v];
        ivec code;
        vec best = whole ? FC(pool_fold)(kept, window, n, v, max, &code)
                         : FC(pool_fold_part)(kept, window, v, first, max, &code);
        if (!max) best = FC(pool_mean)(best, job->divisor != 0 ? vec_set1(job->divisor) : strip->columns[v] * rows);
        FC(pool_store)(job, row + j, best, code, p->OW < LANES ? (int)p->OW : LANES, top * p->W + j * stride - p->pad_w,
                       stride);
    }
}

/* Rows i0 .. i1-1 of y of one plane, in one strip. */
FC_INLINE void FC(pool_rows_plane)(const FC(pool) *job, const FC(pool_strip) *strip, FC(pool_kept) *kept,
                                   ptrdiff_t plane, ptrdiff_t i0, ptrdiff_t i1, const ptrdiff_t S,
                                   const ptrdiff_t stride, const ptrdiff_t dilation, const int max) {
    const fc_pool2d *p = job->p;
    const real *x = job->x + plane * p->H * p->W;
    FC(pool_window) window;
    FC(pool_forget)(kept);
    for (ptrdiff_t i = i0; i < i1; i++) {
        for (ptrdiff_t r = 0, begin = 0; begin < p->kernel_h; begin = r) {
            FC(pool_next_rows)(job, kept, i * p->stride_h - p->pad_h, &r, &window);
            for (int k = 0; k < window.missing; k++) {
                const ptrdiff_t h = window.missing_row[k];
                const int slot = FC(pool_slot)(kept, p, h);
                FC(pool_reduce_row)(job, strip, x + h * p->W, slot, S, stride, dilation, max, kept);
            }
            const int whole = begin == 0 && r == p->kernel_h, n = window.n;
            if (whole && n == 3) FC(pool_finish_row)(job, strip, kept, &window, 3, 1, 1, plane, i, stride, max);
            else FC(pool_finish_row)(job, strip, kept, &window, n, whole, begin == 0, plane, i, stride, max);
        }
    }
}

/* Rows begin .. end-1 of the N * C * OH rows of y. */
FC_INLINE void FC(pool_rows)(const FC(pool) *job, ptrdiff_t begin, ptrdiff_t end, const ptrdiff_t S,
                             const ptrdiff_t stride, const ptrdiff_t dilation, const int max) {
    const ptrdiff_t OH = job->p->OH, blocks = (job->p->OW + LANES - 1) / LANES;
    FC(pool_kept) kept;
    FC(pool_strip) strip;
    for (ptrdiff_t first = 0; first < blocks; first += kept.width) {
        FC(pool_plan_kept)(job->p, blocks - first, &kept);
        FC(pool_plan_strip)(job, first, kept.width, &strip);
        for (ptrdiff_t row = begin, stop; row < end; row = stop) {
            const ptrdiff_t plane = row / OH, top = plane * OH;
            stop = top + OH < end ? top + OH : end;
            FC(pool_rows_plane)(job, &strip, &kept, plane, row - top, stop - top, S, stride, dilation, max);
        }
    }
}
