/* Rearranging: transposes for weights and gradients, a check for infinities and NaN. */

/* to[order[c]][r] = from[r][c] for r < width, c < cols; rows past `rows` count as zero.  width <= LANES.
 * from: rows `from_row` apart; to: rows `to_row` apart; order NULL means order[c] = c. */
void KERNEL(transpose)(const real *from, ptrdiff_t from_row, int rows, ptrdiff_t cols, real *to, ptrdiff_t to_row,
                          int width, const ptrdiff_t *order) {
    for (ptrdiff_t c = 0; c < cols; c += LANES) {
        const int n = cols - c < LANES ? (int)(cols - c) : LANES;
        /* Every loop over the block is unrolled, so that it stays in registers. */
        vec block[LANES];
        if (rows == LANES && n == LANES) {
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++) block[r] = vec_load(from + r * from_row + c);
        } else if (rows == LANES) {
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++) block[r] = vec_load_n(from + r * from_row + c, n);
        } else {
            for (int r = 0; r < LANES; r++)
                block[r] = r < rows ? vec_load_n(from + r * from_row + c, n) : vec_set1(0);
        }
        vec_transpose(block);
        real *at = to + c * to_row;
        if (order) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (i < n) vec_store_n(to + order[c + i] * to_row, block[i], width);
        } else if (width == LANES) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (i < n) vec_store(at + i * to_row, block[i]);
        } else {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (i < n) vec_store_n(at + i * to_row, block[i], width);
        }
    }
}

/* to[k][p] = from[p][k] for p < n, k < channels <= LANES: channels last to rows, a square block at a time. */
void KERNEL(to_rows)(const real *from, ptrdiff_t from_row, ptrdiff_t n, int channels, real *to, ptrdiff_t to_row) {
    vec block[LANES];
    ptrdiff_t p = 0;
    for (; channels == LANES && p + LANES <= n; p += LANES) {
#pragma GCC unroll 16
        for (int r = 0; r < LANES; r++) block[r] = vec_load(from + (p + r) * from_row);
        vec_transpose(block);
#pragma GCC unroll 16
        for (int k = 0; k < LANES; k++) vec_store(to + k * to_row + p, block[k]);
    }
    for (; p < n; p += LANES) {
        const int rows = n - p < LANES ? (int)(n - p) : LANES;
        KERNEL(transpose)(from + p * from_row, from_row, rows, channels, to + p, to_row, rows, NULL);
    }
}

/* The low byte of each of n integers. */
void KERNEL(to_bytes)(const ireal *from, ptrdiff_t n, uint8_t *to) {
    ivec v;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        memcpy(&v, from + i, sizeof v);
        ivec_to_bytes(to + i, v);
    }
    for (; i < n; i++) to[i] = (uint8_t)from[i];
}

/* A box of one image with its border, as [row][column][channel]: row r, column j of `to` are row first + r, column
 * left + j of from (C, H, W), zero outside and for channels >= C; channels is a multiple of LANES. */
void KERNEL(to_channels_last)(const real *from, ptrdiff_t C, ptrdiff_t H, ptrdiff_t W, ptrdiff_t first, ptrdiff_t left,
                                 ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t channels, real *to) {
    const ptrdiff_t begin = left < 0 ? -left : 0, end = W - left < cols ? W - left : cols;
    for (ptrdiff_t r = 0; r < rows; r++, to += cols * channels) {
        const ptrdiff_t h = first + r;
        const int inside = h >= 0 && h < H && begin < end;
        const ptrdiff_t zeros = inside ? begin : cols, after = inside ? end : cols;
        for (ptrdiff_t i = 0; i < zeros * channels; i += LANES) vec_store(to + i, vec_set1(0));
        for (ptrdiff_t i = after * channels; i < cols * channels; i += LANES) vec_store(to + i, vec_set1(0));
        if (!inside) continue;
        for (ptrdiff_t c = 0; c < channels; c += LANES) {
            const real *row = from + (c * H + h) * W + left + begin;
            real *at = to + begin * channels + c;
            ptrdiff_t j = begin;
            for (; C - c >= LANES && j + LANES <= end; j += LANES, row += LANES, at += LANES * channels) {
                vec block[LANES];
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) block[i] = vec_load(row + i * H * W);
                vec_transpose(block);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) vec_store(at + i * channels, block[i]);
            }
            if (j < end)
                KERNEL(transpose)(row, H * W, C - c < LANES ? (int)(C - c) : LANES, end - j, at, channels, LANES, NULL);
        }
    }
}

/* 1 when none of the n numbers is infinite or NaN: x - x is 0 for finite x alone. */
int KERNEL(all_finite)(const real *x, ptrdiff_t n) {
    vec sum = vec_set1(0);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec v = vec_load(x + i);
        sum += v - v;
    }
    vec v = vec_load_n(x + i, (int)(n - i));
    sum += v - v;
    return vec_sum(sum) == 0;
}

/* sum of n numbers: LANES x 4 running sums, then added pairwise in a fixed order. */
real KERNEL(sum_all)(const real *x, ptrdiff_t n) {
    vec s[4] = {vec_set1(0), vec_set1(0), vec_set1(0), vec_set1(0)};
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) s[v] += vec_load(x + i + v * LANES);
    for (int v = 0; i < n; i += LANES, v++) s[v] += n - i >= LANES ? vec_load(x + i) : vec_load_n(x + i, (int)(n - i));
    return vec_sum((s[0] + s[1]) + (s[2] + s[3]));
}

/* to[i] = sum over j < count, in order, of from[j * step + i], for i < n */
void KERNEL(add_rows)(const real *from, ptrdiff_t step, ptrdiff_t count, ptrdiff_t n, real *to) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        int lanes = n - i < LANES ? (int)(n - i) : LANES;
        vec s = vec_set1(0);
        for (ptrdiff_t j = 0; j < count; j++)
            s += lanes == LANES ? vec_load(from + j * step + i) : vec_load_n(from + j * step + i, lanes);
        if (lanes == LANES) vec_store(to + i, s);
        else vec_store_n(to + i, s, lanes);
    }
}

/* to (rows, width) = from (rows, cols), the columns past cols as zeros; width a multiple of LANES. */
void KERNEL(copy_panel)(ptrdiff_t rows, ptrdiff_t cols, const real *from, ptrdiff_t from_row, real *to,
                           ptrdiff_t width) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < width; c += LANES) {
            vec v = cols - c >= LANES ? vec_load(from + r * from_row + c)
                    : cols > c        ? vec_load_n(from + r * from_row + c, (int)(cols - c))
                                      : vec_set1(0);
            vec_store(to + r * width + c, v);
        }
}

/* A plane with its border: row r of `to` (to_row apart, width numbers) is row first + r of `from` (H x W), its columns
 * starting at `left`; whatever lies outside is 0.  Writes up to a vector past the end of `to`. */
void KERNEL(pad_plane)(const real *from, ptrdiff_t H, ptrdiff_t W, ptrdiff_t first, ptrdiff_t left, ptrdiff_t rows,
                          ptrdiff_t width, real *to, ptrdiff_t to_row) {
    const ptrdiff_t begin = left < 0 ? -left : 0;                 /* the columns of `to` that exist in `from` */
    const ptrdiff_t end = W - left < width ? W - left : width;
    for (ptrdiff_t r = 0; r < rows; r++, to += to_row) {
        for (ptrdiff_t c = 0; c < width; c += LANES) vec_store(to + c, vec_set1(0));
        if (first + r < 0 || first + r >= H) continue;
        const real *row = from + (first + r) * W + left;
        ptrdiff_t c = begin;
        for (; c + LANES <= end; c += LANES) vec_store(to + c, vec_load(row + c));
        if (c < end) vec_store_n(to + c, vec_load_n(row + c, (int)(end - c)), (int)(end - c));
    }
}

/* to[r * cols + j] = from[first + r * row_step][left + j * col_step], 0 outside H x W: one of the shifted copies of
 * correlate_positions.  Writes up to a vector past the end of `to`. */
void KERNEL(shift_plane)(const real *from, ptrdiff_t H, ptrdiff_t W, ptrdiff_t first, ptrdiff_t row_step,
                            ptrdiff_t left, ptrdiff_t col_step, ptrdiff_t rows, ptrdiff_t cols, real *to) {
    ptrdiff_t begin = left < 0 ? (-left + col_step - 1) / col_step : 0;
    ptrdiff_t end = W > left ? (W - left + col_step - 1) / col_step : 0;
    if (end > cols) end = cols;
    for (ptrdiff_t r = 0; r < rows; r++, to += cols) {
        const ptrdiff_t i = first + r * row_step;
        const int inside = i >= 0 && i < H;
        if (!inside || begin > 0 || end < cols)
            for (ptrdiff_t c = 0; c < cols; c += LANES) vec_store(to + c, vec_set1(0));
        if (!inside) continue;
        const real *row = from + i * W + left;
        ptrdiff_t c = begin;
        if (col_step == 1) {
            for (; c + LANES <= end; c += LANES) vec_store(to + c, vec_load(row + c));
            if (c < end) vec_store_n(to + c, vec_load_n(row + c, (int)(end - c)), (int)(end - c));
        } else {
            for (; c < end; c++) to[c] = row[c * col_step];
        }
    }
}

/* 1 when all |x| <= limit; NaN is not. */
int KERNEL(all_within)(const real *x, ptrdiff_t n, real limit) {
    const vec high = vec_set1(limit), low = vec_set1(-limit);
    ivec good = vec_set1(0) == vec_set1(0);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec v = vec_load(x + i);
        good &= (v <= high) & (v >= low);
    }
    vec v = vec_load_n(x + i, (int)(n - i));
    good &= (v <= high) & (v >= low);
    int all = 1;
    for (int l = 0; l < LANES; l++) all &= good[l] != 0;
    return all;
}
