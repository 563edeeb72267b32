"""Windows as columns (im2col), columns added up to images (col2im), and the gradients of both."""

from collections.abc import Iterator

import numpy as np

from ._windows import Array, Size, batched, cast, conv_size, pair, wide


def _places(
    H: int, W: int, kernel_size: Size, dilation: Size, padding: Size, stride: Size
) -> Iterator[tuple[int, int, int, int]]:
    """(tap, window, row of the image, column of the image), of all that lie inside the image."""
    (R, S), (dh, dw), (ph, pw), (sh, sw) = pair(kernel_size), pair(dilation), pair(padding), pair(stride)
    OH, OW = conv_size(H, R, sh, (ph, ph), dh), conv_size(W, S, sw, (pw, pw), dw)
    for r in range(R):
        for s in range(S):
            for oy in range(OH):
                for ox in range(OW):
                    h, w = oy * sh - ph + r * dh, ox * sw - pw + s * dw
                    if 0 <= h < H and 0 <= w < W:
                        yield r * S + s, oy * OW + ox, h, w


def unfold(x: Array, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Array:
    """Write what each window sees as a column.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    kernel_size, dilation, padding, stride : int or (int, int)

    Returns
    -------
    y : ndarray, shape (N, C*R*S, OH*OW) or (C*R*S, OH*OW): row (c*R + r)*S + s, column oy*OW + ox
    """
    images = batched(x)
    N, C, H, W = images.shape
    (R, S), (dh, dw), (ph, pw), (sh, sw) = pair(kernel_size), pair(dilation), pair(padding), pair(stride)
    windows = conv_size(H, R, sh, (ph, ph), dh) * conv_size(W, S, sw, (pw, pw), dw)
    columns = np.zeros((N, C, R * S, windows), x.dtype)
    for tap, window, h, w in _places(H, W, kernel_size, dilation, padding, stride):
        columns[:, :, tap, window] = images[:, :, h, w]
    return columns.reshape(*x.shape[:-3], C * R * S, windows)


def fold(
    x: Array, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Array:
    """Add each number of each column to the pixel that `unfold` would have read it from.

    Parameters
    ----------
    x : ndarray, shape (N, C*R*S, L) or (C*R*S, L)
    output_size, kernel_size, dilation, padding, stride : int or (int, int)

    Returns
    -------
    y : ndarray, shape (N, C, H, W) or (C, H, W), H and W being output_size
    """
    columns = batched(x, 2).astype(wide(x))
    (H, W), (R, S) = pair(output_size), pair(kernel_size)
    N, rows, windows = columns.shape
    columns = columns.reshape(N, rows // (R * S), R * S, windows)
    images = np.zeros((N, rows // (R * S), H, W), columns.dtype)
    for tap, window, h, w in _places(H, W, kernel_size, dilation, padding, stride):
        images[:, :, h, w] += columns[:, :, tap, window]
    return cast(images if x.ndim == 3 else images[0], x.dtype)


def unfold_backward(
    grad_y: Array,
    input_shape: tuple[int, ...],
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Array:
    """The gradient of `unfold`, which is to fold.

    Parameters
    ----------
    grad_y : ndarray, the shape of unfold's result
    input_shape : tuple of int, the shape of its x
    kernel_size, dilation, padding, stride
        As in the call of unfold.

    Returns
    -------
    grad_x : ndarray, shape input_shape
    """
    return fold(grad_y, input_shape[-2:], kernel_size, dilation, padding, stride)


def fold_backward(grad_y: Array, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Array:
    """The gradient of `fold`, which is to unfold.

    Parameters
    ----------
    grad_y : ndarray, the shape of fold's result
    kernel_size, dilation, padding, stride
        As in the call of fold.

    Returns
    -------
    grad_x : ndarray, the shape of fold's x
    """
    return unfold(grad_y, kernel_size, dilation, padding, stride)
