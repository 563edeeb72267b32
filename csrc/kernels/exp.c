/* exp, exp - 1 and log, for the kernels of activations and of softmax.
 *
 * x = n log 2 + r with |r| <= log(2)/2, log 2 in two parts so that n times the first is exact; Taylor's series for
 * exp(r), whose first term left out is 0.1 ulp; times 2^n.  Adding and subtracting 1.5 * 2^(mantissa bits) rounds to an
 * integer, which then is in the low bits. */
#if FC_REAL_BYTES == 4
#define EXP_TERMS 7
#define EXP_LOWEST -105.0f  /* exp is 0 below */
#define EXP_HIGHEST 90.0f   /* and inf above */
#define EXP_ROUND 0x1.8p23f
#define LOG_MANTISSA 23
#define LOG_SQRT_HALF 0x3f3504f3
#define LOG_TERMS 4
#define LOG2_HIGH 0x1.62e4p-1f
#define LOG2_LOW 0x1.7f7d1cp-20f
#else
#define EXP_TERMS 13
#define EXP_LOWEST -747.0
#define EXP_HIGHEST 711.0
#define EXP_ROUND 0x1.8p52
#define LOG_MANTISSA 52
#define LOG_SQRT_HALF 0x3fe6a09e667f3bcd
#define LOG_TERMS 10
#define LOG2_HIGH 0x1.62e42feep-1
#define LOG2_LOW 0x1.a39ef35793c76p-33
#endif

/* n and r of x = n log 2 + r */
FC_INLINE vec FC(exp_reduce)(vec x, vec *r) {
    const vec n = vec_fma(x, vec_set1((real)1.4426950408889634), vec_set1(EXP_ROUND)) - EXP_ROUND;
    *r = vec_fma(n, vec_set1(-LOG2_LOW), vec_fma(n, vec_set1(-LOG2_HIGH), x));
    return n;
}

/* 1/first! + r / (first + 1)! + r^2 / (first + 2)! ... */
FC_INLINE vec FC(exp_series)(vec r, int first) {
    static const real reciprocal_factorial[] = {
        1, 1, (real)(1. / 2), (real)(1. / 6), (real)(1. / 24), (real)(1. / 120), (real)(1. / 720), (real)(1. / 5040),
        (real)(1. / 40320), (real)(1. / 362880), (real)(1. / 3628800), (real)(1. / 39916800), (real)(1. / 479001600),
        (real)(1. / 6227020800)};
    vec sum = vec_set1(reciprocal_factorial[EXP_TERMS]);
#pragma GCC unroll 16
    for (int i = EXP_TERMS - 1; i >= first; i--) sum = vec_fma(sum, r, vec_set1(reciprocal_factorial[i]));
    return sum;
}

/* exp(x) of x <= 0 within 1.5 ulp, with gradual underflow to 0. */
FC_INLINE vec FC(exp_down)(vec x) {
    vec r;
    const vec n = FC(exp_reduce)(vec_max(vec_set1(EXP_LOWEST), x), &r); /* a NaN stays: max gives its second argument */
    return vec_scale(FC(exp_series)(r, 0), n);
}

/* exp(x) of any x, correct to 0 and inf. */
FC_INLINE vec FC(exp)(vec x) { return FC(exp_down)(-vec_max(vec_set1(-EXP_HIGHEST), -x)); }

/* exp(x) - 1 of a small x >= 0 (2^n is a normal number), within 2 ulp also near 0: (exp(r) - 1) 2^n + (2^n - 1). */
FC_INLINE vec FC(exp_minus_1)(vec x) {
    vec r;
    const vec n = FC(exp_reduce)(x, &r), power = vec_scale(vec_set1(1), n);
    return vec_fma(vec_fma(r * r, FC(exp_series)(r, 2), r), power, power - 1);
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

/* The same in the lanes of a vector, within 2 ulp; k comes out of its bits as n goes into them in scale.h. */
FC_INLINE vec FC(log)(vec x) {
    const ivec above = (ivec)x - (ireal)LOG_SQRT_HALF, k_bits = above >> LOG_MANTISSA;
    const vec k = (vec)(k_bits + (ivec)vec_set1(EXP_ROUND)) - EXP_ROUND;
    const vec m = (vec)((ivec)x - (k_bits << LOG_MANTISSA));
    const vec f = (m - 1) / (m + 1), square = f * f;
    vec sum = vec_set1((real)(1. / (2 * LOG_TERMS + 1)));
#pragma GCC unroll 10
    for (int i = 2 * LOG_TERMS - 1; i >= 3; i -= 2) sum = vec_fma(sum, square, vec_set1((real)(1. / i)));
    const vec small = vec_fma(f + f, square * sum, k * LOG2_LOW);
    const vec y = vec_fma(k, vec_set1(LOG2_HIGH), (f + f) + small);
    return vec_select(x < (real)INFINITY, y, x); /* inf and NaN are their own */
}

#undef EXP_TERMS
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef EXP_ROUND
#undef LOG_MANTISSA
#undef LOG_SQRT_HALF
#undef LOG_TERMS
#undef LOG2_HIGH
#undef LOG2_LOW
