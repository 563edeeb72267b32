/* Forward and grad_x as correlations with packed weights (correlate.c), by Winograd (winograd.c) where it is chosen.
 *
 * forward      one correlation; tap (r, s) looks at row i * stride_h + r * dilation_h - pad_top of x
 * grad_x       a correlation of grad_y for each phase of the stride: the rows h of x with the same (h + pad_top) %
 *              stride_h meet the same kernel rows, each at its own offset in grad_y; likewise the columns.  The phases
 *              of a stride of 2 along the rows are computed together (strided_grad_x.c), which changes no bit. */

/* -- packed weights ------------------------------------------------------------------------------------------------ */

/* weight (groups * K, C, T) -> blocks of output channels [group][block][c][t][width], for the forward pass. */
static void FC(pack_weights)(const FC(blocks) *b, ptrdiff_t groups, ptrdiff_t K, ptrdiff_t C, ptrdiff_t T,
                             const real *weight, real *packed, int threads) {
    const int lanes = kernels.lanes;
    const ptrdiff_t group_size = (ptrdiff_t)FC(packed_weights)(b, 1, C, T);
    const int team = fc_threads_for(fc_product(groups, K, C, T), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (ptrdiff_t task = 0; task < groups * b->blocks; task++) {
        const ptrdiff_t g = task / b->blocks, k0 = task % b->blocks * b->width;
        real *to = packed + g * group_size + k0 * C * T;
        const int width = b->positions ? b->width : FC(block_vectors)(b, K, k0 / b->width) * lanes;
        for (int v = 0; v < width; v += lanes) {
            const ptrdiff_t k = k0 + v, left = K - k;
            const int part = width - v < lanes ? width - v : lanes, rows = left < part ? (int)left : part;
            kernels.transpose(weight + (g * K + k) * C * T, C * T, rows, C * T, to + v, width, part, NULL);
        }
    }
}

/* The same weight for grad_x, in which c and k change places: [group][block of c][k][order of t][width]. */
static void FC(pack_weights_swapped)(const FC(blocks) *b, ptrdiff_t groups, ptrdiff_t K, ptrdiff_t C, ptrdiff_t T,
                                     const real *weight, const ptrdiff_t *order, real *packed, int threads) {
    const int lanes = kernels.lanes;
    const ptrdiff_t group_size = (ptrdiff_t)FC(packed_weights)(b, 1, K, T);
    const int team = fc_threads_for(fc_product(groups, K, C, T), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (ptrdiff_t task = 0; task < groups * b->blocks; task++) {
        const ptrdiff_t g = task / b->blocks, c0 = task % b->blocks * b->width;
        real *to = packed + g * group_size + c0 * K * T;
        const int width = b->positions ? b->width : FC(block_vectors)(b, C, c0 / b->width) * lanes;
        for (int v = 0; v < width; v += lanes) {
            const ptrdiff_t c = c0 + v, left = C - c;
            const int part = width - v < lanes ? width - v : lanes, rows = left < part ? (int)left : part;
            for (ptrdiff_t k = 0; k < K; k++)
                kernels.transpose(weight + ((g * K + k) * C + c) * T, T, rows, T, to + k * T * width + v, width, part,
                                  order);
        }
    }
}

/* -- correlation, by Winograd or directly ------------------------------------------------------------------------ */

/* What a correlation by Winograd may need: scratch for the direct kernels too, for images that it leaves out. */
static size_t FC(run_workspace)(const FC(correlation) *q, const FC(blocks) *b, int winograd, int threads) {
    const size_t direct = FC(correlation_scratch)(q, b, threads);
    return winograd ? direct + FC(plan_winograd)(q, b, winograd, NULL, threads).bytes : direct;
}

/* Correlation by the direct kernels, of the images that Winograd left out: of all when that is NULL. */
static void FC(run_direct)(const FC(correlation) *q, const FC(blocks) *b, const uint8_t *left_out, const FC(weights) *w,
                           ptrdiff_t weights, const real *x, const real *packed, const real *bias, real *y, void *workspace,
                           int threads) {
    if (!left_out) {
        const int finite = !FC(needs_padding)(q) || kernels.all_finite(w->weight, weights);
        FC(correlate)(q, b, finite, x, packed, bias, y, workspace, threads);
        return;
    }
    FC(correlation) one = *q;
    one.images = 1;
    for (ptrdiff_t n = 0; n < q->images; n++)
        if (left_out[n])
            FC(correlate)(&one, b, 1, x + n * q->groups * q->C * q->H * q->W, packed, bias,
                          y + n * q->groups * q->K * q->y_channel, workspace, threads);
}

/* Tries Winograd: 1 when all is done.  *left_out: NULL when nothing is, else the images that are left to do. */
static int FC(run_winograd)(const FC(correlation) *q, const FC(blocks) *b, int m, const FC(weights) *w, ptrdiff_t weights,
                            const real *x, const real *bias, real *y, void *workspace, int threads,
                            const uint8_t **left_out) {
    *left_out = NULL;
    if (!kernels.all_within(w->weight, weights, FC(WINOGRAD_LIMIT))) return 0;
    const size_t direct = FC(correlation_scratch)(q, b, threads);
    const FC(winograd_plan) f = FC(plan_winograd)(q, b, m, (char *)workspace + direct, threads);
    if (!FC(winograd)(q, b, &f, x, w, bias, y, threads)) return 1;
    *left_out = f.beyond;
    return 0;
}

/* -- forward ------------------------------------------------------------------------------------------------------- */

typedef struct {
    FC(correlation) q;
    FC(blocks) b;
    int winograd;
    ptrdiff_t *dy, *dx;
    real *packed, *bias;
    void *rest;
    size_t bytes;
} FC(forward_plan);

static FC(forward_plan) FC(plan_forward)(const fc_conv2d *p, void *workspace) {
    FC(forward_plan) f;
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    f.winograd = p->N > 0 ? FC(use_winograd)(p, 0) : 0;
    f.b = FC(choose_blocks)(K, C, T, FC(use_winograd)(p, 0));
    fc_arena arena = {workspace, 0};
    f.dy = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)T);
    f.dx = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)T);
    f.packed = fc_carve(&arena, sizeof(real) * (FC(packed_weights)(&f.b, p->groups, C, T)));
    f.bias = fc_carve(&arena, sizeof(real) * (size_t)(p->groups * f.b.blocks * f.b.width));
    f.q = (FC(correlation)){
        .images = p->N, .groups = p->groups, .C = C, .H = p->H, .W = p->W, .K = K, .rows = p->OH, .cols = p->OW,
        .step_h = p->stride_h, .step_w = p->stride_w, .R = p->R, .S = p->S, .T = T, .w_first = 0, .w_taps = T,
        .dy = f.dy, .dx = f.dx, .top = -p->pad_top, .left = -p->pad_left, .height = (p->R - 1) * p->dilation_h + 1,
        .width = (p->S - 1) * p->dilation_w + 1, .y_channel = p->OH * p->OW, .y_row = p->OW, .y_col = 1, .y_offset = 0};
    f.rest = workspace ? (char *)workspace + arena.used : NULL;
    f.bytes = arena.used;
    return f;
}

/* The bias in whole blocks, [group][block * width]; NULL: zeros. */
static void FC(pack_bias)(const FC(blocks) *b, ptrdiff_t groups, ptrdiff_t K, const real *bias, real *packed) {
    const ptrdiff_t padded = b->blocks * b->width;
    for (ptrdiff_t g = 0; g < groups; g++)
        for (ptrdiff_t k = 0; k < padded; k++) packed[g * padded + k] = bias && k < K ? bias[g * K + k] : 0;
}

/* The taps as steps in x, and the bias in whole blocks. */
static void FC(forward_taps)(const fc_conv2d *p, const FC(forward_plan) *f, const real *bias) {
    for (ptrdiff_t t = 0; t < p->R * p->S; t++) {
        f->dy[t] = t / p->S * p->dilation_h - p->pad_top;
        f->dx[t] = t % p->S * p->dilation_w - p->pad_left;
    }
    FC(pack_bias)(&f->b, p->groups, p->K / p->groups, bias, f->bias);
}

static size_t FC(direct_forward_workspace)(const fc_conv2d *p, int threads) {
    FC(forward_plan) f = FC(plan_forward)(p, NULL);
    return f.bytes + FC(run_workspace)(&f.q, &f.b, f.winograd, threads);
}

static void FC(direct_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                               void *workspace, int threads) {
    FC(forward_plan) f = FC(plan_forward)(p, workspace);
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    FC(forward_taps)(p, &f, bias);
    const FC(weights) w = {.weight = weight, .K = K, .C = C, .T = T};
    const uint8_t *left_out = NULL;
    if (f.winograd && FC(run_winograd)(&f.q, &f.b, f.winograd, &w, p->K * C * T, x, f.bias, y, f.rest, threads, &left_out)) return;
    FC(pack_weights)(&f.b, p->groups, K, C, T, weight, f.packed, threads);
    FC(run_direct)(&f.q, &f.b, left_out, &w, p->K * C * T, x, f.packed, f.bias, y, f.rest, threads);
}

/* -- grad_x -------------------------------------------------------------------------------------------------------- */

/* The rows (or columns) of x in one phase of the stride. */
typedef struct {
    ptrdiff_t first, count; /* first row of x, rows of this phase: first, first + stride, .. */
    ptrdiff_t taps;         /* kernel rows that they meet */
    ptrdiff_t low, span;    /* their offsets into grad_y: low .. low + span - 1 */
} FC(phase);

/* The phase of row `first` < stride: rows h and kernel rows r with (h + pad - r * dilation) % stride == 0. */
static FC(phase) FC(phase_of)(ptrdiff_t first, ptrdiff_t size, ptrdiff_t pad, ptrdiff_t stride, ptrdiff_t kernel,
                              ptrdiff_t dilation) {
    FC(phase) f = {first, (size - first + stride - 1) / stride, 0, 0, 1};
    ptrdiff_t high = 0;
    for (ptrdiff_t r = 0; r < kernel; r++) {
        if ((first + pad - r * dilation) % stride != 0) continue;
        f.low = (f.first + pad - r * dilation) / stride; /* divides exactly; falls with r */
        if (f.taps++ == 0) high = f.low;
    }
    f.span = high - f.low + 1;
    return f;
}

/* Whether tap t contributes to row a and column b of x, and so to their phase. */
static int FC(tap_meets)(const fc_conv2d *p, ptrdiff_t a, ptrdiff_t b, ptrdiff_t t) {
    return (a + p->pad_top - t / p->S * p->dilation_h) % p->stride_h == 0 &&
           (b + p->pad_left - t % p->S * p->dilation_w) % p->stride_w == 0;
}

typedef struct {
    FC(blocks) b;
    int winograd;
    ptrdiff_t *dy, *dx, *order, *taps;
    real *packed, *bias;
    void *rest;
    size_t bytes;
} FC(grad_x_plan);

static FC(grad_x_plan) FC(plan_grad_x)(const fc_conv2d *p, void *workspace) {
    FC(grad_x_plan) f;
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    f.winograd = p->N > 0 ? FC(use_winograd)(p, 0) : 0;
    f.b = FC(choose_blocks)(C, K, T, FC(use_winograd)(p, 0));
    fc_arena arena = {workspace, 0};
    f.dy = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)T);
    f.dx = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)T);
    f.order = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)T);
    f.taps = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)T);
    f.packed = fc_carve(&arena, sizeof(real) * FC(packed_weights)(&f.b, p->groups, K, T));
    f.bias = fc_carve(&arena, sizeof(real) * (size_t)(p->groups * f.b.blocks * f.b.width));
    f.rest = workspace ? (char *)workspace + arena.used : NULL;
    f.bytes = arena.used;
    return f;
}

/* The correlation of phase (a, b), without its taps. */
static FC(correlation) FC(phase_correlation)(const fc_conv2d *p, const FC(phase) *rows, const FC(phase) *cols) {
    return (FC(correlation)){.images = p->N, .groups = p->groups, .C = p->K / p->groups, .H = p->OH, .W = p->OW,
                             .K = p->C / p->groups, .rows = rows->count, .cols = cols->count, .step_h = 1, .step_w = 1,
                             .R = p->R, .S = p->S, .T = rows->taps * cols->taps, .w_first = 0, .w_taps = p->R * p->S,
                             .top = rows->low, .left = cols->low, .height = rows->span, .width = cols->span,
                             .y_channel = p->H * p->W, .y_row = p->stride_h * p->W, .y_col = p->stride_w,
                             .y_offset = rows->first * p->W + cols->first};
}

static FC(correlation) FC(nth_phase)(const fc_conv2d *p, ptrdiff_t a, ptrdiff_t b) {
    const FC(phase) rows = FC(phase_of)(a, p->H, p->pad_top, p->stride_h, p->R, p->dilation_h);
    const FC(phase) cols = FC(phase_of)(b, p->W, p->pad_left, p->stride_w, p->S, p->dilation_w);
    return FC(phase_correlation)(p, &rows, &cols);
}

/* Whether strided_grad_x.c may compute the phases together. */
static int FC(use_strided)(const fc_conv2d *p, const FC(grad_x_plan) *f) {
    return !f->b.positions && p->stride_w == 2 && p->stride_h <= 2 && p->W >= 2 && p->H >= p->stride_h && p->N > 0;
}

static size_t FC(direct_grad_x_workspace)(const fc_conv2d *p, int threads) {
    FC(grad_x_plan) f = FC(plan_grad_x)(p, NULL);
    size_t most = 0;
    for (ptrdiff_t a = 0; a < p->stride_h && a < p->H; a++)
        for (ptrdiff_t b = 0; b < p->stride_w && b < p->W; b++) {
            const FC(correlation) q = FC(nth_phase)(p, a, b);
            const size_t bytes = FC(run_workspace)(&q, &f.b, f.winograd, threads);
            if (bytes > most) most = bytes;
        }
    if (FC(use_strided)(p, &f)) {
        FC(correlation) phase[4];
        for (int i = 0; i < 2 * p->stride_h; i++) phase[i] = FC(nth_phase)(p, i / 2, i % 2);
        const FC(strided) s = FC(join_phases)(phase, p->stride_h, p->H, p->W);
        const size_t bytes = FC(strided_scratch)(&s, &f.b, threads);
        if (bytes > most) most = bytes;
    }
    return f.bytes + most;
}

/* Plus a number for each channel of x; bias may be NULL. */
static void FC(direct_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, const real *bias, real *grad_x,
                              void *workspace, int threads) {
    FC(grad_x_plan) f = FC(plan_grad_x)(p, workspace);
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    FC(pack_bias)(&f.b, p->groups, C, bias, f.bias);
    /* Each phase's taps lie side by side in the packed weights; taps that meet no row or column of x come last. */
    for (ptrdiff_t t = 0; t < T; t++) f.order[t] = -1;
    ptrdiff_t next = 0;
    for (ptrdiff_t a = 0; a < p->stride_h && a < p->H; a++)
        for (ptrdiff_t b = 0; b < p->stride_w && b < p->W; b++)
            for (ptrdiff_t t = 0; t < T; t++)
                if (FC(tap_meets)(p, a, b, t)) f.order[t] = next++;
    for (ptrdiff_t t = 0; t < T; t++)
        if (f.order[t] < 0) f.order[t] = next++;
    if (f.winograd)
        for (ptrdiff_t t = 0; t < T; t++) f.order[t] = T - 1 - t; /* as the taps lie in grad_y: turned round */
    FC(correlation) phase[4];
    const int together = FC(use_strided)(p, &f) && kernels.all_finite(weight, p->K * C * T);
    const FC(weights) w = {.weight = weight, .K = C, .C = K, .T = T, .swapped = 1, .order = f.order};
    int packed = 0;
    next = 0;
    for (ptrdiff_t a = 0; a < p->stride_h && a < p->H; a++)
        for (ptrdiff_t b = 0; b < p->stride_w && b < p->W; b++) {
            FC(correlation) q = FC(nth_phase)(p, a, b);
            q.w_first = next, q.dy = f.dy + next, q.dx = f.dx + next;
            for (ptrdiff_t t = 0; t < T; t++) {
                if (!FC(tap_meets)(p, a, b, t)) continue;
                f.dy[f.order[t]] = (a + p->pad_top - t / p->S * p->dilation_h) / p->stride_h; /* exact */
                f.dx[f.order[t]] = (b + p->pad_left - t % p->S * p->dilation_w) / p->stride_w;
            }
            next += q.T;
            const uint8_t *left_out = NULL;
            if (f.winograd && FC(run_winograd)(&q, &f.b, f.winograd, &w, p->K * C * T, grad_y, f.bias, grad_x, f.rest, threads, &left_out))
                continue;
            if (!packed++) FC(pack_weights_swapped)(&f.b, p->groups, K, C, T, weight, f.order, f.packed, threads);
            if (together) phase[2 * a + b] = q;
            else FC(run_direct)(&q, &f.b, left_out, &w, p->K * C * T, grad_y, f.packed, f.bias, grad_x, f.rest, threads);
        }
    if (!together) return;
    const FC(strided) s = FC(join_phases)(phase, p->stride_h, p->H, p->W);
    if (!FC(strided_grad_x)(&s, &f.b, grad_y, f.packed, f.bias, grad_x, f.taps, f.rest, threads))
        for (int i = 0; i < 2 * p->stride_h; i++)
            FC(run_direct)(&phase[i], &f.b, NULL, &w, p->K * C * T, grad_y, f.packed, f.bias, grad_x, f.rest, threads);
}
