/* Batch normalisation of x (N, C, L):  y = (x - mean) * inv_std * weight + bias, all four per channel.
 *
 * Two kernels do all passes.  Both work on C channels of N images, which are p->C * p->L elements apart:
 *
 *   sums    forward    sum += d,  product += d * d,  d = x - shift
 *           backward   sum += g,  product += g * d   (g = grad_y; shift = mean)
 *   apply   forward    y = d * scale + offset,       d = x - mean
 *           backward   y = d * scale + (g * grad_scale + offset)
 *
 * Forward, the shift is an element of the channel.  Then one pass is enough: no element is further than sqrt(n - 1)
 * standard deviations from the mean of n (Samuelson's inequality), so product - sum^2 / n loses at most a factor n of
 * accuracy, a few units as a rule, however large the mean is.  Sums are of doubles for both types: differences of
 * floats are then exact, and nothing is lost at all.  Backward nothing cancels, and floats do for short pieces.
 *
 * Planes are added image by image, the lanes of a vector at the very end: the order depends on the shape alone.
 * Where L is 1, vectors hold neighbouring channels, else pixels of a plane. */

enum { FC(WIDE) = FC_LANES_f64, FC(NORM_BLOCK) = 32 };

/* The sums of a channel so far.  Forward, a plane's last pixels, fewer than a vector, are a vector that overlaps the
 * one before, with the lanes that have been counted set to 0; planes smaller than a vector are summed by themselves. */
typedef struct {
    vec_f64 sum, product;
    double small_sum, small_product;
} FC(norm_total);

/* Adds one plane, forward. */
FC_INLINE void FC(norm_plane_sums)(const real *x, ptrdiff_t L, double shift, FC(norm_total) *total) {
    const vec_f64 k = set1_f64(shift), none = {0};
    if (L < FC(WIDE)) {
        for (ptrdiff_t i = 0; i < L; i++) {
            const double d = (double)x[i] - shift;
            total->small_sum += d;
            total->small_product += d * d;
        }
        return;
    }
    vec_f64 s[4] = {{0}, {0}, {0}, {0}}, q[4] = {{0}, {0}, {0}, {0}};
    ptrdiff_t i = 0;
    for (; i + 4 * FC(WIDE) <= L; i += 4 * FC(WIDE)) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            const vec_f64 d = vec_load_wide(x + i + v * FC(WIDE)) - k;
            s[v] += d;
            q[v] = fma_f64(d, d, q[v]);
        }
    }
    for (; i + FC(WIDE) <= L; i += FC(WIDE)) {
        const vec_f64 d = vec_load_wide(x + i) - k;
        s[0] += d;
        q[0] = fma_f64(d, d, q[0]);
    }
    if (i < L) {
        const ivec_f64 new = iota_f64() >= (i - (L - FC(WIDE)));
        const vec_f64 d = select_f64(new, vec_load_wide(x + L - FC(WIDE)) - k, none);
        s[1] += d;
        q[1] = fma_f64(d, d, q[1]);
    }
    total->sum += (s[0] + s[1]) + (s[2] + s[3]);
    total->product += (q[0] + q[1]) + (q[2] + q[3]);
}

/* The lanes of v, added up to as many as a vector of doubles has. */
FC_INLINE vec_f64 FC(norm_widen)(vec v) {
    real lane[LANES];
    vec_f64 sum = {0};
    vec_store(lane, v);
    for (int i = 0; i < LANES; i += FC(WIDE)) sum += vec_load_wide(lane + i);
    return sum;
}

/* Adds one plane, backward: pieces of at most 64 vectors in `real`, and their sums in double. */
FC_INLINE void FC(norm_plane_grad_sums)(const real *g, const real *x, ptrdiff_t L, double shift,
                                        FC(norm_total) *total) {
    const real mean = (real)shift;
    const vec high = vec_set1(mean), low = vec_set1(isfinite(mean) ? (real)(shift - (double)mean) : 0);
    for (ptrdiff_t piece = 0; piece < L; piece += 64 * LANES) {
        const ptrdiff_t end = L - piece < 64 * LANES ? L : piece + 64 * LANES;
        vec s[4] = {{0}, {0}, {0}, {0}}, q[4] = {{0}, {0}, {0}, {0}};
        ptrdiff_t i = piece;
        for (; i + 4 * LANES <= end; i += 4 * LANES) {
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) {
                const vec a = vec_load(g + i + v * LANES), d = (vec_load(x + i + v * LANES) - high) - low;
                s[v] += a;
                q[v] = vec_fma(a, d, q[v]);
            }
        }
        for (; i < end; i += LANES) {
            const int lanes = end - i < LANES ? (int)(end - i) : LANES;
            const vec a = vec_load_n(g + i, lanes), d = (vec_load_n(x + i, lanes) - high) - low;
            s[0] += a;
            q[0] = vec_fma(a, d, q[0]);
        }
        total->sum += FC(norm_widen)((s[0] + s[1]) + (s[2] + s[3]));
        total->product += FC(norm_widen)((q[0] + q[1]) + (q[2] + q[3]));
    }
}

/* L = 1: `vectors` of channels, all images. */
FC_INLINE void FC(norm_column_sums)(ptrdiff_t N, ptrdiff_t step, const int vectors, const real *g, const real *x,
                                    const double *shift, double *sum, double *product) {
    vec_f64 s[4], q[4], k[4];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        s[v] = load_f64(sum + v * FC(WIDE));
        q[v] = load_f64(product + v * FC(WIDE));
        k[v] = load_f64(shift + v * FC(WIDE));
    }
    for (ptrdiff_t n = 0; n < N; n++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const vec_f64 d = vec_load_wide(x + n * step + v * FC(WIDE)) - k[v];
            const vec_f64 a = g ? vec_load_wide(g + n * step + v * FC(WIDE)) : d;
            s[v] += a;
            q[v] = fma_f64(a, d, q[v]);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        store_f64(sum + v * FC(WIDE), s[v]);
        store_f64(product + v * FC(WIDE), q[v]);
    }
}

/* C planes of each image, C at most NORM_BLOCK. */
FC_INLINE void FC(norm_block_sums)(ptrdiff_t N, ptrdiff_t step, ptrdiff_t C, ptrdiff_t L, const real *g, const real *x,
                                   const double *shift, double *sum, double *product) {
    FC(norm_total) total[FC(NORM_BLOCK)];
    memset(total, 0, (size_t)C * sizeof *total);
    for (ptrdiff_t n = 0; n < N; n++)
        for (ptrdiff_t c = 0; c < C; c++) {
            const ptrdiff_t plane = n * step + c * L;
            if (g) FC(norm_plane_grad_sums)(g + plane, x + plane, L, shift[c], &total[c]);
            else FC(norm_plane_sums)(x + plane, L, shift[c], &total[c]);
        }
    for (ptrdiff_t c = 0; c < C; c++) {
        sum[c] += sum_f64(total[c].sum) + total[c].small_sum;
        product[c] += sum_f64(total[c].product) + total[c].small_product;
    }
}

FC_INLINE void FC(norm_sums)(const fc_batch_norm *p, ptrdiff_t N, ptrdiff_t C, const real *g, const real *x,
                             const double *shift, double *sum, double *product) {
    const ptrdiff_t step = p->C * p->L;
    ptrdiff_t c = 0;
    if (p->L == 1) {
        for (; c + 4 * FC(WIDE) <= C; c += 4 * FC(WIDE))
            FC(norm_column_sums)(N, step, 4, g ? g + c : NULL, x + c, shift + c, sum + c, product + c);
        for (; c + FC(WIDE) <= C; c += FC(WIDE))
            FC(norm_column_sums)(N, step, 1, g ? g + c : NULL, x + c, shift + c, sum + c, product + c);
    }
    for (; c < C; c += FC(NORM_BLOCK)) {
        const ptrdiff_t block = C - c < FC(NORM_BLOCK) ? C - c : FC(NORM_BLOCK), at = c * p->L;
        FC(norm_block_sums)(N, step, block, p->L, g ? g + at : NULL, x + at, shift + c, sum + c, product + c);
    }
}

/* sum and product (C) are added to. */
void KERNEL(batch_norm_sums)(const fc_batch_norm *p, ptrdiff_t N, ptrdiff_t C, const real *g, const real *x,
                             const double *shift, double *sum, double *product) {
    if (g) FC(norm_sums)(p, N, C, g, x, shift, sum, product);
    else FC(norm_sums)(p, N, C, NULL, x, shift, sum, product);
}

/* The numbers of one channel, or of LANES neighbouring ones.  The mean is the sum of two: a float cannot hold as much
 * of it as x - mean needs. */
typedef struct {
    vec high, low, scale, offset, grad_scale;
} FC(norm_numbers);

FC_INLINE vec FC(norm_vector)(const FC(norm_numbers) *c, const int backward, vec g, vec x) {
    const vec d = (x - c->high) - c->low;
    return vec_fma(d, c->scale, backward ? vec_fma(g, c->grad_scale, c->offset) : c->offset);
}

FC_INLINE void FC(norm_plane_apply)(const FC(norm_numbers) *numbers, const real *g, const real *x, ptrdiff_t L,
                                    real *y) {
    const FC(norm_numbers) c = *numbers;
    const vec none = {0};
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= L; i += LANES)
        vec_store(y + i, FC(norm_vector)(&c, g != NULL, g ? vec_load(g + i) : none, vec_load(x + i)));
    if (i < L) {
        const int tail = (int)(L - i);
        vec_store_n(y + i, FC(norm_vector)(&c, g != NULL, g ? vec_load_n(g + i, tail) : none, vec_load_n(x + i, tail)),
                    tail);
    }
}

FC_INLINE void FC(norm_apply)(const fc_batch_norm *p, ptrdiff_t N, ptrdiff_t C, const real *g, const real *x,
                              const real *coefficients, real *y) {
    const ptrdiff_t step = p->C * p->L;
    const real *high = coefficients, *low = high + p->C, *scale = low + p->C, *offset = scale + p->C;
    const real *grad_scale = offset + p->C;
    FC(norm_numbers) numbers;
    if (p->L == 1) {
        for (ptrdiff_t c = 0; c < C; c += LANES) {
            const int lanes = C - c < LANES ? (int)(C - c) : LANES;
            numbers.high = vec_load_n(high + c, lanes);
            numbers.low = vec_load_n(low + c, lanes);
            numbers.scale = vec_load_n(scale + c, lanes);
            numbers.offset = vec_load_n(offset + c, lanes);
            if (g) numbers.grad_scale = vec_load_n(grad_scale + c, lanes);
            for (ptrdiff_t n = 0; n < N; n++) {
                const ptrdiff_t at = n * step + c;
                FC(norm_plane_apply)(&numbers, g ? g + at : NULL, x + at, lanes, y + at);
            }
        }
        return;
    }
    for (ptrdiff_t n = 0; n < N; n++)
        for (ptrdiff_t c = 0; c < C; c++) {
            const ptrdiff_t plane = n * step + c * p->L;
            numbers.high = vec_set1(high[c]);
            numbers.low = vec_set1(low[c]);
            numbers.scale = vec_set1(scale[c]);
            numbers.offset = vec_set1(offset[c]);
            if (g) numbers.grad_scale = vec_set1(grad_scale[c]);
            FC(norm_plane_apply)(&numbers, g ? g + plane : NULL, x + plane, p->L, y + plane);
        }
}

/* coefficients: high, low, scale, offset and, with g, grad_scale of the first channel; each p->C apart. */
void KERNEL(batch_norm_apply)(const fc_batch_norm *p, ptrdiff_t N, ptrdiff_t C, const real *g, const real *x,
                              const real *coefficients, real *y) {
    if (g) FC(norm_apply)(p, N, C, g, x, coefficients, y);
    else FC(norm_apply)(p, N, C, NULL, x, coefficients, y);
}
