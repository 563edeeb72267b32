"""Whole networks in eval mode, a NumPy batch at a time: fused as they come, and layer by layer.

The networks of other libraries are in side_by_side.py --inference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from comparing import assert_agree
from networks import INFERENCES, Inference

from fastconv import models


@pytest.mark.parametrize("way", ["network", "layers"])
@pytest.mark.parametrize("case", INFERENCES, ids=lambda case: f"{case.network}-N{case.N}")
def test_inference(case: Inference, way: str, measure: Callable[..., Any]) -> None:
    model = models.build(case.network, rng=0)
    model.load_state_dict(case.weights())
    model.eval()
    x = case.draw()

    def layers() -> Any:
        y = x
        for layer in model:
            y = layer(y)
        return y

    call = {"network": lambda: model(x), "layers": layers}[way]
    assert_agree(measure(f"{case.name} {case.label}", call), layers())
