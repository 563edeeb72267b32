"""batch_norm and its backward: the reference in a wider dtype, finite differences, hard numbers, threads."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

import fastconv
from fastconv import ops, reference

SHAPES = st.one_of(
    st.tuples(st.integers(2, 40), st.integers(1, 70)),
    st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(2, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(2, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 40), st.integers(1, 90)),
)


def channels_of(x):
    """x as (C, values)."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def draw(shape, dtype, data="normal", seed=0):
    """x, grad_y, running_mean, running_var, weight, bias"""
    rng = np.random.default_rng(seed)
    x, grad_y = numbers(rng, shape, dtype, data), numbers(rng, shape, dtype, data)
    mean, var, weight, bias = (numbers(rng, shape[1], dtype) for _ in range(4))
    return x, grad_y, mean, abs(var) + dtype.type(0.1), weight, bias


def near(ours, right, magnitude, n, terms=16.0):
    """Within so many roundings, and the square root of n more, of what was added up."""
    eps = float(np.finfo(ours.dtype).eps)
    assert ours.shape == right.shape
    assert np.all(abs(ours.astype(right.dtype) - right) <= (terms + np.sqrt(n)) * eps * magnitude + 1e-300)


def spread(values, x):
    return np.asarray(values).reshape(1, -1, *[1] * (x.ndim - 2))


def check(x, grad_y, mean, var, weight, bias, training, layout="C", eps=1e-5):
    """Against the reference in the next wider dtype, with bounds in units of what is added up."""
    dtype, n = x.dtype, x.size // x.shape[1]
    wide = [a.astype(oracle.wide(dtype)) for a in (x, grad_y, mean, var, weight, bias)]
    right = reference.batch_norm(wide[0], *wide[2:], training, eps=eps, return_stats=True)
    given_x, given_grad = lay_out(x, layout), lay_out(grad_y, layout)
    y, *stats = ops.batch_norm(given_x, mean, var, weight, bias, training, eps=eps, return_stats=True)
    for result in (y, *stats):
        assert_fresh(result, given_x, mean, var, weight, bias)
    assert y.dtype == stats[2].dtype == stats[3].dtype == dtype
    assert stats[0].dtype == stats[1].dtype == np.float64
    np.testing.assert_array_equal(y, ops.batch_norm(given_x, mean, var, weight, bias, training, eps=eps), strict=True)

    inv_std = right[2]
    biggest = spread(np.max(abs(channels_of(wide[0])), 1) + abs(right[1]), x)
    deviation = np.max(abs(channels_of(wide[0]) - right[1][:, np.newaxis]), 1)
    np.testing.assert_array_less(abs(stats[1] / inv_std - 1), (64 + n) * np.finfo(np.float64).eps)
    own = float(np.finfo(np.float64).eps / np.finfo(dtype).eps)  # what a unit of the statistics, in float64, is here
    scale = spread(abs(inv_std * wide[4]), x)
    near(y, right[0], spread(deviation, x) * scale + abs(right[0]) + abs(spread(wide[5], x)) + biggest * scale * own, n)
    np.testing.assert_allclose(stats[2], right[3], rtol=1e-5 if dtype == np.float32 else 1e-11)
    np.testing.assert_allclose(stats[3], right[4], rtol=1e-5 if dtype == np.float32 else 1e-10)

    right_grads = reference.batch_norm_backward(wide[1], wide[0], right[1], inv_std, wide[4], training)
    grads = ops.batch_norm_backward(given_grad, given_x, *stats[:2], weight, training)
    for result in grads:
        assert result.dtype == dtype
        assert_fresh(result, given_x, given_grad, weight)
    z = abs(wide[0] - spread(right[1], x)) * spread(inv_std, x)
    sums = np.sum(channels_of(abs(wide[1])), 1), np.sum(channels_of(abs(wide[1]) * z), 1)
    near(grads[2], right_grads[2], sums[0], n)
    near(grads[1], right_grads[1], sums[1] + sums[0] * biggest.ravel() * own * inv_std, n)
    magnitude = abs(wide[1]) + (spread(sums[0], x) + z * spread(sums[1], x)) / n * training
    near(grads[0], right_grads[0], magnitude * scale * (1 + biggest * own * spread(inv_std, x)), n)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@given(shape=SHAPES, data=st.sampled_from(["normal", "integers", "positive"]), training=st.booleans(), layout=layouts,
       seed=seeds)  # fmt: skip
def test_random_problems(shape, data, training, layout, seed, isa, threads, dtype):
    check(*draw(shape, dtype, data, seed), training, layout)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "shape",
    [(4, 3, 1, 1), (300, 2), (2, 1, 200, 300), (1, 5, 31, 33), (40, 1, 9, 9), (33, 17, 14, 14), (3, 70, 7, 7),
     (64, 130), (2, 2, 5000)],
    ids=str,
)  # fmt: skip
def test_shapes(shape, training, isa, threads, dtype):
    check(*draw(shape, dtype), training)


@pytest.mark.parametrize("L", [*range(2, 70), 129, 1027])
def test_every_width(L, isa, dtype):
    """Every remainder of the vector loops."""
    check(*draw((3, 2, L), dtype, seed=L), True)


@pytest.mark.parametrize("C", [1, 7, 8, 31, 32, 33, 64, 65, 100])
def test_every_number_of_features(C, isa, dtype):
    check(*draw((5, C), dtype, seed=C), True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6), (4, 5, 6, 7), (2, 3, 2, 3, 4)], ids=str)
def test_memory_layouts(shape, layout, isa, dtype):
    check(*draw(shape, dtype), True, layout)


@pytest.mark.parametrize("shape", [(16, 3, 40, 41), (64, 33, 14, 14), (600, 700), (5, 2, 300, 300), (40, 64, 20, 20)])
@pytest.mark.parametrize("training", [True, False])
def test_bits_do_not_depend_on_threads(shape, training, isa, dtype):
    x, grad_y, mean, var, weight, bias = draw(shape, dtype)
    results = []
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            y, *stats = ops.batch_norm(x, mean, var, weight, bias, training, return_stats=True)
            results.append((y, *stats, *ops.batch_norm_backward(grad_y, x, *stats[:2], weight, training)))
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert one.tobytes() == other.tobytes()


def test_an_image_alone_has_the_bits_of_its_batch(isa, dtype):
    """Without training."""
    for shape in [(5, 3, 9, 11), (7, 37)]:
        x, _, mean, var, weight, bias = draw(shape, dtype)
        y = ops.batch_norm(x, mean, var, weight, bias)
        for n in range(shape[0]):
            assert ops.batch_norm(x[n : n + 1], mean, var, weight, bias).tobytes() == y[n : n + 1].tobytes()


@pytest.mark.parametrize("outlier", [False, True])
@pytest.mark.parametrize("mean", [1e4, -3e6])
def test_a_mean_that_is_large(mean, outlier, isa, dtype):
    """The deviations are exact in x; what comes out must not show how large the mean is."""
    rng = np.random.default_rng(0)
    x = np.asarray(rng.integers(-8, 9, (8, 3, 20, 21)) / 4 + mean, dtype)
    if outlier:
        x[0, :, 0, 0] = 0  # what statistics begin with, of all pixels
    wide = x.astype(np.longdouble)
    right = (wide - wide.mean((0, 2, 3), keepdims=True)) / np.sqrt(wide.var((0, 2, 3), keepdims=True) + 1e-5)
    y = ops.batch_norm(x, None, None, training=True)
    np.testing.assert_allclose(y, right.astype(np.float64), rtol=1e-6, atol=1e-6 if dtype == np.float32 else 3e-8)


def test_a_constant_channel_has_no_variance(isa, dtype):
    x = np.full((4, 2, 5, 7), 12345.678, dtype)
    y, mean, inv_std, _, var = ops.batch_norm(
        x, np.zeros(2, dtype), np.ones(2, dtype), training=True, return_stats=True
    )
    np.testing.assert_array_equal(y, np.zeros_like(x))
    np.testing.assert_array_equal(mean, x[0, :, 0, 0])
    np.testing.assert_array_equal(inv_std, 1 / np.sqrt(np.full(2, 1e-5)))
    np.testing.assert_allclose(var, 0.9, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0, 0), (1, 0, 2, 2)])
def test_special_values_stay_in_their_channel(value, at, isa, dtype):
    x, grad_y, mean, var, weight, bias = draw((2, 3, 4, 5), dtype)
    clean = ops.batch_norm(x, mean, var, weight, bias, True)
    x[at] = value
    y, *stats = ops.batch_norm(x, mean, var, weight, bias, True, return_stats=True)
    assert np.isnan(y[:, 0]).all()
    np.testing.assert_array_equal(stats[0][0], value)
    np.testing.assert_array_equal(y[:, 1:], clean[:, 1:])
    grad_x, _, grad_bias = ops.batch_norm_backward(grad_y, x, *stats[:2], weight, True)
    assert np.isnan(grad_x[:, 0]).all()
    assert np.isfinite(grad_x[:, 1:]).all()
    assert np.isfinite(grad_bias).all()
    y = ops.batch_norm(x, mean, var, None, bias)
    np.testing.assert_array_equal(y[at], value)
    assert np.isfinite(y).sum() == y.size - 1


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 5), (2, 3, 0), (2, 0, 4)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_nothing(shape, training, isa, dtype):
    x, grad_y, mean, var, weight, bias = draw(shape, dtype)
    y, *stats = ops.batch_norm(x, mean, var, weight, bias, training, return_stats=True)
    assert y.shape == shape
    np.testing.assert_array_equal(stats[2], mean, strict=True)
    np.testing.assert_array_equal(stats[3], var, strict=True)
    grad_x, grad_weight, grad_bias = ops.batch_norm_backward(grad_y, x, *stats[:2], weight, training)
    assert grad_x.shape == shape
    np.testing.assert_array_equal(grad_weight, np.zeros(shape[1], dtype), strict=True)
    np.testing.assert_array_equal(grad_bias, np.zeros(shape[1], dtype), strict=True)


@pytest.mark.parametrize("training", [True, False])
def test_need(training, isa, dtype):
    x, grad_y, mean, var, weight, bias = draw((6, 5, 4, 3), dtype)
    _, *stats = ops.batch_norm(x, mean, var, weight, bias, training, return_stats=True)
    everything = ops.batch_norm_backward(grad_y, x, *stats[:2], weight, training)
    for need in np.ndindex(2, 2, 2):
        need = tuple(bool(one) for one in need)
        some = ops.batch_norm_backward(grad_y, x, *stats[:2], weight, training, need=need)
        for wanted, one, right in zip(need, some, everything, strict=True):
            assert (one is not None) == wanted
            if wanted:
                np.testing.assert_array_equal(one, right, strict=True)


def test_running_statistics_one_by_one(isa, dtype):
    """Each is updated where it is given; neither is needed in training."""
    x, _, mean, var, _, _ = draw((4, 3, 5), dtype)
    both = ops.batch_norm(x, mean, var, training=True, momentum=0.25, return_stats=True)
    for first, second in [(mean, None), (None, var), (None, None)]:
        some = ops.batch_norm(x, first, second, training=True, momentum=0.25, return_stats=True)
        for given_one, one, right in zip((first, second), some[3:], both[3:], strict=True):
            assert (one is None) == (given_one is None)
            if one is not None:
                np.testing.assert_array_equal(one, right)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 4, 5)], ids=str)
def test_finite_differences(shape, training, isa):
    x, _, mean, var, weight, bias = draw(shape, np.dtype(np.float64))

    def gradients(grad_y, x, weight, bias):
        _, *stats = ops.batch_norm(x, mean, var, weight, bias, training, return_stats=True)
        return ops.batch_norm_backward(grad_y, x, *stats[:2], weight, training)

    oracle.gradcheck(
        lambda x, weight, bias: ops.batch_norm(x, mean, var, weight, bias, training), [x, weight, bias], gradients
    )
