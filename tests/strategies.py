"""Problems to test with: random ones for hypothesis, and the layers of known networks.

A case is a small frozen record that prints as the call that it stands for; its arrays are drawn from a seeded
generator, so that a failing example is short to read and to repeat.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

# -- numbers and memory layouts ----------------------------------------------------------------------------------------

# integers: sums are exact in any order.  positive: nothing cancels, so roundings add up.  wide: nine decades.
DATA = ("normal", "integers", "positive", "wide")


def numbers(rng, shape, dtype, data="normal"):
    """An array of `shape` in `dtype`."""
    if data == "integers":
        values = rng.integers(-4, 5, shape)
    elif data == "positive":
        values = rng.random(shape)
    elif data == "wide":
        values = rng.standard_normal(shape) * 2.0 ** rng.uniform(-15, 15, shape)
    else:
        values = rng.standard_normal(shape)
    return np.asarray(values, dtype)


LAYOUTS = ("C", "fortran", "reversed", "sliced", "channels_last", "transposed", "misaligned", "readonly")


def lay_out(x, layout):
    """An array equal to `x` that lies in memory in another way."""
    if x.ndim == 0:
        layout = layout if layout in ("misaligned", "readonly") else "C"  # the others are about axes
    if layout == "fortran":
        out = np.asfortranarray(x)
    elif layout == "reversed":
        everywhere = (slice(None, None, -1),) * x.ndim
        out = np.ascontiguousarray(x[everywhere])[everywhere]
    elif layout == "sliced":
        big = np.full([2 * n + 1 for n in x.shape], 77, x.dtype)
        out = big[tuple(slice(1, None, 2) for _ in x.shape)]
        out[...] = x
    elif layout == "channels_last":
        axis = max(x.ndim - 3, 0)
        out = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, axis, -1)), -1, axis)
    elif layout == "transposed":
        last = x.ndim - 1
        out = np.swapaxes(np.ascontiguousarray(np.swapaxes(x, max(last - 1, 0), last)), max(last - 1, 0), last)
    elif layout == "misaligned":
        buffer = np.zeros(x.nbytes + 1, np.uint8)
        out = buffer[1:].view(x.dtype).reshape(x.shape)
        out[...] = x
    else:
        out = x.copy()
    if layout == "readonly":
        out.flags.writeable = False
    np.testing.assert_array_equal(out, x)
    return out


layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**32 - 1)


def one_or_pair(draw, values):
    """A size argument: one number for both axes, or a pair."""
    return draw(values) if draw(st.booleans()) else (draw(values), draw(values))


def _both(size):
    return size if isinstance(size, tuple) else (size, size)


def fitting_size(out, kernel, stride, padding, dilation, extra):
    """An input size that gives about `out` outputs: exactly so unless the padding alone holds the window."""
    return max(1, (out - 1) * stride + dilation * (kernel - 1) + 1 - padding + extra)


# -- convolution -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvCase:
    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    bias: bool = True
    batched: bool = True
    data: str = "normal"
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def products(self) -> int:
        """How many products an output is the sum of (the bias counts as one)."""
        return self.C // self.groups * self.R * self.S + 1

    def arrays(self, dtype):
        """(x, weight, bias); bias is None without one."""
        rng = np.random.default_rng(self.seed)
        x = numbers(rng, (self.N, self.C, self.H, self.W), dtype, self.data)
        weight = numbers(rng, (self.K, self.C // self.groups, self.R, self.S), dtype, self.data)
        bias = numbers(rng, self.K, dtype, self.data) if self.bias else None
        return x, weight, bias

    def grad_y(self, shape, dtype):
        return numbers(np.random.default_rng(self.seed + 1), shape, dtype, self.data)


@st.composite
def conv_cases(draw, work=100_000):
    """Random convolutions of about `work` products at most."""
    R, S = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if draw(st.booleans()):
        S = R
    dilation = one_or_pair(draw, st.integers(1, 3))
    padding = draw(st.one_of(st.just("same"), st.just("valid"), st.integers(0, 4), st.tuples(*[st.integers(0, 4)] * 2)))
    stride = 1 if padding == "same" else one_or_pair(draw, st.integers(1, 4))
    work //= R * S
    OW = draw(st.integers(1, max(1, min(60, work))))
    OH = draw(st.integers(1, max(1, min(8, work // OW))))
    work //= OH * OW
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 8]))
    cg = 1 if draw(st.booleans()) and groups > 1 else draw(st.integers(1, max(1, min(40 // groups, work))))
    work //= cg * groups
    kg = draw(st.integers(1, max(1, min(70 // groups, work))))
    N = draw(st.integers(0, max(1, min(3, work // kg))))

    sizes, pads = [], _both(0 if padding == "valid" else padding)
    for out, kernel, s, d, pad in zip((OH, OW), (R, S), _both(stride), _both(dilation), pads, strict=True):
        padded = d * (kernel - 1) if pad == "same" else 2 * pad
        sizes.append(fitting_size(out, kernel, s, padded, d, draw(st.integers(0, s - 1))))
    return ConvCase(
        N,
        cg * groups,
        *sizes,
        kg * groups,
        R,
        S,
        stride,
        padding,
        dilation,
        groups,
        bias=draw(st.booleans()),
        batched=N != 1 or draw(st.booleans()),
        data=draw(st.sampled_from(DATA)),
        seed=draw(seeds),
    )


def _layer(name, N, C, size, K, kernel, **options):
    return name, ConvCase(N, C, size, size, K, kernel, kernel, **options)


# The convolutions of the six named networks (DESIGN section 7), with enough images for two threads.
NETWORK_LAYERS = [
    _layer("scratch", 4, 1, 28, 8, 3),
    _layer("keras-1", 3, 1, 28, 32, 3),
    _layer("keras-2", 3, 32, 13, 64, 3),
    _layer("dropout-1", 3, 1, 28, 10, 5),
    _layer("dropout-2", 3, 10, 12, 20, 5),
    _layer("cnn-1", 3, 1, 28, 32, 3, padding=1),
    _layer("cnn-2", 3, 32, 14, 64, 3, padding=1),
    _layer("fast-1", 3, 1, 28, 24, 5),
    _layer("fast-2", 3, 24, 12, 32, 3),
]
# ResNet-50's, with smaller images where the channels are few, and some that other networks are known for.
RESNET_LAYERS = [
    _layer("resnet-stem", 1, 3, 64, 64, 7, stride=2, padding=3),
    _layer("resnet-64-1x1", 1, 64, 28, 64, 1),
    _layer("resnet-64-3x3", 1, 64, 28, 64, 3, padding=1),
    _layer("resnet-64-256-1x1", 2, 64, 14, 256, 1),
    _layer("resnet-128-3x3-s2", 1, 128, 28, 128, 3, stride=2, padding=1),
    _layer("resnet-256-512-1x1-s2", 1, 256, 14, 512, 1, stride=2),
    _layer("resnet-256-3x3", 1, 256, 7, 256, 3, padding=1),
    _layer("resnet-2048-512-1x1", 1, 2048, 4, 512, 1),
    _layer("mobilenet-depthwise", 2, 48, 28, 48, 3, padding=1, groups=48),
    _layer("mobilenet-depthwise-s2", 2, 48, 28, 48, 3, stride=2, padding=1, groups=48),
    _layer("resnext-grouped", 2, 64, 14, 64, 3, padding=1, groups=8),
    _layer("alexnet-stem", 1, 3, 63, 24, 11, stride=4, padding=2),
    _layer("dilated", 2, 16, 24, 24, 3, padding="same", dilation=2),
    _layer("even-same", 2, 12, 20, 18, 4, padding="same"),
]
# 3x3 with stride 1 and enough channels for Winograd, in sizes that fill no tile, no band and no vector.
WINOGRAD_LAYERS = [
    ("3x3-odd", ConvCase(3, 19, 11, 9, 37, 3, 3, padding=1)),
    ("3x3-least", ConvCase(2, 16, 8, 8, 16, 3, 3)),
    ("3x3-padding-2", ConvCase(3, 20, 9, 10, 18, 3, 3, padding=2)),
    ("3x3-one-side", ConvCase(2, 17, 12, 9, 33, 3, 3, padding=(0, 1))),
    ("3x3-same", ConvCase(2, 33, 7, 13, 17, 3, 3, padding="same")),
    ("3x3-groups", ConvCase(2, 48, 10, 11, 34, 3, 3, padding=1, groups=2)),
    ("3x3-dilated", ConvCase(2, 20, 13, 12, 21, 3, 3, padding=2, dilation=2)),
    ("3x3-strided", ConvCase(2, 20, 13, 12, 21, 3, 3, stride=(1, 2), padding=1)),
    ("3x3-wide", ConvCase(1, 16, 3, 150, 20, 3, 3, padding=1)),
    ("3x3-tall", ConvCase(1, 20, 150, 3, 16, 3, 3, padding=1)),
    ("3x3-many-small", ConvCase(40, 16, 6, 6, 24, 3, 3, padding=1)),
    ("3x3-many-weights", ConvCase(2, 165, 9, 11, 170, 3, 3, padding=1)),
    ("3x3-dilated-phases", ConvCase(2, 20, 16, 18, 21, 3, 3, padding=2, dilation=2)),
    ("3x3-dilated-2-3", ConvCase(1, 17, 16, 21, 20, 3, 3, padding=(0, 3), dilation=(2, 3))),
]
LAYERS = NETWORK_LAYERS + RESNET_LAYERS + WINOGRAD_LAYERS


# -- pooling -----------------------------------------------------------------------------------------------------------

# ties: few distinct values.  special: NaN and infinities.  minus_inf: windows that hold nothing else.
POOL_DATA = ("normal", "ties", "special", "minus_inf")


@dataclass(frozen=True)
class PoolCase:
    N: int
    C: int
    H: int
    W: int
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False
    batched: bool = True
    data: str = "normal"
    seed: int = 0
    count_include_pad: bool = True
    divisor_override: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of an average pool after kernel_size."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
        }

    @property
    def max_options(self) -> dict[str, Any]:
        """The arguments of a max pool after kernel_size."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.N, self.C, self.H, self.W) if self.batched else (self.C, self.H, self.W)

    def x(self, dtype):
        rng = np.random.default_rng(self.seed)
        if self.data in DATA:
            return numbers(rng, self.shape, dtype, self.data)
        x = rng.integers(-1, 2, self.shape).astype(dtype)
        if self.data == "special":
            special = rng.choice(np.array([np.nan, np.inf, -np.inf], dtype), self.shape)
            return np.where(rng.random(self.shape) < 0.3, special, x)
        if self.data == "minus_inf":
            x[rng.random(self.shape) < 0.9] = -np.inf
        return x

    def grad_y(self, shape, dtype):
        return numbers(np.random.default_rng(self.seed + 1), shape, dtype)


@st.composite
def pool_cases(draw, data=DATA, dilated=False, largest=8):
    """Random pools: overlapping or apart, padded up to half the window, with and without ceil_mode."""
    kernel_size = one_or_pair(draw, st.integers(1, largest))
    stride = draw(st.none()) if draw(st.booleans()) else one_or_pair(draw, st.integers(1, 5))
    dilation = one_or_pair(draw, st.integers(1, 3)) if dilated and draw(st.booleans()) else 1
    ceil_mode = draw(st.booleans())
    padding, sizes = [], []
    kernels, strides = _both(kernel_size), _both(kernel_size if stride is None else stride)
    for kernel, step, d in zip(kernels, strides, _both(dilation), strict=True):
        pad = draw(st.integers(0, (d * (kernel - 1) + 1) // 2))  # half the effective kernel
        out = draw(st.integers(1, 24 if sizes else 6))
        extra = draw(st.integers(1 - step if ceil_mode else 0, step - 1))
        padding.append(pad)
        sizes.append(max(d, fitting_size(out, kernel, step, 2 * pad, d, extra)))  # no window falls between the pixels
    N = draw(st.integers(0, 3))
    return PoolCase(
        N,
        draw(st.integers(1, 6)),
        *sizes,
        kernel_size,
        stride,
        padding[0] if padding[0] == padding[1] else tuple(padding),
        dilation,
        ceil_mode,
        batched=N != 1 or draw(st.booleans()),
        data=draw(st.sampled_from(data)),
        seed=draw(seeds),
        count_include_pad=draw(st.booleans()),
        divisor_override=draw(st.sampled_from([None, None, 1, 3, 10])),
    )


# Pools large enough for two threads: the named networks', ResNet's and GoogLeNet's.
POOL_LAYERS = [
    ("2x2", PoolCase(8, 32, 28, 28, 2)),
    ("2x2-odd", PoolCase(8, 32, 27, 25, 2)),
    ("2x2-ceil", PoolCase(8, 32, 27, 25, 2, ceil_mode=True)),
    ("3x3-s2-p1", PoolCase(2, 64, 56, 56, 3, 2, 1)),
    ("3x3-s1-p1", PoolCase(4, 32, 28, 28, 3, 1, 1)),
    ("3x3-s2-ceil", PoolCase(2, 32, 55, 55, 3, 2, 0, ceil_mode=True)),
    ("global", PoolCase(8, 256, 7, 7, 7)),
    ("wide", PoolCase(2, 16, 40, 100, (2, 5), (1, 3), (1, 2))),
]


# -- linear ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearCase:
    rows: tuple[int, ...]
    I: int  # noqa: E741 (the problem's letters, as in the kernels)
    O: int  # noqa: E741
    bias: bool = True
    data: str = "normal"
    seed: int = 0

    def arrays(self, dtype):
        """(x, weight, bias); bias is None without one."""
        rng = np.random.default_rng(self.seed)
        x = numbers(rng, (*self.rows, self.I), dtype, self.data)
        weight = numbers(rng, (self.O, self.I), dtype, self.data)
        return x, weight, numbers(rng, self.O, dtype, self.data) if self.bias else None

    def grad_y(self, dtype):
        return numbers(np.random.default_rng(self.seed + 1), (*self.rows, self.O), dtype, self.data)


@st.composite
def linear_cases(draw, rows=40, largest=150):
    return LinearCase(
        tuple(draw(st.lists(st.integers(0, rows), max_size=1))) + tuple(draw(st.lists(st.integers(1, 3), max_size=1))),
        draw(st.integers(1, largest)),
        draw(st.integers(1, largest)),
        draw(st.booleans()),
        draw(st.sampled_from(DATA)),
        draw(seeds),
    )


# The linear layers of the named networks at their batch sizes or near, one image at a time, and odd sizes.
LINEAR_LAYERS = [
    ("ann-1", LinearCase((1,), 784, 40, bias=False)),
    ("scratch", LinearCase((64,), 1352, 10)),
    ("keras-1", LinearCase((128,), 1600, 128)),
    ("keras-2", LinearCase((128,), 128, 10)),
    ("dropout-1", LinearCase((100,), 320, 50)),
    ("cnn-1", LinearCase((96,), 3136, 128)),
    ("cnn-1-alone", LinearCase((1,), 3136, 128)),
    ("fast-1", LinearCase((200,), 800, 256)),
    ("odd", LinearCase((77,), 301, 203)),
    ("classifier", LinearCase((2,), 2048, 1000)),
]
