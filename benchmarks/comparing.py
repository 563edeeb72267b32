"""Which library runs which case in the bench_<op>.py files, and whether their results agree.

fastconv and the NumPy way run every case as it is.  The naive reference, which needs a second for some 60,000 outputs,
runs it at a smaller batch, where the others run beside it once more; large images it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import Conv, Pool

LIBRARIES = ("fastconv", "numpy", "reference")
REFERENCE_OUTPUTS = 60_000


def windowed(cases: Iterable[Conv] | Iterable[Pool]) -> list[Any]:
    """pytest parameters (case, library) of convolutions or pools."""
    parameters = []
    for case in cases:
        batch = reference_batch(case)
        pairs = [(replace(case, N=batch), library) for library in LIBRARIES] if batch else []
        if batch < case.N:
            pairs += [(case, "fastconv"), (case, "numpy")]
        parameters += [pytest.param(*pair, id=f"{case.name}-N{pair[0].N}-{pair[1]}") for pair in pairs]
    return parameters


def plain(cases: Iterable[Any], libraries: tuple[str, ...] = LIBRARIES) -> list[Any]:
    """pytest parameters (case, library) of ops whose naive reference is quick enough for every case."""
    return [pytest.param(case, library, id=f"{case.name}-{library}") for case in cases for library in libraries]


def reference_batch(case: Conv | Pool) -> int:
    """The largest batch that the reference does in about a second; 0 if not even one image."""
    _, K, OH, OW = case.y_shape
    return min(case.N, REFERENCE_OUTPUTS // (K * OH * OW))


def miniature(case: Any) -> Any:
    """A convolution or pool of the same window on small images, few channels and at most two images."""
    if isinstance(case, Pool):
        size = case.kernel + 6
        return replace(case, N=min(case.N, 2), C=min(case.C, 3), H=size, W=size)
    size = case.dilation * case.kernel + 6
    groups = min(case.groups, 2)
    channels, filters = min(case.C // case.groups, 4), min(case.K // case.groups, 5)
    return replace(case, N=min(case.N, 2), C=channels * groups, H=size, W=size, K=filters * groups, groups=groups)


def assert_agree(got: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Arrays (or tuples of them) are equal but for rounding, measured against the largest element."""
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_agree(one, other, tolerance)
        return
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    largest = float(np.abs(expected).max(initial=0))
    assert float(np.abs(got - expected).max(initial=0)) <= tolerance * largest
