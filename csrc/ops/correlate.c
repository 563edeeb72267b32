/* Correlation of a batch of images with packed weights: the common ground of conv2d's forward and grad_x.
 *
 *   y[n][g][k][i][j] = bias[k] + sum over c, t of w[g][k][c][t] * x[n][g][c][i * step_h + dy[t]][j * step_w + dx[t]]
 *
 * where what lies outside x is left out.  Two kernels compute it, to the same bits (each sum runs over c, then t):
 *
 *   channels    vectors over output channels; x as it lies, or a padded copy of a band of rows
 *   positions   vectors over positions; shifted copies of a band of rows.  For few channels and short sums.
 *
 * A task is one image (of one group) and one band of its rows; it goes through all blocks of output channels. */

#ifndef FC_CORRELATE
#define FC_CORRELATE
enum {
    BAND_BYTES = 288 << 10, /* of x in scratch at a time: a part of L2, beside the weights */
    /* A padded plane larger than this is mostly border: see absurd below. */
    ABSURD_FACTOR = 8,
    ABSURD_PLANE = 4096,
};
#endif

typedef struct {
    ptrdiff_t images, groups;
    ptrdiff_t C, H, W;                         /* input, of one group */
    ptrdiff_t K, rows, cols;                   /* output, of one group */
    ptrdiff_t step_h, step_w, R, S;            /* the taps lie on a grid of R x S */
    ptrdiff_t T;                               /* taps that this pass uses: w_first .. w_first + T - 1 of w_taps */
    ptrdiff_t w_first, w_taps;
    const ptrdiff_t *dy, *dx;                  /* T each */
    ptrdiff_t top, left, height, width;        /* the box around the taps: dy in top .. top + height - 1, dx likewise */
    ptrdiff_t y_channel, y_row, y_col, y_offset;
    const FC(after) *after; /* what to do with each band of a block of channels (epilogue.c); or NULL */
} FC(correlation);

/* How the output channels are cut in blocks: the layout of the packed weights, the same for all passes of a call. */
typedef struct {
    int positions;    /* which kernel */
    int width;        /* channels in a block */
    ptrdiff_t blocks; /* in a group */
} FC(blocks);

/* Chosen from the shape alone, never from N or the threads.  Winograd builds on the channels layout. */
static FC(blocks) FC(choose_blocks)(ptrdiff_t K, ptrdiff_t C, ptrdiff_t T, int winograd) {
    const ptrdiff_t lanes = kernels.lanes;
    FC(blocks) b;
    const ptrdiff_t padded = (K + lanes - 1) / lanes * lanes;
    b.positions = !winograd && (padded * 4 > K * 5 || C * T <= 32);
    if (b.positions) {
        /* The block that wastes least, the largest of equals. */
        b.width = 1;
        ptrdiff_t best = K * 4;
        for (int width = 2; width <= 8; width++) {
            if (kernels.lanes <= 8 && (width == 7 || width == 8 || width == 3)) continue; /* poor tiles with 16 registers */
            ptrdiff_t cost = (K + width - 1) / width * width * (width < 4 ? 2 : 1);
            if (cost <= best) best = cost, b.width = width;
        }
    } else {
        b.width = (int)(2 * lanes);
    }
    b.blocks = (K + b.width - 1) / b.width;
    return b;
}

/* Vectors of channels in block i: a last block that needs only one vector has one. */
static int FC(block_vectors)(const FC(blocks) *b, ptrdiff_t K, ptrdiff_t i) {
    return K - i * b->width > kernels.lanes ? 2 : 1;
}

static size_t FC(packed_weights)(const FC(blocks) *b, ptrdiff_t groups, ptrdiff_t C, ptrdiff_t T) {
    return (size_t)groups * (size_t)b->blocks * (size_t)b->width * (size_t)(C * T);
}

/* Whether some tap looks outside x. */
static int FC(needs_padding)(const FC(correlation) *q) {
    return q->T > 0 && (q->top < 0 || q->left < 0 || (q->rows - 1) * q->step_h + q->top + q->height > q->H ||
                        (q->cols - 1) * q->step_w + q->left + q->width > q->W);
}

/* Rows of y in a band, and the scratch of a thread for it. */
typedef struct {
    ptrdiff_t band, bands;
    size_t scratch;     /* elements */
    ptrdiff_t plane;    /* elements of x of one channel in scratch (positions: of one copy) */
    ptrdiff_t copies;   /* positions: copies of each channel, at most */
    ptrdiff_t x_rows;   /* rows of a plane */
    ptrdiff_t x_width;  /* channels: padded row */
    int absurd;         /* the padded band dwarfs the image (stride, dilation or padding in the thousands): no copy */
} FC(bands);

/* Rows of a plane in scratch for a band of rows of y. */
static ptrdiff_t FC(rows_for)(const FC(correlation) *q, const FC(blocks) *b, ptrdiff_t band) {
    return b->positions ? band - 1 + (q->height - 1) / q->step_h + 1 : (band - 1) * q->step_h + q->height;
}

static FC(bands) FC(choose_bands)(const FC(correlation) *q, const FC(blocks) *b, int threads) {
    FC(bands) d;
    d.copies = b->positions ? q->S * (q->step_h < q->R ? q->step_h : q->R) : 1;
    d.x_width = b->positions ? q->cols : (q->cols - 1) * q->step_w + q->width;
    ptrdiff_t rows = q->rows;
    const double row_bytes = fc_product(q->C, d.copies, d.x_width, sizeof(real));
    while (rows > 2 && row_bytes * (double)FC(rows_for)(q, b, rows) > BAND_BYTES) rows = (rows + 1) / 2;
    /* Enough tasks for the threads; the result is the same for any band. */
    const ptrdiff_t tasks = q->images * q->groups;
    while (rows > 4 && tasks * ((q->rows + rows - 1) / rows) < 2 * threads) rows = (rows + 1) / 2;
    if (q->after) rows = FC(after_rows)(q->rows, rows, b->width * q->cols);
    d.band = rows;
    d.bands = (q->rows + rows - 1) / rows;
    d.x_rows = FC(rows_for)(q, b, rows);
    d.plane = d.x_rows * d.x_width;
    d.absurd = (FC(needs_padding)(q) || b->positions) && d.plane > ABSURD_FACTOR * q->H * q->W + ABSURD_PLANE;
    if (d.absurd) {
        d.scratch = 0;
        return d;
    }
    /* A tile of positions reads up to 8 vectors past the end, pad_plane writes one. */
    d.scratch = (size_t)(q->C * d.copies * d.plane + 9 * kernels.lanes);
    d.scratch = (d.scratch + 15) & ~(size_t)15;
    /* Positions: y of one block, where it can't be written as it comes. */
    if (b->positions) d.scratch += (size_t)(b->width * rows * q->cols + 8 * kernels.lanes);
    return d;
}

/* What a call needs besides packed weights: taps as offsets, and scratch for each thread. */
static size_t FC(correlation_scratch)(const FC(correlation) *q, const FC(blocks) *b, int threads) {
    const FC(bands) d = FC(choose_bands)(q, b, threads);
    fc_arena arena = {NULL, 0};
    fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)(q->R * q->S + 1));
    fc_carve(&arena, 2 * sizeof(ptrdiff_t) * (size_t)d.copies);
    for (int i = 0; i < threads; i++) fc_carve(&arena, sizeof(real) * d.scratch);
    return arena.used;
}

/* The plain way, tap by tap with a look at the border: for weights that are not finite, of which a zero of the padding
 * would make NaN, and for borders too large to be written out. */
static void FC(correlate_carefully)(const FC(correlation) *q, const FC(blocks) *b, const real *x, const real *w,
                                    const real *bias, real *y, ptrdiff_t g) {
    const ptrdiff_t group_weights = (ptrdiff_t)FC(packed_weights)(b, 1, q->C, q->w_taps);
    for (ptrdiff_t k = 0; k < q->K; k++) {
        const ptrdiff_t block = k / b->width, lane = k % b->width;
        const ptrdiff_t width = b->positions ? b->width : FC(block_vectors)(b, q->K, block) * kernels.lanes;
        const real *wk = w + g * group_weights + block * b->width * q->C * q->w_taps + q->w_first * width + lane;
        for (ptrdiff_t i = 0; i < q->rows; i++)
            for (ptrdiff_t j = 0; j < q->cols; j++) {
                real sum = bias[g * b->blocks * b->width + k];
                for (ptrdiff_t c = 0; c < q->C; c++)
                    for (ptrdiff_t t = 0; t < q->T; t++) {
                        const ptrdiff_t h = i * q->step_h + q->dy[t], v = j * q->step_w + q->dx[t];
                        if (h >= 0 && h < q->H && v >= 0 && v < q->W)
                            sum += wk[(c * q->w_taps + t) * width] * x[(c * q->H + h) * q->W + v];
                    }
                y[k * q->y_channel + i * q->y_row + j * q->y_col] = sum;
            }
    }
}

/* The distinct shifted copies that the taps ask for, and each tap's offset into them.  Returns their number. */
static ptrdiff_t FC(plan_copies)(const FC(correlation) *q, const FC(bands) *d, ptrdiff_t *taps,
                                 ptrdiff_t *copy_row, ptrdiff_t *copy_col) {
    ptrdiff_t copies = 0;
    for (ptrdiff_t t = 0; t < q->T; t++) {
        const ptrdiff_t below = q->dy[t] - q->top, phase = below % q->step_h;
        ptrdiff_t i = 0;
        while (i < copies && (copy_row[i] != phase || copy_col[i] != q->dx[t])) i++;
        if (i == copies) {
            copy_row[copies] = phase;
            copy_col[copies++] = q->dx[t];
        }
        taps[t] = i * d->plane + below / q->step_h * q->cols;
    }
    return copies;
}

/* Where a task's band of rows begins in x, and how many of its rows exist; NULL when there is no such task. */
static const real *FC(next_band)(const FC(correlation) *q, const FC(bands) *d, const real *x, ptrdiff_t task,
                                 ptrdiff_t tasks, ptrdiff_t *rows) {
    if (task >= tasks) return NULL;
    const ptrdiff_t first = task % d->bands * d->band * q->step_h + q->top, end = first + d->x_rows;
    const ptrdiff_t begin = first < 0 ? 0 : first;
    *rows = (end < q->H ? end : q->H) - begin;
    return *rows > 0 ? x + task / d->bands * q->C * q->H * q->W + begin * q->W : NULL;
}

/* x, y: the whole batch; w, bias: packed by pack_weights.  workspace: correlation_scratch bytes. */
static void FC(correlate)(const FC(correlation) *q, const FC(blocks) *b, int finite, const real *x, const real *w,
                          const real *bias, real *y, void *workspace, int threads) {
    if (q->images == 0 || q->rows <= 0 || q->cols <= 0) return;
    const FC(bands) d = FC(choose_bands)(q, b, threads);
    const int padded = FC(needs_padding)(q), careful = d.absurd || (padded && !finite);
    fc_arena arena = {workspace, 0};
    ptrdiff_t *taps = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)(q->R * q->S + 1));
    ptrdiff_t *copy_row = fc_carve(&arena, 2 * sizeof(ptrdiff_t) * (size_t)d.copies), *copy_col = copy_row + d.copies;
    char *scratches = workspace ? (char *)workspace + arena.used : NULL;
    const size_t scratch_bytes = (sizeof(real) * d.scratch + 63) & ~(size_t)63;

    const int direct = !b->positions && !padded; /* x is used where it lies */
    const ptrdiff_t copies = b->positions && !careful ? FC(plan_copies)(q, &d, taps, copy_row, copy_col) : 1;
    if (!b->positions && !careful)
        for (ptrdiff_t t = 0; t < q->T; t++)
            taps[t] = direct ? q->dy[t] * q->W + q->dx[t] : (q->dy[t] - q->top) * d.x_width + q->dx[t] - q->left;

    const ptrdiff_t x_group = q->C * q->H * q->W, y_group = q->K * q->y_channel;
    const ptrdiff_t w_group = (ptrdiff_t)FC(packed_weights)(b, 1, q->C, q->w_taps);
    const ptrdiff_t tasks = q->images * q->groups * d.bands;
    const double flops = fc_product(q->images, q->groups, q->K, q->C, q->T, q->rows, q->cols);
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        real *scratch = (real *)(scratches + (size_t)omp_get_thread_num() * scratch_bytes);
        real *flat = scratch + (((size_t)(q->C * d.copies * d.plane + 9 * kernels.lanes) + 15) & ~(size_t)15);
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t image = task / d.bands, g = image % q->groups; /* of images x groups */
            const ptrdiff_t i0 = task % d.bands * d.band, rows = q->rows - i0 < d.band ? q->rows - i0 : d.band;
            const real *xi = x + image * x_group;
            real *yi = y + image * y_group + q->y_offset + i0 * q->y_row;
            if (careful) {
                if (i0 == 0) FC(correlate_carefully)(q, b, xi, w, bias, yi, g);
                continue;
            }
            const ptrdiff_t first = i0 * q->step_h + q->top;
            fc_correlation job = {.C = q->C, .T = q->T, .rows = rows, .cols = q->cols, .taps = taps,
                                  .y_channel = q->y_channel, .y_row = q->y_row, .y_col = q->y_col};
            const real *from = scratch;
            /* The band that this thread probably copies next is asked for while this one is multiplied. */
            ptrdiff_t next_rows = 0;
            const real *next = FC(next_band)(q, &d, x, task + team, tasks, &next_rows);
            if (direct) {
                from = xi + i0 * q->step_h * q->W;
                job.x_channel = q->H * q->W, job.x_row = q->step_h * q->W, job.x_col = q->step_w;
            } else if (!b->positions) {
                const ptrdiff_t x_rows = FC(rows_for)(q, b, rows);
                for (ptrdiff_t c = 0; c < q->C; c++)
                    kernels.pad_plane(xi + c * q->H * q->W, q->H, q->W, first, q->left, x_rows, d.x_width,
                                      scratch + c * d.plane, d.x_width);
                job.x_channel = d.plane, job.x_row = q->step_h * d.x_width, job.x_col = q->step_w;
            } else {
                const ptrdiff_t x_rows = FC(rows_for)(q, b, rows);
                for (ptrdiff_t c = 0; c < q->C; c++)
                    for (ptrdiff_t s = 0; s < copies; s++)
                        kernels.shift_plane(xi + c * q->H * q->W, q->H, q->W, first + copy_row[s], q->step_h, copy_col[s],
                                            q->step_w, x_rows, q->cols, scratch + (c * d.copies + s) * d.plane);
                job.x_channel = d.copies * d.plane, job.x_row = 0, job.x_col = 1;
            }
            const int scattered = b->positions && (q->y_col != 1 || q->y_row != q->cols || q->after);
            for (ptrdiff_t block = 0; block < b->blocks; block++) {
                const ptrdiff_t k = block * b->width;
                const real *wb = w + g * w_group + block * b->width * q->C * q->w_taps;
                const real *bb = bias + g * b->blocks * b->width + k;
                job.K = q->K - k;
                if (!b->positions) {
                    const int kv = FC(block_vectors)(b, q->K, block), width = kv * kernels.lanes;
                    job.w_channel = q->w_taps * width;
                    if (!direct && next) { /* each block asks for its share of the rows */
                        const ptrdiff_t row = next_rows * block / b->blocks, end = next_rows * (block + 1) / b->blocks;
                        job.next = row < end ? next + row * q->W : NULL;
                        job.next_channel = q->H * q->W;
                        job.next_lines = ((end - row) * q->W * (ptrdiff_t)sizeof(real) + 63) / 64;
                    }
                    kernels.correlate_channels(&job, kv, from, wb + q->w_first * width, bb, yi + k * q->y_channel);
                    continue;
                }
                const ptrdiff_t n = rows * q->cols;
                job.w_channel = q->w_taps * b->width;
                job.y_channel = scattered ? n : q->y_channel;
                kernels.correlate_positions(&job, b->width, n, from, wb + q->w_first * b->width, bb,
                                            scattered ? flat : yi + k * q->y_channel);
                if (q->after)
                    FC(finish_band)(q->after, image * q->K + k, job.K < b->width ? job.K : b->width, i0, rows, q->cols,
                                    flat);
                for (ptrdiff_t m = 0; scattered && !q->after && m < b->width && m < job.K; m++)
                    for (ptrdiff_t i = 0; i < rows; i++)
                        for (ptrdiff_t j = 0; j < q->cols; j++)
                            yi[(k + m) * q->y_channel + i * q->y_row + j * q->y_col] = flat[m * n + i * q->cols + j];
            }
        }
        fc_mode_leave(mode);
    }
}
