/* conv2d, forward and backward: each pass by the algorithm that choose.c names. */

/* A workspace that serves `bytes` or the gradient from a sparse grad_y, as the numbers will have it. */
static size_t FC(or_sparse)(const fc_conv2d *p, int gradient_of_weight, size_t bytes, int threads) {
    const size_t sparse = FC(sparse_fits)(p) ? FC(plan_sparse)(p, gradient_of_weight, NULL, threads).bytes : 0;
    return bytes > sparse ? bytes : sparse;
}

/* -- forward ------------------------------------------------------------------------------------------------------- */

size_t FC(conv2d_forward_workspace)(const fc_conv2d *p, int threads) {
    FC(point_problem) point;
    fc_conv2d parts;
    switch (FC(choose_forward)(p)) {
    case FC_BY_DEPTHWISE: return 0;
    case FC_BY_PHASES:
        parts = FC(phases_of)(p);
        return FC(plan_phases)(p, NULL).bytes + FC(conv2d_forward_workspace)(&parts, threads);
    case FC_BY_POINTWISE:
        point = FC(point_forward)(p);
        return FC(plan_pointwise)(&point, NULL, threads).bytes;
    default: return FC(direct_forward_workspace)(p, threads);
    }
}

void FC(conv2d_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                        void *workspace, int threads) {
    FC(point_problem) point;
    switch (FC(choose_forward)(p)) {
    case FC_BY_DEPTHWISE: FC(depthwise_forward)(p, x, weight, bias, y, threads); return;
    case FC_BY_PHASES: FC(phases_forward)(p, x, weight, bias, y, workspace, threads); return;
    case FC_BY_POINTWISE:
        point = FC(point_forward)(p);
        FC(pointwise)(&point, x, weight, bias, y, workspace, threads);
        return;
    default: FC(direct_forward)(p, x, weight, bias, y, workspace, threads); return;
    }
}

/* -- grad_x -------------------------------------------------------------------------------------------------------- */

/* What a transposed convolution does (conv_transpose2d.c), unless grad_y is mostly zeros. */
size_t FC(conv2d_grad_x_workspace)(const fc_conv2d *p, int threads) {
    return FC(or_sparse)(p, 0, FC(conv_transpose2d_forward_workspace)(p, threads), threads);
}

void FC(conv2d_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, real *grad_x, void *workspace,
                       int threads) {
    if (FC(sparse_pays)(p, SPARSE_SHARE_X, grad_y, NULL, weight, threads)) {
        const FC(sparse_plan) f = FC(plan_sparse)(p, 0, workspace, threads);
        FC(sparse_grad_x)(p, &f, grad_y, weight, grad_x, threads);
        return;
    }
    FC(conv_transpose2d_forward)(p, grad_y, weight, NULL, grad_x, workspace, threads);
}

/* -- grad_weight --------------------------------------------------------------------------------------------------- */

size_t FC(conv2d_grad_weight_workspace)(const fc_conv2d *p, int threads) {
    fc_conv2d parts;
    size_t bytes, other;
    switch (FC(choose_grad_weight)(p)) {
    case FC_BY_DEPTHWISE: bytes = FC(depthwise_grad_weight_workspace)(p); break;
    case FC_BY_PHASES:
        parts = FC(phases_of)(p);
        bytes = FC(plan_phases)(p, NULL).bytes + FC(conv2d_grad_weight_workspace)(&parts, threads);
        break;
    case FC_BY_WINOGRAD: /* numbers out of its range go to the outer products */
        bytes = FC(plan_winograd_grad)(p, FC(use_winograd)(p, 1), NULL, threads).bytes;
        other = FC(outer_taps_workspace)(p, threads);
        bytes = bytes > other ? bytes : other;
        break;
    case FC_BY_OUTER_POSITIONS: bytes = FC(plan_outer_positions)(p, 0, NULL, threads).bytes; break;
    default: bytes = FC(outer_taps_workspace)(p, threads);
    }
    return FC(or_sparse)(p, 1, bytes, threads);
}

void FC(conv2d_grad_weight)(const fc_conv2d *p, const real *grad_y, const real *x, real *grad_weight, void *workspace,
                            int threads) {
    if (FC(sparse_pays)(p, SPARSE_SHARE_WEIGHT, grad_y, x, NULL, threads)) {
        const FC(sparse_plan) f = FC(plan_sparse)(p, 1, workspace, threads);
        FC(sparse_grad_weight)(p, &f, NULL, grad_y, x, grad_weight, threads);
        return;
    }
    switch (FC(choose_grad_weight)(p)) {
    case FC_BY_DEPTHWISE: FC(depthwise_grad_weight)(p, grad_y, x, grad_weight, workspace, threads); return;
    case FC_BY_PHASES: FC(phases_grad_weight)(p, grad_y, x, grad_weight, workspace, threads); return;
    case FC_BY_OUTER_POSITIONS:
        if (!FC(outer_positions_grad_weight)(p, grad_y, NULL, x, grad_weight, workspace, threads))
            FC(grad_weight_carefully)(p, grad_y, x, grad_weight);
        return;
    case FC_BY_WINOGRAD:
        if (p->N > 0) {
            const FC(winograd_grad_plan) w = FC(plan_winograd_grad)(p, FC(use_winograd)(p, 1), workspace, threads);
            if (FC(winograd_grad_weight)(p, &w, grad_y, x, grad_weight, threads)) return;
        }
        break; /* numbers out of its range */
    default: break;
    }
    FC(outer_taps_grad_weight)(p, grad_y, x, grad_weight, workspace, threads);
}

/* -- grad_bias ----------------------------------------------------------------------------------------------------- */

void FC(conv2d_grad_bias)(const fc_conv2d *p, const real *grad_y, real *grad_bias, int threads) {
    const ptrdiff_t plane = p->OH * p->OW;
    const int team = fc_threads_for(fc_product(p->N, p->K, plane, sizeof(real)), FC_BYTES_PER_THREAD, threads);
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

/* -- what was chosen ----------------------------------------------------------------------------------------------- */

/* Tiles in registers (tiles.h):  channels and Winograd: output channels x positions;  positions and pointwise: output
 * channels x positions;  outer products: values of x x output channels;  taps: sums over taps x positions. */
void FC(conv2d_explain)(const fc_conv2d *p, fc_pass pass, int threads, fc_explanation *e) {
    const fc_tiles *tiles = &kernels.tiles;
    const ptrdiff_t lanes = kernels.lanes, C = p->C / p->groups, K = p->K / p->groups;
    const FC(blocks) blocks = pass == FC_PASS_FORWARD ? FC(choose_blocks)(K, C, p->R * p->S, 0)
                                                 : FC(choose_blocks)(C, K, p->R * p->S, 0);
    e->winograd = 0, e->tile[0] = e->tile[1] = 0;
    e->algorithm = pass == FC_PASS_FORWARD  ? FC(choose_forward)(p)
                   : pass == FC_PASS_GRAD_X ? FC(choose_grad_x)(p)
                                       : FC(choose_grad_weight)(p);
    e->workspace = pass == FC_PASS_FORWARD  ? FC(conv2d_forward_workspace)(p, threads)
                   : pass == FC_PASS_GRAD_X ? FC(conv2d_grad_x_workspace)(p, threads)
                                       : FC(conv2d_grad_weight_workspace)(p, threads);
    e->sparse = pass != FC_PASS_FORWARD && FC(sparse_fits)(p);
    switch (e->algorithm) {
    case FC_BY_WINOGRAD: e->winograd = FC(use_winograd)(p, pass == FC_PASS_GRAD_WEIGHT); /* fall through */
    case FC_BY_CHANNELS: e->tile[0] = 2 * lanes, e->tile[1] = tiles->positions; break;
    case FC_BY_POSITIONS:
        e->tile[0] = blocks.width, e->tile[1] = tiles->position_vectors[blocks.width] * lanes;
        break;
    case FC_BY_POINTWISE: e->tile[0] = tiles->point_rows, e->tile[1] = tiles->point_vectors * lanes; break;
    case FC_BY_TAP_SUMS: e->tile[0] = tiles->tap_rows, e->tile[1] = tiles->tap_vectors * lanes; break;
    case FC_BY_OUTER_TAPS: e->tile[0] = tiles->outer, e->tile[1] = (K > lanes ? 2 : 1) * lanes; break;
    case FC_BY_PHASES: {
        const fc_conv2d parts = FC(phases_of)(p);
        fc_explanation inner;
        FC(conv2d_explain)(&parts, pass, threads, &inner);
        e->winograd = inner.winograd, e->tile[0] = inner.tile[0], e->tile[1] = inner.tile[1];
        break;
    }
    default: break;
    }
    if (e->algorithm == FC_BY_WINOGRAD && pass == FC_PASS_GRAD_WEIGHT) e->tile[0] = tiles->outer, e->tile[1] = 2 * lanes;
}
