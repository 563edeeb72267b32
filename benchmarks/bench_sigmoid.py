"""sigmoid and its gradient: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy_ops
import pytest
from cases import RELUS, Elements
from comparing import assert_agree, plain

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_forward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, _ = case.draw()
    y = measure(f"sigmoid forward {case.name} {case.label}", lambda: MODULES[library].sigmoid(x))
    assert_agree(y, fastconv.sigmoid(x))


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, grad_y = case.draw()
    y = fastconv.sigmoid(x)
    backward = MODULES[library].sigmoid_backward
    grad_x = measure(f"sigmoid backward {case.name} {case.label}", lambda: backward(grad_y, y))
    assert_agree(grad_x, fastconv.sigmoid_backward(grad_y, y))
