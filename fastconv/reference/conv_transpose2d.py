"""Transposed convolution by its definition, and its three gradients."""

import numpy as np

from ._windows import Array, Size, batched, cast, pair, wide


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Array:
    """Lay a copy of the filter, times the pixel, over the output at each pixel's place, and add them all up.

    ::

        y[n, k, iy*stride - padding + r*dilation, ix*stride - padding + s*dilation] +=
            x[n, c, iy, ix] * weight[c, k - g*K/groups, r, s]

    where g = c // (C/groups) is the group of channel c.  What falls into the padding is cut off.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    weight : ndarray, shape (C, K // groups, R, S)
    bias : ndarray, shape (K,), or None
    stride, padding, output_padding, dilation : int or (int, int)
    groups : int

    Returns
    -------
    y : ndarray, shape (N, K, OH, OW) or (K, OH, OW), OH = (H - 1)*stride - 2*padding + dilation*(R - 1) +
        output_padding + 1
    """
    images = batched(x).astype(wide(x))
    N, C, H, W = images.shape
    _, per_group, R, S = weight.shape
    (sh, sw), (ph, pw), (dh, dw), (eh, ew) = pair(stride), pair(padding), pair(dilation), pair(output_padding)
    if eh >= max(sh, dh) or ew >= max(sw, dw):
        raise ValueError(f"output_padding {output_padding} must be smaller than stride {stride} or dilation {dilation}")
    OH = (H - 1) * sh - 2 * ph + dh * (R - 1) + eh + 1
    OW = (W - 1) * sw - 2 * pw + dw * (S - 1) + ew + 1
    if OH < 1 or OW < 1:
        raise ValueError(f"padding {padding} leaves nothing of the output")

    y = np.zeros((N, per_group * groups, OH, OW), images.dtype)
    for n in range(N):
        for c in range(C):
            group = c // (C // groups)
            outputs = slice(group * per_group, (group + 1) * per_group)
            for iy in range(H):
                for ix in range(W):
                    for r in range(R):
                        for s in range(S):
                            oy, ox = iy * sh - ph + r * dh, ix * sw - pw + s * dw
                            if 0 <= oy < OH and 0 <= ox < OW:
                                y[n, outputs, oy, ox] += images[n, c, iy, ix] * weight[c, :, r, s]
    if bias is not None:
        y += bias[:, np.newaxis, np.newaxis]
    return cast(y if x.ndim == 4 else y[0], x.dtype)


def conv_transpose2d_backward(
    grad_y: Array,
    x: Array,
    weight: Array,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    need: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """Fetch each output's gradient back to the pixels and weights that went into it.

    Each product ``x[i] * weight[j]`` that was added to ``y[o]`` sends ``grad_y[o] * weight[j]`` to ``grad_x[i]`` and
    ``grad_y[o] * x[i]`` to ``grad_weight[j]``; ``grad_bias[k]`` is the sum of ``grad_y[:, k]``.

    Parameters
    ----------
    grad_y : ndarray, the shape of conv_transpose2d's result
    x, weight, stride, padding, output_padding, groups, dilation
        As in the call of conv_transpose2d.
    need : (bool, bool, bool)
        Which of the three gradients are wanted.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray of the shapes of x, weight and (K,); None where not needed
    """
    images, grads = batched(x).astype(wide(x)), batched(grad_y).astype(wide(x))
    N, C, H, W = images.shape
    _, per_group, R, S = weight.shape
    _, _, OH, OW = grads.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)

    grad_x = np.zeros_like(images)
    grad_weight = np.zeros(weight.shape, images.dtype)
    for n in range(N):
        for c in range(C):
            group = c // (C // groups)
            outputs = slice(group * per_group, (group + 1) * per_group)
            for iy in range(H):
                for ix in range(W):
                    for r in range(R):
                        for s in range(S):
                            oy, ox = iy * sh - ph + r * dh, ix * sw - pw + s * dw
                            if 0 <= oy < OH and 0 <= ox < OW:
                                grad = grads[n, outputs, oy, ox]
                                grad_x[n, c, iy, ix] += np.sum(grad * weight[c, :, r, s])
                                grad_weight[c, :, r, s] += grad * images[n, c, iy, ix]
    return (
        cast(grad_x.reshape(x.shape), x.dtype) if need[0] else None,
        cast(grad_weight, x.dtype) if need[1] else None,
        cast(grads.sum(axis=(0, 2, 3)), x.dtype) if need[2] else None,
    )
