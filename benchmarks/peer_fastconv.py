"""fastconv as side_by_side.py times it; see library.py.

FASTCONV_BENCHMARK_PRECISION sets the float32 precision.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from cases import Array, Case, Conv, Linear, Pool, Update
from networks import Inference
from training_data import EPOCH_IMAGES, IMAGES, first_weights, random_images

import fastconv
from fastconv import data, models, nn, optim, training


class FastConv:
    def describe(self) -> dict[str, Any]:
        config = fastconv.show_config()
        return {
            "library": f"fastconv {fastconv.__version__}",
            "threads": config["threads"],
            "isa": config["isa"],
            "cpu": config["cpu"],
            "precision": config["float32 precision"],
            "numpy": np.__version__,
            "python": platform.python_version(),
        }

    def call(self, case: Case | Inference, which: str) -> Callable[[], Any]:
        if isinstance(case, Inference):
            return _inference(case)
        if isinstance(case, Update):
            return _update(case)
        if isinstance(case, Linear):
            return _linear(case, which)
        return _conv(case, which) if isinstance(case, Conv) else _pool(case, which)

    def arrays(self, result: Any) -> list[Array]:
        if isinstance(result, list):
            return [parameter.data for parameter in result]
        return list(result) if isinstance(result, tuple) else [result]

    def train(self, network: str, batch_size: int, data_dir: Path | None, exact: bool) -> Run:
        return Run(network, batch_size, data_dir, exact)


def _inference(case: Inference) -> Callable[[], Any]:
    model, x = models.build(case.network, rng=0), case.draw()
    model.load_state_dict(case.weights())
    model.eval()
    return lambda: model(x)


def _conv(case: Conv, which: str) -> Callable[[], Any]:
    x, weight, bias, grad_y = case.draw()
    geometry = case.geometry
    if which == "forward":
        return lambda: fastconv.conv2d(x, weight, bias, *geometry)
    i = ("grad_x", "grad_weight").index(which)
    need = i == 0, i == 1, False
    return lambda: fastconv.conv2d_backward(grad_y, x, weight, *geometry, need=need)[i]


def _pool(case: Pool, which: str) -> Callable[[], Any]:
    x, grad_y = case.draw()
    shape, window = x.shape, (case.kernel, case.stride, case.padding)
    if case.kind == "avg":
        if which == "forward":
            return lambda: fastconv.avg_pool2d(x, *window)
        return lambda: fastconv.avg_pool2d_backward(grad_y, shape, *window)
    if which == "forward":
        return lambda: fastconv.max_pool2d(x, *window, return_indices=True)
    _, indices = fastconv.max_pool2d(x, *window, return_indices=True)
    return lambda: fastconv.max_pool2d_backward(grad_y, indices, shape)


def _linear(case: Linear, which: str) -> Callable[[], Any]:
    x, weight, bias, grad_y = case.draw()
    if which == "forward":
        return lambda: fastconv.linear(x, weight, bias)
    i = ("grad_x", "grad_weight").index(which)
    need = i == 0, i == 1, False
    return lambda: fastconv.linear_backward(grad_y, x, weight, need=need)[i]


def _update(case: Update) -> Callable[[], Any]:
    parameters = [nn.Parameter(array) for array in case.draw()[0]]
    for parameter, grad in zip(parameters, case.draw()[1], strict=True):
        parameter.grad = grad
    optimizer = {"sgd": optim.SGD, "adam": optim.Adam}[case.optimizer](parameters, **case.options)

    def step() -> Any:
        optimizer.step()
        return parameters

    return step


class Run:
    """A network, its recipe's optimiser, and an endless supply of batches."""

    def __init__(self, network: str, batch_size: int, data_dir: Path | None, exact: bool) -> None:
        recipe = models.recipe(network)
        if data_dir is None:
            train, self.test = data.ArrayDataset(*random_images()), None
        else:
            train, self.test = data.load_mnist(data_dir, download=False)
        self.loader = data.Loader(
            train[: EPOCH_IMAGES.get(network, IMAGES)],
            batch_size,
            rng=np.random.default_rng(0),
            scale=recipe.scale,
            offset=recipe.offset,
        )
        self.batches = chain.from_iterable(repeat(self.loader))
        self.model = models.build(network, rng=0)
        self.model.load_state_dict(first_weights({name: w.shape for name, w in self.model.state_dict().items()}))
        if exact:
            for module in self.model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        self.loss = recipe.make_loss()
        self.optimizer = recipe.make_optimizer(self.model.parameters())

    def steps(self, count: int) -> Iterator[tuple[int, Any]]:
        model, loss, optimizer = self.model, self.loss, self.optimizer
        model.train()
        for x, y in islice(self.batches, count):
            optimizer.zero_grad()
            value = loss(model(x), y)
            model.backward(loss.backward(), need_grad_x=False)
            optimizer.step()
            yield len(y), value

    def evaluate(self) -> float:
        assert self.test is not None
        loader = self.loader
        batches = data.Loader(self.test, 500, shuffle=False, scale=loader.scale, offset=loader.offset)
        return training.evaluate(self.model, self.loss, batches)["accuracy"]


def make() -> FastConv:
    precision = os.environ.get("FASTCONV_BENCHMARK_PRECISION")
    if precision:
        fastconv.set_float32_precision(precision)
    return FastConv()
