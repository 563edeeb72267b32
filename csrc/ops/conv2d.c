/* conv2d, forward and backward, on top of correlate.c.
 *
 * forward      one correlation; tap (r, s) looks at row i * stride_h + r * dilation_h - pad_top of x
 * grad_x       a correlation of grad_y for each phase of the stride: the rows h of x with the same (h + pad_top) %
 *              stride_h meet the same kernel rows, each at its own offset in grad_y; likewise the columns
 * grad_weight  outer products over positions, see kernels/outer_taps.c; the batch is cut in chunks by the shape, each
 *              with a sum of its own, and the sums are added in order
 * grad_bias    sums of planes
 *
 * Groups of few channels go to depthwise.c in all three. */

/* -- packed weights ------------------------------------------------------------------------------------------------ */

/* weight (groups * K, C, T) -> blocks of output channels [group][block][c][t][width], for the forward pass. */
static void FC(pack_weights)(const FC(blocks) *b, ptrdiff_t groups, ptrdiff_t K, ptrdiff_t C, ptrdiff_t T,
                             const real *weight, real *packed, int threads) {
    const int lanes = kernels.lanes;
    const ptrdiff_t group_size = (ptrdiff_t)FC(packed_weights)(b, 1, C, T);
    const int team = fc_threads_for((double)groups * K * C * T, FC_BYTES_PER_THREAD, threads);
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
    const int team = fc_threads_for((double)groups * K * C * T, FC_BYTES_PER_THREAD, threads);
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

/* -- the choice of the algorithm ------------------------------------------------------------------------------------ */

/* m of F(m x m, 3x3), or 0: from the shape of one image and the kernel, never from N or the threads. */
static int FC(use_winograd)(const fc_conv2d *p, int gradient) {
    const int possible = p->R == 3 && p->S == 3 && p->stride_h == 1 && p->stride_w == 1 && p->dilation_h == 1 &&
                         p->dilation_w == 1 && (!gradient || p->groups == 1);
    return possible ? FC(winograd_tile)(p->C / p->groups, p->K / p->groups, p->OH, p->OW, p->precision, gradient) : 0;
}

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

/* The taps as steps in x, and the bias in whole blocks. */
static void FC(forward_taps)(const fc_conv2d *p, const FC(forward_plan) *f, const real *bias) {
    const ptrdiff_t K = p->K / p->groups, padded = f->b.blocks * f->b.width;
    for (ptrdiff_t t = 0; t < p->R * p->S; t++) {
        f->dy[t] = t / p->S * p->dilation_h - p->pad_top;
        f->dx[t] = t % p->S * p->dilation_w - p->pad_left;
    }
    for (ptrdiff_t g = 0; g < p->groups; g++)
        for (ptrdiff_t k = 0; k < padded; k++) f->bias[g * padded + k] = bias && k < K ? bias[g * K + k] : 0;
}

size_t FC(conv2d_forward_workspace)(const fc_conv2d *p, int threads) {
    if (FC(depthwise_pays)(p)) return 0;
    if (FC(phases_pay)(p)) {
        const fc_conv2d s = FC(phases_of)(p);
        return FC(plan_phases)(p, NULL).bytes + FC(conv2d_forward_workspace)(&s, threads);
    }
    FC(forward_plan) f = FC(plan_forward)(p, NULL);
    return f.bytes + FC(run_workspace)(&f.q, &f.b, f.winograd, threads);
}

void FC(conv2d_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                        void *workspace, int threads) {
    if (FC(depthwise_pays)(p)) {
        FC(depthwise_forward)(p, x, weight, bias, y, threads);
        return;
    }
    if (FC(phases_pay)(p)) {
        const fc_conv2d s = FC(phases_of)(p);
        const FC(phases_plan) f = FC(plan_phases)(p, workspace);
        FC(phases_move)(p, p->C, p->H, p->W, (real *)x, f.x, 0, threads);
        FC(conv2d_forward)(&s, f.x, weight, bias, f.y, f.rest, threads);
        FC(phases_move)(p, p->K, p->OH, p->OW, y, f.y, 1, threads);
        return;
    }
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
    ptrdiff_t *dy, *dx, *order;
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

size_t FC(conv2d_grad_x_workspace)(const fc_conv2d *p, int threads) {
    if (FC(depthwise_grad_x_pays)(p)) return 0;
    if (FC(phases_pay)(p)) {
        const fc_conv2d s = FC(phases_of)(p);
        const size_t sparse = FC(sparse_fits)(p) ? FC(plan_sparse)(p, 0, NULL, threads).bytes : 0;
        const size_t bytes = FC(plan_phases)(p, NULL).bytes + FC(conv2d_grad_x_workspace)(&s, threads);
        return bytes > sparse ? bytes : sparse;
    }
    FC(grad_x_plan) f = FC(plan_grad_x)(p, NULL);
    size_t most = 0;
    for (ptrdiff_t a = 0; a < p->stride_h && a < p->H; a++)
        for (ptrdiff_t b = 0; b < p->stride_w && b < p->W; b++) {
            const FC(phase) rows = FC(phase_of)(a, p->H, p->pad_top, p->stride_h, p->R, p->dilation_h);
            const FC(phase) cols = FC(phase_of)(b, p->W, p->pad_left, p->stride_w, p->S, p->dilation_w);
            const FC(correlation) q = FC(phase_correlation)(p, &rows, &cols);
            const size_t bytes = FC(run_workspace)(&q, &f.b, f.winograd, threads);
            if (bytes > most) most = bytes;
        }
    const size_t sparse = FC(sparse_fits)(p) ? FC(plan_sparse)(p, 0, NULL, threads).bytes : 0;
    return f.bytes + most > sparse ? f.bytes + most : sparse;
}

void FC(conv2d_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, real *grad_x, void *workspace,
                       int threads) {
    if (FC(depthwise_grad_x_pays)(p)) {
        FC(depthwise_grad_x)(p, grad_y, weight, grad_x, threads);
        return;
    }
    if (FC(sparse_pays)(p, SPARSE_SHARE_X, grad_y, NULL, weight, threads)) {
        const FC(sparse_plan) f = FC(plan_sparse)(p, 0, workspace, threads);
        FC(sparse_grad_x)(p, &f, grad_y, weight, grad_x, threads);
        return;
    }
    if (FC(phases_pay)(p)) {
        const fc_conv2d s = FC(phases_of)(p);
        const FC(phases_plan) f = FC(plan_phases)(p, workspace);
        FC(phases_move)(p, p->K, p->OH, p->OW, (real *)grad_y, f.y, 0, threads);
        FC(conv2d_grad_x)(&s, f.y, weight, f.x, f.rest, threads);
        FC(phases_move)(p, p->C, p->H, p->W, grad_x, f.x, 1, threads);
        return;
    }
    FC(grad_x_plan) f = FC(plan_grad_x)(p, workspace);
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    memset(f.bias, 0, sizeof(real) * (size_t)(p->groups * f.b.blocks * f.b.width));
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
    const FC(weights) w = {.weight = weight, .K = C, .C = K, .T = T, .swapped = 1, .order = f.order};
    int packed = 0;
    next = 0;
    for (ptrdiff_t a = 0; a < p->stride_h && a < p->H; a++)
        for (ptrdiff_t b = 0; b < p->stride_w && b < p->W; b++) {
            const FC(phase) rows = FC(phase_of)(a, p->H, p->pad_top, p->stride_h, p->R, p->dilation_h);
            const FC(phase) cols = FC(phase_of)(b, p->W, p->pad_left, p->stride_w, p->S, p->dilation_w);
            FC(correlation) q = FC(phase_correlation)(p, &rows, &cols);
            q.w_first = next, q.dy = f.dy, q.dx = f.dx;
            for (ptrdiff_t t = 0; t < T; t++) {
                if (!FC(tap_meets)(p, a, b, t)) continue;
                f.dy[f.order[t] - next] = (a + p->pad_top - t / p->S * p->dilation_h) / p->stride_h; /* exact */
                f.dx[f.order[t] - next] = (b + p->pad_left - t % p->S * p->dilation_w) / p->stride_w;
            }
            next += q.T;
            const uint8_t *left_out = NULL;
            if (f.winograd && FC(run_winograd)(&q, &f.b, f.winograd, &w, p->K * C * T, grad_y, f.bias, grad_x, f.rest, threads, &left_out))
                continue;
            if (!packed++) FC(pack_weights_swapped)(&f.b, p->groups, K, C, T, weight, f.order, f.packed, threads);
            FC(run_direct)(&q, &f.b, left_out, &w, p->K * C * T, grad_y, f.packed, f.bias, grad_x, f.rest, threads);
        }
}

/* -- grad_weight --------------------------------------------------------------------------------------------------- */

#ifndef FC_GRAD_WEIGHT
#define FC_GRAD_WEIGHT
enum {
    MOST_CHUNKS = 16,          /* of the batch */
    CHUNK_BYTES = 8 << 20,     /* of partial sums, all chunks together */
    BAND_POSITIONS = 256,      /* of grad_y transposed at a time: 32 KB of float */
};
#endif

typedef struct {
    int width;             /* output channels in a block: 2 vectors, or 1 */
    ptrdiff_t blocks;      /* in a group */
    ptrdiff_t chunks;      /* of the batch; from the shape alone */
    ptrdiff_t parts;       /* of the input channels, for more tasks; the result is the same for any number */
    ptrdiff_t band;        /* rows of y */
    ptrdiff_t x_rows, x_width, plane;
    int padded, absurd;    /* absurd: as in correlate.c, the border dwarfs the image */
    ptrdiff_t L, S;        /* lines of a channel and taps on a line, see fc_outer */
    ptrdiff_t sums;        /* elements of the partial sums of one chunk */
    ptrdiff_t *lines;
    real *partial, *scratch;
    size_t thread_scratch; /* elements */
    size_t bytes;
} FC(grad_weight_plan);

static FC(grad_weight_plan) FC(plan_grad_weight)(const fc_conv2d *p, void *workspace, int threads) {
    FC(grad_weight_plan) f;
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S, lanes = kernels.lanes;
    f.width = (int)(K > lanes ? 2 * lanes : lanes);
    f.blocks = (K + f.width - 1) / f.width;
    f.sums = p->groups * f.blocks * f.width * C * T;
    ptrdiff_t most = CHUNK_BYTES / ((ptrdiff_t)sizeof(real) * f.sums + 1);
    f.chunks = p->N < MOST_CHUNKS ? p->N : MOST_CHUNKS;
    if (f.chunks > most) f.chunks = most;
    if (f.chunks < 1) f.chunks = 1;
    const ptrdiff_t tasks = p->groups * f.blocks * f.chunks;
    f.parts = tasks < 2 * threads ? (2 * threads + tasks - 1) / tasks : 1;
    if (f.parts > C) f.parts = C;
    const ptrdiff_t height = (p->R - 1) * p->dilation_h + 1, width = (p->S - 1) * p->dilation_w + 1;
    f.padded = p->pad_top > 0 || p->pad_left > 0 || (p->OH - 1) * p->stride_h + height - p->pad_top > p->H ||
               (p->OW - 1) * p->stride_w + width - p->pad_left > p->W;
    f.band = p->OW < BAND_POSITIONS ? BAND_POSITIONS / p->OW : 1;
    if (f.band > p->OH) f.band = p->OH;
    f.x_rows = (f.band - 1) * p->stride_h + height;
    f.x_width = (p->OW - 1) * p->stride_w + width;
    f.plane = f.x_rows * f.x_width;
    f.absurd = f.padded && f.plane > ABSURD_FACTOR * p->H * p->W + ABSURD_PLANE;
    if (f.absurd) f.plane = 0;
    const int along = p->dilation_w == 1; /* taps of a row lie side by side */
    f.L = along ? p->R : T;
    f.S = along ? p->S : 1;
    fc_arena arena = {workspace, 0};
    f.lines = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)f.L);
    f.partial = fc_carve(&arena, sizeof(real) * (size_t)(f.chunks * f.sums));
    f.thread_scratch = (size_t)(f.band * p->OW * f.width + (f.padded ? (C + f.parts - 1) / f.parts * f.plane : 0) + 2 * lanes);
    f.thread_scratch = (f.thread_scratch + 15) & ~(size_t)15;
    f.scratch = fc_carve(&arena, sizeof(real) * f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

size_t FC(conv2d_grad_weight_workspace)(const fc_conv2d *p, int threads) {
    if (FC(depthwise_grad_weight_pays)(p)) return FC(depthwise_grad_weight_workspace)(p);
    if (FC(phases_pay)(p)) {
        const fc_conv2d s = FC(phases_of)(p);
        const size_t sparse = FC(sparse_fits)(p) ? FC(plan_sparse)(p, 1, NULL, threads).bytes : 0;
        const size_t bytes = FC(plan_phases)(p, NULL).bytes + FC(conv2d_grad_weight_workspace)(&s, threads);
        return bytes > sparse ? bytes : sparse;
    }
    const size_t direct = FC(plan_grad_weight)(p, NULL, threads).bytes;
    const size_t winograd = FC(use_winograd)(p, 1) ? FC(plan_winograd_grad)(p, FC(use_winograd)(p, 1), NULL, threads).bytes : 0;
    const size_t sparse = FC(sparse_fits)(p) ? FC(plan_sparse)(p, 1, NULL, threads).bytes : 0;
    const size_t most = direct > winograd ? direct : winograd;
    return most > sparse ? most : sparse;
}

/* The plain way, with a look at the border: for a grad_y that is not finite, which must not meet the padding's zeros. */
static void FC(grad_weight_carefully)(const fc_conv2d *p, const real *grad_y, const real *x, real *grad_weight) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    for (ptrdiff_t i = 0; i < p->K * C * T; i++) {
        const ptrdiff_t k = i / (C * T), c = k / K * C + i / T % C, r = i % T / p->S, s = i % p->S;
        real sum = 0;
        for (ptrdiff_t n = 0; n < p->N; n++)
            for (ptrdiff_t a = 0; a < p->OH; a++)
                for (ptrdiff_t b = 0; b < p->OW; b++) {
                    const ptrdiff_t h = a * p->stride_h + r * p->dilation_h - p->pad_top;
                    const ptrdiff_t w = b * p->stride_w + s * p->dilation_w - p->pad_left;
                    if (h >= 0 && h < p->H && w >= 0 && w < p->W)
                        sum += grad_y[((n * p->K + k) * p->OH + a) * p->OW + b] * x[((n * p->C + c) * p->H + h) * p->W + w];
                }
        grad_weight[i] = sum;
    }
}

/* One image's part of the sums of channels c0 .. c0 + C - 1 and one block of K; returns 0 when grad_y is not finite
 * where that matters. */
static int FC(grad_weight_image)(const fc_conv2d *p, const FC(grad_weight_plan) *f, const real *gy, ptrdiff_t K,
                                 const real *x, ptrdiff_t C, real *scratch, real *sum) {
    const int lanes = kernels.lanes;
    int finite = 1;
    real *g = scratch, *xs = scratch + f->band * p->OW * f->width;
    for (ptrdiff_t i0 = 0; i0 < p->OH; i0 += f->band) {
        const ptrdiff_t rows = p->OH - i0 < f->band ? p->OH - i0 : f->band, n = rows * p->OW;
        for (int v = 0; v < f->width; v += lanes) {
            const int channels = K - v >= lanes ? lanes : K > v ? (int)(K - v) : 0;
            kernels.transpose(gy + v * p->OH * p->OW + i0 * p->OW, p->OH * p->OW, channels, n, g + v, f->width, lanes, NULL);
        }
        fc_outer job = {.C = C, .L = f->L, .S = f->S, .rows = rows, .cols = p->OW, .lines = f->lines,
                        .x_col = p->stride_w};
        const real *from = x + i0 * p->stride_h * p->W;
        job.x_channel = p->H * p->W, job.x_row = p->stride_h * p->W;
        if (f->padded) {
            finite &= kernels.all_finite(g, n * f->width);
            for (ptrdiff_t c = 0; c < C; c++)
                kernels.pad_plane(x + c * p->H * p->W, p->H, p->W, i0 * p->stride_h - p->pad_top, -p->pad_left,
                                  (rows - 1) * p->stride_h + (p->R - 1) * p->dilation_h + 1, f->x_width,
                                  xs + c * f->plane, f->x_width);
            from = xs;
            job.x_channel = f->plane, job.x_row = p->stride_h * f->x_width;
        }
        kernels.outer_taps(&job, f->width / lanes, from, g, sum);
    }
    return finite;
}

/* Adds up the chunks' sums, in order, and puts them in weight's order: [ct][width] -> [k][ct]. */
static void FC(grad_weight_finish)(const fc_conv2d *p, const FC(grad_weight_plan) *f, real *grad_weight, int threads) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, CT = C * p->R * p->S, lanes = kernels.lanes;
    const ptrdiff_t steps = (CT + lanes - 1) / lanes;
    const int team = fc_threads_for((double)f->sums * f->chunks * sizeof(real), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (ptrdiff_t task = 0; task < p->groups * f->blocks * steps; task++) {
        const ptrdiff_t block = task / steps, ct = task % steps * lanes; /* block of groups x blocks */
        const ptrdiff_t n = CT - ct < lanes ? CT - ct : lanes;
        const ptrdiff_t g = block / f->blocks, k = block % f->blocks * f->width, left = K - k;
        real added[16 * 32] __attribute__((aligned(64)));
        kernels.add_rows(f->partial + (block * CT + ct) * f->width, f->sums, f->chunks, n * f->width, added);
        kernels.transpose(added, f->width, (int)n, left < f->width ? left : f->width, grad_weight + (g * K + k) * CT + ct,
                          CT, (int)n, NULL);
    }
}

void FC(conv2d_grad_weight)(const fc_conv2d *p, const real *grad_y, const real *x, real *grad_weight, void *workspace,
                            int threads) {
    if (FC(depthwise_grad_weight_pays)(p)) {
        FC(depthwise_grad_weight)(p, grad_y, x, grad_weight, workspace, threads);
        return;
    }
    if (FC(sparse_pays)(p, SPARSE_SHARE_WEIGHT, grad_y, x, NULL, threads)) {
        const FC(sparse_plan) f = FC(plan_sparse)(p, 1, workspace, threads);
        FC(sparse_grad_weight)(p, &f, grad_y, x, grad_weight, threads);
        return;
    }
    if (FC(phases_pay)(p)) {
        const fc_conv2d s = FC(phases_of)(p);
        const FC(phases_plan) f = FC(plan_phases)(p, workspace);
        FC(phases_move)(p, p->C, p->H, p->W, (real *)x, f.x, 0, threads);
        FC(phases_move)(p, p->K, p->OH, p->OW, (real *)grad_y, f.y, 0, threads);
        FC(conv2d_grad_weight)(&s, f.y, f.x, grad_weight, f.rest, threads);
        return;
    }
    if (FC(use_winograd)(p, 1) && p->N > 0) {
        const FC(winograd_grad_plan) w = FC(plan_winograd_grad)(p, FC(use_winograd)(p, 1), workspace, threads);
        if (FC(winograd_grad_weight)(p, &w, grad_y, x, grad_weight, threads)) return;
    }
    const FC(grad_weight_plan) f = FC(plan_grad_weight)(p, workspace, threads);
    if (f.absurd) {
        FC(grad_weight_carefully)(p, grad_y, x, grad_weight);
        return;
    }
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    const ptrdiff_t x_width = f.padded ? f.x_width : p->W;
    for (ptrdiff_t l = 0; l < f.L; l++)
        f.lines[l] = f.S == p->S ? l * p->dilation_h * x_width
                                 : l / p->S * p->dilation_h * x_width + l % p->S * p->dilation_w;
    const ptrdiff_t tasks = p->groups * f.blocks * f.chunks * f.parts, per_part = (C + f.parts - 1) / f.parts;
    const double flops = (double)p->N * p->K * C * T * p->OH * p->OW;
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
    int finite = 1;
#pragma omp parallel num_threads(team) if (team > 1) reduction(&& : finite)
    {
        const fc_mode mode = fc_mode_enter();
        real *scratch = f.scratch + (size_t)omp_get_thread_num() * f.thread_scratch;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t part = task % f.parts, block = task / f.parts % (p->groups * f.blocks);
            const ptrdiff_t chunk = task / f.parts / (p->groups * f.blocks);
            const ptrdiff_t g = block / f.blocks, k = block % f.blocks * f.width;
            const ptrdiff_t c0 = part * per_part, channels = C - c0 < per_part ? C - c0 : per_part;
            if (channels <= 0) continue;
            real *sum = f.partial + chunk * f.sums + (block * C + c0) * T * f.width;
            memset(sum, 0, sizeof(real) * (size_t)(channels * T * f.width));
            for (ptrdiff_t n = p->N * chunk / f.chunks; n < p->N * (chunk + 1) / f.chunks; n++) {
                const real *gy = grad_y + ((n * p->groups + g) * K + k) * p->OH * p->OW;
                const real *xn = x + ((n * p->groups + g) * C + c0) * p->H * p->W;
                finite = finite && FC(grad_weight_image)(p, &f, gy, K - k, xn, channels, scratch, sum);
            }
        }
        fc_mode_leave(mode);
    }
    if (finite) FC(grad_weight_finish)(p, &f, grad_weight, threads);
    else FC(grad_weight_carefully)(p, grad_y, x, grad_weight);
}

/* -- grad_bias ----------------------------------------------------------------------------------------------------- */

void FC(conv2d_grad_bias)(const fc_conv2d *p, const real *grad_y, real *grad_bias, int threads) {
    const ptrdiff_t plane = p->OH * p->OW;
    const int team = fc_threads_for((double)p->N * p->K * plane * sizeof(real), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
#pragma omp for schedule(static)
        for (ptrdiff_t k = 0; k < p->K; k++) {
            real sum = 0;
            for (ptrdiff_t n = 0; n < p->N; n++) sum += kernels.sum_all(grad_y + (n * p->K + k) * plane, plane);
            grad_bias[k] = sum;
        }
        fc_mode_leave(mode);
    }
}
