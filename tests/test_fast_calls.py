"""Quick calls (fastconv/_quick.pxi): they recognise what they may and nothing else, and give the checked way's bits."""

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _kernels
from fastconv.ops.max_pool2d import max_pool2d_winners

DTYPES = (np.float32, np.float64)


def draw(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Index:
    """Equal to an int, but not one: what makes a call go the checked way."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return all(map(same_bits, one, other))
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


# -- what is quick gives the same --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_convolutions(data: Any) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups, dtype = number(1, 2), data.draw(st.sampled_from(DTYPES))
    x = draw(number(1, 2), groups * number(1, 3), number(1, 9), number(1, 9), dtype=dtype)
    weight = draw(groups * number(1, 3), x.shape[1] // groups, number(1, 4), number(1, 4), dtype=dtype)
    bias = data.draw(st.sampled_from([None, draw(len(weight), dtype=dtype)]))
    x = data.draw(st.sampled_from([x, x[0]]))
    size = st.integers(1, 3) | st.tuples(st.integers(1, 12), st.integers(1, 12))
    stride, dilation = data.draw(size), data.draw(st.sampled_from([1, (1, 2), 2]))
    padding = data.draw(st.integers(0, 3) | st.tuples(st.integers(0, 12), st.integers(0, 2)))
    quick = _kernels.quick_conv2d(x, weight, bias, stride, padding, dilation, groups)
    try:
        y = fastconv.conv2d(x, weight, bias, stride, padding, dilation, Index(groups))
    except fastconv.ShapeError:
        assert quick is None
        return
    assert same_bits(quick, y)
    need = data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    back = _kernels.quick_conv2d_backward(y, x, weight, stride, padding, dilation, groups, need)
    assert same_bits(
        back, fastconv.conv2d_backward(y, x, weight, stride, padding, dilation, Index(groups), need=list(need))
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_pools(data: Any) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    x = draw(number(1, 2), number(1, 3), number(1, 9), number(1, 9), dtype=data.draw(st.sampled_from(DTYPES)))
    x = data.draw(st.sampled_from([x, x[0]]))
    kernel = data.draw(st.integers(1, 4) | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = data.draw(st.none() | st.integers(1, 12) | st.tuples(st.integers(1, 3), st.integers(1, 12)))
    padding = data.draw(st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)))
    quick = _kernels.quick_max_pool2d(x, kernel, stride, padding, True)
    try:
        both = max_pool2d_winners(x, kernel, stride, padding, Index(1))
    except fastconv.ShapeError:
        assert quick is None
        assert _kernels.quick_max_pool2d(x, kernel, stride, padding, False) is None
        assert _kernels.quick_avg_pool2d(x, kernel, stride, padding) is None
        return
    assert same_bits(quick, both)
    assert same_bits(_kernels.quick_max_pool2d(x, kernel, stride, padding, False), both[0])
    y, indices = _kernels.quick_max_pool2d(x, kernel, stride, padding, False, True)
    assert same_bits((y, indices), fastconv.max_pool2d(x, kernel, stride, padding, Index(1), return_indices=True))
    back = _kernels.quick_max_pool2d_backward(y, indices, x.shape)
    assert same_bits(back, fastconv.max_pool2d_backward(y, indices, list(x.shape)))
    mean = fastconv.avg_pool2d(x, kernel, stride, padding, np.False_)
    assert same_bits(_kernels.quick_avg_pool2d(x, kernel, stride, padding), mean)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 7, 3), (5, 40, 17), (0, 3, 2), (2, 0, 2), (2, 3, 0)])
def test_linear(rows: int, inputs: int, outputs: int, dtype: Any) -> None:
    x, weight, bias = draw(rows, inputs, dtype=dtype), draw(outputs, inputs, dtype=dtype), draw(outputs, dtype=dtype)
    y = fastconv.linear(x[None], weight, bias)[0]  # of three dimensions: the checked way
    assert same_bits(_kernels.quick_linear(x, weight, bias), y)
    back = fastconv.linear_backward(y, x, weight, need=[True, True, True])
    assert same_bits(_kernels.quick_linear_backward(y, x, weight, (True, True, True)), back)
    assert _kernels.quick_linear_backward(y, x, weight, (False, False, False)) == (None, None, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4, 5, 6), (3, 0)])
def test_relu(shape: tuple[int, ...], dtype: Any) -> None:
    x, grad = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=1)
    if x.ndim:
        wide = np.repeat(x, 2, axis=-1)[..., ::2]
        assert same_bits(_kernels.quick_relu(x), fastconv.relu(wide))
    assert same_bits(_kernels.quick_relu(x), np.maximum(x, 0))
    assert same_bits(_kernels.quick_relu_backward(grad, x), np.where(x > 0, grad, dtype(0)))


# -- what is not quick is left alone -----------------------------------------------------------------------------------


class Subclass(np.ndarray):
    pass


def unusual(a: np.ndarray) -> list[Any]:
    """Everything that looks like the array a, but is not what kernels take."""
    misaligned = np.frombuffer(bytearray(a.nbytes + 1), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    return [
        a[..., ::-1],
        np.asfortranarray(a),
        misaligned,
        a.astype(a.dtype.newbyteorder()),
        a.astype(np.int32),
        a.astype(np.float16),
        a.astype(object),
        np.ma.masked_array(a),
        a.view(Subclass),
        a.tolist(),
        memoryview(a),
        None,
    ]


def conv2d_calls() -> list[Callable[[Any, Any], Any]]:
    x, weight, y = draw(1, 1, 5, 5), draw(2, 1, 3, 3), draw(1, 2, 3, 3)
    need = (True, True, True)
    return [
        lambda x_, _: _kernels.quick_conv2d(x_, weight, None, 1, 0, 1, 1),
        lambda x_, _: _kernels.quick_conv2d_backward(y, x_, weight, 1, 0, 1, 1, need),
        lambda x_, _: _kernels.quick_max_pool2d(x_, 2, 2, 0, True),
        lambda x_, _: _kernels.quick_avg_pool2d(x_, 2, 2, 0),
        lambda x_, _: _kernels.quick_relu(x_),
        lambda x_, _: _kernels.quick_relu_backward(x, x_),
        lambda x_, _: _kernels.quick_relu_backward(x_, x),
        lambda _, w_: _kernels.quick_conv2d(x, w_, None, 1, 0, 1, 1),
        lambda _, w_: _kernels.quick_conv2d_backward(y, x, w_, 1, 0, 1, 1, need),
    ]


@pytest.mark.parametrize("which", range(len(conv2d_calls())))
def test_unusual_arrays(which: int) -> None:
    call, x, weight = conv2d_calls()[which], draw(1, 1, 5, 5), draw(2, 1, 3, 3)
    assert call(x, weight) is not None
    x.flags.writeable = weight.flags.writeable = False
    assert call(x, weight) is not None
    for one, other in zip(unusual(x), unusual(weight), strict=True):
        assert call(one, other) is None


SIZES = [True, 1.0, np.int64(1), "valid", "same", None, [1, 1], (1,), (1, 1, 1), (1, True), 2**70, -1, (1, -1), 2**13]


@pytest.mark.parametrize("value", SIZES, ids=repr)
def test_unusual_sizes(value: Any) -> None:
    x, weight = draw(1, 1, 5, 5), draw(2, 1, 3, 3)
    sizes: list[Any] = [1, 0, 1, 1]
    for i in range(4):
        changed = [*sizes[:i], value, *sizes[i + 1 :]]
        assert _kernels.quick_conv2d(x, weight, None, *changed) is None
        assert _kernels.quick_conv2d_backward(draw(1, 2, 3, 3), x, weight, *changed, (True, True, True)) is None
    for i in range(3):
        if i == 1 and value is None:  # a stride of None is the window
            continue
        window = [2, 2, 0]
        window[i] = value
        assert _kernels.quick_max_pool2d(x, *window, False) is None
        assert _kernels.quick_avg_pool2d(x, *window) is None


def test_the_way_back_from_indices() -> None:
    y, indices = draw(1, 2, 2, 2), np.zeros((1, 2, 2, 2), np.int64)
    assert _kernels.quick_max_pool2d_backward(y, indices, (1, 2, 4, 4)) is not None
    for shape in (
        [1, 2, 4, 4],
        (2, 4, 4),
        (1, 3, 4, 4),
        (1, 2, 0, 4),
        (1, 2, True, 4),
        (1, 2, -4, 4),
        (1, 2, 2**70, 4),
    ):
        assert _kernels.quick_max_pool2d_backward(y, indices, shape) is None
    for wrong in (indices.astype(np.int32), indices[..., ::-1], indices[0], indices + 16, indices - 1, None):
        assert _kernels.quick_max_pool2d_backward(y, wrong, (1, 2, 4, 4)) is None
    for grad_y in (y[0], y.astype(np.float64)[..., ::-1], y.tolist(), draw(1, 2, 2, 3)):
        assert _kernels.quick_max_pool2d_backward(grad_y, indices, (1, 2, 4, 4)) is None


def test_shapes_that_do_not_fit() -> None:
    x, weight = draw(1, 2, 5, 5), draw(4, 2, 3, 3)
    for wrong in (
        draw(4, 3, 3, 3),
        draw(4, 2, 6, 3),
        draw(4, 2, 3),
        draw(0, 2, 3, 3),
        draw(4, 2, 3, 3, dtype=np.float64),
    ):
        assert _kernels.quick_conv2d(x, wrong, None, 1, 0, 1, 1) is None
    assert _kernels.quick_conv2d(x, draw(3, 1, 3, 3), None, 1, 0, 1, 2) is None
    for bias in (draw(3), draw(4, 1), draw(4, dtype=np.float64), 1.0):
        assert _kernels.quick_conv2d(x, weight, bias, 1, 0, 1, 1) is None
    for grad_y in (draw(1, 4, 3, 2), draw(4, 3, 3), draw(1, 4, 3, 3, dtype=np.float64)):
        assert _kernels.quick_conv2d_backward(grad_y, x, weight, 1, 0, 1, 1, (True, True, True)) is None
    for need in ([True, True, True], (True, True), (1, True, True), None):
        assert _kernels.quick_conv2d_backward(draw(1, 4, 3, 3), x, weight, 1, 0, 1, 1, need) is None
    assert _kernels.quick_linear(draw(2, 3), draw(4, 2), None) is None
    assert _kernels.quick_linear(draw(2, 3), draw(4, 3), draw(3)) is None
    assert _kernels.quick_linear(draw(1, 2, 3), draw(4, 3), None) is None
    for empty in (draw(0, 2, 5, 5), draw(1, 0, 5, 5), draw(1, 2, 0, 5)):
        assert _kernels.quick_conv2d(empty, weight, None, 1, 0, 1, 1) is None
        assert _kernels.quick_max_pool2d(empty, 2, 2, 0, False) is None


# -- results -----------------------------------------------------------------------------------------------------------


def test_results_are_ordinary_arrays() -> None:
    y = fastconv.conv2d(draw(1, 1, 9, 9), draw(2, 1, 3, 3))
    assert type(y) is np.ndarray
    assert y.flags.owndata
    assert y.flags.carray
    assert y.base is None
    assert y.dtype is np.dtype(np.float32)
    assert y.ctypes.data % 64 == 0
    assert np._core.multiarray.get_handler_name(y) == "fastconv_cache"
    before = y.copy()
    y.resize((3, 1000), refcheck=False)  # through the handler's realloc
    assert np.array_equal(y.reshape(-1)[: before.size], before.reshape(-1))


def test_the_memory_of_results_is_reused() -> None:
    fastconv.release_memory()
    x, weight = draw(1, 1, 64, 64), draw(8, 1, 3, 3)
    y = fastconv.conv2d(x, weight)
    place = y.ctypes.data
    del y
    gc.collect()
    assert fastconv.conv2d(x, weight).ctypes.data == place


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
def test_threads_leave_the_caller_its_cpus() -> None:
    """A thread that moves away from the CPU of the one that waits for it (csrc/region.c) gives up that one alone."""
    x, weight = draw(8, 3, 40, 40), draw(16, 3, 3, 3)
    allowed = os.sched_getaffinity(0)
    for _ in range(20):
        with fastconv.threads(2):
            fastconv.conv2d(x, weight)
        time.sleep(0.005)
    assert os.sched_getaffinity(0) == allowed
    for task in os.listdir("/proc/self/task"):
        assert len(allowed - os.sched_getaffinity(int(task))) <= 1


def test_one_thread_or_two() -> None:
    x, weight = draw(8, 3, 40, 40), draw(16, 3, 3, 3)
    with fastconv.threads(1):
        one = fastconv.conv2d(x, weight), fastconv.conv2d_backward(fastconv.conv2d(x, weight), x, weight)
    with fastconv.threads(2):
        two = fastconv.conv2d(x, weight), fastconv.conv2d_backward(fastconv.conv2d(x, weight), x, weight)
    assert same_bits(one, two)
