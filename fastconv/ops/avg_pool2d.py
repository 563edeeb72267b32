"""2-D average pooling and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv import _kernels
from fastconv._kernels import avg_pool2d_forward, empty, quick_avg_pool2d
from fastconv._threads import get_num_threads
from fastconv._validation import check_avg_pool2d, check_pool_input_shape, contiguous, floats, floats_shaped

if TYPE_CHECKING:
    from fastconv._validation import Array, Size


def avg_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Average each window, channel by channel.

    ::

        y[n, c, oy, ox] = 1/divisor * sum over r, s of x[n, c, oy*stride - padding + r, ox*stride - padding + s]

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        N may be 0.
    kernel_size : int or (int, int)
        Window height and width, in pixels.
    stride : int or (int, int), optional
        Step between neighbouring windows, in pixels; kernel_size by default.
    padding : int or (int, int), default 0
        Zeros on each side, in pixels; at most half of the window.
    ceil_mode : bool, default False
        Keep a last window that overhangs the padded input, provided that it begins before the bottom (right) padding.
    count_include_pad : bool, default True
        Whether the divisor counts the window's pixels in the padding.  What overhangs even the padding (ceil_mode) is
        never counted.
    divisor_override : int, optional
        Divisor of every window, not 0.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, C, OH, OW) or (C, OH, OW)
        OH = floor((H + 2*padding - kernel_size) / stride) + 1, OW likewise; ceil_mode rounds up.

    Raises
    ------
    ShapeError
        If no window fits the padded input, padding exceeds half the window, or a size is out of range.
    TypeError
        If x is not a NumPy array of float32 or float64, or a size is not an int or a pair of ints.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.avg_pool2d``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 3, 0, 4], [2, 6, 8, 0]]], np.float32)
    >>> fastconv.avg_pool2d(x, 2)
    array([[[3., 3.]]], dtype=float32)
    >>> fastconv.avg_pool2d(x, 2, divisor_override=1)
    array([[[12., 12.]]], dtype=float32)
    """
    if ceil_mode is False and count_include_pad is True and divisor_override is None:
        quick = quick_avg_pool2d(x, kernel_size, stride, padding)
        if quick is not None:
            return quick
    op = "avg_pool2d"
    x = floats(op, "x", x)
    problem, y_shape, include_pad, divisor = check_avg_pool2d(
        op, x.shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    if not x.flags.carray:
        x = contiguous(x)
    y = empty(y_shape, x.dtype)
    avg_pool2d_forward(problem, x, y, include_pad, divisor, get_num_threads())
    return y


def avg_pool2d_backward(
    grad_y: Array,
    input_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The gradient of `avg_pool2d` with respect to x: each pixel of a window gets ``grad_y / divisor``.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C, OH, OW) or (C, OH, OW)
        Gradient of the loss with respect to the result of avg_pool2d.
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
        Shape of the x of avg_pool2d.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As in the call of avg_pool2d.

    Returns
    -------
    grad_x : ndarray, dtype of grad_y, shape input_shape

    Raises
    ------
    ShapeError, TypeError
        As avg_pool2d; also if grad_y does not have the shape of its result.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.avg_pool2d_backward(np.array([[[4, 8]]], np.float32), (1, 2, 4), 2)
    array([[[1., 1., 2., 2.],
            [1., 1., 2., 2.]]], dtype=float32)
    """
    op = "avg_pool2d_backward"
    grad_y = floats(op, "grad_y", grad_y)
    shape = check_pool_input_shape(op, input_shape, grad_y)
    problem, y_shape, include_pad, divisor = check_avg_pool2d(
        op, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "grad_y", grad_y, y_shape, "the shape of the output,"))
    grad_x = empty(shape, grad_y.dtype)
    _kernels.avg_pool2d_backward(problem, grad_y, grad_x, include_pad, divisor, get_num_threads())
    return grad_x
