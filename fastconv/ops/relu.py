"""The rectifier and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv._kernels import empty, quick_relu, quick_relu_backward, relu_forward
from fastconv._kernels import relu_backward as relu_backward_kernel
from fastconv._threads import get_num_threads
from fastconv._validation import contiguous, floats, floats_shaped

if TYPE_CHECKING:
    from fastconv._validation import Array


def relu(x: Array) -> Array:
    """``y = max(x, 0)``, element by element; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape

    Returns
    -------
    y : ndarray, dtype and shape of x

    Raises
    ------
    TypeError
        If x is not a NumPy array of float32 or float64.

    References
    ----------
    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu(np.array([-1, 0, 2], np.float32))
    array([0., 0., 2.], dtype=float32)
    """
    quick = quick_relu(x)
    if quick is not None:
        return quick
    x = floats("relu", "x", x)
    if not x.flags.carray:
        x = contiguous(x)
    y = empty(x.shape, x.dtype)
    relu_forward(x, y, get_num_threads())
    return y


def relu_backward(grad_y: Array, x: Array) -> Array:
    """The gradient of `relu`: grad_y where x > 0 (or NaN), else 0.

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of x
        Gradient of the loss with respect to the result of relu.
    x : ndarray, float32 or float64, any shape
        The input of relu, or equally its output.

    Returns
    -------
    grad_x : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError
        If the shapes differ.
    TypeError
        If an array is not a NumPy array of float32 or float64, or dtypes differ.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu_backward(np.array([10, 20, 30], np.float32), np.array([-1, 0, 2], np.float32))
    array([ 0.,  0., 30.], dtype=float32)
    """
    quick = quick_relu_backward(grad_y, x)
    if quick is not None:
        return quick
    op = "relu_backward"
    x = floats(op, "x", x)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "x", x, x.shape, "the shape of x,"))
    x = contiguous(x)
    grad_x = empty(x.shape, x.dtype)
    relu_backward_kernel(grad_y, x, grad_x, get_num_threads())
    return grad_x


def _relu_in_place(x: Array) -> None:
    """`relu` that overwrites x, a C-contiguous array of float32 or float64 that the caller owns.  For layers."""
    relu_forward(x, x, get_num_threads())


def _relu_backward_in_place(grad_y: Array, x: Array) -> None:
    """`relu_backward` that overwrites grad_y; both C-contiguous, of one shape and dtype.  For layers."""
    relu_backward_kernel(grad_y, x, grad_y, get_num_threads())
