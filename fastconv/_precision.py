"""How exact float32 arithmetic has to be: one setting for the process.

Today all three settings run the same kernels, those of "highest".  "high" and "medium" are a permission that later
releases may use for faster kernels (Winograd F(4x4), bfloat16 products); none uses it yet.
"""

from __future__ import annotations

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
    The setting is a permission, not a promise of speed: in this release all three run the same kernels, and results
    are those of 'highest'.  float64 is not affected.

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


def get_float32_precision() -> str:
    """The setting of set_float32_precision: 'highest', 'high' or 'medium'."""
    return _precision
