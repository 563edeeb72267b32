"""Winograd's schedules: more images than fit in memory at a time, and images or weights that it leaves to others."""

import numpy as np
import pytest

import fastconv
from fastconv import ops

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
