"""tanh and its gradient: fastconv, NumPy, and the naive reference."""

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
    y = measure(f"tanh forward {case.name} {case.label}", lambda: MODULES[library].tanh(x))
    assert_agree(y, fastconv.tanh(x))


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, grad_y = case.draw()
    y = fastconv.tanh(x)
    backward = MODULES[library].tanh_backward
    grad_x = measure(f"tanh backward {case.name} {case.label}", lambda: backward(grad_y, y))
    assert_agree(grad_x, fastconv.tanh_backward(grad_y, y))
