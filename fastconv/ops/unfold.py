"""The windows of an image as the columns of a matrix (im2col), the way back (col2im), and their gradients.

`unfold` and `fold` are each other's adjoint, so the gradient of the one is the other: `unfold_backward` folds, and
`fold_backward` unfolds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv import _kernels
from fastconv._kernels import empty
from fastconv._threads import get_num_threads
from fastconv._validation import check_fold, check_unfold, contiguous, floats, floats_shaped, shape_tuple

if TYPE_CHECKING:
    from fastconv._validation import Array, Size


def unfold(x: Array, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Array:
    """Write what each window sees as a column: a convolution is then a product of matrices.

    ::

        y[n, (c*R + r)*S + s, oy*OW + ox] = x[n, c, oy*stride - padding + r*dilation, ox*stride - padding + s*dilation]

    and 0 where that is outside of x; R x S is the kernel size and OH x OW the number of windows.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        Images.  N may be 0.
    kernel_size : int or (int, int)
        Height R and width S of a window, in pixels that it sees.
    dilation : int or (int, int), default 1
        Distance between neighbouring pixels of a window.
    padding : int or (int, int), default 0
        Zeros on each side, in pixels.
    stride : int or (int, int), default 1
        Step between neighbouring windows, in pixels.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, C*R*S, OH*OW), or (C*R*S, OH*OW) for x of shape (C, H, W)
        OH = floor((H + 2*padding - dilation*(R - 1) - 1) / stride) + 1, OW likewise.  New and C-contiguous.

    Raises
    ------
    ShapeError
        If no window fits the padded input, or a size is out of range.
    TypeError
        If x is not a NumPy array of float32 or float64, or a size is not an int or a pair of ints.

    References
    ----------
    Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
    Semantics: PyTorch, ``torch.nn.functional.unfold``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(1.0, 10.0).reshape(1, 3, 3)
    >>> columns = fastconv.unfold(x, 2)
    >>> columns
    array([[1., 2., 4., 5.],
           [2., 3., 5., 6.],
           [4., 5., 7., 8.],
           [5., 6., 8., 9.]])
    >>> weight = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    >>> weight.reshape(1, 4) @ columns == fastconv.conv2d(x, weight).reshape(1, 4)
    array([[ True,  True,  True,  True]])
    """
    op = "unfold"
    x = floats(op, "x", x)
    problem, y_shape = check_unfold(op, "x", x.shape, kernel_size, dilation, padding, stride)
    return _unfolded(problem, x, y_shape)


def fold(
    x: Array, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Array:
    """Add columns up to images: each number of a column goes to the pixel that `unfold` would have read it from.

    ::

        y[n, c, oy*stride - padding + r*dilation, ox*stride - padding + s*dilation] += x[n, (c*R + r)*S + s, oy*OW + ox]

    Numbers that belong to the padding are left out.  It is not the inverse of unfold: a pixel that several windows see
    becomes their sum.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C*R*S, L) or (C*R*S, L)
        A column for each of the L = OH * OW windows of an image of output_size.  N may be 0.
    output_size : int or (int, int)
        Height H and width W of the images.
    kernel_size, dilation, padding, stride : int or (int, int)
        As in `unfold`.

    Returns
    -------
    y : ndarray, dtype of x, shape (N, C, H, W), or (C, H, W) for x of shape (C*R*S, L)
        New and C-contiguous.

    Raises
    ------
    ShapeError
        If x does not have as many rows and columns as output_size and kernel_size ask for, no window fits, or a size is
        out of range.
    TypeError
        If x is not a NumPy array of float32 or float64, or a size is not an int or a pair of ints.

    Notes
    -----
    A pixel's numbers are added in the order of the taps (r, s), whatever the number of threads.

    References
    ----------
    Semantics: PyTorch, ``torch.nn.functional.fold``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(1.0, 10.0).reshape(1, 3, 3)
    >>> fastconv.fold(fastconv.unfold(x, 2), 3, 2)
    array([[[ 1.,  4.,  3.],
            [ 8., 20., 12.],
            [ 7., 16.,  9.]]])
    """
    op = "fold"
    x = floats(op, "x", x)
    problem, y_shape = check_fold(op, x.shape, output_size, kernel_size, dilation, padding, stride)
    return _folded(problem, x, y_shape)


def unfold_backward(
    grad_y: Array,
    input_shape: tuple[int, ...],
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Array:
    """The gradient of `unfold` with respect to x: each pixel gets the sum over the windows that see it, as in `fold`.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C*R*S, L) or (C*R*S, L)
        Gradient of the loss with respect to the result of unfold.
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
        Shape of the x of unfold.
    kernel_size, dilation, padding, stride
        As in the call of unfold.

    Returns
    -------
    grad_x : ndarray, dtype of grad_y, shape input_shape

    Raises
    ------
    ShapeError, TypeError
        As unfold; also if grad_y does not have the shape of its result.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.unfold_backward(np.ones((2, 3)), (1, 1, 4), (1, 2))
    array([[[1., 2., 2., 1.]]])
    """
    op = "unfold_backward"
    grad_y = floats(op, "grad_y", grad_y)
    shape = shape_tuple(op, "input_shape", input_shape, (3, 4))
    problem, y_shape = check_unfold(op, "input_shape", shape, kernel_size, dilation, padding, stride)
    grad_y = floats_shaped(op, "grad_y", grad_y, "grad_y", grad_y, y_shape, "the shape of the output,")
    return _folded(problem, grad_y, shape)


def fold_backward(grad_y: Array, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Array:
    """The gradient of `fold` with respect to x: each number of a column gets its pixel's gradient, as in `unfold`.

    Parameters
    ----------
    grad_y : ndarray, float32 or float64, shape (N, C, H, W) or (C, H, W)
        Gradient of the loss with respect to the result of fold.  Its height and width are fold's output_size.
    kernel_size, dilation, padding, stride
        As in the call of fold.

    Returns
    -------
    grad_x : ndarray, dtype of grad_y, the shape (N, C*R*S, L) or (C*R*S, L) of the x of fold
        0 for numbers that belong to the padding.

    Raises
    ------
    ShapeError, TypeError
        As fold.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.fold_backward(np.array([[[5.0, 6.0, 7.0]]]), (1, 2))
    array([[5., 6.],
           [6., 7.]])
    """
    op = "fold_backward"
    grad_y = floats(op, "grad_y", grad_y)
    problem, x_shape = check_unfold(op, "grad_y", grad_y.shape, kernel_size, dilation, padding, stride)
    return _unfolded(problem, grad_y, x_shape)


def _unfolded(problem: _kernels.Pool2dProblem, images: Array, shape: tuple[int, ...]) -> Array:
    columns = empty(shape, images.dtype)
    _kernels.unfold(problem, contiguous(images), columns, get_num_threads())
    return columns


def _folded(problem: _kernels.Pool2dProblem, columns: Array, shape: tuple[int, ...]) -> Array:
    images = empty(shape, columns.dtype)
    _kernels.fold(problem, contiguous(columns), images, get_num_threads())
    return images
