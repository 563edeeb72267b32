"""`ArrayDataset`: images and labels as two arrays in memory, checked once, sliced without surprises."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayDataset"]


def _selection(key: Any, size: int) -> slice | NDArray[np.int64]:
    """Turn what a caller put in brackets into a slice or an array of positions from 0 to size - 1."""
    if isinstance(key, slice):
        return key
    index = np.asarray(key)
    if index.size == 0 and index.ndim == 1:
        index = index.astype(np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iub":
        raise TypeError(
            f"ArrayDataset: indices must be a slice, an integer, or a one-dimensional array of integers or booleans, "
            f"got {key!r:.80}"
        )
    if index.dtype.kind == "b":
        if len(index) != size:
            raise IndexError(f"ArrayDataset: a mask of {len(index)} booleans does not fit {size} images")
        return np.flatnonzero(index)
    bad = (index < -size) | (index >= size)
    if bad.any():
        raise IndexError(f"ArrayDataset: index {index[bad][0]} is out of range for {size} images")
    index = index.astype(np.int64)
    return np.where(index < 0, index + size, index)


class ArrayDataset:
    """Images and their labels.

    Parameters
    ----------
    images : ndarray, uint8 or float32, shape (M, H, W) or (M, C, H, W)
        Kept as given (C-contiguous; copied only where they are not).  Bytes stay bytes until a `Loader` needs a batch.
    labels : array of integers, shape (M,)
        Class numbers from 0 up; kept as int64.

    Attributes
    ----------
    images : ndarray, as above
    labels : ndarray, int64, shape (M,)

    Raises
    ------
    TypeError
        If a dtype is another one.
    ValueError
        If the shapes do not fit, or a label is negative.

    Notes
    -----
    ``dataset[i]`` with an integer is the pair ``(image, label)``; with a slice, an array of positions or a mask it is
    an ArrayDataset of those images (a view for slices with step 1).
    """

    def __init__(self, images: NDArray[Any], labels: Any) -> None:
        images = np.asarray(images)
        labels = np.asarray(labels)
        if images.dtype != np.uint8 and images.dtype != np.float32:
            raise TypeError(f"ArrayDataset: images must be uint8 or float32, got {images.dtype}")
        if images.ndim not in (3, 4):
            raise ValueError(f"ArrayDataset: images must be of shape (M, H, W) or (M, C, H, W), got {images.shape}")
        if labels.dtype.kind not in "iu":
            raise TypeError(f"ArrayDataset: labels must be integers, got {labels.dtype}")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"ArrayDataset: labels must be of shape ({len(images)},), one for each image, got {labels.shape}"
            )
        if labels.size and (int(labels.min()) < 0 or int(labels.max()) > np.iinfo(np.int64).max):
            low, high = labels.min(), labels.max()
            raise ValueError(f"ArrayDataset: labels must be class numbers from 0 up, got {low}..{high}")
        self.images: NDArray[Any] = np.ascontiguousarray(images)
        self.labels: NDArray[np.int64] = np.ascontiguousarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, (bool, np.bool_)) and hasattr(key, "__index__") and np.ndim(key) == 0:
            position = int(key.__index__())
            if not -len(self) <= position < len(self):
                raise IndexError(f"ArrayDataset: index {position} is out of range for {len(self)} images")
            return self.images[position], int(self.labels[position])
        chosen = _selection(key, len(self))
        return ArrayDataset(self.images[chosen], self.labels[chosen])

    def __iter__(self) -> Iterator[tuple[NDArray[Any], int]]:
        for image, label in zip(self.images, self.labels, strict=True):
            yield image, int(label)

    def __repr__(self) -> str:
        return f"ArrayDataset({len(self)} images of shape {self.images.shape[1:]}, {self.images.dtype})"
