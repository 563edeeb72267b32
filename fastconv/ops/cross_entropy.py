"""Cross-entropy of logits against classes (log-softmax and negative log-likelihood in one), and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastconv import _kernels
from fastconv._kernels import empty
from fastconv._threads import get_num_threads
from fastconv._validation import check_class_loss, loss_gradient, number_between
from fastconv.ops.nll_loss import _reduced, _row_scale

if TYPE_CHECKING:
    from fastconv._validation import Array, Scores


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

    and 0 where target[i] is ignore_index.  A target of probabilities t[i, c] counts every class::

        loss[i] = -sum over c of w[c] * ((1 - a) * t[i, c] + a/C) * log_p[i, c]

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C), (C,) or (N, C, d1, ...)
        Logits: unnormalised log-probabilities.
    target : ndarray of any integer dtype, shape (N,), or (N, d1, ...); for x of shape (C,) an int
        Class numbers in 0 .. C - 1, or ignore_index.  Or an ndarray of the dtype and shape of x: probabilities.
    weight : ndarray, dtype of x, shape (C,), optional
        Weight of each class.
    ignore_index : int, default -100
        Target of rows that do not count; with probabilities as targets it must be negative, and is not used.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        'sum' adds the losses up; 'mean' divides that by the sum of w[target] over the rows that are not ignored;
        with probabilities as targets, by the number of rows, whatever the weights.
    label_smoothing : float in 0 .. 1, default 0
        Share of each target's probability that is spread over all classes.

    Returns
    -------
    loss : float, or ndarray of the dtype of x and the shape of class numbers as target, with reduction='none'
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
    scores, smoothing = _check("cross_entropy", x, target, weight, ignore_index, reduction, label_smoothing)
    losses = empty(scores.shape, scores.x.dtype)
    if scores.soft:
        _kernels.soft_cross_entropy_forward(
            scores.x, scores.target, scores.weight, smoothing, losses, get_num_threads()
        )
    else:
        _kernels.cross_entropy_forward(
            scores.x, scores.target, scores.weight, scores.ignored, smoothing, losses, get_num_threads()
        )
    return _reduced(losses, scores)


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

    where scale is grad_y, divided by the sum of w[target] for 'mean'; rows that are ignored get 0.  With probabilities
    t as targets, ``share[c] = w[c] * ((1 - a) * t[i, c] + a/C)``, and 'mean' divides by the number of rows.

    Parameters
    ----------
    x, target, weight, ignore_index, reduction, label_smoothing
        As in the call of cross_entropy.
    grad_y : float, optional; with reduction='none' an ndarray of the dtype of x and the shape of the losses
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
    scores, smoothing = _check(op, x, target, weight, ignore_index, reduction, label_smoothing)
    scale = _row_scale(loss_gradient(op, grad_y, scores), scores)
    grad_x, threads = empty(x.shape, x.dtype), get_num_threads()
    result = grad_x.reshape(scores.x.shape)
    if scores.soft:
        _kernels.soft_cross_entropy_backward(scale, scores.x, scores.target, scores.weight, smoothing, result, threads)
    else:
        _kernels.cross_entropy_backward(
            scale, scores.x, scores.target, scores.weight, scores.ignored, smoothing, result, threads
        )
    return grad_x


def _check(
    op: str, x: Array, target: Any, weight: Any, ignore_index: Any, reduction: Any, label_smoothing: Any
) -> tuple[Scores, float]:
    smoothing = number_between(op, "label_smoothing", label_smoothing, 0.0, 1.0)
    return check_class_loss(op, x, target, weight, ignore_index, reduction, soft=True), smoothing
