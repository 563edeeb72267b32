/* Softmax and cross-entropy: each thread takes whole rows.  An exponential costs about as much as moving its number
 * through memory four times.
 *
 * Probabilities underflow gradually, to denormals.  Gradients and losses don't: to them a denormal is zero. */
#include "share.h"

static int FC(row_threads)(ptrdiff_t rows, ptrdiff_t n, double passes, int threads) {
    return fc_threads_for(passes * rows * n * sizeof(real), FC_BYTES_PER_THREAD, threads);
}

void FC(softmax_forward)(const real *x, real *y, ptrdiff_t rows, ptrdiff_t n, int log, int threads) {
    threads = FC(row_threads)(rows, n, 6, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(rows, 1);
        kernels.softmax_forward(x + r.begin * n, y + r.begin * n, r.end - r.begin, n, log);
    }
}

void FC(softmax_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t rows, ptrdiff_t n, int log,
                          int threads) {
    threads = FC(row_threads)(rows, n, log ? 7 : 3, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(rows, 1);
        const ptrdiff_t at = r.begin * n;
        kernels.softmax_backward(grad_y + at, y + at, grad_x + at, r.end - r.begin, n, log);
        fc_mode_leave(mode);
    }
}

void FC(cross_entropy_forward)(const real *x, const int64_t *target, const real *weight, int64_t ignore_index,
                               double label_smoothing, real *losses, ptrdiff_t rows, ptrdiff_t n, int threads) {
    const fc_cross_entropy job = {.n = n, .ignore_index = ignore_index, .label_smoothing = label_smoothing};
    threads = FC(row_threads)(rows, n, 5, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(rows, 1);
        kernels.cross_entropy_forward(&job, x + r.begin * n, target + r.begin, weight, losses + r.begin,
                                      r.end - r.begin);
        fc_mode_leave(mode);
    }
}

void FC(cross_entropy_backward)(const real *scale, const real *x, const int64_t *target, const real *weight,
                                int64_t ignore_index, double label_smoothing, real *grad_x, ptrdiff_t rows, ptrdiff_t n,
                                int threads) {
    fc_cross_entropy job = {.n = n, .ignore_index = ignore_index, .label_smoothing = label_smoothing};
    for (ptrdiff_t c = 0; c < n; c++) job.weight_sum += weight ? weight[c] : 1;
    threads = FC(row_threads)(rows, n, 6, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(rows, 1);
        kernels.cross_entropy_backward(&job, scale + r.begin, x + r.begin * n, target + r.begin, weight,
                                       grad_x + r.begin * n, r.end - r.begin);
        fc_mode_leave(mode);
    }
}
