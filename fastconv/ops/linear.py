"""The fully connected layer and its three gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv._kernels import (
    empty,
    linear_forward,
    linear_grad_bias,
    linear_grad_weight,
    linear_grad_x,
    quick_linear,
    quick_linear_backward,
)
from fastconv._threads import get_num_threads
from fastconv._validation import check_linear, contiguous, floats_shaped, needed

if TYPE_CHECKING:
    from fastconv._validation import Array, Need


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Weighted sums of the inputs: ``y[..., o] = bias[o] + sum over i of x[..., i] * weight[o, i]``.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (..., in)
    weight : ndarray, dtype of x, shape (out, in)
    bias : ndarray, dtype of x, shape (out,), optional

    Returns
    -------
    y : ndarray, dtype of x, shape (..., out)

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.
    TypeError
        If an array is not a NumPy array of float32 or float64, or dtypes differ.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.linear``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1, 2], [3, 4]], np.float32)
    >>> weight = np.array([[1, 10], [100, 1000], [1, 1]], np.float32)
    >>> fastconv.linear(x, weight, np.array([0, 0, 5], np.float32))
    array([[  21., 2100.,    8.],
           [  43., 4300.,   12.]], dtype=float32)
    """
    quick = quick_linear(x, weight, bias)
    if quick is not None:
        return quick
    x, weight, bias, y_shape, matrix = check_linear("linear", x, weight, bias)
    y = empty(y_shape, x.dtype)
    if x.ndim == 2:
        linear_forward(x, weight, bias, y, get_num_threads())
    else:
        linear_forward(x.reshape(matrix), weight, bias, y.reshape(matrix[0], len(weight)), get_num_threads())
    return y


def linear_backward(
    grad_y: Array, x: Array, weight: Array, *, need: Need = (True, True, True)
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `linear` with respect to x, weight and bias.

    ::

        grad_x[m, i]      = sum over o of grad_y[m, o] * weight[o, i]
        grad_weight[o, i] = sum over m of grad_y[m, o] * x[m, i]
        grad_bias[o]      = sum over m of grad_y[m, o]

    where m counts all leading dimensions.

    Parameters
    ----------
    grad_y : ndarray, dtype of x, shape (..., out)
        Gradient of the loss with respect to the result of linear.
    x, weight
        As in the call of linear.
    need : (bool, bool, bool), default all
        Which of grad_x, grad_weight and grad_bias to compute.

    Returns
    -------
    grad_x : ndarray, shape of x, or None where not needed
    grad_weight : ndarray, shape (out, in), or None where not needed
    grad_bias : ndarray, shape (out,), or None where not needed

    Raises
    ------
    ShapeError, TypeError
        As linear; also if grad_y does not have the shape of its result.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1, 2], [3, 4]], np.float32)
    >>> weight = np.array([[1, 10]], np.float32)
    >>> grad_x, grad_weight, grad_bias = fastconv.linear_backward(np.array([[1], [2]], np.float32), x, weight)
    >>> grad_x
    array([[ 1., 10.],
           [ 2., 20.]], dtype=float32)
    >>> grad_weight
    array([[ 7., 10.]], dtype=float32)
    >>> grad_bias
    array([3.], dtype=float32)
    """
    quick = quick_linear_backward(grad_y, x, weight, need)
    if quick is not None:
        return quick
    op = "linear_backward"
    x, weight, _, y_shape, matrix = check_linear(op, x, weight, None)
    grad_y = floats_shaped(op, "grad_y", grad_y, "x", x, y_shape, "the shape of the output,")
    need_x, need_weight, need_bias = needed(op, need)
    grads = contiguous(grad_y).reshape(matrix[0], len(weight))
    threads = get_num_threads()
    grad_x = grad_weight = grad_bias = None
    if need_x:
        grad_x = empty(x.shape, x.dtype)
        linear_grad_x(grads, weight, grad_x.reshape(matrix), threads)
    if need_weight:
        grad_weight = empty(weight.shape, x.dtype)
        linear_grad_weight(grads, x.reshape(matrix), grad_weight, threads)
    if need_bias:
        grad_bias = empty(weight.shape[:1], x.dtype)
        linear_grad_bias(grads, grad_bias, threads)
    return grad_x, grad_weight, grad_bias
