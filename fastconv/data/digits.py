"""Synthetic handwritten digits, drawn by the package itself: `digits(n, seed)`.

No real image is in them.  An image begins as a skeleton (strokes.py); then come, in this order,

1. jitter of the control points, more at the free ends of strokes;
2. a smooth curve through them, as 96 samples (splines.py);
3. two sine waves that bend the plane, then shear, aspect and rotation;
4. a pen of varying width;
5. the framing of MNIST: the ink fills a 20x20 box by its longest side and lies centred in it, is sampled there, and the
   box goes, by whole pixels, to where the centre of mass of the ink is the centre of the 28x28 image.

Ink is rendered without a loop over samples.  Each sample adds a Gaussian of width s to a field on the pixel grid; it
is separable, so the field of an image is one (20, 96) x (96, 20) product.  Along a stroke the sum over samples is
F(d) = F0 exp(-d^2 / 2 s^2) at distance d, F0 = s sqrt(2 pi), so d = s sqrt(2 ln(F0 / F)) gives the distance back, and
the ink is a linear ramp of d about the half width of the pen.  (A ramp of F itself leaves a grey background.)

Below, B is the number of images of a chunk, drawn at once.
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data.datasets import ArrayDataset
from fastconv.data.splines import SAMPLES, skeleton_table

__all__ = ["digits"]

CHUNK = 250  # images drawn at a time: each chunk has its own generator, and 25 images of each digit
SIDE, BOX = 28, 20  # pixels: the image, and the box that the ink fills
SPLAT = 0.8  # pixels: s above
RAMP = 1.4  # pixels: width of the soft edge

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Style:
    """How far images stray from their skeletons; lengths in heights of a digit unless said otherwise."""

    jitter: float = 0.042  # sd, for a control point inside a stroke
    end_jitter: float = 2.0  # as many times that at the ends
    wildness: tuple[float, float] = (0.3, 1.7)  # least and most, an image: multiplies the jitter
    warp: float = 0.055  # sd of the waves' amplitudes
    shear: tuple[float, float] = (0.2, 0.27)  # mean and sd
    shear_one: tuple[float, float] = (0.25, 0.35)  # of a 1
    rotation: float = 0.1  # sd, radians
    widen: tuple[float, ...] = (0.12, 0.0, 0.12, 0.1, 0.05, 0.1, 0.0, 0.03, 0.05, 0.0)  # mean log of width, a digit
    aspect: float = 0.2  # sd of it
    waist: float = 0.06  # sd of how far the middle moves up or down
    taper: float = 0.25  # sd of how much wider the bottom is than the top
    pen: float = 1.15  # median of the half width, pixels
    pen_of: tuple[float, ...] = (1.0, 1.4, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0)  # times that, for each digit
    pen_spread: float = 0.32  # sd of its logarithm
    pen_wave: float = 0.15  # sd of the logarithm of its variation along the path
    bold: float = 1.6  # times the half width, in a bold hand
    bold_share: float = 0.06  # of the images
    pen_least: float = 0.55  # pixels


STYLE = _Style()


class _Random:
    """Random numbers for the B images of a chunk, in float32."""

    def __init__(self, rng: np.random.Generator, images: int) -> None:
        self.rng, self.images = rng, images

    def normal(self, *shape: int) -> F32:
        """Standard normal, (B, *shape)."""
        return self.rng.standard_normal((self.images, *shape), dtype=np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> F32:
        """From low to high, (B, *shape)."""
        return np.float32(low) + np.float32(high - low) * self.rng.random((self.images, *shape), dtype=np.float32)


def _f32(values: Any) -> F32:
    return np.asarray(values, dtype=np.float32)


def _paths(draw: _Random, variant: NDArray[np.int64]) -> F32:
    """Draw the paths of the pen, (B, SAMPLES, 2), in heights of a digit."""
    table = skeleton_table()
    points = table.points[variant]
    spread = STYLE.jitter * (1 + (STYLE.end_jitter - 1) * table.free_end[variant])
    points += draw.normal(*points.shape[1:]) * spread * draw.uniform(*STYLE.wildness, 1, 1)
    path = np.matmul(table.curve[variant], points)
    path -= _f32([0.33, 0.5])
    x, y = path[..., 0], path[..., 1]
    x *= 1 + STYLE.taper * draw.normal(1) * y
    y += STYLE.waist * draw.normal(1) * np.cos(np.pi * np.clip(y, -0.5, 0.5))
    for _ in range(2):  # x and y each move by a wave over the plane, of one half to one period over the digit
        wave = draw.uniform(3, 6, 2, 2) * np.sign(draw.uniform(-1, 1, 2, 2))
        path += STYLE.warp * draw.normal(1, 2) * np.sin(np.matmul(path, wave) + draw.uniform(0, 2 * np.pi, 1, 2))
    return _f32(np.matmul(path, _affine(draw, table.digit[variant])))


def _affine(draw: _Random, digit: NDArray[np.int64]) -> F32:
    """Draw maps of the plane, (B, 2, 2), for row vectors from the left: shear, then stretch x, then rotate."""
    shear = np.where(digit[:, None] == 1, _f32(STYLE.shear_one), _f32(STYLE.shear))
    slope = shear[:, 0] + shear[:, 1] * draw.normal()
    width = np.exp(_f32(STYLE.widen)[digit] + STYLE.aspect * draw.normal())
    angle = STYLE.rotation * draw.normal()
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.empty((len(digit), 2, 2), np.float32)
    affine[:, 0, 0], affine[:, 0, 1] = width * cos, width * sin
    affine[:, 1, 0], affine[:, 1, 1] = -slope * width * cos - sin, -slope * width * sin + cos
    return affine


def _pens(draw: _Random, digit: NDArray[np.int64], path: F32) -> F32:
    """Draw the half width of the pen along the paths, (B, SAMPLES), in pixels."""
    extent = np.ptp(path, axis=1)
    slimness = extent.min(axis=1) / extent.max(axis=1)
    most = np.where(digit == 1, np.float32(4.3), np.minimum(3.0, 1.0 + 2.4 * slimness))  # the loops are to survive
    pen = STYLE.pen * _f32(STYLE.pen_of)[digit] * np.exp(STYLE.pen_spread * draw.normal())
    pen *= np.where(draw.uniform(0, 1) < STYLE.bold_share, np.float32(STYLE.bold), np.float32(1))
    pen = np.clip(pen, STYLE.pen_least, most)[:, None]
    along = np.linspace(0, 1, SAMPLES, dtype=np.float32)
    wave = np.sin(draw.uniform(3, 9, 1) * along + draw.uniform(0, 2 * np.pi, 1))
    return _f32(pen * np.exp(STYLE.pen_wave * draw.normal(1) * wave))


def _framed(path: F32, pen: F32) -> F32:
    """Scale and move paths so that the ink fills the box by its longest side and lies in its middle; in pixels."""
    low, high = path.min(axis=1), path.max(axis=1)
    scale = (BOX - 2 * pen.mean(axis=1)) / (high - low).max(axis=1)
    return _f32((path - (low + high)[:, None] / 2) * scale[:, None, None] + (BOX - 1) / 2)


def _ink(path: F32, pen: F32, joined: F32) -> F32:
    """Render paths in pixels: ink from 0 to 1, (B, BOX, BOX)."""
    step = np.diff(path, axis=1)
    length = np.sqrt(step[..., 0] ** 2 + step[..., 1] ** 2) * joined
    weight = np.zeros(pen.shape, np.float32)  # the length of path that a sample stands for
    weight[:, :-1] += 0.5 * length
    weight[:, 1:] += 0.5 * length
    mean = pen.mean(axis=1, keepdims=True)
    # where the pen is wider, a stronger field: the distance d = pen then reads as d = mean
    weight *= np.exp((pen**2 - mean**2) / (2 * SPLAT**2)) / (SPLAT * np.sqrt(2 * np.pi))
    grid = np.arange(BOX, dtype=np.float32)[:, None]
    splat_x = np.exp((grid - path[:, None, :, 0]) ** 2 * (-0.5 / SPLAT**2))
    splat_y = np.exp((grid - path[:, None, :, 1]) ** 2 * (-0.5 / SPLAT**2))
    field = np.matmul(splat_y * weight[:, None], splat_x.transpose(0, 2, 1))
    distance = SPLAT * np.sqrt(-2 * np.log(np.clip(field, 1e-30, 1)))
    return _f32(np.clip(0.5 + (mean[:, None] - distance) / RAMP, 0, 1))


def _centred(ink: F32) -> NDArray[np.uint8]:
    """Put the boxes (B, BOX, BOX) where the centre of mass is the centre of the image: bytes, (B, SIDE, SIDE)."""
    images = np.zeros((len(ink), SIDE, SIDE), np.uint8)
    grid = np.arange(BOX, dtype=np.float32)
    mass = ink.sum(axis=(1, 2))
    centre = np.stack([ink.sum(axis=2) @ grid, ink.sum(axis=1) @ grid]) / mass
    corner = np.rint(SIDE / 2 - centre).astype(np.int64)
    top, left = np.clip(corner, 0, SIDE - BOX)
    start = (np.arange(len(ink)) * SIDE + top) * SIDE + left
    box = (np.arange(BOX)[:, None] * SIDE + np.arange(BOX)).ravel()
    images.reshape(-1)[start[:, None] + box] = np.rint(ink.reshape(len(ink), -1) * 255)
    return images


def _chunk(seed: np.random.SeedSequence) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw one chunk: images (CHUNK, SIDE, SIDE) and their labels (CHUNK,)."""
    table = skeleton_table()
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(CHUNK) % 10)
    # the shares of a digit's skeletons sum to 1: those of digit d lie between d and d + 1
    variant = np.searchsorted(np.cumsum(table.share), labels + rng.random(CHUNK), side="right")
    variant = np.minimum(variant, len(table.share) - 1)
    draw = _Random(rng, CHUNK)
    path = _paths(draw, variant)
    pen = _pens(draw, labels, path)
    return _centred(_ink(_framed(path, pen), pen, table.joined[variant])), labels


def _count(name: str, value: Any) -> int:
    """Check an argument that must be an integer from 0 up."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"digits: {name} must be an integer, got {value!r}")
    if operator.index(value) < 0:
        raise ValueError(f"digits: {name} must be at least 0, got {value}")
    return operator.index(value)


def digits(n: int, seed: int = 0, *, split: str = "train") -> ArrayDataset:
    """Draw synthetic handwritten digits, framed as MNIST's are.

    No real image is in them: each begins as one of several hundred stroke skeletons, then is bent, slanted, drawn with
    a pen of random width, and centred.  The skeletons and the amount of randomness were chosen by eye and by trials on
    the first 2,000 of MNIST's training images; the network `cnn`, trained on 60,000 of these digits for 3 epochs and on
    no real image, reads about 98 % of MNIST's test images.

    Parameters
    ----------
    n : int
        Number of images.
    seed : int
        From 0 up.  The same seed gives the same images, and image i does not depend on n.  (Another machine's BLAS and
        elementary functions may round a pixel otherwise.)
    split : "train" or "test"
        Two series that share no random number.

    Returns
    -------
    ArrayDataset
        images uint8 (n, 28, 28), ink 255 on 0; labels int64 (n,), in random order, each digit 25 times in 250.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type or out of range.
    """
    n, seed = _count("n", n), _count("seed", seed)
    if split not in ("train", "test"):
        raise ValueError(f"digits: split must be 'train' or 'test', got {split!r}")
    images = np.empty((n, SIDE, SIDE), np.uint8)
    labels = np.empty(n, np.int64)
    for chunk, start in enumerate(range(0, n, CHUNK)):
        drawn, named = _chunk(np.random.SeedSequence(seed, spawn_key=(int(split == "test"), chunk)))
        images[start : start + CHUNK] = drawn[: n - start]
        labels[start : start + CHUNK] = named[: n - start]
    return ArrayDataset(images, labels)
