"""`ReLU`, `LeakyReLU`, `Sigmoid`, `Tanh`, `Softmax` and `LogSoftmax`."""

from __future__ import annotations

from fastconv import _validation as check
from fastconv.ops import (
    leaky_relu,
    leaky_relu_backward,
    log_softmax,
    log_softmax_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from fastconv.ops.relu import _relu_backward_in_place, _relu_in_place

from .module import Array, Module


class ReLU(Module):
    """``y = max(x, 0)``.  For backward it keeps y, which the next layer keeps as well."""

    def forward(self, x: Array) -> Array:
        y = relu(x)
        self._keep(y)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (y,) = self._kept()
        return relu_backward(grad_y, y) if need_grad_x else None

    def forward_in_place(self, x: Array) -> Array:
        """`forward` that overwrites x, for a caller that owns it; see fusion.py."""
        _relu_in_place(x)
        self._keep(x)
        return x

    def backward_in_place(self, grad_y: Array) -> Array:
        """`backward` that overwrites grad_y, for a caller that owns it."""
        (y,) = self._kept()
        if grad_y.shape != y.shape or grad_y.dtype != y.dtype or not grad_y.flags.carray:
            return relu_backward(grad_y, y)  # refuses what does not fit
        _relu_backward_in_place(grad_y, y)
        return grad_y


class LeakyReLU(Module):
    """``y = x where x > 0, else negative_slope * x``.

    Parameters
    ----------
    negative_slope : float

    Notes
    -----
    For backward it keeps y, which the next layer keeps as well; x where negative_slope is below 0, as signs are lost.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = check.number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Array) -> Array:
        y = leaky_relu(x, self.negative_slope)
        self._keep(y if self.negative_slope >= 0 else x)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (kept,) = self._kept()
        return leaky_relu_backward(grad_y, kept, self.negative_slope) if need_grad_x else None

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """``y = 1 / (1 + exp(-x))``.  For backward it keeps y."""

    def forward(self, x: Array) -> Array:
        y = sigmoid(x)
        self._keep(y)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (y,) = self._kept()
        return sigmoid_backward(grad_y, y) if need_grad_x else None


class Tanh(Module):
    """The hyperbolic tangent.  For backward it keeps y."""

    def forward(self, x: Array) -> Array:
        y = tanh(x)
        self._keep(y)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (y,) = self._kept()
        return tanh_backward(grad_y, y) if need_grad_x else None


class Softmax(Module):
    """``y = exp(x) / sum(exp(x))`` along `dim`: probabilities.

    Parameters
    ----------
    dim : int
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check.integer(type(self).__name__, "dim", dim)

    def forward(self, x: Array) -> Array:
        y = softmax(x, self.dim)
        self._keep(y)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (y,) = self._kept()
        return softmax_backward(grad_y, y, self.dim) if need_grad_x else None

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """``y = x - log(sum(exp(x)))`` along `dim`: logarithms of probabilities.

    Parameters
    ----------
    dim : int
    """

    def forward(self, x: Array) -> Array:
        y = log_softmax(x, self.dim)
        self._keep(y)
        return y

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        (y,) = self._kept()
        return log_softmax_backward(grad_y, y, self.dim) if need_grad_x else None
