/* Max pooling:  y[i][j] = max over r, s of x[i * stride_h - pad_h + r * dilation_h][j * stride_w - pad_w + s * dilation_w]
 *
 * Of equals the first in row-major order wins and of NaNs the last; what lies outside x takes no part.  Each winner also
 * has a code: its place r * kernel_w + s in the window (a byte), or its place in the input plane (int64).
 *
 * Vectors run over output columns.  Two paths:
 *
 * 2x2, stride 2, no padding: two rows of x are split into even and odd columns, and 4 vectors meet in 3 steps.  Where
 * a row of y fills at most half a vector, a vector takes two rows.
 *
 * Any other window: first the best of each row of the window, then the best of the rows.  A block of LANES output
 * columns walks down the plane, and the best of an input row is kept for the next windows that hold this row: of a
 * 3x3 window of stride 1, a third of the work.  A lane whose tap is outside x is masked; only where a vector would
 * reach past the ends of the whole array (first and last rows of x) the lanes are done one by one.
 *
 * Vectors may write past the end of a row of y, into what the same call writes later: rows go in rising order.  Nothing
 * is written past row `end`, which may be another thread's. */

typedef struct {
    const fc_pool2d *p;
    const real *x, *x_end; /* the whole array */
    real *y;
    uint8_t *winners; /* one of winners and indices, or neither */
    int64_t *indices;
    ptrdiff_t y_end;             /* elements of y that may be written */
    ptrdiff_t code_row, code_col; /* code of a tap: r * code_row + s * code_col */
} FC(max_pool);

/* Result lanes 0 .. n-1 for y[at ..], unmasked where nothing else can suffer.  origin: the place in the plane of tap
 * (0, 0) of the first lane's window. */
FC_INLINE void FC(max_pool_store)(const FC(max_pool) *job, ptrdiff_t at, vec best, ivec code, int n, ptrdiff_t origin,
                                  ptrdiff_t stride) {
    const int whole = at + LANES <= job->y_end;
    if (whole) vec_store(job->y + at, best);
    else vec_store_n(job->y + at, best, n);
    if (job->winners) {
        if (whole) ivec_to_bytes(job->winners + at, code);
        else ivec_to_bytes_n(job->winners + at, code, n);
    } else if (job->indices) {
        code += ivec_iota() * (ireal)stride + (ireal)origin;
        if (whole) ivec_to_int64(job->indices + at, code);
        else ivec_to_int64_n(job->indices + at, code, n);
    }
}

/* Windows of 2x2: `top` and `bottom` hold 2 * LANES neighbouring columns of two rows, a then b. */
FC_INLINE vec FC(max_2x2)(const FC(max_pool) *job, vec top_a, vec top_b, vec bottom_a, vec bottom_b, ivec *code) {
    vec best, right, lower, lower_right;
    const ivec one = ivec_set1((ireal)job->code_col), row = ivec_set1((ireal)job->code_row);
    vec_deinterleave(top_a, top_b, &best, &right);
    vec_deinterleave(bottom_a, bottom_b, &lower, &lower_right);
    ivec lower_code = row;
    *code = (ivec){0};
    vec_keep_larger(&best, code, right, one);
    vec_keep_larger(&lower, &lower_code, lower_right, row + one);
    vec_keep_larger(&best, code, lower, lower_code);
    return best;
}

/* Two rows of y, at most LANES / 2 wide, in one vector. */
FC_INLINE void FC(max_2x2_two_rows)(const FC(max_pool) *job, const real *x0, const real *x1, ptrdiff_t at,
                                    ptrdiff_t origin0, ptrdiff_t origin1) {
    const ptrdiff_t W = job->p->W, next = at + job->p->OW;
    ivec code;
    const vec best = FC(max_2x2)(job, vec_load(x0), vec_load(x1), vec_load(x0 + W), vec_load(x1 + W), &code);
    vec_store_halves(job->y + at, job->y + next, best);
    if (job->winners) ivec_to_bytes_halves(job->winners + at, job->winners + next, code);
    else if (job->indices) {
        int64_t lane[LANES];
        ivec_to_int64(lane, code);
        for (int i = 0; i < LANES / 2; i++) {
            job->indices[at + i] = lane[i] + origin0 + 2 * i;
        }
        for (int i = 0; i < LANES / 2; i++) job->indices[next + i] = lane[LANES / 2 + i] + origin1 + 2 * i;
    }
}

/* One row of y. */
FC_INLINE void FC(max_2x2_row)(const FC(max_pool) *job, const real *x, ptrdiff_t at, ptrdiff_t origin) {
    const ptrdiff_t W = job->p->W, OW = job->p->OW;
    for (ptrdiff_t j = 0; j < OW; j += LANES) {
        if (j + LANES > OW && OW > LANES) j = OW - LANES; /* the last vector overlaps the one before */
        const int n = OW - j < LANES ? (int)(OW - j) : LANES;
        const real *top = x + 2 * j, *bottom = top + W;
        ivec code;
        vec best;
        if (bottom + 2 * LANES <= job->x_end) {
            best = FC(max_2x2)(job, vec_load(top), vec_load(top + LANES), vec_load(bottom), vec_load(bottom + LANES), &code);
        } else {
            const int a = 2 * n < LANES ? 2 * n : LANES, b = 2 * n - a;
            best = FC(max_2x2)(job, vec_load_n(top, a), vec_load_n(top + a, b), vec_load_n(bottom, a),
                               vec_load_n(bottom + a, b), &code);
        }
        FC(max_pool_store)(job, at + j, best, code, n, origin + 2 * j, 2);
    }
}

/* Rows begin .. end-1 of all planes' rows of y. */
static void FC(max_2x2_rows)(const FC(max_pool) *job, ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t H = job->p->H, W = job->p->W, OH = job->p->OH, OW = job->p->OW;
    ptrdiff_t row = begin, plane = begin / OH, i = begin % OH;
    while (row < end) {
        const real *x = job->x + (plane * H + 2 * i) * W;
        const ptrdiff_t origin = 2 * i * W, at = row * OW;
        const int last = i + 1 == OH; /* in its plane */
        const ptrdiff_t next_plane = plane + last, next_i = last ? 0 : i + 1;
        const real *x1 = job->x + (next_plane * H + 2 * next_i) * W;
        if (OW <= LANES / 2 && row + 1 < end && at + OW + LANES / 2 <= job->y_end && x1 + W + LANES <= job->x_end) {
            FC(max_2x2_two_rows)(job, x, x1, at, origin, 2 * next_i * W);
            row += 2;
            plane = next_plane + (next_i + 1 == OH);
            i = next_i + 1 == OH ? 0 : next_i + 1;
        } else {
            FC(max_2x2_row)(job, x, at, origin);
            row++;
            plane = next_plane;
            i = next_i;
        }
    }
}

/* The best of one row of each window: LANES windows from column j on, `first` the row's element under tap 0 of lane 0
 * (maybe outside x), w0 its column.  codes: s * code_col.  S and stride are literals where they are common. */
FC_INLINE vec FC(row_best)(const FC(max_pool) *job, const real *first, ptrdiff_t S, ptrdiff_t stride,
                           ptrdiff_t dilation, ptrdiff_t w0, int inside, ivec *code) {
    vec best = vec_set1(-(real)INFINITY);
    *code = ivec_set1(-1);
    const ivec column = ivec_iota() * (ireal)stride + (ireal)w0;
#pragma GCC unroll 3
    for (ptrdiff_t s = 0; s < S; s++) {
        const ivec s_code = ivec_set1((ireal)(s * job->code_col));
        const vec v = vec_load_strided(first + s * dilation, stride);
        if (inside) {
            if (s == 0) best = v, *code = s_code;
            else vec_keep_larger(&best, code, v, s_code);
            continue;
        }
        const ivec w = column + (ireal)(s * dilation);
        const ivec valid = (w >= 0) & (w < (ireal)job->p->W);
        const ivec take = valid & ((v > best) | (v != v) | (*code < 0));
        best = vec_select(take, v, best);
        *code = ivec_select(take, s_code, *code);
    }
    return best;
}

/* The same, one lane after the other, for n lanes: touches nothing outside the row. */
static vec FC(row_best_scalar)(const FC(max_pool) *job, const real *row, ptrdiff_t w0, int n, ivec *code) {
    real best[LANES];
    ireal codes[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        best[lane] = -(real)INFINITY;
        codes[lane] = -1;
        for (ptrdiff_t s = 0; s < job->p->kernel_w && lane < n; s++) {
            const ptrdiff_t w = w0 + lane * job->p->stride_w + s * job->p->dilation_w;
            if (w < 0 || w >= job->p->W) continue;
            if (row[w] > best[lane] || row[w] != row[w] || codes[lane] < 0) {
                best[lane] = row[w];
                codes[lane] = (ireal)(s * job->code_col);
            }
        }
    }
    memcpy(code, codes, sizeof *code);
    return vec_load(best);
}

/* Rows i0 .. i1-1 of y of one plane, the block of columns from j on. */
FC_INLINE void FC(max_pool_block)(const FC(max_pool) *job, ptrdiff_t plane, ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j,
                                  const ptrdiff_t S, const ptrdiff_t stride, const ptrdiff_t dilation) {
    enum { KEPT = 16 }; /* rows of x whose best is kept, each in slot row % KEPT */
    const fc_pool2d *p = job->p;
    const int n = p->OW - j < LANES ? (int)(p->OW - j) : LANES;
    const ptrdiff_t w0 = j * stride - p->pad_w;
    const int inside = w0 >= 0 && w0 + (n - 1) * stride + (S - 1) * dilation < p->W;
    const ptrdiff_t reach = (LANES - 1) * stride + (S - 1) * dilation + 2; /* elements that vectors read */
    vec kept_best[KEPT];
    ivec kept_code[KEPT];
    ptrdiff_t kept_row[KEPT];
    for (int slot = 0; slot < KEPT; slot++) kept_row[slot] = -1;

    for (ptrdiff_t i = i0; i < i1; i++) {
        const ptrdiff_t top = i * p->stride_h - p->pad_h;
        vec best = vec_set1(-(real)INFINITY);
        ivec code = {0};
        int any = 0;
        for (ptrdiff_t r = 0; r < p->kernel_h; r++) {
            const ptrdiff_t h = top + r * p->dilation_h;
            if (h < 0) continue;
            if (h >= p->H) break;
            const int slot = (int)(h % KEPT);
            if (kept_row[slot] != h) {
                const real *row = job->x + (plane * p->H + h) * p->W;
                const int reachable = w0 >= job->x - row && job->x_end - row >= w0 + reach;
                if (!reachable) kept_best[slot] = FC(row_best_scalar)(job, row, w0, n, &kept_code[slot]);
                else if (inside) kept_best[slot] = FC(row_best)(job, row + w0, S, stride, dilation, w0, 1, &kept_code[slot]);
                else kept_best[slot] = FC(row_best)(job, row + w0, S, stride, dilation, w0, 0, &kept_code[slot]);
                kept_row[slot] = h;
            }
            const ivec row_code = kept_code[slot] + (ireal)(r * job->code_row);
            if (any) vec_keep_larger(&best, &code, kept_best[slot], row_code);
            else best = kept_best[slot], code = row_code, any = 1;
        }
        FC(max_pool_store)(job, (plane * p->OH + i) * p->OW + j, best, code, n, top * p->W + w0, stride);
    }
}

/* Blocks of one plane, with the sizes that are common as literals. */
static void FC(max_pool_plane)(const FC(max_pool) *job, ptrdiff_t plane, ptrdiff_t i0, ptrdiff_t i1) {
    const ptrdiff_t OW = job->p->OW, S = job->p->kernel_w, stride = job->p->stride_w, dilation = job->p->dilation_w;
    for (ptrdiff_t j = 0; j < OW; j += LANES) {
        if (j + LANES > OW && OW > LANES) j = OW - LANES;
        if (S == 3 && stride == 2 && dilation == 1) FC(max_pool_block)(job, plane, i0, i1, j, 3, 2, 1);
        else if (S == 3 && stride == 1 && dilation == 1) FC(max_pool_block)(job, plane, i0, i1, j, 3, 1, 1);
        else if (stride == 2) FC(max_pool_block)(job, plane, i0, i1, j, S, 2, dilation);
        else if (stride == 1) FC(max_pool_block)(job, plane, i0, i1, j, S, 1, dilation);
        else FC(max_pool_block)(job, plane, i0, i1, j, S, stride, dilation);
    }
}

/* int64 places from winners, where both are wanted: offset of each code, from tap (0, 0) of its window. */
static void FC(max_pool_widen)(const fc_pool2d *p, const uint8_t *winners, int64_t *indices, ptrdiff_t begin,
                               ptrdiff_t end) {
    int64_t offset[256] = {0};
    for (ptrdiff_t code = 0; code < p->kernel_h * p->kernel_w && code < 256; code++)
        offset[code] = code / p->kernel_w * p->dilation_h * p->W + code % p->kernel_w * p->dilation_w;
    for (ptrdiff_t row = begin; row < end; row++) {
        const ptrdiff_t origin = (row % p->OH * p->stride_h - p->pad_h) * p->W - p->pad_w;
        for (ptrdiff_t j = 0; j < p->OW; j++)
            indices[row * p->OW + j] = origin + j * p->stride_w + offset[winners[row * p->OW + j]];
    }
}

/* Rows begin .. end-1 of the N * C * OH rows of y. */
static void FC(max_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, uint8_t *winners, int64_t *indices,
                                   ptrdiff_t begin, ptrdiff_t end) {
    const int in_plane = !winners && indices;
    const FC(max_pool) job = {.p = p, .x = x, .x_end = x + p->N * p->C * p->H * p->W, .y = y, .winners = winners,
                              .indices = indices, .y_end = end * p->OW,
                              .code_row = in_plane ? p->dilation_h * p->W : p->kernel_w,
                              .code_col = in_plane ? p->dilation_w : 1};
    const int two = p->kernel_h == 2 && p->kernel_w == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h == 0 &&
                    p->pad_w == 0 && p->dilation_h == 1 && p->dilation_w == 1;
    if (two && 2 * p->OH <= p->H && 2 * p->OW <= p->W) {
        FC(max_2x2_rows)(&job, begin, end);
    } else {
        for (ptrdiff_t row = begin, stop; row < end; row = stop) {
            const ptrdiff_t plane = row / p->OH;
            stop = (plane + 1) * p->OH < end ? (plane + 1) * p->OH : end;
            FC(max_pool_plane)(&job, plane, row - plane * p->OH, stop - plane * p->OH);
        }
    }
    if (winners && indices) FC(max_pool_widen)(p, winners, indices, begin, end);
}

/* Gradient of 2x2 windows of stride 2: each element of grad_x is written once. */
static void FC(max_2x2_backward)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                 ptrdiff_t planes) {
    const ptrdiff_t W = p->W, OW = p->OW;
    const vec zero = {0};
    const real *end = grad_x + planes * p->H * W;
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += p->H * W) {
        for (ptrdiff_t i = 0; i < p->OH; i++, grad_y += OW, winners += OW) {
            real *top = grad_x + 2 * i * W, *bottom = top + W;
            for (int lower = 0; lower < 2; lower++) {
                real *to = lower ? bottom : top;
                for (ptrdiff_t j = 0; j < OW; j += LANES) {
                    if (j + LANES > OW && OW > LANES) j = OW - LANES;
                    const int n = OW - j < LANES ? (int)(OW - j) : LANES;
                    const vec g = vec_load_n(grad_y + j, n);
                    const ivec code = ivec_from_bytes_n(winners + j, n) - 2 * lower;
                    vec a, b;
                    vec_interleave(vec_select(code == 0, g, zero), vec_select(code == 1, g, zero), &a, &b);
                    if (to + 2 * j + 2 * LANES <= end) {
                        vec_store(to + 2 * j, a);
                        vec_store(to + 2 * j + LANES, b);
                    } else {
                        const int first = 2 * n < LANES ? 2 * n : LANES;
                        vec_store_n(to + 2 * j, a, first);
                        vec_store_n(to + 2 * j + LANES, b, 2 * n - first);
                    }
                }
                for (ptrdiff_t w = 2 * OW; w < W; w++) to[w] = 0;
            }
        }
        for (ptrdiff_t h = 2 * p->OH; h < p->H; h++) memset(grad_x + h * W, 0, (size_t)W * sizeof *grad_x);
    }
}

/* Any window: each plane is zeroed, then the gradients are added in the order of y.  A winner outside the plane, which
 * no forward pass gives, is passed over. */
static void FC(max_pool2d_backward_winners)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                            ptrdiff_t planes) {
    const int two = p->kernel_h == 2 && p->kernel_w == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h == 0 &&
                    p->pad_w == 0 && p->dilation_h == 1 && p->dilation_w == 1;
    if (two && 2 * p->OH <= p->H && 2 * p->OW <= p->W) {
        FC(max_2x2_backward)(p, grad_y, winners, grad_x, planes);
        return;
    }
    const ptrdiff_t m = p->H * p->W;
    ptrdiff_t offset[256];
    for (ptrdiff_t code = 0; code < 256; code++)
        offset[code] = code < p->kernel_h * p->kernel_w
                           ? code / p->kernel_w * p->dilation_h * p->W + code % p->kernel_w * p->dilation_w
                           : PTRDIFF_MAX / 2;
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += m) {
        memset(grad_x, 0, (size_t)m * sizeof *grad_x);
        for (ptrdiff_t i = 0; i < p->OH; i++, grad_y += p->OW, winners += p->OW) {
            const ptrdiff_t origin = (i * p->stride_h - p->pad_h) * p->W - p->pad_w;
            for (ptrdiff_t j = 0; j < p->OW; j++) {
                const ptrdiff_t place = origin + j * p->stride_w + offset[winners[j]];
                if ((size_t)place < (size_t)m) grad_x[place] += grad_y[j];
            }
        }
    }
}

/* The same from places in the plane; -1 when one lies outside. */
static int FC(max_pool2d_backward)(const real *grad_y, const int64_t *indices, real *grad_x, ptrdiff_t planes,
                                   ptrdiff_t n, ptrdiff_t m) {
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_y += n, indices += n, grad_x += m) {
        memset(grad_x, 0, (size_t)m * sizeof *grad_x);
        for (ptrdiff_t i = 0; i < n; i++) {
            if ((uint64_t)indices[i] >= (uint64_t)m) return -1;
            grad_x[indices[i]] += grad_y[i];
        }
    }
    return 0;
}
