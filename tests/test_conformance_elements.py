"""More rows for the table of test_conformance.py: activations, losses, softmax along any axis."""

import numpy as np
import pytest
from test_conformance import array, check, inf, nan, ones, row, run

from fastconv import ShapeError, ops, reference

LOG = np.log

# fmt: off
ROWS = [
    row("slope below 0", "leaky_relu", array([-100, 0, 2, nan, -inf, inf]), gives=array([-1, 0, 2, nan, -inf, inf])),
    row("another slope", "leaky_relu", array([-4, 4]), 0.25, gives=array([-1, 4])),
    row("a negative slope", "leaky_relu", array([-4, 4]), -0.5, gives=array([2, 4])),
    row("the slope at 0 is the one below it", "leaky_relu_backward", ones(4), array([-1, 0, 1, nan]), 0.5,
        gives=array([0.5, 0.5, 1, 0.5])),
    row("ends and middle", "sigmoid", array([-inf, 0, inf, nan]), gives=array([0, 0.5, 1, nan])),
    row("does not overflow", "sigmoid", array([-1000, 1000]), gives=array([0, 1])),
    row("values", "sigmoid", array([LOG(3), -LOG(3)]), near=array([0.75, 0.25])),
    row("from the result", "sigmoid_backward", array([4, 16, 1]), array([0.5, 0.25, 1]), gives=array([1, 3, 0])),
    row("ends and middle", "tanh", array([-inf, 0, inf, nan]), gives=array([-1, 0, 1, nan])),
    row("tiny numbers are their own", "tanh", array([1e-30, -1e-30]), near=array([1e-30, -1e-30])),
    row("values", "tanh", array([LOG(3) / 2, -LOG(3) / 2]), near=array([0.5, -0.5])),
    row("from the result", "tanh_backward", array([4, 16, 1]), array([0.5, 0.25, 1]), gives=array([3, 15, 0])),
    row("along the channels", "softmax", array([[[0, LOG(3)], [0, 0]]]), 1, near=array([[[.5, .75], [.5, .25]]])),
    row("mean", "mse_loss", array([1, 2]), array([0, 4]), near=2.5),
    row("sum", "mse_loss", array([1, 2]), array([0, 4]), reduction="sum", near=5.0),
    row("each", "mse_loss", array([1, 2]), array([0, 4]), reduction="none", gives=array([1, 4])),
    row("gradient of the mean", "mse_loss_backward", array([1, 2]), array([0, 4]), gives=array([1, -2])),
    row("gradient by gradient", "mse_loss_backward", array([1, 2]), array([0, 4]), reduction="sum", grad_y=10.0,
        gives=array([20, -40])),
    row("mean", "nll_loss", array([[-1, -2], [-3, -5]]), np.array([1, 0]), near=2.5),
    row("weights divide too", "nll_loss", array([[-1, -2], [-3, -5]]), np.array([1, 0]), array([1, 3]), near=2.25),
    row("ignored rows", "nll_loss", array([[-1, -2], [-3, -5]]), np.array([1, -100]), near=2.0),
    row("pixels", "nll_loss", array([[[-1, -2], [-3, -5]]]), np.array([[1, 0]]), reduction="none",
        gives=array([[3, 2]])),
    row("gradient", "nll_loss_backward", array([[-1, -2], [-3, -5]]), np.array([1, 0]),
        gives=array([[0, -0.5], [-0.5, 0]])),
    row("pixels", "cross_entropy", array([[[0, 0], [0, LOG(3)]]]), np.array([[1, 0]]), reduction="none",
        near=array([[LOG(2), LOG(4)]])),
    row("probabilities", "cross_entropy", array([[0, LOG(3)]]), array([[0.5, 0.5]]), near=LOG(4) - LOG(3) / 2),
    row("weights do not divide where targets are probabilities", "cross_entropy", array([[0, 0], [0, 0]]),
        array([[1, 0], [0, 1]]), array([1, 3]), near=2 * LOG(2)),
]

REFUSED = [
    row("targets of another shape", "mse_loss", ones(2, 3), ones(3), refused=ShapeError, says="target"),
    row("targets that are floats", "nll_loss", ones(2, 3), ones(2), refused=TypeError, says="target"),
    row("a class that is not there", "nll_loss", ones(2, 3), np.array([0, 3]), refused=ShapeError, says="got 3"),
    row("probabilities and a class to ignore", "cross_entropy", ones(2, 3), ones(2, 3), ignore_index=1,
        refused=ShapeError, says="ignore_index"),
]
# fmt: on


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_ops(case, isa, dtype):
    check(ops, case, dtype)


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_reference(case, dtype):
    check(reference, case, dtype)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(case, dtype):
    with pytest.raises(case.refused, match=case.says) as caught:
        run(ops, case, dtype)
    assert str(caught.value).startswith(case.op + ":")
