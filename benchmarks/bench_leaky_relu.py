"""leaky_relu and its gradient: fastconv, NumPy, and the naive reference."""

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
    y = measure(f"leaky_relu forward {case.name} {case.label}", lambda: MODULES[library].leaky_relu(x))
    assert_agree(y, fastconv.leaky_relu(x))


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, grad_y = case.draw()
    backward = MODULES[library].leaky_relu_backward
    grad_x = measure(f"leaky_relu backward {case.name} {case.label}", lambda: backward(grad_y, x))
    assert_agree(grad_x, fastconv.leaky_relu_backward(grad_y, x))
