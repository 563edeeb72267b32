/* The transforms of Winograd's F(m x m, 3x3): a 3x3 convolution with stride 1 of tiles of m x m results by a x a products,
 * a = m + 2: 16 products for 4 results (m = 2) or 36 for 16 (m = 4), not 36 or 144.
 *
 *   y tile (m x m) = A^T [ (G w G^T) * (B^T d B) ] A,  d the a x a tile of x that it sees, tiles m apart
 *
 * m = 2, points 0, 1, -1 and infinity:
 *
 *   B^T = 1  0 -1  0      G = 1    0   0      A^T = 1  1  1  0
 *         0  1  1  0          1/2  1/2 1/2          0  1 -1 -1
 *         0 -1  1  0          1/2 -1/2 1/2
 *         0  1  0 -1          0    0   1
 *
 * m = 4, points 0, 1, -1, 1/2, -2 and infinity, which round best (Barabasz et al., "Error analysis and improving the
 * accuracy of Winograd convolution for deep neural networks", 2020):
 *
 *   B^T = 1 -3/2  -2  3/2   1  0      G = 1     0     0      A^T = 1  1  1   1   1  0
 *         0  -1  1/2  5/2   1  0          1/3   1/3   1/3          0  1 -1  1/2 -2  0
 *         0   1 -5/2  1/2   1  0         -1/3   1/3  -1/3          0  1  1  1/4  4  0
 *         0  -2   -1    2   1  0       -16/15 -8/15 -4/15          0  1 -1  1/8 -8  1
 *         0  1/2  -1 -1/2   1  0         1/15 -2/15  4/15
 *         0   1 -3/2   -2  3/2 1          0     0     1
 *
 * The product in the middle is one matrix product over the channels for each of the a x a places xi of a tile.
 * grad_weight is the exact adjoint: G^T [ (B^T d B) * (A gy A^T), summed over the tiles ] G.
 *
 * All lanes are channels: x comes as [row][column][channel], so the transforms are plain sums of neighbouring vectors,
 * for tiles of any arrangement.  Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.
 *
 * Arrays with xi in front have their a x a planes `plane` elements apart. */

/* -- one dimension: o = matrix times d, m constant --------------------------------------------------------------------- */

#define TIMES(c, x) (vec_set1((real)(c)) * (x))
#define PLUS(c, x, y) vec_fma(vec_set1((real)(c)), x, y) /* c x + y */

/* B^T: a -> a */
FC_INLINE void FC(winograd_b)(const int m, const vec *d, vec *o) {
    if (m == 2) {
        o[0] = d[0] - d[2], o[1] = d[1] + d[2], o[2] = d[2] - d[1], o[3] = d[1] - d[3];
    } else {
        const vec d42 = d[4] - d[2], d31 = d[3] - d[1];
        o[0] = PLUS(-2, d[2], PLUS(1.5, d31, d[0] + d[4]));
        o[1] = PLUS(2.5, d[3], PLUS(0.5, d[2], d[4] - d[1]));
        o[2] = PLUS(-2.5, d[2], PLUS(0.5, d[3], d[4] + d[1]));
        o[3] = PLUS(2, d31, d42);
        o[4] = PLUS(-0.5, d31, d42);
        o[5] = PLUS(-2, d[3], PLUS(1.5, d42, d[1] + d[5]));
    }
}

/* A^T: a -> m */
FC_INLINE void FC(winograd_at)(const int m, const vec *d, vec *o) {
    if (m == 2) {
        o[0] = d[0] + d[1] + d[2], o[1] = d[1] - d[2] - d[3];
    } else {
        const vec sum = d[1] + d[2], difference = d[1] - d[2];
        o[0] = (d[0] + sum) + (d[3] + d[4]);
        o[1] = PLUS(-2, d[4], PLUS(0.5, d[3], difference));
        o[2] = PLUS(4, d[4], PLUS(0.25, d[3], sum));
        o[3] = PLUS(-8, d[4], PLUS(0.125, d[3], difference + d[5]));
    }
}

/* A: m -> a */
FC_INLINE void FC(winograd_a)(const int m, const vec *d, vec *o) {
    if (m == 2) {
        o[0] = d[0], o[1] = d[0] + d[1], o[2] = d[0] - d[1], o[3] = -d[1];
    } else {
        const vec even = d[0] + d[2], odd = d[1] + d[3];
        o[0] = d[0], o[1] = even + odd, o[2] = even - odd;
        o[3] = PLUS(0.125, d[3], PLUS(0.25, d[2], PLUS(0.5, d[1], d[0])));
        o[4] = PLUS(-8, d[3], PLUS(4, d[2], PLUS(-2, d[1], d[0])));
        o[5] = d[3];
    }
}

/* G: 3 -> a */
FC_INLINE void FC(winograd_g)(const int m, const vec *d, vec *o) {
    if (m == 2) {
        o[0] = d[0], o[1] = TIMES(0.5, d[0] + d[1] + d[2]), o[2] = TIMES(0.5, d[0] - d[1] + d[2]), o[3] = d[2];
    } else {
        const vec third = TIMES(1 / 3.0, d[0] + d[2]);
        o[0] = d[0];
        o[1] = PLUS(1 / 3.0, d[1], third), o[2] = PLUS(1 / 3.0, d[1], -third);
        o[3] = TIMES(-4 / 15.0, PLUS(4, d[0], PLUS(2, d[1], d[2])));
        o[4] = TIMES(1 / 15.0, PLUS(4, d[2], PLUS(-2, d[1], d[0])));
        o[5] = d[2];
    }
}

/* G^T: a -> 3 */
FC_INLINE void FC(winograd_gt)(const int m, const vec *d, vec *o) {
    if (m == 2) {
        const vec sum = TIMES(0.5, d[1] + d[2]);
        o[0] = d[0] + sum, o[1] = TIMES(0.5, d[1] - d[2]), o[2] = sum + d[3];
    } else {
        const vec sum = TIMES(1 / 3.0, d[1] + d[2]), difference = TIMES(1 / 3.0, d[1] - d[2]);
        const vec d3 = TIMES(-4 / 15.0, d[3]), d4 = TIMES(1 / 15.0, d[4]);
        o[0] = PLUS(4, d3, d4) + difference + d[0];
        o[1] = PLUS(2, d3, PLUS(-2, d4, sum));
        o[2] = PLUS(4, d4, d3) + difference + d[5];
    }
}

/* -- two dimensions ---------------------------------------------------------------------------------------------------- */

/* x (m * tiles_h + 2, m * tiles_w + 2, channels) -> v [xi][tile][v_row]; channels a multiple of LANES */
FC_INLINE void FC(winograd_input_of)(const int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, ptrdiff_t channels, const real *x,
                                     real *v, ptrdiff_t v_row, ptrdiff_t plane) {
    const int a = m + 2;
    const ptrdiff_t row = (m * tiles_w + 2) * channels;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++)
            for (ptrdiff_t c = 0; c < channels; c += LANES) {
                const real *tile = x + m * i * row + m * j * channels + c;
                real *to = v + (i * tiles_w + j) * v_row + c;
                vec t[6][6], d[6], o[6];
#pragma GCC unroll 6
                for (int s = 0; s < a; s++) { /* B^T d */
#pragma GCC unroll 6
                    for (int r = 0; r < a; r++) d[r] = vec_load(tile + s * channels + r * row);
                    FC(winograd_b)(m, d, o);
#pragma GCC unroll 6
                    for (int r = 0; r < a; r++) t[r][s] = o[r];
                }
#pragma GCC unroll 6
                for (int r = 0; r < a; r++) { /* (B^T d) B */
                    FC(winograd_b)(m, t[r], o);
#pragma GCC unroll 6
                    for (int s = 0; s < a; s++) vec_store(to + (a * r + s) * plane, o[s]);
                }
            }
}
void KERNEL(winograd_input)(int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, ptrdiff_t channels, const real *x, real *v,
                            ptrdiff_t v_row, ptrdiff_t plane) {
    if (m == 2) FC(winograd_input_of)(2, tiles_h, tiles_w, channels, x, v, v_row, plane);
    else FC(winograd_input_of)(4, tiles_h, tiles_w, channels, x, v, v_row, plane);
}

/* n tiles of a matrix product for one xi: n x kv vectors of results stay in registers along c.  Every third row of v has a
 * pointer of its own, so that each address is a register, or a register and one or two rows. */
FC_INLINE void FC(winograd_tiles)(const int kv, const int n, ptrdiff_t C, ptrdiff_t v_row, const real *v, const real *u,
                                  real *m) {
    vec acc[CONV_POSITIONS][2];
    const real *row[(CONV_POSITIONS + 2) / 3];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++)
#pragma GCC unroll 2
        for (int k = 0; k < kv; k++) acc[i][k] = vec_set1(0);
#pragma GCC unroll 8
    for (int i = 0; i < (n + 2) / 3; i++) row[i] = v + 3 * i * v_row;
    for (ptrdiff_t c = 0; c < C; c++, u += kv * LANES) {
        vec uv[2];
#pragma GCC unroll 2
        for (int k = 0; k < kv; k++) uv[k] = vec_load(u + k * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) {
            const vec x = vec_set1(row[i / 3][i % 3 * v_row]);
#pragma GCC unroll 2
            for (int k = 0; k < kv; k++) acc[i][k] = vec_fma(x, uv[k], acc[i][k]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < (n + 2) / 3; i++) row[i]++;
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; i++)
#pragma GCC unroll 2
        for (int k = 0; k < kv; k++) vec_store(m + (i * kv + k) * LANES, acc[i][k]);
}

#define TILES(kv, n)                                                                                          \
    case n: FC(winograd_tiles)(kv, n, C, v_row, v, u, m); break;
#define FEW_TILES(kv) TILES(kv, 1) TILES(kv, 2) TILES(kv, 3) TILES(kv, 4) TILES(kv, 5) TILES(kv, 6)
#if CONV_POSITIONS == 14
#define ALL_TILES(kv)                                                                                         \
    FEW_TILES(kv) TILES(kv, 7) TILES(kv, 8) TILES(kv, 9) TILES(kv, 10) TILES(kv, 11) TILES(kv, 12) TILES(kv, 13) TILES(kv, 14)
#else
#define ALL_TILES(kv) FEW_TILES(kv)
#endif

/* One xi: m [tile][kv * LANES] = v [tile][v_row] times u [c][kv * LANES], c < C <= v_row */
void KERNEL(winograd_multiply)(ptrdiff_t tiles, ptrdiff_t C, ptrdiff_t v_row, int kv, const real *v, const real *u, real *m) {
    for (ptrdiff_t runs = (tiles + CONV_POSITIONS - 1) / CONV_POSITIONS; runs > 0; runs--) { /* as equal as can be */
        const ptrdiff_t n = (tiles + runs - 1) / runs;
        if (kv == 2) switch (n) { ALL_TILES(2) }
        else switch (n) { ALL_TILES(1) }
        v += n * v_row, m += n * kv * LANES, tiles -= n;
    }
}
#undef TILES
#undef FEW_TILES
#undef ALL_TILES

/* p [xi][tile][width] + bias [width] -> y (m * tiles_h, m * tiles_w, width), A^T p A */
FC_INLINE void FC(winograd_output_of)(const int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, int width, const real *p,
                                      ptrdiff_t plane, const real *bias, real *y) {
    const int a = m + 2;
    const ptrdiff_t row = m * tiles_w * width;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++)
            for (int k = 0; k < width; k += LANES) {
                const real *from = p + (i * tiles_w + j) * width + k;
                real *to = y + m * i * row + m * j * width + k;
                const vec b = vec_load(bias + k);
                vec t[4][6], d[6], o[4];
#pragma GCC unroll 6
                for (int s = 0; s < a; s++) {
#pragma GCC unroll 6
                    for (int r = 0; r < a; r++) d[r] = vec_load(from + (a * r + s) * plane);
                    FC(winograd_at)(m, d, o);
#pragma GCC unroll 4
                    for (int r = 0; r < m; r++) t[r][s] = o[r];
                }
#pragma GCC unroll 4
                for (int r = 0; r < m; r++) {
                    FC(winograd_at)(m, t[r], o);
#pragma GCC unroll 4
                    for (int s = 0; s < m; s++) vec_store(to + r * row + s * width, b + o[s]);
                }
            }
}
void KERNEL(winograd_output)(int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, int width, const real *p, ptrdiff_t plane,
                             const real *bias, real *y) {
    if (m == 2) FC(winograd_output_of)(2, tiles_h, tiles_w, width, p, plane, bias, y);
    else FC(winograd_output_of)(4, tiles_h, tiles_w, width, p, plane, bias, y);
}

/* The same, then the largest of each 2x2 window of y, rectified if wanted -> y (m/2 * tiles_h, m/2 * tiles_w, width), and its
 * place in the window, as in max_pool2d.c -> codes of the same shape, or NULL.  Tiles begin where windows do. */
FC_INLINE void FC(winograd_pool_of)(const int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, int width, const real *p,
                                    ptrdiff_t plane, const real *bias, const vec floor, real *y, ireal *codes) {
    const int a = m + 2, half = m / 2;
    const ptrdiff_t row = half * tiles_w * width;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++)
            for (int k = 0; k < width; k += LANES) {
                const real *from = p + (i * tiles_w + j) * width + k;
                const ptrdiff_t to = half * i * row + half * j * width + k;
                const vec b = vec_load(bias + k);
                vec t[4][6], d[6], o[4][4];
#pragma GCC unroll 6
                for (int s = 0; s < a; s++) {
#pragma GCC unroll 6
                    for (int r = 0; r < a; r++) d[r] = vec_load(from + (a * r + s) * plane);
                    vec column[4];
                    FC(winograd_at)(m, d, column);
#pragma GCC unroll 4
                    for (int r = 0; r < m; r++) t[r][s] = column[r];
                }
#pragma GCC unroll 4
                for (int r = 0; r < m; r++) FC(winograd_at)(m, t[r], o[r]);
#pragma GCC unroll 2
                for (int r = 0; r < half; r++)
#pragma GCC unroll 2
                    for (int s = 0; s < half; s++) {
                        vec best = b + o[2 * r][2 * s];
                        ivec code = {0};
                        vec_keep_larger(&best, &code, b + o[2 * r][2 * s + 1], ivec_set1(1));
                        vec_keep_larger(&best, &code, b + o[2 * r + 1][2 * s], ivec_set1(2));
                        vec_keep_larger(&best, &code, b + o[2 * r + 1][2 * s + 1], ivec_set1(3));
                        vec_store(y + to + r * row + s * width, vec_select(floor > best, floor, best));
                        if (codes) memcpy(codes + to + r * row + s * width, &code, sizeof code);
                    }
            }
}
void KERNEL(winograd_pool)(int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, int width, const real *p, ptrdiff_t plane,
                           const real *bias, int relu, real *y, ireal *codes) {
    const vec floor = vec_set1(relu ? 0 : -(real)INFINITY);
    if (m == 2) FC(winograd_pool_of)(2, tiles_h, tiles_w, width, p, plane, bias, floor, y, codes);
    else FC(winograd_pool_of)(4, tiles_h, tiles_w, width, p, plane, bias, floor, y, codes);
}

/* w [c][9][width] -> u [xi][c][width], G w G^T */
FC_INLINE void FC(winograd_weights_of)(const int m, ptrdiff_t C, int width, const real *w, real *u, ptrdiff_t plane) {
    const int a = m + 2;
    for (ptrdiff_t c = 0; c < C; c++)
        for (int k = 0; k < width; k += LANES) {
            vec t[6][3], d[3], o[6];
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++) {
#pragma GCC unroll 3
                for (int r = 0; r < 3; r++) d[r] = vec_load(w + (c * 9 + 3 * r + s) * width + k);
                FC(winograd_g)(m, d, o);
#pragma GCC unroll 6
                for (int r = 0; r < a; r++) t[r][s] = o[r];
            }
#pragma GCC unroll 6
            for (int r = 0; r < a; r++) {
                FC(winograd_g)(m, t[r], o);
#pragma GCC unroll 6
                for (int s = 0; s < a; s++) vec_store(u + (a * r + s) * plane + c * width + k, o[s]);
            }
        }
}
void KERNEL(winograd_weights)(int m, ptrdiff_t C, int width, const real *w, real *u, ptrdiff_t plane) {
    if (m == 2) FC(winograd_weights_of)(2, C, width, w, u, plane);
    else FC(winograd_weights_of)(4, C, width, w, u, plane);
}

/* gy (m * tiles_h, m * tiles_w, channels) -> g [xi][tile][g_row], A gy A^T */
FC_INLINE void FC(winograd_grad_y_of)(const int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, ptrdiff_t channels, const real *gy,
                                      real *g, ptrdiff_t g_row, ptrdiff_t plane) {
    const int a = m + 2;
    const ptrdiff_t row = m * tiles_w * channels;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++)
            for (ptrdiff_t k = 0; k < channels; k += LANES) {
                const real *from = gy + m * i * row + m * j * channels + k;
                real *to = g + (i * tiles_w + j) * g_row + k;
                vec t[6][4], d[4], o[6];
#pragma GCC unroll 4
                for (int s = 0; s < m; s++) {
#pragma GCC unroll 4
                    for (int r = 0; r < m; r++) d[r] = vec_load(from + r * row + s * channels);
                    FC(winograd_a)(m, d, o);
#pragma GCC unroll 6
                    for (int r = 0; r < a; r++) t[r][s] = o[r];
                }
#pragma GCC unroll 6
                for (int r = 0; r < a; r++) {
                    FC(winograd_a)(m, t[r], o);
#pragma GCC unroll 6
                    for (int s = 0; s < a; s++) vec_store(to + (a * r + s) * plane, o[s]);
                }
            }
}
void KERNEL(winograd_grad_y)(int m, ptrdiff_t tiles_h, ptrdiff_t tiles_w, ptrdiff_t channels, const real *gy, real *g,
                             ptrdiff_t g_row, ptrdiff_t plane) {
    if (m == 2) FC(winograd_grad_y_of)(2, tiles_h, tiles_w, channels, gy, g, g_row, plane);
    else FC(winograd_grad_y_of)(4, tiles_h, tiles_w, channels, gy, g, g_row, plane);
}

/* sums [xi][width] of one channel c -> to [9][width], G^T s G */
FC_INLINE void FC(winograd_grad_weight_of)(const int m, int width, const real *sums, ptrdiff_t plane, real *to) {
    const int a = m + 2;
    for (int k = 0; k < width; k += LANES) {
        vec t[3][6], d[6], o[3];
#pragma GCC unroll 6
        for (int s = 0; s < a; s++) {
#pragma GCC unroll 6
            for (int r = 0; r < a; r++) d[r] = vec_load(sums + (a * r + s) * plane + k);
            FC(winograd_gt)(m, d, o);
#pragma GCC unroll 3
            for (int r = 0; r < 3; r++) t[r][s] = o[r];
        }
#pragma GCC unroll 3
        for (int r = 0; r < 3; r++) {
            FC(winograd_gt)(m, t[r], o);
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++) vec_store(to + (3 * r + s) * width + k, o[s]);
        }
    }
}
void KERNEL(winograd_grad_weight)(int m, int width, const real *sums, ptrdiff_t plane, real *to) {
    if (m == 2) FC(winograd_grad_weight_of)(2, width, sums, plane, to);
    else FC(winograd_grad_weight_of)(4, width, sums, plane, to);
}
#undef TIMES
#undef PLUS
