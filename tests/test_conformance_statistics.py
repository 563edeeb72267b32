"""More rows for adaptive pools and batch norm, over chosen numbers; test_conformance.py says how it is read."""

import numpy as np
import pytest
from test_conformance import Always, array, check, image, nan, ones, ramp, row, run

from fastconv import ShapeError, ops, reference

ZERO, ONE = np.zeros(1), np.ones(1)


def float64(value):
    """The mean or inv_std of one channel."""
    return array([value]).view(Always)


# fmt: off
ADAPTIVE = [
    row("window i is floor(i*H/o) .. ceil((i+1)*H/o)", "adaptive_avg_pool2d", image([[1, 2, 3, 4, 5]]), (1, 3),
        near=image([[1.5, 3, 4.5]])),  # 0..2, 1..4, 3..5
    row("windows that overlap by one", "adaptive_avg_pool2d", image([[1, 2, 4]]), (1, 2), gives=image([[1.5, 3]])),
    row("more windows than pixels", "adaptive_avg_pool2d", image([[1, 2]]), (1, 4), gives=image([[1, 1, 2, 2]])),
    row("windows between pixels", "adaptive_avg_pool2d", image([[1, 3]]), (1, 3), gives=image([[1, 2, 3]])),
    row("1 is the mean", "adaptive_avg_pool2d", ramp(1, 1, 3, 3), 1, gives=image([[5]])),
    row("as many windows as pixels", "adaptive_avg_pool2d", ramp(1, 1, 2, 3), (2, 3), gives=ramp(1, 1, 2, 3)),
    row("None keeps the size", "adaptive_avg_pool2d", ramp(1, 1, 2, 4), (None, 2),
        gives=image([[1.5, 3.5], [5.5, 7.5]])),
    row("an int is both", "adaptive_avg_pool2d", ones(2, 3, 7, 9), 4, shape=(2, 3, 4, 4)),
    row("a list is a pair", "adaptive_avg_pool2d", ones(2, 3, 7, 9), [4, 2], shape=(2, 3, 4, 2)),
    row("one image", "adaptive_avg_pool2d", ones(3, 7, 9), 2, gives=ones(3, 2, 2)),
    row("a batch of none", "adaptive_avg_pool2d", ones(0, 3, 7, 9), 2, shape=(0, 3, 2, 2)),
    row("NaN stays in its windows", "adaptive_avg_pool2d", image([[nan, 1, 2, 3]]), (1, 2), gives=image([[nan, 2.5]])),
    row("shares", "adaptive_avg_pool2d_backward", image([[2, 4]]), (1, 1, 1, 3), gives=image([[1, 3, 2]])),
    row("several windows add up in a pixel", "adaptive_avg_pool2d_backward", image([[1, 2, 3]]), (1, 1, 1, 1),
        gives=image([[6]])),
    row("a batch of none", "adaptive_avg_pool2d_backward", ones(0, 3, 2, 2), (0, 3, 5, 5), shape=(0, 3, 5, 5)),
]
NORM = [
    row("training: less the mean, divided by sqrt(variance + eps)", "batch_norm", image([[1, 3]]), None, None,
        training=True, eps=3.0, gives=image([[-0.5, 0.5]])),  # variance 1, not the unbiased 2
    row("weight and bias", "batch_norm", image([[1, 3]]), None, None, array([10]), array([5]), True, 0.1, 3.0,
        gives=image([[0, 10]])),
    row("over batch and pixels", "batch_norm", array([[[[1]]], [[[3]]]]), None, None, training=True, eps=3.0,
        gives=array([[[[-0.5]]], [[[0.5]]]])),
    row("each channel by itself", "batch_norm", array([[[1, 3], [11, 13]]]), None, None, training=True, eps=3.0,
        gives=array([[[-0.5, 0.5], [-0.5, 0.5]]])),
    row("eps is 1e-5", "batch_norm", image([[1, 3]]), None, None, training=True,
        near=image([[-1, 1]]) / np.sqrt(1.00001)),
    row("evaluation takes the running statistics", "batch_norm", image([[1, 3]]), array([1]), array([4]), eps=0.0,
        gives=image([[0, 1]])),
    row("(N, C)", "batch_norm", array([[1], [3]]), None, None, training=True, eps=3.0,
        gives=array([[-0.5], [0.5]])),
    row("a batch of none, in evaluation", "batch_norm", ones(0, 1, 2, 2), ZERO, ONE, shape=(0, 1, 2, 2)),
    row("momentum 0.1, unbiased variance", "batch_norm", image([[1, 3]]), ZERO, ONE, training=True, return_stats=True,
        near=(None, None, None, array([0.2]), array([0.9 + 0.1 * 2]))),
    row("evaluation changes nothing", "batch_norm", image([[1, 3]]), ZERO, ONE, eps=0.0, return_stats=True,
        near=(image([[1, 3]]), array([0]), array([1]), array([0]), array([1]))),
    row("a gradient alike everywhere is lost in the mean", "batch_norm_backward", image([[1, 1]]), image([[1, 3]]),
        float64(2), float64(1), None, True, gives=(image([[0, 0]]), array([0]), array([2]))),
    row("evaluation: only the scale", "batch_norm_backward", image([[1, 10]]), image([[1, 3]]), float64(0),
        float64(0.5), array([4]), gives=(image([[2, 20]]), array([15.5]), array([11]))),
]
REFUSED = [
    row("none", "adaptive_avg_pool2d", ones(1, 1, 4, 4), None, refused=TypeError, says="output_size.*None"),
    row("negative", "adaptive_avg_pool2d", ones(1, 1, 4, 4), -1, refused=ShapeError, says="output_size.*-1"),
    row("a matrix", "adaptive_avg_pool2d", ones(4, 4), 2, refused=ShapeError, says="x must have shape"),
    row("one value a channel", "batch_norm", ones(1, 1, 1, 1), None, None, training=True,
        refused=ShapeError, says="x "),
    row("evaluation without statistics", "batch_norm", ones(1, 1, 2, 2), None, None,
        refused=ShapeError, says="running_mean"),
    row("weight of other channels", "batch_norm", ones(1, 1, 2, 2), ZERO, ONE, array([1, 2]),
        refused=ShapeError, says="weight"),
]
# fmt: on

CASES = [*ADAPTIVE, *NORM]


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
