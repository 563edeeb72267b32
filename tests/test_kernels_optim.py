"""The compiled module's optimiser steps and image gathering against NumPy; the classes built on them have own tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import wide
from strategies import numbers, seeds

from fastconv import _kernels

SIZES = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 1000, 70_003]  # the last for two threads


def state(n, dtype, count, seed=1):
    rng = np.random.default_rng(seed)
    return [numbers(rng, n, dtype) for _ in range(count)]


def sgd(param, grad, velocity, lr, momentum, dampening, weight_decay, nesterov, first):
    """torch.optim.SGD, as its documentation writes it; (param, velocity)."""
    grad = grad + weight_decay * param
    if velocity is None:
        return param - lr * grad, None
    velocity = grad if first else momentum * velocity + (1 - dampening) * grad
    return param - lr * (grad + momentum * velocity if nesterov else velocity), velocity


def adam(param, grad, exp_avg, exp_avg_sq, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    """torch.optim.Adam and AdamW (decoupled), as their documentation writes them; (param, exp_avg, exp_avg_sq)."""
    if decoupled:
        param = param * (1 - lr * weight_decay)
    else:
        grad = grad + weight_decay * param
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
    corrected, corrected_sq = exp_avg / (1 - beta1**step), exp_avg_sq / (1 - beta2**step)
    return param - lr * corrected / (np.sqrt(corrected_sq) + eps), exp_avg, exp_avg_sq


def assert_near(result, exact, magnitude):
    """Within a few roundings of the parts that it is made of."""
    info = np.finfo(result.dtype)
    assert np.all(abs(result.astype(exact.dtype) - exact) <= 8 * float(info.eps) * magnitude + float(info.tiny))


def check_sgd(n, dtype, threads, lr, momentum, dampening, weight_decay, nesterov, first, seed=1):
    param, grad, velocity = state(n, dtype, 3, seed)
    exact = [a.astype(wide(dtype)) for a in (param, grad, velocity)]
    options = (lr, momentum, dampening, weight_decay, nesterov, first)
    before = grad.copy()
    _kernels.sgd_step(param, grad, velocity if momentum else None, *options, threads)
    right, right_velocity = sgd(*exact[:2], exact[2] if momentum else None, *options)
    size, size_velocity = sgd(
        abs(exact[0]), abs(exact[1]), abs(exact[2]) if momentum else None, -lr, momentum, -dampening, *options[3:]
    )
    assert_near(param, right, size)
    if momentum:
        assert_near(velocity, right_velocity, size_velocity)
    np.testing.assert_array_equal(grad, before)


@pytest.mark.parametrize(
    "options",
    [
        (0.1, 0.0, 0.0, 0.0, False, False),
        (0.1, 0.0, 0.0, 0.01, False, False),
        (0.1, 0.9, 0.0, 0.0, False, True),
        (0.1, 0.9, 0.0, 0.0, False, False),
        (0.1, 0.9, 0.5, 0.01, False, True),
        (0.1, 0.9, 0.5, 0.01, False, False),
        (0.1, 0.9, 0.0, 0.01, True, True),
        (0.1, 0.9, 0.0, 0.01, True, False),
    ],
    ids=str,
)
def test_sgd_step(options, isa, threads, dtype):
    for n in SIZES:
        check_sgd(n, dtype, threads, *options)


@given(
    n=st.integers(0, 100),
    lr=st.floats(0, 1),
    momentum=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    dampening=st.sampled_from([0.0, 0.1]),
    weight_decay=st.sampled_from([0.0, 1e-4, 0.1]),
    first=st.booleans(),
    seed=seeds,
)
def test_sgd_step_of_anything(n, lr, momentum, dampening, weight_decay, first, seed, isa, dtype):
    nesterov = bool(seed % 2) and momentum > 0 and dampening == 0
    check_sgd(n, dtype, 1, lr, momentum, dampening, weight_decay, nesterov, first, seed)


def check_adam(n, dtype, threads, lr, beta1, beta2, eps, weight_decay, decoupled, step, seed=1):
    param, grad, exp_avg, exp_avg_sq = state(n, dtype, 4, seed)
    exp_avg_sq = exp_avg_sq**2
    if step == 1:
        exp_avg[:], exp_avg_sq[:] = 0, 0
    exact = [a.astype(wide(dtype)) for a in (param, grad, exp_avg, exp_avg_sq)]
    options = (lr, beta1, beta2, eps, weight_decay, decoupled, step)
    before = grad.copy()
    _kernels.adam_step(param, grad, exp_avg, exp_avg_sq, *options, threads)
    right, right_avg, right_sq = adam(*exact, *options)
    # The step is a quotient: it errs by the relative errors of what it is made of, where grad and weight decay or the
    # average and the gradient may have cancelled.
    decayed = 0 if decoupled else weight_decay * abs(exact[0])
    size_avg = beta1 * abs(exact[2]) + (1 - beta1) * (abs(exact[1]) + decayed)
    size_sq = beta2 * exact[3] + (1 - beta2) * (abs(exact[1]) + decayed) ** 2
    root = np.sqrt(right_sq / (1 - beta2**step))
    quotient = size_avg / (1 - beta1**step) / (root + eps)
    lost = size_sq / np.maximum(right_sq, np.finfo(dtype).tiny)
    assert_near(exp_avg, right_avg, size_avg)
    assert_near(exp_avg_sq, right_sq, size_sq)
    assert_near(param, right, abs(exact[0]) * (1 + lr * weight_decay) + lr * quotient * (1 + lost))
    np.testing.assert_array_equal(grad, before)


@pytest.mark.parametrize(
    "options",
    [
        (0.001, 0.9, 0.999, 1e-8, 0.0, False, 1),
        (0.001, 0.9, 0.999, 1e-8, 0.0, False, 2),
        (0.01, 0.7, 0.9, 1e-8, 0.0, False, 1000),
        (0.001, 0.9, 0.999, 1e-8, 0.01, False, 5),
        (0.001, 0.9, 0.999, 1e-8, 0.01, True, 5),
        (0.001, 0.9, 0.999, 1e-8, 0.01, True, 1_000_000),
        (0.001, 0.0, 0.0, 1e-3, 0.0, False, 3),
    ],
    ids=str,
)
def test_adam_step(options, isa, threads, dtype):
    for n in SIZES:
        check_adam(n, dtype, threads, *options)


@given(
    n=st.integers(0, 100),
    lr=st.floats(0, 1),
    beta1=st.sampled_from([0.0, 0.5, 0.9]),
    beta2=st.sampled_from([0.0, 0.9, 0.999]),
    eps=st.sampled_from([1e-8, 1e-3]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    decoupled=st.booleans(),
    step=st.integers(1, 10_000),
    seed=seeds,
)
def test_adam_step_of_anything(n, lr, beta1, beta2, eps, weight_decay, decoupled, step, seed, isa, dtype):
    check_adam(n, dtype, 1, lr, beta1, beta2, eps, weight_decay, decoupled, step, seed)


def test_a_gradient_of_zero_moves_nothing(isa, threads, dtype):
    """Nor does 0 / 0 arise where Adam has seen no gradient yet."""
    param = state(100, dtype, 1)[0]
    zeros = [np.zeros(100, dtype) for _ in range(3)]
    moved = param.copy()
    _kernels.adam_step(moved, *zeros, 0.001, 0.9, 0.999, 1e-8, 0.0, False, 1, threads)
    np.testing.assert_array_equal(moved, param)
    _kernels.sgd_step(moved, zeros[0], zeros[1], 0.1, 0.9, 0.0, 0.0, False, True, threads)
    np.testing.assert_array_equal(moved, param)


@pytest.mark.parametrize("n", [100, 300_001])
def test_steps_are_the_same_bits_for_any_threads(n, isa, dtype):
    results = []
    for threads in (1, 2, 3):
        arrays = state(n, dtype, 4)
        arrays[3] = arrays[3] ** 2
        for step in (1, 2):
            _kernels.adam_step(*arrays, 0.001, 0.9, 0.999, 1e-8, 0.01, False, step, threads)
            _kernels.sgd_step(*arrays[:3], 0.1, 0.9, 0.0, 0.01, True, False, threads)
        results.append([a.tobytes() for a in arrays])
    assert results[0] == results[1] == results[2]


# -- images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("D", [1, 3, 16, 31, 64, 65, 784, 3072])
@pytest.mark.parametrize("B", [0, 1, 5, 500])
def test_gather_images(B, D, isa, threads, dtype):
    """out[i] = images[index[i]] * scale + offset, one rounding or two."""
    rng = np.random.default_rng(B + D)
    images = rng.integers(0, 256, (50, D), np.uint8)
    index = rng.integers(0, 50, B)
    before = images.copy(), index.copy()
    for scale, offset in ((1 / 255, 0.0), (1 / 255, -0.5), (1.0, 0.0), (1 / (255 * 0.3081), -0.1307 / 0.3081)):
        out = np.full((B, D), np.nan, dtype)
        _kernels.gather_images(images, index, out, scale, offset, threads)
        exact = images[index].astype(wide(dtype)) * scale + offset
        assert np.all(abs(out - exact) <= 2 * np.finfo(dtype).eps * (images[index] * scale + abs(offset)))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(index, before[1])


def test_every_byte(isa, dtype):
    images = np.arange(256, dtype=np.uint8).reshape(256, 1)
    out = np.empty((256, 1), dtype)
    _kernels.gather_images(images, np.arange(255, -1, -1), out, 1.0, 0.0, 1)
    np.testing.assert_array_equal(out[:, 0], np.arange(255, -1, -1))
