"""conv2d and its gradients: fastconv, NumPy im2col + matmul, and the naive reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import im2col
import pytest
from cases import CONVS, Conv
from comparing import assert_agree, miniature, windowed

import fastconv
from fastconv import reference

GRADIENTS = ("grad_x", "grad_weight")


@pytest.mark.parametrize(("case", "library"), windowed(CONVS))
def test_forward(case: Conv, library: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = miniature(case) if smoke else case
    x, weight, bias, _ = case.draw()
    conv2d = {"fastconv": fastconv.conv2d, "numpy": im2col.conv2d, "reference": reference.conv2d}[library]
    y = measure(f"conv2d forward {case.name} {case.label}", lambda: conv2d(x, weight, bias, *case.geometry))
    assert_agree(y, fastconv.conv2d(x, weight, bias, *case.geometry))


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(("case", "library"), windowed(CONVS))
def test_backward(case: Conv, library: str, gradient: str, measure: Callable[..., Any], smoke: bool) -> None:
    case = miniature(case) if smoke else case
    x, weight, _, grad_y = case.draw()
    which = GRADIENTS.index(gradient)
    need = gradient == "grad_x", gradient == "grad_weight", False

    def ours() -> Any:
        return fastconv.conv2d_backward(grad_y, x, weight, *case.geometry, need=need)[which]

    def naive() -> Any:
        return reference.conv2d_backward(grad_y, x, weight, *case.geometry, need=need)[which]

    def numpy() -> Any:
        gradient_of = (im2col.conv2d_grad_x, im2col.conv2d_grad_weight)[which]
        return gradient_of(grad_y, x, weight, *case.geometry)

    call = {"fastconv": ours, "numpy": numpy, "reference": naive}[library]
    assert_agree(measure(f"conv2d {gradient} {case.name} {case.label}", call), ours())
