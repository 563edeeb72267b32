"""nll_loss and its gradient: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy_ops
import pytest
from cases import SCORES, Elements
from comparing import assert_agree, plain

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


def _draw(case: Elements) -> tuple[Any, Any]:
    """Log-probabilities, and one class number for each row."""
    x, _ = case.draw()
    return fastconv.log_softmax(x), np.random.default_rng(1).integers(0, x.shape[1], len(x))


@pytest.mark.parametrize(("case", "library"), plain(SCORES))
def test_forward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, target = _draw(case)
    nll_loss = MODULES[library].nll_loss
    loss = measure(f"nll_loss forward {case.name} {case.label}", lambda: nll_loss(x, target))
    assert_agree(loss, fastconv.nll_loss(x, target))


@pytest.mark.parametrize(("case", "library"), plain(SCORES))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, target = _draw(case)
    backward = MODULES[library].nll_loss_backward
    grad_x = measure(f"nll_loss backward {case.name} {case.label}", lambda: backward(x, target))
    assert_agree(grad_x, fastconv.nll_loss_backward(x, target))
