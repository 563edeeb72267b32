/* Correlation with vectors over output channels (job: fc_correlation in jobs.h).
 *
 * A tile of y is `kv` vectors of channels x P positions, all of it in registers: for each input channel c and tap t the
 * kernel loads kv vectors of weights, broadcasts the P values of x that they meet, and does kv * P fused multiply-adds.
 * Nothing is loaded twice in a step, and stride and dilation only change addresses.  The sum of one element runs over
 * c, then t, in order, whatever the tile: so the tiling never shows in the result.
 *
 *   weights [c][t][kv * LANES], zero where a channel does not exist;  bias [kv * LANES]
 *
 * P is up to CONV_POSITIONS neighbours in a row; narrow outputs take two rows at a time.  At the end the tile is
 * transposed, so that y is written in rows.
 *
 * Memory is asked for ahead, while there is arithmetic to hide the wait: the lines of y before a tile, and with each
 * step of c a share of what the caller names in job->next. */

#ifndef TILE_ROWS
/* A tile's buffer holds a whole number of LANES x LANES squares of positions. */
#define TILE_ROWS 16
#endif

FC_INLINE void FC(channels_sum)(const int kv, const int pr, const int pc, const fc_correlation *job, ptrdiff_t x_col,
                                const real *x, const real *w, const real *bias, real *tile) {
    vec acc[CONV_POSITIONS][2];
#pragma GCC unroll 16
    for (int p = 0; p < pr * pc; p++)
#pragma GCC unroll 2
        for (int v = 0; v < kv; v++) acc[p][v] = vec_load(bias + v * LANES);
    const ptrdiff_t T = job->T, x_row = job->x_row, next_lines = job->next_lines;
    const real *next = job->next;
    for (ptrdiff_t c = 0; c < job->C; c++) {
        const real *wt = w + c * job->w_channel;
        const real *xc = x + c * job->x_channel;
        for (ptrdiff_t i = 0; i < next_lines; i++)
            __builtin_prefetch((const char *)(next + c * job->next_channel) + 64 * i, 0, 2);
        for (ptrdiff_t t = 0; t < T; t++, wt += kv * LANES) {
            const real *xt = xc + job->taps[t];
            vec wv[2];
#pragma GCC unroll 2
            for (int v = 0; v < kv; v++) wv[v] = vec_load(wt + v * LANES);
#pragma GCC unroll 2
            for (int r = 0; r < pr; r++)
#pragma GCC unroll 16
                for (int j = 0; j < pc; j++) {
                    vec xv = vec_set1(xt[r * x_row + j * x_col]);
#pragma GCC unroll 2
                    for (int v = 0; v < kv; v++) acc[r * pc + j][v] = vec_fma(xv, wv[v], acc[r * pc + j][v]);
                }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < pr * pc; p++)
#pragma GCC unroll 2
        for (int v = 0; v < kv; v++) vec_store(tile + (p * kv + v) * LANES, acc[p][v]);
}

typedef void (*FC(channels_tile))(const fc_correlation *, const real *, const real *, const real *, real *);

/* One function a tile shape, with a copy for neighbours that lie side by side (stride 1). */
#define TILE(kv, pr, pc)                                                                                     \
    static void FC(channels_##kv##_##pr##_##pc)(const fc_correlation *job, const real *x, const real *w,       \
                                                const real *bias, real *tile) {                              \
        if (job->x_col == 1) FC(channels_sum)(kv, pr, pc, job, 1, x, w, bias, tile);                         \
        else FC(channels_sum)(kv, pr, pc, job, job->x_col, x, w, bias, tile);                                \
    }
#define TILE_ENTRY(kv, pr, pc) [kv - 1][pr - 1][pc] = FC(channels_##kv##_##pr##_##pc),
#if CONV_POSITIONS == 14
#define TILES(X, kv)                                                                                         \
    X(kv, 1, 1) X(kv, 1, 2) X(kv, 1, 3) X(kv, 1, 4) X(kv, 1, 5) X(kv, 1, 6) X(kv, 1, 7) X(kv, 1, 8)          \
    X(kv, 1, 9) X(kv, 1, 10) X(kv, 1, 11) X(kv, 1, 12) X(kv, 1, 13) X(kv, 1, 14)                             \
    X(kv, 2, 1) X(kv, 2, 2) X(kv, 2, 3) X(kv, 2, 4) X(kv, 2, 5) X(kv, 2, 6) X(kv, 2, 7)
#else
#define TILES(X, kv)                                                                                         \
    X(kv, 1, 1) X(kv, 1, 2) X(kv, 1, 3) X(kv, 1, 4) X(kv, 1, 5) X(kv, 1, 6) X(kv, 2, 1) X(kv, 2, 2) X(kv, 2, 3)
#endif
TILES(TILE, 1)
TILES(TILE, 2)
static const FC(channels_tile) FC(channels_tiles)[2][2][CONV_POSITIONS + 1] = {TILES(TILE_ENTRY, 1) TILES(TILE_ENTRY, 2)};
#undef TILES
#undef TILE
#undef TILE_ENTRY

/* tile [positions][kv * LANES] -> y, for the first K channels; position p is (p / pc, p % pc). */
static void FC(channels_store)(const fc_correlation *job, int kv, int pr, int pc, const real *tile, real *y) {
    const int width = kv * LANES, positions = pr * pc;
    const ptrdiff_t K = job->K < width ? job->K : width;
    if (job->y_col != 1 || (pr > 1 && job->y_row != pc)) { /* not a run of neighbours: one by one */
        for (int p = 0; p < positions; p++)
            for (ptrdiff_t k = 0; k < K; k++)
                y[k * job->y_channel + (p / pc) * job->y_row + (p % pc) * job->y_col] = tile[p * width + k];
        return;
    }
    for (int v = 0; v * LANES < K; v++) {
        ptrdiff_t channels = K - v * LANES < LANES ? K - v * LANES : LANES;
        for (int p0 = 0; p0 < positions; p0 += LANES) {
            int n = positions - p0 < LANES ? positions - p0 : LANES;
            vec rows[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) rows[i] = vec_load(tile + (p0 + i) * width + v * LANES);
            vec_transpose(rows);
            real *to = y + v * LANES * job->y_channel + p0;
            if (channels == LANES)
#pragma GCC unroll 16
                for (int k = 0; k < LANES; k++) vec_store_n(to + k * job->y_channel, rows[k], n);
            else
                for (int k = 0; k < channels; k++) vec_store_n(to + k * job->y_channel, rows[k], n);
        }
    }
}

/* All rows and columns of the job for one block of kv * LANES output channels. */
void KERNEL(correlate_channels)(const fc_correlation *job, int kv, const real *x, const real *w, const real *bias,
                                   real *y) {
    real tile[(TILE_ROWS + LANES) * 2 * LANES] __attribute__((aligned(64)));
    memset(tile, 0, sizeof tile); /* rows past the last position are transposed too, though never stored */
    const ptrdiff_t cols = job->cols, width = kv * LANES;
    /* Columns in tiles as equal as can be: 26 is 13 + 13, not 14 + 12. */
    const ptrdiff_t tiles = (cols + CONV_POSITIONS - 1) / CONV_POSITIONS, narrow = cols / tiles, wider = cols % tiles;
    /* The lines to prefetch are shared out among the tiles. */
    const ptrdiff_t steps = cols <= CONV_POSITIONS / 2 ? (job->rows + 1) / 2 : job->rows * tiles;
    fc_correlation part = *job;
    part.next_lines = job->next ? (job->next_lines + steps - 1) / steps : 0;
    for (ptrdiff_t i = 0; i < job->rows;) {
        int pr = cols <= CONV_POSITIONS / 2 && i + 1 < job->rows ? 2 : 1;
        ptrdiff_t j = 0;
        for (ptrdiff_t q = 0; q < tiles; q++) {
            int pc = (int)(narrow + (q < wider));
            real *to = y + i * job->y_row + j * job->y_col;
            for (ptrdiff_t k = 0; k < width && k < job->K; k++) {
                __builtin_prefetch(to + k * job->y_channel, 1, 3);
                __builtin_prefetch(to + k * job->y_channel + (pc - 1) * job->y_col, 1, 3);
            }
            FC(channels_tiles)[kv - 1][pr - 1][pc](&part, x + i * job->x_row + j * job->x_col, w, bias, tile);
            part.next = (const char *)part.next + 64 * part.next_lines;
            FC(channels_store)(job, kv, pr, pc, tile, to);
            j += pc;
        }
        i += pr;
    }
}
