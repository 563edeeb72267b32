/* grad_weight as a sum of outer products over positions (kernels/outer_taps.c).  The batch is cut in chunks by the shape,
 * each with a sum of its own, and the sums are added in order. */

#ifndef FC_GRAD_WEIGHT
#define FC_GRAD_WEIGHT
enum {
    MOST_CHUNKS = 16,          /* of the batch */
    CHUNK_BYTES = 8 << 20,     /* of partial sums, all chunks together */
    BAND_POSITIONS = 256,      /* of grad_y transposed at a time: 32 KB of float */
    SLICE_BYTES = 224 << 10,   /* of x in a band that all blocks go through: a part of L2 */
    TASK_BYTES = 640 << 10,    /* of partial sums that a task goes through: a part of L2 */
};
#endif

typedef struct {
    int width;             /* output channels in a block: 2 vectors, or 1 */
    ptrdiff_t blocks;      /* in a group */
    ptrdiff_t chunks;      /* of the batch; from the shape alone */
    ptrdiff_t shared;      /* blocks that share a task, and with it the copy of x; no result depends on it */
    ptrdiff_t parts;       /* of the input channels, for more tasks; the result is the same for any number */
    ptrdiff_t band;        /* rows of y */
    ptrdiff_t slice;       /* channels of x at a time */
    ptrdiff_t x_rows, x_width, plane;
    int padded;            /* x is copied, with its border */
    int absurd;            /* absurd: as in correlate.c, the border dwarfs the image */
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
    f.shared = TASK_BYTES / ((ptrdiff_t)sizeof(real) * f.width * C * T + 1);
    if (f.shared < 1) f.shared = 1;
    if (f.shared > f.blocks) f.shared = f.blocks;
    while (f.shared > 1 && p->groups * f.chunks * ((f.blocks + f.shared - 1) / f.shared) < 2 * threads)
        f.shared = (f.shared + 1) / 2;
    const ptrdiff_t sets = (f.blocks + f.shared - 1) / f.shared;
    f.shared = (f.blocks + sets - 1) / sets;
    const ptrdiff_t tasks = p->groups * sets * f.chunks;
    f.parts = tasks < 2 * threads ? (2 * threads + tasks - 1) / tasks : 1;
    if (f.parts > C) f.parts = C;
    const ptrdiff_t height = (p->R - 1) * p->dilation_h + 1, width = (p->S - 1) * p->dilation_w + 1;
    f.padded = p->pad_top > 0 || p->pad_left > 0 || (p->OH - 1) * p->stride_h + height - p->pad_top > p->H ||
               (p->OW - 1) * p->stride_w + width - p->pad_left > p->W;
    f.band = p->OW < BAND_POSITIONS ? BAND_POSITIONS / p->OW : 1;
    if (f.band > p->OH) f.band = p->OH;
    const ptrdiff_t bands = f.band > 0 ? (p->OH + f.band - 1) / f.band : 1;
    f.band = (p->OH + bands - 1) / bands;
    f.x_rows = (f.band - 1) * p->stride_h + height;
    f.x_width = (p->OW - 1) * p->stride_w + width;
    f.plane = f.x_rows * f.x_width;
    f.absurd = f.padded && f.plane > ABSURD_FACTOR * p->H * p->W + ABSURD_PLANE;
    if (f.absurd) f.plane = 0;
    const int along = p->dilation_w == 1; /* taps of a row lie side by side */
    f.L = along ? p->R : T;
    f.S = along ? p->S : 1;
    const double row_bytes = fc_product(sizeof(real), f.x_rows, f.padded ? f.x_width : p->W);
    f.slice = row_bytes * fc_estimate(C) > SLICE_BYTES ? (ptrdiff_t)(SLICE_BYTES / row_bytes) : C;
    if (f.slice < 16) f.slice = C < 16 ? C : 16;
    const ptrdiff_t slices = (C + f.slice - 1) / f.slice;
    f.slice = (C + slices - 1) / slices;
    fc_arena arena = {workspace, 0};
    f.lines = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)f.L);
    f.partial = fc_carve(&arena, sizeof(real) * (size_t)(f.chunks * f.sums));
    f.thread_scratch = (size_t)(f.shared * f.band * p->OW * f.width + (f.padded ? f.slice * f.plane : 0) + 2 * lanes);
    f.thread_scratch = (f.thread_scratch + 15) & ~(size_t)15;
    f.scratch = fc_carve(&arena, sizeof(real) * f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* One tap at stride 1: grad_weight[k][c] = sum of grad_y[k] * x[c] is the same with the two changing places, and the
 * one with fewer channels is the cheaper to transpose.  Returns 1 when that is x; the problem for it is in *swapped. */
static int FC(swap_grad_weight)(const fc_conv2d *p, fc_conv2d *swapped) {
    *swapped = *p;
    if (!FC(is_pointwise)(p) || p->OH != p->H || p->OW != p->W || p->C * 2 > p->K) return 0;
    swapped->C = p->K, swapped->K = p->C;
    return 1;
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

/* One image's part of the sums of C channels and `blocks` blocks of K; returns 0 when grad_y is not finite where that
 * matters.  Of a band, grad_y is transposed once; then the channels of x go by in slices, each copied once (if it has a
 * border) and met by all blocks.  following: x of the next image, or NULL. */
static int FC(grad_weight_image)(const fc_conv2d *p, const FC(grad_weight_plan) *f, const real *gy, ptrdiff_t K,
                                 ptrdiff_t blocks, const real *x, const real *following, ptrdiff_t C, real *scratch,
                                 real *sum, ptrdiff_t block_sums) {
    const int lanes = kernels.lanes;
    const ptrdiff_t T = p->R * p->S, g_block = f->band * p->OW * f->width;
    int finite = 1;
    real *g = scratch, *xs = scratch + f->shared * g_block;
    for (ptrdiff_t i0 = 0; i0 < p->OH; i0 += f->band) {
        const ptrdiff_t rows = p->OH - i0 < f->band ? p->OH - i0 : f->band, n = rows * p->OW;
        for (ptrdiff_t k = 0; k < blocks * f->width; k += lanes)
            kernels.transpose(gy + (k * p->OH + i0) * p->OW, p->OH * p->OW,
                              K - k >= lanes ? lanes : K > k ? (int)(K - k) : 0, n,
                              g + k / f->width * g_block + k % f->width, f->width, lanes, NULL);
        for (ptrdiff_t b = 0; f->padded && b < blocks; b++) finite &= kernels.all_finite(g + b * g_block, n * f->width);
        for (ptrdiff_t c = 0; c < C; c += f->slice) {
            const ptrdiff_t channels = C - c < f->slice ? C - c : f->slice;
            fc_outer job = {.C = channels, .L = f->L, .S = f->S, .rows = rows, .cols = p->OW, .lines = f->lines,
                            .x_channel = p->H * p->W, .x_row = p->stride_h * p->W, .x_col = p->stride_w};
            const real *from = x + c * p->H * p->W + i0 * p->stride_h * p->W;
            if (f->padded) {
                for (ptrdiff_t m = 0; m < channels; m++)
                    kernels.pad_plane(x + (c + m) * p->H * p->W, p->H, p->W, i0 * p->stride_h - p->pad_top,
                                      -p->pad_left, (rows - 1) * p->stride_h + (p->R - 1) * p->dilation_h + 1, f->x_width,
                                      xs + m * f->plane, f->x_width);
                from = xs;
                job.x_channel = f->plane, job.x_row = p->stride_h * f->x_width;
            }
            /* The first block asks for what comes next: the next slice, or the first of the next band or image. */
            const int more = c + channels < C, below = i0 + f->band < p->OH;
            const real *next = more ? x + (c + channels) * p->H * p->W : below ? x : following;
            const ptrdiff_t top = (more ? i0 : below ? i0 + f->band : 0) * p->stride_h - p->pad_top;
            const ptrdiff_t h0 = top > 0 ? top : 0, h1 = top + f->x_rows < p->H ? top + f->x_rows : p->H;
            job.next = next && h0 < h1 ? next + h0 * p->W : NULL;
            job.next_channel = p->H * p->W, job.next_bytes = (h1 - h0) * p->W * (ptrdiff_t)sizeof(real);
            for (ptrdiff_t b = 0; b < blocks; b++, job.next = NULL)
                kernels.outer_taps(&job, f->width / lanes, from, g + b * g_block,
                                   sum + b * block_sums + c * T * f->width);
        }
    }
    return finite;
}

/* Adds up the chunks' sums, in order, and puts them in weight's order: [ct][width] -> [k][ct]; swapped: [ct][k]. */
static void FC(grad_weight_finish)(const fc_conv2d *p, const FC(grad_weight_plan) *f, int swapped,
                                    real *grad_weight, int threads) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups, CT = C * p->R * p->S, lanes = kernels.lanes;
    const ptrdiff_t steps = (CT + lanes - 1) / lanes;
    const int team = fc_threads_for(fc_product(f->sums, f->chunks, sizeof(real)), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (ptrdiff_t task = 0; task < p->groups * f->blocks * steps; task++) {
        const ptrdiff_t block = task / steps, ct = task % steps * lanes; /* block of groups x blocks */
        const ptrdiff_t n = CT - ct < lanes ? CT - ct : lanes;
        const ptrdiff_t g = block / f->blocks, k = block % f->blocks * f->width, left = K - k;
        real added[16 * 32] __attribute__((aligned(64)));
        kernels.add_rows(f->partial + (block * CT + ct) * f->width, f->sums, f->chunks, n * f->width, added);
        if (swapped) { /* (C, K) is what is wanted */
            for (ptrdiff_t i = 0; i < n; i++)
                memcpy(grad_weight + (g * CT + ct + i) * K + k, added + i * f->width,
                       sizeof(real) * (size_t)(left < f->width ? left : f->width));
            continue;
        }
        kernels.transpose(added, f->width, (int)n, left < f->width ? left : f->width, grad_weight + (g * K + k) * CT + ct,
                          CT, (int)n, NULL);
    }
}

static size_t FC(outer_taps_workspace)(const fc_conv2d *p, int threads) {
    fc_conv2d problem;
    FC(swap_grad_weight)(p, &problem);
    return FC(plan_grad_weight)(&problem, NULL, threads).bytes;
}

static void FC(outer_taps_grad_weight)(const fc_conv2d *given, const real *grad_y, const real *x, real *grad_weight,
                                       void *workspace, int threads) {
    fc_conv2d problem;
    const int swapped = FC(swap_grad_weight)(given, &problem);
    const fc_conv2d *p = &problem;
    if (swapped) {
        const real *other = grad_y;
        grad_y = x, x = other;
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
    const ptrdiff_t sets = (f.blocks + f.shared - 1) / f.shared;
    const ptrdiff_t tasks = p->groups * sets * f.chunks * f.parts, per_part = (C + f.parts - 1) / f.parts;
    const double flops = fc_product(p->N, p->K, C, T, p->OH, p->OW);
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
    int finite = 1;
#pragma omp parallel num_threads(team) if (team > 1) reduction(&& : finite)
    {
        const fc_mode mode = fc_mode_enter();
        real *scratch = f.scratch + (size_t)omp_get_thread_num() * f.thread_scratch;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t part = task % f.parts, set = task / f.parts % (p->groups * sets);
            const ptrdiff_t chunk = task / f.parts / (p->groups * sets);
            const ptrdiff_t g = set / sets, block = set % sets * f.shared, k = block * f.width;
            const ptrdiff_t blocks = f.blocks - block < f.shared ? f.blocks - block : f.shared;
            const ptrdiff_t c0 = part * per_part, channels = C - c0 < per_part ? C - c0 : per_part;
            if (channels <= 0) continue;
            const ptrdiff_t block_sums = C * T * f.width;
            real *sum = f.partial + chunk * f.sums + (g * f.blocks + block) * block_sums + c0 * T * f.width;
            for (ptrdiff_t b = 0; b < blocks; b++)
                memset(sum + b * block_sums, 0, sizeof(real) * (size_t)(channels * T * f.width));
            for (ptrdiff_t n = p->N * chunk / f.chunks; n < p->N * (chunk + 1) / f.chunks; n++) {
                const real *gy = grad_y + ((n * p->groups + g) * K + k) * p->OH * p->OW;
                const real *xn = x + ((n * p->groups + g) * C + c0) * p->H * p->W;
                finite = finite && FC(grad_weight_image)(p, &f, gy, K - k, blocks, xn,
                                                         n + 1 < p->N ? xn + p->C * p->H * p->W : NULL, channels,
                                                         scratch, sum, block_sums);
            }
        }
        fc_mode_leave(mode);
    }
    if (finite) FC(grad_weight_finish)(p, &f, swapped, grad_weight, threads);
    else FC(grad_weight_carefully)(p, grad_y, x, grad_weight);
}
