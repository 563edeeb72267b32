"""The squared error."""

from typing import Any

import numpy as np

from ._windows import Array, cast, wide


def mse_loss(x: Array, target: Array, reduction: str = "mean") -> float | Array:
    """``loss[i] = (x[i] - target[i])**2``; 'sum' adds them up, 'mean' divides that by their number.

    Parameters
    ----------
    x, target : ndarray, one shape
    reduction : 'mean', 'sum' or 'none'

    Returns
    -------
    loss : float; ndarray of the same shape with reduction='none'
    """
    losses = (x.astype(wide(x)) - target) ** 2
    if reduction == "none":
        return cast(losses, x.dtype)
    if reduction == "sum":
        return float(losses.sum())
    return float(losses.sum() / losses.size) if losses.size else float("nan")


def mse_loss_backward(x: Array, target: Array, reduction: str = "mean", *, grad_y: Any = None) -> Array:
    """``grad_x[i] = 2 * (x[i] - target[i]) * grad_y``, divided by the number of elements for 'mean'.

    Parameters
    ----------
    x, target, reduction
        As in the call of mse_loss.
    grad_y : float, or ndarray of the same shape with reduction='none'; None is 1.0

    Returns
    -------
    grad_x : ndarray, same shape
    """
    grad = 2 * (x.astype(wide(x)) - target) * np.asarray(1.0 if grad_y is None else grad_y, wide(x))
    return cast(grad / max(x.size, 1) if reduction == "mean" else grad, x.dtype)
