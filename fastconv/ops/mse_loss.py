"""The squared error, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv import _kernels
from fastconv._kernels import empty
from fastconv._threads import get_num_threads
from fastconv._validation import check_mse_loss, contiguous, floats_shaped, number

if TYPE_CHECKING:
    from fastconv._validation import Array


def mse_loss(x: Array, target: Array, reduction: str = "mean") -> float | Array:
    """``loss[i] = (x[i] - target[i])**2``, of each element, added up or averaged.

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape
    target : ndarray, dtype and shape of x
        It is not broadcast: that would hide a mistake (PyTorch warns of it).
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        'mean' divides the sum by the number of elements.

    Returns
    -------
    loss : float, or ndarray of the dtype and shape of x with reduction='none'
        NaN for 'mean' where there are no elements.

    Raises
    ------
    ShapeError
        If the shapes differ, or reduction is none of the three.
    TypeError
        If an array is not a NumPy array of float32 or float64, or dtypes differ.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.mse_loss``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mse_loss(np.array([1, 2], np.float32), np.array([0, 4], np.float32))
    2.5
    """
    x, target, reduction = check_mse_loss("mse_loss", x, target, reduction)
    if reduction == "none":
        losses = empty(x.shape, x.dtype)
        _kernels.squared_errors(x, target, losses, get_num_threads())
        return losses
    total = _kernels.squared_error_sum(x, target, get_num_threads())
    if reduction == "sum":
        return total
    return total / x.size if x.size else float("nan")


def mse_loss_backward(
    x: Array, target: Array, reduction: str = "mean", *, grad_y: float | Array | None = None
) -> Array:
    """The gradient of `mse_loss` with respect to x: ``grad_x[i] = 2 * (x[i] - target[i]) * grad_y``.

    For 'mean' it is divided by the number of elements.  The gradient with respect to target is ``-grad_x``.

    Parameters
    ----------
    x, target, reduction
        As in the call of mse_loss.
    grad_y : float, optional; with reduction='none' an ndarray of the dtype and shape of x
        Gradient with respect to the loss, 1 by default.

    Returns
    -------
    grad_x : ndarray, dtype and shape of x

    Raises
    ------
    ShapeError, TypeError
        As mse_loss; also if grad_y is not a number, or an array of the wrong shape with reduction='none'.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mse_loss_backward(np.array([1, 2], np.float32), np.array([0, 4], np.float32))
    array([ 1., -2.], dtype=float32)
    """
    op = "mse_loss_backward"
    x, target, reduction = check_mse_loss(op, x, target, reduction)
    factor = 2.0
    grad: Array | None = None
    if reduction == "mean" and x.size:
        factor /= x.size
    if grad_y is not None:
        if reduction == "none":
            grad = contiguous(floats_shaped(op, "grad_y", grad_y, "x", x, x.shape, "the shape of x,"))
        else:
            factor *= number(op, "grad_y", grad_y)
    grad_x = empty(x.shape, x.dtype)
    _kernels.squared_error_backward(grad, x, target, factor, grad_x, get_num_threads())
    return grad_x
