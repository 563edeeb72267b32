/* What follows a convolution in the same call (fc_epilogue): ReLU and 2x2 max pooling, done on a band of rows of a few
 * channels while they lie in cache, so that the convolution's own output is never written to memory.
 *
 * An algorithm that can do this computes a band that begins at an even row into scratch, channel after channel, and
 * hands it to finish_band.  Pooling comes before ReLU, on a quarter of the numbers: max(relu(a), relu(b)) =
 * relu(max(a, b)), NaN included.  The bits are those of one after the other. */

/* One call's epilogue. */
typedef struct {
    fc_epilogue what;
    ptrdiff_t OH, OW; /* of y: pooled, where there is pooling */
    real *y;          /* (N, K, OH, OW) */
} FC(after);

enum { FC(AFTER_BYTES) = 20000 }; /* of a band in scratch: with x's copies it should stay in L1 */

/* Rows of a band, of `all`, where `rows` would do without an epilogue; a row is `row` elements of scratch. */
static ptrdiff_t FC(after_rows)(ptrdiff_t all, ptrdiff_t rows, ptrdiff_t row) {
    while (rows > 4 && row * rows > FC(AFTER_BYTES) / (ptrdiff_t)sizeof(real)) rows = (rows + 1) / 2;
    return rows < all ? rows + (rows & 1) : rows; /* whole windows */
}

/* Channels first .. first + channels - 1 of all images' (n * K + k); band: (channels, rows, cols), rows i0 .. of the
 * convolution's output, i0 even, readable for two vectors past its end. */
static void FC(finish_band)(const FC(after) *after, ptrdiff_t first, ptrdiff_t channels, ptrdiff_t i0, ptrdiff_t rows,
                            ptrdiff_t cols, const real *band) {
    const ptrdiff_t plane = after->OH * after->OW;
    if (after->what.pool) {
        const ptrdiff_t at = first * plane + i0 / 2 * after->OW;
        kernels.pool_band(channels, rows, cols, band, plane, after->y + at,
                          after->what.winners ? after->what.winners + at : NULL, after->what.relu);
        return;
    }
    for (ptrdiff_t k = 0; k < channels; k++) {
        real *y = after->y + (first + k) * plane + i0 * cols;
        if (after->what.relu) kernels.relu_forward(band + k * rows * cols, y, rows * cols);
        else memcpy(y, band + k * rows * cols, sizeof(real) * (size_t)(rows * cols));
    }
}
