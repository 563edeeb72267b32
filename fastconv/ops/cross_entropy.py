"""Cross-entropy of logits against class numbers (log-softmax and negative log-likelihood in one), and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv._kernels import cross_entropy_backward as cross_entropy_backward_kernel
from fastconv._kernels import cross_entropy_forward, empty
from fastconv._threads import get_num_threads
from fastconv._validation import check_cross_entropy, contiguous, floats_shaped, number

if TYPE_CHECKING:
    from fastconv._validation import Array


def cross_entropy(
    x: Array,
    target: Any,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> float | Array:
    """How surprised the model is by the true class.

    With ``log_p = log_softmax(x)``, class weights w (1 where not given), a = label_smoothing and C classes::

        loss[i] = -(1 - a) * w[target[i]] * log_p[i, target[i]] - a/C * sum over c of w[c] * log_p[i, c]

    and 0 where target[i] is ignore_index.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C) or (C,)
        Logits: unnormalised log-probabilities.
    target : ndarray of any integer dtype, shape (N,); for x of shape (C,) an int
        Class numbers in 0 .. C - 1, or ignore_index.
    weight : ndarray, dtype of x, shape (C,), optional
        Weight of each class.
    ignore_index : int, default -100
        Target of rows that do not count.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        'sum' adds the losses up; 'mean' divides that by the sum of w[target] over the rows that are not ignored.
    label_smoothing : float in 0 .. 1, default 0
        Share of each target's probability that is spread over all classes.

    Returns
    -------
    loss : float, or ndarray of the dtype of x and shape (N,) (or () for x of shape (C,)) with reduction='none'
        NaN for 'mean' where no row counts.

    Raises
    ------
    ShapeError
        If shapes do not fit each other, or a target or another value is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or target does not hold integers.

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016 (label smoothing).
    Semantics: PyTorch, ``torch.nn.functional.cross_entropy``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.log(np.array([[1, 1, 2], [1, 3, 4]], np.float32))
    >>> target = np.array([2, 0])
    >>> round(fastconv.cross_entropy(x, target), 5)  # (log 2 + log 8) / 2
    1.38629
    >>> fastconv.cross_entropy(x, target, reduction="none").round(3)
    array([0.693, 2.079], dtype=float32)
    """
    rows, indices, class_weight, ignored, reduction, smoothing, single = check_cross_entropy(
        "cross_entropy", x, target, weight, ignore_index, reduction, label_smoothing
    )
    losses = empty(() if single and reduction == "none" else (len(rows),), rows.dtype)
    cross_entropy_forward(rows, indices, class_weight, ignored, smoothing, losses.reshape(len(rows)), get_num_threads())
    if reduction == "none":
        return losses
    with np.errstate(all="ignore"):
        total = losses.sum(dtype=np.float64)
        if reduction == "mean":
            total = total / _counted(indices, class_weight, ignored)
    return float(total)


def cross_entropy_backward(
    x: Array,
    target: Any,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    grad_y: float | Array | None = None,
) -> Array:
    """The gradient of `cross_entropy` with respect to the logits.

    With each class's share in the loss, ``share[c] = (1 - a) * w[c] * (c == target[i]) + a/C * w[c]``::

        grad_x[i, c] = scale[i] * (softmax(x)[i, c] * sum over j of share[j] - share[c])

    where scale is grad_y, divided by the sum of w[target] for 'mean'; rows that are ignored get 0.

    Parameters
    ----------
    x, target, weight, ignore_index, reduction, label_smoothing
        As in the call of cross_entropy.
    grad_y : float, optional; with reduction='none' an ndarray of the dtype of x and the shape of target
        Gradient with respect to the loss, 1 by default.

    Returns
    -------
    grad_x : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError, TypeError
        As cross_entropy; also if grad_y is not a number, or an array of the wrong shape with reduction='none'.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.cross_entropy_backward(np.array([[0, 0, 0, 0]], np.float32), np.array([2]))
    array([[ 0.25,  0.25, -0.75,  0.25]], dtype=float32)
    """
    op = "cross_entropy_backward"
    rows, indices, class_weight, ignored, reduction, smoothing, single = check_cross_entropy(
        op, x, target, weight, ignore_index, reduction, label_smoothing
    )
    if reduction == "none" and grad_y is not None:
        shape = () if single else (len(rows),)
        scale = floats_shaped(op, "grad_y", grad_y, "x", rows, shape, "the shape of the losses,")
        scale = contiguous(scale).reshape(len(rows))
    else:
        factor = np.float64(1.0 if grad_y is None else number(op, "grad_y", grad_y))
        with np.errstate(all="ignore"):
            if reduction == "mean":
                factor = factor / _counted(indices, class_weight, ignored)
            scale = np.full(len(rows), factor, rows.dtype)
    grad_x = empty(rows.shape[1:] if single else rows.shape, rows.dtype)
    cross_entropy_backward_kernel(
        scale, rows, indices, class_weight, ignored, smoothing, grad_x.reshape(rows.shape), get_num_threads()
    )
    return grad_x


def _counted(indices: Array, class_weight: Array | None, ignored: int) -> np.float64:
    """What 'mean' divides by: the sum of the targets' weights over the rows that are not ignored."""
    counts = indices != ignored
    if class_weight is None:
        return np.float64(np.count_nonzero(counts))
    return np.float64(class_weight[indices[counts]].sum(dtype=np.float64))
