"""Fuzz what lies behind the checksum of a checkpoint (fastconv/checkpoint.py): the archive and the tree in its JSON.

The first byte of an input says what the others are: 0 the archive; 1 the JSON alone, beside three small arrays.  The
checksums of the file and of its members are not compared here: an attacker would write the right ones.

    python fuzz/fuzz_checkpoint.py -runs=10000000
"""

import io
import json
import sys
from collections.abc import Callable, Iterator

import numpy as np

INSTRUMENT = ["zipfile", "json.decoder", "fastconv._untrusted", "fastconv.serialization", "fastconv.checkpoint"]
WORDS = [b'{"', b'":', b'","', b"[]", b"{}", b'"$array"', b'"$tuple"', b'"$items"', b'"a/0"', b"[[[[", b"1e999"]
TREES = (
    {"a": [{"$array": "a/0"}, 1.5, None], "b": {"$tuple": [{"$array": "b"}, "x"]}, "c": {"$array": "c"}},
    {"a": {"$items": [[1, {"$array": "a/0"}], [{"$tuple": [1, 2]}, {"$array": "b"}]]}, "c": {"$array": "c"}},
    {"$items": [[[], 1]]},
    {"$array": ["a/0"]},
)
ARRAYS = {"a/0": np.arange(3.0), "b": np.zeros((2, 0), np.int8), "c": np.array(True)}


def archive(text: bytes) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, __metadata__=np.frombuffer(text, np.uint8), **ARRAYS)
    return stream.getvalue()


def seeds() -> Iterator[bytes]:
    for tree in TREES:
        text = json.dumps(tree).encode()
        yield b"\0" + archive(text)
        yield b"\1" + text
    yield b"\1" + b"[" * 1500


def target() -> Callable[[bytes], None]:
    sys.modules.pop("zipfile", None)  # so that it is imported once more, instrumented
    import zipfile

    from fastconv import checkpoint

    zipfile.ZipExtFile._update_crc = lambda self, data: None
    read_npz = checkpoint.read_npz

    def one_input(data: bytes) -> None:
        kind, data = data[:1], data[1:]
        checkpoint.read_npz = (lambda *_: (dict(ARRAYS), data)) if kind == b"\1" else read_npz
        try:
            state = checkpoint._state(io.BytesIO(data))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            pass  # each becomes one ValueError that names the file, in load_checkpoint
        else:
            assert isinstance(state, dict)

    return one_input


if __name__ == "__main__":
    from _run import run

    run(sys.modules[__name__])
