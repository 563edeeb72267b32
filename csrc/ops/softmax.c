/* Softmax and cross-entropy of x (images, n, inner), along n: with inner 1 each thread takes whole rows, else runs of
 * neighbouring positions of an image.  An exponential costs about as much as moving its number through memory four
 * times.
 *
 * Probabilities underflow gradually, to denormals.  Gradients and losses don't: to them a denormal is zero. */
#include "share.h"

static int FC(row_threads)(ptrdiff_t rows, ptrdiff_t n, double passes, int threads) {
    return fc_threads_for(passes * fc_product(rows, n, sizeof(real)), FC_BYTES_PER_THREAD, threads);
}

/* Run number i of all images' runs of at most FC_POSITIONS positions. */
typedef struct {
    ptrdiff_t at;     /* of its first number in x */
    ptrdiff_t row;    /* of its first position among all */
    ptrdiff_t width;
} FC(run);

static ptrdiff_t FC(runs)(ptrdiff_t inner) { return (inner + FC_POSITIONS - 1) / FC_POSITIONS; }

static FC(run) FC(run_number)(ptrdiff_t i, ptrdiff_t n, ptrdiff_t inner) {
    const ptrdiff_t image = i / FC(runs)(inner), first = i % FC(runs)(inner) * FC_POSITIONS;
    const ptrdiff_t width = inner - first < FC_POSITIONS ? inner - first : FC_POSITIONS;
    return (FC(run)){image * n * inner + first, image * inner + first, width};
}

void FC(softmax_forward)(const real *x, real *y, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int log, int threads) {
    threads = FC(row_threads)(images * inner, n, 6, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(images * FC(runs)(inner), 1);
        if (inner == 1) kernels.softmax_forward(x + r.begin * n, y + r.begin * n, r.end - r.begin, n, log);
        else {
            for (ptrdiff_t i = r.begin; i < r.end; i++) {
                const FC(run) run = FC(run_number)(i, n, inner);
                kernels.softmax_positions_forward(x + run.at, y + run.at, n, inner, run.width, log);
            }
        }
    }
}

void FC(softmax_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t images, ptrdiff_t n,
                          ptrdiff_t inner, int log, int threads) {
    threads = FC(row_threads)(images * inner, n, log ? 7 : 3, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(images * FC(runs)(inner), 1);
        if (inner == 1) {
            const ptrdiff_t at = r.begin * n;
            kernels.softmax_backward(grad_y + at, y + at, grad_x + at, r.end - r.begin, n, log);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++) {
                const FC(run) run = FC(run_number)(i, n, inner);
                kernels.softmax_positions_backward(grad_y + run.at, y + run.at, grad_x + run.at, n, inner, run.width,
                                                   log);
            }
        }
        fc_mode_leave(mode);
    }
}

void FC(cross_entropy_forward)(const real *x, const int64_t *target, const real *weight, int64_t ignore_index,
                               double label_smoothing, real *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner,
                               int threads) {
    const fc_cross_entropy job = {.n = n, .ignore_index = ignore_index, .label_smoothing = label_smoothing};
    threads = FC(row_threads)(images * inner, n, 5, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(images * FC(runs)(inner), 1);
        if (inner == 1) {
            kernels.cross_entropy_forward(&job, x + r.begin * n, target + r.begin, weight, losses + r.begin,
                                          r.end - r.begin);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++) {
                const FC(run) run = FC(run_number)(i, n, inner);
                kernels.cross_entropy_positions_forward(&job, x + run.at, target + run.row, weight, losses + run.row,
                                                        inner, run.width);
            }
        }
        fc_mode_leave(mode);
    }
}

void FC(cross_entropy_backward)(const real *scale, const real *x, const int64_t *target, const real *weight,
                                int64_t ignore_index, double label_smoothing, real *grad_x, ptrdiff_t images,
                                ptrdiff_t n, ptrdiff_t inner, int threads) {
    fc_cross_entropy job = {.n = n, .ignore_index = ignore_index, .label_smoothing = label_smoothing};
    for (ptrdiff_t c = 0; c < n; c++) job.weight_sum += weight ? weight[c] : 1;
    threads = FC(row_threads)(images * inner, n, 6, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(images * FC(runs)(inner), 1);
        if (inner == 1) {
            kernels.cross_entropy_backward(&job, scale + r.begin, x + r.begin * n, target + r.begin, weight,
                                           grad_x + r.begin * n, r.end - r.begin);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++) {
                const FC(run) run = FC(run_number)(i, n, inner);
                kernels.cross_entropy_positions_backward(&job, scale + run.row, x + run.at, target + run.row, weight,
                                                         grad_x + run.at, inner, run.width);
            }
        }
        fc_mode_leave(mode);
    }
}

void FC(soft_cross_entropy_forward)(const real *x, const real *target, const real *weight, double label_smoothing,
                                    real *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    const fc_cross_entropy job = {.n = n, .label_smoothing = label_smoothing};
    threads = FC(row_threads)(images * inner, n, 6, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(images * FC(runs)(inner), 1);
        if (inner == 1) {
            kernels.soft_cross_entropy_forward(&job, x + r.begin * n, target + r.begin * n, weight, losses + r.begin,
                                               r.end - r.begin);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++) {
                const FC(run) run = FC(run_number)(i, n, inner);
                kernels.soft_cross_entropy_positions_forward(&job, x + run.at, target + run.at, weight,
                                                             losses + run.row, inner, run.width);
            }
        }
        fc_mode_leave(mode);
    }
}

void FC(soft_cross_entropy_backward)(const real *scale, const real *x, const real *target, const real *weight,
                                     double label_smoothing, real *grad_x, ptrdiff_t images, ptrdiff_t n,
                                     ptrdiff_t inner, int threads) {
    const fc_cross_entropy job = {.n = n, .label_smoothing = label_smoothing};
    threads = FC(row_threads)(images * inner, n, 7, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(images * FC(runs)(inner), 1);
        if (inner == 1) {
            kernels.soft_cross_entropy_backward(&job, scale + r.begin, x + r.begin * n, target + r.begin * n, weight,
                                                grad_x + r.begin * n, r.end - r.begin);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++) {
                const FC(run) run = FC(run_number)(i, n, inner);
                kernels.soft_cross_entropy_positions_backward(&job, scale + run.row, x + run.at, target + run.at,
                                                              weight, grad_x + run.at, inner, run.width);
            }
        }
        fc_mode_leave(mode);
    }
}
