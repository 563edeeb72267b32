"""CIFAR-10 in its binary form: records of a label and 3 x 32 x 32 bytes, red, green and blue plane by plane.

A. Krizhevsky: Learning multiple layers of features from tiny images, 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastconv._untrusted import open_without_waiting
from fastconv.data.datasets import ArrayDataset
from fastconv.data.errors import DataError, DatasetNotFoundError
from fastconv.data.idx import MAX_BYTES, PathLike
from fastconv.data.places import find

__all__ = ["CIFAR10_CLASSES", "load_cifar10", "read_records"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
_FOLDERS = ("cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin")


def read_records(path: PathLike) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one file of records.

    Returns
    -------
    images : ndarray, uint8, shape (M, 3, 32, 32)
    labels : ndarray, int64, shape (M,)

    Raises
    ------
    DataError
        If it is empty, too large, not a whole number of records, or has a label out of range; the message names it.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    with open(path, "rb", opener=open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is not a regular file")
        size = status.st_size
        if size == 0 or size % RECORD or size > MAX_BYTES:
            hint = " (a gzip archive must be unpacked first)" if file.read(2) == b"\x1f\x8b" else ""
            raise DataError(f"{path}: has {size:,} bytes, expected a multiple of {RECORD:,}, a record an image{hint}")
        data = file.read(size)
    if len(data) != size:
        raise DataError(f"{path}: is truncated: {len(data):,} of {size:,} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    if int(labels.max()) >= len(CIFAR10_CLASSES):
        bad = int(np.argmax(labels >= len(CIFAR10_CLASSES)))
        raise DataError(f"{path}: label {labels[bad]} of image {bad} is out of range 0..9")
    return np.ascontiguousarray(records[:, 1:]).reshape(-1, *SHAPE), labels.astype(np.int64)


def load_cifar10(data_dir: PathLike | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Load CIFAR-10: 50,000 training and 10,000 test images of 3 x 32 x 32 bytes, in 10 classes.

    Parameters
    ----------
    data_dir : path, optional
        Folder with data_batch_1.bin .. data_batch_5.bin and test_batch.bin, or one with a folder `cifar10` of them.
        Else they are looked for in the folders `cifar10` of ``$FASTCONV_DATA`` and of the user's cache; they are not
        downloaded.

    Returns
    -------
    train, test : ArrayDataset
        images uint8 (M, 3, 32, 32), labels int64 (M,); `CIFAR10_CLASSES` has their names.

    Raises
    ------
    DatasetNotFoundError
        If the files cannot be found; it says where to put them.
    DataError
        If a file is not what it should be.
    """
    folder = find(
        "CIFAR-10",
        _FOLDERS,
        lambda place: (place / TEST).exists() or (place / TRAIN[0]).exists(),
        data_dir,
        "they are in cifar-10-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
    )
    missing = [name for name in (*TRAIN, TEST) if not (folder / name).exists()]
    if missing:
        raise DatasetNotFoundError(f"CIFAR-10: {folder} has only some of its files, missing: {', '.join(missing)}")
    parts = [read_records(folder / name) for name in TRAIN]
    images, labels = read_records(folder / TEST)
    train = ArrayDataset(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
    return train, ArrayDataset(images, labels)
