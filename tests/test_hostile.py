"""Hostile arguments: sizes whose products overflow, empty and one-element arrays, indices out of range, and arrays that
another thread changes during the call.  An error or a defined result; never a crash, a hang or a silent answer.

What could bring the process down runs in a Python of its own, with limits on time and memory.  Malformed calls of
ordinary size are in test_bad_input.py, published flaws of other libraries in test_advisories.py.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import ShapeError, ops, reference

TIMEOUT = 60


def in_child(code: str, gigabytes: float = 0) -> None:
    """Runs in a Python of its own, which must end well."""
    limit = f"resource.setrlimit(resource.RLIMIT_AS, ({int(gigabytes * 2**30)},) * 2)" if gigabytes else ""
    imports = "import faulthandler, resource, sys, threading\nimport numpy as np\nimport fastconv\n"
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{imports}faulthandler.enable()\n{limit}\n" + textwrap.dedent(code) + "\nprint('done')\n",
        ],
        env={k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "FASTCONV_"))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def wide(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of any size, with no memory behind it."""
    return np.broadcast_to(np.ones((), dtype), shape)


# -- sizes -------------------------------------------------------------------------------------------------------------

A, B = 2**16 + 1, 2**31 + 1  # A * A is beyond 32 bits, B * B * 4 bytes beyond 64
OVERFLOWS: dict[str, Callable[[], Any]] = {
    "conv2d, x, 32 bits": lambda: ops.conv2d(wide(1, 1, A, A), ones(1, 1, 1, 1)),
    "conv2d, x, 64 bits": lambda: ops.conv2d(wide(1, 2, 2**30, 2**29), ones(1, 2, 1, 1)),
    "conv2d, y by padding, 32 bits": lambda: ops.conv2d(ones(1, 1, 1, 1), ones(1, 1, 1, 1), padding=A // 2),
    "conv2d, y by padding, 64 bits": lambda: ops.conv2d(ones(1, 1, 1, 1), ones(1, 1, 1, 1), padding=B),
    "conv2d, y by filters": lambda: ops.conv2d(ones(1, 1, 9, 9), wide(2**28, 1, 1, 1), padding=2**12),
    "conv2d, padding doubles": lambda: ops.conv2d(ones(1, 1, 1, 1), ones(1, 1, 1, 1), padding=2**62),
    "conv2d, padding wraps to 1": lambda: ops.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), padding=2**64 + 1),
    "conv2d, dilation wraps to 1": lambda: ops.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), dilation=2**64 + 1),
    "conv2d, dilation wraps 32 bits": lambda: ops.conv2d(ones(1, 1, 5, 5), ones(1, 1, 3, 3), dilation=2**32 + 1),
    "conv2d, window wraps": lambda: ops.conv2d(ones(1, 1, 5, 5), ones(1, 1, 3, 3), dilation=2**63),
    "conv2d, groups wraps to 1": lambda: ops.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), groups=2**64 + 1),
    "conv2d_backward": lambda: ops.conv2d_backward(wide(1, 1, A, A), wide(1, 1, A, A), ones(1, 1, 1, 1)),
    "conv2d_backward, wrong by 2**32": lambda: ops.conv2d_backward(
        ones(1, 1, 1, 1), wide(1, 1, 2**32 + 1, 1), ones(1, 1, 1, 1)
    ),
    "max_pool2d": lambda: ops.max_pool2d(wide(1, 1, A, A), 1),
    "max_pool2d, 64 bits": lambda: ops.max_pool2d(wide(1, 2, 2**30, 2**29), 1),
    "max_pool2d, kernel wraps": lambda: ops.max_pool2d(ones(1, 1, 4, 4), 2**64 + 2),
    "max_pool2d, kernel wraps 32 bits": lambda: ops.max_pool2d(ones(1, 1, 4, 4), 2**32 + 2),
    "max_pool2d, product wraps": lambda: ops.max_pool2d(ones(1, 1, 4, 4), (2**32, 2**32)),
    "max_pool2d, dilation wraps": lambda: ops.max_pool2d(ones(1, 1, 4, 4), 2, dilation=2**64 + 1),
    "max_pool2d_backward": lambda: ops.max_pool2d_backward(ones(1, 1, 1), np.zeros((1, 1, 1), np.int64), (1, A, A)),
    "max_pool2d_backward, 64 bits": lambda: ops.max_pool2d_backward(
        ones(1, 1, 1), np.zeros((1, 1, 1), np.int64), (1, 2**32, 2**32)
    ),
    "max_pool2d_backward, planes wrap": lambda: ops.max_pool2d_backward(
        ones(1, 1, 1, 1), np.zeros((1, 1, 1, 1), np.int64), (2**32 + 1, 2**32 + 1, 1, 1)
    ),
    "avg_pool2d": lambda: ops.avg_pool2d(wide(1, 1, A, A), 1),
    "avg_pool2d_backward": lambda: ops.avg_pool2d_backward(wide(1, A, A), (1, A, A), 1),
    "avg_pool2d_backward, 64 bits": lambda: ops.avg_pool2d_backward(ones(1, 1, 1), (1, 2**32, 2**32), 2**32),
    "avg_pool2d, divisor wraps": lambda: ops.avg_pool2d(ones(1, 1, 4, 4), 2, divisor_override=2**64 + 1),
    "linear, y": lambda: ops.linear(wide(A, 1), wide(A, 1)),
    "linear, y, 64 bits": lambda: ops.linear(wide(2**33, 1), wide(2**33, 1)),
    "linear_backward": lambda: ops.linear_backward(wide(1, A), wide(1, A), wide(A, A)),
    "relu": lambda: ops.relu(wide(A, A)),
    "relu, 64 bits": lambda: ops.relu(wide(2**31, 2**29)),
    "softmax": lambda: ops.softmax(wide(A, A)),
    "log_softmax": lambda: ops.log_softmax(wide(2, 2**58)),
    "cross_entropy": lambda: ops.cross_entropy(wide(2, 2**58), np.zeros(2, np.int64)),
    "dropout": lambda: ops.dropout(wide(A, A)),
    "dropout2d": lambda: ops.dropout2d(wide(1, 1, A, A)),
    "conv_transpose2d, y by stride": lambda: ops.conv_transpose2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), stride=A),
    "conv_transpose2d, stride wraps": lambda: ops.conv_transpose2d(
        ones(1, 1, 2, 2), ones(1, 1, 1, 1), stride=2**64 + 1
    ),
    "conv_transpose2d, 64 bits": lambda: ops.conv_transpose2d(ones(1, 1, 2, 2), ones(1, 1, 2, 2), dilation=2**63),
    "conv_transpose2d, padding": lambda: ops.conv_transpose2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), padding=2**63),
    "unfold": lambda: ops.unfold(ones(1, 1, 2, 2), 2, padding=A // 2),
    "unfold, kernel wraps": lambda: ops.unfold(ones(1, 1, 2, 2), 2**64 + 1),
    "unfold, product wraps": lambda: ops.unfold(ones(1, 1, 2, 2), 2**32, padding=2**32),
    "fold": lambda: ops.fold(ones(1, 1, 1), 2**32 + 1, 2**32 + 1),
    "fold, stride": lambda: ops.fold(ones(1, 1, 1), A, 1, stride=2 * A),
    "unfold_backward": lambda: ops.unfold_backward(ones(1, 1, 1), (1, 1, A, A), 1, stride=2 * A),
    "adaptive_avg_pool2d": lambda: ops.adaptive_avg_pool2d(ones(1, 1, 2, 2), A),
    "adaptive_avg_pool2d, 64 bits": lambda: ops.adaptive_avg_pool2d(ones(1, 1, 2, 2), 2**32),
    "adaptive_avg_pool2d, wraps": lambda: ops.adaptive_avg_pool2d(ones(1, 1, 2, 2), 2**64 + 1),
    "adaptive_avg_pool2d_backward": lambda: ops.adaptive_avg_pool2d_backward(ones(1, 1, 1, 1), (1, 1, A, A)),
    "batch_norm": lambda: ops.batch_norm(wide(1, 1, A, A), None, None, training=True),
    "leaky_relu": lambda: ops.leaky_relu(wide(A, A)),
    "sigmoid": lambda: ops.sigmoid(wide(A, A)),
    "tanh": lambda: ops.tanh(wide(2**31, 2**29)),
    "mse_loss": lambda: ops.mse_loss(wide(A, A), wide(A, A)),
    "nll_loss": lambda: ops.nll_loss(wide(2, 2**58), np.zeros(2, np.int64)),
}


def test_overflows() -> None:
    """ShapeError, or MemoryError where the sizes are right but nobody has so much; in a child with four gigabytes."""
    in_child(
        f"""
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import test_hostile
        for name, call in test_hostile.OVERFLOWS.items():
            try:
                result = call()
            except (fastconv.ShapeError, MemoryError) as error:
                if isinstance(error, fastconv.ShapeError):
                    assert name.split(",")[0] in str(error), (name, error)
            else:
                raise AssertionError(name)
        """,
        gigabytes=4,
    )


LARGE_BUT_RIGHT: dict[str, tuple[Callable[[], Any], list[float]]] = {
    # sizes beyond 32 bits whose results are small, with x = 7 in the middle of all that padding
    "stride": (
        lambda: ops.conv2d(ones(1, 1, 1, 1) * 7, ones(1, 1, 1, 1), stride=(2**32, 1), padding=(2**32, 0)),
        [0, 7, 0],
    ),
    "stride, last row": (
        lambda: ops.conv2d(ones(1, 1, 1, 1) * 7, ones(1, 1, 1, 1), stride=(2**33, 1), padding=(2**32, 0)),
        [0, 0],
    ),
    "dilation": (
        lambda: ops.conv2d(
            ones(1, 1, 1, 1) * 7,
            np.array([3, 5], np.float32).reshape(1, 1, 2, 1),
            stride=(2**32, 1),
            padding=(2**32, 0),
            dilation=(2**32, 1),
        ),
        [35, 21],
    ),
    "columns": (
        lambda: ops.conv2d(ones(1, 1, 1, 1) * 7, ones(1, 1, 1, 1), stride=(1, 2**32), padding=(0, 2**32)),
        [0, 7, 0],
    ),
    "pool stride": (lambda: ops.max_pool2d(ones(1, 2, 2) * 7, 2, 2**62), [7]),
    "average, stride": (lambda: ops.avg_pool2d(ones(1, 2, 2) * 7, 2, 2**62), [7]),
    "divisor": (lambda: ops.avg_pool2d(ones(1, 2, 2, dtype=np.float64), 2, divisor_override=2**40), [4 / 2**40]),
}


@pytest.mark.parametrize("name", LARGE_BUT_RIGHT)
def test_large_sizes_with_small_results(name: str) -> None:
    call, expected = LARGE_BUT_RIGHT[name]
    np.testing.assert_array_equal(call().ravel(), expected)


# -- empty and one element ---------------------------------------------------------------------------------------------

none = np.zeros((0, 3, 4, 4), np.float32)
int_none = np.zeros((0, 3, 2, 2), np.int64)
mask_none = np.zeros((0, 3, 4, 4), np.uint8)
# op, arguments, shapes of the results
EMPTY: list[tuple[str, tuple[Any, ...], dict[str, Any], list[tuple[int, ...]]]] = [
    ("conv2d", (none, ones(5, 3, 3, 3)), {}, [(0, 5, 2, 2)]),
    ("conv2d_backward", (ones(0, 5, 2, 2), none, ones(5, 3, 3, 3)), {}, [(0, 3, 4, 4), (5, 3, 3, 3), (5,)]),
    ("max_pool2d", (none, 2), {"return_indices": True}, [(0, 3, 2, 2)] * 2),
    ("max_pool2d_backward", (none[:, :, :2, :2], int_none, (0, 3, 4, 4)), {}, [(0, 3, 4, 4)]),
    ("avg_pool2d", (none, 2), {}, [(0, 3, 2, 2)]),
    ("avg_pool2d_backward", (none[:, :, :2, :2], (0, 3, 4, 4), 2), {}, [(0, 3, 4, 4)]),
    ("linear", (ones(0, 5), ones(3, 5)), {}, [(0, 3)]),
    ("linear", (ones(2, 0), ones(3, 0)), {}, [(2, 3)]),
    ("linear", (ones(2, 5), ones(0, 5)), {}, [(2, 0)]),
    ("linear_backward", (ones(0, 3), ones(0, 5), ones(3, 5)), {}, [(0, 5), (3, 5), (3,)]),
    ("relu", (none,), {}, [none.shape]),
    ("relu_backward", (none, none), {}, [none.shape]),
    ("softmax", (ones(0, 5),), {}, [(0, 5)]),
    ("softmax", (ones(5, 0),), {}, [(5, 0)]),
    ("log_softmax", (ones(0, 5),), {}, [(0, 5)]),
    ("softmax_backward", (ones(0, 5), ones(0, 5)), {}, [(0, 5)]),
    ("log_softmax_backward", (ones(5, 0), ones(5, 0)), {}, [(5, 0)]),
    ("cross_entropy", (ones(0, 5), np.zeros(0, np.int64)), {"reduction": "none"}, [(0,)]),
    ("cross_entropy_backward", (ones(0, 5), np.zeros(0, np.int64)), {"reduction": "sum"}, [(0, 5)]),
    ("conv_transpose2d", (none, ones(3, 5, 3, 3)), {}, [(0, 5, 6, 6)]),
    ("conv_transpose2d_backward", (ones(0, 5, 6, 6), none, ones(3, 5, 3, 3)), {}, [none.shape, (3, 5, 3, 3), (5,)]),
    ("unfold", (none, 2), {}, [(0, 12, 9)]),
    ("unfold_backward", (ones(0, 12, 9), (0, 3, 4, 4), 2), {}, [none.shape]),
    ("fold", (ones(0, 12, 9), 4, 2), {}, [none.shape]),
    ("fold_backward", (none, 2), {}, [(0, 12, 9)]),
    ("adaptive_avg_pool2d", (none, 3), {}, [(0, 3, 3, 3)]),
    ("adaptive_avg_pool2d_backward", (none[:, :, :3, :3], (0, 3, 4, 4)), {}, [none.shape]),
    ("batch_norm", (none, np.zeros(3, np.float32), ones(3)), {}, [none.shape]),
    ("batch_norm_backward", (none, none, np.zeros(3), np.ones(3)), {}, [none.shape, (3,), (3,)]),
    *((name, (none,), {}, [none.shape]) for name in ("leaky_relu", "sigmoid", "tanh")),
    *((f"{name}_backward", (none, none), {}, [none.shape]) for name in ("leaky_relu", "sigmoid", "tanh")),
    ("mse_loss", (none, none, "none"), {}, [none.shape]),
    ("mse_loss", (none, none, "sum"), {}, [()]),
    ("mse_loss_backward", (none, none, "sum"), {}, [none.shape]),
    ("nll_loss", (ones(0, 5), np.zeros(0, np.int64)), {"reduction": "none"}, [(0,)]),
    ("nll_loss_backward", (ones(0, 5), np.zeros(0, np.int64)), {"reduction": "sum"}, [(0, 5)]),
    ("dropout", (none,), {"return_mask": True}, [none.shape] * 2),
    ("dropout_backward", (none, mask_none), {}, [none.shape]),
    ("dropout2d", (none,), {"return_mask": True}, [none.shape, (0, 3)]),
    ("dropout2d_backward", (none, mask_none[:, :, 0, 0]), {}, [none.shape]),
]
one, index = ones(1, 1, 1, 1) * 3, np.zeros((1, 1, 1, 1), np.int64)
SINGLE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("conv2d", (one, one), {}),
    ("conv2d", (one[0], one, ones(1)), {}),
    ("conv2d", (one, ones(1, 1, 3, 3)), {"padding": 1}),
    ("conv2d_backward", (one, one, one), {}),
    ("conv2d_backward", (one, one, ones(1, 1, 3, 3)), {"padding": 1}),
    ("max_pool2d", (one, 1), {"return_indices": True}),
    ("max_pool2d", (one, 2), {"padding": 1, "stride": 3, "return_indices": True}),
    ("max_pool2d_backward", (one, index, (1, 1, 1, 1)), {}),
    ("avg_pool2d", (one, 2), {"padding": 1}),
    ("avg_pool2d_backward", (one, (1, 1, 1, 1), 1), {}),
    ("linear", (ones(1), ones(1, 1), ones(1)), {}),
    ("linear_backward", (ones(1), ones(1), ones(1, 1)), {}),
    ("relu", (one,), {}),
    ("relu", (np.array(-2, np.float32),), {}),
    ("relu_backward", (one, one), {}),
    ("softmax", (ones(1),), {}),
    ("log_softmax", (ones(1, 1),), {}),
    ("softmax_backward", (ones(1), ones(1)), {}),
    ("log_softmax_backward", (ones(1), ones(1) - 1), {}),
    ("cross_entropy", (ones(1, 1), np.zeros(1, np.int64)), {}),
    ("cross_entropy", (ones(1), 0), {}),
    ("cross_entropy_backward", (ones(1, 1), np.zeros(1, np.int64)), {}),
    ("conv_transpose2d", (one, one), {}),
    ("conv_transpose2d", (one, ones(1, 1, 3, 3)), {"padding": 1}),
    ("conv_transpose2d_backward", (one, one, one), {}),
    ("unfold", (one, 1), {}),
    ("unfold_backward", (ones(1, 1, 1), (1, 1, 1, 1), 1), {}),
    ("fold", (ones(1, 1, 1), 1, 1), {}),
    ("fold_backward", (one, 1), {}),
    ("adaptive_avg_pool2d", (one, 1), {}),
    ("adaptive_avg_pool2d", (one, 3), {}),
    ("adaptive_avg_pool2d_backward", (one, (1, 1, 1, 1)), {}),
    ("batch_norm", (one, np.zeros(1, np.float32), ones(1)), {}),
    ("batch_norm_backward", (one, one, np.zeros(1), np.ones(1)), {}),
    *((name, (one,), {}) for name in ("leaky_relu", "sigmoid", "tanh")),
    *((f"{name}_backward", (one, one / 4), {}) for name in ("leaky_relu", "sigmoid", "tanh")),
    ("mse_loss", (one, one * 2), {}),
    ("mse_loss_backward", (one, one * 2), {}),
    ("nll_loss", (ones(1, 1), np.zeros(1, np.int64)), {}),
    ("nll_loss_backward", (ones(1, 1), np.zeros(1, np.int64)), {}),
    ("dropout", (one, 0.0), {}),
    ("dropout_backward", (one, np.ones((1, 1, 1, 1), np.uint8)), {}),
    ("dropout2d", (one, 0.0), {}),
    ("dropout2d_backward", (one, np.ones((1, 1), np.uint8)), {}),
]


def each(result: Any) -> list[np.ndarray]:
    return [np.asarray(one) for one in (result if isinstance(result, tuple) else (result,))]


def test_every_op_has_a_row() -> None:
    for table in (EMPTY, SINGLE):
        assert {row[0] for row in table} >= set(ops.__all__)


@pytest.mark.parametrize("row", EMPTY, ids=lambda row: f"{row[0]}-{'-'.join(map(str, row[3]))}")
def test_empty(row: Any, isa: str, threads: int) -> None:
    op, args, kwargs, shapes = row
    results = each(getattr(ops, op)(*args, **kwargs))
    assert [one.shape for one in results] == shapes
    for one in results:
        assert not np.any(one)  # a gradient of no images is zero


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: row[0])
def test_one_element(row: Any, isa: str) -> None:
    op, args, kwargs = row
    results, expected = each(getattr(ops, op)(*args, **kwargs)), each(getattr(reference, op)(*args, **kwargs))
    for one, right in zip(results, expected, strict=True):
        assert one.shape == right.shape
        np.testing.assert_allclose(one, right, rtol=1e-6)


# -- indices out of range ----------------------------------------------------------------------------------------------

PIXELS = 12 * 14
WRONG = [-1, PIXELS, -PIXELS, 2**31, 2**32, 2**32 + 3, 2**62, 2**63 - 1, -(2**63), -(2**32)]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_indices_out_of_range(wrong: int, place: str, isa: str, threads: int, dtype: np.dtype) -> None:
    """One among a hundred thousand, wherever it is and whichever thread meets it."""
    grad_y = np.ones((60, 24, 6, 7), dtype)
    indices = np.zeros(grad_y.shape, np.int64)
    at = {"first": 0, "middle": indices.size // 2 + 5, "last": indices.size - 1}[place]
    indices.flat[at] = wrong
    with pytest.raises(ShapeError, match=rf"indices must be in 0 \.\. {PIXELS - 1}.*got {wrong}$"):
        ops.max_pool2d_backward(grad_y, indices, (60, 24, 12, 14))
    indices.flat[at] = PIXELS - 1
    assert ops.max_pool2d_backward(grad_y, indices, (60, 24, 12, 14)).sum() == grad_y.size


@pytest.mark.parametrize("wrong", [-1, 5, 2**31, 2**32, 2**63 - 1, -(2**63)])
def test_targets_out_of_range(wrong: int, isa: str, dtype: np.dtype) -> None:
    x, target = np.ones((3000, 5), dtype), np.zeros(3000, np.int64)
    target[2777] = wrong
    for op in (ops.cross_entropy, ops.cross_entropy_backward, ops.nll_loss, ops.nll_loss_backward):
        with pytest.raises(ShapeError, match=rf"target must be in 0 \.\. 4.*got {wrong}$"):
            op(x, target)


# -- another thread changes the arrays ---------------------------------------------------------------------------------

RACE = """
sys.setswitchinterval(1e-6)
stop, outcomes = threading.Event(), []

def race(call, write, allowed, rounds):
    stop.clear()
    def writer():
        while not stop.is_set():
            write()
    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(rounds):
            try:
                outcomes.append(call())
            except allowed as error:
                outcomes.append(error)
    finally:
        stop.set()
        thread.join()
"""
RACES = {
    "indices of max_pool2d_backward": """
        x = np.random.default_rng(0).random((16, 16, 64, 64), np.float32)
        y, right = fastconv.max_pool2d(x, 2, return_indices=True)
        indices = right.copy()
        def write():
            indices[1::2] = 2**40  # half of the images
            indices[...] = right
            indices[::2, 3] = -(2**60)
            indices[...] = right
        race(lambda: fastconv.max_pool2d_backward(y, indices, x.shape), write, fastconv.ShapeError, 60)
        for one in outcomes:
            if isinstance(one, Exception):
                assert "indices" in str(one)
            else:
                assert one.shape == x.shape
    """,
    "targets of cross_entropy": """
        x = np.random.default_rng(0).random((4096, 100), np.float32)
        right = np.arange(4096) % 100
        target = right.copy()
        def write():
            target[:] = 2**40
            target[:] = right
        def call():
            fastconv.cross_entropy_backward(x, target)
            fastconv.nll_loss_backward(x, target)
            assert np.isfinite(fastconv.nll_loss(x, target))
            return fastconv.cross_entropy(x, target)
        race(call, write, fastconv.ShapeError, 150)
        expected = fastconv.cross_entropy(x, right)
        for one in outcomes:
            if isinstance(one, Exception):
                assert "target" in str(one)
            else:
                assert np.isfinite(one)
        target[:] = right
        assert fastconv.cross_entropy(x, target) == expected
    """,
    "class weights of cross_entropy": """
        x = np.random.default_rng(0).random((4096, 100), np.float32)
        target, weight = np.arange(4096) % 100, np.ones(100, np.float32)
        def write():
            weight[:] = np.nan
            weight[:] = 1
        race(lambda: fastconv.cross_entropy_backward(x, target, weight), write, (), 100)
    """,
    "positions of a loader": """
        from fastconv.data.datasets import ArrayDataset
        from fastconv.data.loader import Loader
        loader = Loader(ArrayDataset(np.zeros((5000, 28, 28), np.uint8), np.zeros(5000, np.int64)), 5000)
        right = np.arange(5000)
        index = right.copy()
        def write():
            index[:] = 2**40
            index[:] = right
        race(lambda: loader.batch(index), write, IndexError, 60)
    """,
    "numbers of conv2d and a sparse gradient": """
        # what is zero, finite or large decides between algorithms, and how long lists are: it must be decided once
        rng = np.random.default_rng(0)
        x, weight = rng.random((8, 16, 24, 24), np.float32), rng.random((16, 16, 3, 3), np.float32)
        grad_y = np.zeros((8, 16, 22, 22), np.float32)
        grad_y[:, :, ::3, ::3] = 1
        def write():
            grad_y[...] = 1
            x[0] = np.inf
            weight[0] = 1e30
            grad_y[...] = 0
            x[0] = 1
            weight[0] = np.nan
            grad_y[:, :, ::3, ::3] = 1
        def call():
            fastconv.conv2d(x, weight)
            fastconv.conv2d_backward(grad_y, x, weight)
        race(call, write, (), 60)
    """,
    "numbers and masks of the others": """
        rng = np.random.default_rng(0)
        x, mask = rng.random((64, 32, 20, 20), np.float32), np.ones((64, 32, 20, 20), np.uint8)
        rows = x.reshape(64, -1)
        def write():
            x[...] = np.nan
            mask[...] = 255
            x[...] = 1
            mask[...] = 0
        def call():
            y, indices = fastconv.max_pool2d(x, 2, return_indices=True)
            fastconv.max_pool2d_backward(y, indices, x.shape)
            fastconv.avg_pool2d(x, 3, 1, 1), fastconv.relu(x), fastconv.softmax(rows), fastconv.log_softmax(rows)
            fastconv.dropout_backward(x, mask), fastconv.linear(rows, rows[:9])
            assert indices.min() >= 0 and indices.max() < 400
        race(call, write, (), 20)
    """,
    "winners of a layer": """
        from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward
        x = np.random.default_rng(0).random((16, 16, 64, 64), np.float32)
        for kernel, stride in ((2, 2), (3, 2)):
            y, winners = max_pool2d_winners(x, kernel, stride)
            def write():
                winners[...] = 255
                winners[...] = 0
            race(lambda: max_pool2d_winners_backward(y, winners, x.shape, kernel, stride), write, (), 20)
    """,
    "an array that is resized": """
        # NumPy refuses while a call holds it, unless told not to look (refcheck=False), which is as unsafe as it says
        x = np.ones(2**20, np.float32)
        refused = []
        def write():
            try:
                x.resize(2**4)
            except ValueError:
                refused.append(1)
        def call():
            y = fastconv.relu(x)
            assert y.size in (2**20, 2**4) and np.all(y == 1)
        race(call, write, (), 100)
    """,
    "an array that loses its other references": """
        holder = [np.ones(2**18, np.float32)]
        def write():
            holder[0] = np.full(2**18, len(outcomes), np.float32)  # the array of the running call has no other owner
            fastconv.release_memory()
        def call():
            y = fastconv.relu(holder[0])
            assert np.all(y == y[0])
        race(call, write, (), 300)
    """,
    "memory that is released": """
        def write():
            fastconv.release_memory()
        x, weight = np.ones((8, 16, 24, 24), np.float32), np.ones((16, 16, 3, 3), np.float32)
        def call():
            assert np.all(fastconv.conv2d(x, weight) == 144)
        race(call, write, (), 100)
    """,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", RACES)
def test_changed_during_the_call(name: str, threads: int) -> None:
    in_child(RACE + f"fastconv.set_num_threads({threads})\n" + textwrap.dedent(RACES[name]))
