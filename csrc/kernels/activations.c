/* Activations other than relu, in one pass over memory:
 *
 *   leaky_relu  y = x > 0 ? x : slope * x         grad_x = grad_y * (x > 0 ? 1 : slope)
 *   sigmoid     y = 1 / (1 + exp(-x))             grad_x = grad_y * (1 - y) * y
 *   tanh        y = (exp(2x) - 1) / (exp(2x) + 1) grad_x = grad_y * (1 - y^2)
 *
 * NaN stays NaN.  A tail is one masked vector: an element's result does not depend on its place in the array. */
#if FC_REAL_BYTES == 4
#define TANH_IS_1 10    /* from here on tanh rounds to 1 */
#define TANH_IS_X 0x1p-13f /* up to here to x */
#define SIGN_BIT INT32_MIN
#else
#define TANH_IS_1 20
#define TANH_IS_X 0x1p-28
#define SIGN_BIT INT64_MIN
#endif

FC_INLINE vec FC(magnitude)(vec x) { return (vec)((ivec)x & ~SIGN_BIT); }

/* Of exp(-|x|), which can only underflow.  For x < 0 that is the dividend: small results keep all their digits. */
FC_INLINE vec FC(sigmoid)(vec x) {
    const vec e = FC(exp_down)((vec)((ivec)x | SIGN_BIT)), one = vec_set1(1);
    return vec_select(x < 0, e, one) / (e + one);
}

/* With t = exp(2|x|) - 1: t / (t + 2), which nothing cancels in.  Tiny x are taken out first, as arithmetic on denormal
 * numbers is slow. */
FC_INLINE vec FC(tanh)(vec x) {
    const vec size = FC(magnitude)(x);
    const vec a = vec_max(vec_set1(TANH_IS_X), -vec_max(vec_set1(-TANH_IS_1), -size)); /* a NaN stays */
    const vec t = FC(exp_minus_1)(a + a);
    const vec y = vec_select(size <= TANH_IS_X, size, t / (t + 2));
    return (vec)((ivec)y | ((ivec)x & SIGN_BIT));
}

/* Where x > 0, denormals included although they count as zero in the mode that this runs in; NaN is not. */
FC_INLINE ivec FC(is_positive)(vec x) { return ((ivec)x > 0) & (x == x); }

void KERNEL(leaky_relu_forward)(const real *x, real *y, ptrdiff_t n, real slope) {
    const vec below = vec_set1(slope);
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        const vec v = vec_load(x + i);
        vec_store(y + i, vec_select(FC(is_positive)(v), v, v * below));
    }
    if (i < n) {
        const vec v = vec_load_n(x + i, (int)(n - i));
        vec_store_n(y + i, vec_select(FC(is_positive)(v), v, v * below), (int)(n - i));
    }
}

void KERNEL(leaky_relu_backward)(const real *grad_y, const real *x, real *grad_x, ptrdiff_t n, real slope) {
    const vec below = vec_set1(slope);
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        const vec g = vec_load(grad_y + i);
        vec_store(grad_x + i, vec_select(FC(is_positive)(vec_load(x + i)), g, g * below));
    }
    if (i < n) {
        const int tail = (int)(n - i);
        const vec g = vec_load_n(grad_y + i, tail);
        vec_store_n(grad_x + i, vec_select(FC(is_positive)(vec_load_n(x + i, tail)), g, g * below), tail);
    }
}

void KERNEL(sigmoid_forward)(const real *x, real *y, ptrdiff_t n) {
    ptrdiff_t i = 0;
#pragma GCC unroll 2
    for (; i + LANES <= n; i += LANES) vec_store(y + i, FC(sigmoid)(vec_load(x + i)));
    if (i < n) vec_store_n(y + i, FC(sigmoid)(vec_load_n(x + i, (int)(n - i))), (int)(n - i));
}

void KERNEL(sigmoid_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n) {
    const vec one = vec_set1(1);
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        const vec v = vec_load(y + i);
        vec_store(grad_x + i, vec_load(grad_y + i) * (one - v) * v);
    }
    if (i < n) {
        const int tail = (int)(n - i);
        const vec v = vec_load_n(y + i, tail);
        vec_store_n(grad_x + i, vec_load_n(grad_y + i, tail) * (one - v) * v, tail);
    }
}

void KERNEL(tanh_forward)(const real *x, real *y, ptrdiff_t n) {
    ptrdiff_t i = 0;
#pragma GCC unroll 2
    for (; i + LANES <= n; i += LANES) vec_store(y + i, FC(tanh)(vec_load(x + i)));
    if (i < n) vec_store_n(y + i, FC(tanh)(vec_load_n(x + i, (int)(n - i))), (int)(n - i));
}

void KERNEL(tanh_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n) {
    const vec one = vec_set1(1);
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        const vec v = vec_load(y + i);
        vec_store(grad_x + i, vec_load(grad_y + i) * vec_fma(-v, v, one));
    }
    if (i < n) {
        const int tail = (int)(n - i);
        const vec v = vec_load_n(y + i, tail);
        vec_store_n(grad_x + i, vec_load_n(grad_y + i, tail) * vec_fma(-v, v, one), tail);
    }
}

#undef TANH_IS_1
#undef TANH_IS_X
#undef SIGN_BIT
