"""conv_transpose2d, unfold and fold in float64 against PyTorch and its autograd; see test_peer.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv_transpose2d import cases as transposed_cases
from test_unfold import cases as window_cases

from fastconv import ShapeError, nn, ops, reference

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

pytestmark = pytest.mark.peer
both = pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])
EXAMPLES = 200


def tensor(x):
    return None if x is None else torch.tensor(x, requires_grad=True)


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11 * np.max(abs(theirs), initial=1))


@both
@settings(max_examples=EXAMPLES)
@given(case=transposed_cases(work=3_000), batched=st.booleans())
def test_conv_transpose2d(module, case, batched):
    x, weight, bias, grad_y = case.arrays(np.float64)
    if not batched and case.N:
        x, grad_y = x[0], grad_y[0]
    tensors = tensor(x), tensor(weight), tensor(bias)
    theirs = functional.conv_transpose2d(*tensors, **case.options)
    close(module.conv_transpose2d(x, weight, bias, **case.options), theirs)
    theirs.backward(torch.tensor(grad_y))
    for ours, right in zip(module.conv_transpose2d_backward(grad_y, x, weight, **case.options), tensors, strict=True):
        if right is not None:
            close(ours, right.grad)


@both
@settings(max_examples=EXAMPLES)
@given(case=window_cases(largest=8))
def test_unfold_and_fold(module, case):
    x, columns = case.arrays(np.float64)
    theirs_x, theirs_columns = tensor(x), tensor(columns)
    unfolded = functional.unfold(theirs_x, *case.window)
    np.testing.assert_array_equal(module.unfold(x, *case.window), unfolded.detach().numpy(), strict=True)
    unfolded.backward(torch.tensor(columns))
    close(module.unfold_backward(columns, x.shape, *case.window), theirs_x.grad)
    folded = functional.fold(theirs_columns, (case.H, case.W), *case.window)
    close(module.fold(columns, (case.H, case.W), *case.window), folded)
    folded.backward(torch.tensor(x))
    close(module.fold_backward(x, *case.window), theirs_columns.grad)


@settings(max_examples=EXAMPLES)
@given(
    size=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 4),
    extra=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
def test_the_same_calls_are_refused(size, kernel, stride, padding, extra, dilation):
    x, weight = np.ones((1, 1, size, size)), np.ones((1, 1, kernel, kernel))
    options = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
    try:
        right = functional.conv_transpose2d(torch.tensor(x), torch.tensor(weight), **options)
    except RuntimeError:
        with pytest.raises(ShapeError, match="padding"):
            ops.conv_transpose2d(x, weight, **options)
    else:
        close(ops.conv_transpose2d(x, weight, **options), right)
    window = (kernel, dilation, padding, stride)
    try:
        right = functional.unfold(torch.tensor(x), *window)
    except RuntimeError:
        with pytest.raises(ShapeError, match="kernel_size"):
            ops.unfold(x, *window)
    else:
        close(ops.unfold(x, *window), right)


@pytest.mark.parametrize("output_size", [None, (9, 10), (10, 9), (2, 4, 10, 10), (11, 9), (8, 9), (10,), (1, 10, 10)])
def test_layer_with_an_output_size(output_size):
    arguments = (2, 4, 3, 2, 1)
    theirs, ours = torch.nn.ConvTranspose2d(*arguments), nn.ConvTranspose2d(*arguments)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5)).astype(np.float32)
    try:
        right = theirs(torch.tensor(x), output_size)
    except ValueError:
        with pytest.raises(ShapeError, match="output_size"):
            ours(x, output_size)
        return
    y = ours(x, output_size)
    np.testing.assert_allclose(y, right.detach().numpy(), rtol=1e-5, atol=1e-5)
    grad_x = ours.backward(np.ones_like(y))
    theirs_x = torch.tensor(x, requires_grad=True)
    theirs(theirs_x, output_size).sum().backward()
    np.testing.assert_allclose(grad_x, theirs_x.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.bias.grad, theirs.bias.grad.numpy(), rtol=1e-5)


def test_how_the_layer_begins():
    """Uniform in the same range: fan_in is that of weight.size(1)."""
    for arguments in ((6, 8, 3), (6, 8, (1, 5), 1, 0, 0, 2)):
        theirs, ours = torch.nn.ConvTranspose2d(*arguments), nn.ConvTranspose2d(*arguments)
        assert theirs.weight.shape == ours.weight.shape
        bound = 1 / np.sqrt(np.prod(ours.weight.shape[1:]))
        for layer in (theirs.weight.detach().numpy(), ours.weight.data):
            assert 0.9 * bound < abs(layer).max() <= bound
        assert abs(ours.bias.data).max() <= bound
        assert repr(ours) == repr(theirs)
