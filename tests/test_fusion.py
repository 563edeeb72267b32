"""Convolution, 2x2 max pool and ReLU as one kernel: the bits of one after the other, in the op and in a Sequential."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import models, nn, reference
from fastconv.nn import fusion
from fastconv.ops.conv2d import _conv2d_pooled, _conv2d_pooled_backward, _conv2d_pooled_grad
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward

FUSABLE = ("scratch", "keras", "dropout", "cnn", "fast")


def bits(*arrays: Any) -> list[Any]:
    """All bits but those of a NaN, whose sign and payload no processor promises."""
    return [None if a is None else (a.shape, a.dtype, np.where(np.isnan(a), np.nan, a).tobytes()) for a in arrays]


def apart(x: Any, weight: Any, bias: Any, geometry: Any, relu: bool) -> tuple[Any, Any, Any]:
    """The three ops, one after the other."""
    before = fastconv.conv2d(x, weight, bias, *geometry)
    y, winners = max_pool2d_winners(before, 2)
    return (fastconv.relu(y) if relu else y), winners, before.shape


# -- the op ------------------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_same_bits(data: Any, isa: str, threads: int, dtype: np.dtype) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    rng = np.random.default_rng(number(0, 2**32))
    K, C, R, S = number(1, 20), number(1, 3), number(1, 5), number(1, 5)
    geometry = number(1, 2), (number(0, 3), number(0, 3)), number(1, 2), 1
    H = data.draw(st.integers(2 * R + 1, 40))
    W = data.draw(st.integers(2 * S + 1, 40) | st.integers(60, 90))
    x = rng.standard_normal((number(1, 3), C, H, W)).astype(dtype)
    weight = rng.standard_normal((K, C, R, S)).astype(dtype)
    bias = data.draw(st.sampled_from([None, rng.standard_normal(K).astype(dtype)]))
    if data.draw(st.booleans()):  # ties, zeros of both signs, and what is not finite
        x = rng.choice(
            np.array([-1, -0.0, 0, 1, 1, np.nan, np.inf], dtype), x.shape, p=[0.2, 0.2, 0.2, 0.19, 0.19, 0.01, 0.01]
        )
        weight = np.round(weight)
    relu = data.draw(st.booleans())
    results = _conv2d_pooled(x, weight, bias, *geometry, relu, True)
    if results is None:
        return
    with np.errstate(all="ignore"):
        expected = apart(x, weight, bias, geometry, relu)
    assert bits(*results[:2]) == bits(*expected[:2])
    assert results[2] == expected[2]
    without = _conv2d_pooled(x, weight, bias, *geometry, relu, False)
    assert without is not None
    assert without[1] is None
    assert bits(without[0]) == bits(expected[0])


SHAPES = [  # N, C, H, W, K, kernel, padding: the first layers of the networks; bands; wide, narrow and odd planes
    (3, 1, 28, 28, 32, 3, 1),
    (2, 1, 28, 28, 24, 5, 0),
    (5, 1, 28, 28, 10, 5, 0),
    (1, 1, 28, 28, 8, 3, 0),
    (1, 3, 96, 70, 7, 3, 1),
    (2, 1, 200, 11, 5, 3, 1),
    (1, 2, 5, 300, 3, 2, 0),
    (2, 1, 31, 29, 9, 3, 1),
    (1, 1, 4, 4, 1, 3, 0),
    (7, 3, 6, 7, 6, 3, 0),
    (2, 32, 14, 14, 64, 3, 1),  # Winograd
    (1, 24, 12, 13, 32, 3, 0),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_these_are_fused(shape: tuple[int, ...], isa: str, threads: int, dtype: np.dtype, rng: Any) -> None:
    N, C, H, W, K, kernel, padding = shape
    x = rng.integers(-3, 4, (N, C, H, W)).astype(dtype)
    weight = rng.integers(-3, 4, (K, C, kernel, kernel)).astype(dtype)
    bias = rng.integers(-3, 4, K).astype(dtype)
    results = _conv2d_pooled(x, weight, bias, 1, padding, 1, 1, True, True)
    assert results is not None
    y, winners, before = results
    assert bits(y, winners) == bits(*apart(x, weight, bias, (1, padding), True)[:2])
    if N * K * H * W < 20_000:
        naive = reference.relu(reference.max_pool2d(reference.conv2d(x, weight, bias, 1, padding), 2))
        np.testing.assert_array_equal(y, naive)
    assert before == (N, K, H + 2 * padding - kernel + 1, W + 2 * padding - kernel + 1)
    for n in range(N):  # an image alone has the bits that it has in a batch
        one = _conv2d_pooled(x[n : n + 1], weight, bias, 1, padding, 1, 1, True, True)
        assert one is not None
        assert bits(one[0], one[1]) == bits(y[n : n + 1], winners[n : n + 1])
    single = _conv2d_pooled(x[0], weight, bias, 1, padding, 1, 1, True, True)
    assert single is not None
    assert bits(single[0]) == bits(y[0])


@given(data=st.data())
def test_back_through_it(data: Any, isa: str, threads: int, dtype: np.dtype) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    rng = np.random.default_rng(number(0, 2**32))
    shape = number(1, 4), number(1, 20), number(2, 40), number(2, 40)
    if data.draw(st.booleans()):
        shape = (*shape[:2], *data.draw(st.sampled_from([(28, 28), (14, 14), (2, 2), (3, 70)])))
    y, winners = max_pool2d_winners(rng.standard_normal(shape).astype(dtype), 2)
    relu, want_bias = data.draw(st.booleans()), data.draw(st.booleans())
    if relu:
        y = fastconv.relu(y)
    grad_y = rng.standard_normal(y.shape).astype(dtype)
    results = _conv2d_pooled_grad(grad_y, y if relu else None, winners, shape, want_bias)
    assert results is not None
    masked = fastconv.relu_backward(grad_y, y) if relu else grad_y
    grad = max_pool2d_winners_backward(masked, winners, shape, 2)
    x, weight = np.zeros((shape[0], 1, *shape[2:]), dtype), np.zeros((shape[1], 1, 1, 1), dtype)
    grad_bias = fastconv.conv2d_backward(grad, x, weight, need=(False, False, True))[2]
    assert bits(*results) == bits(grad, grad_bias if want_bias else None)


@pytest.mark.parametrize(
    "change",
    [
        {"grad_y": np.ones((1, 2, 3, 4), np.float32)},
        {"grad_y": np.ones((1, 2, 3, 3), np.float64)},
        {"grad_y": np.ones((1, 2, 3, 6), np.float32)[..., ::2]},
        {"y": np.ones((1, 2, 3, 4), np.float32)},
        {"winners": np.zeros((1, 2, 3, 3), np.int8)},
        {"winners": np.zeros((1, 2, 9), np.uint8)},
        {"winners": None},
        {"before": (1, 2, 8, 6)},
        {"before": (2, 6, 6)},
        {"before": (1, 2, 6, 0)},
    ],
    ids=repr,
)
def test_the_way_back_is_left_to_the_ops(change: dict[str, Any]) -> None:
    y = np.ones((1, 2, 3, 3), np.float32)
    arguments = {"grad_y": y, "y": y, "winners": np.zeros(y.shape, np.uint8), "before": (1, 2, 6, 7)}
    assert _conv2d_pooled_grad(*arguments.values(), True) is not None
    assert _conv2d_pooled_grad(*(arguments | change).values(), True) is None


def back_apart(grad_y: Any, y: Any, winners: Any, shape: Any, x: Any, weight: Any, geometry: Any, need: Any) -> Any:
    """The gradients of the ops, one after the other."""
    masked = grad_y if y is None else fastconv.relu_backward(grad_y, y)
    grad = max_pool2d_winners_backward(masked, winners, shape, 2)
    return fastconv.conv2d_backward(grad, x, weight, *geometry, need=need)


@given(data=st.data())
def test_straight_back(data: Any, isa: str, threads: int, dtype: np.dtype) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    rng = np.random.default_rng(number(0, 2**32))
    few = data.draw(st.booleans())
    N, C, K = number(1, 20), number(1, 3) if few else number(8, 40), number(1, 40)
    R, S = number(1, 5), number(1, 5)
    geometry = number(1, 2), (number(0, 3), number(0, 3)), number(1, 2), 1
    height, width = data.draw(st.sampled_from([(2 * R + 1, 2 * S + 1), (12, 12), (28, 28), (15, 17), (11, 40)]))
    H, W = max(height, 2 * R + 1), max(width, 2 * S + 1)
    x = rng.standard_normal((N, C, H, W)).astype(dtype)
    weight = rng.standard_normal((K, C, R, S)).astype(dtype)
    relu = data.draw(st.booleans())
    y, winners, shape = apart(x, weight, None, geometry, relu)
    if 0 in y.shape:
        return
    grad_y = rng.standard_normal(y.shape).astype(dtype)
    odd = data.draw(st.sampled_from([None, None, "zeros", "denormals", "grad_y", "x", "weight"]))
    if odd == "zeros":
        grad_y[rng.random(y.shape) < 0.5] = data.draw(st.sampled_from([0.0, -0.0]))
    elif odd == "denormals":  # zero where numbers are multiplied, but not for ReLU
        tiny = np.finfo(dtype).smallest_subnormal
        grad_y[rng.random(y.shape) < 0.3] = tiny
        y = np.where(rng.random(y.shape) < 0.3, tiny, y)
    elif odd is not None:
        array = {"grad_y": grad_y, "x": x, "weight": weight}[odd]
        array.flat[rng.integers(array.size)] = data.draw(st.sampled_from([np.inf, np.nan]))
    want_x, want_bias = data.draw(st.booleans()), data.draw(st.booleans())
    kept = y if relu else None
    results = _conv2d_pooled_backward(grad_y, kept, winners, shape, x, weight, *geometry, want_x, want_bias)
    if results is None:
        return
    with np.errstate(all="ignore"):
        expected = back_apart(grad_y, kept, winners, shape, x, weight, geometry, (want_x, True, want_bias))
    assert bits(*results) == bits(*expected)


STRAIGHT = [  # N, C, H, W, K, kernel, padding, want_x: layers of the networks; strips; what is left over
    (9, 1, 28, 28, 24, 5, 0, False),
    (16, 1, 28, 28, 8, 3, 0, False),
    (3, 1, 28, 28, 32, 3, 1, False),
    (2, 1, 75, 75, 40, 3, 0, False),  # not all channels at a time
    (9, 24, 12, 12, 32, 3, 0, True),
    (3, 32, 14, 14, 64, 3, 1, True),
    (2, 8, 31, 200, 5, 3, 1, True),  # one plane at a time
    (2, 17, 9, 7, 3, 2, 0, True),
]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", STRAIGHT, ids=str)
def test_these_go_straight_back(
    shape: tuple[int, ...], relu: bool, isa: str, threads: int, dtype: np.dtype, rng: Any
) -> None:
    N, C, H, W, K, kernel, padding, want_x = shape
    x = rng.standard_normal((N, C, H, W)).astype(dtype)
    weight = rng.standard_normal((K, C, kernel, kernel)).astype(dtype)
    geometry = 1, padding, 1, 1
    y, winners, before = apart(x, weight, None, geometry, relu)
    grad_y = rng.standard_normal(y.shape).astype(dtype)
    arguments = grad_y, y if relu else None, winners, before, x, weight
    results = _conv2d_pooled_backward(*arguments, *geometry, want_x, True)
    assert results is not None
    assert bits(*results) == bits(*back_apart(*arguments, geometry, (want_x, True, True)))
    again = _conv2d_pooled_backward(*arguments, *geometry, want_x, False)
    assert again is not None
    assert bits(*again) == bits(*results[:2], None)


@pytest.mark.parametrize(
    "change",
    [
        {"grad_y": np.ones((1, 4, 5, 6), np.float32)},
        {"grad_y": np.ones((1, 4, 5, 5), np.float64)},
        {"y": np.ones((1, 4, 5, 6), np.float32)},
        {"winners": None},
        {"before": (1, 4, 11, 10)},
        {"before": (4, 10, 10)},
        {"x": np.ones((8, 12, 12), np.float32)},
        {"x": np.full((1, 8, 12, 12), np.inf, np.float32)},
        {"weight": np.full((4, 8, 3, 3), np.nan, np.float32)},
        {"weight": np.ones((5, 8, 3, 3), np.float32)},
        {"padding": "valid"},
        {"groups": 2},
    ],
    ids=lambda change: "-".join(change),
)
def test_the_straight_way_back_is_left_to_the_ops(change: dict[str, Any]) -> None:
    y = np.ones((1, 4, 5, 5), np.float32)
    x, weight = np.ones((1, 8, 12, 12), np.float32), np.ones((4, 8, 3, 3), np.float32)
    arguments: dict[str, Any] = {"grad_y": y, "y": y, "winners": np.zeros(y.shape, np.uint8), "before": (1, 4, 10, 10)}
    arguments |= {"x": x, "weight": weight, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    assert _conv2d_pooled_backward(**arguments, want_x=True, want_bias=True) is not None
    assert _conv2d_pooled_backward(**(arguments | change), want_x=True, want_bias=True) is None


def test_weights_that_are_not_finite_are_left_alone() -> None:
    x, weight = np.ones((1, 1, 8, 8), np.float32), np.ones((4, 1, 3, 3), np.float32)
    weight[1, 0, 1, 1] = np.inf
    assert _conv2d_pooled(x, weight, None, 1, 1, 1, 1, True, True) is None  # a zero of the padding must not meet it
    assert _conv2d_pooled(x, weight, None, 1, 0, 1, 1, True, True) is not None
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU())
    model[0].weight.data[...] = weight
    assert bits(model(x)) == bits(apart(x, weight, model[0].bias.data, (1, 1), True)[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ((1, 1, 8, 8), (32, 1, 1, 1), (1, 0, 1, 1)),  # a 1x1 kernel is a matrix product
        ((1, 4, 8, 8), (4, 1, 3, 3), (1, 1, 1, 4)),  # depthwise
        ((0, 1, 8, 8), (4, 1, 3, 3), (1, 1, 1, 1)),
        ((1, 1, 3, 8), (4, 1, 3, 3), (1, 0, 1, 1)),  # no window
        ((1, 1, 8, 8), (4, 1, 3, 3), (1, "same", 1, 1)),
        ((1, 1, 8, 8), (4, 2, 3, 3), (1, 1, 1, 1)),  # wrong: refused elsewhere
    ],
    ids=str,
)
def test_the_others_are_left_to_the_ops(arguments: Any) -> None:
    x_shape, weight_shape, geometry = arguments
    x, weight = np.ones(x_shape, np.float32), np.ones(weight_shape, np.float32)
    assert _conv2d_pooled(x, weight, None, *geometry, True, True) is None


# -- Sequential --------------------------------------------------------------------------------------------------------


def apart_model(model: nn.Sequential) -> nn.Sequential:
    """A copy in which nothing runs together: each layer in a Sequential of its own."""
    return nn.Sequential(*(nn.Sequential(layer) for layer in copy.deepcopy(model)))


def grads(model: nn.Module) -> list[Any]:
    return bits(*(parameter.grad for parameter in model.parameters()))


@pytest.mark.parametrize("need_grad_x", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", FUSABLE)
def test_networks_give_the_bits_of_their_layers(
    name: str, batch: int, need_grad_x: bool, threads: int, rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    forward = fusion.Fused.forward
    monkeypatch.setattr(fusion.Fused, "forward", lambda self, x: calls.append(forward(self, x)) or calls[-1])
    model = models.build(name, rng=3)
    layers = apart_model(model)
    x = rng.standard_normal((batch, 1, 28, 28)).astype(np.float32)
    for _ in range(2):
        y = model(x)
        assert any(call is not None for call in calls)
        grad_y = rng.standard_normal(y.shape).astype(np.float32)
        assert bits(y) == bits(layers(x))
        assert bits(model.backward(grad_y, need_grad_x=need_grad_x)) == bits(
            layers.backward(grad_y, need_grad_x=need_grad_x)
        )
        assert grads(model) == grads(layers)
    assert bits(model.eval()(x)) == bits(layers.eval()(x))


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, rng=np.random.default_rng(0)), *layers)


CHAINS = [
    lambda: chain(nn.MaxPool2d(2)),
    lambda: chain(nn.ReLU(), nn.MaxPool2d(2)),
    lambda: chain(nn.MaxPool2d(2), nn.ReLU()),
    lambda: chain(nn.ReLU(), nn.MaxPool2d((2, 2), (2, 2)), nn.ReLU(), nn.MaxPool2d(2)),
    lambda: chain(nn.MaxPool2d(2), nn.MaxPool2d(2)),
    lambda: chain(nn.MaxPool2d(3)),
    lambda: chain(nn.MaxPool2d(2, 1), nn.ReLU()),
    lambda: chain(nn.MaxPool2d(2, padding=1), nn.ReLU()),
    lambda: chain(nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()),
    lambda: chain(nn.MaxPool2d(2, dilation=2), nn.ReLU()),
    lambda: chain(nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU()),
    lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 3, 3), nn.MaxPool2d(2)),
    lambda: nn.Sequential(chain(nn.ReLU()), nn.MaxPool2d(2)),
]


@pytest.mark.parametrize("make", range(len(CHAINS)))
def test_chains(make: int, rng: Any) -> None:
    model = CHAINS[make]()
    layers = apart_model(model)
    x = rng.standard_normal((2, 1, 17, 20)).astype(np.float32)
    y = model(x)
    assert bits(y) == bits(layers(x))
    grad_y = rng.standard_normal(y.shape).astype(np.float32)
    assert bits(model.backward(grad_y)) == bits(layers.backward(grad_y))
    assert grads(model) == grads(layers)


def test_a_layers_own_backward_has_what_it_needs(rng: Any) -> None:
    """After a fused forward, as after forwards of their own in the order in which they ran."""
    x = rng.standard_normal((2, 1, 10, 10)).astype(np.float32)
    model, other = chain(nn.MaxPool2d(2), nn.ReLU()), chain(nn.MaxPool2d(2), nn.ReLU())
    grad = rng.standard_normal(model(x).shape).astype(np.float32)
    y = x
    for layer in other:
        y = layer(y)
    one, two = grad, grad
    for a, b in zip(reversed(list(model)), reversed(list(other)), strict=True):
        one, two = a.backward(one), b.backward(two)
        assert bits(one) == bits(two)
    assert grads(model) == grads(other)
    with pytest.raises(RuntimeError, match="forward"):
        model[0].backward(grad)


def test_the_input_is_not_changed(rng: Any) -> None:
    x = rng.standard_normal((2, 1, 10, 10)).astype(np.float32)
    before = x.copy()
    model = chain(nn.MaxPool2d(2), nn.ReLU())
    model.backward(model(x))
    assert np.array_equal(x, before)


def test_the_plan_follows_its_layers(rng: Any) -> None:
    x = rng.standard_normal((2, 1, 12, 12)).astype(np.float32)
    model = chain(nn.ReLU(), nn.MaxPool2d(2))
    first = model(x)
    model[2].return_indices = True
    model.eval()
    y, indices = model(x)
    assert bits(y) == bits(first)
    assert indices.dtype == np.int64
    assert indices.max() > 3
    model[2].return_indices = False
    model[2].kernel_size = 3
    assert bits(model(x)) == bits(apart_model(model)(x))
    assert model(x).shape == (2, 6, 5, 5)
    model.append(nn.Flatten())
    assert model(x).shape == (2, 150)


def test_modes_may_differ(rng: Any) -> None:
    """Each layer keeps what it needs if it is in training mode itself."""
    x = rng.standard_normal((2, 1, 12, 12)).astype(np.float32)
    model = chain(nn.MaxPool2d(2), nn.ReLU())
    model[1].eval()
    model(x)
    assert model[1]._saved is None
    assert model[0]._saved is not None
    assert model[2]._saved is not None


def test_subclasses_run_by_themselves(rng: Any) -> None:
    class Doubled(nn.Conv2d):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    x = rng.standard_normal((2, 1, 12, 12)).astype(np.float32)
    plain, doubled = nn.Conv2d(1, 3, 3, bias=False, rng=rng), Doubled(1, 3, 3, bias=False)
    doubled.load_state_dict(plain.state_dict())
    assert np.array_equal(nn.Sequential(doubled, nn.MaxPool2d(2))(x), 2 * nn.Sequential(plain, nn.MaxPool2d(2))(x))


def test_copies_and_their_plans_are_apart(rng: Any) -> None:
    x = rng.standard_normal((2, 1, 12, 12)).astype(np.float32)
    model = chain(nn.MaxPool2d(2), nn.ReLU())
    before = model(x)
    other = copy.deepcopy(model)
    model[0].weight.data[...] = 0
    assert bits(other(x)) == bits(before)
