"""explain_conv2d, and through it the choice of algorithms: one row is one case."""

import numpy as np
import pytest

import fastconv

F2, F4 = "winograd F(2x2, 3x3)", "winograd F(4x4, 3x3)"
BY_CHANNELS, BY_POSITIONS = "outer products over channels", "outer products over positions"

# x shape, weight shape, options: algorithms of forward, grad_x, grad_weight; for AVX-512
CHOICES = [
    ((128, 32, 14, 14), (64, 32, 3, 3), {"padding": 1}, F2, F2, F2),
    ((8, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}, F2, F2, F2),
    ((8, 512, 5, 5), (512, 512, 3, 3), {"padding": 1}, "channels", "channels", BY_CHANNELS),
    ((8, 64, 56, 56), (64, 32, 3, 3), {"padding": 1, "groups": 2}, F2, F2, BY_CHANNELS),
    ((128, 1, 28, 28), (32, 1, 3, 3), {"padding": 1}, "positions", "tap sums", BY_POSITIONS),
    ((100, 10, 12, 12), (20, 10, 5, 5), {}, "positions", "tap sums", BY_POSITIONS),
    ((8, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}, "channels", "tap sums", BY_CHANNELS),
    ((8, 128, 56, 56), (128, 128, 3, 3), {"stride": 2, "padding": 1}, "channels", "channels", BY_CHANNELS),
    ((8, 256, 56, 56), (64, 256, 1, 1), {}, "pointwise", "pointwise", BY_CHANNELS),
    ((8, 256, 56, 56), (512, 256, 1, 1), {"stride": 2}, "pointwise", "pointwise", BY_CHANNELS),
    ((8, 144, 56, 56), (144, 1, 3, 3), {"padding": 1, "groups": 144}, "depthwise", "depthwise", "depthwise"),
    ((4, 256, 28, 28), (256, 256, 3, 3), {"padding": 2, "dilation": 2}, *[f"phases, then {F2}"] * 3),
    ((4, 256, 27, 28), (256, 256, 3, 3), {"padding": 2, "dilation": 2}, "channels", "channels", BY_CHANNELS),
]


def algorithms(*args, **options):
    return tuple(one.algorithm for one in fastconv.explain_conv2d(*args, **options).values())


@pytest.mark.parametrize(("x", "weight", "options", "forward", "grad_x", "grad_weight"), CHOICES)
def test_choices(isa, x, weight, options, forward, grad_x, grad_weight):
    if isa != "avx512":
        pytest.skip("the table is for AVX-512")
    assert algorithms(x, weight, **options) == (forward, grad_x, grad_weight)


@pytest.mark.parametrize(("x", "weight", "options"), [row[:3] for row in CHOICES])
def test_forward_does_not_depend_on_the_batch_and_nothing_on_the_threads(isa, x, weight, options):
    with fastconv.threads(1):
        chosen = algorithms(x, weight, **options)
        assert algorithms((1, *x[1:]), weight, **options)[0] == chosen[0]
        assert algorithms(x[1:], weight, **options)[0] == chosen[0]
    with fastconv.threads(4):
        assert algorithms(x, weight, **options) == chosen


def test_high_permits_larger_tiles_in_float32_alone():
    case = ((8, 64, 56, 56), (64, 64, 3, 3))
    fastconv.set_float32_precision("high")
    try:
        assert algorithms(*case, padding=1) == (F4, F4, F4)
        assert algorithms(*case, padding=1, dtype=np.float64) == (F2, F2, F2)
    finally:
        fastconv.set_float32_precision("highest")


def test_tiles_fit_the_registers(isa):
    registers = {"avx512": 32}.get(isa, 16)
    lanes = {"avx512": 16, "avx2": 8}.get(isa, 4)
    for x, weight, options, *_ in CHOICES:
        for one in fastconv.explain_conv2d(x, weight, **options).values():
            assert one.tile[0] * one.tile[1] / lanes < registers


def test_the_workspace_is_what_a_call_takes():
    passes = fastconv.explain_conv2d((8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    assert passes["forward"].workspace > 64 * 64 * 16 * 4  # the transformed weights at least
    assert not passes["forward"].sparse
    assert passes["grad_x"].sparse


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_shape": (3,)}, "x_shape"),
        ({"weight_shape": (4, 4, 3)}, "weight_shape"),
        ({"stride": 0}, "stride"),
        ({"padding": "full"}, "padding"),
        ({"groups": 3}, "groups"),
        ({"dtype": np.int32}, "dtype"),
        ({"dtype": "no such type"}, "dtype"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"x_shape": (2, 4, 8, 8), "weight_shape": (4, 4, 3, 3)} | change
    with pytest.raises((ValueError, TypeError), match=f"explain_conv2d.*{message}"):
        fastconv.explain_conv2d(**arguments)
