"""Every operation on shapes that reach every algorithm, as one table: what the tests of bits, threads, processes and of
the floating-point mode run.  A new op is one row here, and one in SMALL.

A row is a function of a dtype that prepares its arrays and returns a function of nothing, which computes and returns
some arrays.  Most are large enough for four threads.  As a program, it prints a hash of each row's results:
`python workloads.py [threads]`, for comparison with another process.
"""

import copy
import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv
from fastconv import nn, ops, optim
from fastconv.data.datasets import ArrayDataset
from fastconv.data.loader import Loader
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward

Results = tuple[Any, ...]
Row = Callable[[np.dtype], Callable[[], Results]]
ROWS: dict[str, Row] = {}
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
ALONE = {"precision high"}  # changes a setting of the process, and can not run beside others


def row(name: str) -> Callable[[Row], Row]:
    def add(function: Row) -> Row:
        assert name not in ROWS
        ROWS[name] = function
        return function

    return add


def normal(shape: Any, dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# -- convolution -------------------------------------------------------------------------------------------------------

# name: x, weight, options.  Of Winograd's schedules (csrc/ops/winograd.c), `few` goes image by image, `many` block by
# block of output channels, `alone` is one small image with several threads (with one thread it goes another way); that
# of grad_weight (winograd_grad.c) is `many` from 8192 = C * K on.  `in rounds`: more images than fit in shared memory.
CONVS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "winograd few": ((8, 32, 16, 16), (32, 32, 3, 3), {"padding": 1}),
    "winograd few, small images together": ((40, 16, 9, 7), (24, 16, 3, 3), {"padding": 1}),
    "winograd few, in bands": ((2, 40, 40, 44), (20, 40, 3, 3), {}),
    "winograd many": ((3, 165, 9, 11), (170, 165, 3, 3), {"padding": 1}),
    "winograd many, in rounds": ((8, 512, 12, 12), (50, 512, 3, 3), {"padding": 1}),
    "winograd alone": ((1, 64, 7, 7), (260, 64, 3, 3), {"padding": 1}),
    "winograd in groups": ((3, 48, 14, 14), (68, 24, 3, 3), {"padding": 1, "groups": 2}),
    "phases": ((3, 32, 16, 16), (33, 32, 3, 3), {"padding": 2, "dilation": 2}),
    "dilated": ((3, 16, 27, 25), (32, 16, 3, 3), {"padding": 2, "dilation": (2, 3)}),
    "pointwise": ((4, 64, 14, 14), (130, 64, 1, 1), {}),
    "pointwise strided": ((3, 64, 28, 28), (128, 64, 1, 1), {"stride": 2}),
    "pointwise of one pixel": ((9, 1000, 1, 1), (700, 1000, 1, 1), {}),
    "depthwise": ((16, 72, 28, 28), (72, 1, 3, 3), {"padding": 1, "groups": 72}),
    "depthwise strided": ((30, 72, 30, 30), (72, 1, 5, 5), {"stride": 2, "padding": 2, "groups": 72}),
    "depthwise multiplied": ((9, 24, 28, 28), (96, 1, 3, 3), {"padding": 1, "groups": 24}),
    "positions": ((32, 1, 28, 28), (33, 1, 3, 3), {"padding": 1}),
    "positions, 5x5": ((24, 10, 12, 12), (20, 10, 5, 5), {}),
    "channels": ((3, 64, 28, 28), (68, 64, 3, 3), {"stride": 2, "padding": 1}),
    "channels, few positions": ((9, 128, 5, 5), (130, 128, 3, 3), {"padding": 1}),
    "stem": ((3, 3, 66, 64), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    "one filter": ((9, 40, 40, 40), (1, 40, 3, 3), {}),
    "wide image": ((3, 3, 8, 900), (24, 3, 3, 3), {"padding": 1}),
    "row kernel": ((3, 8, 40, 50), (32, 8, 1, 9), {"padding": "same"}),
}


def conv(name: str, dtype: np.dtype, zeros: float = 0) -> Callable[[], Results]:
    """Forward and the gradients; `zeros` of grad_y are 0, as behind pools and ReLUs."""
    x_shape, w_shape, options = CONVS[name]
    x, weight, bias = normal(x_shape, dtype, 1), normal(w_shape, dtype, 2), normal(w_shape[0], dtype, 3)
    grad_y = normal(ops.conv2d(x, weight, bias, **options).shape, dtype, 4)
    if zeros:
        grad_y[np.random.default_rng(5).random(grad_y.shape) < zeros] = 0
    return lambda: (ops.conv2d(x, weight, bias, **options), *ops.conv2d_backward(grad_y, x, weight, **options))


for _name in CONVS:
    row(_name)(lambda dtype, name=_name: conv(name, dtype))
for _name in ("winograd few", "stem", "positions, 5x5", "channels"):
    row(f"{_name}, sparse gradient")(lambda dtype, name=_name: conv(name, dtype, zeros=0.85))


@row("not finite")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x_shape, w_shape, options = CONVS["winograd few"]
    x, weight = normal(x_shape, dtype, 1), normal(w_shape, dtype, 2)
    x[1, 3, 4, 5], x[2, 0, 0, 0], x[5, 1, 2, 2] = np.inf, np.nan, np.finfo(dtype).max
    grad_y = normal((8, 32, 16, 16), dtype, 4)
    grad_y[0, 0, 3, 3] = -np.inf
    return lambda: (ops.conv2d(x, weight, **options), *ops.conv2d_backward(grad_y, x, weight, **options))


@row("precision high")
def _(dtype: np.dtype) -> Callable[[], Results]:
    calls = conv("winograd few", dtype)

    def high() -> Results:
        fastconv.set_float32_precision("high")
        try:
            return calls()
        finally:
            fastconv.set_float32_precision("highest")

    return high


# -- layers that run as one --------------------------------------------------------------------------------------------


def training_step(model: nn.Sequential, x: np.ndarray, loss: nn.Loss) -> Results:
    """The output, the loss and all gradients."""
    target = np.arange(len(x)) % 10
    model.zero_grad()
    logits = model(x)
    value = loss(logits, target)
    grad_x = model.backward(loss.backward())
    return logits, np.float64(value), grad_x, *(parameter.grad for parameter in model.parameters())


def network(*channels: int, kernel: int, size: int, order: str, dtype: Any) -> nn.Sequential:
    """Blocks of convolution, 2x2 max pool and ReLU, in that order or with the ReLU first; then a linear layer."""
    rng = np.random.default_rng(7)
    layers: list[nn.Module] = []
    for i in range(len(channels) - 1):
        layers.append(nn.Conv2d(channels[i], channels[i + 1], kernel, padding=kernel // 2, rng=rng, dtype=dtype))
        for letter in order:
            layers.append(nn.ReLU() if letter == "r" else nn.MaxPool2d(2))
        size //= 2
    layers += [nn.Flatten(), nn.Linear(channels[-1] * size * size, 10, rng=rng, dtype=dtype)]
    return nn.Sequential(*layers)


for _order in ("p", "rp", "pr"):

    @row(f"fused {_order}")
    def _(dtype: np.dtype, order: str = _order) -> Callable[[], Results]:
        model = network(1, 16, 24, kernel=3, size=28, order=order, dtype=dtype)
        x = normal((20, 1, 28, 28), dtype, 8)
        return lambda: training_step(copy.deepcopy(model), x, nn.CrossEntropyLoss())


@row("fused 5x5")
def _(dtype: np.dtype) -> Callable[[], Results]:
    model = network(3, 20, 16, kernel=5, size=24, order="pr", dtype=dtype)
    x = normal((20, 3, 24, 24), dtype, 8)
    return lambda: training_step(copy.deepcopy(model), x, nn.CrossEntropyLoss())


@row("inference")
def _(dtype: np.dtype) -> Callable[[], Results]:
    model = network(1, 16, 24, kernel=3, size=28, order="rp", dtype=dtype).eval()
    x = normal((20, 1, 28, 28), dtype, 8)
    return lambda: (model(x),)


# -- linear ------------------------------------------------------------------------------------------------------------

LINEARS = [
    (128, 784, 40),
    (1, 3136, 2000),
    (300, 400, 30),
    (3000, 41, 63),
    (9, 30_000, 12),
    (513, 1, 700),
    (400, 900, 1),
]
for _sizes in LINEARS:

    @row("linear " + "x".join(map(str, _sizes)))
    def _(dtype: np.dtype, sizes: tuple[int, int, int] = _sizes) -> Callable[[], Results]:
        m, i, o = sizes
        x, weight, bias, grad_y = (
            normal((m, i), dtype, 1),
            normal((o, i), dtype, 2),
            normal(o, dtype),
            normal((m, o), dtype),
        )
        return lambda: (ops.linear(x, weight, bias), *ops.linear_backward(grad_y, x, weight))


# -- pools -------------------------------------------------------------------------------------------------------------

POOLS: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    "2x2": ((8, 32, 28, 28), 2, {}),
    "2x2 odd": ((16, 32, 27, 25), 2, {"ceil_mode": True}),
    "3x3 s2": ((3, 64, 56, 56), 3, {"stride": 2, "padding": 1}),
    "3x3 s1": ((8, 32, 28, 28), 3, {"stride": 1, "padding": 1}),
    "7x7": ((16, 256, 7, 7), 7, {}),
    "wide": ((3, 16, 40, 100), (2, 5), {"stride": (1, 3), "padding": (1, 2)}),
}
for _name in POOLS:

    @row(f"pool {_name}")
    def _(dtype: np.dtype, name: str = _name) -> Callable[[], Results]:
        shape, kernel, options = POOLS[name]
        x = normal(shape, dtype, 1).round(1)  # ties
        grad_y = normal(ops.avg_pool2d(x, kernel, **options).shape, dtype, 2)

        def calls() -> Results:
            y, indices = ops.max_pool2d(x, kernel, **options, return_indices=True)
            _, winners = max_pool2d_winners(x, kernel, **options)
            return (
                y,
                indices,
                winners,
                ops.max_pool2d_backward(grad_y, indices, x.shape),
                max_pool2d_winners_backward(grad_y, winners, x.shape, kernel, **options),
                ops.avg_pool2d(x, kernel, **options),
                ops.avg_pool2d_backward(grad_y, x.shape, kernel, **options),
            )

        return calls


# -- transposed convolution, unfold, adaptive pools, batch norm --------------------------------------------------------

TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "transposed 2x2": ((5, 64, 14, 14), (64, 40, 2, 2), {"stride": 2}),
    "transposed 3x3": ((5, 32, 16, 16), (32, 34, 3, 3), {"padding": 1}),
    "transposed strided": (
        (4, 48, 13, 14),
        (48, 24, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
    ),
    "transposed dilated": ((4, 16, 20, 20), (16, 20, 3, 4), {"stride": (1, 2), "dilation": (2, 1)}),
}
for _name in TRANSPOSED:

    @row(_name)
    def _(dtype: np.dtype, name: str = _name) -> Callable[[], Results]:
        x_shape, w_shape, options = TRANSPOSED[name]
        x, weight = normal(x_shape, dtype, 1), normal(w_shape, dtype, 2)
        bias = normal(w_shape[1] * options.get("groups", 1), dtype, 3)
        grad_y = normal(ops.conv_transpose2d(x, weight, bias, **options).shape, dtype, 4)
        return lambda: (
            ops.conv_transpose2d(x, weight, bias, **options),
            *ops.conv_transpose2d_backward(grad_y, x, weight, **options),
        )


@row("unfold and fold")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x, window = normal((8, 24, 28, 29), dtype, 1), {"kernel_size": (3, 4), "padding": 1, "stride": (1, 2)}
    columns = normal(ops.unfold(x, **window).shape, dtype, 2)
    return lambda: (
        ops.unfold(x, **window),
        ops.unfold_backward(columns, x.shape, **window),
        ops.fold(columns, (28, 29), **window),
        ops.fold_backward(x, **window),
    )


for _size in (1, 4, (5, 6)):

    @row(f"adaptive pool {_size}")
    def _(dtype: np.dtype, size: Any = _size) -> Callable[[], Results]:
        x = normal((9, 64, 28, 28), dtype, 1)
        grad_y = normal(ops.adaptive_avg_pool2d(x, size).shape, dtype, 2)
        return lambda: (ops.adaptive_avg_pool2d(x, size), ops.adaptive_avg_pool2d_backward(grad_y, x.shape))


for _shape in ((40, 3, 30, 31), (16, 70, 14, 14), (500, 300)):

    @row(f"batch_norm {_shape}")
    def _(dtype: np.dtype, shape: tuple[int, ...] = _shape) -> Callable[[], Results]:
        x, grad_y, C = normal(shape, dtype, 1), normal(shape, dtype, 2), shape[1]
        weight, bias, mean, var = (np.abs(normal(C, dtype, seed)) + 0.1 for seed in (3, 4, 5, 6))

        def calls() -> Results:
            running = mean.copy(), var.copy()
            y, *statistics = ops.batch_norm(x, *running, weight, bias, training=True, return_stats=True)
            return (
                y,
                *statistics,
                *running,
                ops.batch_norm(x, mean, var, weight, bias),
                *ops.batch_norm_backward(grad_y, x, statistics[0], statistics[1], weight, training=True),
                *ops.batch_norm_backward(grad_y, x, statistics[0], statistics[1], weight),
            )

        return calls


# -- element by element, and row by row --------------------------------------------------------------------------------


@row("relu")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x, grad_y = normal(300_001, dtype, 1), normal(300_001, dtype, 2)
    x[::50_000] = np.nan
    x[1::50_000] = np.finfo(dtype).tiny / 8
    return lambda: (ops.relu(x), ops.relu_backward(grad_y, x))


for _name in ("leaky_relu", "sigmoid", "tanh"):

    @row(_name)
    def _(dtype: np.dtype, name: str = _name) -> Callable[[], Results]:
        x, grad_y = 5 * normal(300_001, dtype, 1), normal(300_001, dtype, 2)
        x[::50_000] = np.nan
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        return lambda: (forward(x), backward(grad_y, x))


@row("dropout")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x = normal((9, 64, 30, 31), dtype, 1)

    def calls() -> Results:
        y, mask = ops.dropout(x, 0.3, rng=np.random.default_rng(2), return_mask=True)
        y2, mask2 = ops.dropout2d(x, 0.3, rng=np.random.default_rng(2), return_mask=True)
        return y, mask, ops.dropout_backward(x, mask, 0.3), y2, mask2, ops.dropout2d_backward(x, mask2, 0.3)

    return calls


for _shape in ((128, 10), (9001, 17), (700, 1000), (5, 60_000)):

    @row(f"softmax {_shape[0]}x{_shape[1]}")
    def _(dtype: np.dtype, shape: tuple[int, int] = _shape) -> Callable[[], Results]:
        x, grad_y = normal(shape, dtype, 1), normal(shape, dtype, 2)

        def calls() -> Results:
            p, log_p = ops.softmax(x), ops.log_softmax(x)
            return p, log_p, ops.softmax_backward(grad_y, p), ops.log_softmax_backward(grad_y, log_p), ops.softmax(x, 0)

        return calls

    @row(f"cross_entropy {_shape[0]}x{_shape[1]}")
    def _(dtype: np.dtype, shape: tuple[int, int] = _shape) -> Callable[[], Results]:
        x, weight = normal(shape, dtype, 1), np.abs(normal(shape[1], dtype, 2))
        target = np.random.default_rng(3).integers(0, shape[1], shape[0])
        target[::7] = -100
        smooth = {"weight": weight, "label_smoothing": 0.1}
        return lambda: (
            *(np.float64(ops.cross_entropy(x, target, reduction=reduction)) for reduction in ("mean", "sum")),
            ops.cross_entropy(x, target, reduction="none", **smooth),
            ops.cross_entropy_backward(x, target),
            ops.cross_entropy_backward(x, target, **smooth),
        )


# -- losses, optimisers, data ------------------------------------------------------------------------------------------


@row("per-pixel losses")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x, soft = normal((6, 21, 40, 41), dtype, 1), ops.softmax(normal((6, 21, 40, 41), dtype, 2), 1)
    target = np.random.default_rng(3).integers(0, 21, (6, 40, 41))
    target[0, :5] = -100
    log_p = ops.log_softmax(x, 1)
    return lambda: (
        np.float64(ops.cross_entropy(x, target, label_smoothing=0.1)),
        ops.cross_entropy_backward(x, target),
        np.float64(ops.cross_entropy(x, soft)),
        ops.cross_entropy_backward(x, soft),
        np.float64(ops.nll_loss(log_p, target)),
        ops.nll_loss(log_p, target, reduction="none"),
        ops.nll_loss_backward(log_p, target),
        ops.softmax(x, 1),
        ops.softmax_backward(x, soft, 1),
        log_p,
    )


@row("squared errors")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x, target = normal(300_001, dtype, 1), normal(300_001, dtype, 2)
    return lambda: (
        *(np.float64(ops.mse_loss(x, target, reduction)) for reduction in ("mean", "sum")),
        ops.mse_loss(x, target, "none"),
        ops.mse_loss_backward(x, target),
    )


@row("losses")
def _(dtype: np.dtype) -> Callable[[], Results]:
    x, numbers = normal((4000, 30), dtype, 1), normal((4000, 30), dtype, 2)
    classes = np.arange(4000) % 30
    losses = [(nn.CrossEntropyLoss(), classes), (nn.MSELoss(), numbers), (nn.OneHotSquaredError(), classes)]
    return lambda: tuple(part for loss, target in losses for part in (np.float64(loss(x, target)), loss.backward()))


OPTIMISERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.1),
    "sgd with momentum": lambda parameters: optim.SGD(
        parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda parameters: optim.Adam(parameters, lr=0.01, weight_decay=0.01),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=0.01),
}
for _name in OPTIMISERS:

    @row(f"optimiser {_name}")
    def _(dtype: np.dtype, name: str = _name) -> Callable[[], Results]:
        def steps() -> Results:
            parameters = [nn.Parameter(normal(n, dtype, n)) for n in (7, 300_001)]
            optimiser = OPTIMISERS[name](parameters)
            for seed in range(3):
                for parameter in parameters:
                    parameter.grad = normal(parameter.data.shape, dtype, seed)
                optimiser.step()
            return tuple(parameter.data for parameter in parameters)

        return steps


@row("loader")
def _(dtype: np.dtype) -> Callable[[], Results]:
    rng = np.random.default_rng(1)
    dataset = ArrayDataset(rng.integers(0, 256, (900, 28, 28)).astype(np.uint8), rng.integers(0, 10, 900))
    order = rng.permutation(900)
    return lambda: Loader(dataset, 900, scale=1 / 255, offset=-0.5, dtype=dtype).batch(order)


# -- one image alone or in its batch: forward --------------------------------------------------------------------------

BATCHED: dict[str, Callable[[np.dtype], tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]]] = {}


def _batched_conv(name: str, dtype: np.dtype) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    x_shape, w_shape, options = CONVS[name]
    weight, bias = normal(w_shape, dtype, 2), normal(w_shape[0], dtype, 3)
    return lambda x: ops.conv2d(x, weight, bias, **options), normal((max(x_shape[0], 3), *x_shape[1:]), dtype, 1)


def _batched_linear(m: int, i: int, o: int, dtype: np.dtype) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    weight = normal((o, i), dtype, 2)
    return lambda x: ops.linear(x, weight), normal((max(m, 3), i), dtype, 1)


def _batched(function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> Any:
    return lambda dtype: (function, normal(shape, dtype, 1))


for _name in CONVS:
    BATCHED[_name] = lambda dtype, name=_name: _batched_conv(name, dtype)
for _name, (_shape4, _kernel, _options) in POOLS.items():
    BATCHED[f"max pool {_name}"] = _batched(lambda x, k=_kernel, o=_options: ops.max_pool2d(x, k, **o), _shape4)
    BATCHED[f"average pool {_name}"] = _batched(lambda x, k=_kernel, o=_options: ops.avg_pool2d(x, k, **o), _shape4)
for _sizes in LINEARS:
    BATCHED["linear " + "x".join(map(str, _sizes))] = lambda dtype, s=_sizes: _batched_linear(*s, dtype)
for _name in ("relu", "leaky_relu", "sigmoid", "tanh"):
    BATCHED[_name] = _batched(getattr(ops, _name), (50, 3001))
for _name in TRANSPOSED:
    BATCHED[_name] = lambda dtype, c=TRANSPOSED[_name]: (
        lambda x: ops.conv_transpose2d(x, normal(c[1], dtype, 2), **c[2]),
        normal(c[0], dtype, 1),
    )
for _size in (1, 4, (5, 6)):
    BATCHED[f"adaptive pool {_size}"] = _batched(lambda x, s=_size: ops.adaptive_avg_pool2d(x, s), (9, 64, 28, 28))
BATCHED["unfold"] = _batched(lambda x: ops.unfold(x, 3, padding=1), (8, 24, 28, 29))
BATCHED["fold"] = _batched(lambda x: ops.fold(x, (28, 29), 3, padding=1), (8, 24 * 9, 28 * 29))
BATCHED["batch_norm"] = _batched(
    lambda x: ops.batch_norm(x, np.full(24, 0.3, x.dtype), np.full(24, 1.7, x.dtype)), (8, 24, 28, 29)
)
for _n in (1, 10, 17, 1000, 20_000):
    BATCHED[f"softmax {_n}"] = _batched(ops.softmax, (50, _n))
    BATCHED[f"log_softmax {_n}"] = _batched(ops.log_softmax, (50, _n))
    BATCHED[f"cross_entropy {_n}"] = _batched(
        lambda x: ops.cross_entropy(x, np.full(len(x), x.shape[1] // 2), reduction="none"), (50, _n)
    )
for _order in ("p", "rp", "pr"):
    BATCHED[f"fused {_order}"] = lambda dtype, o=_order: (
        network(1, 16, 24, kernel=3, size=28, order=o, dtype=dtype).eval(),
        normal((20, 1, 28, 28), dtype, 8),
    )


# -- each op once, small: for what is done thousands of times ----------------------------------------------------------


def small(dtype: Any = np.float32) -> dict[str, Callable[[], Any]]:
    """A small valid call of every op of fastconv.ops, of the optimisers and of a network, by name."""
    x, weight, y = normal((2, 3, 6, 6), dtype, 1), normal((4, 3, 3, 3), dtype, 2), normal((2, 4, 4, 4), dtype, 3)
    pooled, indices = ops.max_pool2d(x, 2, return_indices=True)
    rows, matrix, target = normal((4, 5), dtype, 4), normal((3, 5), dtype, 5), np.array([0, 4, -100, 1])
    rng = np.random.default_rng(6)
    mask, mask2 = np.ones(x.shape, np.uint8), np.ones(x.shape[:2], np.uint8)
    turned, mean, columns = normal((3, 4, 3, 3), dtype, 2), np.ones(3), normal((2, 12, 9), dtype, 3)
    calls: dict[str, Callable[[], Any]] = {
        "conv2d": lambda: ops.conv2d(x, weight, padding=1),
        "conv2d_backward": lambda: ops.conv2d_backward(y, x, weight),
        "max_pool2d": lambda: ops.max_pool2d(x, 2, return_indices=True),
        "max_pool2d_backward": lambda: ops.max_pool2d_backward(pooled, indices, x.shape),
        "avg_pool2d": lambda: ops.avg_pool2d(x, 2),
        "avg_pool2d_backward": lambda: ops.avg_pool2d_backward(pooled, x.shape, 2),
        "linear": lambda: ops.linear(rows, matrix),
        "linear_backward": lambda: ops.linear_backward(rows[:, :3], rows, matrix),
        "relu": lambda: ops.relu(x),
        "relu_backward": lambda: ops.relu_backward(x, x),
        "conv_transpose2d": lambda: ops.conv_transpose2d(x, turned),
        "conv_transpose2d_backward": lambda: ops.conv_transpose2d_backward(normal((2, 4, 8, 8), dtype), x, turned),
        "unfold": lambda: ops.unfold(x, 2, stride=2),
        "unfold_backward": lambda: ops.unfold_backward(columns, x.shape, 2, stride=2),
        "fold": lambda: ops.fold(columns, 6, 2, stride=2),
        "fold_backward": lambda: ops.fold_backward(x, 2, stride=2),
        "adaptive_avg_pool2d": lambda: ops.adaptive_avg_pool2d(x, 3),
        "adaptive_avg_pool2d_backward": lambda: ops.adaptive_avg_pool2d_backward(pooled, x.shape),
        "batch_norm": lambda: ops.batch_norm(x, None, None, training=True),
        "batch_norm_backward": lambda: ops.batch_norm_backward(x, x, mean, mean),
        "leaky_relu": lambda: ops.leaky_relu(x),
        "leaky_relu_backward": lambda: ops.leaky_relu_backward(x, x),
        "sigmoid": lambda: ops.sigmoid(x),
        "sigmoid_backward": lambda: ops.sigmoid_backward(x, x),
        "tanh": lambda: ops.tanh(x),
        "tanh_backward": lambda: ops.tanh_backward(x, x),
        "mse_loss": lambda: ops.mse_loss(x, x),
        "mse_loss_backward": lambda: ops.mse_loss_backward(x, x),
        "nll_loss": lambda: ops.nll_loss(rows, target),
        "nll_loss_backward": lambda: ops.nll_loss_backward(rows, target),
        "softmax": lambda: ops.softmax(rows),
        "softmax_backward": lambda: ops.softmax_backward(rows, rows),
        "log_softmax": lambda: ops.log_softmax(rows),
        "log_softmax_backward": lambda: ops.log_softmax_backward(rows, rows),
        "cross_entropy": lambda: ops.cross_entropy(rows, target),
        "cross_entropy_backward": lambda: ops.cross_entropy_backward(rows, target),
        "dropout": lambda: ops.dropout(x, rng=rng, return_mask=True),
        "dropout_backward": lambda: ops.dropout_backward(x, mask),
        "dropout2d": lambda: ops.dropout2d(x, rng=rng, return_mask=True),
        "dropout2d_backward": lambda: ops.dropout2d_backward(x, mask2),
    }
    for name, make in OPTIMISERS.items():
        parameter = nn.Parameter(normal(50, dtype, 7))
        parameter.grad = normal(50, dtype, 8)
        calls[f"optimiser {name}"] = make([parameter]).step
    model = network(1, 4, 4, kernel=3, size=8, order="rp", dtype=dtype)
    images = normal((2, 1, 8, 8), dtype, 9)
    calls["training step"] = lambda: training_step(model, images, nn.CrossEntropyLoss())
    return calls


# -- bits --------------------------------------------------------------------------------------------------------------


def bits(a: Any) -> bytes:
    """The bytes of an array.  A NaN is a NaN: IEEE 754 leaves open what sign and payload it gets."""
    a = np.array(a)
    if a.dtype.kind == "f":
        a[np.isnan(a)] = np.nan
    return a.tobytes()


def digest(results: Results) -> str:
    hashed = hashlib.sha256()
    for a in results:
        hashed.update(repr(None if a is None else np.shape(a)).encode())
        hashed.update(b"" if a is None else bits(a))
    return hashed.hexdigest()


def all_digests() -> dict[str, str]:
    """Of each row, in one dtype or the other."""
    return {name: digest(ROWS[name](dtype)()) for name, dtype in zip(ROWS, itertools.cycle(DTYPES), strict=False)}


if __name__ == "__main__":
    fastconv.set_num_threads(int(sys.argv[1]))
    print(json.dumps(all_digests()))
