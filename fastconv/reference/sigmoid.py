"""The logistic sigmoid."""

import numpy as np

from ._windows import Array, cast, wide


def sigmoid(x: Array) -> Array:
    """``y = 1 / (1 + exp(-x))``, element by element; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    y : ndarray, same shape
    """
    wide_x = x.astype(wide(x))
    e = np.exp(-abs(wide_x))
    return cast(np.where(wide_x < 0, e, 1) / (1 + e), x.dtype)


def sigmoid_backward(grad_y: Array, y: Array) -> Array:
    """``grad_y * (1 - y) * y``.

    Parameters
    ----------
    grad_y : ndarray, any shape
    y : ndarray, same shape; the result of sigmoid

    Returns
    -------
    grad_x : ndarray, same shape
    """
    grad, p = grad_y.astype(wide(y)), y.astype(wide(y))
    return cast(grad * (1 - p) * p, y.dtype)
