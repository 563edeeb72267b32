/* What follows a convolution in the same call (fc_epilogue): ReLU and 2x2 max pooling, done on a band of rows of a few
 * channels while they lie in cache, so that the convolution's own output is never written to memory.
 *
 * An algorithm that can do this computes a band that begins at an even row into scratch, channel after channel, and
 * hands it to finish_band.  Pooling comes before ReLU, on a quarter of the numbers: max(relu(a), relu(b)) =
 * relu(max(a, b)), NaN included.  Both are done by the kernels of max_pool2d and relu: the bits are theirs. */

/* One call's epilogue. */
typedef struct {
    fc_epilogue what;
    ptrdiff_t OH, OW; /* of y: pooled, where there is pooling */
    real *y;          /* (N, K, OH, OW) */
} FC(after);

/* Elements of scratch that finish_band needs for `channels` bands of rows x cols. */
static size_t FC(finish_scratch)(const FC(after) *after, ptrdiff_t channels, ptrdiff_t rows, ptrdiff_t cols) {
    if (!after || !after->what.pool) return 0;
    /* pooled numbers, and as many bytes for winners */
    return (size_t)(channels * ((rows + 1) / 2) * (cols / 2) * 2 + 32);
}

/* Channels first .. first + channels - 1 of all images' (n * K + k); band: (channels, rows, cols), rows i0 .. of the
 * convolution's output, i0 even. */
static void FC(finish_band)(const FC(after) *after, ptrdiff_t first, ptrdiff_t channels, ptrdiff_t i0, ptrdiff_t rows,
                            ptrdiff_t cols, const real *band, real *scratch) {
    const ptrdiff_t plane = after->OH * after->OW;
    const int relu = after->what.relu;
    if (!after->what.pool) {
        real *y = after->y + first * plane + i0 * cols;
        for (ptrdiff_t k = 0; k < channels; k++) {
            if (relu) kernels.relu_forward(band + k * rows * cols, y + k * plane, rows * cols);
            else memcpy(y + k * plane, band + k * rows * cols, sizeof(real) * (size_t)(rows * cols));
        }
        return;
    }
    const fc_pool2d pool = {.N = 1, .C = channels, .H = rows, .W = cols, .OH = rows / 2, .OW = cols / 2,
                            .kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2, .dilation_h = 1, .dilation_w = 1};
    const ptrdiff_t n = pool.OH * pool.OW, at = first * plane + i0 / 2 * after->OW;
    real *y = after->y + at;
    uint8_t *winners = after->what.winners ? after->what.winners + at : NULL;
    if (n == 0) return; /* a last row without a window */
    if (n == plane) { /* whole planes lie side by side in y too */
        kernels.max_pool2d_forward(&pool, band, y, winners, NULL, 0, channels * pool.OH);
        if (relu) kernels.relu_forward(y, y, channels * n);
        return;
    }
    uint8_t *bytes = winners ? (uint8_t *)(scratch + channels * n) : NULL;
    kernels.max_pool2d_forward(&pool, band, scratch, bytes, NULL, 0, channels * pool.OH);
    for (ptrdiff_t k = 0; k < channels; k++) {
        if (relu) kernels.relu_forward(scratch + k * n, y + k * plane, n);
        else memcpy(y + k * plane, scratch + k * n, sizeof(real) * (size_t)n);
        if (winners) memcpy(winners + k * plane, bytes + k * n, (size_t)n);
    }
}
