"""Fuzz what a model file says of itself and how its arrays are put into a network (fastconv/serialization.py).

An input is the JSON of the description, then, after a NUL byte, for each further byte one array: its shape is one that
the network has, or is not.  The last networks that were built are kept, as building takes long.

    python fuzz/fuzz_model.py -runs=10000000
"""

import functools
import json
import sys
from collections.abc import Callable, Iterator

import numpy as np

INSTRUMENT = ["fastconv.serialization", "json.decoder"]
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
    b'"net"',
    b'"scale"',
    b'"offset"',
    b'"input_shape"',
    b'"classes"',
    b'"dataset"',
]
GOOD = {"net": "scratch", "dataset": "mnist", "scale": 1.0, "offset": 0, "input_shape": [1, 28, 28], "classes": [*"ab"]}


def seeds() -> Iterator[bytes]:
    for change in ({}, {"net": "ann"}, {"classes": [*"0123456789"]}, {"scale": float("nan")}, {"input_shape": [1e400]}):
        yield json.dumps(GOOD | change).encode() + b"\0\0\1\2\3\4"
    yield b"[" * 1500


def target() -> Callable[[bytes], None]:
    from _run import refused

    from fastconv import models, serialization

    models.build = functools.lru_cache(16)(models.build)
    serialization.SMALL = 50_000  # larger networks are made for files that hold as many weights: there are none here
    scratch = list(models.build("scratch", rng=0).state_dict().items())

    def one_input(data: bytes) -> None:
        text, _, rest = data.partition(b"\0")
        state = {}
        for byte in rest[:8]:
            name, array = scratch[byte % len(scratch)]
            if byte & 64:
                name += chr(byte)
            state[name] = array[:1] if byte & 128 else array
        try:
            model, info = serialization.model_of("file", state, {"fastconv": text.decode("utf-8", "replace")})
        except ValueError as error:
            refused(error)
        else:
            assert np.isfinite([info.scale, info.offset]).all()
            assert all(name.isprintable() for name in info.classes)
            assert not model.training

    return one_input


if __name__ == "__main__":
    from _run import run

    run(sys.modules[__name__])
