"""Dropout of elements and of whole channels, and their gradients.

The random numbers are a hash of the element's number and of one 64-bit seed, so that what is dropped depends on neither
the number of threads nor the order of the work.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from fastconv._kernels import dropout_backward as dropout_backward_kernel
from fastconv._kernels import dropout_forward, empty
from fastconv._threads import get_num_threads
from fastconv._validation import (
    U8,
    ShapeError,
    check_channels,
    contiguous,
    exact_dtype,
    flag,
    floats,
    generator,
    number_between,
)

if TYPE_CHECKING:
    from fastconv._validation import Array


@overload
def dropout(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: Literal[False] = False,
) -> Array: ...
@overload
def dropout(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: Literal[True],
) -> tuple[Array, Array]: ...
@overload
def dropout(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]: ...
def dropout(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]:
    """Zero each element with probability `p`, and multiply the others by ``1 / (1 - p)``.

    ``y[i] = x[i] / (1 - p)`` where ``hash32(i, seed) >= floor(p * 2**32)``, else 0, for the flat position i in
    row-major order.  Without `training`, y is a copy of x.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape
    p : float in 0 .. 1, default 0.5
        Probability of an element to be dropped.
    training : bool, default True
    rng : numpy.random.Generator, optional
        One 64-bit seed is drawn from it in training, and nothing otherwise; None takes the seed from the system.
    return_mask : bool, default False
        Also return which elements were kept.

    Returns
    -------
    y : ndarray, dtype and shape of x
    mask : ndarray, uint8, shape of x; only with return_mask
        1 where the element was kept, else 0.  All 1 without training; p is then 0 for dropout_backward.

    Raises
    ------
    ShapeError
        If p is not in 0 .. 1.
    TypeError
        If x is not a NumPy array of float32 or float64, or another argument is of a wrong type.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, mask = fastconv.dropout(np.ones(8, np.float32), 0.5, rng=np.random.default_rng(0), return_mask=True)
    >>> bool(np.all(y == 2 * mask))
    True
    """
    op = "dropout"
    x = floats(op, "x", x)
    return _forward(op, x, x.shape, 1, p, training, rng, return_mask)


def dropout_backward(grad_y: Array, mask: Array, p: float = 0.5) -> Array:
    """The gradient of `dropout`: ``grad_y / (1 - p)`` where the element was kept, else 0.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, any shape
        Gradient of the loss with respect to the result of dropout.
    mask : ndarray, uint8, shape of grad_y
        As returned by dropout.
    p : float in 0 .. 1, default 0.5
        As in the call of dropout.

    Returns
    -------
    grad_x : ndarray, dtype and shape of grad_y

    Raises
    ------
    ShapeError
        If the shapes differ, or p is not in 0 .. 1.
    TypeError
        If grad_y is not a NumPy array of float32 or float64, mask not one of uint8, or p not a number.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.dropout_backward(np.array([1, 2, 3], np.float32), np.array([1, 0, 1], np.uint8), 0.5)
    array([2., 0., 6.], dtype=float32)
    """
    op = "dropout_backward"
    grad_y = floats(op, "grad_y", grad_y)
    return _backward(op, grad_y, mask, grad_y.shape, 1, p)


@overload
def dropout2d(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: Literal[False] = False,
) -> Array: ...
@overload
def dropout2d(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: Literal[True],
) -> tuple[Array, Array]: ...
@overload
def dropout2d(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]: ...
def dropout2d(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]:
    """Zero whole channels with probability `p`, and multiply the others by ``1 / (1 - p)``.

    As `dropout`, with one random number for each channel of each image, which is number ``n * C + c``.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
    p : float in 0 .. 1, default 0.5
        Probability of a channel to be dropped.
    training, rng, return_mask
        As in dropout.

    Returns
    -------
    y : ndarray, dtype and shape of x
    mask : ndarray, uint8, shape (N, C) or (C,); only with return_mask
        1 where the channel was kept, else 0.  All 1 without training; p is then 0 for dropout2d_backward.

    Raises
    ------
    ShapeError
        If p is not in 0 .. 1, or x has a wrong number of dimensions.
    TypeError
        If x is not a NumPy array of float32 or float64, or another argument is of a wrong type.

    Notes
    -----
    Three axes are one image, (C, H, W), as for the other operations on images and as PyTorch announces it; up to 2.13,
    PyTorch reads them as (N, C, L) and warns.

    References
    ----------
    Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, mask = fastconv.dropout2d(np.ones((3, 2, 2), np.float32), rng=np.random.default_rng(0), return_mask=True)
    >>> bool(np.all(y == 2 * mask[:, None, None]))
    True
    """
    op = "dropout2d"
    x = floats(op, "x", x)
    channels, pixels = check_channels(op, "x", x)
    return _forward(op, x, channels, pixels, p, training, rng, return_mask)


def dropout2d_backward(grad_y: Array, mask: Array, p: float = 0.5) -> Array:
    """The gradient of `dropout2d`: ``grad_y / (1 - p)`` in the channels that were kept, else 0.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        Gradient of the loss with respect to the result of dropout2d.
    mask : ndarray, uint8, shape (N, C) or (C,)
        As returned by dropout2d.
    p : float in 0 .. 1, default 0.5
        As in the call of dropout2d.

    Returns
    -------
    grad_x : ndarray, dtype and shape of grad_y

    Raises
    ------
    ShapeError
        If the shapes do not fit each other, or p is not in 0 .. 1.
    TypeError
        If grad_y is not a NumPy array of float32 or float64, mask not one of uint8, or p not a number.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.dropout2d_backward(np.ones((2, 1, 2), np.float32), np.array([0, 1], np.uint8), 0.75)
    array([[[0., 0.]],
    <BLANKLINE>
           [[4., 4.]]], dtype=float32)
    """
    op = "dropout2d_backward"
    grad_y = floats(op, "grad_y", grad_y)
    channels, pixels = check_channels(op, "grad_y", grad_y)
    return _backward(op, grad_y, mask, channels, pixels, p)


def _forward(
    op: str,
    x: Array,
    mask_shape: tuple[int, ...],
    unit: int,
    p: float,
    training: bool,
    rng: np.random.Generator | None,
    return_mask: bool,
) -> Array | tuple[Array, Array]:
    """Drop units of `unit` neighbouring elements."""
    p = number_between(op, "p", p, 0.0, 1.0)
    training = flag(op, "training", training)
    return_mask = flag(op, "return_mask", return_mask)
    rng = generator(op, rng)
    y = empty(x.shape, x.dtype)
    mask = empty(mask_shape, U8)
    if training:
        dropout_forward(contiguous(x), y, mask, p, _seed(rng), unit, get_num_threads())
    else:
        np.copyto(y, x)
        mask.fill(1)
    return (y, mask) if return_mask else y


def _backward(op: str, grad_y: Array, mask: Array, mask_shape: tuple[int, ...], unit: int, p: float) -> Array:
    mask = exact_dtype(op, "mask", mask, U8)
    if mask.shape != mask_shape:
        raise ShapeError(f"{op}: mask has shape {mask.shape}, expected {mask_shape} for grad_y of shape {grad_y.shape}")
    p = number_between(op, "p", p, 0.0, 1.0)
    grad_x = empty(grad_y.shape, grad_y.dtype)
    dropout_backward_kernel(contiguous(grad_y), contiguous(mask), grad_x, p, unit, get_num_threads())
    return grad_x


def _seed(rng: np.random.Generator | None) -> int:
    if rng is None:
        return int.from_bytes(os.urandom(8), "little")
    return int(rng.integers(0, 2**64, dtype=np.uint64))
