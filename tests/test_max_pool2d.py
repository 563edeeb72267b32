"""max_pool2d with and without indices, its backward, and the one-byte winners that layers keep."""

import functools
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from oracle import assert_fresh, assert_within
from strategies import LAYOUTS, POOL_DATA, POOL_LAYERS, PoolCase, lay_out, layouts, pool_cases, seeds

from fastconv import ops, reference
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward
from fastconv.reference.max_pool2d import max_pool2d_winners as reference_winners
from fastconv.reference.max_pool2d import max_pool2d_winners_backward as reference_winners_backward


def area(case):
    return int(np.prod(np.broadcast_to(case.kernel_size, 2)))


@functools.lru_cache(maxsize=512)
def exact(case, dtype):
    """(x, y, indices, winners)."""
    x = case.x(dtype)
    return x, *oracle.max_pool2d(x, case.kernel_size, **case.max_options)


def scatter(grad_y, indices, shape):
    """The exact gradient, in the wide dtype, and the most windows that one pixel won."""
    grad_x, won = np.zeros(shape, oracle.wide(grad_y.dtype)), np.zeros(shape, np.int64)
    planes = np.indices(grad_y.shape)[:-2]
    at = (*planes, indices // shape[-1], indices % shape[-1])
    np.add.at(grad_x, at, grad_y)
    np.add.at(won, at, 1)
    return grad_x, int(won.max(initial=0))


def check(case, dtype, layout="C"):
    right_x, right_y, right_indices, right_winners = exact(case, dtype)
    x = lay_out(right_x, layout)

    y = ops.max_pool2d(x, case.kernel_size, **case.max_options)
    assert y.dtype == dtype
    assert_fresh(y, x)
    np.testing.assert_array_equal(y, right_y)

    y, indices = ops.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
    assert indices.dtype == np.int64
    assert_fresh(indices, x, y)
    np.testing.assert_array_equal(y, right_y)
    np.testing.assert_array_equal(indices, right_indices)

    grad_y = case.grad_y(y.shape, dtype)
    given_grad = lay_out(grad_y, layout)
    grad_x = ops.max_pool2d_backward(given_grad, lay_out(indices, layout), x.shape)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, given_grad, indices)
    right, won = scatter(grad_y, right_indices, x.shape)
    magnitude, _ = scatter(abs(grad_y), right_indices, x.shape)
    assert_within(grad_x, right, magnitude, won)

    if area(case) <= 256:
        y, winners = max_pool2d_winners(x, case.kernel_size, **case.max_options)
        assert winners.dtype == np.uint8
        np.testing.assert_array_equal(y, right_y)
        np.testing.assert_array_equal(winners, right_winners)
        grad_x = max_pool2d_winners_backward(given_grad, winners, x.shape, case.kernel_size, **case.max_options)
        assert_fresh(grad_x, given_grad)
        assert_within(grad_x, right, magnitude, won)
    np.testing.assert_array_equal(x, right_x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@given(case=pool_cases(data=POOL_DATA, dilated=True), layout=layouts)
def test_random_problems(case, layout, isa, threads, dtype):
    check(case, dtype, layout)


@given(case=pool_cases(data=POOL_DATA, dilated=True, largest=4))
def test_matches_the_reference(case, isa, dtype):
    x = case.x(dtype)
    y, indices = ops.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
    right_y, right_indices = reference.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
    np.testing.assert_array_equal(y, right_y)
    np.testing.assert_array_equal(indices, right_indices)
    _, winners = max_pool2d_winners(x, case.kernel_size, **case.max_options)
    np.testing.assert_array_equal(winners, reference_winners(x, case.kernel_size, **case.max_options)[1])
    grad_y = case.grad_y(y.shape, dtype)
    right = reference.max_pool2d_backward(grad_y, indices, x.shape)
    magnitude = reference.max_pool2d_backward(abs(grad_y), indices, x.shape)
    assert_within(ops.max_pool2d_backward(grad_y, indices, x.shape), right, magnitude, area(case), terms=5)
    grad_x = max_pool2d_winners_backward(grad_y, winners, x.shape, case.kernel_size, **case.max_options)
    assert_within(grad_x, right, magnitude, area(case), terms=5)


@given(case=pool_cases(data=POOL_DATA, dilated=True, largest=4))
def test_oracle_is_the_reference(case):
    """What the other tests call exact is what the reference computes."""
    x, y, indices, winners = exact(case, np.float64)
    right_y, right_indices = reference.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
    np.testing.assert_array_equal(y, right_y)
    np.testing.assert_array_equal(indices, right_indices)
    np.testing.assert_array_equal(winners, reference_winners(x, case.kernel_size, **case.max_options)[1])
    grad_y = case.grad_y(y.shape, np.float64)
    right, won = scatter(grad_y, indices, x.shape)
    magnitude, _ = scatter(abs(grad_y), indices, x.shape)
    assert_within(reference.max_pool2d_backward(grad_y, indices, x.shape), right, magnitude, won)
    grad_x = reference_winners_backward(grad_y, winners, x.shape, case.kernel_size, **case.max_options)
    assert_within(grad_x, right, magnitude, won)


@pytest.mark.parametrize("data", ["normal", "special"])
@pytest.mark.parametrize("case", [case for _, case in POOL_LAYERS], ids=[name for name, _ in POOL_LAYERS])
def test_layers(case, data, isa, threads, dtype):
    check(replace(case, data=data), dtype)


@pytest.mark.parametrize("data", ["special", "minus_inf"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 1, 1), (2, 1, 0), (3, 3, 0)]
)
def test_every_width(kernel, stride, padding, data, isa, dtype):
    """Every remainder of the vector loops."""
    for W in range(max(1, kernel - 2 * padding), 70, 1 if kernel == 2 else 3):
        check(PoolCase(2, 2, 5, W, kernel, stride, padding, data=data, seed=W), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    check(PoolCase(2, 3, 9, 14, 2, data="ties"), dtype, layout)


@pytest.mark.parametrize(
    "case",
    [
        PoolCase(1, 1, 1, 1, 1),
        PoolCase(0, 3, 8, 8, 2),
        PoolCase(2, 3, 1, 40, (1, 3)),
        PoolCase(2, 3, 40, 1, (3, 1)),
        PoolCase(2, 2, 12, 12, 2, 5),  # most pixels are never seen
        PoolCase(1, 2, 20, 20, 16),  # 256 taps: the last byte
        PoolCase(1, 2, 40, 40, 17),  # 289 taps: too many for a byte
        PoolCase(1, 2, 24, 24, 24),
        PoolCase(1, 2, 300, 7, (256, 1), 1),
        PoolCase(1, 3, 12, 12, 3, 1, 2, 2),  # padding of half the dilated window
        PoolCase(300, 1, 2, 2, 2),  # many tiny images
        PoolCase(1, 2, 7, 8, 2, batched=False),
    ],
    ids=lambda case: f"{case.N}x{case.C}x{case.H}x{case.W}-{case.kernel_size}",
)
def test_odd_shapes(case, isa, threads, dtype):
    for data in POOL_DATA:
        check(replace(case, data=data), dtype)


def test_large_planes_have_large_indices(isa, dtype):
    """Indices past 2**16 (and winners in one huge row)."""
    x = np.zeros((1, 1, 2, 70_000), dtype)
    x[0, 0, 1, 69_998] = 1
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    assert y[0, 0, 0, -1] == 1
    assert indices[0, 0, 0, -1] == 70_000 + 69_998
    assert ops.max_pool2d_backward(y, indices, x.shape)[0, 0, 1, 69_998] == 1


@pytest.mark.parametrize("bad", [-1, 64, 2**40, -(2**63)])
def test_backward_refuses_indices_outside_the_image(bad, isa, threads, dtype):
    """An index that would write out of bounds is an error, not a crash."""
    x = np.arange(2 * 3 * 64, dtype=dtype).reshape(2, 3, 8, 8)
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    indices[1, 2, 3, 3] = bad
    with pytest.raises(ValueError, match="indices"):
        ops.max_pool2d_backward(y, indices, x.shape)


@given(case=pool_cases(dilated=True, largest=5), seed=seeds)
def test_backward_of_any_winners(case, seed, isa, threads, dtype):
    """Winners that no pool returned: passed over where they lie outside, so that nothing is written astray."""
    y = exact(case, dtype)[1]
    grad_y = abs(case.grad_y(y.shape, dtype))
    winners = np.random.default_rng(seed).integers(0, 256, y.shape, np.uint8)
    grad_x = max_pool2d_winners_backward(grad_y, winners, case.shape, case.kernel_size, **case.max_options)
    assert grad_x.shape == case.shape
    assert np.all(grad_x >= 0)
    assert grad_x.sum(dtype=np.float64) <= grad_y.sum(dtype=np.float64) * 1.001


def test_backward_of_any_indices(isa, dtype):
    """Indices need not come from a pool: several outputs may point at one pixel, in any order."""
    indices = np.array([[[[3, 3], [0, 3]]], [[[2, 1], [1, 2]]]])
    grad_y = np.array([[[[1, 2], [4, 8]]], [[[16, 32], [64, 128]]]], dtype)
    np.testing.assert_array_equal(
        ops.max_pool2d_backward(grad_y, indices, (2, 1, 2, 2)), [[[[4, 0], [0, 11]]], [[[0, 96], [144, 0]]]]
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), (3, 1, 1), ((2, 3), (2, 1), (1, 0))]
)
def test_finite_differences(kernel, stride, padding, isa):
    x = np.random.default_rng(3).permutation(2 * 3 * 7 * 8).reshape(2, 3, 7, 8) * 0.01  # no two pixels near each other

    def gradients(grad_y, x):
        _, indices = ops.max_pool2d(x, kernel, stride, padding, return_indices=True)
        return (ops.max_pool2d_backward(grad_y, indices, x.shape),)

    oracle.gradcheck(lambda x: ops.max_pool2d(x, kernel, stride, padding), [x], gradients)
