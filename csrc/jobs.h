/* What the blocking in ops/ hands to a kernel when a plain argument list would be too long.  All steps and offsets
 * count elements. */
#ifndef FC_JOBS_H
#define FC_JOBS_H

#include <stddef.h>
#include <stdint.h>

/* A correlation of one image, or a band of its rows, with a list of taps:
 *
 *   y[k][i][j] = bias[k] + sum over c < C, t < T of w[k][c][t] * x[c * x_channel + i * x_row + j * x_col + taps[t]]
 *
 * for k < K, i < rows, j < cols; y[k][i][j] lies at k * y_channel + i * y_row + j * y_col.  The taps hold kernel size
 * and dilation, x_row and x_col the stride: one kernel serves them all, and grad_x too. */
typedef struct {
    ptrdiff_t C, T, K, rows, cols;
    const ptrdiff_t *taps;
    ptrdiff_t x_channel, x_row, x_col;
    ptrdiff_t w_channel; /* from one c to the next in the packed weights of a block of channels */
    ptrdiff_t y_channel, y_row, y_col;
    const void *next; /* correlate_channels: what to prefetch of each channel, next_channel apart, or NULL */
    ptrdiff_t next_channel, next_lines;
} fc_correlation;

/* A matrix product over a panel of positions; see kernels/pointwise.c. */
typedef struct {
    ptrdiff_t C, K;
    ptrdiff_t x_row, from_row, to_row; /* from one channel to the next */
    ptrdiff_t w_block;                 /* from one block of channels to the next in the packed weights */
    ptrdiff_t source_row;              /* the same of x as it lies */
    ptrdiff_t next_span;               /* elements of such a row to prefetch */
} fc_pointwise;

/* The outer products of grad_weight over a band of positions; see kernels/outer_taps.c. */
typedef struct {
    ptrdiff_t C, L, S, rows, cols;
    const ptrdiff_t *lines; /* L offsets into a channel of x */
    ptrdiff_t x_channel, x_row, x_col;
    const void *next; /* what to prefetch of x: next_bytes of each channel, next_channel elements apart, or NULL */
    ptrdiff_t next_channel, next_bytes;
} fc_outer;

/* The sums of kernels/outer_positions.c: K x Q of them, over n positions of each of a few images. */
typedef struct {
    ptrdiff_t K, Q, n, images;
    ptrdiff_t g_image, g_channel, x_image;
    ptrdiff_t g_next;         /* from this call's grad_y to that of the next: to fetch it ahead */
    const ptrdiff_t *offsets; /* Q, into the copies of x of an image */
} fc_outer_positions;

/* The columns of a row of grad_x, for tap_sums: column b + u * stride (phase b) is a sum over s of z[taps[s] + u], for
 * s in first[b] .. first[b + 1] - 1, where masks[s][u] has its bits set. */
typedef struct {
    ptrdiff_t W, stride;
    ptrdiff_t vectors; /* of a phase */
    const ptrdiff_t *first, *taps;
    const void *masks; /* [s][vectors][lanes], of the size of an element */
} fc_tap_sums;

/* The constants of one optimiser step. */
typedef struct {
    double lr, momentum, dampening, weight_decay;
    int nesterov, maximize, first;
} fc_sgd;

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
    double step_size;    /* lr / (1 - beta1^step) */
    double inverse_root; /* 1 / sqrt(1 - beta2^step) */
    int decoupled, maximize;
} fc_adam;

/* The constants of a cross-entropy over rows of n logits. */
typedef struct {
    ptrdiff_t n;
    int64_t ignore_index;
    double label_smoothing;
    double weight_sum; /* over all classes; for the gradient */
} fc_cross_entropy;

/* At most so many neighbouring positions at a time: a few cache lines of a row, whole vectors of any length. */
enum { FC_POSITIONS = 128 };

#endif
