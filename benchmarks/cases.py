"""The cases that every benchmark draws from, as data.

`TABLE` is what side_by_side.py times: the convolutions of the six named networks (`fastconv.models`) at their batch
sizes, layers of ResNet-50 at batch 8, batches of one, depthwise, grouped and dilated convolutions, and pools.
`OTHERS` is what it times with --others: linear layers and steps of the optimisers.
`CONVS`, `MAX_POOLS`, `AVG_POOLS`, `LINEARS` ... are what bench_<op>.py goes through.

A label reads N x C x H x W -> K, kernel size, stride, padding, dilation, groups: ``8x3x224x224->64 k7s2p3``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Conv:
    """One convolution: square kernels, the same stride, padding and dilation along both axes."""

    name: str
    N: int
    C: int
    H: int
    W: int
    K: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = False

    passes: ClassVar[tuple[str, ...]] = ("forward", "grad_x", "grad_weight")

    @property
    def x_shape(self) -> Shape:
        return self.N, self.C, self.H, self.W

    @property
    def weight_shape(self) -> Shape:
        return self.K, self.C // self.groups, self.kernel, self.kernel

    @property
    def y_shape(self) -> Shape:
        reach = self.dilation * (self.kernel - 1) + 1
        OH, OW = ((size + 2 * self.padding - reach) // self.stride + 1 for size in (self.H, self.W))
        return self.N, self.K, OH, OW

    @property
    def label(self) -> str:
        return f"{_by(self.x_shape)}->{self.K} {_window(self)}"

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """stride, padding, dilation, groups: the arguments of conv2d after the bias."""
        return self.stride, self.padding, self.dilation, self.groups

    def draw(self) -> tuple[Array, Array, Array | None, Array]:
        """x, weight, bias (None where the layer has none) and grad_y: the same numbers in every process."""
        rng = np.random.default_rng(0)
        x, weight, grad_y = (normal(rng, shape) for shape in (self.x_shape, self.weight_shape, self.y_shape))
        weight /= np.float32(np.sqrt(weight[0].size))
        return x, weight, normal(rng, (self.K,)) if self.bias else None, grad_y


@dataclass(frozen=True)
class Pool:
    """One max or average pool over square windows."""

    name: str
    kind: str  # 'max' or 'avg'
    N: int
    C: int
    H: int
    W: int
    kernel: int
    stride: int
    padding: int = 0

    passes: ClassVar[tuple[str, ...]] = ("forward", "backward")

    @property
    def x_shape(self) -> Shape:
        return self.N, self.C, self.H, self.W

    @property
    def y_shape(self) -> Shape:
        OH, OW = ((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in (self.H, self.W))
        return self.N, self.C, OH, OW

    @property
    def label(self) -> str:
        return f"{_by(self.x_shape)} {_window(self)}"

    def draw(self) -> tuple[Array, Array]:
        """x and grad_y: the same numbers in every process."""
        rng = np.random.default_rng(0)
        return normal(rng, self.x_shape), normal(rng, self.y_shape)


@dataclass(frozen=True)
class Linear:
    """One fully connected layer: x (N, inputs) to y (N, outputs)."""

    name: str
    N: int
    inputs: int
    outputs: int
    bias: bool = True

    passes: ClassVar[tuple[str, ...]] = ("forward", "grad_x", "grad_weight")

    @property
    def x_shape(self) -> Shape:
        return self.N, self.inputs

    @property
    def y_shape(self) -> Shape:
        return self.N, self.outputs

    @property
    def label(self) -> str:
        return f"{self.N}x{self.inputs}->{self.outputs}"

    def draw(self) -> tuple[Array, Array, Array | None, Array]:
        """x, weight, bias and grad_y."""
        rng = np.random.default_rng(0)
        shapes = (self.N, self.inputs), (self.outputs, self.inputs), (self.N, self.outputs)
        x, weight, grad_y = (normal(rng, shape) for shape in shapes)
        return x, weight, normal(rng, (self.outputs,)) if self.bias else None, grad_y


@dataclass(frozen=True)
class Elements:
    """One array, for what is done element by element or row by row."""

    name: str
    shape: Shape

    @property
    def label(self) -> str:
        return _by(self.shape)

    def draw(self) -> tuple[Array, Array]:
        """x and grad_y."""
        rng = np.random.default_rng(0)
        return normal(rng, self.shape), normal(rng, self.shape)


@dataclass(frozen=True)
class Update:
    """One step of an optimiser over all parameters of a network."""

    optimizer: str  # 'sgd', with momentum, or 'adam'
    network: str

    passes: ClassVar[tuple[str, ...]] = ("step",)

    @property
    def name(self) -> str:
        return f"optimiser.{self.optimizer}"

    @property
    def label(self) -> str:
        return f"{self.network}: {sum(int(np.prod(shape)) for shape in PARAMETERS[self.network])} parameters"

    @property
    def options(self) -> dict[str, float]:
        """What the optimiser is made with, in fastconv and in PyTorch."""
        return {"sgd": {"lr": 0.005, "momentum": 0.9}, "adam": {"lr": 0.001}}[self.optimizer]

    def draw(self) -> tuple[list[Array], list[Array]]:
        """The parameters and their gradients."""
        rng = np.random.default_rng(0)
        shapes = PARAMETERS[self.network]
        return [normal(rng, shape) for shape in shapes], [normal(rng, shape) for shape in shapes]


Case: TypeAlias = Conv | Pool | Linear | Update


def normal(rng: np.random.Generator, shape: Shape) -> Array:
    """Standard normal float32 numbers."""
    return rng.standard_normal(shape, dtype=np.float32)


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _window(case: Conv | Pool) -> str:
    text = f"k{case.kernel}"
    if case.stride != 1:
        text += f"s{case.stride}"
    if case.padding:
        text += f"p{case.padding}"
    if isinstance(case, Conv):
        text += f" d{case.dilation}" if case.dilation != 1 else ""
        text += f" g{case.groups}" if case.groups != 1 else ""
    return text


# -- convolutions ------------------------------------------------------------------------------------------------------

NETWORK_CONVS = (
    Conv("scratch.conv", 64, 1, 28, 28, 8, 3, bias=True),
    Conv("keras.conv1", 128, 1, 28, 28, 32, 3, bias=True),
    Conv("keras.conv2", 128, 32, 13, 13, 64, 3, bias=True),
    Conv("dropout.conv1", 100, 1, 28, 28, 10, 5, bias=True),
    Conv("dropout.conv2", 100, 10, 12, 12, 20, 5, bias=True),
    Conv("cnn.conv1", 128, 1, 28, 28, 32, 3, padding=1, bias=True),
    Conv("cnn.conv2", 128, 32, 14, 14, 64, 3, padding=1, bias=True),
    Conv("fast.conv1", 256, 1, 28, 28, 24, 5, bias=True),
    Conv("fast.conv2", 256, 24, 12, 12, 32, 3, bias=True),
    Conv("one-image", 1, 1, 28, 28, 8, 3, bias=True),
)

RESNET_CONVS = (
    Conv("resnet.stem", 8, 3, 224, 224, 64, 7, stride=2, padding=3),
    Conv("resnet.64@56", 8, 64, 56, 56, 64, 3, padding=1),
    Conv("resnet.128@28", 8, 128, 28, 28, 128, 3, padding=1),
    Conv("resnet.256@14", 8, 256, 14, 14, 256, 3, padding=1),
    Conv("resnet.512@7", 8, 512, 7, 7, 512, 3, padding=1),
    Conv("resnet.128@56s2", 8, 128, 56, 56, 128, 3, stride=2, padding=1),
    Conv("resnet.256-64@56", 8, 256, 56, 56, 64, 1),
    Conv("resnet.64-256@56", 8, 64, 56, 56, 256, 1),
    Conv("resnet.256-512@56s2", 8, 256, 56, 56, 512, 1, stride=2),
    Conv("resnet.1024-256@14", 8, 1024, 14, 14, 256, 1),
)

OTHER_CONVS = (
    Conv("cifar.3-64@32", 64, 3, 32, 32, 64, 3, padding=1),
    Conv("batch1.64@56", 1, 64, 56, 56, 64, 3, padding=1),
    Conv("batch1.256@14", 1, 256, 14, 14, 256, 3, padding=1),
    Conv("depthwise.144@56", 8, 144, 56, 56, 144, 3, padding=1, groups=144),
    Conv("depthwise.144@56s2", 8, 144, 56, 56, 144, 3, stride=2, padding=1, groups=144),
    Conv("grouped.128@28", 8, 128, 28, 28, 128, 3, padding=1, groups=32),
    Conv("dilated.256@28", 4, 256, 28, 28, 256, 3, padding=2, dilation=2),
)

CONVS = NETWORK_CONVS + RESNET_CONVS + OTHER_CONVS

# -- pools -------------------------------------------------------------------------------------------------------------

TABLE_POOLS = tuple(
    Pool(f"{kind}-pool.{name}", kind, *sizes)
    for kind in ("max", "avg")
    for name, sizes in {
        "cnn.pool1": (128, 32, 28, 28, 2, 2),
        "cnn.pool2": (128, 64, 14, 14, 2, 2),
        "resnet.stem": (8, 64, 112, 112, 3, 2, 1),
        "alexnet.96@54": (64, 96, 54, 54, 3, 2),
    }.items()
)

NETWORK_POOLS = (
    Pool("max-pool.scratch", "max", 64, 8, 26, 26, 2, 2),
    Pool("max-pool.keras.pool1", "max", 128, 32, 26, 26, 2, 2),
    Pool("max-pool.keras.pool2", "max", 128, 64, 11, 11, 2, 2),
    Pool("max-pool.dropout.pool1", "max", 100, 10, 24, 24, 2, 2),
    Pool("max-pool.dropout.pool2", "max", 100, 20, 8, 8, 2, 2),
    Pool("max-pool.fast.pool1", "max", 256, 24, 24, 24, 2, 2),
    Pool("max-pool.fast.pool2", "max", 256, 32, 10, 10, 2, 2),
)

MAX_POOLS = NETWORK_POOLS + tuple(pool for pool in TABLE_POOLS if pool.kind == "max")
AVG_POOLS = tuple(pool for pool in TABLE_POOLS if pool.kind == "avg")

TABLE: tuple[Case, ...] = CONVS + TABLE_POOLS

# -- the rest ----------------------------------------------------------------------------------------------------------

LINEARS = (
    Linear("ann.1", 1, 784, 40, bias=False),
    Linear("ann.2", 1, 40, 10, bias=False),
    Linear("scratch", 64, 1352, 10),
    Linear("keras.1", 128, 1600, 128),
    Linear("keras.2", 128, 128, 10),
    Linear("dropout.1", 100, 320, 50),
    Linear("dropout.2", 100, 50, 10),
    Linear("cnn.1", 128, 3136, 128),
    Linear("cnn.2", 128, 128, 10),
    Linear("fast.1", 256, 800, 256),
    Linear("fast.2", 256, 256, 10),
    Linear("resnet", 8, 2048, 1000),
)

RELUS = (
    Elements("keras.1", (128, 32, 26, 26)),
    Elements("cnn.1", (128, 32, 28, 28)),
    Elements("cnn.2", (128, 64, 14, 14)),
    Elements("cnn.3", (128, 128)),
    Elements("fast.1", (256, 24, 12, 12)),
    Elements("resnet.64@56", (8, 64, 56, 56)),
    Elements("resnet.256@56", (8, 256, 56, 56)),
)

SCORES = (Elements("cnn", (128, 10)), Elements("fast", (256, 10)), Elements("resnet", (8, 1000)))
DROPOUTS = (Elements("cnn", (128, 64, 7, 7)), Elements("dropout", (100, 50)), Elements("large", (128, 32, 28, 28)))
DROPOUTS_2D = (Elements("dropout", (100, 20, 8, 8)), Elements("large", (128, 32, 28, 28)))

BATCH_NORMS = (Elements("resnet", (32, 64, 56, 56)), Elements("small", (128, 32, 14, 14)))
ADAPTIVE_POOLS = (  # and the output size
    (Elements("resnet", (32, 512, 7, 7)), 1),
    (Elements("even", (32, 64, 56, 56)), 7),
    (Elements("uneven", (32, 64, 56, 56)), 5),
)

# Shapes of the parameters of the networks, in the order of their layers.
PARAMETERS: dict[str, tuple[Shape, ...]] = {
    "ann": ((40, 784), (10, 40)),
    "scratch": ((8, 1, 3, 3), (8,), (10, 1352), (10,)),
    "keras": ((32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 1600), (128,), (10, 128), (10,)),
    "dropout": ((10, 1, 5, 5), (10,), (20, 10, 5, 5), (20,), (50, 320), (50,), (10, 50), (10,)),
    "cnn": ((32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 3136), (128,), (10, 128), (10,)),
    "fast": ((24, 1, 5, 5), (24,), (32, 24, 3, 3), (32,), (256, 800), (256,), (10, 256), (10,)),
    "resnet": ((512, 512, 3, 3),),
}

OTHERS: tuple[Case, ...] = (
    *(replace(case, name=f"linear.{case.name}") for case in LINEARS),
    *(Update(optimizer, "cnn") for optimizer in ("sgd", "adam")),
)
