"""`load`: a data set by name, in training and test images, with a word to the user where one is due."""

import os
from pathlib import Path
from typing import NamedTuple

from fastconv.data.cifar import CIFAR10_CLASSES, load_cifar10
from fastconv.data.datasets import ArrayDataset
from fastconv.data.digits import digits
from fastconv.data.errors import DatasetNotFoundError
from fastconv.data.folders import IMAGE_SIZE, folder_name, load_folder
from fastconv.data.idx import PathLike
from fastconv.data.idx_sets import FASHION_CLASSES, KMNIST_CLASSES, load_fashion, load_kmnist
from fastconv.data.mnist import locate, read

__all__ = ["DIGITS_SIZE", "NAMES", "Splits", "load"]

DIGITS_SIZE = 60_000  # training images of `digits`, as many as MNIST has; a sixth as many test images


NAMES = ("auto", "mnist", "digits", "fashion", "kmnist", "cifar10")
DIGIT_CLASSES = tuple("0123456789")
_OTHERS = {
    "fashion": (load_fashion, FASHION_CLASSES),
    "kmnist": (load_kmnist, KMNIST_CLASSES),
    "cifar10": (load_cifar10, CIFAR10_CLASSES),
}


class Splits(NamedTuple):
    """A data set: `name` is what it truly is ("mnist", "digits", ...; of a folder of images, the folder's own name),
    `notice` what a user should be told, or None, `classes` the names of the classes."""

    train: ArrayDataset
    test: ArrayDataset
    name: str
    notice: str | None
    classes: tuple[str, ...] = DIGIT_CLASSES

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        shape = self.train.images.shape[1:]
        return (1, shape[0], shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def load(
    name: PathLike = "auto",
    data_dir: PathLike | None = None,
    download: bool = True,
    digits_size: int = DIGITS_SIZE,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> Splits:
    """Load a data set by name.

    Parameters
    ----------
    name : "auto", "mnist", "digits", "fashion", "kmnist", "cifar10", or path of a folder
        "auto" is MNIST where it is found or can be downloaded, else digits, with a notice that says so and why.
        A folder holds a folder of images for each class: see `load_folder`.
    data_dir : path, optional
        Where to look for the files first; see `load_mnist`, `load_fashion`, `load_kmnist`, `load_cifar10`.
    download : bool
        Whether MNIST may be downloaded.
    digits_size : int
        Number of training images of digits; there are a sixth as many test images, at least one.
    seed : int
        Of digits, and of which images of a folder are held out.
    image_size : int or (int, int), optional
        Height and width that the images of a folder get; 32 where it is not given.
    channels : 1 or 3, optional
        Of the images of a folder, else colour where there is any.

    Returns
    -------
    Splits
        train, test (ArrayDataset), name (str), notice (str or None), classes (tuple of str).

    Raises
    ------
    ValueError
        If there is no data set and no folder of that name, or an option does not go with it.
    DatasetNotFoundError
        If the data set can neither be found nor downloaded.
    DataError
        If one of its files is found, but is not what it should be ("auto" does not hide that).
    ImportError
        For a folder, where pillow is not installed.
    """
    if name not in NAMES:
        if not isinstance(name, str | os.PathLike) or not Path(name).is_dir():
            raise ValueError(
                f"load: there is no data set {name!r:.100}; expected 'auto', 'mnist' or 'digits', 'fashion', 'kmnist', "
                "'cifar10', or a folder with a folder of images for each class"
            )
        train, test, classes = load_folder(name, IMAGE_SIZE if image_size is None else image_size, channels, seed)
        called = folder_name(name)
        return Splits(train, test, f"folder-{called}" if called in (*NAMES, "folder") else called, None, classes)
    if image_size is not None or channels is not None:
        raise ValueError(f"load: image_size and channels go with a folder of images, not with {name!r}")
    if name in _OTHERS:
        read_set, classes = _OTHERS[str(name)]
        train, test = read_set(data_dir)
        return Splits(train, test, str(name), None, classes)
    notice = None
    if name != "digits":
        try:
            located = locate(data_dir, download)
        except DatasetNotFoundError as error:
            if name == "mnist":
                raise
            notice = (
                f"{error}.\nUsing digits that fastconv draws itself instead: they are synthetic, "
                "and an accuracy on them is not an accuracy on MNIST."
            )
        else:
            train, test = read(located)
            return Splits(train, test, "mnist", located.notice)
    test_size = max(1, digits_size // 6)
    return Splits(digits(digits_size, seed), digits(test_size, seed, split="test"), "digits", notice)
