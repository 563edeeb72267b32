"""MNIST and `load`: where the files are looked for, what is said when they are not there, and what they must hold."""

import gzip
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import DataError, DatasetNotFoundError, DownloadError, find_mnist, load, load_mnist, mnist, splits

NAMES = [file.name for file in mnist.FILES]


def write_mnist(folder: Path, train: int = 30, test: int = 20, seed: int = 0, packed: bool = True) -> Path:
    """Write four small files like MNIST's; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for names, count in ((NAMES[:2], train), (NAMES[2:], test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        for name, data in (
            (names[0], struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + images.tobytes()),
            (names[1], struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes()),
        ):
            (folder / f"{name}.gz" if packed else folder / name).write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data of this machine, no network."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setattr(mnist, "cache_dir", lambda: tmp_path / "cache")

    def no_network(mirrors: object, target: Path, size: int, sha256: str) -> None:
        raise DownloadError(f"{target.name}: no network")

    monkeypatch.setattr(mnist, "fetch", no_network)


@pytest.mark.parametrize("packed", [True, False])
def test_data_dir(tmp_path: Path, packed: bool) -> None:
    folder = write_mnist(tmp_path / "data", packed=packed)
    train, test = load_mnist(folder)
    assert (train.images.shape, test.images.shape) == ((30, 28, 28), (20, 28, 28))
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    np.testing.assert_array_equal(load_mnist(str(folder))[0].images, train.images)
    assert find_mnist(folder) == folder


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = write_mnist(tmp_path / "given", train=31)
    environment = write_mnist(tmp_path / "environment", train=32)
    write_mnist(tmp_path / "cache" / "mnist", train=33)
    monkeypatch.setenv("FASTCONV_DATA", str(environment))
    assert len(load_mnist(given)[0]) == 31
    assert len(load_mnist()[0]) == 32
    monkeypatch.delenv("FASTCONV_DATA")
    assert len(load_mnist()[0]) == 33
    assert find_mnist() == tmp_path / "cache" / "mnist"


def test_the_cache_folder_itself_will_do(tmp_path: Path) -> None:
    write_mnist(tmp_path / "cache")
    assert find_mnist() == tmp_path / "cache"


def test_a_folder_that_was_named_in_vain_is_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = write_mnist(tmp_path / "cache" / "mnist")
    with pytest.warns(
        UserWarning, match=rf"no files in data_dir .*typo \(which does not exist\); using .*{cache.name}"
    ):
        load_mnist(tmp_path / "typo")
    found = load("auto", data_dir=tmp_path / "typo")
    assert found.name == "mnist"
    assert found.notice is not None
    assert "typo" in found.notice
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="FASTCONV_DATA"):
        load_mnist()


def test_some_of_the_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_mnist(tmp_path / "data")
    write_mnist(tmp_path / "cache" / "mnist")
    (folder / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"data has only some of its files, missing: t10k-labels"):
        load_mnist(folder)
    monkeypatch.setenv("FASTCONV_DATA", str(folder))
    with pytest.raises(DatasetNotFoundError, match="FASTCONV_DATA"):
        load_mnist()


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetNotFoundError, match="is a file, expected a folder"):
        load_mnist(tmp_path / "file")


def test_not_found(tmp_path: Path) -> None:
    assert find_mnist() is None
    with pytest.raises(DatasetNotFoundError, match=r"not in the cache .* downloading is switched off"):
        load_mnist(download=False)
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*no network"):
        load_mnist()


def test_the_download_goes_to_the_cache_and_asks_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_mnist(tmp_path / "source")
    asked = []

    def copy(mirrors: tuple[str, ...], target: Path, size: int, sha256: str) -> None:
        assert all(mirror.startswith("https://") and mirror.endswith("/mnist/") for mirror in mirrors)
        asked.append((target.name, size, sha256))
        target.write_bytes((source / target.name).read_bytes())

    monkeypatch.setattr(mnist, "fetch", copy)
    train, _ = load_mnist()
    assert len(train) == 30
    assert asked == [(f"{file.name}.gz", file.size, file.sha256) for file in mnist.FILES]
    load_mnist()
    assert len(asked) == 4
    (tmp_path / "cache" / "mnist" / f"{NAMES[0]}.gz").unlink()
    load_mnist()
    assert [name for name, *_ in asked[4:]] == [f"{NAMES[0]}.gz"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    with pytest.raises(DatasetNotFoundError, match="could not be downloaded"):
        load_mnist()
    assert load("auto", digits_size=60).name == "digits"


def test_wrong_contents_name_the_file(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "data", train=30)
    more = write_mnist(tmp_path / "more", train=31)
    labels = (more / f"{NAMES[1]}.gz").read_bytes()
    (folder / f"{NAMES[1]}.gz").write_bytes(labels)
    with pytest.raises(DataError, match=r"train-images.* has 30 images, but .*train-labels.* has 31 labels"):
        load_mnist(folder)
    (folder / f"{NAMES[0]}.gz").write_bytes(labels)
    with pytest.raises(DataError, match=r"train-images.* holds labels"):
        load_mnist(folder)
    (folder / f"{NAMES[0]}.gz").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"train-images.* is a web page"):
        load_mnist(folder)
    (folder / f"{NAMES[0]}.gz").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 31, 8, 8) + bytes(31 * 64))
    with pytest.raises(DataError, match=r"train-images.* 8 x 8 pixels, expected 28 x 28"):
        load_mnist(folder)


def test_load_says_what_it_gives(tmp_path: Path) -> None:
    nothing = load("auto", digits_size=60, seed=3)
    assert nothing.name == "digits"
    assert nothing.notice is not None
    assert "no network" in nothing.notice
    assert "synthetic" in nothing.notice
    assert (len(nothing.train), len(nothing.test)) == (60, 10)
    asked = load("digits", digits_size=60, seed=3)
    assert (asked.name, asked.notice) == ("digits", None)
    np.testing.assert_array_equal(asked.train.images, nothing.train.images)
    assert not np.array_equal(asked.train.images[:10], asked.test.images)
    with pytest.raises(DatasetNotFoundError):
        load("mnist")
    folder = write_mnist(tmp_path / "data")
    for name in ("auto", "mnist"):
        found = load(name, data_dir=folder)
        assert (found.name, found.notice, len(found.train), len(found.test)) == ("mnist", None, 30, 20)


def test_auto_does_not_hide_a_damaged_file(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "data")
    (folder / f"{NAMES[0]}.gz").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="web page"):
        load("auto", data_dir=folder)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="'cifar'"):
        load("cifar")


def test_no_warning_without_reason(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_mnist(write_mnist(tmp_path / "data"))


def test_sizes_of_the_splits() -> None:
    assert splits.DIGITS_SIZE == 60_000


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(mnist.sys, "platform", "linux")
    assert mnist.cache_dir() == tmp_path / "xdg" / "fastconv"
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert mnist.cache_dir() == tmp_path / ".cache" / "fastconv"
    monkeypatch.setattr(mnist.sys, "platform", "darwin")
    assert mnist.cache_dir() == tmp_path / "Library" / "Caches" / "fastconv"
    monkeypatch.setattr(mnist.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert mnist.cache_dir() == tmp_path / "local" / "fastconv"
