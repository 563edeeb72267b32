"""Malformed calls of layers, losses, networks, optimisers, schedules, data and files, by table.

A row is a piece of Python, the exception's exact type, and a pattern that its message must match: it names who refuses
and which argument.  The rows run in child processes (child.py), where a call that crashes or hangs fails its own row
alone.  test_bad_input.py has the rows of operations.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child import Rows

import fastconv
from fastconv import ShapeError, data, models, nn, optim, schedules, serialization, training
from fastconv.data import idx

ROWS: list[tuple[str, type[Exception], str]] = []


def a(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of 1, 2, 3, ..."""
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


def after(layer: Any, x: Any) -> Any:
    """The layer after a forward."""
    layer(x)
    return layer


def lost(pred: Any, target: Any, loss: Any) -> Any:
    """The loss after a forward."""
    loss(pred, target)
    return loss


def sgd(lr: float = 0.1, **options: Any) -> optim.SGD:
    return optim.SGD([nn.Parameter(a(3))], lr, **options)


def adam() -> optim.Adam:
    return optim.Adam([nn.Parameter(a(3))])


def with_grad(grad: Any) -> optim.SGD:
    parameter = nn.Parameter(a(3))
    parameter.grad = grad
    return optim.SGD([parameter])


def file(content: bytes, name: str) -> Path:
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(content)
    return path


def images(count: int = 4) -> data.ArrayDataset:
    return data.ArrayDataset(np.zeros((count, 5, 5), np.uint8), np.arange(count))


def refused(error: type[Exception], *rows: tuple[str, str]) -> None:
    ROWS.extend((call, error, match) for call, match in rows)


VAST = 10**6000
# What the rows name beside the helpers above.
MODULES = {
    "fastconv": fastconv,
    "data": data,
    "idx": idx,
    "models": models,
    "nn": nn,
    "optim": optim,
    "schedules": schedules,
    "serialization": serialization,
    "training": training,
}

# -- layers: their arguments -------------------------------------------------------------------------------------------

# fmt: off
refused(
    TypeError,
    ("nn.Conv2d(1.0, 4, 3)", r"Conv2d: in_channels must be an int, got 1.0"),
    ("nn.Conv2d(True, 4, 3)", r"Conv2d: in_channels must be an int, got True"),
    ("nn.Conv2d('1', 4, 3)", r"Conv2d: in_channels must be an int, got '1'"),
    ("nn.Conv2d(1, None, 3)", r"Conv2d: out_channels must be an int, got None"),
    ("nn.Conv2d(1, 4, None)", r"Conv2d: kernel_size must be .* got None"),
    ("nn.Conv2d(1, 4, 3.0)", r"Conv2d: kernel_size must be .* got 3.0"),
    ("nn.Conv2d(1, 4, (3, 1.5))", r"Conv2d: kernel_size\[1\] must be an int, got 1.5"),
    ("nn.Conv2d(1, 4, 3, stride=None)", r"Conv2d: stride must be .* got None"),
    ("nn.Conv2d(1, 4, 3, stride=np.float32(1))", r"Conv2d: stride must be .* got .*1.0"),
    ("nn.Conv2d(1, 4, 3, padding=0.5)", r"Conv2d: padding must be .* got 0.5"),
    ("nn.Conv2d(1, 4, 3, padding=None)", r"Conv2d: padding must be .* got None"),
    ("nn.Conv2d(1, 4, 3, dilation='2')", r"Conv2d: dilation must be .* got '2'"),
    ("nn.Conv2d(1, 4, 3, groups=1.0)", r"Conv2d: groups must be an int, got 1.0"),
    ("nn.Conv2d(1, 4, 3, groups=(1, 1))", r"Conv2d: groups must be an int, got \(1, 1\)"),
    ("nn.Conv2d(1, 4, 3, bias=None)", r"Conv2d: bias must be a bool, got None"),
    ("nn.Conv2d(1, 4, 3, bias=1)", r"Conv2d: bias must be a bool, got 1"),
    ("nn.Conv2d(1, 4, 3, dtype=int)", r"Conv2d: dtype must be float32 or float64, got int64"),
    ("nn.Conv2d(1, 4, 3, dtype=np.float16)", r"Conv2d: dtype must be float32 or float64, got float16"),
    ("nn.Conv2d(1, 4, 3, dtype='float31')", r"Conv2d: dtype must be float32 or float64, got 'float31'"),
    ("nn.Conv2d(1, 4, 3, dtype=None)", r"Conv2d: dtype must be float32 or float64, got None"),
    ("nn.Conv2d(1, 4, 3, dtype='>f4')", r"Conv2d: dtype must be float32 or float64, got"),
    ("nn.Conv2d(1, 4, 3, rng=0)", r"Conv2d: rng must be a numpy.random.Generator or None, got 0"),
    ("nn.Conv2d(1, 4, 3, rng=np.random)", r"Conv2d: rng must be .* got a module"),
    ("nn.Conv2d(1, 4, 3, init=None)", r"Conv2d: init must be .* got None"),
    ("nn.Conv2d(1, 4, 3, init=True)", r"Conv2d: init must be .* got True"),
    ("nn.Linear(1.0, 4)", r"Linear: in_features must be an int, got 1.0"),
    ("nn.Linear(4, None)", r"Linear: out_features must be an int, got None"),
    ("nn.Linear((4,), 4)", r"Linear: in_features must be an int, got \(4\)"),
    ("nn.Linear(4, 4, 0)", r"Linear: bias must be a bool, got 0"),
    ("nn.Linear(4, 4, dtype=np.int8)", r"Linear: dtype must be float32 or float64, got int8"),
    ("nn.Linear(4, 4, dtype=object())", r"Linear: dtype must be float32 or float64, got a object"),
    ("nn.Linear(4, 4, rng=np.random.RandomState(0))", r"Linear: rng must .* got a RandomState"),
    ("nn.Linear(4, 4, init=[1])", r"Linear: init must be .* got \[1\]"),
    ("nn.MaxPool2d(None)", r"MaxPool2d: kernel_size must be .* got None"),
    ("nn.MaxPool2d(2.0)", r"MaxPool2d: kernel_size must be .* got 2.0"),
    ("nn.MaxPool2d(2, '2')", r"MaxPool2d: stride must be .* got '2'"),
    ("nn.MaxPool2d(2, padding='same')", r"MaxPool2d: padding must be .* got 'same'"),
    ("nn.MaxPool2d(2, dilation=None)", r"MaxPool2d: dilation must be .* got None"),
    ("nn.MaxPool2d(2, return_indices=1)", r"MaxPool2d: return_indices must be a bool, got 1"),
    ("nn.MaxPool2d(2, ceil_mode='no')", r"MaxPool2d: ceil_mode must be a bool, got 'no'"),
    ("nn.AvgPool2d([2, None])", r"AvgPool2d: kernel_size\[1\] must be an int, got None"),
    ("nn.AvgPool2d(2, True)", r"AvgPool2d: stride must be .* got True"),
    ("nn.AvgPool2d(2, padding=None)", r"AvgPool2d: padding must be .* got None"),
    ("nn.AvgPool2d(2, ceil_mode=None)", r"AvgPool2d: ceil_mode must be a bool, got None"),
    ("nn.AvgPool2d(2, count_include_pad=1)", r"AvgPool2d: count_include_pad must be a bool, got 1"),
    ("nn.AvgPool2d(2, divisor_override=2.0)", r"AvgPool2d: divisor_override must be .* got 2.0"),
    ("nn.Dropout('0.5')", r"Dropout: p must be a number, got '0.5'"),
    ("nn.Dropout(None)", r"Dropout: p must be a number, got None"),
    ("nn.Dropout(0.5, rng=1)", r"Dropout: rng must be a numpy.random.Generator or None, got 1"),
    ("nn.Dropout2d(False)", r"Dropout2d: p must be a number, got False"),
    ("nn.Dropout2d(rng='seed')", r"Dropout2d: rng must be .* got 'seed'"),
    ("nn.Softmax(None)", r"Softmax: dim must be an int, got None"),
    ("nn.Softmax(1.0)", r"Softmax: dim must be an int, got 1.0"),
    ("nn.LogSoftmax('1')", r"LogSoftmax: dim must be an int, got '1'"),
    ("nn.Flatten(1.0)", r"Flatten: start_dim must be an int, got 1.0"),
    ("nn.Flatten(1, None)", r"Flatten: end_dim must be an int, got None"),
    ("nn.Sequential(nn.ReLU)", r"Sequential: layer 0 must be a Module, got"),
    ("nn.Sequential([nn.ReLU()])", r"Sequential: layer 0 must be a Module, got"),
    ("nn.Sequential(nn.ReLU(), None)", r"Sequential: layer 1 must be a Module, got None"),
    ("nn.Sequential().append(fastconv.relu)", r"Sequential: layer 0 must be a Module, got"),
)
refused(
    ShapeError,
    ("nn.Conv2d(0, 4, 3)", r"Conv2d: in_channels must be at least 1, got 0"),
    ("nn.Conv2d(-3, 4, 3)", r"Conv2d: in_channels must be at least 1, got -3"),
    ("nn.Conv2d(1, 0, 3)", r"Conv2d: out_channels must be at least 1, got 0"),
    ("nn.Conv2d(1, 4, 0)", r"Conv2d: kernel_size must be at least 1, got 0"),
    ("nn.Conv2d(1, 4, (3, 3, 3))", r"Conv2d: kernel_size must be .* got \(3, 3, 3\)"),
    ("nn.Conv2d(1, 4, 3, 0)", r"Conv2d: stride must be at least 1, got 0"),
    ("nn.Conv2d(1, 4, 3, padding=-1)", r"Conv2d: padding must be at least 0, got -1"),
    ("nn.Conv2d(1, 4, 3, padding='full')", r"Conv2d: padding must be .* got 'full'"),
    ("nn.Conv2d(1, 4, 3, stride=2, padding='same')", r"Conv2d: padding='same' needs stride 1, got"),
    ("nn.Conv2d(1, 4, 3, dilation=0)", r"Conv2d: dilation must be at least 1, got 0"),
    ("nn.Conv2d(4, 4, 3, groups=0)", r"Conv2d: groups must be at least 1, got 0"),
    ("nn.Conv2d(4, 4, 3, groups=3)", r"Conv2d: groups must divide in_channels, got groups=3 and in_channels=4"),
    ("nn.Conv2d(4, 6, 3, groups=4)", r"Conv2d: groups must divide out_channels, got groups=4 and out_channels=6"),
    ("nn.Conv2d(2**40, 2**40, 3)", r"Conv2d: weight is too large"),
    ("nn.Conv2d(VAST, 1, 3)", r"Conv2d: weight is too large"),
    ("nn.Conv2d(1, 4, 3, init='xavier')", r"Conv2d: init must be one of .* got 'xavier'"),
    ("nn.Conv2d(1, 4, 3, init=float('nan'))", r"Conv2d: init must be between .* got nan"),
    ("nn.Conv2d(1, 4, 3, init=-0.1)", r"Conv2d: init must be between .* got -0.1"),
    ("nn.Linear(0, 4)", r"Linear: in_features must be at least 1, got 0"),
    ("nn.Linear(4, -1)", r"Linear: out_features must be at least 1, got -1"),
    ("nn.Linear(2**40, 2**40)", r"Linear: weight is too large"),
    ("nn.Linear(4, 4, init='he')", r"Linear: init must be one of .* got 'he'"),
    ("nn.MaxPool2d(0)", r"MaxPool2d: kernel_size must be at least 1, got 0"),
    ("nn.MaxPool2d(())", r"MaxPool2d: kernel_size must be .* got \(\)"),
    ("nn.MaxPool2d(2, 0)", r"MaxPool2d: stride must be at least 1, got 0"),
    ("nn.MaxPool2d(2, padding=-1)", r"MaxPool2d: padding must be at least 0, got -1"),
    ("nn.MaxPool2d(2, padding=2)(a(1, 4, 4))", r"max_pool2d\w*: padding must be at most half .*padding=2"),
    ("nn.MaxPool2d(2, dilation=0)", r"MaxPool2d: dilation must be at least 1, got 0"),
    ("nn.AvgPool2d(-2)", r"AvgPool2d: kernel_size must be at least 1, got -2"),
    ("nn.AvgPool2d(2, (1, 0))", r"AvgPool2d: stride must be at least 1, got \(1, 0\)"),
    ("nn.AvgPool2d(3, padding=(1, 2))(a(1, 4, 4))", r"avg_pool2d: padding must be at most half .*padding=\(1, 2\)"),
    ("nn.AvgPool2d(2, divisor_override=0)", r"AvgPool2d: divisor_override must .* 0"),
    ("nn.AvgPool2d(2, divisor_override=2**63)(a(1, 4, 4))", r"avg_pool2d: divisor_override must .* got 92\d+"),
    ("nn.Dropout(1.5)", r"Dropout: p must be between 0 and 1, got 1.5"),
    ("nn.Dropout(float('nan'))", r"Dropout: p must be between 0 and 1, got nan"),
    ("nn.Dropout2d(-0.1)", r"Dropout2d: p must be between 0 and 1, got -0.1"),
)
refused(
    ValueError,
    ("nn.Sequential(*[nn.ReLU()] * 2)", r"Sequential: layer 1 holds the same ReLU object"),
    ("nn.Sequential(*[nn.Sequential(nn.Linear(2, 2))] * 2)", r"Sequential: layer 1 holds the same Sequential object"),
)
# -- layers: forward and backward --------------------------------------------------------------------------------------
refused(
    TypeError,
    ("nn.Conv2d(1, 4, 3)([[1.0]])", r"conv2d: x must be a NumPy array .* got \["),
    ("nn.Conv2d(1, 4, 3)(None)", r"conv2d: x must be .* got None"),
    ("nn.Conv2d(1, 4, 3)(a(1, 1, 5, 5, dtype=int))", r"conv2d: x must be .* got an array of int64"),
    ("nn.Conv2d(1, 4, 3)(a(1, 1, 5, 5, dtype=np.float64))", r"conv2d: weight is float32 but x is float64"),
    ("after(nn.Conv2d(1, 4, 3), a(1, 1, 5, 5)).backward(None)", r"conv2d_backward: grad_y must be .* got None"),
    ("after(nn.Conv2d(1, 4, 3), a(1, 1, 5, 5)).backward(a(1, 4, 3, 3, dtype=np.float64))",
     r"conv2d_backward: grad_y is float64 but x is float32"),
    ("nn.Linear(4, 2)('abcd')", r"linear: x must be .* got 'abcd'"),
    ("after(nn.Linear(4, 2), a(3, 4)).backward([[1, 2]])", r"linear_backward: grad_y must be .* got \["),
    ("nn.MaxPool2d(2)(a(4, 4).tolist())", r"max_pool2d\w*: x must be .* got a list|max_pool2d\w*: x must be .* got \["),
    ("after(nn.MaxPool2d(2), a(1, 4, 4)).backward(None)", r"max_pool2d\w*: grad_y must be .* got None"),
    ("nn.AvgPool2d(2)(5)", r"avg_pool2d: x must be .* got 5"),
    ("after(nn.AvgPool2d(2), a(1, 4, 4)).backward('y')", r"avg_pool2d_backward: grad_y must be .* got 'y'"),
    ("nn.ReLU()([1.0])", r"relu: x must be .* got \[1.0\]"),
    ("after(nn.ReLU(), a(3)).backward([1.0, 2.0, 3.0])", r"relu_backward: grad_y must be .* got \[1.0, 2.0, 3.0\]"),
    ("after(nn.ReLU(), a(3)).backward(a(3, dtype=np.float64))", r"relu_backward: grad_y is float64 but x is"),
    ("nn.Softmax()(np.arange(3))", r"softmax: x must be .* got an array of int64"),
    ("after(nn.Softmax(), a(3)).backward(1.0)", r"softmax_backward: grad_y must be .* got 1.0"),
    ("nn.LogSoftmax()(None)", r"log_softmax: x must be .* got None"),
    ("nn.Flatten()([1.0])", r"Flatten: x must be .* got \[1.0\]"),
    ("nn.Flatten()(None)", r"Flatten: x must be .* got None"),
    ("nn.Flatten()(a(2, 3, dtype=complex))", r"Flatten: x must be .* got an array of complex128"),
    ("after(nn.Flatten(), a(2, 3, 4)).backward(None)", r"Flatten.backward: grad_y must be .* got None"),
    ("nn.Dropout()([1.0])", r"dropout: x must be .* got \[1.0\]"),
    ("nn.Dropout().eval()([1.0])", r"Dropout: x must be .* got \[1.0\]"),
    ("nn.Dropout().eval()(None)", r"Dropout: x must be .* got None"),
    ("after(nn.Dropout(), a(3)).backward(None)", r"dropout_backward: grad_y must be .* got None"),
    ("nn.Dropout2d()(3.0)", r"dropout2d: x must be .* got 3.0"),
    ("nn.Dropout2d().eval()('x')", r"Dropout2d: x must be .* got 'x'"),
    ("nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))(a(5, 5).tolist())", r"conv2d: x must be .* got"),
    ("after(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), a(1, 1, 6, 6)).backward(None)",
     r"grad_y must be .* got None"),
    ("nn.Sequential(nn.ReLU())['0']", r"Sequential: an index must be an int or a slice, got '0'"),
    ("nn.Linear(4, 2).load_state_dict([])", r"load_state_dict: state must be a mapping .* got \[\]"),
    ("nn.Linear(4, 2).load_state_dict(None)", r"load_state_dict: state must be a mapping .* got None"),
    ("nn.Linear(4, 2).load_state_dict({'weight': a(2, 4, dtype=int), 'bias': a(2)})",
     r"load_state_dict: weight must be an array of floats, got an array of int64"),
    ("nn.Linear(4, 2).load_state_dict({'weight': a(2, 4), 'bias': ['x', 'y']})",
     r"load_state_dict: bias must be .*str"),
    ("nn.Linear(4, 2).load_state_dict({'weight': a(2, 4, dtype=complex), 'bias': a(2)})",
     r"load_state_dict: weight must be an array of floats, got an array of complex128"),
)
refused(
    ShapeError,
    ("nn.Conv2d(1, 4, 3)(a(5, 5))", r"conv2d: x must have shape .* got shape \(5, 5\)"),
    ("nn.Conv2d(2, 4, 3)(a(1, 1, 5, 5))", r"conv2d: weight has 2 input channels .* x has 1"),
    ("nn.Conv2d(1, 4, 7)(a(1, 1, 5, 5))", r"conv2d: weight .*covers \(7, 7\)"),
    ("after(nn.Conv2d(1, 4, 3), a(1, 1, 5, 5)).backward(a(1, 4, 5, 5))",
     r"conv2d_backward: grad_y has shape \(1, 4, 5, 5\), expected .*\(1, 4, 3, 3\)"),
    ("nn.Linear(4, 2)(a(3, 5))", r"linear: x has shape \(3, 5\) .* 4 input features"),
    ("after(nn.Linear(4, 2), a(3, 4)).backward(a(3, 4))", r"linear_backward: grad_y has shape \(3, 4\), .*\(3, 2\)"),
    ("nn.MaxPool2d(2)(a(4, 4))", r"max_pool2d\w*: x must have shape .* got shape \(4, 4\)"),
    ("nn.MaxPool2d(5)(a(1, 4, 4))", r"max_pool2d\w*: kernel_size=5 covers \(5, 5\)"),
    ("after(nn.MaxPool2d(2), a(1, 4, 4)).backward(a(1, 4, 4))", r"max_pool2d\w*: grad_y has shape \(1, 4, 4\)|"
     r"max_pool2d\w*: winners has shape"),
    ("after(nn.MaxPool2d(2, return_indices=True), a(1, 4, 4)).backward(a(1, 4, 4))",
     r"max_pool2d_backward: (grad_y|ind)"),
    ("nn.AvgPool2d(2)(a(4))", r"avg_pool2d: x must have shape .* got shape \(4,\)"),
    ("after(nn.AvgPool2d(2), a(1, 4, 4)).backward(a(1, 4, 4))", r"avg_pool2d_backward: grad_y has shape \(1, 4, 4\)"),
    ("after(nn.ReLU(), a(3)).backward(a(4))", r"relu_backward: grad_y has shape \(4,\), expected .*\(3,\)"),
    ("nn.Softmax(2)(a(2, 3))", r"softmax: dim must be in -2 \.\. 1 .* got 2"),
    ("after(nn.Softmax(), a(2, 3)).backward(a(3, 2))", r"softmax_backward: grad_y has shape \(3, 2\)"),
    ("nn.LogSoftmax(-3)(a(2, 3))", r"log_softmax: dim must be in -2 \.\. 1 .* got -3"),
    ("nn.Flatten(2)(a(2, 3))", r"Flatten: start_dim=2 and end_dim=-1 do not fit x of shape \(2, 3\)"),
    ("nn.Flatten(1, 0)(a(2, 3))", r"Flatten: start_dim=1 and end_dim=0 do not fit"),
    ("nn.Flatten()(a(3))", r"Flatten: start_dim=1 .* do not fit x of shape \(3,\)"),
    ("after(nn.Flatten(), a(2, 3, 4)).backward(a(2, 11))",
     r"Flatten.backward: grad_y has shape \(2, 11\), expected .*\(2, 12\)"),
    ("after(nn.Flatten(), a(2, 3, 4)).backward(a(3, 8))",
     r"Flatten.backward: grad_y has shape \(3, 8\), expected .*\(2, 12\)"),
    ("after(nn.Dropout(), a(3)).backward(a(4))", r"dropout_backward: mask has shape \(3,\)"),
    ("nn.Dropout2d()(a(2, 3))", r"dropout2d: x must have shape .* got shape \(2, 3\)"),
    ("nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))(a(1, 2, 6, 6))", r"conv2d: weight has 1 input"),
    ("after(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), a(1, 1, 6, 6)).backward(a(1, 4, 3, 3))",
     r"grad_y has shape \(1, 4, 3, 3\)|winners has shape"),
    ("models.build('cnn')(a(1, 1, 27, 28))", r"linear: x has shape"),
    ("nn.Linear(4, 2).load_state_dict({})", r"load_state_dict: .*missing: weight, bias"),
    ("nn.Linear(4, 2).load_state_dict({'weight': a(2, 4), 'bias': a(2), 'scale': a(1)})", r"unexpected: scale"),
    ("nn.Linear(4, 2).load_state_dict({'weight': a(4, 2), 'bias': a(2)})",
     r"weight has shape \(4, 2\), expected \(2, 4\)"),
    ("nn.Linear(4, 2).load_state_dict({'weight': a(2, 4), 'bias': a(3)}, strict=False)", r"bias has shape \(3,\), exp"),
)
refused(
    RuntimeError,
    ("nn.Conv2d(1, 4, 3).backward(a(1, 4, 3, 3))", r"Conv2d.backward: .* call forward first"),
    ("nn.ReLU().eval().backward(a(3))", r"ReLU.backward: .* in training mode"),
    ("after(nn.ReLU().eval(), a(3)).backward(a(3))", r"ReLU.backward: .* in training mode"),
    ("nn.Sequential(nn.ReLU()).backward(a(3))", r"Sequential.backward: .* call forward first"),
    ("nn.CrossEntropyLoss().backward()", r"CrossEntropyLoss.backward: .* call forward first"),
    ("nn.MSELoss().backward()", r"MSELoss.backward: .* call forward first"),
    ("(lambda layer: (layer.backward(a(3)), layer.backward(a(3))))(after(nn.ReLU(), a(3)))",
     r"ReLU.backward: there is n"),
)
refused(NotImplementedError, ("nn.Module()(a(3))", r"Module does not define forward"))
refused(IndexError, ("nn.Sequential(nn.ReLU())[1]", r"Sequential: index 1 is out of range for 1 layers"))
# -- layers of other shapes --------------------------------------------------------------------------------------------
refused(
    TypeError,
    ("nn.ConvTranspose2d(1.0, 4, 3)", r"ConvTranspose2d: in_channels must be an int, got 1.0"),
    ("nn.ConvTranspose2d(1, 4, '3')", r"ConvTranspose2d: kernel_size must be .* got '3'"),
    ("nn.ConvTranspose2d(1, 4, 3, padding='same')", r"ConvTranspose2d: padding must be .* got 'same'"),
    ("nn.ConvTranspose2d(1, 4, 3, output_padding=None)", r"ConvTranspose2d: output_padding must be .* got None"),
    ("nn.ConvTranspose2d(1, 4, 3, bias=1)", r"ConvTranspose2d: bias must be a bool, got 1"),
    ("nn.ConvTranspose2d(1, 4, 3)(None)", r"conv_transpose2d: x must be .* got None"),
    ("nn.Unfold(None)", r"Unfold: kernel_size must be .* got None"),
    ("nn.Unfold(2, dilation=1.5)", r"Unfold: dilation must be .* got 1.5"),
    ("nn.Fold(4, 2.0)", r"Fold: kernel_size must be .* got 2.0"),
    ("nn.Fold(None, 2)", r"Fold: output_size must be .* got None"),
    ("nn.AdaptiveAvgPool2d('7')", r"AdaptiveAvgPool2d: output_size must be .* got '7'"),
    ("nn.AdaptiveAvgPool2d(2.0)", r"AdaptiveAvgPool2d: output_size must be .* got 2.0"),
    ("nn.AdaptiveAvgPool2d((2, True))", r"AdaptiveAvgPool2d: output_size\[1\] must be .* got True"),
    ("nn.AdaptiveAvgPool2d(2)([1])", r"adaptive_avg_pool2d: x must be .* got \[1\]"),
    ("nn.GlobalAvgPool2d()(None)", r"x must be .* got None"),
    ("nn.GlobalMaxPool2d()([1.0])", r"x must be .* got \[1.0\]"),
    ("nn.BatchNorm2d(None)", r"BatchNorm2d: num_features must be an int, got None"),
    ("nn.BatchNorm2d(4, eps='0')", r"BatchNorm2d: eps must be a number, got '0'"),
    ("nn.BatchNorm2d(4, momentum=True)", r"BatchNorm2d: momentum must be a number, got True"),
    ("nn.BatchNorm2d(4, affine=1)", r"BatchNorm2d: affine must be a bool, got 1"),
    ("nn.BatchNorm2d(4, track_running_stats=None)", r"BatchNorm2d: track_running_stats must be a bool, got None"),
    ("nn.BatchNorm2d(4, dtype=int)", r"BatchNorm2d: dtype must be float32 or float64, got int64"),
    ("nn.BatchNorm2d(4)(None)", r"(BatchNorm2d|batch_norm): x must be .* got None"),
    ("nn.BatchNorm2d(4)(a(2, 4, 3, 3, dtype=int))", r"(BatchNorm2d|batch_norm): x must be .* got an array of int64"),
    ("nn.BatchNorm1d(4.0)", r"BatchNorm1d: num_features must be an int, got 4.0"),
    ("nn.ResNet('2')", r"ResNet: blocks must be a sequence of ints, got '2'"),
    ("nn.ResNet(3)", r"ResNet: blocks must be a sequence of ints, got 3"),
    ("nn.ResNet((1,), (1.5,))", r"ResNet: channels\[0\] must be an int, got 1.5"),
    ("nn.BasicBlock(4, 4, (1, 1))", r"BasicBlock: stride must be an int, got \(1, 1\)"),
    ("nn.BasicBlock(None, 4)", r"in_channels must be an int, got None"),
    ("nn.LeakyReLU('0.1')", r"LeakyReLU: negative_slope must be a number, got '0.1'"),
    ("nn.LeakyReLU(None)", r"LeakyReLU: negative_slope must be a number, got None"),
    ("nn.LeakyReLU()([1.0])", r"leaky_relu: x must be .* got \[1.0\]"),
    ("nn.Sigmoid()(1.0)", r"sigmoid: x must be .* got 1.0"),
    ("after(nn.Sigmoid(), a(3)).backward(None)", r"sigmoid_backward: grad_y must be .* got None"),
    ("nn.Tanh()(np.arange(3))", r"tanh: x must be .* got an array of int64"),
    ("nn.NLLLoss(5)", r"NLLLoss: weight must be .* got 5"),
    ("nn.NLLLoss(ignore_index='x')", r"NLLLoss: ignore_index must be an int, got 'x'"),
    ("nn.NLLLoss()(a(2, 3), [0, 1])", r"nll_loss: target must be .* got \[0, 1\]"),
    ("schedules.StepLR(sgd(), 2.5)", r"StepLR: step_size must be an int, got 2.5"),
    ("schedules.StepLR(sgd(), 2, 'half')", r"StepLR: gamma must be a number, got 'half'"),
)
refused(
    ShapeError,
    ("nn.ConvTranspose2d(1, 4, 3, stride=0)", r"ConvTranspose2d: stride must be at least 1, got 0"),
    ("nn.ConvTranspose2d(1, 4, 3, stride=2, output_padding=2)", r"ConvTranspose2d: output_padding must be"),
    ("nn.ConvTranspose2d(3, 4, 3, groups=2)", r"ConvTranspose2d: groups must divide in_channels"),
    ("nn.ConvTranspose2d(2, 4, 3)(a(1, 3, 5, 5))", r"conv_transpose2d: weight .* x has 3"),
    ("after(nn.ConvTranspose2d(1, 4, 3), a(1, 1, 5, 5)).backward(a(1, 4, 5, 5))", r"grad_y has shape \(1, 4, 5, 5\)"),
    ("nn.Unfold(0)", r"Unfold: kernel_size must be at least 1, got 0"),
    ("nn.Unfold(9)(a(1, 4, 4))", r"unfold: kernel_size=9"),
    ("nn.Fold((4, 0), 2)", r"Fold: output_size must be at least 1, got \(4, 0\)"),
    ("nn.Fold(4, 2)(a(1, 3, 9))", r"fold: x "),
    ("nn.ResNet((1, 1), (8,))", r"ResNet: blocks .* got blocks=\(1, 1\)"),
    ("nn.ResNet((1, 0), (8, 8))", r"ResNet: blocks\[1\] must be at least 1, got 0"),
    ("nn.BasicBlock(4, 4, 0)", r"BasicBlock: stride must be at least 1, got 0"),
    ("nn.AdaptiveAvgPool2d(-1)", r"AdaptiveAvgPool2d: output_size must be at least .* got -1"),
    ("nn.AdaptiveAvgPool2d((1, 2, 3))", r"AdaptiveAvgPool2d: output_size must be .* got \(1, 2, 3\)"),
    ("nn.AdaptiveAvgPool2d(2)(a(3, 3))", r"adaptive_avg_pool2d: x must have shape .* got shape \(3, 3\)"),
    ("nn.GlobalAvgPool2d()(a(3))", r"x must have shape .* got shape \(3,\)"),
    ("nn.BatchNorm2d(0)", r"BatchNorm2d: num_features must be at least 1, got 0"),
    ("nn.BatchNorm2d(4, eps=-1)", r"BatchNorm2d: eps must be at least 0 and finite, got -1"),
    ("nn.BatchNorm2d(4, momentum=float('nan'))", r"BatchNorm2d: momentum must be finite or None, got nan"),
    ("nn.BatchNorm2d(4)(a(2, 3, 5, 5))", r"(BatchNorm2d|batch_norm): .*\(2, 3, 5, 5\)"),
    ("nn.BatchNorm2d(4)(a(2, 4))", r"BatchNorm2d: x must have shape .* got shape \(2, 4\)"),
    ("nn.BatchNorm2d(4)(a(1, 4, 1, 1))", r"batch_norm: .*more than one|batch_norm: .*\(1, 4, 1, 1\)"),
    ("nn.BatchNorm1d(4)(a(2, 4, 3, 3))", r"BatchNorm1d: x must have shape .* got shape \(2, 4, 3, 3\)"),
    ("nn.BasicBlock(0, 4)", r"in_channels must be at least 1, got 0"),
    ("after(nn.Tanh(), a(3)).backward(a(4))", r"tanh_backward: grad_y has shape \(4,\)"),
    ("nn.NLLLoss(reduction='avg')", r"NLLLoss: reduction must be one of .* got 'avg'"),
    ("nn.NLLLoss()(a(2, 3), np.array([0, 3]))", r"nll_loss: target must be in 0 \.\. 2 .* got 3"),
    ("schedules.StepLR(sgd(), 0)", r"StepLR: step_size must be at least 1, got 0"),
    ("schedules.StepLR(sgd(), 2, float('nan'))", r"StepLR: gamma must be .* got nan"),
)
refused(
    RuntimeError,
    ("nn.BatchNorm2d(4).backward(a(2, 4, 3, 3))", r"BatchNorm2d.backward: .* call forward first"),
    ("nn.NLLLoss().backward()", r"NLLLoss.backward: .* call forward first"),
)
# -- losses ------------------------------------------------------------------------------------------------------------
refused(
    TypeError,
    ("nn.CrossEntropyLoss([1, 2])", r"CrossEntropyLoss: weight must be .* got \[1, 2\]"),
    ("nn.CrossEntropyLoss(a(3, dtype=int))", r"CrossEntropyLoss: weight must be .* got an array of int64"),
    ("nn.CrossEntropyLoss(ignore_index=1.5)", r"CrossEntropyLoss: ignore_index must be an int, got 1.5"),
    ("nn.CrossEntropyLoss(reduction=None)", r"CrossEntropyLoss: reduction must be .* got None"),
    ("nn.CrossEntropyLoss(label_smoothing='a')", r"CrossEntropyLoss: label_smoothing must be a number, got 'a'"),
    ("nn.CrossEntropyLoss()([[1.0, 2.0]], np.array([0]))", r"cross_entropy: x must be .* got \["),
    ("nn.CrossEntropyLoss()(a(2, 3), [0, 1])", r"cross_entropy: target must be a NumPy array .* got \[0, 1\]"),
    ("nn.CrossEntropyLoss()(a(2, 3), a(2))", r"cross_entropy: target must hold class numbers .* float32"),
    ("lost(a(2, 3), np.array([0, 1]), nn.CrossEntropyLoss()).backward('1')",
     r"cross_entropy_backward: grad_y .* got '1'"),
    ("nn.MSELoss(None)", r"MSELoss: reduction must be .* got None"),
    ("nn.MSELoss()(1.0, a(3))", r"got 1.0"),
    ("nn.MSELoss()(a(3), [1, 2, 3])", r"target must be .* got \[1, 2, 3\]"),
    ("nn.MSELoss()(a(3), a(3, dtype=np.float64))", r"target is float64 but"),
    ("lost(a(3), a(3), nn.MSELoss()).backward('1')", r"grad_y must be .* got '1'"),
    ("nn.OneHotSquaredError()([[1.0]], np.array([0]))", r"OneHotSquaredError: pred must be .* got \["),
    ("nn.OneHotSquaredError()(a(2, 3), a(2))", r"OneHotSquaredError: target must hold class numbers"),
)
refused(
    ShapeError,
    ("nn.CrossEntropyLoss(reduction='avg')", r"CrossEntropyLoss: reduction must be one of .* got 'avg'"),
    ("nn.CrossEntropyLoss(label_smoothing=2)", r"CrossEntropyLoss: label_smoothing must be between .* got 2"),
    ("nn.CrossEntropyLoss()(a(2, 3), np.array([0, 3]))", r"cross_entropy: target must be in 0 \.\. 2 .* got 3"),
    ("nn.CrossEntropyLoss()(a(2, 3), np.array([0]))", r"cross_entropy: target has shape \(1,\)"),
    ("nn.CrossEntropyLoss(a(2))(a(2, 3), np.array([0, 1]))", r"cross_entropy: weight has shape \(2,\)"),
    ("nn.MSELoss('average')", r"MSELoss: reduction must be one of .* got 'average'"),
    ("nn.MSELoss()(a(3), a(4))", r"target has shape \(4,\)"),
    ("nn.MSELoss()(a(3), a(3, 1))", r"target has shape \(3, 1\)"),
    ("nn.OneHotSquaredError()(a(3), np.array([0]))", r"OneHotSquaredError: pred must have shape \(N, C\)"),
    ("nn.OneHotSquaredError()(a(2, 3), np.array([0, 3]))", r"OneHotSquaredError: target must be in 0 \.\. 2"),
    ("nn.OneHotSquaredError()(a(2, 3), np.array([0]))", r"OneHotSquaredError: target has shape \(1,\)"),
)
# -- optimisers and schedules ------------------------------------------------------------------------------------------
refused(
    TypeError,
    ("optim.SGD(None)", r"SGD: params must .* got None"),
    ("optim.SGD(5)", r"SGD: params must .* got 5"),
    ("optim.SGD([a(3)])", r"SGD: params must hold Parameters"),
    ("optim.SGD(nn.Linear(2, 2))", r"SGD: params must "),
    ("sgd('0.1')", r"SGD: lr must be a number, got '0.1'"),
    ("sgd(None)", r"SGD: lr must be a number, got None"),
    ("sgd(True)", r"SGD: lr must be a number, got True"),
    ("sgd(momentum='0')", r"SGD: momentum must be a number, got '0'"),
    ("sgd(weight_decay=None)", r"SGD: weight_decay must be a number, got None"),
    ("sgd(dampening=1j)", r"SGD: dampening must be a number, got 1j"),
    ("sgd(momentum=0.9, nesterov=1)", r"SGD: nesterov must be a bool, got 1"),
    ("optim.Adam(nn.Linear(2, 2).parameters(), betas=0.9)", r"Adam: betas must be a pair of numbers, got 0.9"),
    ("optim.Adam(nn.Linear(2, 2).parameters(), betas=(0.9, None))", r"Adam: betas\[1\] must be a number, got None"),
    ("optim.Adam(nn.Linear(2, 2).parameters(), eps='tiny')", r"Adam: eps must be a number, got 'tiny'"),
    ("optim.AdamW(nn.Linear(2, 2).parameters(), weight_decay=[0])", r"AdamW: weight_decay must be a number, got \[0\]"),
    ("sgd().load_state_dict(None)", r"SGD.load_state_dict: state must be .* got None"),
    ("sgd().load_state_dict([])", r"SGD.load_state_dict: state must be .* got \[\]"),
    ("with_grad([1.0, 2.0, 3.0]).step()", r"SGD.step: .*grad.* must be .* got \[1.0, 2.0, 3.0\]"),
    ("schedules.CosineAnnealingLR(None, 5)", r"CosineAnnealingLR: optimizer must be an Optimizer, got None"),
    ("schedules.CosineAnnealingLR(sgd(), 5.0)", r"CosineAnnealingLR: T_max must be an int, got 5.0"),
    ("schedules.CosineAnnealingLR(sgd(), 5, None)", r"CosineAnnealingLR: eta_min must be a number, got None"),
    ("schedules.OneCycleLR(sgd(), None, 5)", r"OneCycleLR: max_lr must be a number, got None"),
    ("schedules.OneCycleLR(sgd(), 0.1, 5.5)", r"OneCycleLR: total_steps must be an int, got 5.5"),
    ("schedules.OneCycleLR(sgd(), 0.1, 5, cycle_momentum=None)",
     r"OneCycleLR: cycle_momentum must be a bool, got None"),
    ("schedules.OneCycleLR(sgd(), 0.1, 5, anneal_strategy=1)", r"OneCycleLR: anneal_strategy must be .* got 1"),
    ("schedules.LinearTailLR(sgd(), None)", r"LinearTailLR: total_steps must be an int, got None"),
    ("schedules.LinearTailLR(sgd(), 5, 'half')", r"LinearTailLR: tail must be a number, got 'half'"),
)
refused(
    ShapeError,
    ("sgd(-0.1)", r"SGD: lr must be between .* got -0.1"),
    ("sgd(float('nan'))", r"SGD: lr must be between .* got nan"),
    ("sgd(float('inf'))", r"SGD: lr must be between .* got inf"),
    ("sgd(momentum=-1)", r"SGD: momentum must be between .* got -1"),
    ("sgd(weight_decay=-1)", r"SGD: weight_decay must be between .* got -1"),
    ("sgd(nesterov=True)", r"SGD: nesterov needs momentum"),
    ("sgd(momentum=0.9, dampening=0.1, nesterov=True)", r"SGD: nesterov needs momentum .* dampening 0"),
    ("optim.Adam(nn.Linear(2, 2).parameters(), betas=(1.0, 0.9))", r"Adam: betas\[0\] must be between .* got 1.0"),
    ("optim.Adam(nn.Linear(2, 2).parameters(), betas=(0.9, -0.1))", r"Adam: betas\[1\] must be between .* got -0.1"),
    ("optim.Adam(nn.Linear(2, 2).parameters(), eps=-1e-8)", r"Adam: eps must be between .* got -1e-08"),
    ("optim.AdamW(nn.Linear(2, 2).parameters(), lr=VAST)", r"AdamW: lr must .* got an int of"),
    ("with_grad(a(4)).step()", r"SGD.step: .* grad float32 of shape \(4,\)"),
    ("with_grad(a(3, dtype=np.float64)).step()", r"SGD.step: .* grad float64"),
    ("sgd().load_state_dict({'settings': [{}], 'state': []})", r"SGD.load_state_dict: the settings are"),
    ("sgd().load_state_dict({'settings': [], 'state': []})", r"SGD.load_state_dict: the state has 0 groups"),
    ("sgd().load_state_dict({})", r"SGD.load_state_dict: state must have 'settings' and 'state'"),
    ("sgd().load_state_dict({'settings': sgd().state_dict()['settings'], 'state': []})", r"state is of 0 parameters"),
    ("schedules.CosineAnnealingLR(sgd(), 0)", r"CosineAnnealingLR: T_max must be at least 1, got 0"),
    ("schedules.CosineAnnealingLR(sgd(), 5, -1)", r"CosineAnnealingLR: eta_min must be between .* got -1"),
    ("schedules.CosineAnnealingLR(sgd(), 5).load_state_dict({'last_step': -1})", r"last_step must not be negative"),
    ("schedules.OneCycleLR(sgd(), 0, 5)", r"OneCycleLR: max_lr must be between .* got 0"),
    ("schedules.OneCycleLR(sgd(), 0.1)", r"OneCycleLR: give total_steps"),
    ("schedules.OneCycleLR(sgd(), 0.1, 0)", r"OneCycleLR: total_steps must be at least 1, got 0"),
    ("schedules.OneCycleLR(sgd(), 0.1, 5, pct_start=1.5)", r"OneCycleLR: pct_start must be between .* got 1.5"),
    ("schedules.OneCycleLR(sgd(), 0.1, 5, div_factor=0)", r"OneCycleLR: div_factor must be between .* got 0"),
    ("schedules.OneCycleLR(sgd(), 0.1, 5, anneal_strategy='step')",
     r"OneCycleLR: anneal_strategy must be .* got 'step'"),
    ("[schedule.step() for schedule in [schedules.OneCycleLR(sgd(momentum=0.9), 0.1, 2)] for _ in range(9)]",
     r"OneCycleLR: step 3 is beyond the total of 2 steps"),
    ("schedules.LinearTailLR(sgd(), 0)", r"LinearTailLR: total_steps must be at least 1, got 0"),
    ("schedules.LinearTailLR(sgd(), 5, 0)", r"LinearTailLR: tail must be between .* got 0"),
)
refused(
    ValueError,
    ("optim.SGD([])", r"SGD: params is empty"),
    ("optim.SGD([nn.Parameter(a(2))] * 2)", r"SGD: params holds a parameter twice"),
)
# -- data --------------------------------------------------------------------------------------------------------------
refused(
    TypeError,
    ("data.ArrayDataset(np.zeros((2, 5, 5)), [0, 1])", r"ArrayDataset: images must be uint8 or float32, got float64"),
    ("data.ArrayDataset(None, [0, 1])", r"ArrayDataset: images must be .* got object"),
    ("data.ArrayDataset(np.zeros((2, 5, 5), np.uint8), [0.0, 1.0])", r"ArrayDataset: labels must be integers"),
    ("data.ArrayDataset(np.zeros((2, 5, 5), np.uint8), None)", r"ArrayDataset: labels must be integers, got object"),
    ("images()['x']", r"ArrayDataset: "),
    ("images()[1.0]", r"ArrayDataset: "),
    ("data.Loader(np.zeros((2, 5, 5)), 2)", r"Loader: dataset must be an ArrayDataset, got ndarray"),
    ("data.Loader(images(), 2.0)", r"Loader: batch_size must be an integer, got 2.0"),
    ("data.Loader(images(), True)", r"Loader: batch_size must be an integer, got True"),
    ("data.Loader(images(), None)", r"Loader: batch_size must be an integer, got None"),
    ("data.Loader(images(), 2, rng=0)", r"Loader: rng must be a numpy.random.Generator or None, got 0"),
    ("data.Loader(images(), 2, dtype=int)", r"Loader: dtype must be float32 or float64, got int64"),
    ("data.Loader(images(), 2, dtype='f99')", r"Loader: dtype must be float32 or float64, got 'f99'"),
    ("data.Loader(images(), 2, dtype=None)", r"Loader: dtype must be float32 or float64, got None"),
    ("data.Loader(images(), 2, shuffle=1)", r"Loader: shuffle must be a bool, got 1"),
    ("data.Loader(images(), 2, shuffle=None)", r"Loader: shuffle must be a bool, got None"),
    ("data.Loader(images(), 2, drop_last='no')", r"Loader: drop_last must be a bool, got 'no'"),
    ("data.Loader(images(), 2, scale='1')", r"Loader: scale must be a number, got '1'"),
    ("data.Loader(images(), 2, offset=None)", r"Loader: offset must be a number, got None"),
    ("data.digits(2.5)", r"digits: \w+ must be an int"),
    ("data.digits('10')", r"digits: \w+ must be an int"),
    ("models.build(None)", r"the name of a network must be a str, got None"),
    ("models.build('cnn', dtype=int)", r"dtype must be float32 or float64, got int64"),
    ("models.recipe(3)", r"the name of a network must be a str, got 3"),
    ("fastconv.explain_conv2d(5, (4, 3, 3, 3))", r"explain_conv2d: x_shape must be a tuple of ints, got 5"),
    ("fastconv.explain_conv2d((1, 3, 5, 5), (4, 3, 3, 3), dtype=int)", r"explain_conv2d: dtype must be .* got"),
)
refused(
    ValueError,
    ("data.ArrayDataset(np.zeros((5, 5), np.uint8), [0] * 5)",
     r"ArrayDataset: images must be of shape .* got \(5, 5\)"),
    ("data.ArrayDataset(np.zeros((2, 5, 5), np.uint8), [0])", r"ArrayDataset: labels must be of shape \(2,\)"),
    ("data.ArrayDataset(np.zeros((2, 5, 5), np.uint8), [0, -1])",
     r"ArrayDataset: labels must be class numbers from 0 up"),
    ("data.Loader(images(), 0)", r"Loader: batch_size must be at least 1, got 0"),
    ("data.Loader(images(), -5)", r"Loader: batch_size must be at least 1, got -5"),
    ("data.Loader(images(), 2, scale=float('nan'))", r"Loader: scale and offset must be finite"),
    ("data.Loader(images(), 2, offset=float('inf'))", r"Loader: scale and offset must be finite"),
    ("data.digits(-3)", r"digits: n must be at least 0, got -3"),
    ("data.digits(3, -1)", r"digits: seed must be at least 0, got -1"),
    ("data.digits(3, split='valid')", r"digits: split must be 'train' or 'test', got 'valid'"),
    ("data.load('imagenet')", r"load: there is no data set 'imagenet'"),
    ("serialization.save_weights(file(b'', 'x.txt'), {'w': a(2)})", r"weights are kept in files that end in"),
    ("serialization.save_weights(file(b'', 'x.npz'), {'w': a(2, dtype=np.int32)})",
     r"w is int32, expected float32, float64"),
    ("serialization.load_weights(file(b'', 'x.pkl'))", r"weights are kept in files that end in"),
    ("serialization.load_weights(file(b'not a zip', 'x.npz'))", r"x.npz: the file is damaged"),
    ("serialization.load_weights(file(b'', 'x.npz'))", r"x.npz: the file is damaged"),
    ("serialization.load_model(file(b'PK', 'x.npz'))", r"x.npz: the file is damaged"),
)
refused(
    IndexError,
    ("images()[4]", r"ArrayDataset: index 4 is out of range for 4 images"),
    ("images()[-5]", r"ArrayDataset: index -5 is out of range for 4 images"),
    ("images()[np.array([0, 9])]", r"ArrayDataset: index 9 is out of range"),
    ("images()[np.array([True])]", r"ArrayDataset: a mask of 1 booleans does not fit 4 images"),
    ("data.Loader(images(), 2).batch(np.array([7]))", r"Loader: positions must be 0\.\.3, got 7"),
    ("data.Loader(images(), 2).batch(np.array([-1]))", r"Loader: positions must be 0\.\.3, got -1"),
)
refused(
    data.DataError,
    ("idx.read_images(file(b'', 'images'))", r"images: is "),
    ("idx.read_images(file(b'<!DOCTYPE html><html></html>', 'images'))", r"images: is a web page"),
    ("idx.read_images(file(bytes([0, 0, 8, 3, 0, 0, 0, 9]), 'images'))", r"images: is truncated"),
    ("idx.read_images(file(bytes([0, 0, 8, 3] + [255] * 12), 'images'))", r"images: "),
    ("idx.read_images(file(bytes([0, 0, 13, 3] + [0, 0, 0, 1] * 3), 'images'))", r"images: holds .* expected unsigned"),
    ("idx.read_labels(file(bytes([0, 0, 8, 1, 0, 0, 0, 1, 12]), 'labels'))", r"labels: label 12 .* out of range"),
    ("idx.read_labels(file(bytes([31, 139, 8, 0, 1, 2]), 'labels.gz'))", r"labels.gz: is "),
)
refused(
    ShapeError,
    ("models.build('lenet')", r"there is no network 'lenet'; expected one of"),
    ("models.recipe('')", r"there is no network ''"),
    ("fastconv.explain_conv2d((1, 3, 5, 5), (4, 2, 3, 3))", r"explain_conv2d: weight has 2 input channels"),
    ("fastconv.explain_conv2d((1, 3, 5), (3, 3))", r"explain_conv2d: weight_shape must have 4 sizes"),
)
# -- training ----------------------------------------------------------------------------------------------------------
refused(
    TypeError,
    ("training.Trainer(None, sgd(), nn.MSELoss())", r"Trainer: model must be a Module, got None"),
    ("training.Trainer(nn.ReLU(), None, nn.MSELoss())", r"Trainer: optimizer must be an Optimizer, got None"),
    ("training.Trainer(nn.ReLU(), sgd(), None)", r"Trainer: loss must be a Loss, got None"),
    ("training.Trainer(nn.ReLU(), sgd(), nn.MSELoss(), schedule=0.1)", r"Trainer: schedule must be .* got 0.1"),
    ("training.Trainer(nn.ReLU(), sgd(), nn.MSELoss()).fit(images(), 1.0)",
     r"Trainer.fit: epochs must be an int, got 1.0"),
)
# fmt: on


def run_row(number: int) -> None:
    """In a child process: the call of a row, and what it must raise."""
    call, error, match = ROWS[number]
    with pytest.raises(error, match=match) as caught:
        eval(call, {**globals(), **MODULES})
    assert type(caught.value) is error, type(caught.value)
    assert len(str(caught.value)) < 600


RESULTS = Rows("test_bad_layers", len(ROWS))


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: f"{number}-{ROWS[number][0][:60]}")
def test_refused(number: int) -> None:
    problem = RESULTS[number]
    assert problem is None, f"{ROWS[number][0]}: {problem}"


def test_table_is_large_enough_and_covers_every_layer() -> None:
    print(f"{len(ROWS)} malformed calls of layers, losses, optimisers, schedules, data and files")
    assert len(ROWS) >= 200
    calls = "\n".join(call for call, _, _ in ROWS)
    for module in (nn, optim, schedules):
        for name in module.__all__:
            if name not in ("Loss", "LoadResult", "Parameter", "Optimizer", "Schedule", "Module"):
                assert f"{module.__name__.rpartition('.')[2]}.{name}(" in calls, name
