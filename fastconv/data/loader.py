"""`Loader`: a data set in shuffled batches, ready for a network."""

import contextvars
import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _kernels
from fastconv import _validation as check
from fastconv._threads import get_num_threads
from fastconv.data._ahead import ahead
from fastconv.data.augmentation import Augment
from fastconv.data.datasets import ArrayDataset

__all__ = ["Loader"]

AHEAD = 2  # batches that `prefetch` has ready
_ALONE = contextvars.ContextVar("alone", default=False)  # in a thread that prepares batches: it starts no others


class Loader:
    """Go through a data set in batches.

    Images stay as they are, bytes for most data sets, until a batch needs them: ``x = images * scale + offset``.

    Parameters
    ----------
    dataset : ArrayDataset
    batch_size : int
        Images in a batch; the last may have fewer.
    shuffle : bool
        Whether to draw a fresh permutation for each epoch (each ``iter(loader)``).
    rng : numpy.random.Generator, optional
        Where the permutations come from; a fresh one by default.
    scale, offset : float
        Scale is 1/255 for byte images and 1 for float32 images where it is not given.
    drop_last : bool
        Whether to leave out a last batch that is not full.
    dtype : float32 or float64
        Of x.
    augment : Augment, optional
        Changes each image a little, each time otherwise.
    prefetch : bool
        Whether to prepare the next two batches in a thread meanwhile; the batches are the same.

    Yields
    ------
    x : ndarray of dtype, shape (B, C, H, W); C is 1 for images without channels
    y : ndarray, int64, shape (B,)

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type or out of range.
    """

    def __init__(
        self,
        dataset: ArrayDataset,
        batch_size: int,
        shuffle: bool = True,
        rng: np.random.Generator | None = None,
        scale: float | None = None,
        offset: float = 0.0,
        drop_last: bool = False,
        dtype: Any = np.float32,
        augment: Augment | None = None,
        prefetch: bool = False,
    ) -> None:
        if not isinstance(dataset, ArrayDataset):
            raise TypeError(f"Loader: dataset must be an ArrayDataset, got {type(dataset).__name__}")
        if isinstance(batch_size, (bool, np.bool_)) or not hasattr(batch_size, "__index__"):
            raise TypeError(f"Loader: batch_size must be an integer, got {batch_size!r}")
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise TypeError(f"Loader: rng must be a numpy.random.Generator or None, got {rng!r}")
        self.dataset = dataset
        self.batch_size = operator.index(batch_size)
        if self.batch_size < 1:
            raise ValueError(f"Loader: batch_size must be at least 1, got {batch_size}")
        self.shuffle = check.flag("Loader", "shuffle", shuffle)
        self.rng = np.random.default_rng() if rng is None else rng
        if scale is None:
            scale = 1 / 255 if dataset.images.dtype == np.uint8 else 1.0
        self.scale, self.offset = check.number("Loader", "scale", scale), check.number("Loader", "offset", offset)
        if not (np.isfinite(self.scale) and np.isfinite(self.offset)):
            raise ValueError(f"Loader: scale and offset must be finite, got {scale} and {offset}")
        self.drop_last = check.flag("Loader", "drop_last", drop_last)
        self.dtype = check.float_dtype("Loader", dtype)
        if augment is not None and not isinstance(augment, Augment):
            raise TypeError(f"Loader: augment must be an Augment or None, got {check.describe(augment)}")
        self.augment = augment
        self.prefetch = check.flag("Loader", "prefetch", prefetch)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        return self.batches(self.order())

    def order(self) -> NDArray[np.int64]:
        """Begin an epoch: its order, int64 (M,), a permutation drawn from rng, or 0, 1, 2, ... without shuffle."""
        if self.augment is not None:
            self.augment.new_epoch()
        size = len(self.dataset)
        return self.rng.permutation(size) if self.shuffle else np.arange(size)

    def batches(self, order: NDArray[np.int64], start: int = 0) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """The batches of an epoch in a given order, from batch number `start` on: what resuming an epoch needs."""
        if self.prefetch:  # the thread leaves the others to whoever uses the batches
            return ahead(self._batches(order, start, alone=True), AHEAD)
        return self._batches(order, start)

    def _batches(
        self, order: NDArray[np.int64], start: int, alone: bool = False
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        if alone:
            _ALONE.set(True)
        for number in range(start, len(self)):
            x, y = self.batch(order[number * self.batch_size : (number + 1) * self.batch_size])
            yield (x if self.augment is None else self.augment.batch(x, number)), y

    def batch(self, index: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The batch of the images at the positions `index`, int64 (B,), 0 .. M - 1, as they are in the data set."""
        images = self.dataset.images
        index = np.array(index, dtype=np.int64, order="C")  # a copy: what is checked here is what C uses
        if index.size and (index.min() < 0 or index.max() >= len(images)):
            raise IndexError(f"Loader: positions must be 0..{len(images) - 1}, got {index.min()}..{index.max()}")
        channels_and_size = images.shape[1:] if images.ndim == 4 else (1, *images.shape[1:])
        x = _kernels.empty((len(index), *channels_and_size), self.dtype)
        if images.dtype == np.uint8:
            _kernels.gather_images(
                images.reshape(len(images), math.prod(images.shape[1:])),
                index,
                x.reshape(len(index), math.prod(images.shape[1:])),
                self.scale,
                self.offset,
                1 if _ALONE.get() else get_num_threads(),
            )
        else:
            np.multiply(images[index].reshape(x.shape), self.scale, out=x, dtype=self.dtype, casting="same_kind")
            x += self.offset
        return x, self.dataset.labels[index]

    def __repr__(self) -> str:
        return f"Loader({len(self.dataset)} images, {len(self)} batches of {self.batch_size}, shuffle={self.shuffle})"
