"""The semantics of conv_transpose2d, unfold and fold as a table; test_conformance.py says how it is read."""

import numpy as np
import pytest
from test_conformance import DIGITS, TWO, array, check, image, inf, nan, ones, ramp, row, run

from fastconv import ShapeError, ops, reference

# fmt: off
TRANSPOSED = [
    row("windows side by side", "conv_transpose2d", TWO, DIGITS, stride=2,
        gives=image([[1, 10, 2, 20], [100, 1000, 200, 2000], [3, 30, 4, 40], [300, 3000, 400, 4000]])),
    row("windows that overlap", "conv_transpose2d", TWO, DIGITS,
        gives=image([[1, 12, 20], [103, 1234, 2040], [300, 3400, 4000]])),
    row("padding cuts off", "conv_transpose2d", TWO, DIGITS, padding=(0, 1), gives=image([[12], [1234], [3400]])),
    row("padding over the whole kernel", "conv_transpose2d", ones(1, 1, 6, 6), DIGITS, padding=3,
        gives=image([[1111]])),
    row("output_padding is at the bottom and right", "conv_transpose2d", image([[1]]), DIGITS, stride=2,
        output_padding=(1, 0), gives=image([[1, 10], [100, 1000], [0, 0]])),
    row("output_padding has the bias", "conv_transpose2d", image([[1]]), DIGITS, array([5]), stride=2,
        output_padding=(0, 1), gives=image([[6, 15, 5], [105, 1005, 5]])),
    row("output_padding uncovers what padding cut off", "conv_transpose2d", TWO, DIGITS, stride=2, padding=1,
        output_padding=1, gives=image([[1000, 200, 2000], [30, 4, 40], [3000, 400, 4000]])),
    row("output_padding below dilation", "conv_transpose2d", image([[1]]), image([[1, 10]]), dilation=3,
        output_padding=2, gives=image([[1, 0, 0, 10, 0, 0], [0] * 6, [0] * 6])),
    row("dilation of one tap counts for output_padding", "conv_transpose2d", image([[7]]), image([[1]]), dilation=3,
        output_padding=(0, 2), gives=image([[7, 0, 0]])),
    row("dilation", "conv_transpose2d", image([[1, 2]]), image([[1, 10]]), dilation=2, gives=image([[1, 2, 10, 20]])),
    row("a stride over the kernel", "conv_transpose2d", image([[1, 2]]), image([[1, 10]]), array([3]), stride=(1, 4),
        gives=image([[4, 13, 3, 3, 5, 23]])),
    row("weight is (in, out / groups)", "conv_transpose2d", ones(1, 2, 1, 1), ramp(2, 3, 1, 1),
        gives=array([[[[5]], [[7]], [[9]]]])),
    row("groups", "conv_transpose2d", ones(1, 2, 1, 1), ramp(2, 3, 1, 1), groups=2,
        gives=ramp(1, 6, 1, 1)),
    row("groups of two", "conv_transpose2d", ramp(1, 4, 1, 1), ones(4, 1, 1, 1), array([0, 100]), groups=2,
        gives=array([[[[3]], [[107]]]])),
    row("one image", "conv_transpose2d", TWO[0], DIGITS, stride=2, padding=1, gives=image([[1000, 200], [30, 4]])[0]),
    row("batch of 0", "conv_transpose2d", ones(0, 2, 3, 3), ones(2, 4, 3, 3), stride=2, shape=(0, 4, 7, 7)),
    row("(H - 1)s - 2p + d(k - 1) + op + 1", "conv_transpose2d", ones(1, 1, 5, 6), ones(1, 1, 3, 4), stride=(2, 3),
        padding=(1, 2), output_padding=(1, 3), dilation=(2, 4), shape=(1, 1, 12, 27)),
    row("NaN stays in its window", "conv_transpose2d", image([[1, nan]]), image([[1, 1]]), stride=2,
        gives=image([[1, 1, nan, nan]])),
    row("a weight over the padding is left out", "conv_transpose2d", image([[1, 2]]), image([[inf, 1]]), stride=3,
        padding=(0, 1), gives=image([[1, 0, inf]])),
    row("gradients", "conv_transpose2d_backward", image([[1, 2], [3, 4]]), image([[5]]), DIGITS,
        gives=(image([[4321]]), image([[5, 10], [15, 20]]), array([10]))),
    row("gradients past the last window", "conv_transpose2d_backward", image([[1, 2, 9]]), image([[5]]),
        image([[1, 10]]), stride=2, output_padding=(0, 1), gives=(image([[21]]), image([[5, 10]]), array([12]))),
    row("gradients of no images", "conv_transpose2d_backward", ones(0, 1, 2, 2), ones(0, 1, 1, 1), ones(1, 1, 2, 2),
        gives=(ones(0, 1, 1, 1), np.zeros((1, 1, 2, 2)), array([0]))),
    row("what is not needed is None", "conv_transpose2d_backward", image([[1, 2], [3, 4]]), image([[5]]), DIGITS,
        need=(True, False, False), gives=(image([[4321]]), None, None)),
]

COLUMNS = [
    row("row c*R*S + r*S + s, column oy*OW + ox", "unfold", ramp(1, 2, 2, 3), (1, 2), gives=array(
        [[[1, 2, 4, 5], [2, 3, 5, 6], [7, 8, 10, 11], [8, 9, 11, 12]]])),
    row("padding", "unfold", image([[1, 2]]), (1, 3), 1, (0, 1), gives=array([[[0, 1], [1, 2], [2, 0]]])),
    row("padding alone", "unfold", image([[1]]), 1, 1, 1, gives=array([[[0, 0, 0, 0, 1, 0, 0, 0, 0]]])),
    row("stride", "unfold", ramp(1, 1, 1, 5), (1, 2), stride=3, gives=array([[[1, 4], [2, 5]]])),
    row("stride past the end", "unfold", ramp(1, 1, 1, 5), (1, 2), stride=9, gives=array([[[1], [2]]])),
    row("dilation", "unfold", ramp(1, 1, 1, 4), (1, 2), 2, gives=array([[[1, 2], [3, 4]]])),
    row("one image", "unfold", ramp(1, 1, 3), (1, 2), gives=array([[1, 2], [2, 3]])),
    row("batch of 0", "unfold", ones(0, 3, 4, 4), 2, shape=(0, 12, 9)),
    row("adds what overlaps", "fold", ones(1, 4, 4), 3, 2, gives=image([[1, 2, 1], [2, 4, 2], [1, 2, 1]])),
    row("leaves padding out", "fold", array([[[7, 1], [1, 2], [2, 7]]]), (1, 2), (1, 3), 1, (0, 1),
        gives=image([[2, 4]])),
    row("leaves NaN in padding out", "fold", array([[[nan, 1], [1, 2], [2, nan]]]), (1, 2), (1, 3), 1, (0, 1),
        gives=image([[2, 4]])),
    row("zero where no window is", "fold", array([[[1, 4], [2, 5]]]), (1, 6), (1, 2), stride=3,
        gives=image([[1, 2, 0, 4, 5, 0]])),
    row("channels", "fold", ramp(1, 4, 1), (1, 2), (1, 2), gives=array([[[[1, 2]], [[3, 4]]]])),
    row("one image", "fold", array([[1, 2], [2, 3]]), (1, 3), (1, 2), gives=array([[[1, 4, 3]]])),
    row("batch of 0", "fold", ones(0, 12, 9), 4, 2, shape=(0, 3, 4, 4)),
    row("folds", "unfold_backward", ones(2, 3), (1, 1, 4), (1, 2), gives=array([[[1, 2, 2, 1]]])),
    row("reaches the input's last rows", "unfold_backward", ones(1, 4, 1), (1, 1, 3, 3), 2, stride=2,
        gives=image([[1, 1, 0], [1, 1, 0], [0, 0, 0]])),
    row("unfolds", "fold_backward", array([[[5, 6, 7]]]), (1, 2), gives=array([[5, 6], [6, 7]])),
    row("has zeros for the padding", "fold_backward", image([[5, 6]]), (1, 3), 1, (0, 1),
        gives=array([[[0, 5], [5, 6], [6, 0]]])),
]

REFUSED = [
    row("output_padding of a stride", "conv_transpose2d", TWO, DIGITS, stride=2, output_padding=2,
        refused=ShapeError, says="output_padding must be smaller than stride or dilation, got output_padding=2"),
    row("output_padding along one axis", "conv_transpose2d", TWO, DIGITS, stride=(1, 3), output_padding=(1, 0),
        refused=ShapeError, says=r"output_padding=\(1, 0\) with stride=\(1, 3\)"),
    row("nothing left", "conv_transpose2d", TWO, ones(1, 1, 3, 3), padding=2,
        refused=ShapeError, says=r"padding=2 leaves nothing of the output of \(4, 4\)"),
    row("less than nothing left", "conv_transpose2d", image([[1]]), ones(1, 1, 3, 3), padding=2,
        refused=ShapeError, says="padding=2 leaves nothing"),
    row("'same'", "conv_transpose2d", TWO, DIGITS, padding="same", refused=TypeError, says="padding.*'same'"),
    row("conv2d's weight", "conv_transpose2d", ones(1, 3, 4, 4), ones(8, 3, 2, 2),
        refused=ShapeError, says=r"weight has 8 input channels but x has 3 .*\(3, 3, 2, 2\)"),
    row("groups that do not divide", "conv_transpose2d", ones(1, 4, 4, 4), ones(4, 1, 2, 2), groups=3,
        refused=ShapeError, says="groups must divide the 4 channels"),
    row("bias of a group", "conv_transpose2d", ones(1, 4, 4, 4), ones(4, 1, 2, 2), ones(1), groups=2,
        refused=ShapeError, says=r"bias has shape \(1,\) .* \(2,\)"),
    row("an empty weight", "conv_transpose2d", ones(1, 4, 4, 4), ones(4, 0, 2, 2), refused=ShapeError, says="weight"),
    row("grad_y of another shape", "conv_transpose2d_backward", ones(1, 1, 2, 2), TWO, DIGITS,
        refused=ShapeError, says=r"grad_y has shape \(1, 1, 2, 2\), expected .*\(1, 1, 3, 3\)"),
    row("a window that does not fit", "unfold", TWO, 3, refused=ShapeError, says=r"\(3, 3\) pixels.*\(2, 2\)"),
    row("an empty window", "unfold", TWO, 0, refused=ShapeError, says="kernel_size must be at least 1"),
    row("no channels", "unfold", ones(1, 0, 4, 4), 2, refused=ShapeError, says="x must not be empty"),
    row("one axis too few", "unfold", ones(4, 4), 2, refused=ShapeError, says="x must have shape"),
    row("rows that are no windows", "fold", ones(1, 8, 4), 4, 3, refused=ShapeError, says="multiple of 9 rows"),
    row("too many columns", "fold", ones(1, 9, 5), 4, 3, refused=ShapeError, says=r"5 windows .* 2 x 2 .*\(1, 9, 4\)"),
    row("no columns", "fold", ones(1, 9, 0), 2, 3, refused=ShapeError, says="x must not be empty"),
    row("an image", "fold", ones(1, 1, 9, 4), 4, 3, refused=ShapeError, says="x must have shape"),
    row("no pixels", "fold", ones(1, 9, 1), 0, 3, 1, 2, refused=ShapeError, says="output_size must be at least 1"),
    row("a window over the image", "fold", ones(1, 9, 1), 2, 3, refused=ShapeError, says="kernel_size"),
    row("columns of another image", "unfold_backward", ones(1, 4, 4), (1, 1, 4, 4), 2,
        refused=ShapeError, says=r"grad_y has shape \(1, 4, 4\), expected .*\(1, 4, 9\)"),
    row("another batch", "unfold_backward", ones(2, 4, 9), (1, 1, 4, 4), 2, refused=ShapeError, says="grad_y"),
    row("a window that does not fit", "fold_backward", TWO, 3, refused=ShapeError, says="kernel_size"),
]
# fmt: on

CASES = [*TRANSPOSED, *COLUMNS]


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
