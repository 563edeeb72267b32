"""Which model was trained last: one line in one file of the user's folder, which commands take where none is named."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from fastconv import serialization
from fastconv.data import cache_dir

__all__ = ["last_model", "model_path", "remember"]

MOST_BYTES = 10_000  # longer than any path


def _record() -> Path:
    return cache_dir() / "last-model.txt"


def remember(path: Path) -> None:
    """Note that this model was trained last; where the folder cannot be written, nothing is noted."""
    with contextlib.suppress(OSError, UnicodeError):
        record = _record()
        record.parent.mkdir(parents=True, exist_ok=True)
        line = f"{path.resolve()}\n".encode()
        serialization.atomic_write(record, lambda file: file.write(line))


def last_model() -> Path | None:
    """The file of the model that was trained last, or None where none was, or it is there no longer."""
    try:
        with open(_record(), "rb") as file:
            path = Path(file.read(MOST_BYTES).decode().removesuffix("\n"))
        return path if path.is_absolute() and path.is_file() else None
    except (OSError, ValueError):
        return None


def model_path(named: str | None, how: str) -> Path:
    """The file that the user named, else that of the last model; `how` says how to name one where there is none."""
    path = Path(named) if named else last_model()
    if path is None:
        raise FileNotFoundError(
            f"no model has been trained here yet, or it was moved; train one with `fastconv train`, or {how}"
        )
    if path.is_dir() or not path.exists():
        problem = errno.EISDIR if path.is_dir() else errno.ENOENT
        raise OSError(problem, os.strerror(problem), os.fspath(path))
    return path
