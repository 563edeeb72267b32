"""`Augment`: each image a little otherwise each time it is seen - moved, turned, scaled, and bent.

All of it is one map from the pixels of the result back to places in the image: for each image a 2x2 matrix and a shift,
and a smooth field of displacements for the bending.  What lies between pixels is interpolated linearly, what lies
outside is the nearest pixel of the border.  Every step is done for the whole batch at once.

Random numbers are drawn so that a run can be resumed, and batches can be prepared ahead: batch number i of an epoch has
its own stretch of the generator's sequence, 2**64 numbers long, and the generator itself moves on once an epoch.  So
what is drawn for a batch depends on the generator's state when the epoch began, and on i, and on nothing else.

P. Simard, D. Steinkraus, J. Platt: Best practices for convolutional neural networks applied to visual document
analysis, ICDAR 2003.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _validation as check

__all__ = ["Augment"]

F32 = NDArray[np.float32]

KNOTS = 4  # a side, of the field that bends an image: waves of about a third of it
BATCH_STEP, EPOCH_STEP = 1 << 64, 1 << 100  # of the 2**128 numbers that PCG64 has


class Augment:
    """Random changes of images, drawn anew for each image of each batch.

    Parameters
    ----------
    shift : float
        Most pixels that an image is moved by, in each direction.
    rotation : float
        Most degrees that it is turned by, either way, around its middle.
    scale : float
        By how much it grows or shrinks at most: 0.1 is a factor of 1/1.1 to 1.1.
    elastic : float
        Standard deviation of a smooth field of displacements, pixels; 0 bends nothing.
    rng : numpy.random.Generator or None
        Where a generator of its own (PCG64) is seeded from.

    Attributes
    ----------
    rng : numpy.random.Generator
        Its own; checkpoints save its state.

    Raises
    ------
    TypeError, ShapeError
        If an argument is no finite number from 0 up, or scale is above 1, or rotation above 180.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import data
    >>> augment = data.Augment(rng=np.random.default_rng(0))
    >>> loader = data.Loader(data.digits(100), 32, augment=augment, prefetch=True)
    >>> next(iter(loader))[0].shape
    (32, 1, 28, 28)
    """

    def __init__(
        self,
        shift: float = 2.0,
        rotation: float = 10.0,
        scale: float = 0.1,
        elastic: float = 0.7,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.shift = check.number_between("Augment", "shift", shift, 0.0, 1e6)
        self.rotation = check.number_between("Augment", "rotation", rotation, 0.0, 180.0)
        self.scale = check.number_between("Augment", "scale", scale, 0.0, 1.0)
        self.elastic = check.number_between("Augment", "elastic", elastic, 0.0, 1e6)
        seeds = check.generator("Augment", rng) or np.random.default_rng()
        self.rng = np.random.Generator(np.random.PCG64(seeds.integers(0, 2**63, 4)))

    def __repr__(self) -> str:
        return f"Augment(shift={self.shift}, rotation={self.rotation}, scale={self.scale}, elastic={self.elastic})"

    def new_epoch(self) -> None:
        """Move on to the numbers of another epoch; a `Loader` calls this when one begins."""
        self._own_bits().advance(EPOCH_STEP)

    def batch(self, x: NDArray[Any], number: int) -> NDArray[Any]:
        """Change the images of batch `number` of this epoch; the generator stays as it is."""
        bits = np.random.PCG64(0)
        bits.state = self._own_bits().state
        bits.advance((number + 1) * BATCH_STEP)
        return self._changed(x, np.random.Generator(bits))

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Change images, with numbers that the generator gives now.

        Parameters
        ----------
        x : ndarray, float32 or float64, shape (N, C, H, W)

        Returns
        -------
        ndarray of the same shape and dtype; x is not changed
        """
        return self._changed(x, self.rng)

    def _own_bits(self) -> np.random.PCG64:
        bits = self.rng.bit_generator
        if not isinstance(bits, np.random.PCG64):
            raise TypeError(f"Augment: rng must stay a generator of PCG64, got {type(bits).__name__}")
        return bits

    def _changed(self, x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        x = check.floats("Augment", "x", x)
        if x.ndim != 4:
            raise check.ShapeError(f"Augment: x must have shape (N, C, H, W), got shape {x.shape}")
        y, x_at = self._places(rng, len(x), x.shape[2], x.shape[3])
        return _sampled(np.ascontiguousarray(x), y, x_at) if x.size else x.copy()

    def _places(self, rng: np.random.Generator, count: int, height: int, width: int) -> tuple[F32, F32]:
        """Where each pixel of the results comes from: rows and columns, (N, H, W) each.

        The same numbers are drawn whatever the parameters are.
        """
        uniform = rng.uniform(-1, 1, (4, count)).astype(np.float32)
        angle = uniform[0] * np.float32(math.radians(self.rotation))
        factor = np.exp(uniform[1] * np.float32(-math.log1p(self.scale)))
        down, right = uniform[2:] * np.float32(self.shift)
        cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        row = np.arange(height, dtype=np.float32)[:, None] - np.float32(middle_y)
        column = np.arange(width, dtype=np.float32) - np.float32(middle_x)
        each = (slice(None), None, None)
        y = cos[each] * row - sin[each] * column + (np.float32(middle_y) - down)[each]
        x = sin[each] * row + cos[each] * column + (np.float32(middle_x) - right)[each]
        if self.elastic:
            knots = rng.standard_normal((2, count, KNOTS, KNOTS), dtype=np.float32) * np.float32(self.elastic)
            field = np.matmul(np.matmul(_spread(height), knots), _spread(width).T)
            y += field[0]
            x += field[1]
        return y, x


def _spread(extent: int) -> F32:
    """How much of each knot a pixel has, (extent, KNOTS): Gaussians, of squared sum 1 so that variances stay."""
    knots = np.linspace(0, 1, KNOTS)
    places = np.linspace(0, 1, extent) if extent > 1 else np.array([0.5])
    weights = np.exp(-0.5 * ((places[:, None] - knots) * (KNOTS - 1)) ** 2)
    return np.asarray(weights / np.sqrt((weights**2).sum(axis=1, keepdims=True)), np.float32)


def _sampled(images: NDArray[Any], y: F32, x: F32) -> NDArray[Any]:
    """Images (N, C, H, W) at places (N, H, W) between their pixels."""
    count, channels, height, width = images.shape
    np.clip(y, 0, height - 1, out=y)
    np.clip(x, 0, width - 1, out=x)
    top = np.minimum(y.astype(np.int64), max(height - 2, 0))
    left = np.minimum(x.astype(np.int64), max(width - 2, 0))
    y -= top
    x -= left
    down, right = (width if height > 1 else 0), (1 if width > 1 else 0)
    top *= width
    top += left
    top += (np.arange(count) * (channels * height * width))[:, None, None]
    top_weight, left_weight = 1 - y, 1 - x
    flat, result = images.reshape(-1), np.empty_like(images)
    for channel in range(channels):
        corner = top + channel * height * width
        a, b = flat.take(corner), flat.take(corner + right)
        upper = a * left_weight + b * x
        corner += down
        a, b = flat.take(corner), flat.take(corner + right)
        upper *= top_weight
        upper += (a * left_weight + b * x) * y
        result[:, channel] = upper
    return result
