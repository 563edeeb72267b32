"""1 x 1 kernels as matrix products over panels, and strided gradients: what conv2d's direct paths choose by shape."""

import functools
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_within
from strategies import ConvCase, seeds

import fastconv
from fastconv import ops, reference


@st.composite
def pointwise_cases(draw):
    """1 x 1 kernels on both sides of the conditions: enough channels for a panel, or not."""
    stride = draw(st.sampled_from([1, 1, 2, 2, 3, (1, 2), (2, 1), (3, 1)]))
    return ConvCase(
        N=draw(st.integers(1, 5)),
        C=draw(st.sampled_from([1, 7, 8, 9, 17, 33, 70])),
        H=draw(st.integers(1, 12)),
        W=draw(st.integers(1, 21)),
        K=draw(st.sampled_from([4, 15, 16, 17, 23, 32, 40, 65])),
        R=1,
        S=1,
        stride=stride,
        padding=draw(st.sampled_from([0, 0, 0, 0, 1])),
        bias=draw(st.booleans()),
        data="integers",
        seed=draw(seeds),
    )


@st.composite
def strided_cases(draw):
    """Stride 2 along the rows, wide enough for the channels kernel in the gradient of x."""
    R, S = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    padding, dilation = draw(st.integers(0, 2)), draw(st.sampled_from([1, 1, 2, 3]))
    return ConvCase(
        N=draw(st.integers(1, 3)),
        C=draw(st.sampled_from([16, 30, 33, 48])),
        H=draw(st.integers(dilation * (R - 1) + 1, 16)),
        W=draw(st.integers(dilation * (S - 1) + 1, 24)),
        K=draw(st.sampled_from([5, 16, 40])),
        R=R,
        S=S,
        stride=(draw(st.integers(1, 3)), 2),
        padding=padding,
        dilation=dilation,
        data="integers",
        seed=draw(seeds),
    )


def exact(case, dtype):
    """(y, grad_x, grad_weight, grad_bias) in the wide dtype, and the grad_y that they are for."""
    x, weight, bias = case.arrays(dtype)
    y = oracle.conv2d(x, weight, bias, **case.options)
    grad_y = case.grad_y(y.shape, dtype)
    return (y, *oracle.conv2d_backward(grad_y, x, weight, **case.options)), grad_y


exact_once = functools.lru_cache(maxsize=64)(exact)


def results(case, dtype, grad_y=None):
    """The same from fastconv; without a grad_y, y stands for it."""
    x, weight, bias = case.arrays(dtype)
    y = ops.conv2d(x, weight, bias, **case.options)
    return y, *ops.conv2d_backward(y if grad_y is None else grad_y, x, weight, **case.options)


def check_exact(case, dtype, exact=exact):
    right, grad_y = exact(case, dtype)
    for a, b, name in zip(
        results(case, dtype, grad_y), right, ("y", "grad_x", "grad_weight", "grad_bias"), strict=True
    ):
        np.testing.assert_array_equal(a, b.astype(dtype), err_msg=name)


@given(case=pointwise_cases())
def test_pointwise_is_exact_on_integers(case, isa, threads, dtype):
    check_exact(case, dtype)


@given(case=strided_cases())
def test_stride_2_is_exact_on_integers(case, isa, threads, dtype):
    check_exact(case, dtype)


# More than a chunk of channels, more than a panel, images that end within a tile, a last block that is not full.
LARGE = [
    ConvCase(3, 300, 14, 14, 40, 1, 1, data="integers"),
    ConvCase(1, 24, 19, 31, 260, 1, 1, data="integers"),
    ConvCase(7, 24, 9, 11, 31, 1, 1, data="integers"),
    ConvCase(2, 150, 21, 30, 130, 1, 1, stride=2, data="integers"),
    ConvCase(2, 130, 31, 20, 64, 1, 1, stride=(2, 3), data="integers"),
    ConvCase(2, 64, 16, 16, 96, 1, 1, groups=2, data="integers"),
    ConvCase(2, 40, 23, 40, 36, 3, 3, stride=2, padding=1, data="integers"),
    ConvCase(1, 32, 18, 29, 20, 5, 3, stride=(1, 2), padding=2, data="integers"),
    ConvCase(1, 150, 12, 13, 33, 3, 3, stride=2, data="integers"),
]


@pytest.mark.parametrize("case", LARGE)
def test_large_problems_are_exact_on_integers(case, isa, threads, dtype):
    check_exact(case, dtype, exact_once)


@functools.lru_cache(maxsize=64)
def sizes_of_sums(case):
    x, weight, bias = (abs(a) for a in case.arrays(np.float32))
    y = oracle.conv2d(x, weight, bias, **case.options)
    grad_y = abs(case.grad_y(y.shape, np.float32))
    return y, *oracle.conv2d_backward(grad_y, x, weight, **case.options)


@pytest.mark.parametrize("case", LARGE)
def test_large_problems_are_within_the_bound(case, isa):
    case = replace(case, data="wide")
    right, grad_y = exact_once(case, np.dtype(np.float32))
    N, K, OH, OW = right[0].shape
    counts = (case.products, K // case.groups * case.R * case.S, N * OH * OW, N * OH * OW)
    got = results(case, np.float32, grad_y)
    for a, b, size, n in zip(got, right, sizes_of_sums(case), counts, strict=True):
        assert_within(a, b, size, n)


@pytest.mark.parametrize("case", LARGE)
def test_bits_do_not_depend_on_threads(case, isa, dtype):
    case = replace(case, data="normal")
    with fastconv.threads(1):
        one = results(case, dtype)
    with fastconv.threads(2):
        two = results(case, dtype)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", [*LARGE, ConvCase(9, 64, 7, 7, 48, 1, 1), ConvCase(16, 40, 1, 1, 32, 1, 1)])
def test_an_image_alone_has_the_bits_it_has_in_a_batch(case, isa, dtype):
    """The panels look at N, and a small image alone is computed by another kernel: to the same bits."""
    x, weight, bias = replace(case, data="normal").arrays(dtype)
    y = ops.conv2d(x, weight, bias, **case.options)
    grad_x = ops.conv2d_backward(y, x, weight, **case.options, need=(True, False, False))[0]
    for n in range(0, case.N, 2):
        alone = slice(n, n + 1)
        np.testing.assert_array_equal(ops.conv2d(x[alone], weight, bias, **case.options), y[alone])
        one = ops.conv2d_backward(y[alone], x[alone], weight, **case.options, need=(True, False, False))[0]
        np.testing.assert_array_equal(one, grad_x[alone])


@pytest.mark.parametrize("which", ["x", "weight", "grad_y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "case",
    [
        ConvCase(2, 16, 5, 8, 24, 1, 1, data="integers"),
        ConvCase(1, 24, 7, 9, 16, 1, 1, stride=2, data="integers"),
        ConvCase(1, 20, 7, 6, 16, 3, 3, stride=2, padding=1, data="integers"),
    ],
)
def test_non_finite_values_reach_what_the_reference_says(case, value, which, isa, dtype):
    x, weight, bias = case.arrays(dtype)
    grad_y = case.grad_y(oracle.conv2d(x, weight, bias, **case.options).shape, dtype)
    target = {"x": x, "weight": weight, "grad_y": grad_y}[which].reshape(-1)
    target[np.random.default_rng(5).random(target.size) < 0.02] = value
    with np.errstate(invalid="ignore"):
        right = (
            reference.conv2d(x, weight, bias, **case.options),
            *reference.conv2d_backward(grad_y, x, weight, **case.options),
        )
    got = (ops.conv2d(x, weight, bias, **case.options), *ops.conv2d_backward(grad_y, x, weight, **case.options))
    for a, b in zip(got, right, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stride", [1, 2, 3, (2, 1), (1, 2)])
def test_what_lies_between_the_positions_is_zero(stride, isa, threads, dtype):
    """grad_x of a strided 1 x 1 kernel is written everywhere, whatever its memory held before."""
    case = ConvCase(2, 32, 13, 35, 16, 1, 1, stride=stride, bias=False)
    x, weight, _ = case.arrays(dtype)
    grad_y = np.ones(oracle.conv2d(x, weight, **case.options).shape, dtype)
    sh, sw = (stride, stride) if isinstance(stride, int) else stride
    for _ in range(3):
        grad_x = ops.conv2d_backward(grad_y, x, np.ones_like(weight), **case.options)[0]
        right = np.zeros_like(grad_x)
        right[:, :, ::sh, ::sw] = case.K
        np.testing.assert_array_equal(grad_x, right)
        grad_x[...] = np.nan  # what the next call may find in its memory
