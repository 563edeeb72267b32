/* Element-wise operations: each thread takes one contiguous run of the elements.  Relu hands
 * denormals on as they are; dropout, which multiplies, takes them for zero. */
#include "share.h"

enum { FC(ELEMENT_GRAIN) = 1024 }; /* elements; whole cache lines for results and mask bytes alike */

void FC(relu_forward)(const real *x, real *y, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(2, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.relu_forward(x + r.begin, y + r.begin, r.end - r.begin);
    }
}

void FC(relu_backward)(const real *grad_y, const real *x, real *grad_x, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(3, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.relu_backward(grad_y + r.begin, x + r.begin, grad_x + r.begin, r.end - r.begin);
    }
}

/* Mask of the units in `r`.  A kernel's call must not cross a multiple of 2^32: grains never do. */
static void FC(dropout_mask_range)(uint8_t *mask, fc_range r, double p, uint64_t seed) {
    if (p >= 1) { /* the threshold 2^32 is above every hash */
        for (ptrdiff_t i = r.begin; i < r.end; i++) mask[i] = 0;
        return;
    }
    const uint32_t threshold = (uint32_t)(p * 4294967296.0);
    for (ptrdiff_t i = r.begin; i < r.end;) {
        const ptrdiff_t to_boundary = (ptrdiff_t)((UINT64_C(1) << 32) - ((uint64_t)i & 0xFFFFFFFFu));
        const ptrdiff_t n = r.end - i < to_boundary ? r.end - i : to_boundary;
        kernels.dropout_mask(mask + i, (uint64_t)i, n, seed, threshold);
        i += n;
    }
}

static real FC(dropout_scale)(double p) { return p < 1 ? (real)(1 / (1 - p)) : 0; }

/* Single elements: the mask of a piece is made and used while it lies in L1.  Runs: first the mask of all, which is
 * little work, then whole runs are copied or zeroed. */
void FC(dropout_forward)(const real *x, real *y, uint8_t *mask, double p, uint64_t seed, ptrdiff_t units,
                         ptrdiff_t unit, int threads) {
    const real scale = FC(dropout_scale)(p);
    threads = fc_threads_for(fc_product(2, units, unit, sizeof *x), FC_BYTES_PER_THREAD, threads);
    if (unit != 1) {
        FC(dropout_mask_range)(mask, (fc_range){0, units}, p, seed);
        FC(dropout_backward)(x, mask, y, p, units, unit, threads);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(units, FC(ELEMENT_GRAIN));
        for (ptrdiff_t i = r.begin; i < r.end; i += FC(ELEMENT_GRAIN)) {
            const ptrdiff_t end = r.end - i < FC(ELEMENT_GRAIN) ? r.end : i + FC(ELEMENT_GRAIN);
            FC(dropout_mask_range)(mask, (fc_range){i, end}, p, seed);
            kernels.dropout_apply(x + i, mask + i, y + i, end - i, scale);
        }
        fc_mode_leave(mode);
    }
}

void FC(dropout_backward)(const real *grad_y, const uint8_t *mask, real *grad_x, double p, ptrdiff_t units,
                          ptrdiff_t unit, int threads) {
    const real scale = FC(dropout_scale)(p);
    threads = fc_threads_for(fc_product(2, units, unit, sizeof *grad_y), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(units, unit == 1 ? FC(ELEMENT_GRAIN) : 1);
        const ptrdiff_t at = r.begin * unit;
        if (unit == 1) kernels.dropout_apply(grad_y + at, mask + at, grad_x + at, r.end - r.begin, scale);
        else kernels.dropout_apply_units(grad_y + at, mask + r.begin, grad_x + at, r.end - r.begin, unit, scale);
        fc_mode_leave(mode);
    }
}

void FC(gather_images)(const uint8_t *images, const int64_t *index, real *out, ptrdiff_t rows, ptrdiff_t d,
                       double scale, double offset, int threads) {
    threads = fc_threads_for(fc_product(1 + sizeof *out, rows, d), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(rows, 1);
        for (ptrdiff_t i = r.begin; i < r.end; i++)
            kernels.gather_image(images + index[i] * d, out + i * d, d, (real)scale, (real)offset);
    }
}
