"""Batch normalisation and its gradient.

Inputs are never modified, running statistics neither: where they are asked for, `batch_norm` returns the new ones, and
`fastconv.nn.BatchNorm2d` keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import numpy as np

from fastconv import _kernels
from fastconv._kernels import batch_norm_forward, empty
from fastconv._threads import get_num_threads
from fastconv._validation import (
    F64,
    check_batch_norm,
    check_norm_input,
    check_norm_statistics,
    contiguous,
    flag,
    floats_shaped,
    needed,
    per_channel,
)

if TYPE_CHECKING:
    from fastconv._validation import Array, Need

    Statistics: TypeAlias = tuple[Array, Array, Array, Array | None, Array | None]


@overload
def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_stats: Literal[False] = False,
) -> Array: ...
@overload
def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_stats: Literal[True],
) -> Statistics: ...
@overload
def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_stats: bool = False,
) -> Array | Statistics: ...
def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_stats: bool = False,
) -> Array | Statistics:
    """Normalise each channel to mean 0 and variance 1, then scale and shift it.

    ::

        y[n, c, ...] = (x[n, c, ...] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]

    In training, mean and var are those of the batch: over all n and pixels, var without Bessel's correction.  Otherwise
    they are `running_mean` and `running_var`.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C), (N, C, L), (N, C, H, W), ...
        In training at least two values per channel; arrays without elements are passed on.
    running_mean, running_var : ndarray, dtype of x, shape (C,), or None
        Averages over the batches so far.  Both are needed without training.  They are not modified: with
        return_stats, the new ones come back.
    weight, bias : ndarray, dtype of x, shape (C,), optional
        1 and 0 by default.
    training : bool, default False
        Whether to use the batch's own mean and variance.
    momentum : float, default 0.1
        Weight of this batch in the running averages: ``(1 - momentum) * running + momentum * batch's``.
    eps : float, default 1e-5
        Added to the variance; positive in training, at least 0 otherwise.
    return_stats : bool, default False
        Also return what `batch_norm_backward` needs, and the new running averages.

    Returns
    -------
    y : ndarray, dtype and shape of x
    mean : ndarray, float64, shape (C,); this and what follows only with return_stats
        What was subtracted.  It is float64 for x of float32 too: a float32 holds too little of a mean that is large
        beside the deviations from it.
    inv_std : ndarray, float64, shape (C,)
        ``1 / sqrt(var + eps)``.
    new_running_mean, new_running_var : ndarray, dtype of x, shape (C,), or None where none was given
        In training the updated averages, of the unbiased variance; otherwise copies of those given.

    Raises
    ------
    ShapeError
        If x has fewer than two dimensions, another array is not of shape (C,), there is but one value per channel in
        training, running statistics are missing without training, or momentum or eps is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or another argument is of a wrong type.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015.  Semantics: PyTorch, ``torch.nn.functional.batch_norm``, which updates the running statistics in
    place.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1, 10], [3, 30]], np.float32)  # two channels
    >>> fastconv.batch_norm(x, None, None, training=True).round(3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> start = np.zeros(2, np.float32), np.ones(2, np.float32)
    >>> y, mean, inv_std, *running = fastconv.batch_norm(x, *start, training=True, return_stats=True)
    >>> mean
    array([ 2., 20.])
    >>> running
    [array([0.2, 2. ], dtype=float32), array([ 1.1, 20.9], dtype=float32)]
    """
    op = "batch_norm"
    x, running_mean, running_var, weight, bias, training, momentum, eps = check_batch_norm(
        op, x, running_mean, running_var, weight, bias, training, momentum, eps
    )
    return_stats = flag(op, "return_stats", return_stats)
    channels = x.shape[1:2]
    y = empty(x.shape, x.dtype)
    mean, inv_std = empty(channels, F64), empty(channels, F64)
    if not x.size:
        mean.fill(0)
        inv_std.fill(0)
        new_mean = None if running_mean is None else running_mean.copy()
        new_var = None if running_var is None else running_var.copy()
        return (y, mean, inv_std, new_mean, new_var) if return_stats else y
    update = training and return_stats
    new_mean = empty(channels, x.dtype) if update and running_mean is not None else None
    new_var = empty(channels, x.dtype) if update and running_var is not None else None
    batch_norm_forward(
        x, weight, bias, running_mean, running_var, y, mean, inv_std, new_mean, new_var, training, momentum, eps,
        get_num_threads(),
    )  # fmt: skip
    if not return_stats:
        return y
    if not training and running_mean is not None and running_var is not None:
        new_mean, new_var = running_mean.copy(), running_var.copy()
    return y, mean, inv_std, new_mean, new_var


def batch_norm_backward(
    grad_y: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None = None,
    training: bool = False,
    *,
    need: Need = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `batch_norm` with respect to x, weight and bias.

    With ``z = (x - mean) * inv_std`` and sums and means over all values of a channel::

        grad_bias   = sum grad_y
        grad_weight = sum grad_y * z
        grad_x      = grad_y * inv_std * weight                                              without training
        grad_x      = (grad_y - mean(grad_y) - z * mean(grad_y * z)) * inv_std * weight      in training

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of x
        Gradient of the loss with respect to the result of batch_norm.
    x : ndarray, float32 or float64, shape (N, C) or (N, C, ...)
    mean, inv_std : ndarray, float64, shape (C,)
        As batch_norm returned them with return_stats.
    weight : ndarray, dtype of x, shape (C,), optional
    training : bool, default False
        As in the call of batch_norm: whether mean and inv_std were those of x.
    need : (bool, bool, bool), default all
        Which of the gradients to compute.

    Returns
    -------
    grad_x : ndarray, dtype and shape of x, or None where not needed
    grad_weight, grad_bias : ndarray, dtype of x, shape (C,), or None where not needed
        As if weight and bias had been given.

    Raises
    ------
    ShapeError
        If shapes do not fit each other.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ (mean and inv_std: are not float64), or
        training or need is of a wrong type.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> y, mean, inv_std, *_ = fastconv.batch_norm(x, None, None, training=True, return_stats=True)
    >>> grad_y = np.array([[3.0], [0.0], [0.0]])
    >>> grad_x, grad_weight, grad_bias = fastconv.batch_norm_backward(grad_y, x, mean, inv_std, training=True)
    >>> grad_bias, grad_x.sum().round(12) + 0
    (array([3.]), np.float64(0.0))
    """
    op = "batch_norm_backward"
    x = contiguous(check_norm_input(op, "x", x))
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "x", x, x.shape, "the shape of x,"))
    mean = check_norm_statistics(op, "mean", mean, x)
    inv_std = check_norm_statistics(op, "inv_std", inv_std, x)
    weight = per_channel(op, "weight", weight, x)
    training = flag(op, "training", training)
    need_x, need_weight, need_bias = needed(op, need)
    channels = x.shape[1:2]
    grad_x = empty(x.shape, x.dtype) if need_x else None
    if not x.size:
        return (
            grad_x,
            np.zeros(channels, x.dtype) if need_weight else None,
            np.zeros(channels, x.dtype) if need_bias else None,
        )
    grad_weight = empty(channels, x.dtype) if need_weight else None
    grad_bias = empty(channels, x.dtype) if need_bias else None
    _kernels.batch_norm_backward(
        grad_y, x, weight, mean, inv_std, grad_x, grad_weight, grad_bias, training, get_num_threads()
    )
    return grad_x, grad_weight, grad_bias
