"""Softmax and its logarithm along one axis, and their gradients."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from fastconv._kernels import empty, softmax_forward
from fastconv._kernels import softmax_backward as softmax_backward_kernel
from fastconv._threads import get_num_threads
from fastconv._validation import axis, contiguous, floats, floats_shaped

if TYPE_CHECKING:
    from fastconv._validation import Array


def softmax(x: Array, dim: int = -1) -> Array:
    """``y[i] = exp(x[i]) / sum over j of exp(x[j])`` along `dim`.

    The largest x is subtracted first, which changes nothing but keeps exp from overflowing.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape
    dim : int, default -1
        The axis along which the results sum to 1.

    Returns
    -------
    y : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError
        If x has no axis `dim`.
    TypeError
        If x is not a NumPy array of float32 or float64, or dim not an int.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softmax(np.array([[3, 3]], np.float32))
    array([[0.5, 0.5]], dtype=float32)
    """
    return _forward("softmax", x, dim, log=False)


def softmax_backward(grad_y: Array, y: Array, dim: int = -1) -> Array:
    """The gradient of `softmax`: ``grad_x[i] = y[i] * (grad_y[i] - sum over j of grad_y[j] * y[j])`` along `dim`.

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of y
        Gradient of the loss with respect to the result of softmax.
    y : ndarray, float32 or float64, any shape
        The result of softmax.
    dim : int, default -1
        As in the call of softmax.

    Returns
    -------
    grad_x : ndarray, dtype and shape of y

    Raises
    ------
    ShapeError
        If the shapes differ, or y has no axis `dim`.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or dim is not an int.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softmax_backward(np.array([4, 0], np.float32), np.array([0.5, 0.5], np.float32))
    array([ 1., -1.], dtype=float32)
    """
    return _backward("softmax_backward", grad_y, y, dim, log=False)


def log_softmax(x: Array, dim: int = -1) -> Array:
    """``y[i] = x[i] - log(sum over j of exp(x[j]))`` along `dim`: the logarithm of softmax, without its underflow.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape
    dim : int, default -1
        The axis along which exp(y) sums to 1.

    Returns
    -------
    y : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError
        If x has no axis `dim`.
    TypeError
        If x is not a NumPy array of float32 or float64, or dim not an int.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.log_softmax(np.array([0, 1000], np.float32))
    array([-1000.,     0.], dtype=float32)
    """
    return _forward("log_softmax", x, dim, log=True)


def log_softmax_backward(grad_y: Array, y: Array, dim: int = -1) -> Array:
    """The gradient of `log_softmax`: ``grad_x[i] = grad_y[i] - exp(y[i]) * sum over j of grad_y[j]`` along `dim`.

    Parameters
    ----------
    grad_y : ndarray, dtype and shape of y
        Gradient of the loss with respect to the result of log_softmax.
    y : ndarray, float32 or float64, any shape
        The result of log_softmax.
    dim : int, default -1
        As in the call of log_softmax.

    Returns
    -------
    grad_x : ndarray, dtype and shape of y

    Raises
    ------
    ShapeError
        If the shapes differ, or y has no axis `dim`.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or dim is not an int.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.log_softmax_backward(np.array([4, 0], np.float32), np.array([0, -np.inf], np.float32))
    array([0., 0.], dtype=float32)
    """
    return _backward("log_softmax_backward", grad_y, y, dim, log=True)


def _forward(op: str, x: Array, dim: int, *, log: bool) -> Array:
    x = floats(op, "x", x)
    shape = _around(x, axis(op, dim, x.ndim))
    x = contiguous(x)
    y = empty(x.shape, x.dtype)
    softmax_forward(x.reshape(shape), y.reshape(shape), log, get_num_threads())
    return y


def _backward(op: str, grad_y: Array, y: Array, dim: int, *, log: bool) -> Array:
    y = floats(op, "y", y)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "y", y, y.shape, "the shape of y,"))
    shape = _around(y, axis(op, dim, y.ndim))
    y = contiguous(y)
    grad_x = empty(y.shape, y.dtype)
    softmax_backward_kernel(grad_y.reshape(shape), y.reshape(shape), grad_x.reshape(shape), log, get_num_threads())
    return grad_x


def _around(x: Array, where: int) -> tuple[int, int, int]:
    """How many elements lie before, along and behind an axis; without dimensions there is one."""
    shape = x.shape or (1,)
    return prod(shape[:where]), shape[where], prod(shape[where + 1 :])
