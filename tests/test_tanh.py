"""tanh and tanh_backward: a few units in the last place over the whole range, special values, layers."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

import fastconv
from fastconv import nn, ops, reference

SHAPES = [(), (0,), (1,), (5, 0, 3), (2, 3, 4, 5), *[(n,) for n in range(2, 40)], (1001,), (16, 32, 28, 28)]


def exact(x):
    """In the wide dtype."""
    x = x.astype(oracle.wide(x.dtype))
    return np.tanh(x)


def assert_few_ulp(y, x, ulp=3):
    right = exact(x)
    spacing = np.spacing(abs(right).astype(x.dtype)).astype(right.dtype)
    worst = np.argmax(abs(y.astype(right.dtype) - right) / spacing, axis=None) if x.size else None
    assert np.all(abs(y.astype(right.dtype) - right) <= ulp * spacing), (x.flat[worst], y.flat[worst])


def check(x, grad_y, layout="C"):
    given_x, given_grad = lay_out(x, layout), lay_out(grad_y, layout)
    y = ops.tanh(given_x)
    assert_few_ulp(y, x)
    grad_x = ops.tanh_backward(given_grad, lay_out(y, layout))
    exact_grad, p = grad_y.astype(oracle.wide(x.dtype)), y.astype(oracle.wide(x.dtype))
    assert_within(grad_x, np.asarray(reference.tanh_backward(exact_grad, p)), abs(exact_grad) * (1 + p * p), 1)
    for result in (y, grad_x):
        assert result.dtype == x.dtype
        assert_fresh(result, given_x, given_grad)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape, isa, threads, dtype):
    rng = np.random.default_rng(1)
    check(numbers(rng, shape, dtype), numbers(rng, shape, dtype))


@given(shape=st.lists(st.integers(0, 12), max_size=4), layout=layouts, scale=st.sampled_from([1, 30, 900]), seed=seeds)
def test_random_problems(shape, layout, scale, seed, isa, threads, dtype):
    rng = np.random.default_rng(seed)
    check(np.asarray(numbers(rng, shape, dtype) * dtype.type(scale)), numbers(rng, shape, dtype), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    rng = np.random.default_rng(2)
    check(numbers(rng, (2, 3, 7, 9), dtype), numbers(rng, (2, 3, 7, 9), dtype), layout)


def test_accuracy_over_the_whole_range(isa, dtype):
    """Where it bends, where it ends, and every binary exponent down to the denormal numbers."""
    rng, far = np.random.default_rng(3), 12 if dtype == np.float32 else 25
    exponents = rng.uniform(np.log2(float(np.finfo(dtype).smallest_subnormal)), 12, 60_000)
    for x in (
        rng.uniform(-far, far, 100_000),
        rng.uniform(-2, 2, 100_000),
        np.exp2(exponents) * rng.choice([-1, 1], 60_000),
    ):
        x = x.astype(dtype)
        assert_few_ulp(ops.tanh(x), x)


def test_rises_and_stays_within_its_bounds(isa, dtype):
    y = ops.tanh(np.linspace(-120, 120, 200_001).astype(dtype)).astype(np.float64)
    assert np.all(np.diff(y) >= -2 * np.finfo(dtype).eps)
    assert y.min() >= -1
    assert y.max() == 1


def test_special_values(isa, dtype):
    """Tiny numbers are their own results, denormal ones and -0 too."""
    nan, inf, tiny = np.nan, np.inf, np.finfo(dtype).smallest_subnormal
    normal, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    x = np.array([nan, 0.0, -0.0, inf, -inf, tiny, -tiny, normal, -normal, huge, -huge] * 7, dtype)
    right = np.array([nan, 0, -0.0, 1, -1, tiny, -tiny, normal, -normal, 1, -1] * 7, dtype)
    y = ops.tanh(x)
    np.testing.assert_array_equal(y, right)
    np.testing.assert_array_equal(np.signbit(y[1:]), np.signbit(right[1:]))


def test_the_place_in_the_array_does_not_matter(isa, dtype):
    x = numbers(np.random.default_rng(5), 1000, dtype)
    y = ops.tanh(x)
    for i in range(1, 40):
        np.testing.assert_array_equal(ops.tanh(x[i:]), y[i:])


def test_the_same_bits_for_any_number_of_threads(isa, dtype):
    x = numbers(np.random.default_rng(6), 300_007, dtype)
    results = []
    for n in (1, 2, 3):
        with fastconv.threads(n):
            y = ops.tanh(x)
            results.append((y.tobytes(), ops.tanh_backward(x, y).tobytes()))
    assert results[0] == results[1] == results[2]


def test_finite_differences(isa):
    x = np.random.default_rng(7).standard_normal((5, 7)) * 2
    oracle.gradcheck(ops.tanh, [x], lambda grad_y, x: (ops.tanh_backward(grad_y, ops.tanh(x)),))


def test_quick_calls_give_the_same(dtype):
    """What the quick way leaves to the checked one, an array that is not contiguous, has the same bits."""
    x = numbers(np.random.default_rng(8), (30, 30), dtype)
    np.testing.assert_array_equal(ops.tanh(x), ops.tanh(np.asfortranarray(x)))
    y = ops.tanh(x)
    np.testing.assert_array_equal(ops.tanh_backward(x, y), ops.tanh_backward(np.asfortranarray(x), y))


def test_layer():
    layer, rng = nn.Tanh(), np.random.default_rng(4)
    x, grad_y = rng.standard_normal((3, 8)), rng.standard_normal((3, 8))
    y = layer(x)
    np.testing.assert_array_equal(y, fastconv.tanh(x))
    np.testing.assert_array_equal(layer.backward(grad_y), fastconv.tanh_backward(grad_y, y))
    layer(x)
    assert layer.backward(grad_y, need_grad_x=False) is None
    assert repr(layer) == "Tanh()"
    layer.eval()(x)
    with pytest.raises(RuntimeError, match=r"Tanh\.backward"):
        layer.backward(grad_y)
