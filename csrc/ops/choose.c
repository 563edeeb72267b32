/* Which algorithm a pass of conv2d takes: the only place where that is decided, from the shape and the measured conditions
 * that each algorithm states beside its code (its *_pays, *_tile or use_* function).  The first that fits is taken.
 *
 * Forward never looks at N, so that an image alone gives the bits that it gives in a batch; no choice looks at the threads.
 * (The panels of pointwise.c may look at N: they sum in the same order as the direct kernels.)  One choice is not made here,
 * as it depends on numbers: a grad_y that is mostly zeros goes to sparse.c. */

/* m of Winograd's F(m x m, 3x3), or 0. */
static int FC(use_winograd)(const fc_conv2d *p, int gradient) {
    const int possible = p->R == 3 && p->S == 3 && p->stride_h == 1 && p->stride_w == 1 && p->dilation_h == 1 &&
                         p->dilation_w == 1 && (!gradient || p->groups == 1);
    return possible ? FC(winograd_tile)(p->C / p->groups, p->K / p->groups, p->OH, p->OW, p->precision, gradient) : 0;
}

/* Forward or grad_x of a 1 x 1 kernel as a matrix product. */
static int FC(use_pointwise)(const fc_conv2d *p, int gradient) {
    if (!FC(is_pointwise)(p) || p->N == 0 || p->OH == 0 || p->OW == 0) return 0;
    const FC(point_problem) q = gradient ? FC(point_grad_x)(p) : FC(point_forward)(p);
    return FC(point_pays)(&q);
}

/* grad_x of a kernel as large as x, which is met by one element of grad_y alone: a linear layer's. */
static int FC(use_product)(const fc_conv2d *p) {
    return p->groups == 1 && p->OH == 1 && p->OW == 1 && p->pad_top == 0 && p->pad_left == 0 && p->R == p->H &&
           p->S == p->W && p->dilation_h == 1 && p->dilation_w == 1;
}

static fc_algorithm FC(choose_forward)(const fc_conv2d *p) {
    if (FC(depthwise_pays)(p)) return FC_BY_DEPTHWISE;
    if (FC(phases_pay)(p)) return FC_BY_PHASES;
    if (FC(use_pointwise)(p, 0)) return FC_BY_POINTWISE;
    if (FC(use_winograd)(p, 0)) return FC_BY_WINOGRAD;
    return FC(choose_blocks)(p->K / p->groups, p->C / p->groups, p->R * p->S, 0).positions ? FC_BY_POSITIONS : FC_BY_CHANNELS;
}

static fc_algorithm FC(choose_grad_x)(const fc_conv2d *p) {
    if (FC(depthwise_grad_x_pays)(p)) return FC_BY_DEPTHWISE;
    if (FC(phases_pay)(p)) return FC_BY_PHASES;
    if (FC(use_pointwise)(p, 1)) return FC_BY_POINTWISE;
    if (FC(use_product)(p)) return FC_BY_PRODUCT;
    if (FC(use_winograd)(p, 0)) return FC_BY_WINOGRAD;
    if (FC(use_tap_sums)(p)) return FC_BY_TAP_SUMS;
    return FC(choose_blocks)(p->C / p->groups, p->K / p->groups, p->R * p->S, 0).positions ? FC_BY_POSITIONS : FC_BY_CHANNELS;
}

static fc_algorithm FC(choose_grad_weight)(const fc_conv2d *p) {
    if (FC(depthwise_grad_weight_pays)(p)) return FC_BY_DEPTHWISE;
    if (FC(phases_pay)(p)) return FC_BY_PHASES;
    if (FC(use_winograd)(p, 1)) return FC_BY_WINOGRAD;
    if (FC(use_outer_positions)(p)) return FC_BY_OUTER_POSITIONS;
    return FC_BY_OUTER_TAPS;
}
