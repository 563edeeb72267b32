/* Rows of n numbers: softmax, log-softmax, cross-entropy, and their gradients.
 *
 *   p[i] = exp(x[i] - m) / s,  m = max x,  s = sum exp(x[i] - m)        log p[i] = (x[i] - m) - log s
 *
 * A row is read two or three times and stays in L1 or L2 meanwhile: once for m, once for s (storing the exponentials
 * where they are wanted), once to scale.  Lanes past the end of a row read as -inf, so exp gives 0 there and the vector
 * code is the same for long rows, tails and rows of 10.  A NaN or +inf in a row, or nothing but -inf, makes x - m and
 * with it s NaN; the maximum itself passes over NaN. */

/* Lanes 0 .. n-1 of p; -inf in the others. */
FC_INLINE vec FC(load_or_lowest)(const real *p, ptrdiff_t n) {
    if (n >= LANES) return vec_load(p);
    return vec_select(ivec_iota() < (ireal)n, vec_load_n(p, (int)n), vec_set1(-(real)INFINITY));
}

FC_INLINE real FC(row_max)(const real *x, ptrdiff_t n) {
    vec largest = vec_set1(-(real)INFINITY);
    for (ptrdiff_t i = 0; i < n; i += LANES) largest = vec_max(FC(load_or_lowest)(x + i, n - i), largest);
    return vec_max_lanes(largest);
}

/* The first n elements, at most LANES; the other lanes are 0. */
FC_INLINE vec FC(load_part)(const real *p, ptrdiff_t n) { return n >= LANES ? vec_load(p) : vec_load_n(p, (int)n); }

FC_INLINE void FC(store_part)(real *p, vec v, ptrdiff_t n) {
    if (n >= LANES) vec_store(p, v);
    else vec_store_n(p, v, (int)n);
}

/* Sum of exp(x[i] - m), in pieces as in sums.c; the terms go to y unless that is NULL. */
FC_INLINE real FC(sum_exp)(const real *x, real m, real *y, ptrdiff_t n) {
    vec total = {0};
    for (ptrdiff_t piece = 0; piece < n; piece += FC(SUM_PIECE)) {
        const ptrdiff_t end = n - piece < FC(SUM_PIECE) ? n : piece + FC(SUM_PIECE);
        vec sum = {0};
        for (ptrdiff_t i = piece; i < end; i += LANES) {
            const vec e = FC(exp_down)(FC(load_or_lowest)(x + i, n - i) - m);
            sum += e;
            if (y) FC(store_part)(y + i, e, n - i);
        }
        total += sum;
    }
    return vec_sum(total);
}

void KERNEL(softmax_forward)(const real *x, real *y, ptrdiff_t rows, ptrdiff_t n, int log) {
    for (ptrdiff_t row = 0; row < rows; row++, x += n, y += n) {
        const real m = FC(row_max)(x, n);
        const real sum = FC(sum_exp)(x, m, log ? NULL : y, n);
        const real log_sum = log ? (real)fc_log(sum) : 0;
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            if (log) FC(store_part)(y + i, (FC(load_part)(x + i, n - i) - m) - log_sum, n - i);
            else FC(store_part)(y + i, FC(load_part)(y + i, n - i) / sum, n - i);
        }
    }
}

/* softmax: grad_x = y * (grad_y - sum grad_y * y);  log: grad_x = grad_y - exp(y) * sum grad_y */
void KERNEL(softmax_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t rows, ptrdiff_t n,
                                 int log) {
    for (ptrdiff_t row = 0; row < rows; row++, grad_y += n, y += n, grad_x += n) {
        const vec sum = vec_set1(vec_sum(FC(sum_products)(grad_y, log ? NULL : y, n)));
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec g = FC(load_part)(grad_y + i, n - i), v = FC(load_part)(y + i, n - i);
            FC(store_part)(grad_x + i, log ? g - FC(exp)(v) * sum : v * (g - sum), n - i);
        }
    }
}

/* Sum over c of w[c] * -log p[c]; w NULL: all 1. */
FC_INLINE real FC(smoothing_loss)(const real *x, const real *weight, real m, real log_sum, ptrdiff_t n) {
    vec sum = {0};
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        vec loss = log_sum - (FC(load_part)(x + i, n - i) - m);
        if (weight) loss *= FC(load_part)(weight + i, n - i);
        sum += n - i < LANES ? vec_select(ivec_iota() < (ireal)(n - i), loss, (vec){0}) : loss;
    }
    return vec_sum(sum);
}

void KERNEL(cross_entropy_forward)(const fc_cross_entropy *job, const real *x, const int64_t *target,
                                      const real *weight, real *losses, ptrdiff_t rows) {
    const ptrdiff_t n = job->n;
    const real a = (real)job->label_smoothing, keep = (real)(1 - job->label_smoothing);
    const real share = (real)(job->label_smoothing / (double)n);
    for (ptrdiff_t row = 0; row < rows; row++, x += n) {
        losses[row] = 0;
        if (target[row] == job->ignore_index) continue;
        const real m = FC(row_max)(x, n);
        const real log_sum = (real)fc_log(FC(sum_exp)(x, m, NULL, n));
        const real w = weight ? weight[target[row]] : 1;
        losses[row] = keep * (w * (log_sum - (x[target[row]] - m)));
        /* without smoothing a class of probability 0 must not give 0 * inf */
        if (a != 0) losses[row] += share * FC(smoothing_loss)(x, weight, m, log_sum, n);
    }
}

/* With each class's share of the loss, share[c] = a/n w[c] + (c == target) (1 - a) w[target]:
 * grad_x[c] = scale * (p[c] * sum share - share[c]) */
void KERNEL(cross_entropy_backward)(const fc_cross_entropy *job, const real *scale, const real *x,
                                       const int64_t *target, const real *weight, real *grad_x, ptrdiff_t rows) {
    const ptrdiff_t n = job->n;
    const real each = (real)(job->label_smoothing / (double)n);
    for (ptrdiff_t row = 0; row < rows; row++, x += n, grad_x += n) {
        if (target[row] == job->ignore_index) {
            memset(grad_x, 0, (size_t)n * sizeof *grad_x);
            continue;
        }
        const real m = FC(row_max)(x, n);
        const real sum = FC(sum_exp)(x, m, grad_x, n);
        const double w = weight ? weight[target[row]] : 1;
        const double target_share = (1 - job->label_smoothing) * w;
        const double total = job->label_smoothing / (double)n * job->weight_sum + target_share;
        const real p_target = grad_x[target[row]] / sum;
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec w_c = weight ? FC(load_part)(weight + i, n - i) : vec_set1(1);
            const vec p = FC(load_part)(grad_x + i, n - i) / sum;
            FC(store_part)(grad_x + i, (p * (real)total - w_c * each) * scale[row], n - i);
        }
        grad_x[target[row]] = (real)(p_target * total - (each * w + target_share)) * scale[row];
    }
}

/* Class probabilities as targets: with share[c] = weight[c] * ((1 - a) target[c] + a/n), a the label smoothing,
 * losses = -sum over c of share[c] log p[c].  A share of 0 does not excuse a probability of 0: that is NaN. */
FC_INLINE vec FC(soft_share)(const fc_cross_entropy *job, const real *target, const real *weight, ptrdiff_t n) {
    vec share = FC(load_part)(target, n);
    if (job->label_smoothing != 0)
        share = share * (real)(1 - job->label_smoothing) + (real)(job->label_smoothing / (double)job->n);
    return weight ? share * FC(load_part)(weight, n) : share;
}

void KERNEL(soft_cross_entropy_forward)(const fc_cross_entropy *job, const real *x, const real *target,
                                        const real *weight, real *losses, ptrdiff_t rows) {
    const ptrdiff_t n = job->n;
    for (ptrdiff_t row = 0; row < rows; row++, x += n, target += n) {
        const real m = FC(row_max)(x, n);
        const real log_sum = (real)fc_log(FC(sum_exp)(x, m, NULL, n));
        vec sum = {0};
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec share = FC(soft_share)(job, target + i, weight ? weight + i : NULL, n - i);
            const vec loss = share * (log_sum - (FC(load_part)(x + i, n - i) - m));
            sum += n - i < LANES ? vec_select(ivec_iota() < (ireal)(n - i), loss, (vec){0}) : loss;
        }
        losses[row] = vec_sum(sum);
    }
}

/* grad_x[c] = scale * (p[c] * sum share - share[c]) */
void KERNEL(soft_cross_entropy_backward)(const fc_cross_entropy *job, const real *scale, const real *x,
                                         const real *target, const real *weight, real *grad_x, ptrdiff_t rows) {
    const ptrdiff_t n = job->n;
    for (ptrdiff_t row = 0; row < rows; row++, x += n, target += n, grad_x += n) {
        const real m = FC(row_max)(x, n);
        const real sum = FC(sum_exp)(x, m, grad_x, n);
        vec shares = {0};
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec share = FC(soft_share)(job, target + i, weight ? weight + i : NULL, n - i);
            shares += n - i < LANES ? vec_select(ivec_iota() < (ireal)(n - i), share, (vec){0}) : share;
        }
        const real total = vec_sum(shares);
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec share = FC(soft_share)(job, target + i, weight ? weight + i : NULL, n - i);
            FC(store_part)(grad_x + i, (FC(load_part)(grad_x + i, n - i) / sum * total - share) * scale[row], n - i);
        }
    }
}
