"""How weights begin: uniform random numbers, of a width that keeps signals of one size from layer to layer.

With fan_in and fan_out the numbers of values that one output is computed from, and that one input goes to:

- "default": weight and bias in +-1/sqrt(fan_in), as PyTorch's layers begin;
- "glorot": weight in +-sqrt(6 / (fan_in + fan_out)), bias 0 (Glorot and Bengio, 2010), as Keras's layers begin;
- "kaiming": weight in +-sqrt(6 / fan_in), bias 0 (He et al., 2015), for layers before a ReLU;
- a number b: weight in +-b, bias 0.

Randomness comes from the `numpy.random.Generator` that a layer is given (a fresh one where it is given none), never
from NumPy's global state: one generator handed to all layers makes a network that one seed determines.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from fastconv import _validation as check

from .module import Parameter

Init: TypeAlias = str | float

NAMES = ("default", "glorot", "kaiming")


def check_init(op: str, init: object) -> Init:
    """One of the names, or a bound that is finite and not negative."""
    if isinstance(init, str):
        return check.one_of(op, "init", init, NAMES)
    return check.number_between(op, "init", init, 0.0, float(np.finfo(np.float32).max))


def initialise(
    weight: Parameter,
    bias: Parameter | None,
    init: Init,
    fan_in: int,
    fan_out: int,
    rng: np.random.Generator | None,
) -> None:
    """Draw weight, then bias, in place."""
    rng = np.random.default_rng() if rng is None else rng
    bias_bound = 0.0
    if init == "default":
        weight_bound = bias_bound = 1 / math.sqrt(fan_in)
    elif init == "glorot":
        weight_bound = math.sqrt(6 / (fan_in + fan_out))
    elif init == "kaiming":
        weight_bound = math.sqrt(6 / fan_in)
    else:
        weight_bound = float(init)
    _uniform(weight, weight_bound, rng)
    if bias is not None:
        _uniform(bias, bias_bound, rng)


def _uniform(parameter: Parameter, bound: float, rng: np.random.Generator) -> None:
    """Numbers in [-bound, bound); drawn in float64, so that both dtypes begin alike."""
    data: Any = parameter.data
    data[...] = rng.uniform(-bound, bound, parameter.shape) if bound else 0
