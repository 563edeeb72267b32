"""What a first course on convolutional networks says, line by line, and true of this package.

Each test is a lesson of a few lines that can be typed into a prompt: what a filter sees, how convolution in networks
differs from that of mathematics, what pooling keeps, how large an output is, and why weights must begin unequal.
"""

import numpy as np
import pytest

import fastconv
from fastconv import models, nn, optim, reference

# -- 1. a filter looks for something -----------------------------------------------------------------------------------

# A bright square in the upper left, 3 pixels wide and high ...
SQUARE = np.zeros((1, 1, 5, 5), np.float32)
SQUARE[0, 0, :3, :3] = 1
# ... and a filter that answers where it is brighter on the left than on the right.
VERTICAL_EDGE = np.array([[[[1, 0, -1], [1, 0, -1], [1, 0, -1]]]], np.float32)


def test_a_vertical_edge_is_found_where_it_is():
    y = fastconv.conv2d(SQUARE, VERTICAL_EDGE)
    np.testing.assert_array_equal(
        y[0, 0],
        [
            [0, 3, 3],  # nothing inside the square; 3 rows of edge beside it
            [0, 2, 2],  # the square ends: 2 rows of edge
            [0, 1, 1],
        ],
    )
    # The same, by hand, of the window in the first row and second column:
    window = SQUARE[0, 0, 0:3, 1:4]
    assert np.sum(window * VERTICAL_EDGE[0, 0]) == y[0, 0, 0, 1] == 3


def test_the_transposed_filter_finds_horizontal_edges():
    y = fastconv.conv2d(SQUARE, VERTICAL_EDGE.swapaxes(2, 3))
    np.testing.assert_array_equal(y[0, 0], fastconv.conv2d(SQUARE, VERTICAL_EDGE)[0, 0].T)  # the square is symmetric


def test_moving_the_image_moves_the_answer():
    moved = np.roll(SQUARE, 1, axis=3)
    y, y_moved = fastconv.conv2d(SQUARE, VERTICAL_EDGE, padding=1), fastconv.conv2d(moved, VERTICAL_EDGE, padding=1)
    np.testing.assert_array_equal(y_moved[..., 1:], y[..., :-1])


# -- 2. convolution in networks is cross-correlation -------------------------------------------------------------------


def flipped(weight):
    """A filter upside down and left to right."""
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1])


def test_a_network_does_not_flip_the_filter():
    """Mathematics' convolution does: it is the correlation with the flipped filter."""
    impulse = np.zeros((1, 1, 5, 5))
    impulse[0, 0, 2, 2] = 1
    weight = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    correlation = fastconv.conv2d(impulse, weight)
    convolution = fastconv.conv2d(impulse, flipped(weight))
    np.testing.assert_array_equal(correlation, flipped(weight))  # an impulse shows the filter flipped ...
    np.testing.assert_array_equal(convolution, weight)  # ... and in true convolution as it is
    # In one dimension NumPy has both.
    row, filter_ = np.array([1.0, 2, 3, 4]), np.array([1.0, 10, 100])
    y = fastconv.conv2d(row.reshape(1, 1, 4), filter_.reshape(1, 1, 1, 3)).ravel()
    np.testing.assert_array_equal(y, np.correlate(row, filter_, "valid"))
    np.testing.assert_array_equal(y, np.convolve(row, filter_[::-1], "valid"))


def test_scipy_has_both():
    """scipy.ndimage.correlate is what a network computes; .convolve flips.  Both centre the filter and pad with 0."""
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is not installed")
    x, weight = SQUARE.astype(np.float64), np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    y = fastconv.conv2d(x, weight, padding="same")[0, 0]
    np.testing.assert_array_equal(y, ndimage.correlate(x[0, 0], weight[0, 0], mode="constant"))
    flip = fastconv.conv2d(x, flipped(weight), padding="same")[0, 0]
    np.testing.assert_array_equal(flip, ndimage.convolve(x[0, 0], weight[0, 0], mode="constant"))
    assert not np.array_equal(y, flip)
    # The vertical edge's filter is its own flip but for the sign, and so is the answer.
    edge = ndimage.convolve(x[0, 0], VERTICAL_EDGE[0, 0].astype(np.float64), mode="constant")
    np.testing.assert_array_equal(-edge, fastconv.conv2d(SQUARE, VERTICAL_EDGE, padding="same")[0, 0])


def test_the_gradient_of_a_correlation_is_a_convolution():
    """grad_x of conv2d is grad_y, padded all round, correlated with the flipped filter: a true convolution."""
    rng = np.random.default_rng(0)
    grad_y, weight = rng.integers(-4, 5, (1, 1, 4, 4)) * 1.0, rng.integers(-4, 5, (1, 1, 3, 3)) * 1.0
    grad_x, _, _ = fastconv.conv2d_backward(grad_y, np.zeros((1, 1, 6, 6)), weight)
    np.testing.assert_array_equal(grad_x, fastconv.conv2d(grad_y, flipped(weight), padding=2))


# -- 3. pooling keeps what is there, and forgets where exactly ---------------------------------------------------------

NUMBERS = np.array([[[[1, 3, 2, 4], [5, 7, 6, 8], [2, 4, 1, 3], [6, 8, 5, 7]]]], np.float32)


def test_pooling_of_two_by_two():
    np.testing.assert_array_equal(fastconv.max_pool2d(NUMBERS, 2)[0, 0], [[7, 8], [8, 7]])
    np.testing.assert_array_equal(fastconv.avg_pool2d(NUMBERS, 2)[0, 0], [[4, 5], [5, 4]])
    for pool in (reference.max_pool2d, reference.avg_pool2d):  # the loops say the same
        np.testing.assert_array_equal(pool(NUMBERS, 2), getattr(fastconv, pool.__name__)(NUMBERS, 2))


def test_the_gradient_of_a_maximum_goes_to_the_winner_and_that_of_a_mean_to_all():
    y, indices = fastconv.max_pool2d(NUMBERS, 2, return_indices=True)
    grad_x = fastconv.max_pool2d_backward(np.ones_like(y), indices, NUMBERS.shape)
    np.testing.assert_array_equal(grad_x[0, 0], [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(NUMBERS[grad_x == 1], y.ravel())
    shared = fastconv.avg_pool2d_backward(np.ones_like(y), NUMBERS.shape, 2)
    np.testing.assert_array_equal(shared, np.full_like(NUMBERS, 1 / 4))


# -- 4. how large an output is -----------------------------------------------------------------------------------------


def output_size(size, kernel, stride=1, padding=0, dilation=1):
    """The formula: how often the window fits."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def test_sizes_through_the_network_cnn():
    """28 -> 28 -> 14 -> 14 -> 7, and 64 channels of 7 x 7 are the 3136 inputs of the first linear layer."""
    network, x, size = models.build("cnn", rng=0).eval(), np.zeros((1, 1, 28, 28), np.float32), 28
    sizes = [size]
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            size = output_size(size, layer.kernel_size[0], layer.stride[0], layer.padding[0], layer.dilation[0])
            assert x.shape == (1, layer.out_channels, size, size)
        elif isinstance(layer, nn.MaxPool2d):
            size = output_size(size, kernel=2, stride=2)
            assert x.shape[2:] == (size, size)
        elif isinstance(layer, nn.Flatten):
            assert x.shape == (1, 64 * size * size) == (1, 3136)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            sizes.append(size)
    assert sizes == [28, 28, 14, 14, 7]
    assert x.shape == (1, 10)


def test_weights_of_the_network_cnn():
    """A convolution has one weight a tap, input channel and filter, however large the image; and a bias a filter."""
    counts = [sum(p.size for p in layer.parameters()) for layer in models.build("cnn", rng=0)]
    assert [count for count in counts if count] == [
        32 * (1 * 3 * 3 + 1),
        64 * (32 * 3 * 3 + 1),
        128 * (3136 + 1),
        10 * (128 + 1),
    ]
    assert sum(counts) == 421_642


# -- 5. why weights begin unequal --------------------------------------------------------------------------------------


def train(same):
    """A small network of two filters, some steps of SGD; the two filters and biases, and how the loss fell."""
    rng = np.random.default_rng(1)
    conv, head = nn.Conv2d(1, 2, 3, rng=rng), nn.Linear(2 * 3 * 3, 2, rng=rng)
    if same:  # both filters, and what the head makes of the two feature maps
        conv.weight.data[1], conv.bias.data[1] = conv.weight.data[0], conv.bias.data[0]
        head.weight.data[:, 9:] = head.weight.data[:, :9]
    network = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), head)
    loss, optimizer = nn.CrossEntropyLoss(), optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x = rng.standard_normal((16, 1, 8, 8)).astype(np.float32)
    target = (x[:, 0, :, :4].sum(axis=(1, 2)) > x[:, 0, :, 4:].sum(axis=(1, 2))).astype(np.int64)
    losses = []
    for _ in range(20):
        losses.append(loss(network(x), target))
        network.backward(loss.backward())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    return conv.weight.data, conv.bias.data


def test_filters_that_begin_equal_stay_equal(isa, threads):
    """They see the same, so they are told the same: two equal filters are worth one, for ever, to the last bit."""
    weight, bias = train(same=True)
    np.testing.assert_array_equal(weight[0], weight[1])
    assert bias[0] == bias[1]


def test_filters_that_begin_different_become_different(isa, threads):
    weight, _ = train(same=False)
    assert abs(weight[0] - weight[1]).max() > 0.1
