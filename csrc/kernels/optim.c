/* Optimiser steps in PyTorch's order of operations (torch/optim, one tensor at a time), in one pass over memory:
 *
 *   either: maximize turns grad round first
 *   SGD    g = grad + weight_decay * param;  v = first ? g : momentum * v + (1 - dampening) * g
 *          g = nesterov ? g + momentum * v : v;  param -= lr * g
 *   Adam   AdamW: param *= 1 - lr * weight_decay;  else g = grad + weight_decay * param
 *          m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g * g
 *          param -= step_size * m / (sqrt(v) / sqrt(1 - beta2^step) + eps),  step_size = lr / (1 - beta1^step)
 *
 * With max_exp_avg_sq (AMSGrad) the largest v so far takes the place of v in the last line.
 *
 * (Sutskever et al. 2013; Kingma and Ba 2015; Reddi et al. 2018;
 * Loshchilov and Hutter 2019.)  The constants come in double, from the
 * blocking, and are rounded once.  The tail runs the same vector code on masked loads. */

FC_INLINE vec FC(sgd_vector)(const fc_sgd *s, vec p, vec g, vec *velocity) {
    if (s->maximize) g = -g;
    if (s->weight_decay != 0) g = vec_fma(vec_set1((real)s->weight_decay), p, g);
    if (velocity) {
        const vec momentum = vec_set1((real)s->momentum);
        *velocity = s->first ? g : vec_fma(vec_set1((real)(1 - s->dampening)), g, momentum * *velocity);
        g = s->nesterov ? vec_fma(momentum, *velocity, g) : *velocity;
    }
    return vec_fma(vec_set1((real)-s->lr), g, p);
}

void KERNEL(sgd_step)(const fc_sgd *s, real *param, const real *grad, real *velocity, ptrdiff_t n) {
    ptrdiff_t i = 0;
    if (velocity) {
        for (; i + LANES <= n; i += LANES) {
            vec v = vec_load(velocity + i);
            vec_store(param + i, FC(sgd_vector)(s, vec_load(param + i), vec_load(grad + i), &v));
            vec_store(velocity + i, v);
        }
    } else {
        for (; i + LANES <= n; i += LANES)
            vec_store(param + i, FC(sgd_vector)(s, vec_load(param + i), vec_load(grad + i), NULL));
    }
    if (i == n) return;
    const int tail = (int)(n - i);
    vec v = velocity ? vec_load_n(velocity + i, tail) : (vec){0};
    vec p = FC(sgd_vector)(s, vec_load_n(param + i, tail), vec_load_n(grad + i, tail), velocity ? &v : NULL);
    vec_store_n(param + i, p, tail);
    if (velocity) vec_store_n(velocity + i, v, tail);
}

/* most: the largest v so far, or NULL */
FC_INLINE vec FC(adam_vector)(const fc_adam *a, vec p, vec g, vec *m, vec *v, vec *most) {
    if (a->maximize) g = -g;
    if (a->decoupled) p *= vec_set1((real)(1 - a->lr * a->weight_decay));
    else if (a->weight_decay != 0) g = vec_fma(vec_set1((real)a->weight_decay), p, g);
    /* lerp, as in PyTorch: from the nearer end */
    if (1 - a->beta1 < 0.5) *m = vec_fma(vec_set1((real)(1 - a->beta1)), g - *m, *m);
    else *m = g - (g - *m) * vec_set1((real)a->beta1);
    *v = vec_fma(vec_set1((real)(1 - a->beta2)) * g, g, *v * vec_set1((real)a->beta2));
    if (most) *most = vec_max(*most, *v); /* v where that is NaN, and then it stays NaN */
    const vec denominator = vec_sqrt(most ? *most : *v) * vec_set1((real)a->inverse_root) + vec_set1((real)a->eps);
    return p - vec_set1((real)a->step_size) * *m / denominator;
}

void KERNEL(adam_step)(const fc_adam *a, real *param, const real *grad, real *exp_avg, real *exp_avg_sq,
                          real *max_exp_avg_sq, ptrdiff_t n) {
    ptrdiff_t i = 0;
    if (max_exp_avg_sq) {
        for (; i + LANES <= n; i += LANES) {
            vec m = vec_load(exp_avg + i), v = vec_load(exp_avg_sq + i), most = vec_load(max_exp_avg_sq + i);
            vec_store(param + i, FC(adam_vector)(a, vec_load(param + i), vec_load(grad + i), &m, &v, &most));
            vec_store(exp_avg + i, m);
            vec_store(exp_avg_sq + i, v);
            vec_store(max_exp_avg_sq + i, most);
        }
    } else {
        for (; i + LANES <= n; i += LANES) {
            vec m = vec_load(exp_avg + i), v = vec_load(exp_avg_sq + i);
            vec_store(param + i, FC(adam_vector)(a, vec_load(param + i), vec_load(grad + i), &m, &v, NULL));
            vec_store(exp_avg + i, m);
            vec_store(exp_avg_sq + i, v);
        }
    }
    if (i == n) return;
    const int tail = (int)(n - i);
    vec m = vec_load_n(exp_avg + i, tail), v = vec_load_n(exp_avg_sq + i, tail);
    vec most = max_exp_avg_sq ? vec_load_n(max_exp_avg_sq + i, tail) : (vec){0};
    const vec p = FC(adam_vector)(a, vec_load_n(param + i, tail), vec_load_n(grad + i, tail), &m, &v,
                                  max_exp_avg_sq ? &most : NULL);
    vec_store_n(param + i, p, tail);
    vec_store_n(exp_avg + i, m, tail);
    vec_store_n(exp_avg_sq + i, v, tail);
    if (max_exp_avg_sq) vec_store_n(max_exp_avg_sq + i, most, tail);
}
