"""Where a window lies: output sizes, 'same' padding, and which of a window's taps fall inside the image.

Along one axis, tap r of output o reads input position ``o * stride - pad + r * dilation``; a tap outside 0 .. size-1
reads padding.  Both axes work alike, so everything here is about one axis.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Size = int | Sequence[int]


def pair(size: Size) -> tuple[int, int]:
    """Height and width of an argument that may be one number for both."""
    if isinstance(size, Sequence):
        height, width = size
        return int(height), int(width)
    return int(size), int(size)


def wide(x: Array) -> np.dtype[Any]:
    """The dtype that sums over `x` are taken in: float64, or x's own where that is wider."""
    return np.result_type(x.dtype, np.float64)


def batched(x: Array, unbatched_ndim: int = 3) -> Array:
    """`x` with a batch axis in front: (C, H, W) becomes (1, C, H, W)."""
    return x[np.newaxis] if x.ndim == unbatched_ndim else x


def conv_padding(
    padding: Size | str, kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of a convolution.

    'valid' is none; 'same' is ``dilation * (kernel - 1)`` in total with the smaller half first.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError("padding='same' needs stride 1")
        (h, w) = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        return (h // 2, h - h // 2), (w // 2, w - w // 2)
    if isinstance(padding, str):
        raise ValueError(f"padding must be 'valid', 'same', an int or a pair, not {padding!r}")
    h, w = pair(padding)
    return (h, h), (w, w)


def conv_size(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> int:
    """``floor((size + before + after - dilation*(kernel - 1) - 1) / stride) + 1``."""
    out = (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ValueError(f"kernel {kernel} with dilation {dilation} does not fit size {size} with padding {padding}")
    return out


def pool_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """The same for a pool; ceil_mode rounds up, but drops a last window that would start in the padding after."""
    extra = stride - 1 if ceil_mode else 0
    out = (size + 2 * padding - dilation * (kernel - 1) - 1 + extra) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    if out < 1:
        raise ValueError(f"kernel {kernel} with dilation {dilation} does not fit size {size} with padding {padding}")
    return out


def taps(out: int, stride: int, pad: int, dilation: int, kernel: int, size: int) -> tuple[slice, slice]:
    """The part of output `out`'s window that lies inside the image: its input positions, and its taps.

    ``x[inside]`` and ``weight[used]`` then have the same length, and padding is skipped rather than multiplied.
    """
    start = out * stride - pad
    used = [r for r in range(kernel) if 0 <= start + r * dilation < size]
    if not used:
        return slice(0, 0), slice(0, 0)
    first, last = used[0], used[-1]
    return slice(start + first * dilation, start + last * dilation + 1, dilation), slice(first, last + 1)


def cast(y: Array, dtype: DTypeLike) -> Array:
    """`y` rounded to `dtype`; a sum that is too large for it becomes inf, as it would in the narrow dtype itself."""
    with np.errstate(over="ignore"):
        return np.asarray(y, dtype, order="C")
