/* Squared errors, negative log-likelihoods, and the sums that losses are reduced by.
 *
 * A sum over all elements is cut in at most 64 parts by their number alone; each part is summed by one thread, in
 * double above vectors, and the parts are added in order: the same bits for any number of threads.
 * Denormals count as zero. */
#include "share.h"
#include <string.h>

enum { FC(SUM_PARTS) = 64 };

double FC(squared_error_sum)(const real *x, const real *target, ptrdiff_t n, int threads) {
    double part[FC(SUM_PARTS)] = {0}, total = 0;
    ptrdiff_t length = (n + FC(SUM_PARTS) - 1) / FC(SUM_PARTS);
    length = (length + FC(ELEMENT_GRAIN) - 1) / FC(ELEMENT_GRAIN) * FC(ELEMENT_GRAIN);
    if (!n) return 0;
    threads = fc_threads_for(fc_product(2, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share((n + length - 1) / length, 1);
        for (ptrdiff_t i = r.begin; i < r.end; i++) {
            const ptrdiff_t at = i * length, count = n - at < length ? n - at : length;
            part[i] = kernels.squared_error_sum(x + at, target + at, count);
        }
        fc_mode_leave(mode);
    }
    for (int i = 0; i < FC(SUM_PARTS); i++) total += part[i];
    return total;
}

void FC(squared_errors)(const real *x, const real *target, real *y, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(3, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.squared_errors(x + r.begin, target + r.begin, y + r.begin, r.end - r.begin);
        fc_mode_leave(mode);
    }
}

void FC(squared_error_backward)(const real *grad_y, const real *x, const real *target, double factor, real *grad_x,
                                ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(3, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.squared_error_backward(grad_y ? grad_y + r.begin : NULL, x + r.begin, target + r.begin, (real)factor,
                                       grad_x + r.begin, r.end - r.begin);
        fc_mode_leave(mode);
    }
}

/* x (images, n, inner).  With inner 1 all images are one call: rows of n. */
void FC(nll_forward)(const real *x, const int64_t *target, const real *weight, int64_t ignore_index, real *losses,
                     ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    threads = fc_threads_for(fc_product(100, images, inner), FC_BYTES_PER_THREAD, threads); /* a cache line each */
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(images, 1);
        if (inner == 1) {
            kernels.nll_forward(x + r.begin * n, target + r.begin, weight, ignore_index, losses + r.begin,
                                r.end - r.begin, 1, n);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++)
                kernels.nll_forward(x + i * n * inner, target + i * inner, weight, ignore_index, losses + i * inner,
                                    inner, inner, 1);
        }
    }
}

void FC(nll_backward)(const real *scale, const int64_t *target, const real *weight, int64_t ignore_index, real *grad_x,
                      ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    threads = fc_threads_for(fc_product(images, n, inner, sizeof *grad_x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(images, 1);
        memset(grad_x + r.begin * n * inner, 0, (size_t)((r.end - r.begin) * n * inner) * sizeof *grad_x);
        if (inner == 1) {
            kernels.nll_backward(scale + r.begin, target + r.begin, weight, ignore_index, grad_x + r.begin * n,
                                 r.end - r.begin, 1, n);
        } else {
            for (ptrdiff_t i = r.begin; i < r.end; i++)
                kernels.nll_backward(scale + i * inner, target + i * inner, weight, ignore_index,
                                     grad_x + i * n * inner, inner, inner, 1);
        }
    }
}

/* Four sums take turns, so that an addition need not wait for the one before. */
double FC(total)(const real *x, ptrdiff_t n) {
    double sum[4] = {0};
    ptrdiff_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) sum[k] += (double)x[i + k];
    for (; i < n; i++) sum[0] += (double)x[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The sum of the targets' weights over those that are not ignored. */
double FC(counted)(const int64_t *target, const real *weight, int64_t ignore_index, ptrdiff_t n) {
    if (!weight) {
        ptrdiff_t count = 0;
        for (ptrdiff_t i = 0; i < n; i++) count += target[i] != ignore_index;
        return (double)count;
    }
    double sum[4] = {0};
    for (ptrdiff_t i = 0; i < n; i++)
        if (target[i] != ignore_index) sum[i % 4] += (double)weight[target[i]];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}
