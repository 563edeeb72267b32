"""How exact float32 arithmetic has to be: one setting for the process.

"high" lets 3x3 convolutions use Winograd's F(4x4, 3x3) where "highest" has F(2x2, 3x3); "medium" permits products of
bfloat16 as well, which no kernel uses yet.
"""

from __future__ import annotations

from fastconv import _kernels
from fastconv._validation import one_of

PRECISIONS = ("highest", "high", "medium")

_precision = "highest"


def set_float32_precision(precision: str) -> None:
    """Permit less exact, faster kernels for float32, for the whole process.

    Parameters
    ----------
    precision : {'highest', 'high', 'medium'}
        With n products in a sum, eps = 2**-23, and the sum over them of ``abs(x) * abs(weight)`` as unit:

        - 'highest', the default: each element within ``(4 + sqrt(n)) * eps`` units of exact.
        - 'high': within ``40 * eps`` units.
        - 'medium': products of bfloat16, summed in float32.

    Raises
    ------
    ShapeError
        If it is another word.
    TypeError
        If it is not a str.

    Notes
    -----
    The setting is a permission, not a promise of speed.  'high' lets 3x3 convolutions with stride 1 use Winograd's
    F(4x4, 3x3) [1]_ where 'highest' has F(2x2, 3x3), and small integers no longer give exact results there; in this
    release 'medium' does the same.  float64 is not affected.

    References
    ----------
    .. [1] A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_float32_precision("high")
    >>> fastconv.get_float32_precision()
    'high'
    >>> fastconv.set_float32_precision("highest")
    """
    global _precision
    _precision = str(one_of("set_float32_precision", "precision", precision, PRECISIONS))
    _kernels.set_precision(PRECISIONS.index(_precision))


def get_float32_precision() -> str:
    """The setting of `set_float32_precision`.

    Returns
    -------
    precision : 'highest', 'high' or 'medium'

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_float32_precision()
    'highest'
    """
    return _precision
