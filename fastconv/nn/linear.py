"""`Linear` and `Flatten`: from feature maps to class scores."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastconv import _validation as check
from fastconv.ops import linear, linear_backward

from .init import Init, check_init, initialise
from .module import Array, Module, Parameter, float_dtype, positive


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : float32 or float64
    rng : numpy.random.Generator or None
        What the initial weights are drawn from.
    init : str or a number
        'default', 'glorot', 'kaiming', ...: see `fastconv.nn.init`.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None

    Notes
    -----
    x (..., in_features) -> y (..., out_features)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Init = "default",
    ) -> None:
        self.in_features = positive("Linear", "in_features", in_features)
        self.out_features = positive("Linear", "out_features", out_features)
        self.init = check_init("Linear", init)
        kind = float_dtype("Linear", dtype)
        check.fits("Linear", "weight", (self.out_features, self.in_features))
        self.weight = Parameter.empty((self.out_features, self.in_features), kind)
        self.bias = Parameter.empty((self.out_features,), kind) if check.flag("Linear", "bias", bias) else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the weights anew."""
        rng = check.generator("Linear", rng)
        initialise(self.weight, self.bias, self.init, self.in_features, self.out_features, rng)

    def forward(self, x: Array) -> Array:
        bias = self.bias
        y = linear(x, self.weight.data, None if bias is None else bias.data)
        self._keep(x)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (x,) = self._kept()
        bias = self.bias
        need = (need_grad_x, True, bias is not None)
        grad_x, grad_weight, grad_bias = linear_backward(grad_y, x, self.weight.data, need=need)
        self.weight.add_grad(grad_weight)
        if bias is not None:
            bias.add_grad(grad_bias)
        return grad_x

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Merge the axes from `start_dim` to `end_dim` into one; y is a view of x where memory allows.

    Parameters
    ----------
    start_dim, end_dim : int
        Counted from the end where negative.  The defaults keep the batch: (N, C, H, W) -> (N, C*H*W).
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = check.integer("Flatten", "start_dim", start_dim)
        self.end_dim = check.integer("Flatten", "end_dim", end_dim)

    def forward(self, x: Array) -> Array:
        x = check.floats("Flatten", "x", x)
        shape = x.shape
        if self.start_dim == 1 and self.end_dim == -1 and len(shape) > 1 and x.size:  # the usual case, quickly
            self._keep(shape)
            return x.reshape(shape[0], -1)
        start = self.start_dim if self.start_dim >= 0 else self.start_dim + len(shape)
        end = self.end_dim if self.end_dim >= 0 else self.end_dim + len(shape)
        if not 0 <= start <= end < len(shape):
            raise check.ShapeError(
                f"Flatten: start_dim={self.start_dim} and end_dim={self.end_dim} do not fit x of shape {shape}"
            )
        self._keep(shape)
        return x.reshape(*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        shape: tuple[Any, ...]
        (shape,) = self._kept()
        if not need_grad_x:
            return None
        grad_y = check.floats("Flatten.backward", "grad_y", grad_y)
        start = self.start_dim % len(shape)
        end = self.end_dim % len(shape) + 1
        expected = (*shape[:start], prod(shape[start:end]), *shape[end:])
        if grad_y.shape != expected:
            raise check.ShapeError(
                f"Flatten.backward: grad_y has shape {grad_y.shape}, expected the shape of the output, {expected}"
            )
        return grad_y.reshape(shape)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
