"""`Conv2d` and `ConvTranspose2d`: banks of learned filters over a batch of images, to smaller images or to larger."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from fastconv import _validation as check
from fastconv._validation import ShapeError, Size
from fastconv.ops import conv2d, conv2d_backward, conv_transpose2d, conv_transpose2d_backward

from .init import Init, check_init, initialise
from .module import Array, Module, Parameter, float_dtype, positive


class Conv2d(Module):
    """2-D convolution (cross-correlation) with trained weights; see `fastconv.conv2d` for the formula.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
        Filter height and width, in pixels.
    stride, dilation : int or (int, int)
    padding : int, (int, int), 'same' or 'valid'
    groups : int
        Divides both numbers of channels.
    bias : bool
    padding_mode : 'zeros'
        What lies outside of the image; nothing else is supported.
    dtype : float32 or float64
    rng : numpy.random.Generator or None
        What the initial weights are drawn from.
    init : str or a number
        'default', 'glorot', 'kaiming', ...: see `fastconv.nn.init`.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels // groups, R, S)
    bias : Parameter, shape (out_channels,), or None

    Notes
    -----
    x (N, in_channels, H, W) -> y (N, out_channels, OH, OW),
    OH = floor((H + 2*padding - dilation*(R - 1) - 1) / stride) + 1

    Raises
    ------
    ShapeError, TypeError
        If an argument is out of range or of the wrong type; in forward, if x does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Init = "default",
    ) -> None:
        op = "Conv2d"
        self.in_channels = positive(op, "in_channels", in_channels)
        self.out_channels = positive(op, "out_channels", out_channels)
        self.kernel_size = check.pair(op, "kernel_size", check.size(op, "kernel_size", kernel_size), 1)
        self.stride = check.pair(op, "stride", check.size(op, "stride", stride), 1)
        self.padding = _padding(op, padding, self.stride)
        self.dilation = check.pair(op, "dilation", check.size(op, "dilation", dilation), 1)
        self.groups = positive(op, "groups", groups)
        _check_groups(op, self.groups, self.in_channels, self.out_channels)
        self.padding_mode = check.one_of(op, "padding_mode", padding_mode, ("zeros",))
        self.init = check_init(op, init)
        kind = float_dtype(op, dtype)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        check.fits(op, "weight", shape)
        self.weight = Parameter.empty(shape, kind)
        self.bias = Parameter.empty((self.out_channels,), kind) if check.flag(op, "bias", bias) else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the weights anew."""
        taps = self.kernel_size[0] * self.kernel_size[1]
        fan_in = self.in_channels // self.groups * taps
        fan_out = self.out_channels // self.groups * taps
        initialise(self.weight, self.bias, self.init, fan_in, fan_out, check.generator("Conv2d", rng))

    def forward(self, x: Array) -> Array:
        bias = None if self.bias is None else self.bias.data
        y = conv2d(x, self.weight.data, bias, self.stride, self.padding, self.dilation, self.groups)
        self._keep(x)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        return self._backward(grad_y, need_grad_x, None)

    def _backward(self, grad_y: Array, need_grad_x: bool, bias_grad: Array | None) -> Array | None:
        """`backward`, to which the gradient of the bias may be known already."""
        (x,) = self._kept()
        grad_x, grad_weight, grad_bias = conv2d_backward(
            grad_y,
            x,
            self.weight.data,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            need=(need_grad_x, True, self.bias is not None and bias_grad is None),
        )
        self._add_grads(grad_weight, grad_bias if bias_grad is None else bias_grad)
        return grad_x

    def _add_grads(self, grad_weight: Array | None, grad_bias: Array | None) -> None:
        self.weight.add_grad(grad_weight)
        if self.bias is not None:
            self.bias.add_grad(grad_bias)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding!r}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"


class ConvTranspose2d(Module):
    """2-D transposed convolution with trained weights, which makes images larger; see `fastconv.conv_transpose2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
        Filter height and width, in pixels.
    stride, dilation : int or (int, int)
    padding : int or (int, int)
        Rows and columns cut off the output on each side.
    output_padding : int or (int, int), smaller than stride or dilation
        Rows and columns that the output has beyond the last window.
    groups : int
        Divides both numbers of channels.
    bias : bool
    padding_mode : 'zeros'
        Nothing else is supported, as in PyTorch.
    dtype : float32 or float64
    rng : numpy.random.Generator or None
        What the initial weights are drawn from.
    init : 'default', 'glorot', 'kaiming' or a number
        See `fastconv.nn.init`; fan_in is ``out_channels // groups * R * S`` here, as in PyTorch.

    Attributes
    ----------
    weight : Parameter, shape (in_channels, out_channels // groups, R, S)
    bias : Parameter, shape (out_channels,), or None

    Notes
    -----
    x (N, in_channels, H, W) -> y (N, out_channels, OH, OW),
    OH = (H - 1)*stride - 2*padding + dilation*(R - 1) + output_padding + 1

    Raises
    ------
    ShapeError, TypeError
        If an argument is out of range or of the wrong type; in forward, if x does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1)
    >>> x = np.zeros((1, 3, 5, 5), np.float32)
    >>> layer(x).shape, layer(x, output_size=(10, 10)).shape
    ((1, 8, 9, 9), (1, 8, 10, 10))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Init = "default",
    ) -> None:
        op = "ConvTranspose2d"
        self.in_channels = positive(op, "in_channels", in_channels)
        self.out_channels = positive(op, "out_channels", out_channels)
        self.kernel_size = check.pair(op, "kernel_size", check.size(op, "kernel_size", kernel_size), 1)
        self.stride = check.pair(op, "stride", check.size(op, "stride", stride), 1)
        self.padding = check.pair(op, "padding", check.size(op, "padding", padding), 0)
        self.dilation = check.pair(op, "dilation", check.size(op, "dilation", dilation), 1)
        extra = check.size(op, "output_padding", output_padding)
        self.output_padding = check.check_output_padding(op, extra, self.stride, self.dilation)
        self.groups = positive(op, "groups", groups)
        _check_groups(op, self.groups, self.in_channels, self.out_channels)
        self.padding_mode = check.one_of(op, "padding_mode", padding_mode, ("zeros",))
        self.init = check_init(op, init)
        kind = float_dtype(op, dtype)
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        check.fits(op, "weight", shape)
        self.weight = Parameter.empty(shape, kind)
        self.bias = Parameter.empty((self.out_channels,), kind) if check.flag(op, "bias", bias) else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the weights anew."""
        taps = self.kernel_size[0] * self.kernel_size[1]
        fan_in = self.out_channels // self.groups * taps
        fan_out = self.in_channels // self.groups * taps
        initialise(self.weight, self.bias, self.init, fan_in, fan_out, check.generator("ConvTranspose2d", rng))

    def __call__(self, x: Array, output_size: tuple[int, ...] | None = None) -> Array:
        return self.forward(x, output_size)

    def forward(self, x: Array, output_size: tuple[int, ...] | None = None) -> Array:
        """output_size, (OH, OW) or the whole shape of y, says what output_padding this call shall have."""
        bias = None if self.bias is None else self.bias.data
        extra = self.output_padding if output_size is None else self._output_padding(x, output_size)
        y = conv_transpose2d(x, self.weight.data, bias, self.stride, self.padding, extra, self.groups, self.dilation)
        self._keep(x, extra)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        x, extra = self._kept()
        grad_x, grad_weight, grad_bias = conv_transpose2d_backward(
            grad_y,
            x,
            self.weight.data,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
            need=(need_grad_x, True, self.bias is not None),
        )
        self.weight.add_grad(grad_weight)
        if self.bias is not None:
            self.bias.add_grad(grad_bias)
        return grad_x

    def _output_padding(self, x: Array, output_size: object) -> tuple[int, int]:
        """What output_size leaves beyond the last window, less than a stride (as PyTorch wants it)."""
        op = "ConvTranspose2d"
        x = check.floats(op, "x", x)
        if x.ndim not in (3, 4):
            raise ShapeError(f"{op}: x must have shape (N, C, H, W) or (C, H, W), got shape {x.shape}")
        wanted = check.shape_tuple(op, "output_size", output_size, (2, x.ndim))[-2:]
        least = tuple(
            (size - 1) * s - 2 * p + d * (k - 1) + 1
            for size, s, p, d, k in zip(
                x.shape[-2:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        )
        most = tuple(size + s - 1 for size, s in zip(least, self.stride, strict=True))
        if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ShapeError(
                f"{op}: output_size must be from {least} to {most} for x of shape {x.shape}, got "
                f"{check.describe(output_size)}"
            )
        return wanted[0] - least[0], wanted[1] - least[1]

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0, 0):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"


def _check_groups(op: str, groups: int, in_channels: int, out_channels: int) -> None:
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ShapeError(f"{op}: groups must divide {name}, got groups={groups} and {name}={channels}")


def _padding(op: str, padding: object, stride: tuple[int, int]) -> tuple[int, int] | str:
    if not isinstance(padding, str):
        return check.pair(op, "padding", check.size(op, "padding", padding), 0)
    mode = check.one_of(op, "padding", padding, ("same", "valid"))
    if mode == "same" and stride != (1, 1):
        raise ShapeError(f"{op}: padding='same' needs stride 1, got stride={stride}")
    return mode
