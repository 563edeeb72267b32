"""`Dropout` and `Dropout2d`: while training, zero a random part and scale up the rest; in eval mode, do nothing."""

from __future__ import annotations

import numpy as np

from fastconv import _validation as check
from fastconv.ops import dropout, dropout2d, dropout2d_backward, dropout_backward

from .module import Array, Module


class Dropout(Module):
    """Zero each element with probability `p` while training, and multiply the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float, 0 to 1
    rng : numpy.random.Generator or None
        Gives one seed for each forward in training mode; None is a fresh one.

    Notes
    -----
    In eval mode y is x itself.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        op = type(self).__name__
        self.p = check.number_between(op, "p", p, 0.0, 1.0)
        self.rng = check.generator(op, rng) or np.random.default_rng()

    def forward(self, x: Array) -> Array:
        if not self.training:
            self._saved = None
            return check.floats(type(self).__name__, "x", x)
        y, mask = dropout(x, self.p, rng=self.rng, return_mask=True)
        self._keep(mask)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (mask,) = self._kept()
        return dropout_backward(grad_y, mask, self.p) if need_grad_x else None

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Zero each whole channel with probability `p` while training, and multiply the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float, 0 to 1
    rng : numpy.random.Generator or None
        As in Dropout.

    Notes
    -----
    x (N, C, H, W) or (C, H, W); in eval mode y is x itself.
    """

    def forward(self, x: Array) -> Array:
        if not self.training:
            self._saved = None
            return check.floats(type(self).__name__, "x", x)
        y, mask = dropout2d(x, self.p, rng=self.rng, return_mask=True)
        self._keep(mask)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (mask,) = self._kept()
        return dropout2d_backward(grad_y, mask, self.p) if need_grad_x else None
