"""What denormal numbers cost: each op on them, against the same call on ordinary numbers.

    python benchmarks/bench_denormals.py [row ...]

prints a ratio a row and dtype; at most 1.5 is wanted.  One thread, the best of many turns, the two calls of a row by
turns.  Denormals below are a quarter of the smallest normal number, in everything that is not a parameter.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastconv
from fastconv import ops

WANTED = 1.5
TURNS = 60


def rows(dtype: Any, scale: float) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each op on numbers of about `scale`."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return (rng.uniform(0.5, 1, shape) * rng.choice([-1, 1], shape) * scale).astype(dtype)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    x, weight, grad_y = numbers(4, 16, 28, 28), normal(16, 16, 3, 3), numbers(4, 16, 26, 26)
    yield "conv2d", lambda: ops.conv2d(x, weight)
    yield "conv2d_backward", lambda: ops.conv2d_backward(grad_y, x, weight)
    turned = normal(16, 16, 3, 3)
    yield "conv_transpose2d", lambda: ops.conv_transpose2d(x, turned, stride=2)
    depthwise = normal(16, 1, 3, 3)
    yield "conv2d, depthwise", lambda: ops.conv2d(x, depthwise, groups=16)
    small, large = numbers(4, 16, 14, 14), numbers(4, 16, 28, 28)
    indices = ops.max_pool2d(x, 2, return_indices=True)[1]
    overlapping = ops.max_pool2d(x, 3, 1, 1, return_indices=True)[1]
    yield "max_pool2d", lambda: ops.max_pool2d(x, 2, return_indices=True)
    yield "max_pool2d_backward", lambda: ops.max_pool2d_backward(small, indices, x.shape)
    yield "max_pool2d_backward, 3x3", lambda: ops.max_pool2d_backward(large, overlapping, x.shape)
    yield "avg_pool2d", lambda: ops.avg_pool2d(x, 2)
    yield "avg_pool2d, 3x3", lambda: ops.avg_pool2d(x, 3, 1, 1)
    yield "avg_pool2d, 7x7", lambda: ops.avg_pool2d(x, 7)
    yield "avg_pool2d_backward", lambda: ops.avg_pool2d_backward(small, x.shape, 2)
    yield "avg_pool2d_backward, 3x3", lambda: ops.avg_pool2d_backward(large, x.shape, 3, 1, 1)
    yield "adaptive_avg_pool2d", lambda: ops.adaptive_avg_pool2d(x, (5, 6))
    yield "adaptive_avg_pool2d, 1x1", lambda: ops.adaptive_avg_pool2d(x, 1)
    adapted = numbers(4, 16, 5, 6)
    yield "adaptive_avg_pool2d_backward", lambda: ops.adaptive_avg_pool2d_backward(adapted, x.shape)
    yield "unfold", lambda: ops.unfold(x, 3)
    columns = numbers(4, 16 * 9, 26 * 26)
    yield "fold", lambda: ops.fold(columns, (28, 28), 3)
    for name in ("relu", "leaky_relu", "sigmoid", "tanh"):
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        yield name, lambda f=forward: f(x)
        yield f"{name}_backward", lambda b=backward: b(x, x)
    mask = np.ones(x.shape, np.uint8)
    yield "dropout", lambda: ops.dropout(x, rng=np.random.default_rng(0))
    yield "dropout_backward", lambda: ops.dropout_backward(x, mask, 0.5)
    scores, matrix, gradient = x.reshape(64, -1), normal(32, 784), numbers(64, 32)
    probabilities, target = ops.softmax(normal(64, 784)), np.arange(64)
    logarithms = np.log(probabilities)
    yield "softmax", lambda: ops.softmax(scores)
    yield "log_softmax", lambda: ops.log_softmax(scores)
    yield "softmax_backward", lambda: ops.softmax_backward(scores, probabilities)
    yield "log_softmax_backward", lambda: ops.log_softmax_backward(scores, logarithms)
    yield "cross_entropy", lambda: ops.cross_entropy(scores, target)
    yield "cross_entropy_backward", lambda: ops.cross_entropy_backward(scores, target)
    yield "nll_loss", lambda: ops.nll_loss(scores, target)
    zeros = np.zeros_like(x)
    yield "mse_loss", lambda: ops.mse_loss(x, zeros)
    yield "mse_loss_backward", lambda: ops.mse_loss_backward(x, zeros)
    yield "linear", lambda: ops.linear(scores, matrix)
    yield "linear_backward", lambda: ops.linear_backward(gradient, scores, matrix)
    yield "batch_norm", lambda: ops.batch_norm(x, None, None, training=True)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(wanted: list[str]) -> None:
    fastconv.set_num_threads(1)
    for dtype in (np.float32, np.float64):
        pairs = zip(rows(dtype, 1.0), rows(dtype, float(np.finfo(dtype).tiny) / 4), strict=True)
        for (name, ordinary), (_, denormal) in pairs:
            if wanted and name not in wanted:
                continue
            best = [1e9, 1e9]
            for _ in range(TURNS):
                best = [min(best[0], seconds(ordinary)), min(best[1], seconds(denormal))]
            ratio = best[1] / best[0]
            mark = "  <-- slow" if ratio > WANTED else ""
            print(f"{np.dtype(dtype).name:8} {name:30} {best[0] * 1e6:8.1f} us  x {ratio:.2f}{mark}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
