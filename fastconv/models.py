"""The named networks, each with the recipe that it is known by.

| name | layers | parameters |
|---|---|---|
| ann | Linear(784,40) ReLU Linear(40,10), no biases | 31,760 |
| scratch | Conv(1,8,3) MaxPool2 Linear(1352,10) | 13,610 |
| keras | Conv(1,32,3) ReLU MaxPool2 Conv(32,64,3) ReLU MaxPool2 Linear(1600,128) ReLU Linear(128,10) | 225,034 |
| dropout | Conv(1,10,5) MaxPool2 ReLU Conv(10,20,5) Dropout2d MaxPool2 ReLU Linear(320,50) ReLU Dropout Linear(50,10) | 21,840 |
| cnn | Conv(1,32,3,p1) ReLU MaxPool2 Conv(32,64,3,p1) ReLU MaxPool2 Dropout(.25) Linear(3136,128) ReLU Linear(128,10) | 421,642 |
| fast | Conv(1,24,5) MaxPool2 ReLU Conv(24,32,3) MaxPool2 ReLU Linear(800,256) ReLU Linear(256,10) | 215,194 |

All take images of shape (N, 1, 28, 28) to scores of shape (N, 10), which is what the table shows.  Images of another
size, with other channels, or of more classes change the first and the last layer, and the linear one behind the
convolutions.
"""  # noqa: E501 (a table)

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastconv import _validation as check
from fastconv import nn, optim, schedules
from fastconv._validation import ShapeError
from fastconv.nn.init import Init
from fastconv.nn.module import Array

__all__ = [
    "CLASSES",
    "INPUT_SHAPE",
    "OPTIMIZERS",
    "Recipe",
    "build",
    "names",
    "parameter_count",
    "recipe",
    "resnet_small",
]

INPUT_SHAPE = (1, 28, 28)
CLASSES = 10
OPTIMIZERS: Mapping[str, type[optim.Optimizer]] = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, where nothing else is asked for.

    Attributes
    ----------
    optimizer : 'sgd', 'adam' or 'adamw', and optimizer_options for it beside the learning rate
    lr : float
        Learning rate; the highest one where a schedule changes it.
    schedule : 'constant', 'cosine' (falls to 0 over the run), 'tail' (constant, then falls to 0 over the last fifth) or
        'one-cycle' (rises, then falls to almost 0)
    loss : 'cross-entropy' or 'squared-error'
    batch_size : int
    epochs : int
    scale, offset : float
        What the network sees of a pixel of 0 .. 255 is ``pixel * scale + offset``.
    train_size : int or None
        Train on the first so many images only.
    shuffle : bool
    seed : int
    """

    optimizer: str = "adam"
    lr: float = 0.001
    schedule: str = "constant"
    loss: str = "cross-entropy"
    batch_size: int = 128
    epochs: int = 5
    scale: float = 1 / 255
    offset: float = 0.0
    train_size: int | None = None
    shuffle: bool = True
    seed: int = 0
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)

    def make_optimizer(
        self, parameters: Iterable[nn.Parameter], name: str | None = None, lr: float | None = None
    ) -> optim.Optimizer:
        """The recipe's optimiser, or another one by name with its own defaults."""
        chosen = self.optimizer if name is None else name
        if chosen not in OPTIMIZERS:
            raise ValueError(f"there is no optimiser {chosen!r}; expected one of {', '.join(OPTIMIZERS)}")
        options = self.optimizer_options if chosen == self.optimizer else {}
        kind: Callable[..., optim.Optimizer] = OPTIMIZERS[chosen]
        return kind(parameters, lr=self.lr if lr is None else lr, **options)

    def make_loss(self) -> nn.Loss:
        return nn.CrossEntropyLoss() if self.loss == "cross-entropy" else nn.OneHotSquaredError()

    def make_schedule(self, optimizer: optim.Optimizer, steps: int) -> schedules.Schedule | None:
        """The recipe's schedule for a run of so many steps; None where the learning rate stays as it is."""
        if self.schedule == "tail":
            return schedules.LinearTailLR(optimizer, steps)
        if self.schedule == "cosine":
            return schedules.CosineAnnealingLR(optimizer, steps)
        if self.schedule == "one-cycle":
            return schedules.OneCycleLR(optimizer, optimizer.lr, steps, cycle_momentum=False)
        return None


class _PassThroughReLU(nn.ReLU):
    """ReLU forward; backward passes the gradient through as if this had been the identity.

    The figures that `ann` is known for (100 % of its 1,000 training images, 70.7 % of the test images: A. Trask,
    Grokking Deep Learning, chapter 8) come from a program that takes the derivative of ReLU as ``y >= 0`` of ReLU's
    *output* y, which is true everywhere.  This layer does the same.  With `nn.ReLU` in its place the network learns its
    1,000 images as well, and has some 84 % of the test images right.
    """

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        self._kept()
        return grad_y if need_grad_x else None


class _Network(NamedTuple):
    layers: Callable[[_Maker], list[nn.Module]]
    recipe: Recipe


class _Maker:
    """Makes layers of one dtype, whose weights come from one generator; each dropout has a generator of its own.

    channels, height, width : of the images
    classes : number of scores
    """

    def __init__(
        self, rng: np.random.Generator, dtype: DTypeLike, input_shape: tuple[int, int, int], classes: int
    ) -> None:
        self._rng = rng
        self._dtype = dtype
        self.channels, self.height, self.width = input_shape
        self.classes = classes

    def left(self, *shrinks: tuple[int, int]) -> int:
        """Pixels that are left after steps that each take away some rows and columns, and then divide by a number."""
        height, width = self.height, self.width
        for less, divisor in shrinks:
            height, width = (height - less) // divisor, (width - less) // divisor
        if height < 1 or width < 1:
            raise ShapeError(f"images of {self.height} x {self.width} pixels are too small for this network")
        return height * width

    def conv(self, inputs: int, outputs: int, size: int, padding: int = 0, init: Init = "default") -> nn.Module:
        return nn.Conv2d(inputs, outputs, size, padding=padding, init=init, dtype=self._dtype, rng=self._rng)

    def linear(self, inputs: int, outputs: int, bias: bool = True, init: Init = "default") -> nn.Module:
        return nn.Linear(inputs, outputs, bias, init=init, dtype=self._dtype, rng=self._rng)

    def dropout(self, p: float) -> nn.Module:
        return nn.Dropout(p, rng=self._rng.spawn(1)[0])

    def dropout2d(self, p: float) -> nn.Module:
        return nn.Dropout2d(p, rng=self._rng.spawn(1)[0])


class _Counter(_Maker):
    """Counts the numbers in the parameters of layers instead of making them."""

    count = 0

    def conv(self, inputs: int, outputs: int, size: int, padding: int = 0, init: Init = "default") -> nn.Module:
        self.count += (inputs * size * size + 1) * outputs
        return nn.ReLU()

    def linear(self, inputs: int, outputs: int, bias: bool = True, init: Init = "default") -> nn.Module:
        self.count += (inputs + bias) * outputs
        return nn.ReLU()


def _ann(make: _Maker) -> list[nn.Module]:
    return [
        nn.Flatten(),
        make.linear(make.channels * make.left(), 40, bias=False, init=0.1),
        _PassThroughReLU(),
        make.linear(40, make.classes, bias=False, init=0.1),
    ]


def _scratch(make: _Maker) -> list[nn.Module]:
    return [
        make.conv(make.channels, 8, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        make.linear(8 * make.left((2, 2)), make.classes),
    ]


def _keras(make: _Maker) -> list[nn.Module]:
    return [
        make.conv(make.channels, 32, 3, init="glorot"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        make.conv(32, 64, 3, init="glorot"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        make.linear(64 * make.left((2, 2), (2, 2)), 128, init="glorot"),
        nn.ReLU(),
        make.linear(128, make.classes, init="glorot"),
    ]


def _dropout(make: _Maker) -> list[nn.Module]:
    return [
        make.conv(make.channels, 10, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        make.conv(10, 20, 5),
        make.dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        make.linear(20 * make.left((4, 2), (4, 2)), 50),
        nn.ReLU(),
        make.dropout(0.5),
        make.linear(50, make.classes),
    ]


def _cnn(make: _Maker) -> list[nn.Module]:
    # Weights and schedule were chosen by training on 50,000 of MNIST's training images and testing on the other 10,000.
    return [
        make.conv(make.channels, 32, 3, padding=1, init="kaiming"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        make.conv(32, 64, 3, padding=1, init="kaiming"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        make.dropout(0.25),
        nn.Flatten(),
        make.linear(64 * make.left((0, 2), (0, 2)), 128, init="kaiming"),
        nn.ReLU(),
        make.linear(128, make.classes, init="kaiming"),
    ]


def _fast(make: _Maker) -> list[nn.Module]:
    return [
        make.conv(make.channels, 24, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        make.conv(24, 32, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        make.linear(32 * make.left((4, 2), (2, 2)), 256),
        nn.ReLU(),
        make.linear(256, make.classes),
    ]


_MEAN, _SD = 0.1307, 0.3081  # of MNIST's training pixels, divided by 255

_NETWORKS = {
    "ann": _Network(
        _ann,
        Recipe(
            optimizer="sgd",
            lr=0.005,
            loss="squared-error",
            batch_size=1,
            epochs=350,
            train_size=1000,
            shuffle=False,
            schedule="tail",
            seed=1,
        ),
    ),
    "scratch": _Network(_scratch, Recipe(optimizer="sgd", lr=0.005, batch_size=1, epochs=3, offset=-0.5)),
    "keras": _Network(_keras, Recipe(epochs=12)),
    "dropout": _Network(_dropout, Recipe(batch_size=100, epochs=10)),
    "cnn": _Network(_cnn, Recipe(schedule="tail")),
    "fast": _Network(
        _fast,
        Recipe(
            lr=0.01,
            optimizer_options={"betas": (0.7, 0.9)},
            schedule="one-cycle",
            batch_size=256,
            epochs=1,
            scale=1 / (255 * _SD),
            offset=-_MEAN / _SD,
        ),
    ),
}


def names() -> tuple[str, ...]:
    """The names of the networks."""
    return tuple(_NETWORKS)


def build(
    name: str,
    rng: np.random.Generator | int | None = None,
    dtype: DTypeLike = np.float32,
    input_shape: tuple[int, ...] = INPUT_SHAPE,
    classes: int = CLASSES,
) -> nn.Sequential:
    """Make a network, with fresh weights.

    Parameters
    ----------
    name : str
        One of `names()`.
    rng : numpy.random.Generator, seed, or None
        Draws the initial weights; each dropout layer gets a generator that is spawned from it.
    dtype : float32 or float64
    input_shape : (C, H, W)
        Of an image.
    classes : int
        Number of scores.

    Returns
    -------
    model : Sequential, in training mode
        x (N, C, H, W) -> y (N, classes)

    Raises
    ------
    ValueError
        If there is no network of that name.
    ShapeError
        If the images are too small for it, or an extent is less than 1.

    Examples
    --------
    >>> from fastconv import models
    >>> models.build("cnn", rng=0, input_shape=(3, 32, 32), classes=100)[8]
    Linear(in_features=4096, out_features=128, bias=True)
    """
    shape, classes = _sizes(input_shape, classes)
    return nn.Sequential(*_network(name).layers(_Maker(np.random.default_rng(rng), dtype, shape, classes)))


def parameter_count(name: str, input_shape: tuple[int, ...] = INPUT_SHAPE, classes: int = CLASSES) -> int:
    """How many numbers the parameters of `build` would hold, without making them; errors as there.

    Examples
    --------
    >>> from fastconv import models
    >>> models.parameter_count("cnn")
    421642
    """
    shape, classes = _sizes(input_shape, classes)
    counter = _Counter(np.random.default_rng(0), np.float32, shape, classes)
    _network(name).layers(counter)
    return counter.count


def _sizes(input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, int, int], int]:
    channels, height, width = check.shape_tuple("build", "input_shape", input_shape, (3,))
    classes = check.integer("build", "classes", classes)
    if min(channels, height, width, classes) < 1:
        raise ShapeError(f"build: images and classes must be at least 1, got {tuple(input_shape)} and {classes}")
    return (channels, height, width), classes


def resnet_small(
    in_channels: int = 1,
    num_classes: int = CLASSES,
    rng: np.random.Generator | int | None = None,
    dtype: DTypeLike = np.float32,
) -> nn.ResNet:
    """A residual network for small images: three stages of one block, of 16, 32 and 64 channels.

    Parameters
    ----------
    in_channels, num_classes : int
    rng : numpy.random.Generator, seed, or None
        Draws the initial weights.
    dtype : float32 or float64

    Returns
    -------
    model : nn.ResNet, in training mode
        x (N, in_channels, H, W) -> y (N, num_classes)

    Examples
    --------
    >>> from fastconv import models
    >>> model = models.resnet_small(rng=0)
    >>> sum(parameter.size for parameter in model.parameters())
    77754
    """
    return nn.ResNet((1, 1, 1), (16, 32, 64), in_channels, num_classes, dtype=dtype, rng=np.random.default_rng(rng))


def recipe(name: str) -> Recipe:
    """How the network of that name is trained by default."""
    return _network(name).recipe


def _network(name: str) -> _Network:
    if not isinstance(name, str):
        raise TypeError(f"the name of a network must be a str, got {name!r:.60}")
    if name not in _NETWORKS:
        raise ShapeError(f"there is no network {name!r}; expected one of {', '.join(_NETWORKS)}")
    return _NETWORKS[name]
