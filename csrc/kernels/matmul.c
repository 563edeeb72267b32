/* Matrix products for linear layers, in two forms.
 *
 * dot_products: c[i][j] = start + sum over l of a[i][l] * b[j][l].  Both operands run along l in memory (y = x weight^T),
 * so the lanes are over l: a tile of rows of a x rows of b keeps one vector of partial sums each, added up at the end.
 * Nothing is packed or transposed, which also serves a batch of one.
 *
 * outer_products: c[i][j] += sum over l of a[l][i] * b[l][j].  Here the lanes are over j: a tile of rows i x 2 vectors
 * of j; each step broadcasts values of a and meets them with two vectors of b.  An element's sum runs over l in order.
 *
 * In both, an element's order of summation does not depend on the tile that it falls into. */

#ifndef MATMUL_TILES
#define MATMUL_TILES
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
enum { DOT_ROWS = 4, DOT_COLS = 6, OUTER_ROWS = 14 };
#else
enum { DOT_ROWS = 3, DOT_COLS = 4, OUTER_ROWS = 6 };
#endif
#endif

FC_INLINE void FC(dot_sum)(const int mr, const int nr, const real *a, ptrdiff_t lda, const real *b, ptrdiff_t ldb,
                           ptrdiff_t length, const real *start, real *c, ptrdiff_t ldc) {
    vec acc[DOT_ROWS][DOT_COLS];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++) acc[i][j] = vec_set1(0);
    ptrdiff_t l = 0;
    for (; l + LANES <= length; l += LANES) {
        vec av[DOT_ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) av[i] = vec_load(a + i * lda + l);
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++) {
            vec bv = vec_load(b + j * ldb + l);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) acc[i][j] = vec_fma(av[i], bv, acc[i][j]);
        }
    }
    if (l < length) {
        const int n = (int)(length - l);
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++) {
            vec bv = vec_load_n(b + j * ldb + l, n);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) acc[i][j] = vec_fma(vec_load_n(a + i * lda + l, n), bv, acc[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++) c[i * ldc + j] = (start ? start[j] : c[i * ldc + j]) + vec_sum(acc[i][j]);
}

#define DOT_CASE(mr, nr) \
    case mr * 8 + nr: FC(dot_sum)(mr, nr, a, lda, b, ldb, length, start, c, ldc); break;

__attribute__((noinline)) static void FC(dot_edge)(int mr, int nr, const real *a, ptrdiff_t lda, const real *b,
                                                   ptrdiff_t ldb, ptrdiff_t length, const real *start, real *c,
                                                   ptrdiff_t ldc) {
    switch (mr * 8 + nr) {
        DOT_CASE(1, 1) DOT_CASE(1, 2) DOT_CASE(1, 3) DOT_CASE(1, 4) DOT_CASE(2, 1) DOT_CASE(2, 2) DOT_CASE(2, 3)
        DOT_CASE(2, 4) DOT_CASE(3, 1) DOT_CASE(3, 2) DOT_CASE(3, 3)
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
        DOT_CASE(1, 5) DOT_CASE(1, 6) DOT_CASE(2, 5) DOT_CASE(2, 6) DOT_CASE(3, 4) DOT_CASE(3, 5) DOT_CASE(3, 6)
        DOT_CASE(4, 1) DOT_CASE(4, 2) DOT_CASE(4, 3) DOT_CASE(4, 4) DOT_CASE(4, 5)
#endif
    }
}
#undef DOT_CASE

/* start: n numbers to begin the sums of a row with, or NULL to add to what c holds. */
void KERNEL(dot_products)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t length, const real *a, ptrdiff_t lda, const real *b,
                             ptrdiff_t ldb, const real *start, real *c, ptrdiff_t ldc) {
    for (ptrdiff_t j = 0; j < n; j += DOT_COLS) {
        const int nr = (int)(n - j < DOT_COLS ? n - j : DOT_COLS);
        const real *from = start ? start + j : NULL;
        for (ptrdiff_t i = 0; i < m; i += DOT_ROWS) {
            const int mr = (int)(m - i < DOT_ROWS ? m - i : DOT_ROWS);
            if (mr == DOT_ROWS && nr == DOT_COLS)
                FC(dot_sum)(DOT_ROWS, DOT_COLS, a + i * lda, lda, b + j * ldb, ldb, length, from, c + i * ldc + j, ldc);
            else
                FC(dot_edge)(mr, nr, a + i * lda, lda, b + j * ldb, ldb, length, from, c + i * ldc + j, ldc);
        }
    }
}

/* n <= 2 * LANES columns; b has 2 * LANES readable columns (or LANES when n <= LANES). */
FC_INLINE void FC(outer_rows)(const int mr, const int nv, ptrdiff_t n, ptrdiff_t length, const real *a, ptrdiff_t lda,
                              const real *b, ptrdiff_t ldb, int add, real *c, ptrdiff_t ldc) {
    vec acc[OUTER_ROWS][2];
    const int tail = (int)(n - (nv - 1) * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++)
            acc[i][v] = !add                       ? vec_set1(0)
                        : v < nv - 1 || tail == LANES ? vec_load(c + i * ldc + v * LANES)
                                                   : vec_load_n(c + i * ldc + v * LANES, tail);
    for (ptrdiff_t l = 0; l < length; l++) {
        vec bv[2];
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) bv[v] = vec_load(b + l * ldb + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vec av = vec_set1(a[l * lda + i]);
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++) acc[i][v] = vec_fma(av, bv[v], acc[i][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) {
            if (v < nv - 1 || tail == LANES) vec_store(c + i * ldc + v * LANES, acc[i][v]);
            else vec_store_n(c + i * ldc + v * LANES, acc[i][v], tail);
        }
}

#define ROWS_CASE(mr)                                                                      \
    case mr:                                                                               \
        if (n > LANES) FC(outer_rows)(mr, 2, n, length, at, lda, b, ldb, add, to, ldc);    \
        else FC(outer_rows)(mr, 1, n, length, at, lda, b, ldb, add, to, ldc);              \
        break;

void KERNEL(outer_products)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t length, const real *a, ptrdiff_t lda, const real *b,
                               ptrdiff_t ldb, int add, real *c, ptrdiff_t ldc) {
    /* Rows in tiles as equal as can be. */
    const ptrdiff_t tiles = (m + OUTER_ROWS - 1) / OUTER_ROWS;
    for (ptrdiff_t q = 0, i = 0; q < tiles; q++) {
        const ptrdiff_t rows = (m - i + (tiles - q) - 1) / (tiles - q);
        const real *at = a + i;
        real *to = c + i * ldc;
        switch (rows) {
            ROWS_CASE(1) ROWS_CASE(2) ROWS_CASE(3) ROWS_CASE(4) ROWS_CASE(5) ROWS_CASE(6)
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
            ROWS_CASE(7) ROWS_CASE(8) ROWS_CASE(9) ROWS_CASE(10) ROWS_CASE(11) ROWS_CASE(12) ROWS_CASE(13) ROWS_CASE(14)
#endif
        }
        i += rows;
    }
}
#undef ROWS_CASE
