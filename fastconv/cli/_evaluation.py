"""What `train` and `evaluate` both measure and say."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import data, nn
from fastconv.training import EVALUATION_BATCH, evaluate


def dtype_of(model: nn.Module) -> np.dtype[Any]:
    """Of the inputs that a model takes."""
    return next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))


def test_accuracy(model: nn.Module, images: data.ArrayDataset, scale: float, offset: float) -> float:
    """The share of images that the model has right."""
    loader = data.Loader(images, EVALUATION_BATCH, shuffle=False, scale=scale, offset=offset, dtype=dtype_of(model))
    return evaluate(model, nn.CrossEntropyLoss(), loader)["accuracy"]


def mnist_test_accuracy(model: nn.Module, data_dir: str | None, scale: float, offset: float) -> float | None:
    """`test_accuracy` on MNIST's test images where they are on this machine, else None."""
    folder = data.find_mnist(data_dir)
    if folder is None:
        return None
    _, test = data.load_mnist(folder, download=False)
    return test_accuracy(model, test, scale, offset)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def count(number: int, thing: str = "image") -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


TITLES = {"mnist": "MNIST", "fashion": "Fashion-MNIST", "kmnist": "KMNIST", "cifar10": "CIFAR-10"}


def titled(dataset: str) -> str:
    """The name of a data set as pictures have it."""
    return TITLES.get(dataset, dataset)
