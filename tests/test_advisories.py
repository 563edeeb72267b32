"""Published flaws of TensorFlow and PyTorch around convolution and pooling, one test each: what went wrong there, what
is done here.  Each runs in a Python of its own, so that a crash is a failed test.
"""

import pytest
from test_hostile import in_child

REFUSE = """
import re
def refused(call, pattern, kind=fastconv.ShapeError):
    try:
        result = call()
    except kind as error:
        assert re.search(pattern, str(error)), error
    else:
        raise AssertionError(f"not refused: {result}")
f = lambda *shape: np.ones(shape, np.float32)
"""

ADVISORIES = {
    # Conv2DBackpropFilter divided by a number of channels that the caller gave: 0.  0 is refused.
    "CVE-2021-29524": """
        refused(lambda: fastconv.conv2d_backward(f(1, 1, 1, 1), f(1, 1, 1, 1), f(1, 0, 1, 1)), "weight")
        refused(lambda: fastconv.conv2d_backward(f(1, 1, 1, 1), f(1, 0, 1, 1), f(1, 0, 1, 1)), "empty")
        refused(lambda: fastconv.conv2d_backward(f(1, 1, 1, 1), f(1, 1, 1, 1), f(1, 1, 1, 1), groups=0), "groups")
    """,
    # Conv2DBackpropFilter divided by a unit's work, 0 where all shapes are empty.  Refused; no images give zeros.
    "CVE-2021-29538": """
        refused(lambda: fastconv.conv2d_backward(f(0, 0, 0, 0), f(0, 0, 0, 0), f(0, 0, 0, 0)), "empty")
        refused(lambda: fastconv.conv2d_backward(f(0, 1, 0, 0), f(0, 1, 0, 0), f(1, 1, 1, 1)), "empty")
        gradients = fastconv.conv2d_backward(f(0, 2, 3, 3), f(0, 1, 3, 3), f(2, 1, 1, 1))
        assert [g.shape for g in gradients] == [(0, 1, 3, 3), (2, 1, 1, 1), (2,)] and not gradients[1].any()
    """,
    # Conv2DBackpropFilter trusted filter sizes that did not match the filter: heap overflow.  Sizes are the weight's
    # own, and grad_y must have exactly the shape that they give.
    "CVE-2021-29540": """
        x, weight = f(1, 3, 8, 8), f(4, 3, 3, 3)
        for shape in ((1, 4, 8, 8), (1, 4, 5, 6), (1, 5, 6, 6), (2, 4, 6, 6), (4, 6, 6), (1, 4, 6, 0)):
            refused(lambda: fastconv.conv2d_backward(f(*shape), x, weight), "grad_y")
        refused(lambda: fastconv.conv2d_backward(f(1, 4, 6, 6), x, f(4, 2, 3, 3)), "weight")
    """,
    # MaxPoolGradWithArgmax used one index into two arrays of other sizes: reads outside.  Shapes must be equal.
    "CVE-2021-29570": """
        zeros = lambda *shape: np.zeros(shape, np.int64)
        for shape in ((1, 2, 2, 1), (1, 2, 1, 2), (1, 1, 2, 2), (2, 2, 2, 2), (2, 2, 2), (1, 2, 0, 2)):
            refused(lambda: fastconv.max_pool2d_backward(f(1, 2, 2, 2), zeros(*shape), (1, 2, 4, 4)), "indices")
        refused(lambda: fastconv.max_pool2d_backward(f(1, 2, 2, 2), zeros(1, 2, 2, 2), (1, 3, 4, 4)), "grad_y")
        refused(lambda: fastconv.max_pool2d_backward(f(1, 2, 2, 2), zeros(1, 2, 2, 2), (1, 2, 0, 4)), "input_shape")
    """,
    # MaxPoolGrad did not check all indices against their arrays: heap overflow.  Each is checked where it is used.
    "CVE-2021-29579": """
        for wrong in (-1, 16, 17, 2**31, 2**32, 2**63 - 1, -2**63):
            indices = np.zeros((1, 2, 2, 2), np.int64)
            indices[0, 1, 1, 1] = wrong
            refused(lambda: fastconv.max_pool2d_backward(f(1, 2, 2, 2), indices, (1, 2, 4, 4)), f"got {wrong}")
        indices[...] = 0
        refused(lambda: fastconv.max_pool2d_backward(f(1, 2, 2, 2), indices, (1, 2)), "input_shape")
    """,
    # TFLite's DepthwiseConv divided by the channels of its input: 0.  Refused.
    "CVE-2021-29602": """
        refused(lambda: fastconv.conv2d(f(1, 0, 5, 5), f(4, 1, 3, 3), groups=4), "x|groups|weight")
        refused(lambda: fastconv.conv2d(f(1, 0, 5, 5), f(0, 1, 3, 3), groups=0), "groups|empty")
        refused(lambda: fastconv.conv2d(f(1, 0, 5, 5), f(4, 0, 3, 3)), "empty")
    """,
    # Convolutions divided by a size of an empty filter.  Refused, in every direction and for every empty axis.
    "CVE-2021-41209": """
        for shape in ((0, 3, 3, 3), (4, 0, 3, 3), (4, 3, 0, 3), (4, 3, 3, 0), (0, 0, 0, 0)):
            refused(lambda: fastconv.conv2d(f(1, 3, 5, 5), f(*shape)), "weight")
            refused(lambda: fastconv.conv2d(f(1, 3, 5, 5), f(*shape), padding=2), "weight")
            refused(lambda: fastconv.conv2d_backward(f(1, 4, 3, 3), f(1, 3, 5, 5), f(*shape)), "weight")
            refused(lambda: fastconv.conv_transpose2d(f(1, 3, 5, 5), f(*shape)), "weight")
    """,
    # FractionalMaxPool divided by the size of a result, 0.  Windows, strides and results of size 0 are refused.
    "CVE-2022-21735": """
        x = f(1, 1, 5, 5)
        for pool in (fastconv.max_pool2d, fastconv.avg_pool2d):
            refused(lambda: pool(x, 0), "kernel_size.*got 0")
            refused(lambda: pool(x, (2, 0)), "kernel_size.*got")
            refused(lambda: pool(x, 2, 0), "stride.*got 0")
            refused(lambda: pool(x, 6), "kernel_size")
            refused(lambda: pool(x, 0.5), "kernel_size", TypeError)
        try:
            assert fastconv.adaptive_avg_pool2d(x, 0).shape == (1, 1, 0, 0)  # as PyTorch's: nothing
        except fastconv.ShapeError as error:
            assert "output_size" in str(error)
    """,
    # tf.reshape ended the process where the number of elements overflowed.  Shapes are multiplied as Python's integers.
    "CVE-2022-35934": """
        index = np.zeros((1, 1, 1), np.int64)
        for size in (2**31, 2**32, 2**62, 2**63, 2**64, 10**30):
            refused(lambda: fastconv.max_pool2d_backward(f(1, 1, 1), index, (1, size, size)), "input_shape|too large")
            refused(lambda: fastconv.avg_pool2d_backward(f(1, 1, 1), (1, size, size), size), "too large|kernel_size")
            refused(lambda: fastconv.adaptive_avg_pool2d_backward(f(1, 1, 1), (1, size, size)), "input_shape|too large")
            refused(lambda: fastconv.fold(f(1, 1, 1), size, size), "fold")
    """,
    # AvgPoolGrad trusted window, stride and input shape that did not give the gradient's shape: heap overflow.
    "CVE-2023-25664": """
        for shape in ((1, 2, 3, 3), (1, 2, 2, 1), (1, 1, 2, 2), (2, 2, 2, 2), (2, 2, 2), (1, 2, 0, 2)):
            refused(lambda: fastconv.avg_pool2d_backward(f(*shape), (1, 2, 4, 4), 2), "grad_y|input_shape")
        refused(lambda: fastconv.avg_pool2d_backward(f(1, 2, 2, 2), (1, 2, 4, 4), 1), "grad_y")
        refused(lambda: fastconv.avg_pool2d_backward(f(1, 2, 2, 2), (1, 2, 4, 4), 2, 1), "grad_y")
        refused(lambda: fastconv.avg_pool2d_backward(f(1, 2, 2, 2), (1, 2, 4, 4), 39), "kernel_size")
        refused(lambda: fastconv.avg_pool2d_backward(f(1, 2, 2, 2), (1, 2, 4, -4), 2), "input_shape")
    """,
    # Shard's callbacks took ranges of 64 bits as int: truncated beyond 2**31 elements.  Counts are ptrdiff_t here: a
    # plane of more elements than 32 bits count, of which only a few are ever read.
    "CVE-2020-15202": """
        W = 2**31 + 2**21
        try:
            x = np.zeros((1, 1, 1, W), np.float32)  # the system gives no memory before it is written to
        except MemoryError:
            print("done")
            raise SystemExit
        x[..., 2**31] = 7
        for threads in (1, 2):
            fastconv.set_num_threads(threads)
            y, indices = fastconv.max_pool2d(x, 1, (1, 2**20), return_indices=True)
            assert y.shape == (1, 1, 1, 2**11 + 2) and y[..., 2**11] == 7 and y.sum() == 7
            assert np.array_equal(indices.ravel(), np.arange(2**11 + 2) * 2**20)
            assert fastconv.avg_pool2d(x, 1, (1, 2**20)).ravel()[2**11] == 7
    """,
    # mkldnn_max_pool2d divided by a stride of 0.  Refused, as is everything else that is 0 or less.
    "CVE-2025-2953": """
        x = f(2, 64, 32, 32)
        for stride in (0, (0, 0), (1, 0), (0, 1), -1, (-1, 1), [0, 0]):
            refused(lambda: fastconv.max_pool2d(x, 3, stride), "stride must be at least 1")
            refused(lambda: fastconv.avg_pool2d(x, 3, stride), "stride must be at least 1")
            refused(lambda: fastconv.conv2d(x, f(4, 64, 3, 3), stride=stride), "stride must be at least 1")
        refused(lambda: fastconv.max_pool2d(x, 3, ()), "stride")
        refused(lambda: fastconv.max_pool2d(x, 3, 1, 0, 0), "dilation must be at least 1")
    """,
}


@pytest.mark.parametrize("name", ADVISORIES)
def test_not_here(name: str) -> None:
    lines = [line.removeprefix("        ") for line in ADVISORIES[name].splitlines()]
    in_child(REFUSE + "\n".join(lines))
