/* Batch normalisation: statistics, then one pass that uses them.
 *
 * A thread takes whole channels, a few at a time: as many as stay in L2 from the pass that sums to the one that applies,
 * so that memory is read once.  Where there are too few channels for that, the planes are shared out instead: each has
 * sums of its own, which are added up in the order of the images, as the kernel does it.  Either way gives the same bits. */
#include "share.h"

enum { FC(NORM_ROWS) = 5 };                      /* coefficients a channel; see kernels/batch_norm.c */
enum { FC(NORM_GROUP_BYTES) = 384 << 10 };       /* about half of L2 */

/* Scratch: per channel, but for the sums, which are per plane where the planes are shared out. */
typedef struct {
    double *shift, *sum, *product;
    real *coefficients; /* NORM_ROWS x C */
} FC(norm_scratch);

static int FC(norm_by_planes)(const fc_batch_norm *p, int threads) {
    return threads > 1 && p->L > 1 && p->N > 1 && p->C < 4 * threads;
}

static size_t FC(norm_layout)(const fc_batch_norm *p, int threads, char *base, FC(norm_scratch) *s) {
    const ptrdiff_t slots = FC(norm_by_planes)(p, threads) ? p->N * p->C : p->C;
    s->shift = (double *)base;
    s->sum = s->shift + p->C;
    s->product = s->sum + slots;
    s->coefficients = (real *)(s->product + slots);
    return (size_t)(p->C + 2 * slots) * sizeof(double) + (size_t)(FC(NORM_ROWS) * p->C) * sizeof(real);
}

size_t FC(batch_norm_workspace)(const fc_batch_norm *p, int threads) {
    FC(norm_scratch) unused;
    return FC(norm_layout)(p, threads, NULL, &unused);
}

/* Channels at a time, for a call that reads so many arrays twice. */
static ptrdiff_t FC(norm_group)(const fc_batch_norm *p, int arrays) {
    const ptrdiff_t grain = p->L == 1 ? 64 : 1; /* whole cache lines, and full vectors, of neighbouring channels */
    const double fits = (double)FC(NORM_GROUP_BYTES) / ((double)arrays * sizeof(real) * p->N * p->L);
    ptrdiff_t group = fits < p->C / 8 ? (ptrdiff_t)fits : p->C / 8; /* at least 8 groups, for balance */
    group = group / grain * grain;
    return group < grain ? grain : group;
}

/* A call, forward or backward. */
typedef struct FC(norm_call) {
    const fc_batch_norm *p;
    FC(norm_scratch) s;
    const real *g, *x; /* g: grad_y, or NULL forward */
    real *y;           /* what apply writes; NULL: nothing */
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

/* grad_x = (g - sum g / n - d * inv_std^2 * sum (g * d) / n) * inv_std * weight,  d = x - mean */
static void FC(norm_finish_backward)(const FC(norm_call) *call, ptrdiff_t c) {
    const double n = (double)call->p->N * (double)call->p->L, inv_std = call->given_inv_std[c];
    const double sum = call->s.sum[c], product = call->s.product[c];
    const double scale = inv_std * (call->weight ? (double)call->weight[c] : 1);
    if (call->grad_weight) call->grad_weight[c] = (real)(product * inv_std);
    if (call->grad_bias) call->grad_bias[c] = (real)sum;
    FC(norm_coefficients)(call, c, call->given_mean[c], -scale * inv_std * inv_std * product / n, -scale * sum / n, scale);
}

/* Images `images`, channels `channels`. */
static void FC(norm_apply_block)(const FC(norm_call) *call, fc_range images, fc_range channels) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t at = (images.begin * p->C + channels.begin) * p->L;
    kernels.batch_norm_apply(p, images.end - images.begin, channels.end - channels.begin, call->g ? call->g + at : NULL,
                             call->x + at, call->s.coefficients + channels.begin, call->y + at);
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

/* Sums of the channels `channels`, into slot `slot` of one for each channel or plane. */
static void FC(norm_sum_block)(const FC(norm_call) *call, ptrdiff_t n, ptrdiff_t images, fc_range channels,
                               ptrdiff_t slot) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t at = (n * p->C + channels.begin) * p->L;
    for (ptrdiff_t c = channels.begin; c < channels.end; c++) {
        const double first = (double)call->x[c * p->L];
        if (!call->given_mean) call->s.shift[c] = isfinite(first) ? first : 0;
        call->s.sum[slot + c - channels.begin] = call->s.product[slot + c - channels.begin] = 0;
    }
    const double *shift = call->given_mean ? call->given_mean : call->s.shift;
    kernels.batch_norm_sums(p, images, channels.end - channels.begin, call->g ? call->g + at : NULL, call->x + at,
                            shift + channels.begin, call->s.sum + slot, call->s.product + slot);
}

static void FC(norm_run_groups)(const FC(norm_call) *call, int threads) {
    const fc_batch_norm *p = call->p;
    const ptrdiff_t group = FC(norm_group)(p, call->g ? 2 : 1);
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share((p->C + group - 1) / group, 1);
        for (ptrdiff_t i = r.begin; i < r.end; i++) {
            const fc_range channels = {i * group, (i + 1) * group < p->C ? (i + 1) * group : p->C};
            FC(norm_sum_block)(call, 0, p->N, channels, channels.begin);
            for (ptrdiff_t c = channels.begin; c < channels.end; c++) call->finish(call, c);
            if (call->y) FC(norm_apply_block)(call, (fc_range){0, p->N}, channels);
        }
        fc_mode_leave(mode);
    }
}

static void FC(norm_run_planes)(const FC(norm_call) *call, int threads) {
    const fc_batch_norm *p = call->p;
    for (ptrdiff_t c = 0; c < p->C; c++) {
        const double first = (double)call->x[c * p->L];
        call->s.shift[c] = isfinite(first) ? first : 0;
    }
    const double *shift = call->given_mean ? call->given_mean : call->s.shift;
#pragma omp parallel num_threads(threads)
    {
        const fc_mode mode = fc_mode_enter();
        const fc_range r = fc_share(p->N * p->C, 1);
        for (ptrdiff_t i = r.begin; i < r.end; i++) {
            call->s.sum[i] = call->s.product[i] = 0;
            kernels.batch_norm_sums(p, 1, 1, call->g ? call->g + i * p->L : NULL, call->x + i * p->L, shift + i % p->C,
                                    call->s.sum + i, call->s.product + i);
        }
#pragma omp barrier
#pragma omp single
        for (ptrdiff_t c = 0; c < p->C; c++) {
            for (ptrdiff_t n = 1; n < p->N; n++) {
                call->s.sum[c] += call->s.sum[n * p->C + c];
                call->s.product[c] += call->s.product[n * p->C + c];
            }
            call->finish(call, c);
        }
        if (call->y) FC(norm_apply_share)(call);
        fc_mode_leave(mode);
    }
}

/* Sums, then what they are for. */
static void FC(norm_run)(const FC(norm_call) *call, int by_planes, int threads) {
    const fc_batch_norm *p = call->p;
    const double bytes = (call->g ? 4.0 : 2.0) * p->N * p->C * p->L * sizeof(real);
    threads = fc_threads_for(bytes, FC_BYTES_PER_THREAD, threads);
    if (by_planes) FC(norm_run_planes)(call, threads);
    else FC(norm_run_groups)(call, threads);
}

/* y from coefficients that are known. */
static void FC(norm_run_apply)(const FC(norm_call) *call, int threads) {
    const double bytes = 2.0 * call->p->N * call->p->C * call->p->L * sizeof(real);
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
    FC(norm_call) call = {.p = p, .x = x, .y = y, .weight = weight, .bias = bias, .running_mean = running_mean,
                          .running_var = running_var, .mean = mean, .inv_std = inv_std, .new_mean = new_mean,
                          .new_var = new_var, .finish = FC(norm_finish_forward)};
    FC(norm_layout)(p, threads, workspace, &call.s);
    if (training) {
        FC(norm_run)(&call, FC(norm_by_planes)(p, threads), threads);
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
    FC(norm_call) call = {.p = p, .g = grad_y, .x = x, .y = training ? grad_x : NULL, .weight = weight,
                          .given_mean = mean, .given_inv_std = inv_std, .grad_weight = grad_weight,
                          .grad_bias = grad_bias, .finish = FC(norm_finish_backward)};
    FC(norm_layout)(p, threads, workspace, &call.s);
    if (grad_weight || grad_bias || (training && grad_x))
        FC(norm_run)(&call, FC(norm_by_planes)(p, threads), threads);
    if (training || !grad_x) return;
    for (ptrdiff_t c = 0; c < p->C; c++) /* grad_x = g * inv_std * weight */
        FC(norm_coefficients)(&call, c, 0, inv_std[c] * (weight ? (double)weight[c] : 1), 0, 0);
    call.g = NULL;
    call.x = grad_y;
    call.y = grad_x;
    FC(norm_run_apply)(&call, threads);
}
