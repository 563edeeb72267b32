"""Data sets and the loader that makes batches of them."""

from fastconv.data.augmentation import Augment
from fastconv.data.cifar import load_cifar10
from fastconv.data.datasets import ArrayDataset
from fastconv.data.digits import digits
from fastconv.data.errors import DataError, DatasetNotFoundError, DownloadError
from fastconv.data.folders import load_folder
from fastconv.data.idx_sets import load_fashion, load_kmnist
from fastconv.data.loader import Loader
from fastconv.data.mnist import cache_dir, find_mnist, load_mnist
from fastconv.data.splits import NAMES, Splits, load

__all__ = [
    "NAMES",
    "ArrayDataset",
    "Augment",
    "DataError",
    "DatasetNotFoundError",
    "DownloadError",
    "Loader",
    "Splits",
    "cache_dir",
    "digits",
    "find_mnist",
    "load",
    "load_cifar10",
    "load_fashion",
    "load_folder",
    "load_kmnist",
    "load_mnist",
]
