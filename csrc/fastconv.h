/* fastconv.h: the public face of the C core.  It knows nothing of Python.
 *
 * Arrays are C-contiguous, of one element type a call (fc_dtype).  Images are N x C x H x W.  The caller has validated
 * everything (sizes agree, no product overflows ptrdiff_t) and provides all memory: results, and for some calls a
 * workspace of fc_*_workspace bytes, 64-byte aligned.  `threads` is the most OpenMP threads a call may use; a small
 * problem uses fewer.  No result depends on their number.
 *
 * Calls that multiply (convolution, linear, optimisers) treat denormal numbers as zero while they run and put the
 * caller's floating-point mode back before they return. */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <stddef.h>
#include <stdint.h>

typedef enum { FC_F32 = 0, FC_F64 = 1 } fc_dtype;

/* x (N, C, H, W), weight (K, C / groups, R, S), y (N, K, OH, OW).
 * y[n][k][i][j] = bias[k] + sum over c, r, s of weight[k][c][r][s] * x[n][c'][i * stride_h + r * dilation_h - pad_top]
 * [j * stride_w + s * dilation_w - pad_left], where c' is channel c of k's group and what lies outside x is left out. */
typedef struct {
    ptrdiff_t N, C, H, W, K, R, S, OH, OW;
    ptrdiff_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups;
    int precision; /* 0 highest, 1 high, 2 medium: what float32 kernels may do */
} fc_conv2d;

/* How a pass of conv2d is computed; see ops/choose.c. */
typedef enum {
    FC_BY_CHANNELS, FC_BY_POSITIONS, FC_BY_POINTWISE, FC_BY_WINOGRAD, FC_BY_DEPTHWISE, FC_BY_PHASES, FC_BY_TAP_SUMS, FC_BY_OUTER_TAPS,
    FC_BY_OUTER_POSITIONS, FC_BY_PRODUCT
} fc_algorithm;
typedef enum { FC_PASS_FORWARD, FC_PASS_GRAD_X, FC_PASS_GRAD_WEIGHT } fc_pass;

typedef struct {
    fc_algorithm algorithm;
    int winograd;              /* m of F(m x m, 3x3), or 0 */
    ptrdiff_t tile[2];         /* what stays in registers: channels x positions, or as choose.c says; 0 where nothing does */
    size_t workspace;          /* bytes, for this number of threads */
    int sparse;                /* whether a grad_y that is mostly zeros goes another way */
} fc_explanation;
void fc_conv2d_explain(const fc_conv2d *p, fc_dtype dtype, fc_pass pass, int threads, fc_explanation *e);

size_t fc_conv2d_forward_workspace(const fc_conv2d *p, fc_dtype dtype, int threads);
void fc_conv2d_forward(const fc_conv2d *p, fc_dtype dtype, const void *x, const void *weight, const void *bias, void *y,
                       void *workspace, int threads);
/* What follows in the same call: first a max pool of 2x2 windows, stride 2 (y is then (N, K, OH / 2, OW / 2), a last odd
 * row or column left out), then ReLU.  winners: as fc_max_pool2d_forward's, or NULL. */
typedef struct {
    int pool, relu;
    uint8_t *winners;
} fc_epilogue;

/* 1 when done, with the bits of one after the other; 0, with y as it was, when they had better be done so.  A workspace of
 * 0 bytes means the latter. */
size_t fc_conv2d_fused_workspace(const fc_conv2d *p, const fc_epilogue *e, fc_dtype dtype, int threads);
int fc_conv2d_fused(const fc_conv2d *p, const fc_epilogue *e, fc_dtype dtype, const void *x, const void *weight,
                    const void *bias, void *y, void *workspace, int threads);
/* Back through the epilogue: grad (N, K, OH, OW), the gradient of the convolution's result, and grad_bias or NULL, from
 * that of y after pooling and ReLU.  y: the result of ReLU, or NULL where there was none.  Only N, K, OH, OW matter. */
size_t fc_conv2d_pooled_grad_workspace(const fc_conv2d *p, fc_dtype dtype, int threads);
void fc_conv2d_pooled_grad(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *y, const uint8_t *winners,
                           void *grad, void *grad_bias, void *workspace, int threads);
/* All the way back, from the gradient of y after pooling and ReLU, where that of the convolution's own result need not be
 * written down.  grad_x and grad_bias may be NULL.  1 when done, with the bits of fc_conv2d_pooled_grad and then each
 * gradient; 0, with the results undefined, when it is to be done so.  A workspace of 0 bytes means the latter. */
size_t fc_conv2d_pooled_backward_workspace(const fc_conv2d *p, fc_dtype dtype, int want_grad_x, int threads);
int fc_conv2d_pooled_backward(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *y,
                              const uint8_t *winners, const void *x, const void *weight, void *grad_x,
                              void *grad_weight, void *grad_bias, void *workspace, int threads);
size_t fc_conv2d_grad_x_workspace(const fc_conv2d *p, fc_dtype dtype, int threads);
void fc_conv2d_grad_x(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *weight, void *grad_x,
                      void *workspace, int threads);
size_t fc_conv2d_grad_weight_workspace(const fc_conv2d *p, fc_dtype dtype, int threads);
void fc_conv2d_grad_weight(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *x, void *grad_weight,
                           void *workspace, int threads);
void fc_conv2d_grad_bias(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, void *grad_bias, int threads);

/* Transposed: y (N, C, H, W) = conv2d's grad_x of x (N, K, OH, OW), plus bias (C) or NULL.  p is the convolution from y's
 * shape to x's; OH and OW may be smaller than its windows allow (output_padding).  Nothing is chosen from N or from the
 * numbers in x.  Its grad_x is fc_conv2d_forward of grad_y, its grad_weight fc_conv2d_grad_weight of (x, grad_y). */
size_t fc_conv_transpose2d_forward_workspace(const fc_conv2d *p, fc_dtype dtype, int threads);
void fc_conv_transpose2d_forward(const fc_conv2d *p, fc_dtype dtype, const void *x, const void *weight, const void *bias,
                                 void *y, void *workspace, int threads);
void fc_conv_transpose2d_grad_bias(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, void *grad_bias, int threads);

/* x (N, C, H, W), y (N, C, OH, OW); window (i, j) covers rows i * stride_h - pad_h + r * dilation_h, r < kernel_h. */
typedef struct {
    ptrdiff_t N, C, H, W, OH, OW;
    ptrdiff_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
} fc_pool2d;

/* winners: r * kernel_w + s of the largest element of each window, for windows of at most 256 elements; or NULL.
 * indices: its place h * W + w in the input plane; or NULL.  The first of equals wins; a NaN beats all before it. */
void fc_max_pool2d_forward(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, uint8_t *winners,
                           int64_t *indices, int threads);
void fc_max_pool2d_backward_winners(const fc_pool2d *p, fc_dtype dtype, const void *grad_y, const uint8_t *winners,
                                    void *grad_x, int threads);
/* grad_y, indices (planes, n); grad_x (planes, m).  0, or -1 when an index lies outside 0 .. m-1. */
int fc_max_pool2d_backward(fc_dtype dtype, const void *grad_y, const int64_t *indices, void *grad_x, ptrdiff_t planes,
                           ptrdiff_t n, ptrdiff_t m, int threads);
/* divisor 0: the number of elements, those of the padding included when count_include_pad. */
void fc_avg_pool2d_forward(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, int count_include_pad,
                           ptrdiff_t divisor, int threads);
void fc_avg_pool2d_backward(const fc_pool2d *p, fc_dtype dtype, const void *grad_y, void *grad_x, int count_include_pad,
                            ptrdiff_t divisor, int threads);

/* y (N, C * kernel_h * kernel_w, OH * OW): row (c, r, s) holds what tap (r, s) of every window of channel c sees, 0 outside
 * of x.  fold adds it all up again where it came from. */
void fc_unfold(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, int threads);
void fc_fold(const fc_pool2d *p, fc_dtype dtype, const void *y, void *x, int threads);

/* Window (i, j) covers rows floor(i * H / OH) .. ceil((i + 1) * H / OH) - 1, columns likewise; p's windows are not read. */
void fc_adaptive_avg_pool2d_forward(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, int threads);
void fc_adaptive_avg_pool2d_backward(const fc_pool2d *p, fc_dtype dtype, const void *grad_y, void *grad_x, int threads);

/* x (N, C, L), one number a channel for the rest: y = (x - mean) * inv_std * weight + bias; none of N, C, L is 0.
 * mean and inv_std = 1 / sqrt(variance + eps) are double for either type. */
typedef struct {
    ptrdiff_t N, C, L;
    double eps, momentum;
} fc_batch_norm;

/* weight, bias: (C) or NULL, which count as 1 and 0.
 * training: mean and variance are those of x; new_mean and new_var, where not NULL, become
 * (1 - momentum) * running + momentum * batch's, of the unbiased variance.  Else both are the running ones. */
size_t fc_batch_norm_workspace(const fc_batch_norm *p, fc_dtype dtype);
void fc_batch_norm_forward(const fc_batch_norm *p, fc_dtype dtype, int training, const void *x, const void *weight,
                           const void *bias, const void *running_mean, const void *running_var, void *y, double *mean,
                           double *inv_std, void *new_mean, void *new_var, void *workspace, int threads);
/* grad_x, grad_weight, grad_bias: NULL where not wanted.  training: whether mean and inv_std depend on x. */
void fc_batch_norm_backward(const fc_batch_norm *p, fc_dtype dtype, int training, const void *grad_y, const void *x,
                            const void *weight, const double *mean, const double *inv_std, void *grad_x,
                            void *grad_weight, void *grad_bias, void *workspace, int threads);

/* x (M, D), weight (O, D), bias (O) or NULL, y (M, O): y = x weight^T + bias */
size_t fc_linear_workspace(fc_dtype dtype, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, int threads);
void fc_linear_forward(fc_dtype dtype, const void *x, const void *weight, const void *bias, void *y, ptrdiff_t M,
                       ptrdiff_t D, ptrdiff_t O, void *workspace, int threads);
void fc_linear_grad_x(fc_dtype dtype, const void *grad_y, const void *weight, void *grad_x, ptrdiff_t M, ptrdiff_t D,
                      ptrdiff_t O, void *workspace, int threads);
void fc_linear_grad_weight(fc_dtype dtype, const void *grad_y, const void *x, void *grad_weight, ptrdiff_t M,
                           ptrdiff_t D, ptrdiff_t O, void *workspace, int threads);
void fc_linear_grad_bias(fc_dtype dtype, const void *grad_y, void *grad_bias, ptrdiff_t M, ptrdiff_t O, int threads);

/* y = max(x, 0), NaN stays NaN; grad_x = 0 where x <= 0, else grad_y (x: input or output of the forward pass). */
void fc_relu_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, int threads);
void fc_relu_backward(fc_dtype dtype, const void *grad_y, const void *x, void *grad_x, ptrdiff_t n, int threads);

/* y = x where x > 0, else slope * x */
void fc_leaky_relu_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, double slope, int threads);
void fc_leaky_relu_backward(fc_dtype dtype, const void *grad_y, const void *x, void *grad_x, ptrdiff_t n, double slope,
                            int threads);
/* y = 1 / (1 + exp(-x)), and tanh; back from y. */
void fc_sigmoid_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, int threads);
void fc_sigmoid_backward(fc_dtype dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t n, int threads);
void fc_tanh_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, int threads);
void fc_tanh_backward(fc_dtype dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t n, int threads);

/* One random number for each of `units` runs of `unit` neighbouring elements; mask (units) is 1 where the run is kept. */
void fc_dropout_forward(fc_dtype dtype, const void *x, void *y, uint8_t *mask, double p, uint64_t seed, ptrdiff_t units,
                        ptrdiff_t unit, int threads);
void fc_dropout_backward(fc_dtype dtype, const void *grad_y, const uint8_t *mask, void *grad_x, double p,
                         ptrdiff_t units, ptrdiff_t unit, int threads);

/* x (images, n, inner), along n: y = exp(x) / sum exp(x), or its logarithm. */
void fc_softmax_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int log,
                        int threads);
void fc_softmax_backward(fc_dtype dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t images, ptrdiff_t n,
                         ptrdiff_t inner, int log, int threads);

/* x (images, n, inner), target (images, inner) in 0 .. n-1 or ignore_index, weight (n) or NULL, a = label_smoothing:
 * losses[i] = (1 - a) w[t] (-log p[t]) + a / n * sum_c w[c] (-log p[c]), 0 for an ignored row. */
void fc_cross_entropy_forward(fc_dtype dtype, const void *x, const int64_t *target, const void *weight,
                              int64_t ignore_index, double label_smoothing, void *losses, ptrdiff_t images,
                              ptrdiff_t n, ptrdiff_t inner, int threads);
/* grad_x[i] = scale[i] * d losses[i] / d x[i] */
void fc_cross_entropy_backward(fc_dtype dtype, const void *scale, const void *x, const int64_t *target,
                               const void *weight, int64_t ignore_index, double label_smoothing, void *grad_x,
                               ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads);
/* target (images, n, inner): probabilities.  losses[i] = -sum_c w[c] ((1 - a) target[c] + a / n) log p[c] */
void fc_soft_cross_entropy_forward(fc_dtype dtype, const void *x, const void *target, const void *weight,
                                   double label_smoothing, void *losses, ptrdiff_t images, ptrdiff_t n,
                                   ptrdiff_t inner, int threads);
void fc_soft_cross_entropy_backward(fc_dtype dtype, const void *scale, const void *x, const void *target,
                                    const void *weight, double label_smoothing, void *grad_x, ptrdiff_t images,
                                    ptrdiff_t n, ptrdiff_t inner, int threads);

/* x (images, n, inner), target and losses (images, inner): losses = -weight[t] * x[t], 0 where t is ignore_index */
void fc_nll_forward(fc_dtype dtype, const void *x, const int64_t *target, const void *weight, int64_t ignore_index,
                    void *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads);
void fc_nll_backward(fc_dtype dtype, const void *scale, const int64_t *target, const void *weight,
                     int64_t ignore_index, void *grad_x, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads);
/* Whether each target is a class or ignore_index. */
int fc_targets_within(const int64_t *target, ptrdiff_t n, int64_t classes, int64_t ignore_index);
/* What losses are reduced by, in double: their sum, and the sum of the targets' weights (NULL: 1 each). */
double fc_total(fc_dtype dtype, const void *x, ptrdiff_t n);
double fc_counted(fc_dtype dtype, const int64_t *target, const void *weight, int64_t ignore_index, ptrdiff_t n);

/* (x - target)^2: the sum, or each.  grad_x = factor * (x - target), times grad_y unless that is NULL. */
double fc_squared_error_sum(fc_dtype dtype, const void *x, const void *target, ptrdiff_t n, int threads);
void fc_squared_errors(fc_dtype dtype, const void *x, const void *target, void *y, ptrdiff_t n, int threads);
void fc_squared_error_backward(fc_dtype dtype, const void *grad_y, const void *x, const void *target, double factor,
                               void *grad_x, ptrdiff_t n, int threads);

/* One step of stochastic gradient descent; velocity may be NULL (momentum 0); first: velocity starts as the gradient;
 * maximize: up the gradient. */
void fc_sgd_step(fc_dtype dtype, void *param, const void *grad, void *velocity, ptrdiff_t n, double lr, double momentum,
                 double dampening, double weight_decay, int nesterov, int maximize, int first, int threads);
/* One step of Adam (decoupled: AdamW; max_exp_avg_sq not NULL: AMSGrad); step counts from 1. */
void fc_adam_step(fc_dtype dtype, void *param, const void *grad, void *exp_avg, void *exp_avg_sq, void *max_exp_avg_sq,
                  ptrdiff_t n, double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled,
                  int maximize, int64_t step, int threads);

/* out[i][d] = images[index[i]][d] * scale + offset, rows of d bytes */
void fc_gather_images(fc_dtype dtype, const uint8_t *images, const int64_t *index, void *out, ptrdiff_t rows,
                      ptrdiff_t d, double scale, double offset, int threads);

#endif
