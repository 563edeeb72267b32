/* unfold and fold.  A row of y belongs to one channel and one tap: unfold shares rows among the threads, fold whole planes,
 * so that the taps add to a plane in one order.  Denormals count as zero where they are added. */
#include "share.h"

void FC(unfold)(const fc_pool2d *p, const real *x, real *y, int threads) {
    const ptrdiff_t rows = p->N * p->C * p->kernel_h * p->kernel_w;
    threads = fc_threads_for(fc_product(sizeof(real), rows, p->OH, p->OW), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const fc_range r = fc_share(rows, 1);
        kernels.unfold_rows(p, r.begin, r.end, x, y);
    }
}

void FC(fold)(const fc_pool2d *p, const real *y, real *x, int threads) {
    const ptrdiff_t planes = p->N * p->C, m = p->H * p->W, n = p->kernel_h * p->kernel_w * p->OH * p->OW;
    threads = fc_threads_for(fc_product(sizeof(real), planes, m + n), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(planes, 1);
        kernels.fold_planes(p, r.end - r.begin, y + r.begin * n, x + r.begin * m);
        fc_mode_leave(mode);
    }
}
