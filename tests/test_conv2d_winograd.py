"""Winograd's schedules: more images than fit in memory at a time, and images or weights that it leaves to others."""

import numpy as np
import pytest
from oracle import conv2d as exact_conv2d
from oracle import conv2d_backward as exact_backward

import fastconv
from fastconv import ops
from fastconv.ops.conv2d import _conv2d_pooled
from fastconv.ops.max_pool2d import max_pool2d_winners

# Images of this layer at a time: 24 in forward and grad_x, 18 in grad_weight.
N, C, K, H, W = 50, 165, 170, 9, 11


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (N, C, H, W)).astype(np.float32)
    weight = rng.integers(-3, 4, (K, C, 3, 3)).astype(np.float32)
    return x, weight, rng.integers(-3, 4, (N, K, H, W)).astype(np.float32)


def test_many_images_and_weights(arrays, isa):
    x, weight, grad_y = arrays
    y = ops.conv2d(x, weight, None, 1, 1)
    grad_x, grad_weight, _ = ops.conv2d_backward(grad_y, x, weight, 1, 1)
    summed = 0
    for n in range(0, N, 10):
        np.testing.assert_array_equal(y[n : n + 1], ops.conv2d(x[n : n + 1], weight, None, 1, 1))
        part = ops.conv2d_backward(grad_y[n : n + 10], x[n : n + 10], weight, 1, 1)
        np.testing.assert_array_equal(grad_x[n : n + 10], part[0])
        summed = summed + part[1]
    np.testing.assert_array_equal(grad_weight, summed)  # integers: exact in any order


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e30])
def test_an_image_out_of_range_changes_no_other(arrays, isa, value):
    x, weight, _ = arrays
    x = x[:4].copy()
    before = ops.conv2d(x, weight, None, 1, 1)
    x[2, 5, 4, 4] = value
    after = ops.conv2d(x, weight, None, 1, 1)
    np.testing.assert_array_equal(after[[0, 1, 3]], before[[0, 1, 3]])
    touched = np.zeros((H, W), bool)
    touched[3:6, 3:6] = True
    np.testing.assert_array_equal(after[2][:, ~touched], before[2][:, ~touched])
    assert not np.array_equal(after[2][:, touched], before[2][:, touched])


def test_weights_that_are_not_finite_spare_the_padding(arrays, isa):
    x, weight, _ = arrays
    x, weight = x[:1], weight.copy()
    weight[0, 0, 0, 0] = np.inf  # meets the padding alone in the first row and column
    y = ops.conv2d(x, weight, None, 1, 1)
    assert np.isfinite(y[0, 0, 0]).all()
    assert np.isfinite(y[0, 0, :, 0]).all()
    assert not np.isfinite(y[0, 0, 1:, 1:]).any()


def test_threads_do_not_show(arrays, isa):
    x, weight, grad_y = arrays
    results = []
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            y = ops.conv2d(x, weight, None, 1, 1)
            results.append((y, *ops.conv2d_backward(grad_y / 3, x / 7, weight, 1, 1)))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


# -- "high" ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def high():
    fastconv.set_float32_precision("high")
    yield
    fastconv.set_float32_precision("highest")


def units(result, exact, magnitude):
    """The largest error, in eps * sum of absolute products."""
    return float(np.max(abs(result - exact) / (np.finfo(np.float32).eps * magnitude)))


@pytest.mark.parametrize("data", ["normal", "rectified"])
@pytest.mark.parametrize(
    ("shape", "K", "options"),
    [
        ((3, 16, 17, 22), 16, {"padding": 1}),
        ((2, 35, 28, 28), 40, {"padding": 1}),
        ((2, 150, 14, 15), 180, {"padding": 1}),
        ((2, 24, 12, 30), 20, {"padding": 0}),
        ((1, 20, 28, 56), 24, {"padding": 2, "dilation": 2}),
        ((2, 40, 16, 16), 64, {"padding": 1, "groups": 2}),
    ],
)
def test_high_is_within_40_units_and_faster_kernels_are_used(isa, high, shape, K, options, data):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape, dtype=np.float32)
    weight = rng.standard_normal((K, shape[1] // options.get("groups", 1), 3, 3), dtype=np.float32)
    if data == "rectified":
        x = np.maximum(x, 0)
    y = ops.conv2d(x, weight, None, **options)
    grad_y = rng.standard_normal(y.shape, dtype=np.float32)
    grad_x, grad_weight, _ = ops.conv2d_backward(grad_y, x, weight, **options)
    assert units(y, exact_conv2d(x, weight, None, **options), exact_conv2d(abs(x), abs(weight), None, **options)) < 40
    exact = exact_backward(grad_y, x, weight, **options)
    magnitude = exact_backward(abs(grad_y), abs(x), abs(weight), **options)
    assert units(grad_x, exact[0], magnitude[0]) < 40
    assert units(grad_weight, exact[1], magnitude[1]) < 40
    fastconv.set_float32_precision("highest")
    assert not np.array_equal(y, ops.conv2d(x, weight, None, **options))


def test_high_changes_nothing_in_float64_and_keeps_the_promises_on_bits(isa, high):
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((5, 32, 20, 20)), rng.standard_normal((32, 32, 3, 3))
    single, weights = x.astype(np.float32), weight.astype(np.float32)
    y, y32 = ops.conv2d(x, weight), ops.conv2d(single, weights)
    np.testing.assert_array_equal(y32[3:4], ops.conv2d(single[3:4], weights))
    with fastconv.threads(1):
        np.testing.assert_array_equal(y32, ops.conv2d(single, weights))
    fastconv.set_float32_precision("highest")
    np.testing.assert_array_equal(y, ops.conv2d(x, weight))


# -- pooled in the same call -------------------------------------------------------------------------------------------

POOLED = [
    ((3, 32, 14, 14), 64, 1),
    ((2, 32, 13, 13), 40, 0),
    ((1, 17, 9, 20), 33, 1),
    ((2, 165, 9, 11), 170, 1),
    ((20, 16, 8, 8), 16, 1),
    ((2, 20, 28, 29), 18, 1),
]


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize(("shape", "K", "padding"), POOLED)
def test_pooling_in_the_same_call_gives_the_same_bits(isa, dtype, precision, shape, K, padding):
    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal(shape).astype(dtype), rng.standard_normal((K, shape[1], 3, 3)).astype(dtype)
    bias = rng.standard_normal(K).astype(dtype)
    weight[1] = weight[1, :1]  # windows with ties
    x[0, :, :4] = 0.5
    fastconv.set_float32_precision(precision)
    try:
        y, winners = max_pool2d_winners(ops.conv2d(x, weight, bias, 1, padding), 2)
        for relu in (False, True):
            right = ops.relu(y) if relu else y
            result = _conv2d_pooled(x, weight, bias, 1, padding, 1, 1, relu, True)
            assert result is not None
            np.testing.assert_array_equal(result[0], right)
            np.testing.assert_array_equal(result[1], winners)
            np.testing.assert_array_equal(_conv2d_pooled(x, weight, bias, 1, padding, 1, 1, relu, False)[0], right)
    finally:
        fastconv.set_float32_precision("highest")


def test_pooling_in_the_same_call_is_declined_for_numbers_out_of_range(isa):
    x = np.ones((2, 16, 8, 8), np.float32)
    x[1, 3, 3, 3] = np.inf
    assert _conv2d_pooled(x, np.ones((16, 16, 3, 3), np.float32), None, 1, 1, 1, 1, True, True) is None
