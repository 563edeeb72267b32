/* Moving lanes about: interleave, deinterleave, transpose, for one element type.
 *
 * A shuffle wants its lane numbers as literals, so they are written out for each vector length.  PARTS interleave each
 * part of 16 bytes by itself. */

#if FC_VBYTES == 64 && FC_REAL_BYTES == 4
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define PARTS_LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define PARTS_HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define SHIFT_UP 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SWAP_1_LOW 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define SWAP_1_HIGH 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define SWAP_2_LOW 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define SWAP_2_HIGH 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define SWAP_4_LOW 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define SWAP_4_HIGH 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define SWAP_8_LOW 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define SWAP_8_HIGH 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#elif FC_VBYTES / FC_REAL_BYTES == 8
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#if FC_REAL_BYTES == 4
#define PARTS_LOW 0, 8, 1, 9, 4, 12, 5, 13
#define PARTS_HIGH 2, 10, 3, 11, 6, 14, 7, 15
#else
#define PARTS_LOW 0, 8, 2, 10, 4, 12, 6, 14
#define PARTS_HIGH 1, 9, 3, 11, 5, 13, 7, 15
#endif
#define SHIFT_UP 8, 0, 1, 2, 3, 4, 5, 6
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#define ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15
#define SWAP_1_LOW 0, 8, 2, 10, 4, 12, 6, 14
#define SWAP_1_HIGH 1, 9, 3, 11, 5, 13, 7, 15
#define SWAP_2_LOW 0, 1, 8, 9, 4, 5, 12, 13
#define SWAP_2_HIGH 2, 3, 10, 11, 6, 7, 14, 15
#define SWAP_4_LOW 0, 1, 2, 3, 8, 9, 10, 11
#define SWAP_4_HIGH 4, 5, 6, 7, 12, 13, 14, 15
#elif FC_VBYTES / FC_REAL_BYTES == 4
#define INTERLEAVE_LOW 0, 4, 1, 5
#define INTERLEAVE_HIGH 2, 6, 3, 7
#if FC_REAL_BYTES == 4
#define PARTS_LOW 0, 4, 1, 5
#define PARTS_HIGH 2, 6, 3, 7
#else
#define PARTS_LOW 0, 4, 2, 6
#define PARTS_HIGH 1, 5, 3, 7
#endif
#define SHIFT_UP 4, 0, 1, 2
#define EVEN_LANES 0, 2, 4, 6
#define ODD_LANES 1, 3, 5, 7
#define SWAP_1_LOW 0, 4, 2, 6
#define SWAP_1_HIGH 1, 5, 3, 7
#define SWAP_2_LOW 0, 1, 4, 5
#define SWAP_2_HIGH 2, 3, 6, 7
#else
#define INTERLEAVE_LOW 0, 2
#define INTERLEAVE_HIGH 1, 3
#define PARTS_LOW 0, 2
#define PARTS_HIGH 1, 3
#define SHIFT_UP 2, 0
#define EVEN_LANES 0, 2
#define ODD_LANES 1, 3
#define SWAP_1_LOW 0, 2
#define SWAP_1_HIGH 1, 3
#endif

#ifndef FC_SHUFFLE
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef FC_SHUFFLE
#define FC_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
#endif

/* a0 b0 a1 b1 ... in *low, *high */
FC_INLINE void vec_interleave(vec a, vec b, vec *low, vec *high) {
    *low = FC_SHUFFLE(a, b, INTERLEAVE_LOW);
    *high = FC_SHUFFLE(a, b, INTERLEAVE_HIGH);
}

/* The even and the odd elements of the sequence a, b. */
FC_INLINE void vec_deinterleave(vec a, vec b, vec *even, vec *odd) {
    *even = FC_SHUFFLE(a, b, EVEN_LANES);
    *odd = FC_SHUFFLE(a, b, ODD_LANES);
}

/* b[0] a[0] a[1] ...: a one lane up. */
FC_INLINE vec vec_shift_up(vec a, vec b) { return FC_SHUFFLE(a, b, SHIFT_UP); }

/* p[0], p[stride], p[2 * stride] ...  Stride 2 reads whole vectors: 2 * LANES elements. */
FC_INLINE vec vec_load_strided(const real *p, ptrdiff_t stride) {
    if (stride == 1) return vec_load(p);
    vec even, odd;
    if (stride == 2) {
        vec_deinterleave(vec_load(p), vec_load(p + LANES), &even, &odd);
        return even;
    }
    real lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = p[i * stride];
    return vec_load(lane);
}

/* rows[i] lane j <-> rows[j] lane i: for each bit d of the two numbers, exchange it between row and lane. */
#define SWAP_BIT(d)                                                  \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) if (!(i & d)) { \
        vec low = FC_SHUFFLE(rows[i], rows[i + d], SWAP_##d##_LOW);  \
        rows[i + d] = FC_SHUFFLE(rows[i], rows[i + d], SWAP_##d##_HIGH); \
        rows[i] = low;                                               \
    }
FC_INLINE void vec_transpose(vec rows[LANES]) {
    SWAP_BIT(1)
#ifdef SWAP_2_LOW
    SWAP_BIT(2)
#endif
#ifdef SWAP_4_LOW
    SWAP_BIT(4)
#endif
#ifdef SWAP_8_LOW
    SWAP_BIT(8)
#endif
}
#undef SWAP_BIT

/* The largest lane; none may be NaN. */
FC_INLINE real vec_max_lanes(vec a) {
#ifdef SWAP_8_LOW
    a = vec_max(a, FC_SHUFFLE(a, a, SWAP_8_HIGH));
#endif
#ifdef SWAP_4_LOW
    a = vec_max(a, FC_SHUFFLE(a, a, SWAP_4_HIGH));
#endif
#ifdef SWAP_2_LOW
    a = vec_max(a, FC_SHUFFLE(a, a, SWAP_2_HIGH));
#endif
    a = vec_max(a, FC_SHUFFLE(a, a, SWAP_1_HIGH));
    return a[0];
}

/* rows[i] lane j = p[j * step + i].  The parts of 16 bytes are loaded to where they belong, so that squares of 4
 * (float) or 2 (double) remain to be transposed within them. */
FC_INLINE void vec_load_transposed(const real *p, ptrdiff_t step, vec rows[LANES]) {
    enum { PART = 16 / sizeof(real) };
#pragma GCC unroll 8
    for (int c = 0; c < LANES; c += PART) {
        vec r[PART], low[2], high[2];
#pragma GCC unroll 4
        for (int i = 0; i < PART; i++) r[i] = vec_load_parts(p + c + i * step, PART * step);
#pragma GCC unroll 2
        for (int i = 0; i < PART / 2; i++) {
            low[i] = FC_SHUFFLE(r[2 * i], r[2 * i + 1], PARTS_LOW);
            high[i] = FC_SHUFFLE(r[2 * i], r[2 * i + 1], PARTS_HIGH);
        }
#if FC_REAL_BYTES == 4
        rows[c] = FC_SHUFFLE(low[0], low[1], SWAP_2_LOW);
        rows[c + 1] = FC_SHUFFLE(low[0], low[1], SWAP_2_HIGH);
        rows[c + 2] = FC_SHUFFLE(high[0], high[1], SWAP_2_LOW);
        rows[c + 3] = FC_SHUFFLE(high[0], high[1], SWAP_2_HIGH);
#else
        rows[c] = low[0];
        rows[c + 1] = high[0];
#endif
    }
}

/* Lane q: the sum of the lanes of rows[q], in the order of vec_sum.  Half as many rows are left after each step. */
#define ADD_HALVES(d)                                              \
    _Pragma("GCC unroll 8") for (int i = 0; i < d; i++) {          \
        vec low = FC_SHUFFLE(rows[i], rows[i + d], SWAP_##d##_LOW); \
        rows[i] = low + FC_SHUFFLE(rows[i], rows[i + d], SWAP_##d##_HIGH); \
    }
FC_INLINE vec vec_sum_rows(vec rows[LANES]) {
#ifdef SWAP_8_LOW
    ADD_HALVES(8)
#endif
#ifdef SWAP_4_LOW
    ADD_HALVES(4)
#endif
#ifdef SWAP_2_LOW
    ADD_HALVES(2)
#endif
    ADD_HALVES(1)
    return rows[0];
}
#undef ADD_HALVES

#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
#undef PARTS_LOW
#undef PARTS_HIGH
#undef SHIFT_UP
#undef EVEN_LANES
#undef ODD_LANES
#undef SWAP_1_LOW
#undef SWAP_1_HIGH
#undef SWAP_2_LOW
#undef SWAP_2_HIGH
#undef SWAP_4_LOW
#undef SWAP_4_HIGH
#undef SWAP_8_LOW
#undef SWAP_8_HIGH
