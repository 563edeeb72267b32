"""The same bits on the layers of known networks: for any number of threads, on every run, for one image alone or in its
batch, whatever else is in the batch, and in any memory layout.

Every op and every algorithm, other processes and callers on several threads are in test_bits.py.
"""

from dataclasses import replace

import numpy as np
import pytest
from strategies import LAYERS, LAYOUTS, LINEAR_LAYERS, POOL_LAYERS, ConvCase, LinearCase, PoolCase, lay_out

import fastconv
from fastconv import ops
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward

# Beside the layers of known networks: what takes other ways through the kernels.
OTHER_CONVS = [
    ("many-filters", ConvCase(3, 5, 20, 20, 300, 3, 3, padding=1)),
    ("one-filter", ConvCase(3, 40, 30, 30, 1, 3, 3)),
    ("one-channel-one-filter", ConvCase(4, 1, 64, 64, 1, 5, 5)),
    ("large-kernel", ConvCase(2, 6, 40, 40, 12, 11, 11, padding=5)),
    ("row-kernel", ConvCase(3, 8, 30, 50, 16, 1, 9)),
    ("column-kernel", ConvCase(3, 8, 50, 30, 16, 9, 1)),
    ("stride-over-kernel", ConvCase(3, 16, 50, 50, 24, 2, 2, stride=3)),
    ("strided-1x1", ConvCase(3, 48, 30, 30, 64, 1, 1, stride=2)),
    ("mixed-strides", ConvCase(3, 16, 40, 40, 32, 3, 5, stride=(1, 3), padding=(2, 1))),
    ("dilated", ConvCase(3, 16, 40, 40, 32, 3, 3, padding=3, dilation=3)),
    ("grouped", ConvCase(3, 36, 24, 24, 60, 3, 3, padding=1, groups=3)),
    ("depthwise-multiplied", ConvCase(3, 20, 30, 30, 60, 3, 3, padding=1, groups=20)),
    ("wide-image", ConvCase(3, 3, 4, 900, 16, 3, 3, padding=1)),
    ("tall-image", ConvCase(3, 3, 900, 4, 16, 3, 3, padding=1)),
    ("tiny-image", ConvCase(7, 200, 3, 3, 100, 3, 3, padding=1)),
    ("one-pixel", ConvCase(7, 300, 1, 1, 200, 1, 1)),
    ("weights-over-the-cache", ConvCase(2, 512, 6, 6, 384, 3, 3, padding=1)),
    ("many-images", ConvCase(130, 8, 10, 10, 16, 3, 3, padding=1)),
    ("odd-batch", ConvCase(37, 5, 13, 11, 7, 3, 3)),
]
CONVS = LAYERS + OTHER_CONVS
convs = pytest.mark.parametrize("case", [case for _, case in CONVS], ids=[name for name, _ in CONVS])
pools = pytest.mark.parametrize("case", [case for _, case in POOL_LAYERS], ids=[name for name, _ in POOL_LAYERS])
OTHER_LINEARS = [
    ("one-row", LinearCase((1,), 513, 259)),
    ("one-output", LinearCase((300,), 400, 1)),
    ("one-input", LinearCase((300,), 1, 400)),
    ("many-rows", LinearCase((3000,), 40, 60)),
    ("long-sums", LinearCase((9,), 30_000, 12)),
]
LINEARS = LINEAR_LAYERS + OTHER_LINEARS
linears = pytest.mark.parametrize("case", [case for _, case in LINEARS], ids=[name for name, _ in LINEARS])


def bits(a):
    """The bytes of an array, or of a number.  A NaN is a NaN: IEEE 754 leaves open what sign and payload it gets."""
    a = np.array(a)
    if a.dtype.kind == "f":
        a[np.isnan(a)] = np.nan
    return a.tobytes()


def same(results, others):
    """Equal bit for bit; None for None."""
    for a, b in zip(results, others, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert np.shape(a) == np.shape(b)
            assert bits(a) == bits(b)


def for_any_threads(function):
    """The results of function(), which are the same on every run and for every number of threads."""
    with fastconv.threads(1):
        results = function()
        same(results, function())
    for n in (2, 3):
        with fastconv.threads(n):
            for _ in range(2):
                same(results, function())
    return results


def conv_calls(case, dtype):
    """Forward and the three gradients of one convolution, as a function of nothing."""
    x, weight, bias = case.arrays(dtype)
    shape = ops.conv2d(x, weight, bias, **case.options).shape
    grad_y = case.grad_y(shape, dtype)
    return lambda: (
        ops.conv2d(x, weight, bias, **case.options),
        *ops.conv2d_backward(grad_y, x, weight, **case.options),
    )


# -- threads and runs --------------------------------------------------------------------------------------------------


@convs
def test_conv2d(case, isa, dtype):
    for_any_threads(conv_calls(case, dtype))


@pools
@pytest.mark.parametrize("data", ["normal", "special"])
def test_pools(case, data, isa, dtype):
    x = replace(case, data=data).x(dtype)

    def calls():
        y, indices = ops.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
        _, winners = max_pool2d_winners(x, case.kernel_size, **case.max_options)
        average = ops.avg_pool2d(x, case.kernel_size, **case.options)
        return (
            y,
            indices,
            winners,
            ops.max_pool2d_backward(y, indices, x.shape),
            max_pool2d_winners_backward(y, winners, x.shape, case.kernel_size, **case.max_options),
            average,
            ops.avg_pool2d_backward(average, x.shape, case.kernel_size, **case.options),
        )

    for_any_threads(calls)


@linears
def test_linear(case, isa, dtype):
    x, weight, bias = case.arrays(dtype)
    grad_y = case.grad_y(dtype)
    for_any_threads(lambda: (ops.linear(x, weight, bias), *ops.linear_backward(grad_y, x, weight)))


# -- one image alone or in its batch -----------------------------------------------------------------------------------


def images_to_try(N):
    return sorted({0, N // 2, N - 1})


@convs
def test_conv2d_of_one_image(case, isa, threads, dtype):
    """Also in the middle of a batch of another size, and without the batch axis."""
    case = replace(case, N=max(case.N, 3))
    x, weight, bias = case.arrays(dtype)
    y = ops.conv2d(x, weight, bias, **case.options)
    for i in images_to_try(case.N):
        same([y[i : i + 1]], [ops.conv2d(x[i : i + 1], weight, bias, **case.options)])
        same([y[i]], [ops.conv2d(x[i], weight, bias, **case.options)])
    same([y[1:]], [ops.conv2d(x[1:], weight, bias, **case.options)])
    many = np.concatenate([x[::-1], x, x])
    same([y], [ops.conv2d(many, weight, bias, **case.options)[case.N : 2 * case.N]])


@pytest.mark.parametrize("value", [np.nan, np.inf, "largest"])
@convs
def test_a_strange_image_in_the_batch(case, value, isa, dtype):
    """What one image holds, be it NaN or numbers that need care, changes no bit of the others."""
    case = replace(case, N=3)
    x, weight, bias = case.arrays(dtype)
    right = ops.conv2d(x, weight, bias, **case.options)
    x[1].flat[:: max(x[1].size // 5, 1)] = np.finfo(dtype).max if value == "largest" else value
    y = ops.conv2d(x, weight, bias, **case.options)
    same([y[0], y[2]], [right[0], right[2]])
    assert bits(y[1]) != bits(right[1])
    same([y[1]], [ops.conv2d(x[1], weight, bias, **case.options)])


@convs
def test_grad_x_of_one_image(case, isa, threads, dtype):
    """Promised for forward alone, but grad_x has no reason to differ: it is a convolution too."""
    case = replace(case, N=max(case.N, 3))
    x, weight, bias = case.arrays(dtype)
    grad_y = case.grad_y(ops.conv2d(x, weight, bias, **case.options).shape, dtype)
    need = (True, False, False)
    grad_x = ops.conv2d_backward(grad_y, x, weight, **case.options, need=need)[0]
    for i in images_to_try(case.N):
        one = slice(i, i + 1)
        same([grad_x[one]], ops.conv2d_backward(grad_y[one], x[one], weight, **case.options, need=need)[:1])


@pools
def test_pools_of_one_image(case, isa, threads, dtype):
    case: PoolCase = replace(case, data="normal")
    x = case.x(dtype)
    y, indices = ops.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
    average = ops.avg_pool2d(x, case.kernel_size, **case.options)
    for i in images_to_try(case.N):
        for one in (x[i : i + 1], x[i]):
            alone = ops.max_pool2d(one, case.kernel_size, **case.max_options, return_indices=True)
            same([y[i].ravel(), indices[i].ravel()], [alone[0].ravel(), alone[1].ravel()])
            same([average[i].ravel()], [ops.avg_pool2d(one, case.kernel_size, **case.options).ravel()])


@linears
def test_linear_of_one_row(case, isa, threads, dtype):
    case = replace(case, rows=(max(*case.rows, 3),))
    x, weight, bias = case.arrays(dtype)
    y = ops.linear(x, weight, bias)
    for i in images_to_try(len(x)):
        same([y[i : i + 1]], [ops.linear(x[i : i + 1], weight, bias)])
        same([y[i]], [ops.linear(x[i], weight, bias)])
    same([y[1:]], [ops.linear(x[1:], weight, bias)])


# -- layouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "case",
    [case for name, case in CONVS if name in ("cnn-1", "cnn-2", "resnet-64-1x1", "grouped", "odd-batch", "wide-image")],
    ids=lambda case: f"{case.C}-{case.K}-{case.R}",
)
def test_layouts(case, layout, isa, dtype):
    """How the arrays lie in memory changes no bit."""
    x, weight, bias = case.arrays(dtype)
    right = ops.conv2d(x, weight, bias, **case.options)
    grad_y = case.grad_y(right.shape, dtype)
    laid_out = [lay_out(a, layout) for a in (grad_y, x, weight, bias)]
    same([right], [ops.conv2d(*laid_out[1:], **case.options)])
    same(
        ops.conv2d_backward(grad_y, x, weight, **case.options),
        ops.conv2d_backward(*laid_out[:3], **case.options),
    )
