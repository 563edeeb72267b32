"""Losses: how far a prediction is from the truth, and the gradient of that.

``loss.forward(pred, target)`` gives the loss and keeps what is needed for ``loss.backward()``, which gives the gradient
with respect to pred and lets go of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _validation as check
from fastconv.ops import (
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
)

from .module import Array


class Loss:
    """What all losses share."""

    _saved: tuple[Any, ...] | None = None

    def forward(self, pred: Array, target: Any) -> float | Array:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, grad_y: float | Array | None = None) -> Array:
        """The gradient with respect to pred of the last forward.

        Parameters
        ----------
        grad_y : float, or ndarray of the loss's shape with reduction='none'
            Gradient of what is minimised with respect to this loss; None is 1.

        Raises
        ------
        RuntimeError
            If there was no forward since the last backward.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def __call__(self, pred: Array, target: Any) -> float | Array:
        return self.forward(pred, target)

    def _kept(self) -> tuple[Any, ...]:
        saved = self._saved
        if saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: there is nothing to go back through; call forward first, "
                "once for each backward"
            )
        self._saved = None
        return saved

    def release(self) -> None:
        """Let go of what the last forward kept for backward."""
        self._saved = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropyLoss(Loss):
    """Cross-entropy of logits (N, C), or (N, C, d1, ...), against classes; `fastconv.cross_entropy` has the formula.

    The target holds class numbers (N,), or (N, d1, ...), or probabilities in the shape of the logits.

    Parameters
    ----------
    weight : ndarray, shape (C,), or None
        One weight for each class.
    ignore_index : int
        A target that counts for nothing.
    reduction : 'mean', 'sum' or 'none'
    label_smoothing : float, 0 to 1
    """

    def __init__(
        self,
        weight: Array | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        op = "CrossEntropyLoss"
        self.weight = None if weight is None else check.floats(op, "weight", weight)
        self.ignore_index = check.integer(op, "ignore_index", ignore_index)
        self.reduction = check.one_of(op, "reduction", reduction, check.REDUCTIONS)
        self.label_smoothing = check.number_between(op, "label_smoothing", label_smoothing, 0.0, 1.0)

    def forward(self, pred: Array, target: Any) -> float | Array:
        arguments = (pred, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)
        loss = cross_entropy(*arguments)
        self._saved = arguments
        return loss

    def backward(self, grad_y: float | Array | None = None) -> Array:
        return cross_entropy_backward(*self._kept(), grad_y=grad_y)


class NLLLoss(Loss):
    """Negative log-likelihood of log-probabilities (N, C), or (N, C, d1, ...); see `fastconv.nll_loss` for the formula.

    Parameters
    ----------
    weight : ndarray, shape (C,), or None
        One weight for each class.
    ignore_index : int
        A target that counts for nothing.
    reduction : 'mean', 'sum' or 'none'
    """

    def __init__(self, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        op = "NLLLoss"
        self.weight = None if weight is None else check.floats(op, "weight", weight)
        self.ignore_index = check.integer(op, "ignore_index", ignore_index)
        self.reduction = check.one_of(op, "reduction", reduction, check.REDUCTIONS)

    def forward(self, pred: Array, target: Any) -> float | Array:
        arguments = (pred, target, self.weight, self.ignore_index, self.reduction)
        loss = nll_loss(*arguments)
        self._saved = arguments
        return loss

    def backward(self, grad_y: float | Array | None = None) -> Array:
        return nll_loss_backward(*self._kept(), grad_y=grad_y)


class MSELoss(Loss):
    """``mean((pred - target)**2)``, or the sum, or each square by itself; see `fastconv.mse_loss`.

    Parameters
    ----------
    reduction : 'mean', 'sum' or 'none'

    Notes
    -----
    pred and target are arrays of one shape and one dtype, float32 or float64.  Gradient: ``2 * (pred - target)``,
    divided by the number of elements for 'mean'.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check.one_of("MSELoss", "reduction", reduction, check.REDUCTIONS)

    def forward(self, pred: Array, target: Any) -> float | Array:
        loss = mse_loss(pred, target, self.reduction)
        self._saved = (pred, target, self.reduction)
        return loss

    def backward(self, grad_y: float | Array | None = None) -> Array:
        return mse_loss_backward(*self._kept(), grad_y=grad_y)


class OneHotSquaredError(Loss):
    """Half the squared distance of scores (N, C) to one-hot targets, given as class numbers (N,); mean over the rows.

    ::

        loss = 1/(2 N) * sum over i, c of (pred[i, c] - (c == target[i]))**2

    The gradient is ``(pred - one_hot(target)) / N``: for one row, what textbooks call the delta of the output layer.
    """

    def forward(self, pred: Array, target: Any) -> float:
        op = "OneHotSquaredError"
        pred = check.floats(op, "pred", pred)
        target = np.asarray(target)
        if pred.ndim != 2:
            raise check.ShapeError(f"{op}: pred must have shape (N, C), got shape {pred.shape}")
        rows, classes = pred.shape
        if target.dtype.kind not in "iu":
            raise TypeError(f"{op}: target must hold class numbers of an integer dtype, got {check.describe(target)}")
        if target.shape != (rows,):
            raise check.ShapeError(f"{op}: target has shape {target.shape}, expected one class number a row, {(rows,)}")
        if rows and not 0 <= target.min() <= target.max() < classes:
            raise check.ShapeError(f"{op}: target must be in 0 .. {classes - 1}, got {target.min()} .. {target.max()}")
        error = pred.copy()
        error[np.arange(rows), target] -= 1
        self._saved = (error,)
        return float(np.square(error).sum(dtype=np.float64)) / (2 * rows) if rows else float("nan")

    def backward(self, grad_y: float | Array | None = None) -> Array:
        error: Array
        (error,) = self._kept()
        scale = 1.0 if grad_y is None else check.number("OneHotSquaredError", "grad_y", grad_y)
        if len(error) != 1 or scale != 1:
            error *= scale / max(len(error), 1)
        return error
