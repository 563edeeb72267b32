/* Rows of n numbers: softmax, log-softmax, cross-entropy, and their gradients.
 *
 *   p[i] = exp(x[i] - m) / s,  m = max x,  s = sum exp(x[i] - m)        log p[i] = (x[i] - m) - log s
 *
 * A row is read two or three times and stays in L1 or L2 meanwhile: once for m, once for s (storing the exponentials
 * where they are wanted), once to scale.  Lanes past the end of a row read as -inf, so exp gives 0 there and the vector
 * code is the same for long rows, tails and rows of 10.  A NaN or +inf in a row, or nothing but -inf, makes x - m and
 * with it s NaN; the maximum itself passes over NaN. */

/* exp(x) within 1.5 ulp, correct to 0 and inf and with gradual underflow.  x = n log 2 + r with |r| <= log(2)/2, log 2
 * in two parts so that n times the first is exact; Taylor's series for exp(r), whose first term left out is 0.1 ulp;
 * times 2^n in two steps, as n may be out of the exponent's range.  Adding and subtracting 1.5 * 2^(mantissa bits)
 * rounds to an integer, which then is in the low bits. */
#if FC_REAL_BYTES == 4
#define EXP_TERMS 7
#define EXP_LOWEST -105.0f  /* exp is 0 below */
#define EXP_HIGHEST 90.0f   /* and inf above */
#define EXP_ROUND 0x1.8p23f
#define EXP_MANTISSA 23
#define EXP_ONE 0x3f800000
#define LOG2_HIGH 0x1.62e4p-1f
#define LOG2_LOW 0x1.7f7d1cp-20f
#else
#define EXP_TERMS 13
#define EXP_LOWEST -747.0
#define EXP_HIGHEST 711.0
#define EXP_ROUND 0x1.8p52
#define EXP_MANTISSA 52
#define EXP_ONE 0x3ff0000000000000
#define LOG2_HIGH 0x1.62e42feep-1
#define LOG2_LOW 0x1.a39ef35793c76p-33
#endif

/* 2^n for an integer n in the exponent's range */
FC_INLINE vec FC(power_of_two)(vec n) { return (vec)(((ivec)(n + EXP_ROUND) << EXP_MANTISSA) + EXP_ONE); }

FC_INLINE vec FC(exp)(vec x) {
    static const real reciprocal_factorial[] = {
        1, 1, (real)(1. / 2), (real)(1. / 6), (real)(1. / 24), (real)(1. / 120), (real)(1. / 720), (real)(1. / 5040),
        (real)(1. / 40320), (real)(1. / 362880), (real)(1. / 3628800), (real)(1. / 39916800), (real)(1. / 479001600),
        (real)(1. / 6227020800)};
    x = vec_max(vec_set1(EXP_LOWEST), x); /* a NaN stays: max gives its second argument */
    x = -vec_max(vec_set1(-EXP_HIGHEST), -x);
    const vec n = vec_fma(x, vec_set1((real)1.4426950408889634), vec_set1(EXP_ROUND)) - EXP_ROUND;
    vec r = vec_fma(n, vec_set1(-LOG2_HIGH), x);
    r = vec_fma(n, vec_set1(-LOG2_LOW), r);
    vec sum = vec_set1(reciprocal_factorial[EXP_TERMS]);
#pragma GCC unroll 16
    for (int i = EXP_TERMS - 1; i >= 0; i--) sum = vec_fma(sum, r, vec_set1(reciprocal_factorial[i]));
    const vec half = (n * (real)0.5 + EXP_ROUND) - EXP_ROUND;
    return sum * FC(power_of_two)(half) * FC(power_of_two)(n - half);
}

#ifndef FC_LOG
#define FC_LOG
/* log(x) of a normal x >= 1, or NaN, within 2 ulp of double: x = 2^k m with m in sqrt(1/2) .. sqrt(2);
 * log m = 2 atanh(f), f = (m - 1) / (m + 1), by its series, whose first term left out is 0.03 ulp. */
FC_INLINE double fc_log(double x) {
    if (!(x <= 1.7976931348623157e308)) return x; /* NaN, inf */
    int64_t bits;
    memcpy(&bits, &x, 8);
    const int64_t above = bits - 0x3fe6a09e667f3bcd; /* sqrt(1/2) */
    const double k = (double)(above >> 52);
    bits -= (above >> 52) * ((int64_t)1 << 52);
    memcpy(&x, &bits, 8);
    const double f = (x - 1) / (x + 1), square = f * f;
    double sum = 1. / 21;
#pragma GCC unroll 10
    for (int i = 19; i >= 3; i -= 2) sum = sum * square + 1. / i;
    return k * 0x1.62e42feep-1 + (2 * f + (2 * f * (square * sum) + k * 0x1.a39ef35793c76p-33));
}
#endif

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
            const vec e = FC(exp)(FC(load_or_lowest)(x + i, n - i) - m);
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

#undef EXP_TERMS
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef EXP_ROUND
#undef EXP_MANTISSA
#undef EXP_ONE
#undef LOG2_HIGH
#undef LOG2_LOW
