"""How weights begin: random numbers, of a width that keeps signals of one size from layer to layer.

With fan_in and fan_out the numbers of values that one output is computed from, and that one input goes to, the `init=`
of a layer is one of

- "default": weight and bias in +-1/sqrt(fan_in), as PyTorch's layers begin;
- "glorot" (also "glorot_uniform", "xavier_uniform"): weight in +-sqrt(6 / (fan_in + fan_out)), as Keras's layers begin
  (Glorot and Bengio, 2010); "glorot_normal" ("xavier_normal"): normal, of variance 2 / (fan_in + fan_out);
- "kaiming" (also "kaiming_uniform", "he_uniform"): weight in +-sqrt(6 / fan_in) (He et al., 2015), for layers before a
  ReLU; "kaiming_normal" ("he_normal"): normal, of variance 2 / fan_in;
- "zeros", "ones": weight 0 or 1;
- a number b: weight in +-b.

The bias is 0 but for "default".  The functions fill an array or a Parameter in place and return it; names, arguments
and formulas are those of torch.nn.init, fans are read off the shape.

Randomness comes from the `numpy.random.Generator` that a layer or function is given (a fresh one where it is given
none), never from NumPy's global state: one generator handed to all layers makes a network that one seed determines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np

from fastconv import _validation as check

from .module import Array, Parameter

Init: TypeAlias = str | float
Filled = TypeVar("Filled", Array, Parameter)

# Name: (distribution, its variance from fan_in and fan_out); uniform numbers of variance v lie in +-sqrt(3 v).
_SCHEMES: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "glorot": ("uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "glorot_normal": ("normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "kaiming": ("uniform", lambda fan_in, fan_out: 2 / fan_in),
    "kaiming_normal": ("normal", lambda fan_in, fan_out: 2 / fan_in),
}
_ALIASES = {
    "glorot_uniform": "glorot",
    "xavier_uniform": "glorot",
    "xavier_normal": "glorot_normal",
    "kaiming_uniform": "kaiming",
    "he_uniform": "kaiming",
    "he_normal": "kaiming_normal",
}
NAMES = ("default", *_SCHEMES, *_ALIASES, "zeros", "ones")


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
    if init in ("zeros", "ones"):
        constant_(weight, float(init == "ones"))
    elif isinstance(init, str) and init != "default":
        distribution, variance = _SCHEMES[_ALIASES.get(init, init)]
        _draw(weight, distribution, variance(fan_in, fan_out), rng)
    elif init == "default":
        bias_bound = 1 / math.sqrt(fan_in)
        _uniform(weight, bias_bound, rng)
    else:
        _uniform(weight, float(init), rng)
    if bias is not None:
        _uniform(bias, bias_bound, rng)


def fan_in_and_fan_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of a weight of shape (out, in, ...): ``in * taps`` and ``out * taps``, taps the product of the other sizes.

    For a transposed convolution, whose weight is (in, out, ...), the two change places, as in PyTorch.

    Raises
    ------
    ShapeError
        If the shape has fewer than two sizes.

    Examples
    --------
    >>> from fastconv.nn import init
    >>> init.fan_in_and_fan_out((8, 3, 5, 5))
    (75, 200)
    """
    if len(shape) < 2:
        raise check.ShapeError(f"init: fans need a weight of at least 2 dimensions, got shape {shape}")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


_GAINS = {
    "linear": 1.0,
    "conv2d": 1.0,
    "conv_transpose2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What the standard deviation of weights is multiplied by, for the layer's nonlinearity.

    Parameters
    ----------
    nonlinearity : 'linear', 'conv2d', 'conv_transpose2d', 'sigmoid', 'tanh', 'relu', 'leaky_relu' or 'selu'
    param : float, optional
        The negative slope of 'leaky_relu', 0.01 by default.

    Returns
    -------
    gain : float

    Raises
    ------
    ShapeError, TypeError
        If the name is none of these, or param no number.
    """
    name = check.one_of("calculate_gain", "nonlinearity", nonlinearity, (*_GAINS, "leaky_relu"))
    if name != "leaky_relu":
        return _GAINS[name]
    slope = 0.01 if param is None else check.number("calculate_gain", "param", param)
    return math.sqrt(2 / (1 + slope**2))


def constant_(tensor: Filled, val: float) -> Filled:
    """Every element val."""
    _data(tensor)[...] = check.number("constant_", "val", val)
    return tensor


def zeros_(tensor: Filled) -> Filled:
    """Every element 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Filled) -> Filled:
    """Every element 1."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: Filled, gain: float = 1.0, *, rng: np.random.Generator | None = None) -> Filled:
    """Uniform in ``+-gain * sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010)."""
    return _xavier("xavier_uniform_", tensor, "uniform", gain, rng)


def xavier_normal_(tensor: Filled, gain: float = 1.0, *, rng: np.random.Generator | None = None) -> Filled:
    """Normal, of standard deviation ``gain * sqrt(2 / (fan_in + fan_out))`` (Glorot and Bengio, 2010)."""
    return _xavier("xavier_normal_", tensor, "normal", gain, rng)


def kaiming_uniform_(
    tensor: Filled,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: np.random.Generator | None = None,
) -> Filled:
    """Uniform in ``+-gain * sqrt(3 / fan)``, the gain that of the nonlinearity, a its slope (He et al., 2015)."""
    return _kaiming("kaiming_uniform_", tensor, "uniform", a, mode, nonlinearity, rng)


def kaiming_normal_(
    tensor: Filled,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: np.random.Generator | None = None,
) -> Filled:
    """Normal, of standard deviation ``gain / sqrt(fan)``, the gain that of the nonlinearity, a its slope."""
    return _kaiming("kaiming_normal_", tensor, "normal", a, mode, nonlinearity, rng)


def _xavier(op: str, tensor: Filled, distribution: str, gain: float, rng: np.random.Generator | None) -> Filled:
    scale = check.number(op, "gain", gain)
    fans = fan_in_and_fan_out(_data(tensor).shape)
    return _draw(tensor, distribution, scale**2 * 2 / max(sum(fans), 1), check.generator(op, rng))


def _kaiming(
    op: str,
    tensor: Filled,
    distribution: str,
    a: float,
    mode: str,
    nonlinearity: str,
    rng: np.random.Generator | None,
) -> Filled:
    which = check.one_of(op, "mode", mode, ("fan_in", "fan_out"))
    gain = calculate_gain(nonlinearity, check.number(op, "a", a))
    fan = fan_in_and_fan_out(_data(tensor).shape)[which == "fan_out"]
    return _draw(tensor, distribution, gain**2 / max(fan, 1), check.generator(op, rng))


def _draw(tensor: Filled, distribution: str, variance: float, rng: np.random.Generator | None) -> Filled:
    """Numbers of mean 0; drawn in float64, so that both dtypes begin alike."""
    rng = np.random.default_rng() if rng is None else rng
    if distribution == "uniform":
        _uniform(tensor, math.sqrt(3 * variance), rng)
    else:
        data = _data(tensor)
        data[...] = rng.normal(0.0, math.sqrt(variance), data.shape)
    return tensor


def _data(tensor: Array | Parameter) -> Any:
    return tensor.data if isinstance(tensor, Parameter) else check.floats("init", "tensor", tensor)


def _uniform(tensor: Array | Parameter, bound: float, rng: np.random.Generator) -> None:
    """Numbers in [-bound, bound)."""
    data = _data(tensor)
    data[...] = rng.uniform(-bound, bound, data.shape) if bound else 0
