"""Average pooling by its definition: the mean of each window."""

import numpy as np

from ._windows import Array, Size, batched, cast, pair, pool_size, taps, wide


def avg_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Average each window.

    ::

        y[n, c, oy, ox] = 1/divisor * sum over r, s of x[n, c, oy*stride - padding + r, ox*stride - padding + s]

    The divisor is `divisor_override` where given, else the number of window positions inside the image or, with
    count_include_pad, inside the padded image: what overhangs even the padding (ceil_mode) is not counted.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), or None for kernel_size
    padding : int or (int, int)
    ceil_mode, count_include_pad : bool
    divisor_override : int or None

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW) or (C, OH, OW), OH = floor((H + 2*padding - kernel) / stride) + 1
    """
    images = batched(x).astype(wide(x))
    N, C, H, W = images.shape
    (R, S), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride or kernel_size), pair(padding)
    OH = pool_size(H, R, sh, ph, 1, ceil_mode)
    OW = pool_size(W, S, sw, pw, 1, ceil_mode)

    y = np.empty((N, C, OH, OW), images.dtype)
    for oy in range(OH):
        rows, _ = taps(oy, sh, ph, 1, R, H)
        for ox in range(OW):
            columns, _ = taps(ox, sw, pw, 1, S, W)
            divisor = divisor_override or (
                _count(oy, R, sh, ph, H, count_include_pad) * _count(ox, S, sw, pw, W, count_include_pad)
            )
            for n in range(N):
                for c in range(C):
                    y[n, c, oy, ox] = np.sum(images[n, c, rows, columns]) / divisor
    return cast(y.reshape(*x.shape[:-2], OH, OW), x.dtype)


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
    """Give each pixel of a window an equal share, ``grad_y / divisor``, of the window's gradient.

    Parameters
    ----------
    grad_y : ndarray, the shape of avg_pool2d's result
    input_shape : tuple of int, the shape of avg_pool2d's input
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As in the call of avg_pool2d.

    Returns
    -------
    grad_x : ndarray, shape input_shape
    """
    grads = batched(grad_y).astype(wide(grad_y))
    N, C, OH, OW = grads.shape
    H, W = input_shape[-2:]
    (R, S), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride or kernel_size), pair(padding)

    grad_x = np.zeros((N, C, H, W), grads.dtype)
    for oy in range(OH):
        rows, _ = taps(oy, sh, ph, 1, R, H)
        for ox in range(OW):
            columns, _ = taps(ox, sw, pw, 1, S, W)
            divisor = divisor_override or (
                _count(oy, R, sh, ph, H, count_include_pad) * _count(ox, S, sw, pw, W, count_include_pad)
            )
            for n in range(N):
                for c in range(C):
                    grad_x[n, c, rows, columns] += grads[n, c, oy, ox] / divisor
    return cast(grad_x.reshape(input_shape), grad_y.dtype)


def _count(out: int, kernel: int, stride: int, pad: int, size: int, count_include_pad: bool) -> int:
    """How many positions of output `out`'s window count, along one axis."""
    before, after = (-pad, size + pad) if count_include_pad else (0, size)
    start = out * stride - pad
    return sum(before <= position < after for position in range(start, start + kernel))
