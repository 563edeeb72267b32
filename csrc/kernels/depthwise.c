/* Convolution of one plane with one kernel: what depthwise and grouped convolutions with few channels are made of.
 *
 *   plane_correlate   y[i][j] = bias + sum over r, s of w[r][s] * x[i * stride + r - top][j * stride + s - left]
 *   plane_spread      its adjoint for stride 2: each element of gy adds to the window of gx that it was made of
 *   plane_outer       sum[r][s] += gy[i][j] * x[i * stride + r - top][j * stride + s - left], in LANES parts
 *
 * What lies outside a plane counts as 0 there.  Kernels of 3x3, 5x5 and 7x7 with stride 1 or 2 are compiled, each with
 * loops unrolled.  Such a convolution does few operations for each element it touches, so nothing is copied, padded or
 * rearranged first: a strip of LANES columns of y runs down the plane, each row of x is loaded once for a strip
 * (shifted by each s), and meets the rows of y that see it, whose sums are in registers.  Only strips at the left and
 * right edge load with masks; rows above and below x are passed over.
 *
 * A wide plane is worked in bands of rows, so that a row is still in L1 when the next strip comes. */

enum {
    FC(MOST_SIDE) = 7,
    FC(BAND) = (16 << 10) / sizeof(real), /* elements of x, about */
};

/* Rows of y in a band. */
FC_INLINE ptrdiff_t FC(plane_band)(ptrdiff_t W, ptrdiff_t stride) {
    const ptrdiff_t rows = FC(BAND) / (W * stride);
    return rows < 8 ? 8 : rows;
}

/* Fetches into L2 what lies `ahead` elements after p, the same place of the next plane.  What is to be written is
 * fetched only where this call goes on to it (0 where not): the next plane may be another thread's.  Nothing happens
 * where no memory is. */
FC_INLINE void FC(plane_soon)(const real *p, ptrdiff_t ahead) {
    __builtin_prefetch((const void *)((uintptr_t)p + (uintptr_t)ahead * sizeof(real)), 0, 2);
}

/* Where a strip lies in the rows that it reads: column c + l * stride + s of x for lane l and tap s.  Where it reaches
 * beyond them it needs masks: load[s] of what lies inside (stride 2: load[s] and load[s + 1] of the two vectors that
 * begin at tap s, s even; but see plane_row for 3 taps), and `store` of the strip's own columns.  Elsewhere all of
 * c .. c + S - 2 + LANES * stride lies in the row. */
typedef struct {
    ptrdiff_t c;
    vmask load[FC(MOST_SIDE) + 1], store;
    /* A pair of narrow planes, with the same columns: LANES / 2 lanes of each, so that lane l of the second plane is
     * its column l - LANES / 2. */
    vmask load_second[FC(MOST_SIDE)], store_second;
} FC(strip);

FC_INLINE FC(strip) FC(make_strip)(ptrdiff_t c, ptrdiff_t W, ptrdiff_t columns, const int S, const int stride,
                                   const int pair) {
    enum { HALF = LANES / 2 };
    FC(strip) strip = {.c = c, .store = vec_mask_within(0, columns)};
#pragma GCC unroll 8
    for (int s = 0; s < S + (stride - 1); s++)
        strip.load[s] = vec_mask_within(stride == 1 ? c + s : c + s / 2 * 2 + s % 2 * LANES, W);
    if (stride == 2 && S == 3) {
        strip.load[0] = vec_mask_within(c + 1, W);
        strip.load[1] = vec_mask_within(c + 1 + LANES, W);
        strip.load[2] = vec_mask_within(c, W) & vec_mask_within(0, 1);
    }
    if (pair) {
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) {
            strip.load[s] &= vec_mask_within(0, HALF);
            strip.load_second[s] = vec_mask_within(c + s - HALF, W) & vec_mask_within(-HALF, LANES);
        }
        strip.store_second = vec_mask_within(-HALF, columns);
    }
    return strip;
}

/* How a strip is worked on. */
enum {
    FC(INNER), /* whole vectors */
    FC(EDGE),  /* with masks */
    FC(PAIR),  /* with masks, of two planes */
};

FC_INLINE vec FC(load_strip)(const real *p, vmask mask, vmask mask_second, ptrdiff_t second, const int kind) {
    if (kind == FC(INNER)) return vec_load(p);
    const vec first = vec_load_masked(p, mask);
    if (kind == FC(EDGE)) return first;
    return (vec)((ivec)first | (ivec)vec_load_masked(p + second - LANES / 2, mask_second));
}

FC_INLINE void FC(store_strip)(real *p, const FC(strip) *strip, ptrdiff_t second, vec v, const int kind) {
    if (kind == FC(INNER)) {
        vec_store(p, v);
    } else {
        vec_store_masked(p, strip->store, v);
        if (kind == FC(PAIR)) vec_store_masked(p + second - LANES / 2, strip->store_second, v);
    }
}

/* a in the lanes of the first plane of a pair, b in those of the second. */
FC_INLINE vec FC(set_strip)(real a, real b, const int kind) {
    if (kind != FC(PAIR)) return vec_set1(a);
    return vec_select(ivec_iota() < LANES / 2, vec_set1(a), vec_set1(b));
}

/* v[s] lane l = row[c + l * stride + s] for s < S, 0 outside.  v has S + 1 places. */
FC_INLINE void FC(plane_row)(const real *row, const FC(strip) *strip, ptrdiff_t second, vec *v, const int S,
                             const int stride, const int kind) {
    row += strip->c;
    if (stride == 1) {
#pragma GCC unroll 7
        for (int s = 0; s < S; s++)
            v[s] = FC(load_strip)(row + s, strip->load[s], strip->load_second[s], second, kind);
    } else if (S == 3) {
        /* Taps 1 and 2 from two vectors; tap 0 is tap 2 one lane on. */
        const vec a = FC(load_strip)(row + 1, strip->load[0], strip->load[0], 0, kind);
        const vec b = FC(load_strip)(row + 1 + LANES, strip->load[1], strip->load[1], 0, kind);
        vec_deinterleave(a, b, &v[1], &v[2]);
        v[0] = vec_shift_up(v[2], kind == FC(INNER) ? vec_set1(row[0]) : vec_load_masked(row, strip->load[2]));
    } else {
#pragma GCC unroll 4
        for (int s = 0; s < S; s += 2) {
            const real *at = row + s, *next = row + s + LANES;
            const vec a = kind == FC(EDGE) ? vec_load_masked(at, strip->load[s]) : vec_load(at);
            const vec b = kind == FC(EDGE) ? vec_load_masked(next, strip->load[s + 1]) : vec_load(next);
            vec_deinterleave(a, b, &v[s], &v[s + 1]);
        }
    }
}

/* Whether the strip of y from column j on needs masks. */
FC_INLINE int FC(plane_edge)(const fc_conv2d *p, ptrdiff_t j, const int S, const int stride) {
    const ptrdiff_t c = j * stride - p->pad_left;
    return j + LANES > p->OW || c < 0 || c + S - 1 + LANES * stride > p->W;
}

/* A kernel works on several planes in a row, each with a kernel of its own: NAME_strip for each strip of each band.  Of
 * planes of one strip, narrow ones go in pairs, and all share their strip's masks. */
#define FC_PLANES(STRIP)                                                                                     \
    do {                                                                                                     \
        const ptrdiff_t band = FC(plane_band)(p->W, stride);                                                 \
        ptrdiff_t plane = 0;                                                                                 \
        if (stride == 1 && p->OW <= LANES / 2 && p->OH <= band) {                                            \
            const FC(strip) strip = FC(make_strip)(-p->pad_left, p->W, p->OW, S, stride, 1);                 \
            for (; plane + 2 <= planes; plane += 2) STRIP(FC(PAIR), 0, p->OH, 0);                           \
        }                                                                                                    \
        if (p->OW <= LANES && p->OH <= band) {                                                               \
            const FC(strip) strip = FC(make_strip)(-p->pad_left, p->W, p->OW, S, stride, 0);                 \
            for (; plane < planes; plane++) STRIP(FC(EDGE), 0, p->OH, 0);                                   \
        }                                                                                                    \
        for (; plane < planes; plane++)                                                                      \
            for (ptrdiff_t i = 0; i < p->OH; i += band) {                                                    \
                const ptrdiff_t end = p->OH - i < band ? p->OH : i + band;                                   \
                for (ptrdiff_t j = 0; j < p->OW; j += LANES) {                                               \
                    const FC(strip) strip =                                                                  \
                        FC(make_strip)(j * stride - p->pad_left, p->W, p->OW - j, S, stride, 0);             \
                    if (FC(plane_edge)(p, j, S, stride)) STRIP(FC(EDGE), i, end, j);                        \
                    else STRIP(FC(INNER), i, end, j);                                                       \
                }                                                                                            \
            }                                                                                                \
    } while (0)

/* -- correlate ----------------------------------------------------------------------------------------------------- */

/* Rows i0 .. i1-1 of y, columns of one strip.  In step b, the rows b * stride .. b * stride + stride - 1 of the padded
 * plane are read: row b of y begins, and row b - M + 1 is complete; sum[m] belongs to row b - m. */
FC_INLINE void FC(correlate_strip)(const fc_conv2d *p, const FC(strip) *strip, const real *x, const real *w,
                                   const real *bias, int add, real *y, ptrdiff_t ahead_y, ptrdiff_t i0, ptrdiff_t i1,
                                   const int R, const int S, const int stride, const int kind) {
    const int M = (R + stride - 1) / stride;
    const ptrdiff_t H = p->H, W = p->W, OW = p->OW;
    const ptrdiff_t next_x = H * W, next_y = p->OH * OW; /* the second plane of a pair */
    vec weight[FC(MOST_SIDE) * FC(MOST_SIDE)], sum[FC(MOST_SIDE)] = {{0}};
#pragma GCC unroll 49
    for (int t = 0; t < R * S; t++) weight[t] = FC(set_strip)(w[t], kind == FC(PAIR) ? w[R * S + t] : 0, kind);
    const vec start = bias ? FC(set_strip)(bias[0], kind == FC(PAIR) ? bias[1] : 0, kind) : (vec){0};
    for (ptrdiff_t b = i0; b < i1 + M - 1; b++) {
#pragma GCC unroll 7
        for (int m = M - 1; m > 0; m--) sum[m] = sum[m - 1];
        sum[0] = start;
        if (add && b < i1) sum[0] = FC(load_strip)(y + b * OW, strip->store, strip->store_second, next_y, kind);
#pragma GCC unroll 2
        for (int q = 0; q < stride; q++) {
            const ptrdiff_t h = b * stride + q - p->pad_top;
            if (h < 0 || h >= H) continue;
            vec v[FC(MOST_SIDE) + 1];
            FC(plane_row)(x + h * W, strip, next_x, v, S, stride, kind);
            FC(plane_soon)(x + h * W + strip->c, next_x);
            if (stride == 2) FC(plane_soon)(x + h * W + strip->c + LANES, next_x);
#pragma GCC unroll 7
            for (int m = 0; m < M; m++)
#pragma GCC unroll 7
                for (int s = 0; s < S; s++)
                    if (q + m * stride < R) sum[m] = vec_fma(weight[(q + m * stride) * S + s], v[s], sum[m]);
        }
        if (b - M + 1 < i0) continue;
        real *to = y + (b - M + 1) * OW;
        FC(plane_soon)(to, ahead_y);
        FC(store_strip)(to, strip, next_y, sum[M - 1], kind);
    }
}

FC_INLINE void FC(correlate_planes)(const fc_conv2d *p, ptrdiff_t planes, const real *x, const real *w,
                                    const real *bias, int add, real *y, const int R, const int S, const int stride) {
#define STRIP(kind, i, end, j)                                                                               \
    FC(correlate_strip)(p, &strip, x + plane * p->H * p->W, w + plane * R * S, bias ? bias + plane : NULL, add, \
                        y + plane * p->OH * p->OW + (j), plane + 1 < planes ? p->OH * p->OW : 0, i, end, R, S, \
                        stride, kind)
    FC_PLANES(STRIP);
#undef STRIP
}

/* The compiled sizes: CALL(side, stride) for a square kernel; `pays` in ops/depthwise.c lets no other through. */
#define FC_EACH_SIZE(CALL)                           \
    do {                                             \
        if (p->R == 3 && p->stride_h == 1) CALL(3, 1); \
        else if (p->R == 3) CALL(3, 2);              \
        else if (p->R == 5 && p->stride_h == 1) CALL(5, 1); \
        else if (p->R == 5) CALL(5, 2);              \
        else if (p->stride_h == 1) CALL(7, 1);       \
        else CALL(7, 2);                             \
    } while (0)

/* bias: one number for each plane, or NULL.  add: y is added to, and bias left out. */
void KERNEL(plane_correlate)(const fc_conv2d *p, ptrdiff_t planes, const real *x, const real *w, const real *bias,
                             int add, real *y) {
#define CORRELATE(side, stride) FC(correlate_planes)(p, planes, x, w, bias, add, y, side, side, stride)
    FC_EACH_SIZE(CORRELATE);
#undef CORRELATE
}

/* -- spread -------------------------------------------------------------------------------------------------------- */

/* Stride 2: rows 2b and 2b + 1 of gx and their columns 2u and 2u + 1 meet different taps, those with r = t + top and
 * s = t + left (mod 2), t being 0 or 1.  With top = 2 * k + odd, row 2b + t meets row b + k + (t + odd - r) / 2 of gy:
 * rows b + k + odd - d for d < D.  odd_h, odd_w: whether top and left are. */
FC_INLINE void FC(spread_strip)(const fc_conv2d *p, const real *gy, const real *w, int add, real *gx, ptrdiff_t ahead,
                                ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t u, const int side, const int odd_h,
                                const int odd_w, const int edge) {
    const int D = (side + 1) / 2;
    const ptrdiff_t OH = p->OH, OW = p->OW, W = p->W;
    const ptrdiff_t row = p->pad_top / 2 + odd_h, col = u + p->pad_left / 2 + odd_w;
    const vmask store_low = vec_mask_within(2 * u, W), store_high = vec_mask_within(2 * u + LANES, W);
    vmask load[(FC(MOST_SIDE) + 1) / 2];
#pragma GCC unroll 4
    for (int e = 0; e < D; e++) load[e] = vec_mask_within(col - e, OW);
    const vec zero = {0};
    vec weight[FC(MOST_SIDE) * FC(MOST_SIDE)];
#pragma GCC unroll 49
    for (int t = 0; t < side * side; t++) weight[t] = vec_set1(w[t]);
    for (ptrdiff_t b = b0; b < b1; b++) {
        vec v[(FC(MOST_SIDE) + 1) / 2][(FC(MOST_SIDE) + 1) / 2];
#pragma GCC unroll 4
        for (int d = 0; d < D; d++) {
            const ptrdiff_t i = b + row - d;
            const real *from = gy + i * OW + col;
            const int inside = i >= 0 && i < OH;
            if (d == 0) FC(plane_soon)(from, OH * OW);
#pragma GCC unroll 4
            for (int e = 0; e < D; e++)
                v[d][e] = !inside ? zero : edge ? vec_load_masked(from - e, load[e]) : vec_load(from - e);
        }
#pragma GCC unroll 2
        for (int t = 0; t < 2; t++) {
            if (2 * b + t >= p->H) break;
            vec sum[2] = {zero, zero}, low, high;
#pragma GCC unroll 4
            for (int r = (t + odd_h) % 2; r < side; r += 2)
#pragma GCC unroll 2
                for (int q = 0; q < 2; q++)
#pragma GCC unroll 4
                    for (int s = (q + odd_w) % 2; s < side; s += 2)
                        sum[q] = vec_fma(weight[r * side + s],
                                         v[odd_h - (t + odd_h - r) / 2][odd_w - (q + odd_w - s) / 2], sum[q]);
            vec_interleave(sum[0], sum[1], &low, &high);
            real *to = gx + (2 * b + t) * W + 2 * u;
            FC(plane_soon)(to, ahead);
            FC(plane_soon)(to + LANES, ahead);
            if (!edge) {
                vec_store(to, add ? low + vec_load(to) : low);
                vec_store(to + LANES, add ? high + vec_load(to + LANES) : high);
            } else {
                vec_store_masked(to, store_low, add ? low + vec_load_masked(to, store_low) : low);
                vec_store_masked(to + LANES, store_high, add ? high + vec_load_masked(to + LANES, store_high) : high);
            }
        }
    }
}

FC_INLINE void FC(spread_planes)(const fc_conv2d *p, ptrdiff_t planes, const real *gy, const real *w, int add, real *gx,
                                 const int side, const int odd_h, const int odd_w) {
    const ptrdiff_t band = FC(plane_band)(p->W, 2), rows = (p->H + 1) / 2, D = (side + 1) / 2;
    for (; planes > 0; planes--, gy += p->OH * p->OW, gx += p->H * p->W, w += side * side) {
        const ptrdiff_t ahead = planes > 1 ? p->H * p->W : 0;
        for (ptrdiff_t b = 0; b < rows; b += band) {
            const ptrdiff_t end = rows - b < band ? rows : b + band;
            for (ptrdiff_t u = 0; 2 * u < p->W; u += LANES) {
                const ptrdiff_t col = u + p->pad_left / 2 + odd_w;
                if (2 * (u + LANES) > p->W || col - D + 1 < 0 || col + LANES > p->OW)
                    FC(spread_strip)(p, gy, w, add, gx, ahead, b, end, u, side, odd_h, odd_w, 1);
                else FC(spread_strip)(p, gy, w, add, gx, ahead, b, end, u, side, odd_h, odd_w, 0);
            }
        }
    }
}

/* Stride 2.  add: gx is added to. */
void KERNEL(plane_spread)(const fc_conv2d *p, ptrdiff_t planes, const real *gy, const real *w, int add,
                          real *gx) {
#define SPREAD(side)                                                                                     \
    do {                                                                                                 \
        if (p->pad_top % 2 && p->pad_left % 2) FC(spread_planes)(p, planes, gy, w, add, gx, side, 1, 1);          \
        else if (p->pad_top % 2) FC(spread_planes)(p, planes, gy, w, add, gx, side, 1, 0);                        \
        else if (p->pad_left % 2) FC(spread_planes)(p, planes, gy, w, add, gx, side, 0, 1);                       \
        else FC(spread_planes)(p, planes, gy, w, add, gx, side, 0, 0);                                            \
    } while (0)
    if (p->R == 3) SPREAD(3);
    else if (p->R == 5) SPREAD(5);
    else SPREAD(7);
#undef SPREAD
}

/* -- outer --------------------------------------------------------------------------------------------------------- */

/* Rows i0 .. i1-1 and one strip's columns of gy, for kernel rows r0 .. r1-1.  The steps are those of correlate_strip:
 * g[m] is row b - m of gy. */
FC_INLINE void FC(outer_rows)(const fc_conv2d *p, const FC(strip) *strip, const real *gy, const real *x, real *sum,
                              ptrdiff_t i0, ptrdiff_t i1, const int r0, const int r1, const int R, const int S,
                              const int stride, const int kind) {
    const int first = r0 / stride, last = (r1 - 1) / stride;
    const ptrdiff_t H = p->H, W = p->W, OW = p->OW, next_x = H * W, next_y = p->OH * OW;
    vec tap[FC(MOST_SIDE) * FC(MOST_SIDE)], g[FC(MOST_SIDE)] = {{0}};
#pragma GCC unroll 49
    for (int t = r0 * S; t < r1 * S; t++) tap[t] = (vec){0};
    for (ptrdiff_t b = i0 + first; b < i1 + last; b++) {
        const real *row = gy + (b - first) * OW;
#pragma GCC unroll 7
        for (int m = last; m > first; m--) g[m] = g[m - 1];
        g[first] = (vec){0};
        if (b - first < i1) g[first] = FC(load_strip)(row, strip->store, strip->store_second, next_y, kind);
        FC(plane_soon)(row, next_y);
#pragma GCC unroll 2
        for (int q = 0; q < stride; q++) {
            const ptrdiff_t h = b * stride + q - p->pad_top;
            if (h < 0 || h >= H) continue;
            vec v[FC(MOST_SIDE) + 1];
            FC(plane_row)(x + h * W, strip, next_x, v, S, stride, kind);
            FC(plane_soon)(x + h * W + strip->c, next_x);
            if (stride == 2) FC(plane_soon)(x + h * W + strip->c + LANES, next_x);
#pragma GCC unroll 7
            for (int m = first; m <= last; m++)
#pragma GCC unroll 7
                for (int s = 0; s < S; s++) {
                    const int r = q + m * stride;
                    if (r >= r0 && r < r1) tap[r * S + s] = vec_fma(g[m], v[s], tap[r * S + s]);
                }
        }
    }
    const ivec lower = ivec_iota() < LANES / 2;
#pragma GCC unroll 49
    for (int t = r0 * S; t < r1 * S; t++) {
        real *to = sum + t * LANES, *second = to + R * S * LANES;
        vec_store(to, vec_load(to) + (kind == FC(PAIR) ? vec_select(lower, tap[t], (vec){0}) : tap[t]));
        if (kind == FC(PAIR)) vec_store(second, vec_load(second) + vec_select(lower, (vec){0}, tap[t]));
    }
}

/* In passes over the strip, of as many kernel rows as have their sums in registers. */
FC_INLINE void FC(outer_strip)(const fc_conv2d *p, const FC(strip) *strip, const real *gy, const real *x, real *sum,
                               ptrdiff_t i0, ptrdiff_t i1, const int R, const int S, const int stride,
                               const int kind) {
    const int n = OUTER_BUDGET >= 14 ? (R == 7 ? 4 : R) : R == 3 ? 3 : 2;
#define ROWS(r) \
    if ((r) < R) FC(outer_rows)(p, strip, gy, x, sum, i0, i1, r, (r) + n < R ? (r) + n : R, R, S, stride, kind)
    ROWS(0);
    ROWS(n);
    ROWS(2 * n);
    ROWS(3 * n);
#undef ROWS
}

FC_INLINE void FC(outer_planes)(const fc_conv2d *p, ptrdiff_t planes, const real *gy, const real *x, real *sum,
                                const int R, const int S, const int stride) {
#define STRIP(kind, i, end, j)                                                                                     \
    FC(outer_strip)(p, &strip, gy + plane * p->OH * p->OW + (j), x + plane * p->H * p->W, sum + plane * R * S * LANES, \
                    i, end, R, S, stride, kind)
    FC_PLANES(STRIP);
#undef STRIP
}

/* sum: R * S vectors for each plane; the sum of one's lanes belongs to its tap.  A zero that stands for what lies
 * outside gy or x may meet an infinity here: sums that are not finite are to be computed again with care. */
void KERNEL(plane_outer)(const fc_conv2d *p, ptrdiff_t planes, const real *gy, const real *x, real *sum) {
#define OUTER(side, stride) FC(outer_planes)(p, planes, gy, x, sum, side, side, stride)
    FC_EACH_SIZE(OUTER);
#undef OUTER
}
#undef FC_EACH_SIZE
#undef FC_PLANES
