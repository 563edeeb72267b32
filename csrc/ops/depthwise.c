/* Depthwise and grouped convolutions with few channels in a group, forward and backward, plane by plane: each plane of
 * an output is the sum of a few planes of the input, each correlated with one kernel of R x S (kernels/depthwise.c).
 *
 * forward      a task is a plane of y (several, where a group has one channel); the channels of its group are added one
 *              after another
 * grad_x       likewise planes of grad_x: with stride 1 by the kernel turned round, with stride 2 by the adjoint
 * grad_weight  a task is one or several output channels and one chunk of the batch; where there are few channels the
 *              batch is cut in chunks, by the shape, and their sums are added in order
 *
 * Kernels take 0 for what lies outside a plane.  A weight that is not finite would make NaN of it: planes with such a
 * weight, and sums of grad_weight that turn out not finite, are computed in a plain way that looks at the border. */

#ifndef FC_DEPTHWISE
#define FC_DEPTHWISE
enum {
    DEPTHWISE_CHANNELS = 8, /* in a group, at most */
    DEPTHWISE_PLANES = 8,   /* in a task */
    DEPTHWISE_TASKS = 16,   /* of grad_weight: fewer blocks of channels cut the batch */
    DEPTHWISE_TAPS = 49,
};

/* The row and the column of x that tap t of element `at` of a plane of y meets, inside or outside of x. */
static inline ptrdiff_t fc_tap_row(const fc_conv2d *p, ptrdiff_t at, ptrdiff_t t) {
    return at / p->OW * p->stride_h + t / p->S - p->pad_top;
}
static inline ptrdiff_t fc_tap_col(const fc_conv2d *p, ptrdiff_t at, ptrdiff_t t) {
    return at % p->OW * p->stride_w + t % p->S - p->pad_left;
}
#endif

/* Which calls come here: chosen from the shape of one image and the kernel, never from N or the threads. */
static int FC(depthwise_fits)(const fc_conv2d *p) {
    return p->groups > 1 && p->R == p->S && (p->R == 3 || p->R == 5 || p->R == 7) && p->dilation_h == 1 &&
           p->dilation_w == 1 && p->stride_h == p->stride_w && p->stride_h <= 2 &&
           p->C / p->groups <= DEPTHWISE_CHANNELS && p->K / p->groups <= DEPTHWISE_CHANNELS;
}

/* Beyond 2 planes to add up, a plane must fill its vectors, or the kernels for many channels are better. */
static int FC(depthwise_pays)(const fc_conv2d *p) {
    const ptrdiff_t C = p->C / p->groups;
    return FC(depthwise_fits)(p) && (C <= 2 || ((C <= 4 || p->stride_h == 2) && 2 * p->OW > kernels.lanes));
}

static int FC(depthwise_grad_x_pays)(const fc_conv2d *p) {
    const ptrdiff_t K = p->K / p->groups;
    return FC(depthwise_fits)(p) && (K <= 2 || (K <= 4 && p->stride_h == 1 && 2 * p->W > kernels.lanes));
}

static int FC(depthwise_grad_weight_pays)(const fc_conv2d *p) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups;
    return FC(depthwise_fits)(p) &&
           ((C <= 2 && K <= 2) || ((C <= 4 || p->stride_h == 1) && 2 * p->OW > kernels.lanes));
}

/* Threads for a pass, all of which multiply equally much. */
static int FC(depthwise_team)(const fc_conv2d *p, int threads) {
    const double flops = fc_product(p->N, p->K, p->C / p->groups, p->R, p->S, p->OH, p->OW);
    return fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
}

/* y += x correlated with w, looking at the border. */
static void FC(correlate_plane_carefully)(const fc_conv2d *p, const real *x, const real *w, real *y) {
    for (ptrdiff_t at = 0; at < p->OH * p->OW; at++)
        for (ptrdiff_t t = 0; t < p->R * p->S; t++) {
            const ptrdiff_t h = fc_tap_row(p, at, t), v = fc_tap_col(p, at, t);
            if (h >= 0 && h < p->H && v >= 0 && v < p->W) y[at] += w[t] * x[h * p->W + v];
        }
}

/* gx += what gy's windows of w take from it. */
static void FC(spread_plane_carefully)(const fc_conv2d *p, const real *gy, const real *w, real *gx) {
    for (ptrdiff_t at = 0; at < p->OH * p->OW; at++)
        for (ptrdiff_t t = 0; t < p->R * p->S; t++) {
            const ptrdiff_t h = fc_tap_row(p, at, t), v = fc_tap_col(p, at, t);
            if (h >= 0 && h < p->H && v >= 0 && v < p->W) gx[h * p->W + v] += w[t] * gy[at];
        }
}

/* grad_weight of output channel k, channel c of its group, tap t. */
static real FC(outer_plane_carefully)(const fc_conv2d *p, const real *grad_y, const real *x, ptrdiff_t k, ptrdiff_t c,
                                      ptrdiff_t t) {
    const ptrdiff_t channel = k / (p->K / p->groups) * (p->C / p->groups) + c;
    real sum = 0;
    for (ptrdiff_t n = 0; n < p->N; n++) {
        const real *gy = grad_y + (n * p->K + k) * p->OH * p->OW, *xc = x + (n * p->C + channel) * p->H * p->W;
        for (ptrdiff_t at = 0; at < p->OH * p->OW; at++) {
            const ptrdiff_t h = fc_tap_row(p, at, t), v = fc_tap_col(p, at, t);
            if (h >= 0 && h < p->H && v >= 0 && v < p->W) sum += gy[at] * xc[h * p->W + v];
        }
    }
    return sum;
}

/* Planes in a task: several in a row where each goes with a kernel and a plane of its own. */
static ptrdiff_t FC(depthwise_block)(const fc_conv2d *p) {
    return p->C == p->groups && p->K == p->groups ? DEPTHWISE_PLANES : 1;
}

/* -- forward ------------------------------------------------------------------------------------------------------- */

static void FC(depthwise_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                                  int threads) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S, in = p->H * p->W, out = p->OH * p->OW;
    const int team = FC(depthwise_team)(p, threads), finite = kernels.all_finite(weight, p->K * C * T);
    const ptrdiff_t block = FC(depthwise_block)(p), blocks = (p->K + block - 1) / block;
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < p->N * blocks; task++) {
            const ptrdiff_t n = task / blocks, k = task % blocks * block, planes = p->K - k < block ? p->K - k : block;
            const real *w = weight + k * C * T, *from = x + (n * p->C + k / K * C) * in;
            real *to = y + (n * p->K + k) * out;
            for (ptrdiff_t c = 0; finite && c < C; c++)
                kernels.plane_correlate(p, planes, from + c * in, w + c * T, bias ? bias + k : NULL, c > 0, to);
            if (finite) continue;
            for (ptrdiff_t i = 0; i < planes * out; i++) to[i] = bias ? bias[k + i / out] : 0;
            for (ptrdiff_t i = 0; i < planes; i++)
                for (ptrdiff_t c = 0; c < C; c++)
                    FC(correlate_plane_carefully)(p, from + (i + c) * in, w + (i * C + c) * T, to + i * out);
        }
        fc_mode_leave(mode);
    }
}

/* -- grad_x -------------------------------------------------------------------------------------------------------- */

/* Plus a number for each channel of x (or NULL), when all planes are added up. */
static void FC(depthwise_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, const real *bias, real *grad_x,
                                 int threads) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S, in = p->H * p->W, out = p->OH * p->OW;
    const int team = FC(depthwise_team)(p, threads), finite = kernels.all_finite(weight, p->K * C * T);
    const ptrdiff_t block = FC(depthwise_block)(p), blocks = (p->C + block - 1) / block;
    /* With stride 1: a correlation of grad_y, whose border is what the kernel leaves of the padding. */
    fc_conv2d back = *p;
    back.H = p->OH, back.W = p->OW, back.OH = p->H, back.OW = p->W;
    back.pad_top = p->R - 1 - p->pad_top, back.pad_left = p->S - 1 - p->pad_left;
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < p->N * blocks; task++) {
            const ptrdiff_t n = task / blocks, c = task % blocks * block, planes = p->C - c < block ? p->C - c : block;
            real *to = grad_x + (n * p->C + c) * in;
            if (!finite) memset(to, 0, sizeof(real) * (size_t)(planes * in));
            for (ptrdiff_t m = 0; m < K; m++) {
                const ptrdiff_t k = c / C * K + m;
                const real *w = weight + (k * C + c % C) * T, *gy = grad_y + (n * p->K + k) * out;
                for (ptrdiff_t i = 0; !finite && i < planes; i++)
                    FC(spread_plane_carefully)(p, gy + i * out, w + i * T, to + i * in);
                if (finite && p->stride_h == 1) {
                    real turned[DEPTHWISE_PLANES * DEPTHWISE_TAPS];
                    for (ptrdiff_t i = 0; i < planes; i++)
                        for (ptrdiff_t t = 0; t < T; t++) turned[i * T + t] = w[i * T + T - 1 - t];
                    kernels.plane_correlate(&back, planes, gy, turned, NULL, m > 0, to);
                } else if (finite) {
                    kernels.plane_spread(p, planes, gy, w, m > 0, to);
                }
            }
            for (ptrdiff_t i = 0; bias && i < planes; i++) kernels.add_number(to + i * in, in, bias[c + i]);
        }
        fc_mode_leave(mode);
    }
}

/* -- grad_weight --------------------------------------------------------------------------------------------------- */

/* Of the batch: from the shape, never from the threads. */
static ptrdiff_t FC(depthwise_chunks)(const fc_conv2d *p) {
    const ptrdiff_t blocks = (p->K + DEPTHWISE_PLANES - 1) / DEPTHWISE_PLANES;
    const ptrdiff_t chunks = (DEPTHWISE_TASKS + blocks - 1) / blocks;
    return p->N < 2 ? 1 : p->N < chunks ? p->N : chunks;
}

static size_t FC(depthwise_grad_weight_workspace)(const fc_conv2d *p) {
    return sizeof(real) * (size_t)(FC(depthwise_chunks)(p) * p->K * (p->C / p->groups) * p->R * p->S);
}

static void FC(depthwise_grad_weight)(const fc_conv2d *p, const real *grad_y, const real *x, real *grad_weight,
                                      real *partial, int threads) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S, in = p->H * p->W, out = p->OH * p->OW;
    const ptrdiff_t chunks = FC(depthwise_chunks)(p), lanes = kernels.lanes;
    const ptrdiff_t block = FC(depthwise_block)(p), blocks = (p->K + block - 1) / block;
    const int team = FC(depthwise_team)(p, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < chunks * blocks; task++) {
            const ptrdiff_t chunk = task / blocks, k = task % blocks * block;
            const ptrdiff_t planes = p->K - k < block ? p->K - k : block, sums = planes * C * T;
            /* [plane][t][lane], or [c][t][lane] of one plane of grad_y */
            real sum[DEPTHWISE_CHANNELS * DEPTHWISE_TAPS * 16] __attribute__((aligned(64)));
            memset(sum, 0, sizeof(real) * (size_t)(sums * lanes));
            for (ptrdiff_t n = p->N * chunk / chunks; n < p->N * (chunk + 1) / chunks; n++)
                for (ptrdiff_t c = 0; c < C; c++)
                    kernels.plane_outer(p, planes, grad_y + (n * p->K + k) * out, x + (n * p->C + k / K * C + c) * in,
                                        sum + c * T * lanes);
            real *to = partial + (chunk * p->K + k) * C * T;
            for (ptrdiff_t i = 0; i < sums; i++) to[i] = kernels.sum_all(sum + i * lanes, lanes);
        }
#pragma omp for schedule(static)
        for (ptrdiff_t i = 0; i < p->K * C * T; i++) {
            real sum = 0;
            for (ptrdiff_t chunk = 0; chunk < chunks; chunk++) sum += partial[chunk * p->K * C * T + i];
            if (sum - sum != 0) sum = FC(outer_plane_carefully)(p, grad_y, x, i / (C * T), i / T % C, i % T);
            grad_weight[i] = sum;
        }
        fc_mode_leave(mode);
    }
}
