"""Convolution and pooling as a good NumPy programmer writes them: im2col + matmul, and strides instead of loops.

This is the yardstick beside the naive reference: no loop over pixels, the work done by NumPy's BLAS.

- im2col copies each window of each image into a column of one matrix; the convolution is then one matrix product.
  ``cols[c*R*S + r*S + s, n*OH*OW + oy*OW + ox] = x[n, c, oy*stride + r*dilation, ox*stride + s*dilation]``, x padded.
- Its transpose, col2im, adds columns back to the images, one strided slice for each of the R*S taps.
- A pool is a reduction over the R*S taps, each a strided slice of the image; without overlap it is a reshape.
"""

from __future__ import annotations

import numpy as np
from cases import Array, Shape


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """y (N, K, OH, OW) of x (N, C, H, W) and weight (K, C // groups, R, S)."""
    K, per_group, R, S = weight.shape
    cols, OH, OW = im2col(x, (R, S), stride, padding, dilation)
    matrices = weight.reshape(groups, K // groups, per_group * R * S)
    y = np.matmul(matrices, cols.reshape(groups, per_group * R * S, -1))
    if bias is not None:
        y += bias.reshape(groups, -1, 1)
    return np.ascontiguousarray(y.reshape(K, len(x), OH, OW).transpose(1, 0, 2, 3))


def conv2d_grad_x(
    grad_y: Array, x: Array, weight: Array, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Array:
    """grad_x (N, C, H, W): the columns' gradient is a matrix product, col2im adds it to the pixels."""
    K, per_group, R, S = weight.shape
    matrices = weight.reshape(groups, K // groups, per_group * R * S).transpose(0, 2, 1)
    grad_cols = np.matmul(matrices, _rows(grad_y, groups))
    return col2im(grad_cols, x.shape, (R, S), grad_y.shape[2:], stride, padding, dilation)


def conv2d_grad_weight(
    grad_y: Array, x: Array, weight: Array, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Array:
    """grad_weight (K, C // groups, R, S): grad_y times the columns, one matrix product that sums over the images."""
    _, per_group, R, S = weight.shape
    cols, _, _ = im2col(x, (R, S), stride, padding, dilation)
    cols = cols.reshape(groups, per_group * R * S, -1)
    return np.matmul(_rows(grad_y, groups), cols.transpose(0, 2, 1)).reshape(weight.shape)


def _rows(grad_y: Array, groups: int) -> Array:
    """grad_y (N, K, OH, OW) as matrices (groups, K // groups, N*OH*OW)."""
    return np.ascontiguousarray(grad_y.transpose(1, 0, 2, 3)).reshape(groups, grad_y.shape[1] // groups, -1)


def im2col(x: Array, kernel: tuple[int, int], stride: int, padding: int, dilation: int) -> tuple[Array, int, int]:
    """cols (C*R*S, N*OH*OW), OH, OW."""
    R, S = kernel
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    reach = dilation * (R - 1) + 1, dilation * (S - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    C, OH, OW = windows.shape[1:4]
    cols = np.ascontiguousarray(windows.transpose(1, 4, 5, 0, 2, 3))
    return cols.reshape(C * R * S, -1), OH, OW


def col2im(
    cols: Array,
    x_shape: Shape,
    kernel: tuple[int, int],
    out: Shape,
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """The transpose of im2col: each pixel is the sum of its copies."""
    N, C, H, W = x_shape
    R, S = kernel
    x = np.zeros((N, C, H + 2 * padding, W + 2 * padding), cols.dtype)
    cols = cols.reshape(C, R, S, N, *out)
    for r in range(R):
        for s in range(S):
            x[_tap(r, s, out, stride, dilation)] += cols[:, r, s].transpose(1, 0, 2, 3)
    return x[:, :, padding : padding + H, padding : padding + W]


def max_pool2d(x: Array, kernel: int, stride: int, padding: int = 0) -> tuple[Array, Array]:
    """y and the flat position of each winner, int64; ties go to the first."""
    W = x.shape[3]
    taps, OH, OW = _taps(x, kernel, stride, padding, -np.inf)
    winners = taps.argmax(axis=0)
    y = np.take_along_axis(taps, winners[None], axis=0)[0]
    r, s = np.divmod(winners, kernel)
    oy, ox = np.arange(OH)[:, None] * stride - padding, np.arange(OW) * stride - padding
    return y, (oy + r) * W + ox + s


def max_pool2d_backward(grad_y: Array, indices: Array, x_shape: Shape) -> Array:
    """grad_x: each gradient is added at its winner's position."""
    N, C, H, W = x_shape
    planes = np.arange(N * C)[:, None] * (H * W)
    flat = indices.reshape(N * C, -1) + planes
    sums = np.bincount(flat.ravel(), weights=grad_y.ravel(), minlength=N * C * H * W)
    return sums.astype(grad_y.dtype).reshape(x_shape)


def avg_pool2d(x: Array, kernel: int, stride: int, padding: int = 0) -> Array:
    """y, the divisor counting padding."""
    N, C, H, W = x.shape
    if kernel == stride and not padding and H % kernel == 0 and W % kernel == 0:
        return x.reshape(N, C, H // kernel, kernel, W // kernel, kernel).mean(axis=(3, 5))
    taps, _, _ = _taps(x, kernel, stride, padding, 0.0)
    return taps.mean(axis=0)


def avg_pool2d_backward(grad_y: Array, x_shape: Shape, kernel: int, stride: int, padding: int = 0) -> Array:
    """grad_x: an equal share for each pixel of the window."""
    N, C, H, W = x_shape
    share = grad_y / np.asarray(kernel * kernel, grad_y.dtype)
    if kernel == stride and not padding and H % kernel == 0 and W % kernel == 0:
        return share.repeat(kernel, axis=2).repeat(kernel, axis=3)
    x = np.zeros((N, C, H + 2 * padding, W + 2 * padding), grad_y.dtype)
    for r in range(kernel):
        for s in range(kernel):
            x[_tap(r, s, grad_y.shape[2:], stride)] += share
    return x[:, :, padding : padding + H, padding : padding + W]


def _tap(r: int, s: int, out: Shape, stride: int, dilation: int = 1) -> tuple[slice, slice, slice, slice]:
    """Where tap (r, s) of every window lies in the padded image."""
    top, left = r * dilation, s * dilation
    rows = slice(top, top + stride * (out[0] - 1) + 1, stride)
    columns = slice(left, left + stride * (out[1] - 1) + 1, stride)
    return slice(None), slice(None), rows, columns


def _taps(x: Array, kernel: int, stride: int, padding: int, fill: float) -> tuple[Array, int, int]:
    """taps (kernel**2, N, C, OH, OW), OH, OW."""
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    OH, OW = ((size - kernel) // stride + 1 for size in x.shape[2:])
    taps = [x[_tap(r, s, (OH, OW), stride)] for r in range(kernel) for s in range(kernel)]
    return np.stack(taps), OH, OW
