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
    if (FC(needs_padding)(&f.q) && !kernels.all_finite(weight, p->K * p->C * p->R * p->S)) return 0;
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

#ifndef FC_POOLED_GRAD
#define FC_POOLED_GRAD
enum { SPREAD_PLANES = 8 }; /* at a time: what goes in and comes out stays in cache */
#endif

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
    fc_pool2d pool = {.N = 1, .H = p->OH, .W = p->OW, .OH = p->OH / 2, .OW = p->OW / 2, .kernel_h = 2, .kernel_w = 2,
                      .stride_h = 2, .stride_w = 2, .dilation_h = 1, .dilation_w = 1};
    const ptrdiff_t planes = p->N * p->K, m = p->OH * p->OW, n = pool.OH * pool.OW;
    const int team = fc_threads_for((4.0 * m + 20.0 * n) * planes, FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        real *masked = f.masked + (size_t)omp_get_thread_num() * f.plane;
#pragma omp for schedule(static)
        for (ptrdiff_t task = 0; task < (planes + SPREAD_PLANES - 1) / SPREAD_PLANES; task++) {
            const ptrdiff_t at = task * SPREAD_PLANES, few = planes - at < SPREAD_PLANES ? planes - at : SPREAD_PLANES;
            const real *from = grad_y + at * n;
            if (y) {
                kernels.relu_backward(from, y + at * n, masked, few * n);
                from = masked;
            }
            kernels.max_pool2d_backward_winners(&pool, from, winners + at * n, grad + at * m, few);
            if (!grad_bias) continue;
            const fc_mode mode = fc_mode_enter();
            for (ptrdiff_t i = 0; i < few; i++) f.sums[at + i] = kernels.sum_all(grad + (at + i) * m, m);
            fc_mode_leave(mode);
        }
    }
    if (!grad_bias) return;
    const fc_mode mode = fc_mode_enter();
    for (ptrdiff_t k = 0; k < p->K; k++) {
        real sum = 0;
        for (ptrdiff_t i = k; i < planes; i += p->K) sum += f.sums[i];
        grad_bias[k] = sum;
    }
    fc_mode_leave(mode);
}
