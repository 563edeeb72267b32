"""`Unfold` and `Fold`: the windows of an image as columns, and columns added up to an image."""

from __future__ import annotations

from fastconv import _validation as check
from fastconv._validation import Size
from fastconv.ops import fold, fold_backward, unfold, unfold_backward

from .module import Array, Module


class Unfold(Module):
    """What each window sees, as a column; see `fastconv.unfold`.

    Parameters
    ----------
    kernel_size, dilation, padding, stride : int or (int, int)

    Notes
    -----
    x (N, C, H, W) -> y (N, C*R*S, OH*OW), OH = floor((H + 2*padding - dilation*(R - 1) - 1) / stride) + 1
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> None:
        self.kernel_size, self.dilation, self.padding, self.stride = _window(
            "Unfold", kernel_size, dilation, padding, stride
        )

    def forward(self, x: Array) -> Array:
        y = unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)
        self._keep(x.shape)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (shape,) = self._kept()
        if not need_grad_x:
            return None
        return unfold_backward(grad_y, shape, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns added up to images, each number where `Unfold` would have read it; see `fastconv.fold`.

    Parameters
    ----------
    output_size : int or (int, int)
        Height and width of the images.
    kernel_size, dilation, padding, stride : int or (int, int)

    Notes
    -----
    x (N, C*R*S, L) -> y (N, C, H, W), where H x W is output_size and L the number of its windows
    """

    def __init__(
        self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        self.output_size = _size("Fold", "output_size", output_size, 1)
        self.kernel_size, self.dilation, self.padding, self.stride = _window(
            "Fold", kernel_size, dilation, padding, stride
        )

    def forward(self, x: Array) -> Array:
        y = fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
        self._keep(y.shape)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (shape,) = self._kept()
        grad_y = check.floats("Fold", "grad_y", grad_y)
        grad_y = check.floats_shaped("Fold", "grad_y", grad_y, "grad_y", grad_y, shape, "the shape of the output,")
        if not need_grad_x:
            return None
        return fold_backward(grad_y, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )


def _window(
    op: str, kernel_size: object, dilation: object, padding: object, stride: object
) -> tuple[Size, Size, Size, Size]:
    return (
        _size(op, "kernel_size", kernel_size, 1),
        _size(op, "dilation", dilation, 1),
        _size(op, "padding", padding, 0),
        _size(op, "stride", stride, 1),
    )


def _size(op: str, name: str, value: object, least: int) -> Size:
    """An int or a pair, as it was given, once it is known to be fit."""
    size = check.size(op, name, value)
    check.pair(op, name, size, least)
    return size
