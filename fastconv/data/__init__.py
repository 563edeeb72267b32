"""Data sets and the loader that makes batches of them."""

from fastconv.data.datasets import ArrayDataset
from fastconv.data.digits import digits
from fastconv.data.errors import DataError, DatasetNotFoundError, DownloadError
from fastconv.data.loader import Loader
from fastconv.data.mnist import cache_dir, find_mnist, load_mnist
from fastconv.data.splits import Splits, load

__all__ = [
    "ArrayDataset",
    "DataError",
    "DatasetNotFoundError",
    "DownloadError",
    "Loader",
    "Splits",
    "cache_dir",
    "digits",
    "find_mnist",
    "load",
    "load_mnist",
]
