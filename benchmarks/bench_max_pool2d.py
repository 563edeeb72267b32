"""max_pool2d with indices, and its gradient: fastconv, NumPy strides, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import im2col
import numpy as np
import pytest
from cases import MAX_POOLS, Pool
from comparing import assert_agree, miniature, windowed

import fastconv
from fastconv import reference


@pytest.mark.parametrize(("case", "library"), windowed(MAX_POOLS))
def test_forward(case: Pool, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = miniature(case) if smoke else case
    x, _ = case.draw()
    window = case.kernel, case.stride, case.padding
    calls = {
        "fastconv": lambda: fastconv.max_pool2d(x, *window, return_indices=True),
        "numpy": lambda: im2col.max_pool2d(x, *window),
        "reference": lambda: reference.max_pool2d(x, *window, return_indices=True),
    }
    y, indices = measure(f"max_pool2d forward {case.name} {case.label}", calls[library])
    expected, winners = calls["fastconv"]()
    assert np.array_equal(y, expected)
    assert np.array_equal(indices, winners)


@pytest.mark.parametrize(("case", "library"), windowed(MAX_POOLS))
def test_backward(case: Pool, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = miniature(case) if smoke else case
    x, grad_y = case.draw()
    _, indices = fastconv.max_pool2d(x, case.kernel, case.stride, case.padding, return_indices=True)
    backward = {
        "fastconv": fastconv.max_pool2d_backward,
        "numpy": im2col.max_pool2d_backward,
        "reference": reference.max_pool2d_backward,
    }[library]
    grad_x = measure(f"max_pool2d backward {case.name} {case.label}", lambda: backward(grad_y, indices, x.shape))
    assert_agree(grad_x, fastconv.max_pool2d_backward(grad_y, indices, x.shape))
