"""cross_entropy and its gradient: fastconv, NumPy, and the naive reference."""

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
    """Scores, and one class number for each row."""
    x, _ = case.draw()
    return x, np.random.default_rng(1).integers(0, x.shape[1], len(x))


@pytest.mark.parametrize(("case", "library"), plain(SCORES))
def test_forward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, target = _draw(case)
    cross_entropy = MODULES[library].cross_entropy
    loss = measure(f"cross_entropy forward {case.name} {case.label}", lambda: cross_entropy(x, target))
    assert_agree(loss, fastconv.cross_entropy(x, target))


@pytest.mark.parametrize(("case", "library"), plain(SCORES))
def test_backward(case: Elements, library: str, measure: Callable[..., Any]) -> None:
    x, target = _draw(case)
    backward = MODULES[library].cross_entropy_backward
    grad_x = measure(f"cross_entropy backward {case.name} {case.label}", lambda: backward(x, target))
    assert_agree(grad_x, fastconv.cross_entropy_backward(x, target))
