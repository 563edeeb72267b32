"""`fastconv bench`: how long convolutions and pools take on this machine, beside plain NumPy.

The layers are those of the named networks.  NumPy's side is written as one does it well: windows as columns of a matrix
and one matrix product (im2col), pools by strided slices instead of loops over pixels.  Both work on the same arrays,
in turns, and the median of the times counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastconv
from fastconv.cli import _arguments as arguments
from fastconv.cli._evaluation import count

BATCH = 32
SECONDS = 0.2  # for each row of the table, each side half of it
ROUNDS = 2
LEAST = 2  # times that each side is measured in a round
PAUSE = 0.1  # seconds

F32 = NDArray[np.float32]


class Layer(NamedTuple):
    """A layer of a network: its input (C, H, W), and the (K, R, padding) of a convolution; without it, MaxPool2d(2)."""

    name: str
    input_shape: tuple[int, int, int]
    filters: tuple[int, int, int] | None = None


LAYERS = (
    Layer("scratch conv 1", (1, 28, 28), (8, 3, 0)),
    Layer("dropout conv 2", (10, 12, 12), (20, 5, 0)),
    Layer("keras conv 2", (32, 13, 13), (64, 3, 0)),
    Layer("cnn conv 1", (1, 28, 28), (32, 3, 1)),
    Layer("cnn conv 2", (32, 14, 14), (64, 3, 1)),
    Layer("cnn pool 1", (32, 28, 28)),
    Layer("cnn pool 2", (64, 14, 14)),
)


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="time convolutions and pools beside plain NumPy",
        description="Time convolutions and pools of the named networks, forward and backward, in float32, beside the "
        "same in plain NumPy (im2col and a matrix product).  NumPy's matrix products take the threads that its own "
        "library gives them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--batch-size",
        type=arguments.positive_int,
        default=BATCH,
        metavar="N",
        help=f"images at a time (default: {BATCH})",
    )
    parser.add_argument(
        "--json", action="store_true", help="print what was measured as JSON; times are medians, in seconds"
    )
    arguments.add_threads(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, report; returns the exit status."""
    with fastconv.threads(args.threads) if args.threads else contextlib.nullcontext():
        threads = fastconv.get_num_threads()
        if not args.json:
            print(f"batches of {count(args.batch_size)}, float32, {count(threads, 'thread')}; milliseconds")
            print(f"{'layer':<15} {'pass':<9} {'fastconv':>10} {'NumPy':>10} {'ratio':>8}", flush=True)
        rows: list[dict[str, Any]] = []
        for layer in LAYERS:
            for name, ours, numpys in _passes(layer, args.batch_size):
                fast, plain = _medians(ours, numpys)
                rows.append(
                    {"layer": layer.name, "pass": name, "fastconv": fast, "numpy": plain, "ratio": plain / fast}
                )
                if not args.json:
                    line = (
                        f"{layer.name:<15} {name:<9} {1000 * fast:>10.3f} {1000 * plain:>10.3f} {plain / fast:>7.1f}x"
                    )
                    print(line, flush=True)
    mean = math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))
    if args.json:
        found = {"batch_size": args.batch_size, "threads": threads, "rows": rows, "geometric_mean_ratio": mean}
        print(json.dumps(found, indent=2))
    else:
        print(f"geometric mean of the ratios: {mean:.1f}x")
    return 0


Pass = tuple[str, Callable[[], Any], Callable[[], Any]]  # its name, by fastconv, by NumPy


def _passes(layer: Layer, batch: int) -> list[Pass]:
    """What is measured of a layer: both passes by both, of the same results."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *layer.input_shape), np.float32)
    if layer.filters is None:
        y, indices = fastconv.max_pool2d(x, 2, return_indices=True)
        grad_y = rng.standard_normal(y.shape, np.float32)
        return [
            ("forward", lambda: (fastconv.max_pool2d(x, 2, return_indices=True),), lambda: (max_pool(x),)),
            (
                "backward",
                lambda: (fastconv.max_pool2d_backward(grad_y, indices, x.shape),),
                lambda: (max_pool_backward(grad_y, x, y),),
            ),
        ]
    filters, size, padding = layer.filters
    weight = rng.standard_normal((filters, layer.input_shape[0], size, size), np.float32)
    bias = rng.standard_normal(filters, np.float32)
    grad_y = rng.standard_normal(fastconv.conv2d(x, weight, bias, 1, padding).shape, np.float32)
    return [
        (
            "forward",
            lambda: (fastconv.conv2d(x, weight, bias, 1, padding),),
            lambda: (conv(x, weight, bias, padding),),
        ),
        (
            "backward",
            lambda: fastconv.conv2d_backward(grad_y, x, weight, 1, padding),
            lambda: conv_backward(grad_y, x, weight, padding),
        ),
    ]


def _medians(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that two calls take, measured in turns, so that what else the machine does strikes both.

    After the other's turn there is a pause: the threads of NumPy's library and ours go on looking for work for a while,
    and would take the processors from whoever comes next.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, seconds in zip((first, second), times, strict=True):
            time.sleep(PAUSE)
            call()  # memory and caches are there from now on
            least, end = len(seconds) + LEAST, time.perf_counter() + SECONDS / (2 * ROUNDS)
            while len(seconds) < least or time.perf_counter() < end:
                begin = time.perf_counter()
                call()
                seconds.append(max(time.perf_counter() - begin, 1e-9))
    return statistics.median(times[0]), statistics.median(times[1])


# -- the same in NumPy -------------------------------------------------------------------------------------------------


def columns(x: F32, size: int, padding: int) -> F32:
    """The windows of images (N, C, H, W), (C, size, size, N, OH, OW): a copy that is a matrix of windows as columns."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))  # (N, C, OH, OW, size, size)
    return np.ascontiguousarray(windows.transpose(1, 4, 5, 0, 2, 3))


def conv(x: F32, weight: F32, bias: F32, padding: int) -> F32:
    """y (N, K, OH, OW) of x (N, C, H, W) and weight (K, C, R, R)."""
    windows = columns(x, weight.shape[2], padding)
    y = weight.reshape(len(weight), -1) @ windows.reshape(weight[0].size, -1) + bias[:, None]
    return np.ascontiguousarray(y.reshape(-1, *windows.shape[3:]).transpose(1, 0, 2, 3))


def conv_backward(grad_y: F32, x: F32, weight: F32, padding: int) -> tuple[F32, F32, F32]:
    """grad_x, grad_weight and grad_bias."""
    filters, _, size, _ = weight.shape
    rows, cols = grad_y.shape[2:]
    grad = np.ascontiguousarray(grad_y.transpose(1, 0, 2, 3)).reshape(filters, -1)
    grad_weight = grad @ columns(x, size, padding).reshape(weight[0].size, -1).T
    taps = (weight.reshape(filters, -1).T @ grad).reshape(-1, size, size, len(x), rows, cols)
    height, width = x.shape[2:]
    padded = np.zeros((x.shape[1], len(x), height + 2 * padding, width + 2 * padding), np.float32)
    for r in range(size):
        for s in range(size):
            padded[:, :, r : r + rows, s : s + cols] += taps[:, r, s]
    grad_x = padded[:, :, padding : padding + height, padding : padding + width].transpose(1, 0, 2, 3)
    return np.ascontiguousarray(grad_x), grad_weight.reshape(weight.shape), grad.sum(axis=1)


def max_pool(x: F32) -> F32:
    """The largest of each 2 x 2 pixels; H and W are even."""
    rows = np.maximum(x[:, :, ::2], x[:, :, 1::2])
    return np.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def max_pool_backward(grad_y: F32, x: F32, y: F32) -> F32:
    """The gradient goes to the first of the largest."""
    grad_x = np.empty_like(x)
    free = np.ones(y.shape, bool)  # windows whose largest has not been met
    for r in range(2):
        for s in range(2):
            here = (x[:, :, r::2, s::2] == y) & free
            grad_x[:, :, r::2, s::2] = grad_y * here
            free &= ~here
    return grad_x
