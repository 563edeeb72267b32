"""Loader: every image once an epoch, in an order drawn from rng, as normalised floats."""

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.data import ArrayDataset, Loader


@pytest.fixture
def dataset() -> ArrayDataset:
    rng = np.random.default_rng(0)
    return ArrayDataset(rng.integers(0, 256, (103, 28, 28), dtype=np.uint8), np.arange(103))


def test_every_image_once_an_epoch(dataset: ArrayDataset) -> None:
    loader = Loader(dataset, 10, rng=np.random.default_rng(0))
    batches = list(loader)
    assert len(batches) == len(loader) == 11
    assert [len(y) for _, y in batches] == [10] * 10 + [3]
    for x, y in batches:
        assert x.shape == (len(y), 1, 28, 28)
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        np.testing.assert_allclose(x[:, 0], dataset.images[y] / 255, rtol=0, atol=1e-7)
    assert sorted(np.concatenate([y for _, y in batches])) == list(range(103))


def test_drop_last(dataset: ArrayDataset) -> None:
    loader = Loader(dataset, 10, drop_last=True)
    assert len(loader) == 10
    assert [len(y) for _, y in loader] == [10] * 10
    assert len(Loader(dataset[:5], 10, drop_last=True)) == 0
    assert list(Loader(dataset[:5], 10, drop_last=True)) == []


def test_order(dataset: ArrayDataset) -> None:
    def labels(loader: Loader) -> list[int]:
        return [int(label) for _, y in loader for label in y]

    assert labels(Loader(dataset, 16, shuffle=False)) == list(range(103))
    loader = Loader(dataset, 16, rng=np.random.default_rng(7))
    first, second = labels(loader), labels(loader)
    assert first != second
    again = Loader(dataset, 16, rng=np.random.default_rng(7))
    assert (labels(again), labels(again)) == (first, second)
    assert labels(Loader(dataset, 16, rng=np.random.default_rng(8))) != first
    assert labels(Loader(dataset, 16)) != labels(Loader(dataset, 16))


def test_an_epoch_can_begin_in_its_middle(dataset: ArrayDataset) -> None:
    loader = Loader(dataset, 10, rng=np.random.default_rng(0))
    order = loader.order()
    whole = list(loader.batches(order))
    rest = list(loader.batches(order, start=7))
    assert len(rest) == 4
    for (x, y), (x_again, y_again) in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalisation(dataset: ArrayDataset, dtype: Any) -> None:
    ((x, y),) = Loader(dataset, 200, scale=1 / 255, offset=-0.5, dtype=dtype)
    assert x.dtype == dtype
    expected = dataset.images[y] / 255.0 - 0.5
    np.testing.assert_allclose(x[:, 0], expected, rtol=0, atol=2 * np.finfo(dtype).eps)


def test_float_images_are_taken_as_they_are(dataset: ArrayDataset) -> None:
    images = np.random.default_rng(1).standard_normal((9, 3, 4, 5)).astype(np.float32)
    floats = ArrayDataset(images, np.arange(9))
    ((x, y),) = Loader(floats, 9)
    np.testing.assert_array_equal(x, images[y])
    ((x, y),) = Loader(floats, 9, scale=2, offset=1, dtype=np.float64)
    np.testing.assert_allclose(x, images[y].astype(np.float64) * 2 + 1, rtol=1e-15)


def test_channels(dataset: ArrayDataset) -> None:
    images = np.random.default_rng(1).integers(0, 256, (9, 3, 4, 5), dtype=np.uint8)
    ((x, y),) = Loader(ArrayDataset(images, np.arange(9)), 9)
    np.testing.assert_allclose(x, images[y] / 255, rtol=0, atol=1e-7)


def test_the_same_bits_for_any_number_of_threads(dataset: ArrayDataset) -> None:
    results = []
    for threads in (1, 2):
        with fastconv.threads(threads):
            results.append(Loader(dataset, 103, shuffle=False).batch(np.arange(103))[0])
    np.testing.assert_array_equal(*results)


def test_batches_are_independent_arrays(dataset: ArrayDataset) -> None:
    batches = [x for x, _ in Loader(dataset, 50, shuffle=False)]
    kept = [x.copy() for x in batches]
    batches[1][:] = -1
    np.testing.assert_array_equal(batches[0], kept[0])
    assert not np.shares_memory(batches[0], batches[2])


def test_an_empty_data_set() -> None:
    empty = ArrayDataset(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    assert list(Loader(empty, 10)) == []
    x, y = Loader(empty, 10).batch(np.zeros(0, np.int64))
    assert (x.shape, y.shape) == ((0, 1, 28, 28), (0,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": -3}, ValueError, "batch_size"),
        ({"batch_size": 2.0}, TypeError, "batch_size"),
        ({"batch_size": True}, TypeError, "batch_size"),
        ({"batch_size": None}, TypeError, "batch_size"),
        ({"rng": 0}, TypeError, "rng"),
        ({"rng": np.random}, TypeError, "rng"),
        ({"dtype": np.float16}, TypeError, "dtype"),
        ({"dtype": np.uint8}, TypeError, "dtype"),
        ({"scale": float("nan")}, ValueError, "scale"),
        ({"offset": float("inf")}, ValueError, "offset"),
    ],
)
def test_bad_arguments(dataset: ArrayDataset, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Loader(dataset, **{"batch_size": 10, **arguments})


def test_other_bad_arguments(dataset: ArrayDataset) -> None:
    with pytest.raises(TypeError, match="dataset"):
        Loader([1, 2, 3], 2)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match=r"0\.\.102"):
        Loader(dataset, 2).batch(np.array([0, 103]))
