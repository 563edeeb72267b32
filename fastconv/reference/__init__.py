"""The naive NumPy twin of every op: same names, same signatures, obvious loops.

Read a function here next to its formula, then the kernel of the same name in csrc/kernels.  Nothing here is fast and
nothing here checks its arguments beyond what it needs; the tests measure the kernels against it.  Sums are taken in
float64 (in longdouble where the input is longdouble) and the result is cast back to the input's dtype.
"""

from .adaptive_avg_pool2d import adaptive_avg_pool2d, adaptive_avg_pool2d_backward
from .avg_pool2d import avg_pool2d, avg_pool2d_backward
from .batch_norm import batch_norm, batch_norm_backward
from .conv2d import conv2d, conv2d_backward
from .conv_transpose2d import conv_transpose2d, conv_transpose2d_backward
from .cross_entropy import cross_entropy, cross_entropy_backward
from .dropout import dropout, dropout2d, dropout2d_backward, dropout_backward
from .leaky_relu import leaky_relu, leaky_relu_backward
from .linear import linear, linear_backward
from .max_pool2d import max_pool2d, max_pool2d_backward
from .mse_loss import mse_loss, mse_loss_backward
from .nll_loss import nll_loss, nll_loss_backward
from .relu import relu, relu_backward
from .sigmoid import sigmoid, sigmoid_backward
from .softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from .tanh import tanh, tanh_backward
from .unfold import fold, fold_backward, unfold, unfold_backward

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
