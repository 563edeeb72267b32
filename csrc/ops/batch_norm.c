/* Batch normalisation: statistics, then one pass that uses them.
 *
 * A thread takes whole channels, a few at a time: as many as stay in L2 from the pass that sums to the one that
 * applies, so that memory is read once.  Where there are too few channels to be shared out, the images are cut into chunks, each
 * with sums of its own, which are added up in order: that the chunks depend on the shape alone makes the bits do so. */
#include "share.h"

enum {
    FC(NORM_ROWS) = 5,                /* coefficients a channel; see kernels/batch_norm.c */
    FC(NORM_GROUP_BYTES) = 512 << 10, /* about half of L2 */
    FC(NORM_FEW) = 16,                /* channels that are too few, and chunks then */
};

/* Scratch: shift (C), sums (chunks x C each), coefficients (NORM_ROWS x C). */
typedef struct {
    double *shift, *sum, *product;
    real *coefficients;
} FC(norm_scratch);

static ptrdiff_t FC(norm_chunks)(const fc_batch_norm *p) {
    if (p->C >= FC(NORM_FEW)) return 1;
    return p->N < FC(NORM_FEW) ? p->N : FC(NORM_FEW);
}

static size_t FC(norm_layout)(const fc_batch_norm *p, char *base, FC(norm_scratch) *s) {
    const ptrdiff_t slots = FC(norm_chunks)(p) * p->C;
    s->shift = (double *)base;
    s->sum = s->shift + p->C;
    s->product = s->sum + slots;
    s->coefficients = (real *)(s->product + slots);
    return (size_t)(p->C + 2 * slots) * sizeof(double) + (size_t)(FC(NORM_ROWS) * p->C) * sizeof(real);
}

size_t FC(batch_norm_workspace)(const fc_batch_norm *p) {
    FC(norm_scratch) unused;
    char base;
    return FC(norm_layout)(p, &base, &unused);
}

/* Channels at a time, for a call that reads so many arrays twice. */
static ptrdiff_t FC(norm_group)(const fc_batch_norm *p, int arrays) {
    const ptrdiff_t grain = p->L == 1 ? 64 : 1; /* whole cache lines, and full vectors, of neighbouring channels */
    const double fits = (double)FC(NORM_GROUP_BYTES) / fc_product(arrays, sizeof(real), p->N, p->L);
    ptrdiff_t group = fits < fc_estimate(p->C / 8) ? (ptrdiff_t)fits : p->C / 8; /* at least 8 groups, for balance */
    group = group / grain * grain;
    return group < grain ? grain : group;
}

/* A call, forward or backward. */
typedef struct FC(norm_call) {
    const fc_batch_norm *p;
    FC(norm_scratch) s;
    int training;
    const real *g, *x;             /* of the sums; g: grad_y, or NULL forward */
    const real *apply_g, *apply_x; /* of what comes after, */
    real *y;                       /* and its result; NULL: nothing */
    const real *weight, *bias, *running_mean, *running_var;
    const double *given_mean, *given_inv_std;
    double *mean, *inv_std;
    real *new_mean, *new_var, *grad_weight, *grad_bias;
    void (*finish)(const struct FC(norm_call) *, ptrdiff_t); /* a channel's numbers from its sums */
} FC(norm_call);

static void FC(norm_coefficients)(const FC(norm_call) *call, ptrdiff_t c, double mean, double scale, double offset,
                                  double grad_scale) {
    const ptrdiff_t C = call->p->C;
    real *to = call->s.coefficients + c;
    to[0] = (real)mean;
    to[C] = isfinite(to[0]) ? (real)(mean - (double)to[0]) : 0;
    to[2 * C] = (real)scale;
    to[3 * C] = (real)offset;
    to[4 * C] = (real)grad_scale;
}

static void FC(norm_forward_coefficients)(const FC(norm_call) *call, ptrdiff_t c) {
    const double scale = call->inv_std[c] * (call->weight ? (double)call->weight[c] : 1);
    FC(norm_coefficients)(call, c, call->mean[c], scale, call->bias ? (double)call->bias[c] : 0, 0);
}

static void FC(norm_finish_forward)(const FC(norm_call) *call, ptrdiff_t c) {
    const double n = (double)call->p->N * (double)call->p->L, momentum = call->p->momentum;
    const double from_shift = call->s.sum[c] / n, mean = call->s.shift[c] + from_shift;
    double squares = call->s.product[c] - call->s.sum[c] * from_shift;
    if (squares < 0) squares = 0;
    call->mean[c] = mean;
    call->inv_std[c] = 1 / sqrt(squares / n + call->p->eps);
    if (call->new_mean) call->new_mean[c] = (real)(momentum * mean + (1 - momentum) * (double)call->running_mean[c]);
    if (call->new_var)
        call->new_var[c] = (real)(momentum * (squares / (n - 1)) + (1 - momentum) * (double)call->running_var[c]);
    FC(norm_forward_coefficients)(call, c);
}

/* training: grad_x = (g - sum g / n - d * inv_std^2 * sum (g * d) / n) * inv_std * weight,  d = x - mean
 * else:     grad_x = g * inv_std * weight, as a forward pass with mean 0 */
static void FC(norm_backward_coefficients)(const FC(norm_call) *call, ptrdiff_t c) {
    const double n = (double)call->p->N * (double)call->p->L, inv_std = call->given_inv_std[c];
    const double scale = inv_std * (call->weight ? (double)call->weight[c] : 1);
    if (call->training)
        FC(norm_coefficients)(call, c, call->given_mean[c], -scale * inv_std * inv_std * call->s.product[c] / n,
                              -scale * call->s.sum[c] / n, scale);
    else
        FC(norm_coefficients)(call, c, 0, scale, 0, 0);
}

static void FC(norm_finish_backward)(const FC(norm_call) *call, ptrdiff_t c) {
    if (call->grad_weight) call->grad_weight[c] = (real)(call->s.product[c] * call->given_inv_std[c]);
    if (call->grad_bias) call->grad_bias[c] = (real)call->s.sum[c];
    FC(norm_backward_coefficients)(call, c);
}

/* Images `images`, channels `channels`. */
static void FC(norm_apply_block)(const FC(norm_call) *call, fc_range images, fc_range channels) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t at = (images.begin * p->C + channels.begin) * p->L;
    kernels.batch_norm_apply(p, images.end - images.begin, channels.end - channels.begin,
                             call->apply_g ? call->apply_g + at : NULL, call->apply_x + at,
                             call->s.coefficients + channels.begin, call->y + at);
}

/* The calling thread's share of the planes. */
static void FC(norm_apply_share)(const FC(norm_call) *call) {
    const fc_batch_norm *p = call->p;
    if (p->L == 1) {
        FC(norm_apply_block)(call, fc_share(p->N, 1), (fc_range){0, p->C});
        return;
    }
    const fc_range r = fc_share(p->N * p->C, 1);
    for (ptrdiff_t plane = r.begin; plane < r.end;) {
        const ptrdiff_t n = plane / p->C, first = plane % p->C, left = r.end - n * p->C;
        FC(norm_apply_block)(call, (fc_range){n, n + 1}, (fc_range){first, left < p->C ? left : p->C});
        plane = (n + 1) * p->C;
    }
}

/* Sums of some images and channels, into chunk `chunk` of them. */
static void FC(norm_sum_block)(const FC(norm_call) *call, fc_range images, fc_range channels, ptrdiff_t chunk) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t at = (images.begin * p->C + channels.begin) * p->L, slot = chunk * p->C + channels.begin;
    const ptrdiff_t count = channels.end - channels.begin;
    double *sum = call->s.sum + slot, *product = call->s.product + slot;
    for (ptrdiff_t c = 0; c < count; c++) sum[c] = product[c] = 0;
    kernels.batch_norm_sums(p, images.end - images.begin, count, call->g ? call->g + at : NULL, call->x + at,
                            (call->given_mean ? call->given_mean : call->s.shift) + channels.begin, sum, product);
}

/* The shifts of a forward pass: the first pixel of each channel, where that is a number. */
static void FC(norm_shifts)(const FC(norm_call) *call, fc_range channels) {
    if (call->given_mean) return;
    for (ptrdiff_t c = channels.begin; c < channels.end; c++) {
        const double first = (double)call->x[c * call->p->L];
        call->s.shift[c] = isfinite(first) ? first : 0;
    }
}

static void FC(norm_run_groups)(const FC(norm_call) *call, int threads) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t group = FC(norm_group)(p, call->g ? 2 : 1);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share((p->C + group - 1) / group, 1), images = {0, p->N};
        for (ptrdiff_t i = r.begin; i < r.end; i++) {
            const fc_range channels = {i * group, (i + 1) * group < p->C ? (i + 1) * group : p->C};
            FC(norm_shifts)(call, channels);
            FC(norm_sum_block)(call, images, channels, 0);
            for (ptrdiff_t c = channels.begin; c < channels.end; c++) call->finish(call, c);
            if (call->y) FC(norm_apply_block)(call, images, channels);
        }
        fc_mode_leave(mode);
    }
}

static void FC(norm_run_chunks)(const FC(norm_call) *call, int threads) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t chunks = FC(norm_chunks)(p);
    FC(norm_shifts)(call, (fc_range){0, p->C});
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(chunks, 1);
        for (ptrdiff_t i = r.begin; i < r.end; i++)
            FC(norm_sum_block)(call, (fc_range){i * p->N / chunks, (i + 1) * p->N / chunks}, (fc_range){0, p->C}, i);
#pragma omp barrier
#pragma omp single
        for (ptrdiff_t c = 0; c < p->C; c++) {
            for (ptrdiff_t i = 1; i < chunks; i++) {
                call->s.sum[c] += call->s.sum[i * p->C + c];
                call->s.product[c] += call->s.product[i * p->C + c];
            }
            call->finish(call, c);
        }
        if (call->y) FC(norm_apply_share)(call);
        fc_mode_leave(mode);
    }
}

/* Sums, then what they are for. */
static void FC(norm_run)(const FC(norm_call) *call, int threads) {
    const fc_batch_norm *p = call->p;
    const double bytes = fc_product(call->g ? 4 : 2, p->N, p->C, p->L, sizeof(real));
    threads = fc_threads_for(bytes, FC_BYTES_PER_THREAD, threads);
    if (FC(norm_chunks)(p) > 1) FC(norm_run_chunks)(call, threads);
    else FC(norm_run_groups)(call, threads);
}

/* y from coefficients that are known. */
static void FC(norm_run_apply)(const FC(norm_call) *call, int threads) {
    const double bytes = fc_product(2, call->p->N, call->p->C, call->p->L, sizeof(real));
    threads = fc_threads_for(bytes, FC_BYTES_PER_THREAD, threads);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        FC(norm_apply_share)(call);
        fc_mode_leave(mode);
    }
}

void FC(batch_norm_forward)(const fc_batch_norm *p, int training, const real *x, const real *weight, const real *bias,
                            const real *running_mean, const real *running_var, real *y, double *mean, double *inv_std,
                            real *new_mean, real *new_var, void *workspace, int threads) {
    FC(norm_call) call = {.p = p, .training = training, .x = x, .apply_x = x, .y = y, .weight = weight, .bias = bias,
                          .running_mean = running_mean, .running_var = running_var, .mean = mean, .inv_std = inv_std,
                          .new_mean = new_mean, .new_var = new_var, .finish = FC(norm_finish_forward)};
    FC(norm_layout)(p, workspace, &call.s);
    if (training) {
        FC(norm_run)(&call, threads);
        return;
    }
    for (ptrdiff_t c = 0; c < p->C; c++) {
        mean[c] = (double)running_mean[c];
        inv_std[c] = 1 / sqrt((double)running_var[c] + p->eps);
        FC(norm_forward_coefficients)(&call, c);
    }
    FC(norm_run_apply)(&call, threads);
}

void FC(batch_norm_backward)(const fc_batch_norm *p, int training, const real *grad_y, const real *x,
                             const real *weight, const double *mean, const double *inv_std, real *grad_x,
                             real *grad_weight, real *grad_bias, void *workspace, int threads) {
    FC(norm_call) call = {.p = p, .training = training, .g = grad_y, .x = x, .apply_g = training ? grad_y : NULL,
                          .apply_x = training ? x : grad_y, .y = grad_x, .weight = weight, .given_mean = mean,
                          .given_inv_std = inv_std, .grad_weight = grad_weight, .grad_bias = grad_bias,
                          .finish = FC(norm_finish_backward)};
    FC(norm_layout)(p, workspace, &call.s);
    if (grad_weight || grad_bias || (training && grad_x)) {
        FC(norm_run)(&call, threads);
    } else if (grad_x) {
        for (ptrdiff_t c = 0; c < p->C; c++) FC(norm_backward_coefficients)(&call, c);
        FC(norm_run_apply)(&call, threads);
    }
}
