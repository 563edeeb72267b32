/* grad_weight with vectors over positions, for few channels (job: fc_outer_positions in jobs.h).
 *
 *   sum[k][q] += over images and positions p: g[k * g_channel + p] * x[offsets[q] + p]
 *
 * q counts input channels x taps.  grad_y is read where it lies; x comes as shifted copies in which the positions that
 * a tap meets are neighbours, from row to row.  A tile of k x q sums stays in registers, a vector of partial sums each,
 * while the kernel walks over the positions of all images; the lanes are added up at the end.  Nothing is transposed,
 * and no lane is lost but in the last vector of an image, whatever the numbers of channels.
 *
 * next: rows_ahead rows of what comes after these rows of grad_y, to be fetched meanwhile. */

FC_INLINE void FC(outer_positions_sum)(const int kr, const int qr, const fc_outer_positions *job, const real *g,
                                       const ptrdiff_t *offsets, const real *x, real *sum, const real *next,
                                       ptrdiff_t rows_ahead) {
    vec acc[OUTER_SUMS];
#pragma GCC unroll 27
    for (int i = 0; i < kr * qr; i++) acc[i] = vec_set1(0);
    const ptrdiff_t n = job->n, g_channel = job->g_channel;
    for (ptrdiff_t image = 0; image < job->images; image++) {
        const real *xq[9];
#pragma GCC unroll 9
        for (int q = 0; q < qr; q++) xq[q] = x + offsets[q];
        ptrdiff_t p = 0;
        for (; p + LANES <= n; p += LANES) {
            for (ptrdiff_t k = 0; k < rows_ahead; k++) __builtin_prefetch(next + k * g_channel + p);
            vec gv[5];
#pragma GCC unroll 5
            for (int k = 0; k < kr; k++) gv[k] = vec_load(g + k * g_channel + p);
#pragma GCC unroll 9
            for (int q = 0; q < qr; q++) {
                vec xv = vec_load(xq[q] + p);
                FC_KEEP(xv);
#pragma GCC unroll 5
                for (int k = 0; k < kr; k++) acc[k * qr + q] = vec_fma(gv[k], xv, acc[k * qr + q]);
            }
        }
        if (p < n) {
            const int lanes = (int)(n - p);
            vec gv[5];
#pragma GCC unroll 5
            for (int k = 0; k < kr; k++) gv[k] = vec_load_n(g + k * g_channel + p, lanes);
#pragma GCC unroll 9
            for (int q = 0; q < qr; q++) {
                const vec xv = vec_load_n(xq[q] + p, lanes);
#pragma GCC unroll 5
                for (int k = 0; k < kr; k++) acc[k * qr + q] = vec_fma(gv[k], xv, acc[k * qr + q]);
            }
        }
        g += job->g_image, x += job->x_image, next += job->g_image;
    }
    real added[OUTER_SUMS + LANES];
#pragma GCC unroll 27
    for (int i = 0; i < kr * qr; i += LANES) {
        vec rows[LANES];
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) rows[j] = i + j < kr * qr ? acc[i + j] : vec_set1(0);
        vec_store(added + i, vec_sum_rows(rows));
    }
    for (int k = 0; k < kr; k++)
        for (int q = 0; q < qr; q++) sum[k * job->Q + q] += added[k * qr + q];
}

typedef void (*FC(outer_positions_tile))(const fc_outer_positions *, const real *, const ptrdiff_t *, const real *,
                                         real *, const real *, ptrdiff_t);

#define TILE(kr, qr)                                                                                       \
    static void FC(outer_positions_##kr##_##qr)(const fc_outer_positions *job, const real *g,              \
                                                const ptrdiff_t *offsets, const real *x, real *sum,        \
                                                const real *next, ptrdiff_t rows_ahead) {                  \
        FC(outer_positions_sum)(kr, qr, job, g, offsets, x, sum, next, rows_ahead);                        \
    }
#define TILE_ENTRY(kr, qr) [kr][qr] = FC(outer_positions_##kr##_##qr),
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
#define TILES(X)                                                                                    \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5) X(1, 6) X(1, 7) X(1, 8) X(1, 9)                         \
    X(2, 1) X(2, 2) X(2, 3) X(2, 4) X(2, 5) X(2, 6) X(2, 7) X(2, 8) X(2, 9)                         \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4) X(3, 5) X(3, 6) X(3, 7) X(3, 8) X(3, 9)                         \
    X(4, 1) X(4, 2) X(4, 3) X(4, 4) X(4, 5) X(5, 1) X(5, 2) X(5, 3) X(5, 4) X(5, 5)
#else
#define TILES(X) \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(2, 1) X(2, 2) X(2, 3) X(2, 4) X(3, 1) X(3, 2) X(3, 3) X(3, 4)
#endif
TILES(TILE)
static const FC(outer_positions_tile) FC(outer_positions_tiles)[6][10] = {TILES(TILE_ENTRY)};
#undef TILES
#undef TILE
#undef TILE_ENTRY

/* All k and q, in tiles as equal as can be. */
void KERNEL(outer_positions)(const fc_outer_positions *job, const real *g, const real *x, real *sum) {
    const ptrdiff_t Q = job->Q;
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
    /* 5 x 5 has fewest loads; 3 x 9 suits 3x3 kernels. */
    const int wide = (Q + 8) / 9 * 9 - Q < (Q + 4) / 5 * 5 - Q;
    const ptrdiff_t most_q = wide ? 9 : 5, most_k = wide ? 3 : 5;
#else
    const ptrdiff_t most_q = 4, most_k = 3;
#endif
    ptrdiff_t k = 0;
    for (ptrdiff_t k_tiles = (job->K + most_k - 1) / most_k; k_tiles > 0; k_tiles--) {
        const ptrdiff_t kr = (job->K - k + k_tiles - 1) / k_tiles;
        /* What comes next of grad_y, shared out among the tiles. */
        const real *next = k_tiles > 1 ? g + (k + kr) * job->g_channel : g + job->g_next;
        const ptrdiff_t rows = k_tiles > 1 ? (job->K - k - kr + k_tiles - 2) / (k_tiles - 1) : most_k;
        ptrdiff_t q = 0, ahead = 0;
        for (ptrdiff_t q_tiles = (Q + most_q - 1) / most_q; q_tiles > 0; q_tiles--) {
            const ptrdiff_t qr = (Q - q + q_tiles - 1) / q_tiles, fetch = (rows - ahead + q_tiles - 1) / q_tiles;
            FC(outer_positions_tiles)[kr][qr](job, g + k * job->g_channel, job->offsets + q, x, sum + k * Q + q,
                                              next + ahead * job->g_channel, fetch);
            ahead += fetch;
            q += qr;
        }
        k += kr;
    }
}
