/* Average pooling:  y[i][j] = 1/divisor * sum over r, s of x[i * stride_h - pad_h + r][j * stride_w - pad_w + s]
 *
 * The divisor is given, or it is the number of the window's elements in x, or (count_include_pad) in x and its padding;
 * what overhangs even the padding is not counted.  It is the product of a count of rows and a count of columns.  Forward
 * and 2x2 backward are in pool2d*.c. */

/* Rows begin .. end-1 of the N * C * OH rows of y. */
static void FC(avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int count_include_pad, ptrdiff_t divisor,
                                   ptrdiff_t begin, ptrdiff_t end) {
    const FC(pool) job = {.p = p, .x = x, .x_end = x + p->N * p->C * p->H * p->W, .y = y, .y_end = end * p->OW,
                          .count_include_pad = count_include_pad, .divisor = (real)divisor};
    FC(pool_forward)(&job, begin, end, 0);
}

/* Each plane is zeroed, then every window adds its share grad_y / divisor, in the order of y. */
static void FC(avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int count_include_pad,
                                    ptrdiff_t divisor, ptrdiff_t planes) {
    if (FC(pool_is_2x2)(p)) {
        FC(backward_2x2)(p, grad_y, NULL, grad_x, planes, divisor ? (real)divisor : 4, 0);
        return;
    }
    for (ptrdiff_t plane = 0; plane < planes; plane++, grad_x += p->H * p->W) {
        memset(grad_x, 0, (size_t)(p->H * p->W) * sizeof *grad_x);
        for (ptrdiff_t i = 0; i < p->OH; i++) {
            const ptrdiff_t h0 = i * p->stride_h - p->pad_h;
            const ptrdiff_t rows = FC(pool_count)(h0, p->kernel_h, p->H, p->pad_h, count_include_pad);
            for (ptrdiff_t j = 0; j < p->OW; j++) {
                const ptrdiff_t w0 = j * p->stride_w - p->pad_w;
                const ptrdiff_t columns = FC(pool_count)(w0, p->kernel_w, p->W, p->pad_w, count_include_pad);
                const real share = *grad_y++ / (divisor ? (real)divisor : (real)rows * (real)columns);
                for (ptrdiff_t h = h0 < 0 ? 0 : h0; h < h0 + p->kernel_h && h < p->H; h++)
                    for (ptrdiff_t w = w0 < 0 ? 0 : w0; w < w0 + p->kernel_w && w < p->W; w++)
                        grad_x[h * p->W + w] += share;
            }
        }
    }
}
