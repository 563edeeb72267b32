/* Adaptive average pooling: where the windows divide the input evenly, it is an average pool with stride and window
 * H / OH and W / OW.  Forward it is computed as one; so is the gradient of a single window.  Else each thread takes
 * whole planes.  Denormals count as zero, as in an average pool. */
#include "share.h"

static int FC(adaptive_is_even)(const fc_pool2d *p) { return p->H % p->OH == 0 && p->W % p->OW == 0; }

static fc_pool2d FC(adaptive_as_avg)(const fc_pool2d *p) {
    const ptrdiff_t height = p->H / p->OH, width = p->W / p->OW;
    return (fc_pool2d){.N = p->N, .C = p->C, .H = p->H, .W = p->W, .OH = p->OH, .OW = p->OW, .kernel_h = height,
                       .kernel_w = width, .stride_h = height, .stride_w = width, .dilation_h = 1, .dilation_w = 1};
}

/* What each window reads and writes, and both arrays. */
static int FC(adaptive_threads)(const fc_pool2d *p, int threads) {
    const double taps = (fc_estimate(p->H) / fc_estimate(p->OH) + 1) * (fc_estimate(p->W) / fc_estimate(p->OW) + 1);
    return fc_threads_for(fc_product(4, p->N, p->C, p->OH, p->OW) * (taps + 1), FC_BYTES_PER_THREAD, threads);
}

void FC(adaptive_avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int threads) {
    if (FC(adaptive_is_even)(p)) {
        const fc_pool2d even = FC(adaptive_as_avg)(p);
        FC(avg_pool2d_forward)(&even, x, y, 1, 0, threads);
        return;
    }
    threads = FC(adaptive_threads)(p, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(p->N * p->C, 1);
        kernels.adaptive_avg_pool2d_forward(p, x + r.begin * p->H * p->W, y + r.begin * p->OH * p->OW, r.end - r.begin);
        fc_mode_leave(mode);
    }
}

void FC(adaptive_avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int threads) {
    if (p->OH == 1 && p->OW == 1) {
        const fc_pool2d even = FC(adaptive_as_avg)(p);
        FC(avg_pool2d_backward)(&even, grad_y, grad_x, 1, 0, threads);
        return;
    }
    threads = FC(adaptive_threads)(p, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(p->N * p->C, 1);
        kernels.adaptive_avg_pool2d_backward(p, grad_y + r.begin * p->OH * p->OW, grad_x + r.begin * p->H * p->W,
                                             r.end - r.begin);
        fc_mode_leave(mode);
    }
}
