/* conv2d's gradients from a grad_y that is mostly zeros (kernels/sparse.c says when that is, and how they are summed).
 *
 * grad_weight  a task takes the images of one chunk of the batch and some output channels; each image is brought into
 *              [row][column][channel], each plane of grad_y into a list; the chunks' sums are added in order
 * grad_x       a task is one image, brought into [position][channel] and turned into a list for each position, whose sums
 *              spread into an image in [row][column][channel]
 *
 * From the gradient behind a 2x2 max pool, a task unpools an image, lists it for grad_weight and makes its grad_x, before
 * it leaves the cache.
 *
 * Whether grad_y is sparse enough is decided by counting, before anything else: it depends on the numbers alone.  A zero
 * that is left out must not have met an infinity or NaN, so x, weight and grad_y must all be finite. */

#ifndef FC_SPARSE
#define FC_SPARSE
enum {
    SPARSE_CHUNKS = 16,        /* of the batch */
    SPARSE_LEAST = 8,          /* input channels: all lanes are channels */
    SPARSE_SUMS = 8 << 20,     /* bytes of partial sums, all chunks together */
    SPARSE_WIDEST = 250,       /* OW behind a pool */
};
/* The share of numbers that are not 0 up to which it pays; a grad_x costs a load and a store for each product. */
#define SPARSE_SHARE_WEIGHT 0.4
#define SPARSE_SHARE_X 0.26
#endif

typedef struct {
    ptrdiff_t rows, cols, channels, T;  /* of the image with its border; channels: C in whole vectors */
    ptrdiff_t image;                    /* elements of one vector of its channels */
    ptrdiff_t chunks, parts, part;      /* grad_weight: of the batch; of K, any number of them gives the same sums */
    ptrdiff_t *taps;
    FC(int) *places;                    /* where in the image the window of each position of y begins */
    FC(int) *weights_at;                /* grad_x: where in `packed` the weights of each output channel begin */
    real *sums, *packed;                /* [k][vector of channels][t][lane] */
    char *scratch;
    size_t thread_scratch, bytes;
} FC(sparse_plan);

/* The lists of an image's planes, or of its positions, one behind the other. */
typedef struct {
    real *values;
    FC(int) *at;
    ptrdiff_t *first;                   /* of each list, and the end of the last */
} FC(sparse_lists);

/* A thread's scratch. */
typedef struct {
    real *image, *taps;
    real *positions;                    /* an image of grad_y, [position][channel] */
    FC(sparse_lists) lists;
} FC(sparse_scratch);

static size_t FC(carve_sparse_scratch)(const fc_conv2d *p, const FC(sparse_plan) *f, void *memory, FC(sparse_scratch) *s) {
    const size_t most = (size_t)(p->K * p->OH * p->OW + kernels.lanes);
    fc_arena arena = {memory, 0};
    s->image = fc_carve(&arena, sizeof(real) * (size_t)f->image);
    s->taps = fc_carve(&arena, sizeof(real) * (size_t)(f->T * f->channels));
    s->positions = fc_carve(&arena, sizeof(real) * most);
    s->lists.values = fc_carve(&arena, sizeof(real) * most);
    s->lists.at = fc_carve(&arena, sizeof(real) * most);
    s->lists.first = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)((p->K > p->OH * p->OW ? p->K : p->OH * p->OW) + 1));
    return arena.used;
}

static FC(sparse_scratch) FC(sparse_scratch_of)(const fc_conv2d *p, const FC(sparse_plan) *f) {
    FC(sparse_scratch) s;
    FC(carve_sparse_scratch)(p, f, f->scratch + (size_t)omp_get_thread_num() * f->thread_scratch, &s);
    return s;
}

/* The lists of the planes of all images, made beforehand: `image` places for each image. */
typedef struct {
    ptrdiff_t image;
    FC(sparse_lists) all;
} FC(ready_lists);

static FC(sparse_lists) FC(ready_of)(const fc_conv2d *p, const FC(ready_lists) *ready, ptrdiff_t n) {
    const FC(sparse_lists) lists = {ready->all.values + n * ready->image, ready->all.at + n * ready->image,
                                    ready->all.first + n * (p->K + 1)};
    return lists;
}

/* Whether the shape allows it. */
static int FC(sparse_fits)(const fc_conv2d *p) {
    const double rows = fc_product(p->OH - 1, p->stride_h) + fc_product(p->R - 1, p->dilation_h) + 1;
    const double cols = fc_product(p->OW - 1, p->stride_w) + fc_product(p->S - 1, p->dilation_w) + 1;
    const double plane = fc_product(p->H, p->W);
    return p->groups == 1 && p->C >= SPARSE_LEAST && p->R * p->S > 1 && p->N > 0 &&
           rows * cols <= ABSURD_FACTOR * plane + ABSURD_PLANE && rows * cols * fc_estimate(p->C + 64) < 0x1p30 &&
           fc_product(p->K, p->R, p->S, p->C + 64) < 0x1p30;
}

static FC(sparse_plan) FC(plan_sparse)(const fc_conv2d *p, int gradient_of_weight, void *workspace, int threads) {
    FC(sparse_plan) f;
    f.rows = (p->OH - 1) * p->stride_h + (p->R - 1) * p->dilation_h + 1;
    f.cols = (p->OW - 1) * p->stride_w + (p->S - 1) * p->dilation_w + 1;
    f.T = p->R * p->S;
    f.channels = FC(round_up)(p->C, kernels.lanes);
    f.image = f.rows * f.cols * kernels.lanes;
    const ptrdiff_t sums = p->K * f.T * f.channels, most = SPARSE_SUMS / (sums * (ptrdiff_t)sizeof(real));
    f.chunks = p->N < SPARSE_CHUNKS ? p->N : SPARSE_CHUNKS;
    if (f.chunks > most) f.chunks = most;
    if (f.chunks < 1) f.chunks = 1;
    f.parts = f.chunks < 2 * threads ? (2 * threads + f.chunks - 1) / f.chunks : 1;
    if (f.parts > p->K) f.parts = p->K;
    f.part = (p->K + f.parts - 1) / f.parts;
    FC(sparse_scratch) none;
    f.thread_scratch = FC(carve_sparse_scratch)(p, &f, NULL, &none);
    fc_arena arena = {workspace, 0};
    f.taps = fc_carve(&arena, sizeof(ptrdiff_t) * (size_t)f.T);
    f.places = fc_carve(&arena, sizeof(real) * (size_t)(p->OH * p->OW));
    f.weights_at = fc_carve(&arena, gradient_of_weight ? 0 : sizeof(real) * (size_t)p->K);
    f.sums = fc_carve(&arena, gradient_of_weight ? sizeof(real) * (size_t)(f.chunks * sums) : 0);
    f.packed = fc_carve(&arena, gradient_of_weight ? 0 : sizeof(real) * (size_t)sums);
    f.scratch = fc_carve(&arena, f.thread_scratch * (size_t)threads);
    f.bytes = arena.used;
    if (!workspace) return f;
    for (ptrdiff_t t = 0; t < f.T; t++)
        f.taps[t] = (t / p->S * p->dilation_h * f.cols + t % p->S * p->dilation_w) * kernels.lanes;
    for (ptrdiff_t i = 0; i < p->OH; i++)
        for (ptrdiff_t j = 0; j < p->OW; j++)
            f.places[i * p->OW + j] = (FC(int))((i * p->stride_h * f.cols + j * p->stride_w) * kernels.lanes);
    for (ptrdiff_t k = 0; k < p->K && !gradient_of_weight; k++) f.weights_at[k] = (FC(int))(k * f.T * f.channels);
    return f;
}

/* Whether at most `share` of grad_y is not 0, and grad_y, weight and x (or NULL) are finite. */
static int FC(sparse_pays)(const fc_conv2d *p, double share, const real *grad_y, const real *x, const real *weight,
                           int threads) {
    if (!FC(sparse_fits)(p)) return 0;
    const ptrdiff_t plane = p->OH * p->OW, image = p->K * plane, x_image = p->C * p->H * p->W;
    /* Most are seen to be dense by a few numbers. */
    const ptrdiff_t few = image < 4096 ? image : 4096;
    if ((double)kernels.count_nonzero(grad_y, few) > 1.5 * share * (double)few + 64) return 0;
    ptrdiff_t count = 0;
    int finite = !weight || kernels.all_finite(weight, p->K * p->C * p->R * p->S);
    const int team = fc_threads_for(fc_product(p->N, image, sizeof(real)), FC_BYTES_PER_THREAD, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1) reduction(+ : count) reduction(&& : finite)
    for (ptrdiff_t n = 0; n < p->N; n++) {
        const ptrdiff_t found = kernels.count_nonzero(grad_y + n * image, image);
        count += found;
        finite = finite && found >= 0 && (!x || kernels.all_finite(x + n * x_image, x_image));
    }
    return finite && (double)count <= share * (double)p->N * (double)image;
}

/* The lists of some planes of grad_y, the first to begin at first[0]. */
static void FC(list_planes)(const fc_conv2d *p, const FC(sparse_plan) *f, const real *gy, ptrdiff_t planes, ptrdiff_t *first,
                            const FC(sparse_lists) *to) {
    const ptrdiff_t plane = p->OH * p->OW;
    for (ptrdiff_t k = 0; k < planes; k++)
        first[k + 1] = first[k] + kernels.list_nonzero(gy + k * plane, plane, f->places, to->values + first[k],
                                                       to->at + first[k]);
}

/* Of planes k0 .. k1 - 1 of image n: as they are in `ready`, or from grad_y. */
static FC(sparse_lists) FC(lists_of)(const fc_conv2d *p, const FC(sparse_plan) *f, const FC(ready_lists) *ready,
                                     const real *grad_y, ptrdiff_t n, ptrdiff_t k0, ptrdiff_t k1,
                                     const FC(sparse_scratch) *s) {
    if (ready) {
        FC(sparse_lists) lists = FC(ready_of)(p, ready, n);
        lists.first += k0;
        return lists;
    }
    s->lists.first[0] = 0;
    FC(list_planes)(p, f, grad_y + (n * p->K + k0) * p->OH * p->OW, k1 - k0, s->lists.first, &s->lists);
    return s->lists;
}

/* The lists of all positions of an image of grad_y. */
static void FC(list_positions)(const fc_conv2d *p, const FC(sparse_plan) *f, const real *gy, real *positions,
                               const FC(sparse_lists) *to) {
    const ptrdiff_t lanes = kernels.lanes, plane = p->OH * p->OW;
    for (ptrdiff_t k = 0; k < p->K; k += lanes) {
        const int rows = p->K - k < lanes ? (int)(p->K - k) : (int)lanes;
        kernels.transpose(gy + k * plane, plane, rows, plane, positions + k, p->K, rows, NULL);
    }
    to->first[0] = 0;
    for (ptrdiff_t i = 0; i < plane; i++)
        to->first[i + 1] = to->first[i] + kernels.list_nonzero(positions + i * p->K, p->K, f->weights_at,
                                                               to->values + to->first[i], to->at + to->first[i]);
}

/* From grad_y, or from lists that are ready. */
static void FC(sparse_grad_weight)(const fc_conv2d *p, const FC(sparse_plan) *f, const FC(ready_lists) *ready,
                                   const real *grad_y, const real *x, real *grad_weight, int threads) {
    const ptrdiff_t lanes = kernels.lanes, T = f->T, row = T * f->channels, sums = p->K * row;
    const int team = fc_threads_for(0.2 * fc_product(p->N, sums, p->OH, p->OW), FC_FLOPS_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        FC(sparse_scratch) s = FC(sparse_scratch_of)(p, f);
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < f->chunks * f->parts; task++) {
            const ptrdiff_t chunk = task / f->parts, k0 = task % f->parts * f->part;
            const ptrdiff_t k1 = p->K - k0 < f->part ? p->K : k0 + f->part;
            if (k0 >= k1) continue;
            real *sum = f->sums + chunk * sums + k0 * row;
            memset(sum, 0, sizeof(real) * (size_t)((k1 - k0) * row));
            for (ptrdiff_t n = p->N * chunk / f->chunks; n < p->N * (chunk + 1) / f->chunks; n++) {
                const FC(sparse_lists) l = FC(lists_of)(p, f, ready, grad_y, n, k0, k1, &s);
                for (ptrdiff_t c = 0; c < p->C; c += lanes) {
                    kernels.to_channels_last(x + (n * p->C + c) * p->H * p->W, p->C - c, p->H, p->W, -p->pad_top,
                                             -p->pad_left, f->rows, f->cols, lanes, s.image);
                    for (ptrdiff_t k = 0; k < k1 - k0; k++)
                        kernels.sparse_grad_weight(l.first[k + 1] - l.first[k], l.values + l.first[k], l.at + l.first[k], T,
                                                   f->taps, s.image, sum + k * row + c * T);
                }
            }
        }
#pragma omp for schedule(static)
        for (ptrdiff_t k = 0; k < p->K; k++) { /* chunks in order; [t][c] -> [c][t] */
            kernels.add_rows(f->sums + k * row, sums, f->chunks, row, s.taps);
            for (ptrdiff_t c = 0; c < p->C; c += lanes)
                for (ptrdiff_t t = 0; t < T; t += lanes) {
                    const int rows = T - t < lanes ? (int)(T - t) : (int)lanes;
                    kernels.transpose(s.taps + c * T + t * lanes, lanes, rows, p->C - c < lanes ? p->C - c : lanes,
                                      grad_weight + (k * p->C + c) * T + t, T, rows, NULL);
                }
        }
        fc_mode_leave(mode);
    }
}

/* Where the image with its border lies over channels c .. c + lanes - 1 of grad_x; zeros where no window reached. */
static void FC(sparse_store)(const fc_conv2d *p, const FC(sparse_plan) *f, const real *image, ptrdiff_t c, real *grad_x) {
    const ptrdiff_t lanes = kernels.lanes, reached = f->cols - p->pad_left;
    const int channels = p->C - c < lanes ? (int)(p->C - c) : (int)lanes;
    ptrdiff_t h = 0;
    if (p->pad_left == 0 && f->cols == p->W && f->rows > p->pad_top) { /* rows are neighbours here as there */
        h = f->rows - p->pad_top < p->H ? f->rows - p->pad_top : p->H;
        kernels.to_rows(image + p->pad_top * f->cols * lanes, lanes, h * p->W, channels, grad_x + c * p->H * p->W,
                        p->H * p->W);
    }
    for (; h < p->H; h++) {
        real *to = grad_x + (c * p->H + h) * p->W;
        const ptrdiff_t within = p->pad_top + h < f->rows && reached > 0 ? reached : 0, cols = within < p->W ? within : p->W;
        if (cols > 0)
            kernels.to_rows(image + ((p->pad_top + h) * f->cols + p->pad_left) * lanes, lanes, cols, channels, to, p->H * p->W);
        for (int i = 0; i < channels && cols < p->W; i++)
            memset(to + i * p->H * p->W + cols, 0, sizeof(real) * (size_t)(p->W - cols));
    }
}

/* Inside a team: the weights, [c][t] -> [vector of c][t][lane]. */
static void FC(pack_sparse)(const fc_conv2d *p, const FC(sparse_plan) *f, const real *weight) {
    const ptrdiff_t lanes = kernels.lanes, T = f->T, row = T * f->channels;
#pragma omp for schedule(static)
    for (ptrdiff_t k = 0; k < p->K; k++)
        for (ptrdiff_t c = 0; c < p->C; c += lanes)
            kernels.transpose(weight + (k * p->C + c) * T, T, p->C - c < lanes ? (int)(p->C - c) : (int)lanes, T,
                              f->packed + k * row + c * T, lanes, (int)lanes, NULL);
}

/* One image. */
static void FC(sparse_grad_x_image)(const fc_conv2d *p, const FC(sparse_plan) *f, const FC(sparse_scratch) *s, const real *gy,
                                    real *grad_x) {
    const FC(sparse_lists) *l = &s->lists;
    FC(list_positions)(p, f, gy, s->positions, l);
    for (ptrdiff_t c = 0; c < p->C; c += kernels.lanes) {
        memset(s->image, 0, sizeof(real) * (size_t)f->image);
        kernels.sparse_grad_x(p->OH * p->OW, l->first, l->values, l->at, f->places, f->T, f->taps, f->packed + c * f->T,
                              s->image);
        FC(sparse_store)(p, f, s->image, c, grad_x);
    }
}

static void FC(sparse_grad_x)(const fc_conv2d *p, const FC(sparse_plan) *f, const real *grad_y, const real *weight,
                              real *grad_x, int threads) {
    const double work = 0.2 * fc_product(p->N, p->K, f->T, f->channels, p->OH, p->OW);
    const int team = fc_threads_for(work, FC_FLOPS_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        const FC(sparse_scratch) s = FC(sparse_scratch_of)(p, f);
        FC(pack_sparse)(p, f, weight);
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t n = 0; n < p->N; n++)
            FC(sparse_grad_x_image)(p, f, &s, grad_y + n * p->K * p->OH * p->OW, grad_x + n * p->C * p->H * p->W);
        fc_mode_leave(mode);
    }
}

/* -- straight from the gradient behind a 2x2 max pool -------------------------------------------------------------- */

/* Whether sparse_pays says so of every finite grad_y from there: a quarter of it at most is not zero, so only its look at
 * the first few numbers could say otherwise, where they end between the two rows of a wide row of windows. */
static int FC(pooled_is_sparse)(const fc_conv2d *p) { return p->OW <= SPARSE_WIDEST; }

typedef struct {
    FC(ready_lists) ready;    /* of the planes */
    real *scratch;            /* a thread: planes as they are listed; pooled, from `masked` on */
    size_t masked, thread_scratch;
    void *for_weight, *for_x;
    size_t bytes;
} FC(sparse_pooled_plan);

static FC(sparse_pooled_plan) FC(plan_sparse_pooled)(const fc_conv2d *p, int want_grad_x, void *workspace, int threads) {
    FC(sparse_pooled_plan) f;
    const size_t m = (size_t)(p->OH * p->OW), pooled = (size_t)((p->OH / 2) * (p->OW / 2));
    const size_t few = (size_t)FC(unpool_planes)(p), N = (size_t)p->N;
    f.ready.image = FC(round_up)(p->K * (ptrdiff_t)pooled + kernels.lanes, 16);
    f.masked = ((want_grad_x ? (size_t)p->K : few) * m + 15) & ~(size_t)15; /* grad_x wants whole images */
    f.thread_scratch = f.masked + ((few * pooled + 15) & ~(size_t)15);
    fc_arena arena = {workspace, 0};
    f.ready.all.values = fc_carve(&arena, sizeof(real) * N * (size_t)f.ready.image);
    f.ready.all.at = fc_carve(&arena, sizeof(real) * N * (size_t)f.ready.image);
    f.ready.all.first = fc_carve(&arena, sizeof(ptrdiff_t) * N * (size_t)(p->K + 1));
    f.scratch = fc_carve(&arena, sizeof(real) * f.thread_scratch * (size_t)threads);
    f.for_weight = fc_carve(&arena, FC(plan_sparse)(p, 1, NULL, threads).bytes);
    f.for_x = fc_carve(&arena, want_grad_x ? FC(plan_sparse)(p, 0, NULL, threads).bytes : 0);
    f.bytes = arena.used;
    return f;
}

static size_t FC(sparse_pooled_workspace)(const fc_conv2d *p, int want_grad_x, int threads) {
    return FC(plan_sparse_pooled)(p, want_grad_x, NULL, threads).bytes;
}

/* grad_weight, grad_x or NULL, and the sums of the planes; 0 where not all numbers are finite: then the results are
 * worthless. */
static int FC(sparse_pooled)(const fc_conv2d *p, const FC(pooled) *from, const real *x, const real *weight, real *grad_x,
                             real *grad_weight, void *workspace, int threads) {
    const FC(sparse_pooled_plan) f = FC(plan_sparse_pooled)(p, grad_x != NULL, workspace, threads);
    const FC(sparse_plan) w = FC(plan_sparse)(p, 1, f.for_weight, threads);
    const FC(sparse_plan) g = grad_x ? FC(plan_sparse)(p, 0, f.for_x, threads) : w;
    const ptrdiff_t m = p->OH * p->OW, pooled = (p->OH / 2) * (p->OW / 2), x_image = p->C * p->H * p->W;
    const ptrdiff_t few = FC(unpool_planes)(p);
    int finite = !grad_x || kernels.all_finite(weight, p->K * p->C * p->R * p->S);
    if (!finite) return 0;
    const double of_grad_x = grad_x ? 0.05 * fc_product(w.T, w.channels, m) : 0;
    const double work = (fc_product(4, m) + fc_product(20, pooled) + of_grad_x) * fc_product(p->N, p->K);
    const int team = fc_threads_for(work, FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1) reduction(&& : finite)
    {
        real *scratch = f.scratch + (size_t)omp_get_thread_num() * f.thread_scratch, *masked = scratch + f.masked;
        const FC(sparse_scratch) s = FC(sparse_scratch_of)(p, &g);
        if (grad_x) FC(pack_sparse)(p, &g, weight);
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t n = 0; n < p->N; n++) {
            const FC(sparse_lists) to = FC(ready_of)(p, &f.ready, n);
            to.first[0] = 0;
            for (ptrdiff_t k = 0, some; k < p->K; k += some) {
                some = p->K - k < few ? p->K - k : few;
                real *planes = scratch + (grad_x ? k * m : 0);
                const real *grad = FC(unpool)(p, from, n * p->K + k, some, masked, planes); /* in the plain mode */
                finite = finite && kernels.all_finite(grad, some * pooled);
                const fc_mode mode = fc_mode_enter();
                FC(list_planes)(p, &w, planes, some, to.first + k, &to);
                fc_mode_leave(mode);
            }
            finite = finite && kernels.all_finite(x + n * x_image, x_image);
            if (!grad_x) continue;
            const fc_mode mode = fc_mode_enter();
            FC(sparse_grad_x_image)(p, &g, &s, scratch, grad_x + n * x_image);
            fc_mode_leave(mode);
        }
    }
    if (finite) FC(sparse_grad_weight)(p, &w, &f.ready, NULL, x, grad_weight, threads);
    return finite;
}
