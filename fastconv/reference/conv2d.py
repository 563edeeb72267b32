"""Convolution (cross-correlation, as in every deep-learning library) by its definition, and its three gradients."""

import numpy as np

from ._windows import Array, Size, batched, cast, conv_padding, conv_size, pair, taps, wide


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """Slide each filter over the image; each output is the sum of the products under the filter.

    ::

        y[n, k, oy, ox] = bias[k] + sum over c, r, s of
            x[n, g*C/groups + c, oy*stride - top + r*dilation, ox*stride - left + s*dilation] * weight[k, c, r, s]

    where g = k // (K/groups) is the group of filter k.  Taps that fall outside the image are skipped.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    weight : ndarray, shape (K, C // groups, R, S)
    bias : ndarray, shape (K,), or None
    stride, dilation : int or (int, int)
    padding : int, (int, int), 'valid' or 'same'
    groups : int

    Returns
    -------
    y : ndarray, shape (N, K, OH, OW) or (K, OH, OW), OH = floor((H + 2*padding - dilation*(R - 1) - 1) / stride) + 1
    """
    images = batched(x).astype(wide(x))
    N, C, H, W = images.shape
    K, _, R, S = weight.shape
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    (top, bottom), (left, right) = conv_padding(padding, (R, S), (dh, dw), (sh, sw))
    OH = conv_size(H, R, sh, (top, bottom), dh)
    OW = conv_size(W, S, sw, (left, right), dw)

    y = np.zeros((N, K, OH, OW), images.dtype)
    for n in range(N):
        for k in range(K):
            group = k // (K // groups)
            channels = slice(group * C // groups, (group + 1) * C // groups)
            for oy in range(OH):
                rows, r = taps(oy, sh, top, dh, R, H)
                for ox in range(OW):
                    columns, s = taps(ox, sw, left, dw, S, W)
                    y[n, k, oy, ox] = np.sum(images[n, channels, rows, columns] * weight[k, :, r, s])
            if bias is not None:
                y[n, k] += bias[k]
    return cast(y if x.ndim == 4 else y[0], x.dtype)


def conv2d_backward(
    grad_y: Array,
    x: Array,
    weight: Array,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    need: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """Hand each output's gradient back to the pixels and weights that it was made of.

    Each product ``x[i] * weight[j]`` that went into ``y[n, k, oy, ox]`` sends ``grad_y * weight[j]`` to ``grad_x[i]``
    and ``grad_y * x[i]`` to ``grad_weight[j]``; ``grad_bias[k]`` is the sum of ``grad_y[:, k]``.

    Parameters
    ----------
    grad_y : ndarray, the shape of conv2d's result
    x, weight, stride, padding, dilation, groups
        As in the call of conv2d.
    need : (bool, bool, bool)
        Which of the three gradients are wanted.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray of the shapes of x, weight and (K,); None where not needed
    """
    images, grads = batched(x).astype(wide(x)), batched(grad_y).astype(wide(x))
    N, C, H, W = images.shape
    K, _, R, S = weight.shape
    _, _, OH, OW = grads.shape
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    (top, _), (left, _) = conv_padding(padding, (R, S), (dh, dw), (sh, sw))

    grad_x = np.zeros_like(images)
    grad_weight = np.zeros(weight.shape, images.dtype)
    for n in range(N):
        for k in range(K):
            group = k // (K // groups)
            channels = slice(group * C // groups, (group + 1) * C // groups)
            for oy in range(OH):
                rows, r = taps(oy, sh, top, dh, R, H)
                for ox in range(OW):
                    columns, s = taps(ox, sw, left, dw, S, W)
                    grad = grads[n, k, oy, ox]
                    if need[0]:
                        grad_x[n, channels, rows, columns] += grad * weight[k, :, r, s]
                    if need[1]:
                        grad_weight[k, :, r, s] += grad * images[n, channels, rows, columns]
    return (
        cast(grad_x.reshape(x.shape), x.dtype) if need[0] else None,
        cast(grad_weight, x.dtype) if need[1] else None,
        cast(grads.sum(axis=(0, 2, 3)), x.dtype) if need[2] else None,
    )
