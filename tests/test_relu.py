"""relu and relu_backward: exact, element by element."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

from fastconv import ops, reference

SHAPES = [(), (0,), (1,), (5, 0, 3), (2, 3, 4, 5), *[(n,) for n in range(2, 40)], (1001,), (64, 32, 28, 28)]


def check(x, grad_y, layout="C"):
    given_x, given_grad = lay_out(x, layout), lay_out(grad_y, layout)
    y = ops.relu(given_x)
    assert y.dtype == x.dtype
    assert_fresh(y, given_x)
    np.testing.assert_array_equal(y, reference.relu(x))
    right = reference.relu_backward(grad_y, x)
    for either in (given_x, y):  # the input, or equally the output
        grad_x = ops.relu_backward(given_grad, either)
        assert grad_x.dtype == x.dtype
        assert_fresh(grad_x, given_grad, either)
        np.testing.assert_array_equal(grad_x, right)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape, isa, threads, dtype):
    rng = np.random.default_rng(1)
    check(numbers(rng, shape, dtype), numbers(rng, shape, dtype))


@given(shape=st.lists(st.integers(0, 12), max_size=4), layout=layouts, seed=seeds)
def test_random_problems(shape, layout, seed, isa, threads, dtype):
    rng = np.random.default_rng(seed)
    check(numbers(rng, shape, dtype, "integers"), numbers(rng, shape, dtype), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    rng = np.random.default_rng(2)
    check(numbers(rng, (2, 3, 7, 9), dtype), numbers(rng, (2, 3, 7, 9), dtype), layout)


def test_special_values(isa, dtype):
    """NaN stays, and hands its gradient on; the slope at 0 and at -0 is 0; infinities are numbers like others."""
    tiny, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    x = np.array([np.nan, 0.0, -0.0, np.inf, -np.inf, tiny, -tiny, huge, -huge, -np.nan] * 7, dtype)
    check(x, np.arange(1, 71, dtype=dtype))
    check(x, np.full(70, np.nan, dtype))
    np.testing.assert_array_equal(
        ops.relu(x)[:10], np.array([np.nan, 0, 0, np.inf, 0, tiny, 0, huge, 0, np.nan], dtype)
    )
    np.testing.assert_array_equal(ops.relu_backward(np.ones_like(x), x)[:10], [1, 0, 0, 1, 0, 1, 0, 1, 0, 1])


def test_finite_differences(isa):
    x = np.random.default_rng(3).standard_normal((5, 7))
    x[abs(x) < 0.01] = 1
    oracle.gradcheck(ops.relu, [x], lambda grad_y, x: (ops.relu_backward(grad_y, x),))
