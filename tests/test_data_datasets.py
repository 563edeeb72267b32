"""ArrayDataset: what it accepts, and what its slices are."""

from typing import Any

import numpy as np
import pytest

from fastconv.data import ArrayDataset


@pytest.fixture
def dataset() -> ArrayDataset:
    return ArrayDataset(np.arange(10 * 6, dtype=np.uint8).reshape(10, 2, 3), np.arange(10, dtype=np.uint8))


def test_attributes(dataset: ArrayDataset) -> None:
    assert len(dataset) == 10
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert "10 images of shape (2, 3)" in repr(dataset)


def test_a_contiguous_array_is_not_copied() -> None:
    images = np.zeros((4, 1, 2, 2), np.float32)
    assert ArrayDataset(images, [0, 1, 2, 3]).images is images
    assert ArrayDataset(images[:, :, ::-1], [0, 1, 2, 3]).images.flags.c_contiguous


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (slice(3), [0, 1, 2]),
        (slice(None, None, -2), [9, 7, 5, 3, 1]),
        (slice(20, 30), []),
        ([1, 1, -1], [1, 1, 9]),
        ([], []),
        (np.array([2, 0], np.uint8), [2, 0]),
        (np.arange(10) % 5 == 0, [0, 5]),
    ],
)
def test_slices_and_index_arrays(dataset: ArrayDataset, key: Any, expected: list[int]) -> None:
    part = dataset[key]
    assert isinstance(part, ArrayDataset)
    assert part.labels.tolist() == expected
    np.testing.assert_array_equal(part.images, dataset.images[expected])


def test_a_slice_is_a_view(dataset: ArrayDataset) -> None:
    assert np.shares_memory(dataset[2:5].images, dataset.images)


@pytest.mark.parametrize("key", [3, -7, np.int32(3), np.array(3)])
def test_an_integer_gives_the_pair(dataset: ArrayDataset, key: Any) -> None:
    image, label = dataset[key]
    assert label == 3
    np.testing.assert_array_equal(image, dataset.images[3])


def test_iteration(dataset: ArrayDataset) -> None:
    assert [label for _, label in dataset] == list(range(10))


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (10, IndexError),
        (-11, IndexError),
        ([0, 10], IndexError),
        ([True, False], IndexError),
        (True, TypeError),
        (1.5, TypeError),
        ("0", TypeError),
        ([0.5], TypeError),
        ([[0, 1]], TypeError),
        (None, TypeError),
        ((0, 1, 2, slice(3)), (TypeError, ValueError)),
    ],
)
def test_bad_keys(dataset: ArrayDataset, key: Any, error: Any) -> None:
    with pytest.raises(error):
        dataset[key]


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (np.zeros((2, 3, 3)), [0, 1], TypeError, "uint8 or float32, got float64"),
        (np.zeros((2, 3, 3), np.int64), [0, 1], TypeError, "uint8 or float32"),
        (np.zeros((2, 3, 3), ">f4"), [0, 1], TypeError, "uint8 or float32"),
        (np.zeros((2, 9), np.uint8), [0, 1], ValueError, r"\(M, H, W\)"),
        (np.zeros((2, 1, 1, 1, 1), np.uint8), [0, 1], ValueError, r"\(M, H, W\)"),
        (np.zeros((2, 3, 3), np.uint8), [0], ValueError, r"\(2,\)"),
        (np.zeros((2, 3, 3), np.uint8), [[0, 1]], ValueError, r"\(2,\)"),
        (np.zeros((2, 3, 3), np.uint8), [0.0, 1.0], TypeError, "integers"),
        (np.zeros((2, 3, 3), np.uint8), [True, False], TypeError, "integers"),
        (np.zeros((2, 3, 3), np.uint8), [0, -1], ValueError, "from 0 up"),
        (np.zeros((2, 3, 3), np.uint8), np.array([0, 2**63], np.uint64), ValueError, "from 0 up"),
    ],
)
def test_bad_arrays(images: Any, labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ArrayDataset(images, labels)
