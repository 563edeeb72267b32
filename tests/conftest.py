"""Fixtures that every op's tests run over: each instruction set of this machine, 1 and 2 threads, both dtypes.

An instruction set that the machine lacks shows as skipped, with the reason.  Hypothesis: HYPOTHESIS_PROFILE is `ci`
(the same examples on every run; the default where CI is set), `dev` (the default elsewhere), `sanitizer` (few examples:
the core is slow then) or `thorough`.
"""

import os
import platform
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import fastconv
from fastconv import _kernels

# The fixtures below hold one setting for all examples of a test, which is what is wanted.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, **COMMON)
settings.register_profile("ci", max_examples=25, derandomize=True, print_blob=True, **COMMON)
settings.register_profile("sanitizer", max_examples=5, derandomize=True, **COMMON)
settings.register_profile("thorough", max_examples=400, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

X86 = platform.machine().lower() in ("x86_64", "amd64")
KNOWN_ISAS = ["baseline", "avx2", "avx512"] if X86 else ["baseline", "neon"]
AVAILABLE_ISAS = _kernels.available_isas()
ISAS = [
    pytest.param(name, marks=pytest.mark.skipif(name not in AVAILABLE_ISAS, reason=f"no {name} on this machine"))
    for name in dict.fromkeys([*KNOWN_ISAS, *AVAILABLE_ISAS])
]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set in turn, active while the test runs."""
    before = _kernels.active_isa()
    _kernels.select_isa(request.param)
    yield request.param
    _kernels.select_isa(before)


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """1 and 2 threads, set while the test runs."""
    with fastconv.threads(request.param):
        yield request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    return np.dtype(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
