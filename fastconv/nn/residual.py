"""Residual networks: blocks whose input also goes past their layers, and is added to what comes out.

The names of layers, and so those of `state_dict`, are torchvision's: 'layer1.0.conv1.weight' and so on.  Each ReLU is
an object of its own here, as a layer keeps what its backward needs; ReLU has no parameters, so that names stay the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastconv import _validation as check
from fastconv._validation import ShapeError

from .activation import ReLU
from .containers import Sequential
from .conv import Conv2d
from .linear import Flatten, Linear
from .module import Array, Module, positive
from .norm import BatchNorm2d
from .pooling import AdaptiveAvgPool2d


class BasicBlock(Module):
    """Two 3x3 convolutions and a shortcut: ``y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))``.

    Parameters
    ----------
    in_channels, channels : int
    stride : int
        Of the first convolution.
    dtype : float32 or float64
    rng : numpy.random.Generator or None
        What the initial weights are drawn from.

    Attributes
    ----------
    conv1, bn1, conv2, bn2 : Module
    downsample : Sequential of a 1x1 convolution and a batch norm, or None
        The shortcut; None where x has the shape of y and is added as it is.

    Notes
    -----
    x (N, in_channels, H, W) -> y (N, channels, ceil(H / stride), ceil(W / stride))

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> block = nn.BasicBlock(4, 8, stride=2)
    >>> block(np.ones((2, 4, 6, 6), np.float32)).shape
    (2, 8, 3, 3)
    >>> [name for name, _ in block.named_parameters()][-3:]
    ['downsample.0.weight', 'downsample.1.weight', 'downsample.1.bias']
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        stride = positive("BasicBlock", "stride", stride)
        options: dict[str, Any] = {"bias": False, "dtype": dtype, "rng": rng, "init": "kaiming"}
        self.conv1 = Conv2d(in_channels, channels, 3, stride, padding=1, **options)
        self.bn1 = BatchNorm2d(channels, dtype=dtype)
        self.relu1 = ReLU()
        self.conv2 = Conv2d(channels, channels, 3, padding=1, **options)
        self.bn2 = BatchNorm2d(channels, dtype=dtype)
        self.relu2 = ReLU()
        self.downsample: Sequential | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = Sequential(
                Conv2d(in_channels, channels, 1, stride, **options), BatchNorm2d(channels, dtype=dtype)
            )

    def forward(self, x: Array) -> Array:
        self._saved = None
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        shortcut = x if self.downsample is None else self.downsample(x)
        np.add(inner, shortcut, out=inner)  # bn2's result is nobody else's
        y = self.relu2(inner)
        self._keep()
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        self._kept()
        both: Any = self.relu2.backward(grad_y)  # the gradient of either summand
        grad: Any = both  # Any: a layer whose grad_x is wanted does not return None
        for layer in (self.bn2, self.conv2, self.relu1, self.bn1):
            grad = layer.backward(grad)
        grad = self.conv1.backward(grad, need_grad_x=need_grad_x)
        if self.downsample is not None:
            both = self.downsample.backward(both, need_grad_x=need_grad_x)
        return np.add(grad, both, out=grad) if need_grad_x else None


class ResNet(Module):
    """A residual network for small images: a 3x3 convolution, stages of basic blocks, the mean of each channel.

    From one stage to the next, height and width are halved; the layers have torchvision's names, up to `layer4`.

    Parameters
    ----------
    blocks : sequence of int
        Basic blocks of each stage; one to four stages.
    channels : sequence of int
        Channels of each stage.
    in_channels : int
        Of the images.
    num_classes : int
    dtype : float32 or float64
    rng : numpy.random.Generator or None
        What the initial weights are drawn from.

    Notes
    -----
    x (N, in_channels, H, W) -> scores (N, num_classes), for images of any size.

    References
    ----------
    He et al., as for `BasicBlock`: section 4.2, with 1x1 convolutions as shortcuts where the shape changes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.ResNet((1, 1), (8, 16), in_channels=1, rng=np.random.default_rng(0))
    >>> model(np.ones((2, 1, 28, 28), np.float32)).shape
    (2, 10)
    >>> sum(parameter.size for parameter in model.parameters())
    5122
    >>> list(model.state_dict())[6:8]
    ['layer1.0.conv1.weight', 'layer1.0.bn1.weight']
    """

    def __init__(
        self,
        blocks: Sequence[int] = (1, 1, 1),
        channels: Sequence[int] = (16, 32, 64),
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        blocks, channels = _counts("blocks", blocks), _counts("channels", channels)
        if not 1 <= len(blocks) <= 4 or len(blocks) != len(channels):
            raise ShapeError(
                f"ResNet: blocks and channels must be one to four numbers each, as many of one as of the other, "
                f"got blocks={check.describe(blocks)} and channels={check.describe(channels)}"
            )
        self.conv1 = Conv2d(in_channels, channels[0], 3, padding=1, bias=False, dtype=dtype, rng=rng, init="kaiming")
        self.bn1 = BatchNorm2d(channels[0], dtype=dtype)
        self.relu = ReLU()
        before = channels[0]
        for stage, (count, width) in enumerate(zip(blocks, channels, strict=True)):
            layers = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(BasicBlock(before, width, stride, dtype=dtype, rng=rng))
                before = width
            setattr(self, f"layer{stage + 1}", Sequential(*layers))
        self.avgpool = AdaptiveAvgPool2d(1)
        self.flatten = Flatten()
        self.fc = Linear(before, num_classes, dtype=dtype, rng=rng)

    def forward(self, x: Array) -> Array:
        self._saved = None
        for layer in self.children():  # in the order in which they were assigned
            x = layer(x)
        self._keep()
        return x

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        self._kept()
        grad: Any = grad_y
        for layer in reversed(list(self.children())):
            grad = layer.backward(grad, need_grad_x=need_grad_x or layer is not self.conv1)
        return grad if need_grad_x else None


def _counts(name: str, value: object) -> tuple[int, ...]:
    """Numbers of at least 1."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"ResNet: {name} must be a sequence of ints, got {check.describe(value)}")
    return tuple(positive("ResNet", f"{name}[{i}]", one) for i, one in enumerate(value))
