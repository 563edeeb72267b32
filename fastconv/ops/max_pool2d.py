"""2-D max pooling and its gradient, by flat indices (as PyTorch) or by each winner's place in its window (layers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from fastconv import _kernels
from fastconv._kernels import empty, max_pool2d_forward, quick_max_pool2d, quick_max_pool2d_backward
from fastconv._threads import get_num_threads
from fastconv._validation import (
    I64,
    U8,
    ShapeError,
    check_max_pool2d,
    check_pool_input_shape,
    check_window_bytes,
    contiguous,
    exact_dtype,
    flag,
    floats,
    floats_shaped,
)

if TYPE_CHECKING:
    from fastconv._validation import Array, Size


@overload
def max_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Array: ...
@overload
def max_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Array, Array]: ...
@overload
def max_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]: ...
def max_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Keep the largest pixel of each window, channel by channel.

    ::

        y[n, c, oy, ox] = max over r, s of x[n, c, oy*stride - padding + r*dilation, ox*stride - padding + s*dilation]

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        N may be 0.
    kernel_size : int or (int, int)
        Window height and width, in taps.
    stride : int or (int, int), optional
        Step between neighbouring windows, in pixels; kernel_size by default.
    padding : int or (int, int), default 0
        Pixels on each side that windows may cover but that never win; at most half of the window, which spans
        ``dilation * (kernel_size - 1) + 1`` pixels.
    dilation : int or (int, int), default 1
        Distance between neighbouring taps of a window, in pixels.
    ceil_mode : bool, default False
        Keep a last window that overhangs the padded input, provided that it begins before the bottom (right) padding.
    return_indices : bool, default False
        Also return where each maximum was.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, C, OH, OW) or (C, OH, OW)
        OH = floor((H + 2*padding - dilation*(kernel_size - 1) - 1) / stride) + 1, OW likewise; ceil_mode rounds up.
    indices : ndarray, int64, shape of y; only with return_indices
        Flat position ``h * W + w`` in the input plane.

    Raises
    ------
    ShapeError
        If no window fits the padded input, padding exceeds half the window, or a size is out of range.
    TypeError
        If x is not a NumPy array of float32 or float64, or a size is not an int or a pair of ints.

    Notes
    -----
    Of equal pixels the first in row-major order wins.  NaN beats every number, and a later NaN an earlier one.  A
    window of -inf gives its first pixel.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.max_pool2d``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 5, 2, 0], [3, 4, 7, 6]]], np.float32)
    >>> y, indices = fastconv.max_pool2d(x, 2, return_indices=True)
    >>> y
    array([[[5., 7.]]], dtype=float32)
    >>> indices
    array([[[1, 6]]])
    """
    asked = return_indices is True or return_indices is False
    if asked and ceil_mode is False and type(dilation) is int and dilation == 1:
        quick: Array | tuple[Array, Array] | None = quick_max_pool2d(
            x, kernel_size, stride, padding, False, return_indices
        )
        if quick is not None:
            return quick
    op = "max_pool2d"
    x = floats(op, "x", x)
    problem, y_shape, _ = check_max_pool2d(op, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    wanted = return_indices if return_indices is False else flag(op, "return_indices", return_indices)
    if not x.flags.carray:
        x = contiguous(x)
    y = empty(y_shape, x.dtype)
    if not wanted:
        max_pool2d_forward(problem, x, y, None, None, get_num_threads())
        return y
    indices = empty(y_shape, I64)
    max_pool2d_forward(problem, x, y, None, indices, get_num_threads())
    return y, indices


def max_pool2d_backward(grad_y: Array, indices: Array, input_shape: tuple[int, ...]) -> Array:
    """The gradient of `max_pool2d` with respect to x: each window's gradient goes to the pixel that won it.

    ::

        grad_x[n, c, indices[n, c, oy, ox]] += grad_y[n, c, oy, ox]

    with the planes of grad_x flattened; pixels that won no window get 0.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C, OH, OW) or (C, OH, OW)
        Gradient of the loss with respect to the result of max_pool2d.
    indices : ndarray, int64, shape of grad_y
        As returned by max_pool2d.
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
        Shape of the x of max_pool2d.

    Returns
    -------
    grad_x : ndarray, dtype of grad_y, shape input_shape

    Raises
    ------
    ShapeError
        If the shapes do not fit each other, or an index lies outside 0 .. H*W - 1.
    TypeError
        If grad_y is not a NumPy array of float32 or float64, or indices not one of int64.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> grad_y = np.array([[[10, 20]]], np.float32)
    >>> fastconv.max_pool2d_backward(grad_y, np.array([[[1, 6]]]), (1, 2, 4))
    array([[[ 0., 10.,  0.,  0.],
            [ 0.,  0., 20.,  0.]]], dtype=float32)
    """
    quick = quick_max_pool2d_backward(grad_y, indices, input_shape)
    if quick is not None:
        return quick
    op = "max_pool2d_backward"
    grad_y = floats(op, "grad_y", grad_y)
    indices = exact_dtype(op, "indices", indices, I64)
    shape = check_pool_input_shape(op, input_shape, grad_y)
    if indices.shape != grad_y.shape:
        raise ShapeError(f"{op}: indices has shape {indices.shape}, expected the shape of grad_y, {grad_y.shape}")
    grad_y, indices = contiguous(grad_y), contiguous(indices)
    grad_x = empty(shape, grad_y.dtype)
    pixels = shape[-2] * shape[-1]
    planes = shape[0] * shape[1] if len(shape) == 4 else shape[0]
    if not _kernels.max_pool2d_backward(
        grad_y.reshape(planes, grad_y.shape[-2] * grad_y.shape[-1]),
        indices.reshape(planes, grad_y.shape[-2] * grad_y.shape[-1]),
        grad_x.reshape(planes, pixels),
        planes,
        get_num_threads(),
    ):
        wrong = indices[(indices < 0) | (indices >= pixels)]
        raise ShapeError(
            f"{op}: indices must be in 0 .. {pixels - 1}, positions in a plane of {shape[-2:]}, "
            f"got {wrong[0] if wrong.size else 'others, which were changed during the call'}"
        )
    return grad_x


def max_pool2d_winners(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """As max_pool2d, with each winner's position ``r * kernel_width + s`` in its own window, as one byte.

    A layer keeps this between forward and backward: a byte for each output instead of the eight of an index.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode
        As in max_pool2d, for a window of at most 256 taps.

    Returns
    -------
    y : ndarray, as max_pool2d
    winners : ndarray, uint8, shape of y

    Raises
    ------
    ShapeError, TypeError
        As max_pool2d; also if the window has more than 256 taps.
    """
    if ceil_mode is False and type(dilation) is int and dilation == 1:
        quick: tuple[Array, Array] | None = quick_max_pool2d(x, kernel_size, stride, padding, True)
        if quick is not None:
            return quick
    op = "max_pool2d_winners"
    x = floats(op, "x", x)
    problem, y_shape, taps = check_max_pool2d(op, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    check_window_bytes(op, taps)
    if not x.flags.carray:
        x = contiguous(x)
    y = empty(y_shape, x.dtype)
    winners = empty(y_shape, U8)
    max_pool2d_forward(problem, x, y, winners, None, get_num_threads())
    return y, winners


def max_pool2d_winners_backward(
    grad_y: Array,
    winners: Array,
    input_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """As max_pool2d_backward, from the winners that max_pool2d_winners returned.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C, OH, OW) or (C, OH, OW)
    winners : ndarray, uint8, shape of grad_y
        As returned by max_pool2d_winners.  A winner outside the input, which it never returns, is passed over.
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, dilation, ceil_mode
        As in the call of max_pool2d_winners.

    Returns
    -------
    grad_x : ndarray, dtype of grad_y, shape input_shape

    Raises
    ------
    ShapeError
        If the shapes do not fit each other, or the window has more than 256 taps.
    TypeError
        If grad_y is not a NumPy array of float32 or float64, or winners not one of uint8.
    """
    op = "max_pool2d_winners_backward"
    grad_y = floats(op, "grad_y", grad_y)
    winners = exact_dtype(op, "winners", winners, U8)
    shape = check_pool_input_shape(op, input_shape, grad_y)
    problem, y_shape, taps = check_max_pool2d(op, shape, kernel_size, stride, padding, dilation, ceil_mode)
    check_window_bytes(op, taps)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "grad_y", grad_y, y_shape, "the shape of the output,"))
    if winners.shape != y_shape:
        raise ShapeError(f"{op}: winners has shape {winners.shape}, expected the shape of grad_y, {y_shape}")
    winners = contiguous(winners)
    grad_x = empty(shape, grad_y.dtype)
    _kernels.max_pool2d_backward_winners(problem, grad_y, winners, grad_x, get_num_threads())
    return grad_x
