/* grad_x of a convolution with stride 2 along the rows, by the channels kernel: all phases of the stride at once.
 *
 * Each phase of the stride is a correlation of grad_y of its own (see conv2d.c).  One after the other they would read
 * grad_y once each and write every second element of every second row.  Here a task is one image and a band of rows of
 * grad_y's size: it is copied to scratch once, with its border, and for each block of output channels and each row
 * phase the two column phases are computed to scratch and interleaved, so that whole rows of grad_x are written.  The
 * sums are those of the phases alone, bit for bit. */

#ifndef FC_STRIDED
#define FC_STRIDED
enum { STRIDED_POSITIONS = 256 }; /* of a phase in a band: a block's two phases wait in scratch, near L1 */
#endif

typedef struct {
    const FC(correlation) *phase; /* [row phases][2]; their y_offset, y_row and y_col are not used */
    ptrdiff_t row_phases;
    ptrdiff_t H, W;               /* of grad_x */
    ptrdiff_t top, left, height, width; /* the box around all taps */
} FC(strided);

typedef struct {
    ptrdiff_t rows, cols;         /* of the largest phase */
    ptrdiff_t band, bands;
    ptrdiff_t x_rows, x_width, plane;
    ptrdiff_t z_channel;          /* elements of a channel of one column phase in scratch */
    ptrdiff_t z;                  /* where the results begin in scratch */
    size_t scratch;               /* elements of a thread */
    int absurd;
} FC(strided_bands);

static FC(strided) FC(join_phases)(const FC(correlation) *phase, ptrdiff_t row_phases, ptrdiff_t H, ptrdiff_t W) {
    FC(strided) s = {phase, row_phases, H, W, PTRDIFF_MAX, PTRDIFF_MAX, 0, 0};
    ptrdiff_t bottom = PTRDIFF_MIN, right = PTRDIFF_MIN;
    for (ptrdiff_t i = 0; i < 2 * row_phases; i++) {
        const FC(correlation) *q = phase + i;
        if (q->T == 0) continue;
        if (q->top < s.top) s.top = q->top;
        if (q->left < s.left) s.left = q->left;
        if (q->top + q->height > bottom) bottom = q->top + q->height;
        if (q->left + q->width > right) right = q->left + q->width;
    }
    s.height = bottom - s.top, s.width = right - s.left;
    return s;
}

static FC(strided_bands) FC(choose_strided)(const FC(strided) *s, const FC(blocks) *b, int threads) {
    FC(strided_bands) d;
    const FC(correlation) *q = s->phase; /* phase 0 has the most rows and columns */
    d.rows = q->rows, d.cols = q->cols;
    d.x_width = d.cols - 1 + s->width;
    ptrdiff_t rows = d.rows;
    const double row_bytes = fc_product(q->C, d.x_width, sizeof(real));
    while (rows > 2 &&
           (rows * d.cols > STRIDED_POSITIONS || row_bytes * (double)(rows - 1 + s->height) > BAND_BYTES))
        rows = (rows + 1) / 2;
    const ptrdiff_t tasks = q->images * q->groups;
    while (rows > 4 && tasks * ((d.rows + rows - 1) / rows) < 2 * threads) rows = (rows + 1) / 2;
    d.band = rows;
    d.bands = (d.rows + rows - 1) / rows;
    d.x_rows = rows - 1 + s->height;
    d.plane = d.x_rows * d.x_width;
    d.absurd = d.plane > ABSURD_FACTOR * q->H * q->W + ABSURD_PLANE;
    d.z_channel = rows * d.cols;
    d.scratch = 0;
    if (d.absurd) return d;
    d.z = (q->C * d.plane + 2 * kernels.lanes + 15) & ~(ptrdiff_t)15;
    d.scratch = ((size_t)(d.z + 2 * b->width * d.z_channel + 2 * kernels.lanes) + 15) & ~(size_t)15;
    return d;
}

static size_t FC(strided_scratch)(const FC(strided) *s, const FC(blocks) *b, int threads) {
    return sizeof(real) * FC(choose_strided)(s, b, threads).scratch * (size_t)threads;
}

/* One block of output channels of one band: rows i0 .. i0 + rows - 1 of each phase. */
static void FC(strided_block)(const FC(strided) *s, const FC(strided_bands) *d, const FC(blocks) *b, ptrdiff_t block,
                              ptrdiff_t i0, const real *x, const real *w, const real *bias, const ptrdiff_t *taps,
                              fc_correlation job, real *z, real *y) {
    const ptrdiff_t k = block * b->width;
    const int kv = FC(block_vectors)(b, s->phase->K, block), width = kv * kernels.lanes;
    job.K = s->phase->K - k;
    const ptrdiff_t channels = job.K < width ? job.K : width, z_phase = b->width * d->z_channel;
    job.y_channel = d->z_channel, job.y_col = 1;
    for (ptrdiff_t a = 0; a < s->row_phases; a++) {
        const FC(correlation) *even = s->phase + 2 * a;
        const ptrdiff_t rows = even->rows - i0 < d->band ? even->rows - i0 : d->band;
        if (rows <= 0) continue;
        for (int e = 0; e < 2; e++) {
            const FC(correlation) *q = even + e;
            job.T = q->T, job.rows = rows, job.cols = q->cols;
            job.taps = taps + q->w_first;
            job.w_channel = q->w_taps * width;
            job.y_row = q->cols;
            const real *wq = w + k * q->C * q->w_taps + q->w_first * width;
            kernels.correlate_channels(&job, kv, x, wq, bias + k, z + e * z_phase);
            if (job.next) job.next = (const char *)job.next + 64 * job.next_lines;
        }
        for (ptrdiff_t m = 0; m < channels; m++)
            kernels.interleave_rows(rows, even[0].cols, even[1].cols, z + m * d->z_channel,
                                    z + z_phase + m * d->z_channel,
                                    y + (k + m) * s->H * s->W + (i0 * s->row_phases + a) * s->W, s->row_phases * s->W);
    }
}

/* x: grad_y; w, bias: packed; y: grad_x.  taps: room for w_taps numbers, scratch: strided_scratch bytes.  Returns 0,
 * with nothing done, where the border dwarfs the image. */
static int FC(strided_grad_x)(const FC(strided) *s, const FC(blocks) *b, const real *x, const real *w, const real *bias,
                               real *y, ptrdiff_t *taps, real *scratches, int threads) {
    const FC(strided_bands) d = FC(choose_strided)(s, b, threads);
    if (d.absurd) return 0;
    const FC(correlation) *q = s->phase;
    double flops = 0;
    for (ptrdiff_t i = 0; i < 2 * s->row_phases; i++) {
        const FC(correlation) *p = q + i;
        for (ptrdiff_t t = 0; t < p->T; t++)
            taps[p->w_first + t] = (p->dy[t] - s->top) * d.x_width + p->dx[t] - s->left;
        flops += fc_product(p->images, p->groups, p->K, p->C, p->T, p->rows, p->cols);
    }
    const ptrdiff_t w_group = (ptrdiff_t)FC(packed_weights)(b, 1, q->C, q->w_taps);
    const ptrdiff_t tasks = q->images * q->groups * d.bands;
    const int team = fc_threads_for(flops, FC_FLOPS_PER_THREAD, threads);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const fc_mode mode = fc_mode_enter();
        real *panel = scratches + (size_t)omp_get_thread_num() * d.scratch;
        real *z = panel + d.z;
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t image = task / d.bands, g = image % q->groups; /* of images x groups */
            const ptrdiff_t i0 = task % d.bands * d.band;
            const real *xi = x + image * q->C * q->H * q->W;
            for (ptrdiff_t c = 0; c < q->C; c++)
                kernels.pad_plane(xi + c * q->H * q->W, q->H, q->W, i0 + s->top, s->left, d.x_rows, d.x_width,
                                  panel + c * d.plane, d.x_width);
            fc_correlation job = {.C = q->C, .x_channel = d.plane, .x_row = d.x_width, .x_col = 1};
            real *yi = y + image * q->K * s->H * s->W;
            /* The first block's calls ask for the lines of grad_x that all blocks write, each for its share. */
            const ptrdiff_t bytes = d.band * s->row_phases * s->W * (ptrdiff_t)sizeof(real);
            job.next = yi + i0 * s->row_phases * s->W;
            job.next_channel = s->H * s->W;
            job.next_lines = (bytes / (2 * s->row_phases) + 63) / 64;
            for (ptrdiff_t block = 0; block < b->blocks; block++, job.next = NULL)
                FC(strided_block)(s, &d, b, block, i0, panel, w + g * w_group, bias + g * b->blocks * b->width, taps,
                                  job, z, yi);
        }
        fc_mode_leave(mode);
    }
    return 1;
}
