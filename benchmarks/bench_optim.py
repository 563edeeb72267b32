"""A step of the optimisers over all parameters of a network: fastconv's kernels and plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy_ops
import pytest
from cases import PARAMETERS, normal
from comparing import assert_agree

from fastconv import nn, optim

MAKERS: dict[str, dict[str, Callable[[list[Any]], Any]]] = {
    "sgd": {
        "fastconv": lambda params: optim.SGD(params, lr=0.005),
        "numpy": lambda params: numpy_ops.SGD(params, lr=0.005),
    },
    "sgd-momentum": {
        "fastconv": lambda params: optim.SGD(params, lr=0.005, momentum=0.9),
        "numpy": lambda params: numpy_ops.SGD(params, lr=0.005, momentum=0.9),
    },
    "adam": {
        "fastconv": lambda params: optim.Adam(params, lr=0.001),
        "numpy": lambda params: numpy_ops.Adam(params, lr=0.001),
    },
    "adamw": {
        "fastconv": lambda params: optim.AdamW(params, lr=0.001, weight_decay=0.01),
        "numpy": lambda params: numpy_ops.Adam(params, lr=0.001, weight_decay=0.01),
    },
}


def _draw(network: str) -> list[nn.Parameter]:
    rng = np.random.default_rng(0)
    parameters = [nn.Parameter(normal(rng, shape)) for shape in PARAMETERS[network]]
    for parameter in parameters:
        parameter.grad = normal(rng, parameter.data.shape)
    return parameters


@pytest.mark.parametrize("library", ["fastconv", "numpy"])
@pytest.mark.parametrize("network", PARAMETERS)
@pytest.mark.parametrize("optimizer", MAKERS)
def test_step(optimizer: str, network: str, library: str, measure: Callable[..., Any]) -> None:
    stepped, expected = _draw(network), _draw(network)
    one, other = MAKERS[optimizer][library](stepped), MAKERS[optimizer]["fastconv"](expected)
    for _ in range(3):
        one.step()
        other.step()
    assert_agree(tuple(p.data for p in stepped), tuple(p.data for p in expected))
    count = sum(parameter.data.size for parameter in stepped)
    measure(f"{optimizer} step {network} {count} parameters", one.step)
