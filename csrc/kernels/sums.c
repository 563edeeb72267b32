/* Sums over a run of elements, as a vector whose lanes are yet to be added up.
 *
 * Pieces of 64 vectors are summed by themselves and then added, so that rounding errors don't pile up in a long run;
 * four sums take turns, so that an addition need not wait for the one before. */

enum { FC(SUM_PIECE) = 64 * LANES };

/* Sum of a[i] * b[i]; b NULL: of a[i]. */
FC_INLINE vec FC(sum_products)(const real *a, const real *b, ptrdiff_t n) {
    vec total = {0};
    for (ptrdiff_t piece = 0; piece < n; piece += FC(SUM_PIECE)) {
        const ptrdiff_t end = n - piece < FC(SUM_PIECE) ? n : piece + FC(SUM_PIECE);
        vec sum[4] = {{0}, {0}, {0}, {0}};
        ptrdiff_t i = piece;
        for (; i + 4 * LANES <= end; i += 4 * LANES) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                const vec v = vec_load(a + i + k * LANES);
                sum[k] = b ? vec_fma(v, vec_load(b + i + k * LANES), sum[k]) : sum[k] + v;
            }
        }
        for (; i < end; i += LANES) {
            const int lanes = end - i < LANES ? (int)(end - i) : LANES;
            const vec v = vec_load_n(a + i, lanes);
            sum[0] = b ? vec_fma(v, vec_load_n(b + i, lanes), sum[0]) : sum[0] + v;
        }
        total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    return total;
}
