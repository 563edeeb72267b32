"""`fastconv show`: pictures of what a saved model has learned, and of what it has wrong."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconv
from fastconv import plots
from fastconv.cli import _arguments as arguments
from fastconv.cli._evaluation import count, percent, titled
from fastconv.cli._last_model import model_path
from fastconv.cli._recognizer import Recognizer
from fastconv.cli.evaluate import test_images
from fastconv.data.images import read_image

TOGETHER = 500  # images that go through the network at once
WHAT = {
    "filters": "the learned filters of the first two convolutions",
    "features": "what each layer makes of one image",
    "confusion": "which classes are taken for which others, on the test images",
    "mistakes": "the test images that it is most sure of and has wrong",
}


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "show",
        help="draw what a saved model has learned, and what it has wrong",
        description="Draw a picture of a saved model: " + "; ".join(f"{k}: {v}" for k, v in WHAT.items()) + ".",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="file that fastconv train wrote (default: the model that was trained last)",
    )
    parser.add_argument("--what", choices=tuple(WHAT), default="filters", help="what to draw (default: filters)")
    parser.add_argument(
        "--image",
        metavar="IMAGE",
        help="for features: an image file, or the number of a test image (default: 0, the first one)",
    )
    parser.add_argument("--out", metavar="FILE.png", help="where the picture goes (default: MODEL-WHAT.png, here)")
    arguments.add_data(parser, None, "whose test images (default: those of the data set that the model was trained on)")
    arguments.add_threads(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Draw; returns the exit status."""
    plots.require()  # before the work
    path = model_path(args.model, "name its file: fastconv show MODEL")
    if args.image is not None and args.what != "features":
        raise ValueError(f"--image goes with --what features, not with {args.what}")
    recognizer = Recognizer(path)
    out = arguments.writable_file(args.out or f"{path.stem}-{args.what}.png", "--out")
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out: pictures are PNG; expected a name that ends in .png, got {out}")
    print(f"model: {path} ({recognizer.info.net}, trained on {recognizer.info.dataset})")
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext():
        figure, words = _Show(recognizer, args).draw()
    plots.save(figure, out)
    for line in words:
        print(line)
    print(f"picture: {out}")
    return 0


class _Show:
    """One picture, and what to say with it."""

    def __init__(self, recognizer: Recognizer, args: argparse.Namespace) -> None:
        self.recognizer, self.info, self.args = recognizer, recognizer.info, args
        self.name = f"{self.info.net} (trained on {titled(self.info.dataset)})"

    def draw(self) -> tuple[Any, Sequence[str]]:
        if self.args.what == "filters":
            shape = self.info.input_shape
            return plots.filters(
                self.recognizer.model, shape, f"What {self.info.net} has learned on {titled(self.info.dataset)}"
            ), []
        return self._features() if self.args.what == "features" else self._tested()

    def _features(self) -> tuple[Any, Sequence[str]]:
        image, what = self._one_image()
        probabilities = self.recognizer.probabilities(image[None])[0]
        best = int(probabilities.argmax())
        figure = plots.features(
            self.recognizer.model,
            self.recognizer.inputs(image[None]),
            probabilities,
            self.info.classes,
            f"{what} through {self.name}",
        )
        return figure, [f"{what}: {self.info.classes[best]} ({percent(float(probabilities[best]))})"]

    def _one_image(self) -> tuple[NDArray[np.float32], str]:
        """An image as the network's input from 0 to 1, and what it is."""
        given = self.args.image
        if given is not None and not given.isdecimal():
            prepared = self.recognizer.prepare(read_image(given))
            if prepared is None:
                raise ValueError(f"{given}: there is nothing on this image")
            return prepared, Path(given).name
        number = int(given or 0)
        images, name = test_images(self.args, self.info)
        if number >= len(images):
            raise ValueError(f"--image: {name} has test images 0 to {len(images) - 1:,}, got {number}")
        label = self.info.classes[int(images.labels[number])]
        return _unit(images.images[number : number + 1], self.info.input_shape)[0], (
            f"test image {number} of {titled(name)} ({label})"
        )

    def _tested(self) -> tuple[Any, Sequence[str]]:
        images, name = test_images(self.args, self.info)
        scores = np.concatenate(
            [
                self.recognizer.probabilities(_unit(images.images[i : i + TOGETHER], self.info.input_shape))
                for i in range(0, len(images), TOGETHER)
            ]
        )
        predicted = scores.argmax(axis=1)
        right = int((predicted == images.labels).sum())
        words = [f"test accuracy: {percent(right / len(images))} of {count(len(images))} of {name}"]
        wrong = len(images) - right
        title = f"{self.name}: {wrong:,} of {len(images):,} test images of {titled(name)} wrong"
        if self.args.what == "mistakes":
            title += ", the worst first"
            return plots.mistakes(images.images, images.labels, scores, self.info.classes, title), words
        pairs = np.zeros((len(self.info.classes),) * 2, np.int64)
        np.add.at(pairs, (images.labels, predicted), 1)
        np.fill_diagonal(pairs, 0)
        if wrong:
            true, said = np.unravel_index(int(pairs.argmax()), pairs.shape)
            words.append(
                f"most often: {self.info.classes[true]} taken for {self.info.classes[said]}, "
                f"{count(int(pairs.max()), 'time')}"
            )
        return plots.confusion(images.labels, predicted, self.info.classes, title), words


def _unit(images: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Images of a data set as (N, C, H, W), from 0 to 1."""
    factor = np.float32(1 / 255 if images.dtype == np.uint8 else 1)
    return np.asarray(images.reshape(len(images), *shape) * factor, np.float32)
