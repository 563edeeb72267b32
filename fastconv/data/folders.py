"""Images of one's own: a folder with a folder of images for each class, read by pillow.

1. ``FOLDER/cat/1.jpg, FOLDER/dog/2.png, ...``: a fifth of each class, drawn by a fixed seed, is held out to test.
2. ``FOLDER/train/cat/1.jpg, FOLDER/test/cat/2.jpg, ...``: as the folders say.

Each image is cut to the proportions that are wanted, around its middle, and made smaller or larger.
"""

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastconv.data.datasets import ArrayDataset
from fastconv.data.errors import DataError, DatasetNotFoundError
from fastconv.data.framing import GREY, picture
from fastconv.data.idx import MAX_BYTES, PathLike
from fastconv.data.images import SUFFIXES, read_image

__all__ = ["IMAGE_SIZE", "folder_name", "load_folder"]

IMAGE_SIZE = 32  # pixels a side, where nothing else is asked for
HELD_OUT = 0.2  # of the images of each class
MOST_SIDE = 512
LONGEST_NAME = 50  # letters; a file is to be named so, with more behind


def folder_name(path: PathLike) -> str:
    """What a folder of images is called, in letters that a file name can have."""
    return re.sub(r"[^\w.-]+", "-", Path(path).resolve().name).strip("-.")[:LONGEST_NAME] or "folder"


def load_folder(
    path: PathLike,
    size: int | tuple[int, int] = IMAGE_SIZE,
    channels: int | None = None,
    seed: int = 0,
) -> tuple[ArrayDataset, ArrayDataset, tuple[str, ...]]:
    """Load images by class.

    Parameters
    ----------
    path : path
        Folder with a folder for each class, or with folders `train` and `test` of such folders.
    size : int or (int, int)
        Height and width that the images get, pixels.
    channels : 1, 3 or None
        Grey or colour; None is colour where any image has some.
    seed : int
        Draws the order of the training images (some networks are trained in the order in which images come), and the
        test images, where there is no folder `test`: a fifth of each class, at least one.

    Returns
    -------
    train, test : ArrayDataset
        images uint8 (M, C, H, W), labels int64 (M,).
    classes : tuple of str
        The folders' names in alphabetical order: class i is called classes[i].

    Raises
    ------
    DatasetNotFoundError
        If there is no such folder, fewer than two classes are in it, or a class has too few images.
    DataError
        If a file that is named like an image cannot be read as one, or there are too many.
    ImportError
        If pillow is not installed.
    """
    root = Path(path)
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= MOST_SIDE and 1 <= width <= MOST_SIDE):
        raise ValueError(f"load_folder: size must be 1 to {MOST_SIDE} pixels a side, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"load_folder: channels must be 1, 3 or None, got {channels!r}")
    if not root.is_dir():
        raise DatasetNotFoundError(f"{root}: there is no such folder of images")
    split = (root / "train").is_dir() and (root / "test").is_dir()
    train = _files(root / "train" if split else root)
    classes = tuple(train)
    if split:
        test = _files(root / "test")
        if unknown := sorted(set(test) - set(classes)):
            raise DataError(f"{root / 'test'}: there are no training images of {', '.join(unknown)}")
    else:
        train, test = _hold_out(train, seed)
    total = sum(len(files) for part in (train, test) for files in part.values())
    if total * 3 * height * width > MAX_BYTES:
        raise DataError(
            f"{root}: {total:,} images of {height} x {width} pixels are more than is read; try a smaller size"
        )
    read = [_read(part, classes, height, width) for part in (train, test)]
    if channels is None:
        channels = 3 if any((images[:, :1] != images).any() for images, _ in read) else 1
    if channels == 1:
        read = [(_grey(images), labels) for images, labels in read]
    first, second = (ArrayDataset(images, labels) for images, labels in read)
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(classes),))).permutation(len(first))
    return ArrayDataset(first.images[order], first.labels[order]), second, classes


def _files(root: Path) -> dict[str, list[Path]]:
    """The image files of each class, all in alphabetical order."""
    found = {}
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = sorted(
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        )
        if not files:
            raise DatasetNotFoundError(f"{folder}: has no images ({', '.join(SUFFIXES)})")
        found[folder.name] = files
    if len(found) < 2:
        raise DatasetNotFoundError(
            f"{root}: has {'one folder' if found else 'no folders'}; "
            "expected a folder of images for each class, two classes or more"
        )
    return found


def _hold_out(files: dict[str, list[Path]], seed: int) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Training and test files of each class; which ones depends on the seed and their number alone."""
    train, test = {}, {}
    for label, (name, paths) in enumerate(files.items()):
        if len(paths) < 2:
            raise DatasetNotFoundError(f"{paths[0].parent}: has one image; two or more are needed, one of them to test")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(label,)))
        held = set(rng.permutation(len(paths))[: max(1, round(HELD_OUT * len(paths)))].tolist())
        train[name] = [path for i, path in enumerate(paths) if i not in held]
        test[name] = [path for i, path in enumerate(paths) if i in held]
    return train, test


def _read(
    files: dict[str, list[Path]], classes: tuple[str, ...], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images in colour, (M, 3, H, W), and labels."""
    labels = np.array([classes.index(name) for name, paths in files.items() for _ in paths], np.int64)
    images = np.empty((len(labels), 3, height, width), np.uint8)
    for i, path in enumerate(path for paths in files.values() for path in paths):
        image = picture(read_image(path), height, width)
        if image is None:
            raise DataError(f"{os.fspath(path)}: the image is empty")
        images[i] = np.rint(image * 255)
    return images, labels


def _grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(M, 3, H, W) in colour -> (M, 1, H, W)."""
    grey = np.zeros((len(images), 1, *images.shape[2:]), np.float32)
    for channel in range(3):
        grey[:, 0] += images[:, channel] * GREY[channel]
    return np.rint(grey).astype(np.uint8)
