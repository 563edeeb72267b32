"""cross_entropy and its backward: reductions, class weights, ignored rows, label smoothing, masked classes."""

import functools

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


def sizes(x, target, weight, label_smoothing, ignore_index):
    """For the bounds: each class's distance to the largest logit, and its share in the loss, 0 in ignored rows."""
    kept = target != ignore_index
    w = np.ones(x.shape[1], x.dtype) if weight is None else weight
    share = label_smoothing / x.shape[1] * np.broadcast_to(w, x.shape) * kept[:, np.newaxis]
    rows = np.flatnonzero(kept)
    share[rows, target[rows]] += (1 - label_smoothing) * w[target[rows]]
    return x.max(axis=1, keepdims=True) - x, share, w[target[kept]].sum()


@functools.lru_cache(maxsize=64)
def exact(function, x, target, weight, options, scale=None):
    """A result of the reference; arrays come as (bytes, dtype, shape), so that it is computed once for all kernels."""
    x, target, weight, scale = (
        None if a is None else np.frombuffer(a[0], a[1]).reshape(a[2]) for a in (x, target, weight, scale)
    )
    gradient = {} if scale is None else {"grad_y": scale}
    return getattr(reference, function)(x, target, weight, **dict(options), **gradient)


def hashable(a):
    return None if a is None else (a.tobytes(), a.dtype.str, a.shape)


def check(x, target, weight=None, reduction="mean", label_smoothing=0.0, ignore_index=-100, grad_y=None, layout="C"):
    """Loss and gradient against the reference in the wide dtype; rows of finite logits."""
    dtype, wide, (N, C) = x.dtype, oracle.wide(x.dtype), x.shape
    options = {"reduction": reduction, "label_smoothing": label_smoothing, "ignore_index": ignore_index}
    exact_x, exact_weight = x.astype(wide), None if weight is None else weight.astype(wide)
    arrays = x, target, *(() if weight is None else (weight,))
    given_arrays = [lay_out(a, layout) for a in arrays]
    distance, share, counted = sizes(exact_x, target, exact_weight, label_smoothing, ignore_index)

    loss = ops.cross_entropy(*given_arrays, **options)
    key = hashable(exact_x), hashable(target), hashable(exact_weight), tuple(options.items())
    right = exact("cross_entropy", *key)
    # Row i's loss is the sum over c of share[c] * (distance[c] + log(sum of C exponentials)).
    magnitude = np.sum(share * (distance + np.log(C) + 1), axis=1)
    if reduction == "none":
        assert loss.dtype == dtype
        assert_fresh(loss, *given_arrays)
        assert_within(loss, right, magnitude, C)
    else:
        assert type(loss) is float
        total = magnitude.sum() / (counted if reduction == "mean" else 1)
        assert_within(np.array(loss, dtype), np.array(right, wide), total, C + N)

    grad_x = ops.cross_entropy_backward(*given_arrays, **options, grad_y=grad_y)
    scale = np.asarray(1.0 if grad_y is None else grad_y, wide).reshape(-1, 1)
    right = exact("cross_entropy_backward", *key, hashable(scale.squeeze(-1)))
    p = reference.softmax(exact_x)
    magnitude = abs(scale) * (p * (1 + distance) * share.sum(axis=1, keepdims=True) + share)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, *given_arrays)
    assert_within(grad_x, right, magnitude / (counted if reduction == "mean" else 1), C)
    for before, after in zip(arrays, given_arrays, strict=True):
        np.testing.assert_array_equal(before, after)  # inputs are never written


@st.composite
def problems(draw):
    """Arguments of check, but for the arrays: they need the dtype."""
    N, C = draw(st.integers(1, 20)), draw(st.integers(1, 40))
    options = {
        "reduction": draw(st.sampled_from(REDUCTIONS)),
        "label_smoothing": draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0])),
        "ignore_index": draw(st.sampled_from([-100, -1, 0, C - 1, 255])),
        "layout": draw(layouts),
    }
    return N, C, options, draw(st.booleans()), draw(st.sampled_from([0.1, 1, 30, 500])), draw(seeds)


@given(problem=problems(), target_dtype=st.sampled_from(["int64", "int32", "int16", "uint8"]))
def test_random_problems(problem, target_dtype, isa, threads, dtype):
    N, C, options, weighted, scale, seed = problem
    rng = np.random.default_rng(seed)
    target = rng.integers(0, C, N).astype(target_dtype)
    if np.can_cast(np.min_scalar_type(options["ignore_index"]), target_dtype):
        target[rng.random(N) < 0.3] = options["ignore_index"]
    target[0] = (options["ignore_index"] + 1) % C  # one row at least that counts, unless there is but one class
    if np.all(target == options["ignore_index"]):
        options["ignore_index"] = -100
    weight = (rng.random(C) + 0.1).astype(dtype) if weighted else None
    grad_y = rng.standard_normal(N).astype(dtype) if options["reduction"] == "none" else float(rng.standard_normal())
    check((rng.standard_normal((N, C)) * scale).astype(dtype), target, weight, **options, grad_y=grad_y)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("N", "C"), [(1, 1), (1, 10), (128, 10), (3, 1000), (6000, 10), (100, 1000)])
def test_sizes(N, C, reduction, isa, threads, dtype):
    rng = np.random.default_rng(1)
    x, target = numbers(rng, (N, C), dtype), rng.integers(0, C, N)
    for smoothing in (0.0, 0.1):
        check(x, target, None, reduction, smoothing)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    rng = np.random.default_rng(2)
    check(numbers(rng, (9, 13), dtype), rng.integers(0, 13, 9), rng.random(13).astype(dtype), layout=layout)


def test_default_gradient_is_one(isa, dtype):
    rng = np.random.default_rng(3)
    x, target = numbers(rng, (9, 13), dtype), rng.integers(0, 13, 9)
    for reduction, one in (("mean", 1.0), ("sum", 1.0), ("none", np.ones(9, dtype))):
        default = ops.cross_entropy_backward(x, target, reduction=reduction)
        assert default.tobytes() == ops.cross_entropy_backward(x, target, reduction=reduction, grad_y=one).tobytes()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_image(reduction, isa, dtype):
    """Logits of shape (C,) with a number as target are a batch of one without its axis."""
    x = numbers(np.random.default_rng(4), 10, dtype)
    batch = ops.cross_entropy(x[np.newaxis], np.array([3]), reduction=reduction)
    for target in (3, np.int32(3), np.array(3)):
        loss = ops.cross_entropy(x, target, reduction=reduction)
        assert np.ndim(loss) == 0
        assert float(loss) == float(np.squeeze(batch))
        grad_x = ops.cross_entropy_backward(x, target, reduction=reduction)
        right = ops.cross_entropy_backward(x[np.newaxis], np.array([3]), reduction=reduction)
        np.testing.assert_array_equal(grad_x, right[0])


def test_ignored_rows_do_not_count(isa, dtype):
    rng = np.random.default_rng(5)
    x, target = numbers(rng, (6, 5), dtype), np.array([1, -100, 4, 0, -100, 2])
    x[1] = np.nan  # what an ignored row holds is of no consequence
    kept = target >= 0
    for reduction in ("mean", "sum"):
        right = ops.cross_entropy(x[kept], target[kept], reduction=reduction)
        assert ops.cross_entropy(x, target, reduction=reduction) == pytest.approx(right, rel=1e-6)
        grad_x = ops.cross_entropy_backward(x, target, reduction=reduction)
        np.testing.assert_array_equal(grad_x[~kept], 0)
        np.testing.assert_allclose(
            grad_x[kept], ops.cross_entropy_backward(x[kept], target[kept], reduction=reduction), rtol=1e-6
        )
    losses = ops.cross_entropy(x, target, reduction="none")
    np.testing.assert_array_equal(losses[~kept], 0)


def test_nothing_to_count(isa, dtype):
    """The mean over no rows is NaN and their sum 0; the gradient of ignored rows is 0 either way."""
    x, target = np.ones((3, 4), dtype), np.full(3, -100)
    empty, no_target = np.ones((0, 4), dtype), np.zeros(0, np.int64)
    for module in (ops, reference):
        assert np.isnan(module.cross_entropy(x, target))
        assert module.cross_entropy(x, target, reduction="sum") == 0
        np.testing.assert_array_equal(module.cross_entropy_backward(x, target), np.zeros((3, 4)))
        assert np.isnan(module.cross_entropy(empty, no_target))
        assert module.cross_entropy(empty, no_target, reduction="sum") == 0
        assert module.cross_entropy(empty, no_target, reduction="none").shape == (0,)
        assert module.cross_entropy_backward(empty, no_target).shape == (0, 4)


def test_masked_classes(isa, dtype):
    """A logit of -inf switches a class off: it costs nothing and gets no gradient."""
    x, target = np.array([[0.5, -np.inf, 1.5], [2, 3, -np.inf]], dtype), np.array([0, 1])
    for module in (ops, reference):
        losses = module.cross_entropy(x, target, reduction="none")
        np.testing.assert_allclose(losses, np.log1p(np.exp([1.0, -1.0])), rtol=8 * np.finfo(dtype).eps)
        grad_x = module.cross_entropy_backward(x, target, reduction="sum")
        half = 1 / (1 + np.exp(-1.0))
        right = [[-half, 0, half], [1 - half, half - 1, 0]]
        np.testing.assert_allclose(grad_x, right, rtol=16 * np.finfo(dtype).eps)
        assert module.cross_entropy(x, np.array([1, 2]), reduction="sum") == np.inf  # the true class is off


def test_not_a_number(isa, dtype):
    x = np.ones((3, 20), dtype)
    x[1, 17] = np.nan
    losses = ops.cross_entropy(x, np.array([0, 1, 2]), reduction="none")
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False])
    grad_x = ops.cross_entropy_backward(x, np.array([0, 1, 2]), reduction="sum")
    np.testing.assert_array_equal(np.isnan(grad_x), np.repeat([[False], [True], [False]], 20, axis=1))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_finite_differences(reduction, smoothing, weighted, isa):
    rng = np.random.default_rng(6)
    target = np.array([0, 3, -100, 2, 2])
    options = (rng.random(4) + 0.1 if weighted else None, -100, reduction, smoothing)

    def gradients(grad_y, x):
        grad_y = grad_y if reduction == "none" else float(grad_y)
        return (ops.cross_entropy_backward(x, target, *options, grad_y=grad_y),)

    oracle.gradcheck(lambda x: ops.cross_entropy(x, target, *options), [rng.standard_normal((5, 4))], gradients)


# -- pixels: x (N, C, d1, ...) -----------------------------------------------------------------------------------------


@st.composite
def image_problems(draw):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 20)), *draw(st.lists(st.integers(1, 20), max_size=2)))
    options = {
        "ignore_index": draw(st.sampled_from([-100, 0])),
        "reduction": draw(st.sampled_from(REDUCTIONS)),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
    }
    return shape, options, draw(st.booleans()), draw(st.sampled_from([1, 30])), draw(layouts), draw(seeds)


def as_rows(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


@given(problem=image_problems())
def test_pixels_are_rows(problem, isa, threads, dtype):
    """Each pixel is a row of its own: the losses and gradients are those of the rows, up to rounding."""
    shape, options, weighted, scale, layout, seed = problem
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * scale).astype(dtype)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.flat[0] = shape[1] - 1
    if shape[1] == 1:
        options["ignore_index"] = -100
    weight = (rng.random(shape[1]) + 0.1).astype(dtype) if weighted else None
    none = options["reduction"] == "none"
    grad_y = numbers(rng, target.shape, dtype) if none else float(rng.standard_normal())
    given_x, given_target = lay_out(x, layout), lay_out(target, layout)
    loss = ops.cross_entropy(given_x, given_target, weight, **options)
    right = ops.cross_entropy(as_rows(x), target.reshape(-1), weight, **options)
    tolerance = {"rtol": 100 * np.finfo(dtype).eps, "atol": 100 * scale * np.finfo(dtype).eps}
    np.testing.assert_allclose(loss, right.reshape(target.shape) if none else right, **tolerance)
    grad_x = ops.cross_entropy_backward(given_x, given_target, weight, **options, grad_y=grad_y)
    assert_fresh(grad_x, given_x)
    grad_y = grad_y.reshape(-1) if none else grad_y
    right = ops.cross_entropy_backward(as_rows(x), target.reshape(-1), weight, **options, grad_y=grad_y)
    np.testing.assert_allclose(as_rows(grad_x), right, **tolerance)


def test_one_image_of_pixels_has_the_bits_it_has_in_a_batch(isa, dtype):
    rng = np.random.default_rng(8)
    x, target = numbers(rng, (3, 7, 19, 23), dtype), rng.integers(0, 7, (3, 19, 23))
    losses = ops.cross_entropy(x, target, reduction="none")
    np.testing.assert_array_equal(ops.cross_entropy(x[1:2], target[1:2], reduction="none")[0], losses[1])


def test_pixels_on_any_number_of_threads(isa, dtype):
    rng = np.random.default_rng(9)
    x, target = numbers(rng, (5, 9, 67, 71), dtype), rng.integers(0, 9, (5, 67, 71))
    results = []
    for n in (1, 2, 3):
        with fastconv.threads(n):
            results.append((ops.cross_entropy(x, target), ops.cross_entropy_backward(x, target).tobytes()))
    assert results[0] == results[1] == results[2]


def test_special_pixels(isa, dtype):
    """NaN where a pixel holds NaN, inf where its class is switched off, 0 where it is ignored."""
    x = np.zeros((1, 3, 40), dtype)
    x[0, 1, 3], x[0, 2, 5], x[0, 0, 7] = np.nan, -np.inf, np.nan
    target = np.zeros((1, 40), int)
    target[0, 5], target[0, 7] = 2, -100
    for module in (ops, reference):
        losses = module.cross_entropy(x, target, reduction="none")[0]
        assert np.isnan(losses[3])
        assert losses[5] == np.inf
        assert losses[7] == 0
        np.testing.assert_allclose(np.delete(losses, [3, 5, 7]), np.log(3), rtol=1e-6)
        grad_x = module.cross_entropy_backward(x, target, reduction="sum")[0]
        assert np.isnan(grad_x[:, 3]).all()
        np.testing.assert_allclose(grad_x[:, 5], [0.5, 0.5, -1], rtol=1e-6)
        np.testing.assert_array_equal(grad_x[:, 7], 0)
    empty = np.zeros((2, 3, 0), dtype)
    assert np.isnan(ops.cross_entropy(empty, np.zeros((2, 0), int)))
    assert ops.cross_entropy_backward(empty, np.zeros((2, 0), int)).shape == (2, 3, 0)


# -- probabilities as targets ------------------------------------------------------------------------------------------


@given(problem=image_problems(), single=st.booleans())
def test_probabilities(problem, single, isa, threads, dtype):
    shape, options, weighted, scale, layout, seed = problem
    options["ignore_index"] = -100
    shape = shape[1:2] if single else shape
    rng = np.random.default_rng(seed)
    x, target = (rng.standard_normal(shape) * scale).astype(dtype), rng.random(shape).astype(dtype)
    classes = shape[0] if single else shape[1]
    weight = (rng.random(classes) + 0.1).astype(dtype) if weighted else None
    wide = oracle.wide(dtype)
    exact = x.astype(wide), target.astype(wide), None if weight is None else weight.astype(wide)
    grad_y = numbers(rng, () if single else (shape[0], *shape[2:]), dtype) if options["reduction"] == "none" else 0.7
    given_x, given_target = lay_out(x, layout), lay_out(target, layout)
    loss = ops.cross_entropy(given_x, given_target, weight, **options)
    tolerance = {"rtol": 200 * np.finfo(dtype).eps, "atol": 200 * np.finfo(dtype).eps}
    np.testing.assert_allclose(loss, reference.cross_entropy(*exact, **options), **tolerance)
    grad_x = ops.cross_entropy_backward(given_x, given_target, weight, **options, grad_y=grad_y)
    assert grad_x.dtype == dtype
    assert_fresh(grad_x, given_x, given_target)
    right = reference.cross_entropy_backward(*exact, **options, grad_y=np.asarray(grad_y, wide))
    np.testing.assert_allclose(grad_x, right, rtol=tolerance["rtol"], atol=scale * tolerance["atol"])


def test_certainties_are_class_numbers(isa, dtype):
    rng = np.random.default_rng(10)
    x, target = numbers(rng, (6, 5), dtype), rng.integers(0, 5, 6)
    certain = np.eye(5, dtype=dtype)[target]
    for options in ({}, {"label_smoothing": 0.3}, {"reduction": "sum"}):
        assert ops.cross_entropy(x, certain, **options) == pytest.approx(ops.cross_entropy(x, target, **options), 1e-5)
        np.testing.assert_allclose(
            ops.cross_entropy_backward(x, certain, **options),
            ops.cross_entropy_backward(x, target, **options),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (6,)], ids=str)
def test_finite_differences_of_the_new_forms(shape, reduction, isa):
    rng = np.random.default_rng(11)
    weight = rng.random(shape[0] if len(shape) == 1 else shape[1]) + 0.1
    shares = rng.random(shape)
    targets = [shares]
    if len(shape) > 2:
        targets.append(rng.integers(0, shape[1], (shape[0], *shape[2:])))
    for target in targets:
        options = (weight, -100, reduction, 0.1)

        def gradients(grad_y, x, target=target, options=options):
            grad_y = grad_y if reduction == "none" else float(grad_y)
            return (ops.cross_entropy_backward(x, target, *options, grad_y=grad_y),)

        oracle.gradcheck(
            lambda x, target=target, options=options: ops.cross_entropy(x, target, *options),
            [rng.standard_normal(shape)],
            gradients,
        )
