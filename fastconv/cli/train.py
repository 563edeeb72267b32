"""`fastconv train`: train a named network, test it, save it."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import data, models, plots, serialization
from fastconv._signals import Leaving, Terminated, leaving, terminate_with_an_exception
from fastconv.checkpoint import Checkpoint
from fastconv.cli import _arguments as arguments
from fastconv.cli import _resume
from fastconv.cli._evaluation import count, mnist_test_accuracy, percent, titled
from fastconv.cli._last_model import remember
from fastconv.data.splits import DIGITS_SIZE
from fastconv.training import EVALUATION_BATCH, Trainer

DEFAULT_OUT = "models"
DEFAULT_NET = "cnn"
DEFAULT_DATA = "auto"
ABOUT_CHECKPOINTS = """
A checkpoint holds everything: a run that is resumed ends with the same weights, bit for bit, as one that was never
interrupted, even if it was killed.  Settings that are not given with --resume are those of the checkpoint; ones that
are given must be the same, but for --threads, --out, --metrics, --quiet, --checkpoint-every and where the data lie.
Without --resume a file that is there is never replaced.  Ctrl-C and SIGTERM finish the step and save; a second Ctrl-C
leaves at once.
"""
SMALL = 10_000  # so many training images at most are gone through once more, to say how many the network knows by heart


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a network",
        description="Train a network, test it, and save it.  What is not given comes from the network's own recipe.",
        epilog=ABOUT_CHECKPOINTS,
        allow_abbrev=False,
    )
    # No defaults here: with --resume, what is not given is what the checkpoint says.
    parser.add_argument("--net", choices=models.names(), help=f"which network (default: {DEFAULT_NET})")
    arguments.add_data(
        parser, None, "what to train on (default: auto, which is mnist where it can be had, else digits)"
    )
    parser.add_argument(
        "--image-size", type=arguments.image_size, metavar="N", help="make the images of a folder N x N (default: 32)"
    )
    parser.add_argument("--grey", action="store_true", help="take the images of a folder without their colours")
    parser.add_argument(
        "--train-size", type=arguments.positive_int, metavar="N", help="train on the first N images only"
    )
    parser.add_argument(
        "--augment",
        action="store_const",
        const=True,
        help="move, turn, scale and bend each image a little, each time otherwise",
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
    parser.add_argument("--checkpoint", metavar="FILE", help="save the run in this file while it goes on")
    parser.add_argument(
        "--checkpoint-every",
        type=arguments.steps_or_seconds,
        metavar="N",
        help="so often: 500 is every 500 steps, 30s every 30 seconds (default: 60s)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --checkpoint's FILE; where there is no such file yet, begin",
    )
    parser.add_argument("--quiet", action="store_true", help="show the result only")
    parser.set_defaults(usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, save, report; returns the exit status."""
    if args.checkpoint is None and (args.resume or args.checkpoint_every is not None):
        args.usage_error(f"{'--resume' if args.resume else '--checkpoint-every'} needs --checkpoint FILE")
    # What can be refused is refused before the long work.
    checkpoint = None if args.checkpoint is None else arguments.writable_file(args.checkpoint, "--checkpoint")
    saved = None if checkpoint is None else _resume.read(checkpoint, args)
    args.net = args.net or DEFAULT_NET
    args.data = args.data or DEFAULT_DATA
    out = arguments.writable_folder(args.out, "--out")
    if not arguments.is_folder(args.data) and (args.image_size is not None or args.grey):
        args.usage_error(f"{'--grey' if args.grey else '--image-size'} goes with --data FOLDER")
    metrics = None if args.metrics is None else arguments.writable_file(args.metrics, "--metrics")
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext(), terminate_with_an_exception():
        return _Run(args, out, metrics, checkpoint, saved).run()


class _Run:
    """One run of the command: its arguments, with the recipe's where none was given."""

    def __init__(
        self,
        args: argparse.Namespace,
        out: Path,
        metrics: Path | None,
        checkpoint: Path | None = None,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.args = args
        self.out = out
        self.metrics = metrics
        self.checkpoint = checkpoint
        self.saved = saved
        self.recipe = _resume.recipe(args)
        splits = self.splits = data.load(
            args.data,
            args.data_dir,
            download=not args.no_download,
            digits_size=args.train_size or DIGITS_SIZE,
            image_size=args.image_size,
            channels=1 if args.grey else None,
        )
        if splits.notice:
            print(f"fastconv: {splits.notice}", file=sys.stderr)
        # Weights, dropout, the order of the images and their augmentation have generators of their own, from one seed.
        model_seed, order_seed, self.augment_seed = np.random.SeedSequence(self.recipe.seed).spawn(3)
        rng = np.random.default_rng(model_seed)
        self.model = models.build(args.net, rng, input_shape=splits.input_shape, classes=len(splits.classes))
        self.order_rng = np.random.default_rng(order_seed)

    def run(self) -> int:
        args, recipe, model, splits = self.args, self.recipe, self.model, self.splits
        images = splits.train if recipe.train_size is None else splits.train[: recipe.train_size]
        train = data.Loader(
            images,
            recipe.batch_size,
            recipe.shuffle,
            self.order_rng,
            scale=recipe.scale,
            offset=recipe.offset,
            augment=data.Augment(rng=np.random.default_rng(self.augment_seed)) if args.augment else None,
            prefetch=bool(args.augment),
        )
        test = self._loader(splits.test)
        optimizer = recipe.make_optimizer(model.parameters(), args.optimizer)
        schedule = recipe.make_schedule(optimizer, len(train) * recipe.epochs)
        trainer = Trainer(model, optimizer, recipe.make_loss(), schedule=schedule, progress=not args.quiet)
        if not args.quiet:
            changed = "augmented, " if args.augment else ""
            print(
                f"{args.net} ({sum(p.size for p in model.parameters()):,} parameters) on {count(len(images))} of "
                f"{splits.name}, {count(recipe.epochs, 'epoch')}, {changed}batches of {recipe.batch_size}, "
                f"{count(fastconv.get_num_threads(), 'thread')}"
            )
        checkpoint = self._checkpoint(trainer, splits, images) if self.checkpoint is not None else None
        try:
            trainer.fit(train, recipe.epochs, validation=test, checkpoint=checkpoint)
        except (KeyboardInterrupt, Terminated) as error:
            raise self._left(error, splits.name) from None
        found = self._measure(trainer, splits, train)
        path = self._save(splits.name)
        remember(path)
        history, curves = self._save_history(trainer, path)
        if self.metrics is not None:
            text = json.dumps(found, indent=2) + "\n"
            serialization.atomic_write(self.metrics, lambda file: file.write(text.encode()))
        self._report(found, splits, len(images), path)
        print(f"history: {history}" + (f", drawn in {curves}" if curves else ""))
        return 0

    def _checkpoint(self, trainer: Trainer, splits: data.Splits, images: data.ArrayDataset) -> Checkpoint:
        """Where this run is saved; the trainer is set to what was saved before, if anything was."""
        path, every = self.checkpoint, self.args.checkpoint_every
        if path is None:
            raise ValueError("--checkpoint was not given")
        run = _resume.describe(self.args, self.recipe, splits, images)
        if self.saved is not None:
            _resume.compare(path, self.saved["run"], run)
            trainer.restore(self.saved, path)
            self.saved = None  # its arrays are of no more use
            if not all(isinstance(entry.get("validation_accuracy"), int | float) for entry in trainer.history):
                raise ValueError(f"{path}: its history is damaged")
            if not self.args.quiet:
                print(f"fastconv: going on from {path}, {count(len(trainer.history), 'epoch')} done", file=sys.stderr)
        steps, seconds = every or (None, None)
        return Checkpoint(path, steps, seconds, run)

    def _left(self, error: BaseException, dataset: str) -> Leaving:
        """What ends the program after Ctrl-C or SIGTERM: the run is saved, and the message says where."""
        if not isinstance(error, Leaving):  # not from a signal that the trainer has seen
            error = leaving(signal.SIGINT)
        if error.at_once:
            return error
        word = "terminated" if isinstance(error, Terminated) else "interrupted"
        if error.checkpoint is not None:
            error.message = f"{word}; {error.checkpoint} holds the run, and --resume goes on with it"
            return error
        trouble = ""
        if error.problem is not None:
            why = error.problem.strerror or error.problem
            trouble = f" the checkpoint {self.checkpoint} could not be written ({why}), the one before is there;"
        try:
            error.message = f"{word};{trouble} the weights as they are now lie in {self._save(dataset, '-interrupted')}"
        except OSError as problem:
            error.message = f"{word};{trouble} the weights could not be saved ({problem.strerror or problem})"
        return error

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

    def _save_history(self, trainer: Trainer, model: Path) -> tuple[Path, Path | None]:
        """The history as JSON beside the model, and drawn where matplotlib is installed; one epoch makes no curve."""
        path, picture = model.with_suffix(".history.json"), model.with_suffix(".curves.png")
        dataset = model.stem.removeprefix(f"{self.args.net}-")
        text = json.dumps({"net": self.args.net, "dataset": dataset, "epochs": trainer.history}, indent=2) + "\n"
        serialization.atomic_write(path, lambda file: file.write(text.encode()))
        if len(trainer.history) > 1:
            with contextlib.suppress(ImportError):
                plots.save(plots.curves(trainer.history, f"{self.args.net} on {titled(dataset)}"), picture)
                return path, picture
        picture.unlink(missing_ok=True)  # of an earlier run
        return path, None

    def _save(self, dataset: str, suffix: str = "") -> Path:
        name = f"{self.args.net}-{dataset}{suffix}{serialization.weights_suffix()}"
        info = serialization.ModelInfo(
            self.args.net, dataset, self.recipe.scale, self.recipe.offset, self.splits.input_shape, self.splits.classes
        )
        path = self.out / name
        if path.exists():
            print(f"fastconv: {path} was there, and is replaced", file=sys.stderr)
        serialization.save_model(path, self.model, info)
        return path
