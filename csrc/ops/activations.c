/* Activations other than relu: each thread takes one contiguous run of the elements, as in elementwise.c.  Sigmoid and
 * tanh hand denormals on as they are; a product that is or meets one is zero.  An exponential costs
 * about as much as moving its number through memory four times. */
#include "share.h"

void FC(leaky_relu_forward)(const real *x, real *y, ptrdiff_t n, double slope, int threads) {
    threads = fc_threads_for(fc_product(2, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.leaky_relu_forward(x + r.begin, y + r.begin, r.end - r.begin, (real)slope);
        fc_mode_leave(mode);
    }
}

void FC(leaky_relu_backward)(const real *grad_y, const real *x, real *grad_x, ptrdiff_t n, double slope, int threads) {
    threads = fc_threads_for(fc_product(3, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.leaky_relu_backward(grad_y + r.begin, x + r.begin, grad_x + r.begin, r.end - r.begin, (real)slope);
        fc_mode_leave(mode);
    }
}

void FC(sigmoid_forward)(const real *x, real *y, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(6, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.sigmoid_forward(x + r.begin, y + r.begin, r.end - r.begin);
    }
}

void FC(sigmoid_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(3, n, sizeof *y), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.sigmoid_backward(grad_y + r.begin, y + r.begin, grad_x + r.begin, r.end - r.begin);
        fc_mode_leave(mode);
    }
}

void FC(tanh_forward)(const real *x, real *y, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(6, n, sizeof *x), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.tanh_forward(x + r.begin, y + r.begin, r.end - r.begin);
    }
}

void FC(tanh_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n, int threads) {
    threads = fc_threads_for(fc_product(3, n, sizeof *y), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.tanh_backward(grad_y + r.begin, y + r.begin, grad_x + r.begin, r.end - r.begin);
        fc_mode_leave(mode);
    }
}
