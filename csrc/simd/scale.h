/* More of the vocabulary of simd.h: powers of two.
 *
 *   scale(a, n)              a * 2^n for integers n (as floats), with gradual underflow and overflow to inf; |n| must
 *                            not be above twice the largest exponent */

#if defined(FC_ISA_AVX512)
FC_INLINE vec_f32 scale_f32(vec_f32 a, vec_f32 n) { return (vec_f32)_mm512_scalef_ps((__m512)a, (__m512)n); }
FC_INLINE vec_f64 scale_f64(vec_f64 a, vec_f64 n) { return (vec_f64)_mm512_scalef_pd((__m512d)a, (__m512d)n); }
#else
/* 2^n is put together from its bits, in two steps as n may be out of the exponent's range.  Adding 1.5 * 2^(mantissa
 * bits) rounds to an integer, which then is in the low bits. */
FC_INLINE vec_f32 power_of_two_f32(vec_f32 n) { return (vec_f32)(((ivec_f32)(n + 0x1.8p23f) << 23) + 0x3f800000); }
FC_INLINE vec_f64 power_of_two_f64(vec_f64 n) {
    return (vec_f64)(((ivec_f64)(n + 0x1.8p52) << 52) + 0x3ff0000000000000);
}
FC_INLINE vec_f32 scale_f32(vec_f32 a, vec_f32 n) {
    const vec_f32 half = (n * 0.5f + 0x1.8p23f) - 0x1.8p23f;
    return a * power_of_two_f32(half) * power_of_two_f32(n - half);
}
FC_INLINE vec_f64 scale_f64(vec_f64 a, vec_f64 n) {
    const vec_f64 half = (n * 0.5 + 0x1.8p52) - 0x1.8p52;
    return a * power_of_two_f64(half) * power_of_two_f64(n - half);
}
#endif

#define vec_scale FC(scale)
