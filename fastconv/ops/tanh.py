"""The hyperbolic tangent and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv._kernels import empty, quick_tanh, quick_tanh_backward, tanh_forward
from fastconv._kernels import tanh_backward as tanh_backward_kernel
from fastconv._threads import get_num_threads
from fastconv._validation import contiguous, floats, floats_shaped

if TYPE_CHECKING:
    from fastconv._validation import Array


def tanh(x: Array) -> Array:
    """``y = (exp(2x) - 1) / (exp(2x) + 1)``, element by element; NaN stays NaN.

    Near 0 nothing cancels: tiny x are their own results, and -0 stays -0.

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
    >>> fastconv.tanh(np.array([-np.inf, 0, 1e-30], np.float32))
    array([-1.e+00,  0.e+00,  1.e-30], dtype=float32)
    """
    quick = quick_tanh(x)
    if quick is not None:
        return quick
    x = contiguous(floats("tanh", "x", x))
    y = empty(x.shape, x.dtype)
    tanh_forward(x, y, get_num_threads())
    return y


def tanh_backward(grad_y: Array, y: Array) -> Array:
    """The gradient of `tanh`, from its result: ``grad_y * (1 - y**2)``.

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of y
        Gradient of the loss with respect to the result of tanh.
    y : ndarray, float32 or float64, any shape
        The result of tanh.

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
    >>> fastconv.tanh_backward(np.array([4, 4], np.float32), np.array([0.5, 1], np.float32))
    array([3., 0.], dtype=float32)
    """
    quick = quick_tanh_backward(grad_y, y)
    if quick is not None:
        return quick
    op = "tanh_backward"
    y = floats(op, "y", y)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "y", y, y.shape, "the shape of y,"))
    y = contiguous(y)
    grad_x = empty(y.shape, y.dtype)
    tanh_backward_kernel(grad_y, y, grad_x, get_num_threads())
    return grad_x
