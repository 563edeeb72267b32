"""avg_pool2d and its backward against the reference, exact results and finite differences."""

import functools
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from oracle import assert_fresh, assert_within
from strategies import DATA, LAYOUTS, POOL_LAYERS, PoolCase, lay_out, layouts, pool_cases

from fastconv import ops, reference


def area(case):
    return int(np.prod(np.broadcast_to(case.kernel_size, 2)))


@functools.lru_cache(maxsize=512)
def exact(case, dtype):
    """(x, y, grad_y, grad_x) and the sums of absolute values of y and grad_x; y and grad_x in the wide dtype."""
    x = case.x(dtype)
    y = oracle.avg_pool2d(x, case.kernel_size, **case.options)
    grad_y = case.grad_y(y.shape, dtype)
    grad_x, magnitude = (
        oracle.avg_pool2d_backward(grad, x.shape, case.kernel_size, **case.options) for grad in (grad_y, abs(grad_y))
    )
    return x, y, grad_y, grad_x, oracle.avg_pool2d(abs(x), case.kernel_size, **case.options), magnitude


def check(case, dtype, layout="C"):
    right_x, right_y, right_grad, right_grad_x, magnitude, grad_magnitude = exact(case, dtype)
    x, grad_y = lay_out(right_x, layout), lay_out(right_grad, layout)
    y = ops.avg_pool2d(x, case.kernel_size, **case.options)
    assert y.dtype == dtype
    assert_fresh(y, x)
    assert_within(y, right_y, magnitude, area(case))
    grad_x = ops.avg_pool2d_backward(grad_y, x.shape, case.kernel_size, **case.options)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, grad_y)
    assert_within(grad_x, right_grad_x, grad_magnitude, area(case))
    np.testing.assert_array_equal(x, right_x)  # inputs are never written
    np.testing.assert_array_equal(grad_y, right_grad)


@given(case=pool_cases(), layout=layouts)
def test_random_problems(case, layout, isa, threads, dtype):
    check(case, dtype, layout)


@given(case=pool_cases(largest=5))
def test_matches_the_reference(case, isa, dtype):
    x, kernel, options = case.x(dtype), case.kernel_size, case.options
    right, magnitude = (reference.avg_pool2d(a, kernel, **options) for a in (x, abs(x)))
    assert_within(ops.avg_pool2d(x, kernel, **options), right, magnitude, area(case), terms=5)
    grad_y = case.grad_y(right.shape, dtype)
    right, magnitude = (reference.avg_pool2d_backward(g, x.shape, kernel, **options) for g in (grad_y, abs(grad_y)))
    result = ops.avg_pool2d_backward(grad_y, x.shape, kernel, **options)
    assert_within(result, right, magnitude, area(case), terms=5)


@given(case=pool_cases(largest=5))
def test_oracle_is_the_reference(case):
    """What the other tests call exact is what the reference computes."""
    x, y, grad_y, grad_x, magnitude, grad_magnitude = exact(case, np.float64)
    assert_within(reference.avg_pool2d(x, case.kernel_size, **case.options), y, magnitude, area(case))
    result = reference.avg_pool2d_backward(grad_y, x.shape, case.kernel_size, **case.options)
    assert_within(result, grad_x, grad_magnitude, area(case))


@pytest.mark.parametrize("case", [case for _, case in POOL_LAYERS], ids=[name for name, _ in POOL_LAYERS])
def test_layers(case, isa, threads, dtype):
    for count_include_pad in (True, False):
        check(replace(case, data="positive", count_include_pad=count_include_pad), dtype)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 1, 1), (2, 1, 0), (3, 3, 0)]
)
def test_every_width(kernel, stride, padding, isa, dtype):
    """Every remainder of the vector loops."""
    for W in range(max(1, kernel - 2 * padding), 70, 1 if kernel == 2 else 3):
        check(PoolCase(2, 2, 5, W, kernel, stride, padding, seed=W), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    check(PoolCase(2, 3, 9, 14, 2), dtype, layout)


@pytest.mark.parametrize(
    "case",
    [
        PoolCase(1, 1, 1, 1, 1),
        PoolCase(0, 3, 8, 8, 2),
        PoolCase(2, 3, 1, 40, (1, 3)),
        PoolCase(2, 3, 40, 1, (3, 1)),
        PoolCase(2, 2, 12, 12, 2, 5),  # most pixels are never seen
        PoolCase(1, 2, 24, 24, 24),
        PoolCase(1, 2, 11, 12, 7, 3, 3, ceil_mode=True),
        PoolCase(1, 2, 2, 2, 3, 3, 0, ceil_mode=True),  # one window that overhangs
        PoolCase(300, 1, 2, 2, 2),  # many tiny images
        PoolCase(1, 2, 7, 8, 2, batched=False),
    ],
    ids=lambda case: f"{case.N}x{case.C}x{case.H}x{case.W}-{case.kernel_size}",
)
def test_odd_shapes(case, isa, threads, dtype):
    for data in DATA:
        for count_include_pad in (True, False):
            for divisor in (None, 7):
                options = {"data": data, "count_include_pad": count_include_pad, "divisor_override": divisor}
                check(replace(case, **options), dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_go_where_their_windows_are(value, isa, dtype):
    x = np.ones((1, 1, 6, 40), dtype)
    x[0, 0, 2, 17] = value
    y = ops.avg_pool2d(x, 2)
    right = np.ones((1, 1, 3, 20), dtype)
    right[0, 0, 1, 8] = value
    np.testing.assert_array_equal(y, right)


@pytest.mark.parametrize("divisor", [None, 3])
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((2, 3), (2, 1), (1, 0))])
def test_finite_differences(kernel, stride, padding, count_include_pad, divisor, isa):
    options = (kernel, stride, padding, True, count_include_pad, divisor)
    oracle.gradcheck(
        lambda x: ops.avg_pool2d(x, *options),
        [np.random.default_rng(3).standard_normal((2, 3, 7, 8))],
        lambda grad_y, x: (ops.avg_pool2d_backward(grad_y, x.shape, *options),),
    )
