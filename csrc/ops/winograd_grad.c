/* Winograd's F(2x2, 3x3) for grad_weight: the exact adjoint of the forward pass (formulas: kernels/winograd.c).
 *
 * Both x and grad_y are transformed, to v [xi][tile][c] and g [xi][tile][k]; their outer products, summed over the tiles
 * of the whole batch, are 16 matrices s [xi][c][k], which are transformed back to 3x3 once, at the end.  Two schedules:
 *
 *   few weights   the batch is cut in chunks by the shape; a task goes through the images of one chunk, v and g of a band
 *                 of tile rows and the chunk's sums staying in L2; the chunks' sums are added in order
 *   many weights  v of as many images as fit in shared memory is made first; a task takes some output channels, makes
 *                 their g of some images at a time and sums over the tiles of v and g.  g is the task's own, in L2:
 *                 what one core has written, another is slow to read and slower to write */

#ifndef FC_WINOGRAD_GRAD
#define FC_WINOGRAD_GRAD
enum {
    GRAD_SUMS = 16 << 20,        /* bytes of partial sums, all chunks together */
    GRAD_CHUNKS = 16,
    GRAD_WEIGHTS = 512 << 10,    /* bytes of s above which the weights are many */
    GRAD_SHARED = 5 << 20,       /* of v in shared memory */
    GRAD_OWN = 384 << 10,        /* many: of g of a task */
    GRAD_CHANNELS = 48,          /* many: input channels of a block of s */
};
#endif

typedef struct {
    int m, planes;                          /* as in winograd.c */
    ptrdiff_t tile_rows, tile_cols, band, tiles; /* tiles: of a band */
    ptrdiff_t channels, padded;             /* C and K in whole vectors (K: whole pairs of vectors) */
    int many;
    ptrdiff_t chunks;                       /* few: of the batch; from the shape alone */
    ptrdiff_t parts, part;                  /* few: of K, for more tasks; the result is the same for any number */
    ptrdiff_t round, together;              /* many: images whose v, and whose g, is made at a time */
    ptrdiff_t c_part, splits;               /* many: input channels of a block; tasks that share output channels */
    ptrdiff_t v_row, g_row, v_panel, v_plane, g_plane, s_plane;
    real *sums, *v, *scratch;
    size_t thread_scratch, bytes;
} FC(winograd_grad_plan);

static FC(winograd_grad_plan) FC(plan_winograd_grad)(const fc_conv2d *p, int m, void *workspace, int threads) {
    FC(winograd_grad_plan) f;
    f.m = m, f.planes = (m + 2) * (m + 2);
    const ptrdiff_t lanes = kernels.lanes, pair = 2 * lanes, item = sizeof(real);
    f.tile_rows = (p->OH + m - 1) / m, f.tile_cols = (p->OW + m - 1) / m;
    f.channels = FC(round_up)(p->C, lanes);
    f.padded = FC(round_up)(p->K, pair);
    f.band = FC(tile_band)(f.planes, f.tile_rows, f.tile_cols, f.channels + f.padded);
    f.tiles = f.band * f.tile_cols;
    const ptrdiff_t pairs = f.padded / pair, image = f.tile_rows * f.tile_cols;
    f.many = f.planes * p->C * f.padded * item > GRAD_WEIGHTS;
    const ptrdiff_t c_parts = (p->C + GRAD_CHANNELS - 1) / GRAD_CHANNELS;
    f.c_part = FC(round_up)((p->C + c_parts - 1) / c_parts, lanes);
    /* many: v lies in panels [panel][tile][c_part], so that a block of s reads it from end to end */
    f.v_row = f.many ? f.c_part : f.channels;
    f.round = GRAD_SHARED / (f.planes * image * f.c_part * c_parts * item);
    if (f.round < 1) f.round = 1;
    const ptrdiff_t rounds = (p->N + f.round - 1) / f.round;
    f.round = rounds ? (p->N + rounds - 1) / rounds : 0; /* as equal as can be */
    f.together = GRAD_OWN / (f.planes * image * pair * item);
    if (f.together < 1) f.together = 1;
    if (f.together > f.round) f.together = f.round;
    f.splits = pairs < threads ? c_parts : 1;
    f.s_plane = (f.many ? p->C * pair : p->C * f.padded) + 16;
    const ptrdiff_t most = GRAD_SUMS / (f.planes * f.s_plane * item);
    f.chunks = p->N < GRAD_CHUNKS ? p->N : GRAD_CHUNKS;
    if (f.chunks > most) f.chunks = most;
    if (f.chunks < 1) f.chunks = 1;
    f.parts = f.chunks < 2 * threads ? (2 * threads + f.chunks - 1) / f.chunks : 1;
    if (f.parts > pairs) f.parts = pairs;
    f.part = (pairs + f.parts - 1) / f.parts * pair;
    f.g_row = f.many ? pair : f.part;
    f.v_panel = f.round * image * f.v_row;
    f.v_plane = (f.many ? f.v_panel * c_parts : f.tiles * f.v_row) + 16;
    f.g_plane = (f.many ? f.together * image : f.tiles) * f.g_row + 16;
    const size_t xs = (size_t)((m * f.band + 2) * (m * f.tile_cols + 2) * f.v_row);
    const size_t gs = (size_t)(m * m * f.tiles * f.g_row);
    const size_t own = (size_t)(f.planes * ((f.many ? 0 : f.v_plane) + f.g_plane));
    const size_t finish = (size_t)(f.many ? lanes * 9 * pair : (f.planes + 9) * f.padded);
    f.thread_scratch = xs + gs + own + finish;
    fc_arena arena = {workspace, 0};
    f.sums = fc_carve(&arena, (size_t)item * (size_t)(f.planes * f.s_plane * (f.many ? pairs : f.chunks)));
    f.v = fc_carve(&arena, f.many ? (size_t)(f.planes * f.v_plane * item) : 0);
    f.scratch = fc_carve(&arena, (size_t)item * f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* Tile rows i0 .. i0 + rows - 1 of x (C, H, W) -> v; width: C in whole vectors. */
static void FC(winograd_grad_v)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *x, ptrdiff_t C,
                                ptrdiff_t width, ptrdiff_t i0, ptrdiff_t rows, real *xs, real *v) {
    kernels.to_channels_last(x, C, p->H, p->W, f->m * i0 - p->pad_top, -p->pad_left, f->m * rows + 2,
                             f->m * f->tile_cols + 2, width, xs);
    kernels.winograd_input(f->m, rows, f->tile_cols, width, xs, v, f->v_row, f->v_plane);
}

/* The same of grad_y (K, OH, OW) -> g. */
static void FC(winograd_grad_g)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *gy, ptrdiff_t K,
                                ptrdiff_t width, ptrdiff_t i0, ptrdiff_t rows, real *gs, real *g) {
    kernels.to_channels_last(gy, K, p->OH, p->OW, f->m * i0, 0, f->m * rows, f->m * f->tile_cols, width, gs);
    kernels.winograd_grad_y(f->m, rows, f->tile_cols, width, gs, g, f->g_row, f->g_plane);
}

/* Few: adds one image to the sums [xi][c][padded] of output channels k .. k + part - 1. */
static void FC(winograd_grad_image)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *x, const real *gy,
                                    ptrdiff_t k, int add, real *scratch, real *sums) {
    const ptrdiff_t pair = 2 * kernels.lanes, width = f->padded - k < f->part ? f->padded - k : f->part;
    real *v = scratch, *g = v + f->planes * f->v_plane, *rest = g + f->planes * f->g_plane;
    for (ptrdiff_t i0 = 0; i0 < f->tile_rows; i0 += f->band, add = 1) {
        const ptrdiff_t rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band, tiles = rows * f->tile_cols;
        FC(winograd_grad_v)(p, f, x, p->C, f->channels, i0, rows, rest, v);
        FC(winograd_grad_g)(p, f, gy + k * p->OH * p->OW, p->K - k, width, i0, rows, rest, g);
        for (int xi = 0; xi < f->planes; xi++)
            for (ptrdiff_t j = 0; j < width; j += pair)
                kernels.outer_products(p->C, pair, tiles, v + xi * f->v_plane, f->v_row, g + xi * f->g_plane + j, f->g_row,
                                       add, sums + xi * f->s_plane + k + j, f->padded);
    }
}

/* Few weights.  Called by every thread of a team. */
static void FC(winograd_grad_few)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *grad_y, const real *x,
                                  real *grad_weight, real *scratch) {
    const ptrdiff_t x_image = p->C * p->H * p->W, y_image = p->K * p->OH * p->OW, lanes = kernels.lanes;
#pragma omp for schedule(dynamic, 1)
    for (ptrdiff_t task = 0; task < f->chunks * f->parts; task++) {
        const ptrdiff_t chunk = task / f->parts, k = task % f->parts * f->part;
        const ptrdiff_t begin = p->N * chunk / f->chunks, end = p->N * (chunk + 1) / f->chunks;
        if (k >= f->padded) continue;
        for (ptrdiff_t n = begin; n < end; n++)
            FC(winograd_grad_image)(p, f, x + n * x_image, grad_y + n * y_image, k, n > begin, scratch,
                                    f->sums + chunk * f->planes * f->s_plane);
    }
#pragma omp for schedule(static)
    for (ptrdiff_t c = 0; c < p->C; c++) { /* chunks in order; then back to 3x3 and to weight's order */
        real *added = scratch, *taps = scratch + f->planes * f->padded;
        for (int xi = 0; xi < f->planes; xi++)
            kernels.add_rows(f->sums + xi * f->s_plane + c * f->padded, f->planes * f->s_plane, f->chunks, f->padded,
                             added + xi * f->padded);
        kernels.winograd_grad_weight(f->m, (int)f->padded, added, f->padded, taps);
        for (ptrdiff_t t = 0; t < 9; t += lanes) {
            const int n = 9 - t < lanes ? (int)(9 - t) : (int)lanes;
            kernels.transpose(taps + t * f->padded, f->padded, n, p->K, grad_weight + c * 9 + t, p->C * 9, n, NULL);
        }
    }
}

/* Many: images first .. first + images - 1 of the batch, whose v is at f->v from tile `at` on in each panel: adds to the sums
 * of output channels k .. k + pair - 1 and input channels c0 .. end - 1. */
static void FC(winograd_grad_block)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *grad_y, ptrdiff_t first,
                                    ptrdiff_t images, ptrdiff_t at, ptrdiff_t k, ptrdiff_t c0, ptrdiff_t end, real *scratch) {
    const ptrdiff_t pair = 2 * kernels.lanes, tiles = f->tile_rows * f->tile_cols, y_image = p->K * p->OH * p->OW;
    real *g = scratch, *gs = g + f->planes * f->g_plane, *sums = f->sums + k / pair * f->planes * f->s_plane;
    for (ptrdiff_t n = 0; n < images; n++)
        for (ptrdiff_t i0 = 0; i0 < f->tile_rows; i0 += f->band) {
            const ptrdiff_t rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band;
            FC(winograd_grad_g)(p, f, grad_y + (first + n) * y_image + k * p->OH * p->OW, p->K - k, pair, i0, rows, gs,
                                g + (n * tiles + i0 * f->tile_cols) * pair);
        }
    for (int xi = 0; xi < f->planes; xi++)
        for (ptrdiff_t c = c0; c < end; c += f->c_part)
            kernels.outer_products(end - c < f->c_part ? end - c : f->c_part, pair, images * tiles,
                                   f->v + xi * f->v_plane + c / f->c_part * f->v_panel + at * f->v_row, f->v_row,
                                   g + xi * f->g_plane, pair, first > 0, sums + xi * f->s_plane + c * pair, pair);
}

/* Many: the sums of a block, back to 3x3 and to weight's order. */
static void FC(winograd_grad_finish)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, ptrdiff_t k, ptrdiff_t c0,
                                     ptrdiff_t end, real *taps, real *grad_weight) {
    const ptrdiff_t lanes = kernels.lanes, pair = 2 * lanes, left = p->K - k;
    const real *sums = f->sums + k / pair * f->planes * f->s_plane;
    for (ptrdiff_t c = c0; c < end; c += lanes) {
        const ptrdiff_t n = end - c < lanes ? end - c : lanes;
        for (ptrdiff_t i = 0; i < n; i++)
            kernels.winograd_grad_weight(f->m, (int)pair, sums + (c + i) * pair, f->s_plane, taps + i * 9 * pair);
        for (ptrdiff_t ct = 0; ct < n * 9; ct += lanes) {
            const int rows = n * 9 - ct < lanes ? (int)(n * 9 - ct) : (int)lanes;
            kernels.transpose(taps + ct * pair, pair, rows, left < pair ? left : pair, grad_weight + (k * p->C + c) * 9 + ct,
                              p->C * 9, rows, NULL);
        }
    }
}

/* Many weights.  Called by every thread of a team. */
static void FC(winograd_grad_many)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *grad_y, const real *x,
                                   real *grad_weight, real *scratch) {
    const ptrdiff_t x_image = p->C * p->H * p->W, pair = 2 * kernels.lanes;
    const ptrdiff_t tiles = f->tile_rows * f->tile_cols, bands = (f->tile_rows + f->band - 1) / f->band;
    const ptrdiff_t c_parts = (p->C + f->c_part - 1) / f->c_part, pairs = f->padded / pair, each = c_parts / f->splits;
    for (ptrdiff_t first = 0; first < p->N; first += f->round) {
        const ptrdiff_t images = p->N - first < f->round ? p->N - first : f->round;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t unit = 0; unit < images * bands; unit++) {
            const ptrdiff_t n = unit / bands, i0 = unit % bands * f->band;
            const ptrdiff_t rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band;
            for (ptrdiff_t j = 0, c = 0; j < c_parts; j++, c += f->c_part)
                FC(winograd_grad_v)(p, f, x + (first + n) * x_image + c * p->H * p->W, p->C - c, f->c_part, i0, rows, scratch,
                                    f->v + j * f->v_panel + (n * tiles + i0 * f->tile_cols) * f->v_row);
        }
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < pairs * f->splits; task++) {
            const ptrdiff_t k = task / f->splits * pair, c0 = task % f->splits * each * f->c_part;
            const ptrdiff_t end = p->C - c0 < each * f->c_part ? p->C : c0 + each * f->c_part;
            for (ptrdiff_t n = 0; n < images; n += f->together)
                FC(winograd_grad_block)(p, f, grad_y, first + n, images - n < f->together ? images - n : f->together,
                                        n * tiles, k, c0, end, scratch);
            if (first + images == p->N) FC(winograd_grad_finish)(p, f, k, c0, end, scratch, grad_weight);
        }
    }
}

/* Returns 0, with nothing written, when some number is beyond the limit. */
static int FC(winograd_grad_weight)(const fc_conv2d *p, const FC(winograd_grad_plan) *f, const real *grad_y, const real *x,
                                    real *grad_weight, int threads) {
    const ptrdiff_t x_image = p->C * p->H * p->W, y_image = p->K * p->OH * p->OW;
    const double flops = fc_product(p->N, p->K, p->C, 9, p->OH, p->OW);
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
            if (f->many) FC(winograd_grad_many)(p, f, grad_y, x, grad_weight, scratch);
            else FC(winograd_grad_few)(p, f, grad_y, x, grad_weight, scratch);
        }
        fc_mode_leave(mode);
    }
    return within;
}
