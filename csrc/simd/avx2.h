/* The vocabulary of simd.h in AVX2 and FMA. */
#include <immintrin.h>

FC_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return (vec_f32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
FC_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return (vec_f64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
FC_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return (vec_f32)_mm256_max_ps((__m256)a, (__m256)b); }
FC_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return (vec_f64)_mm256_max_pd((__m256d)a, (__m256d)b); }
FC_INLINE vec_f32 sqrt_f32(vec_f32 a) { return (vec_f32)_mm256_sqrt_ps((__m256)a); }
FC_INLINE vec_f64 sqrt_f64(vec_f64 a) { return (vec_f64)_mm256_sqrt_pd((__m256d)a); }

/* A mask of n leading lanes is read from the middle of -1...-1 0...0. */
static const int32_t mask_source_f32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const int64_t mask_source_f64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
FC_INLINE __m256i mask_f32(int n) { return _mm256_loadu_si256((const __m256i *)(mask_source_f32 + 8 - n)); }
FC_INLINE __m256i mask_f64(int n) { return _mm256_loadu_si256((const __m256i *)(mask_source_f64 + 4 - n)); }

FC_INLINE vec_f32 load_n_f32(const float *p, int n) { return (vec_f32)_mm256_maskload_ps(p, mask_f32(n)); }
FC_INLINE vec_f64 load_n_f64(const double *p, int n) { return (vec_f64)_mm256_maskload_pd(p, mask_f64(n)); }
FC_INLINE void store_n_f32(float *p, vec_f32 v, int n) { _mm256_maskstore_ps(p, mask_f32(n), (__m256)v); }
FC_INLINE void store_n_f64(double *p, vec_f64 v, int n) { _mm256_maskstore_pd(p, mask_f64(n), (__m256d)v); }

FC_INLINE vec_f32 select_f32(ivec_f32 m, vec_f32 a, vec_f32 b) { return (vec_f32)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m); }
FC_INLINE vec_f64 select_f64(ivec_f64 m, vec_f64 a, vec_f64 b) { return (vec_f64)_mm256_blendv_pd((__m256d)b, (__m256d)a, (__m256d)m); }
FC_INLINE ivec_f32 iselect_f32(ivec_f32 m, ivec_f32 a, ivec_f32 b) { return (ivec_f32)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m); }
FC_INLINE ivec_f64 iselect_f64(ivec_f64 m, ivec_f64 a, ivec_f64 b) { return (ivec_f64)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m); }

FC_INLINE float sum_f32(vec_f32 v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
FC_INLINE double sum_f64(vec_f64 v) {
    __m128d pair = _mm_add_pd(_mm256_castpd256_pd128((__m256d)v), _mm256_extractf128_pd((__m256d)v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}
