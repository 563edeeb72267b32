/* Correlation with vectors over positions, for few output channels or short sums (job: fc_correlation in jobs.h).
 *
 * A tile of y is KR channels x PV vectors of positions in registers.  For each input channel c and tap t the kernel
 * loads PV vectors of x, broadcasts KR weights and does KR * PV fused multiply-adds.  The positions are flat: x comes
 * as shifted copies in which the neighbours of y, from row to row, are neighbours too, so no lane is lost at row ends.
 * An element's sum runs over c, then t, as in correlate_channels: both kernels give the same bits.
 *
 *   x: taps[t] + c * x_channel + position, readable for a whole tile past the last position
 *   weights [c][t][KR], zero where a channel does not exist;  bias [KR];  y: k * y_channel + position */

#ifndef POSITION_TILES
#define POSITION_TILES
static const unsigned char most_vectors[9] = POSITION_VECTORS;
#endif

FC_INLINE void FC(positions_sum)(const int kr, const int pv, const fc_correlation *job, const real *x, const real *w,
                                 const real *bias, real *y, ptrdiff_t n) {
    vec acc[8][8];
#pragma GCC unroll 8
    for (int k = 0; k < kr; k++)
#pragma GCC unroll 8
        for (int p = 0; p < pv; p++) acc[k][p] = vec_set1(bias[k]);
    const ptrdiff_t T = job->T;
    for (ptrdiff_t c = 0; c < job->C; c++) {
        const real *xc = x + c * job->x_channel;
        const real *wt = w + c * job->w_channel;
        for (ptrdiff_t t = 0; t < T; t++, wt += kr) {
            const real *xt = xc + job->taps[t];
            vec xv[8];
#pragma GCC unroll 8
            for (int p = 0; p < pv; p++) xv[p] = vec_load(xt + p * LANES);
#pragma GCC unroll 8
            for (int k = 0; k < kr; k++) {
                vec wv = vec_set1(wt[k]);
#pragma GCC unroll 8
                for (int p = 0; p < pv; p++) acc[k][p] = vec_fma(xv[p], wv, acc[k][p]);
            }
        }
    }
    const int tail = (int)(n - (pv - 1) * LANES); /* lanes of the last vector that exist */
#pragma GCC unroll 8
    for (int k = 0; k < kr; k++) {
        if (k >= job->K) break;
        real *to = y + k * job->y_channel;
#pragma GCC unroll 8
        for (int p = 0; p < pv - 1; p++) vec_store(to + p * LANES, acc[k][p]);
        if (tail >= LANES) vec_store(to + (pv - 1) * LANES, acc[k][pv - 1]);
        else vec_store_n(to + (pv - 1) * LANES, acc[k][pv - 1], tail);
    }
}

typedef void (*FC(positions_tile))(const fc_correlation *, const real *, const real *, const real *, real *, ptrdiff_t);

#define TILE(kr, pv)                                                                                              \
    static void FC(positions_##kr##_##pv)(const fc_correlation *job, const real *x, const real *w, const real *bias, \
                                          real *y, ptrdiff_t n) {                                                 \
        FC(positions_sum)(kr, pv, job, x, w, bias, y, n);                                                         \
    }
#define TILE_ENTRY(kr, pv) [kr][pv] = FC(positions_##kr##_##pv),
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
#define TILES(X)                                                                                                  \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5) X(1, 6) X(1, 7) X(1, 8)                                               \
    X(2, 1) X(2, 2) X(2, 3) X(2, 4) X(2, 5) X(2, 6) X(2, 7) X(2, 8)                                               \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4) X(3, 5) X(3, 6) X(3, 7) X(3, 8)                                               \
    X(4, 1) X(4, 2) X(4, 3) X(4, 4) X(4, 5) X(4, 6) X(5, 1) X(5, 2) X(5, 3) X(5, 4) X(5, 5)                       \
    X(6, 1) X(6, 2) X(6, 3) X(6, 4) X(7, 1) X(7, 2) X(7, 3) X(7, 4) X(8, 1) X(8, 2) X(8, 3)
#else
#define TILES(X)                                                                                                  \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5) X(1, 6) X(1, 7) X(1, 8) X(2, 1) X(2, 2) X(2, 3) X(2, 4)               \
    X(3, 1) X(3, 2) X(3, 3) X(4, 1) X(4, 2) X(4, 3) X(5, 1) X(5, 2) X(6, 1) X(6, 2) X(7, 1) X(8, 1)
#endif
TILES(TILE)
static const FC(positions_tile) FC(positions_tiles)[9][9] = {TILES(TILE_ENTRY)};
#undef TILES
#undef TILE
#undef TILE_ENTRY

/* Positions 0 .. n-1 for one block of kr output channels. */
void KERNEL(correlate_positions)(const fc_correlation *job, int kr, ptrdiff_t n, const real *x, const real *w,
                                    const real *bias, real *y) {
    const ptrdiff_t whole = most_vectors[kr] * LANES;
    for (ptrdiff_t p = 0; p < n; p += whole) {
        ptrdiff_t left = n - p < whole ? n - p : whole;
        FC(positions_tiles)[kr][(left + LANES - 1) / LANES](job, x + p, w, bias, y + p, left);
    }
}
