"""The leaky rectifier and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv._kernels import empty, leaky_relu_forward
from fastconv._kernels import leaky_relu_backward as leaky_relu_backward_kernel
from fastconv._threads import get_num_threads
from fastconv._validation import contiguous, floats, floats_shaped, number

if TYPE_CHECKING:
    from fastconv._validation import Array


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """``y = x where x > 0, else negative_slope * x``, element by element; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape
    negative_slope : float, default 0.01

    Returns
    -------
    y : ndarray, dtype and shape of x

    Raises
    ------
    TypeError
        If x is not a NumPy array of float32 or float64, or negative_slope not a number.

    References
    ----------
    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.leaky_relu(np.array([-100, 0, 2], np.float32))
    array([-1.,  0.,  2.], dtype=float32)
    """
    x = contiguous(floats("leaky_relu", "x", x))
    slope = number("leaky_relu", "negative_slope", negative_slope)
    y = empty(x.shape, x.dtype)
    leaky_relu_forward(x, y, slope, get_num_threads())
    return y


def leaky_relu_backward(grad_y: Array, x: Array, negative_slope: float = 0.01) -> Array:
    """The gradient of `leaky_relu`: grad_y where x > 0, else negative_slope * grad_y.

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of x
        Gradient of the loss with respect to the result of leaky_relu.
    x : ndarray, float32 or float64, any shape
        The input of leaky_relu, or equally its output where negative_slope is not below 0.
    negative_slope : float, default 0.01
        As in the call of leaky_relu.

    Returns
    -------
    grad_x : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError
        If the shapes differ.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or negative_slope is not a number.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.leaky_relu_backward(np.array([10, 20, 30], np.float32), np.array([-1, 0, 2], np.float32), 0.5)
    array([ 5., 10., 30.], dtype=float32)
    """
    op = "leaky_relu_backward"
    x = floats(op, "x", x)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "x", x, x.shape, "the shape of x,"))
    slope = number(op, "negative_slope", negative_slope)
    x = contiguous(x)
    grad_x = empty(x.shape, x.dtype)
    leaky_relu_backward_kernel(grad_y, x, grad_x, slope, get_num_threads())
    return grad_x
