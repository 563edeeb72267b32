"""Average pooling to a given output size, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv import _kernels
from fastconv._kernels import adaptive_avg_pool2d_forward, empty
from fastconv._threads import get_num_threads
from fastconv._validation import (
    adaptive_grad,
    check_adaptive_avg_pool2d,
    check_pool_input_shape,
    contiguous,
    floats,
    output_sizes,
)

if TYPE_CHECKING:
    from fastconv._validation import Array


def adaptive_avg_pool2d(x: Array, output_size: int | tuple[int | None, int | None]) -> Array:
    """Average windows of such sizes that the output has the size asked for, channel by channel.

    ``y[n, c, i, j]`` is the mean of rows ``floor(i*H/OH) .. ceil((i+1)*H/OH) - 1`` and of columns likewise: windows
    cover the input without gaps, and overlap by a pixel where the sizes do not divide.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        N may be 0.
    output_size : int or (int or None, int or None)
        Height and width of y, in pixels; None is that of x.  It may be larger than x; 0 gives an empty y.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, C, OH, OW) or (C, OH, OW)

    Raises
    ------
    ShapeError
        If x has a wrong number of dimensions or is empty but for its batch size, or output_size is negative.
    TypeError
        If x is not a NumPy array of float32 or float64, or output_size is not an int or a pair of ints or None.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.adaptive_avg_pool2d``.  With output_size 1 it is the global average
    pooling of M. Lin, Q. Chen and S. Yan, "Network in network", ICLR 2014.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 2, 3, 4, 5]]], np.float32)
    >>> fastconv.adaptive_avg_pool2d(x, (None, 2))  # columns 0 .. 2 and 2 .. 4
    array([[[2., 4.]]], dtype=float32)
    >>> fastconv.adaptive_avg_pool2d(x, 1)
    array([[[3.]]], dtype=float32)
    """
    op = "adaptive_avg_pool2d"
    x = floats(op, "x", x)
    problem, y_shape = check_adaptive_avg_pool2d(op, x.shape, *output_sizes(op, output_size))
    x = contiguous(x)
    y = empty(y_shape, x.dtype)
    if y.size:
        adaptive_avg_pool2d_forward(problem, x, y, get_num_threads())
    return y


def adaptive_avg_pool2d_backward(grad_y: Array, input_shape: tuple[int, ...]) -> Array:
    """The gradient of `adaptive_avg_pool2d` with respect to x: each pixel of a window gets ``grad_y / pixels``.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C, OH, OW) or (C, OH, OW)
        Gradient of the loss with respect to the result of adaptive_avg_pool2d.
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
        Shape of the x of adaptive_avg_pool2d.

    Returns
    -------
    grad_x : ndarray, dtype of grad_y, shape input_shape

    Raises
    ------
    ShapeError
        If input_shape and the shape of grad_y do not fit each other.
    TypeError
        If grad_y is not a NumPy array of float32 or float64, or input_shape not a tuple of ints.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.adaptive_avg_pool2d_backward(np.array([[[3, 6]]], np.float32), (1, 1, 5))
    array([[[1., 1., 3., 2., 2.]]], dtype=float32)
    """
    op = "adaptive_avg_pool2d_backward"
    grad_y = adaptive_grad(op, grad_y)
    shape = check_pool_input_shape(op, input_shape, grad_y)
    problem, _ = check_adaptive_avg_pool2d(op, shape, *grad_y.shape[-2:])
    grad_x = empty(shape, grad_y.dtype)
    if grad_y.size:
        _kernels.adaptive_avg_pool2d_backward(problem, contiguous(grad_y), grad_x, get_num_threads())
    else:
        grad_x.fill(0)
    return grad_x
