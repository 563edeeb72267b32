"""dropout, dropout2d and their gradients: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy_ops
import pytest
from cases import DROPOUTS, DROPOUTS_2D, Elements
from comparing import assert_agree, plain

import fastconv
from fastconv import reference

P = 0.25
MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize(
    ("op", "case", "library"),
    [
        pytest.param(op, *parameter.values, id=f"{op}-{parameter.id}")
        for op, cases in (("dropout", DROPOUTS), ("dropout2d", DROPOUTS_2D))
        for parameter in plain(cases)
    ],
)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_dropout(op: str, case: Elements, library: str, direction: str, measure: Callable[..., Any]) -> None:
    x, grad_y = case.draw()
    module = MODULES[library]
    options: dict[str, Any] = {} if library == "numpy" else {"return_mask": True}
    rng = np.random.default_rng(0)
    y, mask = getattr(module, op)(x, P, rng=rng, **options)
    calls = {
        "forward": lambda: getattr(module, op)(x, P, rng=rng, **options)[0],
        "backward": lambda: getattr(module, f"{op}_backward")(grad_y, mask, P),
    }
    result = measure(f"{op} {direction} {case.name} {case.label}", calls[direction])
    if direction == "forward":  # libraries draw different numbers; each must drop about a quarter and scale the rest
        assert abs(np.mean(mask == 0) - P) < 0.1
        assert_agree(y, getattr(fastconv, f"{op}_backward")(x, mask.astype(np.uint8), P))
    else:
        assert_agree(result, getattr(fastconv, f"{op}_backward")(grad_y, mask.astype(np.uint8), P))
