"""The digits that the package draws: reproducible, balanced, legible, and framed as MNIST's are."""

import time
from typing import Any

import numpy as np
import pytest

from fastconv import models, nn, optim
from fastconv.data import ArrayDataset, Loader, digits, find_mnist, load_mnist
from fastconv.data.digits import BOX, CHUNK
from fastconv.data.splines import SAMPLES, skeleton_table
from fastconv.data.strokes import skeletons
from fastconv.training import Trainer


@pytest.fixture(scope="module")
def drawn() -> ArrayDataset:
    return digits(2 * CHUNK, seed=5)


def test_arrays(drawn: ArrayDataset) -> None:
    assert drawn.images.shape == (2 * CHUNK, 28, 28)
    assert drawn.images.dtype == np.uint8
    assert drawn.labels.dtype == np.int64
    assert drawn.images.reshape(len(drawn), -1).max(axis=1).min() > 200


@pytest.mark.parametrize("n", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_image_i_does_not_depend_on_n(drawn: ArrayDataset, n: int) -> None:
    some = digits(n, seed=5)
    assert len(some) == n
    np.testing.assert_array_equal(some.images, drawn.images[:n])
    np.testing.assert_array_equal(some.labels, drawn.labels[:n])


def test_seeds_and_splits_differ(drawn: ArrayDataset) -> None:
    for other in (digits(CHUNK, seed=6), digits(CHUNK, seed=5, split="test")):
        assert not np.array_equal(other.labels, drawn.labels[:CHUNK])
        for image in other.images:
            assert not (image == drawn.images).all(axis=(1, 2)).any()


def test_no_global_random_state_is_used_or_changed(drawn: ArrayDataset) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr] # noqa: NPY002
    np.testing.assert_array_equal(digits(10, seed=5).images, drawn.images[:10])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index] # noqa: NPY002


def test_labels_are_balanced_and_shuffled(drawn: ArrayDataset) -> None:
    for part in (drawn.labels[:CHUNK], drawn.labels[CHUNK:]):
        assert np.bincount(part, minlength=10).tolist() == [CHUNK // 10] * 10
    assert not np.array_equal(drawn.labels[:CHUNK], drawn.labels[CHUNK:])


def test_framing(drawn: ArrayDataset) -> None:
    rows, columns = drawn.images.max(axis=2) > 0, drawn.images.max(axis=1) > 0
    sides = []
    for used in (rows, columns):
        first, last = used.argmax(axis=1), 27 - used[:, ::-1].argmax(axis=1)
        sides.append(last - first + 1)
    longest = np.max(sides, axis=0)
    assert longest.max() == BOX
    assert (longest == BOX).mean() > 0.99
    mass = drawn.images.sum(axis=(1, 2), dtype=np.float64)
    for axis in (1, 2):
        profile = drawn.images.sum(axis=3 - axis, dtype=np.float64)
        centre = profile @ np.arange(28) / mass
        assert np.abs(centre - 14).max() < 1.01  # within half a pixel where the box has room to move
        assert (np.abs(centre - 14) <= 0.51).mean() > 0.99


def test_ink_is_about_as_much_as_in_mnist(drawn: ArrayDataset) -> None:
    ink = drawn.images.mean(axis=(1, 2)) / 255
    assert 0.11 < ink.mean() < 0.15  # MNIST's training images: 0.1307
    ones = drawn.labels == 1
    assert ink[ones].mean() < 0.8 * ink[~ones].mean()


def test_a_digit_is_drawn_in_many_ways(drawn: ArrayDataset) -> None:
    listed = skeletons()
    table = skeleton_table()
    assert len(listed) >= 130
    assert int(table.free_end.shape[1]) >= 10
    for digit in range(10):
        shares = [skeleton.share for skeleton in listed if skeleton.digit == digit]
        assert len(shares) >= 15
        assert sum(shares) == pytest.approx(1)
        images = drawn.images[drawn.labels == digit].reshape(2 * CHUNK // 10, -1)
        assert len(np.unique(images, axis=0)) == len(images)


def test_curves_run_through_their_control_points_and_never_leave_them_far() -> None:
    table = skeleton_table()
    assert table.curve.shape[1] == SAMPLES
    np.testing.assert_allclose(table.curve.sum(axis=2), 1, atol=1e-5)  # a moved skeleton is a moved curve
    path = np.matmul(table.curve, table.points)
    assert np.isfinite(path).all()
    for v in range(len(path)):
        used = np.abs(table.curve[v]).sum(axis=0) > 0
        distance = np.linalg.norm(table.points[v, used][:, None] - path[v][None], axis=2)
        assert distance.min(axis=1).max() < 0.03
        low, high = table.points[v, used].min(axis=0), table.points[v, used].max(axis=0)
        assert (path[v] > low - 0.2).all()
        assert (path[v] < high + 0.2).all()


def test_digits_can_be_told_apart() -> None:
    """The nearest mean image is right far more often than chance: labels belong to their images."""
    train, test = digits(4000, seed=1), digits(1000, seed=1, split="test")
    flat = train.images.reshape(len(train), -1) / 255
    means = np.stack([flat[train.labels == digit].mean(axis=0) for digit in range(10)])
    x = test.images.reshape(len(test), -1) / 255
    guess = (x @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1)
    assert (guess == test.labels).mean() > 0.45


def test_a_network_trained_on_digits_alone_reads_real_ones() -> None:
    """A fiftieth of the work that gives 97.8 % (60,000 digits, 3 epochs) gives nine in ten of MNIST's test images."""
    folder = find_mnist()
    if folder is None:
        pytest.skip("MNIST is not on this machine ($FASTCONV_DATA names its folder)")
    _, test = load_mnist(folder, download=False)
    rng = np.random.default_rng(0)
    model = models.build("fast", rng)
    optimizer = optim.Adam(model.parameters(), lr=0.002)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), progress=False)
    trainer.fit(Loader(digits(4000), 64, rng=rng), 2)
    assert trainer.evaluate(test[::5])["accuracy"] > 0.88


def test_speed() -> None:
    """At 10,000 images a second and more in a quiet process; here only that it is not a hundred times slower."""
    digits(1)
    begun = time.perf_counter()
    digits(1000, seed=2)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": -1}, ValueError, "n must"),
        ({"n": 2.0}, TypeError, "n must"),
        ({"n": True}, TypeError, "n must"),
        ({"n": None}, TypeError, "n must"),
        ({"n": 1, "seed": -1}, ValueError, "seed must"),
        ({"n": 1, "seed": "0"}, TypeError, "seed must"),
        ({"n": 1, "seed": None}, TypeError, "seed must"),
        ({"n": 1, "split": "valid"}, ValueError, "split must"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        digits(**arguments)
