"""The operations on arrays, one file each, forward and backward side by side: validate, allocate, call.

`fastconv` re-exports all of them; `fastconv.reference` has a naive NumPy twin of each.
"""

from fastconv.ops.adaptive_avg_pool2d import adaptive_avg_pool2d, adaptive_avg_pool2d_backward
from fastconv.ops.avg_pool2d import avg_pool2d, avg_pool2d_backward
from fastconv.ops.batch_norm import batch_norm, batch_norm_backward
from fastconv.ops.conv2d import conv2d, conv2d_backward
from fastconv.ops.conv_transpose2d import conv_transpose2d, conv_transpose2d_backward
from fastconv.ops.cross_entropy import cross_entropy, cross_entropy_backward
from fastconv.ops.dropout import dropout, dropout2d, dropout2d_backward, dropout_backward
from fastconv.ops.leaky_relu import leaky_relu, leaky_relu_backward
from fastconv.ops.linear import linear, linear_backward
from fastconv.ops.max_pool2d import max_pool2d, max_pool2d_backward
from fastconv.ops.mse_loss import mse_loss, mse_loss_backward
from fastconv.ops.nll_loss import nll_loss, nll_loss_backward
from fastconv.ops.relu import relu, relu_backward
from fastconv.ops.sigmoid import sigmoid, sigmoid_backward
from fastconv.ops.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from fastconv.ops.tanh import tanh, tanh_backward
from fastconv.ops.unfold import fold, fold_backward, unfold, unfold_backward

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout2d",
    "dropout2d_backward",
    "dropout_backward",
    "fold",
    "fold_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
    "unfold",
    "unfold_backward",
]
