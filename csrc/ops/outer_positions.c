/* grad_weight for few channels, with vectors over positions (kernels/outer_positions.c).
 *
 * Vectors over output channels (kernels/outer_taps.c) must transpose grad_y, which is as much work as the arithmetic
 * where an image has few channels and taps, and idle where K is no multiple of a vector.  Here x is rearranged instead:
 * a few shifted copies of its rows, one for each kernel column (and phase of a vertical stride).
 *
 * The batch is cut in chunks by the shape, each with a sum of its own, added in order.  A chunk goes through its images
 * a pass at a time: a band of rows of one image, or several whole ones where they are small, so that the sums stay in
 * registers over many positions.
 *
 * A grad_y that is still behind a max pool is formed for each pass, as many channels at a time as L2 holds.
 *
 * The zeros of the padding must not meet what is not finite in grad_y.  Every element of grad_y goes into some sums,
 * and what is not finite leaves them so: only then is grad_y looked through, and the call done carefully. */

#ifndef FC_OUTER_POSITIONS
#define FC_OUTER_POSITIONS
enum {
    FEW_CHUNKS = 16,         /* of the batch, at most */
    COPIES_BYTES = 320 << 10, /* of x's copies in a pass: a part of L2 */
    PASS_VECTORS = 80,       /* of positions in a pass, about, where images are small */
    MOST_SUMS = 1 << 16,     /* of a group */
    MOST_COPIES = 4 << 20,   /* bytes of a pass, where even one row of y needs many */
    SUMS_BYTES = 8 << 20,    /* of all chunks */
    UNPOOLED_BYTES = 96 << 10, /* of grad_y in a pass, where it is formed here */
};
#endif

typedef struct {
    ptrdiff_t band, x_rows;   /* rows of y in a pass, and of each copy */
    ptrdiff_t images;         /* in a pass */
    ptrdiff_t copies, plane;  /* of a channel of x; elements of one */
    ptrdiff_t chunks, parts;  /* of the batch; of K, for more tasks */
    ptrdiff_t *offsets, *copy_of;
    real *partial, *scratch;
    size_t thread_scratch;    /* elements: the copies; grad_y of `channels` channels, behind `unpooled`; pooled, `masked` */
    size_t unpooled, masked;
    ptrdiff_t channels;
    size_t bytes;
} FC(outer_plan);

/* pooled: with room to form grad_y from what is behind a pool; channels is 0 where that does not fit. */
static FC(outer_plan) FC(plan_outer_positions)(const fc_conv2d *p, int pooled, void *workspace, int threads) {
    FC(outer_plan) f;
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S, lanes = kernels.lanes;
    const ptrdiff_t below = (p->R - 1) * p->dilation_h / p->stride_h;
    f.copies = p->S * (p->stride_h < p->R ? p->stride_h : p->R);
    f.band = p->OH;
    const double row_bytes = fc_product(C, f.copies, p->OW, sizeof(real));
    while (f.band > 1 && row_bytes * fc_estimate(f.band + below) > COPIES_BYTES) f.band = (f.band + 1) / 2;
    f.x_rows = f.band + below;
    f.plane = f.x_rows * p->OW;
    /* Chunks of a pass at least, if images are small. */
    const double pass = fc_product(PASS_VECTORS, lanes), most = fc_product(p->N, p->OH, p->OW) / pass;
    f.chunks = p->N < FEW_CHUNKS ? p->N : FEW_CHUNKS;
    if (fc_estimate(f.chunks) > most) f.chunks = (ptrdiff_t)most;
    const double fit = SUMS_BYTES / fc_product(p->K, C, T, sizeof(real));
    if (fc_estimate(f.chunks) > fit) f.chunks = (ptrdiff_t)fit;
    if (f.chunks < 1) f.chunks = 1;
    const ptrdiff_t share = (p->N + f.chunks - 1) / f.chunks; /* images of a chunk */
    f.images = 1;
    while (f.band == p->OH && fc_product(f.images, f.band, p->OW) < pass && f.images < share &&
           row_bytes * fc_product(f.x_rows, f.images + 1) <= COPIES_BYTES)
        f.images++;
    const ptrdiff_t tasks = p->groups * f.chunks;
    f.parts = tasks < 2 * threads ? (2 * threads + tasks - 1) / tasks : 1;
    if (f.parts > (K + 4) / 5) f.parts = (K + 4) / 5;
    fc_arena arena = {workspace, 0};
    f.offsets = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)(C * T));
    f.copy_of = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)p->R);
    f.partial = fc_carve(&arena, sizeof(real) * (size_t)(f.chunks * p->K * C * T));
    f.thread_scratch = ((size_t)(f.images * C * f.copies * f.plane + lanes) + 15) & ~(size_t)15;
    f.unpooled = f.thread_scratch;
    f.channels = 0;
    if (pooled && f.band == p->OH) {
        const double most = UNPOOLED_BYTES / fc_product(f.images, p->OH, p->OW, sizeof(real));
        f.channels = most < fc_estimate(K) ? (ptrdiff_t)most : K;
        f.masked = f.unpooled + (((size_t)(f.images * f.channels * p->OH * p->OW) + 15) & ~(size_t)15);
        f.thread_scratch = f.masked + (((size_t)(f.channels * (p->OH / 2) * (p->OW / 2)) + 15) & ~(size_t)15);
    }
    f.scratch = fc_carve(&arena, sizeof(real) * f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* From the shape.  Either way has K multiply-adds to do for each channel, tap and position; what differs is the share
 * of the machine's peak, as measured.  Here the copies cost some multiply-adds more, fewer for a higher kernel, which
 * uses each copy more often, and adding up lanes some vectors of positions in each pass.  There the transposes cost as
 * much as some thirteen taps, and output channels are rounded up. */
static int FC(use_outer_positions)(const fc_conv2d *p) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, Q = C * p->R * p->S, lanes = kernels.lanes;
    if (p->N == 0 || p->OH == 0 || p->OW == 0 || fc_product(K, Q) > MOST_SUMS) return 0;
    /* Kernels that reach far beyond an image are for the other way, which knows when not to copy. */
    if ((p->R - 1) * p->dilation_h / p->stride_h > 2 * p->OH + 16) return 0;
    const FC(outer_plan) f = FC(plan_outer_positions)(p, 0, NULL, 1);
    if (fc_product(C, f.copies, f.plane, sizeof(real)) > MOST_COPIES) return 0;
    const double k = fc_estimate(K), q = fc_estimate(Q), v = fc_estimate(lanes), r = fc_estimate(p->R);
    const double gather = p->stride_w > 2 ? 1.5 * v : p->stride_w == 2 ? 6 : 0;
    const double row = fc_product(6, lanes, (p->OW + lanes - 1) / lanes) / fc_estimate(p->OW) + gather;
    const double rows = fc_estimate(p->stride_h < p->R ? p->stride_h : p->R);
    const double copies = row * rows / r * fc_estimate(f.x_rows) / fc_estimate(f.band);
    const double vectors = fc_product(f.images, f.band, p->OW) / v;
    const ptrdiff_t width = K > lanes ? 2 * lanes : lanes;
    const double padded = fc_estimate((K + width - 1) / width * width);
    return 0.85 * k / (k + copies) * vectors / (vectors + 5) > 0.9 * q / (q + 13) * k / padded;
}

/* The shifted copies of rows i0 - .. of one image's channels. */
static void FC(copy_shifted)(const fc_conv2d *p, const FC(outer_plan) *f, ptrdiff_t C, const real *x, ptrdiff_t i0,
                             ptrdiff_t x_rows, real *to) {
    for (ptrdiff_t c = 0; c < C; c++)
        for (ptrdiff_t r = 0, copy = 0; r < p->R; r++) {
            if (f->copy_of[r] != copy) continue; /* the same rows as an earlier r */
            for (ptrdiff_t s = 0; s < p->S; s++, copy++)
                kernels.shift_plane(x + c * p->H * p->W, p->H, p->W,
                                    i0 * p->stride_h - p->pad_top + r * p->dilation_h % p->stride_h, p->stride_h,
                                    s * p->dilation_w - p->pad_left, p->stride_w, x_rows, p->OW,
                                    to + (c * f->copies + copy) * f->plane);
        }
}

/* Channels of grad_y that are formed at a time where it is behind a pool; 0 where they don't fit. */
static ptrdiff_t FC(unpooled_channels)(const fc_conv2d *p) { return FC(plan_outer_positions)(p, 1, NULL, 1).channels; }

/* A pass over whole images n .. whose grad_y is behind a pool: it goes to the thread's scratch, a few channels of all images
 * at a time. */
static void FC(outer_unpooled)(const fc_conv2d *p, const FC(outer_plan) *f, const FC(pooled) *from, ptrdiff_t n,
                               ptrdiff_t k0, const fc_outer_positions *pass, real *scratch, real *sum) {
    const ptrdiff_t plane = p->OH * p->OW, blocks = (pass->K + f->channels - 1) / f->channels;
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t first = pass->K * block / blocks, channels = pass->K * (block + 1) / blocks - first;
        fc_outer_positions job = *pass;
        job.K = channels, job.g_image = channels * plane, job.g_next = 0;
        for (ptrdiff_t image = 0; image < pass->images; image++)
            FC(unpool)(p, from, (n + image) * p->K + k0 + first, channels, scratch + f->masked,
                       scratch + f->unpooled + image * job.g_image);
        const fc_mode mode = fc_mode_enter();
        kernels.outer_positions(&job, scratch + f->unpooled, scratch, sum + first * pass->Q);
        fc_mode_leave(mode);
    }
}

/* From grad_y, or, where it is NULL, from what is behind a pool.  0 when zeros of the padding met what is not finite: then
 * the result is worthless. */
static int FC(outer_positions_grad_weight)(const fc_conv2d *p, const real *grad_y, const FC(pooled) *from, const real *x,
                                           real *grad_weight, void *workspace, int threads) {
    const FC(outer_plan) f = FC(plan_outer_positions)(p, from != NULL, workspace, threads);
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, T = p->R * p->S, Q = C * T, plane = p->OH * p->OW;
    /* Kernel row r looks at rows r * dilation_h, + stride_h, ..: its remainder's copies, some rows further down. */
    ptrdiff_t copies = 0;
    for (ptrdiff_t r = 0; r < p->R; r++) {
        ptrdiff_t q = 0;
        while (q < r && (r - q) * p->dilation_h % p->stride_h != 0) q++;
        f.copy_of[r] = q < r ? f.copy_of[q] : copies;
        if (q == r) copies += p->S;
        for (ptrdiff_t c = 0; c < C; c++)
            for (ptrdiff_t s = 0; s < p->S; s++)
                f.offsets[c * T + r * p->S + s] = (c * f.copies + f.copy_of[r] + s) * f.plane +
                                                  r * p->dilation_h / p->stride_h * p->OW;
    }
    const ptrdiff_t below = f.x_rows - f.band, x_image = C * f.copies * f.plane;
    const ptrdiff_t tasks = p->groups * f.chunks * f.parts;
    const int team = fc_threads_for(fc_product(p->N, p->K, Q, plane), FC_FLOPS_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        real *scratch = f.scratch + (size_t)omp_get_thread_num() * f.thread_scratch;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t part = task % f.parts, g = task / f.parts % p->groups, chunk = task / f.parts / p->groups;
            const ptrdiff_t k0 = K * part / f.parts, k1 = K * (part + 1) / f.parts;
            real *sum = f.partial + ((chunk * p->groups + g) * K + k0) * Q;
            memset(sum, 0, sizeof(real) * (size_t)((k1 - k0) * Q));
            const ptrdiff_t end = p->N * (chunk + 1) / f.chunks;
            for (ptrdiff_t n = p->N * chunk / f.chunks, images; n < end; n += images) {
                const ptrdiff_t passes = (end - n + f.images - 1) / f.images; /* as equal as can be */
                images = (end - n + passes - 1) / passes;
                const real *xn = x + (n * p->groups + g) * C * p->H * p->W;
                for (ptrdiff_t i0 = 0; i0 < p->OH; i0 += f.band) {
                    const ptrdiff_t rows = p->OH - i0 < f.band ? p->OH - i0 : f.band;
                    const fc_outer_positions job = {.K = k1 - k0, .Q = Q, .n = rows * p->OW, .images = images,
                                                    .g_image = p->K * plane, .g_channel = plane, .x_image = x_image,
                                                    .g_next = i0 + rows < p->OH ? rows * p->OW
                                                                                : images * p->K * plane - i0 * p->OW,
                                                    .offsets = f.offsets};
                    for (ptrdiff_t image = 0; image < images; image++)
                        FC(copy_shifted)(p, &f, C, xn + image * p->C * p->H * p->W, i0, rows + below,
                                         scratch + image * x_image);
                    if (!grad_y) { /* ReLU's own mode for it */
                        fc_mode_leave(mode);
                        FC(outer_unpooled)(p, &f, from, n, g * K + k0, &job, scratch, sum);
                        fc_mode_enter();
                        continue;
                    }
                    const real *gy = grad_y + ((n * p->groups + g) * K + k0) * plane;
                    kernels.outer_positions(&job, gy + i0 * p->OW, scratch, sum);
                }
            }
        }
        fc_mode_leave(mode);
    }
    const fc_mode mode = fc_mode_enter();
    kernels.add_rows(f.partial, p->K * Q, f.chunks, p->K * Q, grad_weight);
    fc_mode_leave(mode);
    const int padded = p->pad_top > 0 || p->pad_left > 0 ||
                       (p->OH - 1) * p->stride_h + (p->R - 1) * p->dilation_h - p->pad_top >= p->H ||
                       (p->OW - 1) * p->stride_w + (p->S - 1) * p->dilation_w - p->pad_left >= p->W;
    return !padded || kernels.all_finite(grad_weight, p->K * Q) ||
           (grad_y && kernels.all_finite(grad_y, p->N * p->K * plane));
}
