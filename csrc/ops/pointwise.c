/* Convolutions of one tap without padding, forward and grad_x: matrix products over the positions of all images.
 *
 *   out[n][k][p] = bias[k] + sum over c of w[k][c] * in[n][c][p]
 *
 * Position p = (i, j) of an image lies at (i * step_h, j * step_w) of its planes: strided in `in` for forward, in `out`
 * for grad_x, where zeros (or the bias alone) lie between.  The positions of all images, one after another, are cut in panels (grad_x with
 * a stride: bands of whole rows of one image); a task is a panel.  It goes through the channels c in chunks: a chunk of
 * the panel is copied to scratch, side by side, and multiplied by the weights of all output channels, whose sums wait
 * in scratch for the next chunk.  Each sum runs over c in order, whatever the panels and chunks: the bits are those of
 * correlate.c, which computes what is not worth a panel. */

#ifndef FC_POINTWISE
#define FC_POINTWISE
enum {
    POINT_TILE_BYTES = 24 << 10, /* of a chunk in one tile's positions: stays in L1 */
    POINT_PANEL = 5,             /* most tiles of positions in a panel */
    POINT_SUMS_BYTES = 320 << 10, /* of sums that wait in scratch: a part of L2, beside weights and panel */
};
#endif

typedef struct {
    ptrdiff_t images, groups, C, K;           /* C and K of one group */
    ptrdiff_t rows, cols;                     /* positions of an image */
    ptrdiff_t in_h, in_w, in_step_h, in_step_w;
    ptrdiff_t out_h, out_w, out_step_h, out_step_w;
    ptrdiff_t w_k, w_c;                       /* steps of the weight */
} FC(point_problem);

static int FC(is_pointwise)(const fc_conv2d *p) {
    /* Of a transposed convolution, x may have more rows than y has windows for. */
    return p->R == 1 && p->S == 1 && p->pad_top == 0 && p->pad_left == 0 && p->OH == (p->H - 1) / p->stride_h + 1 &&
           p->OW == (p->W - 1) / p->stride_w + 1 && p->stride_h <= p->H && p->stride_w <= p->W;
}

static FC(point_problem) FC(point_forward)(const fc_conv2d *p) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups;
    return (FC(point_problem)){.images = p->N, .groups = p->groups, .C = C, .K = K, .rows = p->OH, .cols = p->OW,
                               .in_h = p->H, .in_w = p->W, .in_step_h = p->stride_h, .in_step_w = p->stride_w,
                               .out_h = p->OH, .out_w = p->OW, .out_step_h = 1, .out_step_w = 1, .w_k = C, .w_c = 1};
}

static FC(point_problem) FC(point_grad_x)(const fc_conv2d *p) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups;
    return (FC(point_problem)){.images = p->N, .groups = p->groups, .C = K, .K = C, .rows = p->OH, .cols = p->OW,
                               .in_h = p->OH, .in_w = p->OW, .in_step_h = 1, .in_step_w = 1,
                               .out_h = p->H, .out_w = p->W, .out_step_h = p->stride_h, .out_step_w = p->stride_w,
                               .w_k = 1, .w_c = C};
}

/* Whether the panels pay: there must be enough channels to share their copy, but not so many that the sums wait in scratch
 * for most of the time, and tiles that are mostly full.  The other kernels give the same bits, so N may be looked at. */
static int FC(point_pays)(const FC(point_problem) *q) {
    const ptrdiff_t lanes = kernels.lanes, positions = q->images * q->rows * q->cols;
    const ptrdiff_t K = (q->K + kernels.tiles.point_rows - 1) / kernels.tiles.point_rows * kernels.tiles.point_rows;
    return q->K >= 16 && q->C >= 8 && q->C <= 768 && K * 8 <= q->K * 9 && (positions + lanes - 1) / lanes * lanes * 8 <= positions * 9;
}

typedef struct {
    ptrdiff_t chunks;             /* of C */
    ptrdiff_t panels;             /* of the positions; with `spread` of one image's rows, in bands */
    ptrdiff_t band;               /* spread: rows in a panel */
    ptrdiff_t width;              /* positions of the largest panel, in whole vectors */
    ptrdiff_t blocks;             /* of output channels, in a group */
    int spread, scattered;        /* spread: out has zeros between; scattered: sums wait in scratch */
    ptrdiff_t x_row;              /* elements of a row of a panel in scratch */
    real *packed, *bias, *scratch;
    size_t sums;                  /* elements of a thread's sums in scratch */
    size_t thread_scratch;        /* elements */
    size_t bytes;
} FC(point_plan);

static FC(point_plan) FC(plan_pointwise)(const FC(point_problem) *q, void *workspace, int threads) {
    FC(point_plan) f;
    const ptrdiff_t lanes = kernels.lanes, tile = kernels.tiles.point_vectors * lanes;
    const ptrdiff_t chunk = POINT_TILE_BYTES / (tile * (ptrdiff_t)sizeof(real));
    f.chunks = (q->C + chunk - 1) / chunk;
    f.spread = q->out_step_h > 1 || q->out_step_w > 1;
    f.scattered = f.chunks > 1 || f.spread;
    f.blocks = (q->K + kernels.tiles.point_rows - 1) / kernels.tiles.point_rows;
    ptrdiff_t tiles = POINT_PANEL;
    while (tiles > 1 && f.scattered && tiles * tile * (ptrdiff_t)sizeof(real) * q->K > POINT_SUMS_BYTES) tiles--;
    f.band = q->rows;
    if (f.spread) {
        /* The band that fills its vectors best, the largest of equals. */
        ptrdiff_t least = PTRDIFF_MAX, most = tiles * tile / q->cols;
        for (ptrdiff_t band = most < 1 ? 1 : most < q->rows ? most : q->rows; band > 0; band--) {
            const ptrdiff_t whole = (band * q->cols + lanes - 1) / lanes * (q->rows / band);
            const ptrdiff_t vectors = whole + (q->rows % band * q->cols + lanes - 1) / lanes;
            if (vectors < least) least = vectors, f.band = band;
        }
        f.panels = (q->rows + f.band - 1) / f.band;
        f.width = f.band * q->cols;
    } else {
        /* In whole tiles; as many panels for each thread: the result is the same for any number. */
        const ptrdiff_t all = (q->images * q->rows * q->cols + tile - 1) / tile;
        f.panels = (all + tiles - 1) / tiles;
        if (f.panels < 8 * threads) f.panels = (f.panels + threads - 1) / threads * threads;
        f.width = (all + f.panels - 1) / f.panels * tile;
    }
    f.width = (f.width + lanes - 1) / lanes * lanes;
    /* An odd number of cache lines, so that the rows of a tile fall in different sets of L1. */
    const ptrdiff_t line = 64 / (ptrdiff_t)sizeof(real);
    f.x_row = ((f.width + lanes + line - 1) / line | 1) * line;
    const ptrdiff_t per_chunk = (q->C + f.chunks - 1) / f.chunks;
    f.sums = (size_t)(f.blocks * kernels.tiles.point_rows * f.x_row);
    f.thread_scratch = (size_t)(per_chunk * f.x_row) + f.sums;
    fc_arena arena = {workspace, 0};
    f.packed = fc_carve(&arena, sizeof(real) * (size_t)(q->groups * f.blocks * kernels.tiles.point_rows * q->C));
    f.bias = fc_carve(&arena, sizeof(real) * (size_t)(q->groups * f.blocks * kernels.tiles.point_rows));
    f.scratch = fc_carve(&arena, sizeof(real) * f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    return f;
}

/* A run of positions of a panel that lie in one image: p0 .. p0 + n - 1 of it are the panel's from `at` on. */
typedef struct {
    ptrdiff_t image, p0, n, at;
} FC(point_run);

/* The run that begins at the panel's position `at`, the panel being positions begin .. end - 1 of all images. */
static FC(point_run) FC(next_run)(ptrdiff_t begin, ptrdiff_t end, ptrdiff_t at, ptrdiff_t plane) {
    FC(point_run) r = {(begin + at) / plane, (begin + at) % plane, 0, at};
    r.n = plane - r.p0 < end - begin - at ? plane - r.p0 : end - begin - at;
    return r;
}

static void FC(pointwise_task)(const FC(point_problem) *q, const FC(point_plan) *f, ptrdiff_t g, ptrdiff_t begin,
                               ptrdiff_t end, ptrdiff_t ahead, const real *in, real *out, real *scratch) {
    const ptrdiff_t plane = q->rows * q->cols, n = end - begin, tile = kernels.tiles.point_vectors * kernels.lanes;
    const ptrdiff_t in_plane = q->in_h * q->in_w, out_plane = q->out_h * q->out_w;
    const int flat = q->in_step_h == 1 && q->in_step_w == 1;
    const ptrdiff_t cols = flat ? plane : q->cols, padded = f->blocks * kernels.tiles.point_rows;
    const ptrdiff_t line = 64 / (ptrdiff_t)sizeof(real);
    real *sums = scratch, *panel = scratch + f->sums;
    const real *w = f->packed + g * padded * q->C, *bias = f->bias + g * padded;
    for (ptrdiff_t chunk = 0; chunk < f->chunks; chunk++) {
        const ptrdiff_t c0 = q->C * chunk / f->chunks, c1 = q->C * (chunk + 1) / f->chunks;
        /* Tiles within an image are copied as they are multiplied. */
        for (ptrdiff_t at = 0; at < n && !flat;) {
            const FC(point_run) r = FC(next_run)(begin, end, at, plane);
            kernels.pointwise_panel(c1 - c0, r.p0, r.n, cols, in + ((r.image * q->groups + g) * q->C + c0) * in_plane,
                                    in_plane, q->in_step_h * q->in_w, q->in_step_w, panel + at, f->x_row);
            at += r.n;
        }
        /* The next chunk of this panel, or the first one of the next. */
        const int last = chunk + 1 == f->chunks;
        const ptrdiff_t c2 = last ? 0 : c1, next = last ? ahead : begin;
        fc_pointwise job = {.C = c1 - c0, .K = q->K, .x_row = f->x_row, .from_row = f->x_row,
                            .w_block = kernels.tiles.point_rows * q->C, .source_row = in_plane};
        for (ptrdiff_t at = 0; at < n; at += tile) {
            const ptrdiff_t count = n - at < tile ? n - at : tile;
            const FC(point_run) r = FC(next_run)(begin, end, at, plane);
            const int copied = flat && r.n >= count && count % kernels.lanes == 0;
            for (ptrdiff_t part = at; part < at + count && flat && !copied;) {
                const FC(point_run) t = FC(next_run)(begin, begin + at + count, part, plane);
                const real *image = in + ((t.image * q->groups + g) * q->C + c0) * in_plane;
                kernels.pointwise_panel(c1 - c0, t.p0, t.n, plane, image, in_plane, 0, 1, panel + part, f->x_row);
                part += t.n;
            }
            const FC(point_run) s = FC(next_run)(next, next + n, at, plane);
            const int direct = last && !f->spread && r.n >= count;
            const int prefetch = s.image < q->images && s.n >= count;
            const ptrdiff_t s1 = s.p0 + count - 1;
            const ptrdiff_t next_at = s.p0 / cols * q->in_step_h * q->in_w + s.p0 % cols * q->in_step_w;
            job.next_span = s1 / cols * q->in_step_h * q->in_w + s1 % cols * q->in_step_w - next_at + line;
            real *to = direct ? out + (r.image * q->groups + g) * q->K * out_plane + r.p0 : sums + at;
            job.to_row = direct ? out_plane : f->x_row;
            const real *source = copied ? in + ((r.image * q->groups + g) * q->C + c0) * in_plane + r.p0 : NULL;
            kernels.pointwise(&job, count, source, panel + at, w + c0 * kernels.tiles.point_rows, bias,
                              chunk ? sums + at : NULL, to,
                              prefetch ? in + ((s.image * q->groups + g) * q->C + c2) * in_plane + next_at : NULL);
            if (direct || !last || f->spread) continue;
            /* A tile across the end of an image. */
            for (ptrdiff_t part = at; part < at + count;) {
                const FC(point_run) t = FC(next_run)(begin, begin + at + count, part, plane);
                for (ptrdiff_t k = 0; k < q->K; k++)
                    memcpy(out + ((t.image * q->groups + g) * q->K + k) * out_plane + t.p0, sums + k * f->x_row + part,
                           sizeof(real) * (size_t)t.n);
                part += t.n;
            }
        }
    }
    if (!f->spread) return;
    const ptrdiff_t image = begin / plane, i0 = begin % plane / q->cols * q->out_step_h;
    const ptrdiff_t i1 = end % plane == 0 ? q->out_h : end % plane / q->cols * q->out_step_h;
    for (ptrdiff_t k = 0; k < q->K; k++)
        kernels.pointwise_spread(q->cols, q->out_step_h, q->out_step_w, sums + k * f->x_row,
                                 f->bias[g * f->blocks * kernels.tiles.point_rows + k], i1 - i0, q->out_w,
                                 out + ((image * q->groups + g) * q->K + k) * out_plane + i0 * q->out_w);
}

static void FC(pointwise)(const FC(point_problem) *q, const real *in, const real *weight, const real *bias, real *out,
                          void *workspace, int threads) {
    const FC(point_plan) f = FC(plan_pointwise)(q, workspace, threads);
    const ptrdiff_t plane = q->rows * q->cols, padded = f.blocks * kernels.tiles.point_rows;
    const ptrdiff_t tile = kernels.tiles.point_vectors * kernels.lanes, total = q->images * plane;
    const ptrdiff_t panels = f.spread ? q->images * f.panels : f.panels, tasks = q->groups * panels;
    const int team = fc_threads_for(fc_product(total, q->groups, q->K, q->C), FC_FLOPS_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        real *scratch = f.scratch + (size_t)omp_get_thread_num() * f.thread_scratch;
#pragma omp for schedule(static)
        for (ptrdiff_t task = 0; task < q->groups * f.blocks; task++) {
            const ptrdiff_t g = task / f.blocks, k0 = task % f.blocks * kernels.tiles.point_rows;
            kernels.pointwise_weights(q->K - k0 < kernels.tiles.point_rows ? q->K - k0 : kernels.tiles.point_rows, q->C,
                                      weight + g * q->K * q->C + k0 * q->w_k, q->w_k, q->w_c,
                                      f.packed + (g * padded + k0) * q->C);
            for (ptrdiff_t k = k0; k < k0 + kernels.tiles.point_rows; k++)
                f.bias[g * padded + k] = bias && k < q->K ? bias[g * q->K + k] : 0;
        }
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            /* Panel i is positions begin[i] .. begin[i + 1] - 1; the third is where this thread probably goes next. */
            ptrdiff_t begin[3];
            for (int i = 0; i < 3; i++) {
                const ptrdiff_t panel = task % panels + (i < 2 ? i : team);
                if (f.spread)
                    begin[i] = panel / f.panels * plane + panel % f.panels * f.band * q->cols;
                else
                    begin[i] = (total + tile - 1) / tile * panel / f.panels * tile;
                if (begin[i] > total) begin[i] = total;
            }
            FC(pointwise_task)(q, &f, task / panels, begin[0], begin[1], begin[2], in, out, scratch);
        }
        fc_mode_leave(mode);
    }
}
