"""Depthwise and grouped convolutions with few channels in a group: every kernel size, width, stride and padding that
the plane kernels are written for, and their neighbours that go elsewhere."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_within
from strategies import DATA, ConvCase, seeds

import fastconv
from fastconv import ops, reference


@st.composite
def plane_cases(draw, work=20_000):
    """Groups of few channels, square kernels, strides 1 and 2; now and then something that is close to it."""
    R = draw(st.sampled_from([3, 3, 3, 5, 5, 7, 2, 4]))
    S = R if draw(st.integers(0, 7)) else 3
    stride = draw(st.sampled_from([1, 1, 2, 2, 3, (1, 2)]))
    dilation = draw(st.sampled_from([1, 1, 1, 1, 2]))
    padding = draw(st.one_of(st.integers(0, R + 1), st.tuples(st.integers(0, 4), st.integers(0, 4))))
    if stride == 1 and draw(st.booleans()):
        padding = "same"
    pad_h, pad_w = (0, 0) if padding == "same" else padding if isinstance(padding, tuple) else (padding, padding)
    H = draw(st.integers(max(1, dilation * (R - 1) + 1 - 2 * pad_h), 20))
    W = draw(st.integers(max(1, dilation * (S - 1) + 1 - 2 * pad_w), 70))
    cg, kg = (1, 1) if draw(st.booleans()) else (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    most = max(1, work // (H * W * R * S * cg * kg))
    groups = draw(st.integers(1, min(19, most)))
    N = draw(st.integers(0, max(1, min(3, most // groups))))
    data, seed = draw(st.sampled_from(DATA)), draw(seeds)
    bias = draw(st.booleans())
    return ConvCase(
        N, cg * groups, H, W, kg * groups, R, S, stride, padding, dilation, groups, bias=bias, data=data, seed=seed
    )


def check(case, dtype):
    """All three passes against exact results: to the bit on integers, else within the bound."""
    x, weight, bias = case.arrays(dtype)
    exact = [oracle.conv2d(x, weight, bias, **case.options)]
    grad_y = case.grad_y(exact[0].shape, dtype)
    exact += oracle.conv2d_backward(grad_y, x, weight, **case.options)
    results = [
        ops.conv2d(x, weight, bias, **case.options),
        *ops.conv2d_backward(grad_y, x, weight, **case.options),
    ]
    if case.data == "integers":
        for result, right in zip(results, exact, strict=True):
            np.testing.assert_array_equal(result, right.astype(dtype))
        return
    size_y = oracle.conv2d(abs(x), abs(weight), None if bias is None else abs(bias), **case.options)
    sizes = [size_y, *oracle.conv2d_backward(abs(grad_y), abs(x), abs(weight), **case.options)]
    positions = grad_y.size // case.K
    counts = (case.products, case.K // case.groups * case.R * case.S, positions, positions)
    for result, right, size, n in zip(results, exact, sizes, counts, strict=True):
        assert_within(result, right, size, n)


@given(case=plane_cases())
def test_random_problems(case, isa, threads, dtype):
    check(case, dtype)


@given(case=plane_cases(work=3_000))
def test_the_reference_agrees(case, isa, dtype):
    """On small integers, to the bit."""
    case = replace(case, data="integers")
    x, weight, bias = case.arrays(dtype)
    y = ops.conv2d(x, weight, bias, **case.options)
    np.testing.assert_array_equal(y, reference.conv2d(x, weight, bias, **case.options))
    grad_y = case.grad_y(y.shape, dtype)
    results = ops.conv2d_backward(grad_y, x, weight, **case.options)
    for result, right in zip(results, reference.conv2d_backward(grad_y, x, weight, **case.options), strict=True):
        np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("R", [3, 5, 7])
def test_every_width_and_padding(R, stride, isa, dtype):
    """Widths around one, two and three vectors, strips inside, at either edge and at both; pairs of planes."""
    for W in [*range(1, 20), 23, 24, 25, 31, 32, 33, 34, 35, 47, 48, 49, 50, 51, 65, 71, 72]:
        for padding in {0, W % (R + 2), R // 2}:
            if W + 2 * padding >= R:
                check(ConvCase(2, 3, 8, W, 3, R, R, stride, (R // 2, padding), 1, 3, data="integers", seed=W), dtype)


@pytest.mark.parametrize(("C", "K"), [(1, 2), (2, 1), (3, 2), (4, 4), (8, 8), (8, 9)])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_of_a_group(C, K, stride, isa, threads, dtype):
    for data in ("integers", "positive"):
        check(ConvCase(2, 3 * C, 9, 21, 3 * K, 3, 3, stride, 1, 1, 3, data=data), dtype)


@pytest.mark.parametrize("stride", [1, 2])
def test_planes_in_several_bands(stride, isa, dtype):
    """Wide and tall planes, which the kernels cut in bands of rows."""
    check(ConvCase(1, 2, 20, 600, 2, 3, 3, stride, 1, 1, 2, data="integers"), dtype)
    check(ConvCase(1, 2, 900, 5, 2, 5, 5, stride, 2, 1, 2, data="integers"), dtype)


CASES = [
    ConvCase(8, 40, 28, 28, 40, 3, 3, 1, 1, 1, 40),
    ConvCase(8, 40, 28, 28, 40, 3, 3, 2, 1, 1, 40),
    ConvCase(24, 45, 7, 7, 45, 5, 5, 1, 2, 1, 45),
    ConvCase(9, 24, 14, 14, 24, 3, 3, 1, 1, 1, 6),
    ConvCase(9, 24, 14, 14, 24, 3, 3, 2, 1, 1, 6),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bits(case, isa, dtype):
    """The same for one thread and two, and in forward for an image alone and in its batch."""
    x, weight, bias = case.arrays(dtype)
    results = []
    for threads in (1, 2):
        with fastconv.threads(threads):
            y = ops.conv2d(x, weight, bias, **case.options)
            grad_y = case.grad_y(y.shape, dtype)
            results.append((y, *ops.conv2d_backward(grad_y, x, weight, **case.options)))
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
    alone = ops.conv2d(x[3:4], weight, bias, **case.options)
    assert alone.tobytes() == results[0][0][3:4].tobytes()


@pytest.mark.parametrize("which", ["x", "weight", "grad_y"])
@given(case=plane_cases(work=3_000), value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_values_that_are_not_finite(which, case, value, isa, dtype):
    """They reach exactly what the reference says: nothing by way of the padding, nor from one plane into another."""
    case = replace(case, data="integers")
    x, weight, bias = case.arrays(dtype)
    grad_y = case.grad_y(oracle.conv2d(x, weight, **case.options).shape, dtype)
    target = {"x": x, "weight": weight, "grad_y": grad_y}[which].reshape(-1)
    target[np.random.default_rng(case.seed).random(target.size) < 0.05] = value
    with np.errstate(invalid="ignore"):
        rights = (
            reference.conv2d(x, weight, bias, **case.options),
            *reference.conv2d_backward(grad_y, x, weight, **case.options),
        )
    results = (ops.conv2d(x, weight, bias, **case.options), *ops.conv2d_backward(grad_y, x, weight, **case.options))
    for result, right, name in zip(results, rights, ("y", "grad_x", "grad_weight", "grad_bias"), strict=True):
        np.testing.assert_array_equal(result, right, err_msg=name)


@pytest.mark.parametrize("W", [7, 14, 40])
def test_an_infinite_pixel_beside_the_padding(W, isa, dtype):
    """grad_weight: the zeros that stand for what lies outside grad_y must not meet it."""
    x, weight = np.ones((2, 4, 9, W), dtype), np.ones((4, 1, 3, 3), dtype)
    x[1, 2, 4, W - 1] = np.inf
    grad_y = np.ones((2, 4, 7, W - 2), dtype)
    grad_weight = ops.conv2d_backward(grad_y, x, weight, groups=4, need=(False, True, False))[1]
    right = np.full((4, 1, 3, 3), 2 * 7 * (W - 2), dtype)
    right[2, 0, :, 2] = np.inf
    np.testing.assert_array_equal(grad_weight, right)
