"""Arguments that several commands take, and the types that argparse checks them with."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from fastconv import data

DATA = data.NAMES
MOST_THREADS = 1024


def add_data(parser: argparse.ArgumentParser, default: str | None, what: str) -> None:
    parser.add_argument(
        "--data",
        type=data_name,
        default=default,
        metavar="NAME",
        help=f"{what}; NAME is {', '.join(DATA)}, or a folder with a folder of images for each class",
    )
    parser.add_argument(
        "--data-dir",
        type=existing_folder,
        metavar="DIR",
        help="folder with the data set's files (else $FASTCONV_DATA, the cache; only MNIST is downloaded)",
    )
    parser.add_argument("--no-download", action="store_true", help="do not look for MNIST on the network")


def data_name(text: str) -> str:
    """The name of a data set, or the path of a folder."""
    if text not in DATA and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"there is no data set and no folder {text!r}; expected {', '.join(DATA)}, or a folder of images by class"
        )
    return text


def existing_folder(text: str) -> str:
    """The path of a folder; a slip of the pen must not end in training on something else."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return text


def is_folder(name: str | None) -> bool:
    """Whether what --data gave is a folder of images, and no name."""
    return name is not None and name not in DATA


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=thread_count, metavar="N", help="most threads to use; results do not depend on it"
    )


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def thread_count(text: str) -> int:
    value = positive_int(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_THREADS}, got {text}")
    return value


def image_size(text: str) -> int:
    value = positive_int(text)
    if value > 512:
        raise argparse.ArgumentTypeError(f"must be at most 512, got {text}")
    return value


def seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def learning_rate(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def steps_or_seconds(text: str) -> tuple[int | None, float | None]:
    """500 is so many steps, 30s so many seconds."""
    if not text.endswith("s"):
        return positive_int(text), None
    seconds = float(text.removesuffix("s"))
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"must be at least 0 seconds, got {text}")
    return None, seconds


# argparse names the type in "invalid ... value".
positive_int.__name__ = thread_count.__name__ = image_size.__name__ = seed.__name__ = "int"
learning_rate.__name__ = "number"
steps_or_seconds.__name__ = "number of steps or seconds"


def writable_folder(path: str, option: str) -> Path:
    """A folder that files can be written to, made where it does not exist; OSError else."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{option}: {folder} is a file, expected a folder")
    folder.mkdir(parents=True, exist_ok=True)
    _try_to_write(folder, option)
    return folder


def writable_file(path: str, option: str) -> Path:
    """A file that can be written, in a folder that exists; OSError else."""
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{option}: {file} is a folder, expected a file")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{option}: there is no folder {file.parent}")
    _try_to_write(file.parent, option)
    return file


def _try_to_write(folder: Path, option: str) -> None:
    """Find out by doing it: permissions alone do not tell (read-only file systems, quotas, root)."""
    probe = folder / f".fastconv-{os.getpid()}.tmp"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{option}: cannot write to {folder} ({error.strerror})") from None
