/* The vocabulary of simd.h in GCC vector extensions alone, for any other machine. */
#include "tails.h"

FC_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return a * b + c; }
FC_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return a * b + c; }
FC_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return select_f32(a > b, a, b); }
FC_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return select_f64(a > b, a, b); }
FC_INLINE vec_f32 sqrt_f32(vec_f32 a) {
    for (int i = 0; i < FC_LANES_f32; i++) a[i] = sqrtf(a[i]);
    return a;
}
FC_INLINE vec_f64 sqrt_f64(vec_f64 a) {
    for (int i = 0; i < FC_LANES_f64; i++) a[i] = sqrt(a[i]);
    return a;
}
