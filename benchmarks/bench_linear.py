"""linear and its gradients: fastconv, NumPy's BLAS, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy_ops
import pytest
from cases import LINEARS, Linear
from comparing import assert_agree, plain

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize(("case", "library"), plain(LINEARS))
def test_forward(case: Linear, library: str, measure: Callable[..., Any]) -> None:
    x, weight, bias, _ = case.draw()
    y = measure(f"linear forward {case.name} {case.label}", lambda: MODULES[library].linear(x, weight, bias))
    assert_agree(y, fastconv.linear(x, weight, bias))


@pytest.mark.parametrize(("case", "library"), plain(LINEARS))
def test_backward(case: Linear, library: str, measure: Callable[..., Any]) -> None:
    x, weight, _, grad_y = case.draw()
    backward = MODULES[library].linear_backward
    gradients = measure(f"linear backward {case.name} {case.label}", lambda: backward(grad_y, x, weight))
    assert_agree(gradients, fastconv.linear_backward(grad_y, x, weight))
