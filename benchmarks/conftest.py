"""The fixtures of the bench_<op>.py files: how long a call is measured for.

pytest benchmarks --benchmark-enable                    # a table for each case: fastconv, NumPy, naive reference
pytest benchmarks --benchmark-enable -k 'conv2d and cnn'
pytest benchmarks --benchmark-disable                   # each once, on miniatures: do they work, and agree?
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

ROUND_SECONDS = 100e-6  # the shortest round that the clock measures well
TOTAL_SECONDS = 0.2
QUIET_SECONDS = 0.05  # BLAS's threads spin so long after a matrix product, and would slow the next test down


@pytest.fixture
def smoke(benchmark: Any) -> bool:
    """Whether benchmarks are disabled: tests then take miniatures of their cases."""
    return bool(benchmark.disabled)


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., Any]:
    """measure(group, call): the result of call(), which is timed beside the others of its group."""

    def run(group: str, call: Callable[[], Any]) -> Any:
        benchmark.group = group
        if benchmark.disabled:
            return benchmark(call)
        time.sleep(QUIET_SECONDS)
        result, seconds = _timed(call)
        if seconds < TOTAL_SECONDS:
            result, seconds = _timed(call)  # now that memory and threads are warm
        iterations = max(1, round(ROUND_SECONDS / seconds))
        rounds = min(round(TOTAL_SECONDS / (seconds * iterations)), 200)
        benchmark.pedantic(call, rounds=max(rounds, 1), iterations=iterations, warmup_rounds=min(rounds, 1))
        return result

    return run


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    result = call()
    return result, max(time.perf_counter() - begin, 1e-7)
