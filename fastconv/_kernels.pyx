# cython: boundscheck=False, wraparound=False, embedsignature=True
"""The compiled module: a thin function per entry point of csrc/fastconv.h, and NumPy arrays backed by its memory cache.

Nothing here checks shapes or decides anything: fastconv.ops validates first.  What it does check is what would corrupt
memory if a caller inside the package were wrong: that arrays are C-contiguous and of one dtype.  The exception is
_quick.pxi, which recognises common calls and takes them past the validation.
"""

import os

cimport cython
cimport numpy as np
from cpython.mem cimport PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t, uint64_t

import numpy as np

np.import_array()


cdef extern from "omp.h" nogil:
    int omp_get_max_threads()

cdef extern from *:
    """
    #include <omp.h>
    /* OpenMP 5.0; GCC has had it since version 9, before it called itself 5.0. */
    #if _OPENMP >= 201811 || (defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9)
    static int fc_pause(void) { return omp_pause_resource_all(omp_pause_hard); }
    #else
    static int fc_pause(void) { return -1; }
    #endif
    static int fc_openmp(void) { return _OPENMP; }
    """
    int fc_pause() nogil
    int fc_openmp()

cdef extern from "memory.h" nogil:
    void *fc_alloc(size_t)
    void *fc_alloc_zeroed(size_t)
    void *fc_realloc(void *, size_t)
    void fc_free(void *)
    size_t fc_memory_cached()
    size_t fc_memory_limit()
    void fc_memory_set_limit(size_t)
    size_t fc_memory_release()
    long fc_memory_fail(long)

cdef extern from "dispatch.h" nogil:
    ctypedef struct fc_kernel_table:
        const char *isa
    ctypedef struct fc_cpu:
        unsigned int sse2, avx2, fma, avx512f, avx512dq, avx512bw, avx512vl, neon, os_ymm, os_zmm
        long l1d, l2, l3
        const char *vendor
        const char *brand
    const fc_cpu *fc_cpu_info()
    const fc_kernel_table *fc_table(int)
    int fc_table_supported(const fc_kernel_table *)
    const fc_kernel_table *fc_active
    int fc_select(const char *)
    void fc_select_best()

cdef extern from "fastconv.h" nogil:
    ctypedef enum fc_dtype:
        FC_F32
        FC_F64
    ctypedef struct fc_conv2d:
        ptrdiff_t N, C, H, W, K, R, S, OH, OW
        ptrdiff_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
        int precision
    ctypedef struct fc_pool2d:
        ptrdiff_t N, C, H, W, OH, OW
        ptrdiff_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w

    size_t fc_conv2d_forward_workspace(const fc_conv2d *, fc_dtype, int)
    void fc_conv2d_forward(const fc_conv2d *, fc_dtype, void *x, void *weight, void *bias, void *y, void *workspace,
                           int)
    ctypedef enum fc_algorithm:
        pass
    ctypedef enum fc_pass:
        pass
    ctypedef struct fc_explanation:
        fc_algorithm algorithm
        int winograd
        ptrdiff_t tile[2]
        size_t workspace
        int sparse
    void fc_conv2d_explain(const fc_conv2d *, fc_dtype, fc_pass, int, fc_explanation *)
    ctypedef struct fc_epilogue:
        int pool, relu
        uint8_t *winners
    size_t fc_conv2d_fused_workspace(const fc_conv2d *, const fc_epilogue *, fc_dtype, int)
    int fc_conv2d_fused(const fc_conv2d *, const fc_epilogue *, fc_dtype, void *x, void *weight, void *bias, void *y,
                        void *workspace, int)
    size_t fc_conv2d_pooled_grad_workspace(const fc_conv2d *, fc_dtype, int)
    void fc_conv2d_pooled_grad(const fc_conv2d *, fc_dtype, void *grad_y, void *y, uint8_t *winners, void *grad,
                               void *grad_bias, void *workspace, int)
    size_t fc_conv2d_pooled_backward_workspace(const fc_conv2d *, fc_dtype, int want_grad_x, int)
    int fc_conv2d_pooled_backward(const fc_conv2d *, fc_dtype, void *grad_y, void *y, uint8_t *winners, void *x,
                                  void *weight, void *grad_x, void *grad_weight, void *grad_bias, void *workspace, int)
    size_t fc_conv2d_grad_x_workspace(const fc_conv2d *, fc_dtype, int)
    void fc_conv2d_grad_x(const fc_conv2d *, fc_dtype, void *grad_y, void *weight, void *grad_x, void *workspace, int)
    size_t fc_conv2d_grad_weight_workspace(const fc_conv2d *, fc_dtype, int)
    void fc_conv2d_grad_weight(const fc_conv2d *, fc_dtype, void *grad_y, void *x, void *grad_weight,
                               void *workspace, int)
    void fc_conv2d_grad_bias(const fc_conv2d *, fc_dtype, void *grad_y, void *grad_bias, int)

    size_t fc_conv_transpose2d_forward_workspace(const fc_conv2d *, fc_dtype, int)
    void fc_conv_transpose2d_forward(const fc_conv2d *, fc_dtype, void *x, void *weight, void *bias, void *y,
                                     void *workspace, int)
    void fc_conv_transpose2d_grad_bias(const fc_conv2d *, fc_dtype, void *grad_y, void *grad_bias, int)

    void fc_max_pool2d_forward(const fc_pool2d *, fc_dtype, void *x, void *y, uint8_t *winners, int64_t *indices, int)
    void fc_max_pool2d_backward_winners(const fc_pool2d *, fc_dtype, void *grad_y, uint8_t *winners, void *grad_x,
                                        int)
    int fc_max_pool2d_backward(fc_dtype, void *grad_y, int64_t *indices, void *grad_x, ptrdiff_t planes, ptrdiff_t n,
                               ptrdiff_t m, int)
    void fc_avg_pool2d_forward(const fc_pool2d *, fc_dtype, void *x, void *y, int count_include_pad,
                               ptrdiff_t divisor, int)
    void fc_avg_pool2d_backward(const fc_pool2d *, fc_dtype, void *grad_y, void *grad_x, int count_include_pad,
                                ptrdiff_t divisor, int)

    void fc_unfold(const fc_pool2d *, fc_dtype, void *x, void *y, int)
    void fc_fold(const fc_pool2d *, fc_dtype, void *y, void *x, int)
    void fc_adaptive_avg_pool2d_forward(const fc_pool2d *, fc_dtype, void *x, void *y, int)
    void fc_adaptive_avg_pool2d_backward(const fc_pool2d *, fc_dtype, void *grad_y, void *grad_x, int)
    ctypedef struct fc_batch_norm:
        ptrdiff_t N, C, L
        double eps, momentum
    size_t fc_batch_norm_workspace(const fc_batch_norm *, fc_dtype)
    void fc_batch_norm_forward(const fc_batch_norm *, fc_dtype, int training, void *x, void *weight, void *bias,
                               void *running_mean, void *running_var, void *y, double *mean, double *inv_std,
                               void *new_mean, void *new_var, void *workspace, int)
    void fc_batch_norm_backward(const fc_batch_norm *, fc_dtype, int training, void *grad_y, void *x, void *weight,
                                double *mean, double *inv_std, void *grad_x, void *grad_weight, void *grad_bias,
                                void *workspace, int)

    size_t fc_linear_workspace(fc_dtype, ptrdiff_t M, ptrdiff_t I, ptrdiff_t O, int)
    void fc_linear_forward(fc_dtype, void *x, void *weight, void *bias, void *y, ptrdiff_t M, ptrdiff_t I,
                           ptrdiff_t O,
                           void *workspace, int)
    void fc_linear_grad_x(fc_dtype, void *grad_y, void *weight, void *grad_x, ptrdiff_t M, ptrdiff_t I, ptrdiff_t O,
                          void *workspace, int)
    void fc_linear_grad_weight(fc_dtype, void *grad_y, void *x, void *grad_weight, ptrdiff_t M, ptrdiff_t I,
                               ptrdiff_t O,
                               void *workspace, int)
    void fc_linear_grad_bias(fc_dtype, void *grad_y, void *grad_bias, ptrdiff_t M, ptrdiff_t O, int)

    void fc_relu_forward(fc_dtype, const void *x, void *y, ptrdiff_t n, int)
    void fc_relu_backward(fc_dtype, const void *grad_y, const void *x, void *grad_x, ptrdiff_t n, int)
    void fc_sigmoid_forward(fc_dtype, const void *x, void *y, ptrdiff_t n, int)
    void fc_sigmoid_backward(fc_dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t n, int)
    void fc_tanh_forward(fc_dtype, const void *x, void *y, ptrdiff_t n, int)
    void fc_tanh_backward(fc_dtype, const void *grad_y, const void *y, void *grad_x, ptrdiff_t n, int)
    void fc_leaky_relu_forward(fc_dtype, void *x, void *y, ptrdiff_t n, double slope, int)
    void fc_leaky_relu_backward(fc_dtype, void *grad_y, void *x, void *grad_x, ptrdiff_t n, double slope, int)
    void fc_dropout_forward(fc_dtype, void *x, void *y, uint8_t *mask, double p, uint64_t seed, ptrdiff_t units,
                            ptrdiff_t unit, int)
    void fc_dropout_backward(fc_dtype, void *grad_y, uint8_t *mask, void *grad_x, double p, ptrdiff_t units,
                             ptrdiff_t unit, int)
    void fc_softmax_forward(fc_dtype, void *x, void *y, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int log, int)
    void fc_softmax_backward(fc_dtype, void *grad_y, void *y, void *grad_x, ptrdiff_t images, ptrdiff_t n,
                             ptrdiff_t inner, int log, int)
    void fc_cross_entropy_forward(fc_dtype, void *x, int64_t *target, void *weight, int64_t ignore_index,
                                  double label_smoothing, void *losses, ptrdiff_t images, ptrdiff_t n,
                                  ptrdiff_t inner, int)
    void fc_cross_entropy_backward(fc_dtype, void *scale, void *x, int64_t *target, void *weight,
                                   int64_t ignore_index, double label_smoothing, void *grad_x, ptrdiff_t images,
                                   ptrdiff_t n, ptrdiff_t inner, int)
    void fc_soft_cross_entropy_forward(fc_dtype, void *x, void *target, void *weight, double label_smoothing,
                                       void *losses, ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int)
    void fc_soft_cross_entropy_backward(fc_dtype, void *scale, void *x, void *target, void *weight,
                                        double label_smoothing, void *grad_x, ptrdiff_t images, ptrdiff_t n,
                                        ptrdiff_t inner, int)
    void fc_nll_forward(fc_dtype, void *x, int64_t *target, void *weight, int64_t ignore_index, void *losses,
                        ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int)
    void fc_nll_backward(fc_dtype, void *scale, int64_t *target, void *weight, int64_t ignore_index, void *grad_x,
                         ptrdiff_t images, ptrdiff_t n, ptrdiff_t inner, int)
    int fc_targets_within(int64_t *target, ptrdiff_t n, int64_t classes, int64_t ignore_index)
    double fc_total(fc_dtype, void *x, ptrdiff_t n)
    double fc_counted(fc_dtype, int64_t *target, void *weight, int64_t ignore_index, ptrdiff_t n)
    double fc_squared_error_sum(fc_dtype, void *x, void *target, ptrdiff_t n, int)
    void fc_squared_errors(fc_dtype, void *x, void *target, void *y, ptrdiff_t n, int)
    void fc_squared_error_backward(fc_dtype, void *grad_y, void *x, void *target, double factor, void *grad_x,
                                   ptrdiff_t n, int)

    void fc_sgd_step(fc_dtype, void *param, void *grad, void *velocity, ptrdiff_t n, double lr, double momentum,
                     double dampening, double weight_decay, int nesterov, int maximize, int first, int)
    void fc_adam_step(fc_dtype, void *param, void *grad, void *exp_avg, void *exp_avg_sq, void *max_exp_avg_sq,
                      ptrdiff_t n, double lr, double beta1, double beta2, double eps, double weight_decay,
                      int decoupled, int maximize, int64_t step, int)

    void fc_gather_images(fc_dtype, uint8_t *images, int64_t *index, void *out, ptrdiff_t rows, ptrdiff_t d,
                          double scale,
                          double offset, int)


# What computes one array from one, or from two, element by element.
ctypedef void (*one_to_one)(fc_dtype, const void *x, void *y, ptrdiff_t n, int) noexcept nogil
ctypedef void (*two_to_one)(fc_dtype, const void *grad_y, const void *x, void *grad_x, ptrdiff_t n, int) noexcept nogil


# -- memory ----------------------------------------------------------------------------------------------------------
# NumPy asks a "data memory handler" (NEP 49) for the storage of an array and remembers it in the array.  Ours is
# current only while `empty` makes an array: results are ordinary arrays that own their data, and no others change.

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept nogil
        void *(*calloc)(void *, size_t, size_t) noexcept nogil
        void *(*realloc)(void *, void *, size_t) noexcept nogil
        void (*free)(void *, void *, size_t) noexcept nogil
    ctypedef struct PyDataMem_Handler:
        char name[127]
        uint8_t version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object)


cdef void *_malloc(void *ctx, size_t size) noexcept nogil:
    return fc_alloc(size)

cdef void *_calloc(void *ctx, size_t count, size_t size) noexcept nogil:
    if size != 0 and count > (<size_t>-1) // size:
        return NULL
    return fc_alloc_zeroed(count * size)

cdef void *_realloc(void *ctx, void *block, size_t size) noexcept nogil:
    return fc_realloc(block, size)

cdef void _free(void *ctx, void *block, size_t size) noexcept nogil:
    fc_free(block)


cdef object _make_handler():
    # Lives as long as the process: arrays hold on to it.
    cdef PyDataMem_Handler *handler = <PyDataMem_Handler *> PyMem_Malloc(sizeof(PyDataMem_Handler))
    if handler == NULL:
        raise MemoryError()
    cdef bytes name = b"fastconv_cache"
    cdef int i
    for i in range(127):
        handler.name[i] = name[i] if i < len(name) else 0
    handler.version = 1
    handler.allocator.ctx = NULL
    handler.allocator.malloc = _malloc
    handler.allocator.calloc = _calloc
    handler.allocator.realloc = _realloc
    handler.allocator.free = _free
    return PyCapsule_New(handler, "mem_handler", NULL)

cdef object _handler = _make_handler()


def empty(tuple shape, dtype):
    cdef np.npy_intp dims[64]
    cdef int ndim = len(shape)
    cdef int i
    if ndim > 64:
        raise ValueError(f"empty: at most 64 dimensions, got {ndim}")
    for i in range(ndim):
        dims[i] = shape[i]
    cdef np.dtype descr = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
    cdef object before = PyDataMem_SetHandler(_handler)
    try:
        return np.PyArray_EMPTY(ndim, dims, descr.num, 0)
    finally:
        PyDataMem_SetHandler(before)


def memory_cached():
    return fc_memory_cached()


def memory_limit():
    return fc_memory_limit()


def set_memory_limit(size_t limit):
    fc_memory_set_limit(limit)


def memory_release():
    return fc_memory_release()


def fail_allocation(long n):
    return fc_memory_fail(n)


@cython.final
cdef class _Workspace:
    """Scratch memory for one call, given back when the object goes."""
    cdef void *data

    def __dealloc__(self):
        fc_free(self.data)

cdef _Workspace workspace(size_t size):
    cdef _Workspace w = _Workspace.__new__(_Workspace)
    if size:
        w.data = fc_alloc(size)
        if w.data == NULL:
            raise MemoryError(f"fastconv: no memory for a workspace of {size} bytes")
    return w


# -- instruction sets ------------------------------------------------------------------------------------------------

def cpu_info():
    cdef const fc_cpu *cpu = fc_cpu_info()
    names = {
        "sse2": cpu.sse2, "avx2": cpu.avx2, "fma": cpu.fma, "avx512f": cpu.avx512f, "avx512dq": cpu.avx512dq,
        "avx512bw": cpu.avx512bw, "avx512vl": cpu.avx512vl, "neon": cpu.neon,
    }
    return {
        "vendor": cpu.vendor.decode("ascii", "replace").strip("\0 "),
        "model": cpu.brand.decode("ascii", "replace").strip("\0 "),
        "features": [name for name, present in names.items() if present],
        "os_saves_ymm": bool(cpu.os_ymm),
        "os_saves_zmm": bool(cpu.os_zmm),
        "l1d_bytes": cpu.l1d,
        "l2_bytes": cpu.l2,
        "l3_bytes": cpu.l3,
    }


def compiled_isas():
    cdef list names = []
    cdef int i = 0
    while fc_table(i) != NULL:
        names.append(fc_table(i).isa.decode())
        i += 1
    return names


def available_isas():
    cdef list names = []
    cdef int i = 0
    while fc_table(i) != NULL:
        if fc_table_supported(fc_table(i)):
            names.append(fc_table(i).isa.decode())
        i += 1
    return names


def active_isa():
    return fc_active.isa.decode()


def select_isa(str name):
    cdef int status = fc_select(name.encode())
    if status == -1:
        raise ValueError(f"unknown instruction set {name!r}; this build knows {', '.join(compiled_isas())}")
    if status == -2:
        raise ValueError(
            f"instruction set {name!r} is not supported by this machine; it has {', '.join(available_isas())}"
        )


def openmp_max_threads():
    return omp_get_max_threads()


def openmp_version():
    return fc_openmp()


def openmp_pause():
    return fc_pause()


cdef _choose_isa():
    wanted = os.environ.get("FASTCONV_ISA", "")
    if not wanted:
        fc_select_best()
        return
    try:
        select_isa(wanted)
    except ValueError as error:
        raise ImportError(f"FASTCONV_ISA: {error}") from None

_choose_isa()


# -- arrays as pointers ----------------------------------------------------------------------------------------------

cdef fc_dtype dtype_of(np.ndarray a) except *:
    cdef int num = np.PyArray_TYPE(a)
    if num == np.NPY_FLOAT:
        return FC_F32
    if num == np.NPY_DOUBLE:
        return FC_F64
    raise TypeError(f"kernels take float32 or float64, got {a.dtype}")

cdef void *floats(np.ndarray a, fc_dtype dtype) except? NULL:
    if not np.PyArray_IS_C_CONTIGUOUS(a) or not np.PyArray_ISALIGNED(a):
        raise ValueError("kernels take C-contiguous, aligned arrays")
    if dtype_of(a) != dtype:
        raise TypeError("kernels take arrays of one dtype a call")
    return np.PyArray_DATA(a)

cdef void *optional_floats(object a, fc_dtype dtype) except? NULL:
    return NULL if a is None else floats(a, dtype)

cdef void *typed(object a, int num) except? NULL:
    if a is None:
        return NULL
    if not isinstance(a, np.ndarray) or np.PyArray_TYPE(a) != num or not np.PyArray_IS_C_CONTIGUOUS(a):
        raise TypeError("kernels take C-contiguous arrays of the documented integer type")
    return np.PyArray_DATA(a)


include "_quick.pxi"


# -- convolution -----------------------------------------------------------------------------------------------------

cdef int float32_precision = 0


def set_precision(int level):
    """0 'highest', 1 'high', 2 'medium': what convolutions of float32 that begin from now on may do."""
    global float32_precision
    float32_precision = level


@cython.final
@cython.freelist(8)
cdef class Conv2dProblem:
    """The sizes of one convolution.  x (N, C, H, W); weight (K, C // groups, R, S); y (N, K, OH, OW)."""
    cdef fc_conv2d p

    def __init__(self, ptrdiff_t N, ptrdiff_t C, ptrdiff_t H, ptrdiff_t W, ptrdiff_t K, ptrdiff_t R, ptrdiff_t S,
                 ptrdiff_t OH, ptrdiff_t OW, ptrdiff_t stride_h, ptrdiff_t stride_w, ptrdiff_t pad_top,
                 ptrdiff_t pad_left, ptrdiff_t dilation_h, ptrdiff_t dilation_w, ptrdiff_t groups):
        self.p = fc_conv2d(N, C, H, W, K, R, S, OH, OW, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
                           groups, 0)

    cdef fc_conv2d now(self) noexcept:
        """The sizes with the precision of this moment: a problem may be kept for later calls."""
        cdef fc_conv2d p = self.p
        p.precision = float32_precision
        return p

    def __getattr__(self, name):
        cdef dict fields = self.p
        try:
            return fields[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self):
        cdef dict fields = self.p
        return f"Conv2dProblem({', '.join(f'{k}={v}' for k, v in fields.items())})"


# In the order of fc_algorithm.
ALGORITHMS = ("channels", "positions", "pointwise", "winograd", "depthwise", "phases", "tap_sums", "outer_taps",
              "outer_positions", "product")


def conv2d_explain(Conv2dProblem problem, bint single, int which, int threads):
    """How a pass is computed: forward (0), grad_x (1) or grad_weight (2); `single`: of float32.

    (algorithm, m of Winograd's F(m x m, 3x3) or 0, tile, bytes of workspace, whether sparse gradients go elsewhere)
    """
    cdef fc_conv2d p = problem.now()
    cdef fc_explanation e
    fc_conv2d_explain(&p, FC_F32 if single else FC_F64, <fc_pass> which, threads, &e)
    return ALGORITHMS[<int> e.algorithm], e.winograd, (e.tile[0], e.tile[1]), e.workspace, e.sparse != 0


def conv2d_forward(Conv2dProblem problem, np.ndarray x, np.ndarray weight, bias, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *wp = floats(weight, t)
    cdef void *bp = optional_floats(bias, t)
    cdef void *yp = floats(y, t)
    cdef fc_conv2d p = problem.now()
    cdef _Workspace w = workspace(fc_conv2d_forward_workspace(&p, t, threads))
    with nogil:
        fc_conv2d_forward(&p, t, xp, wp, bp, yp, w.data, threads)


def conv2d_grad_x(Conv2dProblem problem, np.ndarray grad_y, np.ndarray weight, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *wp = floats(weight, t)
    cdef void *op = floats(grad_x, t)
    cdef fc_conv2d p = problem.now()
    cdef _Workspace w = workspace(fc_conv2d_grad_x_workspace(&p, t, threads))
    with nogil:
        fc_conv2d_grad_x(&p, t, gp, wp, op, w.data, threads)


def conv2d_grad_weight(Conv2dProblem problem, np.ndarray grad_y, np.ndarray x, np.ndarray grad_weight, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *xp = floats(x, t)
    cdef void *op = floats(grad_weight, t)
    cdef fc_conv2d p = problem.now()
    cdef _Workspace w = workspace(fc_conv2d_grad_weight_workspace(&p, t, threads))
    with nogil:
        fc_conv2d_grad_weight(&p, t, gp, xp, op, w.data, threads)


def conv2d_grad_bias(Conv2dProblem problem, np.ndarray grad_y, np.ndarray grad_bias, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *op = floats(grad_bias, t)
    with nogil:
        fc_conv2d_grad_bias(&problem.p, t, gp, op, threads)


# Transposed: the problem is the convolution from y's shape to x's.

def conv_transpose2d_forward(Conv2dProblem problem, np.ndarray x, np.ndarray weight, bias, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *wp = floats(weight, t)
    cdef void *bp = optional_floats(bias, t)
    cdef void *yp = floats(y, t)
    cdef fc_conv2d p = problem.now()
    cdef _Workspace w = workspace(fc_conv_transpose2d_forward_workspace(&p, t, threads))
    with nogil:
        fc_conv_transpose2d_forward(&p, t, xp, wp, bp, yp, w.data, threads)


def conv_transpose2d_grad_bias(Conv2dProblem problem, np.ndarray grad_y, np.ndarray grad_bias, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *op = floats(grad_bias, t)
    with nogil:
        fc_conv_transpose2d_grad_bias(&problem.p, t, gp, op, threads)


# -- pooling ---------------------------------------------------------------------------------------------------------

@cython.final
@cython.freelist(8)
cdef class Pool2dProblem:
    """The sizes of one pooling.  x (N, C, H, W); y (N, C, OH, OW); padding the same on both sides of an axis."""
    cdef fc_pool2d p

    def __init__(self, ptrdiff_t N, ptrdiff_t C, ptrdiff_t H, ptrdiff_t W, ptrdiff_t OH, ptrdiff_t OW,
                 ptrdiff_t kernel_h, ptrdiff_t kernel_w, ptrdiff_t stride_h, ptrdiff_t stride_w, ptrdiff_t pad_h,
                 ptrdiff_t pad_w, ptrdiff_t dilation_h, ptrdiff_t dilation_w):
        self.p = fc_pool2d(N, C, H, W, OH, OW, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h,
                           dilation_w)

    def __getattr__(self, name):
        cdef dict fields = self.p
        try:
            return fields[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self):
        cdef dict fields = self.p
        return f"Pool2dProblem({', '.join(f'{k}={v}' for k, v in fields.items())})"


def max_pool2d_forward(Pool2dProblem problem, np.ndarray x, np.ndarray y, winners, indices, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    cdef uint8_t *wp = <uint8_t *> typed(winners, np.NPY_UINT8)
    cdef int64_t *ip = <int64_t *> typed(indices, np.NPY_INT64)
    with nogil:
        fc_max_pool2d_forward(&problem.p, t, xp, yp, wp, ip, threads)


def max_pool2d_backward_winners(Pool2dProblem problem, np.ndarray grad_y, winners, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef uint8_t *wp = <uint8_t *> typed(winners, np.NPY_UINT8)
    cdef void *op = floats(grad_x, t)
    with nogil:
        fc_max_pool2d_backward_winners(&problem.p, t, gp, wp, op, threads)


def max_pool2d_backward(np.ndarray grad_y, indices, np.ndarray grad_x, ptrdiff_t planes, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef int64_t *ip = <int64_t *> typed(indices, np.NPY_INT64)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t n = grad_y.size // planes if planes else 0
    cdef ptrdiff_t m = grad_x.size // planes if planes else 0
    cdef int status
    with nogil:
        status = fc_max_pool2d_backward(t, gp, ip, op, planes, n, m, threads)
    return status == 0


def avg_pool2d_forward(Pool2dProblem problem, np.ndarray x, np.ndarray y, bint count_include_pad,
                       ptrdiff_t divisor_override, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    with nogil:
        fc_avg_pool2d_forward(&problem.p, t, xp, yp, count_include_pad, divisor_override, threads)


def avg_pool2d_backward(Pool2dProblem problem, np.ndarray grad_y, np.ndarray grad_x, bint count_include_pad,
                        ptrdiff_t divisor_override, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *op = floats(grad_x, t)
    with nogil:
        fc_avg_pool2d_backward(&problem.p, t, gp, op, count_include_pad, divisor_override, threads)


def adaptive_avg_pool2d_forward(Pool2dProblem problem, np.ndarray x, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    with nogil:
        fc_adaptive_avg_pool2d_forward(&problem.p, t, xp, yp, threads)


def adaptive_avg_pool2d_backward(Pool2dProblem problem, np.ndarray grad_y, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *op = floats(grad_x, t)
    with nogil:
        fc_adaptive_avg_pool2d_backward(&problem.p, t, gp, op, threads)


# -- batch normalisation: x (N, C, ...) ------------------------------------------------------------------------------

cdef fc_batch_norm norm_problem(np.ndarray x, double eps, double momentum):
    cdef ptrdiff_t n = np.PyArray_DIM(x, 0), c = np.PyArray_DIM(x, 1)
    return fc_batch_norm(n, c, np.PyArray_SIZE(x) // (n * c), eps, momentum)


def batch_norm_forward(np.ndarray x, weight, bias, running_mean, running_var, np.ndarray y, np.ndarray mean,
                       np.ndarray inv_std, new_mean, new_var, bint training, double momentum, double eps, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *wp = optional_floats(weight, t)
    cdef void *bp = optional_floats(bias, t)
    cdef void *rmp = optional_floats(running_mean, t)
    cdef void *rvp = optional_floats(running_var, t)
    cdef void *yp = floats(y, t)
    cdef double *mp = <double *> floats(mean, FC_F64)
    cdef double *ip = <double *> floats(inv_std, FC_F64)
    cdef void *nmp = optional_floats(new_mean, t)
    cdef void *nvp = optional_floats(new_var, t)
    cdef fc_batch_norm p = norm_problem(x, eps, momentum)
    cdef _Workspace w = workspace(fc_batch_norm_workspace(&p, t))
    with nogil:
        fc_batch_norm_forward(&p, t, training, xp, wp, bp, rmp, rvp, yp, mp, ip, nmp, nvp, w.data, threads)


def batch_norm_backward(np.ndarray grad_y, np.ndarray x, weight, np.ndarray mean, np.ndarray inv_std, grad_x,
                        grad_weight, grad_bias, bint training, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *gp = floats(grad_y, t)
    cdef void *xp = floats(x, t)
    cdef void *wp = optional_floats(weight, t)
    cdef double *mp = <double *> floats(mean, FC_F64)
    cdef double *ip = <double *> floats(inv_std, FC_F64)
    cdef void *gxp = optional_floats(grad_x, t)
    cdef void *gwp = optional_floats(grad_weight, t)
    cdef void *gbp = optional_floats(grad_bias, t)
    cdef fc_batch_norm p = norm_problem(x, 0, 0)
    cdef _Workspace w = workspace(fc_batch_norm_workspace(&p, t))
    with nogil:
        fc_batch_norm_backward(&p, t, training, gp, xp, wp, mp, ip, gxp, gwp, gbp, w.data, threads)


# -- windows as columns ----------------------------------------------------------------------------------------------

def unfold(Pool2dProblem problem, np.ndarray x, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    with nogil:
        fc_unfold(&problem.p, t, xp, yp, threads)


def fold(Pool2dProblem problem, np.ndarray y, np.ndarray x, int threads):
    cdef fc_dtype t = dtype_of(y)
    cdef void *yp = floats(y, t)
    cdef void *xp = floats(x, t)
    with nogil:
        fc_fold(&problem.p, t, yp, xp, threads)


# -- linear: x (M, I), weight (O, I), y (M, O) -----------------------------------------------------------------------

def linear_forward(np.ndarray x, np.ndarray weight, bias, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *wp = floats(weight, t)
    cdef void *bp = optional_floats(bias, t)
    cdef void *yp = floats(y, t)
    cdef ptrdiff_t m = np.PyArray_DIM(x, 0), i = np.PyArray_DIM(x, 1), o = np.PyArray_DIM(weight, 0)
    cdef _Workspace w = workspace(fc_linear_workspace(t, m, i, o, threads))
    with nogil:
        fc_linear_forward(t, xp, wp, bp, yp, m, i, o, w.data, threads)


def linear_grad_x(np.ndarray grad_y, np.ndarray weight, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *wp = floats(weight, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t m = np.PyArray_DIM(grad_y, 0), i = np.PyArray_DIM(weight, 1), o = np.PyArray_DIM(weight, 0)
    cdef _Workspace w = workspace(fc_linear_workspace(t, m, i, o, threads))
    with nogil:
        fc_linear_grad_x(t, gp, wp, op, m, i, o, w.data, threads)


def linear_grad_weight(np.ndarray grad_y, np.ndarray x, np.ndarray grad_weight, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *xp = floats(x, t)
    cdef void *op = floats(grad_weight, t)
    cdef ptrdiff_t m = np.PyArray_DIM(x, 0), i = np.PyArray_DIM(x, 1), o = np.PyArray_DIM(grad_y, 1)
    cdef _Workspace w = workspace(fc_linear_workspace(t, m, i, o, threads))
    with nogil:
        fc_linear_grad_weight(t, gp, xp, op, m, i, o, w.data, threads)


def linear_grad_bias(np.ndarray grad_y, np.ndarray grad_bias, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *op = floats(grad_bias, t)
    cdef ptrdiff_t m = np.PyArray_DIM(grad_y, 0), o = np.PyArray_DIM(grad_y, 1)
    with nogil:
        fc_linear_grad_bias(t, gp, op, m, o, threads)


# -- element by element ----------------------------------------------------------------------------------------------

cdef run_one_to_one(one_to_one function, np.ndarray x, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    with nogil:
        function(t, xp, yp, n, threads)


cdef run_two_to_one(two_to_one function, np.ndarray grad_y, np.ndarray x, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *gp = floats(grad_y, t)
    cdef void *xp = floats(x, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    with nogil:
        function(t, gp, xp, op, n, threads)


def relu_forward(np.ndarray x, np.ndarray y, int threads):
    run_one_to_one(fc_relu_forward, x, y, threads)


def relu_backward(np.ndarray grad_y, np.ndarray x, np.ndarray grad_x, int threads):
    run_two_to_one(fc_relu_backward, grad_y, x, grad_x, threads)


def sigmoid_forward(np.ndarray x, np.ndarray y, int threads):
    run_one_to_one(fc_sigmoid_forward, x, y, threads)


def sigmoid_backward(np.ndarray grad_y, np.ndarray y, np.ndarray grad_x, int threads):
    run_two_to_one(fc_sigmoid_backward, grad_y, y, grad_x, threads)


def tanh_forward(np.ndarray x, np.ndarray y, int threads):
    run_one_to_one(fc_tanh_forward, x, y, threads)


def tanh_backward(np.ndarray grad_y, np.ndarray y, np.ndarray grad_x, int threads):
    run_two_to_one(fc_tanh_backward, grad_y, y, grad_x, threads)


def leaky_relu_forward(np.ndarray x, np.ndarray y, double slope, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    with nogil:
        fc_leaky_relu_forward(t, xp, yp, n, slope, threads)


def leaky_relu_backward(np.ndarray grad_y, np.ndarray x, np.ndarray grad_x, double slope, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *gp = floats(grad_y, t)
    cdef void *xp = floats(x, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    with nogil:
        fc_leaky_relu_backward(t, gp, xp, op, n, slope, threads)


def dropout_forward(np.ndarray x, np.ndarray y, mask, double p, uint64_t seed, ptrdiff_t unit, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    cdef uint8_t *mp = <uint8_t *> typed(mask, np.NPY_UINT8)
    cdef ptrdiff_t units = np.PyArray_SIZE(mask)
    with nogil:
        fc_dropout_forward(t, xp, yp, mp, p, seed, units, unit, threads)


def dropout_backward(np.ndarray grad_y, mask, np.ndarray grad_x, double p, ptrdiff_t unit, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef uint8_t *mp = <uint8_t *> typed(mask, np.NPY_UINT8)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t units = np.PyArray_SIZE(mask)
    with nogil:
        fc_dropout_backward(t, gp, mp, op, p, units, unit, threads)


# -- rows ------------------------------------------------------------------------------------------------------------

def softmax_forward(np.ndarray x, np.ndarray y, bint log, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *yp = floats(y, t)
    cdef ptrdiff_t images = np.PyArray_DIM(x, 0), n = np.PyArray_DIM(x, 1), inner = np.PyArray_DIM(x, 2)
    with nogil:
        fc_softmax_forward(t, xp, yp, images, n, inner, log, threads)


def softmax_backward(np.ndarray grad_y, np.ndarray y, np.ndarray grad_x, bint log, int threads):
    cdef fc_dtype t = dtype_of(grad_y)
    cdef void *gp = floats(grad_y, t)
    cdef void *yp = floats(y, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t images = np.PyArray_DIM(y, 0), n = np.PyArray_DIM(y, 1), inner = np.PyArray_DIM(y, 2)
    with nogil:
        fc_softmax_backward(t, gp, yp, op, images, n, inner, log, threads)


def cross_entropy_forward(np.ndarray x, target, weight, int64_t ignore_index, double label_smoothing, np.ndarray losses,
                          int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef int64_t *tp = <int64_t *> typed(target, np.NPY_INT64)
    cdef void *wp = optional_floats(weight, t)
    cdef void *lp = floats(losses, t)
    cdef ptrdiff_t images = np.PyArray_DIM(x, 0), n = np.PyArray_DIM(x, 1), inner = np.PyArray_DIM(x, 2)
    with nogil:
        fc_cross_entropy_forward(t, xp, tp, wp, ignore_index, label_smoothing, lp, images, n, inner, threads)


def cross_entropy_backward(np.ndarray scale, np.ndarray x, target, weight, int64_t ignore_index, double label_smoothing,
                           np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *sp = floats(scale, t)
    cdef void *xp = floats(x, t)
    cdef int64_t *tp = <int64_t *> typed(target, np.NPY_INT64)
    cdef void *wp = optional_floats(weight, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t images = np.PyArray_DIM(x, 0), n = np.PyArray_DIM(x, 1), inner = np.PyArray_DIM(x, 2)
    with nogil:
        fc_cross_entropy_backward(t, sp, xp, tp, wp, ignore_index, label_smoothing, op, images, n, inner, threads)


def soft_cross_entropy_forward(np.ndarray x, np.ndarray target, weight, double label_smoothing, np.ndarray losses,
                               int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *tp = floats(target, t)
    cdef void *wp = optional_floats(weight, t)
    cdef void *lp = floats(losses, t)
    cdef ptrdiff_t images = np.PyArray_DIM(x, 0), n = np.PyArray_DIM(x, 1), inner = np.PyArray_DIM(x, 2)
    with nogil:
        fc_soft_cross_entropy_forward(t, xp, tp, wp, label_smoothing, lp, images, n, inner, threads)


def soft_cross_entropy_backward(np.ndarray scale, np.ndarray x, np.ndarray target, weight, double label_smoothing,
                                np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *sp = floats(scale, t)
    cdef void *xp = floats(x, t)
    cdef void *tp = floats(target, t)
    cdef void *wp = optional_floats(weight, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t images = np.PyArray_DIM(x, 0), n = np.PyArray_DIM(x, 1), inner = np.PyArray_DIM(x, 2)
    with nogil:
        fc_soft_cross_entropy_backward(t, sp, xp, tp, wp, label_smoothing, op, images, n, inner, threads)


# -- losses ----------------------------------------------------------------------------------------------------------

def nll_forward(np.ndarray x, target, weight, int64_t ignore_index, np.ndarray losses, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef int64_t *tp = <int64_t *> typed(target, np.NPY_INT64)
    cdef void *wp = optional_floats(weight, t)
    cdef void *lp = floats(losses, t)
    cdef ptrdiff_t images = np.PyArray_DIM(x, 0), n = np.PyArray_DIM(x, 1), inner = np.PyArray_DIM(x, 2)
    with nogil:
        fc_nll_forward(t, xp, tp, wp, ignore_index, lp, images, n, inner, threads)


def nll_backward(np.ndarray scale, target, weight, int64_t ignore_index, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(grad_x)
    cdef void *sp = floats(scale, t)
    cdef int64_t *tp = <int64_t *> typed(target, np.NPY_INT64)
    cdef void *wp = optional_floats(weight, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t images = np.PyArray_DIM(grad_x, 0), n = np.PyArray_DIM(grad_x, 1), inner = np.PyArray_DIM(grad_x, 2)
    with nogil:
        fc_nll_backward(t, sp, tp, wp, ignore_index, op, images, n, inner, threads)


def targets_within(np.ndarray target, int64_t classes, int64_t ignore_index):
    cdef int64_t *tp = <int64_t *> typed(target, np.NPY_INT64)
    cdef ptrdiff_t n = np.PyArray_SIZE(target)
    cdef bint within
    with nogil:
        within = fc_targets_within(tp, n, classes, ignore_index)
    return within


def total(np.ndarray x):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    cdef double result
    with nogil:
        result = fc_total(t, xp, n)
    return result


def counted(np.ndarray target, weight, int64_t ignore_index):
    cdef int64_t *tp = <int64_t *> typed(target, np.NPY_INT64)
    cdef fc_dtype t = FC_F32 if weight is None else dtype_of(weight)
    cdef void *wp = optional_floats(weight, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(target)
    cdef double result
    with nogil:
        result = fc_counted(t, tp, wp, ignore_index, n)
    return result


def squared_error_sum(np.ndarray x, np.ndarray target, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *tp = floats(target, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    cdef double result
    with nogil:
        result = fc_squared_error_sum(t, xp, tp, n, threads)
    return result


def squared_errors(np.ndarray x, np.ndarray target, np.ndarray y, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *xp = floats(x, t)
    cdef void *tp = floats(target, t)
    cdef void *yp = floats(y, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    with nogil:
        fc_squared_errors(t, xp, tp, yp, n, threads)


def squared_error_backward(grad_y, np.ndarray x, np.ndarray target, double factor, np.ndarray grad_x, int threads):
    cdef fc_dtype t = dtype_of(x)
    cdef void *gp = optional_floats(grad_y, t)
    cdef void *xp = floats(x, t)
    cdef void *tp = floats(target, t)
    cdef void *op = floats(grad_x, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(x)
    with nogil:
        fc_squared_error_backward(t, gp, xp, tp, factor, op, n, threads)


# -- optimisers ------------------------------------------------------------------------------------------------------

def sgd_step(np.ndarray param, np.ndarray grad, velocity, double lr, double momentum, double dampening,
             double weight_decay, bint nesterov, bint first, int threads, bint maximize=False):
    cdef fc_dtype t = dtype_of(param)
    cdef void *pp = floats(param, t)
    cdef void *gp = floats(grad, t)
    cdef void *vp = optional_floats(velocity, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(param)
    with nogil:
        fc_sgd_step(t, pp, gp, vp, n, lr, momentum, dampening, weight_decay, nesterov, maximize, first, threads)


def adam_step(np.ndarray param, np.ndarray grad, np.ndarray exp_avg, np.ndarray exp_avg_sq, double lr, double beta1,
              double beta2, double eps, double weight_decay, bint decoupled, int64_t step, int threads,
              bint maximize=False, max_exp_avg_sq=None):
    cdef fc_dtype t = dtype_of(param)
    cdef void *pp = floats(param, t)
    cdef void *gp = floats(grad, t)
    cdef void *mp = floats(exp_avg, t)
    cdef void *vp = floats(exp_avg_sq, t)
    cdef void *xp = optional_floats(max_exp_avg_sq, t)
    cdef ptrdiff_t n = np.PyArray_SIZE(param)
    with nogil:
        fc_adam_step(t, pp, gp, mp, vp, xp, n, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, threads)


# -- data ------------------------------------------------------------------------------------------------------------

def gather_images(images, index, np.ndarray out, double scale, double offset, int threads):
    cdef fc_dtype t = dtype_of(out)
    cdef uint8_t *ip = <uint8_t *> typed(images, np.NPY_UINT8)
    cdef int64_t *xp = <int64_t *> typed(index, np.NPY_INT64)
    cdef void *op = floats(out, t)
    cdef ptrdiff_t rows = np.PyArray_SIZE(index)
    cdef ptrdiff_t d = np.PyArray_SIZE(images) // np.PyArray_DIM(images, 0) if np.PyArray_DIM(images, 0) else 0
    with nogil:
        fc_gather_images(t, ip, xp, op, rows, d, scale, offset, threads)
