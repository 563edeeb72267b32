"""The leaky rectifier."""

import numpy as np

from ._windows import Array, cast, wide


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """``y = x where x > 0, else negative_slope * x``, element by element; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape
    negative_slope : float

    Returns
    -------
    y : ndarray, same shape
    """
    wide_x = x.astype(wide(x))
    with np.errstate(invalid="ignore", over="ignore"):  # inf * 0
        return cast(np.where(wide_x > 0, wide_x, wide_x * negative_slope), x.dtype)


def leaky_relu_backward(grad_y: Array, x: Array, negative_slope: float = 0.01) -> Array:
    """``grad_x = grad_y where x > 0, else negative_slope * grad_y``.

    Parameters
    ----------
    grad_y : ndarray, any shape
    x : ndarray, same shape; the input of leaky_relu
    negative_slope : float

    Returns
    -------
    grad_x : ndarray, same shape
    """
    grad = grad_y.astype(wide(x))
    with np.errstate(invalid="ignore", over="ignore"):
        return cast(np.where(x > 0, grad, grad * negative_slope), x.dtype)
