/* The vocabulary of simd.h in AVX-512 (F, DQ, BW, VL). */
#include <immintrin.h>

FC_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return (vec_f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
FC_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return (vec_f64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
FC_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return (vec_f32)_mm512_max_ps((__m512)a, (__m512)b); }
FC_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return (vec_f64)_mm512_max_pd((__m512d)a, (__m512d)b); }
FC_INLINE vec_f32 sqrt_f32(vec_f32 a) { return (vec_f32)_mm512_sqrt_ps((__m512)a); }
FC_INLINE vec_f64 sqrt_f64(vec_f64 a) { return (vec_f64)_mm512_sqrt_pd((__m512d)a); }

FC_INLINE vec_f32 load_n_f32(const float *p, int n) { return (vec_f32)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
FC_INLINE vec_f64 load_n_f64(const double *p, int n) { return (vec_f64)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p); }
FC_INLINE void store_n_f32(float *p, vec_f32 v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
FC_INLINE void store_n_f64(double *p, vec_f64 v, int n) { _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v); }

FC_INLINE vec_f32 select_f32(ivec_f32 m, vec_f32 a, vec_f32 b) {
    return (vec_f32)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)m), (__m512)b, (__m512)a);
}
FC_INLINE vec_f64 select_f64(ivec_f64 m, vec_f64 a, vec_f64 b) {
    return (vec_f64)_mm512_mask_blend_pd(_mm512_movepi64_mask((__m512i)m), (__m512d)b, (__m512d)a);
}
FC_INLINE ivec_f32 iselect_f32(ivec_f32 m, ivec_f32 a, ivec_f32 b) {
    return (ivec_f32)_mm512_mask_blend_epi32(_mm512_movepi32_mask((__m512i)m), (__m512i)b, (__m512i)a);
}
FC_INLINE ivec_f64 iselect_f64(ivec_f64 m, ivec_f64 a, ivec_f64 b) {
    return (ivec_f64)_mm512_mask_blend_epi64(_mm512_movepi64_mask((__m512i)m), (__m512i)b, (__m512i)a);
}

FC_INLINE float sum128_f32(__m128 v) {
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
FC_INLINE float sum_f32(vec_f32 v) {
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
    return sum128_f32(_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
FC_INLINE double sum_f64(vec_f64 v) {
    __m256d half = _mm256_add_pd(_mm512_castpd512_pd256((__m512d)v), _mm512_extractf64x4_pd((__m512d)v, 1));
    __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}
