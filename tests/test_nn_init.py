"""How weights begin: bounds, variances, determinism, fans, and torch.nn.init's numbers where PyTorch is installed."""

import math

import numpy as np
import pytest

from fastconv import ShapeError, nn
from fastconv.nn import init

SHAPE = (60, 40, 3, 3)
FAN_IN, FAN_OUT = 360, 540
VARIANCES = {  # of the whole weight, and whether it has a bound
    "default": (1 / (3 * FAN_IN), True),
    "glorot": (2 / (FAN_IN + FAN_OUT), True),
    "glorot_uniform": (2 / (FAN_IN + FAN_OUT), True),
    "xavier_uniform": (2 / (FAN_IN + FAN_OUT), True),
    "glorot_normal": (2 / (FAN_IN + FAN_OUT), False),
    "xavier_normal": (2 / (FAN_IN + FAN_OUT), False),
    "kaiming": (2 / FAN_IN, True),
    "kaiming_uniform": (2 / FAN_IN, True),
    "he_uniform": (2 / FAN_IN, True),
    "kaiming_normal": (2 / FAN_IN, False),
    "he_normal": (2 / FAN_IN, False),
}


def assert_distributed(weight, variance, bounded):
    assert abs(weight.mean()) < 5 * math.sqrt(variance / weight.size)
    assert weight.var() == pytest.approx(variance, rel=0.05)
    bound = math.sqrt(3 * variance)
    assert (abs(weight).max() <= bound * (1 + 1e-6)) == bounded
    if bounded:
        assert abs(weight).max() > 0.99 * bound


@pytest.mark.parametrize("name", VARIANCES)
def test_layers(name, dtype):
    rng = np.random.default_rng(0)
    layer = nn.Conv2d(40, 60, 3, init=name, rng=rng, dtype=dtype)
    assert layer.weight.dtype == dtype
    assert_distributed(layer.weight.data, *VARIANCES[name])
    assert bool(layer.bias.data.any()) == (name == "default")
    again = nn.Conv2d(40, 60, 3, init=name, rng=np.random.default_rng(0), dtype=dtype)
    np.testing.assert_array_equal(layer.weight.data, again.weight.data)
    wide = nn.Linear(FAN_IN, FAN_OUT, init=name, rng=rng)
    assert_distributed(wide.weight.data, *VARIANCES[name])


def test_constants():
    assert not nn.Linear(3, 4, init="zeros").weight.data.any()
    layer = nn.Linear(3, 4, init="ones")
    assert (layer.weight.data == 1).all()
    assert not layer.bias.data.any()
    weight = np.empty((2, 3), np.float32)
    assert init.constant_(weight, 0.5) is weight
    assert (weight == 0.5).all()
    assert not init.zeros_(weight).any()
    assert (init.ones_(nn.Parameter(weight)).data == 1).all()


CASES = {
    "xavier_uniform_": ({"gain": 2.0}, 4 * 2 / (FAN_IN + FAN_OUT), True),
    "xavier_normal_": ({"gain": 2.0}, 4 * 2 / (FAN_IN + FAN_OUT), False),
    "kaiming_uniform_": ({}, 2 / FAN_IN, True),
    "kaiming_normal_": ({"mode": "fan_out", "nonlinearity": "tanh"}, 25 / 9 / FAN_OUT, False),
}


@pytest.mark.parametrize("name", CASES)
def test_functions(name, dtype):
    options, variance, bounded = CASES[name]
    weight = np.empty(SHAPE, dtype)
    assert getattr(init, name)(weight, **options, rng=np.random.default_rng(1)) is weight
    assert_distributed(weight, variance, bounded)
    parameter = nn.Parameter(np.empty(SHAPE, dtype))
    assert getattr(init, name)(parameter, **options, rng=np.random.default_rng(1)) is parameter
    np.testing.assert_array_equal(parameter.data, weight)


def test_the_slope_widens():
    one, two = (init.kaiming_uniform_(np.empty(SHAPE), a=a, rng=np.random.default_rng(2)) for a in (0, math.sqrt(5)))
    np.testing.assert_allclose(two, one / math.sqrt(6))
    assert abs(two).max() <= 1 / math.sqrt(FAN_IN)  # how PyTorch's layers come by their default


def test_fans():
    assert init.fan_in_and_fan_out((5, 7)) == (7, 5)
    assert init.fan_in_and_fan_out(SHAPE) == (FAN_IN, FAN_OUT)
    assert init.fan_in_and_fan_out((16, 8, 2, 5)) == (80, 160)  # a transposed convolution of 16 channels to 8
    with pytest.raises(ShapeError, match="at least 2 dimensions"):
        init.fan_in_and_fan_out((3,))


@pytest.mark.peer
def test_gains_and_fans_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.nn.init
    for name in (*init._GAINS, "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(theirs.calculate_gain(name), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.3) == theirs.calculate_gain("leaky_relu", 0.3)
    for shape in ((3, 4), (3, 4, 5), SHAPE):
        assert init.fan_in_and_fan_out(shape) == theirs._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_what_is_refused():
    weight = np.empty((3, 4))
    for call, error, message in (
        (lambda: nn.Linear(3, 4, init="he"), ShapeError, "Linear: init must be one of"),
        (lambda: init.kaiming_normal_(weight, mode="fan"), ShapeError, "kaiming_normal_: mode must be one of"),
        (lambda: init.kaiming_normal_(weight, nonlinearity="x"), ShapeError, "calculate_gain: nonlinearity must be"),
        (lambda: init.xavier_normal_(weight, rng=3), TypeError, "xavier_normal_: rng must be a numpy.random.Generator"),
        (lambda: init.xavier_uniform_(weight[0]), ShapeError, "at least 2 dimensions"),
        (lambda: init.ones_([1.0]), TypeError, "init: tensor must be a NumPy array"),
        (lambda: init.constant_(weight, "1"), TypeError, "constant_: val must be a number"),
    ):
        with pytest.raises(error, match=message):
            call()
