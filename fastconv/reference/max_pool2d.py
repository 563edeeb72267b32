"""Max pooling by its definition: the largest pixel of each window, and where it was."""

import numpy as np

from ._windows import Array, Size, batched, cast, pair, pool_size, wide


def max_pool2d(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Keep the largest pixel of each window.

    ::

        y[n, c, oy, ox] = max over r, s of x[n, c, oy*stride - padding + r*dilation, ox*stride - padding + s*dilation]

    Of equal pixels the first in row-major order wins; NaN beats every number, and a later NaN an earlier one; padding
    never wins, so a window of -inf gives its first pixel.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), or None for kernel_size
    padding, dilation : int or (int, int)
    ceil_mode : bool
        Keep a last window that overhangs the image.
    return_indices : bool

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW) or (C, OH, OW)
        OH = floor((H + 2*padding - dilation*(kernel - 1) - 1) / stride) + 1
    indices : ndarray, int64, same shape; only with return_indices.  Flat position h*W + w in the input plane.
    """
    y, h, w = _winners(x, kernel_size, stride, padding, dilation, ceil_mode)[:3]
    return (y, h * x.shape[-1] + w) if return_indices else y


def max_pool2d_backward(grad_y: Array, indices: Array, input_shape: tuple[int, ...]) -> Array:
    """Send each window's gradient to the pixel that won it; a pixel that won several gets their sum.

    Parameters
    ----------
    grad_y, indices : ndarray, shape (N, C, OH, OW) or (C, OH, OW)
    input_shape : tuple of int, the shape of max_pool2d's input

    Returns
    -------
    grad_x : ndarray, shape input_shape
    """
    *planes, H, W = input_shape
    *_, OH, OW = grad_y.shape
    N = int(np.prod(planes))
    grad_x = np.zeros((N, H * W), wide(grad_y))
    for plane, grads, winners in zip(grad_x, grad_y.reshape(N, OH * OW), indices.reshape(N, OH * OW), strict=True):
        for grad, winner in zip(grads, winners, strict=True):
            plane[winner] += grad
    return cast(grad_x.reshape(input_shape), grad_y.dtype)


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

    Returns
    -------
    y : ndarray, as max_pool2d
    winners : ndarray, uint8, same shape
    """
    y, _, _, r, s = _winners(x, kernel_size, stride, padding, dilation, ceil_mode)
    return y, (r * pair(kernel_size)[1] + s).astype(np.uint8)


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

    Returns
    -------
    grad_x : ndarray, shape input_shape
    """
    (sh, sw), (ph, pw), (dh, dw) = pair(stride or kernel_size), pair(padding), pair(dilation)
    r, s = np.divmod(winners.astype(np.int64), pair(kernel_size)[1])
    oy, ox = np.indices(grad_y.shape[-2:])
    indices = (oy * sh - ph + r * dh) * input_shape[-1] + (ox * sw - pw + s * dw)
    return max_pool2d_backward(grad_y, indices, input_shape)


def _winners(
    x: Array, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool
) -> tuple[Array, ...]:
    """Of each window: the largest value, its row and column in the image, its row and column in the window."""
    images = batched(x)
    N, C, H, W = images.shape
    (R, S), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride or kernel_size), pair(padding), pair(dilation)
    OH = pool_size(H, R, sh, ph, dh, ceil_mode)
    OW = pool_size(W, S, sw, pw, dw, ceil_mode)

    y = np.empty((N, C, OH, OW), x.dtype)
    where = np.empty((4, N, C, OH, OW), np.int64)
    for n, c, oy, ox in np.ndindex(N, C, OH, OW):
        best, winner = -np.inf, None
        for r in range(R):
            for s in range(S):
                h, w = oy * sh - ph + r * dh, ox * sw - pw + s * dw
                if not (0 <= h < H and 0 <= w < W):
                    continue
                value = images[n, c, h, w]
                if winner is None or value > best or np.isnan(value):
                    best, winner = value, (h, w, r, s)
        if winner is None:
            raise ValueError(f"the window of output ({oy}, {ox}) holds padding alone")
        y[n, c, oy, ox] = best
        where[:, n, c, oy, ox] = winner
    shape = (*x.shape[:-2], OH, OW)
    return y.reshape(shape), *(a.reshape(shape) for a in where)
