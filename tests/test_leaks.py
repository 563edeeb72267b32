"""No call leaks: memory is flat over thousands of calls of each op, and over thousands of refused ones.

FASTCONV_LEAK_CALLS=10000 python -m pytest tests/test_leaks.py   is the long run; the default is 2000 calls of each.
Both are watched: the process as the operating system sees it, and what Python and NumPy have allocated (tracemalloc).
"""

import gc
import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import test_bad_input
import workloads
from test_memory import needs_statm, resident

import fastconv

CALLS = int(os.environ.get("FASTCONV_LEAK_CALLS", "2000"))
MEGABYTE = 2**20
SMALL = workloads.small()
REFUSED = [row.values for row in test_bad_input.ROWS]


def check_flat(function: Callable[[], Any], calls: int) -> None:
    """A leak of 100 bytes a call shows in the first half at 10,000 calls, one of 20 in the second.

    The pages of a process that has run thousands of tests come and go for other reasons too; a leak is there each time.
    """
    for _ in range(calls // 5):
        function()
    grown = []
    while len(grown) < 3 and (not grown or grown[-1] >= MEGABYTE):
        gc.collect()
        before = resident()
        for _ in range(calls):
            function()
        grown.append(resident() - before)
    assert grown[-1] < MEGABYTE, grown

    traced = max(calls // 4, 20)
    tracemalloc.start()
    try:
        for _ in range(traced):
            function()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(traced):
            function()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 10 * traced + 20_000
    finally:
        tracemalloc.stop()


@needs_statm
@pytest.mark.parametrize("name", SMALL)
def test_calls(name: str) -> None:
    with fastconv.threads(1):
        check_flat(SMALL[name], CALLS)


@needs_statm
@pytest.mark.parametrize("name", ["winograd few, small images together", "pool 2x2", "softmax 128x10", "fused rp"])
def test_large_calls_of_two_threads(name: str) -> None:
    calls = workloads.ROWS[name](workloads.DTYPES[0])
    with fastconv.threads(2):
        check_flat(calls, CALLS // 50)


@needs_statm
def test_refused_calls() -> None:
    """Every row of the table of malformed calls, in turn."""

    def refuse_all() -> None:
        for op, args, kwargs, error, _ in REFUSED:
            try:
                test_bad_input.OPS[op](*args, **kwargs)
            except error:
                continue
            raise AssertionError(op)

    check_flat(refuse_all, max(CALLS // len(REFUSED), 20))


@needs_statm
def test_calls_that_find_no_memory() -> None:
    """What was allocated before there was no more is given back."""
    import numpy as np

    x = np.broadcast_to(np.float32(1), (2**22, 2**22))

    def fail() -> None:
        with pytest.raises(MemoryError):
            fastconv.relu(x)

    check_flat(fail, CALLS // 10)
