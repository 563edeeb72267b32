/* conv_transpose2d: a convolution's grad_x, plus a bias.
 *
 * y (N, C, H, W) from x (N, K, OH, OW) and weight (K, C / groups, R, S), p being the convolution that takes y's shape to
 * x's: the names of its sizes are kept here, so what it calls C, H and W is this op's output.  Two things are new:
 *
 * output_padding  p may have more rows and columns in H and W than its windows ask for, and so than
 *                 (H + padding - window) / stride + 1 gives rows OH; what no window reaches gets the bias alone
 * forward         an image alone must give the bits that it gives in a batch, so the choice made by the numbers
 *                 (sparse.c) is for conv2d's gradient alone
 *
 * grad_x is the convolution p of grad_y, grad_weight is p's with grad_y as its input and x as its gradient: those two are
 * called as they are.  grad_bias is p's for C channels of H x W. */

/* FC_BY_PRODUCT: y (N, C * R * S) = x (N, K) * weight (K, C * R * S). */
static void FC(product_grad_x)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                               void *workspace, int threads) {
    const ptrdiff_t T = p->R * p->S, planes = p->N * p->C;
    FC(linear_grad_x)(x, weight, y, p->N, p->C * T, p->K, workspace, threads);
    if (!bias) return;
    const int team = fc_threads_for(fc_product(planes, T, sizeof(real)), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
#pragma omp for schedule(static)
        for (ptrdiff_t i = 0; i < planes; i++) kernels.add_number(y + i * T, T, bias[i % p->C]);
        fc_mode_leave(mode);
    }
}

size_t FC(conv_transpose2d_forward_workspace)(const fc_conv2d *p, int threads) {
    FC(point_problem) point;
    fc_conv2d parts;
    switch (FC(choose_grad_x)(p)) {
    case FC_BY_DEPTHWISE: return 0;
    case FC_BY_PHASES:
        parts = FC(phases_of)(p);
        return FC(plan_phases)(p, NULL).bytes + FC(conv_transpose2d_forward_workspace)(&parts, threads);
    case FC_BY_POINTWISE:
        point = FC(point_grad_x)(p);
        return FC(plan_pointwise)(&point, NULL, threads).bytes;
    case FC_BY_PRODUCT: return FC(linear_workspace)(p->N, p->C * p->R * p->S, p->K, threads);
    case FC_BY_TAP_SUMS: return FC(tap_sums_workspace)(p, threads);
    default: return FC(direct_grad_x_workspace)(p, threads);
    }
}

/* bias: one number for each of the C channels of y, or NULL. */
void FC(conv_transpose2d_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                                  void *workspace, int threads) {
    FC(point_problem) point;
    switch (FC(choose_grad_x)(p)) {
    case FC_BY_DEPTHWISE: FC(depthwise_grad_x)(p, x, weight, bias, y, threads); return;
    case FC_BY_PHASES: FC(phases_grad_x)(p, x, weight, bias, y, workspace, threads); return;
    case FC_BY_POINTWISE:
        point = FC(point_grad_x)(p);
        FC(pointwise)(&point, x, weight, bias, y, workspace, threads);
        return;
    case FC_BY_PRODUCT: FC(product_grad_x)(p, x, weight, bias, y, workspace, threads); return;
    case FC_BY_TAP_SUMS: FC(tap_sums_grad_x)(p, x, weight, bias, y, workspace, threads); return;
    default: FC(direct_grad_x)(p, x, weight, bias, y, workspace, threads); return;
    }
}

void FC(conv_transpose2d_grad_bias)(const fc_conv2d *p, const real *grad_y, real *grad_bias, int threads) {
    fc_conv2d q = *p;
    q.K = p->C, q.OH = p->H, q.OW = p->W;
    FC(conv2d_grad_bias)(&q, grad_y, grad_bias, threads);
}
