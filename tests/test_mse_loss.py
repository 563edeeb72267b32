"""mse_loss and its backward: sums in float64 that do not depend on the threads, reductions, special values."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

import fastconv
from fastconv import ops, reference

REDUCTIONS = ["mean", "sum", "none"]
SHAPES = [(), (1,), (2, 3, 4, 5), *[(n,) for n in range(2, 40)], (1001,), (128, 10), (70_003,)]


def check(x, target, reduction="mean", grad_y=None, layout="C"):
    dtype, wide = x.dtype, oracle.wide(x.dtype)
    exact_x, exact_target = x.astype(wide), target.astype(wide)
    given_x, given_target = lay_out(x, layout), lay_out(target, layout)
    # The difference of two numbers of x's dtype is rounded to it once, and its square twice.
    loss = ops.mse_loss(given_x, given_target, reduction)
    right = (exact_x - exact_target) ** 2
    if reduction == "none":
        assert loss.dtype == dtype
        assert_fresh(loss, given_x, given_target)
        assert_within(loss, right, right, 1)
    else:
        assert type(loss) is float
        right = right.sum() if reduction == "sum" else right.mean()
        assert_within(np.array(loss), np.asarray(right, wide), np.asarray(right) * np.finfo(dtype).eps / 2**-52, 1)
    grad_x = ops.mse_loss_backward(given_x, given_target, reduction, grad_y=grad_y)
    right = reference.mse_loss_backward(exact_x, exact_target, reduction, grad_y=grad_y)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, given_x, given_target)
    assert_within(grad_x, right, abs(right), 1)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_target, target)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape, reduction, isa, threads, dtype):
    rng = np.random.default_rng(1)
    check(numbers(rng, shape, dtype), numbers(rng, shape, dtype), reduction)


@given(
    shape=st.lists(st.integers(1, 12), max_size=4),
    reduction=st.sampled_from(REDUCTIONS),
    data=st.sampled_from(["normal", "wide"]),
    layout=layouts,
    seed=seeds,
)
def test_random_problems(shape, reduction, data, layout, seed, isa, threads, dtype):
    rng = np.random.default_rng(seed)
    grad_y = numbers(rng, shape, dtype) if reduction == "none" else float(rng.standard_normal())
    check(numbers(rng, shape, dtype, data), numbers(rng, shape, dtype, data), reduction, grad_y, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    rng = np.random.default_rng(2)
    check(numbers(rng, (2, 3, 7, 9), dtype), numbers(rng, (2, 3, 7, 9), dtype), layout=layout)


def test_the_same_bits_for_any_number_of_threads(isa, dtype):
    rng = np.random.default_rng(3)
    for n in (100_000, 300_007, 1_000_003):
        x, target = numbers(rng, n, dtype), numbers(rng, n, dtype)
        results = []
        for threads in (1, 2, 3):
            with fastconv.threads(threads):
                results.append((ops.mse_loss(x, target), ops.mse_loss_backward(x, target).tobytes()))
        assert results[0] == results[1] == results[2]


def test_small_integers_are_exact(isa, dtype):
    rng = np.random.default_rng(4)
    x, target = numbers(rng, 5000, dtype, "integers"), numbers(rng, 5000, dtype, "integers")
    assert ops.mse_loss(x, target, "sum") == ((x - target) ** 2).sum()


def test_a_long_sum_is_taken_in_float64(isa):
    x = np.full(20_000_000, 0.1, np.float32)
    assert ops.mse_loss(x, np.zeros_like(x)) == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-6)


def test_nothing_at_all(isa, dtype):
    x = np.zeros((0, 3), dtype)
    for module in (ops, reference):
        assert np.isnan(module.mse_loss(x, x))
        assert module.mse_loss(x, x, "sum") == 0
        assert module.mse_loss(x, x, "none").shape == (0, 3)
        assert module.mse_loss_backward(x, x).shape == (0, 3)


def test_not_a_number(isa, dtype):
    x, target = np.array([np.nan, np.inf, 1, np.inf], dtype), np.array([1, 1, np.inf, np.inf], dtype)
    for module in (ops, reference):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(module.mse_loss(x, target, "none"), [np.nan, np.inf, np.inf, np.nan])
            np.testing.assert_array_equal(module.mse_loss_backward(x, target, "sum"), [np.nan, np.inf, -np.inf, np.nan])
            assert np.isnan(module.mse_loss(x, target))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_finite_differences(reduction, isa):
    rng = np.random.default_rng(5)
    target = rng.standard_normal((5, 4))

    def gradients(grad_y, x):
        return (ops.mse_loss_backward(x, target, reduction, grad_y=grad_y if reduction == "none" else float(grad_y)),)

    oracle.gradcheck(lambda x: ops.mse_loss(x, target, reduction), [rng.standard_normal((5, 4))], gradients)
