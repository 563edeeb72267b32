"""conv_transpose2d and its gradients against the reference, exact results, finite differences, and conv2d itself."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle import assert_fresh, assert_within
from strategies import DATA, LAYOUTS, lay_out, layouts, numbers, one_or_pair, seeds

import fastconv
from fastconv import ShapeError, ops, reference
from fastconv.reference._windows import pair


@dataclass(frozen=True)
class Case:
    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    groups: int = 1
    dilation: Any = 1
    bias: bool = True
    batched: bool = True
    data: str = "normal"
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        return {name: getattr(self, name) for name in names}

    @property
    def y_shape(self):
        sizes = zip(
            (self.H, self.W), (self.R, self.S), *map(pair, (self.stride, self.padding, self.output_padding)),
            pair(self.dilation), strict=True,
        )  # fmt: skip
        return (self.N, self.K, *((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in sizes))

    def arrays(self, dtype):
        """(x, weight, bias, grad_y); bias is None without one."""
        rng = np.random.default_rng(self.seed)
        x = numbers(rng, (self.N, self.C, self.H, self.W), dtype, self.data)
        weight = numbers(rng, (self.C, self.K // self.groups, self.R, self.S), dtype, self.data)
        bias = numbers(rng, self.K, dtype, self.data) if self.bias else None
        return x, weight, bias, numbers(rng, self.y_shape, dtype, self.data)


@st.composite
def cases(draw, work=60_000):
    """Random transposed convolutions of about `work` products at most."""
    R, S = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    if draw(st.booleans()):
        S = R
    stride, dilation = one_or_pair(draw, st.integers(1, 4)), one_or_pair(draw, st.integers(1, 3))
    most = [max(s, d) - 1 for s, d in zip(pair(stride), pair(dilation), strict=True)]
    output_padding = tuple(draw(st.integers(0, n)) for n in most)
    work //= R * S
    W = draw(st.integers(1, max(1, min(40, work))))
    H = draw(st.integers(1, max(1, min(6, work // W))))
    work //= H * W
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    cg = 1 if draw(st.booleans()) and groups > 1 else draw(st.integers(1, max(1, min(40 // groups, work))))
    work //= cg * groups
    kg = draw(st.integers(1, max(1, min(70 // groups, work))))
    N = draw(st.integers(0, max(1, min(3, work // kg))))
    case = Case(
        N, cg * groups, H, W, kg * groups, R, S, stride, 0, output_padding, groups, dilation,
        draw(st.booleans()), data=draw(st.sampled_from(DATA)), seed=draw(seeds),
    )  # fmt: skip
    room = [(n - 1) // 2 for n in case.y_shape[2:]]
    return replace(case, padding=tuple(draw(st.integers(0, min(n, 7))) for n in room))


def exact(case, x, weight, bias, grad_y):
    """(y, grad_x, grad_weight, grad_bias) in the wide dtype."""
    wide = oracle.wide(x.dtype)
    x, weight, grad_y = x.astype(wide), weight.astype(wide), grad_y.astype(wide)
    (sh, sw), (ph, pw), (dh, dw), g = pair(case.stride), pair(case.padding), pair(case.dilation), case.groups
    N, K, OH, OW = grad_y.shape
    padded = np.zeros((N, K, OH + 2 * ph, OW + 2 * pw), wide)
    inside = (slice(None), slice(None), slice(ph, ph + OH), slice(pw, pw + OW))
    grad_padded = padded.copy()
    grad_padded[inside] = grad_y
    positions = case.H * case.W
    pixels = x.reshape(N, g, case.C // g, positions)
    grad_x, grad_weight = np.zeros_like(pixels), np.zeros_like(weight)
    for r in range(case.R):
        for s in range(case.S):
            rows = slice(r * dh, r * dh + (case.H - 1) * sh + 1, sh)
            met = (slice(None), slice(None), rows, slice(s * dw, s * dw + (case.W - 1) * sw + 1, sw))
            w = weight[:, :, r, s].reshape(g, case.C // g, K // g)
            padded[met] += (w.swapaxes(1, 2) @ pixels).reshape(N, K, case.H, case.W)
            seen = grad_padded[met].reshape(N, g, K // g, positions)
            grad_x += w @ seen
            grad_weight[:, :, r, s] = (pixels @ seen.swapaxes(2, 3)).sum(axis=0).reshape(case.C, K // g)
    y = padded[inside]
    if bias is not None:
        y = y + bias.astype(wide)[:, np.newaxis, np.newaxis]
    return y, grad_x.reshape(x.shape), grad_weight, grad_y.sum(axis=(0, 2, 3))


def check(case, dtype, layout="C"):
    if case.data == "wide" and case.R == case.S == 3 and case.stride in (1, (1, 1)):
        case = replace(case, data="normal")  # Winograd's bound is another where weights are of very different sizes
    arrays = case.arrays(dtype)
    right = exact(case, *arrays)
    sizes = exact(case, *(None if a is None else abs(a) for a in arrays))
    x, weight, bias, grad_y = (None if a is None else lay_out(a, layout) for a in arrays)
    if not case.batched:
        x, grad_y = x[0], grad_y[0]
    y = ops.conv_transpose2d(x, weight, bias, **case.options)
    gradients = ops.conv_transpose2d_backward(grad_y, x, weight, **case.options)
    terms = case.C // case.groups * case.R * case.S + 1
    pixels = case.N * case.H * case.W + 1
    counts = (terms, case.K // case.groups * case.R * case.S, pixels, case.N * grad_y.size // max(case.N * case.K, 1))
    for ours, theirs, magnitude, n in zip((y, *gradients), right, sizes, counts, strict=True):
        assert ours.dtype == dtype
        assert_fresh(ours, x, weight, bias, grad_y)
        assert_within(ours.reshape(theirs.shape), theirs, magnitude, max(n, 1))
    assert y.shape == (case.y_shape if case.batched else case.y_shape[1:])
    for used, before in zip((x, weight, bias, grad_y), arrays, strict=True):  # inputs are never written
        assert used is None or np.array_equal(used.ravel(), before.ravel())


# -- results -----------------------------------------------------------------------------------------------------------


@given(case=cases(), layout=layouts)
def test_random_problems(case, layout, isa, threads, dtype):
    check(case, dtype, layout)


@given(case=cases(work=2_000))
def test_matches_the_reference(case, isa, dtype):
    x, weight, bias, grad_y = case.arrays(dtype)
    magnitude = exact(case, *(None if a is None else abs(a) for a in (x, weight, bias, grad_y)))
    naive = (
        reference.conv_transpose2d(x, weight, bias, **case.options),
        *reference.conv_transpose2d_backward(grad_y, x, weight, **case.options),
    )
    fast = (
        ops.conv_transpose2d(x, weight, bias, **case.options),
        *ops.conv_transpose2d_backward(grad_y, x, weight, **case.options),
    )
    for ours, theirs, size in zip(fast, naive, magnitude, strict=True):
        assert ours.dtype == theirs.dtype == dtype
        assert_within(ours, theirs, size, 1000, terms=6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout, isa, dtype):
    check(Case(2, 3, 5, 7, 4, 3, 3, 2, 1, 1), dtype, layout)


# One for each way that conv2d's grad_x may go: algorithm, case.  For AVX-512; elsewhere some go another way.
ALGORITHMS = [
    ("winograd F(2x2, 3x3)", Case(3, 32, 9, 14, 24, 3, 3, padding=1)),
    ("phases, then winograd F(2x2, 3x3)", Case(3, 32, 12, 12, 32, 3, 3, padding=2, dilation=2)),
    ("tap sums", Case(3, 32, 7, 20, 3, 4, 4, 2, 1)),
    ("tap sums", Case(3, 12, 5, 9, 4, 3, 2, (1, 2), (0, 1), (0, 1), groups=2)),
    ("channels", Case(3, 16, 9, 15, 32, 3, 3, 2, 1, 1)),
    ("channels", Case(3, 8, 6, 9, 40, 2, 3, (1, 2), 0, (1, 2), dilation=3)),
    ("positions", Case(3, 3, 6, 40, 8, 3, 3, 1, 1)),
    ("depthwise", Case(3, 16, 7, 19, 16, 5, 5, 2, 2, 1, groups=16)),
    ("depthwise", Case(3, 16, 7, 19, 8, 3, 3, 1, 1, groups=8)),
    ("pointwise", Case(3, 16, 8, 32, 16, 1, 1)),
    ("pointwise", Case(3, 24, 8, 16, 32, 1, 1, 2, 0, (1, 0))),
    ("product", Case(3, 40, 1, 1, 24, 4, 4)),
]
named = pytest.mark.parametrize("case", [case for _, case in ALGORITHMS], ids=[name for name, _ in ALGORITHMS])


def test_the_table_of_algorithms(isa):
    if isa != "avx512":
        pytest.skip("the table is for AVX-512")
    for name, case in ALGORITHMS:
        if case.output_padding and case.stride == (1, 2) and case.dilation == 3:
            continue  # no convolution gives such shapes
        weight = (case.C, case.K // case.groups, case.R, case.S)
        passes = fastconv.explain_conv2d(case.y_shape, weight, case.stride, case.padding, case.dilation, case.groups)
        assert passes["grad_x"].algorithm == name, case


@named
@pytest.mark.parametrize("data", DATA)
def test_algorithms(case, data, isa, threads, dtype):
    check(replace(case, data=data, bias=data != "normal"), dtype)


@named
def test_integers_are_exact(case, isa, dtype):
    case = replace(case, data="integers")
    arrays = case.arrays(dtype)
    x, weight, bias, grad_y = arrays
    results = (
        ops.conv_transpose2d(x, weight, bias, **case.options),
        *ops.conv_transpose2d_backward(grad_y, x, weight, **case.options),
    )
    for ours, right in zip(results, exact(case, *arrays), strict=True):
        np.testing.assert_array_equal(ours, right.astype(dtype))


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 1, 1, 1, 1, 1, 1),
        Case(0, 3, 4, 5, 2, 3, 3, 2, 1),
        Case(2, 3, 1, 30, 4, 1, 3),
        Case(2, 3, 30, 1, 4, 3, 1, 2),
        Case(1, 2, 1, 1, 3, 3, 3, 1000),  # a stride that nothing takes
        Case(1, 2, 3, 3, 2, 2, 2, 5),  # more stride than kernel
        Case(1, 2, 3, 3, 2, 2, 2, 5, 1, 4),
        Case(2, 2, 4, 4, 2, 5, 5, 1, 3),  # most is cut off
        Case(2, 2, 3, 3, 2, 1, 1, 1, 0, 4, dilation=5),  # one tap, whose dilation matters to output_padding alone
        Case(2, 40, 3, 3, 32, 1, 1, 1, 0, (1, 4), dilation=5),
        Case(200, 1, 2, 2, 1, 2, 2, 2),
        Case(1, 2, 5, 6, 4, 3, 3, batched=False),
        Case(1, 100, 1, 1, 20, 4, 4, batched=False),
    ],
    ids=str,
)
def test_odd_shapes(case, isa, threads, dtype):
    for data in DATA:
        check(replace(case, data=data), dtype)


def test_every_width(isa, dtype):
    """Every remainder of the vector loops."""
    for W in (*range(1, 35), 47, 48, 49):
        check(Case(1, 5, 3, W, 3, 3, 3, 2, 1, seed=W), dtype)
        check(Case(1, 16, 3, W, 16, 2, 2, 1, 0, seed=W), dtype)


# -- what it is of conv2d ----------------------------------------------------------------------------------------------


@given(case=cases(work=20_000))
def test_it_is_the_gradient_of_conv2d(case, dtype):
    """A convolution that gives x's shape from y's: where no output_padding is beyond a stride."""
    case = replace(case, output_padding=0)
    assume(min(case.y_shape[2:]) > 0)
    x, weight, _, grad_y = case.arrays(dtype)
    options = case.options
    del options["output_padding"]
    y = ops.conv_transpose2d(x, weight, **options)
    grad_x, grad_weight, _ = ops.conv2d_backward(x, grad_y, weight, **options)
    magnitude = ops.conv_transpose2d(abs(x), abs(weight), **options).astype(np.float64)
    assert_within(y, grad_x.astype(np.float64), magnitude, case.C * case.R * case.S)
    ours = ops.conv_transpose2d_backward(grad_y, x, weight, **options)
    assert ours[0].tobytes() == ops.conv2d(grad_y, weight, **options).tobytes()
    assert ours[1].tobytes() == grad_weight.tobytes()


# -- promises ----------------------------------------------------------------------------------------------------------


def alone_or_in_a_batch(case, x, weight, bias):
    y = ops.conv_transpose2d(x, weight, bias, **case.options)
    for i in range(case.N):
        assert y[i : i + 1].tobytes() == ops.conv_transpose2d(x[i : i + 1], weight, bias, **case.options).tobytes()
        assert y[i].tobytes() == ops.conv_transpose2d(x[i], weight, bias, **case.options).tobytes()
    many = np.concatenate([x[::-1], x])
    assert y.tobytes() == ops.conv_transpose2d(many, weight, bias, **case.options)[case.N :].tobytes()
    return y


@named
def test_of_one_image(case, isa, threads, dtype):
    x, weight, bias, _ = case.arrays(dtype)
    alone_or_in_a_batch(case, x, weight, bias)


@named
@pytest.mark.parametrize("others", ["zeros", "few"])
def test_zeros_choose_nothing(case, others, isa, dtype):
    """conv2d's gradients go another way where grad_y is mostly zeros; an image must not notice that of its batch."""
    x, weight, bias, _ = case.arrays(dtype)
    right = ops.conv_transpose2d(x, weight, bias, **case.options)
    keep = np.random.default_rng(5).random(x[1:].shape) < (0.05 if others == "few" else 0)
    x[1:] *= keep
    y = alone_or_in_a_batch(case, x, weight, bias)
    assert y[0].tobytes() == right[0].tobytes()


@named
@pytest.mark.parametrize("value", [np.nan, np.inf, "largest"])
def test_a_strange_image_in_the_batch(case, value, isa, dtype):
    x, weight, bias, _ = case.arrays(dtype)
    right = ops.conv_transpose2d(x, weight, bias, **case.options)
    x[1].flat[:: max(x[1].size // 5, 1)] = np.finfo(dtype).max if value == "largest" else value
    y = alone_or_in_a_batch(case, x, weight, bias)
    assert y[[0, 2]].tobytes() == right[[0, 2]].tobytes()
    assert y[1].tobytes() != right[1].tobytes()


@named
def test_threads_change_no_bit(case, isa, dtype):
    case = replace(case, N=7, H=2 * case.H if case.H > 1 else 1)
    x, weight, bias, grad_y = case.arrays(dtype)
    results = []
    for n in (1, 2, 3, 2):
        with fastconv.threads(n):
            results.append(
                [
                    result.tobytes()
                    for result in (
                        ops.conv_transpose2d(x, weight, bias, **case.options),
                        *ops.conv_transpose2d_backward(grad_y, x, weight, **case.options),
                    )
                ]
            )
    assert all(one == results[0] for one in results)


@named
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values_go_where_the_sums_say(case, value, isa, dtype):
    """Pixels, weights and the bias; a weight over cropped padding contributes nothing."""
    x, weight, bias, grad_y = (np.abs(a) + 1 for a in replace(case, N=1).arrays(dtype))
    for array in (x, weight, bias):
        changed = array.flat[array.size // 2]
        array.flat[array.size // 2] = value
        y = ops.conv_transpose2d(x, weight, bias, **case.options)
        with np.errstate(invalid="ignore"):
            right = exact(case, x, weight, bias, grad_y)[0]
        np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
        np.testing.assert_array_equal(np.isinf(y), np.isinf(right))
        array.flat[array.size // 2] = changed


def test_a_weight_over_the_padding(isa, dtype):
    weight = np.ones((1, 1, 3, 3), dtype)
    weight[0, 0, 0, :] = np.nan
    y = ops.conv_transpose2d(np.ones((1, 1, 1, 4), dtype), weight, padding=(1, 0))
    np.testing.assert_array_equal(y, np.array([[[[1, 2, 3, 3, 2, 1]]]], dtype))


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (1, 3), "padding": (2, 0), "output_padding": (1, 2), "dilation": (2, 1), "groups": 2},
    ],
    ids=str,
)
def test_finite_differences(options, isa):
    rng = np.random.default_rng(3)
    shapes = (2, 4, 4, 5), (4, 6 // options.get("groups", 1), 3, 3), (6,)
    oracle.gradcheck(
        lambda x, weight, bias: ops.conv_transpose2d(x, weight, bias, **options),
        [rng.standard_normal(shape) for shape in shapes],
        lambda grad_y, x, weight, bias: ops.conv_transpose2d_backward(grad_y, x, weight, **options),
    )


def test_only_what_is_needed():
    case = Case(2, 3, 4, 5, 4, 3, 3)
    x, weight, _, grad_y = case.arrays(np.float32)
    everything = ops.conv_transpose2d_backward(grad_y, x, weight)
    for i in range(3):
        need = tuple(i == j for j in range(3))
        some = ops.conv_transpose2d_backward(grad_y, x, weight, need=need)
        assert [one is not None for one in some] == list(need)
        assert some[i].tobytes() == everything[i].tobytes()


# -- sizes that are too large are refused before anything is allocated -------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2**40},
        {"stride": 2**200},
        {"dilation": 2**61},
        {"padding": 2**61},
        {"output_padding": 2**70, "stride": 2**71},
        {"output_padding": 2**40, "dilation": 2**41},
    ],
    ids=str,
)
def test_sizes_without_end(options):
    with pytest.raises(ShapeError, match=r"^conv_transpose2d: "):
        ops.conv_transpose2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), **options)
