"""IDX, the file format of MNIST: a reader that trusts nothing.

An IDX file is two zero bytes, one byte for the type of its elements, one for the number of dimensions, the dimensions
as big-endian 32-bit integers, then the elements in C order; MNIST's files hold unsigned bytes (type 0x08).  The files
are usually gzipped; which it is, is read from the first bytes and not from the name.

A file is hostile until it has been checked.  The announced size is bounded first; memory then grows with the bytes that
are there, and at most the announced bytes and one more are inflated, so that a small file cannot fill the memory.
Source: http://yann.lecun.com/exdb/mnist ("the IDX file format").
"""

import math
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from fastconv._untrusted import open_without_waiting
from fastconv.data.errors import DataError

__all__ = ["MAX_BYTES", "read_images", "read_labels"]

MAX_BYTES = 1 << 30  # no array larger than this is read; labels become eight bytes each
MAX_SIDE = 4096  # pixels
MAX_FILE = MAX_BYTES + (MAX_BYTES >> 8)  # bytes; deflate lengthens what it cannot shrink by less than that
MAX_MEMBERS = 1 << 16  # of a gzip file; tools that write many give each some 64 kB

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MOST = 1032  # deflate cannot shrink data more than this
_GZIP_FORMAT = 16 + zlib.MAX_WBITS  # for zlib: with gzip's header and checksum
_PACKED_BLOCK = 1 << 16
_BLOCK = 1 << 20
_TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_CONTENTS = {1: "labels", 3: "images"}

PathLike = str | os.PathLike[str]


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Inflated:
    """What a gzip file holds, inflated no further than is asked for; one member may follow another."""

    def __init__(self, raw: _Readable) -> None:
        self._raw = raw
        self._packed = b""
        self._members = 0
        self._member: Any = None  # zlib's decompressor, while it is within a member

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, fewer only at the end of the file; its checksums have been compared then."""
        found = bytearray()
        while len(found) < count and self._within_a_member():
            self._packed = self._packed or self._raw.read(_PACKED_BLOCK)
            before = len(found)
            found += self._member.decompress(self._packed, count - before)
            if not self._packed and len(found) == before:
                raise EOFError
            self._packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return bytes(found)

    def _within_a_member(self) -> bool:
        """Go on to the next member where one has ended; False at the end of the file."""
        if self._member is not None and not self._member.eof:
            return True
        if self._members:
            self._packed = self._packed.lstrip(b"\0")  # members may be padded with zeros
        while not self._packed:
            block = self._raw.read(_PACKED_BLOCK)
            if not block:
                return False
            self._packed = block.lstrip(b"\0") if self._members else block
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise zlib.error(f"more than {MAX_MEMBERS} gzip members")
        self._member = zlib.decompressobj(_GZIP_FORMAT)
        return True


def _header(file: _Readable, name: str, ndim: int) -> tuple[int, ...]:
    """Read and check magic and dimensions; what follows them is not touched."""
    magic = file.read(4)
    if len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES:
        if magic[2] != 0x08:
            raise DataError(f"{name}: holds {_TYPES[magic[2]]} (type 0x{magic[2]:02x}), expected unsigned bytes (0x08)")
        if magic[3] != ndim:
            found = _CONTENTS.get(magic[3], "something else")
            raise DataError(
                f"{name}: holds {found} ({magic[3]} dimensions), expected {_CONTENTS[ndim]} ({ndim} dimensions)"
            )
    elif looks_like_html(magic):
        raise DataError(f"{name}: is a web page (HTML), not an IDX file; remove it and fetch the file again")
    elif len(magic) < 4:
        raise DataError(f"{name}: is truncated: it ends within its header")
    else:
        raise DataError(f"{name}: is not an IDX file: it begins with bytes {magic.hex(' ')}, expected 00 00 08 0{ndim}")
    sizes = file.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{name}: is truncated: it ends within its header")
    shape = struct.unpack(f">{ndim}I", sizes)
    if 0 in shape:
        raise DataError(f"{name}: announces an empty array, {' x '.join(map(str, shape))}")
    most = MAX_BYTES if ndim > 1 else MAX_BYTES // 8
    if math.prod(shape) > most or max(shape[1:], default=1) > MAX_SIDE:
        raise DataError(
            f"{name}: announces {' x '.join(map(str, shape))} bytes, more than is read "
            f"({most} bytes, {MAX_SIDE} pixels a side)"
        )
    return shape


def looks_like_html(head: bytes) -> bool:
    """Whether a file that begins so is a web page (or XML, as storage services send their errors)."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def parse(raw: BinaryIO, name: str, ndim: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes with `ndim` dimensions, gzipped or not.

    Parameters
    ----------
    raw : binary stream that can seek
    name : str
        Stands at the beginning of every message.
    ndim : 1 (labels) or 3 (images)

    Returns
    -------
    array : ndarray, uint8, read-only

    Raises
    ------
    DataError
        If the file is anything but whole and well-formed.
    """
    there = raw.seek(0, os.SEEK_END)
    if there > MAX_FILE:
        raise DataError(f"{name}: has {there} bytes, more than is read ({MAX_FILE})")
    raw.seek(0)
    head = raw.read(512)
    raw.seek(0)
    packed = head.startswith(_GZIP_MAGIC)
    if not packed and looks_like_html(head):
        raise DataError(f"{name}: is a web page (HTML), not an IDX file; remove it and fetch the file again")
    file: _Readable = _Inflated(raw) if packed else raw
    data = bytearray()
    try:
        shape = _header(file, name, ndim)
        size = math.prod(shape)
        if size > there * (_GZIP_MOST if packed else 1):
            raise DataError(f"{name}: is truncated: {size} bytes announced, the file has {there}")
        while block := file.read(min(_BLOCK, size - len(data))):
            data += block
        more = file.read(1)  # at the end of a gzip stream this also checks its length and checksum
    except EOFError:
        raise DataError(f"{name}: is truncated: the gzip stream ends before its end") from None
    except zlib.error as error:
        raise DataError(f"{name}: is damaged: {error}") from None
    if len(data) < size:
        raise DataError(f"{name}: is truncated: {size} bytes of {_CONTENTS[ndim]} announced, {len(data)} found")
    if more:
        raise DataError(f"{name}: has more than the {size} bytes of {_CONTENTS[ndim]} that it announces")
    return np.frombuffer(memoryview(data).toreadonly(), np.uint8).reshape(shape)


def _read(path: PathLike, ndim: int) -> NDArray[np.uint8]:
    with open(path, "rb", opener=open_without_waiting) as raw:
        if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            raise DataError(f"{Path(path)}: is not a regular file")
        return parse(raw, str(Path(path)), ndim)


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
    if labels.max() >= classes:
        bad = int(np.argmax(labels >= classes))
        raise DataError(f"{path}: label {labels[bad]} of image {bad} is out of range 0..{classes - 1}")
    return labels.astype(np.int64)
