"""mse_loss and its gradient: fastconv, NumPy, and the naive reference."""

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
    x, target = case.draw()
    mse_loss = MODULES[library].mse_loss
    loss = measure(f"mse_loss forward {case.name} {case.label}", lambda: mse_loss(x, target))
    assert_agree(loss, fastconv.mse_loss(x, target))


@pytest.mark.parametrize(("case", "library"), plain(RELUS))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, target = case.draw()
    backward = MODULES[library].mse_loss_backward
    grad_x = measure(f"mse_loss backward {case.name} {case.label}", lambda: backward(x, target))
    assert_agree(grad_x, fastconv.mse_loss_backward(x, target))
