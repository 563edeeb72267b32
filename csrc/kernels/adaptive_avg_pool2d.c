/* Adaptive average pooling:  y[i][j] = mean of x[h][w], h in floor(i*H/OH) .. ceil((i+1)*H/OH)-1, w likewise.
 *
 * Windows may overlap and differ in size by one.  Forward, the rows of a row of windows are added up first, in vectors
 * of columns; each window then adds up its part of that one row.  Backward is the mirror image: a row of shares
 * grad_y / area is spread over the columns, then added to each row of its windows, or stored where it is the first to
 * come.  A row is worked on in strips. */

enum { FC(ADAPTIVE_STRIP) = 512 }; /* columns, a multiple of any LANES */

/* Where window i of `windows` over `size` positions begins, and where it ends. */
FC_INLINE ptrdiff_t FC(adaptive_begin)(ptrdiff_t i, ptrdiff_t size, ptrdiff_t windows) { return i * size / windows; }
FC_INLINE ptrdiff_t FC(adaptive_end)(ptrdiff_t i, ptrdiff_t size, ptrdiff_t windows) {
    return ((i + 1) * size + windows - 1) / windows;
}

/* line[0 .. width-1] = sum of `rows` rows of x, W apart. */
FC_INLINE void FC(adaptive_add_rows)(const real *x, ptrdiff_t W, ptrdiff_t rows, ptrdiff_t width, real *line) {
    for (ptrdiff_t w = 0; w < width; w += LANES) {
        const int lanes = width - w < LANES ? (int)(width - w) : LANES;
        vec sum = {0};
        if (lanes == LANES)
            for (ptrdiff_t h = 0; h < rows; h++) sum += vec_load(x + h * W + w);
        else
            for (ptrdiff_t h = 0; h < rows; h++) sum += vec_load_n(x + h * W + w, lanes);
        vec_store(line + w, sum);
    }
}

static void FC(adaptive_row)(const fc_pool2d *p, const real *x, ptrdiff_t i, real *y) {
    real line[FC(ADAPTIVE_STRIP)];
    const ptrdiff_t top = FC(adaptive_begin)(i, p->H, p->OH), rows = FC(adaptive_end)(i, p->H, p->OH) - top;
    memset(y, 0, (size_t)p->OW * sizeof *y);
    ptrdiff_t first = 0; /* the first window that reaches into the strip */
    for (ptrdiff_t at = 0; at < p->W; at += FC(ADAPTIVE_STRIP)) {
        const ptrdiff_t width = p->W - at < FC(ADAPTIVE_STRIP) ? p->W - at : FC(ADAPTIVE_STRIP);
        FC(adaptive_add_rows)(x + top * p->W + at, p->W, rows, width, line);
        while (FC(adaptive_end)(first, p->W, p->OW) <= at) first++;
        for (ptrdiff_t j = first; j < p->OW; j++) {
            ptrdiff_t w = FC(adaptive_begin)(j, p->W, p->OW) - at, end = FC(adaptive_end)(j, p->W, p->OW) - at;
            if (w >= width) break;
            if (w < 0) w = 0;
            if (end > width) end = width;
            real sum = 0;
            for (; w < end; w++) sum += line[w];
            y[j] += sum;
        }
    }
    for (ptrdiff_t j = 0; j < p->OW; j++)
        y[j] /= (real)(rows * (FC(adaptive_end)(j, p->W, p->OW) - FC(adaptive_begin)(j, p->W, p->OW)));
}

void KERNEL(adaptive_avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, ptrdiff_t planes) {
    for (ptrdiff_t plane = 0; plane < planes; plane++, x += p->H * p->W)
        for (ptrdiff_t i = 0; i < p->OH; i++, y += p->OW) FC(adaptive_row)(p, x, i, y);
}

/* Row i of windows gives its shares to all of its rows of grad_x; those from `fresh` on are nobody's yet. */
static void FC(adaptive_spread_row)(const fc_pool2d *p, const real *grad_y, ptrdiff_t i, ptrdiff_t fresh,
                                    real *grad_x) {
    real line[FC(ADAPTIVE_STRIP)];
    const ptrdiff_t top = FC(adaptive_begin)(i, p->H, p->OH), bottom = FC(adaptive_end)(i, p->H, p->OH);
    ptrdiff_t first = 0;
    for (ptrdiff_t at = 0; at < p->W; at += FC(ADAPTIVE_STRIP)) {
        const ptrdiff_t width = p->W - at < FC(ADAPTIVE_STRIP) ? p->W - at : FC(ADAPTIVE_STRIP);
        memset(line, 0, sizeof line);
        while (FC(adaptive_end)(first, p->W, p->OW) <= at) first++;
        for (ptrdiff_t j = first; j < p->OW; j++) {
            const ptrdiff_t left = FC(adaptive_begin)(j, p->W, p->OW), right = FC(adaptive_end)(j, p->W, p->OW);
            if (left - at >= width) break;
            const real share = grad_y[j] / (real)((bottom - top) * (right - left));
            for (ptrdiff_t w = left < at ? 0 : left - at; w < right - at && w < width; w++) line[w] += share;
        }
        for (ptrdiff_t w = 0; w < width; w += LANES) {
            const int lanes = width - w < LANES ? (int)(width - w) : LANES;
            const vec share = vec_load(line + w);
            real *to = grad_x + top * p->W + at + w;
            ptrdiff_t h = top;
            for (; h < fresh; h++, to += p->W) vec_store_n(to, vec_load_n(to, lanes) + share, lanes);
            if (lanes == LANES)
                for (; h < bottom; h++, to += p->W) vec_store(to, share);
            else
                for (; h < bottom; h++, to += p->W) vec_store_n(to, share, lanes);
        }
    }
}

void KERNEL(adaptive_avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, ptrdiff_t planes) {
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += p->H * p->W) {
        ptrdiff_t fresh = 0;
        for (ptrdiff_t i = 0; i < p->OH; i++, grad_y += p->OW) {
            FC(adaptive_spread_row)(p, grad_y, i, fresh, grad_x);
            fresh = FC(adaptive_end)(i, p->H, p->OH);
        }
    }
}
