"""Softmax and its logarithm, along one axis."""

import numpy as np

from ._windows import Array, cast, wide


def softmax(x: Array, dim: int = -1) -> Array:
    """``y[i] = exp(x[i]) / sum over j of exp(x[j])`` along `dim`.

    The largest x is subtracted first, which changes nothing but keeps exp from overflowing.

    Parameters
    ----------
    x : ndarray, any shape
    dim : int
        The axis that the results sum to 1 along.

    Returns
    -------
    y : ndarray, same shape
    """
    return cast(np.exp(_log_softmax(x, dim)), x.dtype)


def softmax_backward(grad_y: Array, y: Array, dim: int = -1) -> Array:
    """``grad_x[i] = y[i] * (grad_y[i] - sum over j of grad_y[j] * y[j])`` along `dim`.

    Parameters
    ----------
    grad_y : ndarray, any shape
    y : ndarray, same shape; the output of softmax
    dim : int

    Returns
    -------
    grad_x : ndarray, same shape
    """
    grad, p = grad_y.astype(wide(y)), y.astype(wide(y))
    return cast(p * (grad - np.sum(grad * p, axis=dim, keepdims=True)), y.dtype)


def log_softmax(x: Array, dim: int = -1) -> Array:
    """``y[i] = x[i] - log(sum over j of exp(x[j]))`` along `dim`.

    Parameters
    ----------
    x : ndarray, any shape
    dim : int

    Returns
    -------
    y : ndarray, same shape
    """
    return cast(_log_softmax(x, dim), x.dtype)


def log_softmax_backward(grad_y: Array, y: Array, dim: int = -1) -> Array:
    """``grad_x[i] = grad_y[i] - exp(y[i]) * sum over j of grad_y[j]`` along `dim`.

    Parameters
    ----------
    grad_y : ndarray, any shape
    y : ndarray, same shape; the output of log_softmax
    dim : int

    Returns
    -------
    grad_x : ndarray, same shape
    """
    grad, log_p = grad_y.astype(wide(y)), y.astype(wide(y))
    return cast(grad - np.exp(log_p) * np.sum(grad, axis=dim, keepdims=True), y.dtype)


def _log_softmax(x: Array, dim: int) -> Array:
    """log_softmax before the cast back: NaN where the row holds NaN or +inf, or nothing but -inf."""
    if x.size == 0:
        return x.astype(wide(x))
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = x.astype(wide(x)) - np.max(x, axis=dim, keepdims=True)
        y: Array = shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True))
    return y
