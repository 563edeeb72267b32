/* More of the vocabulary of simd.h: masks that are made once and used in a loop.
 *
 *   vmask                    which lanes: a mask register where there are such, else an integer vector of 0 and -1
 *   mask_within(c, W)        lanes i with 0 <= c + i < W
 *   load_masked(p, m)        p[i] in the lanes of m, 0 in the others, which are not touched
 *   store_masked(p, m, v)    stores the lanes of m */

#if defined(FC_ISA_AVX512)
typedef __mmask16 vmask_f32;
typedef __mmask8 vmask_f64;
FC_INLINE vmask_f32 mask_within_f32(ptrdiff_t c, ptrdiff_t W) { return bits_between(-c, W - c); }
FC_INLINE vmask_f64 mask_within_f64(ptrdiff_t c, ptrdiff_t W) { return (__mmask8)bits_between(-c, W - c); }
FC_INLINE vec_f32 load_masked_f32(const float *p, vmask_f32 m) { return (vec_f32)_mm512_maskz_loadu_ps(m, p); }
FC_INLINE vec_f64 load_masked_f64(const double *p, vmask_f64 m) { return (vec_f64)_mm512_maskz_loadu_pd(m, p); }
FC_INLINE void store_masked_f32(float *p, vmask_f32 m, vec_f32 v) { _mm512_mask_storeu_ps(p, m, (__m512)v); }
FC_INLINE void store_masked_f64(double *p, vmask_f64 m, vec_f64 v) { _mm512_mask_storeu_pd(p, m, (__m512d)v); }
#else
typedef ivec_f32 vmask_f32;
typedef ivec_f64 vmask_f64;
FC_INLINE int32_t lanes_near(ptrdiff_t c) { return c < -64 ? -64 : c > 64 ? 64 : (int32_t)c; }
FC_INLINE vmask_f32 mask_within_f32(ptrdiff_t c, ptrdiff_t W) {
    return (iota_f32() >= lanes_near(-c)) & (iota_f32() < lanes_near(W - c));
}
FC_INLINE vmask_f64 mask_within_f64(ptrdiff_t c, ptrdiff_t W) {
    return (iota_f64() >= (int64_t)lanes_near(-c)) & (iota_f64() < (int64_t)lanes_near(W - c));
}
#if defined(FC_ISA_AVX2)
FC_INLINE vec_f32 load_masked_f32(const float *p, vmask_f32 m) { return (vec_f32)_mm256_maskload_ps(p, (__m256i)m); }
FC_INLINE vec_f64 load_masked_f64(const double *p, vmask_f64 m) { return (vec_f64)_mm256_maskload_pd(p, (__m256i)m); }
FC_INLINE void store_masked_f32(float *p, vmask_f32 m, vec_f32 v) { _mm256_maskstore_ps(p, (__m256i)m, (__m256)v); }
FC_INLINE void store_masked_f64(double *p, vmask_f64 m, vec_f64 v) { _mm256_maskstore_pd(p, (__m256i)m, (__m256d)v); }
#else
FC_INLINE vec_f32 load_masked_f32(const float *p, vmask_f32 m) {
    float lane[FC_LANES_f32] = {0};
    for (int i = 0; i < FC_LANES_f32; i++)
        if (m[i]) lane[i] = p[i];
    return load_f32(lane);
}
FC_INLINE vec_f64 load_masked_f64(const double *p, vmask_f64 m) {
    double lane[FC_LANES_f64] = {0};
    for (int i = 0; i < FC_LANES_f64; i++)
        if (m[i]) lane[i] = p[i];
    return load_f64(lane);
}
FC_INLINE void store_masked_f32(float *p, vmask_f32 m, vec_f32 v) {
    for (int i = 0; i < FC_LANES_f32; i++)
        if (m[i]) p[i] = v[i];
}
FC_INLINE void store_masked_f64(double *p, vmask_f64 m, vec_f64 v) {
    for (int i = 0; i < FC_LANES_f64; i++)
        if (m[i]) p[i] = v[i];
}
#endif
#endif

#define vmask FC(vmask)
#define vec_mask_within FC(mask_within)
#define vec_load_masked FC(load_masked)
#define vec_store_masked FC(store_masked)
