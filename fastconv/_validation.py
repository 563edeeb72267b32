"""The one place where arguments are checked and output shapes computed.

1. An op calls one `check_*` function (or a few of the small checks) before it allocates anything.  What comes back is
   ready for the compiled module: plain ndarrays of one dtype, C-contiguous, aligned and in native byte order, and a
   problem object with every size in it.  Nothing is ever changed in place.
2. Types and dtypes that are wrong give TypeError, shapes and values ShapeError.  Each message names the op and the
   argument, says what it got, and what would be right.
3. The common call is quick: a few type checks, then one `functools.lru_cache` keyed on the shapes and on plain ints.
   True == 1 == 1.0 and all three have the same hash, so everything that is not an exact `int`, a pair of exact `int`
   or a `str` is turned into one before it gets near a cache.  Refused calls are not cached (an exception never is).
4. All sizes are Python ints until they are known to fit: no product computed from user input can overflow.
5. float32 and float64 arrays in native byte order are accepted.  Byte-swapped arrays are refused, not converted: a
   call keeps its input's dtype, and a copy on every call would hide what `x.astype(numpy.float32)` does once.
   Subclasses of ndarray are taken as the arrays they hold, but masked arrays are refused: their mask would be ignored.
"""

from __future__ import annotations

import operator
from functools import lru_cache
from math import prod
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy import ndarray

from fastconv import _kernels
from fastconv._kernels import Conv2dProblem, Pool2dProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Size: TypeAlias = int | tuple[int, int]
Need: TypeAlias = tuple[bool, bool, bool]

F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
I64 = np.dtype(np.int64)
U8 = np.dtype(np.uint8)

# An array of 2**59 float64 is 2**62 bytes: more than any machine has, and far enough from 2**63 that C may add to it.
MAX_ELEMENTS = 2**59
# Multiplications of one call.  2**62 of them take months: such a call is a mistake, and C may count them in an int64.
MAX_PRODUCTS = 2**62


class ShapeError(ValueError, RuntimeError):
    """A shape, a size or a value that does not fit the operation.

    It is a ValueError, as NumPy raises for the same mistakes, and a RuntimeError, as PyTorch does.
    """


# -- messages ----------------------------------------------------------------------------------------------------------


def describe(value: object) -> str:
    """What the caller passed, in a few words, for an error message."""
    if isinstance(value, np.ma.MaskedArray):
        return f"a masked array of {value.dtype} of shape {value.shape}"
    if isinstance(value, ndarray):
        return f"an array of {_dtype_name(value.dtype)} of shape {value.shape}"
    if value is None:
        return "None"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    if type(value) is int:
        return str(value)
    if type(value) in (tuple, list) and len(value) <= 8:  # type: ignore[arg-type]
        inside = ", ".join(_describe_element(element) for element in value)  # type: ignore[attr-defined]
        return f"({inside})" if type(value) is tuple else f"[{inside}]"
    if isinstance(value, str | float | complex | bool | np.generic):
        text = repr(value)
        return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
    return f"a {type(value).__name__}"


def _describe_element(element: object) -> str:
    if isinstance(element, float | str | bool):
        text = repr(element)
        return text if len(text) <= 60 else text[:57] + "..."
    return f"a {type(element).__name__}" if isinstance(element, tuple | list) else describe(element)


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else f"byte-swapped {dtype.name}"


# -- numbers -----------------------------------------------------------------------------------------------------------


def integer(op: str, name: str, value: object) -> int:
    """A plain int from anything with __index__ but a bool, which is a slip more often than a size."""
    if type(value) is int:
        return value
    if not isinstance(value, bool | np.bool_):
        try:
            return int(operator.index(value))  # type: ignore[arg-type]
        except TypeError:
            pass
    raise TypeError(f"{op}: {name} must be an int, got {describe(value)}")


def size(op: str, name: str, value: object) -> Size:
    """A plain int or a pair of plain ints, fit to be part of a cache key; how large it may be is checked later."""
    if type(value) is int:
        return value
    if isinstance(value, tuple | list):
        if len(value) == 2 and type(value) is tuple and type(value[0]) is int and type(value[1]) is int:
            return value
        if len(value) != 2:
            raise ShapeError(f"{op}: {name} must be an int or a pair of ints (height, width), got {describe(value)}")
        return integer(op, f"{name}[0]", value[0]), integer(op, f"{name}[1]", value[1])
    if not isinstance(value, bool | np.bool_):
        try:
            return int(operator.index(value))  # type: ignore[arg-type]
        except TypeError:
            pass
    raise TypeError(f"{op}: {name} must be an int or a pair of ints (height, width), got {describe(value)}")


def pair(op: str, name: str, value: Size, least: int) -> tuple[int, int]:
    """(height, width) of a size, both at least `least`."""
    height, width = (value, value) if isinstance(value, int) else value
    if height < least or width < least:
        raise ShapeError(f"{op}: {name} must be at least {least}, got {describe(value)}")
    return height, width


def flag(op: str, name: str, value: object) -> bool:
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{op}: {name} must be a bool, got {describe(value)}")


def number(op: str, name: str, value: object) -> float:
    """A float from any real number (int, float, NumPy's scalars and 0-d arrays of them), not from bool or str."""
    if isinstance(value, ndarray) and value.ndim == 0 and value.dtype.kind in "fiu":
        value = value[()]
    if type(value) is not float and (not isinstance(value, Real) or isinstance(value, bool | np.bool_)):
        raise TypeError(f"{op}: {name} must be a number, got {describe(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ShapeError(f"{op}: {name} must fit a float, got {describe(value)}") from None


def number_between(op: str, name: str, value: object, low: float, high: float) -> float:
    result = number(op, name, value)
    if not low <= result <= high:  # NaN compares false, and is refused
        raise ShapeError(f"{op}: {name} must be between {low:g} and {high:g}, got {describe(value)}")
    return result


def one_of(op: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    if type(value) is str and value in choices:
        return value
    wanted = ", ".join(repr(choice) for choice in choices)
    if not isinstance(value, str):
        raise TypeError(f"{op}: {name} must be one of {wanted}, got {describe(value)}")
    if value not in choices:
        raise ShapeError(f"{op}: {name} must be one of {wanted}, got {describe(value)}")
    return value


def needed(op: str, need: object) -> Need:
    """Which of (grad_x, grad_weight, grad_bias) the caller wants."""
    if not isinstance(need, tuple | list):
        raise TypeError(f"{op}: need must be a tuple of three bools (x, weight, bias), got {describe(need)}")
    if len(need) != 3:
        raise ShapeError(f"{op}: need must hold three bools (x, weight, bias), got {describe(need)}")
    return flag(op, "need[0]", need[0]), flag(op, "need[1]", need[1]), flag(op, "need[2]", need[2])


def float_dtype(op: str, dtype: object) -> np.dtype[Any]:
    """numpy.float32 or numpy.float64 from what stands for one of them; None does not, though NumPy takes it so."""
    try:
        kind = None if dtype is None else np.dtype(dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        kind = None
    if kind is not None and kind in (F32, F64):
        return F32 if kind == F32 else F64
    raise TypeError(f"{op}: dtype must be float32 or float64, got {describe(dtype) if kind is None else kind}")


def shape_tuple(op: str, name: str, value: object, ndims: tuple[int, ...]) -> tuple[int, ...]:
    """A shape given as a tuple or list of ints, none negative."""
    if type(value) is not tuple:
        if not isinstance(value, tuple | list):
            raise TypeError(f"{op}: {name} must be a tuple of ints, got {describe(value)}")
        value = tuple(value)
    if len(value) not in ndims:
        wanted = " or ".join(str(ndim) for ndim in ndims)
        raise ShapeError(f"{op}: {name} must have {wanted} sizes, got {describe(value)}")
    shape = tuple([integer(op, f"{name}[{i}]", element) for i, element in enumerate(value)])
    if min(shape) < 0:
        raise ShapeError(f"{op}: {name} must not have negative sizes, got {describe(shape)}")
    return shape


def generator(op: str, rng: object) -> np.random.Generator | None:
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    raise TypeError(
        f"{op}: rng must be a numpy.random.Generator or None, got {describe(rng)}; "
        f"make one with numpy.random.default_rng"
    )


# -- arrays ------------------------------------------------------------------------------------------------------------


def floats(op: str, name: str, value: object) -> Array:
    """A plain ndarray of float32 or float64, whatever its layout."""
    if type(value) is ndarray:
        dtype = value.dtype
        if dtype is F32 or dtype is F64:
            return value
    return _floats_slow(op, name, value)


def _floats_slow(op: str, name: str, value: object) -> Array:
    array = _plain(op, name, value, "float32 or float64")
    dtype = array.dtype
    if dtype in (F32, F64):  # dtypes that are equal but not the same object, such as those with metadata
        return array
    if dtype.kind == "f" and not dtype.isnative:
        raise TypeError(
            f"{op}: {name} must be in native byte order, got {describe(array)}; "
            f"convert it with {name}.astype(numpy.{dtype.name})"
        )
    raise TypeError(f"{op}: {name} must be an array of float32 or float64, got {describe(array)}")


def _plain(op: str, name: str, value: object, wanted: str) -> Array:
    """A plain ndarray of a subclass of it; masked arrays and everything else are refused."""
    if not isinstance(value, ndarray):
        raise TypeError(f"{op}: {name} must be a NumPy array of {wanted}, got {describe(value)}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{op}: {name} must not be masked, got {describe(value)}; the mask would be ignored, "
            f"use {name}.filled(value) or {name}.data"
        )
    return np.asarray(value)


def floats_like(op: str, name: str, value: object, like_name: str, like: Array) -> Array:
    """`floats`, of the dtype of another argument."""
    array = floats(op, name, value)
    if array.dtype is not like.dtype and array.dtype != like.dtype:
        raise TypeError(f"{op}: {name} is {array.dtype} but {like_name} is {like.dtype}; expected the same dtype")
    return array


def floats_shaped(
    op: str, name: str, value: object, like_name: str, like: Array, shape: tuple[int, ...], meaning: str
) -> Array:
    """`floats_like` of exactly this shape."""
    array = floats_like(op, name, value, like_name, like)
    if array.shape != shape:
        raise ShapeError(f"{op}: {name} has shape {array.shape}, expected {meaning} {shape}")
    return array


def _two_floats(op: str, x: object, weight: object) -> tuple[Array, Array]:
    """`floats` of x and `floats_like` of weight, quick where they are plain."""
    if type(x) is not ndarray or (x.dtype is not F32 and x.dtype is not F64):
        x = _floats_slow(op, "x", x)
    if type(weight) is not ndarray or weight.dtype is not x.dtype:
        weight = floats_like(op, "weight", weight, "x", x)
    return x, weight


def _bias(op: str, bias: object, x: Array, shape: tuple[int, ...]) -> Array:
    """A contiguous bias of one number an output channel or feature."""
    if type(bias) is not ndarray or bias.dtype is not x.dtype:
        bias = floats_like(op, "bias", bias, "x", x)
    if bias.shape != shape:
        raise ShapeError(
            f"{op}: bias has shape {bias.shape} but weight has {shape[0]} outputs; expected bias of shape {shape}"
        )
    return bias if bias.flags.carray else contiguous(bias)


def exact_dtype(op: str, name: str, value: object, dtype: np.dtype[Any]) -> Array:
    """A plain ndarray of one dtype, such as int64 indices or a uint8 mask."""
    if type(value) is ndarray and value.dtype is dtype:
        return value
    array = _plain(op, name, value, dtype.name)
    if array.dtype != dtype:
        raise TypeError(f"{op}: {name} must be an array of {dtype.name}, got {describe(array)}")
    return array


def contiguous(array: Array) -> Array:
    """The array itself where it is C-contiguous and aligned, else a copy of it that is.

    Callers on the quick path ask `array.flags.carray` first (true for such arrays, unless they are read-only).
    """
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    copy = _kernels.empty(array.shape, array.dtype)
    np.copyto(copy, array)
    return copy


def fits(op: str, what: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape of more elements than any memory holds; a size of 0 does not excuse the others."""
    if prod([max(extent, 1) for extent in shape]) > MAX_ELEMENTS:
        raise ShapeError(f"{op}: {what} is too large: shape {describe(shape)} has more than 2**59 elements")


def _layout(op: str, name: str, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, C, H, W) of an array of shape (N, C, H, W) or (C, H, W)."""
    if len(shape) == 4:
        n, c, h, w = shape
    elif len(shape) == 3:
        n, (c, h, w) = 1, shape
    else:
        raise ShapeError(f"{op}: {name} must have shape (N, C, H, W) or (C, H, W), got shape {shape}")
    if not (c and h and w):
        raise ShapeError(f"{op}: {name} must not be empty but for its batch size, got shape {shape}")
    return n, c, h, w


# -- convolution -------------------------------------------------------------------------------------------------------


def check_conv2d(
    op: str, x: object, weight: object, bias: object, stride: object, padding: object, dilation: object, groups: object
) -> tuple[Array, Array, Array | None, Conv2dProblem, tuple[int, ...]]:
    """Arrays ready for the compiled module, the problem, and the shape of y."""
    x, weight = _two_floats(op, x, weight)
    if type(stride) is not int:
        stride = size(op, "stride", stride)
    if type(padding) is not int:
        padding = _conv_padding(op, padding)
    if type(dilation) is not int:
        dilation = size(op, "dilation", dilation)
    if type(groups) is not int:
        groups = integer(op, "groups", groups)
    problem, y_shape, bias_shape = _conv2d(op, x.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None:
        bias = _bias(op, bias, x, bias_shape)
    if not x.flags.carray:
        x = contiguous(x)
    if not weight.flags.carray:
        weight = contiguous(weight)
    return x, weight, bias, problem, y_shape


def check_conv2d_shapes(
    op: str,
    x_shape: object,
    weight_shape: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    dtype: object,
) -> tuple[Conv2dProblem, bool]:
    """The problem of a convolution of which only the shapes are known, and whether it is of float32."""
    kind = float_dtype(op, dtype)
    problem, _, _ = _conv2d(
        op,
        shape_tuple(op, "x_shape", x_shape, (3, 4)),
        shape_tuple(op, "weight_shape", weight_shape, (4,)),
        size(op, "stride", stride),
        _conv_padding(op, padding),
        size(op, "dilation", dilation),
        integer(op, "groups", groups),
    )
    return problem, kind == np.float32


def _conv_padding(op: str, padding: object) -> Size | str:
    if isinstance(padding, str):
        if padding in ("same", "valid"):
            return str(padding)
        raise ShapeError(f"{op}: padding must be an int, a pair of ints, 'same' or 'valid', got {describe(padding)}")
    try:
        return size(op, "padding", padding)
    except TypeError:
        if isinstance(padding, tuple | list):
            raise
    raise TypeError(f"{op}: padding must be an int, a pair of ints, 'same' or 'valid', got {describe(padding)}")


@lru_cache(maxsize=4096)
def _conv2d(
    op: str,
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
) -> tuple[Conv2dProblem, tuple[int, ...], tuple[int, ...]]:
    """The problem, the shape of y and the shape of bias."""
    n, c, h, w = _layout(op, "x", x_shape)
    k, r, s = _conv_weight(op, c, x_shape, weight_shape, groups)
    stride_h, stride_w = pair(op, "stride", stride, 1)
    dilation_h, dilation_w = pair(op, "dilation", dilation, 1)
    if padding == "same" and (stride_h, stride_w) != (1, 1):
        raise ShapeError(f"{op}: padding='same' needs stride 1, got stride={describe(stride)}")
    top, bottom, left, right = _conv_pads(op, padding, dilation_h * (r - 1), dilation_w * (s - 1))
    padded = (n, c, h + top + bottom, w + left + right)
    fits(op, f"x padded with padding={describe(padding)}", padded)
    window = (dilation_h * (r - 1) + 1, dilation_w * (s - 1) + 1)
    if window[0] > padded[2] or window[1] > padded[3]:
        raise ShapeError(
            f"{op}: weight of shape {weight_shape} with dilation={describe(dilation)} covers {describe(window)} "
            f"pixels, more than the input of {describe(padded[2:])} after padding"
        )
    oh = (padded[2] - window[0]) // stride_h + 1
    ow = (padded[3] - window[1]) // stride_w + 1
    fits(op, "the output", (n, k, oh, ow))
    if max(n, 1) * prod(weight_shape) * oh * ow > MAX_PRODUCTS:
        raise ShapeError(f"{op}: x of shape {x_shape} with weight of shape {weight_shape} needs over 2**62 products")
    # A stride larger than the padded input, or the dilation of one tap, changes nothing but could overflow in C.
    problem = Conv2dProblem(
        n, c, h, w, k, r, s, oh, ow,
        min(stride_h, padded[2]), min(stride_w, padded[3]), top, left,
        dilation_h if r > 1 else 1, dilation_w if s > 1 else 1, groups,
    )  # fmt: skip
    return problem, (*x_shape[:-3], k, oh, ow), (k,)


def _conv_weight(
    op: str, c: int, x_shape: tuple[int, ...], weight_shape: tuple[int, ...], groups: int
) -> tuple[int, int, int]:
    """(K, R, S), once the channels of x and weight agree."""
    if len(weight_shape) != 4:
        raise ShapeError(f"{op}: weight must have shape (K, C // groups, R, S), got shape {weight_shape}")
    if groups < 1:
        raise ShapeError(f"{op}: groups must be at least 1, got {describe(groups)}")
    if c % groups:
        raise ShapeError(
            f"{op}: groups must divide the {c} channels of x, got groups={describe(groups)} and x of shape {x_shape}"
        )
    k, per_group, r, s = weight_shape
    if per_group != c // groups:
        expected = (k, c // groups, r, s)
        raise ShapeError(
            f"{op}: weight has {per_group} input channels per group but x has {c} channels with groups={groups}; "
            f"expected weight of shape {expected}"
        )
    if k < 1 or r < 1 or s < 1:
        raise ShapeError(f"{op}: weight must not be empty, got shape {weight_shape}")
    if k % groups:
        raise ShapeError(
            f"{op}: groups must divide the {k} output channels of weight, got groups={groups} and weight of shape "
            f"{weight_shape}"
        )
    return k, r, s


def _conv_pads(op: str, padding: Size | str, total_h: int, total_w: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right); 'same' pads the totals, the smaller half first."""
    if padding == "same":
        return total_h // 2, total_h - total_h // 2, total_w // 2, total_w - total_w // 2
    if padding == "valid":
        return 0, 0, 0, 0
    pad_h, pad_w = pair(op, "padding", padding, 0)  # type: ignore[arg-type]
    return pad_h, pad_h, pad_w, pad_w


# -- transposed convolution --------------------------------------------------------------------------------------------


def check_conv_transpose2d(
    op: str,
    x: object,
    weight: object,
    bias: object,
    stride: object,
    padding: object,
    output_padding: object,
    groups: object,
    dilation: object,
) -> tuple[Array, Array, Array | None, Conv2dProblem, tuple[int, ...]]:
    """Arrays ready for the compiled module, the convolution from y's shape to x's, and the shape of y."""
    x, weight = _two_floats(op, x, weight)
    problem, y_shape, bias_shape = _conv_transpose2d(
        op,
        x.shape,
        weight.shape,
        size(op, "stride", stride),
        size(op, "padding", padding),
        size(op, "output_padding", output_padding),
        integer(op, "groups", groups),
        size(op, "dilation", dilation),
    )
    if bias is not None:
        bias = _bias(op, bias, x, bias_shape)
    return contiguous(x), contiguous(weight), bias, problem, y_shape


def check_output_padding(op: str, output_padding: Size, stride: Size, dilation: Size) -> tuple[int, int]:
    """(height, width), each smaller than the stride or the dilation of its axis."""
    extra = pair(op, "output_padding", output_padding, 0)
    strides, dilations = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ShapeError(
            f"{op}: output_padding must be smaller than stride or dilation, got output_padding="
            f"{describe(output_padding)} with stride={describe(stride)} and dilation={describe(dilation)}"
        )
    return extra


@lru_cache(maxsize=4096)
def _conv_transpose2d(
    op: str,
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> tuple[Conv2dProblem, tuple[int, ...], tuple[int, ...]]:
    """The convolution from y's shape to x's, the shape of y and the shape of bias."""
    n, c, h, w = _layout(op, "x", x_shape)
    k, r, s = _conv_transpose_weight(op, c, x_shape, weight_shape, groups)
    stride_h, stride_w = pair(op, "stride", stride, 1)
    pad_h, pad_w = pair(op, "padding", padding, 0)
    dilation_h, dilation_w = pair(op, "dilation", dilation, 1)
    extra_h, extra_w = check_output_padding(op, output_padding, stride, dilation)
    padded = (
        (h - 1) * stride_h + dilation_h * (r - 1) + 1 + extra_h,
        (w - 1) * stride_w + dilation_w * (s - 1) + 1 + extra_w,
    )
    oh, ow = padded[0] - 2 * pad_h, padded[1] - 2 * pad_w
    if oh < 1 or ow < 1:
        raise ShapeError(
            f"{op}: padding={describe(padding)} leaves nothing of the output of {describe(padded)} pixels; expected "
            f"less than half of them on each side"
        )
    fits(op, "the output before its padding is cut off", (n, k, *padded))
    if max(n, 1) * prod(weight_shape) * h * w > MAX_PRODUCTS:
        raise ShapeError(f"{op}: x of shape {x_shape} with weight of shape {weight_shape} needs over 2**62 products")
    # A stride that no second pixel takes, or the dilation of one tap, changes nothing but could overflow in C.
    problem = Conv2dProblem(
        n, k, oh, ow, c, r, s, h, w,
        min(stride_h, padded[0]), min(stride_w, padded[1]), pad_h, pad_w,
        dilation_h if r > 1 else 1, dilation_w if s > 1 else 1, groups,
    )  # fmt: skip
    return problem, (*x_shape[:-3], k, oh, ow), (k,)


def _conv_transpose_weight(
    op: str, c: int, x_shape: tuple[int, ...], weight_shape: tuple[int, ...], groups: int
) -> tuple[int, int, int]:
    """(K, R, S), once the channels of x and weight agree."""
    if len(weight_shape) != 4:
        raise ShapeError(f"{op}: weight must have shape (C, K // groups, R, S), got shape {weight_shape}")
    if groups < 1:
        raise ShapeError(f"{op}: groups must be at least 1, got {describe(groups)}")
    if c % groups:
        raise ShapeError(
            f"{op}: groups must divide the {c} channels of x, got groups={describe(groups)} and x of shape {x_shape}"
        )
    if weight_shape[0] != c:
        raise ShapeError(
            f"{op}: weight has {weight_shape[0]} input channels but x has {c} channels; "
            f"expected weight of shape {(c, *weight_shape[1:])}"
        )
    if min(weight_shape) < 1:
        raise ShapeError(f"{op}: weight must not be empty, got shape {weight_shape}")
    return weight_shape[1] * groups, weight_shape[2], weight_shape[3]


# -- windows as columns ------------------------------------------------------------------------------------------------


def check_unfold(
    op: str, name: str, shape: tuple[int, ...], kernel_size: object, dilation: object, padding: object, stride: object
) -> tuple[Pool2dProblem, tuple[int, ...]]:
    """The problem, and the shape (N, C*R*S, OH*OW) or (C*R*S, OH*OW) of the columns, for images of this shape."""
    return _unfold(
        op,
        name,
        shape,
        size(op, "kernel_size", kernel_size),
        size(op, "dilation", dilation),
        size(op, "padding", padding),
        size(op, "stride", stride),
    )


@lru_cache(maxsize=4096)
def _unfold(
    op: str, name: str, shape: tuple[int, ...], kernel_size: Size, dilation: Size, padding: Size, stride: Size
) -> tuple[Pool2dProblem, tuple[int, ...]]:
    n, c, h, w = _layout(op, name, shape)
    kernel_h, kernel_w = pair(op, "kernel_size", kernel_size, 1)
    dilation_h, dilation_w = pair(op, "dilation", dilation, 1)
    pad_h, pad_w = pair(op, "padding", padding, 0)
    stride_h, stride_w = pair(op, "stride", stride, 1)
    padded = (h + 2 * pad_h, w + 2 * pad_w)
    fits(op, f"the image padded with padding={describe(padding)}", (n, c, *padded))
    window = (dilation_h * (kernel_h - 1) + 1, dilation_w * (kernel_w - 1) + 1)
    if window[0] > padded[0] or window[1] > padded[1]:
        spans = "" if dilation_h == dilation_w == 1 else f" with dilation={describe(dilation)}"
        raise ShapeError(
            f"{op}: kernel_size={describe(kernel_size)}{spans} covers {describe(window)} pixels, more than the image "
            f"of {describe(padded)} after padding"
        )
    oh, ow = (padded[0] - window[0]) // stride_h + 1, (padded[1] - window[1]) // stride_w + 1
    columns = (n, c * kernel_h * kernel_w, oh * ow)
    fits(op, "the array of windows", columns)
    problem = Pool2dProblem(
        n, c, h, w, oh, ow, kernel_h, kernel_w,
        min(stride_h, padded[0]), min(stride_w, padded[1]), pad_h, pad_w,
        dilation_h if kernel_h > 1 else 1, dilation_w if kernel_w > 1 else 1,
    )  # fmt: skip
    return problem, columns if len(shape) == 4 else columns[1:]


def check_fold(
    op: str,
    shape: tuple[int, ...],
    output_size: object,
    kernel_size: object,
    dilation: object,
    padding: object,
    stride: object,
) -> tuple[Pool2dProblem, tuple[int, ...]]:
    """The problem, and the shape (N, C, H, W) or (C, H, W) of the images, for columns of this shape."""
    output = pair(op, "output_size", size(op, "output_size", output_size), 1)
    kernel = pair(op, "kernel_size", size(op, "kernel_size", kernel_size), 1)
    if len(shape) not in (2, 3):
        raise ShapeError(f"{op}: x must have shape (N, C*R*S, L) or (C*R*S, L), got shape {shape}")
    if not (shape[-2] and shape[-1]):
        raise ShapeError(f"{op}: x must not be empty but for its batch size, got shape {shape}")
    if shape[-2] % (kernel[0] * kernel[1]):
        raise ShapeError(
            f"{op}: x must have a multiple of {describe(kernel[0] * kernel[1])} rows for "
            f"kernel_size={describe(kernel_size)}, got shape {shape}"
        )
    image = (*shape[:-2], shape[-2] // (kernel[0] * kernel[1]), *output)
    problem, columns = check_unfold(op, "output_size", image, kernel_size, dilation, padding, stride)
    if columns != shape:
        raise ShapeError(
            f"{op}: x has {shape[-1]} windows but output_size={describe(output_size)} has {problem.OH} x {problem.OW} "
            f"of them; expected x of shape {columns}"
        )
    return problem, image


# -- pooling -----------------------------------------------------------------------------------------------------------


def check_max_pool2d(
    op: str,
    shape: tuple[int, ...],
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: object,
) -> tuple[Pool2dProblem, tuple[int, ...], int]:
    """The problem, the shape of y and the taps of a window, for x of this shape."""
    if type(kernel_size) is not int:
        kernel_size = size(op, "kernel_size", kernel_size)
    if stride is None:
        stride = kernel_size
    elif type(stride) is not int:
        stride = size(op, "stride", stride)
    if type(padding) is not int:
        padding = size(op, "padding", padding)
    if type(dilation) is not int:
        dilation = size(op, "dilation", dilation)
    if ceil_mode is not False and ceil_mode is not True:
        ceil_mode = flag(op, "ceil_mode", ceil_mode)
    return _pool2d(op, shape, kernel_size, stride, padding, dilation, ceil_mode)


def check_avg_pool2d(
    op: str,
    shape: tuple[int, ...],
    kernel_size: object,
    stride: object,
    padding: object,
    ceil_mode: object,
    count_include_pad: object,
    divisor_override: object,
) -> tuple[Pool2dProblem, tuple[int, ...], bool, int]:
    """The problem, the shape of y, count_include_pad, and the divisor or 0, for x of this shape."""
    problem, y_shape, _ = check_max_pool2d(op, shape, kernel_size, stride, padding, 1, ceil_mode)
    if count_include_pad is not True and count_include_pad is not False:
        count_include_pad = flag(op, "count_include_pad", count_include_pad)
    if divisor_override is None:
        return problem, y_shape, count_include_pad, 0
    divisor = integer(op, "divisor_override", divisor_override)
    if not 0 < abs(divisor) < 2**63:
        raise ShapeError(f"{op}: divisor_override must be None or a non-zero 64-bit int, got {describe(divisor)}")
    return problem, y_shape, count_include_pad, divisor


@lru_cache(maxsize=4096)
def _pool2d(
    op: str, shape: tuple[int, ...], kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool
) -> tuple[Pool2dProblem, tuple[int, ...], int]:
    n, c, h, w = _layout(op, "x", shape)
    kernel_h, kernel_w = pair(op, "kernel_size", kernel_size, 1)
    stride_h, stride_w = pair(op, "stride", stride, 1)
    pad_h, pad_w = pair(op, "padding", padding, 0)
    dilation_h, dilation_w = pair(op, "dilation", dilation, 1)
    window = (dilation_h * (kernel_h - 1) + 1, dilation_w * (kernel_w - 1) + 1)
    spans = "" if dilation_h == dilation_w == 1 else f" with dilation={describe(dilation)}"
    if pad_h > window[0] // 2 or pad_w > window[1] // 2:
        raise ShapeError(
            f"{op}: padding must be at most half the window, got padding={describe(padding)} "
            f"for kernel_size={describe(kernel_size)}{spans}"
        )
    padded = (h + 2 * pad_h, w + 2 * pad_w)
    fits(op, f"x padded with padding={describe(padding)}", (n, c, *padded))
    oh = _pool_extent(h, window[0], stride_h, pad_h, ceil_mode)
    ow = _pool_extent(w, window[1], stride_w, pad_w, ceil_mode)
    if oh < 1 or ow < 1:
        raise ShapeError(
            f"{op}: kernel_size={describe(kernel_size)}{spans} covers {describe(window)} pixels, more than the input "
            f"of {describe(padded)} after padding"
        )
    if not (_windows_full(h, stride_h, pad_h, dilation_h, oh) and _windows_full(w, stride_w, pad_w, dilation_w, ow)):
        raise ShapeError(
            f"{op}: dilation={describe(dilation)} steps over the whole input of {describe((h, w))} pixels; with "
            f"padding={describe(padding)} a window would hold no pixel at all"
        )
    # Taps and strides past the padded input (a window may hang over with ceil_mode) change nothing but could overflow
    # in C, or loop for ever; nor does the dilation of a single tap.  A winner's place in a window of at most 256 taps
    # counts the taps that were asked for, so such a window keeps them.
    taps = kernel_h * kernel_w
    if taps > 256:
        kernel_h = min(kernel_h, (padded[0] - 1) // dilation_h + 1)
        kernel_w = min(kernel_w, (padded[1] - 1) // dilation_w + 1)
    if max(n, 1) * c * oh * ow * kernel_h * kernel_w > MAX_PRODUCTS:
        raise ShapeError(f"{op}: x of shape {shape} with kernel_size={describe(kernel_size)} needs over 2**62 steps")
    problem = Pool2dProblem(
        n, c, h, w, oh, ow, kernel_h, kernel_w,
        min(stride_h, padded[0]), min(stride_w, padded[1]), pad_h, pad_w,
        min(dilation_h, padded[0]) if kernel_h > 1 else 1, min(dilation_w, padded[1]) if kernel_w > 1 else 1,
    )  # fmt: skip
    return problem, (*shape[:-2], oh, ow), taps


def _pool_extent(extent: int, window: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Windows along one axis; with ceil_mode the last one may hang over, but must begin before the bottom padding."""
    windows = (extent + 2 * pad - window + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (windows - 1) * stride >= extent + pad:
        windows -= 1
    return windows


def _windows_full(extent: int, stride: int, pad: int, dilation: int, windows: int) -> bool:
    """Whether each window has a pixel.

    Only taps more than `extent` apart can step over all of it, and only in a window that begins in the padding, at
    start < 0: its first tap at or after 0 is `start mod dilation`.  A window begins in the padding at most once a
    stride, and no axis has more than extent + 2 windows, as the padding is at most half the window.
    """
    if dilation <= extent or not pad:
        return True
    begin_in_padding = min(windows, -(-pad // stride))
    if begin_in_padding > 1_000_000:
        return False
    return all((i * stride - pad) % dilation < extent for i in range(begin_in_padding))


def check_window_bytes(op: str, taps: int) -> None:
    """Refuse a window whose taps cannot be numbered by a byte."""
    if taps > 256:
        raise ShapeError(f"{op}: kernel_size must have at most 256 taps, got {describe(taps)}")


def check_pool_input_shape(op: str, input_shape: object, grad_y: Array) -> tuple[int, ...]:
    """The shape of the input of a pool, whose batch and channels are those of grad_y."""
    shape = shape_tuple(op, "input_shape", input_shape, (3, 4))
    _layout(op, "input_shape", shape)
    fits(op, "input_shape", shape)
    if len(shape) != grad_y.ndim or shape[:-2] != grad_y.shape[:-2]:
        raise ShapeError(
            f"{op}: grad_y has shape {grad_y.shape} but input_shape is {describe(shape)}; expected the same batch and "
            f"channels"
        )
    return shape


def output_sizes(op: str, output_size: object) -> tuple[int | None, int | None]:
    """(height, width) from an int or a pair of which each may be None, 'as the input'."""
    if isinstance(output_size, tuple | list) and len(output_size) == 2:
        first, second = output_size
        height = None if first is None else integer(op, "output_size[0]", first)
        width = None if second is None else integer(op, "output_size[1]", second)
    else:
        height, width = pair(op, "output_size", size(op, "output_size", output_size), 0)
    if (height is not None and height < 0) or (width is not None and width < 0):
        raise ShapeError(f"{op}: output_size must not be negative, got {describe(output_size)}")
    return height, width


@lru_cache(maxsize=4096)
def check_adaptive_avg_pool2d(
    op: str, shape: tuple[int, ...], height: int | None, width: int | None
) -> tuple[Pool2dProblem, tuple[int, ...]]:
    """The problem and the shape of y, for x of this shape and what `output_sizes` gave."""
    n, c, h, w = _layout(op, "x", shape)
    oh, ow = h if height is None else height, w if width is None else width
    y_shape = (*shape[:-2], oh, ow)
    fits(op, "the output", y_shape)
    if max(n, 1) * c * (oh + h) * (ow + w) > MAX_ELEMENTS or (oh + 1) * h > MAX_PRODUCTS or (ow + 1) * w > MAX_PRODUCTS:
        raise ShapeError(f"{op}: x of shape {shape} and an output of {(oh, ow)} pixels are too large")
    return Pool2dProblem(n, c, h, w, oh, ow, 1, 1, 1, 1, 0, 0, 1, 1), y_shape


def adaptive_grad(op: str, grad_y: object) -> Array:
    """A gradient of shape (N, C, OH, OW) or (C, OH, OW), of any sizes."""
    array = floats(op, "grad_y", grad_y)
    if array.ndim not in (3, 4):
        raise ShapeError(f"{op}: grad_y must have shape (N, C, OH, OW) or (C, OH, OW), got shape {array.shape}")
    return array


# -- batch normalisation -----------------------------------------------------------------------------------------------


def check_norm_input(op: str, name: str, x: object) -> Array:
    """An array of shape (N, C, ...), of any sizes."""
    array = floats(op, name, x)
    if array.ndim < 2:
        raise ShapeError(f"{op}: {name} must have shape (N, C) or (N, C, ...), got shape {array.shape}")
    return array


def per_channel(op: str, name: str, value: object, x: Array) -> Array | None:
    """None, or one number for each channel of x, of its dtype, contiguous."""
    if value is None:
        return None
    array = floats_like(op, name, value, "x", x)
    if array.shape != x.shape[1:2]:
        raise ShapeError(
            f"{op}: {name} has shape {array.shape} but x has {x.shape[1]} channels; expected {name} of shape "
            f"{x.shape[1:2]}"
        )
    return contiguous(array)


def check_batch_norm(
    op: str,
    x: object,
    running_mean: object,
    running_var: object,
    weight: object,
    bias: object,
    training: object,
    momentum: object,
    eps: object,
) -> tuple[Array, Array | None, Array | None, Array | None, Array | None, bool, float, float]:
    """Arrays ready for the compiled module, and plain numbers."""
    x = check_norm_input(op, "x", x)
    means, variances = per_channel(op, "running_mean", running_mean, x), per_channel(op, "running_var", running_var, x)
    weights, biases = per_channel(op, "weight", weight, x), per_channel(op, "bias", bias, x)
    training = flag(op, "training", training)
    rate, least = number(op, "momentum", momentum), number(op, "eps", eps)
    if not -(10.0**300) < rate < 10.0**300:
        raise ShapeError(f"{op}: momentum must be finite, got {describe(momentum)}")
    if not 0 <= least < 10.0**300 or (training and least == 0):
        bound = "positive in training" if training else "at least 0"
        raise ShapeError(f"{op}: eps must be {bound} and finite, got {describe(eps)}")
    if not training and (means is None or variances is None):
        name = "running_mean" if means is None else "running_var"
        raise ShapeError(f"{op}: without training, {name} must be an array of shape {x.shape[1:2]}, got None")
    if training and x.shape[0] * prod(x.shape[2:]) == 1:
        raise ShapeError(
            f"{op}: in training there must be more than one value per channel, got x of shape {x.shape}; "
            f"a larger batch would do"
        )
    return contiguous(x), means, variances, weights, biases, training, rate, least


def check_norm_statistics(op: str, name: str, value: object, x: Array) -> Array:
    """The mean or inv_std that `batch_norm` returned: float64, one for each channel of x."""
    array = exact_dtype(op, name, value, F64)
    if array.shape != x.shape[1:2]:
        raise ShapeError(f"{op}: {name} has shape {array.shape}, expected {x.shape[1:2]}: one number a channel of x")
    return contiguous(array)


# -- linear, softmax, cross-entropy, dropout ---------------------------------------------------------------------------


def check_linear(
    op: str, x: object, weight: object, bias: object
) -> tuple[Array, Array, Array | None, tuple[int, ...], tuple[int, int]]:
    """Contiguous arrays, the shape (..., O) of y, and the shape (M, I) of x as a matrix."""
    x, weight = _two_floats(op, x, weight)
    y_shape, matrix, bias_shape = _linear(op, x.shape, weight.shape)
    if bias is not None:
        bias = _bias(op, bias, x, bias_shape)
    if not x.flags.carray:
        x = contiguous(x)
    if not weight.flags.carray:
        weight = contiguous(weight)
    return x, weight, bias, y_shape, matrix


@lru_cache(maxsize=4096)
def _linear(
    op: str, x_shape: tuple[int, ...], weight_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, int], tuple[int, ...]]:
    """The shapes of y, of x as a matrix, and of bias."""
    if len(weight_shape) != 2:
        raise ShapeError(f"{op}: weight must have shape (out, in), got shape {weight_shape}")
    outputs, inputs = weight_shape
    if not x_shape or x_shape[-1] != inputs:
        raise ShapeError(
            f"{op}: x has shape {x_shape} but weight has {inputs} input features; expected x of shape (..., {inputs})"
        )
    y_shape = (*x_shape[:-1], outputs)
    fits(op, "the output", y_shape)
    rows = prod(x_shape[:-1])
    if rows * outputs * inputs > MAX_PRODUCTS:
        raise ShapeError(f"{op}: x of shape {x_shape} with weight of shape {weight_shape} needs over 2**62 products")
    return y_shape, (rows, inputs), (outputs,)


def axis(op: str, dim: object, ndim: int) -> int:
    """dim counted from the front; an array of no dimensions has one axis, as in PyTorch."""
    ndim = max(ndim, 1)
    plain = integer(op, "dim", dim)
    if not -ndim <= plain < ndim:
        raise ShapeError(f"{op}: dim must be in {-ndim} .. {ndim - 1} for {ndim} dimensions, got {describe(plain)}")
    return plain % ndim


class Scores(NamedTuple):
    """What a loss over classes is computed from, ready for the compiled module.

    x (images, C, inner); target of int64 in the shape of the losses, or of dtype and shape of x where it holds
    probabilities.
    """

    x: Array
    target: Array
    weight: Array | None
    ignored: int
    reduction: str
    shape: tuple[int, ...]  # of the losses before any reduction
    soft: bool


REDUCTIONS = ("mean", "sum", "none")


def check_class_loss(
    op: str, x: object, target: object, weight: object, ignore_index: object, reduction: object, *, soft: bool
) -> Scores:
    """x (C,), (N, C) or (N, C, d1, ...); target may hold probabilities where `soft`."""
    x = floats(op, "x", x)
    shape = x.shape
    if not shape:
        raise ShapeError(f"{op}: x must have shape (N, C), (C,) or (N, C, d1, ...), got shape {shape}")
    ignored = integer(op, "ignore_index", ignore_index)
    if not -(2**63) <= ignored < 2**63:
        raise ShapeError(f"{op}: ignore_index must fit 64 bits, got {describe(ignored)}")
    reduction = one_of(op, "reduction", reduction, REDUCTIONS)
    images, classes, inner = (1, shape[0], 1) if len(shape) == 1 else (shape[0], shape[1], prod(shape[2:]))
    if not classes:
        raise ShapeError(f"{op}: x must have at least one class, got shape {shape}")
    targets = () if len(shape) == 1 else (images, *shape[2:])
    or_else = f" or probabilities in the shape of x, {shape}" if soft else ""
    soft = soft and isinstance(target, ndarray) and target.dtype.kind == "f" and target.shape == shape
    if soft:
        indices = _probabilities(op, target, x, ignored).reshape(images, classes, inner)
    else:
        indices = _target(op, target, shape, targets, classes, ignored, or_else)
    if weight is not None:
        weight = contiguous(floats_shaped(op, "weight", weight, "x", x, (classes,), "one weight a class,"))
    x = contiguous(x).reshape(images, classes, inner)
    return Scores(x, indices, weight, ignored, reduction, targets, soft)


def loss_gradient(op: str, grad_y: object, scores: Scores) -> Array | float:
    """The gradient that a reduced loss, a number, or each of the losses gets; 1 where it is None."""
    if grad_y is None:
        return 1.0
    if scores.reduction != "none":
        return number(op, "grad_y", grad_y)
    grad = floats_shaped(op, "grad_y", grad_y, "x", scores.x, scores.shape, "the shape of the losses,")
    return contiguous(grad).reshape(-1)


def check_mse_loss(op: str, x: object, target: object, reduction: object) -> tuple[Array, Array, str]:
    """Contiguous x and target of one shape and dtype."""
    x = floats(op, "x", x)
    target = floats_shaped(op, "target", target, "x", x, x.shape, "the shape of x,")
    return contiguous(x), contiguous(target), one_of(op, "reduction", reduction, REDUCTIONS)


def _probabilities(op: str, target: object, x: Array, ignored: int) -> Array:
    """The probability of every class, in the shape of x: a contiguous array of its dtype."""
    array = floats_like(op, "target", target, "x", x)
    if ignored >= 0:
        raise ShapeError(f"{op}: ignore_index must be negative where target holds probabilities, got {ignored}")
    return contiguous(array)


def _target(
    op: str,
    target: object,
    x_shape: tuple[int, ...],
    shape: tuple[int, ...],
    classes: int,
    ignored: int,
    or_else: str,
) -> Array:
    """Class numbers as a contiguous int64 array of the losses' shape, each of them a class or ignore_index.

    Always a copy, as C does not check again: another thread may write to the caller's array during the call.
    """
    if type(target) is ndarray and target.dtype is I64 and target.shape == shape:  # the usual case, quickly
        array = target.copy()
    elif isinstance(target, ndarray):
        array = _plain(op, "target", target, "class numbers").copy()
        if array.dtype.kind not in "iu":
            raise TypeError(f"{op}: target must hold class numbers of an integer dtype{or_else}, got {describe(array)}")
        if array.shape != shape:
            raise ShapeError(
                f"{op}: target has shape {array.shape} but x has shape {x_shape}; expected target of shape {shape}"
            )
    elif not shape:
        scalar = integer(op, "target", target)
        if not -(2**63) <= scalar < 2**63:
            raise ShapeError(f"{op}: target must be in 0 .. {classes - 1}, got {describe(scalar)}")
        array = np.array(scalar, I64)
    else:
        raise TypeError(f"{op}: target must be a NumPy array of class numbers, got {describe(target)}")
    indices = contiguous(array if array.dtype is I64 else array.astype(I64, copy=False))
    # uint64 beyond int64 turns negative, perhaps to ignore_index
    if not _kernels.targets_within(indices, classes, ignored) or array.dtype.kind == "u":
        wrong = ((array < 0) | (array >= classes)) & (array != ignored)
        if wrong.any():
            raise ShapeError(
                f"{op}: target must be in 0 .. {classes - 1} or ignore_index={ignored}, got {array[wrong].flat[0]}"
            )
    return indices


def check_channels(op: str, name: str, array: Array) -> tuple[tuple[int, ...], int]:
    """(N, C) or (C,), the shape of one value a channel, and the pixels of a channel."""
    _, _, h, w = _layout(op, name, array.shape)
    return array.shape[:-2], h * w
