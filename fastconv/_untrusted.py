"""Arrays from bytes that nobody vouches for: .npy, the frame of .npz, and .safetensors.

1. Nothing is evaluated: NumPy's own reader of .npy headers uses Python's parser, which can be made to exhaust its
   stack, to warn, and to raise errors of many kinds; here a header is matched with a regular expression.
2. Sizes are compared with the bytes that are there before memory is taken; memory is bounded by a small multiple of the
   file's size, and that by MOST_BYTES.
3. What a file calls itself and its arrays is shown printable and short: it may hold line feeds and terminal codes.

Sources: numpy.lib.format (.npy 1.0 and 2.0), github.com/huggingface/safetensors (Format).
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MOST_BYTES",
    "MOST_DIRECTORY",
    "Bounded",
    "npy_array",
    "open_file",
    "open_without_waiting",
    "read_safetensors",
    "shown",
    "size_of",
]

MOST_BYTES = 1 << 32  # no file larger than this is read
MOST_DIRECTORY = 1 << 22  # bytes that list what a file holds: some 40,000 arrays
MOST_EXTENT = 1 << 48
MOST_NPY_HEADER = 4096

Accept: TypeAlias = Callable[[str, np.dtype[Any]], None]  # raises ValueError for an array that is not wanted

_NPY = re.compile(
    r"""\s*\{\s*'descr'\s*:\s*'(?P<descr>[<>|=]?[a-zA-Z][0-9]{0,4})'\s*,
         \s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,
         \s*'shape'\s*:\s*\(\s*(?P<shape>(?:[0-9]{1,18}\s*,\s*)*(?:[0-9]{1,18}\s*)?)\)\s*,?\s*\}\s*""",
    re.VERBOSE,
)
_SAFETENSORS_DTYPES = {  # the others of that format are named in the error, not read
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


def shown(text: object, most: int = 200) -> str:
    """A text from a file, as it may stand in a message: one line, printable, of at most `most` characters."""
    line = " ".join(str(text)[: 10 * most].split())
    if not line.isprintable():
        line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file of bounded size for reading; a pipe in its place does not make us wait.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is no regular file, or larger than MOST_BYTES.
    """
    file = open(path, "rb", opener=open_without_waiting)  # noqa: SIM115 (it is the caller's)
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= MOST_BYTES:
        return file
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{Path(path)}: is not a regular file")
    raise ValueError(f"{Path(path)}: has {status.st_size} bytes, more than is read ({MOST_BYTES})")


def open_without_waiting(path: str, flags: int) -> int:
    """An opener for `open`: a pipe in the place of a file does not make us wait for someone to write."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def size_of(raw: IO[bytes]) -> int:
    """Bytes in a stream that can seek; its position is the beginning then."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    return size


class Bounded(io.RawIOBase):
    """A stream for `zipfile`, which reads the list of an archive at once and makes an object of each line.

    Until `most` is set to None, a read of more than `most` bytes is refused.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self._size = size_of(raw)
        self.most: int | None = MOST_DIRECTORY

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._raw.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if self.most is not None and wanted > self.most:
            raise ValueError(f"its list of contents is longer than {self.most} bytes")
        return self._raw.read(wanted)


def npy_array(data: bytes, name: str, accept: Accept) -> NDArray[Any]:
    """The array that the bytes of an .npy file hold: C-contiguous, of the machine's byte order, the caller's own.

    Raises
    ------
    ValueError
        If they are not exactly one array; or `accept` does not want it.
    """
    if data[:6] != b"\x93NUMPY":
        raise ValueError(f"{shown(name, 80)} is no .npy file")
    version = tuple(data[6:8])
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{shown(name, 80)} is of .npy version {version}")
    begin = 10 if version == (1, 0) else 12
    length = int.from_bytes(data[8:begin], "little")
    if length > MOST_NPY_HEADER or len(data) < begin + length:
        raise ValueError(f"{shown(name, 80)} is truncated, or its header is longer than {MOST_NPY_HEADER} bytes")
    header = _NPY.fullmatch(data[begin : begin + length].decode("latin-1"))
    if header is None:
        raise ValueError(f"{shown(name, 80)} has no header of an array of numbers")
    return _array(memoryview(data)[begin + length :], name, accept, *_described(name, header))


def _described(name: str, header: re.Match[str]) -> tuple[np.dtype[Any], list[int], bool]:
    descr = header["descr"]
    if descr.lstrip("<>|=")[0] not in "biufcSUVOMm":  # NumPy's aliases beside them are partly deprecated
        raise ValueError(f"{shown(name, 80)} is of unknown type {descr}")
    try:
        dtype = np.dtype(descr)
    except TypeError:
        raise ValueError(f"{shown(name, 80)} is of unknown type {descr}") from None
    return dtype, [int(extent) for extent in header["shape"].split(",") if extent.strip()], header["fortran"] == "True"


def _array(
    data: memoryview | bytearray | bytes,
    name: str,
    accept: Accept,
    dtype: np.dtype[Any],
    shape: list[int],
    fortran: bool = False,
) -> NDArray[Any]:
    accept(shown(name, 80), dtype)
    if len(shape) > 32 or prod(max(extent, 1) for extent in shape) > MOST_EXTENT:
        raise ValueError(f"{shown(name, 80)} has shape {shown(tuple(shape), 60)}, larger than is read")
    if prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{shown(name, 80)} has another length than its shape {shown(tuple(shape), 60)} says")
    flat = np.frombuffer(data, dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=not flat.flags.writeable)  # a bytearray is ours alone


def read_safetensors(
    raw: IO[bytes], deserialize: Callable[[bytes], Any], accept: Accept
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays by name and metadata from a .safetensors file, whose layout the library of that name checks.

    Parameters
    ----------
    raw : binary stream that can seek
    deserialize : callable
        ``safetensors.deserialize``.
    accept : callable
        Given name and dtype of each array; raises ValueError if it is none that is wanted.

    Raises
    ------
    ValueError
        If the file is not what it should be.
    """
    size = size_of(raw)
    if size > MOST_BYTES:
        raise ValueError(f"it has {size} bytes, more than is read ({MOST_BYTES})")
    start = raw.read(8)
    if len(start) < 8:
        raise ValueError("it ends within its header")
    (length,) = struct.unpack("<Q", start)
    if length > min(MOST_DIRECTORY, size - 8):
        raise ValueError(f"it announces a header of {length} bytes; it has {size} bytes, {MOST_DIRECTORY} are allowed")
    text = raw.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no dict of str to str")
    for name, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(dtype, str) or dtype not in _SAFETENSORS_DTYPES:
            raise ValueError(f"{shown(name, 80)} is {shown(dtype, 40)}, expected float32, float64 or int64")
        accept(shown(name, 80), np.dtype(_SAFETENSORS_DTYPES[dtype]))
    arrays = {}
    raw.seek(0)
    for name, entry in deserialize(raw.read()):
        if name not in header or entry["dtype"] != header[name]["dtype"]:
            raise ValueError(f"{shown(name, 80)} is read in two ways")
        arrays[name] = _array(
            entry["data"], name, accept, np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]]), list(entry["shape"])
        )
    if len(arrays) != len(header):
        raise ValueError("its arrays are not those that it lists")
    return {name: arrays[name] for name in header}, metadata  # the library's order changes from run to run


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name, 80)} is there twice")
        found[name] = value
    return found
