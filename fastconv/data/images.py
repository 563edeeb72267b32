"""Read image files, by pillow: bounded in size, and with one clear line for a file that cannot be read."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastconv._untrusted import open_without_waiting, shown
from fastconv.data.errors import DataError
from fastconv.data.idx import PathLike

__all__ = ["SUFFIXES", "decode_image", "read_image"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # none that runs another program
MOST_BYTES = 100_000_000
MOST_PIXELS = 50_000_000
MOST_DEEP_PIXELS = 12_500_000  # of more than 8 bits: they take four times the memory on the way
LONGEST_SIDE = 480  # pixels: larger images are made smaller, as no network here looks at more


def read_image(path: PathLike) -> NDArray[np.uint8]:
    """Read an image file; one that is large is made smaller, its proportions kept.

    Parameters
    ----------
    path : path
        PNG, JPEG, GIF (its first frame), BMP, WebP, TIFF or PNM.

    Returns
    -------
    ndarray, uint8, shape (H, W, 4)
        RGB and alpha, the way up that the camera says; height and width at most 480.

    Raises
    ------
    ImportError
        If pillow is not installed.
    DataError
        If the file is damaged, no image, or too large.
    OSError
        If it cannot be opened.
    """
    path = Path(path)
    with open(path, "rb", opener=open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is not a regular file")
        size = status.st_size
        if size == 0:
            raise DataError(f"{path}: the file is empty")
        if size > MOST_BYTES:
            raise DataError(f"{path}: {size:,} bytes, more than the {MOST_BYTES:,} that are read")
        return decode_image(file, os.fspath(path))


def decode_image(file: IO[bytes], name: str) -> NDArray[np.uint8]:
    """`read_image` of an open file; `name` is what errors call it."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise ImportError(
            "image files are read by pillow, which is not installed (pip install 'fastconv[train]')"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow's about sizes (checked here) and odd metadata
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                most = MOST_DEEP_PIXELS if _is_deep(image) else MOST_PIXELS
                if width * height > most:
                    raise DataError(f"{name}: {width:,} x {height:,} pixels, more than the {most:,} that are read")
                image.draft(None, (LONGEST_SIDE, LONGEST_SIDE))
                upright = _eight_bits(image, Image)
                upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE), reducing_gap=2.0)
                ImageOps.exif_transpose(upright, in_place=True)
                return np.asarray(upright.convert("RGBA"))
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: no image of a kind that is read ({', '.join(FORMATS)}), or damaged") from None
    except Image.DecompressionBombError:
        raise DataError(f"{name}: more than the {MOST_PIXELS:,} pixels that are read") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        text = shown(error, 100) or type(error).__name__
        raise DataError(f"{name}: the image is damaged ({text})") from None


def _is_deep(image: Any) -> bool:
    return bool(image.mode.startswith(("I", "F")))


def _eight_bits(image: Any, pillow: Any) -> Any:
    """The first frame with 8 bits a channel; pillow's own conversion of deeper grey cuts it off at 255."""
    if _is_deep(image):
        deep = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        most = float(deep.max(initial=0))
        full = 65535.0 if 255 < most <= 65535 and image.mode != "F" else max(most, 1.0)
        return pillow.fromarray(np.clip(deep * (255 / full), 0, 255).astype(np.uint8))
    return image.convert("RGBA")
