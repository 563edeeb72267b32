"""unfold and fold: fastconv, NumPy (strided views, and adding up taps), and the naive reference on a miniature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import Array, normal
from comparing import assert_agree
from numpy.lib.stride_tricks import sliding_window_view

import fastconv
from fastconv import reference

# x shape, kernel, padding, stride
CASES = [
    ((8, 64, 28, 28), 3, 1, 1),
    ((8, 64, 28, 28), 3, 0, 2),
    ((8, 64, 28, 28), 2, 0, 2),
    ((8, 3, 224, 224), 7, 3, 2),
    ((8, 3, 224, 224), 16, 0, 16),
]
MINIATURE = ((2, 3, 6, 7), 3, 1, 2)
each = pytest.mark.parametrize(
    ("case", "library"),
    [
        pytest.param(case, library, id=f"{'x'.join(map(str, case[0]))}-k{case[1]}p{case[2]}s{case[3]}-{library}")
        for case in CASES
        for library in ("fastconv", "numpy")
    ],
)


def numpy_unfold(x: Array, kernel: int, dilation: int, padding: int, stride: int) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(x.shape[0], x.shape[1] * kernel * kernel, -1)


def numpy_fold(columns: Array, size: tuple[int, int], kernel: int, dilation: int, padding: int, stride: int) -> Array:
    OH, OW = ((n + 2 * padding - kernel) // stride + 1 for n in size)
    taps = columns.reshape(columns.shape[0], -1, kernel, kernel, OH, OW)
    y = np.zeros((*taps.shape[:2], size[0] + 2 * padding, size[1] + 2 * padding), columns.dtype)
    for r in range(kernel):
        for s in range(kernel):
            y[:, :, r : r + (OH - 1) * stride + 1 : stride, s : s + (OW - 1) * stride + 1 : stride] += taps[:, :, r, s]
    return np.ascontiguousarray(y[:, :, padding : padding + size[0], padding : padding + size[1]])


@each
def test_unfold(case: Any, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    shape, kernel, padding, stride = MINIATURE if smoke else case
    x, window = normal(np.random.default_rng(0), shape), (kernel, 1, padding, stride)
    unfold = {"fastconv": fastconv.unfold, "numpy": numpy_unfold}[library]
    y = measure(f"unfold {case}", lambda: unfold(x, *window))
    assert_agree(y, (reference if smoke else fastconv).unfold(x, *window))


@each
def test_fold(case: Any, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    shape, kernel, padding, stride = MINIATURE if smoke else case
    window = (kernel, 1, padding, stride)
    columns = normal(np.random.default_rng(0), fastconv.unfold(np.zeros(shape, np.float32), *window).shape)
    fold = {"fastconv": fastconv.fold, "numpy": numpy_fold}[library]
    y = measure(f"fold {case}", lambda: fold(columns, shape[2:], *window))
    assert_agree(y, (reference if smoke else fastconv).fold(columns, shape[2:], *window))
