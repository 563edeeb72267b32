"""`fastconv compare`: a network without convolutions and one with them, on the same few images.

Both learn their training images by heart; what they make of images that they have not seen is the difference.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import fastconv
from fastconv import data, models, plots
from fastconv.cli import _arguments as arguments
from fastconv.cli._evaluation import count, percent, titled
from fastconv.data.splits import DIGITS_SIZE
from fastconv.training import EVALUATION_BATCH, Callback, Trainer

IMAGES = 1000
EPOCHS = {"ann": models.recipe("ann").epochs, "cnn": 20}  # the latter has learned them by heart in ten
DEFAULT_OUT = "compare.png"


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="train a network without convolutions and one with them on the same few images",
        description="Train the networks `ann` (two linear layers) and `cnn` on the same 1,000 images and draw how well "
        "they know these, and how well the test images that they have never seen: overfitting made visible.",
        allow_abbrev=False,
    )
    arguments.add_data(parser, "auto", "which images (default: auto, which is mnist where it can be had, else digits)")
    parser.add_argument(
        "--train-size", type=arguments.positive_int, default=IMAGES, metavar="N", help="training images (default: 1000)"
    )
    for net, epochs in EPOCHS.items():
        parser.add_argument(
            f"--{net}-epochs",
            type=arguments.positive_int,
            default=epochs,
            metavar="N",
            help=f"times that {net} goes through them (default: {epochs})",
        )
    parser.add_argument("--out", default=DEFAULT_OUT, metavar="FILE.png", help=f"picture (default: {DEFAULT_OUT})")
    parser.add_argument("--quiet", action="store_true", help="show the result only")
    arguments.add_threads(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train both, draw, report; returns the exit status."""
    plots.require()  # before the work
    out = arguments.writable_file(args.out, "--out")
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out: pictures are PNG; expected a name that ends in .png, got {out}")
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext():
        splits = data.load(
            args.data, args.data_dir, download=not args.no_download, digits_size=max(DIGITS_SIZE // 6, args.train_size)
        )
        if splits.notice:
            print(f"fastconv: {splits.notice}", file=sys.stderr)
        splits = splits._replace(train=splits.train[: args.train_size])
        results = [_train(net, splits, getattr(args, f"{net}_epochs"), not args.quiet) for net in EPOCHS]
    images = splits.train
    title = f"{count(len(images), 'training image')} of {titled(splits.name)}, tested on {len(splits.test):,} others"
    plots.save(plots.comparison([(f"{r.net}: {_WHAT[r.net]}", r.history) for r in results], title), out)
    print(f"{count(len(images), 'training image')} and {count(len(splits.test), 'test image')} of {splits.name}")
    print(f"{'network':<8} {'parameters':>10} {'epochs':>7} {'training':>10} {'test':>9} {'time':>8}")
    for r in results:
        last = r.history[-1]
        print(
            f"{r.net:<8} {r.parameters:>10,} {len(r.history):>7} {percent(last['train_accuracy']):>10} "
            f"{percent(last['validation_accuracy']):>9} {r.seconds:>6.1f} s"
        )
    print(f"picture: {out}")
    return 0


_WHAT = {"ann": "two linear layers", "cnn": "two convolutions"}


class _Result(NamedTuple):
    net: str
    parameters: int
    history: list[dict[str, Any]]
    seconds: float


class _MeasureTraining(Callback):
    """Puts into the history what the network makes of its training images after each epoch, in eval mode."""

    def __init__(self, images: data.Loader) -> None:
        self.images = images

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        measured = trainer.evaluate(self.images)
        entry["train_loss"], entry["train_accuracy"] = measured["loss"], measured["accuracy"]


def _train(net: str, splits: data.Splits, epochs: int, progress: bool) -> _Result:
    """Train a network by its recipe; smaller batches for few images, so that there are steps enough."""
    recipe = replace(models.recipe(net), epochs=epochs)
    if recipe.batch_size > 1:
        recipe = replace(recipe, batch_size=min(recipe.batch_size, 32))
    model_seed, order_seed = np.random.SeedSequence(recipe.seed).spawn(2)
    rng = np.random.default_rng(model_seed)
    model = models.build(net, rng, input_shape=splits.input_shape, classes=len(splits.classes))
    batches = data.Loader(
        splits.train, recipe.batch_size, recipe.shuffle, np.random.default_rng(order_seed), recipe.scale, recipe.offset
    )
    known, unknown = (
        data.Loader(part, EVALUATION_BATCH, shuffle=False, scale=recipe.scale, offset=recipe.offset)
        for part in (splits.train, splits.test)
    )
    optimizer = recipe.make_optimizer(model.parameters())
    trainer = Trainer(
        model,
        optimizer,
        recipe.make_loss(),
        schedule=recipe.make_schedule(optimizer, len(batches) * epochs),
        callbacks=[_MeasureTraining(known)],
        progress=progress,
    )
    if progress:
        print(f"{net}: {_WHAT[net]}, {count(epochs, 'epoch')}", file=sys.stderr)
    begin = time.perf_counter()
    history = trainer.fit(batches, epochs, validation=unknown)
    seconds = time.perf_counter() - begin
    return _Result(net, sum(parameter.size for parameter in model.parameters()), history, seconds)
