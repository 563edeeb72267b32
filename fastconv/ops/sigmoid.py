"""The logistic sigmoid and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv._kernels import empty, quick_sigmoid, quick_sigmoid_backward, sigmoid_forward
from fastconv._kernels import sigmoid_backward as sigmoid_backward_kernel
from fastconv._threads import get_num_threads
from fastconv._validation import contiguous, floats, floats_shaped

if TYPE_CHECKING:
    from fastconv._validation import Array


def sigmoid(x: Array) -> Array:
    """``y = 1 / (1 + exp(-x))``, element by element; NaN stays NaN.

    Small results keep all their digits: for x below 0 it is computed as ``exp(x) / (1 + exp(x))``.  Nothing overflows.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape

    Returns
    -------
    y : ndarray, dtype and shape of x
        Within 4 units in the last place.

    Raises
    ------
    TypeError
        If x is not a NumPy array of float32 or float64.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.sigmoid(np.array([-np.inf, 0, np.inf], np.float32))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    quick = quick_sigmoid(x)
    if quick is not None:
        return quick
    x = contiguous(floats("sigmoid", "x", x))
    y = empty(x.shape, x.dtype)
    sigmoid_forward(x, y, get_num_threads())
    return y


def sigmoid_backward(grad_y: Array, y: Array) -> Array:
    """The gradient of `sigmoid`, from its result: ``grad_y * (1 - y) * y``.

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of y
        Gradient of the loss with respect to the result of sigmoid.
    y : ndarray, float32 or float64, any shape
        The result of sigmoid.

    Returns
    -------
    grad_x : ndarray, dtype and shape of y

    Raises
    ------
    ShapeError
        If the shapes differ.
    TypeError
        If an array is not a NumPy array of float32 or float64, or dtypes differ.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.sigmoid_backward(np.array([4, 1], np.float32), np.array([0.5, 1], np.float32))
    array([1., 0.], dtype=float32)
    """
    quick = quick_sigmoid_backward(grad_y, y)
    if quick is not None:
        return quick
    op = "sigmoid_backward"
    y = floats(op, "y", y)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "y", y, y.shape, "the shape of y,"))
    y = contiguous(y)
    grad_x = empty(y.shape, y.dtype)
    sigmoid_backward_kernel(grad_y, y, grad_x, get_num_threads())
    return grad_x
