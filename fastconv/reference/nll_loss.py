"""Negative log-likelihood of classes under given log-probabilities."""

from typing import Any

import numpy as np

from ._windows import Array, cast, wide


def nll_loss(
    x: Array, target: Any, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> float | Array:
    """``loss[i] = -w[target[i]] * x[i, target[i]]``, and 0 where target[i] is ignore_index.

    'sum' adds the losses up; 'mean' divides that by the sum of w[target] over the rows that are not ignored (NaN where
    there are none).

    Parameters
    ----------
    x : ndarray, shape (N, C), (C,) or (N, C, d1, ...)
        Log-probabilities.
    target : ndarray of int, shape (N,) or (N, d1, ...), or an int for x of shape (C,)
    weight : ndarray, shape (C,), or None
    ignore_index : int
    reduction : 'mean', 'sum' or 'none'

    Returns
    -------
    loss : float; ndarray of the shape of target with reduction='none'
    """
    rows, targets, w = _prepare(x, target, weight)
    losses = np.zeros(len(rows), rows.dtype)
    for i, t in enumerate(targets):
        if t != ignore_index:
            losses[i] = -w[t] * rows[i, t]
    return _reduce(losses, x, _counted(targets, w, ignore_index), reduction)


def nll_loss_backward(
    x: Array,
    target: Any,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    grad_y: Any = None,
) -> Array:
    """``grad_x[i, target[i]] = -scale[i] * w[target[i]]``, and 0 elsewhere.

    scale is grad_y, divided by the sum of w[target] for 'mean'; rows that are ignored get 0.

    Parameters
    ----------
    x, target, weight, ignore_index, reduction
        As in the call of nll_loss.
    grad_y : float, or ndarray of the shape of target with reduction='none'; None is 1.0

    Returns
    -------
    grad_x : ndarray, the shape of x
    """
    rows, targets, w = _prepare(x, target, weight)
    scale = _scale(grad_y, len(rows), rows.dtype, _counted(targets, w, ignore_index), reduction)
    grad = np.zeros_like(rows)
    for i, t in enumerate(targets):
        if t != ignore_index:
            grad[i, t] = -scale[i] * w[t]
    return _restore(grad, x)


def _prepare(x: Array, target: Any, weight: Array | None) -> tuple[Array, Array, Array]:
    """x as rows of classes, targets (rows,) and class weights (C,), in the dtype that is computed in."""
    rows = _rows(x)
    w = np.ones(rows.shape[1], rows.dtype) if weight is None else weight.astype(rows.dtype)
    return rows, np.asarray(target).reshape(-1), w


def _rows(x: Array) -> Array:
    """The classes are axis 1 (axis 0 of one row alone): here they become the last."""
    last = x if x.ndim == 1 else np.moveaxis(x, 1, -1)
    return last.reshape(-1, last.shape[-1]).astype(wide(x))


def _restore(grad: Array, x: Array) -> Array:
    """Rows back in the shape of x."""
    if x.ndim == 1:
        return cast(grad.reshape(x.shape), x.dtype)
    last = grad.reshape(x.shape[0], *x.shape[2:], x.shape[1])
    return cast(np.moveaxis(last, -1, 1), x.dtype)


def _counted(targets: Array, w: Array, ignore_index: int) -> float:
    """What 'mean' divides by."""
    return sum((w[t] for t in targets if t != ignore_index), start=0.0)


def _reduce(losses: Array, x: Array, counted: float, reduction: str) -> float | Array:
    if reduction == "none":
        return cast(losses.reshape(() if x.ndim == 1 else (x.shape[0], *x.shape[2:])), x.dtype)
    if reduction == "sum":
        return float(losses.sum())
    return float(losses.sum() / counted) if counted else float("nan")


def _scale(grad_y: Any, rows: int, dtype: Any, counted: float, reduction: str) -> Array:
    """What the gradient of each loss is multiplied by."""
    scale = np.broadcast_to(np.asarray(1.0 if grad_y is None else grad_y, dtype).reshape(-1), rows)
    if reduction == "mean":
        return scale / counted if counted else np.full(rows, np.nan)
    return scale
