"""Whole networks in eval mode, as cases of side_by_side.py --inference and of bench_inference.py.

`LAYERS` says the networks once more, as data, for libraries that take a graph; onnx_graph builds it.  The weights are
those of training_data.first_weights in every library, by the names of the state_dict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from cases import Array, Shape
from training_data import first_weights

# ("conv", inputs, outputs, kernel, padding), ("linear", inputs, outputs), or a layer without sizes.  Dropout does
# nothing in eval mode, but has a number in the names.
LAYERS: dict[str, list[tuple[Any, ...]]] = {
    "cnn": [
        ("conv", 1, 32, 3, 1),
        ("relu",),
        ("pool",),
        ("conv", 32, 64, 3, 1),
        ("relu",),
        ("pool",),
        ("dropout",),
        ("flatten",),
        ("linear", 3136, 128),
        ("relu",),
        ("linear", 128, 10),
    ],
    "fast": [
        ("conv", 1, 24, 5, 0),
        ("pool",),
        ("relu",),
        ("conv", 24, 32, 3, 0),
        ("pool",),
        ("relu",),
        ("flatten",),
        ("linear", 800, 256),
        ("relu",),
        ("linear", 256, 10),
    ],
}


@dataclass(frozen=True)
class Inference:
    """One forward pass of a network of `fastconv.models`, from a NumPy batch to NumPy scores."""

    network: str
    N: int

    passes: ClassVar[tuple[str, ...]] = ("forward",)

    @property
    def name(self) -> str:
        return f"inference {self.network}"

    @property
    def label(self) -> str:
        return f"batch {self.N}"

    @property
    def x_shape(self) -> Shape:
        return self.N, 1, 28, 28

    @property
    def y_shape(self) -> Shape:
        return self.N, 10

    def draw(self) -> Array:
        return np.random.default_rng(0).random(self.x_shape, dtype=np.float32)

    def weights(self) -> dict[str, Array]:
        """By the names of the state_dict, in its order."""
        shapes: dict[str, Shape] = {}
        for i, (kind, *sizes) in enumerate(LAYERS[self.network]):
            if kind == "conv":
                shapes[f"{i}.weight"] = (sizes[1], sizes[0], sizes[2], sizes[2])
            elif kind == "linear":
                shapes[f"{i}.weight"] = (sizes[1], sizes[0])
            if kind in ("conv", "linear"):
                shapes[f"{i}.bias"] = (sizes[1],)
        return first_weights(shapes)


INFERENCES = tuple(Inference(network, N) for network in LAYERS for N in (1, 16, 128))


def onnx_graph(case: Inference) -> tuple[list[Any], str]:
    """The nodes of a network from "x" on, and the name of its result; its weights go by their own names."""
    from onnx import helper

    nodes, at = [], "x"
    for i, (kind, *sizes) in enumerate(LAYERS[case.network]):
        inputs, result = [at], f"y{i}"
        if kind == "conv":
            inputs += [f"{i}.weight", f"{i}.bias"]
            node = helper.make_node("Conv", inputs, [result], kernel_shape=[sizes[2]] * 2, pads=[sizes[3]] * 4)
        elif kind == "linear":
            node = helper.make_node("Gemm", [*inputs, f"{i}.weight", f"{i}.bias"], [result], transB=1)
        elif kind == "pool":
            node = helper.make_node("MaxPool", inputs, [result], kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "dropout":
            continue
        else:
            node = helper.make_node({"relu": "Relu", "flatten": "Flatten"}[kind], inputs, [result])
        nodes.append(node)
        at = result
    return nodes, at
