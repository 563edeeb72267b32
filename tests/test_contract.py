"""The public API as DESIGN promises it, written out: each name with its signature, and what must come with each.

An operation is public, documented in NumPy style with examples, has a naive twin of the same signature, tests and a
benchmark of its own.  Layers, losses, optimisers and schedules take their arguments in PyTorch's order; what is
fastconv's own (dtype, rng, init, ...) comes by keyword alone, or after them.
"""

import dataclasses
import doctest
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import nn, ops, optim, reference, schedules

ROOT = Path(__file__).parents[1]

# -- what DESIGN lists -------------------------------------------------------------------------------------------------

# name: (file that it is in, arguments)
OPERATIONS = {
    "conv2d": ("conv2d", "x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1"),
    "conv2d_backward": (
        "conv2d",
        "grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, *, need=(True, True, True)",
    ),
    "conv_transpose2d": (
        "conv_transpose2d",
        "x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1",
    ),
    "conv_transpose2d_backward": (
        "conv_transpose2d",
        "grad_y, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, need=(True, True, True)",
    ),
    "max_pool2d": (
        "max_pool2d",
        "x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False",
    ),
    "max_pool2d_backward": ("max_pool2d", "grad_y, indices, input_shape"),
    "avg_pool2d": (
        "avg_pool2d",
        "x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None",
    ),
    "avg_pool2d_backward": (
        "avg_pool2d",
        "grad_y, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, "
        "divisor_override=None",
    ),
    "adaptive_avg_pool2d": ("adaptive_avg_pool2d", "x, output_size"),
    "adaptive_avg_pool2d_backward": ("adaptive_avg_pool2d", "grad_y, input_shape"),
    "unfold": ("unfold", "x, kernel_size, dilation=1, padding=0, stride=1"),
    "fold": ("unfold", "x, output_size, kernel_size, dilation=1, padding=0, stride=1"),
    "unfold_backward": ("unfold", "grad_y, input_shape, kernel_size, dilation=1, padding=0, stride=1"),
    "fold_backward": ("unfold", "grad_y, kernel_size, dilation=1, padding=0, stride=1"),
    "linear": ("linear", "x, weight, bias=None"),
    "linear_backward": ("linear", "grad_y, x, weight, *, need=(True, True, True)"),
    "relu": ("relu", "x"),
    "relu_backward": ("relu", "grad_y, x"),
    "leaky_relu": ("leaky_relu", "x, negative_slope=0.01"),
    "leaky_relu_backward": ("leaky_relu", "grad_y, x, negative_slope=0.01"),
    "sigmoid": ("sigmoid", "x"),
    "sigmoid_backward": ("sigmoid", "grad_y, y"),
    "tanh": ("tanh", "x"),
    "tanh_backward": ("tanh", "grad_y, y"),
    "softmax": ("softmax", "x, dim=-1"),
    "softmax_backward": ("softmax", "grad_y, y, dim=-1"),
    "log_softmax": ("softmax", "x, dim=-1"),
    "log_softmax_backward": ("softmax", "grad_y, y, dim=-1"),
    "cross_entropy": (
        "cross_entropy",
        "x, target, weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0",
    ),
    "cross_entropy_backward": (
        "cross_entropy",
        "x, target, weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0, *, grad_y=None",
    ),
    "batch_norm": (
        "batch_norm",
        "x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05, *, "
        "return_stats=False",
    ),
    "batch_norm_backward": (
        "batch_norm",
        "grad_y, x, mean, inv_std, weight=None, training=False, *, need=(True, True, True)",
    ),
    "dropout": ("dropout", "x, p=0.5, training=True, *, rng=None, return_mask=False"),
    "dropout_backward": ("dropout", "grad_y, mask, p=0.5"),
    "dropout2d": ("dropout", "x, p=0.5, training=True, *, rng=None, return_mask=False"),
    "dropout2d_backward": ("dropout", "grad_y, mask, p=0.5"),
}
SETTINGS = {
    "set_num_threads": "n",
    "get_num_threads": "",
    "threads": "n",
    "show_config": "",
    "cpu_info": "",
    "set_float32_precision": "precision",
    "get_float32_precision": "",
}

# PyTorch's order and defaults; ours may have more by keyword.
LAYERS = {
    "Conv2d": "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True",
    "ConvTranspose2d": "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, "
    "bias=True, dilation=1",
    "MaxPool2d": "kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False",
    "AvgPool2d": "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None",
    "AdaptiveAvgPool2d": "output_size",
    "Linear": "in_features, out_features, bias=True",
    "ReLU": "",
    "LeakyReLU": "negative_slope=0.01",
    "Sigmoid": "",
    "Tanh": "",
    "Softmax": "dim=-1",
    "LogSoftmax": "dim=-1",
    "Flatten": "start_dim=1, end_dim=-1",
    "Dropout": "p=0.5",
    "Dropout2d": "p=0.5",
    "BatchNorm2d": "num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True",
    "Sequential": "*layers",
}
LOSSES = {
    "CrossEntropyLoss": ["weight=None", "ignore_index=-100", "reduction='mean'", "label_smoothing=0.0"],
    "NLLLoss": ["weight=None", "ignore_index=-100", "reduction='mean'"],
    "MSELoss": ["reduction='mean'"],
}
OPTIMISERS = {
    "SGD": "params, lr=0.001, momentum=0, dampening=0, weight_decay=0, nesterov=False",
    "Adam": "params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0",
    "AdamW": "params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01",
}
SCHEDULES = {
    "StepLR": "optimizer, step_size, gamma=0.1",
    "CosineAnnealingLR": "optimizer, T_max, eta_min=0.0",
    "OneCycleLR": "optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3, "
    "anneal_strategy='cos', cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0, "
    "final_div_factor=10000.0, three_phase=False",
}


def signature(function) -> str:
    """Names and defaults, without annotations."""
    bare = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    return str(inspect.Signature(bare))[1:-1]


def sections(doc: str) -> set[str]:
    return set(re.findall(r"^(\w[\w ]*)\n-{3,}$", doc, re.MULTILINE))


# -- operations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operation_is_public(name):
    assert name in fastconv.__all__
    assert name in ops.__all__
    assert callable(getattr(fastconv, name))
    assert getattr(fastconv, name) is getattr(ops, name)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operation_has_the_signature_and_so_has_its_twin(name):
    expected = OPERATIONS[name][1]
    fast, naive = getattr(fastconv, name), getattr(reference, name)
    assert signature(fast) == signature(naive)
    assert expected is None or signature(fast) == expected
    assert naive.__doc__


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operation_is_documented(name):
    function = getattr(fastconv, name)
    doc = inspect.getdoc(function)
    assert {"Parameters", "Returns", "Raises", "Examples"} <= sections(doc)
    parameters = doc.split("Parameters\n-")[1].split("Returns\n-")[0]
    for parameter in inspect.signature(function).parameters:
        # A line of its own, or shared: `stride, padding : int`.
        assert re.search(rf"^(\w+, )*{parameter}(, \w+)*( :|$)", parameters, re.MULTILINE), parameter
    examples = doctest.DocTestParser().get_examples(doc)
    assert any(name in example.source for example in examples)
    assert any(example.want for example in examples)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operation_has_its_files(name):
    op = OPERATIONS[name][0]
    for path in (f"fastconv/ops/{op}.py", f"fastconv/reference/{op}.py", f"tests/test_{op}.py"):
        assert (ROOT / path).exists(), path
    assert (ROOT / "benchmarks" / f"bench_{op}.py").exists()
    assert getattr(fastconv, name).__module__ == f"fastconv.ops.{op}"
    assert name in (ROOT / f"tests/test_{op}.py").read_text(encoding="utf-8") or name.endswith("_backward")


def test_no_operation_is_left_out():
    """Operations beyond DESIGN's list have all that the listed ones have; this says which they are."""
    beyond = {*ops.__all__} - {*OPERATIONS}
    assert beyond <= {"nll_loss", "nll_loss_backward", "mse_loss", "mse_loss_backward"}, beyond
    for name in sorted(beyond):
        doc = inspect.getdoc(getattr(fastconv, name))
        assert {"Parameters", "Returns", "Raises", "Examples"} <= sections(doc), name
        assert signature(getattr(ops, name)) == signature(getattr(reference, name)), name


@pytest.mark.parametrize("name", SETTINGS)
def test_setting(name):
    function = getattr(fastconv, name)
    assert name in fastconv.__all__
    assert signature(function) == SETTINGS[name]
    doc = inspect.getdoc(function)
    wanted = {"Parameters", "Raises"} if SETTINGS[name] else {"Returns"}
    assert wanted <= sections(doc)
    assert doctest.DocTestParser().get_examples(doc)


# -- layers, losses, optimisers, schedules -----------------------------------------------------------------------------


def ours_begins_with(kind, expected: str) -> None:
    """The arguments are PyTorch's, in its order and with its defaults; what follows is by keyword or has a default."""
    found = signature(kind)
    assert found == expected or found.startswith(expected + ", " if expected else "*"), found
    for parameter in list(inspect.signature(kind).parameters.values())[len(expected.split(", ")) if expected else 0 :]:
        assert parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty, parameter


def documents_its_parameters(kind) -> None:
    doc = inspect.getdoc(kind)
    for parameter in inspect.signature(kind).parameters:
        assert re.search(rf"^(\*?\w+, )*\*?{parameter}(, \w+)*( :|$)", doc, re.MULTILINE), parameter


@pytest.mark.parametrize("name", list(LAYERS))
def test_layer(name):
    kind = getattr(nn, name)
    assert name in nn.__all__
    assert issubclass(kind, nn.Module)
    ours_begins_with(kind, LAYERS[name])
    documents_its_parameters(kind)
    for method in ("forward", "backward", "parameters", "state_dict", "load_state_dict", "train", "eval", "zero_grad"):
        assert callable(getattr(kind, method))
    assert kind.backward is not nn.Module.backward
    assert list(inspect.signature(kind.backward).parameters)[:2] == ["self", "grad_y"]


@pytest.mark.parametrize("name", list(LOSSES))
def test_loss(name):
    kind = getattr(nn, name)
    assert name in nn.__all__
    assert issubclass(kind, nn.Loss)
    found = signature(kind).split(", ")
    assert [argument for argument in found if argument in LOSSES[name]] == LOSSES[name]
    documents_its_parameters(kind)
    assert list(inspect.signature(kind.forward).parameters) == ["self", "pred", "target"]
    assert kind.backward is not nn.Loss.backward


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_optimiser(name):
    kind = getattr(optim, name)
    assert name in optim.__all__
    assert issubclass(kind, optim.Optimizer)
    ours_begins_with(kind, OPTIMISERS[name])
    documents_its_parameters(kind)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_schedule(name):
    kind = getattr(schedules, name)
    assert name in schedules.__all__
    assert issubclass(kind, schedules.Schedule)
    ours_begins_with(kind, SCHEDULES[name])
    documents_its_parameters(kind)


@pytest.mark.peer
def test_the_table_has_pytorchs_signatures():
    """Each argument of a table is PyTorch's, at PyTorch's place, with PyTorch's default."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    places = (
        (LAYERS, torch.nn, {"Sequential": None, "Softmax": None, "LogSoftmax": None}),
        (OPTIMISERS, torch.optim, {}),
        (SCHEDULES, torch.optim.lr_scheduler, {}),
    )
    for table, module, own in places:
        for name, expected in table.items():
            if name in own:  # PyTorch's dim has no default; its Sequential takes *args
                continue
            theirs = inspect.signature(getattr(module, name)).parameters
            ours = inspect.signature(eval(f"lambda {expected}: None")).parameters
            for our, their in zip(ours.values(), theirs.values(), strict=False):
                assert our.name == their.name, (name, our, their)
                assert our.default == their.default, (name, our, their)


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_named_networks():
    from fastconv import models

    assert list(models.names())[:6] == ["ann", "scratch", "keras", "dropout", "cnn", "fast"]
    counts = {
        name: sum(parameter.size for parameter in models.build(name, rng=0).parameters()) for name in models.names()
    }
    expected = {"ann": 31_760, "scratch": 13_610, "keras": 225_034, "dropout": 21_840, "cnn": 421_642, "fast": 215_194}
    assert {name: counts[name] for name in expected} == expected
    assert all(dataclasses.is_dataclass(models.recipe(name)) for name in models.names())


def test_errors():
    assert issubclass(fastconv.ShapeError, ValueError)
    assert issubclass(fastconv.ShapeError, RuntimeError)
    with pytest.raises(fastconv.ShapeError) as caught:
        fastconv.conv2d(np.ones((1, 3, 8, 8)), np.ones((4, 2, 3, 3)))
    assert str(caught.value) == (
        "conv2d: weight has 2 input channels per group but x has 3 channels with groups=1; "
        "expected weight of shape (4, 3, 3, 3)"
    )


def test_modules_that_are_imported_when_used():
    for name in ("data", "models", "nn", "optim", "reference", "schedules", "serialization", "training"):
        assert getattr(fastconv, name) is importlib.import_module(f"fastconv.{name}")
