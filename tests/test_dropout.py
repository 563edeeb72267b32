"""dropout and dropout2d: the same masks and bits as the reference, and masks that look random."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh
from strategies import LAYOUTS, lay_out, layouts, numbers, seeds

from fastconv import ops, reference

PROBABILITIES = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
KINDS = ["dropout", "dropout2d"]


def check(kind, x, p, seed, layout="C"):
    """Op and reference draw the same seed from equal generators and agree exactly."""
    forward, backward = getattr(ops, kind), getattr(ops, kind + "_backward")
    given_x = lay_out(x, layout)
    y, mask = forward(given_x, p, rng=np.random.default_rng(seed), return_mask=True)
    right_y, right_mask = getattr(reference, kind)(x, p, rng=np.random.default_rng(seed), return_mask=True)
    assert y.dtype == x.dtype
    assert mask.dtype == np.uint8
    assert_fresh(y, given_x, mask)
    assert_fresh(mask, given_x)
    np.testing.assert_array_equal(mask, right_mask, strict=True)
    np.testing.assert_array_equal(y, right_y, strict=True)
    np.testing.assert_array_equal(forward(given_x, p, rng=np.random.default_rng(seed)), y, strict=True)

    grad_y = numbers(np.random.default_rng(seed + 1), x.shape, x.dtype)
    given_grad = lay_out(grad_y, layout)
    grad_x = backward(given_grad, lay_out(mask, layout), p)
    assert grad_x.dtype == x.dtype
    assert_fresh(grad_x, given_grad, mask)
    np.testing.assert_array_equal(grad_x, getattr(reference, kind + "_backward")(grad_y, mask, p), strict=True)
    np.testing.assert_array_equal(given_x, x)  # inputs are never written
    np.testing.assert_array_equal(given_grad, grad_y)


@given(shape=st.lists(st.integers(0, 12), max_size=4), p=st.floats(0, 1), seed=seeds, layout=layouts)
def test_dropout(shape, p, seed, layout, isa, threads, dtype):
    check("dropout", numbers(np.random.default_rng(seed), shape, dtype), p, seed, layout)


@given(
    batch=st.lists(st.integers(0, 5), max_size=1),
    image=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    p=st.floats(0, 1),
    seed=seeds,
    layout=layouts,
)
def test_dropout2d(batch, image, p, seed, layout, isa, threads, dtype):
    check("dropout2d", numbers(np.random.default_rng(seed), batch + image, dtype), p, seed, layout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("shape", [(32, 16, 14, 14), (1, 1, 700, 500), (500, 3, 1, 1), (33, 7, 5, 3)], ids=str)
def test_large_problems(kind, p, shape, isa, threads, dtype):
    check(kind, numbers(np.random.default_rng(1), shape, dtype), p, 99)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(kind, layout, isa, dtype):
    check(kind, numbers(np.random.default_rng(2), (3, 4, 5, 6), dtype), 0.4, 5, layout)


@pytest.mark.parametrize("kind", KINDS)
def test_not_in_training(kind, isa, dtype):
    """Outside training y is a copy of x, and the generator is left alone."""
    x = numbers(np.random.default_rng(3), (2, 3, 4, 5), dtype)
    rng = np.random.default_rng(4)
    y, mask = getattr(ops, kind)(x, 0.5, training=False, rng=rng, return_mask=True)
    assert_fresh(y, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(mask, np.ones(x.shape if kind == "dropout" else (2, 3), np.uint8), strict=True)
    assert rng.integers(2**60) == np.random.default_rng(4).integers(2**60)


@pytest.mark.parametrize("kind", KINDS)
def test_generators(kind, isa):
    """One generator gives another mask at every call; none gives a fresh one; the global seed plays no part."""
    x = np.ones((4, 64, 2, 2))
    forward = getattr(ops, kind)
    rng = np.random.default_rng(5)
    assert not np.array_equal(forward(x, rng=rng), forward(x, rng=rng))
    results = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002 (that it is without effect is the point)
        results.append(forward(x))
    assert not np.array_equal(*results)


@pytest.mark.parametrize("kind", KINDS)
def test_extremes(kind, isa, dtype):
    x = np.array([[[[1, np.inf, -np.inf, np.nan]]]], dtype)
    np.testing.assert_array_equal(getattr(ops, kind)(x, 0.0), x)
    y = getattr(ops, kind)(x, 1.0)
    np.testing.assert_array_equal(y, np.zeros_like(x))
    assert not np.signbit(y).any()


# -- the masks look random ---------------------------------------------------------------------------------------------

UNITS = 200_000


def masks(p, count, first_seed=0):
    x = np.ones(UNITS, np.float32)
    return np.stack(
        [ops.dropout(x, p, rng=np.random.default_rng(first_seed + i), return_mask=True)[1] for i in range(count)]
    ).astype(bool)


def within(count, n, p):
    """`count` hits of `n` chances of `p` are within five standard deviations of what is expected."""
    return abs(count - n * p) <= 5 * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.25, 0.5, 0.9])
def test_share_that_is_kept(p):
    mask = masks(p, 4)
    assert within(mask.sum(), mask.size, 1 - p)
    for each in mask:
        assert within(each.sum(), UNITS, 1 - p)
    # Every stretch, every residue class: no bias by position.
    for part in (*mask[0].reshape(20, -1), *mask[0].reshape(-1, 32).T):
        assert within(part.sum(), part.size, 1 - p)


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 8, 16, 28, 64, 784, 65_536])
def test_neighbours_are_independent(lag):
    mask = masks(0.5, 2, 100)
    both = mask[:, lag:] & mask[:, :-lag]
    assert within(both.sum(), both.size, 0.25)


def test_seeds_are_independent():
    mask = masks(0.5, 6, 200)
    for i in range(6):
        for j in range(i):
            assert within((mask[i] == mask[j]).sum(), UNITS, 0.5)


def test_mean_is_kept(dtype):
    y = ops.dropout(np.ones(UNITS, dtype), 0.3, rng=np.random.default_rng(6))
    assert np.mean(y, dtype=np.float64) == pytest.approx(1, abs=5 * np.sqrt(0.3 / 0.7 / UNITS))
