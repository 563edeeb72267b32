"""What the kernels are measured against where the reference is too slow, the error bounds, and finite differences.

`exact` results are computed in the next wider dtype (float64 for float32, longdouble for float64) by shifting whole
images instead of looping over pixels.  Each test module checks them against fastconv.reference on small problems.
"""

from collections.abc import Callable

import numpy as np

from fastconv.reference._windows import conv_padding, conv_size, pair, pool_size


def wide(dtype):
    """The dtype that stands for exact arithmetic."""
    return np.dtype(np.float64 if np.dtype(dtype) == np.float32 else np.longdouble)


# -- bounds ------------------------------------------------------------------------------------------------------------


def assert_within(y, exact, magnitude, n, terms=4.0):
    """Each element within ``(4 + sqrt(n)) * eps * magnitude`` of exact: DESIGN's promise for sums of n products.

    `magnitude` is the same sum over absolute values.  Underflow may cost n times the smallest normal number more.
    """
    assert y.shape == exact.shape
    info = np.finfo(y.dtype)
    bound = (terms + np.sqrt(n)) * float(info.eps) * magnitude + n * float(info.tiny)
    error = np.abs(y.astype(exact.dtype) - exact)
    if not np.all(error <= bound):  # written so that NaN fails too
        off = np.where(error <= bound, 0, np.nan_to_num(error / bound, nan=np.inf))
        worst = np.unravel_index(np.argmax(off), y.shape)
        raise AssertionError(
            f"element {tuple(int(i) for i in worst)} is {y[worst]!r}, exactly {exact[worst]!r}: "
            f"off by {error[worst]:.3g}, allowed {np.broadcast_to(bound, y.shape)[worst]:.3g}; "
            f"{np.count_nonzero(~(error <= bound))} of {y.size} elements are off"
        )


def assert_fresh(y, *inputs):
    """A result is an ordinary array: C-contiguous, writeable, its own owner, no part of an input."""
    assert y.flags.c_contiguous
    assert y.flags.writeable
    assert y.flags.aligned
    assert y.flags.owndata
    for x in inputs:
        assert x is None or not np.may_share_memory(y, x)


# -- convolution -------------------------------------------------------------------------------------------------------


def _geometry(x, weight, stride, padding, dilation):
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    R, S = weight.shape[2:]
    pads = conv_padding(padding, (R, S), (dh, dw), (sh, sw))
    OH = conv_size(x.shape[2], R, sh, pads[0], dh)
    OW = conv_size(x.shape[3], S, sw, pads[1], dw)

    def seen(r, s):
        """The padded pixels that tap (r, s) meets."""
        return (
            slice(None),
            slice(None),
            slice(r * dh, r * dh + (OH - 1) * sh + 1, sh),
            slice(s * dw, s * dw + (OW - 1) * sw + 1, sw),
        )

    return pads, OH, OW, seen


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Exact convolution of a batch, in the wide dtype."""
    x, weight = x.astype(wide(x.dtype)), weight.astype(wide(x.dtype))
    (N, C), (K, _, R, S) = x.shape[:2], weight.shape
    pads, OH, OW, seen = _geometry(x, weight, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    y = np.zeros((N, groups, K // groups, OH * OW), x.dtype)
    for r in range(R):
        for s in range(S):
            pixels = padded[seen(r, s)].reshape(N, groups, C // groups, OH * OW)
            y += weight[:, :, r, s].reshape(groups, K // groups, C // groups) @ pixels
    y = y.reshape(N, K, OH, OW)
    return y if bias is None else y + bias[:, np.newaxis, np.newaxis]


def conv2d_backward(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1):
    """Exact gradients of a batch, in the wide dtype."""
    dtype = wide(x.dtype)
    x, weight, grad_y = x.astype(dtype), weight.astype(dtype), grad_y.astype(dtype)
    (N, C, H, W), (K, _, R, S) = x.shape, weight.shape
    pads, OH, OW, seen = _geometry(x, weight, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    grad_padded = np.zeros_like(padded)
    grad_weight = np.zeros_like(weight)
    grads = grad_y.reshape(N, groups, K // groups, OH * OW)
    for r in range(R):
        for s in range(S):
            pixels = padded[seen(r, s)].reshape(N, groups, C // groups, OH * OW)
            products = grads @ pixels.swapaxes(2, 3)
            grad_weight[:, :, r, s] = products.sum(axis=0).reshape(K, C // groups)
            weights = weight[:, :, r, s].reshape(groups, K // groups, C // groups)
            grad_padded[seen(r, s)] += (weights.swapaxes(1, 2) @ grads).reshape(N, C, OH, OW)
    top, left = pads[0][0], pads[1][0]
    return grad_padded[:, :, top : top + H, left : left + W], grad_weight, grad_y.sum(axis=(0, 2, 3))


# -- pooling -----------------------------------------------------------------------------------------------------------


def _pool_taps(H, W, kernel_size, stride, padding, dilation, ceil_mode):
    """Of each tap: the image rows and columns that it meets, clipped into the image, and whether they are inside."""
    (R, S), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride or kernel_size), pair(padding), pair(dilation)
    OH, OW = pool_size(H, R, sh, ph, dh, ceil_mode), pool_size(W, S, sw, pw, dw, ceil_mode)
    for r in range(R):
        for s in range(S):
            h = np.arange(OH)[:, np.newaxis] * sh - ph + r * dh
            w = np.arange(OW) * sw - pw + s * dw
            inside = (h >= 0) & (h < H) & (w >= 0) & (w < W)
            yield h.clip(0, H - 1), w.clip(0, W - 1), inside, r * S + s


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """(y, indices, winners) of x (..., H, W)."""
    H, W = x.shape[-2:]
    y = indices = winners = None
    for h, w, inside, tap in _pool_taps(H, W, kernel_size, stride, padding, dilation, ceil_mode):
        value = x[..., h, w]
        if y is None:
            y, indices = np.full_like(value, -np.inf), np.full(value.shape, -1, np.int64)
            winners = np.zeros(value.shape, np.uint8)
        better = inside & ((indices < 0) | (value > y) | np.isnan(value))
        y = np.where(better, value, y)
        indices = np.where(better, h * W + w, indices)
        winners = np.where(better, np.uint8(tap % 256), winners)
    return y, indices, winners


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """Exact average pooling of x (..., H, W), in the wide dtype."""
    x = x.astype(wide(x.dtype))
    H, W = x.shape[-2:]
    total, count = 0, _counts(H, W, kernel_size, stride, padding, ceil_mode, count_include_pad)
    for h, w, inside, _ in _pool_taps(H, W, kernel_size, stride, padding, 1, ceil_mode):
        total = total + np.where(inside, x[..., h, w], 0)
    return total / (divisor_override or count)


def avg_pool2d_backward(
    grad_y,
    input_shape,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """Exact gradient of avg_pool2d, in the wide dtype."""
    H, W = input_shape[-2:]
    count = divisor_override or _counts(H, W, kernel_size, stride, padding, ceil_mode, count_include_pad)
    share = grad_y.astype(wide(grad_y.dtype)) / count
    grad_x = np.zeros(input_shape, share.dtype)
    for h, w, inside, _ in _pool_taps(H, W, kernel_size, stride, padding, 1, ceil_mode):
        np.add.at(grad_x, (..., h, w), np.where(inside, share, 0))
    return grad_x


def _counts(H, W, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """The divisor of each output: how many taps lie inside the image, or inside the padded image."""
    (ph, pw), inside_padded = pair(padding), 0
    if not count_include_pad:
        return sum(inside for _, _, inside, _ in _pool_taps(H, W, kernel_size, stride, padding, 1, ceil_mode))
    # The padded image seen as an image of its own; the number of windows stays that of the padded problem.
    (R, S), (sh, sw) = pair(kernel_size), pair(stride or kernel_size)
    OH, OW = pool_size(H, R, sh, ph, 1, ceil_mode), pool_size(W, S, sw, pw, 1, ceil_mode)
    for r in range(R):
        for s in range(S):
            rows = np.arange(OH)[:, np.newaxis] * sh + r < H + 2 * ph
            inside_padded = inside_padded + (rows & (np.arange(OW) * sw + s < W + 2 * pw))
    return inside_padded


# -- finite differences ------------------------------------------------------------------------------------------------


def gradcheck(
    function: Callable[..., np.ndarray],
    inputs: list[np.ndarray],
    gradients: Callable[..., tuple[np.ndarray, ...]],
    *,
    step: float = 1e-5,
    tolerance: float = 1e-6,
    samples: int = 40,
) -> None:
    """`gradients(grad_y, *inputs)` against central differences of ``sum(function(*inputs) * grad_y)``, in float64."""
    rng = np.random.default_rng(7)
    inputs = [np.array(x, np.float64) for x in inputs]
    y = np.asarray(function(*inputs))
    grad_y = rng.standard_normal(y.shape)
    for which, (x, grad) in enumerate(zip(inputs, gradients(grad_y, *inputs), strict=True)):
        assert grad.shape == x.shape
        for at in rng.permutation(x.size)[:samples]:
            position = np.unravel_index(at, x.shape)
            sides = []
            for sign in (1, -1):
                moved = [other.copy() for other in inputs]
                moved[which][position] += sign * step
                sides.append(np.sum(function(*moved) * grad_y))
            slope = (sides[0] - sides[1]) / (2 * step)
            error = abs(slope - grad[position])
            assert error <= tolerance * max(1.0, abs(slope)), (which, position, slope, grad[position])
