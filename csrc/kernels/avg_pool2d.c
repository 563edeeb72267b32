/* Average pooling:  y[i][j] = 1/divisor * sum over r, s of x[i * stride_h - pad_h + r][j * stride_w - pad_w + s]
 *
 * The divisor is given, or it is the number of the window's elements in x, or (count_include_pad) in x and its padding;
 * what overhangs even the padding is not counted.  It is the product of a count of rows and a count of columns.
 *
 * As in max_pool2d.c, vectors run over output columns, and a block of LANES columns walks down the plane; the sum of an
 * input row over a window's columns is kept for the next windows that hold this row.  A sum runs over s, then r,
 * starting at 0: the same order in every path, so that a result does not depend on where in the batch an image lies.
 * 2x2 windows of stride 2 without padding have a path of their own. */

typedef struct {
    const fc_pool2d *p;
    const real *x, *x_end; /* the whole array */
    real *y;
    ptrdiff_t y_end; /* elements of y that may be written */
    int count_include_pad;
    real divisor; /* 0: counted */
} FC(avg_pool);

/* Elements of a window that count, along one axis: those in -pad .. size + pad - 1 or in 0 .. size - 1. */
FC_INLINE ptrdiff_t FC(avg_count)(ptrdiff_t start, ptrdiff_t kernel, ptrdiff_t size, ptrdiff_t pad, int include) {
    const ptrdiff_t low = include ? -pad : 0, high = include ? size + pad : size;
    const ptrdiff_t begin = start > low ? start : low, end = start + kernel < high ? start + kernel : high;
    return end - begin;
}

static void FC(avg_2x2_row)(const FC(avg_pool) *job, const real *x, ptrdiff_t at) {
    const ptrdiff_t W = job->p->W, OW = job->p->OW;
    const vec divisor = vec_set1(job->divisor != 0 ? job->divisor : 4);
    for (ptrdiff_t j = 0; j < OW; j += LANES) {
        if (j + LANES > OW && OW > LANES) j = OW - LANES;
        const int n = OW - j < LANES ? (int)(OW - j) : LANES;
        const real *top = x + 2 * j, *bottom = top + W;
        vec a, b, c, d;
        if (bottom + 2 * LANES <= job->x_end) {
            vec_deinterleave(vec_load(top), vec_load(top + LANES), &a, &b);
            vec_deinterleave(vec_load(bottom), vec_load(bottom + LANES), &c, &d);
        } else {
            const int first = 2 * n < LANES ? 2 * n : LANES, second = 2 * n - first;
            vec_deinterleave(vec_load_n(top, first), vec_load_n(top + first, second), &a, &b);
            vec_deinterleave(vec_load_n(bottom, first), vec_load_n(bottom + first, second), &c, &d);
        }
        const vec mean = ((a + b) + (c + d)) / divisor;
        if (at + j + LANES <= job->y_end) vec_store(job->y + at + j, mean);
        else vec_store_n(job->y + at + j, mean, n);
    }
}

/* Sums of one row of each window; arguments as row_best in max_pool2d.c. */
FC_INLINE vec FC(row_sum)(const real *first, ptrdiff_t S, ptrdiff_t stride, ptrdiff_t w0, ptrdiff_t W, int inside) {
    vec sum = {0};
    const ivec column = ivec_iota() * (ireal)stride + (ireal)w0;
#pragma GCC unroll 3
    for (ptrdiff_t s = 0; s < S; s++) {
        vec v = vec_load_strided(first + s, stride);
        if (!inside) {
            const ivec w = column + (ireal)s;
            v = vec_select((w >= 0) & (w < (ireal)W), v, (vec){0});
        }
        sum += v;
    }
    return sum;
}

static vec FC(row_sum_scalar)(const fc_pool2d *p, const real *row, ptrdiff_t w0, int n) {
    real sum[LANES] = {0};
    for (int lane = 0; lane < n; lane++) {
        for (ptrdiff_t s = 0; s < p->kernel_w; s++) {
            const ptrdiff_t w = w0 + lane * p->stride_w + s;
            if (w >= 0 && w < p->W) sum[lane] += row[w];
        }
    }
    return vec_load(sum);
}

/* Rows i0 .. i1-1 of y of one plane, the block of columns from j on. */
FC_INLINE void FC(avg_pool_block)(const FC(avg_pool) *job, ptrdiff_t plane, ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j,
                                  const ptrdiff_t S, const ptrdiff_t stride) {
    enum { KEPT = 16 }; /* rows of x whose sums are kept, each in slot row % KEPT */
    const fc_pool2d *p = job->p;
    const int n = p->OW - j < LANES ? (int)(p->OW - j) : LANES;
    const ptrdiff_t w0 = j * stride - p->pad_w;
    const int inside = w0 >= 0 && w0 + (n - 1) * stride + S - 1 < p->W;
    const ptrdiff_t reach = (LANES - 1) * stride + S + 1; /* elements that vectors read */
    vec kept[KEPT];
    ptrdiff_t kept_row[KEPT];
    for (int slot = 0; slot < KEPT; slot++) kept_row[slot] = -1;
    real columns[LANES];
    for (int lane = 0; lane < LANES; lane++)
        columns[lane] = (real)FC(avg_count)(w0 + lane * stride, S, p->W, p->pad_w, job->count_include_pad);

    for (ptrdiff_t i = i0; i < i1; i++) {
        const ptrdiff_t top = i * p->stride_h - p->pad_h;
        vec sum = {0};
        for (ptrdiff_t r = 0; r < p->kernel_h; r++) {
            const ptrdiff_t h = top + r;
            if (h < 0) continue;
            if (h >= p->H) break;
            const int slot = (int)(h % KEPT);
            if (kept_row[slot] != h) {
                const real *row = job->x + (plane * p->H + h) * p->W;
                const int reachable = w0 >= job->x - row && job->x_end - row >= w0 + reach;
                if (!reachable) kept[slot] = FC(row_sum_scalar)(p, row, w0, n);
                else if (inside) kept[slot] = FC(row_sum)(row + w0, S, stride, w0, p->W, 1);
                else kept[slot] = FC(row_sum)(row + w0, S, stride, w0, p->W, 0);
                kept_row[slot] = h;
            }
            sum += kept[slot];
        }
        const real rows = (real)FC(avg_count)(top, p->kernel_h, p->H, p->pad_h, job->count_include_pad);
        const vec mean = sum / (job->divisor != 0 ? vec_set1(job->divisor) : vec_load(columns) * rows);
        const ptrdiff_t at = (plane * p->OH + i) * p->OW + j;
        if (at + LANES <= job->y_end) vec_store(job->y + at, mean);
        else vec_store_n(job->y + at, mean, n);
    }
}

static void FC(avg_pool_plane)(const FC(avg_pool) *job, ptrdiff_t plane, ptrdiff_t i0, ptrdiff_t i1) {
    const ptrdiff_t OW = job->p->OW, S = job->p->kernel_w, stride = job->p->stride_w;
    for (ptrdiff_t j = 0; j < OW; j += LANES) {
        if (j + LANES > OW && OW > LANES) j = OW - LANES;
        if (S == 3 && stride == 2) FC(avg_pool_block)(job, plane, i0, i1, j, 3, 2);
        else if (S == 3 && stride == 1) FC(avg_pool_block)(job, plane, i0, i1, j, 3, 1);
        else if (stride == 2) FC(avg_pool_block)(job, plane, i0, i1, j, S, 2);
        else if (stride == 1) FC(avg_pool_block)(job, plane, i0, i1, j, S, 1);
        else FC(avg_pool_block)(job, plane, i0, i1, j, S, stride);
    }
}

/* 2x2 windows of stride 2 that neither touch padding nor overhang. */
FC_INLINE int FC(avg_is_2x2)(const fc_pool2d *p) {
    return p->kernel_h == 2 && p->kernel_w == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h == 0 &&
           p->pad_w == 0 && 2 * p->OH <= p->H && 2 * p->OW <= p->W;
}

/* Rows begin .. end-1 of the N * C * OH rows of y. */
static void FC(avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int count_include_pad, ptrdiff_t divisor,
                                   ptrdiff_t begin, ptrdiff_t end) {
    const FC(avg_pool) job = {.p = p, .x = x, .x_end = x + p->N * p->C * p->H * p->W, .y = y, .y_end = end * p->OW,
                              .count_include_pad = count_include_pad, .divisor = (real)divisor};
    for (ptrdiff_t row = begin, stop; row < end; row = stop) {
        const ptrdiff_t plane = row / p->OH;
        stop = (plane + 1) * p->OH < end ? (plane + 1) * p->OH : end;
        if (FC(avg_is_2x2)(p)) {
            for (; row < stop; row++)
                FC(avg_2x2_row)(&job, x + (plane * p->H + 2 * (row - plane * p->OH)) * p->W, row * p->OW);
        } else {
            FC(avg_pool_plane)(&job, plane, row - plane * p->OH, stop - plane * p->OH);
        }
    }
}

/* Each plane is zeroed, then every window adds its share grad_y / divisor, in the order of y. */
static void FC(avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int count_include_pad,
                                    ptrdiff_t divisor, ptrdiff_t planes) {
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += p->H * p->W) {
        memset(grad_x, 0, (size_t)(p->H * p->W) * sizeof *grad_x);
        for (ptrdiff_t i = 0; i < p->OH; i++) {
            const ptrdiff_t h0 = i * p->stride_h - p->pad_h;
            const ptrdiff_t rows = FC(avg_count)(h0, p->kernel_h, p->H, p->pad_h, count_include_pad);
            for (ptrdiff_t j = 0; j < p->OW; j++) {
                const ptrdiff_t w0 = j * p->stride_w - p->pad_w;
                const ptrdiff_t columns = FC(avg_count)(w0, p->kernel_w, p->W, p->pad_w, count_include_pad);
                const real share = *grad_y++ / (divisor ? (real)divisor : (real)rows * (real)columns);
                for (ptrdiff_t h = h0 < 0 ? 0 : h0; h < h0 + p->kernel_h && h < p->H; h++)
                    for (ptrdiff_t w = w0 < 0 ? 0 : w0; w < w0 + p->kernel_w && w < p->W; w++)
                        grad_x[h * p->W + w] += share;
            }
        }
    }
}
