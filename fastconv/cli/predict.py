"""`fastconv predict`: what a saved model takes images for."""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv.cli import _arguments as arguments
from fastconv.cli._last_model import model_path
from fastconv.cli._recognizer import F32, Recognizer
from fastconv.data.errors import DataError
from fastconv.data.images import SUFFIXES, read_image

TOGETHER = 128  # images that go through the network at once


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "predict",
        help="say what images show",
        description="Say what images show, by a saved model.  Dark ink on a light sheet or light on dark, of any size "
        "and colour: it is found, scaled and centred as MNIST's digits are.  Models of colours, and those that were "
        "trained on a folder of images, see the middle of the picture as it is.",
        epilog="The exit status is 0 only when all images were read; those that were are reported in any case.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image file (PNG, JPEG, ...), a folder of them, or a pattern like '*.png'",
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="file that fastconv train wrote (default: the model that was trained last)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a list of {"file", "label", "probabilities"}, one for each image that was read; the probabilities '
        "are in the order of the model's classes, and an empty image has null for both",
    )
    arguments.add_threads(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Read, predict, report; returns the exit status."""
    path = model_path(args.model, "name a file with --model")
    recognizer = Recognizer(path)
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext():
        return _Run(recognizer, args.json).run(args.images)


class _Run:
    """One run of the command."""

    def __init__(self, recognizer: Recognizer, as_json: bool) -> None:
        self.recognizer = recognizer
        self.as_json = as_json
        self.found: list[dict[str, Any]] = []
        self.failed = False

    def run(self, names: list[str]) -> int:
        waiting: list[tuple[str, F32 | None]] = []
        for file in self._files(names):
            try:
                waiting.append((file, self.recognizer.prepare(read_image(file))))
            except (OSError, DataError) as error:
                self._fail(f"{file}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error))
            if len(waiting) == TOGETHER:
                self._predict(waiting)
                waiting = []
        self._predict(waiting)
        if self.as_json:
            print(json.dumps(self.found, indent=2, ensure_ascii=False, allow_nan=False))
        return int(self.failed)

    def _files(self, names: list[str]) -> Iterator[str]:
        """The files that the arguments stand for, in order."""
        for name in names:
            path = Path(name)
            if path.is_dir():
                inside = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
                if not inside:
                    self._fail(f"{name}: there are no images in this folder")
                yield from inside
            elif not path.exists() and glob.has_magic(name):
                matching = sorted(glob.glob(name, recursive=True))
                if not matching:
                    self._fail(f"{name}: no file matches")
                yield from (file for file in matching if not Path(file).is_dir())
            else:
                yield name

    def _fail(self, reason: str) -> None:
        """Say why a file was not read; the others still are."""
        print(f"fastconv: error: {' '.join(reason.split())}", file=sys.stderr)
        self.failed = True

    def _predict(self, waiting: list[tuple[str, F32 | None]]) -> None:
        """Report what these images show, in order."""
        images = [image for _, image in waiting if image is not None]
        rows: Iterator[Any] = iter(self.recognizer.probabilities(np.stack(images)) if images else ())
        for file, image in waiting:
            shares = None if image is None else [float(share) for share in next(rows)]
            label = None if shares is None else self.recognizer.info.classes[int(np.argmax(shares))]
            if self.as_json:
                self.found.append({"file": file, "label": label, "probabilities": shares})
            else:
                print(_line(file, shares, self.recognizer.info.classes))


def _line(file: str, shares: list[float] | None, classes: tuple[str, ...]) -> str:
    """The result for one file, for readers."""
    if shares is None:
        return f"{file}: nothing (the image is empty)"
    first, *others = np.argsort(-np.array(shares), kind="stable")  # of equals the first, as argmax has it
    text = f"{file}: {classes[first]}  ({100 * shares[first]:.1f} %"
    if others and shares[others[0]] >= 0.001:
        text += f"; {classes[others[0]]}: {100 * shares[others[0]]:.1f} %"
    return text + ")"
