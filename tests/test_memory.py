"""Results are ordinary independent arrays, although their memory comes from a bounded cache of freed blocks."""

import concurrent.futures
import copy
import gc
import itertools
import os
import pickle
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import fastconv
from fastconv import _kernels, ops

MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Each test starts without cached blocks, and leaves the limit as it was."""
    limit = _kernels.memory_limit()
    gc.collect()
    fastconv.release_memory()
    yield
    _kernels.set_memory_limit(limit)
    fastconv.release_memory()


def address(x):
    return x.__array_interface__["data"][0]


def result(n=MEGABYTE, value=1.0):
    """A result of n float32."""
    return ops.relu(np.full(n, value, np.float32))


# -- results are ordinary ----------------------------------------------------------------------------------------------


def test_results_are_ordinary_arrays():
    y = result(1000, 3)
    assert type(y) is np.ndarray
    assert y.flags.owndata
    assert y.flags.writeable
    assert y.base is None
    assert sys.getrefcount(y) == sys.getrefcount(np.ones(3))
    y *= 2
    np.testing.assert_array_equal(y, np.full(1000, 6))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(y)), y)
    np.testing.assert_array_equal(copy.deepcopy(y), y)
    np.testing.assert_array_equal(y.copy(), y)
    np.testing.assert_array_equal(np.frombuffer(memoryview(y), np.float32), y)
    view = y[::2]
    assert view.base is y


@pytest.mark.parametrize("before", [0, 1, 10, 1000, 100_000, MEGABYTE])
@pytest.mark.parametrize("after", [0, 1, 10, 1000, 100_000, MEGABYTE])
def test_results_can_be_resized(before, after):
    """In place: what fits is kept, what is new is zero, as for any array."""
    y = result(before, 3)
    y.resize(after, refcheck=False)
    assert y.shape == (after,)
    kept = min(before, after)
    np.testing.assert_array_equal(y[:kept], np.full(kept, 3))
    np.testing.assert_array_equal(y[kept:], np.zeros(after - kept))


def test_results_are_aligned():
    for n in (1, 3, 17, 1000, 100_003, MEGABYTE):
        for _ in range(4):
            assert address(result(n)) % 64 == 0


def test_a_result_is_never_overwritten():
    """Results that live at once never share memory, and later calls leave earlier results alone."""
    alive = [result(5000, value=i) for i in range(50)]
    spans = sorted((address(y), y.nbytes) for y in alive)
    assert all(start + size <= following for (start, size), (following, _) in itertools.pairwise(spans))
    for _ in range(50):
        result(5000, value=-1)
    for i, y in enumerate(alive):
        np.testing.assert_array_equal(y, np.full(5000, i))


def test_results_outlive_release_memory():
    alive, dead = result(value=7), result(value=8)
    del dead
    fastconv.release_memory()
    np.testing.assert_array_equal(alive, np.full(MEGABYTE, 7))
    again = result(value=9)
    np.testing.assert_array_equal(alive, np.full(MEGABYTE, 7))
    np.testing.assert_array_equal(again, np.full(MEGABYTE, 9))


def test_a_view_keeps_its_result_alive():
    view = result(value=4)[10:20]
    for _ in range(10):
        result(value=5)
    np.testing.assert_array_equal(view, np.full(10, 4))


def test_results_freed_by_another_thread():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for i in range(20):
            y = pool.submit(result, 10_000, i).result()
            np.testing.assert_array_equal(y, np.full(10_000, i))
            pool.submit(lambda held: held.pop(), [y]).result()
            del y
    assert fastconv.release_memory() >= 0


def test_plain_numpy_is_left_alone():
    """Arrays that NumPy makes do not go through the cache."""
    before = _kernels.memory_cached()
    x = np.ones(MEGABYTE, np.float32)
    del x
    assert _kernels.memory_cached() == before


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_freed_memory_is_kept_and_given_back():
    y = result()
    size = y.nbytes
    assert _kernels.memory_cached() == 0
    del y
    assert size <= _kernels.memory_cached() <= 2 * size + MEGABYTE
    cached = _kernels.memory_cached()
    assert fastconv.release_memory() == cached
    assert _kernels.memory_cached() == 0
    assert fastconv.release_memory() == 0


def test_freed_memory_is_used_again():
    y = result()
    where = address(y)
    del y
    again = result()
    assert address(again) == where
    assert _kernels.memory_cached() == 0


def test_a_training_steps_worth_of_sizes_settles():
    """Steady state: once every size has been seen, nothing more is taken from the operating system."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((16, 8, 20, 20)).astype(np.float32)
    weight = rng.standard_normal((12, 8, 3, 3)).astype(np.float32)

    def step():
        y = ops.relu(ops.conv2d(x, weight, padding=1))
        pooled, indices = ops.max_pool2d(y, 2, return_indices=True)
        ops.conv2d_backward(ops.max_pool2d_backward(pooled, indices, y.shape), x, weight, padding=1)

    for _ in range(3):
        step()
    cached = _kernels.memory_cached()
    for _ in range(20):
        step()
        assert _kernels.memory_cached() == cached


def test_the_cache_is_bounded():
    limit = _kernels.memory_limit()
    assert limit > 0
    _kernels.set_memory_limit(8 * MEGABYTE)
    assert _kernels.memory_limit() == 8 * MEGABYTE
    alive = [result() for _ in range(10)]
    alive.clear()
    assert 0 < _kernels.memory_cached() <= 8 * MEGABYTE


def test_no_cache():
    _kernels.set_memory_limit(0)
    y = result(value=2)
    np.testing.assert_array_equal(y, np.full(MEGABYTE, 2))
    del y
    assert _kernels.memory_cached() == 0


def test_a_lower_limit_takes_effect():
    alive = [result() for _ in range(10)]
    alive.clear()
    _kernels.set_memory_limit(4 * MEGABYTE)
    y = result(1000)
    del y
    assert _kernels.memory_cached() <= 4 * MEGABYTE


def test_too_much_memory_is_a_memory_error():
    with pytest.raises(MemoryError):
        _kernels.empty((2**46,), np.dtype(np.float64))
    x = np.broadcast_to(np.float32(1), (2**22, 2**22))  # no memory behind it, but the result needs 64 terabytes
    with pytest.raises(MemoryError):
        ops.relu(x)
    np.testing.assert_array_equal(result(10, 5), np.full(10, 5))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (5, 7), (100, 100, 100)], ids=str)
def test_empty(shape, dtype):
    y = _kernels.empty(shape, np.dtype(dtype))
    assert y.shape == shape
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert y.flags.owndata
    y[...] = 1
    assert y.sum() == y.size


# -- over many calls ---------------------------------------------------------------------------------------------------


def resident():
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


needs_statm = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc/self/statm on this system")


@needs_statm
def test_memory_is_flat_over_many_calls(threads):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 8, 16, 16)).astype(np.float32)
    weight = rng.standard_normal((16, 8, 3, 3)).astype(np.float32)
    dense = rng.standard_normal((10, 1024)).astype(np.float32)

    def step():
        y = ops.conv2d(x, weight, padding=1)
        pooled, indices = ops.max_pool2d(y, 2, return_indices=True)
        logits = ops.linear(pooled.reshape(4, -1), dense)
        ops.cross_entropy(logits, np.zeros(4, np.int64))
        ops.linear_backward(logits, pooled.reshape(4, -1), dense)
        ops.conv2d_backward(ops.max_pool2d_backward(pooled, indices, y.shape), x, weight, padding=1)
        ops.avg_pool2d(y, 2)
        ops.dropout(y, rng=rng)

    for _ in range(200):
        step()
    before = resident()
    for _ in range(2000):
        step()
    assert resident() - before < 8 * MEGABYTE


@needs_statm
def test_sizes_that_change_do_not_pile_up():
    """Every call another size: the cache stays within its limit."""
    _kernels.set_memory_limit(32 * MEGABYTE)
    rng = np.random.default_rng(3)
    for _ in range(50):
        result(int(rng.integers(1, MEGABYTE)))
    before = resident()
    for _ in range(1000):
        result(int(rng.integers(1, MEGABYTE)))
        assert _kernels.memory_cached() <= 32 * MEGABYTE
    assert resident() - before < 48 * MEGABYTE


@needs_statm
def test_release_memory_reaches_the_operating_system():
    alive = [result(4 * MEGABYTE) for _ in range(8)]
    alive.clear()
    before = resident()
    released = fastconv.release_memory()
    assert released >= 64 * MEGABYTE
    assert before - resident() > released // 2


@needs_statm
def test_refused_calls_leak_nothing():
    x, weight = np.ones((4, 8, 64, 64), np.float32), np.ones((16, 7, 3, 3), np.float32)
    y, indices = np.ones((4, 8, 64, 64), np.float32), np.full((4, 8, 64, 64), -1)

    def refused():
        with pytest.raises(ValueError, match="weight"):
            ops.conv2d(x, weight)
        with pytest.raises(ValueError, match="indices"):
            ops.max_pool2d_backward(y, indices, (4, 8, 128, 128))

    for _ in range(20):
        refused()
    before = resident()
    for _ in range(500):
        refused()
    assert resident() - before < 8 * MEGABYTE
