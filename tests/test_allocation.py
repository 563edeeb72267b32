"""Each allocation of each operation and layer fails once: MemoryError, nothing lost or changed, the next call works.

`_kernels.fail_allocation(n)` makes the n-th allocation of results and workspaces fail from now on, and that one alone.
Whether a block is lost is counted exactly: after a call whose results are gone, all of its blocks lie in the cache; a
call that fails may take blocks from there, and must have put them back.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _kernels, nn, ops, optim

RNG = np.random.default_rng(7)


def a(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_fails_afterwards() -> Iterator[None]:
    fastconv.release_memory()
    yield
    _kernels.fail_allocation(0)


def arrays(value: Any) -> list[np.ndarray]:
    """All arrays in a result, or in what a layer or an optimiser holds."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, (tuple, list)):
        return [x for v in value for x in arrays(v)]
    if isinstance(value, dict):
        return [x for v in value.values() for x in arrays(v)]
    return []


def fail_each(call: Callable[[], Any], watched: Callable[[], Any]) -> int:
    """Run `call` with its first allocation failing, then its second, ...; returns how many it makes."""
    expected = [np.copy(x) for x in arrays(call())]
    for n in itertools.count(1):
        before = copy.deepcopy(watched())
        cached = _kernels.memory_cached()
        _kernels.fail_allocation(n)
        try:
            got = call()
        except MemoryError:
            got = None
        if got is None:  # the exception, whose traceback holds what the call held, is gone
            assert _kernels.fail_allocation(0) == 0
            assert _kernels.memory_cached() == cached, f"a block was lost when allocation {n} failed"
            assert_same(watched(), before)
            continue
        assert _kernels.fail_allocation(0) > 0, "a failed allocation went unnoticed"
        assert len(arrays(got)) == len(expected)
        for x, y in zip(arrays(got), expected, strict=True):
            np.testing.assert_array_equal(x, y)
        return n - 1
    raise AssertionError


def assert_same(now: Any, before: Any) -> None:
    assert len(arrays(now)) == len(arrays(before))
    for x, y in zip(arrays(now), arrays(before), strict=True):
        np.testing.assert_array_equal(x, y)


X, W, B, G = a(2, 4, 12, 12), a(6, 4, 3, 3), a(6), a(2, 6, 12, 12)
WIDE, WIDE_W, WIDE_G = a(2, 32, 12, 12), a(32, 32, 3, 3), a(2, 32, 12, 12)
DEEP_W, DEPTH_G = a(4, 1, 3, 3), a(2, 4, 12, 12)
TRANSPOSED_W, STRIDED_G = a(4, 6, 3, 3), a(2, 6, 6, 6)
ROWS, CLASSES, LINEAR_W, LINEAR_G = a(8, 30), RNG.integers(0, 30, 8), a(20, 30), a(8, 20)
MEAN, INV_STD = np.zeros(4), np.ones(4)
INDICES = fastconv.max_pool2d(X, 2, return_indices=True)[1]
HALF = a(2, 4, 6, 6)
MASK = np.ones(X.shape, np.uint8)

# name: (arrays, what is called with them)
CALLS: dict[str, tuple[tuple[np.ndarray, ...], Callable[..., Any]]] = {
    "conv2d": ((X, W, B), lambda x, w, b: ops.conv2d(x, w, b, padding=1)),
    "conv2d, slowly": ((X, W, B), lambda x, w, b: ops.conv2d(x[::-1, :, :, ::-1], w, b, padding="same")),
    "conv2d, 32 channels": ((WIDE, WIDE_W), lambda x, w: ops.conv2d(x, w, padding=1)),
    "conv2d, depthwise": ((X, DEEP_W), lambda x, w: ops.conv2d(x, w, padding=1, groups=4)),
    "conv2d_backward": ((G, X, W), lambda g, x, w: ops.conv2d_backward(g, x, w, padding=1)),
    "conv2d_backward, slowly": ((G, X, W), lambda g, x, w: ops.conv2d_backward(g[::-1], x[::-1], w, padding="same")),
    "conv2d_backward, stride 2": ((STRIDED_G, X, W), lambda g, x, w: ops.conv2d_backward(g, x, w, 2, 1)),
    "conv2d_backward, 32 channels": ((WIDE_G, WIDE, WIDE_W), lambda g, x, w: ops.conv2d_backward(g, x, w, padding=1)),
    "conv2d_backward, depthwise": (
        (DEPTH_G, X, DEEP_W),
        lambda g, x, w: ops.conv2d_backward(g, x, w, padding=1, groups=4),
    ),
    "conv_transpose2d": ((HALF, TRANSPOSED_W), lambda x, w: ops.conv_transpose2d(x, w, None, 2, 1, 1)),
    "conv_transpose2d_backward": (
        (G, HALF, TRANSPOSED_W),
        lambda g, x, w: ops.conv_transpose2d_backward(g, x, w, 2, 1, 1),
    ),
    "max_pool2d": ((X,), lambda x: ops.max_pool2d(x, 2)),
    "max_pool2d, indices": ((X,), lambda x: ops.max_pool2d(x, 3, 2, 1, return_indices=True)),
    "max_pool2d, slowly": ((X,), lambda x: ops.max_pool2d(x[..., ::-1], 2, dilation=2, ceil_mode=True)),
    "max_pool2d_backward": ((HALF, INDICES), lambda g, i: ops.max_pool2d_backward(g, i, X.shape)),
    "avg_pool2d": ((X,), lambda x: ops.avg_pool2d(x, 2)),
    "avg_pool2d_backward": ((HALF,), lambda g: ops.avg_pool2d_backward(g, X.shape, 2)),
    "adaptive_avg_pool2d": ((X,), lambda x: ops.adaptive_avg_pool2d(x, 5)),
    "adaptive_avg_pool2d_backward": ((HALF,), lambda g: ops.adaptive_avg_pool2d_backward(g, X.shape)),
    "unfold": ((X,), lambda x: ops.unfold(x, 3)),
    "unfold_backward": ((a(2, 36, 100),), lambda g: ops.unfold_backward(g, X.shape, 3)),
    "fold": ((a(2, 36, 100),), lambda y: ops.fold(y, 12, 3)),
    "fold_backward": ((X,), lambda g: ops.fold_backward(g, 3)),
    "linear": ((ROWS, LINEAR_W), ops.linear),
    "linear_backward": ((LINEAR_G, ROWS, LINEAR_W), ops.linear_backward),
    "batch_norm": ((X, B[:4], W[:4, 0, 0, 0] ** 2), lambda x, m, v: ops.batch_norm(x, m, v)),
    "batch_norm, training": (
        (X, B[:4].copy(), W[:4, 0, 0, 0] ** 2),
        lambda x, m, v: ops.batch_norm(x, m, v, training=True, return_stats=True),
    ),
    "batch_norm_backward": ((DEPTH_G, X), lambda g, x: ops.batch_norm_backward(g, x, MEAN, INV_STD, training=True)),
    "relu": ((X,), ops.relu),
    "relu_backward": ((X, X), ops.relu_backward),
    "leaky_relu": ((X,), ops.leaky_relu),
    "leaky_relu_backward": ((X, X), ops.leaky_relu_backward),
    "sigmoid": ((X,), ops.sigmoid),
    "sigmoid_backward": ((X, X), ops.sigmoid_backward),
    "tanh": ((X,), ops.tanh),
    "tanh_backward": ((X, X), ops.tanh_backward),
    "softmax": ((X,), lambda x: ops.softmax(x, 1)),
    "softmax_backward": ((X, X), lambda g, y: ops.softmax_backward(g, y, 1)),
    "log_softmax": ((X,), ops.log_softmax),
    "log_softmax_backward": ((X, X), ops.log_softmax_backward),
    "cross_entropy": ((ROWS, CLASSES), ops.cross_entropy),
    "cross_entropy_backward": ((ROWS, CLASSES), ops.cross_entropy_backward),
    "nll_loss": ((ROWS, CLASSES), ops.nll_loss),
    "nll_loss_backward": ((ROWS, CLASSES), ops.nll_loss_backward),
    "mse_loss": ((X, DEPTH_G), lambda x, t: ops.mse_loss(x, t, reduction="none")),
    "mse_loss_backward": ((X, DEPTH_G), ops.mse_loss_backward),
    "dropout": ((X,), lambda x: ops.dropout(x, rng=np.random.default_rng(3), return_mask=True)),
    "dropout_backward": ((X, MASK), ops.dropout_backward),
    "dropout2d": ((X,), lambda x: ops.dropout2d(x, rng=np.random.default_rng(3), return_mask=True)),
    "dropout2d_backward": ((X, MASK[:, :, 0, 0].copy()), ops.dropout2d_backward),
}


def test_every_operation_is_here():
    assert {name.split(",")[0] for name in CALLS} == set(ops.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_operation(name: str) -> None:
    inputs, function = CALLS[name]
    assert fail_each(lambda: function(*inputs), lambda: inputs) >= 1


# -- layers ------------------------------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[[], nn.Module], np.ndarray]] = {
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, rng=np.random.default_rng(1)), X),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, rng=np.random.default_rng(1)), X),
    "Linear": (lambda: nn.Linear(30, 20, rng=np.random.default_rng(1)), ROWS),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), X),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), X),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(3), X),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, X),
    "GlobalMaxPool2d": (nn.GlobalMaxPool2d, X),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), X),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(30), ROWS),
    "ReLU": (nn.ReLU, X),
    "LeakyReLU": (nn.LeakyReLU, X),
    "Sigmoid": (nn.Sigmoid, X),
    "Tanh": (nn.Tanh, X),
    "Softmax": (nn.Softmax, ROWS),
    "LogSoftmax": (nn.LogSoftmax, ROWS),
    "Unfold": (lambda: nn.Unfold(3), X),
    "Fold": (lambda: nn.Fold(12, 3), a(2, 36, 100)),
    "conv, pool, relu": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, rng=np.random.default_rng(1)), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()
        ),
        X,
    ),
    "BasicBlock": (lambda: nn.BasicBlock(4, 6, stride=2, rng=np.random.default_rng(1)), X),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_forward(name: str, training: bool) -> None:
    """Each time with a layer of its own: its making is tried as well."""
    make, x = LAYERS[name]
    assert fail_each(lambda: make().train(training)(x), lambda: x) >= 1


@pytest.mark.parametrize("name", LAYERS)
def test_backward(name: str) -> None:
    make, x = LAYERS[name]
    grad_y = np.ones_like(make()(x))

    def backward() -> Any:
        layer = make()
        layer(x)
        return [layer.backward(grad_y), [p.grad for p in layer.parameters()]]

    assert fail_each(backward, lambda: [x, grad_y]) >= 1


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d", "Linear", "BatchNorm2d"])
def test_gradients_are_all_added_or_none(name: str) -> None:
    make, x = LAYERS[name]
    layer = make()
    grad_y = np.ones_like(layer(x))
    for n in range(1, 9):
        layer(x)
        before = [p.grad for p in layer.parameters()]
        _kernels.fail_allocation(n)
        try:
            layer.backward(grad_y)
        except MemoryError:
            assert all(p.grad is g for p, g in zip(layer.parameters(), before, strict=True))
        else:
            break
        finally:
            _kernels.fail_allocation(0)
    assert n > 1
    assert all(p.grad is not None for p in layer.parameters())


def test_running_statistics_are_replaced_together() -> None:
    layer = nn.BatchNorm2d(4)
    layer(X)
    before = {key: np.copy(value) for key, value in layer.state_dict().items()}
    for n in range(1, 20):
        _kernels.fail_allocation(n)
        try:
            layer(X)
        except MemoryError:
            for key, value in layer.state_dict().items():
                np.testing.assert_array_equal(value, before[key])
        else:
            break
        finally:
            _kernels.fail_allocation(0)
    assert n > 1
    assert layer.num_batches_tracked == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.1),
        lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        lambda p: optim.Adam(p, 0.1, amsgrad=True),
        lambda p: optim.AdamW(p, 0.1),
    ],
    ids=["SGD", "momentum", "Adam", "AdamW"],
)
def test_optimisers_step_all_parameters_or_none(make: Callable[[Any], Any]) -> None:
    """The state of all parameters is made before the first is changed."""
    layer = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3))
    layer(X)
    layer.backward(np.ones((2, 4, 8, 8), np.float32))
    optimiser = make(layer.parameters())
    before = [np.copy(p.data) for p in layer.parameters()]
    for n in range(1, 40):
        _kernels.fail_allocation(n)
        try:
            optimiser.step()
        except MemoryError:
            for p, data in zip(layer.parameters(), before, strict=True):
                np.testing.assert_array_equal(p.data, data)
        else:
            break
        finally:
            _kernels.fail_allocation(0)
    fresh = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3))
    for p, q, data in zip(fresh.parameters(), layer.parameters(), before, strict=True):
        p.data[...] = data
        p.grad = q.grad
    make(fresh.parameters()).step()
    for p, q in zip(fresh.parameters(), layer.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_gradient_that_does_not_fit_leaves_all_parameters_alone() -> None:
    layer = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3))
    for p in layer.parameters():
        p.grad = np.ones_like(p.data)
    list(layer.parameters())[-1].grad = np.ones(5, np.float32)
    before = [np.copy(p.data) for p in layer.parameters()]
    optimiser = optim.Adam(layer.parameters())
    with pytest.raises(fastconv.ShapeError):
        optimiser.step()
    assert_same([p.data for p in layer.parameters()], before)
