"""Gradients from a grad_y that is mostly zeros, as behind a max pool: the kernels that multiply only what is there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_within
from oracle import conv2d_backward as exact_backward

import fastconv
from fastconv import ops, reference

# (x shape, K, kernel), options
LAYERS = {
    "cnn.conv2": (((5, 32, 14, 14), 64, (3, 3)), {"padding": 1}),
    "dropout.conv2": (((6, 10, 12, 12), 20, (5, 5)), {}),
    "odd channels, stride": (((3, 19, 15, 17), 9, (3, 4)), {"stride": (2, 3), "padding": (1, 2)}),
    "dilated": (((2, 8, 20, 22), 16, (3, 3)), {"padding": 2, "dilation": 2}),
    "unreached border": (((2, 9, 11, 12), 5, (2, 3)), {"stride": 4}),
    "7x7": (((2, 33, 16, 13), 8, (7, 7)), {"padding": 3}),
    "more padding than kernel": (((2, 8, 6, 5), 4, (2, 2)), {"padding": 3}),
}


def sparse(rng, shape, share, integers, dtype):
    values = rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)
    return (values * (rng.random(shape) < share)).astype(dtype)


def problem(x_shape, K, kernel, options, share, integers, dtype, seed=0):
    rng = np.random.default_rng(seed)
    draw = (lambda *s: rng.integers(-4, 5, s)) if integers else (lambda *s: rng.standard_normal(s))
    x, weight = draw(*x_shape).astype(dtype), draw(K, x_shape[1], *kernel).astype(dtype)
    y_shape = ops.conv2d(x, weight, None, **options).shape
    return sparse(rng, y_shape, share, integers, dtype), x, weight


@pytest.mark.parametrize("share", [0, 0.03, 0.2, 0.35])
@pytest.mark.parametrize("layer", LAYERS)
def test_small_integers_are_exact(isa, dtype, layer, share):
    shapes, options = LAYERS[layer]
    grad_y, x, weight = problem(*shapes, options, share, True, dtype)
    exact = exact_backward(grad_y, x, weight, **options)
    for result, right in zip(ops.conv2d_backward(grad_y, x, weight, **options), exact, strict=True):
        np.testing.assert_array_equal(result, right)


@given(
    share=st.floats(0, 0.3),
    N=st.integers(1, 4),
    C=st.integers(8, 20),
    K=st.integers(1, 6),
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
def test_random_problems(isa, dtype, share, N, C, K, size, kernel, stride, padding, seed):
    options = {"stride": stride, "padding": padding}
    grad_y, x, weight = problem((N, C, *size), K, kernel, options, share, False, dtype, seed)
    results = ops.conv2d_backward(grad_y, x, weight, **options)
    exact = reference.conv2d_backward(grad_y, x, weight, **options)
    magnitude = reference.conv2d_backward(abs(grad_y), abs(x), abs(weight), **options)
    positions = grad_y[:, 0].size
    for result, right, sums, n in zip(results, exact, magnitude, (grad_y.size // N, positions, positions), strict=True):
        assert_within(result, right, sums, n, terms=5)  # 5: the reference was rounded to dtype too


def test_threads_and_runs_do_not_show(isa):
    grad_y, x, weight = problem(*LAYERS["cnn.conv2"][0], {"padding": 1}, 0.2, False, np.float32)
    results = []
    for threads in (1, 2, 3, 2):
        with fastconv.threads(threads):
            results.append(ops.conv2d_backward(grad_y, x, weight, 1, 1))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("place", ["grad_y", "x", "weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_goes_where_it_belongs(isa, place, value):
    """A zero times infinity is NaN, and must not be left out."""
    grad_y, x, weight = problem((2, 9, 7, 8), 5, (3, 3), {"padding": 1}, 0.1, True, np.float32)
    {"grad_y": grad_y, "x": x, "weight": weight}[place].flat[7] = value
    results = ops.conv2d_backward(grad_y, x, weight, 1, 1)
    with np.errstate(invalid="ignore"):
        right = reference.conv2d_backward(grad_y, x, weight, 1, 1)
    for one, other in zip(results, right, strict=True):
        np.testing.assert_array_equal(one, other)
