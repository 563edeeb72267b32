"""softmax, log_softmax and their gradients: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy_ops
import pytest
from cases import SCORES, Elements
from comparing import assert_agree, plain

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("case", "library"), plain(SCORES))
def test_forward(case: Elements, library: str, op: str, measure: Callable[..., Any]) -> None:
    x, _ = case.draw()
    softmax = getattr(MODULES[library], op)
    y = measure(f"{op} forward {case.name} {case.label}", lambda: softmax(x))
    assert_agree(y, getattr(fastconv, op)(x))


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("case", "library"), plain(SCORES))
def test_backward(case: Elements, library: str, op: str, measure: Callable[..., Any]) -> None:
    x, grad_y = case.draw()
    y = getattr(fastconv, op)(x)
    backward = getattr(MODULES[library], f"{op}_backward")
    grad_x = measure(f"{op} backward {case.name} {case.label}", lambda: backward(grad_y, y))
    assert_agree(grad_x, getattr(fastconv, f"{op}_backward")(grad_y, y))
