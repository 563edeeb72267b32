"""2-D convolution (cross-correlation, as in every deep-learning library) and its three gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv._kernels import (
    conv2d_forward,
    conv2d_grad_bias,
    conv2d_grad_weight,
    conv2d_grad_x,
    empty,
    quick_conv2d,
    quick_conv2d_backward,
    quick_conv2d_pooled,
    quick_conv2d_pooled_backward,
    quick_conv2d_pooled_grad,
)
from fastconv._threads import get_num_threads
from fastconv._validation import check_conv2d, contiguous, floats_shaped, needed

if TYPE_CHECKING:
    from fastconv._validation import Array, Need, Size


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """Convolve a batch of images with a bank of filters.

    ::

        y[n, k, oy, ox] = bias[k] + sum over c, r, s of
            x[n, g*C/groups + c, oy*stride - top + r*dilation, ox*stride - left + s*dilation] * weight[k, c, r, s]

    where g = k // (K/groups) is the group of filter k.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        Images.  N may be 0.
    weight : ndarray, dtype of x, shape (K, C // groups, R, S)
        Filters.
    bias : ndarray, dtype of x, shape (K,), optional
        Added to each output channel.
    stride : int or (int, int), default 1
        Step between neighbouring windows, (vertical, horizontal), in pixels.
    padding : int, (int, int), 'valid' or 'same', default 0
        Zeros on each side, in pixels.  'valid' is 0.  'same' makes y as large as x: it pads ``dilation * (R - 1)`` rows
        in total, the smaller half at the top (likewise columns, the smaller half at the left), and needs stride 1.
    dilation : int or (int, int), default 1
        Distance between neighbouring taps of a filter, in pixels.
    groups : int, default 1
        Number of groups that channels and filters are split into; each filter sees the channels of its own group.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, K, OH, OW), or (K, OH, OW) for x of shape (C, H, W)
        OH = floor((H + 2*padding - dilation*(R - 1) - 1) / stride) + 1, OW likewise.  New and C-contiguous.

    Raises
    ------
    ShapeError
        If shapes do not fit each other, the window does not fit the padded input, a size is out of range, or 'same' is
        used with a stride.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or a size is not an int or a pair.

    Notes
    -----
    Padding is skipped, not multiplied: an infinite or NaN weight over padding contributes nothing.  The result does not
    depend on the number of threads, nor that of one image on the other images of the batch.

    An element that is a sum of n products is within ``(4 + sqrt(n)) * eps * sum |x| |weight|`` of exact.  3x3 filters
    with stride 1 and at least 16 channels in and out are computed by Winograd's F(2x2, 3x3): on ordinary data they keep
    that bound too; where the taps of a filter are of very different sizes, each counts as the largest of its filter and
    channel.  Small integers give exact results either way.  ``set_float32_precision("high")`` permits F(4x4, 3x3),
    which is faster and within ``40 * eps * sum |x| |weight|`` on ordinary data.  `explain_conv2d` tells which algorithm
    is used.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998.
    Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
    Semantics: PyTorch, ``torch.nn.functional.conv2d``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2], [3, 4]]]], np.float32)
    >>> weight = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    >>> fastconv.conv2d(x, weight)
    array([[[[4321.]]]], dtype=float32)
    >>> fastconv.conv2d(x, weight, padding="same").astype(int)
    array([[[[4321,  402],
             [  43,    4]]]])
    """
    quick = quick_conv2d(x, weight, bias, stride, padding, dilation, groups)
    if quick is not None:
        return quick
    x, weight, bias, problem, y_shape = check_conv2d("conv2d", x, weight, bias, stride, padding, dilation, groups)
    y = empty(y_shape, x.dtype)
    conv2d_forward(problem, x, weight, bias, y, get_num_threads())
    return y


def _conv2d_pooled(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
    relu: bool,
    want_winners: bool,
) -> tuple[Array, Array | None, tuple[int, ...]] | None:
    """conv2d, then max_pool2d of 2x2 windows, then relu if wanted, in one call, to the same bits.  For layers.

    (y, winners as of max_pool2d_winners or None, shape of conv2d's result); None where they are to be done one by one:
    for other shapes than fused kernels are made for, and for arguments that want checking.
    """
    return quick_conv2d_pooled(x, weight, bias, stride, padding, dilation, groups, relu, want_winners)


def _conv2d_pooled_grad(
    grad_y: Array, y: Array | None, winners: Array, before: tuple[int, ...], want_bias: bool
) -> tuple[Array, Array | None] | None:
    """Back through _conv2d_pooled as far as conv2d's result, of shape `before`: its gradient, and grad_bias if wanted.

    y: the result with relu, None without.  None where the gradients are to be computed one by one.
    """
    return quick_conv2d_pooled_grad(grad_y, y, winners, before, want_bias)


def _conv2d_pooled_backward(
    grad_y: Array,
    y: Array | None,
    winners: Array,
    before: tuple[int, ...],
    x: Array,
    weight: Array,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
    want_x: bool,
    want_bias: bool,
) -> tuple[Array | None, Array, Array | None] | None:
    """All the way back through _conv2d_pooled, to the bits of _conv2d_pooled_grad and conv2d_backward.

    (grad_x or None, grad_weight, grad_bias or None).  None where those are to be called: for shapes and numbers from
    which no algorithm goes without conv2d's own gradient, and for arguments that want checking.
    """
    return quick_conv2d_pooled_backward(
        grad_y, y, winners, before, x, weight, stride, padding, dilation, groups, want_x, want_bias
    )


def conv2d_backward(
    grad_y: Array,
    x: Array,
    weight: Array,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    need: Need = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `conv2d` with respect to x, weight and bias.

    Each product ``x[i] * weight[j]`` that went into ``y[n, k, oy, ox]`` adds ``grad_y[n, k, oy, ox] * weight[j]`` to
    ``grad_x[i]`` and ``grad_y[n, k, oy, ox] * x[i]`` to ``grad_weight[j]``; ``grad_bias[k]`` is the sum of
    ``grad_y[:, k]``.

    Parameters
    ----------
    grad_y : ndarray, dtype of x, shape (N, K, OH, OW) or (K, OH, OW)
        Gradient of the loss with respect to the result of conv2d.
    x, weight, stride, padding, dilation, groups
        As in the call of conv2d.
    need : (bool, bool, bool), default all
        Which of grad_x, grad_weight and grad_bias to compute.

    Returns
    -------
    grad_x : ndarray, shape of x, or None where not needed
    grad_weight : ndarray, shape of weight, or None where not needed
    grad_bias : ndarray, shape (K,), or None where not needed

    Raises
    ------
    ShapeError, TypeError
        As conv2d; also if grad_y does not have the shape of its result.

    Notes
    -----
    The bounds are those of `conv2d`, n being the number of products in a gradient's sum.  Where most of grad_y is zero,
    as behind a max pool and a ReLU, only what is not zero is multiplied: which sums are formed, and so the last bits,
    may depend on how many zeros there are, but never on the number of threads.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 2], [3, 4]]], np.float32)
    >>> weight = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    >>> grad_x, grad_weight, grad_bias = fastconv.conv2d_backward(np.full((1, 1, 1), 2, np.float32), x, weight)
    >>> grad_x
    array([[[   2.,   20.],
            [ 200., 2000.]]], dtype=float32)
    >>> grad_weight
    array([[[[2., 4.],
             [6., 8.]]]], dtype=float32)
    >>> grad_bias
    array([2.], dtype=float32)
    """
    quick = quick_conv2d_backward(grad_y, x, weight, stride, padding, dilation, groups, need)
    if quick is not None:
        return quick
    op = "conv2d_backward"
    x, weight, _, problem, y_shape = check_conv2d(op, x, weight, None, stride, padding, dilation, groups)
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "x", x, y_shape, "the shape of the output,"))
    need_x, need_weight, need_bias = needed(op, need)
    threads = get_num_threads()
    grad_x = grad_weight = grad_bias = None
    if need_x:
        grad_x = empty(x.shape, x.dtype)
        conv2d_grad_x(problem, grad_y, weight, grad_x, threads)
    if need_weight:
        grad_weight = empty(weight.shape, x.dtype)
        conv2d_grad_weight(problem, grad_y, x, grad_weight, threads)
    if need_bias:
        grad_bias = empty(weight.shape[:1], x.dtype)
        conv2d_grad_bias(problem, grad_y, grad_bias, threads)
    return grad_x, grad_weight, grad_bias
