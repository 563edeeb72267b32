"""Cross-entropy of logits against classes: log-softmax, then the negative log-likelihood."""

from typing import Any

import numpy as np

from ._windows import Array
from .nll_loss import _counted, _prepare, _reduce, _restore, _rows, _scale
from .softmax import log_softmax, softmax


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

    'sum' adds the losses up; 'mean' divides that by the sum of w[target] over
    the rows that are not ignored (NaN where there are none); with probabilities as targets by the number of rows.

    Parameters
    ----------
    x : ndarray, shape (N, C), (C,) or (N, C, d1, ...)
        Logits.
    target : ndarray of int, shape (N,) or (N, d1, ...), or an int for x of shape (C,); or probabilities in x's shape
    weight : ndarray, shape (C,), or None
    ignore_index : int
    reduction : 'mean', 'sum' or 'none'
    label_smoothing : float, 0 to 1

    Returns
    -------
    loss : float; ndarray of the shape of class numbers as target, with reduction='none'
    """
    logits, share, counted = _shares(x, target, weight, ignore_index, label_smoothing)
    log_p = log_softmax(logits)
    if np.asarray(target).dtype.kind == "f" or label_smoothing > 0:
        with np.errstate(invalid="ignore"):  # 0 * -inf is NaN
            losses = -np.sum(share * log_p, axis=1)
        if np.asarray(target).dtype.kind != "f":
            losses[np.asarray(target).reshape(-1) == ignore_index] = 0
        return _reduce(losses, x, counted, reduction)
    # One class counts; any other of probability 0 would give 0 * -inf.
    losses = np.zeros(len(logits), logits.dtype)
    for i, t in enumerate(np.asarray(target).reshape(-1)):
        if t != ignore_index:
            losses[i] = -share[i, t] * log_p[i, t]
    return _reduce(losses, x, counted, reduction)


def cross_entropy_backward(
    x: Array,
    target: Any,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    grad_y: Any = None,
) -> Array:
    """The gradient of `cross_entropy` with respect to the logits.

    With each class's share in the loss, ``share[c] = (1 - a) * w[c] * (c == target[i]) + a/C * w[c]``::

        loss[i]      = -sum over c of share[c] * log_p[i, c]
        grad_x[i, c] = scale[i] * (softmax(x)[i, c] * sum over j of share[j] - share[c])

    where scale is grad_y, divided by the sum of w[target] for 'mean'; rows that are ignored get 0.

    Parameters
    ----------
    x, target, weight, ignore_index, reduction, label_smoothing
        As in the call of cross_entropy.
    grad_y : float, or ndarray of the shape of the losses with reduction='none'; None is 1.0
        Gradient of the loss.

    Returns
    -------
    grad_x : ndarray, the shape of x
    """
    logits, share, counted = _shares(x, target, weight, ignore_index, label_smoothing)
    scale = _scale(grad_y, len(logits), logits.dtype, counted, reduction)
    grad = scale[:, np.newaxis] * (softmax(logits) * share.sum(axis=1, keepdims=True) - share)
    if np.asarray(target).dtype.kind != "f":
        grad[np.asarray(target).reshape(-1) == ignore_index] = 0
    return _restore(grad, x)


def _shares(
    x: Array, target: Any, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array, float]:
    """Logits as rows, each class's share in the loss of each row, and what 'mean' divides by."""
    if np.asarray(target).dtype.kind == "f":
        rows, _, w = _prepare(x, 0, weight)
        return rows, w * ((1 - label_smoothing) * _rows(target) + label_smoothing / len(w)), float(len(rows))
    rows, targets, w = _prepare(x, target, weight)
    share = np.zeros_like(rows)
    for i, t in enumerate(targets):
        if t != ignore_index:
            share[i] = label_smoothing / len(w) * w
            share[i, t] += (1 - label_smoothing) * w[t]
    return rows, share, _counted(targets, w, ignore_index)
