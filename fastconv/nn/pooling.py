"""Pooling: the largest, or the mean, of each window of pixels, or of all pixels of a channel."""

from __future__ import annotations

from typing import Any

from fastconv import _validation as check
from fastconv._validation import Size
from fastconv.ops import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward

from .module import Array, Module

MOST_WINNERS = 256  # elements of a window whose winner fits a byte


class MaxPool2d(Module):
    """The largest pixel of each window; see `fastconv.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int); None is kernel_size
    padding : int or (int, int), at most half the window
    dilation : int or (int, int)
    return_indices : bool
        Whether forward gives ``(y, indices)``; backward takes the gradient of y.
    ceil_mode : bool

    Notes
    -----
    x (N, C, H, W) -> y (N, C, OH, OW), OH = floor((H + 2*padding - dilation*(kernel - 1) - 1) / stride) + 1.
    For backward it keeps one byte for each pixel of y where the window has at most 256 elements.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        op = "MaxPool2d"
        self.kernel_size = _size(op, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else _size(op, "stride", stride, 1)
        self.padding = _size(op, "padding", padding, 0)
        self.dilation = _size(op, "dilation", dilation, 1)
        self.return_indices = check.flag(op, "return_indices", return_indices)
        self.ceil_mode = check.flag(op, "ceil_mode", ceil_mode)

    @property
    def _by_winners(self) -> bool:
        height, width = check.pair("MaxPool2d", "kernel_size", self.kernel_size, 1)
        return not self.return_indices and height * width <= MOST_WINNERS

    @property
    def halves(self) -> bool:
        """Whether it is the plainest of all: 2x2 windows side by side, without indices."""
        return (
            self.kernel_size in (2, (2, 2))
            and self.stride in (2, (2, 2))
            and self.padding in (0, (0, 0))
            and self.dilation in (1, (1, 1))
            and not self.ceil_mode
            and not self.return_indices
        )

    def forward(self, x: Array) -> Any:
        window = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        if not self.training and not self.return_indices:
            self._saved = None
            return max_pool2d(x, *window)
        y, where = max_pool2d_winners(x, *window) if self._by_winners else max_pool2d(x, *window, return_indices=True)
        self._keep(where, x.shape)
        return (y, where) if self.return_indices else y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        where, shape = self._kept()
        if not need_grad_x:
            return None
        if not self._by_winners:
            return max_pool2d_backward(grad_y, where, shape)
        return max_pool2d_winners_backward(
            grad_y, where, shape, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window; see `fastconv.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int); None is kernel_size
    padding : int or (int, int), at most half the window
    ceil_mode : bool
    count_include_pad : bool
        Whether the divisor counts padding.
    divisor_override : int or None
        Divide by this instead.

    Notes
    -----
    x (N, C, H, W) -> y (N, C, OH, OW), OH = floor((H + 2*padding - kernel) / stride) + 1
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        op = "AvgPool2d"
        self.kernel_size = _size(op, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else _size(op, "stride", stride, 1)
        self.padding = _size(op, "padding", padding, 0)
        self.ceil_mode = check.flag(op, "ceil_mode", ceil_mode)
        self.count_include_pad = check.flag(op, "count_include_pad", count_include_pad)
        self.divisor_override = divisor_override
        if divisor_override is not None and check.integer(op, "divisor_override", divisor_override) == 0:
            raise check.ShapeError(f"{op}: divisor_override must not be 0")

    def forward(self, x: Array) -> Array:
        y = avg_pool2d(x, *self._arguments())
        self._keep(x.shape)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (shape,) = self._kept()
        return avg_pool2d_backward(grad_y, shape, *self._arguments()) if need_grad_x else None

    def _arguments(self) -> tuple[Size, Size, Size, bool, bool, int | None]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The mean of windows that are chosen to give an output of this size; see `fastconv.adaptive_avg_pool2d`.

    Parameters
    ----------
    output_size : int or (int or None, int or None)
        Height and width of y, in pixels; None is that of x.

    Notes
    -----
    x (N, C, H, W) -> y (N, C, OH, OW)
    """

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        check.output_sizes(type(self).__name__, output_size)
        self.output_size = output_size

    def forward(self, x: Array) -> Array:
        y = adaptive_avg_pool2d(x, self.output_size)
        self._keep(x.shape)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (shape,) = self._kept()
        return adaptive_avg_pool2d_backward(grad_y, shape) if need_grad_x else None

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(AdaptiveAvgPool2d):
    """The mean of each channel: `AdaptiveAvgPool2d` of size 1.

    Notes
    -----
    x (N, C, H, W) -> y (N, C, 1, 1); M. Lin, Q. Chen and S. Yan, "Network in network", ICLR 2014.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def extra_repr(self) -> str:
        return ""


class GlobalMaxPool2d(Module):
    """The largest pixel of each channel: `fastconv.max_pool2d` with a window over the whole plane.

    Notes
    -----
    x (N, C, H, W) -> y (N, C, 1, 1)
    """

    def forward(self, x: Array) -> Array:
        plane = _plane("GlobalMaxPool2d", x)
        if not self.training:
            self._saved = None
            return max_pool2d(x, plane)
        y, indices = max_pool2d(x, plane, return_indices=True)
        self._keep(indices, x.shape)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        indices, shape = self._kept()
        return max_pool2d_backward(grad_y, indices, shape) if need_grad_x else None


def _plane(op: str, x: Array) -> tuple[int, int]:
    """Height and width of an image."""
    x = check.floats(op, "x", x)
    if x.ndim not in (3, 4):
        raise check.ShapeError(f"{op}: x must have shape (N, C, H, W) or (C, H, W), got shape {x.shape}")
    height, width = x.shape[-2:]
    return height, width


def _size(op: str, name: str, value: object, least: int) -> Size:
    """An int or a pair, as it was given, once it is known to be fit."""
    size = check.size(op, name, value)
    check.pair(op, name, size, least)
    return size
