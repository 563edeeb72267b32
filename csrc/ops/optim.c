/* Optimiser steps: the constants of a step, in double, then each thread takes one contiguous run of the parameters.
 * Denormals count as zero: a second moment that decays to nothing would otherwise cost a hundred times its price. */
#include "share.h"
#include <math.h>

void FC(sgd_step)(real *param, const real *grad, real *velocity, ptrdiff_t n, double lr, double momentum,
                  double dampening, double weight_decay, int nesterov, int maximize, int first, int threads) {
    const fc_sgd step = {lr, momentum, dampening, weight_decay, nesterov, maximize, first};
    threads = fc_threads_for(fc_product(velocity ? 5 : 3, n, sizeof *param), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.sgd_step(&step, param + r.begin, grad + r.begin, velocity ? velocity + r.begin : NULL, r.end - r.begin);
        fc_mode_leave(mode);
    }
}

void FC(adam_step)(real *param, const real *grad, real *exp_avg, real *exp_avg_sq, real *max_exp_avg_sq, ptrdiff_t n,
                   double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled, int maximize,
                   int64_t step, int threads) {
    const fc_adam adam = {.lr = lr, .beta1 = beta1, .beta2 = beta2, .eps = eps, .weight_decay = weight_decay,
                          .step_size = lr / (1 - pow(beta1, (double)step)),
                          .inverse_root = 1 / sqrt(1 - pow(beta2, (double)step)), .decoupled = decoupled,
                          .maximize = maximize};
    threads = fc_threads_for(fc_product(max_exp_avg_sq ? 9 : 7, n, sizeof *param), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(n, FC(ELEMENT_GRAIN));
        kernels.adam_step(&adam, param + r.begin, grad + r.begin, exp_avg + r.begin, exp_avg_sq + r.begin,
                          max_exp_avg_sq ? max_exp_avg_sq + r.begin : NULL, r.end - r.begin);
        fc_mode_leave(mode);
    }
}
