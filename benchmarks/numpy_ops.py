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
