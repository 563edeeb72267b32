"""adaptive_avg_pool2d and its backward against the reference, exact results and finite differences."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import DATA, LAYOUTS, lay_out, layouts, numbers, seeds

import fastconv
from fastconv import ops, reference

sizes = st.integers(1, 12)
outputs = st.one_of(sizes, st.tuples(st.none() | sizes, st.none() | sizes))


def check(shape, output, dtype, data="normal", layout="C", seed=0):
    """The reference sums in a wider dtype, so it is exact but for its last rounding."""
    rng = np.random.default_rng(seed)
    x = numbers(rng, shape, dtype, data)
    given_x = lay_out(x, layout)
    y = ops.adaptive_avg_pool2d(given_x, output)
    right = reference.adaptive_avg_pool2d(x.astype(oracle.wide(dtype)), output)
    assert y.dtype == dtype
    assert_fresh(y, given_x)
    (H, W), (OH, OW) = shape[-2:], y.shape[-2:]
    pixels = (H // OH + 2) * (W // OW + 2)
    assert_within(y, right, reference.adaptive_avg_pool2d(abs(x.astype(right.dtype)), output), pixels)
    grad_y = numbers(rng, y.shape, dtype, data)
    given_grad = lay_out(grad_y, layout)
    grad_x = ops.adaptive_avg_pool2d_backward(given_grad, shape)
    right = reference.adaptive_avg_pool2d_backward(grad_y.astype(right.dtype), shape)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, given_grad)
    magnitude = reference.adaptive_avg_pool2d_backward(abs(grad_y.astype(right.dtype)), shape)
    assert_within(grad_x, right, magnitude, (OH // H + 2) * (OW // W + 2))
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@given(batch=st.lists(st.integers(0, 3), max_size=1), image=st.tuples(sizes, sizes, sizes), output=outputs,
       data=st.sampled_from(DATA), layout=layouts, seed=seeds)  # fmt: skip
def test_random_problems(batch, image, output, data, layout, seed, isa, threads, dtype):
    check((*batch, *image), output, dtype, data, layout, seed)


@pytest.mark.parametrize(
    ("shape", "output"),
    [
        ((4, 64, 7, 7), 1), ((2, 8, 56, 56), 7), ((2, 8, 56, 56), 5), ((1, 3, 31, 33), (6, 7)), ((40, 3, 7, 7), 3),
        ((1, 2, 5, 1300), (3, 7)), ((1, 2, 5, 1300), (5, 1)), ((1, 1, 2, 600), (3, 1100)), ((1, 2, 3, 4), (7, 9)),
        ((2, 3, 6, 6), (None, None)), ((3, 8, 12), (2, 5)), ((300, 1, 2, 2), 1), ((1, 2, 700, 3), (2, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_shapes(shape, output, isa, threads, dtype):
    check(shape, output, dtype)
    check(shape, output, dtype, "positive")


def test_every_width(isa, dtype):
    """Every remainder of the vector loops."""
    for W in range(1, 70):
        check((2, 2, 5, W), (2, 3), dtype, seed=W)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    check((2, 3, 9, 14), (4, 5), dtype, "normal", layout)


@pytest.mark.parametrize("output", [1, 3, (4, 7), 14])
def test_bits_do_not_depend_on_threads_or_batch(output, isa, dtype):
    rng = np.random.default_rng(0)
    x = numbers(rng, (20, 40, 14, 14), dtype)
    results = []
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            y = ops.adaptive_avg_pool2d(x, output)
            results.append(y.tobytes() + ops.adaptive_avg_pool2d_backward(y, x.shape).tobytes())
    assert len(set(results)) == 1
    for n in range(3):
        assert ops.adaptive_avg_pool2d(x[n], output).tobytes() == y[n].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_go_where_their_windows_are(value, isa, dtype):
    x = np.ones((1, 1, 5, 40), dtype)
    x[0, 0, 2, 17] = value  # row 2 is in both rows of windows
    right = np.ones((1, 1, 2, 3), dtype)
    right[0, 0, :, 1] = value
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d(x, (2, 3)), right)


@pytest.mark.parametrize("output", [0, (0, 3), (3, 0)])
def test_an_output_of_nothing(output, isa, dtype):
    y = ops.adaptive_avg_pool2d(np.ones((2, 3, 4, 5), dtype), output)
    assert y.size == 0
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d_backward(y, (2, 3, 4, 5)), np.zeros((2, 3, 4, 5), dtype))


@pytest.mark.parametrize("output", [1, 2, 3, (5, 4), (9, 2)])
def test_finite_differences(output, isa):
    oracle.gradcheck(
        lambda x: ops.adaptive_avg_pool2d(x, output),
        [np.random.default_rng(3).standard_normal((2, 3, 7, 8))],
        lambda grad_y, x: (ops.adaptive_avg_pool2d_backward(grad_y, x.shape),),
    )
