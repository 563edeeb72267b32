/* Max pooling:
 *
 *   y[i][j] = max over r, s of x[i * stride_h - pad_h + r * dilation_h][j * stride_w - pad_w + s * dilation_w]
 *
 * Of equals the first in row-major order wins and of NaNs the last; what lies outside x takes no part.  Each winner
 * also has a code: its place r * kernel_w + s in the window (a byte), or its place in the input plane (int64).  Forward
 * and 2x2 backward are in pool2d*.c.
 *
 * Backward, a plane is zeroed and the gradients are added in the order of y: one load, one add and one store each, in a
 * plane that stays in L1 or L2. */

/* int64 places from winners, where both are wanted. */
static void FC(max_pool_widen)(const fc_pool2d *p, const uint8_t *winners, int64_t *indices, ptrdiff_t begin,
                               ptrdiff_t end) {
    int64_t offset[256] = {0};
    for (ptrdiff_t code = 0; code < p->kernel_h * p->kernel_w && code < 256; code++)
        offset[code] = code / p->kernel_w * p->dilation_h * p->W + code % p->kernel_w * p->dilation_w;
    for (ptrdiff_t row = begin; row < end; row++) {
        const ptrdiff_t origin = (row % p->OH * p->stride_h - p->pad_h) * p->W - p->pad_w;
        for (ptrdiff_t j = 0; j < p->OW; j++)
            indices[row * p->OW + j] = origin + j * p->stride_w + offset[winners[row * p->OW + j]];
    }
}

/* One window after the other: for planes with more elements than a lane of 32 bits can count. */
static void FC(max_pool_plain)(const fc_pool2d *p, const real *x, real *y, int64_t *indices, ptrdiff_t begin,
                               ptrdiff_t end) {
    for (ptrdiff_t at = begin * p->OW; at < end * p->OW; at++) {
        const ptrdiff_t j = at % p->OW, i = at / p->OW % p->OH;
        const real *plane = x + at / p->OW / p->OH * p->H * p->W;
        indices[at] = -1;
        for (ptrdiff_t tap = 0; tap < p->kernel_h * p->kernel_w; tap++) {
            const ptrdiff_t h = i * p->stride_h - p->pad_h + tap / p->kernel_w * p->dilation_h;
            const ptrdiff_t w = j * p->stride_w - p->pad_w + tap % p->kernel_w * p->dilation_w;
            if (h < 0 || h >= p->H || w < 0 || w >= p->W) continue;
            const real v = plane[h * p->W + w];
            if (indices[at] < 0 || v > y[at] || v != v) y[at] = v, indices[at] = h * p->W + w;
        }
    }
}

/* Rows begin .. end-1 of the N * C * OH rows of y. */
void KERNEL(max_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, uint8_t *winners, int64_t *indices,
                                   ptrdiff_t begin, ptrdiff_t end) {
    const int in_plane = !winners && indices;
    const FC(pool) job = {.p = p, .x = x, .x_end = x + p->N * p->C * p->H * p->W, .y = y, .winners = winners,
                          .indices = indices, .y_end = end * p->OW,
                          .ahead = FC(pool_ahead)(x, x + p->N * p->C * p->H * p->W),
                          .code_row = in_plane ? p->dilation_h * p->W : p->kernel_w,
                          .code_col = in_plane ? p->dilation_w : 1};
    if (in_plane && sizeof(real) == 4 && p->H * p->W > INT32_MAX) {
        FC(max_pool_plain)(p, x, y, indices, begin, end);
        return;
    }
    FC(pool_forward)(&job, begin, end, 1);
    if (winners && indices) FC(max_pool_widen)(p, winners, indices, begin, end);
}

void KERNEL(max_pool2d_backward_winners)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners,
                                            real *grad_x, ptrdiff_t planes) {
    if (FC(pool_is_2x2)(p)) {
        FC(backward_2x2)(p, grad_y, winners, grad_x, planes, 0, 1);
        return;
    }
    const ptrdiff_t m = p->H * p->W;
    ptrdiff_t offset[256]; /* of each code, from tap (0, 0) of its window */
    for (ptrdiff_t code = 0; code < 256; code++)
        offset[code] = code < p->kernel_h * p->kernel_w
                           ? code / p->kernel_w * p->dilation_h * p->W + code % p->kernel_w * p->dilation_w
                           : PTRDIFF_MAX / 2;
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += m) {
        memset(grad_x, 0, (size_t)m * sizeof *grad_x);
        for (ptrdiff_t i = 0; i < p->OH; i++, grad_y += p->OW, winners += p->OW) {
            const ptrdiff_t origin = (i * p->stride_h - p->pad_h) * p->W - p->pad_w;
            for (ptrdiff_t j = 0; j < p->OW; j++) {
                const ptrdiff_t place = origin + j * p->stride_w + offset[winners[j]];
                /* no forward pass gives winners outside the plane: they are passed over */
                if ((size_t)place < (size_t)m) grad_x[place] += grad_y[j];
            }
        }
    }
}

/* The same from places in the plane; -1 when one lies outside.  Each is read once: another thread may be writing to
 * the array, and what is used must be what was checked. */
int KERNEL(max_pool2d_backward)(const real *grad_y, const int64_t *indices, real *grad_x, ptrdiff_t planes,
                                   ptrdiff_t n, ptrdiff_t m) {
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_y += n, indices += n, grad_x += m) {
        memset(grad_x, 0, (size_t)m * sizeof *grad_x);
#pragma GCC unroll 4
        for (ptrdiff_t i = 0; i < n; i++) {
            const uint64_t at = (uint64_t)__atomic_load_n(indices + i, __ATOMIC_RELAXED);
            if (at >= (uint64_t)m) return -1;
            grad_x[at] += grad_y[i];
        }
    }
    return 0;
}
