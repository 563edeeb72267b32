/* Winograd F(2x2, 3x3) for 3x3 kernels with stride 1, forward and grad_x (the same with the kernel turned round); the
 * gradient of the weight is in winograd_grad.c, the transforms and their formulas are in kernels/winograd.c.
 *
 * A unit is a band of tile rows of one image.  It is turned into [row][column][channel] and transformed to
 * v [xi][tile][c]; for each block of output channels, v times the transformed weights gives m [xi][tile][k], which is
 * transformed back and written in rows.  Three schedules do the same sums:
 *
 *   few weights   they are all transformed first and stay in L2; a task takes a unit (or some small ones) through all
 *                 blocks of output channels, v staying in L2 too
 *   many weights  v of as many images as fit in shared memory is made first; a task takes a block of output channels,
 *                 transforms its weights, and goes through all units: each weight is read once.  For few units too
 *   alone         one small image: each thread makes the whole v for itself and takes blocks of output channels, with
 *                 nothing shared: to fetch half of v from another core takes longer than to make it
 *
 * Each number of the result depends on its own tile alone, so neither units nor threads nor other images show in it.
 *
 * Sums and differences of neighbours would carry an infinity or NaN to results that don't see it, and could overflow:
 * an image with numbers beyond WINOGRAD_LIMIT is left to the direct kernels, on its own. */

#ifndef FC_WINOGRAD
#define FC_WINOGRAD
enum {
    WINOGRAD_BYTES = 384 << 10,   /* of v (and of transformed grad_y) at a time: a part of L2 */
    WINOGRAD_TILES = 64,          /* tiles of a unit, at most */
    WINOGRAD_WEIGHTS = 1536 << 10,/* more transformed weights than this are many */
    WINOGRAD_SHARED = 8 << 20,    /* of v in shared memory */
    WINOGRAD_PART = 128,          /* tiles that a task multiplies at a time, with many weights */
};
/* Below this no sum or product of a transform can overflow. */
#define WINOGRAD_LIMIT_f32 0x1p54f
#define WINOGRAD_LIMIT_f64 0x1p480
#endif

/* m of F(m x m, 3x3), or 0 where it doesn't pay: there must be enough channels on both sides to pay for the transforms.
 * m = 4 rounds worse, so it needs permission; and it must save enough products, tiles that overhang the image counted,
 * to pay for larger transforms: those of the gradient of few weights cost most. */
static int FC(winograd_tile)(ptrdiff_t C, ptrdiff_t K, ptrdiff_t rows, ptrdiff_t cols, int precision, int gradient) {
    if (C < 16 || K < 16 || rows * cols < 36) return 0;
    if (sizeof(real) != 4 || precision == 0) return 2;
    const double products_2 = 16.0 * (double)((rows + 1) / 2 * ((cols + 1) / 2));
    const double products_4 = 36.0 * (double)((rows + 3) / 4 * ((cols + 3) / 4));
    return products_2 > products_4 * (gradient && C * K < 16384 ? 1.45 : 1.25) ? 4 : 2;
}

static ptrdiff_t FC(round_up)(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* Tile rows of a unit. */
static ptrdiff_t FC(tile_band)(int planes, ptrdiff_t tile_rows, ptrdiff_t tile_cols, ptrdiff_t channels) {
    ptrdiff_t tiles = WINOGRAD_BYTES / (planes * channels * (ptrdiff_t)sizeof(real));
    if (tiles > WINOGRAD_TILES) tiles = WINOGRAD_TILES;
    ptrdiff_t band = tiles / tile_cols;
    if (band < 1) band = 1;
    if (band > tile_rows) band = tile_rows;
    const ptrdiff_t bands = (tile_rows + band - 1) / band; /* as equal as can be */
    return (tile_rows + bands - 1) / bands;
}

/* -- the plan ------------------------------------------------------------------------------------------------------- */

typedef struct {
    int m, planes;                            /* F(m x m, 3x3) and its (m + 2)^2 products */
    ptrdiff_t tile_rows, tile_cols, channels; /* channels: C in whole vectors */
    ptrdiff_t tiles;                          /* of an image */
    ptrdiff_t band, bands;                    /* tile rows of a unit; units of an image */
    int many, alone;                          /* which schedule; few if neither */
    ptrdiff_t together;                       /* few: images of a task, more than one only where an image is one unit */
    ptrdiff_t round, splits;                  /* many: images whose v is in memory at a time; tasks for a block of K */
    ptrdiff_t v_row, v_plane, m_plane, u_plane;
    real *u, *v, *scratch;
    uint8_t *beyond;                          /* images with numbers beyond the limit */
    size_t x_part, v_part, m_part, y_part, u_part, part; /* of a thread's scratch, in elements; their sum */
    size_t bytes;
} FC(winograd_plan);

static FC(winograd_plan) FC(plan_winograd)(const FC(correlation) *q, const FC(blocks) *b, int m, void *workspace,
                                           int threads) {
    FC(winograd_plan) f;
    f.m = m, f.planes = (m + 2) * (m + 2);
    const ptrdiff_t lanes = kernels.lanes, all = q->images * q->groups;
    f.tile_rows = (q->rows + m - 1) / m, f.tile_cols = (q->cols + m - 1) / m;
    f.tiles = f.tile_rows * f.tile_cols;
    f.channels = FC(round_up)(q->C, lanes);
    f.band = FC(tile_band)(f.planes, f.tile_rows, f.tile_cols, f.channels);
    const ptrdiff_t v_image = f.planes * f.tiles * f.channels * (ptrdiff_t)sizeof(real);
    f.alone = all == 1 && threads > 1 && b->blocks >= threads && v_image <= WINOGRAD_BYTES;
    if (f.alone) f.band = f.tile_rows;
    while (!f.alone && f.band > 1 && all * ((f.tile_rows + f.band - 1) / f.band) < 2 * threads) f.band = (f.band + 1) / 2;
    f.bands = (f.tile_rows + f.band - 1) / f.band;
    /* With a few units only, blocks of output channels are easier to share among the threads. */
    f.many = q->groups == 1 && !f.alone &&
             (f.planes * f.channels * q->K * (ptrdiff_t)sizeof(real) > WINOGRAD_WEIGHTS ||
              (threads > 1 && all * f.bands < 4 * threads && b->blocks >= threads));
    f.together = 1;
    if (f.bands == 1 && q->groups == 1 && !f.many)
        while (f.together * 2 * f.tiles <= WINOGRAD_TILES && f.together * 4 * threads <= q->images &&
               f.together * 2 * f.tiles * f.planes * f.channels * (ptrdiff_t)sizeof(real) <= WINOGRAD_BYTES)
            f.together *= 2;
    f.round = WINOGRAD_SHARED / v_image < 1 ? 1 : WINOGRAD_SHARED / v_image;
    if (f.round > q->images) f.round = q->images;
    f.splits = 1;
    while (b->blocks * f.splits < 2 * threads && f.splits * f.band * f.tile_cols * 2 < f.round * f.tiles) f.splits *= 2;
    /* Rows and planes are kept off multiples of 2 KB, which would all fall into the same few places of L1. */
    f.v_row = f.channels + (f.many ? 16 : 0);
    const ptrdiff_t most = f.together * f.band * f.tile_cols;
    const ptrdiff_t part = most < WINOGRAD_PART ? WINOGRAD_PART : most; /* many: tiles of m */
    f.v_plane = (f.many ? f.round * f.tiles : most) * f.v_row + 16;
    f.m_plane = (f.many ? part : most) * b->width + 16;
    f.u_plane = (f.many ? 1 : b->blocks) * b->width * q->C + 16;
    f.x_part = (size_t)((m * f.band + 2) * (m * f.tile_cols + 2) * f.channels);
    f.v_part = f.many ? 0 : (size_t)(f.planes * f.v_plane);
    f.m_part = (size_t)(f.planes * f.m_plane);
    f.y_part = (size_t)(m * m * f.band * f.tile_cols * b->width);
    f.u_part = f.many ? (size_t)(f.planes * f.u_plane) : 0;
    f.part = f.x_part + f.v_part + f.m_part + f.y_part + f.u_part + FC(weight_slice_size)(b);
    fc_arena arena = {workspace, 0};
    f.beyond = fc_carve(&arena, (size_t)q->images);
    f.u = fc_carve(&arena, f.many ? 0 : sizeof(real) * (size_t)(f.planes * f.u_plane * q->groups));
    f.v = fc_carve(&arena, f.many ? sizeof(real) * (size_t)(f.planes * f.v_plane) : 0);
    f.scratch = fc_carve(&arena, sizeof(real) * f.part * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* -- its parts ------------------------------------------------------------------------------------------------------- */

/* A block of output channels: its weights, transformed, [xi][c][width]. */
static void FC(winograd_u)(const FC(weights) *w, const FC(blocks) *b, const FC(winograd_plan) *f, ptrdiff_t g, ptrdiff_t block,
                           real *slice, real *u) {
    const int width = FC(block_vectors)(b, w->K, block) * kernels.lanes;
    for (ptrdiff_t c = 0; c < w->C; c += WEIGHT_SLICE) {
        const ptrdiff_t n = w->C - c < WEIGHT_SLICE ? w->C - c : WEIGHT_SLICE;
        FC(weight_slice)(w, g, block * b->width, width, c, n, slice);
        kernels.winograd_weights(f->m, n, width, slice, u + c * width, f->u_plane);
    }
}

/* Tile rows i0 .. i0 + rows - 1 of image x (C, H, W) -> v [xi][tile][v_row] */
static void FC(winograd_v)(const FC(correlation) *q, const FC(winograd_plan) *f, const real *x, ptrdiff_t i0, ptrdiff_t rows,
                           real *xs, real *v) {
    kernels.to_channels_last(x, q->C, q->H, q->W, f->m * i0 + q->top, q->left, f->m * rows + 2,
                             f->m * f->tile_cols + 2, f->channels, xs);
    kernels.winograd_input(f->m, rows, f->tile_cols, f->channels, xs, v, f->v_row, f->v_plane);
}

/* m [xi][tile][width] of tile rows i0 .. i0 + rows - 1 -> y of channels k .. k + width - 1, as far as they exist; y points
 * at the first of them in its image. */
static void FC(winograd_y)(const FC(correlation) *q, const FC(winograd_plan) *f, const real *m, int width, ptrdiff_t K,
                           ptrdiff_t i0, ptrdiff_t tile_rows, const real *bias, real *ys, real *y) {
    const ptrdiff_t lanes = kernels.lanes, from_cols = f->m * f->tile_cols;
    const ptrdiff_t left = q->rows - f->m * i0, rows = left < f->m * tile_rows ? left : f->m * tile_rows;
    kernels.winograd_output(f->m, tile_rows, f->tile_cols, width, m, f->m_plane, bias, ys);
    y += q->y_offset + f->m * i0 * q->y_row;
    /* Where whole rows lie one behind the other in y too, they are one run. */
    const int whole = from_cols == q->cols && q->y_row == q->cols;
    const ptrdiff_t runs = whole ? 1 : rows, length = whole ? rows * q->cols : q->cols;
    for (ptrdiff_t k = 0; k < width && k < K; k += lanes)
        for (ptrdiff_t r = 0; r < runs; r++)
            kernels.to_rows(ys + r * from_cols * width + k, width, length, K - k < lanes ? (int)(K - k) : (int)lanes,
                            y + k * q->y_channel + r * q->y_row, q->y_channel);
}

/* Like winograd_y, with the 2x2 max pool that follows in the same call; image: the first channel's n * K + k. */
static void FC(winograd_pooled)(const FC(correlation) *q, const FC(winograd_plan) *f, const real *m, int width, ptrdiff_t K,
                                ptrdiff_t i0, ptrdiff_t tile_rows, const real *bias, real *ys, ptrdiff_t image) {
    const FC(after) *after = q->after;
    const ptrdiff_t half = f->m / 2, from_cols = half * f->tile_cols, most = half * tile_rows, plane = after->OH * after->OW;
    const ptrdiff_t left = after->OH - half * i0, rows = left < most ? left : most, lanes = kernels.lanes;
    FC(int) *codes = after->what.winners ? (FC(int) *)(ys + most * from_cols * width) : NULL;
    real *turned = ys + 2 * most * from_cols * width;
    kernels.winograd_pool(f->m, tile_rows, f->tile_cols, width, m, f->m_plane, bias, after->what.relu, ys, codes);
    const int whole = from_cols == after->OW;
    const ptrdiff_t runs = whole ? 1 : rows, length = whole ? rows * after->OW : after->OW;
    for (ptrdiff_t k = 0; k < width && k < K && length > 0; k += lanes)
        for (ptrdiff_t r = 0; r < runs; r++) {
            const ptrdiff_t from = r * from_cols * width + k, to = (image + k) * plane + (half * i0 + r) * after->OW;
            const int channels = K - k < lanes ? (int)(K - k) : (int)lanes;
            kernels.to_rows(ys + from, width, length, channels, after->y + to, plane);
            if (!codes) continue;
            kernels.to_rows((const real *)codes + from, width, length, channels, turned, length); /* moves any bits */
            for (int i = 0; i < channels; i++)
                kernels.to_bytes((const FC(int) *)turned + i * length, length, after->what.winners + to + i * plane);
        }
}

/* -- the schedules ---------------------------------------------------------------------------------------------------- */

/* Few weights: all of them.  Called by every thread of a team. */
static void FC(winograd_all_u)(const FC(blocks) *b, const FC(winograd_plan) *f, const FC(weights) *w, ptrdiff_t groups) {
    real *slice = f->scratch + (size_t)omp_get_thread_num() * f->part + f->x_part + f->v_part + f->m_part + f->y_part;
#pragma omp for schedule(static) nowait
    for (ptrdiff_t i = 0; i < groups * b->blocks; i++) {
        const ptrdiff_t g = i / b->blocks, block = i % b->blocks;
        FC(winograd_u)(w, b, f, g, block, slice, f->u + g * f->planes * f->u_plane + block * b->width * w->C);
    }
}

/* Few weights: v of `images` images of `tiles` tiles each, the first of them `first` (of images x groups), from tile row i0
 * on -> y of one block of output channels, whose transformed weights are in f->u. */
static void FC(winograd_block)(const FC(correlation) *q, const FC(blocks) *b, const FC(winograd_plan) *f, ptrdiff_t first,
                               ptrdiff_t images, ptrdiff_t i0, ptrdiff_t rows, ptrdiff_t block, const real *v, real *m,
                               real *ys, const real *bias, real *y) {
    const int kv = FC(block_vectors)(b, q->K, block), width = kv * kernels.lanes;
    const ptrdiff_t k = block * b->width, tiles = rows * f->tile_cols, g = first % q->groups;
    const real *u = f->u + g * f->planes * f->u_plane + k * q->C, *start = bias + g * b->blocks * b->width + k;
    for (int xi = 0; xi < f->planes; xi++)
        kernels.winograd_multiply(images * tiles, q->C, f->v_row, kv, v + xi * f->v_plane, u + xi * f->u_plane,
                                  m + xi * f->m_plane);
    for (ptrdiff_t n = 0; n < images; n++) {
        const ptrdiff_t image = (first + n) * q->K + k;
        if (q->after) FC(winograd_pooled)(q, f, m + n * tiles * width, width, q->K - k, i0, rows, start, ys, image);
        else FC(winograd_y)(q, f, m + n * tiles * width, width, q->K - k, i0, rows, start, ys, y + image * q->y_channel);
    }
}

/* Few weights: all images.  Called by every thread of a team. */
static void FC(winograd_few)(const FC(correlation) *q, const FC(blocks) *b, const FC(winograd_plan) *f, const real *x,
                             const real *bias, real *y) {
    real *xs = f->scratch + (size_t)omp_get_thread_num() * f->part;
    real *v = xs + f->x_part, *m = v + f->v_part, *ys = m + f->m_part;
    const ptrdiff_t all = q->images * q->groups, sets = (all + f->together - 1) / f->together;
#pragma omp for schedule(dynamic, 1)
    for (ptrdiff_t task = 0; task < sets * f->bands; task++) {
        const ptrdiff_t first = task / f->bands * f->together, i0 = task % f->bands * f->band;
        const ptrdiff_t images = all - first < f->together ? all - first : f->together;
        const ptrdiff_t rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band, tiles = rows * f->tile_cols;
        if (images == 1 && f->beyond[first / q->groups]) continue;
        for (ptrdiff_t n = 0; n < images; n++)
            FC(winograd_v)(q, f, x + (first + n) * q->C * q->H * q->W, i0, rows, xs, v + n * tiles * f->v_row);
        for (ptrdiff_t block = 0; block < b->blocks; block++)
            FC(winograd_block)(q, b, f, first, images, i0, rows, block, v, m, ys, bias, y);
    }
}

/* Alone: the one image.  Called by every thread of a team. */
static void FC(winograd_alone)(const FC(correlation) *q, const FC(blocks) *b, const FC(winograd_plan) *f, const real *x,
                               const FC(weights) *w, const real *bias, real *y) {
    real *xs = f->scratch + (size_t)omp_get_thread_num() * f->part;
    real *v = xs + f->x_part, *m = v + f->v_part, *ys = m + f->m_part, *slice = ys + f->y_part;
    FC(winograd_v)(q, f, x, 0, f->tile_rows, xs, v);
#pragma omp for schedule(static) nowait
    for (ptrdiff_t block = 0; block < b->blocks; block++) {
        FC(winograd_u)(w, b, f, 0, block, slice, f->u + block * b->width * w->C);
        FC(winograd_block)(q, b, f, 0, 1, 0, f->tile_rows, block, v, m, ys, bias, y);
    }
}

/* Many weights, images first .. first + images - 1.  Called by every thread of a team. */
static void FC(winograd_many)(const FC(correlation) *q, const FC(blocks) *b, const FC(winograd_plan) *f, ptrdiff_t first,
                              ptrdiff_t images, const real *x, const FC(weights) *w, const real *bias, real *y) {
    real *xs = f->scratch + (size_t)omp_get_thread_num() * f->part;
    real *m = xs + f->x_part, *ys = m + f->m_part, *slice = ys + f->y_part, *u = slice + FC(weight_slice_size)(b);
    const ptrdiff_t units = images * f->bands, each = (units + f->splits - 1) / f->splits;
#pragma omp for schedule(dynamic, 1)
    for (ptrdiff_t unit = 0; unit < units; unit++) {
        const ptrdiff_t n = unit / f->bands, i0 = unit % f->bands * f->band;
        const ptrdiff_t rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band;
        FC(winograd_v)(q, f, x + (first + n) * q->C * q->H * q->W, i0, rows, xs,
                       f->v + (n * f->tiles + i0 * f->tile_cols) * f->v_row);
    }
#pragma omp for schedule(dynamic, 1)
    for (ptrdiff_t task = 0; task < b->blocks * f->splits; task++) {
        const ptrdiff_t block = task / f->splits, begin = task % f->splits * each;
        const ptrdiff_t end = units - begin < each ? units : begin + each, k = block * b->width;
        const int kv = FC(block_vectors)(b, q->K, block), width = kv * kernels.lanes;
        if (begin < end) FC(winograd_u)(w, b, f, 0, block, slice, u);
        for (ptrdiff_t unit = begin, next; unit < end; unit = next) {
            /* As many units as m holds: their tiles follow each other in v. */
            ptrdiff_t tiles = 0;
            for (next = unit; next < end; next++) {
                const ptrdiff_t i0 = next % f->bands * f->band;
                const ptrdiff_t more = (f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band) * f->tile_cols;
                if (next > unit && tiles + more > WINOGRAD_PART) break;
                tiles += more;
            }
            const real *v = f->v + (unit / f->bands * f->tiles + unit % f->bands * f->band * f->tile_cols) * f->v_row;
            for (int xi = 0; xi < f->planes; xi++)
                kernels.winograd_multiply(tiles, q->C, f->v_row, kv, v + xi * f->v_plane, u + xi * f->u_plane,
                                          m + xi * f->m_plane);
            const real *at = m;
            for (ptrdiff_t i = unit; i < next; i++) {
                const ptrdiff_t i0 = i % f->bands * f->band, rows = f->tile_rows - i0 < f->band ? f->tile_rows - i0 : f->band;
                if (q->after)
                    FC(winograd_pooled)(q, f, at, width, q->K - k, i0, rows, bias + k, ys,
                                        (first + i / f->bands) * q->K + k);
                else
                    FC(winograd_y)(q, f, at, width, q->K - k, i0, rows, bias + k, ys,
                               y + ((first + i / f->bands) * q->K + k) * q->y_channel);
                at += rows * f->tile_cols * width;
            }
        }
    }
}

/* bias: in whole blocks.  Returns whether some images are left out, those with f->beyond. */
static int FC(winograd)(const FC(correlation) *q, const FC(blocks) *b, const FC(winograd_plan) *f, const real *x,
                        const FC(weights) *w, const real *bias, real *y, int threads) {
    const double flops = fc_product(q->images, q->groups, q->K, q->C, 9, q->rows, q->cols);
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
    const ptrdiff_t image = q->groups * q->C * q->H * q->W;
    int beyond = 0;
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        if (f->alone && team > 1) { /* each thread finds out for itself, which is quicker than to wait */
            const int leave = !kernels.all_within(x, image, FC(WINOGRAD_LIMIT));
            if (!leave) FC(winograd_alone)(q, b, f, x, w, bias, y);
#pragma omp single nowait
            f->beyond[0] = (uint8_t)leave, beyond = leave;
        } else {
#pragma omp for schedule(static) reduction(|| : beyond) nowait
            for (ptrdiff_t n = 0; n < q->images; n++) {
                f->beyond[n] = !kernels.all_within(x + n * image, image, FC(WINOGRAD_LIMIT));
                beyond = beyond || f->beyond[n];
            }
            if (!f->many) FC(winograd_all_u)(b, f, w, q->groups);
#pragma omp barrier
            const int go = !(beyond && q->after); /* with an epilogue it is all or nothing */
            if (go && !f->many) FC(winograd_few)(q, b, f, x, bias, y);
            for (ptrdiff_t n = 0; go && f->many && n < q->images; n += f->round)
                FC(winograd_many)(q, b, f, n, q->images - n < f->round ? q->images - n : f->round, x, w, bias, y);
        }
        fc_mode_leave(mode);
    }
    return beyond;
}
