"""What is accepted, in which forms, and the output sizes that follow; test_bad_input.py has what is refused."""

import enum
import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastconv
from fastconv import ShapeError, _validation, reference
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward


def a(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of small integers, different from place to place."""
    return (np.arange(np.prod(shape, dtype=int)) * 37 % 23 - 11).reshape(shape).astype(dtype)


# -- output sizes ------------------------------------------------------------------------------------------------------


def pool_extent(extent: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int | None:
    """Windows along an axis, one by one: None where there is none."""
    end, window = extent + 2 * padding, dilation * (kernel - 1) + 1
    count = 0
    while True:
        start = count * stride
        inside = start + window <= end
        # With ceil_mode it may hang over if the one before left something uncovered and it begins early enough.
        overhangs = ceil_mode and start + window - stride < end and start < extent + padding
        if not (inside or overhangs):
            return count or None
        count += 1


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pool_sizes_count_the_windows(ceil_mode: bool) -> None:
    checked = 0
    for extent, kernel, stride, padding, dilation in itertools.product(
        range(1, 8), range(1, 5), range(1, 6), range(4), range(1, 4)
    ):
        window = dilation * (kernel - 1) + 1
        if padding > window // 2:
            continue
        expected = pool_extent(extent, kernel, stride, padding, dilation, ceil_mode)
        arguments = ((1, extent, 9), (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), ceil_mode)
        if expected is None:
            with pytest.raises(ShapeError, match="kernel_size"):
                _validation.check_max_pool2d("max_pool2d", *arguments)
            continue
        taps = [
            [o * stride - padding + r * dilation for r in range(kernel)] for o in range(expected)
        ]  # the rows that each window looks at
        if all(any(0 <= row < extent for row in rows) for rows in taps):
            assert _validation.check_max_pool2d("max_pool2d", *arguments)[1] == (1, expected, 9)
        else:
            with pytest.raises(ShapeError, match="dilation"):
                _validation.check_max_pool2d("max_pool2d", *arguments)
        checked += 1
    assert checked > 700


@pytest.mark.parametrize(
    ("extent", "kernel", "stride", "padding", "expected"),
    [(5, 2, 2, 0, 3), (4, 3, 2, 1, 3), (3, 2, 2, 1, 2), (4, 2, 5, 0, 1), (6, 2, 4, 0, 2), (2, 3, 3, 0, 1)],
)
def test_ceil_mode_worked_examples(extent: int, kernel: int, stride: int, padding: int, expected: int) -> None:
    x = a(1, extent, extent)
    assert fastconv.max_pool2d(x, kernel, stride, padding, ceil_mode=True).shape == (1, expected, expected)
    assert fastconv.avg_pool2d(x, kernel, stride, padding, ceil_mode=True).shape == (1, expected, expected)


def test_conv_sizes_count_the_windows() -> None:
    for extent, kernel, stride, padding, dilation in itertools.product(
        range(1, 8), range(1, 5), range(1, 6), range(4), range(1, 4)
    ):
        window = dilation * (kernel - 1) + 1
        expected = sum(start + window <= extent + 2 * padding for start in range(0, extent + 2 * padding, stride))
        arguments = ((2, 1, 9, extent), (5, 1, 1, kernel), (1, stride), (0, padding), (1, dilation), 1)
        if expected:
            problem, y_shape, bias_shape = _validation._conv2d("conv2d", *arguments)
            assert y_shape == (2, 5, 9, expected)
            assert bias_shape == (5,)
            assert (problem.OH, problem.OW, problem.pad_top, problem.pad_left) == (9, expected, 0, padding)
        else:
            with pytest.raises(ShapeError, match="weight"):
                _validation._conv2d("conv2d", *arguments)


def test_padding_by_name() -> None:
    x, weight = a(1, 1, 6, 7), a(1, 1, 4, 3)
    y = fastconv.conv2d(x, weight, padding="same", dilation=(1, 2))
    assert y.shape == x.shape
    problem, _, _ = _validation._conv2d("conv2d", x.shape, weight.shape, 1, "same", (1, 2), 1)
    assert (problem.pad_top, problem.pad_left) == (1, 2)  # of 3 rows and 4 columns: the smaller half
    for name in ("valid", np.str_("valid")):
        assert np.array_equal(fastconv.conv2d(x, weight, padding=name), fastconv.conv2d(x, weight))
    assert fastconv.conv2d(x, weight, stride=2, padding="valid").shape == (1, 1, 2, 3)


# -- sizes in every form -----------------------------------------------------------------------------------------------


class Two(enum.IntEnum):
    TWO = 2


class Index:
    def __index__(self) -> int:
        return 2


class Pair(NamedTuple):
    height: int
    width: int


@pytest.mark.parametrize(
    "two",
    [
        2,
        (2, 2),
        [2, 2],
        np.int64(2),
        np.uint8(2),
        np.array(2),
        Two.TWO,
        Index(),
        (np.int32(2), 2),
        [Index(), 2],
        Pair(2, 2),
    ],
    ids=repr,
)
def test_sizes_are_ints_or_pairs_of_any_kind(two: Any) -> None:
    x, weight = a(1, 2, 9, 9), a(2, 2, 2, 2)
    conv = fastconv.conv2d(x, weight, None, 2, 2, 2)
    for stride, padding, dilation in ((two, 2, 2), (2, two, 2), (2, 2, two)):
        assert np.array_equal(fastconv.conv2d(x, weight, None, stride, padding, dilation), conv)
    assert np.array_equal(fastconv.max_pool2d(x, two, two, 1, two), fastconv.max_pool2d(x, 2, 2, 1, 2))
    assert np.array_equal(fastconv.avg_pool2d(x, two, two), fastconv.avg_pool2d(x, 2))
    if not isinstance(two, list | tuple):
        assert np.array_equal(
            fastconv.conv2d(x, a(2, 1, 2, 2), groups=two), fastconv.conv2d(x, a(2, 1, 2, 2), groups=2)
        )


def test_pairs_are_height_then_width() -> None:
    x, weight = a(1, 1, 9, 9), a(1, 1, 2, 2)
    assert fastconv.conv2d(x, weight, None, (1, 3), (0, 1), (2, 1)).shape == (1, 1, 7, 4)
    assert fastconv.max_pool2d(x, (1, 3), (2, 1), (0, 1)).shape == (1, 1, 5, 9)


def test_shapes_are_tuples_or_lists() -> None:
    grad_y, indices = a(1, 2, 2), np.array([[[0, 1], [2, 3]]])
    expected = fastconv.max_pool2d_backward(grad_y, indices, (1, 4, 4))
    for shape in ([1, 4, 4], (np.int64(1), np.uint8(4), Index() and 4), a(1, 4, 4).shape):
        assert np.array_equal(fastconv.max_pool2d_backward(grad_y, indices, shape), expected)


def test_numpy_bools_and_numbers() -> None:
    x = a(1, 1, 4, 4)
    assert fastconv.max_pool2d(x, 2, ceil_mode=np.True_, return_indices=np.False_).shape == (1, 1, 2, 2)
    grads = fastconv.conv2d_backward(a(1, 1, 3, 3), x, a(1, 1, 2, 2), need=[np.True_, False, np.bool_(True)])
    assert [grad is None for grad in grads] == [False, True, False]
    for p in (0, 1, np.float32(0.5), np.array(0.5), np.int64(1)):
        assert fastconv.dropout(x, p).shape == x.shape


@pytest.mark.parametrize("huge", [2**31, 2**62, 2**63, 2**64, 10**30])
def test_sizes_that_change_nothing_may_be_huge(huge: int) -> None:
    """A stride with one window, the dilation of one tap, the part of a window that hangs over (ceil_mode)."""
    x = a(1, 1, 4, 4)
    assert np.array_equal(fastconv.conv2d(x, a(1, 1, 3, 3), stride=huge), fastconv.conv2d(x, a(1, 1, 3, 3), stride=9))
    assert np.array_equal(fastconv.conv2d(x, a(1, 1, 1, 1), dilation=huge), fastconv.conv2d(x, a(1, 1, 1, 1)))
    assert fastconv.max_pool2d(x, 1, 1, 0, huge).tolist() == x.tolist()
    assert fastconv.max_pool2d(x, 2, huge).item() == x[0, 0, :2, :2].max()
    assert fastconv.max_pool2d(x, huge, huge, ceil_mode=True).item() == x.max()
    assert fastconv.avg_pool2d(x, huge, huge, ceil_mode=True).item() == x.mean()
    assert fastconv.max_pool2d(x, 2, huge, 0, huge // 2, ceil_mode=True).item() == x[0, 0, 0, 0]
    assert fastconv.max_pool2d(x, (16, 16), huge, 0, huge // 16, ceil_mode=True).item() == x[0, 0, 0, 0]


@pytest.mark.parametrize("kernel", [(2, 3), (9, 3), (2, 50), (16, 16), (64, 4)])
def test_winners_count_the_taps_of_the_whole_window(kernel: tuple[int, int]) -> None:
    """Also where a window hangs over, and most of it is outside."""
    x = a(1, 1, 4, 2)
    y, winners = max_pool2d_winners(x, kernel, 100, ceil_mode=True)
    h, w = divmod(int(x[:, :, : kernel[0]].argmax()), 2)
    assert y.item() == x[0, 0, h, w]
    assert winners.item() == h * kernel[1] + w
    grad_x = max_pool2d_winners_backward(y, winners, x.shape, kernel, 100, ceil_mode=True)
    assert grad_x[0, 0, h, w] == y.item()
    assert np.count_nonzero(grad_x) == 1


# -- arrays in every layout --------------------------------------------------------------------------------------------


class Sub(np.ndarray):
    """A subclass that adds nothing."""


def misaligned(x: np.ndarray) -> np.ndarray:
    if x.itemsize == 1:
        return x.copy()
    raw = np.zeros(x.nbytes + 1, np.uint8)
    y = raw[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    assert not y.flags.aligned
    return y


def read_only(x: np.ndarray) -> np.ndarray:
    y = x.copy()
    y.flags.writeable = False
    return y


def sliced(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1] + 1), x.dtype)
    wide[..., 1::2] = x
    return wide[..., 1::2]


LAYOUTS = {
    "plain": np.ndarray.copy,
    "fortran": lambda x: x.copy(order="F"),
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "channels last": lambda x: np.ascontiguousarray(np.moveaxis(x, 0, -1)).transpose(x.ndim - 1, *range(x.ndim - 1)),
    "sliced": sliced,
    "misaligned": misaligned,
    "read-only": read_only,
    "read-only, misaligned": lambda x: read_only(misaligned(x)),
    "subclass": lambda x: x.copy().view(Sub),
    "dtype with metadata": lambda x: x.astype(np.dtype(x.dtype, metadata={"unit": "m"})),
}

X, W, B, Y = a(2, 4, 6, 6), a(4, 2, 3, 3), a(4), a(2, 4, 4, 4)
LOGITS, CLASSES = a(3, 4), np.array([0, 3, 1])
MASK = np.arange(288).reshape(X.shape).astype(np.uint8) % 2
POOLED, INDICES = reference.max_pool2d(X, 3, return_indices=True)
OPERATIONS = {
    "conv2d": (lambda *p: fastconv.conv2d(*p, groups=2), [X, W, B]),
    "conv2d_backward": (lambda *p: fastconv.conv2d_backward(*p, groups=2), [Y, X, W]),
    "conv_transpose2d": (lambda *p: fastconv.conv_transpose2d(*p, 2, 1, 1, 2), [X, W, B]),
    "conv_transpose2d_backward": (
        lambda *p: fastconv.conv_transpose2d_backward(*p, 2, 1, 1, 2),
        [a(2, 4, 12, 12), X, W],
    ),
    "unfold": (lambda x: fastconv.unfold(x, 3, 1, 1, 2), [X]),
    "unfold_backward": (lambda g: fastconv.unfold_backward(g, (2, 1, 5, 5), 2), [a(2, 4, 16)]),
    "fold": (lambda x: fastconv.fold(x, 5, 2), [a(2, 4, 16)]),
    "fold_backward": (lambda g: fastconv.fold_backward(g, 2), [Y]),
    "max_pool2d": (lambda x: fastconv.max_pool2d(x, 3, return_indices=True), [X]),
    "max_pool2d_backward": (lambda g, i: fastconv.max_pool2d_backward(g, i, X.shape), [POOLED, INDICES]),
    "max_pool2d_winners": (lambda x: max_pool2d_winners(x, 3), [X]),
    "max_pool2d_winners_backward": (
        lambda g, w: max_pool2d_winners_backward(g, w, X.shape, 3),
        [POOLED, (INDICES % 3).astype(np.uint8)],
    ),
    "avg_pool2d": (lambda x: fastconv.avg_pool2d(x, 3, 1, 1), [X]),
    "avg_pool2d_backward": (lambda g: fastconv.avg_pool2d_backward(g, (2, 4, 8, 8), 2), [Y]),
    "linear": (fastconv.linear, [a(2, 3, 4), a(5, 4), a(5)]),
    "linear_backward": (fastconv.linear_backward, [a(2, 3, 5), a(2, 3, 4), a(5, 4)]),
    "relu": (fastconv.relu, [X]),
    "relu_backward": (fastconv.relu_backward, [X[::-1], X]),
    "softmax": (fastconv.softmax, [LOGITS]),
    "softmax, first axis": (lambda x: fastconv.softmax(x, 0), [LOGITS]),
    "softmax_backward": (fastconv.softmax_backward, [a(3, 4), LOGITS]),
    "softmax_backward, first axis": (lambda g, y: fastconv.softmax_backward(g, y, 0), [a(3, 4), LOGITS]),
    "log_softmax": (fastconv.log_softmax, [LOGITS]),
    "log_softmax_backward": (fastconv.log_softmax_backward, [a(3, 4), LOGITS]),
    "cross_entropy": (fastconv.cross_entropy, [LOGITS, CLASSES, a(4)]),
    "cross_entropy, none": (lambda *p: fastconv.cross_entropy(*p, reduction="none"), [LOGITS, CLASSES, a(4)]),
    "cross_entropy_backward": (
        lambda x, t, w, g: fastconv.cross_entropy_backward(x, t, w, reduction="none", grad_y=g),
        [LOGITS, CLASSES, a(4), a(3)],
    ),
    "dropout": (lambda x: fastconv.dropout(x, rng=np.random.default_rng(0), return_mask=True), [X]),
    "dropout, p=0": (lambda x: fastconv.dropout(x, 0), [X]),
    "dropout, eval": (lambda x: fastconv.dropout(x, 0.5, False, return_mask=True), [X]),
    "dropout_backward": (fastconv.dropout_backward, [X, MASK]),
    "dropout2d": (lambda x: fastconv.dropout2d(x, rng=np.random.default_rng(0), return_mask=True), [X]),
    "dropout2d, eval": (lambda x: fastconv.dropout2d(x, 0.5, False), [X]),
    "dropout2d_backward": (fastconv.dropout2d_backward, [X, MASK[:, :, 0, 0]]),
}


def results(value: Any) -> list[np.ndarray]:
    return list(value) if isinstance(value, tuple) else [np.asarray(value)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_layouts(name: str, layout: str, dtype: Any) -> None:
    """Every layout gives the bits of the plain one, in new arrays, and leaves its input alone."""
    function, plain = OPERATIONS[name]
    plain = [x.astype(dtype) if x.dtype.kind == "f" else x for x in plain]
    expected = results(function(*(np.array(x) for x in plain)))
    given = [LAYOUTS[layout](x) for x in plain]
    before = [x.tobytes() for x in given]

    value = function(*given)

    for y, wanted in zip(results(value), expected, strict=True):
        assert type(y) is np.ndarray
        assert y.dtype == wanted.dtype
        assert y.shape == wanted.shape
        assert y.tobytes() == wanted.tobytes()
        if isinstance(value, float):
            continue
        assert y.flags.c_contiguous
        assert y.flags.aligned
        assert y.flags.writeable
        assert y.flags.owndata
        for x in given:
            assert not np.shares_memory(x, y)
    assert before == [x.tobytes() for x in given]


def test_contiguous_arrays_are_not_copied() -> None:
    for x in (a(3, 4), read_only(a(3, 4)), a(), a(0, 3)):
        assert _validation.contiguous(x) is x
    x = a(3, 4)[:, ::2]
    assert _validation.contiguous(x).tolist() == x.tolist()


def test_repeated_calls_share_one_problem() -> None:
    x, weight = a(2, 3, 7, 7), a(4, 3, 3, 3)
    first = _validation.check_conv2d("conv2d", x, weight, None, 1, 0, 1, 1)
    second = _validation.check_conv2d("conv2d", x, weight, None, 1, 0, 1, 1)
    assert first[0] is x
    assert first[3] is second[3]


# -- empty batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_batch(dtype: Any) -> None:
    x, weight, grad_y = a(0, 3, 6, 6, dtype=dtype), a(4, 3, 3, 3, dtype=dtype), a(0, 4, 4, 4, dtype=dtype)
    assert fastconv.conv2d(x, weight, a(4, dtype=dtype)).shape == (0, 4, 4, 4)
    grad_x, grad_weight, grad_bias = fastconv.conv2d_backward(grad_y, x, weight)
    assert grad_x.shape == x.shape
    assert np.array_equal(grad_weight, np.zeros_like(weight))
    assert np.array_equal(grad_bias, np.zeros(4, dtype))

    y, indices = fastconv.max_pool2d(x, 2, return_indices=True)
    assert y.shape == indices.shape == (0, 3, 3, 3)
    assert fastconv.max_pool2d_backward(y, indices, x.shape).shape == x.shape
    y, winners = max_pool2d_winners(x, 2)
    assert max_pool2d_winners_backward(y, winners, x.shape, 2).shape == x.shape
    assert fastconv.avg_pool2d(x, 2).shape == (0, 3, 3, 3)
    assert fastconv.avg_pool2d_backward(y, x.shape, 2).shape == x.shape

    rows = a(0, 6, dtype=dtype)
    assert fastconv.linear(rows, a(5, 6, dtype=dtype)).shape == (0, 5)
    grads = fastconv.linear_backward(a(0, 5, dtype=dtype), rows, a(5, 6, dtype=dtype))
    assert [grad.tolist() for grad in grads] == [[], np.zeros((5, 6)).tolist(), np.zeros(5).tolist()]
    for op in (fastconv.relu, fastconv.softmax, fastconv.log_softmax, fastconv.dropout):
        assert op(rows).shape == (0, 6)
    assert fastconv.softmax(rows, 0).shape == (0, 6)
    assert fastconv.relu_backward(rows, rows).shape == (0, 6)
    assert fastconv.softmax_backward(rows, rows).shape == (0, 6)
    assert fastconv.dropout2d(x).shape == x.shape
    assert fastconv.dropout2d_backward(x, np.zeros((0, 3), np.uint8)).shape == x.shape
    nothing = np.zeros(0, np.int64)
    assert np.isnan(fastconv.cross_entropy(rows, nothing))
    assert fastconv.cross_entropy(rows, nothing, reduction="sum") == 0.0
    assert fastconv.cross_entropy(rows, nothing, reduction="none").shape == (0,)
    assert fastconv.cross_entropy_backward(rows, nothing).shape == (0, 6)


def test_linear_without_features() -> None:
    """As PyTorch: sums of nothing."""
    assert fastconv.linear(a(3, 0), a(2, 0), a(2)).tolist() == [a(2).tolist()] * 3
    assert fastconv.linear(a(3, 0), a(2, 0)).tolist() == [[0.0, 0.0]] * 3
    assert fastconv.linear(a(3, 4), a(0, 4)).shape == (3, 0)
    grad_x, grad_weight, grad_bias = fastconv.linear_backward(a(3, 0), a(3, 4), a(0, 4))
    assert grad_x.tolist() == np.zeros((3, 4)).tolist()
    assert (grad_weight.shape, grad_bias.shape) == ((0, 4), (0,))
    grad_x, grad_weight, grad_bias = fastconv.linear_backward(a(3, 2), a(3, 0), a(2, 0))
    assert (grad_x.shape, grad_weight.shape) == ((3, 0), (2, 0))
    assert grad_bias.tolist() == a(3, 2).sum(axis=0).tolist()


def test_arrays_of_other_ranks() -> None:
    """One row, no dimensions, many dimensions, no elements along the axis."""
    x = a(2, 1, 3, 4, 1, 5)
    assert np.array_equal(fastconv.relu(x), reference.relu(x))
    for dim in (-6, -3, 0, 2, 5):
        assert np.allclose(fastconv.softmax(x, dim), reference.softmax(x, dim), rtol=1e-5)
    assert np.allclose(fastconv.linear(x, a(7, 5)), reference.linear(x, a(7, 5)), rtol=1e-5)
    assert fastconv.linear(a(5), a(7, 5)).shape == (7,)
    for dim in (0, -1):
        assert fastconv.softmax(a(), dim) == 1.0
        assert fastconv.softmax_backward(a(), a(), dim).shape == ()
    assert fastconv.softmax(a(3, 0)).shape == (3, 0)
    assert fastconv.softmax(a(3, 0), 0).shape == (3, 0)
    assert fastconv.relu(a()).shape == ()
    assert fastconv.dropout(a(), 1).tolist() == 0.0
    loss = fastconv.cross_entropy(a(3), 2, reduction="none")
    assert loss.shape == ()
    assert fastconv.cross_entropy(a(3), np.int8(2)) == pytest.approx(float(loss))
    assert fastconv.cross_entropy_backward(a(3), np.array(2), reduction="none", grad_y=a()).shape == (3,)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.uint64, ">i8", ">u2"])
def test_targets_of_any_integer_dtype(kind: Any) -> None:
    expected = fastconv.cross_entropy(LOGITS, CLASSES)
    assert fastconv.cross_entropy(LOGITS, CLASSES.astype(kind)) == expected
    ignored = np.array([0, 77, 1]).astype(kind)
    assert fastconv.cross_entropy(LOGITS, ignored, ignore_index=77) == pytest.approx(
        fastconv.cross_entropy(LOGITS[[0, 2]], CLASSES[[0, 2]])
    )
