"""Negative log-likelihood of classes under given log-probabilities, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import _kernels
from fastconv._kernels import empty
from fastconv._threads import get_num_threads
from fastconv._validation import check_class_loss, loss_gradient

if TYPE_CHECKING:
    from fastconv._validation import Array, Scores


def nll_loss(
    x: Array, target: Any, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> float | Array:
    """``loss[i] = -w[target[i]] * x[i, target[i]]``, and 0 where target[i] is ignore_index.

    On the result of `log_softmax` this is `cross_entropy`, which is quicker.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C), (C,) or (N, C, d1, ...)
        Log-probabilities.
    target : ndarray of any integer dtype, shape (N,), or (N, d1, ...); for x of shape (C,) an int
        Class numbers in 0 .. C - 1, or ignore_index.
    weight : ndarray, dtype of x, shape (C,), optional
        Weight w of each class, 1 where not given.
    ignore_index : int, default -100
        Target of rows that do not count.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        'sum' adds the losses up; 'mean' divides that by the sum of w[target] over the rows that are not ignored.

    Returns
    -------
    loss : float, or ndarray of the dtype of x and the shape of target with reduction='none'
        NaN for 'mean' where no row counts.

    Raises
    ------
    ShapeError
        If shapes do not fit each other, or a target or another value is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or target does not hold integers.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.nll_loss``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[-1, -2, -3], [-4, -5, -6]], np.float32)
    >>> fastconv.nll_loss(x, np.array([2, 0]))
    3.5
    """
    scores = check_class_loss("nll_loss", x, target, weight, ignore_index, reduction, soft=False)
    losses = empty(scores.shape, scores.x.dtype)
    _kernels.nll_forward(scores.x, scores.target, scores.weight, scores.ignored, losses, get_num_threads())
    return _reduced(losses, scores)


def nll_loss_backward(
    x: Array,
    target: Any,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    grad_y: float | Array | None = None,
) -> Array:
    """The gradient of `nll_loss`: ``grad_x[i, target[i]] = -scale[i] * w[target[i]]``, and 0 elsewhere.

    scale is grad_y, divided by the sum of w[target] for 'mean'; rows that are ignored get 0.

    Parameters
    ----------
    x, target, weight, ignore_index, reduction
        As in the call of nll_loss; of x only shape and dtype matter.
    grad_y : float, optional; with reduction='none' an ndarray of the dtype of x and the shape of target
        Gradient with respect to the loss, 1 by default.

    Returns
    -------
    grad_x : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError, TypeError
        As nll_loss; also if grad_y is not a number, or an array of the wrong shape with reduction='none'.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nll_loss_backward(np.array([[-1, -2], [-3, -4]], np.float32), np.array([1, 0]))
    array([[ 0. , -0.5],
           [-0.5,  0. ]], dtype=float32)
    """
    op = "nll_loss_backward"
    scores = check_class_loss(op, x, target, weight, ignore_index, reduction, soft=False)
    scale = _row_scale(loss_gradient(op, grad_y, scores), scores)
    grad_x = empty(x.shape, x.dtype)
    _kernels.nll_backward(
        scale, scores.target, scores.weight, scores.ignored, grad_x.reshape(scores.x.shape), get_num_threads()
    )
    return grad_x


def _divisor(scores: Scores) -> float:
    """What 'mean' divides by: the sum of the targets' weights over the rows that are not ignored."""
    if scores.soft:
        images, _, inner = scores.x.shape
        return float(images * inner)
    return _kernels.counted(scores.target, scores.weight, scores.ignored)


def _divided(a: float, b: float) -> float:
    """a / b as floating point has it: inf or NaN where b is 0."""
    return a / b if b else float("nan") if not a or a != a else a * float("inf")


def _reduced(losses: Array, scores: Scores) -> float | Array:
    """The losses, their sum, or their mean."""
    if scores.reduction == "none":
        return losses
    total = _kernels.total(losses)
    return total if scores.reduction == "sum" else _divided(total, _divisor(scores))


def _row_scale(grad: Array | float, scores: Scores) -> Array:
    """What the gradient of each loss is multiplied by."""
    if not isinstance(grad, float):
        return grad
    scale = empty((scores.x.shape[0] * scores.x.shape[2],), scores.x.dtype)
    with np.errstate(over="ignore"):  # inf, where the dtype ends
        scale.fill(_divided(grad, _divisor(scores)) if scores.reduction == "mean" else grad)
    return scale
