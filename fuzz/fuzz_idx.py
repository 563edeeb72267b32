"""Fuzz the reader of IDX files, plain and gzipped (fastconv/data/idx.py).

The first byte of an input says how the others become a file: bit 0 labels or images, bit 1 gzipped here (so that its
checksum is right), bit 2 in two members.  A raw gzip file is an input too, where bit 1 is not set.

    python fuzz/fuzz_idx.py -runs=10000000
"""

import gzip
import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterator

INSTRUMENT = ["fastconv.data.idx"]
WORDS = [b"\0\0\x08\x03", b"\0\0\x08\x01", b"\x1f\x8b\x08", b"\xff\xff\xff\xff", b"<html>"]


def seeds() -> Iterator[bytes]:
    images = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))
    labels = struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(range(5))
    for kind in range(8):
        yield bytes([kind]) + (labels if kind & 1 else images)
    yield b"\0" + gzip.compress(images, mtime=0)
    yield b"\1" + gzip.compress(labels, mtime=0) + bytes(9) + gzip.compress(b"", mtime=0)
    yield b"\0" + struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    yield b"\0<html>"


def target() -> Callable[[bytes], None]:
    from _run import refused

    from fastconv.data.errors import DataError
    from fastconv.data.idx import parse

    def gzipped(data: bytes) -> bytes:
        packer = zlib.compressobj(1, wbits=31, memLevel=1)
        return packer.compress(data) + packer.flush()

    def one_input(data: bytes) -> None:
        kind = data[0] if data else 0
        data = data[1:]
        if kind & 2:
            half = len(data) // 2 if kind & 4 else len(data)
            data = gzipped(data[:half]) + (gzipped(data[half:]) if kind & 4 else b"")
        try:
            array = parse(io.BytesIO(data), "file", 1 if kind & 1 else 3)
        except DataError as error:
            refused(error)
        else:
            assert 0 < array.size <= 1032 * len(data)
            assert array.ndim == (1 if kind & 1 else 3)

    return one_input


if __name__ == "__main__":
    from _run import run

    run(sys.modules[__name__])
