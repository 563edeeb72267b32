"""Adaptive average pooling by its definition: the mean of each window."""

import numpy as np

from ._windows import Array, batched, cast, wide


def adaptive_avg_pool2d(x: Array, output_size: int | tuple[int | None, int | None]) -> Array:
    """Average windows of such sizes that the output has the size asked for.

    ``y[n, c, i, j]`` is the mean of rows ``floor(i*H/OH) .. ceil((i+1)*H/OH) - 1``, columns likewise.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    output_size : int or (int or None, int or None), None being the size of x

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW) or (C, OH, OW)
    """
    images = batched(x).astype(wide(x))
    N, C, H, W = images.shape
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    OH, OW = H if height is None else height, W if width is None else width

    y = np.empty((N, C, OH, OW), images.dtype)
    for i in range(OH):
        for j in range(OW):
            y[:, :, i, j] = images[:, :, _window(i, H, OH), _window(j, W, OW)].mean(axis=(2, 3))
    return cast(y.reshape(*x.shape[:-2], OH, OW), x.dtype)


def adaptive_avg_pool2d_backward(grad_y: Array, input_shape: tuple[int, ...]) -> Array:
    """Give each pixel of a window an equal share of the window's gradient.

    Parameters
    ----------
    grad_y : ndarray, the shape of adaptive_avg_pool2d's result
    input_shape : tuple of int, the shape of adaptive_avg_pool2d's input

    Returns
    -------
    grad_x : ndarray, shape input_shape
    """
    grads = batched(grad_y).astype(wide(grad_y))
    N, C, OH, OW = grads.shape
    H, W = input_shape[-2:]

    grad_x = np.zeros((N, C, H, W), grads.dtype)
    for i in range(OH):
        for j in range(OW):
            rows, columns = _window(i, H, OH), _window(j, W, OW)
            pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
            grad_x[:, :, rows, columns] += grads[:, :, i, j, np.newaxis, np.newaxis] / pixels
    return cast(grad_x.reshape(input_shape), grad_y.dtype)


def _window(i: int, size: int, windows: int) -> slice:
    """What window i covers along one axis: floor(i*size/windows) .. ceil((i+1)*size/windows) - 1."""
    return slice(i * size // windows, -(-(i + 1) * size // windows))
