"""conv_transpose2d and its gradients: fastconv, NumPy matmul + adding up taps, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cases import Array, normal
from comparing import assert_agree

import fastconv
from fastconv import reference

GRADIENTS = ("grad_x", "grad_weight")


@dataclass(frozen=True)
class Transposed:
    """One transposed convolution: x (N, C, H, H) to K channels, square kernels."""

    N: int
    C: int
    H: int
    K: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def __str__(self) -> str:
        return f"{self.N}x{self.C}x{self.H}x{self.H}->{self.K} k{self.kernel}s{self.stride}p{self.padding}"

    def draw(self) -> tuple[Array, Array, Array, Array]:
        """x, weight, bias and grad_y: the same numbers in every process."""
        rng = np.random.default_rng(0)
        size = (self.H - 1) * self.stride - 2 * self.padding + self.kernel
        x, grad_y = normal(rng, (self.N, self.C, self.H, self.H)), normal(rng, (self.N, self.K, size, size))
        weight = normal(rng, (self.C, self.K, self.kernel, self.kernel))
        return x, weight / np.float32(np.sqrt(weight[0].size)), normal(rng, (self.K,)), grad_y


CASES = [
    Transposed(16, 100, 1, 256, 4),  # the layers of a small generator
    Transposed(16, 256, 4, 128, 4, 2, 1),
    Transposed(16, 128, 8, 64, 4, 2, 1),
    Transposed(16, 64, 16, 1, 4, 2, 1),
    Transposed(8, 64, 28, 32, 4, 2, 1),
    Transposed(8, 128, 14, 64, 3, 1, 1),
    Transposed(8, 64, 14, 32, 2, 2),
]
MINIATURE = Transposed(2, 3, 4, 2, 4, 2, 1)


def numpy_conv_transpose2d(x: Array, weight: Array, bias: Array, stride: int, padding: int) -> Array:
    """A product for all taps, each added where it belongs."""
    N, C, H, W = x.shape
    _, K, R, S = weight.shape
    products = (weight.reshape(C, -1).T @ x.reshape(N, C, -1)).reshape(N, K, R, S, H, W)
    y = np.zeros((N, K, (H - 1) * stride + R, (W - 1) * stride + S), x.dtype) + bias[:, None, None]
    for r in range(R):
        for s in range(S):
            y[:, :, r : r + H * stride : stride, s : s + W * stride : stride][:, :, :H, :W] += products[:, :, r, s]
    return np.ascontiguousarray(y[:, :, padding : y.shape[2] - padding, padding : y.shape[3] - padding])


def for_libraries(*libraries: str) -> Any:
    """Each case by each library; the reference takes seconds, and does the miniature alone."""
    return pytest.mark.parametrize(
        ("case", "library"), [pytest.param(c, name, id=f"{c}-{name}") for c in CASES for name in libraries]
    )


@for_libraries("fastconv", "numpy")
def test_forward(case: Transposed, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = MINIATURE if smoke else case
    arguments = (*case.draw()[:3], case.stride, case.padding)
    conv_transpose2d = {"fastconv": fastconv.conv_transpose2d, "numpy": numpy_conv_transpose2d}[library]
    y = measure(f"conv_transpose2d forward {case}", lambda: conv_transpose2d(*arguments))
    assert_agree(y, fastconv.conv_transpose2d(*arguments))


@pytest.mark.parametrize("gradient", GRADIENTS)
@for_libraries("fastconv")
def test_backward(case: Transposed, library: str, gradient: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = MINIATURE if smoke else case
    x, weight, _, grad_y = case.draw()
    need = gradient == "grad_x", gradient == "grad_weight", False

    def call() -> Any:
        gradients = fastconv.conv_transpose2d_backward(grad_y, x, weight, case.stride, case.padding, need=need)
        return gradients[GRADIENTS.index(gradient)]

    result = measure(f"conv_transpose2d {gradient} {case} {library}", call)
    if smoke:
        naive = reference.conv_transpose2d_backward(grad_y, x, weight, case.stride, case.padding, need=need)
        assert_agree(result, naive[GRADIENTS.index(gradient)])
