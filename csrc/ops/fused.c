/* conv2d with its epilogue in one call, where the shape makes that worthwhile and possible; else it is declined, and
 * the caller does one after the other.  The bits are those of one after the other: only convolutions that conv2d_forward
 * leaves to `correlate` are taken, and summed by it in the same order. */

/* From the shape: few input channels, whose y is large beside x and the weights. */
static int FC(fuses)(const fc_conv2d *p, const fc_epilogue *e) {
    if (p->N == 0 || p->groups != 1 || p->R * p->S == 1 || FC(phases_pay)(p) || FC(use_winograd)(p, 0)) return 0;
    if (e->pool && (p->OH < 2 || p->OW < 2)) return 0;
    return FC(choose_blocks)(p->K, p->C, p->R * p->S, 0).positions;
}

size_t FC(conv2d_fused_workspace)(const fc_conv2d *p, const fc_epilogue *e, int threads) {
    if (!FC(fuses)(p, e)) return 0;
    const FC(after) after = {.what = *e};
    FC(forward_plan) f = FC(plan_forward)(p, NULL);
    f.q.after = &after;
    return f.bytes + FC(correlation_scratch)(&f.q, &f.b, threads);
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
    FC(pack_weights)(&f.b, 1, p->K, p->C, p->R * p->S, weight, f.packed, threads);
    FC(correlate)(&f.q, &f.b, 1, x, f.packed, f.bias, y, f.rest, threads);
    return 1;
}
