/* The vocabulary of simd.h in SSE2, which every x86-64 has.  No fused multiply-add: a*b + c is rounded twice. */
#include "tails.h"
#include <emmintrin.h>

FC_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return a * b + c; }
FC_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return a * b + c; }
FC_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return (vec_f32)_mm_max_ps((__m128)a, (__m128)b); }
FC_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return (vec_f64)_mm_max_pd((__m128d)a, (__m128d)b); }
FC_INLINE vec_f32 sqrt_f32(vec_f32 a) { return (vec_f32)_mm_sqrt_ps((__m128)a); }
FC_INLINE vec_f64 sqrt_f64(vec_f64 a) { return (vec_f64)_mm_sqrt_pd((__m128d)a); }
