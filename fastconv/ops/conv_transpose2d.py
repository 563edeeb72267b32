"""2-D transposed convolution, the gradient of a convolution with respect to its input, and its own three gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv import _kernels
from fastconv._kernels import conv2d_forward, conv2d_grad_weight, conv_transpose2d_grad_bias, empty
from fastconv._threads import get_num_threads
from fastconv._validation import check_conv_transpose2d, contiguous, floats_shaped, needed

if TYPE_CHECKING:
    from fastconv._validation import Array, Need, Size


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Array:
    """Spread each pixel of a batch of images over a window of a larger image: what `conv2d` does, backwards.

    ::

        y[n, k, iy*stride - padding + r*dilation, ix*stride - padding + s*dilation] +=
            x[n, c, iy, ix] * weight[c, k - g*K/groups, r, s]

    for every pixel, tap and channel k of the group g = c // (C/groups), on top of bias[k].  It is the gradient of the
    convolution with the same weight, stride, padding and dilation with respect to that convolution's input.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        Images.  N may be 0.
    weight : ndarray, dtype of x, shape (C, K // groups, R, S)
        Filters.
    bias : ndarray, dtype of x, shape (K,), optional
        Added to each output channel.
    stride : int or (int, int), default 1
        Step between the windows of neighbouring pixels, (vertical, horizontal), in pixels of y.
    padding : int or (int, int), default 0
        Rows and columns cut off y on each side.
    output_padding : int or (int, int), default 0
        Rows and columns kept beyond the last window, at the bottom and right; smaller than stride or dilation.  With a
        stride several input sizes of a convolution give one output size: this says which of them y shall have.
    groups : int, default 1
        Number of groups that channels and filters are split into; each channel goes to the outputs of its own group.
    dilation : int or (int, int), default 1
        Distance between neighbouring taps of a filter, in pixels.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, K, OH, OW), or (K, OH, OW) for x of shape (C, H, W)
        OH = (H - 1)*stride - 2*padding + dilation*(R - 1) + output_padding + 1, OW likewise.  New and C-contiguous.

    Raises
    ------
    ShapeError
        If shapes do not fit each other, nothing of y is left, output_padding is too large, or a size is out of range.
    TypeError
        If an array is not a NumPy array of float32 or float64, dtypes differ, or a size is not an int or a pair.

    Notes
    -----
    What falls into the padding is left out: an infinite or NaN weight there contributes nothing.  The result does not
    depend on the number of threads, nor that of one image on the other images of the batch.  The bounds are those of
    `conv2d`, n being the number of products in an element's sum.

    References
    ----------
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, arXiv:1603.07285.
    Semantics: PyTorch, ``torch.nn.functional.conv_transpose2d``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 2], [3, 4]]], np.float32)
    >>> weight = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    >>> fastconv.conv_transpose2d(x, weight, stride=2).astype(int)
    array([[[   1,   10,    2,   20],
            [ 100, 1000,  200, 2000],
            [   3,   30,    4,   40],
            [ 300, 3000,  400, 4000]]])
    >>> fastconv.conv_transpose2d(x, weight).astype(int)
    array([[[   1,   12,   20],
            [ 103, 1234, 2040],
            [ 300, 3400, 4000]]])
    """
    x, weight, bias, problem, y_shape = check_conv_transpose2d(
        "conv_transpose2d", x, weight, bias, stride, padding, output_padding, groups, dilation
    )
    y = empty(y_shape, x.dtype)
    _kernels.conv_transpose2d_forward(problem, x, weight, bias, y, get_num_threads())
    return y


def conv_transpose2d_backward(
    grad_y: Array,
    x: Array,
    weight: Array,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    need: Need = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of `conv_transpose2d` with respect to x, weight and bias.

    grad_x is the convolution of grad_y with the same weight, stride, padding and dilation; grad_weight is that
    convolution's gradient of its weight, with x in the place of the gradient; ``grad_bias[k]`` is the sum of
    ``grad_y[:, k]``.

    Parameters
    ----------
    grad_y : ndarray, dtype of x, shape (N, K, OH, OW) or (K, OH, OW)
        Gradient of the loss with respect to the result of conv_transpose2d.
    x, weight, stride, padding, output_padding, groups, dilation
        As in the call of conv_transpose2d.
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
        As conv_transpose2d; also if grad_y does not have the shape of its result.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[2.0]]])
    >>> weight = np.array([[[[1.0, 10.0]]]])
    >>> grad_x, grad_weight, grad_bias = fastconv.conv_transpose2d_backward(np.array([[[3.0, 4.0]]]), x, weight)
    >>> grad_x, grad_weight, grad_bias
    (array([[[43.]]]), array([[[[6., 8.]]]]), array([7.]))
    """
    op = "conv_transpose2d_backward"
    x, weight, _, problem, y_shape = check_conv_transpose2d(
        op, x, weight, None, stride, padding, output_padding, groups, dilation
    )
    grad_y = contiguous(floats_shaped(op, "grad_y", grad_y, "x", x, y_shape, "the shape of the output,"))
    need_x, need_weight, need_bias = needed(op, need)
    threads = get_num_threads()
    grad_x = grad_weight = grad_bias = None
    if need_x:
        grad_x = empty(x.shape, x.dtype)
        conv2d_forward(problem, grad_y, weight, None, grad_x, threads)
    if need_weight:
        grad_weight = empty(weight.shape, x.dtype)
        conv2d_grad_weight(problem, x, grad_y, grad_weight, threads)
    if need_bias:
        grad_bias = empty((problem.C,), x.dtype)
        conv_transpose2d_grad_bias(problem, grad_y, grad_bias, threads)
    return grad_x, grad_weight, grad_bias
