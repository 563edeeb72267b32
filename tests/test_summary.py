"""`Module.summary`: the table of layers, shapes, parameters and memory."""

import numpy as np
import pytest

from fastconv import ShapeError, models, nn

CNN = """\
Sequential
------------------------------------------
layer (type)   output shape     parameters
------------------------------------------
input          (N, 1, 28, 28)
0 (Conv2d)     (N, 32, 28, 28)         320
1 (ReLU)       (N, 32, 28, 28)           0
2 (MaxPool2d)  (N, 32, 14, 14)           0
3 (Conv2d)     (N, 64, 14, 14)      18,496
4 (ReLU)       (N, 64, 14, 14)           0
5 (MaxPool2d)  (N, 64, 7, 7)             0
6 (Dropout)    (N, 64, 7, 7)             0
7 (Flatten)    (N, 3136)                 0
8 (Linear)     (N, 128)            401,536
9 (ReLU)       (N, 128)                  0
10 (Linear)    (N, 10)               1,290
------------------------------------------
parameters: 421,642
trainable:  421,642
buffers:    0
memory:     1.69 MB of parameters and buffers, 43.5 MB of activations for a batch of 128"""


def test_the_table(capsys):
    summary = models.build("cnn", rng=0).summary((1, 28, 28))
    assert str(summary) == CNN
    assert repr(summary) == CNN
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", models.names())
def test_shapes_are_those_of_a_forward(name):
    model = models.build(name, rng=0).eval()
    summary = model.summary(models.INPUT_SHAPE)
    x = np.zeros((1, *models.INPUT_SHAPE), np.float32)
    for row, layer in zip(summary.rows, model, strict=True):
        x = layer(x)
        assert row.output_shape == x.shape
        assert row.parameters == sum(parameter.size for parameter in layer.parameters())
        assert (row.calls, row.depth) == (1, 0)
    assert summary.parameters == summary.trainable == sum(parameter.size for parameter in model.parameters())


def test_nested_networks():
    model = models.resnet_small(rng=0)
    summary = model.summary((1, 28, 28))
    rows = {row.name: row for row in summary.rows}
    assert rows["layer2.0.downsample.0"].output_shape == (1, 32, 14, 14)
    assert rows["layer2.0.downsample.0"].depth == 3
    assert rows["layer3.0.bn2"].parameters == 128
    assert rows["fc"].output_shape == (1, 10)
    assert sum(row.parameters for row in summary.rows) == summary.parameters == 77_754
    assert summary.buffers == sum(array.size for array in model.buffers())
    assert "\n      0 (Conv2d)             (N, 32, 14, 14)         512\n" in str(summary)
    inner = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))  # which would run as one kernel
    names = [row.name for row in nn.Sequential(inner, nn.Flatten(), nn.Linear(676, 10)).summary((1, 28, 28)).rows]
    assert names == ["0", "0.0", "0.1", "0.2", "1", "2"]


def test_memory():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, dtype=np.float64), nn.ReLU(), nn.Dropout(), nn.Flatten())
    summary = model.summary((1, 5, 5), batch_size=10)
    assert summary.parameter_bytes == (2 * 9 + 2) * 8
    assert summary.activation_bytes == 10 * 2 * (2 * 3 * 3) * 8  # dropout passes on, Flatten gives a view


def test_one_layer_is_a_network():
    (row,) = nn.Conv2d(1, 2, 3).summary((1, 4, 4)).rows
    assert (row.kind, row.output_shape, row.parameters) == ("Conv2d", (1, 2, 2, 2), 20)
    assert "\nConv2d        (N, 2, 2, 2)          20\n" in str(nn.Conv2d(1, 2, 3).summary((1, 4, 4)))


class Twice(nn.Module):
    """One layer called twice, and one never."""

    def __init__(self):
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.unused = nn.Linear(3, 4)

    def forward(self, x):
        self._keep()
        return self.conv(self.conv(x))


def test_modules_of_ones_own():
    summary = Twice().summary((2, 5, 5))
    conv, unused = summary.rows
    assert (conv.calls, conv.output_shape) == (2, (1, 2, 5, 5))
    assert (unused.calls, unused.output_shape, unused.parameters) == (0, None, 16)
    assert "(N, 2, 5, 5) x2" in str(summary)
    assert "not called" in str(summary)
    assert summary.parameters == 38 + 16


def test_the_network_stays_as_it_is():
    model = nn.Sequential(nn.Conv2d(1, 3, 3, rng=np.random.default_rng(0)), nn.BatchNorm2d(3), nn.Dropout(), nn.ReLU())
    x = np.random.default_rng(1).random((2, 1, 8, 8), np.float32)
    model(x)  # what it keeps for backward must be there afterwards
    before, kept = model.state_dict(), [layer._saved for layer in model]
    model.summary((1, 8, 8))
    assert model.training
    assert all(layer.training and "forward" not in vars(layer) for layer in model)
    assert all(now is then for now, then in zip([layer._saved for layer in model], kept, strict=True))
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert model.backward(np.ones((2, 3, 6, 6), np.float32)).shape == x.shape


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (models.build("cnn", rng=0), (1, 32, 28), ["layer 8, Linear(in_features=3136", "(N, 3584)", "3136"]),
        (models.build("cnn", rng=0), (3, 28, 28), ["layer 0, Conv2d(1, 32", "(N, 3, 28, 28)"]),
        (models.build("cnn", rng=0), (1, 1, 1), ["layer 2, MaxPool2d"]),
        (models.resnet_small(rng=0), (3, 28, 28), ["ResNet.summary", "layer conv1, Conv2d(1, 16"]),
        (nn.Sequential(nn.Sequential(nn.ReLU(), nn.Linear(3, 4))), (4,), ["layer 0.1, Linear"]),
        (nn.ReLU(), (), ["input_shape"]),
        (nn.ReLU(), (1, 0, 3), ["at least 1"]),
        (nn.ReLU(), (1 << 20, 1 << 20), ["input_shape"]),
        (nn.ReLU(), (1 << 40, 1 << 40), ["input_shape"]),
    ],
)
def test_inputs_that_do_not_fit(model, shape, words):
    with pytest.raises(ShapeError) as error:
        model.summary(shape)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("shape", [28, "28", None, (1.5, 2), (True, 2), (None,)])
def test_inputs_of_another_type(shape):
    with pytest.raises(TypeError, match="input_shape"):
        nn.ReLU().summary(shape)


def test_batch_size_is_checked():
    with pytest.raises(ShapeError, match="batch_size must be at least 1"):
        nn.ReLU().summary((2,), batch_size=0)
