"""Gradients of convolutions with few channels: grad_x by sums over taps, grad_weight with vectors over positions.

Which algorithm a shape gets is the core's business; the shapes here are those that get these two, and their neighbours.
"""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_within
from strategies import DATA, ConvCase, fitting_size, one_or_pair, seeds

import fastconv
from fastconv import ops, reference


@st.composite
def few_channels(draw, work=60_000, largest=40):
    """Few input channels, any number of outputs, kernels with more than one tap, all strides, paddings, dilations."""
    R, S = draw(st.sampled_from([(3, 3), (5, 5), (1, 3), (3, 1), (2, 2), (7, 7), (4, 3), (1, 11)]))
    stride = one_or_pair(draw, st.sampled_from([1, 1, 1, 2, 2, 3, 4, 17]))
    dilation = one_or_pair(draw, st.sampled_from([1, 1, 1, 2, 5]))
    padding = one_or_pair(draw, st.integers(0, 5))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    C = draw(st.sampled_from([1, 1, 2, 3, 4, 7]))
    work //= R * S * C * groups
    OW = draw(st.integers(1, max(1, min(largest, work))))
    OH = draw(st.integers(1, max(1, min(12, work // OW))))
    K = draw(st.integers(1, max(1, min(48, work // (OW * OH)))))
    N = draw(st.integers(1, max(1, min(20, work // (OW * OH * K)))))
    sizes = [
        fitting_size(out, kernel, s, 2 * pad, d, draw(st.integers(0, s - 1)))
        for out, kernel, s, d, pad in zip(
            (OH, OW),
            (R, S),
            *(a if isinstance(a, tuple) else (a, a) for a in (stride, dilation, padding)),
            strict=True,
        )
    ]
    return ConvCase(
        N,
        C * groups,
        *sizes,
        K * groups,
        R,
        S,
        stride,
        padding,
        dilation,
        groups,
        bias=False,
        data=draw(st.sampled_from(DATA)),
        seed=draw(seeds),
    )


def arrays_of(case, dtype):
    """(grad_y, x, weight)"""
    x, weight, _ = case.arrays(dtype)
    _, OH, OW, _ = oracle._geometry(x, weight, case.stride, case.padding, case.dilation)
    return case.grad_y((case.N, case.K, OH, OW), dtype), x, weight


def check(case, dtype):
    """grad_x and grad_weight within the bound, or exactly right on integers."""
    grad_y, x, weight = arrays_of(case, dtype)
    exact = oracle.conv2d_backward(grad_y, x, weight, **case.options)
    sizes = oracle.conv2d_backward(abs(grad_y), abs(x), abs(weight), **case.options)
    results = ops.conv2d_backward(grad_y, x, weight, **case.options, need=(True, True, False))
    counts = case.K // case.groups * case.R * case.S, case.N * grad_y.shape[2] * grad_y.shape[3]
    for result, right, size, n in zip(results[:2], exact, sizes, counts, strict=False):
        assert result.dtype == dtype
        if case.data == "integers":
            np.testing.assert_array_equal(result, right.astype(dtype))
        else:
            assert_within(result, right, size, n)


@given(case=few_channels())
def test_gradients(case, isa, dtype):
    check(case, dtype)


@given(case=few_channels(work=3_000, largest=20))
def test_gradients_are_the_references(case, isa, dtype):
    case = replace(case, data="integers")
    arrays = arrays_of(case, dtype)
    rights = reference.conv2d_backward(*arrays, **case.options)
    for result, right in zip(ops.conv2d_backward(*arrays, **case.options), rights, strict=True):
        np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("which", ["grad_y", "x", "weight"])
@given(case=few_channels(work=3_000, largest=20), value=st.sampled_from(["nan", "inf", "-inf"]))
def test_what_is_not_finite_goes_where_the_references_does(which, case, value, isa, dtype):
    case = replace(case, data="integers")
    arrays = dict(zip(("grad_y", "x", "weight"), arrays_of(case, dtype), strict=True))
    target = arrays[which].reshape(-1)
    target[np.random.default_rng(case.seed).random(target.size) < 0.1] = float(value)
    with np.errstate(invalid="ignore"):
        rights = reference.conv2d_backward(*arrays.values(), **case.options)
    for result, right in zip(ops.conv2d_backward(*arrays.values(), **case.options), rights, strict=True):
        np.testing.assert_array_equal(result, right)


# The first layers of the named networks and of others, in sizes that cut bands, rings, chunks and passes everywhere.
LAYERS = {
    "3x3": ConvCase(40, 1, 28, 28, 8, 3, 3),
    "3x3-padded": ConvCase(17, 1, 28, 28, 32, 3, 3, padding=1),
    "5x5": ConvCase(21, 1, 28, 28, 24, 5, 5),
    "5x5-small": ConvCase(37, 10, 12, 12, 20, 5, 5),
    "colour": ConvCase(5, 3, 32, 32, 64, 3, 3, padding=1),
    "stem": ConvCase(1, 3, 80, 90, 40, 7, 7, stride=2, padding=3),
    "wide": ConvCase(2, 2, 9, 300, 33, 3, 5, padding=(1, 2)),
    "tall": ConvCase(2, 2, 300, 9, 33, 5, 3, padding=(2, 1)),
    "eleven": ConvCase(1, 3, 99, 99, 16, 11, 11, stride=4, padding=2),
    "dilated": ConvCase(2, 3, 40, 41, 20, 3, 3, padding=4, dilation=4),
    "phases-apart": ConvCase(2, 2, 50, 50, 20, 2, 2, stride=3),
    "one-output": ConvCase(9, 1, 30, 31, 1, 3, 3, padding=1),
    "groups": ConvCase(6, 8, 20, 20, 48, 3, 3, padding=1, groups=4),
    "one-image": ConvCase(1, 1, 120, 120, 16, 5, 5, padding=2),
    "narrow": ConvCase(50, 2, 12, 5, 19, 3, 3, padding=1),
}


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
def test_layers(case, isa, dtype):
    check(replace(case, data="integers"), dtype)
    check(case, dtype)


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
def test_threads_do_not_change_a_bit(case, isa):
    arrays = arrays_of(case, np.float32)
    results = []
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            results.append(ops.conv2d_backward(*arrays, **case.options))
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
def test_grad_x_of_an_image_alone(case, isa):
    grad_y, x, weight = arrays_of(case, np.float32)
    need = (True, False, False)
    together = ops.conv2d_backward(grad_y, x, weight, **case.options, need=need)[0]
    for n in {0, case.N - 1}:
        alone = ops.conv2d_backward(grad_y[n : n + 1], x[n : n + 1], weight, **case.options, need=need)[0]
        np.testing.assert_array_equal(alone[0], together[n])


@pytest.mark.parametrize("K", range(1, 33))
def test_every_number_of_outputs(K, isa):
    check(ConvCase(2, 1, 11, 13, K, 3, 3, padding=1, data="integers"), np.float32)


@pytest.mark.parametrize("W", range(1, 70))
def test_every_width(W, isa):
    check(ConvCase(2, 1, 5, W, 17, 3, 3, padding=1, data="integers"), np.float32)
    check(ConvCase(2, 2, 5, W, 17, 3, 3, stride=2, padding=1, data="integers"), np.float32)


@pytest.mark.parametrize("C", range(1, 20))
def test_every_number_of_taps(C, isa):
    check(ConvCase(2, C, 6, 7, 33, 1, 3, data="integers"), np.float32)
    check(ConvCase(2, 1, 30, 7, 33, C, 2, data="integers"), np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 10**9},
        {"stride": (1, 10**6)},
        {"padding": 300, "stride": 150},
        {"padding": 10**6, "dilation": 10**6, "stride": 10**6},
        {"dilation": 11, "padding": 11},
    ],
)
def test_extreme_geometry(options, isa):
    case = ConvCase(2, 1, 12, 13, 24, 3, 3, data="integers", **options)
    arrays = arrays_of(case, np.float32)
    rights = reference.conv2d_backward(*arrays, **case.options)
    for result, right in zip(ops.conv2d_backward(*arrays, **case.options), rights, strict=True):
        np.testing.assert_array_equal(result, right)


def test_a_nan_without_padding_stays_in_its_filter(isa):
    case = LAYERS["3x3"]
    grad_y, x, weight = arrays_of(case, np.float32)
    clean = ops.conv2d_backward(grad_y, x, weight)[1]
    grad_y[7, 3, 5, 6] = np.nan
    grad_weight = ops.conv2d_backward(grad_y, x, weight)[1]
    clean[3] = np.nan
    np.testing.assert_array_equal(grad_weight, clean)


@pytest.mark.parametrize(("C", "K", "R"), [(8, 20, 5), (10, 20, 5), (12, 48, 3), (8, 9, 3)])
def test_a_grad_y_of_mostly_zeros(C, K, R, isa, threads, dtype):
    """Data that may be treated in another way, in the same workspace."""
    case = ConvCase(20, C, 12, 12, K, R, R, padding=R // 2, data="integers")
    grad_y, x, weight = arrays_of(case, dtype)
    grad_y[np.random.default_rng(1).random(grad_y.shape) < 0.9] = 0
    exact = oracle.conv2d_backward(grad_y, x, weight, **case.options)
    for result, right in zip(ops.conv2d_backward(grad_y, x, weight, **case.options), exact, strict=True):
        np.testing.assert_array_equal(result, right.astype(dtype))


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
def test_no_images(case, isa):
    check(replace(case, N=0), np.float32)
