"""The hyperbolic tangent."""

import numpy as np

from ._windows import Array, cast, wide


def tanh(x: Array) -> Array:
    """``y = (exp(2x) - 1) / (exp(2x) + 1)``, element by element; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    y : ndarray, same shape
    """
    return cast(np.tanh(x.astype(wide(x))), x.dtype)


def tanh_backward(grad_y: Array, y: Array) -> Array:
    """``grad_y * (1 - y**2)``.

    Parameters
    ----------
    grad_y : ndarray, any shape
    y : ndarray, same shape; the result of tanh

    Returns
    -------
    grad_x : ndarray, same shape
    """
    grad, p = grad_y.astype(wide(y)), y.astype(wide(y))
    return cast(grad * (1 - p * p), y.dtype)
