"""linear and linear_backward against the reference, exact results, finite differences."""

import functools
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import LAYOUTS, LINEAR_LAYERS, LinearCase, lay_out, layouts, linear_cases

from fastconv import ops, reference

NEEDS = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]


def products(grad_y, x, weight, bias):
    """(y, grad_x, grad_weight, grad_bias) in the dtype of the arguments."""
    I, O = x.shape[-1], len(weight)  # noqa: E741
    rows, grads = x.reshape(-1, I) if x.size else x.reshape(0, I), grad_y.reshape(-1, O)
    y = (rows @ weight.T).reshape(grad_y.shape)
    return y if bias is None else y + bias, (grads @ weight).reshape(x.shape), grads.T @ rows, grads.sum(axis=0)


@functools.lru_cache(maxsize=256)
def exact(case, dtype):
    """The four results in the wide dtype, and their sums of absolute products."""
    arrays = [None if a is None else a.astype(oracle.wide(dtype)) for a in (case.grad_y(dtype), *case.arrays(dtype))]
    return products(*arrays), products(*(None if a is None else abs(a) for a in arrays))


def check(case, dtype, layout="C", need=(True, True, True)):
    x, weight, bias = (None if a is None else lay_out(a, layout) for a in case.arrays(dtype))
    grad_y = lay_out(case.grad_y(dtype), layout)
    rights, magnitudes = exact(case, dtype)
    M = int(np.prod(case.rows))
    results = [ops.linear(x, weight, bias), *ops.linear_backward(grad_y, x, weight, need=need)]
    counts = (case.I + 1, case.O, M, M)
    for result, right, magnitude, n, wanted in zip(results, rights, magnitudes, counts, (True, *need), strict=True):
        if not wanted:
            assert result is None
            continue
        assert result.dtype == dtype
        assert_fresh(result, x, weight, bias, grad_y)
        if case.data == "integers":
            np.testing.assert_array_equal(result, right.astype(dtype))
        else:
            assert_within(result, right, magnitude, n)
    inputs = (*case.arrays(dtype), case.grad_y(dtype))
    for before, after in zip(inputs, (x, weight, bias, grad_y), strict=True):
        np.testing.assert_array_equal(before, after)  # inputs are never written


@given(case=linear_cases(), layout=layouts, need=st.sampled_from([*NEEDS[:1] * 4, *NEEDS]))
def test_random_problems(case, layout, need, isa, threads, dtype):
    check(case, dtype, layout, need)


@given(case=linear_cases(rows=6, largest=40))
def test_matches_the_reference(case, isa, dtype):
    x, weight, bias = case.arrays(dtype)
    grad_y = case.grad_y(dtype)
    rights = (reference.linear(x, weight, bias), *reference.linear_backward(grad_y, x, weight))
    results = (ops.linear(x, weight, bias), *ops.linear_backward(grad_y, x, weight))
    M = int(np.prod(case.rows))
    counts = (case.I + 1, case.O, M, M)
    for result, right, magnitude, n in zip(results, rights, exact(case, dtype)[1], counts, strict=True):
        assert_within(result, right, magnitude, n, terms=5)


@given(case=linear_cases(rows=6, largest=40))
def test_oracle_is_the_reference(case):
    """What the other tests call exact is what the reference computes."""
    x, weight, bias = case.arrays(np.float64)
    results = (
        reference.linear(x, weight, bias),
        *reference.linear_backward(case.grad_y(np.float64), x, weight),
    )
    for result, right, magnitude in zip(results, *exact(case, np.float64), strict=True):
        assert_within(result, right, magnitude, 40)


@pytest.mark.parametrize("case", [case for _, case in LINEAR_LAYERS], ids=[name for name, _ in LINEAR_LAYERS])
def test_layers(case, isa, threads, dtype):
    check(replace(case, data="integers"), dtype)
    if dtype == np.float32:  # float64 against longdouble takes too long here; smaller problems cover it
        check(replace(case, data="positive"), dtype)


def test_every_remainder_of_the_tiles(isa, threads, dtype):
    for M in (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 28, 29):
        for O in (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65):  # noqa: E741
            check(LinearCase((M,), 5 + (3 * M + O) % 60, O, data="integers", seed=O), dtype)


@pytest.mark.parametrize("rows", [(), (0,), (1,), (3, 2), (2, 0, 3), (2, 3, 1, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_leading_axes_and_memory_layouts(rows, layout, isa, dtype):
    check(LinearCase(rows, 17, 9, data="integers"), dtype, layout)


@pytest.mark.parametrize("case", [LinearCase((1,), 1, 1), LinearCase((5000,), 3, 2), LinearCase((2,), 20_000, 3)])
def test_odd_shapes(case, isa, threads, dtype):
    for data in ("integers", "positive", "wide"):
        check(replace(case, data=data), dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values_stay_in_their_row(value, isa, dtype):
    x = np.ones((9, 30), dtype)
    x[4, 20] = value
    y = ops.linear(x, np.ones((17, 30), dtype))
    right = np.full((9, 17), 30, dtype)
    right[4] = value
    np.testing.assert_array_equal(y, right)


@pytest.mark.parametrize("rows", [(), (3,), (2, 3)])
def test_finite_differences(rows, isa):
    oracle.gradcheck(
        ops.linear, list(LinearCase(rows, 7, 5).arrays(np.float64)), lambda g, x, w, b: ops.linear_backward(g, x, w)
    )
