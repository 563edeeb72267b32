"""The floating-point mode: the caller's is as it was after every call, and no result depends on it.

The mode is MXCSR on x86-64: rounding, flush to zero (FTZ), denormals are zero (DAZ), which exceptions trap, and flags
for the exceptions that have happened.  It belongs to a thread.  glibc's fegetenv and fesetenv reach it without a
compiler.
"""

import ctypes
import ctypes.util
import json
import os
import platform
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import workloads
from workloads import ROWS, digest, small

import fastconv
from fastconv import ops

FLAGS, INEXACT, DAZ, MASKS, ROUND_DOWN, ROUND_UP, TO_ZERO, FTZ = (
    0x3F,
    0x20,
    0x40,
    0x1F80,
    0x2000,
    0x4000,
    0x6000,
    0x8000,
)
PLAIN = MASKS
TRAPS_INVALID_AND_DIVISION = MASKS & ~0x280
MODES = {
    "plain": PLAIN,
    "flush to zero": PLAIN | FTZ | DAZ,
    "upwards": PLAIN | ROUND_UP,
    "downwards": PLAIN | ROUND_DOWN,
    "to zero, flushing": PLAIN | TO_ZERO | FTZ,
}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
HERE = Path(__file__).parent


def glibc_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64") and platform.libc_ver()[0] == "glibc"


pytestmark = pytest.mark.skipif(not glibc_x86(), reason="MXCSR is read through x86-64 glibc's fegetenv")

if glibc_x86():
    LIBM = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
Environment = ctypes.c_uint32 * 8  # fenv_t: 28 bytes of the x87's, then MXCSR


def get_mode() -> int:
    environment = Environment()
    assert LIBM.fegetenv(ctypes.byref(environment)) == 0
    return environment[7]


def set_mode(mode: int) -> None:
    environment = Environment()
    assert LIBM.fegetenv(ctypes.byref(environment)) == 0
    environment[7] = mode
    assert LIBM.fesetenv(ctypes.byref(environment)) == 0


@contextmanager
def running_in(mode: int) -> Iterator[None]:
    before = get_mode()
    set_mode(mode)
    try:
        yield
    finally:
        set_mode(before)


def test_modes_can_be_set_and_read() -> None:
    before = get_mode()
    for mode in MODES.values():
        with running_in(mode):
            assert get_mode() & ~FLAGS == mode
    with running_in(PLAIN | FTZ | DAZ):
        assert np.all(np.full(16, 1e-40, np.float32) * np.float32(1) == 0)
    with running_in(PLAIN):
        assert np.all(np.full(16, 1e-40, np.float32) * np.float32(1) > 0)
    assert get_mode() & ~FLAGS == before & ~FLAGS


# -- as before ---------------------------------------------------------------------------------------------------------


@modes
def test_after_every_call(mode: int, isa: str, threads: int) -> None:
    for name, call in small().items():
        with running_in(mode):
            call()
            assert get_mode() & ~FLAGS == mode, name


@modes
def test_after_large_calls(mode: int) -> None:
    """Which several threads share; and a caller that is not the main thread."""
    wrong: list[str] = []

    def work() -> None:
        for name in (
            "winograd few",
            "pool 3x3 s1",
            "softmax 700x1000",
            "dropout",
            "winograd few, sparse gradient",
            "relu",
        ):
            calls = ROWS[name](np.dtype(np.float32))
            with running_in(mode):
                calls()
                if get_mode() & ~FLAGS != mode:
                    wrong.append(name)

    with fastconv.threads(2):
        work()
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert not wrong


REFUSED: dict[str, Callable[[], Any]] = {
    "shape": lambda: ops.conv2d(np.ones((1, 3, 5, 5), np.float32), np.ones((2, 2, 3, 3), np.float32)),
    "type": lambda: ops.relu("x"),  # type: ignore[arg-type]
    "indices, found in C": lambda: ops.max_pool2d_backward(
        np.ones((1, 2, 2), np.float32), np.full((1, 2, 2), 16), (1, 4, 4)
    ),
    "target": lambda: ops.cross_entropy(np.ones((1, 3), np.float32), np.array([3])),
    "memory": lambda: ops.relu(np.broadcast_to(np.float32(1), (2**22, 2**22))),
}


@modes
@pytest.mark.parametrize("name", REFUSED)
def test_after_an_exception(name: str, mode: int) -> None:
    with running_in(mode):
        try:
            REFUSED[name]()
        except (ValueError, TypeError, MemoryError):
            after = get_mode()
        else:
            after = None
    assert after is not None
    assert after & ~FLAGS == mode


@pytest.mark.parametrize("flags", [0, FLAGS])
def test_exception_flags(flags: int, isa: str) -> None:
    """A call neither raises flags, whatever it meets, nor lowers those that are up.

    But for "inexact", which any float arithmetic of Python's raises; and not where NumPy computes around the kernels
    (reduction of losses, random numbers), which handles flags in its own way.
    """
    x = np.full((2, 3, 8, 8), 1e-40, np.float32)
    x[0, 0] = np.inf
    x[1, 1] = np.finfo(np.float32).max
    x[1, 2] = np.nan
    weight, rows = np.full((4, 3, 3, 3), 7, np.float32), np.full((4, 5), -1e30, np.float32)
    y = np.full((2, 4, 6, 6), np.inf, np.float32)
    for call in (
        lambda: ops.conv2d(x, weight),
        lambda: ops.conv2d_backward(y, x, weight),
        lambda: ops.max_pool2d(x, 2),
        lambda: ops.avg_pool2d(x, 2),
        lambda: ops.relu(x),
        lambda: ops.relu_backward(x, x),
        lambda: ops.linear(rows, rows),
        lambda: ops.linear_backward(rows[:, :4].copy(), rows, rows),
    ):
        with running_in(PLAIN | flags):
            call()
            assert get_mode() & ~INEXACT == (PLAIN | flags) & ~INEXACT


# -- results do not depend on it ---------------------------------------------------------------------------------------


AROUND = ("cross_entropy", "fused", "per-pixel losses", "squared errors")


@pytest.fixture
def two_threads() -> Iterator[None]:
    with fastconv.threads(2):
        yield


@pytest.mark.parametrize("mode", list(MODES.values())[1:], ids=list(MODES)[1:])
@pytest.mark.usefixtures("two_threads")
def test_results_do_not_depend_on_the_mode(mode: int, dtype: np.dtype) -> None:
    """Nor on the thread that computes them: those of a team could have another mode than the caller."""
    names = [name for name in ROWS if not name.startswith(("optimiser", "losses", "winograd many, in", "linear 1x"))]
    wrong = []
    for name in names:
        calls = ROWS[name](dtype)
        with running_in(PLAIN):
            right = digest(calls())
        with running_in(mode):
            results = calls()
        if digest(results) != right:
            wrong.append(name)
    # Python's own arithmetic (a loss's mean, the factor of its gradient) is rounded as the caller wishes.
    assert [name for name in wrong if not name.startswith(AROUND)] == []


CHILD = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import numpy as np
    import test_float_mode, workloads, fastconv
    fastconv.set_num_threads(4)
    rows = ("winograd few", "pool 3x3 s1", "pool 2x2", "relu", "softmax 9001x17", "stem")
    prepared = [workloads.ROWS[name](dtype) for name in rows for dtype in workloads.DTYPES]
    with test_float_mode.running_in(int(sys.argv[2])):
        results = [calls() for calls in prepared]  # the threads of the team are made here, and inherit the mode
        results += [calls() for calls in prepared]
    print(json.dumps([workloads.digest(one) for one in results]))
"""


def child(mode: int) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(HERE), str(mode)],
        env={k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "FASTCONV_"))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_teams_that_are_made_in_another_mode() -> None:
    right = child(PLAIN)
    half = len(right) // 2
    assert right[:half] == right[half:]
    assert child(PLAIN | ROUND_UP | FTZ | DAZ) == right


def test_traps_of_the_caller_do_not_fire_inside() -> None:
    """A caller that has NaN and divisions by zero trap (feenableexcept) is not killed by one of ours."""
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        import test_float_mode as t
        from fastconv import ops
        x = np.full((4, 16, 12, 12), np.inf, np.float32)
        x[0, 0, 0, 0] = np.nan
        x[1] = 1e-40
        weight = np.zeros((16, 16, 3, 3), np.float32)
        matrix = np.full((6, 12), np.inf, np.float32)
        matrix[0] = -np.inf
        with t.running_in(t.TRAPS_INVALID_AND_DIVISION):
            ops.conv2d(x, weight)
            ops.max_pool2d(x, 2)
            ops.avg_pool2d(x, 2)
            ops.relu(x)
            ops.softmax(matrix)
            ops.log_softmax(matrix)
            ops.linear(matrix, matrix)
            assert t.get_mode() & ~t.FLAGS == t.TRAPS_INVALID_AND_DIVISION
        print("done")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(HERE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr


# -- denormals ---------------------------------------------------------------------------------------------------------


def test_denormals_are_harmless(isa: str, threads: int, dtype: np.dtype) -> None:
    """Inputs and results below the smallest normal number come out as they are or as zero, in every op."""
    tiny = np.finfo(dtype).tiny
    x = np.full((2, 4, 12, 12), tiny / 8, dtype)
    for y, exact in (
        (ops.conv2d(x, np.ones((8, 4, 3, 3), dtype)), 36 * (tiny / 8)),
        (ops.conv2d(np.ones_like(x), np.full((8, 4, 1, 1), tiny / 64, dtype)), tiny / 16),
        (ops.max_pool2d(x, 2), tiny / 8),
        (ops.avg_pool2d(x, 2), tiny / 8),
        (ops.relu(x), tiny / 8),
        (ops.linear(x[0, 0], np.full((3, 12), 0.5, dtype)), tiny * 6 / 8),
    ):
        assert np.all((y == 0) | np.isclose(y, exact, rtol=1e-6, atol=0))


def test_the_workloads_hold_denormals() -> None:
    """Else the modes that flush would change nothing above."""
    (y, _) = workloads.ROWS["relu"](np.dtype(np.float32))()
    assert np.any((y > 0) & (y < np.finfo(np.float32).tiny))
