"""The layers beside convolution and pooling as one writes them in plain NumPy: what bench_<op>.py compares with."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Array


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_backward(grad_y: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    return grad_y @ weight, grad_y.T @ x, grad_y.sum(axis=0)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def relu_backward(grad_y: Array, x: Array) -> Array:
    return grad_y * (x > 0)


def leaky_relu(x: Array) -> Array:
    return np.where(x > 0, x, x * np.float32(0.01))


def leaky_relu_backward(grad_y: Array, x: Array) -> Array:
    return np.where(x > 0, grad_y, grad_y * np.float32(0.01))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def sigmoid_backward(grad_y: Array, y: Array) -> Array:
    return grad_y * (1 - y) * y


def tanh(x: Array) -> Array:
    return np.tanh(x)


def tanh_backward(grad_y: Array, y: Array) -> Array:
    return grad_y * (1 - y * y)


def nll_loss(x: Array, target: Array) -> float:
    return float(-x[np.arange(len(x)), target].mean())


def nll_loss_backward(x: Array, target: Array) -> Array:
    grad_x = np.zeros_like(x)
    grad_x[np.arange(len(x)), target] = -1 / len(x)
    return grad_x


def mse_loss(x: Array, target: Array) -> float:
    return float(np.square(x - target).mean(dtype=np.float64))


def mse_loss_backward(x: Array, target: Array) -> Array:
    return (x - target) * np.float32(2 / x.size)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(grad_y: Array, y: Array) -> Array:
    return y * (grad_y - (grad_y * y).sum(axis=-1, keepdims=True))


def log_softmax(x: Array) -> Array:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def log_softmax_backward(grad_y: Array, y: Array) -> Array:
    return grad_y - np.exp(y) * grad_y.sum(axis=-1, keepdims=True)


def cross_entropy(x: Array, target: Array) -> float:
    return float(-log_softmax(x)[np.arange(len(x)), target].mean())


def cross_entropy_backward(x: Array, target: Array) -> Array:
    grad_x = softmax(x)
    grad_x[np.arange(len(x)), target] -= 1
    grad_x /= len(x)
    return grad_x


def dropout(x: Array, p: float, rng: np.random.Generator) -> tuple[Array, Array]:
    mask = rng.random(x.shape, dtype=np.float32) >= p
    return dropout_backward(x, mask, p), mask


def dropout2d(x: Array, p: float, rng: np.random.Generator) -> tuple[Array, Array]:
    mask = rng.random(x.shape[:2], dtype=np.float32) >= p
    return dropout2d_backward(x, mask, p), mask


def dropout_backward(grad_y: Array, mask: Array, p: float) -> Array:
    return grad_y * mask * np.float32(1 / (1 - p))


def dropout2d_backward(grad_y: Array, mask: Array, p: float) -> Array:
    return grad_y * (mask * np.float32(1 / (1 - p)))[:, :, None, None]


def batch_norm(
    x: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array,
    bias: Array,
    training: bool,
    return_stats: bool,
) -> tuple[Array, ...]:
    axes, eps, momentum = (0, 2, 3), 1e-5, np.float32(0.1)
    mean = x.mean(axes) if training else running_mean
    var = x.var(axes) if training else running_var
    inv_std = 1 / np.sqrt(var + np.float32(eps))
    y = (x - mean[:, None, None]) * (inv_std * weight)[:, None, None] + bias[:, None, None]
    n = x.size // x.shape[1]
    new_mean = (1 - momentum) * running_mean + momentum * mean
    new_var = (1 - momentum) * running_var + momentum * var * np.float32(n / (n - 1))
    return y, mean, inv_std, new_mean, new_var


def batch_norm_backward(
    grad_y: Array, x: Array, mean: Array, inv_std: Array, weight: Array, training: bool
) -> tuple[Array, Array, Array]:
    axes, n = (0, 2, 3), np.float32(x.size // x.shape[1])
    mean, inv_std = mean.astype(x.dtype)[:, None, None], inv_std.astype(x.dtype)[:, None, None]
    z = (x - mean) * inv_std
    grad_weight, grad_bias = (grad_y * z).sum(axes), grad_y.sum(axes)
    grad_x = grad_y
    if training:
        grad_x = grad_y - (grad_bias / n)[:, None, None] - z * (grad_weight / n)[:, None, None]
    return grad_x * inv_std * weight[:, None, None], grad_weight, grad_bias


def adaptive_avg_pool2d(x: Array, size: int) -> Array:
    H, W = x.shape[-2:]
    y = np.empty((*x.shape[:-2], size, size), x.dtype)
    for i in range(size):
        for j in range(size):
            y[..., i, j] = x[..., _window(i, H, size), _window(j, W, size)].mean(axis=(-2, -1))
    return y


def adaptive_avg_pool2d_backward(grad_y: Array, input_shape: tuple[int, ...]) -> Array:
    (OH, OW), (H, W) = grad_y.shape[-2:], input_shape[-2:]
    grad_x = np.zeros(input_shape, grad_y.dtype)
    for i in range(OH):
        for j in range(OW):
            rows, columns = _window(i, H, OH), _window(j, W, OW)
            pixels = np.float32((rows.stop - rows.start) * (columns.stop - columns.start))
            grad_x[..., rows, columns] += grad_y[..., i : i + 1, j : j + 1] / pixels
    return grad_x


def _window(i: int, size: int, windows: int) -> slice:
    return slice(i * size // windows, -(-(i + 1) * size // windows))


class SGD:
    """Stochastic gradient descent with momentum, on parameters that have .data and .grad."""

    def __init__(self, params: list[Any], lr: float, momentum: float = 0.0) -> None:
        self.params, self.lr, self.momentum = params, lr, momentum
        self.velocities = [np.zeros_like(param.data) for param in params]

    def step(self) -> None:
        for param, velocity in zip(self.params, self.velocities, strict=True):
            if self.momentum:
                velocity *= self.momentum
                velocity += param.grad
                param.data -= self.lr * velocity
            else:
                param.data -= self.lr * param.grad


class Adam:
    """Adam; with weight_decay, decoupled (AdamW)."""

    def __init__(
        self, params: list[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.0
    ) -> None:
        self.params, self.lr, self.betas, self.weight_decay = params, lr, betas, weight_decay
        self.means = [(np.zeros_like(param.data), np.zeros_like(param.data)) for param in params]
        self.t = 0

    def step(self) -> None:
        self.t += 1
        beta1, beta2 = self.betas
        for param, (m, v) in zip(self.params, self.means, strict=True):
            if self.weight_decay:
                param.data *= 1 - self.lr * self.weight_decay
            m += (1 - beta1) * (param.grad - m)
            v += (1 - beta2) * (param.grad**2 - v)
            scale = self.lr / (1 - beta1**self.t)
            param.data -= scale * m / (np.sqrt(v) / np.sqrt(1 - beta2**self.t) + 1e-8)
