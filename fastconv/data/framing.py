"""From a picture of something drawn to what a network trained on MNIST expects.

1. `ink`: how much ink each pixel of an image holds, whatever the colours, whichever is the lighter.
2. `frame`: the ink scaled into a box of 20x20 pixels by its longest side, its proportions kept, each pixel the mean of
   what falls into it, and the box put where the ink's centre of mass is the centre of the 28x28 image.
3. `draw_strokes`: the same for the path of a pen, drawn at that size at once.

This is how MNIST itself was made from scanned forms (Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten
digits).  All results hold ink from 0 (none) to 1; an image without any has no frame: the answer is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GREY", "draw_strokes", "frame", "ink", "picture"]

SIDE, BOX = 28, 20  # pixels: the image, and the box that the ink fills
LEAST_CONTRAST = 0.08  # of the way from black to white; less is an empty sheet
LEAST_INK = 0.1  # of the darkest: what counts when the ink's edges are looked for
MOST_NOISE = 0.6  # of the ink's contrast; where there is more, what stands out is noise
LARGE = 100  # pixels: height and width from which single pixels do not count
FLAT = 0.02  # a background whose border varies by less is of one colour
PEN = (0.95, 1.8)  # pixels of the box: least and most half width of a pen
LEAST_EXTENT = 0.1  # of the sheet: a smaller drawing is not enlarged further
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R BT.601
MOST_SAMPLES = 600  # of a path: a scribble that is longer is sampled more coarsely

F32 = NDArray[np.float32]


# -- ink ---------------------------------------------------------------------------------------------------------------


def ink(image: NDArray[Any]) -> F32 | None:
    """How much ink each pixel of an image holds.

    The background is the colour that most of the border has, or, where the border is not of one colour (a photograph of
    a sheet), a smooth surface through what is lighter or darker than the ink.  Ink is what differs from it.

    Parameters
    ----------
    image : ndarray, shape (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4)
        Grey, grey and alpha, RGB, or RGB and alpha: integers from 0 to 255, or floats from 0 to 1.

    Returns
    -------
    ndarray, float32, shape (H, W), from 0 to 1, or None for an image that is all of one colour

    Raises
    ------
    ValueError
        If the image is of another shape, or holds NaN or infinities.
    """
    pixels = _pixels(image)
    if pixels.size == 0:
        return None
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(border, axis=0)
    low, high = np.quantile(border, [0.15, 0.85], axis=0)
    distance = np.abs(pixels - background).max(axis=2)
    if (high - low).max() > FLAT and min(pixels.shape[:2]) >= SIDE:
        distance = _distance_from_surface(pixels.mean(axis=2), distance)
    return _stretched(distance)


def _pixels(image: NDArray[Any]) -> F32:
    """The image as (H, W, 1) or (H, W, 3), from 0 to 1, seen on a sheet that its ink shows on."""
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(f"an image must be of shape (H, W) or (H, W, 1 to 4), got {np.shape(image)}")
    kind = array.dtype.kind
    if kind not in "buif":
        raise ValueError(f"an image must hold numbers, got {array.dtype}")
    values = array.astype(np.float32) / np.float32(255 if kind in "ui" else 1)
    if not np.isfinite(values).all():
        raise ValueError("an image must not hold NaN or infinities")
    values = np.clip(values, 0, 1)
    if values.shape[2] in (1, 3) or values.size == 0:
        return np.asarray(values, np.float32)
    colour, alpha = values[:, :, :-1], values[:, :, -1:]
    if alpha.min() == 1:
        return np.asarray(colour, np.float32)
    weight = float(alpha.sum())
    light = weight > 0 and float((colour * alpha).sum()) / (weight * colour.shape[2]) > 0.5
    sheet = np.float32(0 if light else 1)  # dark ink that was cut out lies on white, light ink on black
    return np.asarray(colour * alpha + sheet * (1 - alpha), np.float32)


def _distance_from_surface(grey: F32, distance: F32) -> F32:
    """How far pixels are from a quadratic surface through the background, which is found by fitting it three times.

    Below 0 where a pixel differs from it to the other side than the ink does: noise.
    """
    height, width = grey.shape
    step = max(1, min(height, width) // 64)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    coarse, few = grey[::step, ::step].ravel(), terms[::step, ::step].reshape(-1, 6)
    away = distance[::step, ::step].ravel()
    for _ in range(3):
        sheet = away <= _threshold(away)
        if sheet.sum() < 12:
            return distance
        surface, *_ = np.linalg.lstsq(few[sheet], coarse[sheet], rcond=None)
        signed = coarse - few @ surface
        ink_is_lighter = float(signed.max()) > -float(signed.min())
        away = np.asarray(signed if ink_is_lighter else -signed, np.float32)
    signed = grey - terms @ surface
    return np.asarray(signed if ink_is_lighter else -signed, np.float32)


def _threshold(values: F32) -> float:
    """The value that parts numbers from 0 to 1 into two groups best (N. Otsu, 1979)."""
    counts, edges = np.histogram(np.maximum(values, 0), bins=256, range=(0, 1))
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = total / below - (total[-1] - total) / above
        between = np.nan_to_num(below * above * gap**2)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:][best[len(best) // 2]])


def _stretched(distance: F32) -> F32 | None:
    """Distances from the background as ink: its noise is 0, the darkest ink 1; None where nothing stands out."""
    if float(distance.max()) < LEAST_CONTRAST:
        return None
    threshold = _threshold(distance)
    paper, strokes = distance[distance <= threshold], distance[distance > threshold]
    if not paper.size or not strokes.size:
        return None
    middle = float(np.median(paper))
    noise = middle + 6 * float(np.median(np.abs(paper - middle)))
    full = max(float(np.quantile(strokes, 0.9)), LEAST_CONTRAST)
    if noise >= MOST_NOISE * full:
        return None
    return np.asarray(np.clip((distance - noise) / (full - noise), 0, 1), np.float32)


# -- framing -----------------------------------------------------------------------------------------------------------


def frame(drawn: NDArray[Any], side: int = SIDE) -> F32 | None:
    """Scale ink into the box and put the box where its centre of mass is the centre of the image.

    Parameters
    ----------
    drawn : ndarray, float, shape (H, W)
        Ink from 0 to 1, of any size.
    side : int
        Height and width of the result, pixels; the box has 20/28 of it.

    Returns
    -------
    ndarray, float32, shape (side, side), from 0 to 1, or None where there is no ink
    """
    drawn = np.asarray(drawn, np.float32)
    most = float(drawn.max(initial=0))
    if most <= 0:
        return None
    there = (_smooth(drawn) if min(drawn.shape) >= LARGE else drawn) > LEAST_INK * most
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    cut = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = max(1, round(side * BOX / SIDE))
    scale = box / max(cut.shape)
    height, width = (max(1, round(extent * scale)) for extent in cut.shape)
    small = _resampling(cut.shape[0], height) @ cut @ _resampling(cut.shape[1], width).T
    # A thin pen leaves pale pixels when it is scaled down: MNIST's ink is always full somewhere.
    return _centred(np.clip(small / max(float(np.quantile(small[small > 0], 0.95)), 1e-6), 0, 1), side)


def _smooth(image: F32) -> F32:
    """Means over 3x3 pixels: a speck of dust is no edge of the ink."""
    wide = np.pad(image, 1)
    tall = wide[:-2] + wide[1:-1] + wide[2:]
    return np.asarray((tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:]) / 9, np.float32)


def _resampling(old: int, new: int) -> F32:
    """The map (new, old) from a row of pixels to one of another length: means when shrinking, else linear."""
    scale = old / new
    centre = (np.arange(new) + 0.5) * scale
    pixel = np.arange(old) + 0.5
    reach = max(scale, 1.0)
    if scale > 1:  # the overlap of the new pixel, `scale` long, with each old one
        low = np.maximum(centre[:, None] - scale / 2, pixel - 0.5)
        high = np.minimum(centre[:, None] + scale / 2, pixel + 0.5)
        weight = np.maximum(high - low, 0)
    else:
        weight = np.maximum(1 - np.abs(centre[:, None] - pixel) / reach, 0)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


def _centred(box: NDArray[Any], side: int) -> F32:
    """Put a box of ink, by whole pixels, where its centre of mass is pixel side / 2 of a (side, side) image.

    So it is in MNIST: in each of its images the centre of mass is between 13.5 and 14.5, counted from 0.
    """
    height, width = box.shape
    mass = float(box.sum())
    y = float(box.sum(axis=1) @ np.arange(height)) / mass
    x = float(box.sum(axis=0) @ np.arange(width)) / mass
    top = min(max(round(side / 2 - y), 0), side - height)
    left = min(max(round(side / 2 - x), 0), side - width)
    image = np.zeros((side, side), np.float32)
    image[top : top + height, left : left + width] = box
    return image


def picture(image: NDArray[Any], height: int, width: int) -> F32 | None:
    """An image in colour at another size, for models that look at whole pictures and not at ink.

    It is cut to the proportions of `height` to `width`, around its middle, and made smaller or larger.

    Parameters
    ----------
    image : ndarray
        As for `ink`; what is transparent shows the sheet.
    height, width : int

    Returns
    -------
    ndarray, float32, shape (3, height, width), from 0 to 1, or None for an image without pixels
    """
    pixels = _pixels(_cut(np.asarray(image), height, width))
    if pixels.size == 0:
        return None
    rows, columns = _resampling(pixels.shape[0], height), _resampling(pixels.shape[1], width)
    planes = [rows @ pixels[:, :, channel] @ columns.T for channel in range(pixels.shape[2])]
    return np.asarray(np.stack(planes if len(planes) == 3 else planes * 3), np.float32)


def _cut(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The middle of an image (H, W, ...), as much of it as has the proportions of `height` to `width`."""
    if image.ndim < 2:
        return image  # `_pixels` refuses it
    rows, columns = image.shape[:2]
    if rows * width > columns * height:
        keep = max(1, round(columns * height / width))
        return image[(rows - keep) // 2 :][:keep]
    keep = max(1, round(rows * width / height))
    return image[:, (columns - keep) // 2 :][:, :keep]


# -- the path of a pen -------------------------------------------------------------------------------------------------


def draw_strokes(strokes: Sequence[Any], pen: float, side: int = SIDE) -> F32 | None:
    """Draw the path of a pen as `frame` would show it.

    The pen's width is scaled with the drawing but kept within what MNIST's pens have, so that a digit drawn small with
    a broad pen is not drowned in ink, nor one drawn large with a fine pen lost.

    Parameters
    ----------
    strokes : sequence of arrays, each of shape (n, 2)
        x to the right and y down, in widths of the sheet; a stroke of one point is a dot.
    pen : float
        Width of the pen, in widths of the sheet.
    side : int
        Height and width of the result, pixels.

    Returns
    -------
    ndarray, float32, shape (side, side), from 0 to 1, or None where there are no strokes
    """
    paths = [np.asarray(stroke, np.float64).reshape(-1, 2) for stroke in strokes]
    paths = [path for path in paths if len(path)]
    if not paths:
        return None
    points = np.concatenate(paths)
    low, high = points.min(axis=0), points.max(axis=0)
    box = max(1, round(side * BOX / SIDE))
    unit = box / BOX
    extent = max(float((high - low).max()), LEAST_EXTENT)
    half = float(np.clip(0.5 * pen * box / (extent + pen), PEN[0] * unit, PEN[1] * unit))
    scale = (box - 2 * half) / extent
    size = np.maximum(np.rint((high - low) * scale + 2 * half), 1).astype(int)
    offset = (size - (high - low) * scale) / 2 - low * scale
    starts, ends = _segments([path * scale + offset for path in paths])
    grid_x, grid_y = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    distance = _distance(starts, ends, grid_x, grid_y)
    drawn = np.clip(0.5 + (half - distance) / unit, 0, 1)
    return _centred(drawn, side)


def _segments(paths: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Paths in pixels as straight pieces of about a pixel: where each starts and ends, (S, 2) twice."""
    walks = [
        np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))]) if len(path) > 1 else np.zeros(1)
        for path in paths
    ]
    step = max(1.0, sum(float(walk[-1]) for walk in walks) / MOST_SAMPLES)
    starts, ends = [], []
    for path, walk in zip(paths, walks, strict=True):
        at = np.linspace(0, walk[-1], max(2, 1 + int(np.ceil(walk[-1] / step))))
        samples = np.stack([np.interp(at, walk, path[:, axis]) for axis in (0, 1)], axis=1)
        starts.append(samples[:-1])
        ends.append(samples[1:])
    return np.concatenate(starts), np.concatenate(ends)


def _distance(
    starts: NDArray[Any], ends: NDArray[Any], grid_x: NDArray[Any], grid_y: NDArray[Any]
) -> NDArray[np.float64]:
    """How far each pixel's centre is from the nearest of straight pieces, (len(grid_y), len(grid_x))."""
    along = ends - starts
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    to_x = grid_x[:, None] - starts[:, 0]  # (W, S)
    to_y = grid_y[:, None] - starts[:, 1]  # (H, S)
    share = ((to_x * along[:, 0])[None] + (to_y * along[:, 1])[:, None]) / length  # (H, W, S)
    np.clip(share, 0, 1, out=share)
    away = (to_x[None] - share * along[:, 0]) ** 2 + (to_y[:, None] - share * along[:, 1]) ** 2
    return np.sqrt(away.min(axis=2))  # type: ignore[no-any-return]
