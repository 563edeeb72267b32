"""PyTorch as side_by_side.py times it, in NCHW or in channels_last; see library.py.

In channels_last all arrays are converted before the clock starts, and results stay as they come.  Linear layers and
optimisers have no images, so they are timed once, in NCHW.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import Array, Case, Conv, Linear, Pool, Update
from library import Unsupported
from networks import Inference
from torch_networks import OneHotSquaredError, build
from training_data import EPOCH_IMAGES, IMAGES, first_weights, index_batches, random_images, read_mnist

aten = torch.ops.aten


class Torch:
    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last

    def describe(self) -> dict[str, Any]:
        return {
            "library": f"PyTorch {torch.__version__}",
            "format": "channels_last" if self.channels_last else "NCHW",
            "threads": torch.get_num_threads(),
            "isa": torch.backends.cpu.get_cpu_capability(),
            "python": platform.python_version(),
        }

    def call(self, case: Case | Inference, which: str) -> Callable[[], Any]:
        if isinstance(case, Inference):
            return self._inference(case)
        if isinstance(case, Linear | Update) and self.channels_last:
            raise Unsupported("there are no images: see NCHW")
        if isinstance(case, Update):
            return _update(case)
        if isinstance(case, Linear):
            call = _linear(case, which)
        else:
            call = self._conv(case, which) if isinstance(case, Conv) else self._pool(case, which)

        def without_grad() -> Any:
            with torch.no_grad():
                return call()

        return without_grad

    def arrays(self, result: Any) -> list[Array]:
        results = result if isinstance(result, tuple | list) else (result,)
        return [one if isinstance(one, np.ndarray) else one.contiguous().numpy() for one in results]

    def train(self, network: str, batch_size: int, data_dir: Path | None, exact: bool) -> Run:
        return Run(network, batch_size, data_dir, exact, self.tensor, self.channels_last)

    def tensor(self, array: Array) -> torch.Tensor:
        """The same numbers in this library's format.

        With one channel both formats are contiguous at once, and `contiguous(memory_format=...)` changes nothing; the
        convolutions then take the slow path of NCHW.  A copy into a tensor made for the format does get its strides.
        """
        tensor = torch.from_numpy(array)
        if self.channels_last and tensor.dim() == 4:
            return torch.empty(tensor.shape, dtype=tensor.dtype, memory_format=torch.channels_last).copy_(tensor)
        return tensor

    def _inference(self, case: Inference) -> Callable[[], Any]:
        model, x = build(case.network)[0].eval(), case.draw()
        model.load_state_dict({name: torch.from_numpy(w) for name, w in case.weights().items()})
        if self.channels_last:
            for parameter in model.parameters():
                parameter.data = self.tensor(parameter.detach().numpy())

        def run() -> Any:
            with torch.inference_mode():
                batch = torch.from_numpy(x)
                if self.channels_last:  # with one channel the same numbers in the same order: only the strides say so
                    batch = batch.as_strided(x.shape, (x[0].size, 1, x.shape[3], 1))
                return model(batch).numpy()

        return run

    def _conv(self, case: Conv, which: str) -> Callable[[], Any]:
        x, weight, bias, grad_y = (None if array is None else self.tensor(array) for array in case.draw())
        stride, padding, dilation, groups = case.geometry
        if which == "forward":
            conv2d = torch.nn.functional.conv2d
            return lambda: conv2d(x, weight, bias, stride, padding, dilation, groups)
        i = ("grad_x", "grad_weight").index(which)
        window = [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], groups, [i == 0, i == 1, False]
        return lambda: aten.convolution_backward(grad_y, x, weight, None, *window)[i]

    def _pool(self, case: Pool, which: str) -> Callable[[], Any]:
        x, grad_y = map(self.tensor, case.draw())
        window = [case.kernel] * 2, [case.stride] * 2, [case.padding] * 2
        if case.kind == "avg":
            if which == "forward":
                return lambda: torch.nn.functional.avg_pool2d(x, *window)
            return lambda: aten.avg_pool2d_backward(grad_y, x, *window, False, True, None)
        if which == "forward":
            return lambda: torch.nn.functional.max_pool2d(x, *window, return_indices=True)
        _, indices = torch.nn.functional.max_pool2d(x, *window, return_indices=True)
        return lambda: aten.max_pool2d_with_indices_backward(grad_y, x, *window, [1, 1], False, indices)


def _linear(case: Linear, which: str) -> Callable[[], Any]:
    x, weight, bias, grad_y = (None if array is None else torch.from_numpy(array) for array in case.draw())
    if which == "forward":
        return lambda: torch.nn.functional.linear(x, weight, bias)
    return (lambda: torch.mm(grad_y, weight)) if which == "grad_x" else (lambda: torch.mm(grad_y.t(), x))


WAYS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "one by one": {"foreach": False}}
WARM_STEPS, TRIAL_STEPS = 20, 100


def _update(case: Update) -> Callable[[], Any]:
    """A step in the fastest of PyTorch's ways, which are tried first."""

    def seconds(way: str) -> float:
        step, times = _stepper(case, way), []
        for _ in range(WARM_STEPS + TRIAL_STEPS):
            begin = time.perf_counter()
            step()
            times.append(time.perf_counter() - begin)
        return sorted(times[WARM_STEPS:])[TRIAL_STEPS // 2]

    return _stepper(case, min(WAYS, key=seconds))


def _stepper(case: Update, way: str) -> Callable[[], Any]:
    arrays, grads = case.draw()
    parameters = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = torch.from_numpy(grad)
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.optimizer]
    optimizer = make(parameters, **case.options, **WAYS[way])
    results = [parameter.detach() for parameter in parameters]

    def step() -> Any:
        optimizer.step()
        return results

    return step


class Run:
    """A network, its recipe's optimiser, and an endless supply of batches.

    Random images are kept as floats, which makes the fastest batches; MNIST's as bytes, which takes the least memory.
    """

    def __init__(
        self,
        network: str,
        batch_size: int,
        data_dir: Path | None,
        exact: bool,
        tensor: Callable[[Array], torch.Tensor],
        channels_last: bool,
    ) -> None:
        self.model, recipe = build(network)
        self.recipe, self.channels_last, self.data_dir = recipe, channels_last, data_dir
        images, labels = random_images() if data_dir is None else read_mnist(data_dir, "train")
        size = EPOCH_IMAGES.get(network, IMAGES)
        self.images = torch.from_numpy(images[:size])[:, None]
        self.labels = torch.from_numpy(labels[:size])
        if data_dir is None:
            self.images = self._scaled(self.images)
        self.order = index_batches(size, batch_size)
        state = self.model.state_dict()
        weights = first_weights({name: tuple(w.shape) for name, w in state.items()})
        self.model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        if channels_last:
            for parameter in self.model.parameters():
                parameter.data = tensor(parameter.detach().numpy())
        if exact:
            for module in self.model.modules():
                if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
                    module.p = 0.0
        self.loss = OneHotSquaredError() if recipe.squared_error else torch.nn.CrossEntropyLoss()
        self.optimizer = recipe.optimizer(self.model.parameters(), lr=recipe.lr, **recipe.options)

    def steps(self, count: int) -> Iterator[tuple[int, Any]]:
        model, loss, optimizer = self.model, self.loss, self.optimizer
        model.train()
        for positions in islice(self.order, count):
            x, y = self._batch(self.images, self.labels, torch.from_numpy(positions))
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            yield len(y), value.item()

    def evaluate(self) -> float:
        assert self.data_dir is not None
        pixels, classes = read_mnist(self.data_dir, "t10k")
        images, labels = torch.from_numpy(pixels)[:, None], torch.from_numpy(classes)
        self.model.eval()
        right = 0
        with torch.no_grad():
            for positions in torch.arange(len(labels)).split(500):
                x, y = self._batch(images, labels, positions)
                right += int((self.model(x).argmax(1) == y).sum())
        return right / len(labels)

    def _batch(
        self, images: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = images.index_select(0, positions)
        if x.dtype == torch.uint8:
            x = self._scaled(x)
        if self.channels_last:  # with one channel the same numbers in the same order: only the strides say so
            x = x.as_strided(x.shape, (x[0].numel(), 1, x.shape[3], 1))
        return x, labels.index_select(0, positions)

    def _scaled(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float().mul_(self.recipe.scale)
        return x.add_(self.recipe.offset) if self.recipe.offset else x


def make(channels_last: bool) -> Torch:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return Torch(channels_last)
