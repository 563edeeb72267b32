"""What a run of `fastconv train` was, as its checkpoint says, and whether a command goes on with the same one.

A setting that the command does not give is the checkpoint's; one that it gives must be the same.  What the file says is
not trusted: names are looked up, numbers are checked, and it cannot ask for more data than a run has by default.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _kernels, data, models
from fastconv.checkpoint import load_checkpoint
from fastconv.data.splits import DIGITS_SIZE

SETTINGS = ("net", "data", "train_size", "epochs", "batch_size", "lr", "optimizer", "seed", "augment")
FOLDER = "folder"  # what a checkpoint says in place of a folder's path, which is not to come from a file
RECIPE = ("epochs", "batch_size", "lr", "train_size", "seed")  # those that replace the recipe's


def recipe(args: argparse.Namespace) -> models.Recipe:
    """The network's recipe, with what the command says in its place."""
    given = {name: getattr(args, name) for name in RECIPE}
    return replace(models.recipe(args.net), **{name: value for name, value in given.items() if value is not None})


def describe(
    args: argparse.Namespace, chosen: models.Recipe, splits: data.Splits, images: data.ArrayDataset
) -> dict[str, Any]:
    """What a checkpoint says of the run: enough to begin it again, and to know another one from it."""
    return {
        "settings": {
            "net": args.net,
            "data": splits.name if splits.name in data.NAMES else FOLDER,
            "train_size": args.train_size,
            "epochs": chosen.epochs,
            "batch_size": chosen.batch_size,
            "lr": chosen.lr,
            "optimizer": args.optimizer or chosen.optimizer,
            "seed": chosen.seed,
            "augment": bool(args.augment),
        },
        "recipe": asdict(chosen),
        "data": _digest(images),
        "bits": {
            "fastconv": fastconv.__version__,
            "numpy": np.__version__,
            "instruction set": _kernels.active_isa(),
            "precision": fastconv.get_float32_precision(),
        },
    }


def _digest(images: data.ArrayDataset) -> str:
    digest = hashlib.sha256(repr((images.images.shape, str(images.images.dtype))).encode())
    digest.update(images.images.data)
    digest.update(images.labels.data)
    return digest.hexdigest()


def read(path: Path, args: argparse.Namespace) -> dict[str, Any] | None:
    """The checkpoint to go on from, with the settings that it gives put in `args`; None for a run that begins.

    Raises
    ------
    ValueError
        If the file is damaged, or of a run with other settings than those in `args`.
    OSError
        If it cannot be read; FileExistsError if it is there and --resume was not given.
    """
    if not args.resume:
        if os.path.lexists(path):
            raise FileExistsError(
                f"--checkpoint: {path} is there already; --resume goes on with the run in it; "
                "to begin another one, remove it or give another name"
            )
        return None
    if not os.path.lexists(path):
        print(f"fastconv: --resume: there is no {path} yet; beginning a new run", file=sys.stderr)
        return None
    found = load_checkpoint(path)
    settings = _settings(path, found)
    different = []
    for name in SETTINGS:
        given = getattr(args, name)
        if name == "data" and settings[name] == FOLDER:
            if given is None or given in data.NAMES:
                raise ValueError(f"{path}: its images were in a folder; name it with --data FOLDER")
        elif given is None or (name, given) == ("data", "auto"):
            if name == "train_size" and settings[name] is not None and settings[name] > DIGITS_SIZE:
                raise ValueError(
                    f"{path}: its run has {settings[name]:,} training images, which are many; "
                    f"say --train-size {settings[name]} too, if that is meant"
                )
            setattr(args, name, settings[name])
        elif given != settings[name]:
            option = "--" + name.replace("_", "-")
            there = settings[name]
            there = "not given" if there is None or there is False else there
            different.append(f"{option} is {there} there, not {given}")
    if different:
        raise ValueError(f"{path} is of another run: {'; '.join(different)}; leave these out to go on with it")
    return found


def _settings(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a checkpoint gives, once they are known to be ones that a command could give."""
    try:
        saved = {"augment": False} | found["run"]["settings"]  # which older checkpoints do not mention
        settings = {name: saved[name] for name in SETTINGS}
        checks = {
            "net": settings["net"] in models.names(),
            "data": settings["data"] in (*data.NAMES[1:], FOLDER),
            "train_size": settings["train_size"] is None or _is_int(settings["train_size"], 1),
            "epochs": _is_int(settings["epochs"], 1),
            "batch_size": _is_int(settings["batch_size"], 1),
            "lr": isinstance(settings["lr"], float) and math.isfinite(settings["lr"]) and settings["lr"] > 0,
            "optimizer": settings["optimizer"] in models.OPTIMIZERS,
            "seed": isinstance(settings["seed"], int) and settings["seed"] >= 0,
            "augment": isinstance(settings["augment"], bool),
        }
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: it is no checkpoint of fastconv train") from None
    wrong = [name for name, right in checks.items() if not right]
    if wrong:
        raise ValueError(f"{path}: its settings are damaged ({', '.join(wrong)})")
    return settings


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def compare(path: Path, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a run whose data or recipe are others; say where only the last bits of the result may differ."""
    for name, what in (("data", "other training images"), ("recipe", "another recipe of this network")):
        if saved.get(name) != own[name]:
            raise ValueError(f"{path}: its run had {what}; it cannot go on here")
    before = saved.get("bits")
    if before != own["bits"]:
        was = before if isinstance(before, dict) else {}
        now = own["bits"]
        changes = [f"{name} was {was.get(name)!s:.40}, is {now[name]}" for name in now if was.get(name) != now[name]]
        print(f"fastconv: going on, but not bit for bit as before: {'; '.join(changes)}", file=sys.stderr)
