"""`fastconv evaluate`: test a saved model."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any

import fastconv
from fastconv import data, serialization
from fastconv.cli import _arguments as arguments
from fastconv.cli._evaluation import count, mnist_test_accuracy, percent, test_accuracy
from fastconv.cli._last_model import model_path
from fastconv.data.splits import DIGIT_CLASSES, DIGITS_SIZE


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="test a saved model",
        description="Test a saved model on the test images of a data set.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="file that fastconv train wrote (default: the model that was trained last)",
    )
    arguments.add_data(parser, None, "what to test on (default: the data set that the model was trained on)")
    arguments.add_threads(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Test and report; returns the exit status."""
    path = model_path(args.model, "name its file: fastconv evaluate MODEL")
    model, info = serialization.load_model(path)
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext():
        images, name = test_images(args, info)
        begin = time.perf_counter()
        accuracy = test_accuracy(model, images, info.scale, info.offset)
        seconds = time.perf_counter() - begin
        print(f"model: {info.net}, trained on {info.dataset}")
        print(f"test accuracy: {percent(accuracy)} of {count(len(images))} of {name}")
        print(f"time: {seconds:.2f} s, {len(images) / seconds:,.0f} images a second")
        if name == "digits":
            on_mnist = mnist_test_accuracy(model, args.data_dir, info.scale, info.offset)
            if on_mnist is not None:
                print(f"on MNIST's test images: {percent(on_mnist)}")
    return 0


def test_images(args: argparse.Namespace, info: serialization.ModelInfo) -> tuple[data.ArrayDataset, str]:
    """The test images that a command asks for, or else those of a model's data set; and that set's name.

    Raises
    ------
    ValueError
        If the model cannot take them.
    """
    splits = _splits(args, info)
    if splits.notice:
        print(f"fastconv: {splits.notice}", file=sys.stderr)
    if splits.input_shape != info.input_shape:
        raise ValueError(
            f"the model takes images of {info.input_shape}, those of {splits.name} are {splits.input_shape}"
        )
    if splits.classes != info.classes and arguments.is_folder(args.data):
        raise ValueError(
            f"the model knows the classes {', '.join(info.classes)}; in {args.data} are {', '.join(splits.classes)}"
        )
    if len(splits.classes) != len(info.classes):
        raise ValueError(
            f"the model knows {count(len(info.classes), 'class')}, {splits.name} has {len(splits.classes)} classes"
        )
    return splits.test, splits.name


def _splits(args: argparse.Namespace, info: serialization.ModelInfo) -> data.Splits:
    if arguments.is_folder(args.data):  # at the size that the model wants
        channels, height, width = info.input_shape
        return data.load(args.data, image_size=(height, width), channels=channels)
    if args.data is None and info.dataset not in arguments.DATA and info.classes != DIGIT_CLASSES:
        raise ValueError(
            f"the model was trained on a folder of images, {info.dataset!r:.60}; name the folder with --data FOLDER"
        )
    name = args.data or (info.dataset if info.dataset in arguments.DATA else "auto")
    if name == "digits":  # without drawing its training images
        test = data.digits(DIGITS_SIZE // 6, split="test")
        return data.Splits(test[:0], test, name, None)
    return data.load(name, args.data_dir, download=not args.no_download)
