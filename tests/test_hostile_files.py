"""Files that were made to harm: each is refused with one error that names it, soon, and within a little memory.

The readers run in child processes whose address space is limited, so that memory which is only asked for is seen too.
Mutated files are those of the harnesses in fuzz/, from a seeded generator instead of a fuzzer.
"""

import gzip
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
MARGIN = 256 << 20  # bytes of address space beside what the imports take
SECONDS = 10.0  # for one file; all are done within a fraction of that
INPUTS = 4000  # mutated inputs for each reader

LIMITED = f"""
import json, os, resource, sys, time
import numpy, fastconv, fastconv.serialization, fastconv.data.idx, fastconv.data.cifar, fastconv.data.images, zipfile
try:
    import safetensors.numpy
    import PIL.Image
except ImportError:
    pass
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * os.sysconf("SC_PAGE_SIZE") + {MARGIN}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""

READ = (
    LIMITED
    + """
for name in sorted(os.listdir(".")):
    begun = time.monotonic()
    try:
        if name.endswith(".gz"):
            fastconv.data.idx.read_images(name)
        elif name.endswith(".bin"):
            fastconv.data.cifar.read_records(name)
        elif name.endswith(".png"):
            fastconv.data.images.read_image(name)
        else:
            fastconv.serialization.load_model(name)
        outcome = "read"
    except (ValueError, OSError) as error:
        outcome = str(error)
    except BaseException as error:
        outcome = repr(error)
    print(json.dumps([name, outcome, time.monotonic() - begun]), flush=True)
"""
)

MUTATE = (
    LIMITED
    + """
import importlib, random
sys.path.insert(0, sys.argv[1])
harness, inputs = importlib.import_module(sys.argv[2]), int(sys.argv[3])
one_input, seeds, rng = harness.target(), list(harness.seeds()), random.Random(20240229)
for seed in seeds:
    one_input(seed)
for i in range(inputs):
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        place, kind = rng.randrange(len(data) + 1), rng.randrange(6)
        if kind == 0:
            data[place:place] = rng.randbytes(rng.randint(1, 9))
        elif kind == 1:
            del data[place : place + rng.randint(1, 40)]
        elif kind == 2:
            data[place : place + 4] = rng.choice([b"\\0" * 4, b"\\xff" * 4, b"\\x7f\\xff\\xff\\xff", b"\\0\\0\\0\\x80"])
        elif kind == 3:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other))
            data[place:place] = other[begin : begin + rng.randint(1, 60)]
        elif kind == 4:
            data[place:place] = rng.choice(harness.WORDS)
        elif place < len(data):
            data[place] ^= 1 << rng.randrange(8)
    try:
        one_input(bytes(data))
    except BaseException:
        print(bytes(data)[:3000], file=sys.stderr)
        raise
print(inputs)
"""
)


def child(code: str, *arguments: object, folder: Path) -> str:
    """What a child process with little memory prints."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


@pytest.mark.parametrize("reader", ["idx", "npz", "safetensors", "model", "checkpoint", "images"])
def test_mutated_files_are_read_or_refused(tmp_path: Path, reader: str) -> None:
    if reader == "safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    if reader == "images":
        pytest.importorskip("PIL", reason="pillow is not installed")
    assert child(MUTATE, FUZZ, f"fuzz_{reader}", INPUTS, folder=tmp_path) == f"{INPUTS}\n"


# -- files made by hand ------------------------------------------------------------------------------------------------

Make = Callable[[Path], object]


def idx(*shape: int, data: bytes = b"") -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *shape) + data


def write(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def header(shape: str, descr: str = "'<f4'", most: int = 0) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(most).encode()
    if len(text) < 65536:
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
    return b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text


def npz(*entries: tuple[str, bytes], change: Callable[[bytes], bytes] = bytes) -> Make:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data)
    return write(change(stream.getvalue()))


def one_array() -> bytes:
    return header("(4,)") + bytes(16)


def sparse(size: int, begin: bytes = b"") -> Make:
    """A file that says it has `size` bytes, and takes none of the disk."""

    def make(path: Path) -> None:
        path.write_bytes(begin)
        os.truncate(path, size)

    return make


def many_members(path: Path) -> None:
    """A .zip of 200,000 empty files: its list is what is long."""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    line = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 200_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, count * len(line), len(local), 0)
    path.write_bytes(local + line * count + end)


def overlapping(path: Path) -> None:
    """One megabyte that a thousand entries share."""
    data = header("(250000,)") + bytes(1_000_000)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, len(data), len(data), 4, 0) + b"0000"
    lines = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, len(data), len(data), 4, 0, 0, 0, 0, 0, 0)
        + f"{i:04}".encode()
        for i in range(1000)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(lines), len(local) + len(data), 0)
    path.write_bytes(local + data + lines + end)


def tensors(header: object, data: bytes = b"", length: int | None = None) -> Make:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return write(struct.pack("<Q", len(text) if length is None else length) + text + data)


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros_for_ever(path: Path) -> None:
    path.symlink_to("/dev/zero")


def described(**changes: object) -> Make:
    """A model file without arrays."""
    good = {
        "net": "scratch",
        "dataset": "x",
        "scale": 1,
        "offset": 0,
        "input_shape": [1, 28, 28],
        "classes": ["0"] * 10,
    }
    text = json.dumps({"fastconv": json.dumps(good | changes)}).encode()
    return npz(("__metadata__.npy", header(f"({len(text)},)", "'|u1'") + text))


def png(width: int, height: int, kind: bytes = b"tEXt", more: bytes = b"a\0b") -> Make:
    """A grey image with a chunk of another kind before its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0))
    return write(begin + chunk(kind, more) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b""))


RUBBISH = np.random.default_rng(0).bytes(1_200_000)  # deflate does not shrink it
A_GIGABYTE = idx(1_369_000, 28, 28)  # announced

CASES: dict[str, tuple[Make, str]] = {
    # IDX
    "announces-a-gigabyte.gz": (write(gzip.compress(A_GIGABYTE + RUBBISH)), "truncated: 1073296000 .* 1200000 found"),
    "announces-2-to-96.gz": (write(idx(2**32 - 1, 2**32 - 1, 2**32 - 1)), "more than is read"),
    "wraps-to-zero-in-64-bits.gz": (write(idx(2**31, 2**31, 4)), "more than is read"),
    "bomb.gz": (write(gzip.compress(idx(1, 1, 1) + bytes(500_000_000), 1)), "more than the 1 bytes"),
    "bomb-in-the-second-member.gz": (
        write(gzip.compress(idx(1, 1, 1, data=b"x")) + gzip.compress(bytes(100_000_000), 1)),
        "more than the 1 bytes",
    ),
    "a-million-members.gz": (
        write(gzip.compress(idx(1, 1, 1, data=b"x"), mtime=0) + gzip.compress(b"", mtime=0) * 1_000_000),
        "more than 65536 gzip members",
    ),
    "name-without-end.gz": (sparse(1 << 40, b"\x1f\x8b\x08\x08\0\0\0\0\0\3" + b"a" * 1000), "more than is read"),
    "zeros-after-the-end.gz": (
        sparse(1 << 26, gzip.compress(idx(1, 1, 1, data=b"x"))),
        "read",  # padding is allowed, and skipped quickly
    ),
    "terabyte.gz": (sparse(1 << 40, idx(1, 1, 1)), "more than is read"),
    "pipe.gz": (pipe, "not a regular file"),
    "device.gz": (zeros_for_ever, "not a regular file"),
    # CIFAR-10
    "terabyte.bin": (sparse(3073 << 28), "expected a multiple"),
    "pipe.bin": (pipe, "not a regular file"),
    "device.bin": (zeros_for_ever, "not a regular file"),
    # images
    "terabyte.png": (sparse(1 << 40, b"\x89PNG\r\n\x1a\n"), "more than the 100,000,000"),
    "pipe.png": (pipe, "not a regular file"),
    "device.png": (zeros_for_ever, "not a regular file"),
    "many-pixels.png": (png(65_535, 65_535), "more than the 50,000,000 pixels"),
    "text-bomb.png": (png(1, 1, b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 1)), "damaged"),
    "profile-bomb.png": (png(1, 1, b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 1)), "damaged"),
    # .npz
    "terabyte.npz": (sparse(1 << 40), "more than is read"),
    "pipe.npz": (pipe, "not a regular file"),
    "device.npz": (zeros_for_ever, "not a regular file"),
    "many-members.npz": (many_members, "list of contents is longer"),
    "overlapping.npz": (overlapping, "longer than the file"),
    "twice.npz": (npz(("a.npy", one_array()), ("a", one_array())), "a is there twice"),
    "metadata-twice.npz": (
        npz(*[(name, header("(2,)", "'|u1'") + b"{}") for name in ("__metadata__.npy", "__metadata__")]),
        "__metadata__ is there twice",
    ),
    "size-lies.npz": (
        npz(("a.npy", one_array()), change=lambda data: data.replace(struct.pack("<L", len(one_array())), b"\xf0" * 4)),
        "longer than the file",
    ),
    "directory-outside.npz": (
        npz(("a.npy", one_array()), change=lambda data: data[:-6] + struct.pack("<LH", 2**31, 0)),
        "damaged",
    ),
    "header-of-minus-signs.npz": (npz(("a.npy", header("-" * 60_000 + "1"))), "header is longer"),
    "header-of-brackets.npz": (npz(("a.npy", header("(" * 3000))), "no header of an array"),
    "header-of-minus-signs-short.npz": (npz(("a.npy", header("-" * 4000 + "1"))), "no header of an array"),
    "header-of-4-gigabytes.npz": (npz(("a.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff{")), "header is longer"),
    "header-that-warns.npz": (npz(("a.npy", header("(1if 1else 2L,)", r"'\d'"))), "no header of an array"),
    "header-with-a-call.npz": (npz(("a.npy", header("(__import__('os').getpid(),)"))), "no header of an array"),
    "structured.npz": (npz(("a.npy", header("(1,)", "[('a', '<f4')]") + bytes(4))), "no header of an array"),
    "objects.npz": (npz(("a.npy", header("(1,)", "'|O'") + b"\x80\4N.")), "a is object, expected float32"),
    "empty-and-huge.npz": (npz(("a.npy", header(f"(0, {10**17}, {10**17})"))), "larger than is read"),
    "shape-of-2-to-64.npz": (npz(("a.npy", header(f"({2**32}, {2**32})"))), "larger than is read"),
    "shape-of-1000-dimensions.npz": (
        npz(("a.npy", header("(" + "1, " * 1000 + ")") + bytes(4))),
        "larger than is read",
    ),
    "shape-lies.npz": (npz(("a.npy", header("(5,)") + bytes(16))), r"a has another length than its shape \(5,\) says"),
    "negative.npz": (npz(("a.npy", header("(-4,)") + bytes(16))), "no header of an array"),
    "terminal-codes.npz": (npz(("\x1b[2J\na.npy", b"hello")), r"\?\[2J a is no \.npy file"),
    "long-name.npz": (npz(("a" * 60_000, b"hello")), r"aaa\.\.\. is no \.npy file"),
    "nested-archive.npz": (npz(("a.npz", b"PK\5\6" + bytes(18))), r"is no \.npy file"),
    "metadata-too-deep.npz": (npz(("__metadata__.npy", header("(100000,)", "'|u1'") + b"[" * 100_000)), "damaged"),
    # .safetensors
    "terabyte.safetensors": (sparse(1 << 40), "more than is read"),
    "pipe.safetensors": (pipe, "not a regular file"),
    "device.safetensors": (zeros_for_ever, "not a regular file"),
    "header-of-2-to-63.safetensors": (tensors({}, length=2**63), "announces a header of 9223372036854775808 bytes"),
    "header-longer-than-the-file.safetensors": (tensors({}, length=3), "announces a header of 3 bytes"),
    "header-of-50-megabytes.safetensors": (tensors(b" " * 50_000_000), "announces a header of 50000000 bytes"),
    "too-deep.safetensors": (tensors(b"[" * 1_000_000), "nested too deeply"),
    "no-object.safetensors": (tensors([]), "no JSON object"),
    "no-text.safetensors": (tensors(b"\xff\xfe"), "damaged"),
    "digits.safetensors": (tensors(b'{"a": ' + b"9" * 1_000_000 + b"}"), "damaged"),
    "outside.safetensors": (tensors({"a": tensor("F32", [4], 1000, 1016)}, bytes(16)), "damaged"),
    "negative.safetensors": (tensors({"a": tensor("F32", [-4], 0, -16)}, bytes(16)), "damaged"),
    "shape-of-2-to-64.safetensors": (tensors({"a": tensor("F32", [2**32, 2**32], 0, 16)}, bytes(16)), "damaged"),
    "empty-and-huge.safetensors": (tensors({"a": tensor("F32", [0, 2**60], 0, 0)}), "larger than is read"),
    "overlapping.safetensors": (
        tensors({"a": tensor("F32", [4], 0, 16), "b": tensor("F32", [4], 0, 16)}, bytes(16)),
        "damaged",
    ),
    "hole.safetensors": (tensors({"a": tensor("F32", [1], 4, 8)}, bytes(8)), "damaged"),
    "more-behind.safetensors": (tensors({"a": tensor("F32", [1], 0, 4)}, bytes(8)), "damaged"),
    "twice.safetensors": (
        tensors(b'{"a": %s, "a": %s}' % ((json.dumps(tensor("F32", [1], 0, 4)).encode(),) * 2), bytes(4)),
        "a is there twice",
    ),
    "dtype-lies.safetensors": (tensors({"a": tensor("F64", [4], 0, 16)}, bytes(16)), "damaged"),
    "half.safetensors": (tensors({"a": tensor("F16", [2], 0, 4)}, bytes(4)), "a is float16, expected"),
    "unknown-dtype.safetensors": (tensors({"a": tensor("F8_E4M3", [4], 0, 4)}, bytes(4)), "a is F8_E4M3, expected"),
    "metadata-nan.safetensors": (tensors({"__metadata__": {"a": float("nan")}}), "no dict of str to str"),
    "metadata-list.safetensors": (tensors({"__metadata__": [["fastconv", "{}"]]}), "no dict of str to str"),
    # what a model file says of itself
    "net-with-terminal-codes.npz": (described(net="\x1b]0;x\x07\n"), "there is no network '"),
    "long-net.npz": (described(net="a" * 500_000), r"there is no network 'aaa.*\.\.\.'"),
    "net-is-a-list.npz": (described(net=[]), "there is no network"),
    "classes-3.npz": (described(classes=["0", "1", "2"]), "does not fit"),
    "shape-of-terabytes.npz": (described(input_shape=[1, 28, 10**12]), "it holds 0 weights, expected"),
    "shape-of-2-to-200.npz": (
        described(input_shape=[2**100, 2**100, 28]),
        "28 pixels are too small|expected|too large",
    ),
    "shape-negative.npz": (described(input_shape=[1, -28, 28]), "must not have negative sizes"),
    "classes-100000.npz": (described(classes=["0"] * 100_000), "it holds 0 weights, expected"),
    "shape-1e400.npz": (described(input_shape=[1e400]), "damaged"),
    "scale-nan.npz": (described(scale=float("nan")), "damaged"),
    "scale-of-many-digits.npz": (described(scale="9" * 100_000), "damaged"),
    "names-40000.safetensors": (tensors({f"{i}": 0 for i in range(40_000)}), "expected float32, float64 or int64"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float]]:
    """What the readers said of each file, and after how many seconds; one child process reads them all."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in CASES.items():
        make(folder / name)
    lines = [json.loads(line) for line in child(READ, folder=folder).splitlines()]
    return {name: (outcome, seconds) for name, outcome, seconds in lines}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_error_soon_and_within_little_memory(outcomes: dict[str, tuple[str, float]], name: str) -> None:
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    if name.endswith(".png"):
        pytest.importorskip("PIL", reason="pillow is not installed")
    outcome, seconds = outcomes[name]
    expected = CASES[name][1]
    assert seconds < SECONDS
    if expected == "read":
        assert outcome == "read"
        return
    assert outcome.startswith(f"{name}: "), outcome
    assert re.search(expected, outcome), outcome
    assert outcome.isprintable(), outcome
    assert len(outcome) < 2100


def test_the_limit_would_be_seen(tmp_path: Path) -> None:
    """A reader that asks for the announced size before the data are there fails in the child."""
    done = child(LIMITED + "try:\n    bytearray(2 << 28)\nexcept MemoryError:\n    print('seen')", folder=tmp_path)
    assert done == "seen\n"
