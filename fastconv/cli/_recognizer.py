"""A saved model as `predict` and `draw` use it: from a picture to the probabilities of its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv import data, models, nn, serialization
from fastconv.cli._evaluation import dtype_of
from fastconv.data import framing
from fastconv.ops import softmax

__all__ = ["FeatureMaps", "Recognizer"]

F32 = NDArray[np.float32]
BRIGHT = 0.99  # the share of a layer's values that are shown in shades, the rest white


class FeatureMaps(NamedTuple):
    """What one convolution makes of an image: `maps` (K, H, W) as bytes, the strongest hundredth of all 255."""

    name: str
    maps: NDArray[np.uint8]


class Recognizer:
    """A model, and how it wants its images.

    Parameters
    ----------
    path : Path
        File that `fastconv train` wrote.

    Raises
    ------
    OSError, ValueError, ImportError
        As `serialization.load_model`; ValueError too for a model of anything but images.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.info = serialization.load_model(path)
        shape = self.info.input_shape
        if len(shape) != 3 or shape[0] not in (1, 3) or not all(1 <= extent <= 1024 for extent in shape):
            raise ValueError(f"{path}: takes inputs of shape {shape}; images are (1, H, W) or (3, H, W)")
        self.dtype = dtype_of(self.model)
        # A network trained by squared error against ones and zeros estimates probabilities, not their logarithms.
        self._squared_error = models.recipe(self.info.net).loss == "squared-error"

    def prepare(self, image: NDArray[Any]) -> F32 | None:
        """An image of any size as the network should see it, (C, H, W) from 0 to 1; None where there is nothing.

        Grey models of the named sets see ink on an empty sheet, framed as MNIST is; models of three channels, and those
        that were trained on a folder of images, the picture itself, as `data.load_folder` reads it.
        """
        channels, height, width = self.info.input_shape
        if channels == 3 or self.info.dataset not in data.NAMES:
            picture = framing.picture(image, height, width)
            return picture if picture is None or channels == 3 else np.tensordot(framing.GREY, picture, 1)[None]
        drawn = framing.ink(image)
        return None if drawn is None else self._framed(framing.frame(drawn, min(height, width)))

    def prepare_strokes(self, strokes: list[NDArray[Any]], pen: float) -> F32 | None:
        """The path of a pen as the network should see it, (C, H, W) from 0 to 1; None where there is none."""
        return self._framed(framing.draw_strokes(strokes, pen, min(self.info.input_shape[1:])))

    def _framed(self, square: F32 | None) -> F32 | None:
        """A square image in the middle of the model's input."""
        if square is None:
            return None
        shape, side = self.info.input_shape, len(square)
        image = np.zeros(shape, np.float32)
        top, left = (shape[1] - side) // 2, (shape[2] - side) // 2
        image[:, top : top + side, left : left + side] = square
        return image

    def inputs(self, images: F32) -> NDArray[Any]:
        """What the network was trained on: pixels of 0 to 255, scaled and shifted."""
        return np.asarray(images * (255 * self.info.scale) + self.info.offset, self.dtype)

    def probabilities(self, images: F32) -> NDArray[np.float64]:
        """(N, C, H, W) from 0 to 1 -> (N, classes), rows of sum 1; ValueError for a model whose scores are none."""
        scores = self.model(self.inputs(images)).astype(np.float64)
        if scores.ndim != 2 or scores.shape[1] != len(self.info.classes):
            raise ValueError(f"{self.path}: gives scores of shape {scores.shape} for {len(self.info.classes)} classes")
        if not np.isfinite(scores).all():
            raise ValueError(f"{self.path}: the network's scores are not finite; its training has failed")
        if not self._squared_error:
            return softmax(scores)
        shares = np.maximum(scores, 1e-6)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def feature_maps(self, image: F32, most: int = 2) -> list[FeatureMaps]:
        """What the first convolutions make of an image (C, H, W), after their ReLU where they have one."""
        found: list[FeatureMaps] = []
        layers = list(self.model)
        x = self.inputs(image[None])
        for i, layer in enumerate(layers):
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                found.append(FeatureMaps(f"convolution {len(found) + 1}", _as_bytes(x[0], _relu_follows(layers, i))))
                if len(found) == most:
                    break
        return found


def _relu_follows(layers: list[nn.Module], i: int) -> bool:
    """Whether a ReLU comes before the next layer that has weights (a pool in between changes nothing)."""
    for layer in layers[i + 1 :]:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            return False
        if isinstance(layer, nn.ReLU):
            return True
    return False


def _as_bytes(maps: NDArray[Any], relu: bool) -> NDArray[np.uint8]:
    """Maps (K, H, W) as grey: what is not above 0 is black; without a ReLU, their size whatever the sign."""
    positive = np.maximum(maps, 0) if relu else np.abs(maps)
    if not (positive.size and np.isfinite(positive).all()):
        return np.zeros(maps.shape, np.uint8)
    most = float(np.quantile(positive, BRIGHT)) or float(positive.max()) or 1.0
    return np.asarray(np.rint(np.minimum(positive / most, 1) * 255), np.uint8)
