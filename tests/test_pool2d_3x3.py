"""3x3 pools of stride 2, which have a forward path of their own: every edge it distinguishes."""

import functools

import numpy as np
import pytest

from fastconv import ops, reference
from fastconv.ops.max_pool2d import max_pool2d_winners
from fastconv.reference.max_pool2d import max_pool2d_winners as reference_winners

# planes; rows that fill no vector, one, several, and more than the path takes at a time (64 vectors)
SHAPES = [(2, 1, 1), (2, 1, 40), (2, 2, 3), (2, 3, 17), (2, 4, 18), (2, 5, 31), (2, 6, 32), (2, 7, 33), (2, 8, 34)]
SHAPES += [(2, 5, 35), (2, 4, 64), (2, 5, 65), (2, 3, 112), (1, 3, 2120)]
VALUES = np.array([-np.inf, -2, -1, -0.0, 0, 1, 2, np.inf, np.nan])
SHARES = ([0.02] + [0.94 / 6] * 6 + [0.02] * 2, [0.125] * 8 + [0], [0.92] + [0.01] * 8)
OPTIONS = ({}, {"count_include_pad": False}, {"divisor_override": 4})


def problems(shape):
    for padding in (0, 1, (0, 1), (1, 0)):
        for ceil_mode in (False, True):
            if min(n + 2 * p for n, p in zip(shape[1:], np.broadcast_to(padding, 2), strict=True)) >= 3:
                yield padding, ceil_mode


@functools.cache
def maxima(shape, dtype):
    """Every (x, padding, ceil_mode, y, indices, winners) of a shape."""
    rng, all_of_them = np.random.default_rng(shape), []
    for shares in SHARES:
        x = rng.choice(VALUES, shape, p=shares).astype(dtype)
        for padding, ceil_mode in problems(shape):
            y, indices = reference.max_pool2d(x, 3, 2, padding, ceil_mode=ceil_mode, return_indices=True)
            winners = reference_winners(x, 3, 2, padding, ceil_mode=ceil_mode)[1]
            all_of_them.append((x, padding, ceil_mode, y, indices, winners))
    return all_of_them


@functools.cache
def averages(shape, dtype):
    """Every (x, padding, ceil_mode, options, y) of a shape."""
    x = np.random.default_rng(shape).integers(-8, 9, shape).astype(dtype)
    return [
        (x, padding, ceil_mode, options, reference.avg_pool2d(x, 3, 2, padding, ceil_mode, **options))
        for padding, ceil_mode in problems(shape)
        for options in OPTIONS
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_max_of_ties_infinities_and_nan(shape, isa, dtype):
    for x, padding, ceil_mode, right, places, taps in maxima(shape, dtype):
        np.testing.assert_array_equal(ops.max_pool2d(x, 3, 2, padding, ceil_mode=ceil_mode), right)
        y, indices = ops.max_pool2d(x, 3, 2, padding, ceil_mode=ceil_mode, return_indices=True)
        np.testing.assert_array_equal(y, right)
        np.testing.assert_array_equal(np.signbit(y), np.signbit(right))
        np.testing.assert_array_equal(indices, places)
        y, winners = max_pool2d_winners(x, 3, 2, padding, ceil_mode=ceil_mode)
        np.testing.assert_array_equal(y, right)
        np.testing.assert_array_equal(winners, taps)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_average_of_small_integers(shape, isa, dtype):
    for x, padding, ceil_mode, options, right in averages(shape, dtype):
        y = ops.avg_pool2d(x, 3, 2, padding, ceil_mode, **options)
        np.testing.assert_allclose(y, right, rtol=2 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("width", [6, 13, 31, 57])
@pytest.mark.parametrize("padding", [0, 1])
def test_the_batch_does_not_show(width, padding, isa, dtype):
    """Narrow planes take another path where there are many."""
    x = np.random.default_rng(width).standard_normal((40, 9, width)).astype(dtype)
    for pool in (ops.avg_pool2d, ops.max_pool2d):
        y = pool(x, 3, 2, padding)
        for plane in (0, 17, 39):
            np.testing.assert_array_equal(pool(x[plane : plane + 1], 3, 2, padding)[0], y[plane])


@functools.cache
def large(planes, dtype):
    x = np.random.default_rng(planes).integers(-99, 99, (planes, 1 + 2600 // planes, 113)).astype(dtype)
    right = reference.max_pool2d(x, 3, 2, 1, return_indices=True)
    return x, *right, reference.avg_pool2d(x, 3, 2, 1, divisor_override=8)


@pytest.mark.parametrize("planes", [3, 70])
def test_threads_share_rows(planes, isa, threads, dtype):
    """Few planes are cut amid their rows; x is large enough for two threads and for prefetch."""
    x, right, places, mean = large(planes, dtype)
    y, indices = ops.max_pool2d(x, 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(y, right)
    np.testing.assert_array_equal(indices, places)
    np.testing.assert_array_equal(ops.avg_pool2d(x, 3, 2, 1, divisor_override=8), mean)
