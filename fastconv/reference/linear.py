"""The fully connected layer by its definition: each output is a weighted sum of all inputs."""

import numpy as np

from ._windows import Array, cast, wide


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``y[m, o] = bias[o] + sum over i of x[m, i] * weight[o, i]``.

    Parameters
    ----------
    x : ndarray, shape (..., in)
    weight : ndarray, shape (out, in)
    bias : ndarray, shape (out,), or None

    Returns
    -------
    y : ndarray, shape (..., out)
    """
    rows = x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1]).astype(wide(x))
    y = np.zeros((len(rows), len(weight)), rows.dtype)
    for m in range(len(rows)):
        for o in range(len(weight)):
            y[m, o] = np.sum(rows[m] * weight[o])
            if bias is not None:
                y[m, o] += bias[o]
    return cast(y.reshape(*x.shape[:-1], len(weight)), x.dtype)


def linear_backward(
    grad_y: Array, x: Array, weight: Array, *, need: tuple[bool, bool, bool] = (True, True, True)
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `linear`.

    ::

        grad_x[m, i]      = sum over o of grad_y[m, o] * weight[o, i]
        grad_weight[o, i] = sum over m of grad_y[m, o] * x[m, i]
        grad_bias[o]      = sum over m of grad_y[m, o]

    Parameters
    ----------
    grad_y : ndarray, shape (..., out)
    x : ndarray, shape (..., in)
    weight : ndarray, shape (out, in)
    need : (bool, bool, bool)
        Which of the three gradients are wanted.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray of the shapes of x, weight and (out,); None where not needed
    """
    M = int(np.prod(x.shape[:-1]))
    rows = x.reshape(M, x.shape[-1]).astype(wide(x))
    grads = grad_y.reshape(M, len(weight)).astype(wide(x))
    grad_x = np.zeros_like(rows)
    grad_weight = np.zeros(weight.shape, rows.dtype)
    for m in range(M):
        for o in range(len(weight)):
            grad_x[m] += grads[m, o] * weight[o]
            grad_weight[o] += grads[m, o] * rows[m]
    return (
        cast(grad_x.reshape(x.shape), x.dtype) if need[0] else None,
        cast(grad_weight, x.dtype) if need[1] else None,
        cast(grads.sum(axis=0), x.dtype) if need[2] else None,
    )
