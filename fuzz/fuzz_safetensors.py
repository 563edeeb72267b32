"""Fuzz the reader of .safetensors files (fastconv/_untrusted.py), and with it that format's own library.

The first byte of an input says what the others are: 1 the file; 0 the file, whose first eight bytes are replaced by the
true length of the JSON that follows, up to the first NUL byte; 2 and more well-formed JSON of arrays, six bytes each.

    python fuzz/fuzz_safetensors.py -runs=10000000
"""

import io
import json
import struct
import sys
from collections.abc import Callable, Iterator

import numpy as np

INSTRUMENT = ["fastconv._untrusted", "json.decoder"]
WORDS = [
    b'{"',
    b'":',
    b'","',
    b"[]",
    b"1e999",
    b"NaN",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"\\u0000",
    b'"__metadata__"',
    b'"data_offsets"',
    b'"shape"',
    b'"dtype"',
    b"F32",
    b"F64",
    b"BF16",
]


def file(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def seeds() -> Iterator[bytes]:
    data = np.arange(6, dtype=np.float32).tobytes()
    for header in (
        {"__metadata__": {"a": "b"}, "w": entry("F32", [2, 3], 0, 24)},
        {"a": entry("F64", [2], 0, 16), "b": entry("F32", [2], 16, 24)},
        {"a": entry("F64", [2], 0, 16), "b": entry("F32", [2], 8, 16)},
        {"a": entry("F32", [2**40, 2**40], 0, 24)},
        {"a": entry("I8", [24], 0, 24)},
        {"a": entry("F32", [0, 2**63], 0, 0)},
        {"__metadata__": {"a": float("nan")}},
        {},
    ):
        yield b"\1" + file(header, data)
        yield b"\0" + file(header, b"\0" + data)
    yield b"\1" + file([[[[]]]], b"")
    yield b"\2" + bytes([6, 2, 3, 0, 24, 128])
    yield b"\2" + bytes([1, 2, 0, 0, 16, 0, 0, 2, 0, 16, 24, 0])


def described(six: bytes) -> dict[str, object]:
    """An array's entry in the header: small numbers, or, by the last byte's bits, very large ones."""
    dtype, *numbers, large = six
    first, second, begin, end = ((n << 56) if large >> i & 1 else n for i, n in enumerate(numbers))
    return entry(
        ("F32", "F64", "F16", "BF16", "F8_E4M3", "Q")[dtype % 6], [first, second][: 1 + (large >> 7)], begin, end
    )


def target() -> Callable[[bytes], None]:
    import safetensors

    from fastconv._untrusted import read_safetensors
    from fastconv.serialization import _check_dtype

    def one_input(data: bytes) -> None:
        if data[:1] >= b"\2":
            data = file({chr(97 + i % 26): described(data[i : i + 6]) for i in range(1, len(data) - 5, 6)}, bytes(24))
        elif data[:1] == b"\0":
            text, _, rest = data[9:].partition(b"\0")
            data = struct.pack("<Q", len(text)) + text + rest
        else:
            data = data[1:]
        try:
            arrays, metadata = read_safetensors(io.BytesIO(data), safetensors.deserialize, _check_dtype)
        except safetensors.SafetensorError:
            pass
        except ValueError as error:
            text = str(error)
            assert 0 < len(text) < 600, repr(text)
        else:
            assert sum(array.nbytes for array in arrays.values()) <= len(data)
            assert all(array.dtype in (np.float32, np.float64, np.int64) for array in arrays.values())
            assert all(isinstance(value, str) for value in metadata.values())

    return one_input


if __name__ == "__main__":
    from _run import run

    run(sys.modules[__name__])
