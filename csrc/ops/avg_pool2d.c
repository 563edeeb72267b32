/* Average pooling: forward, each thread takes a run of the rows of y (of all planes); backward, a run of whole planes,
 * so that overlapping windows add to a plane in one order.  Denormals count as zero: each would cost a sum several times
 * its price. */
#include "share.h"

void FC(avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int count_include_pad, ptrdiff_t divisor,
                            int threads) {
    const ptrdiff_t rows = p->N * p->C * p->OH;
    const double bytes = (fc_product(4, p->kernel_h, p->kernel_w) + 4) * fc_product(rows, p->OW);
    threads = fc_threads_for(bytes, FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share_rows(p);
        if (r.begin < r.end) kernels.avg_pool2d_forward(p, x, y, count_include_pad, divisor, r.begin, r.end);
        fc_mode_leave(mode);
    }
}

void FC(avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int count_include_pad,
                             ptrdiff_t divisor, int threads) {
    const ptrdiff_t planes = p->N * p->C, m = p->H * p->W, n = p->OH * p->OW;
    const double bytes = fc_product(4, planes) * (fc_estimate(m) + fc_product(n, p->kernel_h, p->kernel_w));
    threads = fc_threads_for(bytes, FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(planes, 1);
        kernels.avg_pool2d_backward(p, grad_y + r.begin * n, grad_x + r.begin * m, count_include_pad, divisor,
                                    r.end - r.begin);
        fc_mode_leave(mode);
    }
}
