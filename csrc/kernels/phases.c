/* Rows taken apart by the phases of their columns, and put together again: a convolution with dilation d is d x d
 * convolutions without, of the images made of every d-th row and column. */

/* to[b * to_step + j] = from[j * phases + b] for b < phases, j < n */
void KERNEL(split_row)(const real *from, ptrdiff_t phases, ptrdiff_t n, real *to, ptrdiff_t to_step) {
    ptrdiff_t j = 0;
    for (; phases == 2 && j < n; j += LANES) {
        const ptrdiff_t left = 2 * (n - j);
        const int low = left < LANES ? (int)left : LANES, high = left < 2 * LANES ? (int)left - low : LANES;
        vec even, odd;
        vec_deinterleave(vec_load_n(from + 2 * j, low), vec_load_n(from + 2 * j + LANES, high), &even, &odd);
        const int count = n - j < LANES ? (int)(n - j) : LANES;
        vec_store_n(to + j, even, count);
        vec_store_n(to + to_step + j, odd, count);
    }
    for (; j < n; j++)
        for (ptrdiff_t b = 0; b < phases; b++) to[b * to_step + j] = from[j * phases + b];
}

/* to[j * phases + b] = from[b * from_step + j] for b < phases, j < n */
void KERNEL(merge_row)(const real *from, ptrdiff_t from_step, ptrdiff_t phases, ptrdiff_t n, real *to) {
    ptrdiff_t j = 0;
    for (; phases == 2 && j < n; j += LANES) {
        const int count = n - j < LANES ? (int)(n - j) : LANES;
        vec low, high;
        vec_interleave(vec_load_n(from + j, count), vec_load_n(from + from_step + j, count), &low, &high);
        vec_store_n(to + 2 * j, low, 2 * count < LANES ? 2 * count : LANES);
        if (2 * count > LANES) vec_store_n(to + 2 * j + LANES, high, 2 * count - LANES);
    }
    for (; j < n; j++)
        for (ptrdiff_t b = 0; b < phases; b++) to[j * phases + b] = from[b * from_step + j];
}
