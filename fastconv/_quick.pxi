# The quick way into an op, part of _kernels.pyx.
#
# For a small image, checking the arguments in Python and preparing the call takes longer than the arithmetic.  So an op
# first tries its quick_* function, which recognises the common call by looking at its arguments in C: plain contiguous
# aligned arrays of one float type, exact ints (or pairs of them) of ordinary size, shapes that fit.  It computes the
# same problem as _validation.py would, makes the result and runs the kernel.  Of all else, whether it is wrong or only
# unusual, it returns None without having done anything, and the op goes the way through _validation.py, which converts
# what can be converted and has the words for what can't: no rule and no message is written twice.

from cpython.long cimport PyLong_CheckExact
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1

cdef extern from *:
    """
    /* An array of memory from fc_alloc that owns it.  The same as PyArray_EMPTY with our handler current, but without
     * looking up and setting the context variable that holds the current handler, twice an array. */
    static PyObject *fc_new_array(int ndim, npy_intp *dims, int num, void *data, PyObject *handler) {
        PyObject *a = PyArray_New(&PyArray_Type, ndim, dims, num, NULL, data, 0, NPY_ARRAY_CARRAY, NULL);
        if (a == NULL) return NULL;
        Py_INCREF(handler);
        ((PyArrayObject_fields *)a)->mem_handler = handler;
        PyArray_ENABLEFLAGS((PyArrayObject *)a, NPY_ARRAY_OWNDATA);
        return a;
    }
    """
    object fc_new_array(int, np.npy_intp *, int, void *, object)

cdef enum:
    QUICK_EXTENT = 1 << 24     # of an array, along an axis
    QUICK_SIZE = 1 << 12       # of a stride, a padding, a dilation or a window
    QUICK_ELEMENTS = 1 << 30   # of an array

cdef int _threads = 1  # what _threads.py has set


def set_threads(int n):
    global _threads
    _threads = n


def quick_threads():
    return _threads


cdef np.ndarray new_array(int ndim, np.npy_intp *dims, int num):
    """An uninitialised array of float32, float64, int64 or bytes; its size is known to be ordinary."""
    cdef size_t size = 1 if num == np.NPY_UINT8 else 4 if num == np.NPY_FLOAT else 8
    cdef int i
    for i in range(ndim):
        size *= <size_t> dims[i]
    cdef void *data = fc_alloc(size)
    if data == NULL:
        raise MemoryError(f"fastconv: no memory for a result of {size} bytes")
    try:
        return <np.ndarray> fc_new_array(ndim, dims, num, data, _handler)
    except BaseException:
        fc_free(data)
        raise


cdef inline np.ndarray new_like(np.ndarray a):
    return new_array(np.PyArray_NDIM(a), np.PyArray_DIMS(a), np.PyArray_TYPE(a))


cdef inline bint is_plain(object a) noexcept:
    """A plain array of floats as kernels take it (it may be read-only), of ordinary size."""
    if not np.PyArray_CheckExact(a) or not np.PyArray_ISCARRAY_RO(<np.ndarray> a):
        return False
    cdef int num = np.PyArray_TYPE(<np.ndarray> a)
    if num != np.NPY_FLOAT and num != np.NPY_DOUBLE:
        return False
    cdef int i
    for i in range(np.PyArray_NDIM(<np.ndarray> a)):
        if np.PyArray_DIM(<np.ndarray> a, i) > QUICK_EXTENT:
            return False
    return np.PyArray_SIZE(<np.ndarray> a) <= QUICK_ELEMENTS


cdef inline bint is_plain_like(object a, np.ndarray like) noexcept:
    return is_plain(a) and np.PyArray_TYPE(<np.ndarray> a) == np.PyArray_TYPE(like)


cdef inline bint has_shape(np.ndarray a, int ndim, np.npy_intp *dims) noexcept:
    if np.PyArray_NDIM(a) != ndim:
        return False
    cdef int i
    for i in range(ndim):
        if np.PyArray_DIM(a, i) != dims[i]:
            return False
    return True


cdef inline bint is_bias(object bias, np.ndarray x, np.npy_intp outputs) noexcept:
    return bias is None or (is_plain_like(bias, x) and has_shape(<np.ndarray> bias, 1, &outputs))


cdef inline bint read_size(object value, ptrdiff_t least, ptrdiff_t *size) noexcept:
    cdef int overflow = 0
    if not PyLong_CheckExact(value):
        return False
    cdef long long n = PyLong_AsLongLongAndOverflow(value, &overflow)
    size[0] = n
    return not overflow and least <= n <= QUICK_SIZE


cdef inline bint read_pair(object value, ptrdiff_t least, ptrdiff_t *height, ptrdiff_t *width) noexcept:
    if PyTuple_CheckExact(value):
        return (PyTuple_GET_SIZE(value) == 2 and read_size(<object> PyTuple_GET_ITEM(value, 0), least, height)
                and read_size(<object> PyTuple_GET_ITEM(value, 1), least, width))
    if not read_size(value, least, height):
        return False
    width[0] = height[0]
    return True


cdef inline bint read_need(object need, bint *wants) noexcept:
    cdef int i
    if not PyTuple_CheckExact(need) or PyTuple_GET_SIZE(need) != 3:
        return False
    for i in range(3):
        flag = <object> PyTuple_GET_ITEM(need, i)
        if flag is not True and flag is not False:
            return False
        wants[i] = flag is True
    return True


# -- convolution -----------------------------------------------------------------------------------------------------

cdef bint read_conv2d(object x, object weight, object stride, object padding, object dilation, object groups,
                      fc_conv2d *p, np.npy_intp *y_dims) noexcept:
    """The problem, and the shape of y for x of four dimensions (the last three of it for x of three)."""
    if not is_plain(x) or not is_plain_like(weight, <np.ndarray> x):
        return False
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x)
    if (ndim != 4 and ndim != 3) or np.PyArray_NDIM(<np.ndarray> weight) != 4:
        return False
    cdef np.npy_intp *dims = np.PyArray_DIMS(<np.ndarray> x) + (ndim - 3)
    cdef np.npy_intp *w_dims = np.PyArray_DIMS(<np.ndarray> weight)
    p.N = np.PyArray_DIM(<np.ndarray> x, 0) if ndim == 4 else 1
    p.C, p.H, p.W = dims[0], dims[1], dims[2]
    p.K, p.R, p.S = w_dims[0], w_dims[2], w_dims[3]
    if not (read_pair(stride, 1, &p.stride_h, &p.stride_w) and read_pair(padding, 0, &p.pad_top, &p.pad_left)
            and read_pair(dilation, 1, &p.dilation_h, &p.dilation_w) and read_size(groups, 1, &p.groups)):
        return False
    if p.N < 1 or p.C < 1 or p.H < 1 or p.W < 1 or p.K < 1 or not (1 <= p.R <= QUICK_SIZE) or not (
            1 <= p.S <= QUICK_SIZE):
        return False
    if w_dims[1] * p.groups != p.C or (p.groups != 1 and p.K % p.groups != 0):
        return False
    cdef ptrdiff_t height = p.H + 2 * p.pad_top, width = p.W + 2 * p.pad_left
    cdef ptrdiff_t window_h = p.dilation_h * (p.R - 1) + 1, window_w = p.dilation_w * (p.S - 1) + 1
    if window_h > height or window_w > width:
        return False
    p.OH = (height - window_h) // p.stride_h + 1
    p.OW = (width - window_w) // p.stride_w + 1
    cdef double outputs = <double> p.N * p.K * p.OH * p.OW
    if outputs > QUICK_ELEMENTS or outputs * (w_dims[1] * p.R * p.S) > 1e18 or (
            <double> p.N * p.C * height * width > 1e15):
        return False
    # As in _validation.py: the same problem has the same sizes, however it came.
    p.stride_h, p.stride_w = min(p.stride_h, height), min(p.stride_w, width)
    if p.R == 1:
        p.dilation_h = 1
    if p.S == 1:
        p.dilation_w = 1
    p.precision = float32_precision
    y_dims[0], y_dims[1], y_dims[2], y_dims[3] = p.N, p.K, p.OH, p.OW
    return True


cdef void *scratch(size_t size) except? NULL:
    """Workspace for one call, NULL where it needs none; to be freed with fc_free."""
    if size == 0:
        return NULL
    cdef void *data = fc_alloc(size)
    if data == NULL:
        raise MemoryError(f"fastconv: no memory for a workspace of {size} bytes")
    return data


def quick_conv2d(x, weight, bias, stride, padding, dilation, groups):
    cdef fc_conv2d p
    cdef np.npy_intp dims[4]
    if not read_conv2d(x, weight, stride, padding, dilation, groups, &p, dims) or not is_bias(
            bias, <np.ndarray> x, p.K):
        return None
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x), num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef np.ndarray y = new_array(ndim, dims + (4 - ndim), num)
    cdef void *w = scratch(fc_conv2d_forward_workspace(&p, t, threads))
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *wp = np.PyArray_DATA(<np.ndarray> weight)
    cdef void *bp = NULL if bias is None else np.PyArray_DATA(<np.ndarray> bias)
    cdef void *yp = np.PyArray_DATA(y)
    with nogil:
        fc_conv2d_forward(&p, t, xp, wp, bp, yp, w, threads)
    fc_free(w)
    return y


def quick_conv2d_pooled(x, weight, bias, stride, padding, dilation, groups, bint relu, bint want_winners):
    """conv2d, max pooling of 2x2 and perhaps relu in one call: (y, winners or None, shape of conv2d's result)."""
    cdef fc_conv2d p
    cdef np.npy_intp dims[4]
    cdef fc_epilogue e
    if not read_conv2d(x, weight, stride, padding, dilation, groups, &p, dims) or not is_bias(
            bias, <np.ndarray> x, p.K):
        return None
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x), num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    e.pool, e.relu, e.winners = 1, relu, NULL
    cdef size_t size = fc_conv2d_fused_workspace(&p, &e, t, threads)
    if size == 0:
        return None
    cdef tuple before = (p.N, p.K, p.OH, p.OW)[4 - ndim:]
    dims[2], dims[3] = p.OH // 2, p.OW // 2
    cdef np.ndarray y = new_array(ndim, dims + (4 - ndim), num)
    cdef np.ndarray winners = new_array(ndim, dims + (4 - ndim), np.NPY_UINT8) if want_winners else None
    cdef void *w = scratch(size)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *wp = np.PyArray_DATA(<np.ndarray> weight)
    cdef void *bp = NULL if bias is None else np.PyArray_DATA(<np.ndarray> bias)
    cdef void *yp = np.PyArray_DATA(y)
    cdef int done
    if want_winners:
        e.winners = <uint8_t *> np.PyArray_DATA(winners)
    with nogil:
        done = fc_conv2d_fused(&p, &e, t, xp, wp, bp, yp, w, threads)
    fc_free(w)
    return (y, winners, before) if done else None


cdef bint read_pooled(object grad_y, object y, object winners, np.npy_intp *before) noexcept:
    """Whether these are what comes back to conv2d, 2x2 max pool and perhaps relu; before: shape of conv2d's result."""
    cdef np.npy_intp pooled[4]
    cdef int i
    for i in range(4):
        pooled[i] = before[i]
        if before[i] < 1:
            return False
    pooled[2], pooled[3] = before[2] // 2, before[3] // 2
    if not is_plain(grad_y) or not has_shape(<np.ndarray> grad_y, 4, pooled):
        return False
    if y is not None and (not is_plain_like(y, <np.ndarray> grad_y) or not has_shape(<np.ndarray> y, 4, pooled)):
        return False
    return np.PyArray_CheckExact(winners) and np.PyArray_ISCARRAY_RO(<np.ndarray> winners) and np.PyArray_TYPE(
        <np.ndarray> winners) == np.NPY_UINT8 and has_shape(<np.ndarray> winners, 4, pooled)


def quick_conv2d_pooled_grad(grad_y, y, winners, tuple before, bint want_bias):
    """Back through quick_conv2d_pooled as far as conv2d's result: (its gradient, grad_bias or None).

    y is the result with relu, or None without; before, the shape of conv2d's result.
    """
    cdef fc_conv2d p
    cdef np.npy_intp dims[4]
    cdef int i
    if len(before) != 4:
        return None
    for i in range(4):
        dims[i] = before[i]
    if not read_pooled(grad_y, y, winners, dims):
        return None
    p.N, p.K, p.OH, p.OW = dims[0], dims[1], dims[2], dims[3]
    cdef int num = np.PyArray_TYPE(<np.ndarray> grad_y), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef np.ndarray grad = new_array(4, dims, num)
    cdef np.ndarray grad_bias = new_array(1, dims + 1, num) if want_bias else None
    cdef void *w = scratch(fc_conv2d_pooled_grad_workspace(&p, t, threads))
    cdef void *gyp = np.PyArray_DATA(<np.ndarray> grad_y)
    cdef void *yp = NULL if y is None else np.PyArray_DATA(<np.ndarray> y)
    cdef uint8_t *wp = <uint8_t *> np.PyArray_DATA(<np.ndarray> winners)
    cdef void *gp = np.PyArray_DATA(grad)
    cdef void *bp = np.PyArray_DATA(grad_bias) if want_bias else NULL
    with nogil:
        fc_conv2d_pooled_grad(&p, t, gyp, yp, wp, gp, bp, w, threads)
    fc_free(w)
    return grad, grad_bias


def quick_conv2d_pooled_backward(grad_y, y, winners, tuple before, x, weight, stride, padding, dilation, groups,
                                 bint want_x, bint want_bias):
    """All the way back through quick_conv2d_pooled, where conv2d's own gradient need not be written down.

    (grad_x or None, grad_weight, grad_bias or None); y and before as in quick_conv2d_pooled_grad.
    """
    cdef fc_conv2d p
    cdef np.npy_intp dims[4]
    cdef int i
    if not read_conv2d(x, weight, stride, padding, dilation, groups, &p, dims) or len(before) != 4:
        return None
    for i in range(4):
        if <np.npy_intp> before[i] != dims[i]:
            return None
    if np.PyArray_NDIM(<np.ndarray> x) != 4 or not is_plain_like(grad_y, <np.ndarray> x) or not read_pooled(
            grad_y, y, winners, dims):
        return None
    cdef int num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef size_t size = fc_conv2d_pooled_backward_workspace(&p, t, want_x, threads)
    if size == 0:
        return None
    cdef np.ndarray grad_x = new_like(<np.ndarray> x) if want_x else None
    cdef np.ndarray grad_weight = new_like(<np.ndarray> weight)
    cdef np.ndarray grad_bias = new_array(1, dims + 1, num) if want_bias else None
    cdef void *w = scratch(size)
    cdef void *gyp = np.PyArray_DATA(<np.ndarray> grad_y)
    cdef void *yp = NULL if y is None else np.PyArray_DATA(<np.ndarray> y)
    cdef uint8_t *winp = <uint8_t *> np.PyArray_DATA(<np.ndarray> winners)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *wp = np.PyArray_DATA(<np.ndarray> weight)
    cdef void *gxp = np.PyArray_DATA(grad_x) if want_x else NULL
    cdef void *gwp = np.PyArray_DATA(grad_weight)
    cdef void *gbp = np.PyArray_DATA(grad_bias) if want_bias else NULL
    cdef int done
    with nogil:
        done = fc_conv2d_pooled_backward(&p, t, gyp, yp, winp, xp, wp, gxp, gwp, gbp, w, threads)
    fc_free(w)
    return (grad_x, grad_weight, grad_bias) if done else None


def quick_conv2d_backward(grad_y, x, weight, stride, padding, dilation, groups, need):
    cdef fc_conv2d p
    cdef np.npy_intp dims[4]
    cdef bint wants[3]
    if not read_conv2d(x, weight, stride, padding, dilation, groups, &p, dims) or not is_plain_like(
            grad_y, <np.ndarray> x) or not read_need(need, wants):
        return None
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x), num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    if not has_shape(<np.ndarray> grad_y, ndim, dims + (4 - ndim)):
        return None
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef void *gp = np.PyArray_DATA(<np.ndarray> grad_y)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *wp = np.PyArray_DATA(<np.ndarray> weight)
    cdef object grad_x = None, grad_weight = None, grad_bias = None
    cdef void *gxp = NULL
    cdef void *gwp = NULL
    cdef void *gbp = NULL
    cdef size_t size = 0, more
    if wants[0]:
        grad_x = new_like(<np.ndarray> x)
        gxp = np.PyArray_DATA(<np.ndarray> grad_x)
        size = fc_conv2d_grad_x_workspace(&p, t, threads)
    if wants[1]:
        grad_weight = new_like(<np.ndarray> weight)
        gwp = np.PyArray_DATA(<np.ndarray> grad_weight)
        more = fc_conv2d_grad_weight_workspace(&p, t, threads)
        size = more if more > size else size
    if wants[2]:
        grad_bias = new_array(1, np.PyArray_DIMS(<np.ndarray> weight), num)
        gbp = np.PyArray_DATA(<np.ndarray> grad_bias)
    cdef void *w = scratch(size)
    with nogil:
        if gxp != NULL:
            fc_conv2d_grad_x(&p, t, gp, wp, gxp, w, threads)
        if gwp != NULL:
            fc_conv2d_grad_weight(&p, t, gp, xp, gwp, w, threads)
        if gbp != NULL:
            fc_conv2d_grad_bias(&p, t, gp, gbp, threads)
    fc_free(w)
    return grad_x, grad_weight, grad_bias


# -- pooling ---------------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t pool_extent(ptrdiff_t extent, ptrdiff_t window, ptrdiff_t stride, ptrdiff_t pad) noexcept:
    return (extent + 2 * pad - window) // stride + 1 if window <= extent + 2 * pad else 0


cdef bint read_pool2d(object x, object kernel_size, object stride, object padding, fc_pool2d *p,
                      np.npy_intp *y_dims) noexcept:
    """As read_conv2d, for a pool without dilation and ceil_mode, whose windows are of at most 256 taps."""
    if not is_plain(x):
        return False
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x)
    if ndim != 4 and ndim != 3:
        return False
    cdef np.npy_intp *dims = np.PyArray_DIMS(<np.ndarray> x) + (ndim - 3)
    p.N = np.PyArray_DIM(<np.ndarray> x, 0) if ndim == 4 else 1
    p.C, p.H, p.W = dims[0], dims[1], dims[2]
    if not (read_pair(kernel_size, 1, &p.kernel_h, &p.kernel_w)
            and read_pair(kernel_size if stride is None else stride, 1, &p.stride_h, &p.stride_w)
            and read_pair(padding, 0, &p.pad_h, &p.pad_w)):
        return False
    if p.N < 1 or p.C < 1 or p.H < 1 or p.W < 1 or p.kernel_h * p.kernel_w > 256:
        return False
    if p.pad_h > p.kernel_h // 2 or p.pad_w > p.kernel_w // 2:
        return False
    p.dilation_h = p.dilation_w = 1
    p.OH = pool_extent(p.H, p.kernel_h, p.stride_h, p.pad_h)
    p.OW = pool_extent(p.W, p.kernel_w, p.stride_w, p.pad_w)
    if p.OH < 1 or p.OW < 1:
        return False
    p.stride_h, p.stride_w = min(p.stride_h, p.H + 2 * p.pad_h), min(p.stride_w, p.W + 2 * p.pad_w)
    y_dims[0], y_dims[1], y_dims[2], y_dims[3] = p.N, p.C, p.OH, p.OW
    return <double> p.N * p.C * p.OH * p.OW <= QUICK_ELEMENTS


def quick_max_pool2d(x, kernel_size, stride, padding, bint want_winners, bint want_indices=False):
    """y, or (y, winners), or (y, indices)"""
    cdef fc_pool2d p
    cdef np.npy_intp dims[4]
    if not read_pool2d(x, kernel_size, stride, padding, &p, dims):
        return None
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x), num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef np.ndarray y = new_array(ndim, dims + (4 - ndim), num)
    cdef np.ndarray winners = new_array(ndim, dims + (4 - ndim), np.NPY_UINT8) if want_winners else None
    cdef np.ndarray indices = new_array(ndim, dims + (4 - ndim), np.NPY_INT64) if want_indices else None
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *yp = np.PyArray_DATA(y)
    cdef uint8_t *wp = <uint8_t *> np.PyArray_DATA(winners) if want_winners else NULL
    cdef int64_t *ip = <int64_t *> np.PyArray_DATA(indices) if want_indices else NULL
    with nogil:
        fc_max_pool2d_forward(&p, t, xp, yp, wp, ip, threads)
    return (y, winners) if want_winners else (y, indices) if want_indices else y


def quick_max_pool2d_backward(grad_y, indices, input_shape):
    cdef np.npy_intp dims[4]
    cdef int i, ndim, status
    if not is_plain(grad_y) or not PyTuple_CheckExact(input_shape):
        return None
    ndim = np.PyArray_NDIM(<np.ndarray> grad_y)
    if (ndim != 4 and ndim != 3) or PyTuple_GET_SIZE(input_shape) != ndim:
        return None
    cdef np.npy_intp *y_dims = np.PyArray_DIMS(<np.ndarray> grad_y)
    cdef ptrdiff_t extent, planes = 1, elements = 1
    for i in range(ndim):
        if not read_size(<object> PyTuple_GET_ITEM(input_shape, i), 1, &extent) or elements * extent > QUICK_ELEMENTS:
            return None
        dims[i] = extent
        elements *= extent
        if i < ndim - 2:
            planes *= extent
            if y_dims[i] != extent:
                return None
    if not np.PyArray_CheckExact(indices) or not np.PyArray_ISCARRAY_RO(<np.ndarray> indices) or np.PyArray_TYPE(
            <np.ndarray> indices) != np.NPY_INT64 or not has_shape(<np.ndarray> indices, ndim, y_dims):
        return None
    cdef int num = np.PyArray_TYPE(<np.ndarray> grad_y), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef np.ndarray grad_x = new_array(ndim, dims, num)
    cdef void *gp = np.PyArray_DATA(<np.ndarray> grad_y)
    cdef int64_t *ip = <int64_t *> np.PyArray_DATA(<np.ndarray> indices)
    cdef void *op = np.PyArray_DATA(grad_x)
    cdef ptrdiff_t n = y_dims[ndim - 2] * y_dims[ndim - 1], m = dims[ndim - 2] * dims[ndim - 1]
    with nogil:
        status = fc_max_pool2d_backward(t, gp, ip, op, planes, n, m, threads)
    return grad_x if status == 0 else None


def quick_avg_pool2d(x, kernel_size, stride, padding):
    cdef fc_pool2d p
    cdef np.npy_intp dims[4]
    if not read_pool2d(x, kernel_size, stride, padding, &p, dims):
        return None
    cdef int ndim = np.PyArray_NDIM(<np.ndarray> x), num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef np.ndarray y = new_array(ndim, dims + (4 - ndim), num)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *yp = np.PyArray_DATA(y)
    with nogil:
        fc_avg_pool2d_forward(&p, t, xp, yp, 1, 0, threads)
    return y


# -- linear ----------------------------------------------------------------------------------------------------------

cdef inline bint read_linear(object x, object weight, np.npy_intp *rows) noexcept:
    """x (M, I) and weight (O, I)"""
    if not is_plain(x) or not is_plain_like(weight, <np.ndarray> x):
        return False
    if np.PyArray_NDIM(<np.ndarray> x) != 2 or np.PyArray_NDIM(<np.ndarray> weight) != 2:
        return False
    if np.PyArray_DIM(<np.ndarray> x, 1) != np.PyArray_DIM(<np.ndarray> weight, 1):
        return False
    rows[0], rows[1] = np.PyArray_DIM(<np.ndarray> x, 0), np.PyArray_DIM(<np.ndarray> weight, 0)
    return <double> rows[0] * rows[1] <= QUICK_ELEMENTS


def quick_linear(x, weight, bias):
    cdef np.npy_intp dims[2]
    if not read_linear(x, weight, dims) or not is_bias(bias, <np.ndarray> x, dims[1]):
        return None
    cdef int num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef ptrdiff_t inputs = np.PyArray_DIM(<np.ndarray> x, 1)
    cdef np.ndarray y = new_array(2, dims, num)
    cdef void *w = scratch(fc_linear_workspace(t, dims[0], inputs, dims[1], threads))
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *wp = np.PyArray_DATA(<np.ndarray> weight)
    cdef void *bp = NULL if bias is None else np.PyArray_DATA(<np.ndarray> bias)
    cdef void *yp = np.PyArray_DATA(y)
    with nogil:
        fc_linear_forward(t, xp, wp, bp, yp, dims[0], inputs, dims[1], w, threads)
    fc_free(w)
    return y


def quick_linear_backward(grad_y, x, weight, need):
    cdef np.npy_intp dims[2]
    cdef bint wants[3]
    if not read_linear(x, weight, dims) or not is_plain_like(grad_y, <np.ndarray> x) or not has_shape(
            <np.ndarray> grad_y, 2, dims) or not read_need(need, wants):
        return None
    cdef int num = np.PyArray_TYPE(<np.ndarray> x), threads = _threads
    cdef fc_dtype t = FC_F32 if num == np.NPY_FLOAT else FC_F64
    cdef ptrdiff_t rows = dims[0], outputs = dims[1], inputs = np.PyArray_DIM(<np.ndarray> x, 1)
    cdef void *gp = np.PyArray_DATA(<np.ndarray> grad_y)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *wp = np.PyArray_DATA(<np.ndarray> weight)
    cdef np.ndarray grad_x = new_like(<np.ndarray> x) if wants[0] else None
    cdef np.ndarray grad_weight = new_like(<np.ndarray> weight) if wants[1] else None
    cdef np.ndarray grad_bias = new_array(1, dims + 1, num) if wants[2] else None
    cdef void *gxp = np.PyArray_DATA(grad_x) if wants[0] else NULL
    cdef void *gwp = np.PyArray_DATA(grad_weight) if wants[1] else NULL
    cdef void *gbp = np.PyArray_DATA(grad_bias) if wants[2] else NULL
    cdef void *w = scratch(fc_linear_workspace(t, rows, inputs, outputs, threads))
    with nogil:
        if gxp != NULL:
            fc_linear_grad_x(t, gp, wp, gxp, rows, inputs, outputs, w, threads)
        if gwp != NULL:
            fc_linear_grad_weight(t, gp, xp, gwp, rows, inputs, outputs, w, threads)
        if gbp != NULL:
            fc_linear_grad_bias(t, gp, gbp, rows, outputs, threads)
    fc_free(w)
    return grad_x, grad_weight, grad_bias


# -- element by element ----------------------------------------------------------------------------------------------

cdef quick_one_to_one(one_to_one function, x):
    if not is_plain(x):
        return None
    cdef np.ndarray y = new_like(<np.ndarray> x)
    cdef fc_dtype t = FC_F32 if np.PyArray_TYPE(y) == np.NPY_FLOAT else FC_F64
    cdef int threads = _threads
    cdef ptrdiff_t n = np.PyArray_SIZE(y)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *yp = np.PyArray_DATA(y)
    with nogil:
        function(t, xp, yp, n, threads)
    return y


cdef quick_two_to_one(two_to_one function, grad_y, x):
    if not is_plain(x) or not is_plain_like(grad_y, <np.ndarray> x):
        return None
    if not has_shape(<np.ndarray> grad_y, np.PyArray_NDIM(<np.ndarray> x), np.PyArray_DIMS(<np.ndarray> x)):
        return None
    cdef np.ndarray grad_x = new_like(<np.ndarray> x)
    cdef fc_dtype t = FC_F32 if np.PyArray_TYPE(grad_x) == np.NPY_FLOAT else FC_F64
    cdef int threads = _threads
    cdef ptrdiff_t n = np.PyArray_SIZE(grad_x)
    cdef void *gp = np.PyArray_DATA(<np.ndarray> grad_y)
    cdef void *xp = np.PyArray_DATA(<np.ndarray> x)
    cdef void *op = np.PyArray_DATA(grad_x)
    with nogil:
        function(t, gp, xp, op, n, threads)
    return grad_x


def quick_relu(x):
    return quick_one_to_one(fc_relu_forward, x)


def quick_relu_backward(grad_y, x):
    return quick_two_to_one(fc_relu_backward, grad_y, x)


def quick_sigmoid(x):
    return quick_one_to_one(fc_sigmoid_forward, x)


def quick_sigmoid_backward(grad_y, y):
    return quick_two_to_one(fc_sigmoid_backward, grad_y, y)


def quick_tanh(x):
    return quick_one_to_one(fc_tanh_forward, x)


def quick_tanh_backward(grad_y, y):
    return quick_two_to_one(fc_tanh_backward, grad_y, y)
