/* The 2x2 max pool of a band of rows that a convolution has just left in scratch, with ReLU if wanted (ops/epilogue.c):
 *
 *   y[k][i][j] = relu(max(x[k][2i][2j], x[k][2i][2j + 1], x[k][2i + 1][2j], x[k][2i + 1][2j + 1]))
 *
 * The same numbers and winners as those of pool2d_2x2.c: of equals the first wins, of NaNs the last.  It is faster as x is
 * known to be readable past its end: no vector but the last of a plane needs a mask; and as ReLU costs one instruction. */

/* LANES outputs from two rows, 2 * LANES columns of each. */
FC_INLINE vec FC(pool_four)(const real *top, const real *bottom, ivec *code) {
    vec best, right, lower, lower_right;
    vec_deinterleave(vec_load(top), vec_load(top + LANES), &best, &right);
    vec_deinterleave(vec_load(bottom), vec_load(bottom + LANES), &lower, &lower_right);
    *code = (ivec){0};
    ivec lower_code = ivec_set1(2);
    vec_keep_larger(&best, code, right, ivec_set1(1));
    vec_keep_larger(&lower, &lower_code, lower_right, ivec_set1(3));
    vec_keep_larger(&best, code, lower, lower_code);
    return best;
}

FC_INLINE void FC(pool_band_planes)(ptrdiff_t planes, ptrdiff_t rows, ptrdiff_t cols, const real *x, ptrdiff_t y_plane,
                                    real *y, uint8_t *winners, const int codes, const vec floor) {
    const ptrdiff_t OH = rows / 2, OW = cols / 2;
    for (ptrdiff_t k = 0; k < planes; k++, x += rows * cols, y += y_plane, winners += codes ? y_plane : 0) {
        const real *top = x;
        real *to = y;
        uint8_t *won = winners;
        for (ptrdiff_t i = 0; i < OH; i++, top += 2 * cols, to += OW, won += codes ? OW : 0)
            for (ptrdiff_t j = 0; j < OW; j += LANES) {
                ivec code;
                vec best = FC(pool_four)(top + 2 * j, top + cols + 2 * j, &code);
                best = vec_max(floor, best);
                /* What is written too much is written again: by the next vector, or the next row. */
                const ptrdiff_t left = (OH - i) * OW - j;
                if (left >= LANES) {
                    vec_store(to + j, best);
                    if (codes) ivec_to_bytes(won + j, code);
                } else {
                    vec_store_n(to + j, best, (int)left);
                    if (codes) ivec_to_bytes_n(won + j, code, (int)left);
                }
            }
    }
}

/* x (planes, rows, cols), readable for 2 vectors past its end; y: plane after plane at steps of y_plane, rows / 2 x
 * cols / 2 each, nothing else is written; winners: like y, or NULL. */
void KERNEL(pool_band)(ptrdiff_t planes, ptrdiff_t rows, ptrdiff_t cols, const real *x, ptrdiff_t y_plane, real *y,
                       uint8_t *winners, int relu) {
    const vec floor = vec_set1(relu ? 0 : -(real)INFINITY);
    if (winners) FC(pool_band_planes)(planes, rows, cols, x, y_plane, y, winners, 1, floor);
    else FC(pool_band_planes)(planes, rows, cols, x, y_plane, y, NULL, 0, floor);
}
