/* grad_x for few input channels: a matrix product, then sums over taps.
 *
 * A correlation of grad_y with few output channels has little to do with each value that it loads.  Instead
 *
 *   z[c][r][s][position of grad_y] = sum over k of weight[k][c][r][s] * grad_y[k][position]
 *
 * is a matrix product with C * R * S rows that reads grad_y where it lies, and has no more to do where grad_x is larger
 * than grad_y.  Then row h of grad_x is the sum, over the kernel columns and rows, of the rows of z that these bring
 * there.  z never leaves the cache: a task keeps as many rows of it as the kernel is high in a ring, makes some more,
 * and writes the rows of grad_x that are complete.  A task is one image (of one group), or a run of its rows where
 * images are few; the rows of z at a cut are then made twice, and are the same both times.
 *
 * No zero of a padding is ever multiplied, so what is not finite needs no care. */

#ifndef FC_TAP_SUMS
#define FC_TAP_SUMS
enum {
    RING_BYTES = 96 << 10,  /* of z kept at a time, about: a part of L2 */
    RING_MOST = 512 << 10,  /* of z, or the algorithm is not used */
    MOST_PHASES = 16,       /* of a row: the stride */
    RING_POSITIONS = 96,    /* made at a time, at least: the product's last panel is a slow one */
};
#endif

typedef struct {
    ptrdiff_t step, ring; /* rows of z made at a time, and kept */
    ptrdiff_t z_plane;    /* elements from one plane of z to the next: an odd number of cache lines */
    ptrdiff_t margin;     /* elements before and after z that a shifted row may look at */
    ptrdiff_t vectors;    /* of the columns of one phase of the stride */
    size_t z_size, line;  /* elements */
    size_t scratch;       /* bytes of one thread */
} FC(tap_plan);

static FC(tap_plan) FC(plan_tap_sums)(const fc_conv2d *p) {
    FC(tap_plan) f;
    const ptrdiff_t Q = p->C / p->groups * p->R * p->S, lanes = kernels.lanes;
    const ptrdiff_t span = (p->R - 1) * p->dilation_h / p->stride_h + 1; /* rows of z that meet a row of grad_x */
    const double row_bytes = fc_product(Q, p->OW, sizeof(real));
    f.step = f.ring = p->OH;
    while (f.step > 1 && row_bytes * fc_estimate(f.ring) > RING_BYTES && (f.step + 1) / 2 * p->OW >= RING_POSITIONS) {
        f.step = (f.step + 1) / 2;
        f.ring = (span + f.step - 1 + f.step - 1) / f.step * f.step;
    }
    if (f.ring > p->OH) f.step = f.ring = p->OH;
    f.z_plane = (f.ring * p->OW + 15) / 16 * 16;
    if (f.z_plane / 16 % 2 == 0) f.z_plane += 16;
    const ptrdiff_t cols = (p->W + p->stride_w - 1) / p->stride_w;
    f.margin = ((p->S - 1) * p->dilation_w + p->pad_left + p->stride_w) / p->stride_w + 2 * lanes;
    if (cols > p->OW) f.margin += cols - p->OW; /* of a transposed convolution, as many as it likes */
    f.vectors = (cols + lanes - 1) / lanes;
    f.z_size = (size_t)(Q * f.z_plane + 2 * f.margin);
    f.line = p->stride_w > 1 ? (size_t)(p->stride_w * f.vectors * lanes) : 0;
    fc_arena arena = {NULL, 0};
    fc_carve(&arena, sizeof(real) * f.z_size);
    fc_carve(&arena, sizeof(real) * f.line);
    fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)p->R);
    f.scratch = arena.used;
    return f;
}

/* From the shape of one image and the kernel.  Both ways have K multiply-adds to do for each value of z; what differs
 * is the share of the machine's peak, as measured.  Here z must be stored and added up as well, which costs as much as
 * ten more multiply-adds, and more where rows fill no vectors.  A correlation with few channels reaches some ten per
 * cent a channel at first, later less, and has more to do where grad_x is larger than grad_y. */
static int FC(use_tap_sums)(const fc_conv2d *p) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, lanes = kernels.lanes;
    if (p->N == 0 || p->OH == 0 || p->OW == 0 || p->R * p->S == 1) return 0;
    /* Kernels that reach far beyond an image, by dilation or padding, are for the correlation. */
    const ptrdiff_t reach = (p->S - 1) * p->dilation_w + p->pad_left;
    if (p->stride_w > MOST_PHASES || reach > 2 * p->OW + 64) return 0;
    if (fc_product(C, p->R, p->S, p->OW, sizeof(real)) > RING_MOST) return 0;
    const FC(tap_plan) f = FC(plan_tap_sums)(p);
    if (fc_product(C, p->R, p->S, f.z_plane, sizeof(real)) > RING_MOST) return 0;
    const double k = fc_estimate(K), c = fc_estimate(C);
    const double row_vectors = fc_product(f.vectors, lanes) / fc_estimate(p->OW);
    const double area = fc_product(p->H, p->W) / fc_estimate(p->stride_h) / fc_estimate(p->stride_w);
    const double mine = k / (k + 2 + 8 * row_vectors);
    double theirs = C < 4 ? 0.1 * c : 0.35 + 0.03 * c;
    if (theirs > 0.7) theirs = 0.7;
    if (!FC(choose_blocks)(C, K, p->R * p->S, 0).positions) theirs = 0.85;
    return mine > theirs * fc_product(p->OH, p->OW) / area;
}

static size_t FC(tap_sums_workspace)(const fc_conv2d *p, int threads) {
    const FC(tap_plan) f = FC(plan_tap_sums)(p);
    fc_arena arena = {NULL, 0};
    fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)(p->stride_w + 1 + p->S));
    fc_carve(&arena, sizeof(real) * (size_t)(p->S * f.vectors * kernels.lanes));
    return arena.used + (size_t)threads * f.scratch;
}

/* The columns: for each phase of the stride the kernel columns that meet it, where each looks in a row of z for column
 * 0 of the phase, and which lanes it finds there. */
static void FC(plan_columns)(const fc_conv2d *p, const FC(tap_plan) *f, ptrdiff_t *first, ptrdiff_t *taps,
                             real *masks) {
    const ptrdiff_t columns = f->vectors * kernels.lanes;
    ptrdiff_t next = 0;
    memset(masks, 0, sizeof(real) * (size_t)(p->S * columns));
    for (ptrdiff_t b = 0; b < p->stride_w; b++) {
        first[b] = next;
        for (ptrdiff_t s = 0; s < p->S; s++) {
            const ptrdiff_t at = b + p->pad_left - s * p->dilation_w;
            if (at % p->stride_w != 0) continue;
            const ptrdiff_t shift = at / p->stride_w;
            ptrdiff_t begin = shift < 0 ? -shift : 0, end = p->OW - shift < columns ? p->OW - shift : columns;
            if (begin < end) memset(masks + next * columns + begin, 0xff, sizeof(real) * (size_t)(end - begin));
            taps[next++] = s * f->z_plane + shift;
        }
    }
    first[p->stride_w] = next;
}

/* Rows h0 .. h1-1 of grad_x of one image and group, plus a number for each channel (or NULL); scratch: of one thread. */
static void FC(tap_sums_rows)(const fc_conv2d *p, const FC(tap_plan) *f, const fc_tap_sums *job, const real *gy,
                              const real *w, const real *bias, real *gx, ptrdiff_t h0, ptrdiff_t h1, char *scratch) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    fc_arena arena = {scratch, 0};
    real *z = (real *)fc_carve(&arena, sizeof(real) * f->z_size) + f->margin;
    real *line = fc_carve(&arena, sizeof(real) * f->line);
    ptrdiff_t *row = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)p->R);
    const ptrdiff_t lowest = h0 + p->pad_top - (p->R - 1) * p->dilation_h;
    /* rows of grad_y: low .. high - 1 */
    const ptrdiff_t low = lowest > 0 ? (lowest + p->stride_h - 1) / p->stride_h : 0;
    ptrdiff_t high = (h1 - 1 + p->pad_top) / p->stride_h + 1, made = low;
    if (high > p->OH) high = p->OH;
    for (ptrdiff_t h = h0; h < h1; h++) {
        for (; made < high && made * p->stride_h <= h + p->pad_top; made += f->step) {
            const ptrdiff_t rows = high - made < f->step ? high - made : f->step;
            kernels.tap_products(K, C * T, rows * p->OW, gy + made * p->OW, p->OH * p->OW, w, C * T,
                                 z + (made - low) % f->ring * p->OW, f->z_plane,
                                 gy + (made + rows < p->OH ? made + rows : K * p->OH) * p->OW);
        }
        ptrdiff_t rows = 0;
        for (ptrdiff_t r = 0; r < p->R; r++) {
            const ptrdiff_t at = h + p->pad_top - r * p->dilation_h;
            const ptrdiff_t i = p->stride_h == 1 ? at : at / p->stride_h; /* a division takes as long as a tap */
            if (at < 0 || i >= p->OH || i * p->stride_h != at) continue;
            const ptrdiff_t slot = f->ring == p->OH ? i - low : (i - low) % f->ring;
            row[rows++] = r * p->S * f->z_plane + slot * p->OW;
        }
        for (ptrdiff_t c = 0; c < C; c++) {
            real *to = gx + (c * p->H + h) * p->W;
            kernels.tap_sums(job, z + c * T * f->z_plane, rows, row, line, to);
            if (bias) kernels.add_number(to, p->W, bias[c]);
        }
    }
}

static void FC(tap_sums_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, const real *bias,
                                real *grad_x, void *workspace, int threads) {
    const FC(tap_plan) f = FC(plan_tap_sums)(p);
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S;
    fc_arena arena = {workspace, 0};
    ptrdiff_t *first = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)(p->stride_w + 1 + p->S));
    ptrdiff_t *taps = first + p->stride_w + 1;
    real *masks = fc_carve(&arena, sizeof(real) * (size_t)(p->S * f.vectors * kernels.lanes));
    char *scratches = (char *)workspace + arena.used;
    FC(plan_columns)(p, &f, first, taps, masks);
    const fc_tap_sums job = {.W = p->W, .stride = p->stride_w, .vectors = f.vectors, .first = first, .taps = taps,
                             .masks = masks};
    const ptrdiff_t images = p->N * p->groups;
    const int team = fc_threads_for(fc_product(p->N, p->K, C, T, p->OH, p->OW), FC_FLOPS_PER_THREAD, threads);
    /* Runs of rows, where images are few: not so short that the rows at the cuts count. */
    const ptrdiff_t wanted = images < 4 * team ? (4 * team + images - 1) / images : 1, most = p->H / (4 * p->R) + 1;
    const ptrdiff_t cuts = team == 1 ? 1 : wanted < most ? wanted : most;
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        char *scratch = scratches + (size_t)omp_get_thread_num() * f.scratch;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < images * cuts; task++) {
            const ptrdiff_t image = task / cuts, cut = task % cuts;
            const ptrdiff_t g = image % p->groups;
            FC(tap_sums_rows)(p, &f, &job, grad_y + image * K * p->OH * p->OW, weight + g * K * C * T,
                              bias ? bias + g * C : NULL, grad_x + image * C * p->H * p->W, p->H * cut / cuts, p->H * (cut + 1) / cuts, scratch);
        }
        fc_mode_leave(mode);
    }
}
