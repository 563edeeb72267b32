"""nll_loss and its backward: reductions, class weights, ignored rows, images of class scores."""

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


def check(x, target, weight=None, ignore_index=-100, reduction="mean", grad_y=None, layout="C"):
    dtype, wide = x.dtype, oracle.wide(x.dtype)
    exact_x, exact_weight = x.astype(wide), None if weight is None else weight.astype(wide)
    options = {"ignore_index": ignore_index, "reduction": reduction}
    arrays = x, target, *(() if weight is None else (weight,))
    given_arrays = [lay_out(a, layout) for a in arrays]

    loss = ops.nll_loss(*given_arrays, **options)
    right = reference.nll_loss(exact_x, target, exact_weight, **options)
    size = reference.nll_loss(-abs(exact_x), target, exact_weight, **options)
    if reduction == "none":
        assert loss.dtype == dtype
        assert_fresh(loss, *given_arrays)
        assert_within(loss, right, size, 1)
    else:
        assert type(loss) is float
        assert_within(np.array(loss, dtype), np.array(right, wide), np.array(size, wide), 1)

    grad_x = ops.nll_loss_backward(*given_arrays, **options, grad_y=grad_y)
    right = reference.nll_loss_backward(
        exact_x, target, exact_weight, **options, grad_y=None if grad_y is None else np.asarray(grad_y, wide)
    )
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, *given_arrays)
    assert_within(grad_x, right, abs(right), 1)
    for before, after in zip(arrays, given_arrays, strict=True):
        np.testing.assert_array_equal(before, after)  # inputs are never written


@st.composite
def problems(draw):
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 30)), *draw(st.lists(st.integers(1, 7), max_size=3)))
    options = {
        "reduction": draw(st.sampled_from(REDUCTIONS)),
        "ignore_index": draw(st.sampled_from([-100, -1, 0, shape[1] - 1])),
        "layout": draw(layouts),
    }
    return shape, options, draw(st.booleans()), draw(seeds)


@given(problem=problems())
def test_random_problems(problem, isa, threads, dtype):
    shape, options, weighted, seed = problem
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.3] = options["ignore_index"]
    target.flat[0] = (options["ignore_index"] + 1) % shape[1]
    if np.all(target == options["ignore_index"]):
        options["ignore_index"] = -100
    weight = (rng.random(shape[1]) + 0.1).astype(dtype) if weighted else None
    grad_y = numbers(rng, target.shape, dtype) if options["reduction"] == "none" else float(rng.standard_normal())
    check(numbers(rng, shape, dtype), target, weight, **options, grad_y=grad_y)


@pytest.mark.parametrize("shape", [(3000, 10), (4, 5, 70, 90), (1, 3, 20_000)], ids=str)
def test_large_problems(shape, isa, dtype):
    rng = np.random.default_rng(1)
    x, target = numbers(rng, shape, dtype), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    results = []
    for n in (1, 2, 3):
        with fastconv.threads(n):
            losses = ops.nll_loss(x, target, reduction="none")
            results.append((ops.nll_loss(x, target), losses.tobytes(), ops.nll_loss_backward(x, target).tobytes()))
    assert results[0] == results[1] == results[2]
    right = -np.take_along_axis(x, target[:, np.newaxis], 1).squeeze(1)
    np.testing.assert_array_equal(losses, right)
    assert results[0][0] == pytest.approx(right.mean(dtype=np.float64), rel=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    rng = np.random.default_rng(2)
    check(numbers(rng, (9, 13), dtype), rng.integers(0, 13, 9), rng.random(13).astype(dtype), layout=layout)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_image(reduction, isa, dtype):
    x = numbers(np.random.default_rng(3), 10, dtype)
    for target in (3, np.int32(3), np.array(3)):
        loss = ops.nll_loss(x, target, reduction=reduction)
        assert np.ndim(loss) == 0
        assert loss == -x[3]
        np.testing.assert_array_equal(ops.nll_loss_backward(x, target, reduction=reduction), -np.eye(10)[3])


def test_nothing_to_count(isa, dtype):
    x, target = np.ones((3, 4), dtype), np.full(3, -100)
    for module in (ops, reference):
        assert np.isnan(module.nll_loss(x, target))
        assert module.nll_loss(x, target, reduction="sum") == 0
        np.testing.assert_array_equal(module.nll_loss_backward(x, target), np.zeros((3, 4)))
        for shape in ((0, 4), (0, 4, 5), (3, 4, 0)):
            empty, none = np.ones(shape, dtype), np.zeros((shape[0], *shape[2:]), np.int64)
            assert np.isnan(module.nll_loss(empty, none))
            assert module.nll_loss(empty, none, reduction="sum") == 0
            assert module.nll_loss(empty, none, reduction="none").shape == none.shape
            assert module.nll_loss_backward(empty, none).shape == shape


def test_infinities(isa, dtype):
    """A class of probability 0 costs inf where it is the target, and nothing elsewhere; NaN is NaN."""
    x = np.array([[0, -np.inf], [-np.inf, -1], [np.nan, -2]], dtype)
    for module in (ops, reference):
        np.testing.assert_array_equal(module.nll_loss(x, np.array([1, 1, 0]), reduction="none"), [np.inf, 1, np.nan])
        assert module.nll_loss(x, np.array([0, 1, 1])) == 1


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_finite_differences(reduction, weighted, isa):
    rng = np.random.default_rng(6)
    target = np.array([[0, 3], [-100, 2], [2, 1]])
    options = (rng.random(4) + 0.1 if weighted else None, -100, reduction)

    def gradients(grad_y, x):
        return (ops.nll_loss_backward(x, target, *options, grad_y=grad_y if reduction == "none" else float(grad_y)),)

    oracle.gradcheck(lambda x: ops.nll_loss(x, target, *options), [rng.standard_normal((3, 4, 2))], gradients)
