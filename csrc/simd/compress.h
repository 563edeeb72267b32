/* The last of the vocabulary of simd.h: the lanes that are not zero, moved together.
 *
 *   compress(to, index, v, at)  writes the lanes of v that are not 0 (NaN is not), one behind the other, to `to`, the same
 *                               lanes of `at` to `index`, and returns their number; a whole vector is written to each */

#if defined(FC_ISA_AVX512)
FC_INLINE int compress_f32(float *to, int_f32 *index, vec_f32 v, ivec_f32 at) {
    const __mmask16 m = _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps(m, (__m512)v));
    _mm512_storeu_si512(index, _mm512_maskz_compress_epi32(m, (__m512i)at));
    return __builtin_popcount(m);
}
FC_INLINE int compress_f64(double *to, int_f64 *index, vec_f64 v, ivec_f64 at) {
    const __mmask8 m = _mm512_cmp_pd_mask((__m512d)v, _mm512_setzero_pd(), _CMP_NEQ_UQ);
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd(m, (__m512d)v));
    _mm512_storeu_si512(index, _mm512_maskz_compress_epi64(m, (__m512i)at));
    return __builtin_popcount(m);
}
#else
FC_INLINE int compress_f32(float *to, int_f32 *index, vec_f32 v, ivec_f32 at) {
    int n = 0;
    for (int i = 0; i < FC_LANES_f32; i++) {
        to[n] = v[i];
        index[n] = at[i];
        n += v[i] != 0;
    }
    return n;
}
FC_INLINE int compress_f64(double *to, int_f64 *index, vec_f64 v, ivec_f64 at) {
    int n = 0;
    for (int i = 0; i < FC_LANES_f64; i++) {
        to[n] = v[i];
        index[n] = at[i];
        n += v[i] != 0;
    }
    return n;
}
#endif
