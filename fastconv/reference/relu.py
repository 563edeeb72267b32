"""The rectifier."""

import numpy as np

from ._windows import Array, cast


def relu(x: Array) -> Array:
    """``y = max(x, 0)``, element by element; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    y : ndarray, same shape
    """
    return cast(np.maximum(x, 0), x.dtype)


def relu_backward(grad_y: Array, x: Array) -> Array:
    """``grad_x = 0 where x <= 0, else grad_y``; the slope at 0 is taken as 0, and at NaN as 1.

    Parameters
    ----------
    grad_y : ndarray, any shape
    x : ndarray, same shape; the input of relu, or equally its output

    Returns
    -------
    grad_x : ndarray, same shape
    """
    return cast(np.where(x <= 0, 0, grad_y), grad_y.dtype)
