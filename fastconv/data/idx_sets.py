"""Fashion-MNIST and KMNIST: clothes and Japanese characters, in files of MNIST's names and format.

H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017.
T. Clanuwat et al.: Deep learning for classical Japanese literature, 2018.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.data.datasets import ArrayDataset
from fastconv.data.errors import DataError, DatasetNotFoundError
from fastconv.data.idx import PathLike
from fastconv.data.mnist import FILES, Located, read
from fastconv.data.places import find

__all__ = ["FASHION_CLASSES", "KMNIST_CLASSES", "load_fashion", "load_kmnist"]

FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
KMNIST_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

_MNIST_TEST_LABELS = (
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"  # SHA-256 of the labels as bytes
)


@dataclass(frozen=True)
class _Set:
    title: str
    folders: tuple[str, ...]  # its own name first, then those that torchvision and Keras give it
    where_from: str


_FASHION = _Set(
    "Fashion-MNIST",
    ("fashion", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
    "https://github.com/zalandoresearch/fashion-mnist has them in data/fashion",
)
_KMNIST = _Set("KMNIST", ("kmnist", "KMNIST/raw", "KMNIST"), "http://codh.rois.ac.jp/kmnist has them")


def _paths(folder: Path) -> tuple[Path, ...]:
    """Those of the four files that are in a folder, gzipped or else plain."""
    found = []
    for file in FILES:
        candidates = (folder / f"{file.name}.gz", folder / file.name)
        found += [path for path in candidates if path.exists()][:1]
    return tuple(found)


def _load(which: _Set, data_dir: PathLike | None) -> tuple[ArrayDataset, ArrayDataset]:
    folder = find(which.title, which.folders, _paths, data_dir, which.where_from)
    paths = _paths(folder)
    if len(paths) < len(FILES):
        names = {path.name.removesuffix(".gz") for path in paths}
        missing = ", ".join(f"{file.name}.gz" for file in FILES if file.name not in names)
        raise DatasetNotFoundError(f"{which.title}: {folder} has only some of its files, missing: {missing}")
    train, test = read(Located(folder, paths))
    if hashlib.sha256(test.labels.astype(np.uint8)).hexdigest() == _MNIST_TEST_LABELS:
        raise DataError(f"{folder}: these are the files of MNIST, not of {which.title}")
    return train, test


def load_fashion(data_dir: PathLike | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Load Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 x 28 bytes, in 10 classes.

    Parameters
    ----------
    data_dir : path, optional
        Folder with the four IDX files, gzipped or not, or one with a folder `fashion` of them.  Else they are looked
        for in the folders `fashion` of ``$FASTCONV_DATA`` and of the user's cache; they are not downloaded.

    Returns
    -------
    train, test : ArrayDataset
        images uint8 (M, 28, 28), labels int64 (M,); `FASHION_CLASSES` has their names.

    Raises
    ------
    DatasetNotFoundError
        If the files cannot be found; it says where to put them.
    DataError
        If a file is not what it should be, or is MNIST's.
    """
    return _load(_FASHION, data_dir)


def load_kmnist(data_dir: PathLike | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Load KMNIST: 60,000 training and 10,000 test images of ten cursive hiragana, 28 x 28 bytes.

    Parameters, results and errors as `load_fashion`, with folders called `kmnist`; `KMNIST_CLASSES` has the names.
    """
    return _load(_KMNIST, data_dir)
