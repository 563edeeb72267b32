"""The IDX reader: good files, and every kind of bad one."""

import contextlib
import gzip
import os
import struct
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastconv.data import DataError, idx
from fastconv.data.idx import read_images, read_labels

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not here</body></html>\n" * 20


def images_file(images: np.ndarray) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()


def labels_file(labels: list[int]) -> bytes:
    return struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + bytes(labels)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_images_plain_and_gzipped(tmp_path: Path, images: np.ndarray) -> None:
    plain = write(tmp_path / "plain", images_file(images))
    packed = write(tmp_path / "packed.gz", gzip.compress(images_file(images)))
    for path in (plain, packed, str(packed)):
        read = read_images(path)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, images)


def test_what_a_file_is_counts_and_not_its_name(tmp_path: Path, images: np.ndarray) -> None:
    np.testing.assert_array_equal(read_images(write(tmp_path / "a.gz", images_file(images))), images)
    np.testing.assert_array_equal(read_images(write(tmp_path / "a", gzip.compress(images_file(images)))), images)


def test_labels(tmp_path: Path) -> None:
    read = read_labels(write(tmp_path / "labels.gz", gzip.compress(labels_file([3, 0, 9]))))
    assert read.dtype == np.int64
    assert read.tolist() == [3, 0, 9]


def test_label_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path / "labels", labels_file([3, 0, 10]))
    with pytest.raises(DataError, match=r"labels: label 10 of image 2 is out of range 0\.\.9"):
        read_labels(path)
    assert read_labels(path, classes=11).tolist() == [3, 0, 10]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 3, 4, 9, 15, 16, 17, 100, -1])
def test_truncated(tmp_path: Path, images: np.ndarray, keep: int, packed: bool) -> None:
    data = images_file(images)[:keep]
    path = write(tmp_path / "cut.gz", gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=r"cut\.gz: is truncated"):
        read_images(path)


@pytest.mark.parametrize("keep", [2, 5, 10, 30, 100, -9, -8, -4, -1])
def test_truncated_gzip_stream(tmp_path: Path, images: np.ndarray, keep: int) -> None:
    path = write(tmp_path / "cut.gz", gzip.compress(images_file(images))[:keep])
    with pytest.raises(DataError, match=r"cut\.gz: is truncated"):
        read_images(path)


@pytest.mark.parametrize("packed", [False, True])
def test_too_long(tmp_path: Path, images: np.ndarray, packed: bool) -> None:
    data = images_file(images) + b"\0"
    path = write(tmp_path / "long.gz", gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=r"long\.gz: has more than the 140 bytes of images"):
        read_images(path)


def test_rubbish_after_the_gzip_stream(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(DataError, match="is damaged"):
        read_images(write(tmp_path / "a.gz", gzip.compress(images_file(images)) + b"rubbish"))


def test_damaged_gzip_stream(tmp_path: Path, images: np.ndarray) -> None:
    good = gzip.compress(images_file(images))
    for position in (-6, 30, 60):  # the checksum, the data
        bad = bytearray(good)
        bad[position] ^= 0x55
        with pytest.raises(DataError, match=r"a\.gz: "):
            read_images(write(tmp_path / "a.gz", bytes(bad)))


def test_labels_where_images_are_expected_and_the_reverse(tmp_path: Path, images: np.ndarray) -> None:
    labels = write(tmp_path / "labels.gz", gzip.compress(labels_file([1, 2])))
    with pytest.raises(DataError, match=r"labels\.gz: holds labels \(1 dimensions\), expected images"):
        read_images(labels)
    pictures = write(tmp_path / "images.gz", gzip.compress(images_file(images)))
    with pytest.raises(DataError, match=r"images\.gz: holds images \(3 dimensions\), expected labels"):
        read_labels(pictures)


@pytest.mark.parametrize(
    "data", [HTML, b"\n  <html>", b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", gzip.compress(HTML)]
)
def test_a_web_page(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match=r"train\.gz: is a web page"):
        read_images(write(tmp_path / "train.gz", data))


@pytest.mark.parametrize("magic", [b"\0\0\x07\x03", b"\0\1\x08\x03", b"PK\3\4", b"\0\0\0\0", b"\x89PNG", b"\x93NUM"])
def test_wrong_magic(tmp_path: Path, images: np.ndarray, magic: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.gz: is not an IDX file: it begins with"):
        read_images(write(tmp_path / "a.gz", magic + images_file(images)[4:]))


@pytest.mark.parametrize(("code", "name"), [(0x09, "signed bytes"), (0x0D, "float32"), (0x0E, "float64")])
def test_wrong_type(tmp_path: Path, images: np.ndarray, code: int, name: str) -> None:
    with pytest.raises(DataError, match=f"holds {name}"):
        read_images(write(tmp_path / "a", bytes([0, 0, code, 3]) + images_file(images)[4:]))


@pytest.mark.parametrize("shape", [(0, 28, 28), (5, 0, 28), (5, 28, 0)])
def test_empty(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="announces an empty array"):
        read_images(write(tmp_path / "a", struct.pack(">4B3I", 0, 0, 8, 3, *shape)))


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**31, 28, 28), (1, 5000, 1), (2**21, 28, 28)])
def test_announced_size_is_bounded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for data in (struct.pack(">4B3I", 0, 0, 8, 3, *shape), gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, *shape))):
        with pytest.raises(DataError, match="more than is read"):
            read_images(write(tmp_path / "a.gz", data))


def test_announced_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    header = struct.pack(">4B3I", 0, 0, 8, 3, 1_000_000, 28, 28)
    for data in (header + bytes(100), gzip.compress(header + bytes(100))):
        with pytest.raises(DataError, match="is truncated: 784000000 bytes announced"):
            read_images(write(tmp_path / "a.gz", data))


def test_a_gzip_bomb_is_inflated_no_further_than_announced(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated = 0

    class Counting:
        def __init__(self, format: int) -> None:
            self.inner = zlib.decompressobj(format)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal inflated
            found = self.inner.decompress(data, most)
            inflated += len(found)
            return found

    monkeypatch.setattr(idx, "zlib", SimpleNamespace(decompressobj=Counting, error=zlib.error))
    bomb = gzip.compress(images_file(images) + bytes(50_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(DataError, match="has more than the 140 bytes"):
        read_images(write(tmp_path / "bomb.gz", bomb))
    assert inflated == 16 + images.size + 1


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_images(tmp_path / "nothing")
    with pytest.raises((IsADirectoryError, PermissionError)):
        read_images(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        caught: list[BaseException] = []

        def read() -> None:
            try:
                read_images(tmp_path / "pipe")
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "waits for somebody to write into the pipe"
        assert isinstance(caught[0], DataError)


def test_random_bytes_never_give_another_error(tmp_path: Path, images: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for good in (images_file(images), gzip.compress(images_file(images))):
        for _ in range(300):
            bad = bytearray(good)
            for position in rng.integers(0, len(bad), rng.integers(1, 4)):
                bad[position] = rng.integers(0, 256)
            path = write(tmp_path / "a.gz", bytes(bad))
            with contextlib.suppress(DataError):
                assert read_images(path).size <= len(bad) * 1032
