"""Dropout: zero random elements (or whole channels) in training, and scale the others up to keep the mean.

Random numbers are a hash of the element's number and one 64-bit seed, so that an element's fate depends on neither the
number of threads nor the order of the work.
"""

import numpy as np

from ._windows import Array, cast


def dropout(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]:
    """Zero each element with probability `p`; multiply the others by ``1 / (1 - p)``.

    ``y[i] = x[i] / (1 - p)`` where ``hash(i, seed) >= floor(p * 2**32)``, else 0, for the flat position i in row-major
    order (Srivastava et al., "Dropout", JMLR 15, 2014).  Without `training`, y is x.

    Parameters
    ----------
    x : ndarray, any shape
    p : float, 0 to 1
    training : bool
    rng : numpy.random.Generator, or None for a fresh one
        One 64-bit seed is drawn from it.
    return_mask : bool

    Returns
    -------
    y : ndarray, same shape
    mask : ndarray, uint8, same shape, 1 where the element was kept; only with return_mask
    """
    mask = _keep(x.shape, p, training, rng)
    y = _scale(x, mask, p) if training else x.copy()
    return (y, mask) if return_mask else y


def dropout_backward(grad_y: Array, mask: Array, p: float = 0.5) -> Array:
    """``grad_x = grad_y / (1 - p)`` where the element was kept, else 0.

    Parameters
    ----------
    grad_y : ndarray, any shape
    mask : ndarray, uint8, same shape
    p : float, as in the call of dropout

    Returns
    -------
    grad_x : ndarray, same shape
    """
    return _scale(grad_y, mask, p)


def dropout2d(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]:
    """Zero whole channels with probability `p`; multiply the others by ``1 / (1 - p)``.

    As `dropout`, with one random number for each channel, which is number ``n * C + c`` (Tompson et al., "Efficient
    Object Localization Using Convolutional Networks", CVPR 2015).

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W) or (C, H, W)
    p, training, rng, return_mask
        As in dropout.

    Returns
    -------
    y : ndarray, same shape
    mask : ndarray, uint8, shape (N, C) or (C,), 1 where the channel was kept; only with return_mask
    """
    mask = _keep(x.shape[:-2], p, training, rng)
    y = _scale(x, mask[..., np.newaxis, np.newaxis], p) if training else x.copy()
    return (y, mask) if return_mask else y


def dropout2d_backward(grad_y: Array, mask: Array, p: float = 0.5) -> Array:
    """``grad_x = grad_y / (1 - p)`` in the channels that were kept, else 0.

    Parameters
    ----------
    grad_y : ndarray, shape (N, C, H, W) or (C, H, W)
    mask : ndarray, uint8, shape (N, C) or (C,)
    p : float, as in the call of dropout2d

    Returns
    -------
    grad_x : ndarray, same shape
    """
    return _scale(grad_y, mask[..., np.newaxis, np.newaxis], p)


def _scale(x: Array, mask: Array, p: float) -> Array:
    """`x` times ``1 / (1 - p)``, rounded to x's dtype, where the mask is set, else 0."""
    factor = x.dtype.type(1 / (1 - p) if p < 1 else 0)
    return cast(np.where(mask != 0, x, 0) * factor, x.dtype)


def _keep(shape: tuple[int, ...], p: float, training: bool, rng: np.random.Generator | None) -> Array:
    """1 for each unit that is kept."""
    if not training:
        return np.ones(shape, np.uint8)
    seed = int((rng or np.random.default_rng()).integers(0, 2**64, dtype=np.uint64))
    units = np.arange(np.prod(shape, dtype=np.uint64), dtype=np.uint64)
    threshold = int(p * 2**32)  # 2**32 for p = 1, above every hash
    return (_hash(units, seed).astype(np.uint64) >= threshold).astype(np.uint8).reshape(shape)


def _hash(i: Array, seed: int) -> Array:
    """32 well-mixed bits for each number `i` (uint64); all arithmetic is modulo 2**32.

    Two rounds of multiply and xorshift with the constants that Chris Wellons found by search ("Hash prospector",
    lowbias32: 16 0x7feb352d 15 0x846ca68b 16).
    """
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
    h: Array = (i.astype(np.uint32) * np.uint32(0x9E3779B9)) ^ low
    h += high ^ ((i >> np.uint64(32)).astype(np.uint32) * np.uint32(0x85EBCA6B))
    h ^= h >> 16
    h *= np.uint32(0x7FEB352D)
    h ^= h >> 15
    h *= np.uint32(0x846CA68B)
    h ^= h >> 16
    h += low
    h ^= h >> 16
    h *= np.uint32(0x7FEB352D)
    h ^= h >> 15
    return h
