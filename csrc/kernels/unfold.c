/* unfold: the windows of an image as the columns of a matrix, which makes a convolution a matrix product (im2col); and
 * fold, its adjoint, which adds every column back to where its window lay (col2im).
 *
 *   unfold   y[c, r, s][i, j] = x[c][i * stride_h + r * dilation_h - pad_h][j * stride_w + s * dilation_w - pad_w]
 *   fold     x[c][..][..] += y[c, r, s][i, j], for the same places, taps (r, s) in order
 *
 * Row (c, r, s) of y is a shifted plane of x, so both go tap by tap and row by row: y is read or written once from
 * front to back, and the plane of x, which all taps share, stays in L1.  What lies outside of x is 0 in unfold and left out
 * in fold. */

#ifndef FC_UNFOLD
#define FC_UNFOLD
/* Along one axis: outputs begin .. end - 1 see the image at i * stride + first, the others see padding. */
typedef struct {
    ptrdiff_t first, begin, end;
} fc_seen;

static inline fc_seen fc_seen_by(ptrdiff_t tap, ptrdiff_t size, ptrdiff_t outputs, ptrdiff_t stride, ptrdiff_t pad,
                                 ptrdiff_t dilation) {
    fc_seen s = {tap * dilation - pad, 0, 0};
    s.begin = s.first < 0 ? (-s.first + stride - 1) / stride : 0;
    s.end = s.first < size ? (size - 1 - s.first) / stride + 1 : 0;
    if (s.end > outputs) s.end = outputs;
    if (s.end <= s.begin) s.begin = s.end = 0;
    return s;
}
#endif

FC_INLINE void FC(zero_run)(real *to, ptrdiff_t n) {
    const vec zero = {0};
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) vec_store(to + i, zero);
    if (i < n) vec_store_n(to + i, zero, (int)(n - i));
}

/* to[i] = from[i * step]; `after`: readable elements behind from[0]. */
FC_INLINE void FC(copy_run)(const real *from, ptrdiff_t step, ptrdiff_t after, ptrdiff_t n, real *to) {
    ptrdiff_t i = 0;
    if (step == 1) {
        for (; i + LANES <= n; i += LANES) vec_store(to + i, vec_load(from + i));
        if (i < n) vec_store_n(to + i, vec_load_n(from + i, (int)(n - i)), (int)(n - i));
        return;
    }
    if (step == 2) /* of a pair the second is loaded too */
        for (; i + LANES <= n && 2 * (i + LANES) <= after; i += LANES) vec_store(to + i, vec_load_strided(from + 2 * i, 2));
    for (; i < n; i++) to[i] = from[i * step];
}

/* One row of y: (n * C + c, r, s), of x's plane. */
static void FC(unfold_row)(const fc_pool2d *p, ptrdiff_t tap, const real *x, real *y) {
    const ptrdiff_t W = p->W, OW = p->OW, step_h = p->stride_h, step_w = p->stride_w;
    const fc_seen h = fc_seen_by(tap / p->kernel_w, p->H, p->OH, step_h, p->pad_h, p->dilation_h);
    const fc_seen w = fc_seen_by(tap % p->kernel_w, W, OW, step_w, p->pad_w, p->dilation_w);
    if (h.begin == h.end || w.begin == w.end) {
        FC(zero_run)(y, p->OH * OW);
        return;
    }
    FC(zero_run)(y, h.begin * OW);
    FC(zero_run)(y + h.end * OW, (p->OH - h.end) * OW);
    const int together = step_h == 1 && step_w == 1 && OW == W; /* rows that follow each other here and there */
    if (together) {
        const ptrdiff_t at = (h.begin + h.first) * W + w.first + w.begin;
        FC(copy_run)(x + at, 1, 0, (h.end - h.begin - 1) * W + w.end - w.begin, y + h.begin * OW + w.begin);
    }
    for (ptrdiff_t i = h.begin; i < h.end; i++) {
        real *row = y + i * OW;
        for (ptrdiff_t j = 0; j < w.begin; j++) row[j] = 0;
        for (ptrdiff_t j = w.end; j < OW; j++) row[j] = 0;
        if (together) continue;
        const ptrdiff_t at = (i * step_h + h.first) * W + w.begin * step_w + w.first;
        FC(copy_run)(x + at, step_w, p->H * W - at, w.end - w.begin, row + w.begin);
    }
}

/* Rows begin .. end - 1 of y, of all images. */
void KERNEL(unfold_rows)(const fc_pool2d *p, ptrdiff_t begin, ptrdiff_t end, const real *x, real *y) {
    const ptrdiff_t taps = p->kernel_h * p->kernel_w;
    for (ptrdiff_t row = begin; row < end; row++)
        FC(unfold_row)(p, row % taps, x + row / taps * p->H * p->W, y + row * p->OH * p->OW);
}

/* to[i * step] += from[i] */
FC_INLINE void FC(add_run)(const real *from, ptrdiff_t n, ptrdiff_t step, real *to) {
    ptrdiff_t i = 0;
    if (step == 1) {
        for (; i + LANES <= n; i += LANES) vec_store(to + i, vec_load(to + i) + vec_load(from + i));
        if (i < n) {
            const int left = (int)(n - i);
            vec_store_n(to + i, vec_load_n(to + i, left) + vec_load_n(from + i, left), left);
        }
        return;
    }
    if (step == 2) { /* 0 added to what lies between changes nothing: a sum that began with 0 is never -0 */
        const vec zero = {0};
        for (; i + LANES < n; i += LANES) {
            vec low, high;
            vec_interleave(vec_load(from + i), zero, &low, &high);
            vec_store(to + 2 * i, vec_load(to + 2 * i) + low);
            vec_store(to + 2 * i + LANES, vec_load(to + 2 * i + LANES) + high);
        }
    }
    for (; i < n; i++) to[i * step] += from[i];
}

/* Some planes of x, of all their rows of y. */
void KERNEL(fold_planes)(const fc_pool2d *p, ptrdiff_t planes, const real *y, real *x) {
    const ptrdiff_t W = p->W, OW = p->OW, taps = p->kernel_h * p->kernel_w;
    for (ptrdiff_t plane = 0; plane < planes; plane++, x += p->H * W) {
        FC(zero_run)(x, p->H * W);
        for (ptrdiff_t tap = 0; tap < taps; tap++, y += p->OH * OW) {
            const fc_seen h = fc_seen_by(tap / p->kernel_w, p->H, p->OH, p->stride_h, p->pad_h, p->dilation_h);
            const fc_seen w = fc_seen_by(tap % p->kernel_w, W, OW, p->stride_w, p->pad_w, p->dilation_w);
            if (w.begin == w.end) continue;
            for (ptrdiff_t i = h.begin; i < h.end; i++)
                FC(add_run)(y + i * OW + w.begin, w.end - w.begin, p->stride_w,
                            x + (i * p->stride_h + h.first) * W + w.begin * p->stride_w + w.first);
        }
    }
}
