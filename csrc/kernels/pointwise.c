/* A convolution of one tap (1 x 1), a matrix product, with vectors over positions (job: fc_pointwise in jobs.h).
 *
 *   to[k][p] = from[k][p] + sum over c < C of w[k][c] * x[c][p]        (from NULL: bias[k] instead)
 *
 * A tile is POINT_ROWS output channels x up to POINT_VECTORS vectors of positions, all of it in registers: each step of
 * c loads the positions, broadcasts the weights and multiplies.  A sum runs over c in order, one fused multiply-add
 * after another, whatever the tile and wherever the caller cuts C: the bits are those of correlate_channels.
 *
 * x is a panel of scratch, [c][x_row], readable for a whole vector past the last position; it is small enough to stay
 * in L1 while all blocks of output channels go by.  With a `source` (whole vectors of positions as they lie, source_row
 * apart) the first block reads that and leaves the panel behind: the copy costs next to nothing there.
 *
 * Memory is asked for ahead, while there is arithmetic to hide the wait: the lines of `to` before a tile, and with each
 * step of c one line of `next`, the panel that is copied next.  (One at a time: bursts of prefetches stall the loads
 * behind them, which was measured to cost more than they gain.) */

FC_INLINE void FC(point_sum)(const int pv, const fc_pointwise *job, ptrdiff_t K, ptrdiff_t n, const real *source,
                             real *x, const real *w, const real *bias, const real *from, real *to, const real *next,
                             ptrdiff_t next_row) {
    vec acc[POINT_ROWS][POINT_VECTORS];
    if (from)
#pragma GCC unroll 8
        for (int k = 0; k < POINT_ROWS; k++)
#pragma GCC unroll 4
            for (int p = 0; p < pv; p++) acc[k][p] = vec_load(from + k * job->from_row + p * LANES);
    else
#pragma GCC unroll 8
        for (int k = 0; k < POINT_ROWS; k++)
#pragma GCC unroll 4
            for (int p = 0; p < pv; p++) acc[k][p] = vec_set1(bias[k]);
    const ptrdiff_t x_row = job->x_row;
#pragma GCC unroll 8
    for (int k = 0; k < POINT_ROWS; k++)
        for (int p = 0; p < pv; p++) __builtin_prefetch(to + k * job->to_row + p * LANES, 1, 3);
    for (ptrdiff_t c = job->C; c > 0; c--, x += x_row, w += POINT_ROWS, next += next_row) {
        __builtin_prefetch(next, 0, 2);
        vec xv[POINT_VECTORS];
#pragma GCC unroll 4
        for (int p = 0; p < pv; p++) xv[p] = vec_load((source ? source : x) + p * LANES);
        if (source) {
#pragma GCC unroll 4
            for (int p = 0; p < pv; p++) vec_store(x + p * LANES, xv[p]);
            source += job->source_row;
        }
#pragma GCC unroll 8
        for (int k = 0; k < POINT_ROWS; k++) {
            const vec wv = vec_set1(w[k]);
#pragma GCC unroll 4
            for (int p = 0; p < pv; p++) acc[k][p] = vec_fma(xv[p], wv, acc[k][p]);
        }
    }
    const int tail = (int)(n - (pv - 1) * LANES); /* lanes of the last vector that exist */
    if (K >= POINT_ROWS && tail == LANES) {
#pragma GCC unroll 8
        for (int k = 0; k < POINT_ROWS; k++)
#pragma GCC unroll 4
            for (int p = 0; p < pv; p++) vec_store(to + k * job->to_row + p * LANES, acc[k][p]);
        return;
    }
#pragma GCC unroll 8
    for (int k = 0; k < POINT_ROWS; k++) {
        if (k >= K) break;
#pragma GCC unroll 4
        for (int p = 0; p < pv - 1; p++) vec_store(to + k * job->to_row + p * LANES, acc[k][p]);
        vec_store_n(to + k * job->to_row + (pv - 1) * LANES, acc[k][pv - 1], tail);
    }
}

typedef void (*FC(point_tile))(const fc_pointwise *, ptrdiff_t, ptrdiff_t, const real *, real *, const real *,
                               const real *, const real *, real *, const real *, ptrdiff_t);
#define TILE(pv)                                                                                                    \
    static void FC(point_##pv)(const fc_pointwise *job, ptrdiff_t K, ptrdiff_t n, const real *source, real *x,      \
                               const real *w, const real *bias, const real *from, real *to, const real *next,       \
                               ptrdiff_t next_row) {                                                                \
        (void)source;                                                                                               \
        FC(point_sum)(pv, job, K, n, NULL, x, w, bias, from, to, next, next_row);                                   \
    }                                                                                                               \
    static void FC(point_copy_##pv)(const fc_pointwise *job, ptrdiff_t K, ptrdiff_t n, const real *source, real *x, \
                                    const real *w, const real *bias, const real *from, real *to, const real *next,  \
                                    ptrdiff_t next_row) {                                                           \
        if (!source) __builtin_unreachable();                                                                       \
        FC(point_sum)(pv, job, K, n, source, x, w, bias, from, to, next, next_row);                                 \
    }
TILE(1)
TILE(2)
TILE(3)
static const FC(point_tile) FC(point_tiles)[POINT_VECTORS + 1][2] = {
    {NULL, NULL}, {FC(point_1), FC(point_copy_1)}, {FC(point_2), FC(point_copy_2)}, {FC(point_3), FC(point_copy_3)}};
#undef TILE

/* Positions 0 .. n-1, n at most POINT_VECTORS vectors, for all K output channels.
 * w [block][w_block], a block being [c][POINT_ROWS], zero where a channel does not exist;  bias alike. */
void KERNEL(pointwise)(const fc_pointwise *job, ptrdiff_t n, const real *source, real *x, const real *w,
                       const real *bias, const real *from, real *to, const real *next) {
    const ptrdiff_t blocks = (job->K + POINT_ROWS - 1) / POINT_ROWS, line = 64 / (ptrdiff_t)sizeof(real);
    for (ptrdiff_t b = 0; b < blocks; b++) {
        /* Block b asks for the b-th line of each row of `next`; a block with nothing to ask for names one at hand. */
        const int ask = next && b * line < job->next_span;
        FC(point_tiles)[(n + LANES - 1) / LANES][b == 0 && source](
            job, job->K - b * POINT_ROWS, n, source, x, w, bias, from, to, ask ? next + b * line : w,
            ask ? job->source_row : 0);
        w += job->w_block, bias += POINT_ROWS, to += POINT_ROWS * job->to_row;
        if (from) from += POINT_ROWS * job->from_row;
    }
}

/* weight (K, C), element (k, c) at k * w_k + c * w_c, one of the two steps being 1 -> [block][c][POINT_ROWS]. */
void KERNEL(pointwise_weights)(ptrdiff_t K, ptrdiff_t C, const real *weight, ptrdiff_t w_k, ptrdiff_t w_c, real *to) {
    for (ptrdiff_t k = 0; k < K; k += POINT_ROWS) {
        const int rows = K - k < POINT_ROWS ? (int)(K - k) : POINT_ROWS;
        const real *from = weight + k * w_k;
        if (rows == POINT_ROWS)
            for (ptrdiff_t c = 0; c < C; c++)
                for (int r = 0; r < POINT_ROWS; r++) to[c * POINT_ROWS + r] = from[r * w_k + c * w_c];
        else
            for (ptrdiff_t c = 0; c < C; c++)
                for (int r = 0; r < POINT_ROWS; r++) to[c * POINT_ROWS + r] = r < rows ? from[r * w_k + c * w_c] : 0;
        to += C * POINT_ROWS;
    }
}

/* Positions of C planes, in rows of scratch: to[c * to_row + p] for p < n; position p is the (p0 + p)-th of the plane's
 * positions, which lie x_col apart in rows of cols, these x_row apart.  Writes up to a vector past the last one. */
void KERNEL(pointwise_panel)(ptrdiff_t C, ptrdiff_t p0, ptrdiff_t n, ptrdiff_t cols, const real *x, ptrdiff_t x_channel,
                             ptrdiff_t x_row, ptrdiff_t x_col, real *to, ptrdiff_t to_row) {
    for (ptrdiff_t c = 0; c < C; c++, x += x_channel, to += to_row) {
        ptrdiff_t done = 0, j = p0 % cols;
        for (const real *row = x + p0 / cols * x_row; done < n; row += x_row, j = 0) {
            const real *at = row + j * x_col;
            const ptrdiff_t count = cols - j < n - done ? cols - j : n - done;
            real *here = to + done;
            ptrdiff_t i = 0;
            if (x_col == 1) {
                for (; i + LANES <= count; i += LANES) vec_store(here + i, vec_load(at + i));
                if (i < count) vec_store(here + i, vec_load_n(at + i, (int)(count - i)));
            } else if (x_col == 2) {
                /* The last of 2 * LANES elements may lie past the plane's end: a full vector is one with more to come. */
                for (; i + LANES < count; i += LANES) vec_store(here + i, vec_load_strided(at + 2 * i, 2));
                const int left = (int)(2 * (count - i) - 1);
                vec even, odd;
                const vec first = vec_load_n(at + 2 * i, left < LANES ? left : LANES);
                const vec second = left > LANES ? vec_load_n(at + 2 * i + LANES, left - LANES) : vec_set1(0);
                vec_deinterleave(first, second, &even, &odd);
                vec_store(here + i, even);
            } else {
                for (; i < count; i++) here[i] = at[i * x_col];
            }
            done += count;
        }
    }
}

/* Rows of scratch spread out with one number between: to[i * step_h * width + j * step_w] = from[i * cols + j], all other
 * elements of the `height` x `width` numbers at `to` are `between`.  from: readable for two vectors past the end. */
void KERNEL(pointwise_spread)(ptrdiff_t cols, ptrdiff_t step_h, ptrdiff_t step_w, const real *from, real between,
                              ptrdiff_t height, ptrdiff_t width, real *to) {
    const vec fill = vec_set1(between);
    for (ptrdiff_t i = 0; i < height; i++, to += width) {
        ptrdiff_t j = 0;
        if (i % step_h == 0 && step_w == 2) {
            for (; j + 2 * LANES <= width; j += 2 * LANES) {
                vec low, high;
                vec_interleave(vec_load(from + j / 2), fill, &low, &high);
                vec_store(to + j, low);
                vec_store(to + j + LANES, high);
            }
            if (j < width) {
                vec low, high;
                vec_interleave(vec_load(from + j / 2), fill, &low, &high);
                const int left = (int)(width - j);
                vec_store_n(to + j, low, left < LANES ? left : LANES);
                if (left > LANES) vec_store_n(to + j + LANES, high, left - LANES);
            }
            from += cols;
            continue;
        }
        for (; j + LANES <= width; j += LANES) vec_store(to + j, fill);
        if (j < width) vec_store_n(to + j, fill, (int)(width - j));
        if (i % step_h == 0) {
            for (j = 0; j < cols; j++) to[j * step_w] = from[j];
            from += cols;
        }
    }
}

/* Row i of `to` (to_row apart): a[i * even + j] in column 2 j, b[i * odd + j] in column 2 j + 1; even - odd is 0 or 1.
 * a and b: readable for a vector past the end. */
void KERNEL(interleave_rows)(ptrdiff_t rows, ptrdiff_t even, ptrdiff_t odd, const real *a, const real *b, real *to,
                             ptrdiff_t to_row) {
    const ptrdiff_t width = even + odd;
    for (ptrdiff_t i = 0; i < rows; i++, a += even, b += odd, to += to_row)
        for (ptrdiff_t j = 0; j < width; j += 2 * LANES) {
            vec low, high;
            vec_interleave(vec_load(a + j / 2), vec_load(b + j / 2), &low, &high);
            const ptrdiff_t left = width - j;
            if (left >= LANES) vec_store(to + j, low);
            else vec_store_n(to + j, low, (int)left);
            if (left >= 2 * LANES) vec_store(to + j + LANES, high);
            else if (left > LANES) vec_store_n(to + j + LANES, high, (int)(left - LANES));
        }
}
