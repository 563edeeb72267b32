"""Batch normalisation by its formula (Ioffe and Szegedy 2015)."""

import numpy as np

from ._windows import Array, cast, wide


def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_stats: bool = False,
) -> Array | tuple[Array, Array, Array, Array | None, Array | None]:
    """Normalise each channel to mean 0 and variance 1, then scale and shift it.

    ::

        y[n, c, ...] = (x[n, c, ...] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]

    Parameters
    ----------
    x : ndarray, shape (N, C) or (N, C, ...)
    running_mean, running_var : ndarray, shape (C,), or None
        The mean and variance to use without training.
    weight, bias : ndarray, shape (C,), or None for 1 and 0
    training : bool
        Whether to use the batch's own mean and variance.
    momentum : float
        Running averages become ``(1 - momentum) * running + momentum * batch's``, of the unbiased variance.
    eps : float
    return_stats : bool

    Returns
    -------
    y : ndarray, the shape of x
    mean, inv_std : ndarray, shape (C,), what was subtracted and multiplied by; this and what follows with return_stats
    new_running_mean, new_running_var : ndarray, shape (C,), or None
    """
    values = x.astype(wide(x))
    if not x.size:
        nothing = np.zeros(x.shape[1:2])
        new = [running if running is None else running.copy() for running in (running_mean, running_var)]
        return (x.copy(), nothing, nothing.copy(), new[0], new[1]) if return_stats else x.copy()
    if training:
        n = x.size // x.shape[1]
        if n < 2:
            raise ValueError("one value per channel has no variance")
        mean, var = values.mean(_others(x)), values.var(_others(x))
        averages = [(running_mean, mean), (running_var, var * n / (n - 1))]
        new = [
            r if r is None else cast((1 - momentum) * r.astype(mean.dtype) + momentum * b, x.dtype) for r, b in averages
        ]
    elif running_mean is None or running_var is None:
        raise ValueError("without training, running_mean and running_var are needed")
    else:
        mean, var = running_mean.astype(wide(x)), running_var.astype(wide(x))
        new = [running_mean.copy(), running_var.copy()]
    inv_std = 1 / np.sqrt(var + eps)
    y = (values - _spread(mean, x)) * _spread(inv_std, x)
    if weight is not None:
        y = y * _spread(weight, x)
    if bias is not None:
        y = y + _spread(bias, x)
    return (cast(y, x.dtype), mean, inv_std, new[0], new[1]) if return_stats else cast(y, x.dtype)


def batch_norm_backward(
    grad_y: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None = None,
    training: bool = False,
    *,
    need: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients with respect to x, weight and bias.

    With ``z = (x - mean) * inv_std``, and sums and means over a channel::

        grad_x = (grad_y - [mean(grad_y) + z * mean(grad_y * z)]) * inv_std * weight      [ ]: in training only
        grad_weight = sum grad_y * z,      grad_bias = sum grad_y

    Parameters
    ----------
    grad_y : ndarray, the shape of x
    x : ndarray, shape (N, C) or (N, C, ...)
    mean, inv_std : ndarray, shape (C,), as batch_norm returned them
    weight : ndarray, shape (C,), or None
    training : bool
    need : which of the gradients to compute

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray, or None where not needed
    """
    grads = grad_y.astype(wide(x))
    z = (x.astype(wide(x)) - _spread(mean, x)) * _spread(inv_std, x)
    grad_weight, grad_bias = np.sum(grads * z, _others(x)), np.sum(grads, _others(x))
    grad_x = grads
    if training and x.size:
        n = x.size // x.shape[1]
        grad_x = grads - _spread(grad_bias / n, x) - z * _spread(grad_weight / n, x)
    grad_x = grad_x * _spread(inv_std if weight is None else inv_std * weight, x)
    results = [cast(gradient, x.dtype) for gradient in (grad_x, grad_weight, grad_bias)]
    return (
        results[0] if need[0] else None,
        results[1] if need[1] else None,
        results[2] if need[2] else None,
    )


def _others(x: Array) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def _spread(values: Array, x: Array) -> Array:
    """One number a channel, (C,), in a shape that broadcasts with x."""
    return values.reshape(1, -1, *[1] * (x.ndim - 2))
