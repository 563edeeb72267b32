/* The operations for one element type: what fastconv.h declares for both, before the choice of the type.  Included
 * twice, with `real` and FC_SUFFIX set. */
#include "../fastconv.h"
#include "../real.h"

void FC(conv2d_explain)(const fc_conv2d *p, fc_pass pass, int threads, fc_explanation *e);
size_t FC(conv2d_forward_workspace)(const fc_conv2d *p, int threads);
void FC(conv2d_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                        void *workspace, int threads);
size_t FC(conv2d_fused_workspace)(const fc_conv2d *p, const fc_epilogue *e, int threads);
int FC(conv2d_fused)(const fc_conv2d *p, const fc_epilogue *e, const real *x, const real *weight, const real *bias,
                     real *y, void *workspace, int threads);
size_t FC(conv2d_pooled_grad_workspace)(const fc_conv2d *p, int threads);
void FC(conv2d_pooled_grad)(const fc_conv2d *p, const real *grad_y, const real *y, const uint8_t *winners, real *grad,
                            real *grad_bias, void *workspace, int threads);
size_t FC(conv2d_pooled_backward_workspace)(const fc_conv2d *p, int want_grad_x, int threads);
int FC(conv2d_pooled_backward)(const fc_conv2d *p, const real *grad_y, const real *y, const uint8_t *winners,
                               const real *x, const real *weight, real *grad_x, real *grad_weight, real *grad_bias,
                               void *workspace, int threads);
size_t FC(conv2d_grad_x_workspace)(const fc_conv2d *p, int threads);
void FC(conv2d_grad_x)(const fc_conv2d *p, const real *grad_y, const real *weight, real *grad_x, void *workspace,
                       int threads);
size_t FC(conv2d_grad_weight_workspace)(const fc_conv2d *p, int threads);
void FC(conv2d_grad_weight)(const fc_conv2d *p, const real *grad_y, const real *x, real *grad_weight, void *workspace,
                            int threads);
void FC(conv2d_grad_bias)(const fc_conv2d *p, const real *grad_y, real *grad_bias, int threads);

size_t FC(conv_transpose2d_forward_workspace)(const fc_conv2d *p, int threads);
void FC(conv_transpose2d_forward)(const fc_conv2d *p, const real *x, const real *weight, const real *bias, real *y,
                                  void *workspace, int threads);
void FC(conv_transpose2d_grad_bias)(const fc_conv2d *p, const real *grad_y, real *grad_bias, int threads);

void FC(max_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, uint8_t *winners, int64_t *indices,
                            int threads);
void FC(max_pool2d_backward_winners)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                     int threads);
int FC(max_pool2d_backward)(const real *grad_y, const int64_t *indices, real *grad_x, ptrdiff_t planes, ptrdiff_t n,
                            ptrdiff_t m, int threads);
void FC(avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int count_include_pad, ptrdiff_t divisor,
                            int threads);
void FC(avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int count_include_pad,
                             ptrdiff_t divisor, int threads);
void FC(unfold)(const fc_pool2d *p, const real *x, real *y, int threads);
void FC(fold)(const fc_pool2d *p, const real *y, real *x, int threads);

void FC(adaptive_avg_pool2d_forward)(const fc_pool2d *p, const real *x, real *y, int threads);
void FC(adaptive_avg_pool2d_backward)(const fc_pool2d *p, const real *grad_y, real *grad_x, int threads);
size_t FC(batch_norm_workspace)(const fc_batch_norm *p);
void FC(batch_norm_forward)(const fc_batch_norm *p, int training, const real *x, const real *weight, const real *bias,
                            const real *running_mean, const real *running_var, real *y, double *mean, double *inv_std,
                            real *new_mean, real *new_var, void *workspace, int threads);
void FC(batch_norm_backward)(const fc_batch_norm *p, int training, const real *grad_y, const real *x,
                             const real *weight, const double *mean, const double *inv_std, real *grad_x,
                             real *grad_weight, real *grad_bias, void *workspace, int threads);

size_t FC(linear_workspace)(ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, int threads);
void FC(linear_forward)(const real *x, const real *weight, const real *bias, real *y, ptrdiff_t M, ptrdiff_t D,
                        ptrdiff_t O, void *workspace, int threads);
void FC(linear_grad_x)(const real *grad_y, const real *weight, real *grad_x, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O,
                       void *workspace, int threads);
void FC(linear_grad_weight)(const real *grad_y, const real *x, real *grad_weight, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O,
                            void *workspace, int threads);
void FC(linear_grad_bias)(const real *grad_y, real *grad_bias, ptrdiff_t M, ptrdiff_t O, int threads);

void FC(relu_forward)(const real *x, real *y, ptrdiff_t n, int threads);
void FC(relu_backward)(const real *grad_y, const real *x, real *grad_x, ptrdiff_t n, int threads);
void FC(leaky_relu_forward)(const real *x, real *y, ptrdiff_t n, double slope, int threads);
void FC(leaky_relu_backward)(const real *grad_y, const real *x, real *grad_x, ptrdiff_t n, double slope, int threads);
void FC(sigmoid_forward)(const real *x, real *y, ptrdiff_t n, int threads);
void FC(sigmoid_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n, int threads);
void FC(tanh_forward)(const real *x, real *y, ptrdiff_t n, int threads);
void FC(tanh_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n, int threads);
double FC(squared_error_sum)(const real *x, const real *target, ptrdiff_t n, int threads);
void FC(squared_errors)(const real *x, const real *target, real *y, ptrdiff_t n, int threads);
void FC(squared_error_backward)(const real *grad_y, const real *x, const real *target, double factor, real *grad_x,
                                ptrdiff_t n, int threads);
void FC(nll_forward)(const real *x, const int64_t *target, const real *weight, int64_t ignore_index, real *losses,
                     ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads);
void FC(nll_backward)(const real *scale, const int64_t *target, const real *weight, int64_t ignore_index, real *grad_x,
                      ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads);
double FC(total)(const real *x, ptrdiff_t n);
double FC(counted)(const int64_t *target, const real *weight, int64_t ignore_index, ptrdiff_t n);
void FC(dropout_forward)(const real *x, real *y, uint8_t *mask, double p, uint64_t seed, ptrdiff_t units,
                         ptrdiff_t unit, int threads);
void FC(dropout_backward)(const real *grad_y, const uint8_t *mask, real *grad_x, double p, ptrdiff_t units,
                          ptrdiff_t unit, int threads);
void FC(softmax_forward)(const real *x, real *y, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int log, int threads);
void FC(softmax_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t images, ptrdiff_t n,
                          ptrdiff_t inner, int log, int threads);
void FC(cross_entropy_forward)(const real *x, const int64_t *target, const real *weight, int64_t ignore_index,
                               double label_smoothing, real *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner,
                               int threads);
void FC(cross_entropy_backward)(const real *scale, const real *x, const int64_t *target, const real *weight,
                                int64_t ignore_index, double label_smoothing, real *grad_x, ptrdiff_t images,
                                ptrdiff_t n, ptrdiff_t inner, int threads);
void FC(soft_cross_entropy_forward)(const real *x, const real *target, const real *weight, double label_smoothing,
                                    real *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int threads);
void FC(soft_cross_entropy_backward)(const real *scale, const real *x, const real *target, const real *weight,
                                     double label_smoothing, real *grad_x, ptrdiff_t images, ptrdiff_t n,
                                     ptrdiff_t inner, int threads);
void FC(sgd_step)(real *param, const real *grad, real *velocity, ptrdiff_t n, double lr, double momentum,
                  double dampening, double weight_decay, int nesterov, int maximize, int first, int threads);
void FC(adam_step)(real *param, const real *grad, real *exp_avg, real *exp_avg_sq, real *max_exp_avg_sq, ptrdiff_t n,
                   double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled, int maximize,
                   int64_t step, int threads);
void FC(gather_images)(const uint8_t *images, const int64_t *index, real *out, ptrdiff_t rows, ptrdiff_t d,
                       double scale, double offset, int threads);
