/* Max pooling: forward, each thread takes a run of the rows of y (of all planes); backward, a run of whole planes, so
 * that overlapping windows add to a plane in one order.  Forward, the planes stay whole too where there are many. */
#include "share.h"

void FC(max_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, uint8_t *winners, int64_t *indices,
                            int threads) {
    const double per_output = p->kernel_h * p->kernel_w < 8 ? 40 : fc_product(5, p->kernel_h, p->kernel_w);
    const ptrdiff_t rows = p->N * p->C * p->OH;
    threads = fc_threads_for(per_output * fc_product(rows, p->OW), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share_rows(p);
        if (r.begin < r.end) kernels.max_pool2d_forward(p, x, y, winners, indices, r.begin, r.end);
    }
}

void FC(max_pool2d_backward_winners)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                     int threads) {
    const ptrdiff_t planes = p->N * p->C, m = p->H * p->W, n = p->OH * p->OW;
    threads = fc_threads_for(fc_product(planes, 4 * m + 20 * n), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(planes, 1);
        kernels.max_pool2d_backward_winners(p, grad_y + r.begin * n, winners + r.begin * n, grad_x + r.begin * m,
                                            r.end - r.begin);
    }
}

int FC(max_pool2d_backward)(const real *grad_y, const int64_t *indices, real *grad_x, ptrdiff_t planes, ptrdiff_t n,
                            ptrdiff_t m, int threads) {
    int failed = 0;
    threads = fc_threads_for(fc_product(planes, 4 * m + 20 * n), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        const fc_range r = fc_share(planes, 1);
        failed |= kernels.max_pool2d_backward(grad_y + r.begin * n, indices + r.begin * n, grad_x + r.begin * m,
                                              r.end - r.begin, n, m) != 0;
    }
    return failed ? -1 : 0;
}
