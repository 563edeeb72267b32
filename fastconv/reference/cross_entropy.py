"""Cross-entropy of logits against class numbers: log-softmax, then the negative log-likelihood."""

from typing import Any

import numpy as np

from ._windows import Array, cast, wide
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

    and 0 where target[i] is ignore_index.  'sum' adds the losses up; 'mean' divides that by the sum of w[target] over
    the rows that are not ignored (NaN where there are none).

    Parameters
    ----------
    x : ndarray, shape (N, C) or (C,)
        Logits.
    target : ndarray of int, shape (N,), or an int for x of shape (C,)
    weight : ndarray, shape (C,), or None
    ignore_index : int
    reduction : 'mean', 'sum' or 'none'
    label_smoothing : float, 0 to 1

    Returns
    -------
    loss : float; ndarray of shape (N,) with reduction='none'
    """
    logits, targets, w = _prepare(x, target, weight)
    log_p = log_softmax(logits)
    losses = np.zeros(len(logits), logits.dtype)
    for i, t in enumerate(targets):
        if t == ignore_index:
            continue
        losses[i] = -(1 - label_smoothing) * w[t] * log_p[i, t]
        if label_smoothing > 0:  # else a class of probability 0 would give 0 * -inf
            losses[i] -= label_smoothing / len(w) * np.sum(w * log_p[i])
    if reduction == "none":
        return cast(losses.reshape(x.shape[:-1]), x.dtype)
    if reduction == "sum":
        return float(losses.sum())
    counted = sum((w[t] for t in targets if t != ignore_index), start=0.0)
    return float(losses.sum() / counted) if counted else float("nan")


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
    grad_y : float, or ndarray of shape (N,) with reduction='none'; None is 1.0
        Gradient of the loss.

    Returns
    -------
    grad_x : ndarray, the shape of x
    """
    logits, targets, w = _prepare(x, target, weight)
    p = softmax(logits)
    scale = np.broadcast_to(np.asarray(1.0 if grad_y is None else grad_y, logits.dtype), len(logits))
    if reduction == "mean":
        counted = sum((w[t] for t in targets if t != ignore_index), start=0.0)
        scale = scale / counted if counted else np.full(len(logits), np.nan)
    grad_x = np.zeros_like(logits)
    for i, t in enumerate(targets):
        if t != ignore_index:
            share = label_smoothing / len(w) * w
            share[t] += (1 - label_smoothing) * w[t]
            grad_x[i] = scale[i] * (p[i] * share.sum() - share)
    return cast(grad_x.reshape(x.shape), x.dtype)


def _prepare(x: Array, target: Any, weight: Array | None) -> tuple[Array, Array, Array]:
    """Logits (N, C), targets (N,) and class weights (C,), in the dtype that is computed in."""
    logits = x.reshape(-1, x.shape[-1]).astype(wide(x))
    w = np.ones(logits.shape[1], logits.dtype) if weight is None else weight.astype(logits.dtype)
    return logits, np.asarray(target).reshape(-1), w
