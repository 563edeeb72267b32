"""Malformed calls, by table: each is refused with the right exception, which names the argument and what it got.

A row is one call: the op, its arguments, the exception's exact type and a pattern for its message.  Nothing may be
changed by a call that is refused, so each row also compares every array with a copy from before.  The rows run in
child processes (child.py), where a call that crashes or hangs fails its own row alone.  test_bad_layers.py has the
rows of layers, optimisers and data.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from child import Rows

import fastconv
from fastconv import ShapeError
from fastconv.ops.max_pool2d import max_pool2d_winners, max_pool2d_winners_backward

OPS = {name: getattr(fastconv, name) for name in fastconv.__all__ if callable(getattr(fastconv, name))}
OPS |= {f.__name__: f for f in (max_pool2d_winners, max_pool2d_winners_backward)}


def a(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An array of 1, 2, 3, ..."""
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


def int64(values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def masked(*shape: int) -> np.ma.MaskedArray:
    return np.ma.masked_array(a(*shape), mask=True)


def swapped(*shape: int) -> np.ndarray:
    return a(*shape).astype(np.dtype(np.float32).newbyteorder())


class Fake:
    """Looks like an array from afar, as a tensor of another library does."""

    shape = (1, 3, 5, 5)
    dtype = np.dtype(np.float32)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return a(1, 3, 5, 5)


class Broken:
    """An __index__ that does not give an int."""

    def __index__(self) -> int:
        return "1"  # type: ignore[return-value]


ROWS: list[Any] = []


def bad(op: str, *args: Any, error: type[Exception], match: str, **kwargs: Any) -> None:
    ROWS.append(pytest.param(op, args, kwargs, error, match, id=f"{len(ROWS)}-{op}"))


X, W, B = a(2, 3, 5, 5), a(4, 3, 3, 3), a(4)
Y = a(2, 4, 3, 3)
HUGE = 2**62
VAST = 10**6000  # more digits than Python is willing to print

# fmt: off

# -- conv2d: arrays ----------------------------------------------------------------------------------------------------
bad("conv2d", X.tolist(), W, error=TypeError, match=r"^conv2d: x must be a NumPy array of float32 or float64, got \[")
bad("conv2d", None, W, error=TypeError, match=r"^conv2d: x must be .* got None")
bad("conv2d", Fake(), W, error=TypeError, match=r"^conv2d: x must be .* got a Fake")
bad("conv2d", np.float32(1), W, error=TypeError, match=r"^conv2d: x must be .* got .*float32")
bad("conv2d", "abc", W, error=TypeError, match=r"^conv2d: x must be .* got 'abc' \(str\)")
bad("conv2d", X.astype(int), W, error=TypeError, match=r"^conv2d: x must be .* float64, got an array of int64 of shape")
bad("conv2d", X.astype(bool), W, error=TypeError, match=r"^conv2d: x must be .* got an array of bool")
bad("conv2d", X.astype(complex), W, error=TypeError, match=r"^conv2d: x must be .* got an array of complex128")
bad("conv2d", X.astype(object), W, error=TypeError, match=r"^conv2d: x must be .* got an array of object")
bad("conv2d", X.astype(np.float16), W, error=TypeError, match=r"^conv2d: x must be .* got an array of float16")
bad("conv2d", X.astype(np.longdouble), W, error=TypeError, match=r"^conv2d: x must be .* got an array of (long|float)")
bad("conv2d", X.astype("U3"), W, error=TypeError, match=r"^conv2d: x must be .* got an array of str")
bad("conv2d", swapped(2, 3, 5, 5), W, error=TypeError, match=r"^conv2d: x .*native byte order.*byte-swapped float32")
bad("conv2d", masked(2, 3, 5, 5), W, error=TypeError, match=r"^conv2d: x must not be masked, got a masked array")
bad("conv2d", np.zeros(3, [("r", "f4")]), W, error=TypeError, match=r"^conv2d: x must be .* got an array of void")
bad("conv2d", X, W.astype(np.float64), error=TypeError, match=r"^conv2d: weight is float64 but x is float32")
bad("conv2d", X.astype(np.float64), W, error=TypeError, match=r"^conv2d: weight is float32 but x is float64")
bad("conv2d", X, W.tolist(), error=TypeError, match=r"^conv2d: weight must be .* got \[")
bad("conv2d", X, None, error=TypeError, match=r"^conv2d: weight must be .* got None")
bad("conv2d", X, W.astype(np.int8), error=TypeError, match=r"^conv2d: weight must be .* got an array of int8")
bad("conv2d", X, masked(4, 3, 3, 3), error=TypeError, match=r"^conv2d: weight must not be masked, got a masked array")
bad("conv2d", X, W, 0.5, error=TypeError, match=r"^conv2d: bias must be .* got 0.5 \(float\)")
bad("conv2d", X, W, B.astype(np.float64), error=TypeError, match=r"^conv2d: bias is float64 but x is float32")
bad("conv2d", X, W, False, error=TypeError, match=r"^conv2d: bias must be .* got False \(bool\)")
# -- conv2d: shapes ----------------------------------------------------------------------------------------------------
bad("conv2d", a(5, 5), W, error=ShapeError,
    match=r"^conv2d: x must have shape \(N, C, H, W\) or .*, got shape \(5, 5\)")
bad("conv2d", np.float32(1) * np.ones(()), W, error=TypeError, match=r"^conv2d: x must be .* got .*float64")
bad("conv2d", a(), W, error=ShapeError, match=r"^conv2d: x must have shape .*, got shape \(\)")
bad("conv2d", a(1, 1, 3, 5, 5), W, error=ShapeError,
    match=r"^conv2d: x must have shape .*, got shape \(1, 1, 3, 5, 5\)")
bad("conv2d", a(5, 5).view(np.matrix), W, error=ShapeError, match=r"^conv2d: x must have shape .*, got shape \(5, 5\)")
bad("conv2d", X, a(3, 3), error=ShapeError, match=r"^conv2d: weight must have shape .*, got shape \(3, 3\)")
bad("conv2d", X, a(4, 2, 3, 3), error=ShapeError,
    match=r"^conv2d: weight has 2 input channels per group but x has 3 channels with groups=1; "
    r"expected weight of shape \(4, 3, 3, 3\)$")
bad("conv2d", X, W, groups=3, error=ShapeError, match=r"^conv2d: weight has 3 input .* groups=3; .*\(4, 1, 3, 3\)")
bad("conv2d", X, a(4, 1, 3, 3), groups=3, error=ShapeError,
    match=r"^conv2d: groups must divide the 4 output .*groups=3")
bad("conv2d", X, W, groups=2, error=ShapeError, match=r"^conv2d: groups must divide the 3 channels of x, got groups=2")
bad("conv2d", X, W, groups=0, error=ShapeError, match=r"^conv2d: groups must be at least 1, got 0")
bad("conv2d", X, W, groups=-1, error=ShapeError, match=r"^conv2d: groups must be at least 1, got -1")
bad("conv2d", X, W, groups=VAST, error=ShapeError, match=r"^conv2d: groups must divide .*groups=an int of \d+ bits")
bad("conv2d", X, W, a(3), error=ShapeError, match=r"^conv2d: bias has shape \(3,\) .*expected bias of shape \(4,\)")
bad("conv2d", X, W, a(4, 1), error=ShapeError, match=r"^conv2d: bias has shape \(4, 1\)")
bad("conv2d", X, W, a(), error=ShapeError, match=r"^conv2d: bias has shape \(\)")
bad("conv2d", X, a(4, 3, 0, 3), error=ShapeError, match=r"^conv2d: weight must not be empty, got shape \(4, 3, 0, 3\)")
bad("conv2d", X, a(0, 3, 3, 3), error=ShapeError, match=r"^conv2d: weight must not be empty, got shape \(0, 3, 3, 3\)")
bad("conv2d", a(2, 0, 5, 5), a(4, 0, 3, 3), error=ShapeError, match=r"^conv2d: x must not be empty .*\(2, 0, 5, 5\)")
bad("conv2d", a(2, 3, 0, 5), W, padding=3, error=ShapeError, match=r"^conv2d: x must not be empty .*\(2, 3, 0, 5\)")
bad("conv2d", a(0, 5, 5), W, error=ShapeError, match=r"^conv2d: x must not be empty .*\(0, 5, 5\)")
bad("conv2d", a(2, 3, 2, 5), W, error=ShapeError,
    match=r"^conv2d: weight of shape .*covers \(3, 3\).*input of \(2, 5\)")
bad("conv2d", a(0, 3, 5, 2), W, error=ShapeError,
    match=r"^conv2d: weight of shape .*covers \(3, 3\).*input of \(5, 2\)")
bad("conv2d", X, W, dilation=(1, 3), error=ShapeError, match=r"^conv2d: weight .*dilation=\(1, 3\) covers \(3, 7\)")
# -- conv2d: sizes -----------------------------------------------------------------------------------------------------
bad("conv2d", X, W, stride=0, error=ShapeError, match=r"^conv2d: stride must be at least 1, got 0")
bad("conv2d", X, W, stride=(1, 0), error=ShapeError, match=r"^conv2d: stride must be at least 1, got \(1, 0\)")
bad("conv2d", X, W, stride=-2, error=ShapeError, match=r"^conv2d: stride must be at least 1, got -2")
bad("conv2d", X, W, stride=-VAST, error=ShapeError, match=r"^conv2d: stride must be at least 1, got an int of \d+ bits")
bad("conv2d", X, W, stride=1.0, error=TypeError, match=r"^conv2d: stride must be an int or a pair .*got 1.0 \(float\)")
bad("conv2d", X, W, stride=np.float64(1), error=TypeError, match=r"^conv2d: stride must be .*got .*1.0")
bad("conv2d", X, W, stride=float("nan"), error=TypeError, match=r"^conv2d: stride must be .*got nan \(float\)")
bad("conv2d", X, W, stride=True, error=TypeError, match=r"^conv2d: stride must be .*got True \(bool\)")
bad("conv2d", X, W, stride=np.True_, error=TypeError, match=r"^conv2d: stride must be .*got .*True")
bad("conv2d", X, W, stride=None, error=TypeError, match=r"^conv2d: stride must be .*got None")
bad("conv2d", X, W, stride="1", error=TypeError, match=r"^conv2d: stride must be .*got '1' \(str\)")
bad("conv2d", X, W, stride={1}, error=TypeError, match=r"^conv2d: stride must be .*got a set")
bad("conv2d", X, W, stride=1j, error=TypeError, match=r"^conv2d: stride must be .*got 1j \(complex\)")
bad("conv2d", X, W, stride=Fraction(2), error=TypeError, match=r"^conv2d: stride must be .*got a Fraction")
bad("conv2d", X, W, stride=Broken(), error=TypeError, match=r"^conv2d: stride must be .*got a Broken")
bad("conv2d", X, W, stride=(1, True), error=TypeError, match=r"^conv2d: stride\[1\] must be an int, got True \(bool\)")
bad("conv2d", X, W, stride=[1, 1.5], error=TypeError, match=r"^conv2d: stride\[1\] must be an int, got 1.5 \(float\)")
bad("conv2d", X, W, stride=(None, 1), error=TypeError, match=r"^conv2d: stride\[0\] must be an int, got None")
bad("conv2d", X, W, stride=((1, 1), 1), error=TypeError, match=r"^conv2d: stride\[0\] must be an int, got \(1, 1\)")
bad("conv2d", X, W, stride=(1, 1, 1), error=ShapeError, match=r"^conv2d: stride must be .* got \(1, 1, 1\)")
bad("conv2d", X, W, stride=(), error=ShapeError, match=r"^conv2d: stride must be .* got \(\)")
bad("conv2d", X, W, stride=[2], error=ShapeError, match=r"^conv2d: stride must be .* got \[2\]")
bad("conv2d", X, W, stride=np.array([1, 1]), error=TypeError, match=r"^conv2d: stride must be .* got an array of int64")
bad("conv2d", X, W, padding=-1, error=ShapeError, match=r"^conv2d: padding must be at least 0, got -1")
bad("conv2d", X, W, padding=(0, -1), error=ShapeError, match=r"^conv2d: padding must be at least 0, got \(0, -1\)")
bad("conv2d", X, W, padding="SAME", error=ShapeError, match=r"^conv2d: padding must be .*'same' or 'valid', got 'SAME'")
bad("conv2d", X, W, padding="", error=ShapeError, match=r"^conv2d: padding must be .*'same' or 'valid', got ''")
bad("conv2d", X, W, padding=b"same", error=TypeError, match=r"^conv2d: padding must be .*'valid', got a bytes")
bad("conv2d", X, W, padding=0.5, error=TypeError, match=r"^conv2d: padding must be .*got 0.5 \(float\)")
bad("conv2d", X, W, padding=False, error=TypeError, match=r"^conv2d: padding must be .*got False \(bool\)")
bad("conv2d", X, W, padding=None, error=TypeError, match=r"^conv2d: padding must be .*got None")
bad("conv2d", X, W, padding=("same", "same"), error=TypeError, match=r"^conv2d: padding\[0\] must be .*got 'same'")
bad("conv2d", X, W, padding=(1, 1, 1, 1), error=ShapeError, match=r"^conv2d: padding must be .*got \(1, 1, 1, 1\)")
bad("conv2d", X, W, padding=HUGE, error=ShapeError,
    match=r"^conv2d: x padded with padding=4611686018427387904 is too l")
bad("conv2d", X, W, padding=2**63, error=ShapeError, match=r"^conv2d: x padded with padding=9223372036854775808 is too")
bad("conv2d", X, W, padding=VAST, error=ShapeError, match=r"^conv2d: x padded with padding=an int of \d+ bits is too")
bad("conv2d", X, W, padding=2**30, error=ShapeError, match=r"^conv2d: x padded with padding=1073741824 is too large")
bad("conv2d", a(0, 3, 5, 5), W, padding=HUGE, error=ShapeError, match=r"^conv2d: x padded with padding=46.* is too l")
bad("conv2d", X, W, stride=2, padding="same", error=ShapeError, match=r"^conv2d: padding='same' needs .*got stride=2")
bad("conv2d", X, W, (1, 2), padding="same", error=TypeError, match=r"^conv2d: bias must be .* got \(1, 2\)")
bad("conv2d", X, W, dilation=0, error=ShapeError, match=r"^conv2d: dilation must be at least 1, got 0")
bad("conv2d", X, W, dilation=HUGE, error=ShapeError, match=r"^conv2d: weight .*dilation=46\d+ covers")
bad("conv2d", X, W, dilation=HUGE, padding="same", error=ShapeError,
    match=r"^conv2d: x padded .*'same' .* is too large")
bad("conv2d", X, W, dilation=2.0, error=TypeError, match=r"^conv2d: dilation must be .* got 2.0 \(float\)")
bad("conv2d", X, W, groups=1.0, error=TypeError, match=r"^conv2d: groups must be an int, got 1.0 \(float\)")
bad("conv2d", X, W, groups=(1, 1), error=TypeError, match=r"^conv2d: groups must be an int, got \(1, 1\)")
bad("conv2d", X, W, groups=True, error=TypeError, match=r"^conv2d: groups must be an int, got True \(bool\)")
bad("conv2d", X, W, groups=None, error=TypeError, match=r"^conv2d: groups must be an int, got None")
bad("conv2d", np.broadcast_to(np.float32(1), (2**30, 3, 2**20, 2**9)), W, error=ShapeError,
    match=r"^conv2d: x padded with padding=0 is too large")
bad("conv2d", a(1, 1, 1, 1), np.broadcast_to(np.float32(1), (2**40, 1, 1, 1)), padding=2**10, error=ShapeError,
    match=r"^conv2d: the output is too large")
bad("conv2d", np.broadcast_to(np.float32(1), (1, 1, 2**22, 2**22)), a(1, 1, 1, 1).repeat(2**19, 0), error=ShapeError,
    match=r"^conv2d: the output is too large")
bad("conv2d", np.broadcast_to(np.float32(1), (2**6, 2**16, 2**18, 2**18)),
    np.broadcast_to(np.float32(1), (32, 2**16, 1, 1)),
    error=ShapeError, match=r"^conv2d: x of shape .*needs over 2\*\*62")
# -- conv2d_backward ---------------------------------------------------------------------------------------------------
bad("conv2d_backward", Y.tolist(), X, W, error=TypeError, match=r"^conv2d_backward: grad_y must be .* got \[")
bad("conv2d_backward", Y.astype(np.float64), X, W, error=TypeError,
    match=r"^conv2d_backward: grad_y is float64 but x is")
bad("conv2d_backward", masked(2, 4, 3, 3), X, W, error=TypeError,
    match=r"^conv2d_backward: grad_y must not be masked, got")
bad("conv2d_backward", a(2, 4, 3, 4), X, W, error=ShapeError,
    match=r"^conv2d_backward: grad_y has shape \(2, 4, 3, 4\), expected the shape of the output, \(2, 4, 3, 3\)")
bad("conv2d_backward", Y, X[0], W, error=ShapeError, match=r"^conv2d_backward: grad_y has shape \(2, 4, 3, 3\), exp")
bad("conv2d_backward", Y, X, W, stride=2, error=ShapeError,
    match=r"^conv2d_backward: grad_y has shape .*\(2, 4, 2, 2\)")
bad("conv2d_backward", Y, X, W, stride=0, error=ShapeError, match=r"^conv2d_backward: stride must be .* got 0")
bad("conv2d_backward", Y, None, W, error=TypeError, match=r"^conv2d_backward: x must be .* got None")
bad("conv2d_backward", Y, X, a(4, 2, 3, 3), error=ShapeError, match=r"^conv2d_backward: weight has 2 input channels")
bad("conv2d_backward", Y, X, W, need=True, error=TypeError,
    match=r"^conv2d_backward: need must be .* got True \(bool\)")
bad("conv2d_backward", Y, X, W, need=(1, 1, 1), error=TypeError,
    match=r"^conv2d_backward: need\[0\] must be a bool, got 1")
bad("conv2d_backward", Y, X, W, need=(True, True), error=ShapeError,
    match=r"^conv2d_backward: need must .* got \(True, T")
bad("conv2d_backward", Y, X, W, need=None, error=TypeError, match=r"^conv2d_backward: need must be .* got None")
# -- max_pool2d --------------------------------------------------------------------------------------------------------
bad("max_pool2d", X.tolist(), 2, error=TypeError, match=r"^max_pool2d: x must be a NumPy array .* got \[")
bad("max_pool2d", X.astype(np.int32), 2, error=TypeError, match=r"^max_pool2d: x must be .* got an array of int32")
bad("max_pool2d", masked(2, 3, 5, 5), 2, error=TypeError, match=r"^max_pool2d: x must not be masked, got")
bad("max_pool2d", a(5, 5), 2, error=ShapeError, match=r"^max_pool2d: x must have shape .* got shape \(5, 5\)")
bad("max_pool2d", a(2, 0, 5, 5), 2, error=ShapeError,
    match=r"^max_pool2d: x must not be empty .* got shape \(2, 0, 5, 5")
bad("max_pool2d", a(2, 3, 5, 0), 2, padding=1, error=ShapeError,
    match=r"^max_pool2d: x must not be empty .* \(2, 3, 5, 0")
bad("max_pool2d", X, 0, error=ShapeError, match=r"^max_pool2d: kernel_size must be at least 1, got 0")
bad("max_pool2d", X, (2, 0), error=ShapeError, match=r"^max_pool2d: kernel_size must be at least 1, got \(2, 0\)")
bad("max_pool2d", X, None, error=TypeError, match=r"^max_pool2d: kernel_size must be .* got None")
bad("max_pool2d", X, 2.0, error=TypeError, match=r"^max_pool2d: kernel_size must be .* got 2.0 \(float\)")
bad("max_pool2d", X, True, error=TypeError, match=r"^max_pool2d: kernel_size must be .* got True \(bool\)")
bad("max_pool2d", X, "2", error=TypeError, match=r"^max_pool2d: kernel_size must be .* got '2' \(str\)")
bad("max_pool2d", X, (2, 2, 2), error=ShapeError, match=r"^max_pool2d: kernel_size must be .* got \(2, 2, 2\)")
bad("max_pool2d", X, 6, error=ShapeError, match=r"^max_pool2d: kernel_size=6 covers \(6, 6\) .*input of \(5, 5\)")
bad("max_pool2d", X, HUGE, error=ShapeError, match=r"^max_pool2d: kernel_size=4611686018427387904 covers")
bad("max_pool2d", X, 2, 0, error=ShapeError, match=r"^max_pool2d: stride must be at least 1, got 0")
bad("max_pool2d", X, 2, -1, error=ShapeError, match=r"^max_pool2d: stride must be at least 1, got -1")
bad("max_pool2d", X, 2, (), error=ShapeError, match=r"^max_pool2d: stride must be .* got \(\)")
bad("max_pool2d", X, 2, padding=2, error=ShapeError, match=r"^max_pool2d: padding must be at most half .*padding=2")
bad("max_pool2d", X, 3, padding=(1, 2), error=ShapeError,
    match=r"^max_pool2d: padding must be at most .*padding=\(1, 2\)")
bad("max_pool2d", X, 1, padding=1, error=ShapeError, match=r"^max_pool2d: padding must be at most half .*kernel_size=1")
bad("max_pool2d", X, 2, padding=-1, error=ShapeError, match=r"^max_pool2d: padding must be at least 0, got -1")
bad("max_pool2d", X, HUGE, padding=HUGE // 2, error=ShapeError, match=r"^max_pool2d: x padded with padding=2\d+ is too")
bad("max_pool2d", X, 2, padding="same", error=TypeError, match=r"^max_pool2d: padding must be .* got 'same' \(str\)")
bad("max_pool2d", X, 2, dilation=0, error=ShapeError, match=r"^max_pool2d: dilation must be at least 1, got 0")
bad("max_pool2d", X, 2, dilation=5, error=ShapeError,
    match=r"^max_pool2d: kernel_size=2 with dilation=5 covers \(6, 6\)")
bad("max_pool2d", X, 2, 2, 0, True, error=TypeError, match=r"^max_pool2d: dilation must be .* got True \(bool\)")
bad("max_pool2d", a(1, 1, 1), 2, 1, 1, 2, error=ShapeError,
    match=r"^max_pool2d: dilation=2 steps over .*\(1, 1\) pixels")
bad("max_pool2d", X, 2, ceil_mode=1, error=TypeError, match=r"^max_pool2d: ceil_mode must be a bool, got 1")
bad("max_pool2d", X, 2, ceil_mode=None, error=TypeError, match=r"^max_pool2d: ceil_mode must be a bool, got None")
bad("max_pool2d", X, 2, return_indices="yes", error=TypeError,
    match=r"^max_pool2d: return_indices must be .* got 'yes'")
bad("max_pool2d", a(2, 2)[None], 5, 3, ceil_mode=True, error=ShapeError,
    match=r"^max_pool2d: kernel_size=5 covers \(5, 5\)")
bad("max_pool2d_winners", X, 0, error=ShapeError, match=r"^max_pool2d_winners: kernel_size must be at least 1, got 0")
bad("max_pool2d_winners", a(1, 20, 20), 17, error=ShapeError,
    match=r"^max_pool2d_winners: kernel_size .* 256 .* got 289")
# -- max_pool2d_backward -----------------------------------------------------------------------------------------------
G, AT, SHAPE = a(1, 2, 2), int64([[[0, 1], [2, 15]]]), (1, 4, 4)
bad("max_pool2d_backward", G.tolist(), AT, SHAPE, error=TypeError,
    match=r"^max_pool2d_backward: grad_y must be .* got \[")
bad("max_pool2d_backward", AT, AT, SHAPE, error=TypeError,
    match=r"^max_pool2d_backward: grad_y must be .* got .* int64")
bad("max_pool2d_backward", G, G, SHAPE, error=TypeError,
    match=r"^max_pool2d_backward: indices must be .* got .* float32")
bad("max_pool2d_backward", G, AT.tolist(), SHAPE, error=TypeError,
    match=r"^max_pool2d_backward: indices must be .* got \[")
bad("max_pool2d_backward", G, AT.astype(np.int32), SHAPE, error=TypeError,
    match=r"^max_pool2d_backward: indices .* int32")
bad("max_pool2d_backward", G, AT.astype(">i8"), SHAPE, error=TypeError,
    match=r"^max_pool2d_backward: indices .*-swapped")
bad("max_pool2d_backward", G, AT.astype(bool), SHAPE, error=TypeError, match=r"^max_pool2d_backward: indices .* bool")
bad("max_pool2d_backward", G, AT[:, :1], SHAPE, error=ShapeError,
    match=r"^max_pool2d_backward: indices has shape \(1, 1,")
bad("max_pool2d_backward", G, AT, (4, 4), error=ShapeError,
    match=r"^max_pool2d_backward: input_shape must .* got \(4, 4\)")
bad("max_pool2d_backward", G, AT, (1, 1, 4, 4), error=ShapeError,
    match=r"^max_pool2d_backward: grad_y has .*\(1, 1, 4, 4")
bad("max_pool2d_backward", G, AT, (2, 4, 4), error=ShapeError, match=r"^max_pool2d_backward: grad_y has .*\(2, 4, 4\)")
bad("max_pool2d_backward", G, AT, (1, 0, 4), error=ShapeError, match=r"^max_pool2d_backward: input_shape .*\(1, 0, 4\)")
bad("max_pool2d_backward", G, AT, (1, -4, 4), error=ShapeError,
    match=r"^max_pool2d_backward: input_shape .*\(1, -4, 4\)")
bad("max_pool2d_backward", G, AT, (1, 4.0, 4), error=TypeError,
    match=r"^max_pool2d_backward: input_shape\[1\] .*got 4.0")
bad("max_pool2d_backward", G, AT, (1, True, 4), error=TypeError,
    match=r"^max_pool2d_backward: input_shape\[1\] .*got True")
bad("max_pool2d_backward", G, AT, 4, error=TypeError,
    match=r"^max_pool2d_backward: input_shape must be a tuple.* got 4")
bad("max_pool2d_backward", G, AT, None, error=TypeError, match=r"^max_pool2d_backward: input_shape must be .* got None")
bad("max_pool2d_backward", G, AT, "144", error=TypeError,
    match=r"^max_pool2d_backward: input_shape must be .* got '144'")
bad("max_pool2d_backward", G, AT, (1, HUGE, 4), error=ShapeError,
    match=r"^max_pool2d_backward: input_shape is too large")
bad("max_pool2d_backward", G, AT, (1, 3, 5), error=ShapeError,
    match=r"^max_pool2d_backward: indices must be in 0 \.\. 14, positions in a plane of \(3, 5\), got 15")
bad("max_pool2d_backward", G, -AT, SHAPE, error=ShapeError, match=r"^max_pool2d_backward: indices must be .*, got -1")
bad("max_pool2d_backward", G, AT + 2**62, SHAPE, error=ShapeError, match=r"^max_pool2d_backward: indices .*got 46\d+")
bad("max_pool2d_winners_backward", G, AT, SHAPE, 2, error=TypeError, match=r"winners must be .* uint8, got .* int64")
bad("max_pool2d_winners_backward", G, a(1, 2, 3, dtype=np.uint8), SHAPE, 2, error=ShapeError,
    match=r"winners .*\(1, 2, 3")
bad("max_pool2d_winners_backward", G, a(1, 2, 2, dtype=np.uint8), SHAPE, 4, error=ShapeError,
    match=r"grad_y .*\(1, 1, 1")
# -- avg_pool2d --------------------------------------------------------------------------------------------------------
bad("avg_pool2d", X.tolist(), 2, error=TypeError, match=r"^avg_pool2d: x must be a NumPy array .* got \[")
bad("avg_pool2d", X.astype(np.uint8), 2, error=TypeError, match=r"^avg_pool2d: x must be .* got an array of uint8")
bad("avg_pool2d", a(5), 2, error=ShapeError, match=r"^avg_pool2d: x must have shape .* got shape \(5,\)")
bad("avg_pool2d", X, 0, error=ShapeError, match=r"^avg_pool2d: kernel_size must be at least 1, got 0")
bad("avg_pool2d", X, 6, error=ShapeError, match=r"^avg_pool2d: kernel_size=6 covers \(6, 6\) .*input of \(5, 5\)")
bad("avg_pool2d", X, 2, 0, error=ShapeError, match=r"^avg_pool2d: stride must be at least 1, got 0")
bad("avg_pool2d", X, 2, 1.5, error=TypeError, match=r"^avg_pool2d: stride must be .* got 1.5 \(float\)")
bad("avg_pool2d", X, 2, 1, 2, error=ShapeError, match=r"^avg_pool2d: padding must be at most half .*padding=2")
bad("avg_pool2d", X, 2, 1, -1, error=ShapeError, match=r"^avg_pool2d: padding must be at least 0, got -1")
bad("avg_pool2d", X, 2, ceil_mode=0, error=TypeError, match=r"^avg_pool2d: ceil_mode must be a bool, got 0")
bad("avg_pool2d", X, 2, count_include_pad=0, error=TypeError, match=r"^avg_pool2d: count_include_pad must be .* got 0")
bad("avg_pool2d", X, 2, divisor_override=0, error=ShapeError, match=r"^avg_pool2d: divisor_override must be .* got 0")
bad("avg_pool2d", X, 2, divisor_override=2.5, error=TypeError, match=r"^avg_pool2d: divisor_override must be .*got 2.5")
bad("avg_pool2d", X, 2, divisor_override=True, error=TypeError, match=r"^avg_pool2d: divisor_override must .*got True")
bad("avg_pool2d", X, 2, divisor_override=2**63, error=ShapeError,
    match=r"^avg_pool2d: divisor_override must .*got 92\d+")
bad("avg_pool2d_backward", AT, SHAPE, 2, error=TypeError, match=r"^avg_pool2d_backward: grad_y must be .* got .* int64")
bad("avg_pool2d_backward", G, SHAPE, 3, error=ShapeError,
    match=r"^avg_pool2d_backward: grad_y has shape \(1, 2, 2\), exp")
bad("avg_pool2d_backward", G, (1, 4), 2, error=ShapeError,
    match=r"^avg_pool2d_backward: input_shape must .* got \(1, 4\)")
bad("avg_pool2d_backward", G, (3, 4, 4), 2, error=ShapeError, match=r"^avg_pool2d_backward: grad_y .*\(3, 4, 4\)")
bad("avg_pool2d_backward", G, SHAPE, 2, divisor_override=0, error=ShapeError, match=r"divisor_override must .*got 0")
# -- conv_transpose2d --------------------------------------------------------------------------------------------------
U = a(3, 4, 3, 3)  # in, out, height, width
bad("conv_transpose2d", X.tolist(), U, error=TypeError, match=r"^conv_transpose2d: x must be .* got \[")
bad("conv_transpose2d", X, None, error=TypeError, match=r"^conv_transpose2d: weight must be .* got None")
bad("conv_transpose2d", X, U.astype(np.float64), error=TypeError,
    match=r"^conv_transpose2d: weight is float64 but x is")
bad("conv_transpose2d", X, U, [1.0], error=TypeError, match=r"^conv_transpose2d: bias must be .* got \[1.0\]")
bad("conv_transpose2d", X, U, stride=1.5, error=TypeError, match=r"^conv_transpose2d: stride must be .* got 1.5")
bad("conv_transpose2d", X, U, padding="same", error=TypeError, match=r"^conv_transpose2d: padding must .* got 'same'")
bad("conv_transpose2d", X, U, output_padding=None, error=TypeError,
    match=r"^conv_transpose2d: output_padding .*got None")
bad("conv_transpose2d", X, U, groups=True, error=TypeError, match=r"^conv_transpose2d: groups must be .* got True")
bad("conv_transpose2d", X, U, dilation="2", error=TypeError, match=r"^conv_transpose2d: dilation must be .* got '2'")
bad("conv_transpose2d", a(5, 5), U, error=ShapeError, match=r"^conv_transpose2d: x must have shape .* \(5, 5\)")
bad("conv_transpose2d", X, a(4, 4, 3, 3), error=ShapeError, match=r"^conv_transpose2d: weight .*4.* x has 3")
bad("conv_transpose2d", X, U, a(3), error=ShapeError, match=r"^conv_transpose2d: bias has shape \(3,\)")
bad("conv_transpose2d", X, U, stride=0, error=ShapeError, match=r"^conv_transpose2d: stride must be at least 1, got 0")
bad("conv_transpose2d", X, U, padding=-1, error=ShapeError, match=r"^conv_transpose2d: padding must be at least 0")
bad("conv_transpose2d", X, U, padding=4, error=ShapeError, match=r"^conv_transpose2d: padding")
bad("conv_transpose2d", X, U, output_padding=1, error=ShapeError, match=r"^conv_transpose2d: output_padding must be")
bad("conv_transpose2d", X, U, output_padding=-1, error=ShapeError, match=r"^conv_transpose2d: output_padding must be")
bad("conv_transpose2d", X, U, groups=2, error=ShapeError, match=r"^conv_transpose2d: groups must divide")
bad("conv_transpose2d", X, U, stride=HUGE, error=ShapeError, match=r"^conv_transpose2d: .*too large")
bad("conv_transpose2d", X, U, dilation=VAST, error=ShapeError, match=r"^conv_transpose2d: .*too large")
bad("conv_transpose2d_backward", a(2, 4, 5, 5), X, U, error=ShapeError,
    match=r"^conv_transpose2d_backward: grad_y has shape \(2, 4, 5, 5\), .*\(2, 4, 7, 7\)")
bad("conv_transpose2d_backward", None, X, U, error=TypeError, match=r"^conv_transpose2d_backward: grad_y must .*None")
bad("conv_transpose2d_backward", a(2, 4, 7, 7), X, U, need=1, error=TypeError,
    match=r"^conv_transpose2d_backward: need must be .* got 1")
# -- unfold and fold ---------------------------------------------------------------------------------------------------
bad("unfold", X.tolist(), 2, error=TypeError, match=r"^unfold: x must be .* got \[")
bad("unfold", X, 2.0, error=TypeError, match=r"^unfold: kernel_size must be .* got 2.0")
bad("unfold", X, 2, None, error=TypeError, match=r"^unfold: dilation must be .* got None")
bad("unfold", X, 2, 1, "same", error=TypeError, match=r"^unfold: padding must be .* got 'same'")
bad("unfold", X, 2, stride=None, error=TypeError, match=r"^unfold: stride must be .* got None")
bad("unfold", a(5, 5), 2, error=ShapeError, match=r"^unfold: x must have shape .* \(5, 5\)")
bad("unfold", X, 6, error=ShapeError, match=r"^unfold: kernel_size=6 covers \(6, 6\)")
bad("unfold", X, 0, error=ShapeError, match=r"^unfold: kernel_size must be at least 1, got 0")
bad("unfold", X, 2, padding=HUGE, error=ShapeError, match=r"^unfold: .*too large")
bad("unfold_backward", a(2, 12, 9), X.shape, 2, error=ShapeError, match=r"^unfold_backward: grad_y .*\(2, 12, 16\)")
bad("unfold_backward", a(2, 12, 16), 5, 2, error=TypeError, match=r"^unfold_backward: input_shape must be .* got 5")
bad("fold", None, 5, 2, error=TypeError, match=r"^fold: x must be .* got None")
bad("fold", a(2, 12, 16), 5.0, 2, error=TypeError, match=r"^fold: output_size must be .* got 5.0")
bad("fold", a(2, 12, 16), None, 2, error=TypeError, match=r"^fold: output_size must be .* got None")
bad("fold", a(2, 13, 16), 5, 2, error=ShapeError, match=r"^fold: x .*13")
bad("fold", a(2, 12, 15), 5, 2, error=ShapeError, match=r"^fold: x .*15")
bad("fold", a(12), 5, 2, error=ShapeError, match=r"^fold: x must have shape .* got shape \(12,\)")
bad("fold", a(2, 12, 16), HUGE, 2, error=ShapeError, match=r"^fold: ")
bad("fold_backward", a(2, 3, 5, 5), 6, error=ShapeError, match=r"^fold_backward: kernel_size=6 covers")
bad("fold_backward", a(5, 5), 2, error=ShapeError, match=r"^fold_backward: grad_y must have shape .*\(5, 5\)")
# -- adaptive_avg_pool2d -----------------------------------------------------------------------------------------------
bad("adaptive_avg_pool2d", X.tolist(), 2, error=TypeError, match=r"^adaptive_avg_pool2d: x must be .* got \[")
bad("adaptive_avg_pool2d", X, None, error=TypeError, match=r"^adaptive_avg_pool2d: output_size must be .* got None")
bad("adaptive_avg_pool2d", X, 2.0, error=TypeError, match=r"^adaptive_avg_pool2d: output_size must be .* got 2.0")
bad("adaptive_avg_pool2d", X, (2, True), error=TypeError, match=r"^adaptive_avg_pool2d: output_size\[1\] .* got True")
bad("adaptive_avg_pool2d", X, -1, error=ShapeError, match=r"^adaptive_avg_pool2d: output_size must be .* got -1")
bad("adaptive_avg_pool2d", X, (1, 2, 3), error=ShapeError, match=r"^adaptive_avg_pool2d: output_size .* \(1, 2, 3\)")
bad("adaptive_avg_pool2d", a(5, 5), 2, error=ShapeError, match=r"^adaptive_avg_pool2d: x must have .* \(5, 5\)")
bad("adaptive_avg_pool2d", X, HUGE, error=ShapeError, match=r"^adaptive_avg_pool2d: .*too large")
bad("adaptive_avg_pool2d_backward", None, X.shape, error=TypeError,
    match=r"^adaptive_avg_pool2d_backward: grad_y must .*None")
bad("adaptive_avg_pool2d_backward", a(2, 3, 2, 2), None, error=TypeError,
    match=r"^adaptive_avg_pool2d_backward: input_shape must be .* got None")
bad("adaptive_avg_pool2d_backward", a(2, 3, 2, 2), (2, 4, 5, 5), error=ShapeError,
    match=r"^adaptive_avg_pool2d_backward: grad_y .*\(2, 4")
# -- batch_norm --------------------------------------------------------------------------------------------------------
C3 = a(3)
bad("batch_norm", X.tolist(), C3, C3, error=TypeError, match=r"^batch_norm: x must be .* got \[")
bad("batch_norm", X, [0.0] * 3, C3, error=TypeError, match=r"^batch_norm: running_mean must be .* got \[")
bad("batch_norm", X, C3, C3.astype(np.float64), error=TypeError, match=r"^batch_norm: running_var is float64 but x is")
bad("batch_norm", X, C3, C3, 1.0, error=TypeError, match=r"^batch_norm: weight must be .* got 1.0")
bad("batch_norm", X, C3, C3, C3, "b", error=TypeError, match=r"^batch_norm: bias must be .* got 'b'")
bad("batch_norm", X, C3, C3, training=1, error=TypeError, match=r"^batch_norm: training must be a bool, got 1")
bad("batch_norm", X, C3, C3, momentum=None, error=TypeError, match=r"^batch_norm: momentum must be a number, got None")
bad("batch_norm", X, C3, C3, eps="0", error=TypeError, match=r"^batch_norm: eps must be a number, got '0'")
bad("batch_norm", X, a(4), C3, error=ShapeError, match=r"^batch_norm: running_mean has shape \(4,\)")
bad("batch_norm", X, C3, C3, a(3, 1), error=ShapeError, match=r"^batch_norm: weight has shape \(3, 1\)")
bad("batch_norm", X, None, None, error=ShapeError, match=r"^batch_norm: .*running_mean must be .* got None")
bad("batch_norm", X, C3, None, error=ShapeError, match=r"^batch_norm: .*running_var must be .* got None")
bad("batch_norm", a(3), C3, C3, error=ShapeError, match=r"^batch_norm: x must have shape .* got shape \(3,\)")
bad("batch_norm", a(1, 3, 1, 1), C3, C3, training=True, error=ShapeError, match=r"^batch_norm: .*\(1, 3, 1, 1\)")
bad("batch_norm", X, C3, C3, eps=-1.0, error=ShapeError, match=r"^batch_norm: eps must be .* got -1.0")
bad("batch_norm", X, C3, C3, eps=float("nan"), error=ShapeError, match=r"^batch_norm: eps must be .* got nan")
D3 = C3.astype(np.float64)
bad("batch_norm_backward", a(2, 3, 5, 4), X, D3, D3, error=ShapeError, match=r"^batch_norm_backward: grad_y has shape")
bad("batch_norm_backward", X, X, D3, None, error=TypeError, match=r"^batch_norm_backward: inv_std must be .* got None")
bad("batch_norm_backward", X, X, a(4, dtype=np.float64), D3, error=ShapeError,
    match=r"^batch_norm_backward: mean has shape \(4,\)")
# -- linear ------------------------------------------------------------------------------------------------------------
L, M = a(2, 3), a(4, 3)
bad("linear", L.tolist(), M, error=TypeError, match=r"^linear: x must be a NumPy array .* got \[")
bad("linear", L, M.astype(np.float64), error=TypeError, match=r"^linear: weight is float64 but x is float32")
bad("linear", L, M.astype(int), error=TypeError, match=r"^linear: weight must be .* got an array of int64")
bad("linear", L, a(4, 2), error=ShapeError,
    match=r"^linear: x has shape \(2, 3\) but weight has 2 input features; expected")
bad("linear", a(), M, error=ShapeError, match=r"^linear: x has shape \(\) but weight has 3")
bad("linear", L, a(3), error=ShapeError, match=r"^linear: weight must have shape \(out, in\), got shape \(3,\)")
bad("linear", L, M, a(3), error=ShapeError, match=r"^linear: bias has shape \(3,\) .*expected bias of shape \(4,\)")
bad("linear", L, M, [1, 2, 3, 4], error=TypeError, match=r"^linear: bias must be .* got \[1, 2, 3, 4\]")
bad("linear", L, M, a(4, dtype=np.float64), error=TypeError, match=r"^linear: bias is float64 but x is float32")
bad("linear_backward", a(2, 3), L, M, error=ShapeError,
    match=r"^linear_backward: grad_y has shape \(2, 3\), .*\(2, 4\)")
bad("linear_backward", None, L, M, error=TypeError, match=r"^linear_backward: grad_y must be .* got None")
bad("linear_backward", a(2, 4), L, M, need=[True], error=ShapeError,
    match=r"^linear_backward: need must .* got \[True\]")
bad("linear_backward", a(2, 4), L, M, need=(0, 1, True), error=TypeError, match=r"^linear_backward: need\[0\] .* got 0")
# -- relu --------------------------------------------------------------------------------------------------------------
bad("relu", [1.0], error=TypeError, match=r"^relu: x must be a NumPy array .* got \[1.0\]")
bad("relu", 1.0, error=TypeError, match=r"^relu: x must be .* got 1.0 \(float\)")
bad("relu", a(3, dtype=int), error=TypeError, match=r"^relu: x must be .* got an array of int64")
bad("relu", swapped(3), error=TypeError, match=r"^relu: x must be in native byte order, got .*byte-swapped float32")
bad("relu_backward", a(3), a(4), error=ShapeError, match=r"^relu_backward: grad_y has shape \(3,\), expected .*\(4,\)")
bad("relu_backward", a(3), a(3, dtype=np.float64), error=TypeError, match=r"^relu_backward: grad_y is float32 but x is")
bad("relu_backward", a(3), None, error=TypeError, match=r"^relu_backward: x must be .* got None")
# -- softmax -----------------------------------------------------------------------------------------------------------
bad("softmax", [1.0, 2.0], error=TypeError, match=r"^softmax: x must be .* got \[1.0, 2.0\]")
bad("softmax", a(2, 3), 2, error=ShapeError, match=r"^softmax: dim must be in -2 \.\. 1 .*, got 2")
bad("softmax", a(2, 3), -3, error=ShapeError, match=r"^softmax: dim must be in -2 \.\. 1 .*, got -3")
bad("softmax", a(2, 3), VAST, error=ShapeError, match=r"^softmax: dim must be .*, got an int of \d+ bits")
bad("softmax", a(2, 3), None, error=TypeError, match=r"^softmax: dim must be an int, got None")
bad("softmax", a(2, 3), 1.0, error=TypeError, match=r"^softmax: dim must be an int, got 1.0")
bad("softmax", a(2, 3), True, error=TypeError, match=r"^softmax: dim must be an int, got True")
bad("softmax", a(2, 3), (0, 1), error=TypeError, match=r"^softmax: dim must be an int, got \(0, 1\)")
bad("log_softmax", a(2, 3, dtype=int), error=TypeError, match=r"^log_softmax: x must be .* got an array of int64")
bad("log_softmax", a(2, 3), 5, error=ShapeError, match=r"^log_softmax: dim must be in .*, got 5")
bad("softmax_backward", a(2, 3), a(3, 2), error=ShapeError, match=r"^softmax_backward: grad_y has shape \(2, 3\), exp")
bad("softmax_backward", a(2, 3), a(2, 3, dtype=np.float64), error=TypeError,
    match=r"^softmax_backward: grad_y is float32")
bad("softmax_backward", a(2, 3), a(2, 3), 2, error=ShapeError, match=r"^softmax_backward: dim must be .*, got 2")
bad("log_softmax_backward", a(3), None, error=TypeError, match=r"^log_softmax_backward: y must be .* got None")
bad("log_softmax_backward", None, a(3), error=TypeError, match=r"^log_softmax_backward: grad_y must be .* got None")
# -- cross_entropy -----------------------------------------------------------------------------------------------------
T = int64([0, 2])
bad("cross_entropy", L.tolist(), T, error=TypeError, match=r"^cross_entropy: x must be .* got \[")
bad("cross_entropy", a(2, 3, 4), T, error=ShapeError,
    match=r"^cross_entropy: target has shape \(2,\) but x has shape \(2, 3, 4\); expected target of shape \(2, 4\)")
bad("cross_entropy", a(), 0, error=ShapeError, match=r"^cross_entropy: x must have shape .* got shape \(\)")
bad("cross_entropy", a(2, 0), T, error=ShapeError,
    match=r"^cross_entropy: x must have at least one class, got .*\(2, 0\)")
bad("cross_entropy", L, [0, 2], error=TypeError, match=r"^cross_entropy: target must be a NumPy array .* got \[0, 2\]")
bad("cross_entropy", L, 0, error=TypeError, match=r"^cross_entropy: target must be a NumPy array .* got 0")
bad("cross_entropy", L, None, error=TypeError, match=r"^cross_entropy: target must be .* got None")
bad("cross_entropy", L, a(2), error=TypeError, match=r"^cross_entropy: target must hold class numbers .* got .*float32")
bad("cross_entropy", L, L[:1], error=TypeError,
    match=r"^cross_entropy: target must hold class .* or probabilities .* got")
bad("cross_entropy", L, L.astype(np.float64), error=TypeError,
    match=r"^cross_entropy: target is float64 but x is float32")
bad("cross_entropy", L, L, None, 0, error=ShapeError, match=r"^cross_entropy: ignore_index must be negative .* got 0")
bad("cross_entropy", L, T.astype(bool), error=TypeError, match=r"^cross_entropy: target must hold .* got .*bool")
bad("cross_entropy", L, int64([0]), error=ShapeError, match=r"^cross_entropy: target has shape \(1,\) .*shape \(2,\)")
bad("cross_entropy", L, int64([[0, 2]]), error=ShapeError, match=r"^cross_entropy: target has shape \(1, 2\)")
bad("cross_entropy", L, int64([0, 3]), error=ShapeError, match=r"^cross_entropy: target must be in 0 \.\. 2 .*, got 3")
bad("cross_entropy", L, int64([-1, 0]), error=ShapeError,
    match=r"^cross_entropy: target must be in 0 \.\. 2 .*, got -1")
bad("cross_entropy", L, np.array([0, 2**64 - 100], np.uint64), error=ShapeError, match=r"target must be .*, got 18\d+")
bad("cross_entropy", L, np.array([0, 156], np.uint8), error=ShapeError, match=r"target must be in .*, got 156")
bad("cross_entropy", a(3), 3, error=ShapeError, match=r"^cross_entropy: target must be in 0 \.\. 2 .*, got 3")
bad("cross_entropy", a(3), 1.0, error=TypeError, match=r"^cross_entropy: target must be an int, got 1.0")
bad("cross_entropy", a(3), True, error=TypeError, match=r"^cross_entropy: target must be an int, got True")
bad("cross_entropy", a(3), VAST, error=ShapeError, match=r"^cross_entropy: target must be in .*, got an int of")
bad("cross_entropy", L, T, a(2), error=ShapeError, match=r"^cross_entropy: weight has shape \(2,\), expected .*\(3,\)")
bad("cross_entropy", L, T, a(3, dtype=np.float64), error=TypeError, match=r"^cross_entropy: weight is float64 but x is")
bad("cross_entropy", L, T, [1, 1, 1], error=TypeError, match=r"^cross_entropy: weight must be .* got \[1, 1, 1\]")
bad("cross_entropy", L, T, ignore_index=None, error=TypeError,
    match=r"^cross_entropy: ignore_index must be .* got None")
bad("cross_entropy", L, T, ignore_index=0.0, error=TypeError, match=r"^cross_entropy: ignore_index must be .* got 0.0")
bad("cross_entropy", L, T, ignore_index=2**63, error=ShapeError,
    match=r"^cross_entropy: ignore_index must .* got 92\d+")
bad("cross_entropy", L, T, reduction="avg", error=ShapeError, match=r"^cross_entropy: reduction must be .* got 'avg'")
bad("cross_entropy", L, T, reduction=None, error=TypeError, match=r"^cross_entropy: reduction must be .* got None")
bad("cross_entropy", L, T, reduction=["mean"], error=TypeError,
    match=r"^cross_entropy: reduction must .* got \['mean'\]")
bad("cross_entropy", L, T, label_smoothing=1.5, error=ShapeError, match=r"^cross_entropy: label_smoothing .* got 1.5")
bad("cross_entropy", L, T, label_smoothing=-0.1, error=ShapeError, match=r"^cross_entropy: label_smoothing .* got -0.1")
bad("cross_entropy", L, T, label_smoothing=np.nan, error=ShapeError,
    match=r"^cross_entropy: label_smoothing .* got nan")
bad("cross_entropy", L, T, label_smoothing="0", error=TypeError, match=r"^cross_entropy: label_smoothing .* got '0'")
bad("cross_entropy", L, T, label_smoothing=True, error=TypeError, match=r"^cross_entropy: label_smoothing .* got True")
bad("cross_entropy_backward", L, int64([0, 3]), error=ShapeError,
    match=r"^cross_entropy_backward: target must .*, got 3")
bad("cross_entropy_backward", L, T, grad_y="1", error=TypeError,
    match=r"^cross_entropy_backward: grad_y must .* got '1'")
bad("cross_entropy_backward", L, T, grad_y=a(2), error=TypeError,
    match=r"^cross_entropy_backward: grad_y .* got an array")
bad("cross_entropy_backward", L, T, grad_y=1j, error=TypeError, match=r"^cross_entropy_backward: grad_y .* got 1j")
bad("cross_entropy_backward", L, T, grad_y=VAST, error=ShapeError,
    match=r"^cross_entropy_backward: grad_y .* got an int of")
bad("cross_entropy_backward", L, T, reduction="none", grad_y=1.0, error=TypeError, match=r"grad_y must be .* got 1.0")
bad("cross_entropy_backward", L, T, reduction="none", grad_y=a(3), error=ShapeError,
    match=r"grad_y has shape \(3,\), .*\(2,")
# -- nll_loss, mse_loss ------------------------------------------------------------------------------------------------

bad("nll_loss", L.tolist(), T, error=TypeError, match=r"^nll_loss: x must be .* got \[")
bad("nll_loss", L, T.astype(np.float32), error=TypeError,
    match=r"^nll_loss: target must hold class .*dtype, got .*float32")
bad("nll_loss", L, L, error=TypeError, match=r"^nll_loss: target must hold class numbers .*got .*float32")
bad("nll_loss", L, int64([0, 3]), error=ShapeError, match=r"^nll_loss: target must be in 0 \.\. 2 .*, got 3")
bad("nll_loss", a(2, 3, 4, 5), int64([[0, 1]]), error=ShapeError,
    match=r"^nll_loss: target has shape .* shape \(2, 4, 5\)")
bad("nll_loss", L, T, a(2), error=ShapeError, match=r"^nll_loss: weight has shape \(2,\), expected .*\(3,\)")
bad("nll_loss", L, T, ignore_index=1.0, error=TypeError, match=r"^nll_loss: ignore_index must be .* got 1.0")
bad("nll_loss", L, T, reduction="avg", error=ShapeError, match=r"^nll_loss: reduction must be .* got 'avg'")
bad("nll_loss_backward", L, T, grad_y=a(2), error=TypeError, match=r"^nll_loss_backward: grad_y .* got an array")
bad("nll_loss_backward", L, T, reduction="none", grad_y=a(3), error=ShapeError,
    match=r"^nll_loss_backward: grad_y has shape \(3,\), expected the shape of the losses, \(2,\)")
bad("mse_loss", L.tolist(), L, error=TypeError, match=r"^mse_loss: x must be .* got \[")
bad("mse_loss", L, T, error=TypeError, match=r"^mse_loss: target must be an array of float32 .* got .*int64")
bad("mse_loss", L, a(3), error=ShapeError,
    match=r"^mse_loss: target has shape \(3,\), expected the shape of x, \(2, 3\)")
bad("mse_loss", L, L, "avg", error=ShapeError, match=r"^mse_loss: reduction must be .* got 'avg'")
bad("mse_loss_backward", L, L, grad_y="1", error=TypeError, match=r"^mse_loss_backward: grad_y must .* got '1'")
bad("mse_loss_backward", L, L, "none", grad_y=a(2), error=ShapeError,
    match=r"^mse_loss_backward: grad_y has shape \(2,\)")

# -- leaky_relu, sigmoid, tanh -----------------------------------------------------------------------------------------

bad("leaky_relu", int64([1]), error=TypeError, match=r"^leaky_relu: x must be an array of float32 .* got .*int64")
bad("leaky_relu", a(2), "0.1", error=TypeError, match=r"^leaky_relu: negative_slope must be a number, got '0.1'")
bad("leaky_relu_backward", a(3), a(2), error=ShapeError, match=r"^leaky_relu_backward: grad_y has shape \(3,\)")
bad("leaky_relu_backward", a(2), a(2), None, error=TypeError, match=r"^leaky_relu_backward: negative_slope .* got None")
for name in ("sigmoid", "tanh"):
    bad(name, [1.0], error=TypeError, match=rf"^{name}: x must be a NumPy array .* got \[1.0\]")
    bad(name, masked(2), error=TypeError, match=rf"^{name}: x must not be masked")
    bad(f"{name}_backward", a(3), a(2), error=ShapeError, match=rf"^{name}_backward: grad_y has shape \(3,\)")
    bad(f"{name}_backward", a(2, dtype=np.float64), a(2), error=TypeError,
        match=rf"^{name}_backward: grad_y is float64")

# -- dropout -----------------------------------------------------------------------------------------------------------
bad("dropout", [1.0], error=TypeError, match=r"^dropout: x must be a NumPy array .* got \[1.0\]")
bad("dropout", a(3, dtype=int), training=False, error=TypeError, match=r"^dropout: x must be .* got an array of int64")
bad("dropout", L, 1.1, error=ShapeError, match=r"^dropout: p must be between 0 and 1, got 1.1 \(float\)")
bad("dropout", L, -0.5, training=False, error=ShapeError, match=r"^dropout: p must be between 0 and 1, got -0.5")
bad("dropout", L, float("nan"), error=ShapeError, match=r"^dropout: p must be between 0 and 1, got nan")
bad("dropout", L, VAST, error=ShapeError, match=r"^dropout: p must .* got an int of \d+ bits")
bad("dropout", L, None, error=TypeError, match=r"^dropout: p must be a number, got None")
bad("dropout", L, "0.5", error=TypeError, match=r"^dropout: p must be a number, got '0.5' \(str\)")
bad("dropout", L, True, error=TypeError, match=r"^dropout: p must be a number, got True \(bool\)")
bad("dropout", L, a(2), error=TypeError, match=r"^dropout: p must be a number, got an array of float32")
bad("dropout", L, 0.5, 1, error=TypeError, match=r"^dropout: training must be a bool, got 1")
bad("dropout", L, rng=0, error=TypeError, match=r"^dropout: rng must be a numpy.random.Generator or None, got 0")
bad("dropout", L, rng=np.random.RandomState(0), error=TypeError, match=r"^dropout: rng must .* got a RandomState")
bad("dropout", L, rng=np.random, error=TypeError, match=r"^dropout: rng must .* got a module")
bad("dropout", L, return_mask=None, error=TypeError, match=r"^dropout: return_mask must be a bool, got None")
bad("dropout_backward", L, a(2, 3), error=TypeError, match=r"^dropout_backward: mask must be .* uint8, got .*float32")
bad("dropout_backward", L, a(2, 3, dtype=bool), error=TypeError, match=r"^dropout_backward: mask must be .* got .*bool")
bad("dropout_backward", L, a(3, dtype=np.uint8), error=ShapeError,
    match=r"^dropout_backward: mask has shape \(3,\), .*\(2, 3")
bad("dropout_backward", L, a(2, 3, dtype=np.uint8), 2, error=ShapeError, match=r"^dropout_backward: p must .* got 2")
bad("dropout_backward", None, a(3, dtype=np.uint8), error=TypeError,
    match=r"^dropout_backward: grad_y must be .* got None")
bad("dropout2d", L, error=ShapeError, match=r"^dropout2d: x must have shape \(N, C, H, W\) or .*, got shape \(2, 3\)")
bad("dropout2d", a(2, 3, 0, 1), error=ShapeError, match=r"^dropout2d: x must not be empty .* got shape \(2, 3, 0, 1\)")
bad("dropout2d", X, -1, error=ShapeError, match=r"^dropout2d: p must be between 0 and 1, got -1")
bad("dropout2d_backward", X, X.astype(np.uint8), error=ShapeError,
    match=r"^dropout2d_backward: mask has shape .*\(2, 3\)")
bad("dropout2d_backward", X, None, error=TypeError, match=r"^dropout2d_backward: mask must be .* uint8, got None")
bad("dropout2d_backward", L, a(2, 3, dtype=np.uint8), error=ShapeError,
    match=r"^dropout2d_backward: grad_y must have shape")
# -- conv_transpose2d --------------------------------------------------------------------------------------------------
T = a(3, 4, 3, 3)
for op, before in (("conv_transpose2d", (X, T)), ("conv_transpose2d_backward", (a(2, 4, 7, 7), X, T))):
    bad(op, *before, stride=0, error=ShapeError, match=r"stride must be at least 1, got 0")
    bad(op, *before, stride=1.0, error=TypeError, match=r"stride must be an int or a pair .* got 1.0 \(float\)")
    bad(op, *before, stride=(1, 2, 3), error=ShapeError, match=r"stride must be an int or a pair .* got \(1, 2, 3\)")
    bad(op, *before, padding=-1, error=ShapeError, match=r"padding must be at least 0, got -1")
    bad(op, *before, padding="valid", error=TypeError, match=r"padding must be an int .* got 'valid' \(str\)")
    bad(op, *before, padding=4, error=ShapeError, match=r"padding=4 leaves nothing of the output of \(7, 7\) pixels")
    bad(op, *before, padding=HUGE, error=ShapeError, match=r"padding=4\d* leaves nothing")
    bad(op, *before, output_padding=-1, error=ShapeError, match=r"output_padding must be at least 0, got -1")
    bad(op, *before, output_padding=1, error=ShapeError, match=r"output_padding must be smaller than stride or dila")
    bad(op, *before, output_padding=True, error=TypeError, match=r"output_padding must be an int .* got True \(bool\)")
    bad(op, *before, output_padding=None, error=TypeError, match=r"output_padding must be an int .* got None")
    bad(op, *before, dilation=0, error=ShapeError, match=r"dilation must be at least 1, got 0")
    bad(op, *before, dilation=VAST, error=ShapeError, match=r"the output before its padding is cut off is too large")
    bad(op, *before, stride=HUGE, error=ShapeError, match=r"the output before its padding is cut off is too large")
    bad(op, *before, groups=0, error=ShapeError, match=r"groups must be at least 1, got 0")
    bad(op, *before, groups=2, error=ShapeError, match=r"groups must divide the 3 channels of x, got groups=2")
    bad(op, *before, groups=1.0, error=TypeError, match=r"groups must be an int, got 1.0 \(float\)")
    bad(op, *before[:-1], a(4, 3, 3, 3), error=ShapeError, match=r"weight has 4 input channels but x has 3 channels; ")
    bad(op, *before[:-1], a(3, 4, 3), error=ShapeError, match=r"weight must have shape .*, got shape \(3, 4, 3\)")
    bad(op, *before[:-1], a(3, 0, 3, 3), error=ShapeError, match=r"weight must not be empty, got shape \(3, 0, 3, 3\)")
    bad(op, *before[:-1], T.astype(np.float64), error=TypeError, match=r"weight is float64 but x is float32")
    bad(op, *before[:-2], a(5, 5), T, error=ShapeError, match=r"x must have shape .*, got shape \(5, 5\)")
    bad(op, *before[:-2], a(2, 3, 0, 5), T, error=ShapeError, match=r"x must not be empty .* \(2, 3, 0, 5\)")
    bad(op, *before[:-2], X.astype(int), T, error=TypeError, match=r"x must be an array of float32 .* int64")
bad("conv_transpose2d", X, T, a(3), error=ShapeError, match=r"bias has shape \(3,\) .*expected bias of shape \(4,\)")
bad("conv_transpose2d", X, T, B.astype(np.float64), error=TypeError, match=r"bias is float64 but x is float32")
bad("conv_transpose2d_backward", a(2, 4, 5, 5), X, T, error=ShapeError,
    match=r"grad_y has shape \(2, 4, 5, 5\), expected")
bad("conv_transpose2d_backward", a(2, 4, 7, 7), X, T, need=True, error=TypeError,
    match=r"need must be a tuple of three")
# -- unfold and fold ---------------------------------------------------------------------------------------------------
for op, before in (
    ("unfold", (X,)), ("unfold_backward", (a(2, 12, 16), X.shape)), ("fold", (a(2, 12, 16), 5)), ("fold_backward", (X,))
):
    bad(op, *before, 0, error=ShapeError, match=r"kernel_size must be at least 1, got 0")
    bad(op, *before, 2.0, error=TypeError, match=r"kernel_size must be an int or a pair .* got 2.0 \(float\)")
    bad(op, *before, (2,), error=ShapeError, match=r"kernel_size must be an int or a pair .* got \(2\)")
    bad(op, *before, None, error=TypeError, match=r"kernel_size must be an int or a pair .* got None")
    bad(op, *before, 2, 0, error=ShapeError, match=r"dilation must be at least 1, got 0")
    bad(op, *before, 2, True, error=TypeError, match=r"dilation must be an int or a pair .* got True \(bool\)")
    bad(op, *before, 2, 5, error=ShapeError, match=r"kernel_size=2 with dilation=5 covers \(6, 6\) pixels, more than")
    bad(op, *before, 2, VAST, error=ShapeError, match=r"kernel_size=2 with dilation=an int of \d+ bits covers")
    bad(op, *before, 2, 1, -1, error=ShapeError, match=r"padding must be at least 0, got -1")
    bad(op, *before, 2, 1, "same", error=TypeError, match=r"padding must be an int .* got 'same' \(str\)")
    bad(op, *before, 2, 1, HUGE, error=ShapeError, match=r"padded with padding=\d+ is too large")
    bad(op, *before, 2, 1, 0, 0, error=ShapeError, match=r"stride must be at least 1, got 0")
    bad(op, *before, 2, 1, 0, None, error=TypeError, match=r"stride must be an int or a pair .* got None")
    bad(op, before[0].astype(int), *before[1:], 2, error=TypeError,
        match=r"(x|grad_y) must be an array of float32 .* int64")
    bad(op, before[0].tolist(), *before[1:], 2, error=TypeError, match=r"(x|grad_y) must be a NumPy array")
for op in ("unfold", "fold_backward"):
    bad(op, a(5, 5), 2, error=ShapeError, match=r"(x|grad_y) must have shape \(N, C, H, W\) .* got shape \(5, 5\)")
    bad(op, a(1, 0, 5, 5), 2, error=ShapeError, match=r"(x|grad_y) must not be empty .* \(1, 0, 5, 5\)")
bad("unfold_backward", a(2, 12, 16), [5, 5], 2, error=ShapeError, match=r"input_shape must have 3 or 4 sizes")
bad("unfold_backward", a(2, 12, 16), 5, 2, error=TypeError, match=r"input_shape must be a tuple of ints, got 5")
bad("unfold_backward", a(2, 12, 16), (2, 0, 5, 5), 2, error=ShapeError, match=r"input_shape must not be empty")
bad("unfold_backward", a(2, 12, 16), (3, 3, 5, 5), 2, error=ShapeError,
    match=r"grad_y has shape \(2, 12, 16\), expected")
bad("unfold_backward", a(2, 12, 16), (1, 1, HUGE, 5), 2, error=ShapeError, match=r"too large")
bad("fold", a(2, 12, 16), 0, 2, error=ShapeError, match=r"output_size must be at least 1, got 0")
bad("fold", a(2, 12, 16), 5.0, 2, error=TypeError, match=r"output_size must be an int or a pair .* got 5.0 \(float\)")
bad("fold", a(2, 12, 16), (5, 5, 5), 2, error=ShapeError, match=r"output_size must be an int or a pair .* \(5, 5, 5\)")
bad("fold", a(2, 12, 16), 5, 5, error=ShapeError,
    match=r"x must have a multiple of 25 rows for kernel_size=5, got shape")
bad("fold", a(2, 12, 16), 5, VAST, error=ShapeError,
    match=r"x must have a multiple of an int of \d+ bits rows for kernel")
bad("fold", a(2, 12, 16), 6, 2, error=ShapeError,
    match=r"x has 16 windows but output_size=6 has 5 x 5 .*\(2, 12, 25\)$")
bad("fold", a(2, 12, 16), VAST, 2, error=ShapeError, match=r"too large")
bad("fold", a(2, 3, 4, 16), 5, 2, error=ShapeError, match=r"x must have shape \(N, C\*R\*S, L\) or .*\(2, 3, 4, 16\)")
bad("fold", a(2, 0, 16), 5, 2, error=ShapeError, match=r"x must not be empty .* \(2, 0, 16\)")
# -- settings ----------------------------------------------------------------------------------------------------------
bad("set_num_threads", 0, error=ShapeError, match=r"^set_num_threads: n must be in 1 \.\. 1024, got 0")
F = np.ones(3, np.float32)  # one number a channel of X
D = np.ones(3)
bad("batch_norm", [[1.0]], F, F, error=TypeError, match=r"^batch_norm: x must be a NumPy array .*, got \[a list")
bad("batch_norm", Fake(), F, F, error=TypeError, match=r"^batch_norm: x must be a NumPy array .* got a Fake")
bad("batch_norm", masked(1, 3, 5, 5), F, F, error=TypeError, match=r"^batch_norm: x must not be masked")
bad("batch_norm", swapped(1, 3, 5, 5), F, F, error=TypeError, match=r"^batch_norm: x must be in native byte order")
bad("batch_norm", a(5), F, F,
    error=ShapeError, match=r"^batch_norm: x must have shape \(N, C\) or .*, got shape \(5,\)")
bad("batch_norm", a(4, 3), D, F, error=TypeError, match=r"^batch_norm: running_mean is float64 but x is float32")
bad("batch_norm", a(4, 3), F, [1, 1, 1], error=TypeError, match=r"^batch_norm: running_var must be a NumPy array")
bad("batch_norm", a(4, 3), F, F, F[:2], error=ShapeError, match=r"^batch_norm: weight has shape \(2,\) but x has 3 ch")
bad("batch_norm", a(4, 3), F, F, None, F[0], error=TypeError, match=r"^batch_norm: bias must be a NumPy array")
bad("batch_norm", a(4, 3), F, F, training=1, error=TypeError, match=r"^batch_norm: training must be a bool, got 1")
bad("batch_norm", a(4, 3), F, F, momentum="0.1", error=TypeError, match=r"^batch_norm: momentum must be a number")
bad("batch_norm", a(4, 3), F, F, momentum=np.inf, error=ShapeError, match=r"^batch_norm: momentum must be finite")
bad("batch_norm", a(4, 3), F, F, eps=np.nan, error=ShapeError, match=r"^batch_norm: eps must be at least 0 .*, got nan")
bad("batch_norm", a(4, 3), F, F, eps=True, error=TypeError, match=r"^batch_norm: eps must be a number, got True")
bad("batch_norm", a(4, 3), F, F, return_stats=0, error=TypeError, match=r"^batch_norm: return_stats must be a bool")
bad("batch_norm", a(4, 3), None, None,
    error=ShapeError, match=r"^batch_norm: without training, running_mean must be an")
bad("batch_norm", a(1, 3), F, F, training=True, error=ShapeError, match=r"^batch_norm: .* x of shape \(1, 3\)")
bad("batch_norm_backward", a(4, 3), a(4, 3), F, D,
    error=TypeError, match=r"^batch_norm_backward: mean must be .* float64")
bad("batch_norm_backward", a(4, 3), a(4, 3), D, D[:2],
    error=ShapeError, match=r"^batch_norm_backward: inv_std has shape")
bad("batch_norm_backward", a(4, 2), a(4, 3), D, D, error=ShapeError, match=r"^batch_norm_backward: grad_y has shape")
bad("batch_norm_backward", a(4, 3), None, D, D, error=TypeError, match=r"^batch_norm_backward: x must be a NumPy array")
bad("batch_norm_backward", a(4, 3), a(4, 3), D, D, D, error=TypeError, match=r"^batch_norm_backward: weight is float64")
bad("batch_norm_backward", a(4, 3), a(4, 3), D, D, need=(1, 1, 1), error=TypeError, match=r"^batch_norm_backward: need")
bad("batch_norm_backward", a(4, 3), a(4, 3), D, D, training=None,
    error=TypeError, match=r"^batch_norm_backward: training")
bad("adaptive_avg_pool2d", None, 1, error=TypeError, match=r"^adaptive_avg_pool2d: x must be a NumPy array .* got None")
bad("adaptive_avg_pool2d", a(5, 5), 1,
    error=ShapeError, match=r"^adaptive_avg_pool2d: x must have shape \(N, C, H, W\)")
bad("adaptive_avg_pool2d", X, -1, error=ShapeError, match=r"^adaptive_avg_pool2d: output_size must .*, got -1")
bad("adaptive_avg_pool2d", X, (None, -1), error=ShapeError, match=r"^adaptive_avg_pool2d: output_size .* \(None, -1\)")
bad("adaptive_avg_pool2d", X, (1, 2, 3),
    error=ShapeError, match=r"^adaptive_avg_pool2d: output_size must be an int or a")
bad("adaptive_avg_pool2d", X, True, error=TypeError, match=r"^adaptive_avg_pool2d: output_size must be an int .* True")
bad("adaptive_avg_pool2d", X, (1, 2.0), error=TypeError, match=r"^adaptive_avg_pool2d: output_size\[1\] must be an int")
bad("adaptive_avg_pool2d", X, Broken(), error=TypeError, match=r"^adaptive_avg_pool2d: output_size must be an int")
bad("adaptive_avg_pool2d", X, VAST, error=ShapeError, match=r"^adaptive_avg_pool2d: .* too large")
bad("adaptive_avg_pool2d", X, 2**31, error=ShapeError, match=r"^adaptive_avg_pool2d: .* too large")
bad("adaptive_avg_pool2d_backward", X, None, error=TypeError, match=r"^adaptive_avg_pool2d_backward: input_shape must")
bad("adaptive_avg_pool2d_backward", X, (9, 9),
    error=ShapeError, match=r"^adaptive_avg_pool2d_backward: input_shape must")
bad("adaptive_avg_pool2d_backward", a(5, 5), (5, 5),
    error=ShapeError, match=r"^adaptive_avg_pool2d_backward: grad_y must")
bad("adaptive_avg_pool2d_backward", X, (1, 9, 4, 4),
    error=ShapeError, match=r"^adaptive_avg_pool2d_backward: grad_y has")
bad("set_num_threads", -1, error=ShapeError, match=r"^set_num_threads: n must be in 1 \.\. 1024, got -1")
bad("set_num_threads", 1025, error=ShapeError, match=r"^set_num_threads: n must be in 1 \.\. 1024, got 1025")
bad("set_num_threads", VAST, error=ShapeError, match=r"^set_num_threads: n must be in .*, got an int of \d+ bits")
bad("set_num_threads", 1.0, error=TypeError, match=r"^set_num_threads: n must be an int, got 1.0 \(float\)")
bad("set_num_threads", True, error=TypeError, match=r"^set_num_threads: n must be an int, got True \(bool\)")
bad("set_num_threads", None, error=TypeError, match=r"^set_num_threads: n must be an int, got None")
bad("set_num_threads", "2", error=TypeError, match=r"^set_num_threads: n must be an int, got '2' \(str\)")
bad("threads", 0, error=ShapeError, match=r"^threads: n must be in 1 \.\. 1024, got 0")
bad("threads", None, error=TypeError, match=r"^threads: n must be an int, got None")
bad("set_float32_precision", "low", error=ShapeError, match=r"precision must be one of 'highest', .* got 'low'")
bad("set_float32_precision", "HIGH", error=ShapeError, match=r"precision must be one of 'highest', .* got 'HIGH'")
bad("set_float32_precision", None, error=TypeError, match=r"precision must be one of 'highest', .* got None")
bad("set_float32_precision", 1, error=TypeError, match=r"precision must be one of 'highest', .* got 1")
# fmt: on


def test_table_is_large_enough_and_covers_every_op() -> None:
    print(f"{len(ROWS)} malformed calls of operations and settings")
    assert len(ROWS) >= 300
    assert {row.values[0] for row in ROWS} >= set(fastconv.ops.__all__)


def run_row(number: int) -> None:
    """In a child process: the call of a row, and what it must raise and leave alone."""
    op, args, kwargs, error, match = ROWS[number].values
    arrays = [value for value in (*args, *kwargs.values()) if isinstance(value, np.ndarray) and value.size < 1_000_000]
    before = [(array.copy(), array.shape, array.strides, array.dtype, array.flags.num) for array in arrays]
    settings = fastconv.get_num_threads(), fastconv.get_float32_precision()

    with pytest.raises(error, match=match) as caught:
        OPS[op](*args, **kwargs)

    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{op}: ")
    assert len(str(caught.value)) < 400
    assert settings == (fastconv.get_num_threads(), fastconv.get_float32_precision())
    for array, (copy, shape, strides, dtype, flags) in zip(arrays, before, strict=True):
        assert (array.shape, array.strides, array.dtype, array.flags.num) == (shape, strides, dtype, flags)
        assert array.tobytes() == copy.tobytes()


RESULTS = Rows("test_bad_input", len(ROWS))


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.id for row in ROWS])
def test_refused(number: int) -> None:
    problem = RESULTS[number]
    assert problem is None, f"{ROWS[number].values}: {problem}"


def test_refused_calls_are_not_cached() -> None:
    """A bool equals an int and has its hash: neither order may let one in for the other."""
    for _ in range(2):
        fastconv.conv2d(X, W, stride=1, padding=(1, 1))
        with pytest.raises(TypeError, match="stride"):
            fastconv.conv2d(X, W, stride=True, padding=(1, 1))
        with pytest.raises(TypeError, match=r"padding\[1\]"):
            fastconv.conv2d(X, W, stride=1, padding=(1, True))
        with pytest.raises(TypeError, match=r"padding\[0\]"):
            fastconv.conv2d(X, W, stride=1, padding=(1.0, 1))
        with pytest.raises(ShapeError, match="stride"):
            fastconv.conv2d(X, W, stride=0)


def test_shape_error_is_what_numpy_and_pytorch_users_catch() -> None:
    for kind in (ValueError, RuntimeError, ShapeError):
        with pytest.raises(kind, match="groups"):
            fastconv.conv2d(X, W, groups=0)
