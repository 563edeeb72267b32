/* Winograd F(2x2, 3x3) for 3x3 kernels with stride 1: forward, grad_x (the same with the kernel turned round) and
 * grad_weight.  The transforms and their formulas are in kernels/winograd.c.
 *
 * A task takes a band of tile rows of one image (or several small images): it turns the band into [row][column][channel],
 * transforms it to v [xi][tile][c], and for each block of output channels multiplies, transforms back and writes y in
 * rows.  v, a block's products and a block of the weights stay in L2.  Each number of the result depends on its own tile
 * alone, so neither bands nor threads nor the other images show in it.
 *
 * Sums and differences of neighbours would carry an infinity or NaN to results that don't see it, and could overflow:
 * an image with numbers beyond WINOGRAD_LIMIT is given to the direct kernels, on its own. */

#ifndef FC_WINOGRAD
#define FC_WINOGRAD
enum {
    WINOGRAD_BYTES = 384 << 10, /* of v (and of transformed grad_y) at a time: a part of L2 */
    WINOGRAD_TILES = 64,        /* tiles at a time, at most */
    WINOGRAD_SUMS = 16 << 20,   /* bytes of partial sums of grad_weight, all chunks together */
    WINOGRAD_CHUNKS = 16,
};
/* Below this no sum or product of a transform can overflow. */
#define WINOGRAD_LIMIT_f32 0x1p54f
#define WINOGRAD_LIMIT_f64 0x1p480
#endif

/* Worth it: enough channels on both sides to pay for the transforms. */
static int FC(winograd_pays)(ptrdiff_t C, ptrdiff_t K, ptrdiff_t rows, ptrdiff_t cols) {
    return C >= 16 && K >= 16 && rows * cols >= 36;
}

static ptrdiff_t FC(round_up)(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* Tile rows of an image in a task. */
static ptrdiff_t FC(tile_band)(ptrdiff_t tile_rows, ptrdiff_t tile_cols, ptrdiff_t channels) {
    ptrdiff_t tiles = WINOGRAD_BYTES / (16 * channels * (ptrdiff_t)sizeof(real));
    if (tiles > WINOGRAD_TILES) tiles = WINOGRAD_TILES;
    ptrdiff_t band = tiles / tile_cols;
    if (band < 1) band = 1;
    if (band > tile_rows) band = tile_rows;
    const ptrdiff_t bands = (tile_rows + band - 1) / band; /* as equal as can be */
    return (tile_rows + bands - 1) / bands;
}

/* -- forward and grad_x -------------------------------------------------------------------------------------------- */

typedef struct {
    ptrdiff_t tile_rows, tile_cols, channels; /* channels: C in whole vectors */
    ptrdiff_t band, bands;                    /* tile rows of a task */
    ptrdiff_t images;                         /* of a task: more than one only where an image is one band */
    ptrdiff_t tiles;                          /* of a task, at most */
    ptrdiff_t v_plane, m_plane, u_plane;
    real *u, *scratch;
    uint8_t *beyond;                          /* images with numbers beyond the limit */
    size_t x_part, v_part, m_part, y_part;    /* of a thread's scratch, in elements */
    size_t bytes;
} FC(winograd_plan);

static FC(winograd_plan) FC(plan_winograd)(const FC(correlation) *q, const FC(blocks) *b, void *workspace, int threads) {
    FC(winograd_plan) f;
    const ptrdiff_t lanes = kernels.lanes;
    f.tile_rows = (q->rows + 1) / 2, f.tile_cols = (q->cols + 1) / 2;
    f.channels = FC(round_up)(q->C, lanes);
    f.band = FC(tile_band)(f.tile_rows, f.tile_cols, f.channels);
    const ptrdiff_t all = q->images * q->groups;
    while (f.band > 1 && all * ((f.tile_rows + f.band - 1) / f.band) < 2 * threads) f.band = (f.band + 1) / 2;
    f.bands = (f.tile_rows + f.band - 1) / f.band;
    f.images = 1;
    if (f.bands == 1 && q->groups == 1)
        while (f.images * 2 * f.tile_rows * f.tile_cols <= WINOGRAD_TILES && f.images * 4 * threads <= q->images &&
               f.images * 2 * f.tile_rows * f.tile_cols * 16 * f.channels * (ptrdiff_t)sizeof(real) <= WINOGRAD_BYTES)
            f.images *= 2;
    f.tiles = f.images * f.band * f.tile_cols;
    /* Planes are kept off multiples of 4 KB, which would all fall into the same few places of L1. */
    f.v_plane = f.tiles * f.channels + 16;
    f.m_plane = f.tiles * b->width + 16;
    f.u_plane = b->blocks * b->width * q->C + 16;
    f.x_part = (size_t)((2 * f.band + 2) * (2 * f.tile_cols + 2) * f.channels);
    f.v_part = (size_t)(16 * f.v_plane);
    f.m_part = (size_t)(16 * f.m_plane);
    f.y_part = (size_t)(4 * f.band * f.tile_cols * b->width);
    fc_arena arena = {workspace, 0};
    f.beyond = fc_carve(&arena, (size_t)q->images);
    f.u = fc_carve(&arena, sizeof(real) * (size_t)(16 * f.u_plane * q->groups));
    f.scratch = fc_carve(&arena, sizeof(real) * (f.x_part + f.v_part + f.m_part + f.y_part) * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* y (2 * band, 2 * tile_cols, width) of channels first .. first + K - 1 -> rows of y, as far as they exist. */
static void FC(store_rows)(const FC(correlation) *q, const FC(winograd_plan) *f, const real *from, int width, ptrdiff_t K,
                           ptrdiff_t rows, real *y) {
    const ptrdiff_t lanes = kernels.lanes, from_cols = 2 * f->tile_cols;
    /* Whole rows lie one behind the other in y too: one run. */
    const int whole = from_cols == q->cols && q->y_row == q->cols;
    const ptrdiff_t runs = whole ? 1 : rows, length = whole ? rows * q->cols : q->cols;
    for (ptrdiff_t k = 0; k < width && k < K; k += lanes)
        for (ptrdiff_t r = 0; r < runs; r++)
            kernels.to_rows(from + r * from_cols * width + k, width, length, K - k < lanes ? (int)(K - k) : (int)lanes,
                            y + k * q->y_channel + r * q->y_row, q->y_channel);
}

/* w, bias: packed for the channels kernel, taps in the order in which they lie in x.  Returns the images left out, as
 * f->beyond. */
static void FC(winograd)(const FC(correlation) *q, const FC(blocks) *b, const FC(winograd_plan) *f, const real *x,
                         const real *w, const real *bias, real *y, int threads) {
    const int lanes = kernels.lanes;
    const ptrdiff_t w_group = (ptrdiff_t)FC(packed_weights)(b, 1, q->C, 9);
    const double flops = (double)q->images * q->groups * q->K * q->C * 9 * q->rows * q->cols;
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
    const ptrdiff_t sets = (q->images * q->groups + f->images - 1) / f->images;
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
#pragma omp for schedule(static)
        for (ptrdiff_t n = 0; n < q->images; n++)
            f->beyond[n] = !kernels.all_within(x + n * q->groups * q->C * q->H * q->W, q->groups * q->C * q->H * q->W,
                                               FC(WINOGRAD_LIMIT));
#pragma omp for schedule(static)
        for (ptrdiff_t i = 0; i < q->groups * b->blocks; i++) {
            const ptrdiff_t g = i / b->blocks, block = i % b->blocks;
            const int width = FC(block_vectors)(b, q->K, block) * lanes;
            kernels.winograd_weights(q->C, width, w + g * w_group + block * b->width * q->C * 9,
                                     f->u + g * 16 * f->u_plane + block * b->width * q->C, f->u_plane);
        }
        real *xs = f->scratch + (size_t)omp_get_thread_num() * (f->x_part + f->v_part + f->m_part + f->y_part);
        real *v = xs + f->x_part, *m = v + f->v_part, *ys = m + f->m_part;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < sets * f->bands; task++) {
            const ptrdiff_t first = task / f->bands * f->images, i0 = task % f->bands * f->band;
            const ptrdiff_t left = q->images * q->groups - first, images = left < f->images ? left : f->images;
            const ptrdiff_t tile_rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band;
            const ptrdiff_t tiles = tile_rows * f->tile_cols, rows = q->rows - 2 * i0 < 2 * tile_rows ? q->rows - 2 * i0 : 2 * tile_rows;
            const ptrdiff_t g = first % q->groups;
            if (images == 1 && f->beyond[first / q->groups]) continue;
            for (ptrdiff_t n = 0; n < images; n++) {
                kernels.to_channels_last(x + (first + n) * q->C * q->H * q->W, q->C, q->H, q->W, 2 * i0 + q->top, q->left,
                                     2 * tile_rows + 2, 2 * f->tile_cols + 2, f->channels, xs);
                kernels.winograd_input(tile_rows, f->tile_cols, f->channels, xs, v + n * tiles * f->channels, f->v_plane);
            }
            for (ptrdiff_t block = 0; block < b->blocks; block++) {
                const int kv = FC(block_vectors)(b, q->K, block), width = kv * lanes;
                const ptrdiff_t k = block * b->width;
                const real *u = f->u + g * 16 * f->u_plane + k * q->C;
                for (int xi = 0; xi < 16; xi++)
                    kernels.winograd_multiply(images * tiles, q->C, f->channels, kv, v + xi * f->v_plane,
                                              u + xi * f->u_plane, m + xi * f->m_plane);
                for (ptrdiff_t n = 0; n < images; n++) {
                    kernels.winograd_output(tile_rows, f->tile_cols, width, m + n * tiles * width, f->m_plane,
                                            bias + g * b->blocks * b->width + k, ys);
                    FC(store_rows)(q, f, ys, width, q->K - k, rows,
                                   y + ((first + n) * q->K + k) * q->y_channel + q->y_offset + 2 * i0 * q->y_row);
                }
            }
        }
        fc_mode_leave(mode);
    }
}

/* -- grad_weight --------------------------------------------------------------------------------------------------- */

typedef struct {
    ptrdiff_t tile_rows, tile_cols, band, tiles;
    ptrdiff_t channels, padded;             /* C and K in whole vectors (K: whole pairs of vectors) */
    ptrdiff_t chunks;                       /* of the batch; from the shape alone */
    ptrdiff_t parts, part;                  /* of K, for more tasks; the result is the same for any number */
    ptrdiff_t v_plane, g_plane, s_plane;
    real *sums, *scratch;
    size_t thread_scratch, bytes;
} FC(winograd_grad_plan);

static FC(winograd_grad_plan) FC(plan_winograd_grad)(const fc_conv2d *p, void *workspace, int threads) {
    FC(winograd_grad_plan) f;
    const ptrdiff_t pair = 2 * kernels.lanes;
    f.tile_rows = (p->OH + 1) / 2, f.tile_cols = (p->OW + 1) / 2;
    f.channels = FC(round_up)(p->C, kernels.lanes);
    f.padded = FC(round_up)(p->K, pair);
    f.band = FC(tile_band)(f.tile_rows, f.tile_cols, f.channels + f.padded);
    f.tiles = f.band * f.tile_cols;
    f.s_plane = p->C * f.padded + 16;
    const ptrdiff_t most = WINOGRAD_SUMS / (16 * f.s_plane * (ptrdiff_t)sizeof(real));
    f.chunks = p->N < WINOGRAD_CHUNKS ? p->N : WINOGRAD_CHUNKS;
    if (f.chunks > most) f.chunks = most;
    if (f.chunks < 1) f.chunks = 1;
    const ptrdiff_t pairs = f.padded / pair;
    f.parts = f.chunks < 2 * threads ? (2 * threads + f.chunks - 1) / f.chunks : 1;
    if (f.parts > pairs) f.parts = pairs;
    f.part = (pairs + f.parts - 1) / f.parts * pair;
    f.v_plane = f.tiles * f.channels + 16;
    f.g_plane = f.tiles * f.part + 16;
    const size_t x_part = (size_t)((2 * f.band + 2) * (2 * f.tile_cols + 2) * f.channels);
    const size_t g_part = (size_t)(4 * f.tiles * f.part), finish = (size_t)(25 * f.padded);
    f.thread_scratch = x_part + (size_t)(16 * f.v_plane) + g_part + (size_t)(16 * f.g_plane) + finish;
    fc_arena arena = {workspace, 0};
    f.sums = fc_carve(&arena, sizeof(real) * (size_t)(16 * f.s_plane * f.chunks));
    f.scratch = fc_carve(&arena, sizeof(real) * f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* Adds one image to the sums [xi][c][padded] of output channels k .. k + f->part - 1. */
static void FC(winograd_grad_image)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *x, const real *gy,
                                    ptrdiff_t k, int add, real *scratch, real *sums) {
    const ptrdiff_t pair = 2 * kernels.lanes, width = f->padded - k < f->part ? f->padded - k : f->part;
    real *xs = scratch, *v = xs + (2 * f->band + 2) * (2 * f->tile_cols + 2) * f->channels;
    real *gs = v + 16 * f->v_plane, *g = gs + 4 * f->tiles * f->part;
    for (ptrdiff_t i0 = 0; i0 < f->tile_rows; i0 += f->band, add = 1) {
        const ptrdiff_t rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band, tiles = rows * f->tile_cols;
        kernels.to_channels_last(x, p->C, p->H, p->W, 2 * i0 - p->pad_top, -p->pad_left, 2 * rows + 2, 2 * f->tile_cols + 2,
                             f->channels, xs);
        kernels.winograd_input(rows, f->tile_cols, f->channels, xs, v, f->v_plane);
        kernels.to_channels_last(gy + k * p->OH * p->OW, p->K - k, p->OH, p->OW, 2 * i0, 0, 2 * rows, 2 * f->tile_cols, width, gs);
        kernels.winograd_grad_y(rows, f->tile_cols, width, gs, g, f->g_plane);
        for (int xi = 0; xi < 16; xi++)
            for (ptrdiff_t j = 0; j < width; j += pair)
                kernels.outer_products(p->C, pair, tiles, v + xi * f->v_plane, f->channels, g + xi * f->g_plane + j, width,
                                       add, sums + xi * f->s_plane + k + j, f->padded);
    }
}

/* Returns 0, with nothing written, when some number is beyond the limit. */
static int FC(winograd_grad_weight)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *grad_y, const real *x,
                                    real *grad_weight, int threads) {
    const ptrdiff_t x_image = p->C * p->H * p->W, y_image = p->K * p->OH * p->OW, lanes = kernels.lanes;
    const double flops = (double)p->N * p->K * p->C * 9 * p->OH * p->OW;
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
    int within = 1;
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        real *scratch = f->scratch + (size_t)omp_get_thread_num() * f->thread_scratch;
#pragma omp for schedule(static) reduction(&& : within)
        for (ptrdiff_t n = 0; n < p->N; n++)
            within = within && kernels.all_within(x + n * x_image, x_image, FC(WINOGRAD_LIMIT)) &&
                     kernels.all_within(grad_y + n * y_image, y_image, FC(WINOGRAD_LIMIT));
        if (within) {
#pragma omp for schedule(dynamic, 1)
            for (ptrdiff_t task = 0; task < f->chunks * f->parts; task++) {
                const ptrdiff_t chunk = task / f->parts, k = task % f->parts * f->part;
                const ptrdiff_t begin = p->N * chunk / f->chunks, end = p->N * (chunk + 1) / f->chunks;
                if (k >= f->padded) continue;
                for (ptrdiff_t n = begin; n < end; n++)
                    FC(winograd_grad_image)(p, f, x + n * x_image, grad_y + n * y_image, k, n > begin, scratch,
                                            f->sums + chunk * 16 * f->s_plane);
            }
#pragma omp for schedule(static)
            for (ptrdiff_t c = 0; c < p->C; c++) { /* chunks in order; then back to 3x3 and to weight's order */
                real *added = scratch, *taps = scratch + 16 * f->padded;
                for (int xi = 0; xi < 16; xi++)
                    kernels.add_rows(f->sums + xi * f->s_plane + c * f->padded, 16 * f->s_plane, f->chunks, f->padded,
                                     added + xi * f->padded);
                kernels.winograd_grad_weight((int)f->padded, added, f->padded, taps);
                for (ptrdiff_t t = 0; t < 9; t += lanes) {
                    const int n = 9 - t < lanes ? (int)(9 - t) : (int)lanes;
                    kernels.transpose(taps + t * f->padded, f->padded, n, p->K, grad_weight + c * 9 + t, p->C * 9, n, NULL);
                }
            }
        }
        fc_mode_leave(mode);
    }
    return within;
}
