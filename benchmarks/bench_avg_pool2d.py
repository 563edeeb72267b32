"""avg_pool2d and its gradient: fastconv, NumPy strides, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import im2col
import pytest
from cases import AVG_POOLS, Pool
from comparing import assert_agree, miniature, windowed

import fastconv
from fastconv import reference


@pytest.mark.parametrize(("case", "library"), windowed(AVG_POOLS))
def test_forward(case: Pool, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = miniature(case) if smoke else case
    x, _ = case.draw()
    window = case.kernel, case.stride, case.padding
    avg_pool2d = {"fastconv": fastconv.avg_pool2d, "numpy": im2col.avg_pool2d, "reference": reference.avg_pool2d}[
        library
    ]
    y = measure(f"avg_pool2d forward {case.name} {case.label}", lambda: avg_pool2d(x, *window))
    assert_agree(y, fastconv.avg_pool2d(x, *window))


@pytest.mark.parametrize(("case", "library"), windowed(AVG_POOLS))
def test_backward(case: Pool, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = miniature(case) if smoke else case
    _, grad_y = case.draw()
    arguments = grad_y, case.x_shape, case.kernel, case.stride, case.padding
    backward = {
        "fastconv": fastconv.avg_pool2d_backward,
        "numpy": im2col.avg_pool2d_backward,
        "reference": reference.avg_pool2d_backward,
    }[library]
    grad_x = measure(f"avg_pool2d backward {case.name} {case.label}", lambda: backward(*arguments))
    assert_agree(grad_x, fastconv.avg_pool2d_backward(*arguments))
