"""Weights in files: `.npz`, and `.safetensors` where that package is installed.

1. A file holds arrays by the names of `state_dict`, and a dict of str to str that says what they are.
2. No pickle anywhere: reading a file runs no code from it.  Sizes are checked before memory is taken, so that a file
   cannot make the reader take more than about the file's own size.
3. Writing is atomic: a temporary file in the same folder, fsync, rename.  Whatever happens, the old file or the new one
   is there, whole.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from fastconv import models, nn
from fastconv._untrusted import (
    MOST_BYTES,
    MOST_DIRECTORY,
    Bounded,
    npy_array,
    open_file,
    read_safetensors,
    shown,
    size_of,
)
from fastconv.nn.module import Array

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "ModelInfo",
    "atomic_write",
    "load_model",
    "load_weights",
    "save_model",
    "save_weights",
    "weights_suffix",
]

PathLike: TypeAlias = str | os.PathLike[str]

METADATA = "__metadata__"  # the entry of an .npz file that holds the dict, as JSON in bytes
MOST_METADATA = 1_000_000  # bytes
SMALL = 1_000_000  # a network of so many weights is made before it is known whether those of a file fit it


# -- atomic writing ----------------------------------------------------------------------------------------------------


def atomic_write(path: PathLike, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a reader sees the old one or the new one, and never half of it.

    Parameters
    ----------
    path : path
        Its folder must exist.
    write : callable
        Given the open binary file.

    Raises
    ------
    OSError
        If the file cannot be written; what was there before is still there, and no temporary file is left.

    Notes
    -----
    A process that is killed while it writes leaves its temporary file behind; the next write of the same file removes
    it.  Files that another process is writing at that moment are locked, and stay.
    """
    path = Path(path)
    temporary = path  # until there is one
    try:
        _remove_leftovers(path)
        descriptor, temporary = _open_temporary(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:
                    os.replace(temporary, path)  # while the lock is held
            if fcntl is None:
                os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:  # a full disk names no file, a folder that cannot be written to one that nobody knows
        if error.errno is not None and error.filename in (None, os.fspath(temporary)):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    _sync_folder(path.parent)


def _open_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open for writing and locked: its descriptor and its name."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        if fcntl is None:
            return descriptor, temporary
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # else it was taken for a leftover in the instant before it was locked
            return descriptor, temporary
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of writes that were killed: those that nobody holds a lock on."""
    if fcntl is None:
        return
    pattern = re.compile(re.escape(f".{path.name}.") + "[0-9a-f]{12}" + re.escape(".tmp"))
    with contextlib.suppress(OSError):
        for name in [name for name in os.listdir(path.parent) if pattern.fullmatch(name)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(path.with_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path.with_name(name))
                finally:
                    os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- arrays by name ----------------------------------------------------------------------------------------------------


def weights_suffix() -> str:
    """'.safetensors' where safetensors is installed, else '.npz'."""
    try:
        import safetensors.numpy  # noqa: F401
    except ImportError:
        return ".npz"
    return ".safetensors"


def save_weights(path: PathLike, state: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name, atomically.

    Parameters
    ----------
    path : path that ends in .npz or .safetensors
    state : mapping from names to arrays
        Such as ``model.state_dict()``.
    metadata : mapping of str to str, optional

    Raises
    ------
    ValueError
        If the path ends otherwise, a name is one that the format cannot hold, or an array is not of float32, float64 or
        int64 or all together are too large, which `load_weights` would refuse.
    ImportError
        For .safetensors where that package is not installed.
    OSError
        If the file cannot be written.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    _check_dtypes(path, arrays)
    text = dict(metadata or {})
    if (size := sum(array.nbytes for array in arrays.values())) > MOST_BYTES - MOST_DIRECTORY:
        raise ValueError(f"{os.fspath(path)}: {size} bytes of weights; no file of more than {MOST_BYTES} is read")
    if _suffix(path) == ".safetensors":
        data = _safetensors(path).numpy.save(arrays, metadata=text)
        atomic_write(path, lambda file: file.write(data))
        return
    if METADATA in arrays:
        raise ValueError(f"{os.fspath(path)}: an array must not be called {METADATA}")
    packed = {METADATA: np.frombuffer(json.dumps(text).encode(), np.uint8), **arrays}
    atomic_write(path, lambda file: np.savez(file, **packed))  # type: ignore[arg-type]


def load_weights(path: PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    """Read arrays by name, and the metadata.

    Parameters
    ----------
    path : path that ends in .npz or .safetensors

    Returns
    -------
    state : dict of str to ndarray, float32, float64 or int64
    metadata : dict of str to str

    Raises
    ------
    ValueError
        If the file is damaged, or is none of weights.
    ImportError
        For .safetensors where that package is not installed.
    OSError
        If the file cannot be read.
    """
    if _suffix(path) == ".safetensors":
        return _load_safetensors(path)
    return _load_npz(path)


def _suffix(path: PathLike) -> str:
    suffix = Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"{os.fspath(path)}: weights are kept in files that end in .npz or .safetensors")
    return suffix


def _safetensors(path: PathLike) -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            f"{os.fspath(path)}: .safetensors needs the package safetensors (pip install 'fastconv[train]')"
        ) from None
    return safetensors


def _load_safetensors(path: PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    safetensors = _safetensors(path)
    with open_file(path) as raw:
        try:
            return read_safetensors(raw, safetensors.deserialize, _check_dtype)
        except (safetensors.SafetensorError, ValueError) as error:
            raise ValueError(
                f"{os.fspath(path)}: the file is damaged, or no safetensors file of weights ({shown(error)})"
            ) from None


def _load_npz(path: PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    with open_file(path) as raw:
        try:
            state, text = read_npz(raw, _check_dtype)
            return state, _metadata(text) if text else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{os.fspath(path)}: the file is damaged, or no .npz file of weights ({shown(error)})"
            ) from None


def read_npz(
    raw: IO[bytes], accept: Callable[[str, np.dtype[Any]], None], most_metadata: int = MOST_METADATA
) -> tuple[dict[str, Array], bytes]:
    """Arrays by name from an .npz file that is not to be trusted, and the bytes of its metadata.

    Parameters
    ----------
    raw : open binary file
    accept : callable
        Given the name and dtype of each array before it is made; raises ValueError if it is none that is wanted.
    most_metadata : int
        Bytes that the metadata may have.

    Returns
    -------
    state : dict of str to ndarray
    metadata : bytes, empty where there is none

    Raises
    ------
    ValueError
        If the file is not what it should be.
    OSError, MemoryError
        If it cannot be read.
    """
    try:
        return _read_npz(raw, accept, most_metadata)
    except (ValueError, MemoryError):
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # zipfile seeks where a file tells it to
            raise
        raise ValueError(shown(error)) from None
    except Exception as error:  # a file that was made to harm brings out every kind in zipfile
        raise ValueError(shown(str(error) or type(error).__name__)) from None


def _read_npz(
    raw: IO[bytes], accept: Callable[[str, np.dtype[Any]], None], most_metadata: int
) -> tuple[dict[str, Array], bytes]:
    state: dict[str, Array] = {}
    metadata: bytes | None = None
    size = size_of(raw)
    stream = Bounded(raw)
    with zipfile.ZipFile(stream) as archive:
        stream.most = None
        if sum(entry.file_size for entry in archive.infolist()) > size:  # entries may overlap: one by one is not enough
            raise ValueError("what it holds is longer than the file")
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in state or (name == METADATA and metadata is not None):
                raise ValueError(f"{shown(name, 80)} is there twice")
            if name == METADATA:
                if entry.file_size > most_metadata:
                    raise ValueError(f"{name} is too long")
                metadata = _entry(archive, entry, name, _check_bytes).tobytes()
            else:
                state[name] = _entry(archive, entry, name, accept)
    return state, metadata or b""


def _entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, accept: Callable[[str, np.dtype[Any]], None]
) -> Array:
    """One array of an .npz file; what it announces is checked against the bytes that are there."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError(f"{shown(name, 80)} is compressed; write it with numpy.savez, not numpy.savez_compressed")
    with archive.open(entry) as member:
        return npy_array(member.read(), name, accept)


def _metadata(text: bytes) -> dict[str, str]:
    found = json.loads(text.decode())
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"{METADATA} is no dict of str to str")
    return found


def _check_dtypes(path: PathLike, state: Mapping[str, Array]) -> None:
    try:
        for name, array in state.items():
            _check_dtype(name, array.dtype)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    """Weights are floats; what a layer counts (`num_batches_tracked` of batch norm) is int64."""
    if (dtype.kind, dtype.itemsize) not in (("f", 4), ("f", 8), ("i", 8)):
        raise ValueError(f"{name} is {dtype}, expected float32, float64 or int64")


def _check_bytes(name: str, dtype: np.dtype[Any]) -> None:
    if dtype != np.uint8:
        raise ValueError(f"{name} is {dtype}, expected uint8")


# -- a model and what it is --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelInfo:
    """What one has to know to use a file of weights.

    Attributes
    ----------
    net : str
        Name of the network (`fastconv.models`).
    dataset : str
        What it was trained on.
    scale, offset : float
        What the network sees of a pixel of 0 .. 255 is ``pixel * scale + offset``.
    input_shape : tuple of int
        (C, H, W)
    classes : tuple of str
        Names of the classes, in the order of the scores.
    """

    net: str
    dataset: str
    scale: float
    offset: float
    input_shape: tuple[int, ...] = models.INPUT_SHAPE
    classes: tuple[str, ...] = tuple("0123456789")


def save_model(path: PathLike, model: nn.Module, info: ModelInfo) -> None:
    """Write a network's weights and what they are, atomically; errors as `save_weights`."""
    save_weights(path, model.state_dict(), {"fastconv": json.dumps(asdict(info))})


def load_model(path: PathLike) -> tuple[nn.Sequential, ModelInfo]:
    """Read a model that `save_model` wrote.

    Returns
    -------
    model : Sequential, in eval mode
    info : ModelInfo

    Raises
    ------
    ValueError
        If the file is damaged, does not say what it is, or its weights do not fit the network that it names.
    OSError, ImportError
        As `load_weights`.
    """
    return model_of(os.fspath(path), *load_weights(path))


def model_of(name: str, state: Mapping[str, Array], metadata: Mapping[str, str]) -> tuple[nn.Sequential, ModelInfo]:
    """The model of a file from the arrays and metadata in it; a ValueError begins with the file's name."""
    try:
        info = _info(metadata)
        dtypes = {array.dtype for array in state.values() if array.dtype.kind == "f"}
        count = sum(array.size for array in state.values() if array.dtype.kind == "f")
        expected = models.parameter_count(info.net, info.input_shape, len(info.classes))
        if expected > max(count, SMALL):  # before as much memory is taken as the file says
            raise ValueError(f"it holds {count:,} weights, expected {expected:,} for the network {info.net!r:.60}")
        dtype = np.float64 if dtypes == {np.dtype(np.float64)} else np.float32
        model = models.build(info.net, 0, dtype, info.input_shape, len(info.classes))
        model.load_state_dict(state)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {shown(error, 2000)}") from None
    return model.eval(), info


def _info(metadata: Mapping[str, str]) -> ModelInfo:
    if "fastconv" not in metadata:
        raise ValueError("the file does not say which network its weights are of; it was not written by fastconv")
    try:
        found = json.loads(metadata["fastconv"])
        return ModelInfo(
            net=shown(found["net"]),
            dataset=shown(found["dataset"]),
            scale=_finite(found["scale"]),
            offset=_finite(found["offset"]),
            input_shape=tuple(int(extent) for extent in found["input_shape"]),
            classes=tuple(shown(name) for name in found["classes"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"what the file says of itself is damaged ({shown(repr(error))})") from None


def _finite(value: Any) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number
