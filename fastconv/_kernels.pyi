"""Types of the compiled module: one thin function per C entry point, no logic.

Every array handed in is C-contiguous, of one dtype (float32 or float64) per call unless said otherwise, and already
validated: nothing here checks shapes.  Results are written into arrays that the caller allocated with `empty`.
`threads` is the most threads the call may use; small problems use fewer.
"""

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32] | NDArray[np.float64]

# -- memory: NumPy arrays whose storage comes from a bounded cache of freed blocks (64-byte aligned) -------------------

def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]: ...
def memory_cached() -> int: ...
def memory_limit() -> int: ...
def set_memory_limit(limit: int) -> None: ...
def memory_release() -> int: ...
def fail_allocation(n: int) -> int: ...

# -- what this machine has, and which table of kernels is in use -----------------------------------------------------

def cpu_info() -> dict[str, Any]: ...
def compiled_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def select_isa(name: str) -> None: ...
def openmp_max_threads() -> int: ...
def openmp_version() -> int: ...
def openmp_pause() -> int: ...

# -- quick calls: the results, or None where the call is not one of the common ones; see _quick.pxi --------------------

def set_threads(n: int) -> None: ...  # of quick calls; by _threads.py alone
def quick_threads() -> int: ...
def quick_conv2d(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> NDArray[Any] | None: ...
def quick_conv2d_pooled(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    relu: bool,
    want_winners: bool,
) -> tuple[NDArray[Any], NDArray[np.uint8] | None, tuple[int, ...]] | None: ...
def quick_conv2d_pooled_grad(
    grad_y: Any, y: Any, winners: Any, before: tuple[int, ...], want_bias: bool
) -> tuple[NDArray[Any], NDArray[Any] | None] | None: ...
def quick_conv2d_pooled_backward(
    grad_y: Any,
    y: Any,
    winners: Any,
    before: tuple[int, ...],
    x: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    want_x: bool,
    want_bias: bool,
) -> tuple[NDArray[Any] | None, NDArray[Any], NDArray[Any] | None] | None: ...
def quick_conv2d_backward(
    grad_y: Any, x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: Any, need: Any
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None: ...
def quick_max_pool2d(
    x: Any, kernel_size: Any, stride: Any, padding: Any, want_winners: bool, want_indices: bool = False
) -> Any: ...
def quick_max_pool2d_backward(grad_y: Any, indices: Any, input_shape: Any) -> NDArray[Any] | None: ...
def quick_avg_pool2d(x: Any, kernel_size: Any, stride: Any, padding: Any) -> NDArray[Any] | None: ...
def quick_linear(x: Any, weight: Any, bias: Any) -> NDArray[Any] | None: ...
def quick_linear_backward(
    grad_y: Any, x: Any, weight: Any, need: Any
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None: ...
def quick_relu(x: Any) -> NDArray[Any] | None: ...
def quick_relu_backward(grad_y: Any, x: Any) -> NDArray[Any] | None: ...
def quick_sigmoid(x: Any) -> NDArray[Any] | None: ...
def quick_sigmoid_backward(grad_y: Any, y: Any) -> NDArray[Any] | None: ...
def quick_tanh(x: Any) -> NDArray[Any] | None: ...
def quick_tanh_backward(grad_y: Any, y: Any) -> NDArray[Any] | None: ...

# -- convolution -----------------------------------------------------------------------------------------------------

@final
class Conv2dProblem:
    """The sizes of one convolution.  x (N, C, H, W); weight (K, C // groups, R, S); y (N, K, OH, OW)."""

    N: Final[int]
    C: Final[int]
    H: Final[int]
    W: Final[int]
    K: Final[int]
    R: Final[int]
    S: Final[int]
    OH: Final[int]
    OW: Final[int]
    stride_h: Final[int]
    stride_w: Final[int]
    pad_top: Final[int]
    pad_left: Final[int]
    dilation_h: Final[int]
    dilation_w: Final[int]
    groups: Final[int]
    def __init__(
        self,
        N: int,
        C: int,
        H: int,
        W: int,
        K: int,
        R: int,
        S: int,
        OH: int,
        OW: int,
        stride_h: int,
        stride_w: int,
        pad_top: int,
        pad_left: int,
        dilation_h: int,
        dilation_w: int,
        groups: int,
    ) -> None: ...

ALGORITHMS: tuple[str, ...]

def conv2d_explain(
    problem: Conv2dProblem, single: bool, which: int, threads: int
) -> tuple[str, int, tuple[int, int], int, bool]: ...
def set_precision(level: int) -> None: ...
def conv2d_forward(
    problem: Conv2dProblem,
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None,
    y: FloatArray,
    threads: int,
) -> None: ...
def conv2d_grad_x(
    problem: Conv2dProblem, grad_y: FloatArray, weight: FloatArray, grad_x: FloatArray, threads: int
) -> None: ...
def conv2d_grad_weight(
    problem: Conv2dProblem, grad_y: FloatArray, x: FloatArray, grad_weight: FloatArray, threads: int
) -> None: ...
def conv2d_grad_bias(problem: Conv2dProblem, grad_y: FloatArray, grad_bias: FloatArray, threads: int) -> None: ...

# Transposed: the problem is the convolution from y's shape to x's.
def conv_transpose2d_forward(
    problem: Conv2dProblem, x: FloatArray, weight: FloatArray, bias: FloatArray | None, y: FloatArray, threads: int
) -> None: ...
def conv_transpose2d_grad_bias(
    problem: Conv2dProblem, grad_y: FloatArray, grad_bias: FloatArray, threads: int
) -> None: ...

# -- pooling ---------------------------------------------------------------------------------------------------------

@final
class Pool2dProblem:
    """The sizes of one pooling.  x (N, C, H, W); y (N, C, OH, OW); padding the same on both sides of an axis."""

    N: Final[int]
    C: Final[int]
    H: Final[int]
    W: Final[int]
    OH: Final[int]
    OW: Final[int]
    kernel_h: Final[int]
    kernel_w: Final[int]
    stride_h: Final[int]
    stride_w: Final[int]
    pad_h: Final[int]
    pad_w: Final[int]
    dilation_h: Final[int]
    dilation_w: Final[int]
    def __init__(
        self,
        N: int,
        C: int,
        H: int,
        W: int,
        OH: int,
        OW: int,
        kernel_h: int,
        kernel_w: int,
        stride_h: int,
        stride_w: int,
        pad_h: int,
        pad_w: int,
        dilation_h: int,
        dilation_w: int,
    ) -> None: ...

# winners: the winner's position r * kernel_w + s inside its window, for windows of at most 256 elements; or None.
# indices: its flat position h * W + w in the input plane; or None.
def max_pool2d_forward(
    problem: Pool2dProblem,
    x: FloatArray,
    y: FloatArray,
    winners: NDArray[np.uint8] | None,
    indices: NDArray[np.int64] | None,
    threads: int,
) -> None: ...
def max_pool2d_backward_winners(
    problem: Pool2dProblem, grad_y: FloatArray, winners: NDArray[np.uint8], grad_x: FloatArray, threads: int
) -> None: ...

# grad_y, indices (planes, n); grad_x (planes, m).  False when an index lies outside 0 .. m-1 (grad_x is then
# undefined).
def max_pool2d_backward(
    grad_y: FloatArray, indices: NDArray[np.int64], grad_x: FloatArray, planes: int, threads: int
) -> bool: ...

# divisor_override 0 means none.
def avg_pool2d_forward(
    problem: Pool2dProblem, x: FloatArray, y: FloatArray, count_include_pad: bool, divisor_override: int, threads: int
) -> None: ...
def avg_pool2d_backward(
    problem: Pool2dProblem,
    grad_y: FloatArray,
    grad_x: FloatArray,
    count_include_pad: bool,
    divisor_override: int,
    threads: int,
) -> None: ...

# -- windows as columns: y (N, C * kernel_h * kernel_w, OH * OW) ------------------------------------------------------

def unfold(problem: Pool2dProblem, x: FloatArray, y: FloatArray, threads: int) -> None: ...
def fold(problem: Pool2dProblem, y: FloatArray, x: FloatArray, threads: int) -> None: ...

# -- linear: x (M, I), weight (O, I), y (M, O) -------------------------------------------------------------------------

def linear_forward(x: FloatArray, weight: FloatArray, bias: FloatArray | None, y: FloatArray, threads: int) -> None: ...
def linear_grad_x(grad_y: FloatArray, weight: FloatArray, grad_x: FloatArray, threads: int) -> None: ...
def linear_grad_weight(grad_y: FloatArray, x: FloatArray, grad_weight: FloatArray, threads: int) -> None: ...
def linear_grad_bias(grad_y: FloatArray, grad_bias: FloatArray, threads: int) -> None: ...

# -- element by element ----------------------------------------------------------------------------------------------

def relu_forward(x: FloatArray, y: FloatArray, threads: int) -> None: ...

# x may be the input or the output of the forward pass.
def relu_backward(grad_y: FloatArray, x: FloatArray, grad_x: FloatArray, threads: int) -> None: ...
def leaky_relu_forward(x: FloatArray, y: FloatArray, slope: float, threads: int) -> None: ...
def leaky_relu_backward(grad_y: FloatArray, x: FloatArray, grad_x: FloatArray, slope: float, threads: int) -> None: ...

# Back from the result y.
def sigmoid_forward(x: FloatArray, y: FloatArray, threads: int) -> None: ...
def sigmoid_backward(grad_y: FloatArray, y: FloatArray, grad_x: FloatArray, threads: int) -> None: ...
def tanh_forward(x: FloatArray, y: FloatArray, threads: int) -> None: ...
def tanh_backward(grad_y: FloatArray, y: FloatArray, grad_x: FloatArray, threads: int) -> None: ...

# One random number a unit of `unit` neighbouring elements: mask (x.size // unit,), 1 where the unit is kept.
def dropout_forward(
    x: FloatArray, y: FloatArray, mask: NDArray[np.uint8], p: float, seed: int, unit: int, threads: int
) -> None: ...
def dropout_backward(
    grad_y: FloatArray, mask: NDArray[np.uint8], grad_x: FloatArray, p: float, unit: int, threads: int
) -> None: ...

# Window (i, j) covers rows floor(i*H/OH) .. ceil((i+1)*H/OH) - 1; only N, C, H, W, OH, OW of the problem are read.
def adaptive_avg_pool2d_forward(problem: Pool2dProblem, x: FloatArray, y: FloatArray, threads: int) -> None: ...
def adaptive_avg_pool2d_backward(
    problem: Pool2dProblem, grad_y: FloatArray, grad_x: FloatArray, threads: int
) -> None: ...

# -- batch normalisation: x (N, C, ...), none of its sizes 0; the other arrays (C,) ------------------------------------

# mean and inv_std are written, float64 for either dtype; new_mean and new_var too, where given (in training).
def batch_norm_forward(
    x: FloatArray,
    weight: FloatArray | None,
    bias: FloatArray | None,
    running_mean: FloatArray | None,
    running_var: FloatArray | None,
    y: FloatArray,
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    new_mean: FloatArray | None,
    new_var: FloatArray | None,
    training: bool,
    momentum: float,
    eps: float,
    threads: int,
) -> None: ...

# A gradient that is None is not computed.
def batch_norm_backward(
    grad_y: FloatArray,
    x: FloatArray,
    weight: FloatArray | None,
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    grad_x: FloatArray | None,
    grad_weight: FloatArray | None,
    grad_bias: FloatArray | None,
    training: bool,
    threads: int,
) -> None: ...

# -- along the axis n of x (images, n, inner) --------------------------------------------------------------------------

def softmax_forward(x: FloatArray, y: FloatArray, log: bool, threads: int) -> None: ...
def softmax_backward(grad_y: FloatArray, y: FloatArray, grad_x: FloatArray, log: bool, threads: int) -> None: ...

# target, losses (images, inner): loss of each position before any reduction, 0 where target == ignore_index.
# With weight w: loss = (1 - a) w[t] (-log p[t]) + a / n * sum_c w[c] (-log p[c]), a the label smoothing.
def cross_entropy_forward(
    x: FloatArray,
    target: NDArray[np.int64],
    weight: FloatArray | None,
    ignore_index: int,
    label_smoothing: float,
    losses: FloatArray,
    threads: int,
) -> None: ...

# grad_x[i] = scale[i] * d losses[i] / d x[i], scale as losses
def cross_entropy_backward(
    scale: FloatArray,
    x: FloatArray,
    target: NDArray[np.int64],
    weight: FloatArray | None,
    ignore_index: int,
    label_smoothing: float,
    grad_x: FloatArray,
    threads: int,
) -> None: ...

# target (images, n, inner) of probabilities: loss = -sum_c w[c] ((1 - a) target[c] + a / n) log p[c]
def soft_cross_entropy_forward(
    x: FloatArray,
    target: FloatArray,
    weight: FloatArray | None,
    label_smoothing: float,
    losses: FloatArray,
    threads: int,
) -> None: ...
def soft_cross_entropy_backward(
    scale: FloatArray,
    x: FloatArray,
    target: FloatArray,
    weight: FloatArray | None,
    label_smoothing: float,
    grad_x: FloatArray,
    threads: int,
) -> None: ...

# -- losses ------------------------------------------------------------------------------------------------------------

# x (images, n, inner), target and losses (images, inner): losses = -weight[t] * x[t], 0 where t == ignore_index.
def nll_forward(
    x: FloatArray,
    target: NDArray[np.int64],
    weight: FloatArray | None,
    ignore_index: int,
    losses: FloatArray,
    threads: int,
) -> None: ...
def nll_backward(
    scale: FloatArray,
    target: NDArray[np.int64],
    weight: FloatArray | None,
    ignore_index: int,
    grad_x: FloatArray,
    threads: int,
) -> None: ...

# Whether each target is in 0 .. classes - 1 or ignore_index.
def targets_within(target: NDArray[np.int64], classes: int, ignore_index: int) -> bool: ...

# Sums in float64: of x, and of weight[target] (1 each where None) where target != ignore_index.
def total(x: FloatArray) -> float: ...
def counted(target: NDArray[np.int64], weight: FloatArray | None, ignore_index: int) -> float: ...

# (x - target)^2: the sum in float64, or each; grad_x = factor * (x - target) * grad_y (1 where None).
def squared_error_sum(x: FloatArray, target: FloatArray, threads: int) -> float: ...
def squared_errors(x: FloatArray, target: FloatArray, y: FloatArray, threads: int) -> None: ...
def squared_error_backward(
    grad_y: FloatArray | None, x: FloatArray, target: FloatArray, factor: float, grad_x: FloatArray, threads: int
) -> None: ...

# -- optimisers: param and its state are updated in place --------------------------------------------------------------

# velocity None means momentum 0; first: velocity is set to the gradient instead of being blended with it.
def sgd_step(
    param: FloatArray,
    grad: FloatArray,
    velocity: FloatArray | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
    threads: int,
    maximize: bool = False,
) -> None: ...

# step counts from 1.  decoupled: AdamW (param *= 1 - lr * weight_decay), else weight_decay * param joins the gradient.
# max_exp_avg_sq: the largest exp_avg_sq so far, for AMSGrad.
def adam_step(
    param: FloatArray,
    grad: FloatArray,
    exp_avg: FloatArray,
    exp_avg_sq: FloatArray,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    threads: int,
    maximize: bool = False,
    max_exp_avg_sq: FloatArray | None = None,
) -> None: ...

# -- data --------------------------------------------------------------------------------------------------------------

# out[i] = images[index[i]] * scale + offset; images (M, D) uint8, index (B,) int64 in range, out (B, D).
def gather_images(
    images: NDArray[np.uint8], index: NDArray[np.int64], out: FloatArray, scale: float, offset: float, threads: int
) -> None: ...
