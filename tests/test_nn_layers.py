"""Each layer: its result against the reference, its gradients against finite differences, its arguments."""

import numpy as np
import pytest

from fastconv import ShapeError, nn, reference

# name: (make the layer from options, shape of x)
LAYERS = {
    "Conv2d": (lambda **o: nn.Conv2d(2, 3, 3, **o), (2, 2, 6, 5)),
    "Conv2d, everything": (
        lambda **o: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2, False, **o),
        (2, 4, 7, 8),
    ),
    "Conv2d, same": (lambda **o: nn.Conv2d(2, 3, 4, padding="same", **o), (1, 2, 5, 5)),
    "Conv2d, one image": (lambda **o: nn.Conv2d(2, 3, 3, **o), (2, 6, 5)),
    "ConvTranspose2d": (lambda **o: nn.ConvTranspose2d(2, 3, 3, 2, **o), (2, 2, 3, 4)),
    "ConvTranspose2d, everything": (
        lambda **o: nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 1), 2, False, (1, 2), **o),
        (2, 4, 3, 6),
    ),
    "ConvTranspose2d, one image": (lambda **o: nn.ConvTranspose2d(2, 3, 2, **o), (2, 4, 5)),
    "Unfold": (lambda **o: nn.Unfold(2), (2, 3, 4, 5)),
    "Unfold, everything": (lambda **o: nn.Unfold((3, 2), (1, 2), (1, 0), (2, 1)), (2, 2, 5, 6)),
    "Fold": (lambda **o: nn.Fold((3, 4), 2), (2, 8, 6)),
    "Fold, everything": (lambda **o: nn.Fold(5, (3, 2), (1, 2), (1, 0), (2, 1)), (6, 9)),
    "Linear": (lambda **o: nn.Linear(7, 4, **o), (3, 7)),
    "Linear, no bias": (lambda **o: nn.Linear(7, 4, False, **o), (2, 3, 7)),
    "MaxPool2d": (lambda **o: nn.MaxPool2d(2), (2, 3, 6, 7)),
    "MaxPool2d, everything": (lambda **o: nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2), False, True), (2, 2, 8, 7)),
    "MaxPool2d, large window": (lambda **o: nn.MaxPool2d(17, 3), (1, 2, 20, 23)),
    "AvgPool2d": (lambda **o: nn.AvgPool2d(2), (2, 3, 6, 7)),
    "AvgPool2d, everything": (lambda **o: nn.AvgPool2d((3, 2), (2, 1), (1, 0), True, False, 5), (2, 2, 8, 7)),
    "ReLU": (lambda **o: nn.ReLU(), (3, 4, 5)),
    "Softmax": (lambda **o: nn.Softmax(1), (3, 4, 5)),
    "LogSoftmax": (lambda **o: nn.LogSoftmax(), (3, 4)),
    "Flatten": (lambda **o: nn.Flatten(), (3, 4, 5, 2)),
    "Flatten, middle": (lambda **o: nn.Flatten(1, 2), (3, 4, 5, 2)),
}


def make(name, dtype=np.float64):
    layer, shape = LAYERS[name]
    layer = layer(dtype=dtype, rng=np.random.default_rng(3))
    return layer, np.random.default_rng(4).standard_normal(shape).astype(dtype)


def naive(layer, x):
    """What the reference makes of it."""
    if isinstance(layer, nn.Conv2d):
        bias = None if layer.bias is None else layer.bias.data
        return reference.conv2d(x, layer.weight.data, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    if isinstance(layer, nn.ConvTranspose2d):
        bias = None if layer.bias is None else layer.bias.data
        window = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        return reference.conv_transpose2d(x, layer.weight.data, bias, *window)
    if isinstance(layer, nn.Unfold):
        return reference.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    if isinstance(layer, nn.Fold):
        return reference.fold(x, layer.output_size, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    if isinstance(layer, nn.Linear):
        return reference.linear(x, layer.weight.data, None if layer.bias is None else layer.bias.data)
    if isinstance(layer, nn.MaxPool2d):
        return reference.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    if isinstance(layer, nn.AvgPool2d):
        return reference.avg_pool2d(
            x,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.ceil_mode,
            layer.count_include_pad,
            layer.divisor_override,
        )
    if isinstance(layer, nn.ReLU):
        return reference.relu(x)
    if isinstance(layer, nn.LogSoftmax):
        return reference.log_softmax(x, layer.dim)
    if isinstance(layer, nn.Softmax):
        return reference.softmax(x, layer.dim)
    shape = x.shape[: layer.start_dim] + (-1,) + (x.shape[layer.end_dim :][1:] if layer.end_dim >= 0 else ())
    return x.reshape(shape)


@pytest.mark.parametrize("name", LAYERS)
def test_forward_against_the_reference(name, dtype):
    layer, x = make(name, dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for mode in (layer.train(), layer.eval()):
        y = mode(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, naive(layer, x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_against_finite_differences(name):
    layer, x = make(name)
    y = layer(x)
    grad_y = np.random.default_rng(5).standard_normal(y.shape)
    grad_x = layer.backward(grad_y)
    layer.eval()
    arrays = [(x, grad_x), *((parameter.data, parameter.grad) for parameter in layer.parameters())]
    step = 1e-6
    for array, grad in arrays:
        assert grad.shape == array.shape
        for at in np.random.default_rng(6).permutation(array.size)[:30]:
            position = np.unravel_index(at, array.shape)
            before = array[position]
            sides = []
            for value in (before + step, before - step):
                array[position] = value
                sides.append(np.sum(layer(x) * grad_y))
            array[position] = before
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(grad[position], rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith(("Conv", "Linear"))])
def test_state_dict_of_a_layer(name):
    layer, x = make(name)
    other, _ = make(name)
    other.reset_parameters(np.random.default_rng(99))
    other.load_state_dict(layer.state_dict())
    assert list(layer.state_dict()) == (["weight"] if layer.bias is None else ["weight", "bias"])
    np.testing.assert_array_equal(layer(x), other(x))


# -- how weights begin -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make_layer", "fan_in", "fan_out"),
    [
        (lambda **o: nn.Linear(400, 300, **o), 400, 300),
        (lambda **o: nn.Conv2d(32, 48, (3, 5), groups=4, **o), 8 * 15, 12 * 15),
    ],
    ids=["Linear", "Conv2d"],
)
def test_initial_weights(make_layer, fan_in, fan_out):
    bounds = {
        "default": fan_in**-0.5,
        "glorot": (6 / (fan_in + fan_out)) ** 0.5,
        "kaiming": (6 / fan_in) ** 0.5,
        0.02: 0.02,
    }
    for init, bound in bounds.items():
        layer = make_layer(rng=np.random.default_rng(7), init=init)
        assert 0.98 * bound < abs(layer.weight.data).max() <= bound
        assert layer.weight.data.std() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert abs(layer.weight.data.mean()) < 0.05 * bound
        if init == "default":
            assert 0.8 * bound < abs(layer.bias.data).max() <= bound
        else:
            assert not layer.bias.data.any()


def test_weights_come_from_the_generator_alone():
    one, two = (nn.Conv2d(2, 3, 3, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.weight.data, two.weight.data)
    np.testing.assert_array_equal(one.bias.data, two.bias.data)
    np.random.seed(0)  # noqa: NPY002 (it must make no difference)
    three = nn.Conv2d(2, 3, 3)
    np.random.seed(0)  # noqa: NPY002
    assert not np.array_equal(three.weight.data, nn.Conv2d(2, 3, 3).weight.data)
    wide = nn.Conv2d(2, 3, 3, dtype=np.float64, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(wide.weight.data.astype(np.float32), one.weight.data)


def test_reset_parameters_draws_anew():
    layer = nn.Linear(5, 4, rng=np.random.default_rng(1))
    before = layer.state_dict()
    layer.reset_parameters(np.random.default_rng(2))
    assert not np.array_equal(before["weight"], layer.weight.data)
    layer.reset_parameters(np.random.default_rng(1))
    np.testing.assert_array_equal(before["weight"], layer.weight.data)


# -- particular layers -------------------------------------------------------------------------------------------------


def test_max_pool_with_indices():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    layer = nn.MaxPool2d(2, None, 0, 1, True)  # PyTorch's order: return_indices before ceil_mode
    y, indices = layer(x)
    np.testing.assert_array_equal(indices, [[[[5, 7], [13, 15]]]])
    grad_x = layer.backward(np.ones_like(y))
    np.testing.assert_array_equal(grad_x.ravel().nonzero()[0], indices.ravel())
    y, again = layer.eval()(x)
    np.testing.assert_array_equal(again, indices)


def test_max_pool_keeps_a_byte_an_output():
    layer = nn.MaxPool2d(16)
    layer(np.zeros((1, 1, 32, 32), np.float32))
    assert layer._saved[0].dtype == np.uint8
    large = nn.MaxPool2d(17)
    large(np.zeros((1, 1, 34, 34), np.float32))
    assert large._saved[0].dtype == np.int64


@pytest.mark.parametrize("layer_type", [nn.Dropout, nn.Dropout2d])
def test_dropout(layer_type):
    x = np.ones((40, 50, 2, 2), np.float32)
    layer = layer_type(0.25, rng=np.random.default_rng(0))
    y = layer(x)
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.04)
    whole_channels = (y == y[:, :, :1, :1]).all()
    assert whole_channels == (layer_type is nn.Dropout2d)
    np.testing.assert_array_equal(layer.backward(x), y)
    again = layer_type(0.25, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again(x), y)
    assert not np.array_equal(again(x), y)
    assert layer.eval()(x) is x


def test_relu_keeps_nothing_but_its_result():
    layer, x = nn.ReLU(), np.array([-1, 2], np.float32)
    y = layer(x)
    assert layer._saved == (y,)


# -- what is refused ---------------------------------------------------------------------------------------------------

BAD = [
    (lambda: nn.Conv2d(0, 1, 3), ShapeError, "Conv2d: in_channels must be at least 1, got 0"),
    (lambda: nn.Conv2d(1.5, 1, 3), TypeError, "Conv2d: in_channels must be an int"),
    (lambda: nn.Conv2d(1, True, 3), TypeError, "Conv2d: out_channels must be an int"),
    (lambda: nn.Conv2d(1, -1, 3), ShapeError, "Conv2d: out_channels"),
    (lambda: nn.Conv2d(1, 1, 0), ShapeError, "Conv2d: kernel_size must be at least 1"),
    (lambda: nn.Conv2d(1, 1, (3, 3, 3)), ShapeError, "Conv2d: kernel_size"),
    (lambda: nn.Conv2d(1, 1, None), TypeError, "Conv2d: kernel_size"),
    (lambda: nn.Conv2d(1, 1, 3, 0), ShapeError, "Conv2d: stride"),
    (lambda: nn.Conv2d(1, 1, 3, 1, -1), ShapeError, "Conv2d: padding"),
    (lambda: nn.Conv2d(1, 1, 3, 1, "full"), ShapeError, "Conv2d: padding"),
    (lambda: nn.Conv2d(1, 1, 3, 2, "same"), ShapeError, "Conv2d: padding='same' needs stride 1"),
    (lambda: nn.Conv2d(1, 1, 3, 1, 0, 0), ShapeError, "Conv2d: dilation"),
    (lambda: nn.Conv2d(4, 4, 3, groups=3), ShapeError, "Conv2d: groups must divide in_channels"),
    (lambda: nn.Conv2d(4, 6, 3, groups=4), ShapeError, "Conv2d: groups must divide out_channels"),
    (lambda: nn.Conv2d(1, 1, 3, groups=0), ShapeError, "Conv2d: groups"),
    (lambda: nn.Conv2d(1, 1, 3, bias=None), TypeError, "Conv2d: bias"),
    (lambda: nn.Conv2d(1, 1, 3, dtype=np.int32), TypeError, "Conv2d: dtype must be float32 or float64"),
    (lambda: nn.Conv2d(1, 1, 3, init="zero"), ShapeError, "Conv2d: init must be one of"),
    (lambda: nn.Conv2d(1, 1, 3, init=float("nan")), ShapeError, "Conv2d: init"),
    (lambda: nn.Conv2d(1, 1, 3, rng=5), TypeError, "Conv2d: rng"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode="reflect"), ShapeError, "Conv2d: padding_mode must be one of 'zeros'"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode=0), TypeError, "Conv2d: padding_mode"),
    (lambda: nn.ConvTranspose2d(0, 1, 3), ShapeError, "ConvTranspose2d: in_channels must be at least 1, got 0"),
    (lambda: nn.ConvTranspose2d(1, 1.5, 3), TypeError, "ConvTranspose2d: out_channels must be an int"),
    (lambda: nn.ConvTranspose2d(1, 1, 0), ShapeError, "ConvTranspose2d: kernel_size must be at least 1"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, 0), ShapeError, "ConvTranspose2d: stride"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, 1, "same"), TypeError, "ConvTranspose2d: padding"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, 2, 0, 2), ShapeError, "ConvTranspose2d: output_padding must be smaller"),
    (lambda: nn.ConvTranspose2d(4, 6, 3, groups=3), ShapeError, "ConvTranspose2d: groups must divide in_channels"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, bias=0), TypeError, "ConvTranspose2d: bias"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, dilation=0), ShapeError, "ConvTranspose2d: dilation"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="circular"), ShapeError, "ConvTranspose2d: padding_mode"),
    (lambda: nn.ConvTranspose2d(2**40, 2**40, 3), ShapeError, "ConvTranspose2d: weight is too large"),
    (lambda: nn.Unfold(0), ShapeError, "Unfold: kernel_size must be at least 1"),
    (lambda: nn.Unfold(2, 1, -1), ShapeError, "Unfold: padding"),
    (lambda: nn.Fold(0, 2), ShapeError, "Fold: output_size must be at least 1"),
    (lambda: nn.Fold(4, 2, stride=None), TypeError, "Fold: stride"),
    (lambda: nn.Conv2d(2**40, 2**40, 3), ShapeError, "Conv2d: weight is too large"),
    (lambda: nn.Linear(0, 1), ShapeError, "Linear: in_features"),
    (lambda: nn.Linear(1, "2"), TypeError, "Linear: out_features"),
    (lambda: nn.Linear(1, 2, 1), TypeError, "Linear: bias"),
    (lambda: nn.Linear(1, 2, dtype=np.float16), TypeError, "Linear: dtype"),
    (lambda: nn.Linear(1, 2, init=-0.1), ShapeError, "Linear: init"),
    (lambda: nn.Linear(2**40, 2**40), ShapeError, "Linear: weight is too large"),
    (lambda: nn.MaxPool2d(0), ShapeError, "MaxPool2d: kernel_size"),
    (lambda: nn.MaxPool2d(2, 0), ShapeError, "MaxPool2d: stride"),
    (lambda: nn.MaxPool2d(2, None, -1), ShapeError, "MaxPool2d: padding"),
    (lambda: nn.MaxPool2d(2, return_indices=1), TypeError, "MaxPool2d: return_indices"),
    (lambda: nn.MaxPool2d(2, ceil_mode="yes"), TypeError, "MaxPool2d: ceil_mode"),
    (lambda: nn.MaxPool2d(2, 2, 2)(np.ones((1, 1, 4, 4))), ShapeError, "max_pool2d.*: padding must be at most half"),
    (lambda: nn.AvgPool2d("2"), TypeError, "AvgPool2d: kernel_size"),
    (lambda: nn.AvgPool2d(2, divisor_override=0), ShapeError, "AvgPool2d: divisor_override"),
    (lambda: nn.AvgPool2d(2, count_include_pad=None), TypeError, "AvgPool2d: count_include_pad"),
    (lambda: nn.AdaptiveAvgPool2d(-1), ShapeError, "AdaptiveAvgPool2d: output_size"),
    (lambda: nn.AdaptiveAvgPool2d(None), TypeError, "AdaptiveAvgPool2d: output_size"),
    (lambda: nn.GlobalMaxPool2d()(np.ones((2, 2))), ShapeError, "GlobalMaxPool2d: x must have shape"),
    (lambda: nn.BatchNorm2d(0), ShapeError, "BatchNorm2d: num_features must be at least 1"),
    (lambda: nn.BatchNorm2d(2, -1), ShapeError, "BatchNorm2d: eps"),
    (lambda: nn.BatchNorm2d(2, "1"), TypeError, "BatchNorm2d: eps"),
    (lambda: nn.BatchNorm2d(2, momentum=np.nan), ShapeError, "BatchNorm2d: momentum must be finite or None"),
    (lambda: nn.BatchNorm1d(2, affine=1), TypeError, "BatchNorm1d: affine"),
    (lambda: nn.BatchNorm2d(2, dtype=int), TypeError, "BatchNorm2d: dtype"),
    (
        lambda: nn.BatchNorm2d(2)(np.ones((3, 2), np.float32)),
        ShapeError,
        r"BatchNorm2d: x must have shape \(N, C, H, W\)",
    ),
    (lambda: nn.BatchNorm1d(2)(np.ones((1, 2, 3, 3), np.float32)), ShapeError, "BatchNorm1d: x must have shape"),
    (
        lambda: nn.BatchNorm2d(2)(np.ones((1, 3, 2, 2), np.float32)),
        ShapeError,
        "BatchNorm2d: x has 3 channels, expected 2",
    ),
    (
        lambda: nn.BatchNorm2d(2)(np.ones((1, 2, 2, 2))),
        TypeError,
        "batch_norm: running_mean is float32 but x is float64",
    ),
    (lambda: nn.ResNet((1,), (2, 3)), ShapeError, "ResNet: blocks and channels"),
    (lambda: nn.ReLU().register_buffer("training", None), ValueError, "ReLU.register_buffer: name"),
    (lambda: nn.ReLU().register_buffer("a.b", None), ValueError, "ReLU.register_buffer: name"),
    (lambda: nn.ReLU().register_buffer(3, None), TypeError, "ReLU.register_buffer: name must be a str"),
    (lambda: nn.ReLU().register_buffer("mean", 3), TypeError, "ReLU.register_buffer: array"),
    (lambda: nn.Softmax("1"), TypeError, "Softmax: dim"),
    (lambda: nn.LogSoftmax(None), TypeError, "LogSoftmax: dim"),
    (lambda: nn.Dropout(1.1), ShapeError, "Dropout: p must be between 0 and 1"),
    (lambda: nn.Dropout2d(float("nan")), ShapeError, "Dropout2d: p"),
    (lambda: nn.Dropout("half"), TypeError, "Dropout: p"),
    (lambda: nn.Dropout(rng=np.random), TypeError, "Dropout: rng"),
    (lambda: nn.Flatten(2, 1)(np.ones((1, 2, 3))), ShapeError, "Flatten: start_dim=2 and end_dim=1 do not fit"),
    (lambda: nn.Flatten(3)(np.ones((1, 2, 3))), ShapeError, "Flatten: .*do not fit"),
    (lambda: nn.Linear(3, 2)(np.ones((1, 4), np.float32)), ShapeError, r"linear: x has shape \(1, 4\)"),
    (lambda: nn.Linear(3, 2)(np.ones((1, 3))), TypeError, "linear: weight is float32 but x is float64"),
    (lambda: nn.Conv2d(3, 2, 3)(np.ones((1, 1, 4, 4), np.float32)), ShapeError, "conv2d: weight has 3 input channels"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_is_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("shape", [(2, 2, 5, 5), (2, 5, 5)])
def test_a_transposed_convolution_of_a_wanted_size(shape):
    layer = nn.ConvTranspose2d(2, 4, 3, 2, 1, dtype=np.float64, rng=np.random.default_rng(1))
    x = np.random.default_rng(2).standard_normal(shape)
    for size in ((9, 9), (9, 10), (10, 10)):
        extra = size[0] - 9, size[1] - 9
        y = layer(x, size)
        assert y.shape == (*shape[:-3], 4, *size)
        right = reference.conv_transpose2d(x, layer.weight.data, layer.bias.data, 2, 1, extra)
        np.testing.assert_allclose(y, right, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(layer(x, output_size=[*y.shape]), y)
        grad_y = np.random.default_rng(3).standard_normal(y.shape)
        layer.zero_grad()
        grad_x = layer.backward(grad_y)  # of the size of the last call
        rights = reference.conv_transpose2d_backward(grad_y, x, layer.weight.data, 2, 1, extra)
        for ours, right in zip((grad_x, layer.weight.grad, layer.bias.grad), rights, strict=True):
            np.testing.assert_allclose(ours, right, rtol=1e-11, atol=1e-11)
    for size, error in (((11, 9), ShapeError), ((8, 9), ShapeError), ((9,), ShapeError), (9, TypeError)):
        with pytest.raises(error, match="ConvTranspose2d: output_size"):
            layer(x, size)
