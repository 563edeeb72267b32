"""Softmax and its logarithm along one axis, and their gradients."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

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
    where = axis(op, dim, x.ndim)
    rows = _rows(x, where)
    y = empty(rows.shape, x.dtype)
    softmax_forward(_matrix(rows), _matrix(y), log, get_num_threads())
    return _restore(y, where)


def _backward(op: str, grad_y: Array, y: Array, dim: int, *, log: bool) -> Array:
    y = floats(op, "y", y)
    grad_y = floats_shaped(op, "grad_y", grad_y, "y", y, y.shape, "the shape of y,")
    where = axis(op, dim, y.ndim)
    rows = _rows(y, where)
    grad_x = empty(rows.shape, y.dtype)
    softmax_backward_kernel(_matrix(_rows(grad_y, where)), _matrix(rows), _matrix(grad_x), log, get_num_threads())
    return _restore(grad_x, where)


def _rows(x: Array, where: int) -> Array:
    """x with the axis in question last, contiguous."""
    return contiguous(x if where >= x.ndim - 1 else np.moveaxis(x, where, -1))


def _matrix(x: Array) -> Array:
    """A contiguous x as (rows, n); without dimensions it is one row of one."""
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1] if x.ndim else 1)


def _restore(y: Array, where: int) -> Array:
    """The last axis back in its place, in an array of its own."""
    if where >= y.ndim - 1:
        return y
    moved = np.moveaxis(y, -1, where)
    result = empty(moved.shape, y.dtype)
    np.copyto(result, moved)
    return result
