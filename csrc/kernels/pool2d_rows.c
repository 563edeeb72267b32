/* Pooling with vectors over the columns of y; see pool2d_common.c.  Blocks of LANES columns walk down a plane together.  A
 * lane whose tap is outside x is masked; only where a vector would reach past the ends of the whole array are lanes done
 * one by one.  A vector may write past the end of a row of y, into what the same call writes later, but never past
 * y_end. */

/* Blocks of columns of y. */
typedef struct {
    ptrdiff_t start[FC(POOL_KEPT)]; /* first column; the last block may overlap the one before */
    char inside[FC(POOL_KEPT)]; /* no tap of the block is outside x */
    vec columns[FC(POOL_KEPT)]; /* elements that count, of an average */
} FC(pool_strip);

/* One row of LANES windows: `first` is its element under tap 0 of lane 0, at column w0, maybe outside x.  Reads whole
 * vectors.  S, stride and dilation are literals where they are common. */
FC_INLINE vec FC(pool_reduce)(const FC(pool) *job, const real *first, const ptrdiff_t S, const ptrdiff_t stride,
                              const ptrdiff_t dilation, ptrdiff_t w0, const int inside, const int max, ivec *code) {
    const ivec column = ivec_iota() * (ireal)stride + (ireal)w0;
    vec best = max ? vec_set1(-(real)INFINITY) : (vec){0}, next = best;
    *code = ivec_set1(-1);
    const int pairs = stride == 2 && dilation == 1; /* two taps from one split into even and odd columns */
#pragma GCC unroll 3
    for (ptrdiff_t s = 0; s < S; s++) {
        vec v = next;
        if (!pairs) v = vec_load_strided(first + s * dilation, stride);
        else if (s % 2 == 0) vec_deinterleave(vec_load(first + s), vec_load(first + s + LANES), &v, &next);
        const ivec s_code = ivec_set1((ireal)(s * job->code_col));
        if (inside) {
            if (s == 0) best = v, *code = s_code;
            else FC(pool_add)(max, &best, code, v, s_code);
            continue;
        }
        const ivec w = column + (ireal)(s * dilation);
        const ivec valid = (w >= 0) & (w < (ireal)job->p->W);
        if (max) {
            const ivec take = valid & ((v > best) | (v != v) | (*code < 0));
            best = vec_select(take, v, best);
            *code = ivec_select(take, s_code, *code);
        } else {
            best += vec_select(valid, v, (vec){0});
        }
    }
    return best;
}

/* The same, one lane after the other, for n lanes: touches nothing outside the row. */
static vec FC(pool_reduce_lanes)(const FC(pool) *job, const real *row, ptrdiff_t w0, int n, int max, ivec *code) {
    real best[LANES] = {0};
    ireal codes[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        codes[lane] = -1;
        for (ptrdiff_t s = 0; s < job->p->kernel_w && lane < n; s++) {
            const ptrdiff_t w = w0 + lane * job->p->stride_w + s * job->p->dilation_w;
            if (w < 0 || w >= job->p->W) continue;
            if (!max) {
                best[lane] += row[w];
            } else if (codes[lane] < 0 || row[w] > best[lane] || row[w] != row[w]) {
                best[lane] = row[w];
                codes[lane] = (ireal)(s * job->code_col);
            }
        }
    }
    memcpy(code, codes, sizeof *code);
    return vec_load(best);
}

/* Row h of the plane at x, for all blocks of a strip. */
FC_INLINE void FC(pool_reduce_row)(const FC(pool) *job, const FC(pool_strip) *strip, const real *x, ptrdiff_t h,
                                   const ptrdiff_t S, const ptrdiff_t stride, const ptrdiff_t dilation, const int max,
                                   FC(pool_kept) *kept) {
    const fc_pool2d *p = job->p;
    const real *row = x + h * p->W;
    const ptrdiff_t reach = (LANES - 1) * stride + (S - 1) * dilation + 2; /* elements that vectors read */
    const ptrdiff_t lowest = job->x - row, highest = job->x_end - row - reach;
    const int slot = FC(pool_slot)(kept, p, h);
    vec *best = kept->best + slot * kept->width;
    ivec *code = kept->code + slot * kept->width;
    for (ptrdiff_t v = 0; v < kept->width; v++) {
        const ptrdiff_t w0 = strip->start[v] * stride - p->pad_w;
        if (w0 < lowest || w0 > highest) {
            const int n = p->OW < LANES ? (int)p->OW : LANES;
            best[v] = FC(pool_reduce_lanes)(job, row, w0, n, max, &code[v]);
        } else if (strip->inside[v]) {
            best[v] = FC(pool_reduce)(job, row + w0, S, stride, dilation, w0, 1, max, &code[v]);
        } else {
            best[v] = FC(pool_reduce)(job, row + w0, S, stride, dilation, w0, 0, max, &code[v]);
        }
    }
}

/* Columns `first` * LANES .. of y, kept->width blocks of them. */
static void FC(pool_plan_strip)(const FC(pool) *job, ptrdiff_t first, ptrdiff_t width, FC(pool_strip) *strip) {
    const fc_pool2d *p = job->p;
    for (ptrdiff_t v = 0; v < width; v++) {
        ptrdiff_t start = (first + v) * LANES, n = LANES;
        if (p->OW < LANES) n = p->OW;
        else if (start + LANES > p->OW) start = p->OW - LANES;
        const ptrdiff_t w0 = start * p->stride_w - p->pad_w;
        strip->start[v] = start;
        strip->inside[v] = w0 >= 0 && w0 + (n - 1) * p->stride_w + (p->kernel_w - 1) * p->dilation_w < p->W;
        real columns[LANES];
        for (int lane = 0; lane < LANES; lane++)
            columns[lane] = (real)FC(pool_count)(w0 + lane * p->stride_w, p->kernel_w, p->W, p->pad_w,
                                                 job->count_include_pad);
        strip->columns[v] = vec_load(columns);
    }
}

/* Rows i0 .. i1-1 of y of one plane. */
FC_INLINE void FC(pool_rows)(const FC(pool) *job, ptrdiff_t plane, ptrdiff_t i0, ptrdiff_t i1, const ptrdiff_t S,
                             const ptrdiff_t stride, const ptrdiff_t dilation, const int max) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t blocks = (p->OW + LANES - 1) / LANES;
    const real *x = job->x + plane * p->H * p->W;
    FC(pool_kept) kept;
    FC(pool_strip) strip;
    FC(pool_window) window;
    for (ptrdiff_t first = 0; first < blocks; first += kept.width) {
        FC(pool_plan_kept)(p, blocks - first, &kept);
        FC(pool_plan_strip)(job, first, kept.width, &strip);
        for (int slot = 0; slot < kept.slots; slot++) kept.row[slot] = -1;
        for (ptrdiff_t i = i0; i < i1; i++) {
            const ptrdiff_t top = i * p->stride_h - p->pad_h;
            const ptrdiff_t count = FC(pool_count)(top, p->kernel_h, p->H, p->pad_h, job->count_include_pad);
            for (ptrdiff_t r = 0, begin = 0; begin < p->kernel_h; begin = r) {
                FC(pool_next_rows)(job, &kept, top, &r, &window);
                for (int k = 0; k < window.missing; k++)
                    FC(pool_reduce_row)(job, &strip, x, window.missing_row[k], S, stride, dilation, max, &kept);
                const int last = r == p->kernel_h;
                for (ptrdiff_t v = 0; v < kept.width; v++) {
                    const ptrdiff_t j = strip.start[v], at = (plane * p->OH + i) * p->OW + j;
                    ivec code;
                    vec best = FC(pool_fold)(&kept, &window, v, begin == 0, last, max, &code);
                    if (!max) best = FC(pool_mean)(best, job->divisor != 0 ? vec_set1(job->divisor)
                                                                           : strip.columns[v] * (real)count);
                    FC(pool_store)(job, at, best, code, p->OW < LANES ? (int)p->OW : LANES,
                                   top * p->W + j * stride - p->pad_w, stride);
                }
            }
        }
    }
}
