/* Dilated convolution as undilated ones: row i of y meets rows of x that are a multiple of the dilation away, so the rows
 * (and columns) with the same remainder form an image of their own.  The images are taken apart, convolved together as a
 * batch of N * dilation_h * dilation_w, and put together again; what is gained is Winograd.
 *
 * Only where everything divides: then it is a mere rearrangement, padding included. */

static int FC(phases_pay)(const fc_conv2d *p) {
    const ptrdiff_t dh = p->dilation_h, dw = p->dilation_w;
    return (dh > 1 || dw > 1) && p->R == 3 && p->S == 3 && p->stride_h == 1 && p->stride_w == 1 && p->N > 0 &&
           p->H % dh == 0 && p->W % dw == 0 && p->OH % dh == 0 && p->OW % dw == 0 && p->pad_top % dh == 0 &&
           p->pad_left % dw == 0 && FC(winograd_tile)(p->C / p->groups, p->K / p->groups, p->OH / dh, p->OW / dw, p->precision, 0) > 0;
}

/* The undilated problem. */
static fc_conv2d FC(phases_of)(const fc_conv2d *p) {
    const ptrdiff_t dh = p->dilation_h, dw = p->dilation_w;
    fc_conv2d s = *p;
    s.N = p->N * dh * dw;
    s.H = p->H / dh, s.W = p->W / dw, s.OH = p->OH / dh, s.OW = p->OW / dw;
    s.pad_top = p->pad_top / dh, s.pad_left = p->pad_left / dw;
    s.dilation_h = s.dilation_w = 1;
    return s;
}

typedef struct {
    real *x, *y;
    void *rest;
    size_t bytes;
} FC(phases_plan);

static FC(phases_plan) FC(plan_phases)(const fc_conv2d *p, void *workspace) {
    FC(phases_plan) f;
    fc_arena arena = {workspace, 0};
    f.x = fc_carve(&arena, sizeof(real) * (size_t)(p->N * p->C * p->H * p->W));
    f.y = fc_carve(&arena, sizeof(real) * (size_t)(p->N * p->K * p->OH * p->OW));
    f.rest = workspace ? (char *)workspace + arena.used : NULL;
    f.bytes = arena.used;
    return f;
}

/* whole (N, C, H, W) -> parts (N, dh, dw, C, H / dh, W / dw), or back. */
static void FC(phases_move)(const fc_conv2d *p, ptrdiff_t C, ptrdiff_t H, ptrdiff_t W, real *whole, real *parts, int back,
                            int threads) {
    const ptrdiff_t dh = p->dilation_h, dw = p->dilation_w, cols = W / dw, part = C * (H / dh) * cols;
    const int team = fc_threads_for(2.0 * sizeof(real) * (double)(p->N * C * H * W), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (ptrdiff_t plane = 0; plane < p->N * C; plane++) {
        const ptrdiff_t n = plane / C, c = plane % C;
        for (ptrdiff_t h = 0; h < H; h++) {
            real *row = whole + (plane * H + h) * W;
            real *at = parts + ((n * dh + h % dh) * dw * C + c) * (H / dh) * cols + h / dh * cols;
            if (back) kernels.merge_row(at, part, dw, cols, row);
            else kernels.split_row(row, dw, cols, at, part);
        }
    }
}

static void FC(phases_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                               void *workspace, int threads) {
    const fc_conv2d s = FC(phases_of)(p);
    const FC(phases_plan) f = FC(plan_phases)(p, workspace);
    FC(phases_move)(p, p->C, p->H, p->W, (real *)x, f.x, 0, threads);
    FC(conv2d_forward)(&s, f.x, weight, bias, f.y, f.rest, threads);
    FC(phases_move)(p, p->K, p->OH, p->OW, y, f.y, 1, threads);
}

static void FC(phases_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, const real *bias, real *grad_x,
                              void *workspace, int threads) {
    const fc_conv2d s = FC(phases_of)(p);
    const FC(phases_plan) f = FC(plan_phases)(p, workspace);
    FC(phases_move)(p, p->K, p->OH, p->OW, (real *)grad_y, f.y, 0, threads);
    FC(conv_transpose2d_forward)(&s, f.y, weight, bias, f.x, f.rest, threads);
    FC(phases_move)(p, p->C, p->H, p->W, grad_x, f.x, 1, threads);
}

static void FC(phases_grad_weight)(const fc_conv2d *p, const real *grad_y, const real *x, real *grad_weight, void *workspace,
                                   int threads) {
    const fc_conv2d s = FC(phases_of)(p);
    const FC(phases_plan) f = FC(plan_phases)(p, workspace);
    FC(phases_move)(p, p->C, p->H, p->W, (real *)x, f.x, 0, threads);
    FC(phases_move)(p, p->K, p->OH, p->OW, (real *)grad_y, f.y, 0, threads);
    FC(conv2d_grad_weight)(&s, f.y, f.x, grad_weight, f.rest, threads);
}
