"""Checkpoints: all that a training run is at one moment, in one file that is whole or is refused.

1. A file is an .npz archive (`numpy.load` opens it): arrays by name, and JSON that says where each belongs.  No pickle.
2. Its last bytes, the comment of the archive, are the format's version and the SHA-256 of all bytes before the digest.
   They are looked at first: a file that was cut, that has one bit changed, or that is something else, goes no further.
3. The digest is no signature.  Sizes are checked against the bytes that are there before memory is taken, so that a
   hostile file cannot take more than a small multiple of its own size; whoever uses what it holds checks that again.
4. Writing is `serialization.atomic_write`: whenever the run is killed, the old checkpoint or the new one is there.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import re
import stat
import time
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from fastconv import _validation as check
from fastconv._untrusted import open_without_waiting, shown
from fastconv.nn import Module
from fastconv.serialization import METADATA, PathLike, atomic_write, read_npz

__all__ = ["VERSION", "Checkpoint", "generators", "load_checkpoint", "save_checkpoint", "states", "with_states"]

VERSION = 1
MOST_METADATA = 16_000_000  # bytes of JSON: the history of some 80,000 epochs
DIGEST = 64  # hexadecimal digits of SHA-256, the last bytes of a file
TRAILER = re.compile(rb"fastconv checkpoint ([0-9]{4}) sha256 ([0-9a-f]{64})")
TRAILER_LENGTH = len(f"fastconv checkpoint {VERSION:04} sha256 ") + DIGEST
MOST_POSITION = {"pos": 624, "buffer_pos": 4}  # in NumPy's generators, which do not check it themselves


# -- files -------------------------------------------------------------------------------------------------------------


def save_checkpoint(path: PathLike, state: Mapping[str, Any]) -> None:
    """Write a tree of values, atomically.

    Parameters
    ----------
    path : path
        Of any name; what was there is replaced once the new file is whole and on the disk.
    state : mapping
        Mappings, lists and tuples of numbers, strings, None and arrays of numbers, to any depth.

    Raises
    ------
    TypeError
        If there is something else in it.
    ValueError
        If there is more than an array holds better: 16 MB as JSON.
    OSError
        If the file cannot be written; what was there before is still there.
    """
    arrays: dict[str, Any] = {}
    skeleton = json.dumps(_encode(state, "", arrays)).encode()
    if len(skeleton) > MOST_METADATA:
        raise ValueError(f"{os.fspath(path)}: a checkpoint may hold {MOST_METADATA:,} bytes beside arrays")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, array in [(METADATA, np.frombuffer(skeleton, np.uint8)), *arrays.items()]:
            entry = zipfile.ZipInfo(f"{name}.npy")  # of a fixed date: equal states make equal files
            with archive.open(entry, "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
        archive.comment = f"fastconv checkpoint {VERSION:04} sha256 ".encode() + b"0" * DIGEST
    view = data.getbuffer()
    view[-DIGEST:] = hashlib.sha256(view[:-DIGEST]).hexdigest().encode()
    atomic_write(path, lambda file: file.write(view))


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Returns
    -------
    state : dict

    Raises
    ------
    ValueError
        If the file is damaged, is no checkpoint, or is one of another version.
    OSError
        If the file cannot be read.
    """
    name = os.fspath(path)
    with open(path, "rb", opener=open_without_waiting) as raw:
        try:
            version = _check_digest(raw)
            if version != VERSION:
                raise _OtherVersion(f"{name}: a checkpoint of version {version}; this fastconv reads version {VERSION}")
            return _state(raw)
        except (OSError, MemoryError, _OtherVersion):
            raise
        except Exception as error:  # a file that was made to harm brings out every kind in zipfile, json and numpy
            raise ValueError(f"{name}: the file is damaged, or no checkpoint of fastconv ({shown(error)})") from None


def _state(raw: IO[bytes]) -> dict[str, Any]:
    """The tree that a file holds, whoever wrote it; ValueError or RecursionError where it holds none."""
    arrays, skeleton = read_npz(raw, _accept, MOST_METADATA)
    used: set[str] = set()
    state = _decode(json.loads(skeleton.decode()), arrays, used)
    if not isinstance(state, dict) or used != set(arrays):
        raise ValueError("its arrays are not those that it lists")
    return state


class _OtherVersion(ValueError):
    """A file that is whole, but not for us."""


def _check_digest(raw: IO[bytes]) -> int:
    """The version of a file whose bytes are those that were written; ValueError else."""
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no ordinary file")
    if status.st_size < TRAILER_LENGTH:
        raise ValueError(f"it has {status.st_size} bytes only")
    raw.seek(-TRAILER_LENGTH, os.SEEK_END)
    trailer = TRAILER.fullmatch(raw.read(TRAILER_LENGTH))
    if trailer is None:
        raise ValueError("the checksum at its end is missing")
    digest = hashlib.sha256()
    raw.seek(0)
    left = status.st_size - DIGEST
    while left and (data := raw.read(min(left, 1 << 20))):
        digest.update(data)
        left -= len(data)
    if digest.hexdigest().encode() != trailer[2]:
        raise ValueError("its checksum does not fit its content")
    return int(trailer[1])


def _accept(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"{name} is {dtype}, expected numbers")


# -- trees of values as JSON and arrays --------------------------------------------------------------------------------


def _encode(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """What JSON can hold of a value; its arrays are added to `arrays` by the path that leads to them."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
        if value.dtype.kind in "iub":
            return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
            raise TypeError(f"save_checkpoint: {name} is {value.dtype}, expected numbers")
        while name in arrays or name == METADATA:  # {"a/b": x, "a": {"b": y}}
            name += "'"
        arrays[name] = np.asarray(value, order="C")
        return {"$array": name}
    prefix = f"{name}/" if name else ""
    if isinstance(value, Mapping):
        items = {key: _encode(item, f"{prefix}{key}", arrays) for key, item in value.items()}
        if all(isinstance(key, str) and not key.startswith("$") for key in items):
            return items
        return {"$items": [[_encode(key, f"{prefix}keys", arrays), item] for key, item in items.items()]}
    if isinstance(value, list | tuple):
        parts = [_encode(item, f"{prefix}{i}", arrays) for i, item in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    raise TypeError(f"save_checkpoint: {name} is {check.describe(value)}, which a checkpoint cannot hold")


def _decode(value: Any, arrays: Mapping[str, Any], used: set[str]) -> Any:
    """The value that `_encode` was given."""
    if isinstance(value, list):
        return [_decode(item, arrays, used) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "$array":
            if not isinstance(inner, str) or inner not in arrays or inner in used:
                raise ValueError("its arrays are not those that it lists")
            used.add(inner)
            return arrays[inner]
        if key in ("$tuple", "$items") and isinstance(inner, list):
            items = [_decode(item, arrays, used) for item in inner]
            return tuple(items) if key == "$tuple" else {pair[0]: pair[1] for pair in items}
    return {key: _decode(item, arrays, used) for key, item in value.items()}


# -- generators --------------------------------------------------------------------------------------------------------


def generators(thing: object) -> dict[str, np.random.Generator]:
    """Every `numpy.random.Generator` that an object holds, by the path of attributes that leads to it.

    Parameters
    ----------
    thing : object
        Such as a model, whose dropout layers have generators, or a Loader.

    Notes
    -----
    Attributes are followed, and the items of lists, tuples and dicts among them.  A generator that is hidden elsewhere,
    such as in a function's closure, is not found.
    """
    found: dict[str, np.random.Generator] = {}
    seen: set[int] = set()
    left: deque[tuple[str, Any]] = deque([("", thing)])
    while left:  # breadth first: what is reached in two ways has the shorter path, and each generator comes once
        path, value = left.popleft()
        if id(value) in seen or isinstance(value, type | FunctionType | ModuleType | np.ndarray | str | int | float):
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator):
            found[path] = value
        else:
            left += [(f"{path}.{name}" if path else str(name), item) for name, item in _parts(value)]
    return found


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """What an object holds, by name."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    attributes = getattr(value, "__dict__", {}).items()
    if isinstance(value, Module):  # its children by their own names, and not what it keeps for the next call
        own = [(name, item) for name, item in attributes if name[0] != "_" or isinstance(item, np.random.Generator)]
        return [*value.named_children(), *own]
    return attributes


def states(found: Mapping[str, np.random.Generator]) -> dict[str, Any]:
    """The states of generators by name, as a checkpoint holds them."""
    return {name: copy.deepcopy(dict(generator.bit_generator.state)) for name, generator in found.items()}


def with_states(found: Mapping[str, np.random.Generator], state: Mapping[str, Any], whose: str) -> None:
    """Set generators to states that `states` gave; nothing is changed unless all of them fit.

    Raises
    ------
    ShapeError
        If the names are others, or a state is not one of that kind of generator.
    """
    if set(found) != set(state):
        raise check.ShapeError(
            f"{whose}: the random generators that were saved are {_names(state)}, expected {_names(found)}"
        )
    for name, generator in found.items():
        try:
            _check_positions(state[name])
            trial = type(generator.bit_generator)(0)
            trial.state = state[name]
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
            raise check.ShapeError(f"the state of the random generator {name} does not fit ({error!r:.200})") from None
    for name, generator in found.items():
        generator.bit_generator.state = state[name]


def _names(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) if names else "none"


def _check_positions(state: Any) -> None:
    """Positions in a generator's buffer lie in the buffer."""
    if not isinstance(state, dict):
        return
    for key, value in state.items():
        _check_positions(value)
        if key in MOST_POSITION and not (isinstance(value, int) and 0 <= value <= MOST_POSITION[key]):
            raise ValueError(f"{key} is {value!r:.40}")


# -- when to write one -------------------------------------------------------------------------------------------------


class Checkpoint:
    """Where and how often a training run is saved: what `Trainer.fit` takes as checkpoint=.

    Parameters
    ----------
    path : path
        The file.  Each checkpoint replaces the one before.
    every_steps : int, at least 1, optional
        Write one after so many steps of the optimiser.
    every_seconds : float, at least 0, optional
        Write one after the first step that ends so long after the last one was written; 60 where neither is given.
    run : mapping, optional
        What the run is, kept in the file beside the trainer's state: whatever `save_checkpoint` can hold.

    Notes
    -----
    A script that may be killed at any moment, and run again until it is through::

        checkpoint = Checkpoint("run.ckpt")
        if checkpoint.path.exists():
            trainer.load(checkpoint.path)
        trainer.fit(batches, 5, checkpoint=checkpoint)

    Examples
    --------
    >>> Checkpoint("run.ckpt", every_steps=100)
    Checkpoint('run.ckpt', every_steps=100)
    """

    def __init__(
        self,
        path: PathLike,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        run: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if every_steps is not None and check.integer("Checkpoint", "every_steps", every_steps) < 1:
            raise check.ShapeError(f"Checkpoint: every_steps must be at least 1, got {every_steps}")
        if every_seconds is not None:
            check.number_between("Checkpoint", "every_seconds", every_seconds, 0.0, float("inf"))
        elif every_steps is None:
            every_seconds = 60.0
        self.every_steps = every_steps
        self.every_seconds = every_seconds
        self.run = dict(run or {})
        self._written()

    def _written(self) -> None:
        """A checkpoint was written just now, or there was a try."""
        self._steps = 0
        self._time = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for one; called after each step."""
        self._steps += 1
        if self.every_steps is not None and self._steps >= self.every_steps:
            return True
        return self.every_seconds is not None and time.monotonic() - self._time >= self.every_seconds

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a trainer's state; errors as `save_checkpoint`."""
        try:
            save_checkpoint(self.path, {"run": self.run, "trainer": state})
        finally:
            self._written()

    def __repr__(self) -> str:
        steps = f", every_steps={self.every_steps}" if self.every_steps is not None else ""
        seconds = f", every_seconds={self.every_seconds:g}" if self.every_seconds is not None else ""
        return f"Checkpoint({os.fspath(self.path)!r}{steps}{seconds})"
