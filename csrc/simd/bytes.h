/* More of the vocabulary of simd.h: lanes to and from bytes and int64, halves of a vector, the step of a maximum.
 *
 *   from_bytes(p)            LANES bytes, each widened to an integer lane;  from_bytes_n: the first n, the others 0
 *   to_bytes(p, v)           the low byte of each integer lane (0 .. 255);  to_bytes_n: of the first n
 *   to_int64(p, v)           each integer lane as int64;  to_int64_n: the first n
 *   load_halves(a, b)        the lower half of the lanes from a, the upper from b;  store_halves(a, b, v)
 *   from_bytes_halves(a, b)  to_bytes_halves(a, b, v)  to_int64_halves(a, b, v): the same for half the lanes each
 *   load_within(row, c, W, fill)  row[c + i] in lane i where 0 <= c + i < W; fill in the others: touches nothing else
 *   load_parts(p, step)      16 bytes from each of p, p + step, p + 2 * step ..., a vector full
 *   keep_larger(&best, &code, v, c)    where v > best or v is NaN: best = v, code = c; so the first of equals and the
 *                            last NaN win, as in PyTorch's max_pool2d
 *   iota()  set1(i)          0, 1, 2 ...; i in all integer lanes;  ireal: the integer type of a lane
 *   bytes_to_real(v)         integer lanes 0 .. 255 as real numbers */

FC_INLINE ivec_f32 iset1_f32(int32_t i) { return i - (ivec_f32){0}; }
FC_INLINE ivec_f64 iset1_f64(int64_t i) { return i - (ivec_f64){0}; }
FC_INLINE vec_f32 bytes_to_real_f32(ivec_f32 v) { return __builtin_convertvector(v, vec_f32); }
/* The low bits of 2^52 are a counter of ones; few instruction sets convert int64 to double. */
FC_INLINE vec_f64 bytes_to_real_f64(ivec_f64 v) { return (vec_f64)(v | (ivec_f64)set1_f64(0x1p52)) - 0x1p52; }

static const int32_t fc_iota_f32_[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const int64_t fc_iota_f64_[8] = {0, 1, 2, 3, 4, 5, 6, 7};
FC_INLINE ivec_f32 iota_f32(void) {
    ivec_f32 v;
    memcpy(&v, fc_iota_f32_, sizeof v);
    return v;
}
FC_INLINE ivec_f64 iota_f64(void) {
    ivec_f64 v;
    memcpy(&v, fc_iota_f64_, sizeof v);
    return v;
}

#if defined(FC_ISA_AVX512)
FC_INLINE ivec_f32 from_bytes_f32(const uint8_t *p) {
    return (ivec_f32)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
FC_INLINE ivec_f64 from_bytes_f64(const uint8_t *p) {
    return (ivec_f64)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p));
}
FC_INLINE void to_bytes_f32(uint8_t *p, ivec_f32 v) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
}
FC_INLINE void to_bytes_f64(uint8_t *p, ivec_f64 v) {
    _mm_storel_epi64((__m128i *)p, _mm512_cvtepi64_epi8((__m512i)v));
}
FC_INLINE ivec_f32 from_bytes_n_f32(const uint8_t *p, int n) {
    return (ivec_f32)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p));
}
FC_INLINE ivec_f64 from_bytes_n_f64(const uint8_t *p, int n) {
    return (ivec_f64)_mm512_cvtepu8_epi64(_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p));
}
FC_INLINE void to_bytes_n_f32(uint8_t *p, ivec_f32 v, int n) {
    _mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1), _mm512_cvtepi32_epi8((__m512i)v));
}
FC_INLINE void to_bytes_n_f64(uint8_t *p, ivec_f64 v, int n) {
    _mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1), _mm512_cvtepi64_epi8((__m512i)v));
}
FC_INLINE void to_int64_f32(int64_t *p, ivec_f32 v) {
    _mm512_storeu_si512(p, _mm512_cvtepi32_epi64(_mm512_castsi512_si256((__m512i)v)));
    _mm512_storeu_si512(p + 8, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64((__m512i)v, 1)));
}
FC_INLINE void to_int64_halves_f32(int64_t *a, int64_t *b, ivec_f32 v) {
    _mm512_storeu_si512(a, _mm512_cvtepi32_epi64(_mm512_castsi512_si256((__m512i)v)));
    _mm512_storeu_si512(b, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64((__m512i)v, 1)));
}
FC_INLINE vec_f32 load_halves_f32(const float *a, const float *b) {
    return (vec_f32)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(a)), _mm256_loadu_ps(b), 1);
}
FC_INLINE vec_f64 load_halves_f64(const double *a, const double *b) {
    return (vec_f64)_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(a)), _mm256_loadu_pd(b), 1);
}
FC_INLINE void store_halves_f32(float *a, float *b, vec_f32 v) {
    _mm256_storeu_ps(a, _mm512_castps512_ps256((__m512)v));
    _mm256_storeu_ps(b, _mm512_extractf32x8_ps((__m512)v, 1));
}
FC_INLINE void store_halves_f64(double *a, double *b, vec_f64 v) {
    _mm256_storeu_pd(a, _mm512_castpd512_pd256((__m512d)v));
    _mm256_storeu_pd(b, _mm512_extractf64x4_pd((__m512d)v, 1));
}
FC_INLINE ivec_f32 from_bytes_halves_f32(const uint8_t *a, const uint8_t *b) {
    __m128d low = _mm_load_sd((const double *)(const void *)a);
    return (ivec_f32)_mm512_cvtepu8_epi32(_mm_castpd_si128(_mm_loadh_pd(low, (const double *)(const void *)b)));
}
FC_INLINE void to_bytes_halves_f32(uint8_t *a, uint8_t *b, ivec_f32 v) {
    __m128d bytes = _mm_castsi128_pd(_mm512_cvtepi32_epi8((__m512i)v));
    _mm_storel_pd((double *)(void *)a, bytes);
    _mm_storeh_pd((double *)(void *)b, bytes);
}
/* bits first .. last-1, both cut to 0 .. 16 */
FC_INLINE __mmask16 bits_between(ptrdiff_t first, ptrdiff_t last) {
    const int low = first < 0 ? 0 : first > 16 ? 16 : (int)first, high = last < 0 ? 0 : last > 16 ? 16 : (int)last;
    return (__mmask16)(((1u << high) - 1) & ~((1u << low) - 1));
}
FC_INLINE vec_f32 load_within_f32(const float *row, ptrdiff_t c, ptrdiff_t W, vec_f32 fill) {
    return (vec_f32)_mm512_mask_loadu_ps((__m512)fill, bits_between(-c, W - c), row + c);
}
FC_INLINE vec_f64 load_within_f64(const double *row, ptrdiff_t c, ptrdiff_t W, vec_f64 fill) {
    return (vec_f64)_mm512_mask_loadu_pd((__m512d)fill, (__mmask8)bits_between(-c, W - c), row + c);
}
FC_INLINE vec_f32 load_parts_f32(const float *p, ptrdiff_t step) {
    /* masked broadcasts: the parts find their place on the way from memory, not in the shuffle unit */
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(p + step));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(p + 2 * step));
    return (vec_f32)_mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(p + 3 * step));
}
FC_INLINE vec_f64 load_parts_f64(const double *p, ptrdiff_t step) {
    __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(p));
    v = _mm512_mask_broadcast_f64x2(v, 0x0c, _mm_loadu_pd(p + step));
    v = _mm512_mask_broadcast_f64x2(v, 0x30, _mm_loadu_pd(p + 2 * step));
    return (vec_f64)_mm512_mask_broadcast_f64x2(v, 0xc0, _mm_loadu_pd(p + 3 * step));
}
FC_INLINE void keep_larger_f32(vec_f32 *best, ivec_f32 *code, vec_f32 v, ivec_f32 c) {
    /* not NaN, and not greater: the old one stays (in this order, what needs *best comes last) */
    const __mmask16 number = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_ORD_Q);
    const __mmask16 stay = _mm512_mask_cmp_ps_mask(number, (__m512)v, (__m512)*best, _CMP_NGT_UQ);
    *best = (vec_f32)_mm512_mask_mov_ps((__m512)v, stay, (__m512)*best);
    *code = (ivec_f32)_mm512_mask_mov_epi32((__m512i)c, stay, (__m512i)*code);
}
FC_INLINE void keep_larger_f64(vec_f64 *best, ivec_f64 *code, vec_f64 v, ivec_f64 c) {
    const __mmask8 number = _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_ORD_Q);
    const __mmask8 stay = _mm512_mask_cmp_pd_mask(number, (__m512d)v, (__m512d)*best, _CMP_NGT_UQ);
    *best = (vec_f64)_mm512_mask_mov_pd((__m512d)v, stay, (__m512d)*best);
    *code = (ivec_f64)_mm512_mask_mov_epi64((__m512i)c, stay, (__m512i)*code);
}

#else

#if defined(FC_ISA_AVX2)
FC_INLINE ivec_f32 from_bytes_f32(const uint8_t *p) {
    return (ivec_f32)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
FC_INLINE ivec_f64 from_bytes_f64(const uint8_t *p) {
    int32_t bytes;
    memcpy(&bytes, p, 4);
    return (ivec_f64)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes));
}
FC_INLINE void to_bytes_f32(uint8_t *p, ivec_f32 v) {
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}
FC_INLINE void to_bytes_f64(uint8_t *p, ivec_f64 v) {
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    words = _mm_packus_epi32(words, words);
    int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    memcpy(p, &bytes, 4);
}
#else
FC_INLINE ivec_f32 from_bytes_f32(const uint8_t *p) {
    ivec_f32 v = {0};
    for (int i = 0; i < FC_LANES_f32; i++) v[i] = p[i];
    return v;
}
FC_INLINE ivec_f64 from_bytes_f64(const uint8_t *p) {
    ivec_f64 v = {0};
    for (int i = 0; i < FC_LANES_f64; i++) v[i] = p[i];
    return v;
}
FC_INLINE void to_bytes_f32(uint8_t *p, ivec_f32 v) {
    for (int i = 0; i < FC_LANES_f32; i++) p[i] = (uint8_t)v[i];
}
FC_INLINE void to_bytes_f64(uint8_t *p, ivec_f64 v) {
    for (int i = 0; i < FC_LANES_f64; i++) p[i] = (uint8_t)v[i];
}
#endif

FC_INLINE ivec_f32 from_bytes_n_f32(const uint8_t *p, int n) {
    uint8_t bytes[FC_LANES_f32] = {0};
    for (int i = 0; i < n; i++) bytes[i] = p[i];
    return from_bytes_f32(bytes);
}
FC_INLINE ivec_f64 from_bytes_n_f64(const uint8_t *p, int n) {
    uint8_t bytes[FC_LANES_f64] = {0};
    for (int i = 0; i < n; i++) bytes[i] = p[i];
    return from_bytes_f64(bytes);
}
FC_INLINE void to_bytes_n_f32(uint8_t *p, ivec_f32 v, int n) {
    for (int i = 0; i < n; i++) p[i] = (uint8_t)v[i];
}
FC_INLINE void to_bytes_n_f64(uint8_t *p, ivec_f64 v, int n) {
    for (int i = 0; i < n; i++) p[i] = (uint8_t)v[i];
}
FC_INLINE void to_int64_f32(int64_t *p, ivec_f32 v) {
#if defined(FC_ISA_AVX2)
    _mm256_storeu_si256((__m256i *)p, _mm256_cvtepi32_epi64(_mm256_castsi256_si128((__m256i)v)));
    _mm256_storeu_si256((__m256i *)(p + 4), _mm256_cvtepi32_epi64(_mm256_extracti128_si256((__m256i)v, 1)));
#else
    for (int i = 0; i < FC_LANES_f32; i++) p[i] = v[i];
#endif
}
FC_INLINE void to_int64_halves_f32(int64_t *a, int64_t *b, ivec_f32 v) {
    int64_t lane[FC_LANES_f32];
    to_int64_f32(lane, v);
    memcpy(a, lane, sizeof lane / 2);
    memcpy(b, lane + FC_LANES_f32 / 2, sizeof lane / 2);
}
#if defined(FC_ISA_AVX2)
/* c and W - c, cut to what a lane number can be compared with */
FC_INLINE int near_lanes(ptrdiff_t i) { return i < -64 ? -64 : i > 64 ? 64 : (int)i; }
FC_INLINE vec_f32 load_within_f32(const float *row, ptrdiff_t c, ptrdiff_t W, vec_f32 fill) {
    const ivec_f32 m = (iota_f32() >= near_lanes(-c)) & (iota_f32() < near_lanes(W - c));
    return select_f32(m, (vec_f32)_mm256_maskload_ps(row + c, (__m256i)m), fill);
}
FC_INLINE vec_f64 load_within_f64(const double *row, ptrdiff_t c, ptrdiff_t W, vec_f64 fill) {
    const ivec_f64 m = (iota_f64() >= near_lanes(-c)) & (iota_f64() < near_lanes(W - c));
    return select_f64(m, (vec_f64)_mm256_maskload_pd(row + c, (__m256i)m), fill);
}
FC_INLINE vec_f32 load_halves_f32(const float *a, const float *b) {
    return (vec_f32)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
}
FC_INLINE vec_f64 load_halves_f64(const double *a, const double *b) {
    return (vec_f64)_mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(a)), _mm_loadu_pd(b), 1);
}
FC_INLINE vec_f32 load_parts_f32(const float *p, ptrdiff_t step) { return load_halves_f32(p, p + step); }
FC_INLINE vec_f64 load_parts_f64(const double *p, ptrdiff_t step) { return load_halves_f64(p, p + step); }
#else
FC_INLINE vec_f32 load_within_f32(const float *row, ptrdiff_t c, ptrdiff_t W, vec_f32 fill) {
    for (ptrdiff_t i = c < 0 ? -c : 0; i < FC_LANES_f32 && c + i < W; i++) fill[i] = row[c + i];
    return fill;
}
FC_INLINE vec_f64 load_within_f64(const double *row, ptrdiff_t c, ptrdiff_t W, vec_f64 fill) {
    for (ptrdiff_t i = c < 0 ? -c : 0; i < FC_LANES_f64 && c + i < W; i++) fill[i] = row[c + i];
    return fill;
}
FC_INLINE vec_f32 load_halves_f32(const float *a, const float *b) {
    vec_f32 v;
    memcpy(&v, a, FC_VBYTES / 2);
    memcpy((char *)&v + FC_VBYTES / 2, b, FC_VBYTES / 2);
    return v;
}
FC_INLINE vec_f64 load_halves_f64(const double *a, const double *b) {
    vec_f64 v;
    memcpy(&v, a, FC_VBYTES / 2);
    memcpy((char *)&v + FC_VBYTES / 2, b, FC_VBYTES / 2);
    return v;
}
FC_INLINE vec_f32 load_parts_f32(const float *p, ptrdiff_t step) { return (void)step, load_f32(p); }
FC_INLINE vec_f64 load_parts_f64(const double *p, ptrdiff_t step) { return (void)step, load_f64(p); }
#endif
FC_INLINE void store_halves_f32(float *a, float *b, vec_f32 v) {
    memcpy(a, &v, FC_VBYTES / 2);
    memcpy(b, (char *)&v + FC_VBYTES / 2, FC_VBYTES / 2);
}
FC_INLINE void store_halves_f64(double *a, double *b, vec_f64 v) {
    memcpy(a, &v, FC_VBYTES / 2);
    memcpy(b, (char *)&v + FC_VBYTES / 2, FC_VBYTES / 2);
}
FC_INLINE ivec_f32 from_bytes_halves_f32(const uint8_t *a, const uint8_t *b) {
    uint8_t bytes[FC_LANES_f32];
    memcpy(bytes, a, FC_LANES_f32 / 2);
    memcpy(bytes + FC_LANES_f32 / 2, b, FC_LANES_f32 / 2);
    return from_bytes_f32(bytes);
}
FC_INLINE void to_bytes_halves_f32(uint8_t *a, uint8_t *b, ivec_f32 v) {
    uint8_t bytes[FC_LANES_f32];
    to_bytes_f32(bytes, v);
    memcpy(a, bytes, FC_LANES_f32 / 2);
    memcpy(b, bytes + FC_LANES_f32 / 2, FC_LANES_f32 / 2);
}
FC_INLINE void keep_larger_f32(vec_f32 *best, ivec_f32 *code, vec_f32 v, ivec_f32 c) {
    ivec_f32 take = (v > *best) | (v != v);
    *best = select_f32(take, v, *best);
    *code = iselect_f32(take, c, *code);
}
FC_INLINE void keep_larger_f64(vec_f64 *best, ivec_f64 *code, vec_f64 v, ivec_f64 c) {
    ivec_f64 take = (v > *best) | (v != v);
    *best = select_f64(take, v, *best);
    *code = iselect_f64(take, c, *code);
}
#endif

FC_INLINE void to_int64_f64(int64_t *p, ivec_f64 v) { memcpy(p, &v, sizeof v); }
FC_INLINE void to_int64_halves_f64(int64_t *a, int64_t *b, ivec_f64 v) {
    memcpy(a, &v, sizeof v / 2);
    memcpy(b, (char *)&v + sizeof v / 2, sizeof v / 2);
}
FC_INLINE void to_int64_n_f32(int64_t *p, ivec_f32 v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
FC_INLINE void to_int64_n_f64(int64_t *p, ivec_f64 v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
FC_INLINE ivec_f64 from_bytes_halves_f64(const uint8_t *a, const uint8_t *b) {
    uint8_t bytes[FC_LANES_f64];
    memcpy(bytes, a, FC_LANES_f64 / 2);
    memcpy(bytes + FC_LANES_f64 / 2, b, FC_LANES_f64 / 2);
    return from_bytes_f64(bytes);
}
FC_INLINE void to_bytes_halves_f64(uint8_t *a, uint8_t *b, ivec_f64 v) {
    uint8_t bytes[FC_LANES_f64];
    to_bytes_f64(bytes, v);
    memcpy(a, bytes, FC_LANES_f64 / 2);
    memcpy(b, bytes + FC_LANES_f64 / 2, FC_LANES_f64 / 2);
}

#define ireal FC(int)
#define ivec_set1 FC(iset1)
#define ivec_iota FC(iota)
#define vec_bytes_to_real FC(bytes_to_real)
#define ivec_from_bytes FC(from_bytes)
#define ivec_from_bytes_n FC(from_bytes_n)
#define ivec_from_bytes_halves FC(from_bytes_halves)
#define ivec_to_bytes FC(to_bytes)
#define ivec_to_bytes_n FC(to_bytes_n)
#define ivec_to_bytes_halves FC(to_bytes_halves)
#define ivec_to_int64 FC(to_int64)
#define ivec_to_int64_halves FC(to_int64_halves)
#define ivec_to_int64_n FC(to_int64_n)
#define vec_load_within FC(load_within)
#define vec_load_parts FC(load_parts)
#define vec_load_halves FC(load_halves)
#define vec_store_halves FC(store_halves)
#define vec_keep_larger FC(keep_larger)
