"""softmax and log_softmax with their backwards: bounds, special rows, every axis."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

from fastconv import ops, reference

KINDS = ["softmax", "log_softmax"]


def functions(kind, module=ops):
    return getattr(module, kind), getattr(module, kind + "_backward")


def check(kind, x, grad_y, dim=-1, layout="C"):
    dtype, n, eps = x.dtype, x.shape[dim], float(np.finfo(x.dtype).eps)
    exact_x, exact_grad = x.astype(oracle.wide(dtype)), grad_y.astype(oracle.wide(dtype))
    forward, backward = functions(kind)
    exact_forward, exact_backward = functions(kind, reference)

    given_x, given_grad = lay_out(x, layout), lay_out(grad_y, layout)
    y = forward(given_x, dim)
    assert y.dtype == dtype
    assert_fresh(y, given_x)
    # The distance to the row's largest x is rounded before exp sees it: its size counts.
    distance = abs(exact_x - exact_x.max(axis=dim, keepdims=True, initial=-np.inf))
    right = exact_forward(exact_x, dim)
    magnitude = right * (1 + distance) if kind == "softmax" else 1 + distance + abs(right)
    assert_within(y, right, magnitude, n)

    grad_x = backward(given_grad, y, dim)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, given_grad, y)
    exact_y = y.astype(exact_x.dtype)
    p = exact_y if kind == "softmax" else np.exp(exact_y)
    if kind == "softmax":
        magnitude = p * (abs(exact_grad) + np.sum(abs(exact_grad) * p, axis=dim, keepdims=True))
    else:
        magnitude = abs(exact_grad) + p * (1 + abs(exact_y) * eps) * np.sum(abs(exact_grad), axis=dim, keepdims=True)
    assert_within(grad_x, exact_backward(exact_grad, exact_y, dim), magnitude, n)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@st.composite
def problems(draw):
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    if draw(st.booleans()):
        shape = (*shape[:dim], draw(st.integers(1, 80)), *(shape[dim + 1 :] if dim != -1 else ()))
    return shape, dim, draw(st.sampled_from([0.1, 1, 10, 100, 10_000])), draw(seeds)


@pytest.mark.parametrize("kind", KINDS)
@given(problem=problems(), layout=layouts)
def test_random_problems(kind, problem, layout, isa, threads, dtype):
    shape, dim, scale, seed = problem
    rng = np.random.default_rng(seed)
    check(kind, (rng.standard_normal(shape) * scale).astype(dtype), numbers(rng, shape, dtype), dim, layout)


@pytest.mark.parametrize("kind", KINDS)
def test_every_length(kind, isa, threads, dtype):
    """Every remainder of the vector loops, with rows that sum the same however long they are."""
    rng = np.random.default_rng(4)
    for n in [*range(1, 70), 100, 1000]:
        check(kind, numbers(rng, (3, n), dtype), numbers(rng, (3, n), dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5000, 10), (300, 1000), (2, 100_000), (64, 10, 28, 28)], ids=str)
def test_large_problems(kind, shape, isa, threads, dtype):
    rng = np.random.default_rng(5)
    check(kind, numbers(rng, shape, dtype), numbers(rng, shape, dtype), 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(kind, layout, isa, dtype):
    rng = np.random.default_rng(6)
    for dim in range(-3, 3):
        check(kind, numbers(rng, (4, 5, 6), dtype), numbers(rng, (4, 5, 6), dtype), dim, layout)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_empty(kind, shape, isa, dtype):
    forward, backward = functions(kind)
    x = np.zeros(shape, dtype)
    for dim in range(len(shape)):
        assert forward(x, dim).shape == shape
        assert backward(x, x, dim).shape == shape


def test_rows_of_softmax_sum_to_one(isa, threads, dtype):
    x = (np.random.default_rng(7).standard_normal((200, 37)) * 30).astype(dtype)
    y = ops.softmax(x)
    assert np.all((y >= 0) & (y <= 1))
    np.testing.assert_allclose(y.sum(axis=1, dtype=np.float64), 1, rtol=40 * np.finfo(dtype).eps)


inf, nan = np.inf, np.nan
ROWS = [  # x, softmax, log_softmax
    ([0, 0, 0, 0], [1 / 4] * 4, [-np.log(4)] * 4),
    ([1000, 1000], [1 / 2] * 2, [-np.log(2)] * 2),
    ([-1e30, 0], [0, 1], [-1e30, 0]),
    ([1e30, 1e30, 0], [1 / 2, 1 / 2, 0], [-np.log(2), -np.log(2), -1e30]),
    ([0, -inf], [1, 0], [0, -inf]),
    ([-inf, 3, -inf, 3], [0, 1 / 2, 0, 1 / 2], [-inf, -np.log(2), -inf, -np.log(2)]),
    ([1, inf], [nan, nan], [nan, nan]),
    ([-inf, -inf], [nan, nan], [nan, nan]),
    ([0, nan, 1], [nan] * 3, [nan] * 3),
    ([nan, 0, 1], [nan] * 3, [nan] * 3),
    ([0, 1, nan], [nan] * 3, [nan] * 3),
    ([-inf, nan], [nan] * 2, [nan] * 2),
    ([5], [1], [0]),
]


@pytest.mark.parametrize(("x", "softmax", "log_softmax"), ROWS, ids=[str(row[0]) for row in ROWS])
@pytest.mark.parametrize("padding", [0, 4, 15, 40])
def test_special_rows(x, softmax, log_softmax, padding, isa, dtype):
    """Each row alone, and with -inf (probability 0) behind it so that it crosses the vector loops."""
    wide_x = np.array(x + [-inf] * padding, dtype)
    spread = [nan] * padding if np.isnan(softmax).all() else None
    tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).tiny}
    for module in (ops, reference):
        np.testing.assert_allclose(module.softmax(wide_x), softmax + (spread or [0] * padding), **tolerance)
        np.testing.assert_allclose(module.log_softmax(wide_x), log_softmax + (spread or [-inf] * padding), **tolerance)


@pytest.mark.parametrize("dim", [-1, 0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_finite_differences(kind, dim, isa):
    forward, backward = functions(kind)
    oracle.gradcheck(
        lambda x: forward(x, dim),
        [np.random.default_rng(8).standard_normal((3, 4, 5))],
        lambda grad_y, x: (backward(grad_y, forward(x, dim), dim),),
    )
