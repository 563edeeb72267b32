"""The semantics of batch norm and adaptive pooling as a table; see test_conformance.py, whose rows these are."""

import numpy as np
import pytest
from test_conformance import array, check, image, inf, nan, ones, ramp, row, run

from fastconv import ShapeError, nn, ops, reference

TWO_CHANNELS = array([[1, 10], [3, 30]])  # (N, C): means 2 and 20, variances 1 and 100
NORMED = array([[-1, -1], [1, 1]])

# fmt: off
CASES = [
    # Batch norm: y = (x - mean) / sqrt(var + eps) * weight + bias
    row("the batch's mean and variance", "batch_norm", TWO_CHANNELS, None, None, training=True,
        eps=1e-300, near=NORMED),
    row("eps is under the root", "batch_norm", array([[0], [2]]), None, None, training=True, eps=3.0,
        gives=array([[-0.5], [0.5]])),
    row("weight and bias", "batch_norm", TWO_CHANNELS, None, None, array([2, -4]), array([10, 1]), True, 0.1, 1e-300,
        near=array([[8, 5], [12, -3]])),
    row("bias alone", "batch_norm", TWO_CHANNELS, None, None, None, array([10, 5]), True, eps=1e-300,
        near=array([[9, 4], [11, 6]])),
    row("running statistics, without training", "batch_norm", array([[5, 1]]), array([1, 2]), array([4, 0.25]), eps=0.0,
        gives=array([[2, -2]])),
    row("one value per channel, without training", "batch_norm", ones(1, 2), ones(2), ones(2), gives=array([[0, 0]])),
    row("running statistics play no part in training", "batch_norm", TWO_CHANNELS, array([nan, 7]), array([nan, 7]),
        training=True, eps=1e-300, near=NORMED),
    row("the running variance is unbiased", "batch_norm", TWO_CHANNELS, array([0, 0]), array([1, 1]), training=True,
        momentum=0.5, return_stats=True, gives=(array([1, 10]), array([1.5, 100.5]))),
    row("momentum 1 forgets", "batch_norm", TWO_CHANNELS, array([5, 5]), array([5, 5]), training=True, momentum=1,
        return_stats=True, gives=(array([2, 20]), array([2, 200]))),
    row("momentum 0 learns nothing", "batch_norm", TWO_CHANNELS, array([5, 6]), array([7, 8]), training=True,
        momentum=0.0, return_stats=True, gives=(array([5, 6]), array([7, 8]))),
    row("without training they stay", "batch_norm", TWO_CHANNELS, array([5, 6]), array([7, 8]), return_stats=True,
        gives=(array([5, 6]), array([7, 8]))),
    row("over images and pixels", "batch_norm", ramp(2, 1, 2, 2), None, None, training=True, eps=1e-300,
        near=(ramp(2, 1, 2, 2) - 4.5) / np.sqrt(5.25)),
    row("a sequence", "batch_norm", ramp(2, 3, 4), None, None, training=True, shape=(2, 3, 4)),
    row("a volume", "batch_norm", ramp(2, 3, 2, 2, 2), None, None, training=True, shape=(2, 3, 2, 2, 2)),
    row("a constant channel", "batch_norm", np.full((3, 1, 2), 7.3), None, None, training=True,
        gives=np.zeros((3, 1, 2))),
    row("a batch of none", "batch_norm", ones(0, 3, 4, 4), ones(3), ones(3), training=True, shape=(0, 3, 4, 4)),
    row("no channels", "batch_norm", ones(2, 0), ones(0), ones(0), shape=(2, 0)),
    row("NaN is its whole channel's, in training", "batch_norm", array([[nan, 1], [2, 1]]), None, None, training=True,
        gives=array([[nan, 0], [nan, 0]])),
    row("inf is its whole channel's, in training", "batch_norm", array([[inf, 1], [2, 1]]), None, None, training=True,
        gives=array([[nan, 0], [nan, 0]])),
    row("inf is its own without training", "batch_norm", array([[inf], [1]]), ones(1), ones(1),
        gives=array([[inf], [0]])),
    row("a running variance of inf", "batch_norm", array([[3]]), ones(1), array([inf]), None, array([5]),
        gives=array([[5]])),
    row("without training, each on its own", "batch_norm_backward", ramp(2, 2), ones(2, 2), array([0, 0]),
        array([1, 2]), array([10, 1]), gives=(array([[10, 4], [30, 8]]), array([4, 12]), array([4, 6]))),
    row("in training, a constant gradient is lost", "batch_norm_backward", ones(2, 1), array([[-1], [1]]), array([0]),
        array([1]), training=True, gives=(np.zeros((2, 1)), array([0]), array([2]))),
    row("in training, so is one along x", "batch_norm_backward", array([[-1], [1]]), array([[-1], [1]]), array([0]),
        array([1]), training=True, gives=(np.zeros((2, 1)), array([2]), array([0]))),
    row("need", "batch_norm_backward", ones(2, 1), ones(2, 1), array([0]), array([1]), need=(False, False, True),
        gives=(None, None, array([2]))),
    # Adaptive pooling: window i is floor(i*H/o) .. ceil((i+1)*H/o)
    row("windows side by side", "adaptive_avg_pool2d", image([[1, 3, 5, 7]]), (1, 2), gives=image([[2, 6]])),
    row("windows that overlap", "adaptive_avg_pool2d", image([[1, 2, 3, 4, 5]]), (1, 2), gives=image([[2, 4]])),
    row("sizes 2, 3 and 2", "adaptive_avg_pool2d", image([[2, 4, 6, 8, 10]]), (1, 3), gives=image([[3, 6, 9]])),
    row("larger than the input", "adaptive_avg_pool2d", image([[2, 4]]), (2, 3), gives=image([[2, 3, 4], [2, 3, 4]])),
    row("all of it", "adaptive_avg_pool2d", ramp(1, 2, 2, 2), 1, gives=array([2.5, 6.5]).reshape(1, 2, 1, 1)),
    row("None is the input's", "adaptive_avg_pool2d", ones(2, 3, 5, 7), (None, 2), shape=(2, 3, 5, 2)),
    row("None twice", "adaptive_avg_pool2d", ramp(1, 1, 2, 2), (None, None), gives=ramp(1, 1, 2, 2)),
    row("no batch axis", "adaptive_avg_pool2d", ones(3, 5, 7), 4, shape=(3, 4, 4)),
    row("a batch of none", "adaptive_avg_pool2d", ones(0, 3, 5, 7), 2, shape=(0, 3, 2, 2)),
    row("an output of nothing", "adaptive_avg_pool2d", ones(2, 3, 5, 7), 0, shape=(2, 3, 0, 0)),
    row("shares", "adaptive_avg_pool2d_backward", image([[3, 6]]), (1, 1, 1, 5), gives=image([[1, 1, 3, 2, 2]])),
    row("shares of all of it", "adaptive_avg_pool2d_backward", image([[8]]), (1, 1, 2, 2),
        gives=image([[2, 2], [2, 2]])),
    row("shares of more windows than pixels", "adaptive_avg_pool2d_backward", image([[1, 2, 4]]), (1, 1, 1, 2),
        gives=image([[2, 5]])),
]

REFUSED = [
    row("one value per channel in training", "batch_norm", ones(1, 3), None, None, training=True,
        refused=ShapeError, says="more than one value per channel.*1, 3"),
    row("one pixel of one image in training", "batch_norm", ones(1, 3, 1, 1), None, None, training=True,
        refused=ShapeError, says="more than one value"),
    row("no running mean without training", "batch_norm", ones(2, 3), None, ones(3), refused=ShapeError,
        says="running_mean.*None"),
    row("no running variance without training", "batch_norm", ones(2, 3), ones(3), None, refused=ShapeError,
        says="running_var.*None"),
    row("one axis", "batch_norm", ones(3), ones(3), ones(3), refused=ShapeError, says=r"x must have shape \(N, C\)"),
    row("other channels", "batch_norm", ones(2, 3), ones(2), ones(3),
        refused=ShapeError, says="running_mean.*3 channels"),
    row("a weight of another shape", "batch_norm", ones(2, 3), ones(3), ones(3), ones(1, 3), refused=ShapeError,
        says=r"weight has shape \(1, 3\)"),
    row("eps of 0 in training", "batch_norm", ones(2, 3), None, None, training=True, eps=0.0, refused=ShapeError,
        says="eps must be positive"),
    row("a negative eps", "batch_norm", ones(2, 3), ones(3), ones(3), eps=-1e-5, refused=ShapeError, says="eps"),
    row("momentum None, which the layer knows", "batch_norm", ones(2, 3), None, None, training=True, momentum=None,
        refused=TypeError, says="momentum must be a number"),
    row("momentum NaN", "batch_norm", ones(2, 3), None, None, training=True, momentum=nan, refused=ShapeError,
        says="momentum must be finite"),
    row("half precision", "batch_norm", np.ones((2, 3), np.float16), None, None, training=True, refused=TypeError,
        says="float16"),
    row("statistics in float32", "batch_norm_backward", ones(2, 3), ones(2, 3), np.ones(3, np.float32), ones(3),
        refused=TypeError, says="mean must be an array of float64"),
    row("grad_y of another shape", "batch_norm_backward", ones(2, 4), ones(2, 3), ones(3), ones(3),
        refused=ShapeError, says="grad_y"),
    row("a negative size", "adaptive_avg_pool2d", ones(1, 1, 4, 4), (2, -1),
        refused=ShapeError, says="negative|least 0"),
    row("three sizes", "adaptive_avg_pool2d", ones(1, 1, 4, 4), (1, 2, 3), refused=ShapeError, says="output_size"),
    row("None alone", "adaptive_avg_pool2d", ones(1, 1, 4, 4), None, refused=TypeError, says="output_size.*None"),
    row("a fraction", "adaptive_avg_pool2d", ones(1, 1, 4, 4), 2.0, refused=TypeError, says="output_size.*2.0"),
    row("an empty image", "adaptive_avg_pool2d", ones(1, 1, 0, 4), 2, refused=ShapeError, says="empty"),
    row("two axes", "adaptive_avg_pool2d", ones(4, 4), 2, refused=ShapeError, says="x must have shape"),
    row("a shape of other channels", "adaptive_avg_pool2d_backward", ones(1, 2, 2, 2), (1, 3, 4, 4), refused=ShapeError,
        says="same batch and channels"),
]
# fmt: on


def check_either(module, case, dtype):
    """As `check`; of return_stats the running ones, and mean and inv_std of the gradients float64 in either run."""
    if case.op == "batch_norm_backward":
        grad_y, x, mean, inv_std, *rest = case.args
        grad_y, x, *rest = (array.astype(dtype) for array in (grad_y, x, *rest))
        results = module.batch_norm_backward(grad_y, x, mean, inv_std, *rest, **case.options)
    elif "return_stats" in case.options:
        results = run(module, case, dtype)[3:]
    else:
        check(module, case, dtype)
        return
    for result, right in zip(results, case.gives, strict=True):
        assert (result is None) == (right is None)
        if right is not None:
            assert result.dtype == dtype
            np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ops(case, isa, dtype):
    check_either(ops, case, dtype)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference(case, dtype):
    check_either(reference, case, dtype)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(case):
    with pytest.raises(case.refused, match=case.says) as caught:
        run(ops, case, np.dtype(np.float64))
    assert str(caught.value).startswith(case.op + ":")


def test_pools_take_pytorchs_order_of_arguments():
    x = np.random.default_rng(0).standard_normal((1, 1, 9, 10))
    layer = nn.MaxPool2d(3, 2, 1, 2, False, True)  # kernel, stride, padding, dilation, return_indices, ceil_mode
    np.testing.assert_array_equal(layer(x), ops.max_pool2d(x, 3, 2, 1, 2, ceil_mode=True))
    y, indices = nn.MaxPool2d(3, 2, 1, 2, True)(x)
    right, right_indices = ops.max_pool2d(x, 3, 2, 1, 2, return_indices=True)
    np.testing.assert_array_equal(y, right)
    np.testing.assert_array_equal(indices, right_indices)
    layer = nn.AvgPool2d(3, 2, 1, True, False, 5)  # kernel, stride, padding, ceil_mode, count_include_pad, divisor
    right = ops.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False, divisor_override=5)
    np.testing.assert_array_equal(layer(x), right)
