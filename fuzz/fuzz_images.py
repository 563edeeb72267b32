"""Fuzz the reader of image files (fastconv/data/images.py); pillow's C decoders are run, but do not guide the fuzzer.

Images of more than 64 x 1024 pixels are refused here, so that an input takes no seconds.

    python fuzz/fuzz_images.py -runs=10000000
"""

import importlib
import io
import sys
from collections.abc import Callable, Iterator

import numpy as np

INSTRUMENT = [
    "PIL.PngImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.BmpImagePlugin",
    "PIL.PpmImagePlugin",
    "PIL.TiffImagePlugin",
]
WORDS = [
    b"\x89PNG\r\n\x1a\n",
    b"IHDR",
    b"IDAT",
    b"tRNS",
    b"PLTE",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"RIFF",
    b"P5",
]
MOST_PIXELS = 1 << 16


def seeds() -> Iterator[bytes]:
    from PIL import Image

    ramp = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    for mode in ("L", "RGB", "RGBA", "P", "1"):
        image = Image.fromarray(ramp).convert(mode)
        for kind in ("PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG", "PPM"):
            stream = io.BytesIO()
            try:
                image.save(stream, kind)
            except OSError:  # a mode that the format does not have
                continue
            yield stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint16) * 257).save(stream, "PNG")
    yield stream.getvalue()


def target() -> Callable[[bytes], None]:
    for module in INSTRUMENT:  # pillow itself imports them at the first image
        importlib.import_module(module)
    from fastconv.data import images
    from fastconv.data.errors import DataError

    images.MOST_PIXELS = images.MOST_DEEP_PIXELS = MOST_PIXELS

    def one_input(data: bytes) -> None:
        from _run import refused

        try:
            image = images.decode_image(io.BytesIO(data), "file")
        except DataError as error:
            refused(error)
        else:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 4
            assert max(image.shape) <= images.LONGEST_SIDE

    return one_input


if __name__ == "__main__":
    from _run import run

    run(sys.modules[__name__])
