"""batch_norm and its gradient, in training and without: fastconv, NumPy, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy_ops
import pytest
from cases import BATCH_NORMS, Elements
from comparing import assert_agree, plain

import fastconv
from fastconv import reference

MODULES: dict[str, Any] = {"fastconv": fastconv, "numpy": numpy_ops, "reference": reference}


@pytest.mark.parametrize(("case", "library"), plain(BATCH_NORMS))
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_batch_norm(
    case: Elements, library: str, training: bool, direction: str, measure: Callable[..., Any], smoke: bool
) -> None:
    x, grad_y = case.draw()
    if smoke:
        x, grad_y = x[:2, :3, :9, :9], grad_y[:2, :3, :9, :9]
    weight, bias, mean, var = np.random.default_rng(1).random((4, x.shape[1]), dtype=np.float32) + np.float32(0.5)
    module = MODULES[library]
    y, *statistics = fastconv.batch_norm(x, mean, var, weight, bias, training, return_stats=True)
    calls = {
        "forward": lambda: module.batch_norm(x, mean, var, weight, bias, training, return_stats=True)[0],
        "backward": lambda: module.batch_norm_backward(grad_y, x, *statistics[:2], weight, training),
    }
    mode = "training" if training else "inference"
    result = measure(f"batch_norm {mode} {direction} {case.name} {case.label}", calls[direction])
    backward = fastconv.batch_norm_backward(grad_y, x, *statistics[:2], weight, training)
    assert_agree(result, y if direction == "forward" else backward)
