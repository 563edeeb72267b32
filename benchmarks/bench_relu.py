"""relu and its gradient: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy_ops
import pytest
from cases import RELUS, Elements
from comparing import plain

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_forward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, _ = case.draw()
    y = measure(f"relu forward {case.name} {case.label}", lambda: MODULES[library].relu(x))
    assert np.array_equal(y, fastconv.relu(x))


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, grad_y = case.draw()
    grad_x = measure(f"relu backward {case.name} {case.label}", lambda: MODULES[library].relu_backward(grad_y, x))
    assert np.array_equal(grad_x, fastconv.relu_backward(grad_y, x))
