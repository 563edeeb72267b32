"""conv2d and conv2d_backward against the reference, exact results, finite differences; layouts, tiles, layers."""

import functools
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import LAYERS, LAYOUTS, ConvCase, conv_cases, lay_out, layouts

from fastconv import ops, reference

NEEDS = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]


def unbatch(case, array):
    """The array as the case's caller would hand it over: without batch axis where the case has none."""
    return array if case.batched else array[0]


def largest_of_taps(case, sums):
    """What bounds 3x3 kernels with stride 1 (Winograd): each tap counts as the largest of its filter and channel.

    That is what can be promised for any data.  Only data of very different sizes needs it: on ordinary data the
    element's own sum bounds them too, and the tests ask for that.
    """
    winograd = case.R == case.S == 3 and case.stride in (1, (1, 1))
    if case.data == "wide" and winograd:
        sums = np.broadcast_to(sums.max(axis=(2, 3), keepdims=True), sums.shape)
    return sums


@functools.lru_cache(maxsize=512)
def exact_forward(case, dtype):
    """(y, sum of absolute products), both in the wide dtype and with a batch axis."""
    x, weight, bias = case.arrays(dtype)
    size = largest_of_taps(case, abs(weight))
    magnitude = oracle.conv2d(abs(x), size, None if bias is None else abs(bias), **case.options)
    return oracle.conv2d(x, weight, bias, **case.options), magnitude


@functools.lru_cache(maxsize=512)
def exact_backward(case, dtype):
    """(grad_y, the three gradients, their sums of absolute products)."""
    x, weight, _ = case.arrays(dtype)
    grad_y = case.grad_y(exact_forward(case, dtype)[0].shape, dtype)
    size = largest_of_taps(case, abs(weight))
    size_x, size_weight, size_bias = oracle.conv2d_backward(abs(grad_y), abs(x), size, **case.options)
    return (
        grad_y,
        oracle.conv2d_backward(grad_y, x, weight, **case.options),
        (size_x, largest_of_taps(case, size_weight), size_bias),
    )


def check_forward(case, dtype, layout="C"):
    x, weight, bias = (None if a is None else lay_out(a, layout) for a in case.arrays(dtype))
    exact, magnitude = exact_forward(case, dtype)
    y = ops.conv2d(unbatch(case, x), weight, bias, **case.options)
    assert y.dtype == dtype
    assert_fresh(y, x, weight, bias)
    if case.data == "integers":
        np.testing.assert_array_equal(y, unbatch(case, exact).astype(dtype))
    else:
        assert_within(y, unbatch(case, exact), unbatch(case, magnitude), case.products)
    for before, after in zip(case.arrays(dtype), (x, weight, bias), strict=True):
        np.testing.assert_array_equal(before, after)  # inputs are never written


def check_backward(case, dtype, layout="C", need=(True, True, True)):
    x, weight, _ = (None if a is None else lay_out(a, layout) for a in case.arrays(dtype))
    grad_y, exact, magnitude = exact_backward(case, dtype)
    given_grad = lay_out(grad_y, layout)
    results = ops.conv2d_backward(unbatch(case, given_grad), unbatch(case, x), weight, **case.options, need=need)
    assert len(results) == 3
    N, _, OH, OW = grad_y.shape
    counts = (case.K // case.groups * case.R * case.S, N * OH * OW, N * OH * OW)
    for i, (result, wanted, n) in enumerate(zip(results, need, counts, strict=True)):
        if not wanted:
            assert result is None
            continue
        assert result.dtype == dtype
        assert_fresh(result, x, weight, given_grad)
        right, bound = (unbatch(case, a[i]) if i == 0 else a[i] for a in (exact, magnitude))
        if case.data == "integers":
            np.testing.assert_array_equal(result, right.astype(dtype))
        else:
            assert_within(result, right, bound, n)
    for before, after in zip((grad_y, *case.arrays(dtype)[:2]), (given_grad, x, weight), strict=True):
        np.testing.assert_array_equal(before, after)


# -- random problems ---------------------------------------------------------------------------------------------------


@given(case=conv_cases(work=6_000))
def test_forward_matches_the_reference(case, isa, dtype):
    x, weight, bias = case.arrays(dtype)
    y = ops.conv2d(unbatch(case, x), weight, bias, **case.options)
    right = reference.conv2d(unbatch(case, x), weight, bias, **case.options)
    magnitude = reference.conv2d(
        abs(unbatch(case, x)), abs(weight), None if bias is None else abs(bias), **case.options
    )
    assert y.dtype == right.dtype
    assert_within(y, right, magnitude, case.products, terms=5)  # 5: the reference was rounded to dtype too


@given(case=conv_cases(work=6_000))
def test_backward_matches_the_reference(case, isa, dtype):
    x, weight, _ = case.arrays(dtype)
    grad_y = unbatch(case, case.grad_y(exact_forward(case, dtype)[0].shape, dtype))
    x = unbatch(case, x)
    results = ops.conv2d_backward(grad_y, x, weight, **case.options)
    rights = reference.conv2d_backward(grad_y, x, weight, **case.options)
    magnitudes = reference.conv2d_backward(abs(grad_y), abs(x), abs(weight), **case.options)
    outputs = grad_y.size // case.K
    counts = (case.K // case.groups * case.R * case.S, outputs, outputs)
    for result, right, magnitude, n in zip(results, rights, magnitudes, counts, strict=True):
        assert_within(result, right, magnitude, n, terms=5)


@given(case=conv_cases(), layout=layouts)
def test_forward_is_within_the_bound(case, layout, isa, threads, dtype):
    check_forward(case, dtype, layout)


@given(case=conv_cases(), layout=layouts, need=st.sampled_from([*NEEDS[:1] * 4, *NEEDS]))
def test_backward_is_within_the_bound(case, layout, need, isa, threads, dtype):
    check_backward(case, dtype, layout, need)


@given(case=conv_cases(work=4_000))
def test_oracle_is_the_reference(case):
    """What the other tests call exact is what the reference computes."""
    x, weight, bias = case.arrays(np.float64)
    y, magnitude = exact_forward(case, np.float64)
    assert_within(reference.conv2d(x, weight, bias, **case.options), y, magnitude, case.products)
    grad_y, exact, magnitudes = exact_backward(case, np.float64)
    gradients = reference.conv2d_backward(grad_y, x, weight, **case.options)
    for gradient, right, bound in zip(gradients, exact, magnitudes, strict=True):
        assert_within(gradient, right, bound, max(grad_y.size, x.size))


# -- known layers, large enough for two threads ------------------------------------------------------------------------

LAYER_IDS = [name for name, _ in LAYERS]
LAYER_CASES = [case for _, case in LAYERS]


@pytest.mark.parametrize("case", LAYER_CASES, ids=LAYER_IDS)
def test_layers_forward(case, isa, threads, dtype):
    check_forward(replace(case, data="integers"), dtype)
    if dtype == np.float32:  # float64 against longdouble takes too long here; smaller problems cover it
        for data in ("normal", "positive"):
            check_forward(replace(case, data=data), dtype)


@pytest.mark.parametrize("case", LAYER_CASES, ids=LAYER_IDS)
def test_layers_backward(case, isa, threads, dtype):
    check_backward(replace(case, data="integers"), dtype)
    if dtype == np.float32:
        for data in ("normal", "positive"):
            check_backward(replace(case, data=data), dtype)


@pytest.mark.parametrize("case", LAYER_CASES, ids=LAYER_IDS)
def test_layers_of_numbers_of_very_different_sizes(case, isa, threads):
    """The bound is each element's own (3x3 kernels with stride 1: see largest_of_taps)."""
    check_forward(replace(case, data="wide"), np.dtype(np.float32))
    check_backward(replace(case, data="wide"), np.dtype(np.float32))


@pytest.mark.parametrize("data", ["normal", "positive"])
@pytest.mark.parametrize(("C", "K", "R"), [(16, 16, 3), (24, 40, 3), (40, 24, 1), (8, 20, 5)])
def test_float64_is_within_the_bound(C, K, R, data, isa, threads):
    case = ConvCase(2, C, 14, 15, K, R, R, padding=R // 2, data=data)
    check_forward(case, np.dtype(np.float64))
    check_backward(case, np.dtype(np.float64))


# -- every remainder of the vector tiles -------------------------------------------------------------------------------


@functools.cache
def tile_problem(dtype, R, stride):
    """Integers, so that results are exact, with the exact result of the largest width and the most filters."""
    case = ConvCase(2, 3, R + 1, (60 - 1) * stride + R, 70, R, R, stride, data="integers", seed=R)
    return (*case.arrays(dtype), exact_forward(case, dtype)[0].astype(dtype))


@pytest.mark.parametrize("R", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_number_of_filters_and_every_width(R, stride, isa, threads, dtype):
    x, weight, bias, exact = tile_problem(dtype, R, stride)
    for K in range(1, 71):
        for OW in {1 + K % 60, 1 + (7 * K) % 60, 60 - K % 60} if K % 8 else range(1, 61, 3):
            y = ops.conv2d(x[..., : (OW - 1) * stride + R], weight[:K], bias[:K], stride)
            np.testing.assert_array_equal(y, exact[:, :K, :, :OW], err_msg=f"K={K} OW={OW}")


@pytest.mark.parametrize("R", [1, 3])
def test_every_number_of_channels(R, isa, threads, dtype):
    for C in range(1, 41):
        case = ConvCase(2, C, R + 1, 9 + C % 7, 5 + C, R, R, padding=R // 2, data="integers", seed=C)
        check_forward(case, dtype)
        check_backward(case, dtype)


@pytest.mark.parametrize("W", [1, 2, 3, 7, 8, 9, 15, 16, 17, 28, 31, 32, 33, 47, 48, 49, 60])
def test_gradients_of_every_width(W, isa, threads, dtype):
    for padding, stride in ((1, 1), (0, 1), (1, 2)):
        if W + 2 * padding >= 3:
            case = ConvCase(2, 5, 6, W, 18, 3, 3, stride, padding, data="integers", seed=W)
            check_forward(case, dtype)
            check_backward(case, dtype)


@pytest.mark.parametrize("groups", [2, 5, 16, 40])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise(groups, multiplier, isa, threads, dtype):
    for stride, dilation in ((1, 1), (2, 1), (1, 2), (3, 2)):
        case = ConvCase(2, groups, 9, 21, groups * multiplier, 3, 3, stride, 1, dilation, groups, data="integers")
        check_forward(case, dtype)
        check_backward(case, dtype)


@pytest.mark.parametrize(
    "case",
    [
        ConvCase(1, 1, 1, 1, 1, 1, 1),
        ConvCase(2, 3, 1, 1, 4, 1, 1, padding=3),  # most windows lie in the padding alone
        ConvCase(2, 3, 2, 2, 4, 7, 7, padding=6),
        ConvCase(1, 2, 9, 9, 3, 1, 1, stride=4),  # most pixels are never seen
        ConvCase(2, 3, 12, 13, 4, 2, 2, stride=5, padding=1),
        ConvCase(1, 2, 5, 300, 3, 1, 7, padding=(0, 3)),
        ConvCase(1, 2, 300, 5, 3, 7, 1, padding=(3, 0)),
        ConvCase(1, 600, 3, 3, 2, 3, 3),  # long sums
        ConvCase(1, 1, 40, 40, 1, 31, 31, padding=15),
        ConvCase(2, 2, 17, 19, 3, 3, 3, padding="same", dilation=(3, 5)),
        ConvCase(0, 3, 8, 8, 4, 3, 3, padding=1),
        ConvCase(40, 1, 3, 3, 2, 3, 3),  # many tiny images
    ],
    ids=lambda case: f"{case.N}x{case.C}x{case.H}x{case.W}-{case.K}x{case.R}x{case.S}",
)
def test_odd_shapes(case, isa, threads, dtype):
    for data in ("integers", "positive", "wide"):
        check_forward(replace(case, data=data), dtype)
        check_backward(replace(case, data=data), dtype)


# -- what the caller sees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    case = ConvCase(3, 4, 11, 13, 6, 3, 3, padding=1, groups=2, data="integers")
    check_forward(case, dtype, layout)
    check_backward(case, dtype, layout)


def test_broadcast_inputs(isa, dtype):
    """Stride-0 axes: one image seen as a batch, one filter seen as many."""
    x, weight, bias = ConvCase(1, 3, 9, 9, 1, 3, 3, data="integers").arrays(dtype)
    many_x, many_weight = np.broadcast_to(x, (4, 3, 9, 9)), np.broadcast_to(weight, (5, 3, 3, 3))
    y = ops.conv2d(many_x, many_weight, np.broadcast_to(bias, 5))
    np.testing.assert_array_equal(y, np.broadcast_to(reference.conv2d(x, weight, bias), (4, 5, 7, 7)))
    gradients = ops.conv2d_backward(np.broadcast_to(dtype.type(2), y.shape), many_x, many_weight)
    rights = reference.conv2d_backward(np.full_like(y, 2), many_x, many_weight)
    for gradient, right in zip(gradients, rights, strict=True):
        np.testing.assert_array_equal(gradient, right)


@pytest.mark.parametrize("need", NEEDS)
def test_need(need, isa, dtype):
    """Each gradient comes out the same whatever else is asked for."""
    case = ConvCase(2, 3, 10, 12, 5, 3, 3, padding=1)
    x, weight, _ = case.arrays(dtype)
    grad_y = case.grad_y((2, 5, 10, 12), dtype)
    all_three = ops.conv2d_backward(grad_y, x, weight, padding=1)
    for result, wanted, alone in zip(
        all_three, need, ops.conv2d_backward(grad_y, x, weight, padding=1, need=need), strict=True
    ):
        assert alone.tobytes() == result.tobytes() if wanted else alone is None


def test_empty_batch(isa, dtype):
    x, weight, bias = ConvCase(0, 3, 8, 9, 4, 3, 3).arrays(dtype)
    y = ops.conv2d(x, weight, bias)
    assert y.shape == (0, 4, 6, 7)
    grad_x, grad_weight, grad_bias = ops.conv2d_backward(y, x, weight)
    assert grad_x.shape == x.shape
    np.testing.assert_array_equal(grad_weight, np.zeros_like(weight))
    np.testing.assert_array_equal(grad_bias, np.zeros(4, dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("C", "K"), [(1, 4), (2, 20), (16, 16), (32, 64), (64, 70)])
@pytest.mark.parametrize("R", [1, 3, 5])
def test_a_special_pixel_stays_in_its_windows(R, C, K, value, isa, dtype):
    """One pixel of NaN or inf reaches the outputs that see it, and no other."""
    x = np.ones((2, C, 14, 30), dtype)
    x[1, C - 1, 5, 17] = value
    weight = np.ones((K, C, R, R), dtype)
    y = ops.conv2d(x, weight, padding=R // 2)
    clean = ops.conv2d(np.ones_like(x), weight, padding=R // 2)
    clean[1, :, 5 - R // 2 : 6 + R // 2, 17 - R // 2 : 18 + R // 2] = value
    np.testing.assert_array_equal(y, clean)
    grad_x = ops.conv2d_backward(clean, x, weight, padding=R // 2, need=(True, False, False))[0]
    bad = np.zeros(x.shape, bool)
    bad[1, :, max(5 - 2 * (R // 2), 0) : 6 + 2 * (R // 2), 17 - 2 * (R // 2) : 18 + 2 * (R // 2)] = True
    np.testing.assert_array_equal(np.isfinite(grad_x), ~bad)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("C", "K"), [(3, 20), (32, 64)])
def test_a_special_weight_stays_in_its_filter(C, K, value, isa, dtype):
    """One weight of NaN or inf reaches the outputs that it meets a pixel for, and their gradients, and no other."""
    x, weight = np.ones((2, C, 14, 15), dtype), np.ones((K, C, 3, 3), dtype)
    weight[K - 2, C - 1, 0, 2] = value  # looks up and right
    y = ops.conv2d(x, weight, padding=1)
    clean = ops.conv2d(x, np.ones_like(weight), padding=1)
    clean[:, K - 2, 1:, :-1] = value
    np.testing.assert_array_equal(y, clean)
    grad_x = ops.conv2d_backward(np.ones_like(y), x, weight, padding=1, need=(True, False, False))[0]
    clean = ops.conv2d_backward(np.ones_like(y), x, np.ones_like(weight), padding=1, need=(True, False, False))[0]
    clean[:, C - 1, :-1, 1:] = value
    np.testing.assert_array_equal(grad_x, clean)


@pytest.mark.parametrize(("C", "K"), [(3, 20), (32, 64)])
def test_a_special_gradient_stays_in_its_filter(C, K, isa, dtype):
    """grad_weight of one filter is lost by one NaN, at the taps that it meets a pixel for."""
    x, grad_y = np.ones((2, C, 14, 15), dtype), np.ones((2, K, 14, 15), dtype)
    weight = np.ones((K, C, 3, 3), dtype)
    clean = ops.conv2d_backward(grad_y, x, weight, padding=1)[1]
    grad_y[0, K - 1, 0, 0] = np.nan  # the top and left taps of its windows lie in the padding
    grad_weight = ops.conv2d_backward(grad_y, x, weight, padding=1)[1]
    clean[K - 1, :, 1:, 1:] = np.nan
    np.testing.assert_array_equal(grad_weight, clean)


@pytest.mark.parametrize("large", ["x", "weight"])
@pytest.mark.parametrize(("C", "K"), [(3, 20), (32, 64)])
def test_large_numbers_do_not_overflow(C, K, large, isa, dtype):
    """Where no partial sum is too large, nothing on the way is, either: operands may be near the largest number."""
    rng = np.random.default_rng(11)
    x, weight, grad_y = (rng.uniform(-1, 1, shape) for shape in ((2, C, 14, 14), (K, C, 3, 3), (2, K, 14, 14)))
    huge, small = np.float64(np.finfo(dtype).max), 2.0**-20
    scale_x, scale_weight = (huge, small) if large == "x" else (small, huge)
    arrays = (grad_y * small).astype(dtype), (x * scale_x).astype(dtype), (weight * scale_weight).astype(dtype)
    wide = [a.astype(oracle.wide(dtype)) for a in arrays]
    y = ops.conv2d(arrays[1], arrays[2], padding=1)
    grad_x, grad_weight, _ = ops.conv2d_backward(*arrays, padding=1)
    exact = oracle.conv2d(wide[1], wide[2], padding=1), *oracle.conv2d_backward(*wide, padding=1)[:2]
    sizes = [abs(a) for a in wide]
    bounds = oracle.conv2d(*sizes[1:], padding=1), *oracle.conv2d_backward(*sizes, padding=1)[:2]
    for result, right, magnitude, n in zip(
        (y, grad_x, grad_weight), exact, bounds, (9 * C, 9 * K, 2 * 14 * 14), strict=True
    ):
        assert_within(result, right, magnitude, n)


@pytest.mark.parametrize("which", ["x", "weight", "grad_y"])
@given(case=conv_cases(work=4_000), value=st.sampled_from(["nan", "inf"]))
def test_non_finite_values_anywhere(which, case, value, isa, dtype):
    """Padding is skipped, not multiplied: NaN and inf reach exactly what the reference says, in all four results."""
    case = replace(case, data="integers")
    x, weight, bias = case.arrays(dtype)
    grad_y = case.grad_y(exact_forward(case, dtype)[0].shape, dtype)
    target = {"x": x, "weight": weight, "grad_y": grad_y}[which].reshape(-1)
    target[np.random.default_rng(case.seed).random(target.size) < 0.1] = float(value)
    with np.errstate(invalid="ignore"):
        rights = (
            reference.conv2d(x, weight, bias, **case.options),
            *reference.conv2d_backward(grad_y, x, weight, **case.options),
        )
    results = (ops.conv2d(x, weight, bias, **case.options), *ops.conv2d_backward(grad_y, x, weight, **case.options))
    for result, right, name in zip(results, rights, ("y", "grad_x", "grad_weight", "grad_bias"), strict=True):
        np.testing.assert_array_equal(result, right, err_msg=name)


# -- finite differences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        ConvCase(2, 3, 7, 8, 4, 3, 3, padding=1),
        ConvCase(2, 4, 9, 8, 6, 3, 2, stride=2, groups=2),
        ConvCase(1, 3, 9, 9, 3, 3, 3, padding="same", dilation=2, groups=3),
        ConvCase(2, 2, 6, 7, 3, 4, 1, stride=(1, 3), padding=(2, 0)),
    ],
)
def test_finite_differences(case, isa):
    oracle.gradcheck(
        lambda x, w, b: ops.conv2d(x, w, b, **case.options),
        list(case.arrays(np.float64)),
        lambda grad_y, x, w, b: ops.conv2d_backward(grad_y, x, w, **case.options),
    )
