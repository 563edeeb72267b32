/* The transforms of Winograd's F(2x2, 3x3): a 3x3 convolution with stride 1 in 16 multiplications for 4 results, not 36.
 *
 *   y tile (2x2) = A^T [ (G w G^T) * (B^T d B) ] A,  d the 4x4 tile of x that it sees, tiles 2 apart
 *
 *   B^T = 1  0 -1  0      G = 1    0   0      A^T = 1  1  1  0
 *         0  1  1  0          1/2  1/2 1/2          0  1 -1 -1
 *         0 -1  1  0          1/2 -1/2 1/2
 *         0  1  0 -1          0    0   1
 *
 * The product in the middle is one matrix product over the channels for each of the 16 places xi of a tile.  grad_weight
 * is the exact adjoint: G^T [ (B^T d B) * (A gy A^T), summed over the tiles ] G.
 *
 * All lanes are channels: x comes as [row][column][channel], so the transforms are plain sums of neighbouring vectors,
 * for tiles of any arrangement.  Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.
 *
 * Arrays with xi in front have their 16 planes `plane` elements apart. */

/* x (2 * tiles_h + 2, 2 * tiles_w + 2, channels) -> v [xi][tile][v_row]; channels a multiple of LANES */
void KERNEL(winograd_input)(ptrdiff_t tiles_h, ptrdiff_t tiles_w, ptrdiff_t channels, const real *x, real *v,
                            ptrdiff_t v_row, ptrdiff_t plane) {
    const ptrdiff_t row = (2 * tiles_w + 2) * channels;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++) {
            const real *tile = x + 2 * i * row + 2 * j * channels;
            real *to = v + (i * tiles_w + j) * v_row;
            for (ptrdiff_t c = 0; c < channels; c += LANES) {
                vec t[4][4];
#pragma GCC unroll 4
                for (int s = 0; s < 4; s++) { /* B^T d */
                    const real *d = tile + s * channels + c;
                    const vec d0 = vec_load(d), d1 = vec_load(d + row), d2 = vec_load(d + 2 * row), d3 = vec_load(d + 3 * row);
                    t[0][s] = d0 - d2, t[1][s] = d1 + d2, t[2][s] = d2 - d1, t[3][s] = d1 - d3;
                }
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) { /* (B^T d) B */
                    real *o = to + 4 * r * plane + c;
                    vec_store(o, t[r][0] - t[r][2]);
                    vec_store(o + plane, t[r][1] + t[r][2]);
                    vec_store(o + 2 * plane, t[r][2] - t[r][1]);
                    vec_store(o + 3 * plane, t[r][1] - t[r][3]);
                }
            }
        }
}

/* One xi: m [tile][kv * LANES] = v [tile][channels] times u [c][kv * LANES], c < C <= channels */
void KERNEL(winograd_multiply)(ptrdiff_t tiles, ptrdiff_t C, ptrdiff_t channels, int kv, const real *v, const real *u,
                                  real *m) {
    static const ptrdiff_t here[1] = {0};
    static const real zeros[2 * LANES];
    const fc_correlation job = {.C = C, .T = 1, .taps = here, .x_channel = 1, .x_col = channels, .w_channel = kv * LANES};
    const ptrdiff_t runs = (tiles + CONV_POSITIONS - 1) / CONV_POSITIONS, narrow = tiles / runs, wider = tiles % runs;
    for (ptrdiff_t q = 0, p = 0; q < runs; q++) {
        const ptrdiff_t n = narrow + (q < wider);
        FC(channels_tiles)[kv - 1][0][n](&job, v + p * channels, u, zeros, m + p * kv * LANES);
        p += n;
    }
}

/* m [xi][tile][width] + bias [width] -> y (2 * tiles_h, 2 * tiles_w, width), A^T m A */
void KERNEL(winograd_output)(ptrdiff_t tiles_h, ptrdiff_t tiles_w, int width, const real *m, ptrdiff_t plane,
                                const real *bias, real *y) {
    const ptrdiff_t row = 2 * tiles_w * width;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++)
            for (int k = 0; k < width; k += LANES) {
                const real *from = m + (i * tiles_w + j) * width + k;
                real *to = y + 2 * i * row + 2 * j * width + k;
                vec t[2][4];
#pragma GCC unroll 4
                for (int s = 0; s < 4; s++) {
                    const vec m0 = vec_load(from + s * plane), m1 = vec_load(from + (4 + s) * plane);
                    const vec m2 = vec_load(from + (8 + s) * plane), m3 = vec_load(from + (12 + s) * plane);
                    t[0][s] = m0 + m1 + m2, t[1][s] = m1 - m2 - m3;
                }
                const vec b = vec_load(bias + k);
#pragma GCC unroll 2
                for (int r = 0; r < 2; r++) {
                    vec_store(to + r * row, b + (t[r][0] + t[r][1] + t[r][2]));
                    vec_store(to + r * row + width, b + (t[r][1] - t[r][2] - t[r][3]));
                }
            }
}

/* w [c][9][width] -> u [xi][c][width], G w G^T */
void KERNEL(winograd_weights)(ptrdiff_t C, int width, const real *w, real *u, ptrdiff_t plane) {
    const vec half = vec_set1((real)0.5);
    for (ptrdiff_t c = 0; c < C; c++)
        for (int k = 0; k < width; k += LANES) {
            vec t[4][3];
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++) {
                const real *g = w + (c * 9 + s) * width + k;
                const vec g0 = vec_load(g), g1 = vec_load(g + 3 * width), g2 = vec_load(g + 6 * width);
                t[0][s] = g0, t[1][s] = half * (g0 + g1 + g2), t[2][s] = half * (g0 - g1 + g2), t[3][s] = g2;
            }
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                real *to = u + 4 * r * plane + c * width + k;
                vec_store(to, t[r][0]);
                vec_store(to + plane, half * (t[r][0] + t[r][1] + t[r][2]));
                vec_store(to + 2 * plane, half * (t[r][0] - t[r][1] + t[r][2]));
                vec_store(to + 3 * plane, t[r][2]);
            }
        }
}

/* gy (2 * tiles_h, 2 * tiles_w, channels) -> g [xi][tile][g_row], A gy A^T */
void KERNEL(winograd_grad_y)(ptrdiff_t tiles_h, ptrdiff_t tiles_w, ptrdiff_t channels, const real *gy, real *g,
                             ptrdiff_t g_row, ptrdiff_t plane) {
    const ptrdiff_t row = 2 * tiles_w * channels;
    for (ptrdiff_t i = 0; i < tiles_h; i++)
        for (ptrdiff_t j = 0; j < tiles_w; j++)
            for (ptrdiff_t k = 0; k < channels; k += LANES) {
                const real *from = gy + 2 * i * row + 2 * j * channels + k;
                real *to = g + (i * tiles_w + j) * g_row + k;
                vec t[4][2];
#pragma GCC unroll 2
                for (int s = 0; s < 2; s++) {
                    const vec g0 = vec_load(from + s * channels), g1 = vec_load(from + row + s * channels);
                    t[0][s] = g0, t[1][s] = g0 + g1, t[2][s] = g0 - g1, t[3][s] = -g1;
                }
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) {
                    vec_store(to + 4 * r * plane, t[r][0]);
                    vec_store(to + (4 * r + 1) * plane, t[r][0] + t[r][1]);
                    vec_store(to + (4 * r + 2) * plane, t[r][0] - t[r][1]);
                    vec_store(to + (4 * r + 3) * plane, -t[r][1]);
                }
            }
}

/* sums [xi][width] of one channel c -> to [9][width], G^T s G */
void KERNEL(winograd_grad_weight)(int width, const real *sums, ptrdiff_t plane, real *to) {
    const vec half = vec_set1((real)0.5);
    for (int k = 0; k < width; k += LANES) {
        vec t[3][4];
#pragma GCC unroll 4
        for (int s = 0; s < 4; s++) {
            const real *from = sums + s * plane + k;
            const vec s0 = vec_load(from), s1 = vec_load(from + 4 * plane);
            const vec s2 = vec_load(from + 8 * plane), s3 = vec_load(from + 12 * plane);
            t[0][s] = s0 + half * (s1 + s2), t[1][s] = half * (s1 - s2), t[2][s] = half * (s1 + s2) + s3;
        }
#pragma GCC unroll 3
        for (int r = 0; r < 3; r++) {
            vec_store(to + 3 * r * width + k, t[r][0] + half * (t[r][1] + t[r][2]));
            vec_store(to + (3 * r + 1) * width + k, half * (t[r][1] - t[r][2]));
            vec_store(to + (3 * r + 2) * width + k, half * (t[r][1] + t[r][2]) + t[r][3]);
        }
    }
}
