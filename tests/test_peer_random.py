"""Thousands of random calls beside PyTorch's in float64: forward, backward, and every option.

A `Family` is one op: a function that draws one configuration, calls fastconv and PyTorch, and compares.  Its
configurations are run in chunks of `CHUNK`; a failure names the family, the seed that repeats it alone

    PEER_ONE=conv2d:123 python -m pytest tests/test_peer_random.py -k one_alone

and what was drawn.  Data is either small integers, on which every sum is exact, so that results are equal to the last
bit; or floats, on which each element is within DESIGN's bound, ``(4 + sqrt(n)) * eps * sum |x||weight|``.  float32
configurations are compared with PyTorch's float64 results of the same numbers.  Each array lies in memory in a layout
of its own (strategies.LAYOUTS), and must be left as it was.

PyTorch is no dependency: without it these tests are skipped.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from oracle import assert_within
from strategies import LAYOUTS, lay_out, numbers

from fastconv import nn, ops, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*Mean of empty slice|invalid value:RuntimeWarning"),
]
CHUNK = 100
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


class Draw:
    """One configuration: draws from a seeded generator, and remembers what it drew for the message of a failure."""

    def __init__(self, family: str, number: int) -> None:
        self.rng = np.random.default_rng([*family.encode(), number])
        self.said: list[str] = []
        self.inputs: list[tuple[np.ndarray, np.ndarray]] = []
        self.dtype = F32 if self.chance(0.25) else F64
        self.whole = self.chance(0.4)  # small integers
        self.say(dtype=self.dtype.name, whole=self.whole)

    def say(self, **what: object) -> None:
        self.said += [f"{name}={value}" for name, value in what.items()]

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def size(self, low: int, high: int) -> int | tuple[int, int]:
        """One number for both axes, or a pair."""
        return self.integer(low, high) if self.chance() else (self.integer(low, high), self.integer(low, high))

    def one_of(self, *choices):
        return choices[self.integer(0, len(choices) - 1)]

    def array(self, name: str, shape: tuple[int, ...], values: np.ndarray | None = None) -> np.ndarray:
        """Numbers of the configuration's kind and dtype, in a random layout."""
        if values is None:
            values = numbers(self.rng, shape, self.dtype, "integers" if self.whole else self.one_of("normal", "wide"))
        layout = self.one_of(*LAYOUTS)
        self.say(**{name: f"{layout}{tuple(shape)}"})
        x = lay_out(np.asarray(values), layout)
        self.inputs.append((x, x.copy()))
        return x

    def batch(self, c: int, h: int, w: int, most: int = 3) -> tuple[int, ...]:
        """(N, C, H, W), N from 0 up, or (C, H, W)."""
        return (c, h, w) if self.chance(0.2) else (self.integer(0, most), c, h, w)

    def assert_inputs_are_as_they_were(self) -> None:
        for x, copy in self.inputs:
            np.testing.assert_array_equal(x, copy)

    def equal_or_within(self, what: str, ours, theirs, magnitude, n: int) -> None:
        """The last bit on integers, DESIGN's bound on floats; `theirs` and `magnitude` in float64."""
        ours, right = np.asarray(ours), array_of(theirs)
        assert ours.dtype == self.dtype, what
        assert ours.shape == right.shape, what
        assert ours.flags.c_contiguous, what
        try:
            if self.whole:
                np.testing.assert_array_equal(ours, right)
            else:
                assert_within(ours, right, array_of(magnitude), n)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None


def array_of(x) -> np.ndarray:
    return x.detach().numpy() if torch.is_tensor(x) else np.asarray(x)


def tensor(x, grad: bool = True):
    """A float64 tensor of the same numbers."""
    return None if x is None else torch.tensor(np.array(x, np.float64, order="C"), requires_grad=grad)


def gradients(function: Callable, tensors, grad_y) -> tuple:
    """(y, gradients) of PyTorch."""
    y = function(*tensors)
    y.backward(torch.as_tensor(np.array(grad_y(y.shape), np.float64)))
    return y, [None if x is None else x.grad for x in tensors]


def with_magnitudes(function: Callable, arrays, grad_y):
    """(y, gradients) of PyTorch for a linear function of each array, and the same sums over absolute values.

    `arrays` are what is multiplied, `size_of` what bounds it: abs, but see `conv2d`.
    """
    y, grads = gradients(function, [tensor(x) for x in arrays], grad_y)
    sizes, size_grads = gradients(
        function, [None if x is None else tensor(abs(x)) for x in arrays], lambda shape: abs(grad_y(shape))
    )
    return (y, *grads), (sizes, *size_grads)


def pair(size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


# -- convolution -------------------------------------------------------------------------------------------------------


def image_size(draw: Draw, kernel, stride, padding, dilation, most: int) -> tuple[int, int]:
    """Of an image that gives from 1 to `most` outputs along an axis, with pixels left over."""
    sizes = []
    for k, s, p, d in zip(*(pair(size) for size in (kernel, stride, padding, dilation)), strict=True):
        least = d * (k - 1) + 1 - 2 * p
        sizes.append(max(1, least + s * draw.integer(0, most - 1) + draw.integer(0, s - 1)))
    return sizes[0], sizes[1]


def conv2d(draw: Draw, channels: int = 4, kernels: int = 11, filters: int = 5, finite: bool = True) -> None:
    kernel = (draw.integer(1, kernels), draw.integer(1, kernels)) if draw.chance() else (draw.integer(1, kernels),) * 2
    groups = draw.one_of(1, 1, draw.integer(1, 4))
    c, k = draw.one_of(1, draw.integer(1, channels)), draw.integer(1, filters)
    dilation, padding = draw.size(1, 3), draw.size(0, 4)
    stride = draw.size(1, max(kernel) + 3) if draw.chance(0.6) else 1
    padding = draw.one_of("same", "valid", padding, padding, padding) if stride == 1 else padding
    if not finite:
        padding = 0  # over padding the two differ on purpose: 0 * inf is NaN in PyTorch and nothing here
    seen = padding if not isinstance(padding, str) else 0
    h, w = image_size(draw, kernel, stride, seen, dilation, 6)
    shape = draw.batch(c * groups, h, w)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    draw.say(**options)
    x = draw.array("x", shape)
    weight = draw.array("weight", (k * groups, c, *kernel))
    bias = draw.array("bias", (k * groups,)) if draw.chance() else None
    if not finite:
        x = draw.array("x", shape, spoiled(draw, x))
        weight = draw.array("weight", weight.shape, spoiled(draw, weight)) if draw.chance(0.3) else weight

    theirs = functional.conv2d(tensor(x), tensor(weight), tensor(bias), **options)
    y = ops.conv2d(x, weight, bias, **options)
    if not finite:
        same_where_not_finite(draw, y, array_of(theirs))
        return
    grad_y = draw.array("grad_y", theirs.shape)
    function = lambda x, weight, bias: functional.conv2d(x, weight, bias, **options)  # noqa: E731
    rights, sizes = with_magnitudes(function, (x, weight, bias), lambda _: grad_y)
    if kernel == (3, 3) and stride in (1, (1, 1)):  # Winograd: each tap counts as the largest of its filter and channel
        largest = np.broadcast_to(abs(weight).max(axis=(2, 3), keepdims=True), weight.shape)
        _, sizes = with_magnitudes(function, (abs(x), largest, bias), lambda _: grad_y)
        sizes = list(sizes)
        sizes[2] = np.broadcast_to(array_of(sizes[2]).max(axis=(2, 3), keepdims=True), weight.shape)
    draw.equal_or_within("y", y, rights[0], sizes[0], c * kernel[0] * kernel[1] + 1)
    positions = grad_y.size // (k * groups)
    counts = (k * kernel[0] * kernel[1], positions, positions)
    grads = ops.conv2d_backward(grad_y, x, weight, **options)
    for name, ours, right, size, n in zip(("x", "weight", "bias"), grads, rights[1:], sizes[1:], counts, strict=True):
        if right is not None:
            draw.equal_or_within(f"grad_{name}", ours, right, size, n)


def spoiled(draw: Draw, x: np.ndarray) -> np.ndarray:
    """With a few NaN and infinities."""
    special = draw.rng.choice(np.array([np.nan, np.inf, -np.inf], x.dtype), x.shape)
    return np.where(draw.rng.random(x.shape) < 0.02, special, x)


def same_where_not_finite(draw: Draw, ours: np.ndarray, theirs: np.ndarray) -> None:
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    np.testing.assert_array_equal(ours[~finite], theirs[~finite])
    scale = float(np.max(abs(theirs), initial=1, where=finite))
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=0, atol=1e4 * np.finfo(draw.dtype).eps * scale)


def conv2d_many_channels(draw: Draw) -> None:
    """Enough channels for Winograd, for products of matrices, for the depthwise path and for blocks of channels."""
    conv2d(draw, channels=40, kernels=draw.one_of(1, 3, 3, 5), filters=40)


def conv2d_not_finite(draw: Draw) -> None:
    draw.whole = draw.chance()
    conv2d(draw, kernels=4, finite=False)


def conv_transpose2d(draw: Draw) -> None:
    kernel = (draw.integer(1, 6), draw.integer(1, 6)) if draw.chance() else (draw.integer(1, 6),) * 2
    groups = draw.one_of(1, 1, draw.integer(1, 4))
    many = draw.chance(0.1)
    c, k = draw.one_of(1, draw.integer(1, 24 if many else 4)), draw.integer(1, 24 if many else 4)
    stride, dilation = draw.size(1, 8) if draw.chance(0.7) else 1, draw.size(1, 3)
    spans = [max(s, d) for s, d in zip(pair(stride), pair(dilation), strict=True)]
    output_padding = tuple(draw.integer(0, span - 1) for span in spans) if draw.chance() else 0
    h, w = draw.integer(1, 7), draw.integer(1, 7)
    padding = tuple(  # as much as leaves a pixel
        draw.integer(0, min(4, ((size - 1) * s + d * (k_ - 1) + o) // 2))
        for size, s, d, k_, o in zip((h, w), pair(stride), pair(dilation), kernel, pair(output_padding), strict=True)
    )
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "groups": groups}
    options["dilation"] = dilation
    draw.say(**options)
    x = draw.array("x", draw.batch(c * groups, h, w))
    weight = draw.array("weight", (c * groups, k, *kernel))
    bias = draw.array("bias", (k * groups,)) if draw.chance() else None
    function = lambda x, weight, bias: functional.conv_transpose2d(x, weight, bias, **options)  # noqa: E731
    y = ops.conv_transpose2d(x, weight, bias, **options)
    grad_y = draw.array("grad_y", y.shape)
    rights, sizes = with_magnitudes(function, (x, weight, bias), lambda _: grad_y)
    if kernel == (3, 3) and stride in (1, (1, 1)):
        largest = np.broadcast_to(abs(weight).max(axis=(2, 3), keepdims=True), weight.shape)
        _, sizes = with_magnitudes(function, (abs(x), largest, bias), lambda _: grad_y)
        sizes = list(sizes)
        sizes[2] = np.broadcast_to(array_of(sizes[2]).max(axis=(2, 3), keepdims=True), weight.shape)
    area, positions = kernel[0] * kernel[1], max(1, int(np.prod(x.shape)) // (c * groups))
    counts = (c * area + 1, k * area, positions, max(1, grad_y.size // (k * groups)))
    ours = (y, *ops.conv_transpose2d_backward(grad_y, x, weight, **options))
    names = ("y", "grad_x", "grad_weight", "grad_bias")
    for name, one, right, size, n in zip(names, ours, rights, sizes, counts, strict=True):
        if right is not None:
            draw.equal_or_within(name, one, right, size, n)


def unfold(draw: Draw) -> None:
    """unfold, its gradient, and fold, which is the same sum as that gradient."""
    kernel, dilation, padding, stride = draw.size(1, 5), draw.size(1, 3), draw.size(0, 3), draw.size(1, 6)
    options = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
    h, w = image_size(draw, kernel, stride, padding, dilation, 6)
    draw.say(**options)
    x = draw.array("x", draw.batch(draw.integer(1, 5), h, w))
    y = ops.unfold(x, **options)
    grad_y = draw.array("grad_y", y.shape)
    rights, sizes = with_magnitudes(lambda x: functional.unfold(x, **options), (x,), lambda _: grad_y)
    np.testing.assert_array_equal(y, array_of(rights[0]))
    area = int(np.prod(pair(kernel)))
    draw.equal_or_within("grad_x", ops.unfold_backward(grad_y, x.shape, **options), rights[1], sizes[1], area)
    columns, grad = draw.array("columns", y.shape), draw.array("grad", x.shape)
    rights, sizes = with_magnitudes(lambda y: functional.fold(y, (h, w), **options), (columns,), lambda _: grad)
    draw.equal_or_within("fold", ops.fold(columns, (h, w), **options), rights[0], sizes[0], area)
    np.testing.assert_array_equal(ops.fold_backward(grad, **options), array_of(rights[1]))


# -- pooling -----------------------------------------------------------------------------------------------------------


def pool_problem(draw: Draw, dilated: bool) -> tuple[tuple[int, ...], dict]:
    """(shape of x, options): as PyTorch limits them, to padding of half the kernel, dilated or not."""
    kernel = draw.size(1, 6)
    stride = None if draw.chance(0.3) else draw.size(1, 7)
    dilation = draw.size(1, 3) if dilated and draw.chance() else 1
    padding = tuple(draw.integer(0, k // 2) for k in pair(kernel))
    padding = padding if draw.chance() else min(padding)
    ceil_mode = draw.chance()
    h, w = image_size(draw, kernel, kernel if stride is None else stride, padding, dilation, 6)
    if ceil_mode:  # the last window may reach over the end
        h, w = h - draw.integer(0, 3), w - draw.integer(0, 3)
    h, w = (max(size, d) for size, d in zip((h, w), pair(dilation), strict=True))  # no window between the pixels
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    if dilated:
        options["dilation"] = dilation
    draw.say(**options)
    return draw.batch(draw.integer(1, 5), h, w), options


def or_refused(op: Callable, x: np.ndarray, options: dict, theirs: Callable):
    """The result of PyTorch; None where it refuses the call, and then fastconv must refuse it too."""
    try:
        return theirs()
    except RuntimeError:
        with pytest.raises(ValueError, match=r"kernel_size|dilation"):
            op(x, **options)
        return None


def max_pool2d(draw: Draw) -> None:
    shape, options = pool_problem(draw, dilated=True)
    kind = draw.one_of("ties", "special", "minus_inf", "numbers")
    values = draw.rng.integers(-1, 2, shape).astype(draw.dtype)
    if kind == "special":
        special = draw.rng.choice(np.array([np.nan, np.inf, -np.inf], draw.dtype), shape)
        values = np.where(draw.rng.random(shape) < 0.3, special, values)
    elif kind == "minus_inf":
        values[draw.rng.random(shape) < 0.9] = -np.inf
    draw.say(kind=kind)
    x = draw.array("x", shape, None if kind == "numbers" else values)
    theirs_x = tensor(x)
    theirs = or_refused(
        ops.max_pool2d, x, options, lambda: functional.max_pool2d(theirs_x, **options, return_indices=True)
    )
    if theirs is None:
        return
    y, indices = ops.max_pool2d(x, **options, return_indices=True)
    assert y.dtype == draw.dtype
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(y, array_of(theirs[0]), err_msg="y")
    np.testing.assert_array_equal(indices, array_of(theirs[1]), err_msg="indices")
    np.testing.assert_array_equal(ops.max_pool2d(x, **options), y, err_msg="y without indices")
    grad_y = draw.array("grad_y", y.shape)
    theirs[0].backward(tensor(grad_y, False))
    sizes = ops.max_pool2d_backward(abs(grad_y.astype(np.float64)), indices, x.shape)
    area = int(np.prod(pair(options["kernel_size"])))
    draw.equal_or_within("grad_x", ops.max_pool2d_backward(grad_y, indices, x.shape), theirs_x.grad, sizes, area)


def avg_pool2d(draw: Draw) -> None:
    shape, options = pool_problem(draw, dilated=False)
    options["count_include_pad"] = draw.chance()
    options["divisor_override"] = draw.one_of(None, None, draw.integer(1, 9), -draw.integer(1, 9))
    draw.say(**options)
    draw.whole = False  # quotients are rounded
    x = draw.array("x", shape)
    if or_refused(ops.avg_pool2d, x, options, lambda: functional.avg_pool2d(tensor(x), **options)) is None:
        return
    y = ops.avg_pool2d(x, **options)
    grad_y = draw.array("grad_y", y.shape)
    rights, sizes = with_magnitudes(lambda x: functional.avg_pool2d(x, **options), (x,), lambda _: grad_y)
    area = int(np.prod(pair(options["kernel_size"])))
    draw.equal_or_within("y", y, rights[0], abs(array_of(sizes[0])), area)
    grad_x = ops.avg_pool2d_backward(grad_y, x.shape, **options)
    draw.equal_or_within("grad_x", grad_x, rights[1], abs(array_of(sizes[1])), area)


def adaptive_avg_pool2d(draw: Draw) -> None:
    h, w = draw.integer(1, 16), draw.integer(1, 16)
    size = draw.one_of(draw.size(1, 20), (None, draw.integer(1, 9)), (draw.integer(1, 9), None), 1)
    draw.say(output_size=size)
    draw.whole = False
    x = draw.array("x", draw.batch(draw.integer(1, 5), h, w))
    y = ops.adaptive_avg_pool2d(x, size)
    grad_y = draw.array("grad_y", y.shape)
    rights, sizes = with_magnitudes(lambda x: functional.adaptive_avg_pool2d(x, size), (x,), lambda _: grad_y)
    draw.equal_or_within("y", y, rights[0], sizes[0], h * w)
    # How many windows a pixel is in: more than one where there are more windows than pixels.
    windows = int(np.prod([-(-o // i) + 1 for o, i in zip(y.shape[-2:], (h, w), strict=True)]))
    grad_x = ops.adaptive_avg_pool2d_backward(grad_y, x.shape)
    draw.equal_or_within("grad_x", grad_x, rights[1], sizes[1], windows)


# -- batch normalisation -----------------------------------------------------------------------------------------------


def batch_norm(draw: Draw) -> None:
    """Values, gradients and the running statistics; x (N, C), (N, C, L) or (N, C, H, W)."""
    n, c = draw.integer(1, 6), draw.integer(1, 6)
    training = draw.chance(0.7)
    if not training and draw.chance(0.2):
        n = 0
    rest = tuple(draw.integer(1, 6) for _ in range(draw.one_of(0, 1, 2, 2, 2)))
    if training and n * int(np.prod(rest)) == 1:
        n = 2
    draw.whole = False
    momentum, eps = draw.one_of(0.1, float(draw.rng.random())), draw.one_of(1e-5, 1e-3, 0.5)
    draw.say(training=training, momentum=momentum, eps=eps)

    def made(name, shape, values):
        return draw.array(name, shape, np.asarray(values, draw.dtype))

    x = made("x", (n, c, *rest), draw.rng.standard_normal((n, c, *rest)) * 2 + 3 * draw.rng.standard_normal())
    grad_y = made("grad_y", x.shape, draw.rng.standard_normal(x.shape))
    affine, tracked = draw.chance(0.8), draw.chance(0.7) or not training
    weight = made("weight", (c,), draw.rng.standard_normal(c)) if affine else None
    bias = made("bias", (c,), draw.rng.standard_normal(c)) if affine and draw.chance(0.9) else None
    # The running statistics are updated in place, as in PyTorch: plain arrays.
    mean = draw.rng.standard_normal(c).astype(draw.dtype) if tracked else None
    var = (draw.rng.random(c) + 0.1).astype(draw.dtype) if tracked else None
    their_mean, their_var = tensor(mean, False), tensor(var, False)
    tensors = tensor(x), tensor(weight), tensor(bias)
    theirs = functional.batch_norm(tensors[0], their_mean, their_var, tensors[1], tensors[2], training, momentum, eps)
    theirs.backward(tensor(grad_y, False))
    y, *stats = ops.batch_norm(x, mean, var, weight, bias, training, momentum, eps, return_stats=True)
    used_mean, inv_std, new_mean, new_var = stats
    # Where the variance is small beside the mean, the difference x - mean cancels: the spread of x counts.
    scale = float(np.finfo(draw.dtype).eps) * 40 * (1 + float(abs(x).max(initial=0)))

    def close(name, ours, right):
        right = array_of(right)
        size = 1 + float(abs(right).max(initial=0))
        np.testing.assert_allclose(ours, right, rtol=0, atol=scale * size, err_msg=name)

    largest = 1 + float(np.max(inv_std, initial=0))
    scale *= largest
    close("y", y, theirs)
    if tracked:
        close("running_mean", new_mean, their_mean)
        close("running_var", new_var, their_var)
    grads = ops.batch_norm_backward(grad_y, x, used_mean, inv_std, weight, training)
    scale *= largest
    for name, ours, right in zip(("x", "weight", "bias"), grads, tensors, strict=True):
        if right is not None:
            close(f"grad_{name}", ours, right.grad)


# -- linear ------------------------------------------------------------------------------------------------------------


def linear(draw: Draw) -> None:
    rows = tuple(draw.integer(0, 9) for _ in range(draw.integer(0, 3)))
    inputs, outputs = draw.integer(1, 40), draw.integer(1, 40)
    x = draw.array("x", (*rows, inputs))
    weight = draw.array("weight", (outputs, inputs))
    bias = draw.array("bias", (outputs,)) if draw.chance() else None
    grad_y = draw.array("grad_y", (*rows, outputs))
    rights, sizes = with_magnitudes(functional.linear, (x, weight, bias), lambda _: grad_y)
    m = int(np.prod(rows))
    ours = (ops.linear(x, weight, bias), *ops.linear_backward(grad_y, x, weight))
    names, counts = ("y", "grad_x", "grad_weight", "grad_bias"), (inputs + 1, outputs, m, m)
    for name, one, right, size, n in zip(names, ours, rights, sizes, counts, strict=True):
        if right is not None:
            draw.equal_or_within(name, one, right, size, n)


# -- activations -------------------------------------------------------------------------------------------------------


def any_shape(draw: Draw) -> tuple[int, ...]:
    return tuple(draw.integer(0 if draw.chance(0.1) else 1, 9) for _ in range(draw.integer(1, 4)))


def with_specials(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of many sizes, with zeros of either sign, NaN and infinities here and there."""
    values = np.asarray(draw.rng.standard_normal(shape) * 2.0 ** draw.rng.uniform(-12, 8, shape), draw.dtype)
    special = draw.rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], draw.dtype), shape)
    return np.where(draw.rng.random(shape) < 0.1, special, values)


def relu(draw: Draw) -> None:
    shape = any_shape(draw)
    x, grad_y = draw.array("x", shape, with_specials(draw, shape)), draw.array("grad_y", shape)
    y, (grad,) = gradients(functional.relu, [tensor(x)], lambda _: grad_y)
    np.testing.assert_array_equal(ops.relu(x), array_of(y))
    np.testing.assert_array_equal(ops.relu_backward(grad_y, x), array_of(grad))


def leaky_relu(draw: Draw) -> None:
    slope = draw.one_of(0.01, 0.0, 1.0, -0.5, float(draw.rng.standard_normal()))
    draw.say(negative_slope=slope)
    shape = any_shape(draw)
    x, grad_y = draw.array("x", shape, with_specials(draw, shape)), draw.array("grad_y", shape)
    y, (grad,) = gradients(lambda x: functional.leaky_relu(x, slope), [tensor(x)], lambda _: grad_y)
    for ours, theirs in ((ops.leaky_relu(x, slope), y), (ops.leaky_relu_backward(grad_y, x, slope), grad)):
        np.testing.assert_allclose(ours, array_of(theirs), rtol=4 * np.finfo(draw.dtype).eps, atol=0)


def sigmoid(draw: Draw, kind: str = "sigmoid") -> None:
    """A few roundings from PyTorch's float64; the gradient is y (1 - y), or 1 - y**2, of the y that is handed over."""
    shape = any_shape(draw)
    x, grad_y = draw.array("x", shape, with_specials(draw, shape)), draw.array("grad_y", shape)
    theirs = getattr(torch, kind)(tensor(x, False)).numpy()
    y = getattr(ops, kind)(x)
    info = np.finfo(draw.dtype)
    np.testing.assert_allclose(y, theirs, rtol=8 * info.eps, atol=float(info.tiny))
    their_y = tensor(y, False)
    slope = their_y * (1 - their_y) if kind == "sigmoid" else 1 - their_y**2
    right = (tensor(grad_y, False) * slope).numpy()
    flushed = float(info.tiny / info.eps)  # a denormal y may count as zero
    size = abs(grad_y.astype(np.float64)) * (1 if kind == "tanh" else abs(array_of(their_y)) + flushed)
    result = getattr(ops, kind + "_backward")(grad_y, y)
    known = np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(result), known)
    assert_within(result[known], right[known], size[known], 4)


def tanh(draw: Draw) -> None:
    sigmoid(draw, "tanh")


def softmax(draw: Draw, kind: str = "softmax") -> None:
    shape = any_shape(draw)
    dim = draw.integer(-len(shape), len(shape) - 1)
    draw.whole = False
    draw.say(kind=kind, dim=dim)
    values = np.asarray(draw.rng.standard_normal(shape) * 2.0 ** draw.rng.uniform(-9, 7, shape), draw.dtype)
    if draw.chance(0.2):
        values = np.where(draw.rng.random(shape) < 0.1, np.asarray(-np.inf, draw.dtype), values)
    x, grad_y = draw.array("x", shape, values), draw.array("grad_y", shape)
    y, (grad,) = gradients(lambda x: getattr(functional, kind)(x, dim), [tensor(x)], lambda _: grad_y)
    ours = getattr(ops, kind)(x, dim)
    right, n = array_of(y), shape[dim]
    # The distance to the row's largest x is rounded before exp sees it: its size counts.
    exact = x.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = abs(exact - exact.max(axis=dim, keepdims=True, initial=-np.inf))
    size = right * (1 + distance) if kind == "softmax" else 1 + distance + abs(right)
    same_special(ours, right)
    known = np.isfinite(right) & np.isfinite(size)
    assert_within(ours[known], right[known], size[known], n)
    # The gradient of the same rounded y, as PyTorch's own backward takes it.
    if not np.isfinite(right).all():
        return
    spread = abs(array_of(grad_y)).astype(np.float64)
    p = right if kind == "softmax" else np.exp(right)
    total = spread.sum(axis=dim, keepdims=True)
    info = np.finfo(draw.dtype)
    p = p + float(info.tiny / info.eps)  # a denormal may count as zero
    size = p * (spread + total) if kind == "softmax" else spread + p * total
    # y was rounded before the backward sees it, by as much as the distances say.
    worst = float(np.max(distance, initial=1, where=np.isfinite(distance)))
    result = getattr(ops, kind + "_backward")(grad_y, ours, dim)
    assert_within(result, array_of(grad), size * (1 + worst), n)


def same_special(ours: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(right))
    infinite = np.isinf(right)
    np.testing.assert_array_equal(ours[infinite], right[infinite])


def log_softmax(draw: Draw) -> None:
    softmax(draw, "log_softmax")


# -- losses ------------------------------------------------------------------------------------------------------------


def loss_near(draw: Draw, ours, theirs, what: str) -> None:
    """Means and sums of a few hundred logarithms: within 100 eps of the largest."""
    right = array_of(theirs)
    size = float(np.max(abs(right), initial=1, where=np.isfinite(right)))
    atol = 100 * float(np.finfo(draw.dtype).eps) * size
    np.testing.assert_allclose(ours, right, rtol=0, atol=atol, err_msg=what)


def class_problem(draw: Draw):
    """(shape of x, class numbers, weight, options): (C,), (N, C), or (N, C, d1, ...)."""
    n, c, rest = draw.integer(0, 8), draw.integer(1, 8), ()
    if draw.chance(0.3):
        rest = tuple(draw.integer(1, 4) for _ in range(draw.integer(1, 3)))
    shape, where = ((c,), ()) if draw.chance(0.1) else ((n, c, *rest), (n, *rest))
    options = {
        "ignore_index": draw.one_of(-100, draw.integer(0, c - 1)),
        "reduction": draw.one_of("mean", "sum", "none"),
    }
    target = np.asarray(draw.rng.integers(0, c, where), np.int64)
    if where:
        target = np.where(draw.rng.random(where) < 0.2, options["ignore_index"], target)
        target = lay_out(target, draw.one_of("C", "fortran", "reversed", "sliced", "readonly"))
    weight = draw.array("weight", (c,), np.asarray(draw.rng.random(c) + 0.1, draw.dtype)) if draw.chance() else None
    draw.say(shape=shape, **options)
    draw.whole = False
    return shape, target, weight, options


def check_loss(
    draw: Draw, name: str, x: np.ndarray, target: np.ndarray, theirs, theirs_x, rest: tuple, options
) -> None:
    loss_near(draw, getattr(ops, name)(x, target, *rest, **options), theirs, name)
    grad_y = draw.array("grad_y", theirs.shape, np.asarray(draw.rng.standard_normal(theirs.shape), draw.dtype))
    theirs.backward(tensor(grad_y, False))
    given = grad_y if options["reduction"] == "none" else float(grad_y)
    result = getattr(ops, name + "_backward")(x, target, *rest, **options, grad_y=given)
    assert result.dtype == draw.dtype
    loss_near(draw, result, theirs_x.grad, f"{name}_backward")


def cross_entropy(draw: Draw) -> None:
    shape, target, weight, options = class_problem(draw)
    options["label_smoothing"] = draw.one_of(0.0, 0.1, float(draw.rng.random()), 1.0)
    x = draw.array("x", shape, np.asarray(draw.rng.standard_normal(shape) * 4, draw.dtype))
    their_target = torch.tensor(np.array(target))
    if draw.chance(0.25):  # probabilities in place of classes
        options["ignore_index"] = -100
        draw.say(target="probabilities", label_smoothing=options["label_smoothing"])
        target = draw.array("target", shape, np.asarray(draw.rng.random(shape), draw.dtype))
        their_target = tensor(target, False)
    theirs_x = tensor(x)
    theirs = functional.cross_entropy(theirs_x, their_target, tensor(weight, False), **options)
    check_loss(draw, "cross_entropy", x, target, theirs, theirs_x, (weight,), options)


def nll_loss(draw: Draw) -> None:
    shape, target, weight, options = class_problem(draw)
    x = draw.array("x", shape, np.asarray(-draw.rng.random(shape) * 9, draw.dtype))
    theirs_x = tensor(x)
    theirs = functional.nll_loss(theirs_x, torch.tensor(np.array(target)), tensor(weight, False), **options)
    check_loss(draw, "nll_loss", x, target, theirs, theirs_x, (weight,), options)


def mse_loss(draw: Draw) -> None:
    shape, options = any_shape(draw), {"reduction": draw.one_of("mean", "sum", "none")}
    draw.say(**options)
    draw.whole = False
    x, target = (
        draw.array(name, shape, np.asarray(draw.rng.standard_normal(shape), draw.dtype)) for name in ("x", "target")
    )
    theirs_x = tensor(x)
    theirs = functional.mse_loss(theirs_x, tensor(target, False), **options)
    check_loss(draw, "mse_loss", x, target, theirs, theirs_x, (), options)


# -- optimisers --------------------------------------------------------------------------------------------------------


def optimiser(draw: Draw) -> None:
    """SGD, Adam and AdamW with random settings: some steps on parameters of random shapes."""
    kind, settings = draw.one_of("SGD", "Adam", "AdamW"), {"lr": float(draw.rng.random())}
    settings["weight_decay"] = draw.one_of(0.0, float(draw.rng.random()) / 10)
    settings["maximize"] = draw.chance(0.2)
    if kind == "SGD":
        settings["momentum"] = draw.one_of(0.0, 0.9, float(draw.rng.random()))
        settings["nesterov"] = settings["momentum"] > 0 and draw.chance()
        settings["dampening"] = 0.0 if settings["nesterov"] else draw.one_of(0.0, float(draw.rng.random()))
    else:
        settings["betas"] = draw.one_of((0.9, 0.999), (float(draw.rng.random()), float(draw.rng.random())))
        settings["eps"] = draw.one_of(1e-8, 1e-3)
        settings["amsgrad"] = draw.chance(0.3)
    draw.say(kind=kind, **settings)
    shapes = [any_shape(draw) for _ in range(draw.integer(1, 3))]
    begin = [draw.rng.standard_normal(shape).astype(draw.dtype) for shape in shapes]
    ours, theirs = [nn.Parameter(value.copy()) for value in begin], [tensor(value) for value in begin]
    steps, their_steps = getattr(optim, kind)(ours, **settings), getattr(torch.optim, kind)(theirs, **settings)
    for _ in range(draw.integer(1, 6)):
        for parameter, their in zip(ours, theirs, strict=True):
            parameter.grad = draw.array(
                "grad", their.shape, draw.rng.standard_normal(parameter.shape).astype(draw.dtype)
            )
            their.grad = tensor(parameter.grad, False)
        steps.step()
        their_steps.step()
    # The first steps of Adam divide by sqrt(v), which magnifies the roundings of a small gradient: eps / |grad|.
    for parameter, their in zip(ours, theirs, strict=True):
        loose = 1e4 * float(np.finfo(draw.dtype).eps)
        np.testing.assert_allclose(parameter.data, array_of(their), rtol=loose, atol=loose)


# -- the suite ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    check: Callable[[Draw], None]
    count: int

    @property
    def name(self) -> str:
        return self.check.__name__


FAMILIES = {
    family.name: family
    for family in [
        Family(conv2d, 4000),
        Family(conv2d_many_channels, 1000),
        Family(conv2d_not_finite, 600),
        Family(conv_transpose2d, 2000),
        Family(unfold, 1200),
        Family(max_pool2d, 3000),
        Family(avg_pool2d, 2500),
        Family(adaptive_avg_pool2d, 1000),
        Family(batch_norm, 1000),
        Family(linear, 1200),
        Family(relu, 400),
        Family(leaky_relu, 400),
        Family(sigmoid, 400),
        Family(tanh, 400),
        Family(softmax, 800),
        Family(log_softmax, 800),
        Family(cross_entropy, 1500),
        Family(nll_loss, 800),
        Family(mse_loss, 400),
        Family(optimiser, 500),
    ]
}


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's own threads cost more than they save on problems as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(family: str, number: int) -> Draw:
    draw = Draw(family, number)
    try:
        FAMILIES[family].check(draw)
        draw.assert_inputs_are_as_they_were()
    except Exception as error:
        raise AssertionError(f"{family}, configuration {number}: {', '.join(draw.said)}: {error}") from error
    return draw


@pytest.mark.parametrize(
    ("family", "chunk"),
    [(family.name, chunk) for family in FAMILIES.values() for chunk in range(-(-family.count // CHUNK))],
)
def test_configurations(family, chunk):
    for number in range(chunk * CHUNK, min((chunk + 1) * CHUNK, FAMILIES[family].count)):
        run(family, number)


@pytest.mark.skipif("PEER_ONE" not in os.environ, reason="for one configuration: PEER_ONE=family:number")
def test_one_alone():
    family, _, number = os.environ["PEER_ONE"].partition(":")
    run(family, int(number))


def test_there_are_thousands():
    """At least 5,000 of float64 and 1,000 of float32: the dtype is the first thing that a configuration draws."""
    counts = {F32: 0, F64: 0}
    for family in FAMILIES.values():
        for number in range(family.count):
            counts[Draw(family.name, number).dtype] += 1
    print(f"{sum(counts.values())} configurations beside PyTorch: {counts[F64]} of float64, {counts[F32]} of float32")
    assert counts[F64] >= 5000
    assert counts[F32] >= 1000
