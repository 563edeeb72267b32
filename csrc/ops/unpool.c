/* The gradient of a convolution's result from that behind its 2x2 max pool and ReLU, a few planes at a time: for passes
 * that never write all of it to memory.  Each step is the same as in an op of its own, in the same order. */

#ifndef FC_UNPOOL
#define FC_UNPOOL
enum { SPREAD_PLANES = 8, SPREAD_BYTES = 24 << 10 }; /* at a time: what goes in and comes out stays in cache */
#endif

typedef struct {
    const real *grad;       /* (N, K, OH / 2, OW / 2) */
    const real *y;          /* of the same shape: the result of ReLU, or NULL where there was none */
    const uint8_t *winners; /* of max_pool2d_forward */
    real *sums;             /* (N, K): of each plane, for grad_bias; or NULL */
} FC(pooled);

/* Planes whose gradients stay in L1. */
static ptrdiff_t FC(unpool_planes)(const fc_conv2d *p) {
    const double most = SPREAD_BYTES / fc_product(p->OH, p->OW, sizeof(real));
    return most < 1 ? 1 : most < SPREAD_PLANES ? (ptrdiff_t)most : SPREAD_PLANES;
}

/* Planes at .. at + planes - 1 of N * K, to `to`; in the plain mode, as ReLU is.  masked: room for as many pooled
 * planes.  Returns their pooled gradient behind ReLU, there or in `from`. */
static const real *FC(unpool)(const fc_conv2d *p, const FC(pooled) *from, ptrdiff_t at, ptrdiff_t planes, real *masked,
                              real *to) {
    const fc_pool2d pool = {.N = 1, .H = p->OH, .W = p->OW, .OH = p->OH / 2, .OW = p->OW / 2, .kernel_h = 2,
                            .kernel_w = 2, .stride_h = 2, .stride_w = 2, .dilation_h = 1, .dilation_w = 1};
    const ptrdiff_t m = p->OH * p->OW, n = pool.OH * pool.OW;
    const real *grad = from->grad + at * n;
    if (from->y) {
        kernels.relu_backward(grad, from->y + at * n, masked, planes * n);
        grad = masked;
    }
    kernels.max_pool2d_backward_winners(&pool, grad, from->winners + at * n, to, planes);
    if (from->sums) {
        const fc_mode mode = fc_mode_enter();
        for (ptrdiff_t i = 0; i < planes; i++) from->sums[at + i] = kernels.sum_all(to + i * m, m);
        fc_mode_leave(mode);
    }
    return grad;
}

/* The images' sums, in order. */
static void FC(add_plane_sums)(const fc_conv2d *p, const real *sums, real *grad_bias) {
    const fc_mode mode = fc_mode_enter();
    for (ptrdiff_t k = 0; k < p->K; k++) {
        real sum = 0;
        for (ptrdiff_t i = k; i < p->N * p->K; i += p->K) sum += sums[i];
        grad_bias[k] = sum;
    }
    fc_mode_leave(mode);
}
