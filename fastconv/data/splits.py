"""`load`: a data set by name, in training and test images, with a word to the user where one is due."""

from typing import NamedTuple

from fastconv.data.datasets import ArrayDataset
from fastconv.data.digits import digits
from fastconv.data.errors import DatasetNotFoundError
from fastconv.data.idx import PathLike
from fastconv.data.mnist import locate, read

__all__ = ["DIGITS_SIZE", "Splits", "load"]

DIGITS_SIZE = 60_000  # training images of `digits`, as many as MNIST has; a sixth as many test images


class Splits(NamedTuple):
    """A data set: `name` is what it truly is ("mnist" or "digits"), `notice` what a user should be told, or None."""

    train: ArrayDataset
    test: ArrayDataset
    name: str
    notice: str | None


def load(
    name: str = "auto",
    data_dir: PathLike | None = None,
    download: bool = True,
    digits_size: int = DIGITS_SIZE,
    seed: int = 0,
) -> Splits:
    """Load a data set by name.

    Parameters
    ----------
    name : "auto", "mnist" or "digits"
        "auto" is MNIST where it is found or can be downloaded, else digits, with a notice that says so and why.
    data_dir : path, optional
        Where to look for MNIST's files first; see `load_mnist`.
    download : bool
        Whether MNIST may be downloaded.
    digits_size : int
        Number of training images of digits; there are a sixth as many test images, at least one.
    seed : int
        Of digits.

    Returns
    -------
    Splits
        train, test (ArrayDataset), name ("mnist" or "digits"), notice (str or None).

    Raises
    ------
    ValueError
        If there is no data set of that name.
    DatasetNotFoundError
        If MNIST was asked for and can neither be found nor downloaded.
    DataError
        If one of MNIST's files is found, but is not what it should be ("auto" does not hide that).
    """
    if name not in ("auto", "mnist", "digits"):
        raise ValueError(f"load: there is no data set {name!r}; expected 'auto', 'mnist' or 'digits'")
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
