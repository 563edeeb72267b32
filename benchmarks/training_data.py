"""What the training of side_by_side.py is fed with, the same in every process: images, order, first weights."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import numpy as np
from cases import Array, Shape

IMAGES = 60_000
# Batch sizes of the comparison, and the images of an epoch where they are not all 60,000.  `scratch` and `ann` are
# known by one image at a time; `scratch` is compared at 64.
BATCH_SIZES = {"ann": 1, "scratch": 64, "keras": 128, "dropout": 100, "cnn": 128, "fast": 256}
EPOCH_IMAGES = {"ann": 1_000}


def random_images() -> tuple[Array, Array]:
    """Images uint8 (60000, 28, 28) and labels int64 (60000,), of MNIST's shape, of no meaning."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
    return images, rng.integers(0, 10, IMAGES)


def read_mnist(folder: Path, which: str) -> tuple[Array, Array]:
    """Images and labels as above from MNIST's gzipped files; which is 'train' or 't10k'."""
    with gzip.open(folder / f"{which}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    images = np.empty((len(labels), 28, 28), np.uint8)
    with gzip.open(folder / f"{which}-images-idx3-ubyte.gz") as file:
        file.read(16)
        filled = 0
        while filled < images.size:  # straight into the array: the peak of memory is to be that of the training
            count = file.readinto(images.reshape(-1)[filled : filled + (1 << 20)])
            if not count:
                raise EOFError(f"{which}-images-idx3-ubyte.gz ends after {filled} of {images.size} pixels")
            filled += count
    return images, labels


def index_batches(images: int, batch_size: int) -> Iterator[Array]:
    """Positions of the images of each batch, for ever, in a fresh order each epoch: what fastconv's Loader draws."""
    rng = np.random.default_rng(0)
    for _ in count():
        order = rng.permutation(images)
        for start in range(0, images, batch_size):
            yield order[start : start + batch_size]


def first_weights(shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Weights to start from, by name: uniform in +-1/sqrt(fan_in), biases 0."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        bound = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.0
        weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weights
