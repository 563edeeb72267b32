"""From skeletons to curves: each skeleton's control points, and the linear map that takes them to samples of its curve.

The map depends on the skeleton alone, not on where an image's control points have strayed to, so that the curves of a
batch of images are one batched matrix product.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastconv.data.strokes import skeletons

__all__ = ["SAMPLES", "SkeletonTable", "skeleton_table"]

SAMPLES = 96  # samples of the pen's path in an image
_FINE = 60  # steps between two control points where lengths are measured

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class SkeletonTable:
    """All skeletons as arrays: V of them, at most K control points each; lengths in heights of a digit."""

    digit: NDArray[np.int64]  # (V,)
    share: F64  # (V,): among the images of the digit
    points: F32  # (V, K, 2): x, y; zeros beyond the skeleton's own
    free_end: F32  # (V, K, 1): 1 at the ends of strokes, else 0
    curve: F32  # (V, SAMPLES, K): control points -> samples
    joined: F32  # (V, SAMPLES - 1): 1 where a sample and the next belong to one stroke, else 0


@dataclass(frozen=True)
class _Stroke:
    """One stroke of a skeleton: its points (n, 2), and the map (m, n) from them to a fine curve."""

    points: F64
    fine: F64

    def walked(self) -> F64:
        """Length from the start to each point of the fine curve, (m,)."""
        step = np.diff(self.fine @ self.points, axis=0)
        return np.concatenate([[0.0], np.cumsum(np.hypot(step[:, 0], step[:, 1]))])


def _hermite(points: F64, n: int) -> F64:
    """The map (n, len(points)) from control points to a smooth curve through them, at n even steps of its parameter.

    A cubic Hermite spline: its knots are the square roots of the chords between `points` (centripetal), its tangents
    those of the parabola through a point and its neighbours (Catmull-Rom on uneven knots).
    """
    k = len(points)
    chord = np.diff(points, axis=0)
    h = np.sqrt(np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1e-3))
    knots = np.concatenate([[0.0], np.cumsum(h)])
    slope = (np.eye(k)[1:] - np.eye(k)[:-1]) / h[:, None]  # (k - 1, k): of the chords
    tangent = np.empty((k, k))
    tangent[1:-1] = (slope[:-1] * h[1:, None] + slope[1:] * h[:-1, None]) / (h[:-1] + h[1:])[:, None]
    if k == 2:
        tangent[:] = slope
    else:
        tangent[0] = 2 * slope[0] - tangent[1]
        tangent[-1] = 2 * slope[-1] - tangent[-2]
    t = np.linspace(0.0, knots[-1], n)
    at = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, k - 2)
    step = h[at, None]
    u = (t[:, None] - knots[at, None]) / step
    point = np.eye(k)
    result: F64 = (
        (2 * u**3 - 3 * u**2 + 1) * point[at]
        + (u**3 - 2 * u**2 + u) * step * tangent[at]
        + (3 * u**2 - 2 * u**3) * point[at + 1]
        + (u**3 - u**2) * step * tangent[at + 1]
    )
    return result


def _stroke(text: str) -> _Stroke:
    """Read one stroke of a skeleton's text; at its corners the curve is broken."""
    words = [word.strip() for word in text.split(",")]
    points = np.array([[float(value) for value in word.lstrip("*").split()] for word in words]) / 100
    breaks = [0, *(i for i in range(1, len(words) - 1) if words[i].startswith("*")), len(words) - 1]
    parts = []
    for first, last in pairwise(breaks):
        part = np.zeros((_FINE * (last - first), len(points)))
        part[:, first : last + 1] = _hermite(points[first : last + 1], len(part))
        parts.append(part)
    return _Stroke(points, np.concatenate(parts))


def _fill(table: SkeletonTable, v: int, strokes: list[_Stroke]) -> None:
    """Work skeleton number v out: samples at even steps along its strokes, each stroke by its length."""
    walks = [stroke.walked() for stroke in strokes]
    lengths = np.array([walk[-1] for walk in walks])
    counts = np.maximum(2, np.rint(SAMPLES * lengths / lengths.sum()).astype(int))
    counts[np.argmax(counts)] += SAMPLES - counts.sum()
    row = column = 0
    for stroke, walk, count in zip(strokes, walks, counts, strict=True):
        at = np.minimum(np.searchsorted(walk, np.linspace(0.0, walk[-1], count)), len(walk) - 1)
        size = len(stroke.points)
        table.curve[v, row : row + count, column : column + size] = stroke.fine[at]
        table.points[v, column : column + size] = stroke.points
        table.free_end[v, [column, column + size - 1]] = 1
        row, column = row + count, column + size
        if row < SAMPLES:
            table.joined[v, row - 1] = 0


@lru_cache(maxsize=1)
def skeleton_table() -> SkeletonTable:
    """The table of all skeletons; made at the first call, and not to be changed."""
    listed = skeletons()
    strokes = [[_stroke(text) for text in skeleton.text.split("|")] for skeleton in listed]
    v, k = len(listed), max(sum(len(stroke.points) for stroke in parts) for parts in strokes)
    table = SkeletonTable(
        digit=np.array([skeleton.digit for skeleton in listed]),
        share=np.array([skeleton.share for skeleton in listed]),
        points=np.zeros((v, k, 2), np.float32),
        free_end=np.zeros((v, k, 1), np.float32),
        curve=np.zeros((v, SAMPLES, k), np.float32),
        joined=np.ones((v, SAMPLES - 1), np.float32),
    )
    for number, parts in enumerate(strokes):
        _fill(table, number, parts)
    return table
