"""More rows for activations and losses: ends of ranges, ignored rows, weights; see test_conformance.py."""

import numpy as np
import pytest
from test_conformance import array, check, inf, nan, ones, ramp, row, run

from fastconv import ShapeError, ops, reference

LOG2 = np.log(2)
T = np.array

# fmt: off
ACTIVATIONS = [
    row("a small slope below 0", "leaky_relu", array([-4, -0.0, 0, 2]), 0.25, gives=array([-1, -0.0, 0, 2])),
    row("slope 0.01", "leaky_relu", array([-100, 1]), near=array([-1, 1])),
    row("slope 1 is the identity", "leaky_relu", array([-4, 2]), 1, gives=array([-4, 2])),
    row("NaN and infinities", "leaky_relu", array([nan, inf, -inf]), 0.5, gives=array([nan, inf, -inf])),
    row("slope at 0 is the one below", "leaky_relu_backward", array([4, 4, 4]), array([-1, 0, 1]), 0.25,
        gives=array([1, 1, 4])),
    row("a half at 0", "sigmoid", array([0, -0.0]), gives=array([0.5, 0.5])),
    row("ends", "sigmoid", array([inf, -inf, 1e4, -1e4, nan]), gives=array([1, 0, 1, 0, nan])),
    row("log(3) gives 3/4", "sigmoid", array([np.log(3), -np.log(3)]), near=array([0.75, 0.25])),
    row("y (1 - y)", "sigmoid_backward", array([8, 8, 8]), array([0.5, 0, 1]), gives=array([2, 0, 0])),
    row("keeps the sign of zero", "tanh", array([0.0, -0.0]), gives=array([0.0, -0.0])),
    row("ends", "tanh", array([inf, -inf, 1e4, -1e4, nan]), gives=array([1, -1, 1, -1, nan])),
    row("log(3)/2 gives 1/2", "tanh", array([np.log(3) / 2, -np.log(3) / 2]), near=array([0.5, -0.5])),
    row("small numbers stay", "tanh", array([1e-20, -1e-20]), near=array([1e-20, -1e-20])),
    row("1 - y**2", "tanh_backward", array([4, 4, 4]), array([0.5, 0, -1]), gives=array([3, 4, 0])),
    *(row("a batch of none", op, ones(0, 3), shape=(0, 3)) for op in ("leaky_relu", "sigmoid", "tanh")),
    row("any axis", "softmax", np.zeros((2, 4, 3)), 1, gives=np.full((2, 4, 3), 0.25)),
    row("all -inf: NaN", "softmax", array([[-inf, -inf], [0, -inf]]), gives=array([[nan, nan], [1, 0]])),
    row("inf: NaN", "softmax", array([inf, 0]), gives=array([nan, nan])),
    row("NaN takes its row", "softmax", array([[nan, 0], [0, 0]]), gives=array([[nan, nan], [0.5, 0.5]])),
]
LOSSES = [
    row("minus the log-probability of the target", "nll_loss", array([[-1, -2], [-3, -4]]), T([0, 1]), gives=2.5),
    row("sum", "nll_loss", array([[-1, -2], [-3, -4]]), T([0, 1]), reduction="sum", gives=5.0),
    row("none", "nll_loss", array([[-1, -2], [-3, -4]]), T([0, 1]), reduction="none", gives=array([1, 4])),
    row("the mean is of the weights", "nll_loss", array([[-1, -2], [-3, -4]]), T([0, 1]), array([3, 1]), gives=1.75),
    row("ignored", "nll_loss", array([[-1, -2], [-3, -4]]), T([-100, 1]), gives=4.0),
    row("nothing counts: NaN", "nll_loss", array([[-1, -2]]), T([-100]), near=nan),
    row("maps of scores", "nll_loss", -ramp(1, 2, 3), T([[0, 1, 0]]), reduction="none", gives=array([[1, 5, 3]])),
    row("one row", "nll_loss", array([-1, -2]), 1, gives=2.0),
    row("-weight / sum of weights", "nll_loss_backward", array([[-1, -2], [-3, -4]]), T([0, 1]), array([3, 1]),
        gives=array([[-0.75, 0], [0, -0.25]])),
    row("mean of squares", "mse_loss", array([1, 2, 3]), array([1, 0, 0]), near=13 / 3),
    row("sum", "mse_loss", array([1, 2, 3]), array([1, 0, 0]), "sum", gives=13.0),
    row("none", "mse_loss", array([1, 2, 3]), array([1, 0, 0]), "none", gives=array([0, 4, 9])),
    row("of nothing: NaN", "mse_loss", ones(0), ones(0), near=nan),
    row("2 (x - target) / n", "mse_loss_backward", array([1, 2]), array([0, 4]), gives=array([1, -2])),
    row("times grad_y", "mse_loss_backward", array([1, 2]), array([0, 4]), "sum", grad_y=3.0, gives=array([6, -12])),
    row("maps of scores", "cross_entropy", ones(1, 2, 3), T([[0, 1, 0]]), near=LOG2),
    row("probabilities as targets", "cross_entropy", np.zeros((1, 2)), array([[0.5, 0.5]]), near=LOG2),
    row("they need not add up to 1", "cross_entropy", np.zeros((1, 2)), array([[1, 1]]), near=2 * LOG2),
    row("certain and right", "cross_entropy", array([[1e4, 0]]), T([0]), gives=0.0),
    row("certain and wrong", "cross_entropy", array([[1e4, 0]]), T([1]), gives=1e4),
    row("weights weigh ignored rows not", "cross_entropy", np.zeros((2, 2)), T([0, -100]), array([3, 5]), near=LOG2),
]
REFUSED = [
    row("a slope that is no number", "leaky_relu", ones(3), None, refused=TypeError, says="negative_slope.*None"),
    row("integers", "sigmoid", np.ones(3, int), refused=TypeError, says="x .*int64"),
    row("a list", "tanh", [1.0], refused=TypeError, says="x "),
    row("grad_y of another shape", "tanh_backward", ones(3), ones(4), refused=ShapeError, says="grad_y"),
    row("no such class", "nll_loss", ones(1, 3), T([3]), refused=ShapeError, says="target.*3"),
    row("shapes that broadcast", "mse_loss", ones(3), ones(3, 1), refused=ShapeError, says="target has shape"),
    row("another reduction", "mse_loss", ones(3), ones(3), "max", refused=ShapeError, says="reduction.*max"),
]
# fmt: on

CASES = [*ACTIVATIONS, *LOSSES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ops(case, isa, dtype):
    check(ops, case, dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference(case, dtype):
    check(reference, case, dtype)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(case, dtype):
    with pytest.raises(case.refused, match=case.says) as caught:
        run(ops, case, dtype)
    assert str(caught.value).startswith(case.op + ":")
