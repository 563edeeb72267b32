"""fastconv: fast 2-D convolution and pooling for NumPy arrays, forward and backward, and a small network layer on top.

The operations are here; the parts that build on them (fastconv.nn, fastconv.optim, fastconv.data, ...) are imported
when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

# First, as it loads the compiled module.
from fastconv._threads import get_num_threads, set_num_threads, threads

# isort: split
from fastconv._config import cpu_info, release_memory, show_config
from fastconv._explain import Explanation, explain_conv2d
from fastconv._precision import get_float32_precision, set_float32_precision
from fastconv._validation import ShapeError
from fastconv._version import __version__
from fastconv.ops import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    batch_norm,
    batch_norm_backward,
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    cross_entropy,
    cross_entropy_backward,
    dropout,
    dropout2d,
    dropout2d_backward,
    dropout_backward,
    fold,
    fold_backward,
    leaky_relu,
    leaky_relu_backward,
    linear,
    linear_backward,
    log_softmax,
    log_softmax_backward,
    max_pool2d,
    max_pool2d_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
    unfold,
    unfold_backward,
)

__all__ = [
    "Explanation",
    "ShapeError",
    "__version__",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cpu_info",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout2d",
    "dropout2d_backward",
    "dropout_backward",
    "explain_conv2d",
    "fold",
    "fold_backward",
    "get_float32_precision",
    "get_num_threads",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "release_memory",
    "relu",
    "relu_backward",
    "set_float32_precision",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
    "threads",
    "unfold",
    "unfold_backward",
]

_SUBMODULES = (
    "checkpoint",
    "data",
    "models",
    "nn",
    "optim",
    "plots",
    "reference",
    "schedules",
    "serialization",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"fastconv.{name}")
    if name == "Trainer":
        return importlib.import_module("fastconv.training").Trainer
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, "Trainer"})
