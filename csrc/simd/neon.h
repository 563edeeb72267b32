/* The vocabulary of simd.h in NEON (AArch64). */
#include "tails.h"
#include <arm_neon.h>

FC_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return (vec_f32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
FC_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return (vec_f64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
FC_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return select_f32(a > b, a, b); }
FC_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return select_f64(a > b, a, b); }
FC_INLINE vec_f32 sqrt_f32(vec_f32 a) { return (vec_f32)vsqrtq_f32((float32x4_t)a); }
FC_INLINE vec_f64 sqrt_f64(vec_f64 a) { return (vec_f64)vsqrtq_f64((float64x2_t)a); }
