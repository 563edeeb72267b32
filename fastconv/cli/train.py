"""`fastconv train`: train a named network, test it, save it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import data, models, serialization
from fastconv.cli import _arguments as arguments
from fastconv.cli._evaluation import count, mnist_test_accuracy, percent
from fastconv.cli._last_model import remember
from fastconv.data.splits import DIGITS_SIZE
from fastconv.training import EVALUATION_BATCH, Trainer

DEFAULT_OUT = "models"
SMALL = 10_000  # so many training images at most are gone through once more, to say how many the network knows by heart


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a network",
        description="Train a network, test it, and save it.  What is not given comes from the network's own recipe.",
        allow_abbrev=False,
    )
    parser.add_argument("--net", choices=models.names(), default="cnn", help="which network (default: cnn)")
    arguments.add_data(
        parser, "auto", "what to train on (default: auto, which is mnist where it can be had, else digits)"
    )
    parser.add_argument(
        "--train-size", type=arguments.positive_int, metavar="N", help="train on the first N images only"
    )
    parser.add_argument("--epochs", type=arguments.positive_int, metavar="N", help="times to go through the data")
    parser.add_argument("--batch-size", type=arguments.positive_int, metavar="N", help="images in a step")
    parser.add_argument("--lr", type=arguments.learning_rate, metavar="X", help="learning rate")
    parser.add_argument("--optimizer", choices=tuple(models.OPTIMIZERS), help="how weights are changed")
    parser.add_argument("--seed", type=arguments.seed, metavar="N", help="of all that is random")
    arguments.add_threads(parser)
    parser.add_argument(
        "--out", default=DEFAULT_OUT, metavar="DIR", help=f"folder for the trained model (default: {DEFAULT_OUT})"
    )
    parser.add_argument("--metrics", metavar="FILE", help="write what was measured to this file, as JSON")
    parser.add_argument("--quiet", action="store_true", help="show the result only")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, save, report; returns the exit status."""
    # What can be refused is refused before the long work.
    out = arguments.writable_folder(args.out, "--out")
    metrics = None if args.metrics is None else arguments.writable_file(args.metrics, "--metrics")
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext():
        return _Run(args, out, metrics).run()


class _Run:
    """One run of the command: its arguments, with the recipe's where none was given."""

    def __init__(self, args: argparse.Namespace, out: Path, metrics: Path | None) -> None:
        self.args = args
        self.out = out
        self.metrics = metrics
        given = {name: getattr(args, name) for name in ("epochs", "batch_size", "lr", "train_size", "seed")}
        self.recipe = replace(models.recipe(args.net), **{k: v for k, v in given.items() if v is not None})
        # Weights, dropout and the order of the images have generators of their own, all from the one seed.
        model_seed, order_seed = np.random.SeedSequence(self.recipe.seed).spawn(2)
        self.model = models.build(args.net, np.random.default_rng(model_seed))
        self.order_rng = np.random.default_rng(order_seed)

    def run(self) -> int:
        args, recipe, model = self.args, self.recipe, self.model
        splits = data.load(
            args.data, args.data_dir, download=not args.no_download, digits_size=args.train_size or DIGITS_SIZE
        )
        if splits.notice:
            print(f"fastconv: {splits.notice}", file=sys.stderr)
        images = splits.train if recipe.train_size is None else splits.train[: recipe.train_size]
        train = data.Loader(
            images, recipe.batch_size, recipe.shuffle, self.order_rng, scale=recipe.scale, offset=recipe.offset
        )
        test = self._loader(splits.test)
        optimizer = recipe.make_optimizer(model.parameters(), args.optimizer)
        schedule = recipe.make_schedule(optimizer, len(train) * recipe.epochs)
        trainer = Trainer(model, optimizer, recipe.make_loss(), schedule=schedule, progress=not args.quiet)
        if not args.quiet:
            print(
                f"{args.net} ({sum(p.size for p in model.parameters()):,} parameters) on {count(len(images))} of "
                f"{splits.name}, {count(recipe.epochs, 'epoch')}, batches of {recipe.batch_size}, "
                f"{count(fastconv.get_num_threads(), 'thread')}"
            )
        try:
            trainer.fit(train, recipe.epochs, validation=test)
        except KeyboardInterrupt:
            path = self._save(splits.name, "-interrupted")
            print(f"fastconv: interrupted; the weights as they are now lie in {path}", file=sys.stderr)
            raise
        found = self._measure(trainer, splits, train)
        path = self._save(splits.name)
        remember(path)
        if self.metrics is not None:
            text = json.dumps(found, indent=2) + "\n"
            serialization.atomic_write(self.metrics, lambda file: file.write(text.encode()))
        self._report(found, splits, len(images), path)
        return 0

    def _measure(self, trainer: Trainer, splits: data.Splits, train: data.Loader) -> dict[str, Any]:
        """What --metrics writes."""
        keys = {"epoch": "epoch", "train_loss": "train_loss", "train_seconds": "train_seconds"}
        keys |= {"validation_accuracy": "test_accuracy"}
        history = [{new: entry[old] for old, new in keys.items()} for entry in trainer.history]
        found: dict[str, Any] = {
            "dataset": splits.name,
            "net": self.args.net,
            "seed": self.recipe.seed,
            "threads": fastconv.get_num_threads(),
            "epochs": history,
            "test_accuracy": history[-1]["test_accuracy"],
            "train_seconds": sum(entry["train_seconds"] for entry in history),
        }
        if len(train.dataset) <= SMALL:
            found["train_accuracy"] = trainer.evaluate(self._loader(train.dataset))["accuracy"]
        if splits.name == "digits":
            accuracy = mnist_test_accuracy(self.model, self.args.data_dir, self.recipe.scale, self.recipe.offset)
            if accuracy is not None:
                found["mnist_test_accuracy"] = accuracy
        return found

    def _report(self, found: dict[str, Any], splits: data.Splits, trained_on: int, path: Path) -> None:
        if "train_accuracy" in found:
            print(f"training images: {percent(found['train_accuracy'])} of {count(trained_on)} right")
        drawn = " (synthetic digits held out from training, not MNIST)" if splits.name == "digits" else ""
        print(f"test accuracy: {percent(found['test_accuracy'])} of {count(len(splits.test))} of {splits.name}{drawn}")
        if "mnist_test_accuracy" in found:
            print(f"on MNIST's test images, none of which it has seen: {percent(found['mnist_test_accuracy'])}")
        print(f"training time: {found['train_seconds']:.1f} s")
        print(f"model: {path}")

    def _loader(self, images: data.ArrayDataset) -> data.Loader:
        return data.Loader(images, EVALUATION_BATCH, shuffle=False, scale=self.recipe.scale, offset=self.recipe.offset)

    def _save(self, dataset: str, suffix: str = "") -> Path:
        name = f"{self.args.net}-{dataset}{suffix}{serialization.weights_suffix()}"
        info = serialization.ModelInfo(self.args.net, dataset, self.recipe.scale, self.recipe.offset)
        serialization.save_model(self.out / name, self.model, info)
        return self.out / name
