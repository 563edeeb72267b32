"""What fastconv does with a convolution: the algorithm, the tile in registers and the workspace of each pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastconv._kernels import conv2d_explain
from fastconv._threads import get_num_threads
from fastconv._validation import Size, check_conv2d_shapes

PASSES = ("forward", "grad_x", "grad_weight")


class Explanation(NamedTuple):
    """How one pass of a convolution is computed.

    Attributes
    ----------
    algorithm : str
        - 'winograd F(2x2, 3x3)', 'winograd F(4x4, 3x3)': 16 products for 4 results, or 36 for 16
        - 'channels', 'positions': sums of products, with vectors over output channels or over positions
        - 'pointwise': a matrix product, for kernels of 1x1
        - 'depthwise': plane by plane, for groups of few channels
        - 'tap sums': a matrix product, then sums over the taps, for grad_x to few input channels
        - 'product': a matrix product, for grad_x of a kernel as large as the image
        - 'outer products over channels', 'outer products over positions': for grad_weight
        - 'phases, then ...': a dilated convolution as undilated ones
    tile : (int, int)
        What stays in registers: output channels x positions, or taps x channels for outer products; (0, 0) where that
        does not describe it.
    workspace : int
        Bytes of scratch memory, with the threads of now.
    sparse : bool
        Whether this gradient multiplies only what is not zero when most of grad_y is zero, as behind max pools.

    Examples
    --------
    >>> import fastconv
    >>> explained = fastconv.explain_conv2d((8, 144, 56, 56), (144, 1, 3, 3), padding=1, groups=144)
    >>> explained["grad_weight"].algorithm
    'depthwise'
    """

    algorithm: str
    tile: tuple[int, int]
    workspace: int
    sparse: bool


def explain_conv2d(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike = np.float32,
) -> dict[str, Explanation]:
    """How conv2d and conv2d_backward compute a convolution on this machine.

    Parameters
    ----------
    x_shape : (int, int, int, int) or (int, int, int)
        (N, C, H, W) or (C, H, W).
    weight_shape : (int, int, int, int)
        (K, C // groups, R, S).
    stride, padding, dilation, groups
        As in the call of conv2d.
    dtype : float32 or float64, default float32
        Of the arrays.

    Returns
    -------
    passes : dict of Explanation
        Of 'forward', 'grad_x' and 'grad_weight'.

    Raises
    ------
    ShapeError, TypeError
        As conv2d; TypeError also if dtype is neither float32 nor float64.

    Notes
    -----
    The choice depends on the shapes, the dtype, the instruction set and `set_float32_precision`, never on the number of
    threads; that of forward not on N either.  Numbers that Winograd's sums could not hold (infinities, NaN, values
    beyond 2**54) go to the direct kernels, image by image.

    Examples
    --------
    >>> import fastconv
    >>> passes = fastconv.explain_conv2d((128, 32, 14, 14), (64, 32, 3, 3), padding=1)
    >>> passes["forward"].algorithm
    'winograd F(2x2, 3x3)'
    """
    problem, single = check_conv2d_shapes(
        "explain_conv2d", x_shape, weight_shape, stride, padding, dilation, groups, dtype
    )
    explained = {}
    for i, name in enumerate(PASSES):
        algorithm, m, tile, workspace, sparse = conv2d_explain(problem, single, i, get_num_threads())
        explained[name] = Explanation(_name(algorithm, m), tile, workspace, sparse)
    return explained


def _name(algorithm: str, m: int) -> str:
    winograd = f"winograd F({m}x{m}, 3x3)"
    names = {
        "winograd": winograd,
        "phases": f"phases, then {winograd}",
        "tap_sums": "tap sums",
        "outer_taps": "outer products over channels",
        "outer_positions": "outer products over positions",
    }
    return names.get(algorithm, algorithm)
