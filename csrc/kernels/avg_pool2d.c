/* Average pooling:  y[i][j] = 1/divisor * sum over r, s of x[i * stride_h - pad_h + r][j * stride_w - pad_w + s]
 *
 * The divisor is given, or it is the number of the window's elements in x, or (count_include_pad) in x and its padding;
 * what overhangs even the padding is not counted.  It is the product of a count of rows and a count of columns.
 *
 * Forward is in pool2d*.c, but for windows that hold a whole plane: their sums run over vectors of the plane, of LANES
 * planes at a time.  Backward gathers:
 *
 *   grad_x[h][w] = sum over the windows (i, j) that hold (h, w) of q[i][j],  q = grad_y / divisor
 *
 * in the mirror image of the forward pass: each row of q is spread over the columns of x, u[i][w] = sum over j of
 * q[i][j], and kept while rows of x need it; then each row of x adds up its rows of u.  Vectors hold columns of x, or
 * one column of LANES planes, as in pool2d_rows.c and pool2d_planes.c; sums run over j, then i, in both, so the bits
 * agree. */

/* Whether the only window holds all of a plane and nothing else. */
FC_INLINE int FC(avg_is_global)(const fc_pool2d *p) {
    return p->OH == 1 && p->OW == 1 && p->pad_h == 0 && p->pad_w == 0 && p->kernel_h >= p->H && p->kernel_w >= p->W;
}

static void FC(avg_global)(const real *x, real *y, ptrdiff_t n, real divisor, ptrdiff_t begin, ptrdiff_t end) {
    ptrdiff_t plane = begin;
    for (; plane + LANES <= end; plane += LANES) {
        vec sums[LANES];
        for (int q = 0; q < LANES; q++) sums[q] = FC(sum_products)(x + (plane + q) * n, NULL, n);
        vec_store(y + plane, FC(pool_mean)(vec_sum_rows(sums), vec_set1(divisor)));
    }
    for (; plane < end; plane++) y[plane] = (vec_sum(FC(sum_products)(x + plane * n, NULL, n)) + 0) / divisor;
}

/* Rows begin .. end-1 of the N * C * OH rows of y. */
void KERNEL(avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int count_include_pad, ptrdiff_t divisor,
                                   ptrdiff_t begin, ptrdiff_t end) {
    if (FC(avg_is_global)(p)) {
        FC(avg_global)(x, y, p->H * p->W, (real)(divisor ? divisor : p->H * p->W), begin, end);
        return;
    }
    const FC(pool) job = {.p = p, .x = x, .x_end = x + p->N * p->C * p->H * p->W, .y = y, .y_end = end * p->OW,
                          .count_include_pad = count_include_pad, .divisor = (real)divisor,
                          .ahead = FC(pool_ahead)(x, x + p->N * p->C * p->H * p->W)};
    FC(pool_forward)(&job, begin, end, 0);
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

enum {
    FC(AVG_COLUMNS) = 16 * LANES, /* the most columns of x at a time, */
    FC(AVG_ROWS) = 16,            /* rows of u kept, */
    FC(AVG_TAPS) = 64,            /* and columns of y that hold a column of x */
    FC(AVG_Q) = FC(AVG_COLUMNS) + 3 * FC(AVG_TAPS) + 4 * LANES,
    FC(AVG_U) = FC(AVG_COLUMNS) + 4 * LANES,
};

/* Columns first .. first+width-1 of x, and columns j_begin .. j_end-1 of y, whose windows hold some of them. */
typedef struct {
    const fc_pool2d *p;
    int count_include_pad;
    real divisor; /* 0: the number of elements */
    ptrdiff_t first, width, j_begin, j_end;
} FC(avg_strip);

/* The windows along one axis that hold position w of x: begin .. end-1; none where strides leave gaps. */
FC_INLINE void FC(avg_windows)(ptrdiff_t w, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t pad, ptrdiff_t windows,
                               ptrdiff_t *begin, ptrdiff_t *end) {
    const ptrdiff_t past = w + pad - kernel; /* a window that starts here, or before, is over at w */
    *begin = past < 0 ? 0 : past / stride + 1;
    *end = (w + pad) / stride + 1;
    if (*end > windows) *end = windows;
}

static void FC(avg_plan)(FC(avg_strip) *strip, ptrdiff_t first, ptrdiff_t width) {
    const fc_pool2d *p = strip->p;
    ptrdiff_t unused;
    strip->first = first;
    strip->width = width;
    FC(avg_windows)(first, p->kernel_w, p->stride_w, p->pad_w, p->OW, &strip->j_begin, &unused);
    FC(avg_windows)(first + width - 1, p->kernel_w, p->stride_w, p->pad_w, p->OW, &unused, &strip->j_end);
}

/* The divisor of window (i, j) is the product of the two. */
FC_INLINE real FC(avg_row_divisor)(const FC(avg_strip) *strip, ptrdiff_t i) {
    const fc_pool2d *p = strip->p;
    if (strip->divisor != 0) return 1;
    return (real)FC(pool_count)(i * p->stride_h - p->pad_h, p->kernel_h, p->H, p->pad_h, strip->count_include_pad);
}
FC_INLINE real FC(avg_column_divisor)(const FC(avg_strip) *strip, ptrdiff_t j) {
    const fc_pool2d *p = strip->p;
    if (strip->divisor != 0) return strip->divisor;
    return (real)FC(pool_count)(j * p->stride_w - p->pad_w, p->kernel_w, p->W, p->pad_w, strip->count_include_pad);
}

/* q[AVG_TAPS + j - j_begin], zeros on both sides; its row is made one ahead, as a load that spans two recent stores has
 * to wait for them.  u: a row in slot i % AVG_ROWS, column w at u[offset + w - first]. */
typedef struct {
    real q[2][FC(AVG_Q)], divisors[FC(AVG_Q)], u[FC(AVG_ROWS)][FC(AVG_U)];
    ptrdiff_t q_row[2], u_row[FC(AVG_ROWS)];
    ptrdiff_t offset;
} FC(avg_rows);

static void FC(avg_make_q)(const FC(avg_strip) *strip, FC(avg_rows) *rows, const real *grad_y, ptrdiff_t i) {
    const ptrdiff_t n = strip->j_end - strip->j_begin;
    const real *from = grad_y + i * strip->p->OW + strip->j_begin;
    real *to = rows->q[i & 1] + FC(AVG_TAPS);
    const vec row_divisor = vec_set1(FC(avg_row_divisor)(strip, i));
    rows->q_row[i & 1] = i;
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        const vec g = n - j < LANES ? vec_load_n(from + j, (int)(n - j)) : vec_load(from + j);
        vec_store(to + j, g / (vec_load(rows->divisors + j) * row_divisor));
    }
}

/* Sum of q[0], q[-1] .. q[1 - taps], from the far end. */
FC_INLINE vec FC(avg_sum_taps)(const real *q, ptrdiff_t taps) {
    vec sum = vec_load(q - (taps - 1));
    for (ptrdiff_t t = taps - 2; t >= 0; t--) sum += vec_load(q - t);
    return sum;
}

/* Row i of u.  Strides 1 and 2 work in vectors of columns; in stride 2, even and odd ones have taps of their own. */
static void FC(avg_make_u)(const FC(avg_strip) *strip, FC(avg_rows) *rows, const real *grad_y, ptrdiff_t i) {
    const fc_pool2d *p = strip->p;
    if (rows->q_row[i & 1] != i) FC(avg_make_q)(strip, rows, grad_y, i);
    if (i + 1 < p->OH) FC(avg_make_q)(strip, rows, grad_y, i + 1);
    const real *q = rows->q[i & 1] + FC(AVG_TAPS) - strip->j_begin;
    real *u = rows->u[i % FC(AVG_ROWS)];
    const ptrdiff_t S = p->kernel_w, v0 = strip->first + p->pad_w;
    rows->u_row[i % FC(AVG_ROWS)] = i;
    rows->offset = 0;
    if (p->stride_w == 1) {
        for (ptrdiff_t w = 0; w < strip->width; w += LANES) vec_store(u + w, FC(avg_sum_taps)(q + v0 + w, S));
    } else if (p->stride_w == 2) {
        rows->offset = v0 & 1;
        for (ptrdiff_t w = 0; w < strip->width + 1; w += 2 * LANES) {
            const real *at = q + (v0 - rows->offset + w) / 2;
            const vec even = FC(avg_sum_taps)(at, (S + 1) / 2), odd = S > 1 ? FC(avg_sum_taps)(at, S / 2) : (vec){0};
            vec low, high;
            vec_interleave(even, odd, &low, &high);
            vec_store(u + w, low);
            vec_store(u + w + LANES, high);
        }
    } else {
        for (ptrdiff_t w = 0; w < strip->width; w++) {
            ptrdiff_t begin, end;
            FC(avg_windows)(strip->first + w, S, p->stride_w, p->pad_w, p->OW, &begin, &end);
            u[w] = 0;
            for (ptrdiff_t j = begin; j < end; j++) u[w] += q[j];
        }
    }
}

/* Row h of grad_x, at `to`, from rows begin .. end-1 of u; vectors may write up to `limit`. */
static void FC(avg_add_rows)(const FC(avg_strip) *strip, const FC(avg_rows) *rows, ptrdiff_t begin, ptrdiff_t end,
                             real *to, const real *limit) {
    const ptrdiff_t width = strip->width;
    for (ptrdiff_t w = 0; w < width; w += LANES) {
        if (w + LANES > width && width > LANES) w = width - LANES;
        vec sum = {0};
        for (ptrdiff_t i = begin; i < end; i++) sum += vec_load(rows->u[i % FC(AVG_ROWS)] + rows->offset + w);
        if (width >= LANES || to + LANES <= limit) vec_store(to + w, sum);
        else vec_store_n(to + w, sum, (int)width);
    }
}

static void FC(avg_plan_rows)(const FC(avg_strip) *strip, FC(avg_rows) *rows) {
    memset(rows->q, 0, sizeof rows->q);
    for (ptrdiff_t j = 0; j < FC(AVG_Q); j++)
        rows->divisors[j] = strip->j_begin + j < strip->j_end ? FC(avg_column_divisor)(strip, strip->j_begin + j) : 1;
}

static void FC(avg_backward_rows)(FC(avg_strip) *strip, const real *grad_y, real *grad_x, ptrdiff_t planes) {
    const fc_pool2d *p = strip->p;
    const ptrdiff_t m = p->H * p->W, n = p->OH * p->OW;
    FC(avg_rows) rows;
    for (ptrdiff_t first = 0; first < p->W; first += FC(AVG_COLUMNS)) {
        if (first > 0 && p->W - first < LANES) first = p->W - LANES;
        FC(avg_plan)(strip, first, p->W - first < FC(AVG_COLUMNS) ? p->W - first : FC(AVG_COLUMNS));
        FC(avg_plan_rows)(strip, &rows);
        for (ptrdiff_t plane = 0; plane < planes; plane++) {
            rows.q_row[0] = rows.q_row[1] = -1;
            for (int slot = 0; slot < FC(AVG_ROWS); slot++) rows.u_row[slot] = -1;
            for (ptrdiff_t h = 0; h < p->H; h++) {
                ptrdiff_t begin, end;
                FC(avg_windows)(h, p->kernel_h, p->stride_h, p->pad_h, p->OH, &begin, &end);
                for (ptrdiff_t i = begin; i < end; i++)
                    if (rows.u_row[i % FC(AVG_ROWS)] != i) FC(avg_make_u)(strip, &rows, grad_y + plane * n, i);
                FC(avg_add_rows)(strip, &rows, begin, end, grad_x + plane * m + h * p->W + first, grad_x + planes * m);
            }
        }
    }
}

/* LANES planes: `u` holds strip->width vectors a row, row i in slot i % slots. */
typedef struct {
    vec u[FC(POOL_KEPT)], q[FC(PLANE_PIXELS)];
    ptrdiff_t row[FC(AVG_ROWS)], slots;
    ptrdiff_t begin[FC(POOL_KEPT)], end[FC(POOL_KEPT)]; /* the windows of each column */
    FC(pixels) pixels;
    FC(pending) pending;
} FC(avg_planes);

static void FC(avg_plane_row)(const FC(avg_strip) *strip, FC(avg_planes) *planes, const real *grad_y, const real *end_y,
                              ptrdiff_t i) {
    const fc_pool2d *p = strip->p;
    const ptrdiff_t begin = i * p->OW + strip->j_begin, size = p->OH * p->OW;
    ptrdiff_t end = i * p->OW + strip->j_end;
    if (begin < planes->pixels.begin || end > planes->pixels.end) {
        if (strip->width == p->W) end = begin + FC(PLANE_PIXELS) < size ? begin + FC(PLANE_PIXELS) : size;
        FC(pixels_load)(&planes->pixels, grad_y, size, end_y, begin, end);
    }
    const vec *g = planes->pixels.value + (i * p->OW - planes->pixels.begin);
    const real row_divisor = FC(avg_row_divisor)(strip, i);
    for (ptrdiff_t j = strip->j_begin; j < strip->j_end; j++)
        planes->q[j - strip->j_begin] = g[j] / vec_set1(FC(avg_column_divisor)(strip, j) * row_divisor);
    vec *u = planes->u + i % planes->slots * strip->width;
    for (ptrdiff_t v = 0; v < strip->width; v++) {
        vec sum = {0};
        for (ptrdiff_t j = planes->begin[v]; j < planes->end[v]; j++) sum += planes->q[j - strip->j_begin];
        u[v] = sum;
    }
    planes->row[i % planes->slots] = i;
}

/* One strip of LANES planes, `grad_y` and `grad_x` the first of them. */
static void FC(avg_backward_group)(const FC(avg_strip) *strip, FC(avg_planes) *planes, const real *grad_y,
                                   const real *end_y, real *grad_x) {
    const fc_pool2d *p = strip->p;
    const ptrdiff_t size = p->H * p->W;
    for (int slot = 0; slot < FC(AVG_ROWS); slot++) planes->row[slot] = -1;
    planes->pixels.begin = planes->pixels.end = planes->pending.n = 0;
    for (ptrdiff_t h = 0; h < p->H; h++) {
        ptrdiff_t begin, end;
        FC(avg_windows)(h, p->kernel_h, p->stride_h, p->pad_h, p->OH, &begin, &end);
        for (ptrdiff_t i = begin; i < end; i++)
            if (planes->row[i % planes->slots] != i) FC(avg_plane_row)(strip, planes, grad_y, end_y, i);
        for (ptrdiff_t v = 0; v < strip->width; v++) {
            vec sum = {0};
            for (ptrdiff_t i = begin; i < end; i++) sum += planes->u[i % planes->slots * strip->width + v];
            if (FC(pending_add)(&planes->pending, h * p->W + strip->first + v, sum, (ivec){0}))
                FC(pending_store)(&planes->pending, grad_x, NULL, NULL, size);
        }
        if (strip->width < p->W) FC(pending_store)(&planes->pending, grad_x, NULL, NULL, size);
    }
    FC(pending_store)(&planes->pending, grad_x, NULL, NULL, size);
}

/* `count` planes, at least LANES. */
static void FC(avg_backward_planes)(FC(avg_strip) *strip, const real *grad_y, real *grad_x, ptrdiff_t count) {
    const fc_pool2d *p = strip->p;
    const ptrdiff_t m = p->H * p->W, n = p->OH * p->OW;
    FC(avg_planes) planes;
    planes.slots = (p->kernel_h - 1) / p->stride_h + 1;
    ptrdiff_t widest = FC(POOL_KEPT) / planes.slots;
    if (widest > FC(AVG_TAPS)) widest = FC(AVG_TAPS);
    for (ptrdiff_t first = 0; first < p->W; first += widest) {
        FC(avg_plan)(strip, first, p->W - first < widest ? p->W - first : widest);
        for (ptrdiff_t v = 0; v < strip->width; v++)
            FC(avg_windows)(first + v, p->kernel_w, p->stride_w, p->pad_w, p->OW, &planes.begin[v], &planes.end[v]);
        for (ptrdiff_t plane = 0; plane < count; plane += LANES) {
            if (plane + LANES > count) plane = count - LANES; /* the last group overlaps the one before */
            FC(avg_backward_group)(strip, &planes, grad_y + plane * n, grad_y + count * n, grad_x + plane * m);
        }
    }
}

/* Windows too large for the above: each plane is zeroed, then every window adds its share, in the order of y. */
static void FC(avg_backward_scatter)(const FC(avg_strip) *strip, const real *grad_y, real *grad_x) {
    const fc_pool2d *p = strip->p;
    memset(grad_x, 0, (size_t)(p->H * p->W) * sizeof *grad_x);
    for (ptrdiff_t i = 0; i < p->OH; i++) {
        const ptrdiff_t h0 = i * p->stride_h - p->pad_h;
        for (ptrdiff_t j = 0; j < p->OW; j++) {
            const ptrdiff_t w0 = j * p->stride_w - p->pad_w;
            const real share = *grad_y++ / (FC(avg_column_divisor)(strip, j) * FC(avg_row_divisor)(strip, i));
            for (ptrdiff_t h = h0 < 0 ? 0 : h0; h < h0 + p->kernel_h && h < p->H; h++)
                for (ptrdiff_t w = w0 < 0 ? 0 : w0; w < w0 + p->kernel_w && w < p->W; w++)
                    grad_x[h * p->W + w] += share;
        }
    }
}

static void FC(avg_backward_global)(const real *grad_y, real *grad_x, ptrdiff_t n, real divisor, ptrdiff_t planes) {
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += n) {
        const vec share = vec_set1(grad_y[plane] / divisor);
        ptrdiff_t i = 0;
        for (; i + LANES <= n; i += LANES) vec_store(grad_x + i, share);
        if (i < n && plane + 1 < planes && n >= LANES) vec_store(grad_x + i, share); /* the next plane writes over it */
        else if (i < n) vec_store_n(grad_x + i, share, (int)(n - i));
    }
}

void KERNEL(avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int count_include_pad,
                                    ptrdiff_t divisor, ptrdiff_t planes) {
    const ptrdiff_t m = p->H * p->W, n = p->OH * p->OW;
    FC(avg_strip) strip = {.p = p, .count_include_pad = count_include_pad, .divisor = (real)divisor};
    if (FC(pool_is_2x2)(p)) {
        FC(backward_2x2)(p, grad_y, NULL, grad_x, planes, divisor ? (real)divisor : 4, 0);
        return;
    }
    if (FC(avg_is_global)(p)) {
        FC(avg_backward_global)(grad_y, grad_x, m, (real)(divisor ? divisor : m), planes);
        return;
    }
    const int small = (p->kernel_h - 1) / p->stride_h < FC(AVG_ROWS) && (p->kernel_w - 1) / p->stride_w < FC(AVG_TAPS);
    if (small && planes >= LANES && (p->W <= LANES || p->stride_w > 2)) {
        FC(avg_backward_planes)(&strip, grad_y, grad_x, planes);
    } else if (small) {
        FC(avg_backward_rows)(&strip, grad_y, grad_x, planes);
    } else {
        for (ptrdiff_t plane = 0; plane < planes; plane++)
            FC(avg_backward_scatter)(&strip, grad_y + plane * n, grad_x + plane * m);
    }
}
