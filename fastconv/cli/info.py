"""`fastconv info`: what this installation is and runs on."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import fastconv
from fastconv import data, models
from fastconv.cli._evaluation import count

OPTIONAL = ("tqdm", "matplotlib", "PIL", "safetensors")


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments: there are none."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "info",
        help="show versions, processor, threads, networks",
        description="Show versions, processor, threads, optional packages, data and networks.",
        allow_abbrev=False,
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Print it; returns the exit status."""
    print(fastconv.show_config())
    missing = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    print("missing extras    ", " ".join(missing) + " (pip install 'fastconv[train]')" if missing else "none")
    print("mnist             ", data.find_mnist() or "not on this machine (fastconv train downloads it)")
    print("\nnetwork  parameters  recipe")
    for name in models.names():
        recipe = models.recipe(name)
        parameters = sum(parameter.size for parameter in models.build(name, rng=0).parameters())
        images = "" if recipe.train_size is None else f", first {recipe.train_size:,} images"
        print(
            f"{name:<7} {parameters:>11,}  {recipe.optimizer} {recipe.lr:g} ({recipe.schedule}), batches of "
            f"{recipe.batch_size}, {count(recipe.epochs, 'epoch')}{images}"
        )
    return 0
