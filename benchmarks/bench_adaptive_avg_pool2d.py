"""adaptive_avg_pool2d and its gradient: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy_ops
import pytest
from cases import ADAPTIVE_POOLS, Elements
from comparing import LIBRARIES, assert_agree

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("case", "size"), [pytest.param(*pair, id=pair[0].name) for pair in ADAPTIVE_POOLS])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_adaptive_avg_pool2d(
    case: Elements, size: int, library: str, direction: str, measure: Callable[..., Any], smoke: bool
) -> None:
    x, _ = case.draw()
    if smoke:
        x = x[:2, :3]
    module = MODULES[library]
    y = fastconv.adaptive_avg_pool2d(x, size)
    calls = {
        "forward": lambda: module.adaptive_avg_pool2d(x, size),
        "backward": lambda: module.adaptive_avg_pool2d_backward(y, x.shape),
    }
    result = measure(f"adaptive_avg_pool2d {direction} {case.name} {case.label} -> {size}", calls[direction])
    assert_agree(result, y if direction == "forward" else fastconv.adaptive_avg_pool2d_backward(y, x.shape))
