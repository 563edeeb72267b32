/* grad_weight as a sum of outer products, with vectors over output channels (job: fc_outer in jobs.h).
 *
 *   sum[c][l][s][k] += over positions (i, j):  g[i * cols + j][k] * x[c * x_channel + lines[l] + s + i * x_row + j * x_col]
 *
 * A line is a row of the kernel in one input channel (s runs along it, side by side in x).  The kernel holds lines x
 * taps x kv vectors of k in registers and walks over the positions: each step loads kv vectors of g, broadcasts the
 * values of x and multiplies; there is no reduction across lanes and nothing to rearrange, whatever stride or padding.
 *
 *   g [position][kv * LANES], a transposed band of grad_y;  sum [c][l][s][kv * LANES], added to */

/* What a tile asks for of the x that is read next, a line with each position: `channel` bytes from one channel to the
 * next, of which the last `gap` are left out. */
typedef struct {
    const char *at, *channel_end, *end;
    ptrdiff_t channel, gap;
} FC(outer_next);

FC_INLINE void FC(outer_sum)(const int kv, const int np, const int nc, const fc_outer *job, const real *const *line,
                             const real *g, real *const *sum, FC(outer_next) next) {
    vec acc[OUTER_BUDGET][2];
#pragma GCC unroll 16
    for (int p = 0; p < np; p++)
#pragma GCC unroll 8
        for (int s = 0; s < nc; s++)
#pragma GCC unroll 2
            for (int v = 0; v < kv; v++) acc[p * nc + s][v] = vec_load(sum[p] + (s * kv + v) * LANES);
    const ptrdiff_t x_col = job->x_col;
    for (ptrdiff_t i = 0; i < job->rows; i++) {
        const real *x[OUTER_BUDGET];
#pragma GCC unroll 16
        for (int p = 0; p < np; p++) x[p] = line[p] + i * job->x_row;
        for (ptrdiff_t j = 0; j < job->cols; j++, g += kv * LANES) {
            if (next.at < next.end) {
                __builtin_prefetch(next.at, 0, 2);
                next.at += 64;
                if (next.at >= next.channel_end) next.at += next.gap, next.channel_end += next.channel;
            }
            vec gv[2];
#pragma GCC unroll 2
            for (int v = 0; v < kv; v++) gv[v] = vec_load(g + v * LANES);
#pragma GCC unroll 16
            for (int p = 0; p < np; p++)
#pragma GCC unroll 8
                for (int s = 0; s < nc; s++) {
                    vec xv = vec_set1(x[p][j * x_col + s]);
#pragma GCC unroll 2
                    for (int v = 0; v < kv; v++) acc[p * nc + s][v] = vec_fma(xv, gv[v], acc[p * nc + s][v]);
                }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < np; p++)
#pragma GCC unroll 8
        for (int s = 0; s < nc; s++)
#pragma GCC unroll 2
            for (int v = 0; v < kv; v++) vec_store(sum[p] + (s * kv + v) * LANES, acc[p * nc + s][v]);
}

typedef void (*FC(outer_tile))(const fc_outer *, const real *const *, const real *, real *const *, FC(outer_next));

#define TILE(kv, np, nc)                                                                                        \
    static void FC(outer_##kv##_##np##_##nc)(const fc_outer *job, const real *const *line, const real *g,         \
                                             real *const *sum, FC(outer_next) next) {                           \
        FC(outer_sum)(kv, np, nc, job, line, g, sum, next);                                                     \
    }
#define TILE_ENTRY(kv, np, nc) [kv - 1][nc][np] = FC(outer_##kv##_##np##_##nc),
#if OUTER_BUDGET == 14
#define MOST_TAPS 7
#define TILES(X, kv)                                                                                            \
    X(kv, 1, 1) X(kv, 2, 1) X(kv, 3, 1) X(kv, 4, 1) X(kv, 5, 1) X(kv, 6, 1) X(kv, 7, 1) X(kv, 8, 1) X(kv, 9, 1) \
    X(kv, 10, 1) X(kv, 11, 1) X(kv, 12, 1) X(kv, 13, 1) X(kv, 14, 1)                                            \
    X(kv, 1, 2) X(kv, 2, 2) X(kv, 3, 2) X(kv, 4, 2) X(kv, 5, 2) X(kv, 6, 2) X(kv, 7, 2)                         \
    X(kv, 1, 3) X(kv, 2, 3) X(kv, 3, 3) X(kv, 4, 3) X(kv, 1, 4) X(kv, 2, 4) X(kv, 3, 4)                         \
    X(kv, 1, 5) X(kv, 2, 5) X(kv, 1, 6) X(kv, 2, 6) X(kv, 1, 7) X(kv, 2, 7)
#else
#define MOST_TAPS 6
#define TILES(X, kv)                                                                                            \
    X(kv, 1, 1) X(kv, 2, 1) X(kv, 3, 1) X(kv, 4, 1) X(kv, 5, 1) X(kv, 6, 1) X(kv, 1, 2) X(kv, 2, 2) X(kv, 3, 2) \
    X(kv, 1, 3) X(kv, 2, 3) X(kv, 1, 4) X(kv, 1, 5) X(kv, 1, 6)
#endif
TILES(TILE, 1)
TILES(TILE, 2)
static const FC(outer_tile) FC(outer_tiles)[2][MOST_TAPS + 1][OUTER_BUDGET + 1] = {TILES(TILE_ENTRY, 1) TILES(TILE_ENTRY, 2)};

/* All lines of all channels, in groups that fill the registers. */
void KERNEL(outer_taps)(const fc_outer *job, int kv, const real *x, const real *g, real *sum) {
    const ptrdiff_t total = job->C * job->L;
    for (ptrdiff_t s = 0; s < job->S;) {
        const ptrdiff_t runs = (job->S - s + MOST_TAPS - 1) / MOST_TAPS;
        const int nc = (int)((job->S - s + runs - 1) / runs);
        const int most = OUTER_BUDGET / nc;
        for (ptrdiff_t first = 0; first < total; first += most) {
            const int np = (int)(total - first < most ? total - first : most);
            const real *line[OUTER_BUDGET];
            real *to[OUTER_BUDGET];
            for (int p = 0; p < np; p++) {
                ptrdiff_t at = first + p;
                line[p] = x + (at / job->L) * job->x_channel + job->lines[at % job->L] + s;
                to[p] = sum + (at * job->S + s) * kv * LANES;
            }
            FC(outer_next) next = {NULL, NULL, NULL, 0, 0};
            if (job->next && s == 0) { /* the channels that begin in this tile */
                const ptrdiff_t c0 = (first + job->L - 1) / job->L, c1 = (first + np + job->L - 1) / job->L;
                next.channel = job->next_channel * (ptrdiff_t)sizeof(real);
                next.gap = next.channel - (job->next_bytes + 63) / 64 * 64;
                next.at = (const char *)job->next + c0 * next.channel;
                next.channel_end = next.at + job->next_bytes;
                next.end = (const char *)job->next + c1 * next.channel;
            }
            FC(outer_tiles)[kv - 1][nc][np](job, line, g, to, next);
        }
        s += nc;
    }
}
#undef TILES
#undef TILE
#undef TILE_ENTRY
#undef MOST_TAPS
