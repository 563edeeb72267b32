"""`BatchNorm1d` and `BatchNorm2d`: each channel to mean 0 and variance 1 over the batch, then a learned affine map."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from fastconv import _validation as check
from fastconv._validation import ShapeError
from fastconv.ops import batch_norm, batch_norm_backward

from .module import Array, Module, Parameter, float_dtype, positive


class BatchNorm2d(Module):
    """Batch normalisation of images; see `fastconv.batch_norm` for the formula.

    In training mode it takes mean and variance of the batch, and keeps running averages of them; in eval mode it uses
    the averages.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of a batch in the running averages; None averages over all batches alike.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        Without it, there are no running averages, and eval mode takes those of the batch too.
    bias : bool
        Whether there is a bias, where there is a weight.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter, shape (num_features,), or None
        Begin as 1 and 0.
    running_mean, running_var : ndarray, shape (num_features,), or None
        Buffers; begin as 0 and 1.  The variance is the unbiased one.  A forward in training mode replaces them.
    num_batches_tracked : ndarray of shape (), int64, or None
        Buffer: forwards in training mode so far.

    Notes
    -----
    x (N, C, H, W) -> y (N, C, H, W)

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015.  Semantics: PyTorch, ``torch.nn.BatchNorm2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.BatchNorm2d(2)
    >>> x = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    >>> layer(x).mean(axis=(0, 2, 3)).round(6) + 0
    array([0., 0.], dtype=float32)
    >>> layer.running_mean
    array([0.55, 0.95], dtype=float32)
    >>> list(layer.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    _ndims: tuple[int, ...] = (4,)
    _layout = "(N, C, H, W)"
    _optional_buffers = ("num_batches_tracked",)  # as in PyTorch, which did not always have it

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        op = type(self).__name__
        self.num_features = positive(op, "num_features", num_features)
        self.eps = check.number(op, "eps", eps)
        if not 0 <= self.eps < np.inf:
            raise ShapeError(f"{op}: eps must be at least 0 and finite, got {check.describe(eps)}")
        self.momentum = None if momentum is None else check.number(op, "momentum", momentum)
        if self.momentum is not None and not np.isfinite(self.momentum):
            raise ShapeError(f"{op}: momentum must be finite or None, got {check.describe(momentum)}")
        self.affine = check.flag(op, "affine", affine)
        self.track_running_stats = check.flag(op, "track_running_stats", track_running_stats)
        kind = float_dtype(op, dtype)
        check.fits(op, "weight", (self.num_features,))
        has_bias = check.flag(op, "bias", bias) and self.affine
        self.weight = Parameter(np.ones(self.num_features, kind)) if self.affine else None
        self.bias = Parameter(np.zeros(self.num_features, kind)) if has_bias else None
        tracked = self.track_running_stats
        self.running_mean: Array | None
        self.running_var: Array | None
        self.num_batches_tracked: Array | None
        self.register_buffer("running_mean", np.zeros(self.num_features, kind) if tracked else None)
        self.register_buffer("running_var", np.ones(self.num_features, kind) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Begin the running averages anew: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean = np.zeros_like(self.running_mean)
            self.running_var = np.ones_like(self.running_var)
            self.num_batches_tracked = np.zeros((), np.int64)

    def reset_parameters(self) -> None:
        """Running averages, weight and bias as they begin."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.data.fill(1)
        if self.bias is not None:
            self.bias.data.fill(0)

    def forward(self, x: Array) -> Array:
        op = type(self).__name__
        x = check.floats(op, "x", x)
        if x.ndim not in self._ndims:
            raise ShapeError(f"{op}: x must have shape {self._layout}, got shape {x.shape}")
        if x.shape[1] != self.num_features:
            raise ShapeError(f"{op}: x has {x.shape[1]} channels, expected {self.num_features}, got shape {x.shape}")
        weight = None if self.weight is None else self.weight.data
        bias = None if self.bias is None else self.bias.data
        if not self.training:
            self._saved = None
            by_batch = self.running_mean is None and self.running_var is None
            return batch_norm(x, self.running_mean, self.running_var, weight, bias, by_batch, eps=self.eps)
        count = self.num_batches_tracked if self.track_running_stats else None
        y, mean, inv_std, new_mean, new_var = batch_norm(
            x,
            self.running_mean if count is not None else None,
            self.running_var if count is not None else None,
            weight,
            bias,
            True,
            self._share(),
            self.eps,
            return_stats=True,
        )
        if count is not None:
            self.running_mean, self.running_var = new_mean, new_var
            self.num_batches_tracked = np.asarray(count + 1)
        self._keep(x, mean, inv_std)
        return y

    def _share(self) -> float:
        """The weight of the next batch in the running averages."""
        if self.momentum is not None:
            return self.momentum
        return 1 / (1 + int(self.num_batches_tracked)) if self.num_batches_tracked is not None else 0.0

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        x, mean, inv_std = self._kept()
        grad_x, grad_weight, grad_bias = batch_norm_backward(
            grad_y,
            x,
            mean,
            inv_std,
            None if self.weight is None else self.weight.data,
            True,
            need=(need_grad_x, self.weight is not None, self.bias is not None),
        )
        if self.weight is not None:
            self.weight.add_grad(grad_weight)
        if self.bias is not None:
            self.bias.add_grad(grad_bias)
        return grad_x

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of features or sequences: as `BatchNorm2d`, for other shapes.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, bias, dtype
        As in BatchNorm2d.

    Notes
    -----
    x (N, C) or (N, C, L) -> y of the same shape
    """

    _ndims = (2, 3)
    _layout = "(N, C) or (N, C, L)"
