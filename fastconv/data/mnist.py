"""MNIST: find its four files on this machine, or download them once.

Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits.
"""

import contextlib
import errno
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.data.datasets import ArrayDataset
from fastconv.data.download import fetch
from fastconv.data.errors import DataError, DatasetNotFoundError, DownloadError
from fastconv.data.idx import PathLike, read_images, read_labels

__all__ = ["cache_dir", "find_mnist", "load_mnist"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


@dataclass(frozen=True)
class _File:
    """One of the four: its name without .gz, and length (bytes) and SHA-256 with it."""

    name: str
    size: int
    sha256: str


HOW = "; --data-dir or $FASTCONV_DATA can name the folder where they are"

FILES = (
    _File("train-images-idx3-ubyte", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    _File("train-labels-idx1-ubyte", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    _File("t10k-images-idx3-ubyte", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    _File("t10k-labels-idx1-ubyte", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)


@dataclass(frozen=True)
class Located:
    """Where MNIST lies: its folder, the four files in the order of FILES, and a notice to the user, if any is due."""

    folder: Path
    paths: tuple[Path, ...]
    notice: str | None = None


def cache_dir() -> Path:
    """The folder where fastconv keeps what it has downloaded; it need not exist yet.

    ``$XDG_CACHE_HOME/fastconv`` or ``~/.cache/fastconv``; on macOS ``~/Library/Caches/fastconv``, on Windows
    ``%LOCALAPPDATA%\\fastconv``.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
            base = os.path.expanduser("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(base) / "fastconv"


def _present(folder: Path) -> tuple[Path | None, ...]:
    """For each of FILES its path in `folder`, gzipped or else plain, or None."""
    found = []
    for file in FILES:
        candidates = (folder / f"{file.name}.gz", folder / file.name)
        found.append(next((path for path in candidates if path.exists()), None))
    return tuple(found)


def _complete(folder: Path, whose: str) -> Located | None:
    """The four files in a folder that a user named, or in `mnist` there; None where there is none of them."""
    if folder.exists() and not folder.is_dir():
        raise DatasetNotFoundError(f"MNIST: {whose} {folder} is a file, expected a folder with {FILES[0].name}.gz, ...")
    found = max(_present(folder), _present(folder / "mnist"), key=lambda paths: sum(path is not None for path in paths))
    paths = tuple(path for path in found if path is not None)
    if paths and len(paths) < len(FILES):
        missing = ", ".join(f"{file.name}.gz" for file, path in zip(FILES, found, strict=True) if path is None)
        raise DatasetNotFoundError(f"MNIST: {whose} {folder} has only some of its files, missing: {missing}")
    return Located(paths[0].parent, paths) if paths else None


def _cached() -> Located | None:
    """The four files in the user's cache."""
    for folder in (cache_dir() / "mnist", cache_dir()):
        paths = tuple(path for path in _present(folder) if path is not None)
        if len(paths) == len(FILES):
            return Located(folder, paths)
    return None


def _make_private(folder: Path) -> None:
    """Make a folder and those above it; what is new is the user's alone, as the XDG specification asks."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:  # another process was faster, or there is a file, or a link that leads nowhere
                if not path.is_dir():
                    raise


def _download() -> Located:
    """Put what is missing of the four files into the user's cache."""
    folder = cache_dir() / "mnist"
    try:
        _make_private(folder)
        if not os.access(folder, os.W_OK | os.X_OK):  # known before, rather than after, megabytes have come
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(folder))
    except OSError as error:
        raise DownloadError(
            f"{error.filename}: the cache cannot be written: {error.strerror}; "
            "$XDG_CACHE_HOME can name another place, $FASTCONV_DATA a folder with the files"
        ) from None
    for file, path in zip(FILES, _present(folder), strict=True):
        if path is None:
            fetch(MIRRORS, folder / f"{file.name}.gz", file.size, file.sha256)
    located = _cached()
    if located is None:
        raise DownloadError(f"{folder}: files vanished after they were downloaded")
    return located


def locate(data_dir: PathLike | None = None, download: bool = True) -> Located:
    """Find MNIST's files: in `data_dir`, in ``$FASTCONV_DATA``, in the user's cache, else download them there.

    Raises
    ------
    DatasetNotFoundError
        If they are in none of these places and cannot be downloaded, or a folder that was named has only some of them.
    """
    named = [] if data_dir is None else [(Path(data_dir), "data_dir")]
    if os.environ.get("FASTCONV_DATA"):
        named.append((Path(os.environ["FASTCONV_DATA"]), "$FASTCONV_DATA"))
    without: list[str] = []
    located: Located | None = None
    for folder, whose in named:
        located = _complete(folder, whose)
        if located is not None:
            break
        without.append(f"{whose} {folder}" + ("" if folder.is_dir() else " (which does not exist)"))
    else:
        with contextlib.suppress(PermissionError):  # somebody else's cache is none
            located = _cached()
    if located is None:
        places = ", ".join([*without, f"the cache {cache_dir()}"])
        if not download:
            raise DatasetNotFoundError(f"MNIST: its files are not in {places}, and downloading is switched off{HOW}")
        try:
            located = _download()
        except OSError as error:
            raise DatasetNotFoundError(
                f"MNIST: its files are not in {places}, and could not be downloaded ({error}){HOW}"
            ) from error
    if without:
        notice = f"MNIST: no files in {', '.join(without)}; using those in {located.folder}"
        return Located(located.folder, located.paths, notice)
    return located


def find_mnist(data_dir: PathLike | None = None) -> Path | None:
    """The folder on this machine that MNIST would be loaded from, or None; nothing is downloaded.

    Parameters
    ----------
    data_dir : path, optional
        Where to look first; then come ``$FASTCONV_DATA`` and the user's cache.
    """
    try:
        return locate(data_dir, download=False).folder
    except DatasetNotFoundError:
        return None


def read(located: Located) -> tuple[ArrayDataset, ArrayDataset]:
    """Read the four files: training and test images."""
    splits = []
    for image_path, label_path in (located.paths[:2], located.paths[2:]):
        images, labels = read_images(image_path), read_labels(label_path)
        if images.shape[1:] != (28, 28):
            raise DataError(f"{image_path}: images of {images.shape[1]} x {images.shape[2]} pixels, expected 28 x 28")
        if len(images) != len(labels):
            raise DataError(f"{image_path}: has {len(images)} images, but {label_path} has {len(labels)} labels")
        splits.append(ArrayDataset(images, np.asarray(labels)))
    return splits[0], splits[1]


def load_mnist(data_dir: PathLike | None = None, download: bool = True) -> tuple[ArrayDataset, ArrayDataset]:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 bytes, ink 255 on 0.

    Parameters
    ----------
    data_dir : path, optional
        Folder with the four IDX files, gzipped or not.  They may be your own, of any number of images.
    download : bool
        Whether to download the files into the user's cache where they are found neither in `data_dir`, nor in the
        folder ``$FASTCONV_DATA``, nor in the cache.  They are checked by SHA-256.

    Returns
    -------
    train, test : ArrayDataset
        images uint8 (M, 28, 28), labels int64 (M,).

    Raises
    ------
    DatasetNotFoundError
        If the files cannot be found, nor downloaded.
    DataError
        If a file is not what it should be; the message names it.

    Warns
    -----
    UserWarning
        If `data_dir` or ``$FASTCONV_DATA`` is given but the files come from elsewhere.
    """
    located = locate(data_dir, download)
    if located.notice:
        warnings.warn(located.notice, stacklevel=2)
    return read(located)
