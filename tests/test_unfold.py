"""unfold, fold and their gradients against the reference, each other, convolution and finite differences."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import LAYOUTS, fitting_size, lay_out, layouts, numbers, one_or_pair, seeds

import fastconv
from fastconv import ShapeError, ops, reference
from fastconv.reference._windows import conv_size, pair


@dataclass(frozen=True)
class Case:
    N: int
    C: int
    H: int
    W: int
    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1
    batched: bool = True
    seed: int = 0

    @property
    def window(self) -> tuple[Any, ...]:
        """The arguments of unfold after x."""
        return self.kernel_size, self.dilation, self.padding, self.stride

    @property
    def shape(self):
        return (self.N, self.C, self.H, self.W) if self.batched else (self.C, self.H, self.W)

    @property
    def columns_shape(self):
        sizes = zip((self.H, self.W), *map(pair, self.window), strict=True)
        OH, OW = (conv_size(n, k, s, (p, p), d) for n, k, d, p, s in sizes)
        rows = self.C * int(np.prod(pair(self.kernel_size)))
        return (self.N, rows, OH * OW) if self.batched else (rows, OH * OW)

    def arrays(self, dtype):
        """(images, columns)"""
        rng = np.random.default_rng(self.seed)
        return numbers(rng, self.shape, dtype), numbers(rng, self.columns_shape, dtype)


@st.composite
def cases(draw, largest=40):
    kernel, dilation = one_or_pair(draw, st.integers(1, 5)), one_or_pair(draw, st.integers(1, 3))
    stride, padding = one_or_pair(draw, st.integers(1, 4)), one_or_pair(draw, st.integers(0, 5))
    outputs = draw(st.integers(1, 6)), draw(st.integers(1, largest))
    H, W = (
        fitting_size(o, k, s, 2 * p, d, draw(st.integers(0, 2)))
        for o, k, s, p, d in zip(outputs, *map(pair, (kernel, stride, padding, dilation)), strict=True)
    )
    batched = draw(st.booleans())
    N = draw(st.integers(0, 3)) if batched else 1
    return Case(N, draw(st.integers(1, 3)), H, W, kernel, dilation, padding, stride, batched, draw(seeds))


def exact_unfold(x, kernel_size, dilation, padding, stride):
    """By shifting whole padded images, without a loop over pixels."""
    (R, S), (dh, dw), (ph, pw), (sh, sw) = map(pair, (kernel_size, dilation, padding, stride))
    H, W = x.shape[-2:]
    OH, OW = conv_size(H, R, sh, (ph, ph), dh), conv_size(W, S, sw, (pw, pw), dw)
    padded = np.pad(x, (*[(0, 0)] * (x.ndim - 2), (ph, ph), (pw, pw)))
    taps = [
        padded[..., r * dh : r * dh + (OH - 1) * sh + 1 : sh, s * dw : s * dw + (OW - 1) * sw + 1 : sw]
        for r in range(R)
        for s in range(S)
    ]
    return np.stack(taps, axis=-3).reshape(*x.shape[:-3], x.shape[-3] * R * S, OH * OW)


def exact_fold(columns, output_size, kernel_size, dilation, padding, stride):
    """In the wide dtype, on the padded image."""
    (H, W), (R, S), (dh, dw), (ph, pw), (sh, sw) = map(pair, (output_size, kernel_size, dilation, padding, stride))
    OH, OW = conv_size(H, R, sh, (ph, ph), dh), conv_size(W, S, sw, (pw, pw), dw)
    C = columns.shape[-2] // (R * S)
    columns = columns.astype(oracle.wide(columns.dtype)).reshape(*columns.shape[:-2], C, R * S, OH, OW)
    padded = np.zeros((*columns.shape[:-3], H + 2 * ph, W + 2 * pw), columns.dtype)
    for r in range(R):
        for s in range(S):
            rows, cols = slice(r * dh, r * dh + (OH - 1) * sh + 1, sh), slice(s * dw, s * dw + (OW - 1) * sw + 1, sw)
            padded[..., rows, cols] += columns[..., r * S + s, :, :]
    return padded[..., ph : ph + H, pw : pw + W]


def check(case, dtype, layout="C"):
    right_x, right_columns = case.arrays(dtype)
    x, columns = lay_out(right_x, layout), lay_out(right_columns, layout)
    y = ops.unfold(x, *case.window)
    assert y.dtype == dtype
    assert_fresh(y, x)
    np.testing.assert_array_equal(y, exact_unfold(right_x, *case.window), strict=True)
    taps = int(np.prod(pair(case.kernel_size)))
    images = ops.fold(columns, (case.H, case.W), *case.window)
    assert images.dtype == dtype
    assert_fresh(images, columns)
    right, magnitude = (exact_fold(c, (case.H, case.W), *case.window) for c in (right_columns, abs(right_columns)))
    assert_within(images, right, magnitude, taps)
    assert ops.unfold_backward(columns, x.shape, *case.window).tobytes() == images.tobytes()
    assert ops.fold_backward(x, *case.window).tobytes() == y.tobytes()
    np.testing.assert_array_equal(x, right_x)  # inputs are never written
    np.testing.assert_array_equal(columns, right_columns)


@given(case=cases(), layout=layouts)
def test_random_problems(case, layout, isa, threads, dtype):
    check(case, dtype, layout)


@given(case=cases(largest=6))
def test_matches_the_reference(case, isa, dtype):
    x, columns = case.arrays(dtype)
    size = (case.H, case.W)
    np.testing.assert_array_equal(ops.unfold(x, *case.window), reference.unfold(x, *case.window), strict=True)
    np.testing.assert_array_equal(ops.fold_backward(x, *case.window), reference.fold_backward(x, *case.window))
    naive, magnitude = (reference.fold(c, size, *case.window) for c in (columns, abs(columns)))
    assert_within(ops.fold(columns, size, *case.window), naive, magnitude, np.prod(pair(case.kernel_size)))
    naive = reference.unfold_backward(columns, x.shape, *case.window)
    assert_within(ops.unfold_backward(columns, x.shape, *case.window), naive, magnitude, 25)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "padding", "dilation"), [(1, 0, 1), (3, 1, 1), (2, 0, 1), (3, 2, 2), (2, 3, 1)])
def test_every_width(kernel, padding, dilation, stride, isa, dtype):
    """Every remainder of the vector loops."""
    for W in range(dilation * (kernel - 1) + 1, 70):
        check(Case(1, 2, 4, W, kernel, dilation, padding, stride, seed=W), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    check(Case(2, 3, 9, 14, 3, 1, 1, 2), dtype, layout)


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 1, 1, 1, 1),
        Case(0, 3, 8, 8, 2),
        Case(2, 3, 1, 40, (1, 3)),
        Case(2, 3, 40, 1, (3, 1)),
        Case(2, 2, 12, 12, 2, 1, 0, 5),  # most pixels are never seen
        Case(1, 2, 24, 24, 24),
        Case(1, 1, 2, 2, 3, 1, 9),  # some windows see padding alone
        Case(1, 1, 3, 2, 3, 4, 8, 3),  # taps step over the whole image
        Case(1, 2, 5, 5, 2, 1, 0, 1000),
        Case(300, 1, 3, 3, 2),
        Case(1, 300, 3, 3, 2, batched=False),
        Case(8, 16, 20, 20, 3, 1, 1),  # shared by threads
    ],
    ids=str,
)
def test_odd_shapes(case, isa, threads, dtype):
    check(case, dtype)


def test_threads_change_no_bit(isa, dtype):
    case = Case(8, 16, 20, 21, 3, 1, 1)
    x, columns = case.arrays(dtype)
    results = []
    for n in (1, 2, 3):
        with fastconv.threads(n):
            y, images = ops.unfold(x, *case.window), ops.fold(columns, (20, 21), *case.window)
            results.append((y.tobytes(), images.tobytes()))
    assert len(set(results)) == 1
    for i in (0, 5):
        assert ops.unfold(x[i], *case.window).tobytes() == y[i].tobytes()
        assert ops.fold(columns[i], (20, 21), *case.window).tobytes() == images[i].tobytes()


@pytest.mark.parametrize("options", [{}, {"padding": 2, "stride": 2}, {"dilation": 2, "padding": (1, 0)}], ids=str)
def test_a_product_with_columns_is_a_convolution(options, isa, dtype):
    rng = np.random.default_rng(1)
    x, weight = (numbers(rng, shape, dtype, "integers") for shape in ((2, 3, 8, 9), (4, 3, 3, 3)))
    y = ops.conv2d(x, weight, **options)
    np.testing.assert_array_equal(weight.reshape(4, -1) @ ops.unfold(x, 3, **options), y.reshape(2, 4, -1))
    back = ops.conv_transpose2d(y, weight, **options)
    columns = weight.reshape(4, -1).T @ y.reshape(2, 4, -1)
    np.testing.assert_array_equal(ops.fold(columns, back.shape[2:], 3, **options), back)


@given(case=cases(largest=8))
def test_each_is_the_adjoint_of_the_other(case):
    """<unfold(x), c> = <x, fold(c)>"""
    x, columns = case.arrays(np.float64)
    left = np.sum(ops.unfold(x, *case.window) * columns)
    right = np.sum(x * ops.fold(columns, (case.H, case.W), *case.window))
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
def test_special_values_go_where_their_windows_are(value, isa, dtype):
    x = np.ones((1, 1, 5, 40), dtype)
    x[0, 0, 2, 17] = value
    for window in ((3, 1, 1, 1), (2, 1, 0, 2), (3, 2, 2, 3)):
        y = ops.unfold(x, *window)
        right = exact_unfold(x, *window)
        np.testing.assert_array_equal(y, right)
        np.testing.assert_array_equal(np.signbit(y), np.signbit(right))
        columns = np.ones_like(y)
        columns[0, 1, 3] = value
        right = reference.fold(columns, (5, 40), *window)
        np.testing.assert_array_equal(ops.fold(columns, (5, 40), *window), right)


def test_what_falls_into_the_padding_is_left_out(isa, dtype):
    columns = np.full((9, 4), np.nan, dtype)
    columns[4] = [1, 2, 3, 4]  # the middle tap
    for tap in range(9):
        for at in range(4):
            h, w = at // 2 + tap // 3 - 1, at % 2 + tap % 3 - 1
            if 0 <= h < 2 and 0 <= w < 2 and tap != 4:
                columns[tap, at] = 0
    np.testing.assert_array_equal(ops.fold(columns, 2, 3, padding=1), np.array([[[1, 2], [3, 4]]], dtype))


@pytest.mark.parametrize("case", [Case(2, 2, 5, 6, 3, 1, 1), Case(1, 2, 6, 7, (2, 3), (2, 1), (0, 2), (1, 2))], ids=str)
def test_finite_differences(case, isa):
    x, columns = case.arrays(np.float64)
    oracle.gradcheck(
        lambda x: ops.unfold(x, *case.window),
        [x],
        lambda grad_y, x: (ops.unfold_backward(grad_y, x.shape, *case.window),),
    )
    oracle.gradcheck(
        lambda c: ops.fold(c, (case.H, case.W), *case.window),
        [columns],
        lambda grad_y, _: (ops.fold_backward(grad_y, *case.window),),
    )


@pytest.mark.parametrize(
    "window", [(2, 1, 2**60), (2**31, 1, 2**31), (1, 1, 2**29), (2, 2**62, 2**61), (2**100,), (2, 2**100)], ids=str
)
def test_sizes_without_end(window):
    with pytest.raises(ShapeError, match=r"^unfold: "):
        ops.unfold(np.ones((1, 1, 2, 2)), *window)
    with pytest.raises(ShapeError, match=r"^fold: "):
        ops.fold(np.ones((1, 4, 1)), 2**40, 2)
    assert replace(Case(1, 1, 2, 2, 2), stride=2**100).window[3] == 2**100
    assert ops.unfold(np.ones((1, 2, 2)), 2, stride=2**100).shape == (4, 1)
