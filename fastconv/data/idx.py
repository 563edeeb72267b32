"""IDX, the file format of MNIST: a reader that trusts nothing.

An IDX file is two zero bytes, one byte for the type of its elements, one for the number of dimensions, the dimensions
as big-endian 32-bit integers, then the elements in C order; MNIST's files hold unsigned bytes (type 0x08).  The files
are usually gzipped; which it is, is read from the first bytes and not from the name.

The announced size is bounded before anything is read, and at most that many bytes and one more are inflated, so that a
small file cannot fill the memory.
Source: http://yann.lecun.com/exdb/mnist ("the IDX file format").
"""

import gzip
import math
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastconv.data.errors import DataError

__all__ = ["MAX_BYTES", "read_images", "read_labels"]

MAX_BYTES = 1 << 30  # no array larger than this is read
MAX_SIDE = 4096  # pixels

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MOST = 1032  # deflate cannot shrink data more than this
_TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_CONTENTS = {1: "labels", 3: "images"}

PathLike = str | os.PathLike[str]


def _header(file: BinaryIO, path: Path, ndim: int) -> tuple[int, ...]:
    """Read and check magic and dimensions; what follows them is not touched."""
    magic = file.read(4)
    if len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES:
        if magic[2] != 0x08:
            raise DataError(f"{path}: holds {_TYPES[magic[2]]} (type 0x{magic[2]:02x}), expected unsigned bytes (0x08)")
        if magic[3] != ndim:
            found = _CONTENTS.get(magic[3], "something else")
            raise DataError(
                f"{path}: holds {found} ({magic[3]} dimensions), expected {_CONTENTS[ndim]} ({ndim} dimensions)"
            )
    elif looks_like_html(magic):
        raise DataError(f"{path}: is a web page (HTML), not an IDX file; remove it and fetch the file again")
    elif len(magic) < 4:
        raise DataError(f"{path}: is truncated: it ends within its header")
    else:
        raise DataError(f"{path}: is not an IDX file: it begins with bytes {magic.hex(' ')}, expected 00 00 08 0{ndim}")
    sizes = file.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{path}: is truncated: it ends within its header")
    shape = struct.unpack(f">{ndim}I", sizes)
    if 0 in shape:
        raise DataError(f"{path}: announces an empty array, {' x '.join(map(str, shape))}")
    if math.prod(shape) > MAX_BYTES or max(shape[1:], default=1) > MAX_SIDE:
        raise DataError(
            f"{path}: announces {' x '.join(map(str, shape))} bytes, more than is read "
            f"({MAX_BYTES} bytes, {MAX_SIDE} pixels a side)"
        )
    return shape


def looks_like_html(head: bytes) -> bool:
    """Whether a file that begins so is a web page (or XML, as storage services send their errors)."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def _read(path: PathLike, ndim: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes with `ndim` dimensions, gzipped or not."""
    path = Path(path)
    with open(path, "rb", opener=_open_without_waiting) as raw:
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is not a regular file")
        head = raw.read(512)
        raw.seek(0)
        packed = head.startswith(_GZIP_MAGIC)
        if not packed and looks_like_html(head):
            raise DataError(f"{path}: is a web page (HTML), not an IDX file; remove it and fetch the file again")
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") if packed else raw as file:
                shape = _header(file, path, ndim)  # type: ignore[arg-type]
                size = math.prod(shape)
                if size > status.st_size * (_GZIP_MOST if packed else 1):
                    raise DataError(f"{path}: is truncated: {size} bytes announced, the file has {status.st_size}")
                data = file.read(size)
                more = file.read(1)  # at the end of a gzip stream this also checks its length and checksum
        except EOFError:
            raise DataError(f"{path}: is truncated: the gzip stream ends before its end") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: is damaged: {error}") from None
    if len(data) < size:
        raise DataError(f"{path}: is truncated: {size} bytes of {_CONTENTS[ndim]} announced, {len(data)} found")
    if more:
        raise DataError(f"{path}: has more than the {size} bytes of {_CONTENTS[ndim]} that it announces")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe in its place does not make us wait for someone to write."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def read_images(path: PathLike) -> NDArray[np.uint8]:
    """Read the images of an IDX file, gzipped or not.

    Returns
    -------
    images : ndarray, uint8, shape (M, H, W)

    Raises
    ------
    DataError
        If the file is anything but whole and well-formed; the message names it.
    OSError
        If it cannot be opened or read.
    """
    return _read(path, 3)


def read_labels(path: PathLike, classes: int = 10) -> NDArray[np.int64]:
    """Read the labels of an IDX file, gzipped or not.

    Parameters
    ----------
    classes : int
        Labels must be 0 .. classes - 1.

    Returns
    -------
    labels : ndarray, int64, shape (M,)

    Raises
    ------
    DataError, OSError
        As for `read_images`, and for a label out of range.
    """
    labels = _read(path, 1)
    bad = np.flatnonzero(labels >= classes)
    if bad.size:
        raise DataError(f"{path}: label {labels[bad[0]]} of image {bad[0]} is out of range 0..{classes - 1}")
    return labels.astype(np.int64)
