/* Squared errors and negative log-likelihoods.
 *
 *   squared error  (x[i] - target[i])^2, each or their sum      grad_x[i] = factor * (x[i] - target[i]) (* grad_y[i])
 *   likelihood     losses[p] = -weight[t] * x[t][p], t = target[p]        grad_x[t][p] = -scale[p] * weight[t]
 *
 * A sum adds pieces as in sums.c; the pieces' sums are added in double, in order. */

double KERNEL(squared_error_sum)(const real *x, const real *target, ptrdiff_t n) {
    double total = 0;
    for (ptrdiff_t piece = 0; piece < n; piece += FC(SUM_PIECE)) {
        const ptrdiff_t end = n - piece < FC(SUM_PIECE) ? n : piece + FC(SUM_PIECE);
        vec sum[4] = {{0}, {0}, {0}, {0}};
        ptrdiff_t i = piece;
        for (; i + 4 * LANES <= end; i += 4 * LANES) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                const vec d = vec_load(x + i + k * LANES) - vec_load(target + i + k * LANES);
                sum[k] = vec_fma(d, d, sum[k]);
            }
        }
        for (; i < end; i += LANES) {
            const int lanes = end - i < LANES ? (int)(end - i) : LANES;
            const vec d = vec_load_n(x + i, lanes) - vec_load_n(target + i, lanes);
            sum[0] = vec_fma(d, d, sum[0]);
        }
        total += (double)vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    return total;
}

void KERNEL(squared_errors)(const real *x, const real *target, real *y, ptrdiff_t n) {
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        const vec d = vec_load(x + i) - vec_load(target + i);
        vec_store(y + i, d * d);
    }
    if (i < n) {
        const int tail = (int)(n - i);
        const vec d = vec_load_n(x + i, tail) - vec_load_n(target + i, tail);
        vec_store_n(y + i, d * d, tail);
    }
}

/* grad_y NULL: all 1 */
void KERNEL(squared_error_backward)(const real *grad_y, const real *x, const real *target, real factor, real *grad_x,
                                    ptrdiff_t n) {
    const vec by = vec_set1(factor);
    ptrdiff_t i = 0;
    if (!grad_y) {
#pragma GCC unroll 4
        for (; i + LANES <= n; i += LANES) vec_store(grad_x + i, (vec_load(x + i) - vec_load(target + i)) * by);
    } else {
#pragma GCC unroll 2
        for (; i + LANES <= n; i += LANES)
            vec_store(grad_x + i, (vec_load(x + i) - vec_load(target + i)) * by * vec_load(grad_y + i));
    }
    if (i < n) {
        const int tail = (int)(n - i);
        vec g = (vec_load_n(x + i, tail) - vec_load_n(target + i, tail)) * by;
        if (grad_y) g *= vec_load_n(grad_y + i, tail);
        vec_store_n(grad_x + i, g, tail);
    }
}

/* One image: x (n, step), of which `count` positions; target and losses (count). */
void KERNEL(nll_forward)(const real *x, const int64_t *target, const real *weight, int64_t ignore_index, real *losses,
                         ptrdiff_t count, ptrdiff_t step, ptrdiff_t x_position) {
    for (ptrdiff_t p = 0; p < count; p++) {
        const int64_t t = target[p];
        if (t == ignore_index) losses[p] = 0;
        else losses[p] = -x[t * step + p * x_position] * (weight ? weight[t] : 1);
    }
}

void KERNEL(nll_backward)(const real *scale, const int64_t *target, const real *weight, int64_t ignore_index,
                          real *grad_x, ptrdiff_t count, ptrdiff_t step, ptrdiff_t x_position) {
    for (ptrdiff_t p = 0; p < count; p++) {
        const int64_t t = target[p];
        if (t != ignore_index) grad_x[t * step + p * x_position] = -scale[p] * (weight ? weight[t] : 1);
    }
}
