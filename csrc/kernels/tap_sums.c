/* grad_x as a sum over taps, in two steps: a matrix product, then shifted sums of its rows (ops/tap_sums.c).
 *
 * tap_products: z[q][p] = sum over k of w[k][q] * g[k][p], where q counts input channels x taps and p positions of
 * grad_y.  A tile of up to TAP_ROWS values of q x TAP_VECTORS vectors of p stays in registers.  grad_y and the weight
 * are read where they lie: nothing is packed, shifted or padded, so no lane is lost but in the last vector.
 *
 * tap_sums: one row of grad_x for one input channel, each element the sum of its taps' z: for each kernel column over
 * the kernel rows in order, then over the columns.
 * Lanes of a row of z that stand outside it belong to its neighbours (or to nothing) and are masked away, so that not
 * even a NaN gets through. */

#ifndef TAP_TILES
#define TAP_TILES
enum { TAP_BLOCK = 4 };
#endif

/* lanes: those of the last vector that exist.  next: the positions that come after these, fetched meanwhile, or NULL: K
 * planes, a few lines of each, are more than the processor sees coming. */
FC_INLINE void FC(tap_tile)(const int rows, const int vectors, const int lanes, const real *next, ptrdiff_t K,
                            const real *g, ptrdiff_t g_channel, const real *w, ptrdiff_t w_row, real *z,
                            ptrdiff_t z_plane) {
    vec acc[TAP_ROWS][TAP_VECTORS];
#pragma GCC unroll 16
    for (int q = 0; q < rows; q++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) acc[q][v] = vec_set1(0);
    for (ptrdiff_t k = 0; k < K; k++, g += g_channel, w += w_row) {
        vec gv[TAP_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            gv[v] = v == vectors - 1 && lanes < LANES ? vec_load_n(g + v * LANES, lanes) : vec_load(g + v * LANES);
        if (next) {
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) __builtin_prefetch(next + v * LANES);
            next += g_channel;
        }
#pragma GCC unroll 16
        for (int q = 0; q < rows; q++) {
            vec wv = vec_set1(w[q]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) acc[q][v] = vec_fma(gv[v], wv, acc[q][v]);
        }
    }
#pragma GCC unroll 16
    for (int q = 0; q < rows; q++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            real *to = z + q * z_plane + v * LANES;
            if (v == vectors - 1 && lanes < LANES) vec_store_n(to, acc[q][v], lanes);
            else vec_store(to, acc[q][v]);
        }
}

#define ROWS_CASE(rows, vectors, lanes)                                                                     \
    case rows:                                                                                              \
        if (next) FC(tap_tile)(rows, vectors, lanes, next, K, g, g_channel, w, w_row, z, z_plane);          \
        else FC(tap_tile)(rows, vectors, lanes, NULL, K, g, g_channel, w, w_row, z, z_plane);               \
        break;
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
#define ROWS_CASES(v, l)                                                                           \
    ROWS_CASE(1, v, l) ROWS_CASE(2, v, l) ROWS_CASE(3, v, l) ROWS_CASE(4, v, l) ROWS_CASE(5, v, l) \
    ROWS_CASE(6, v, l) ROWS_CASE(7, v, l) ROWS_CASE(8, v, l) ROWS_CASE(9, v, l)
#else
#define ROWS_CASES(v, l) \
    ROWS_CASE(1, v, l) ROWS_CASE(2, v, l) ROWS_CASE(3, v, l) ROWS_CASE(4, v, l) ROWS_CASE(5, v, l) ROWS_CASE(6, v, l)
#endif

/* One panel of positions against all q, in tiles as equal as can be. */
#define PANEL(name, vectors, lanes)                                                                               \
    static void FC(name)(const real *next, int part, ptrdiff_t K, ptrdiff_t Q, const real *g, ptrdiff_t g_channel, \
                         const real *w, ptrdiff_t w_row, real *z, ptrdiff_t z_plane) {                            \
        (void)part;                                                                                               \
        for (ptrdiff_t tiles = (Q + TAP_ROWS - 1) / TAP_ROWS; tiles > 0; tiles--) {                               \
            const ptrdiff_t rows = (Q + tiles - 1) / tiles;                                                       \
            switch (rows) { ROWS_CASES(vectors, lanes) }                                                          \
            Q -= rows, w += rows, z += rows * z_plane, next = NULL;                                               \
        }                                                                                                         \
    }
PANEL(tap_panel_1, 1, LANES)
PANEL(tap_panel_2, 2, LANES)
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
PANEL(tap_panel_3, 3, LANES)
#endif
PANEL(tap_panel_part, 1, part)
#undef PANEL
#undef ROWS_CASES
#undef ROWS_CASE

/* g: K planes g_channel apart, n positions of each; w [k][q], rows w_row apart, Q of each; z: Q planes z_plane apart;
 * next: what the next call reads of g. */
void KERNEL(tap_products)(ptrdiff_t K, ptrdiff_t Q, ptrdiff_t n, const real *g, ptrdiff_t g_channel, const real *w,
                          ptrdiff_t w_row, real *z, ptrdiff_t z_plane, const real *next) {
    ptrdiff_t whole = n / LANES;
    for (ptrdiff_t panels = (whole + TAP_VECTORS - 1) / TAP_VECTORS; panels > 0; panels--) {
        const ptrdiff_t vectors = (whole + panels - 1) / panels;
        const real *ahead = panels > 1 ? g + vectors * LANES : next;
        switch (vectors) {
            case 1: FC(tap_panel_1)(ahead, 0, K, Q, g, g_channel, w, w_row, z, z_plane); break;
            case 2: FC(tap_panel_2)(ahead, 0, K, Q, g, g_channel, w, w_row, z, z_plane); break;
#if defined(FC_ISA_AVX512) || defined(__aarch64__)
            default: FC(tap_panel_3)(ahead, 0, K, Q, g, g_channel, w, w_row, z, z_plane); break;
#endif
        }
        whole -= vectors, g += vectors * LANES, z += vectors * LANES;
    }
    const int lanes = (int)(n % LANES);
    if (lanes > 0) FC(tap_panel_part)(NULL, lanes, K, Q, g, g_channel, w, w_row, z, z_plane);
}

/* nv vectors of the columns of one phase. */
FC_INLINE void FC(tap_block)(const int nv, const fc_tap_sums *job, ptrdiff_t phase, ptrdiff_t v0, const real *z,
                             ptrdiff_t rows, const ptrdiff_t *row, real *to, int lanes) {
    vec acc[TAP_BLOCK];
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) acc[v] = vec_set1(0);
    const real *masks = (const real *)job->masks + v0 * LANES;
    for (ptrdiff_t s = job->first[phase]; s < job->first[phase + 1]; s++) {
        const real *zs = z + job->taps[s] + v0 * LANES, *mask = masks + s * job->vectors * LANES;
        vec sum[TAP_BLOCK]; /* over the kernel rows, which one mask serves */
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[v] = vec_set1(0);
        for (ptrdiff_t r = 0; r < rows; r++) {
            const real *from = zs + row[r];
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[v] += vec_load(from + v * LANES);
        }
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) acc[v] += (vec)((ivec)sum[v] & (ivec)vec_load(mask + v * LANES));
    }
#pragma GCC unroll 4
    for (int v = 0; v < nv - 1; v++) vec_store(to + v * LANES, acc[v]);
    if (lanes == LANES) vec_store(to + (nv - 1) * LANES, acc[nv - 1]);
    else vec_store_n(to + (nv - 1) * LANES, acc[nv - 1], lanes);
}

/* The n columns of one phase, side by side. */
static void FC(tap_phase)(const fc_tap_sums *job, ptrdiff_t phase, ptrdiff_t n, const real *z, ptrdiff_t rows,
                          const ptrdiff_t *row, real *to) {
    for (ptrdiff_t v = 0; v * LANES < n; v += TAP_BLOCK) {
        const ptrdiff_t left = n - v * LANES, nv = left < TAP_BLOCK * LANES ? (left + LANES - 1) / LANES : TAP_BLOCK;
        const int lanes = left < nv * LANES ? (int)(left - (nv - 1) * LANES) : LANES;
        real *at = to + v * LANES;
        switch (nv) {
            case 1: FC(tap_block)(1, job, phase, v, z, rows, row, at, lanes); break;
            case 2: FC(tap_block)(2, job, phase, v, z, rows, row, at, lanes); break;
            case 3: FC(tap_block)(3, job, phase, v, z, rows, row, at, lanes); break;
            default: FC(tap_block)(4, job, phase, v, z, rows, row, at, lanes); break;
        }
    }
}

/* z: the planes of one channel; row[r]: where the row of z that kernel row r brings here begins, planes and all, for
 * the kernel rows that meet this row of grad_x.  line: scratch, stride x vectors x LANES, where the stride is not 1. */
void KERNEL(tap_sums)(const fc_tap_sums *job, const real *z, ptrdiff_t rows, const ptrdiff_t *row, real *line,
                      real *to) {
    const ptrdiff_t W = job->W, stride = job->stride;
    if (stride == 1) {
        FC(tap_phase)(job, 0, W, z, rows, row, to);
        return;
    }
    const ptrdiff_t step = job->vectors * LANES;
    for (ptrdiff_t b = 0; b < stride; b++) FC(tap_phase)(job, b, step, z, rows, row, line + b * step);
    if (stride == 2) {
        for (ptrdiff_t j = 0; j < W; j += 2 * LANES, line += LANES) {
            vec low, high;
            vec_interleave(vec_load(line), vec_load(line + step), &low, &high);
            const ptrdiff_t left = W - j;
            if (left >= LANES) vec_store(to + j, low);
            else vec_store_n(to + j, low, (int)left);
            if (left >= 2 * LANES) vec_store(to + j + LANES, high);
            else if (left > LANES) vec_store_n(to + j + LANES, high, (int)(left - LANES));
        }
        return;
    }
    for (ptrdiff_t b = 0; b < stride; b++)
        for (ptrdiff_t j = b, u = 0; j < W; j += stride, u++) to[j] = line[b * step + u];
}
