/* conv2d with its epilogue in one call, where the shape makes that worthwhile and possible; else it is declined, and
 * the caller does one after the other.  The bits are those of one after the other: the same algorithm is used as by
 * conv2d_forward, with another end. */

/* From the shape: few input channels, whose y is large beside x and the weights; or Winograd with pooling. */
static int FC(fuses)(const fc_conv2d *p, const fc_epilogue *e) {
    if (p->N == 0 || p->groups != 1 || p->R * p->S == 1 || (e->pool && (p->OH < 2 || p->OW < 2))) return 0;
    const fc_algorithm chosen = FC(choose_forward)(p);
    return chosen == FC_BY_POSITIONS || (chosen == FC_BY_WINOGRAD && e->pool);
}

size_t FC(conv2d_fused_workspace)(const fc_conv2d *p, const fc_epilogue *e, int threads) {
    if (!FC(fuses)(p, e)) return 0;
    const FC(after) after = {.what = *e};
    FC(forward_plan) f = FC(plan_forward)(p, NULL);
    f.q.after = &after;
    return f.bytes + FC(run_workspace)(&f.q, &f.b, f.winograd, threads);
}

int FC(conv2d_fused)(const fc_conv2d *p, const fc_epilogue *e, const real *x, const real *weight, const real *bias,
                     real *y, void *workspace, int threads) {
    if (!FC(fuses)(p, e)) return 0;
    const FC(after) after = {.what = *e, .OH = e->pool ? p->OH / 2 : p->OH, .OW = e->pool ? p->OW / 2 : p->OW, .y = y};
    FC(forward_plan) f = FC(plan_forward)(p, workspace);
    f.q.after = &after;
    if (!f.winograd && FC(needs_padding)(&f.q) && !kernels.all_finite(weight, p->K * p->C * p->R * p->S)) return 0;
    if (FC(choose_bands)(&f.q, &f.b, threads).absurd) return 0;
    FC(forward_taps)(p, &f, bias);
    if (f.winograd) {
        const FC(weights) w = {.weight = weight, .K = p->K, .C = p->C, .T = 9};
        const uint8_t *left_out;
        return FC(run_winograd)(&f.q, &f.b, f.winograd, &w, p->K * p->C * 9, x, f.bias, y, f.rest, threads, &left_out);
    }
    FC(pack_weights)(&f.b, 1, p->K, p->C, p->R * p->S, weight, f.packed, threads);
    FC(correlate)(&f.q, &f.b, 1, x, f.packed, f.bias, y, f.rest, threads);
    return 1;
}

/* -- back ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    real *sums;   /* (N, K): of each plane */
    real *masked; /* a thread: grad_y of SPREAD_PLANES planes, behind ReLU */
    size_t plane, bytes;
} FC(pooled_grad_plan);

static FC(pooled_grad_plan) FC(plan_pooled_grad)(const fc_conv2d *p, void *workspace, int threads) {
    FC(pooled_grad_plan) f;
    fc_arena arena = {workspace, 0};
    f.plane = ((size_t)((p->OH / 2) * (p->OW / 2) * SPREAD_PLANES) + 15) & ~(size_t)15;
    f.sums = fc_carve(&arena, sizeof(real) * (size_t)(p->N * p->K));
    f.masked = fc_carve(&arena, sizeof(real) * f.plane * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

size_t FC(conv2d_pooled_grad_workspace)(const fc_conv2d *p, int threads) {
    return FC(plan_pooled_grad)(p, NULL, threads).bytes;
}

/* relu_backward, max_pool2d_backward_winners and grad_bias in one pass, each as it is for itself. */
void FC(conv2d_pooled_grad)(const fc_conv2d *p, const real *grad_y, const real *y, const uint8_t *winners, real *grad,
                            real *grad_bias, void *workspace, int threads) {
    const FC(pooled_grad_plan) f = FC(plan_pooled_grad)(p, workspace, threads);
    const FC(pooled) from = {grad_y, y, winners, grad_bias ? f.sums : NULL};
    const ptrdiff_t planes = p->N * p->K, m = p->OH * p->OW, n = (p->OH / 2) * (p->OW / 2);
    const int team = fc_threads_for(fc_product(planes, 4 * m + 20 * n), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        real *masked = f.masked + (size_t)omp_get_thread_num() * f.plane;
#pragma omp for schedule(static)
        for (ptrdiff_t task = 0; task < (planes + SPREAD_PLANES - 1) / SPREAD_PLANES; task++) {
            const ptrdiff_t at = task * SPREAD_PLANES, few = planes - at < SPREAD_PLANES ? planes - at : SPREAD_PLANES;
            FC(unpool)(p, &from, at, few, masked, grad + at * m);
        }
    }
    if (grad_bias) FC(add_plane_sums)(p, f.sums, grad_bias);
}

/* All gradients of a convolution from the pooled one, with the bits of conv2d_pooled_grad and then each of them, where one
 * of two algorithms is used by those: the sparse one, which wants lists of what is not zero, or, where no grad_x is wanted,
 * outer products over positions, which take a few planes at a time. */
typedef enum { FC(NOT_STRAIGHT), FC(STRAIGHT_SPARSE), FC(STRAIGHT_POSITIONS) } FC(straight);

static FC(straight) FC(choose_straight)(const fc_conv2d *p, int want_grad_x) {
    if (p->N == 0 || p->OH < 2 || p->OW < 2) return FC(NOT_STRAIGHT);
    if (FC(sparse_fits)(p)) return FC(pooled_is_sparse)(p) ? FC(STRAIGHT_SPARSE) : FC(NOT_STRAIGHT);
    return !want_grad_x && FC(choose_grad_weight)(p) == FC_BY_OUTER_POSITIONS && FC(unpooled_channels)(p) > 0
               ? FC(STRAIGHT_POSITIONS) : FC(NOT_STRAIGHT);
}

typedef struct {
    real *sums;
    void *rest;
    size_t bytes;
} FC(straight_plan);

static FC(straight_plan) FC(plan_straight)(const fc_conv2d *p, FC(straight) way, int want_grad_x, void *workspace,
                                           int threads) {
    FC(straight_plan) f;
    fc_arena arena = {workspace, 0};
    f.sums = fc_carve(&arena, sizeof(real) * (size_t)(p->N * p->K));
    f.rest = fc_carve(&arena, way == FC(STRAIGHT_SPARSE) ? FC(sparse_pooled_workspace)(p, want_grad_x, threads)
                                                         : FC(plan_outer_positions)(p, 1, NULL, threads).bytes);
    f.bytes = arena.used;
    return f;
}

size_t FC(conv2d_pooled_backward_workspace)(const fc_conv2d *p, int want_grad_x, int threads) {
    const FC(straight) way = FC(choose_straight)(p, want_grad_x);
    return way == FC(NOT_STRAIGHT) ? 0 : FC(plan_straight)(p, way, want_grad_x, NULL, threads).bytes;
}

int FC(conv2d_pooled_backward)(const fc_conv2d *p, const real *grad_y, const real *y, const uint8_t *winners,
                               const real *x, const real *weight, real *grad_x, real *grad_weight, real *grad_bias,
                               void *workspace, int threads) {
    const FC(straight) way = FC(choose_straight)(p, grad_x != NULL);
    if (way == FC(NOT_STRAIGHT)) return 0;
    const FC(straight_plan) f = FC(plan_straight)(p, way, grad_x != NULL, workspace, threads);
    const FC(pooled) from = {grad_y, y, winners, grad_bias ? f.sums : NULL};
    const int done = way == FC(STRAIGHT_SPARSE)
                         ? FC(sparse_pooled)(p, &from, x, weight, grad_x, grad_weight, f.rest, threads)
                         : FC(outer_positions_grad_weight)(p, NULL, &from, x, grad_weight, f.rest, threads);
    if (done && grad_bias) FC(add_plane_sums)(p, f.sums, grad_bias);
    return done;
}
