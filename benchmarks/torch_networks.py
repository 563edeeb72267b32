"""The six named networks of `fastconv.models` and their recipes, in PyTorch.

The layers stand in the same order, so that the names of the parameters ("0.weight", ...) are the same in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """Optimiser (class, learning rate and options), and what the network sees of a pixel: pixel * scale + offset."""

    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam
    lr: float = 0.001
    options: dict[str, Any] = field(default_factory=dict)
    scale: float = 1 / 255
    offset: float = 0.0
    squared_error: bool = False


class _PassThrough(torch.autograd.Function):
    """ReLU forward, identity backward: what `ann` is known by."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, grad_y: torch.Tensor) -> torch.Tensor:
        return grad_y


class PassThroughReLU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _PassThrough.apply(x)


class OneHotSquaredError(nn.Module):
    """Half the squared distance to one-hot targets, mean over the rows."""

    def forward(self, scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wanted = nn.functional.one_hot(target, scores.shape[1]).to(scores.dtype)
        return (scores - wanted).square().sum() / (2 * len(scores))


def _ann() -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(784, 40, bias=False), PassThroughReLU(), nn.Linear(40, 10, bias=False)]


def _scratch() -> list[nn.Module]:
    return [nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1352, 10)]


def _keras() -> list[nn.Module]:
    return [
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1600, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ]


def _dropout() -> list[nn.Module]:
    return [
        nn.Conv2d(1, 10, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 50),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(50, 10),
    ]


def _cnn() -> list[nn.Module]:
    return [
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(3136, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ]


def _fast() -> list[nn.Module]:
    return [
        nn.Conv2d(1, 24, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(800, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    ]


_FUSED = {"fused": True}  # one kernel for all parameters: the fastest of PyTorch's three ways on a CPU

_NETWORKS: dict[str, tuple[Callable[[], list[nn.Module]], Recipe]] = {
    "ann": (_ann, Recipe(torch.optim.SGD, 0.005, squared_error=True)),
    "scratch": (_scratch, Recipe(torch.optim.SGD, 0.005, offset=-0.5)),
    "keras": (_keras, Recipe(options=_FUSED)),
    "dropout": (_dropout, Recipe(options=_FUSED)),
    "cnn": (_cnn, Recipe(options=_FUSED)),
    "fast": (
        _fast,
        Recipe(lr=0.01, options={"betas": (0.7, 0.9), **_FUSED}, scale=1 / (255 * 0.3081), offset=-0.1307 / 0.3081),
    ),
}


def build(name: str) -> tuple[nn.Sequential, Recipe]:
    """A network with PyTorch's own random weights, in training mode, and its recipe."""
    layers, recipe = _NETWORKS[name]
    return nn.Sequential(*layers()), recipe
