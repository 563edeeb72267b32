"""leaky_relu and leaky_relu_backward: exact but for one rounding, element by element."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

import fastconv
from fastconv import nn, ops, reference

SHAPES = [(), (0,), (1,), (5, 0, 3), (2, 3, 4, 5), *[(n,) for n in range(2, 40)], (1001,), (64, 32, 28, 28)]


def check(x, grad_y, slope=0.01, layout="C"):
    given_x, given_grad = lay_out(x, layout), lay_out(grad_y, layout)
    y, grad_x = ops.leaky_relu(given_x, slope), ops.leaky_relu_backward(given_grad, given_x, slope)
    rounded = x.dtype.type(slope)  # the kernel multiplies in the array's own precision
    np.testing.assert_array_equal(y, np.where(x > 0, x, x * rounded))
    np.testing.assert_array_equal(grad_x, np.where(x > 0, grad_y, grad_y * rounded))
    tolerance = {"rtol": 2 * np.finfo(x.dtype).eps, "atol": np.finfo(x.dtype).smallest_subnormal}
    np.testing.assert_allclose(y, reference.leaky_relu(x, slope), **tolerance)
    np.testing.assert_allclose(grad_x, reference.leaky_relu_backward(grad_y, x, slope), **tolerance)
    if slope >= 0:  # the output serves as well
        np.testing.assert_array_equal(ops.leaky_relu_backward(given_grad, y, slope), grad_x)
    for result in (y, grad_x):
        assert result.dtype == x.dtype
        assert_fresh(result, given_x, given_grad)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape, isa, threads, dtype):
    rng = np.random.default_rng(1)
    check(numbers(rng, shape, dtype), numbers(rng, shape, dtype))


@given(
    shape=st.lists(st.integers(0, 12), max_size=4),
    slope=st.sampled_from([0, 0.01, 0.3, 1, 2, -0.5]),
    layout=layouts,
    seed=seeds,
)
def test_random_problems(shape, slope, layout, seed, isa, threads, dtype):
    rng = np.random.default_rng(seed)
    check(numbers(rng, shape, dtype, "integers"), numbers(rng, shape, dtype), slope, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    rng = np.random.default_rng(2)
    check(numbers(rng, (2, 3, 7, 9), dtype), numbers(rng, (2, 3, 7, 9), dtype), layout=layout)


def test_special_values(isa, dtype):
    """NaN stays, and gets the slope below 0 as gradient; infinities are numbers like others; -0 stays -0."""
    nan, inf, tiny = np.nan, np.inf, np.finfo(dtype).smallest_subnormal
    x = np.array([nan, 0.0, -0.0, inf, -inf, tiny, -tiny] * 7, dtype)
    y, grad_x = ops.leaky_relu(x, 0.5), ops.leaky_relu_backward(np.ones_like(x), x, 0.5)
    np.testing.assert_array_equal(y, np.array([nan, 0, -0.0, inf, -inf, tiny, -0.0] * 7, dtype))
    np.testing.assert_array_equal(np.signbit(y[1:7]), [False, True, False, True, False, True])
    np.testing.assert_array_equal(grad_x, [0.5, 0.5, 0.5, 1, 0.5, 1, 0.5] * 7)
    check(np.array([2, -2, 3] * 9, dtype), np.full(27, nan, dtype))


def test_finite_differences(isa):
    x = np.random.default_rng(3).standard_normal((5, 7))
    x[abs(x) < 0.01] = 1
    oracle.gradcheck(
        lambda x: ops.leaky_relu(x, 0.2), [x], lambda grad_y, x: (ops.leaky_relu_backward(grad_y, x, 0.2),)
    )


@pytest.mark.parametrize("slope", [0.01, 0, -0.5])
def test_layer(slope):
    layer, rng = nn.LeakyReLU(slope), np.random.default_rng(4)
    x, grad_y = rng.standard_normal((3, 8)), rng.standard_normal((3, 8))
    np.testing.assert_array_equal(layer(x), fastconv.leaky_relu(x, slope))
    np.testing.assert_array_equal(layer.backward(grad_y), fastconv.leaky_relu_backward(grad_y, x, slope))
    layer(x)
    assert layer.backward(grad_y, need_grad_x=False) is None
    assert repr(layer) == f"LeakyReLU(negative_slope={float(slope)})"
    with pytest.raises(TypeError, match="LeakyReLU: negative_slope must be a number"):
        nn.LeakyReLU("a")
