"""The semantics as a table: one row is one case with what comes out, or what it is refused with.

Each row runs for the ops (every instruction set, both dtypes) and for the naive reference; rows of refusals for the
ops alone, as the reference checks little.  Arrays are written as nested lists; `image` adds batch and channel.

Here are the rows of convolution, pools and linear layers.  The other families have files of their own, which are read
in the same way: test_conformance_spatial.py (transposed convolution, unfold, fold), test_conformance_norm.py and
test_conformance_statistics.py (adaptive pools, batch norm), test_conformance_elements.py and
test_conformance_activations.py (activations, losses).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fastconv import ShapeError, ops, reference

nan, inf = np.nan, np.inf


def array(values: Any) -> np.ndarray:
    return np.array(values, np.float64)


class Always(np.ndarray):
    """float64 in each run, for arguments that are so whatever the dtype of x: ``array(...).view(Always)``."""


def image(rows: Any) -> np.ndarray:
    """One image of one channel, shape (1, 1, H, W)."""
    return array(rows)[np.newaxis, np.newaxis]


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


def ramp(*shape: int) -> np.ndarray:
    """1, 2, 3, ... in row-major order."""
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


@dataclass(frozen=True)
class Row:
    name: str
    op: str
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    gives: Any = None  # the exact result; a tuple where the op returns one, None in it is not looked at
    near: Any = None  # the result up to a few roundings
    shape: tuple[int, ...] | None = None
    refused: type[Exception] | None = None
    says: str = ""  # a pattern in the message of the refusal


def row(name, op, *args, gives=None, near=None, shape=None, refused=None, says="", **options):
    return Row(f"{op}: {name}", op, args, options, gives, near, shape, refused, says)


# -- the images that the table speaks of -------------------------------------------------------------------------------

SQUARE = image([[1, 3, 2, 4], [5, 7, 6, 8], [2, 4, 1, 3], [6, 8, 5, 7]])
CORNER = image([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
VERTICAL_EDGE = image([[1, 0, -1], [1, 0, -1], [1, 0, -1]])
TWO = image([[1, 2], [3, 4]])
DIGITS = image([[1, 10], [100, 1000]])  # which weight met which pixel can be read off the result
ONLY_LAST_TAP = image([[0, 0, 0], [0, 0, 0], [0, 0, 1]])

# -- output sizes ------------------------------------------------------------------------------------------------------

# fmt: off
SIZES = [
    row("floor((H + 2p - d(k-1) - 1)/s) + 1", "conv2d", ones(1, 1, 28, 30), ones(1, 1, 5, 3), shape=(1, 1, 24, 28)),
    row("with padding", "conv2d", ones(1, 1, 28, 28), ones(1, 1, 3, 3), padding=1, shape=(1, 1, 28, 28)),
    row("with a pair of paddings", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), padding=(0, 2), shape=(1, 1, 6, 10)),
    row("with stride", "conv2d", ones(1, 1, 224, 224), ones(1, 1, 7, 7), stride=2, padding=3, shape=(1, 1, 112, 112)),
    row("with a pair of strides", "conv2d", ones(1, 1, 9, 9), ones(1, 1, 3, 3), stride=(1, 4), shape=(1, 1, 7, 2)),
    row("with dilation", "conv2d", ones(1, 1, 9, 9), ones(1, 1, 3, 3), dilation=(2, 3), shape=(1, 1, 5, 3)),
    row("stride past the end", "conv2d", ones(1, 1, 5, 5), ones(1, 1, 2, 2), stride=100, shape=(1, 1, 1, 1)),
    row("'valid' is none", "conv2d", ones(1, 1, 9, 9), ones(1, 1, 3, 3), padding="valid", shape=(1, 1, 7, 7)),
    row("'same' with dilation", "conv2d", ones(1, 1, 9, 7), ones(1, 1, 4, 3), padding="same", dilation=(1, 2),
        shape=(1, 1, 9, 7)),
    row("kernel as large as the padded image", "conv2d", ones(1, 1, 3, 3), ones(1, 1, 5, 5), padding=1,
        shape=(1, 1, 1, 1)),
    row("a batch of none", "conv2d", ones(0, 3, 8, 8), ones(4, 3, 3, 3), shape=(0, 4, 6, 6)),
    row("no batch axis", "conv2d", ones(3, 8, 8), ones(4, 3, 3, 3), ones(4), shape=(4, 6, 6)),
    *(
        row(f"ceil_mode {H, k, s, p} -> {o}", op, ones(1, 1, H, H), k, s, p, ceil_mode=True, shape=(1, 1, o, o))
        for op in ("max_pool2d", "avg_pool2d")
        for H, k, s, p, o in [
            (5, 2, 2, 0, 3), (4, 3, 2, 1, 3), (3, 2, 2, 1, 2), (4, 2, 5, 0, 1), (6, 2, 4, 0, 2), (2, 3, 3, 0, 1),
        ]
    ),
    *(
        row(f"floor {H, k, s, p} -> {o}", op, ones(1, 1, H, H), k, s, p, shape=(1, 1, o, o))
        for op in ("max_pool2d", "avg_pool2d")
        for H, k, s, p, o in [(5, 2, 2, 0, 2), (4, 3, 2, 1, 2), (3, 2, 2, 1, 2), (4, 2, 5, 0, 1), (7, 3, 1, 1, 7)]
    ),
    *(
        case
        for op in ("max_pool2d", "avg_pool2d")
        for case in [
            row("stride is kernel_size", op, ones(1, 1, 12, 12), (3, 4), shape=(1, 1, 4, 3)),
            row("a batch of none", op, ones(0, 3, 8, 8), 2, shape=(0, 3, 4, 4)),
            row("no batch axis", op, ones(3, 8, 8), 2, shape=(3, 4, 4)),
            row("lists are pairs", op, ones(1, 1, 8, 9), [2, 3], [2, 1], [1, 0], shape=(1, 1, 5, 7)),
        ]
    ),
    row("with dilation", "max_pool2d", ones(1, 1, 9, 9), 3, 1, 0, (2, 3), shape=(1, 1, 5, 3)),
    row("leading axes", "linear", ones(2, 3, 4), ones(5, 4), shape=(2, 3, 5)),
    row("one image", "linear", ones(4), ones(5, 4), ones(5), shape=(5,)),
    row("a batch of none", "linear", ones(0, 4), ones(5, 4), shape=(0, 5)),
]
# fmt: on

# -- convolution -------------------------------------------------------------------------------------------------------

# fmt: off
CONVOLUTION = [
    row("a vertical edge", "conv2d", CORNER, VERTICAL_EDGE, gives=image([[0, 3, 3], [0, 2, 2], [0, 1, 1]])),
    row("is not flipped", "conv2d", TWO, DIGITS, gives=image([[4321]])),
    row("'same' pads bottom and right more", "conv2d", TWO, DIGITS, padding="same",
        gives=image([[4321, 402], [43, 4]])),
    row("padding 1 pads all sides", "conv2d", TWO, DIGITS, padding=1,
        gives=image([[1000, 2100, 200], [3010, 4321, 402], [30, 43, 4]])),
    row("padding one axis", "conv2d", TWO, DIGITS, padding=(0, 1), gives=image([[3010, 4321, 402]])),
    row("stride", "conv2d", ramp(1, 1, 4, 4), DIGITS, stride=2,
        gives=image([[6521, 8743], [14_000 + 1_300 + 100 + 9, 16_000 + 1_500 + 120 + 11]])),
    row("dilation", "conv2d", ramp(1, 1, 3, 3), DIGITS, dilation=2, gives=image([[9000 + 700 + 30 + 1]])),
    row("dilation over padding", "conv2d", TWO, DIGITS, padding=1, dilation=2, gives=image([[4000, 300], [20, 1]])),
    row("bias", "conv2d", TWO, DIGITS, array([0.5]), gives=image([[4321.5]])),
    row("bias where all is padding", "conv2d", TWO, image([[1]]), array([0.5]), padding=1, stride=3,
        gives=image([[0.5, 0.5], [0.5, 0.5]])),
    row("channels are added", "conv2d", array([[[1]], [[2]]]), array([[[[10]], [[100]]]]), gives=array([[[210]]])),
    row("filters are apart", "conv2d", array([[[1]], [[2]]]), array([[[[1]], [[0]]], [[[0]], [[1]]]]),
        gives=array([[[1]], [[2]]])),
    row("groups see their own channels", "conv2d", array([[[1]], [[2]], [[3]], [[4]]]),
        array([[[[1]], [[10]]], [[[1]], [[10]]]]), groups=2, gives=array([[[21]], [[43]]])),
    row("depthwise", "conv2d", array([[[1]], [[2]]]), array([[[[10]]], [[[100]]]]), groups=2,
        gives=array([[[10]], [[200]]])),
    row("depthwise with multiplier", "conv2d", array([[[1]], [[2]]]), array([[[[1]]], [[[10]]], [[[1]]], [[[10]]]]),
        groups=2, gives=array([[[1]], [[10]], [[2]], [[20]]])),
    row("an infinite weight over padding is nothing", "conv2d", ones(1, 1, 1, 1),
        image([[0, 0, 0], [0, 2, inf], [0, inf, nan]]), padding=1, gives=image([[2]])),
    row("an infinite weight over pixels is not", "conv2d", ones(1, 1, 1, 2), image([[1, inf]]), gives=image([[inf]])),
    row("infinite weights over padding, wide", "conv2d", ones(1, 1, 1, 40), image([[inf] * 40, [1] * 40]),
        padding=(1, 0), stride=(2, 1), gives=image([[40]])),
    row("inf - inf", "conv2d", image([[inf, inf]]), image([[1, -1]]), gives=image([[nan]])),
    row("0 * inf", "conv2d", image([[inf, 1]]), image([[0, 1]]), gives=image([[nan]])),
    row("grad_x meets the weights it met", "conv2d_backward", ones(1, 1, 1, 1), TWO, DIGITS,
        gives=(DIGITS, TWO, array([1]))),
    row("grad of 'same'", "conv2d_backward", image([[1, 0], [0, 0]]), TWO, DIGITS, padding="same",
        gives=(DIGITS, TWO, array([1]))),
    row("grad at a corner of 'same'", "conv2d_backward", image([[0, 0], [0, 1]]), TWO, DIGITS, padding="same",
        gives=(image([[0, 0], [0, 1]]), image([[4, 0], [0, 0]]), array([1]))),
    row("pixels that no window sees", "conv2d_backward", ones(1, 1, 1, 1), ramp(1, 1, 2, 3), image([[7]]), stride=5,
        gives=(image([[7, 0, 0], [0, 0, 0]]), image([[1]]), array([1]))),
    row("overlapping windows add up", "conv2d_backward", image([[1, 10, 100]]), image([[1, 1, 1, 1]]), image([[1, 2]]),
        gives=(image([[1, 12, 120, 200]]), image([[111, 111]]), array([111]))),
    row("images add up in grad_weight", "conv2d_backward", array([[[[1]]], [[[10]]]]), array([[[[1]]], [[[2]]]]),
        image([[3]]), gives=(array([[[[3]]], [[[30]]]]), image([[21]]), array([11]))),
    row("groups", "conv2d_backward", array([[[1]], [[10]]]), array([[[1]], [[2]]]), array([[[[3]]], [[[4]]]]), groups=2,
        gives=(array([[[3]], [[40]]]), array([[[[1]]], [[[20]]]]), array([1, 10]))),
    row("infinite weights over padding", "conv2d_backward", ones(1, 1, 1, 1), ones(1, 1, 1, 1),
        image([[inf, inf, inf], [inf, 2, inf], [nan, inf, inf]]), padding=1,
        gives=(image([[2]]), image([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), array([1]))),
    row("need", "conv2d_backward", ones(1, 1, 1, 1), TWO, DIGITS, need=(False, True, False), gives=(None, TWO, None)),
    row("a batch of none", "conv2d_backward", ones(0, 1, 1, 1), ones(0, 1, 2, 2), DIGITS,
        gives=(ones(0, 1, 2, 2), image([[0, 0], [0, 0]]), array([0]))),
]
# fmt: on

# -- max pooling -------------------------------------------------------------------------------------------------------

# fmt: off
MAX_POOLING = [
    row("2x2", "max_pool2d", SQUARE, 2, gives=image([[7, 8], [8, 7]])),
    row("indices", "max_pool2d", SQUARE, 2, return_indices=True,
        gives=(image([[7, 8], [8, 7]]), image([[5, 7], [13, 15]]))),
    row("overlapping", "max_pool2d", SQUARE, 2, 1, gives=image([[7, 7, 8], [7, 7, 8], [8, 8, 7]])),
    row("the last row and column are left over", "max_pool2d", ramp(1, 1, 3, 5), 2, gives=image([[7, 9]])),
    row("ceil_mode takes them", "max_pool2d", ramp(1, 1, 3, 5), 2, ceil_mode=True,
        gives=image([[7, 9, 10], [12, 14, 15]])),
    row("padding never wins", "max_pool2d", image([[-1, -2], [-3, -4]]), 2, 2, 1, return_indices=True,
        gives=(image([[-1, -2], [-3, -4]]), image([[0, 1], [2, 3]]))),
    row("dilation", "max_pool2d", ramp(1, 1, 3, 3), 2, 1, 0, 2, return_indices=True,
        gives=(image([[9]]), image([[8]]))),
    row("a window wider than the image", "max_pool2d", TWO, 3, 3, 0, 1, True, return_indices=True,
        gives=(image([[4]]), image([[3]]))),
    row("ties go to the first", "max_pool2d", ones(1, 1, 4, 4), 2, return_indices=True,
        gives=(ones(1, 1, 2, 2), image([[0, 2], [8, 10]]))),
    row("ties in a column", "max_pool2d", image([[0, 1], [1, 1]]), 2, return_indices=True,
        gives=(image([[1]]), image([[1]]))),
    row("ties in a row", "max_pool2d", image([[0, 0], [1, 1]]), 2, return_indices=True,
        gives=(image([[1]]), image([[2]]))),
    row("zeros of either sign tie", "max_pool2d", image([[-0.0, 0.0], [0.0, -0.0]]), 2, return_indices=True,
        gives=(image([[0]]), image([[0]]))),
    row("ties over padding", "max_pool2d", ones(1, 1, 2, 2), 2, 2, 1, return_indices=True,
        gives=(ones(1, 1, 2, 2), image([[0, 1], [2, 3]]))),
    row("NaN wins", "max_pool2d", image([[inf, nan], [1, 2]]), 2, return_indices=True,
        gives=(image([[nan]]), image([[1]]))),
    row("NaN that comes first stays", "max_pool2d", image([[nan, inf], [1, 2]]), 2, return_indices=True,
        gives=(image([[nan]]), image([[0]]))),
    row("the last NaN wins", "max_pool2d", image([[nan, 1], [nan, 2]]), 2, return_indices=True,
        gives=(image([[nan]]), image([[2]]))),
    row("all NaN", "max_pool2d", image([[nan, nan], [nan, nan]]), 2, return_indices=True,
        gives=(image([[nan]]), image([[3]]))),
    row("-inf alone gives its first pixel", "max_pool2d", image([[-inf, -inf], [-inf, -inf]]), 2, return_indices=True,
        gives=(image([[-inf]]), image([[0]]))),
    row("-inf alone, over padding", "max_pool2d", image([[-inf, -inf], [-inf, -inf]]), 2, 2, 1, return_indices=True,
        gives=(image([[-inf, -inf], [-inf, -inf]]), image([[0, 1], [2, 3]]))),
    row("-inf alone, overhanging", "max_pool2d", image([[-inf] * 3] * 3), 2, 2, ceil_mode=True, return_indices=True,
        gives=(image([[-inf, -inf], [-inf, -inf]]), image([[0, 2], [6, 8]]))),
    row("inf", "max_pool2d", image([[1, inf], [inf, 2]]), 2, return_indices=True, gives=(image([[inf]]), image([[1]]))),
    row("indices are of the plane", "max_pool2d", ramp(2, 2, 2, 2), 2, return_indices=True,
        gives=(array([[[[4]], [[8]]], [[[12]], [[16]]]]), np.full((2, 2, 1, 1), 3))),
    row("to the winners", "max_pool2d_backward", image([[1, 2], [3, 4]]), np.array([[[[5, 7], [13, 15]]]]),
        (1, 1, 4, 4), gives=image([[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]])),
    row("a pixel that won twice", "max_pool2d_backward", image([[1, 10]]), np.array([[[[1, 1]]]]), (1, 1, 1, 3),
        gives=image([[0, 11, 0]])),
    row("a batch of none", "max_pool2d_backward", ones(0, 1, 1, 1), np.zeros((0, 1, 1, 1), np.int64), (0, 1, 2, 2),
        shape=(0, 1, 2, 2)),
    row("NaN is a gradient too", "max_pool2d_backward", image([[nan]]), np.array([[[[2]]]]), (1, 1, 2, 2),
        gives=image([[0, 0], [nan, 0]])),
]
# fmt: on

# -- average pooling ---------------------------------------------------------------------------------------------------

# fmt: off
AVERAGE_POOLING = [
    row("2x2", "avg_pool2d", SQUARE, 2, gives=image([[4, 5], [5, 4]])),
    row("padding counts", "avg_pool2d", image([[4, 8], [12, 16]]), 2, 2, 1, gives=image([[1, 2], [3, 4]])),
    row("or not", "avg_pool2d", image([[4, 8], [12, 16]]), 2, 2, 1, count_include_pad=False,
        gives=image([[4, 8], [12, 16]])),
    row("what overhangs does not count", "avg_pool2d", ones(1, 1, 4, 4), 3, 2, 1, True,
        near=image([[4 / 9, 2 / 3, 1 / 3], [2 / 3, 1, 1 / 2], [1 / 3, 1 / 2, 1 / 4]])),
    row("nor without the padding", "avg_pool2d", ones(1, 1, 4, 4), 3, 2, 1, True, False, gives=ones(1, 1, 3, 3)),
    row("overhang alone", "avg_pool2d", ramp(1, 1, 3, 3), 2, ceil_mode=True, gives=image([[3, 4.5], [7.5, 9]])),
    row("a divisor of one's own", "avg_pool2d", SQUARE, 2, divisor_override=2, gives=image([[8, 10], [10, 8]])),
    row("over padding too", "avg_pool2d", image([[4, 8], [12, 16]]), 2, 2, 1, False, False, 2,
        gives=image([[2, 4], [6, 8]])),
    row("a negative one", "avg_pool2d", ones(1, 1, 2, 2), 2, divisor_override=-2, gives=image([[-2]])),
    row("NaN", "avg_pool2d", image([[nan, 1, 2, 3]]), (1, 2), gives=image([[nan, 2.5]])),
    row("an equal share each", "avg_pool2d_backward", image([[4, 8], [12, 16]]), (1, 1, 4, 4), 2,
        gives=image([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])),
    row("overlapping windows add up", "avg_pool2d_backward", image([[2, 20]]), (1, 1, 1, 3), (1, 2), 1,
        gives=image([[1, 11, 10]])),
    row("pixels that no window sees", "avg_pool2d_backward", image([[2]]), (1, 1, 1, 3), (1, 2),
        gives=image([[1, 1, 0]])),
    row("the padding's share is lost", "avg_pool2d_backward", image([[4, 8], [12, 16]]), (1, 1, 2, 2), 2, 2, 1,
        gives=image([[1, 2], [3, 4]])),
    row("or not", "avg_pool2d_backward", image([[4, 8], [12, 16]]), (1, 1, 2, 2), 2, 2, 1, False, False,
        gives=image([[4, 8], [12, 16]])),
    row("overhang", "avg_pool2d_backward", image([[4, 2], [2, 1]]), (1, 1, 3, 3), 2, None, 0, True,
        gives=ones(1, 1, 3, 3)),
]
# fmt: on

# -- the rest ----------------------------------------------------------------------------------------------------------

# fmt: off
OTHERS = [
    row("x @ weight.T + bias", "linear", array([[1, 2]]), array([[1, 10], [100, 1000], [0, 0]]), array([0, 0, 7]),
        gives=array([[21, 2100, 7]])),
    row("gradients", "linear_backward", array([[1, 10]]), array([[2, 3]]), array([[1, 10], [100, 1000]]),
        gives=(array([[1001, 10_010]]), array([[2, 3], [20, 30]]), array([1, 10]))),
    row("no inputs", "linear", ones(2, 0), ones(3, 0), array([1, 2, 3]), gives=array([[1, 2, 3], [1, 2, 3]])),
    row("no rows", "linear_backward", ones(0, 2), ones(0, 3), ones(2, 3),
        gives=(ones(0, 3), np.zeros((2, 3)), np.zeros(2))),
    row("keeps NaN", "relu", array([-1, 0, 1, nan, inf, -inf]), gives=array([0, 0, 1, nan, inf, 0])),
    row("slope 0 at 0", "relu_backward", array([1, 2, 3, 4]), array([-1, 0, 1, nan]), gives=array([0, 0, 3, 4])),
    row("along the last axis", "softmax", array([[0, 0], [0, 0]]), gives=array([[0.5, 0.5], [0.5, 0.5]])),
    row("along the first axis", "softmax", array([[0, -inf], [0, 0]]), 0, gives=array([[0.5, 0], [0.5, 1]])),
    row("does not overflow", "softmax", array([1e4, 1e4]), gives=array([0.5, 0.5])),
    row("reaches below softmax", "log_softmax", array([0, -1e4]), gives=array([0, -1e4])),
    row("of equal logits is log C", "cross_entropy", ones(3, 8), np.array([0, 1, 2]), near=np.log(8)),
    row("sum", "cross_entropy", ones(3, 8), np.array([0, 1, 2]), reduction="sum", near=3 * np.log(8)),
    row("none", "cross_entropy", ones(3, 8), np.array([0, 1, 2]), reduction="none", near=np.log([8, 8, 8])),
    row("weights weigh the mean", "cross_entropy", array([[0, 0], [0, -inf]]), np.array([0, 0]), array([3, 1]),
        near=np.log(2) / 2),
    row("ignored rows do not count", "cross_entropy", ones(3, 8), np.array([0, -100, 2]), near=np.log(8)),
    row("nothing counts: NaN", "cross_entropy", ones(1, 8), np.array([-100]), near=nan),
    row("one image", "cross_entropy", ones(4), 2, near=np.log(4)),
    row("p - target", "cross_entropy_backward", ones(1, 4), np.array([2]), gives=array([[0.25, 0.25, -0.75, 0.25]])),
    row("smoothed", "cross_entropy_backward", ones(1, 4), np.array([2]), label_smoothing=1.0,
        gives=array([[0, 0, 0, 0]])),
    row("mean", "cross_entropy_backward", ones(2, 2), np.array([0, 1]), gives=array([[-0.25, 0.25], [0.25, -0.25]])),
    row("ignored", "cross_entropy_backward", ones(2, 2), np.array([0, -100]), gives=array([[-0.5, 0.5], [0, 0]])),
    row("p = 0 keeps all", "dropout", ramp(3), 0.0, gives=ramp(3)),
    row("p = 1 drops all", "dropout", ramp(3), 1.0, gives=np.zeros(3)),
    row("not in training", "dropout", ramp(3), 0.5, False, gives=ramp(3)),
    row("keeps by the mask", "dropout_backward", ramp(3), np.array([1, 0, 1], np.uint8), 0.5, gives=array([2, 0, 6])),
    row("keeps channels by the mask", "dropout2d_backward", ramp(2, 1, 2), np.array([0, 1], np.uint8), 0.75,
        gives=array([[[0, 0]], [[12, 16]]])),
]
# fmt: on

# -- what is refused ---------------------------------------------------------------------------------------------------

# fmt: off
REFUSED = [
    row("channels that do not fit", "conv2d", ones(1, 3, 8, 8), ones(4, 2, 3, 3),
        refused=ShapeError, says=r"weight has 2 .* x has 3 .* \(4, 3, 3, 3\)"),
    row("groups that do not divide", "conv2d", ones(1, 3, 8, 8), ones(4, 1, 3, 3), groups=2,
        refused=ShapeError, says="groups"),
    row("bias of another length", "conv2d", ones(1, 3, 8, 8), ones(4, 3, 3, 3), ones(3),
        refused=ShapeError, says="bias"),
    row("'same' with a stride", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), stride=2, padding="same",
        refused=ShapeError, says="same.*stride"),
    row("another word", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), padding="full",
        refused=ShapeError, says="padding.*full"),
    row("a window that does not fit", "conv2d", ones(1, 1, 2, 2), ones(1, 1, 3, 3), refused=ShapeError, says="conv2d"),
    row("stride 0", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), stride=0, refused=ShapeError, says="stride"),
    row("negative padding", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), padding=-1,
        refused=ShapeError, says="padding"),
    row("a fraction", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), stride=1.5, refused=TypeError, says="stride.*1.5"),
    row("a bool", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 3, 3), groups=True, refused=TypeError, says="groups"),
    row("an empty kernel", "conv2d", ones(1, 1, 8, 8), ones(1, 1, 0, 3), refused=ShapeError, says="weight"),
    row("two axes", "conv2d", ones(8, 8), ones(1, 1, 3, 3), refused=ShapeError, says="x"),
    row("integers", "conv2d", np.ones((1, 1, 8, 8), int), ones(1, 1, 3, 3), refused=TypeError, says="x.*int64"),
    row("half precision", "conv2d", np.ones((1, 1, 8, 8), np.float16), ones(1, 1, 3, 3),
        refused=TypeError, says="float16"),
    row("grad_y of another shape", "conv2d_backward", ones(1, 1, 2, 2), ones(1, 1, 8, 8), ones(1, 1, 3, 3),
        refused=ShapeError, says="grad_y"),
    row("padding over half the window", "max_pool2d", ones(1, 1, 8, 8), 2, 2, 2, refused=ShapeError, says="padding"),
    row("padding over half the window", "avg_pool2d", ones(1, 1, 8, 8), 3, 2, 2, refused=ShapeError, says="padding"),
    row("a window of padding alone", "max_pool2d", ones(1, 1, 2, 2), 2, 1, 1, 3, refused=ShapeError, says="dilation"),
    row("divisor 0", "avg_pool2d", ones(1, 1, 8, 8), 2, divisor_override=0,
        refused=ShapeError, says="divisor_override"),
    row("an index outside", "max_pool2d_backward", ones(1, 1, 1, 1), np.array([[[[4]]]]), (1, 1, 2, 2),
        refused=ShapeError, says="indices.*4"),
    row("indices of another dtype", "max_pool2d_backward", ones(1, 1, 1, 1), np.zeros((1, 1, 1, 1), np.int32),
        (1, 1, 2, 2), refused=TypeError, says="indices"),
    row("features that do not fit", "linear", ones(2, 3), ones(4, 5), refused=ShapeError, says="x.*5"),
    row("no such axis", "softmax", ones(2, 3), 2, refused=ShapeError, says="dim"),
    row("no such class", "cross_entropy", ones(2, 3), np.array([0, 3]), refused=ShapeError, says="target.*3"),
    row("a negative class", "cross_entropy", ones(2, 3), np.array([0, -1]), refused=ShapeError, says="target.*-1"),
    row("targets that are floats", "cross_entropy", ones(2, 3), array([0, 1]), refused=TypeError, says="target"),
    row("another reduction", "cross_entropy", ones(2, 3), np.array([0, 1]), reduction="avg",
        refused=ShapeError, says="reduction"),
    row("p over 1", "dropout", ones(3), 1.5, refused=ShapeError, says="p"),
]
# fmt: on

CASES = [*SIZES, *CONVOLUTION, *MAX_POOLING, *AVERAGE_POOLING, *OTHERS]


def cast(value, dtype):
    """Floating-point arrays in the dtype of the run; everything else as it is."""
    return value.astype(dtype) if type(value) is np.ndarray and value.dtype == np.float64 else value


def run(module, case, dtype):
    args = [cast(arg, dtype) for arg in case.args]
    with np.errstate(invalid="ignore"):  # the reference computes inf - inf as NumPy does, and warns
        return getattr(module, case.op)(*args, **case.options)


def check(module, case, dtype):
    result = run(module, case, dtype)
    if case.shape is not None:
        assert result.shape == case.shape
    if case.near is not None:
        expected = case.near if isinstance(case.near, tuple) else (case.near,)
        for one, right in zip(result if isinstance(result, tuple) else (result,), expected, strict=True):
            if right is not None:
                np.testing.assert_allclose(one, right, rtol=8 * np.finfo(dtype).eps)
    if case.gives is not None:
        expected = case.gives if isinstance(case.gives, tuple) else (case.gives,)
        for one, right in zip(result if isinstance(result, tuple) else (result,), expected, strict=True):
            if right is None:
                assert one is None
            else:
                np.testing.assert_array_equal(one, right)
                assert np.shape(one) == np.shape(right)
                assert isinstance(one, float) or one.dtype in (dtype, np.int64)


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


def test_rows_have_names_of_their_own():
    names = [case.name for case in [*CASES, *REFUSED]]
    assert len(set(names)) == len(names)


def test_rows_expect_something():
    assert all(case.gives is not None or case.near is not None or case.shape is not None for case in CASES)
    assert all(case.refused and case.says for case in REFUSED)


def test_shape_error_is_what_numpy_and_pytorch_users_catch():
    assert issubclass(ShapeError, ValueError)
    assert issubclass(ShapeError, RuntimeError)
