"""Fuzz the reader of .npz files of weights (fastconv/serialization.py, fastconv/_untrusted.py).

The first byte of an input says what the others are: 0 an .npz file, 1 the .npy file of one array, 2 the JSON of the
metadata.  Checksums of members are not compared here: a fuzzer would hardly get past them, an attacker would.

    python fuzz/fuzz_npz.py -runs=10000000
"""

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

INSTRUMENT = ["zipfile", "fastconv._untrusted", "fastconv.serialization"]
WORDS = [
    b"PK\1\2",
    b"PK\3\4",
    b"PK\5\6",
    b"PK\6\6",
    b"PK\6\7",
    b"\x93NUMPY\1\0",
    b"'descr': '<f4'",
    b"'shape': (",
    b"True",
    b".npy",
]


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def npz(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED, zip64: bool = False) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in entries.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=zip64) as member:
                member.write(data)
    return stream.getvalue()


def seeds() -> Iterator[bytes]:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    text = json.dumps({"a": "b"}).encode()
    entries = {
        "__metadata__.npy": npy(np.frombuffer(text, np.uint8)),
        "0.weight.npy": npy(weight),
        "0.bias.npy": npy(np.asfortranarray(weight.astype(">f8"))),
    }
    yield b"\0" + npz(entries)
    yield b"\0" + npz(entries, zip64=True)
    yield b"\0" + npz(dict(list(entries.items())[1:2]), zipfile.ZIP_DEFLATED)
    yield b"\0" + npz({})
    for array in (weight, np.asfortranarray(weight), np.zeros((0, 3)), np.array(1.5), np.zeros(2, "f4,f8")):
        yield b"\1" + npy(array)
    yield b"\1" + npy(weight, (2, 0))
    yield b"\1" + b"\x93NUMPY\1\0" + (200).to_bytes(2, "little") + b"{'descr': '<f4', 'shape': " + b"(" * 174
    yield b"\2" + text


def target() -> Callable[[bytes], None]:
    sys.modules.pop("zipfile", None)  # so that it is imported once more, instrumented
    import zipfile

    from fastconv._untrusted import npy_array
    from fastconv.serialization import _check_dtype, _metadata, read_npz

    zipfile.ZipExtFile._update_crc = lambda self, data: None

    def one_input(data: bytes) -> None:
        kind, data = data[:1], data[1:]
        try:
            if kind == b"\1":
                arrays = {"a": npy_array(data, "a", _check_dtype)}
            elif kind == b"\2":
                _metadata(data)
                return
            else:
                arrays, _ = read_npz(io.BytesIO(data), _check_dtype)
        except ValueError as error:
            text = str(error)
            assert 0 < len(text) < 600, repr(text)
            assert text.isprintable(), repr(text)
        else:
            assert sum(array.nbytes for array in arrays.values()) <= len(data)
            assert all(array.dtype in (np.float32, np.float64, np.int64) for array in arrays.values())

    return one_input


if __name__ == "__main__":
    from _run import run

    run(sys.modules[__name__])
