"""The same bits: on every run, in every process, for any number of threads, for an image alone or in its batch, and for
several Python threads at once; every op (tests/workloads.py) with every algorithm, dtype and instruction set.

The layers of known networks, and memory layouts, are in test_promises.py.
"""

import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import workloads
from workloads import ALONE, BATCHED, CONVS, ROWS, bits, digest

import fastconv
from fastconv import ops

HERE = Path(__file__).parent
F2, F4 = "winograd F(2x2, 3x3)", "winograd F(4x4, 3x3)"
OUTER = {"outer products over channels", "outer products over positions"}


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_reaches_every_algorithm(isa: str) -> None:
    reached: dict[str, set[str]] = {"forward": set(), "grad_x": set(), "grad_weight": set()}
    for (x, weight, options), dtype in itertools.product(CONVS.values(), workloads.DTYPES):
        for name, explanation in fastconv.explain_conv2d(x, weight, **options, dtype=dtype).items():
            reached[name].add(explanation.algorithm)
    both = {F2, f"phases, then {F2}", "pointwise", "depthwise", "channels", "positions"}
    assert reached["forward"] == both
    assert reached["grad_x"] == both | {"tap sums", "product"}
    assert reached["grad_weight"] == {F2, f"phases, then {F2}", "depthwise", *OUTER}


def test_the_table_reaches_larger_tiles_and_sparse_gradients(isa: str) -> None:
    x, weight, options = CONVS["winograd few"]
    fastconv.set_float32_precision("high")
    try:
        assert {one.algorithm for one in fastconv.explain_conv2d(x, weight, **options).values()} == {F4}
    finally:
        fastconv.set_float32_precision("highest")
    for name in (name.removesuffix(", sparse gradient") for name in ROWS if name.endswith("sparse gradient")):
        x, weight, options = CONVS[name]
        explained = fastconv.explain_conv2d(x, weight, **options)
        assert (explained["grad_x"].sparse, explained["grad_weight"].sparse) == (x[1] >= 8, x[1] >= 8)


def test_the_table_covers_every_op() -> None:
    """An op that is new has a row, or this fails."""
    called = set()
    real = {name: getattr(ops, name) for name in ops.__all__}

    def spy(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.add(name)
            return real[name](*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ops.__all__:
            patch.setattr(ops, name, spy(name))
        for function in ROWS.values():
            function(np.dtype(np.float32))()
    assert called == set(ops.__all__)
    assert set(ops.__all__) <= set(workloads.small())


# -- runs, threads, processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_runs_and_threads(name: str, isa: str, dtype: np.dtype) -> None:
    calls = ROWS[name](dtype)
    with fastconv.threads(1):
        right = digest(calls())
    for n in (1, 2, 3, 4):
        with fastconv.threads(n):
            assert digest(calls()) == right, f"{n} threads"


def test_processes(isa: str) -> None:
    """A process of its own with another number of threads, another hash seed, and memory that starts out otherwise."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "FASTCONV_"))}
    result = subprocess.run(
        [sys.executable, str(HERE / "workloads.py"), "3"],
        env={**clean, "FASTCONV_ISA": isa, "PYTHONHASHSEED": "2", "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    with fastconv.threads(2):
        assert json.loads(result.stdout) == workloads.all_digests()


@pytest.mark.parametrize("inside", [1, 4])
def test_several_python_threads_at_once(inside: int, isa: str) -> None:
    """Each row is run twice, in different company."""
    float32, float64 = workloads.DTYPES
    jobs = [(ROWS[name](dtype), name) for name, dtype in zip(ROWS, itertools.cycle((float32, float64)), strict=False)]
    jobs = [(calls, name) for calls, name in jobs if name not in ALONE]
    with fastconv.threads(1):
        right = {name: digest(calls()) for calls, name in jobs}
    with fastconv.threads(inside), concurrent.futures.ThreadPoolExecutor(4) as pool:
        for (_, name), result in zip(
            jobs + jobs[::-1], pool.map(lambda job: digest(job[0]()), jobs + jobs[::-1]), strict=True
        ):
            assert result == right[name], name


# -- one image alone or in its batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BATCHED)
def test_alone_and_in_a_batch(name: str, isa: str, threads: int, dtype: np.dtype) -> None:
    function, x = BATCHED[name](dtype)
    y = function(x)
    for i in (0, len(x) // 2, len(x) - 1):
        assert bits(function(x[i : i + 1])) == bits(y[i : i + 1]), f"image {i}"
    assert bits(function(x[1:])) == bits(y[1:])
    assert bits(function(np.concatenate([x[::-1], x]))[len(x) :]) == bits(y)
