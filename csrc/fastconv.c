/* The public functions: each hands over to the instance for its element type. */
#include "fastconv.h"
#include "ops/parallel.h"

#define real float
#define FC_SUFFIX f32
#include "ops/ops.h"
#undef real
#undef FC_SUFFIX
#define real double
#define FC_SUFFIX f64
#include "ops/ops.h"
#undef real
#undef FC_SUFFIX

#define FOR_DTYPE(name, ...) (dtype == FC_F32 ? name##_f32(__VA_ARGS__) : name##_f64(__VA_ARGS__))
/* The same for what computes: in the plain floating-point mode, after which the caller's is as it was. */
#define RUN_FOR_DTYPE(name, ...) \
    do { \
        const fc_mode mode = fc_mode_plain(); \
        FOR_DTYPE(name, __VA_ARGS__); \
        fc_mode_leave(mode); \
    } while (0)
#define RETURN_FOR_DTYPE(name, ...) \
    do { \
        const fc_mode mode = fc_mode_plain(); \
        const __auto_type result = FOR_DTYPE(name, __VA_ARGS__); \
        fc_mode_leave(mode); \
        return result; \
    } while (0)

void fc_conv2d_explain(const fc_conv2d *p, fc_dtype dtype, fc_pass pass, int threads, fc_explanation *e) {
    FOR_DTYPE(conv2d_explain, p, pass, threads, e);
}
size_t fc_conv2d_forward_workspace(const fc_conv2d *p, fc_dtype dtype, int threads) {
    return FOR_DTYPE(conv2d_forward_workspace, p, threads);
}
void fc_conv2d_forward(const fc_conv2d *p, fc_dtype dtype, const void *x, const void *weight, const void *bias, void *y, void *workspace, int threads) {
    RUN_FOR_DTYPE(conv2d_forward, p, x, weight, bias, y, workspace, threads);
}
size_t fc_conv2d_fused_workspace(const fc_conv2d *p, const fc_epilogue *e, fc_dtype dtype, int threads) {
    return FOR_DTYPE(conv2d_fused_workspace, p, e, threads);
}
int fc_conv2d_fused(const fc_conv2d *p, const fc_epilogue *e, fc_dtype dtype, const void *x, const void *weight, const void *bias, void *y, void *workspace, int threads) {
    RETURN_FOR_DTYPE(conv2d_fused, p, e, x, weight, bias, y, workspace, threads);
}
size_t fc_conv2d_pooled_grad_workspace(const fc_conv2d *p, fc_dtype dtype, int threads) {
    return FOR_DTYPE(conv2d_pooled_grad_workspace, p, threads);
}
void fc_conv2d_pooled_grad(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *y, const uint8_t *winners, void *grad, void *grad_bias, void *workspace, int threads) {
    RUN_FOR_DTYPE(conv2d_pooled_grad, p, grad_y, y, winners, grad, grad_bias, workspace, threads);
}
size_t fc_conv2d_pooled_backward_workspace(const fc_conv2d *p, fc_dtype dtype, int want_grad_x, int threads) {
    return FOR_DTYPE(conv2d_pooled_backward_workspace, p, want_grad_x, threads);
}
int fc_conv2d_pooled_backward(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *y, const uint8_t *winners, const void *x, const void *weight, void *grad_x, void *grad_weight, void *grad_bias, void *workspace, int threads) {
    RETURN_FOR_DTYPE(conv2d_pooled_backward, p, grad_y, y, winners, x, weight, grad_x, grad_weight, grad_bias, workspace, threads);
}
size_t fc_conv2d_grad_x_workspace(const fc_conv2d *p, fc_dtype dtype, int threads) {
    return FOR_DTYPE(conv2d_grad_x_workspace, p, threads);
}
void fc_conv2d_grad_x(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *weight, void *grad_x, void *workspace, int threads) {
    RUN_FOR_DTYPE(conv2d_grad_x, p, grad_y, weight, grad_x, workspace, threads);
}
size_t fc_conv2d_grad_weight_workspace(const fc_conv2d *p, fc_dtype dtype, int threads) {
    return FOR_DTYPE(conv2d_grad_weight_workspace, p, threads);
}
void fc_conv2d_grad_weight(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, const void *x, void *grad_weight, void *workspace, int threads) {
    RUN_FOR_DTYPE(conv2d_grad_weight, p, grad_y, x, grad_weight, workspace, threads);
}
void fc_conv2d_grad_bias(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, void *grad_bias, int threads) {
    RUN_FOR_DTYPE(conv2d_grad_bias, p, grad_y, grad_bias, threads);
}
size_t fc_conv_transpose2d_forward_workspace(const fc_conv2d *p, fc_dtype dtype, int threads) {
    return FOR_DTYPE(conv_transpose2d_forward_workspace, p, threads);
}
void fc_conv_transpose2d_forward(const fc_conv2d *p, fc_dtype dtype, const void *x, const void *weight, const void *bias, void *y, void *workspace, int threads) {
    RUN_FOR_DTYPE(conv_transpose2d_forward, p, x, weight, bias, y, workspace, threads);
}
void fc_conv_transpose2d_grad_bias(const fc_conv2d *p, fc_dtype dtype, const void *grad_y, void *grad_bias, int threads) {
    RUN_FOR_DTYPE(conv_transpose2d_grad_bias, p, grad_y, grad_bias, threads);
}
void fc_max_pool2d_forward(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, uint8_t *winners, int64_t *indices, int threads) {
    RUN_FOR_DTYPE(max_pool2d_forward, p, x, y, winners, indices, threads);
}
void fc_max_pool2d_backward_winners(const fc_pool2d *p, fc_dtype dtype, const void *grad_y, const uint8_t *winners, void *grad_x, int threads) {
    RUN_FOR_DTYPE(max_pool2d_backward_winners, p, grad_y, winners, grad_x, threads);
}
int fc_max_pool2d_backward(fc_dtype dtype, const void *grad_y, const int64_t *indices, void *grad_x, ptrdiff_t planes, ptrdiff_t n, ptrdiff_t m, int threads) {
    RETURN_FOR_DTYPE(max_pool2d_backward, grad_y, indices, grad_x, planes, n, m, threads);
}
void fc_avg_pool2d_forward(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, int count_include_pad, ptrdiff_t divisor, int threads) {
    RUN_FOR_DTYPE(avg_pool2d_forward, p, x, y, count_include_pad, divisor, threads);
}
void fc_avg_pool2d_backward(const fc_pool2d *p, fc_dtype dtype, const void *grad_y, void *grad_x, int count_include_pad, ptrdiff_t divisor, int threads) {
    RUN_FOR_DTYPE(avg_pool2d_backward, p, grad_y, grad_x, count_include_pad, divisor, threads);
}
void fc_unfold(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, int threads) {
    RUN_FOR_DTYPE(unfold, p, x, y, threads);
}
void fc_fold(const fc_pool2d *p, fc_dtype dtype, const void *y, void *x, int threads) {
    RUN_FOR_DTYPE(fold, p, y, x, threads);
}
void fc_adaptive_avg_pool2d_forward(const fc_pool2d *p, fc_dtype dtype, const void *x, void *y, int threads) {
    RUN_FOR_DTYPE(adaptive_avg_pool2d_forward, p, x, y, threads);
}
void fc_adaptive_avg_pool2d_backward(const fc_pool2d *p, fc_dtype dtype, const void *grad_y, void *grad_x, int threads) {
    RUN_FOR_DTYPE(adaptive_avg_pool2d_backward, p, grad_y, grad_x, threads);
}
size_t fc_batch_norm_workspace(const fc_batch_norm *p, fc_dtype dtype) {
    return FOR_DTYPE(batch_norm_workspace, p);
}
void fc_batch_norm_forward(const fc_batch_norm *p, fc_dtype dtype, int training, const void *x, const void *weight, const void *bias, const void *running_mean, const void *running_var, void *y, double *mean, double *inv_std, void *new_mean, void *new_var, void *workspace, int threads) {
    RUN_FOR_DTYPE(batch_norm_forward, p, training, x, weight, bias, running_mean, running_var, y, mean, inv_std, new_mean, new_var, workspace, threads);
}
void fc_batch_norm_backward(const fc_batch_norm *p, fc_dtype dtype, int training, const void *grad_y, const void *x, const void *weight, const double *mean, const double *inv_std, void *grad_x, void *grad_weight, void *grad_bias, void *workspace, int threads) {
    RUN_FOR_DTYPE(batch_norm_backward, p, training, grad_y, x, weight, mean, inv_std, grad_x, grad_weight, grad_bias, workspace, threads);
}
size_t fc_linear_workspace(fc_dtype dtype, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, int threads) {
    return FOR_DTYPE(linear_workspace, M, D, O, threads);
}
void fc_linear_forward(fc_dtype dtype, const void *x, const void *weight, const void *bias, void *y, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, void *workspace, int threads) {
    RUN_FOR_DTYPE(linear_forward, x, weight, bias, y, M, D, O, workspace, threads);
}
void fc_linear_grad_x(fc_dtype dtype, const void *grad_y, const void *weight, void *grad_x, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, void *workspace, int threads) {
    RUN_FOR_DTYPE(linear_grad_x, grad_y, weight, grad_x, M, D, O, workspace, threads);
}
void fc_linear_grad_weight(fc_dtype dtype, const void *grad_y, const void *x, void *grad_weight, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, void *workspace, int threads) {
    RUN_FOR_DTYPE(linear_grad_weight, grad_y, x, grad_weight, M, D, O, workspace, threads);
}
void fc_linear_grad_bias(fc_dtype dtype, const void *grad_y, void *grad_bias, ptrdiff_t M, ptrdiff_t O, int threads) {
    RUN_FOR_DTYPE(linear_grad_bias, grad_y, grad_bias, M, O, threads);
}
void fc_relu_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(relu_forward, x, y, n, threads);
}
void fc_relu_backward(fc_dtype dtype, const void *grad_y, const void *x, void *grad_x, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(relu_backward, grad_y, x, grad_x, n, threads);
}
void fc_leaky_relu_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, double slope, int threads) {
    RUN_FOR_DTYPE(leaky_relu_forward, x, y, n, slope, threads);
}
void fc_leaky_relu_backward(fc_dtype dtype, const void *grad_y, const void *x, void *grad_x, ptrdiff_t n, double slope, int threads) {
    RUN_FOR_DTYPE(leaky_relu_backward, grad_y, x, grad_x, n, slope, threads);
}
void fc_sigmoid_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(sigmoid_forward, x, y, n, threads);
}
void fc_sigmoid_backward(fc_dtype dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(sigmoid_backward, grad_y, y, grad_x, n, threads);
}
void fc_tanh_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(tanh_forward, x, y, n, threads);
}
void fc_tanh_backward(fc_dtype dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(tanh_backward, grad_y, y, grad_x, n, threads);
}
void fc_dropout_forward(fc_dtype dtype, const void *x, void *y, uint8_t *mask, double p, uint64_t seed, ptrdiff_t units, ptrdiff_t unit, int threads) {
    RUN_FOR_DTYPE(dropout_forward, x, y, mask, p, seed, units, unit, threads);
}
void fc_dropout_backward(fc_dtype dtype, const void *grad_y, const uint8_t *mask, void *grad_x, double p, ptrdiff_t units, ptrdiff_t unit, int threads) {
    RUN_FOR_DTYPE(dropout_backward, grad_y, mask, grad_x, p, units, unit, threads);
}
void fc_softmax_forward(fc_dtype dtype, const void *x, void *y, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int log, int threads) {
    RUN_FOR_DTYPE(softmax_forward, x, y, images, n, inner, log, threads);
}
void fc_softmax_backward(fc_dtype dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int log, int threads) {
    RUN_FOR_DTYPE(softmax_backward, grad_y, y, grad_x, images, n, inner, log, threads);
}
void fc_cross_entropy_forward(fc_dtype dtype, const void *x, const int64_t *target, const void *weight, int64_t ignore_index, double label_smoothing, void *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    RUN_FOR_DTYPE(cross_entropy_forward, x, target, weight, ignore_index, label_smoothing, losses, images, n, inner, threads);
}
void fc_cross_entropy_backward(fc_dtype dtype, const void *scale, const void *x, const int64_t *target, const void *weight, int64_t ignore_index, double label_smoothing, void *grad_x, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    RUN_FOR_DTYPE(cross_entropy_backward, scale, x, target, weight, ignore_index, label_smoothing, grad_x, images, n, inner, threads);
}
void fc_soft_cross_entropy_forward(fc_dtype dtype, const void *x, const void *target, const void *weight, double label_smoothing, void *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    RUN_FOR_DTYPE(soft_cross_entropy_forward, x, target, weight, label_smoothing, losses, images, n, inner, threads);
}
void fc_soft_cross_entropy_backward(fc_dtype dtype, const void *scale, const void *x, const void *target, const void *weight, double label_smoothing, void *grad_x, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    RUN_FOR_DTYPE(soft_cross_entropy_backward, scale, x, target, weight, label_smoothing, grad_x, images, n, inner, threads);
}
void fc_nll_forward(fc_dtype dtype, const void *x, const int64_t *target, const void *weight, int64_t ignore_index, void *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    RUN_FOR_DTYPE(nll_forward, x, target, weight, ignore_index, losses, images, n, inner, threads);
}
void fc_nll_backward(fc_dtype dtype, const void *scale, const int64_t *target, const void *weight, int64_t ignore_index, void *grad_x, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads) {
    RUN_FOR_DTYPE(nll_backward, scale, target, weight, ignore_index, grad_x, images, n, inner, threads);
}
double fc_total(fc_dtype dtype, const void *x, ptrdiff_t n) {
    RETURN_FOR_DTYPE(total, x, n);
}
double fc_counted(fc_dtype dtype, const int64_t *target, const void *weight, int64_t ignore_index, ptrdiff_t n) {
    RETURN_FOR_DTYPE(counted, target, weight, ignore_index, n);
}
double fc_squared_error_sum(fc_dtype dtype, const void *x, const void *target, ptrdiff_t n, int threads) {
    RETURN_FOR_DTYPE(squared_error_sum, x, target, n, threads);
}
void fc_squared_errors(fc_dtype dtype, const void *x, const void *target, void *y, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(squared_errors, x, target, y, n, threads);
}
void fc_squared_error_backward(fc_dtype dtype, const void *grad_y, const void *x, const void *target, double factor, void *grad_x, ptrdiff_t n, int threads) {
    RUN_FOR_DTYPE(squared_error_backward, grad_y, x, target, factor, grad_x, n, threads);
}
void fc_sgd_step(fc_dtype dtype, void *param, const void *grad, void *velocity, ptrdiff_t n, double lr, double momentum, double dampening, double weight_decay, int nesterov, int maximize, int first, int threads) {
    RUN_FOR_DTYPE(sgd_step, param, grad, velocity, n, lr, momentum, dampening, weight_decay, nesterov, maximize, first, threads);
}
void fc_adam_step(fc_dtype dtype, void *param, const void *grad, void *exp_avg, void *exp_avg_sq, void *max_exp_avg_sq, ptrdiff_t n, double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled, int maximize, int64_t step, int threads) {
    RUN_FOR_DTYPE(adam_step, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, n, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, threads);
}
void fc_gather_images(fc_dtype dtype, const uint8_t *images, const int64_t *index, void *out, ptrdiff_t rows, ptrdiff_t d, double scale, double offset, int threads) {
    RUN_FOR_DTYPE(gather_images, images, index, out, rows, d, scale, offset, threads);
}
