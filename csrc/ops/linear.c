/* Linear layers: y = x weight^T + bias and its gradients, on our own matrix products.
 *
 * forward      dot_products over chunks of the inner dimension, so that a few rows of weight stay in L1
 * grad_x       outer_products: panels of weight columns, copied side by side; grad_y transposed once
 * grad_weight  outer_products: panels of x columns; grad_y is already in the right order
 *
 * Threads take blocks of the result; the sums never depend on their number. */

#ifndef FC_LINEAR_BLOCKS
#define FC_LINEAR_BLOCKS
enum {
    INNER = 1024, /* dot_products at a time: 6 rows of weight are 24 KB of float */
    DEPTH = 256,  /* outer_products at a time: a panel of 2 vectors is 32 KB */
};
#endif

typedef struct {
    real *transposed; /* grad_y [O][M] */
    real *panels;     /* a thread: [DEPTH][2 * lanes] */
    size_t panel;
} FC(linear_layout);

static size_t FC(linear_carve)(FC(linear_layout) *w, void *base, ptrdiff_t M, ptrdiff_t O, int threads) {
    fc_arena arena = {base, 0};
    w->transposed = fc_carve(&arena, sizeof(real) * (size_t)(M * O + 16));
    w->panel = (size_t)DEPTH * 2 * (size_t)kernels.lanes;
    w->panels = fc_carve(&arena, sizeof(real) * w->panel * (size_t)threads);
    return arena.used;
}

size_t FC(linear_workspace)(ptrdiff_t M, ptrdiff_t D, ptrdiff_t O, int threads) {
    (void)D;
    FC(linear_layout) w;
    return FC(linear_carve)(&w, NULL, M, O, threads);
}

void FC(linear_forward)(const real *x, const real *weight, const real *bias, real *y, ptrdiff_t M, ptrdiff_t D,
                        ptrdiff_t O, void *workspace, int threads) {
    (void)workspace;
    if (M == 0 || O == 0) return;
    /* Of few rows, the time goes into reading the weights. */
    const int by_flops = fc_threads_for(fc_product(M, D, O), FC_FLOPS_PER_THREAD, threads);
    const int by_bytes = fc_threads_for(fc_product(D, O, sizeof(real)), FC_STREAMED_PER_THREAD, threads);
    threads = by_flops > by_bytes ? by_flops : by_bytes;
    /* Blocks of 12 outputs (whole tiles of every instruction set) x 64 rows of x. */
    const ptrdiff_t wide = 12, tall = 64;
    const ptrdiff_t across = (O + wide - 1) / wide, down = (M + tall - 1) / tall;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        fc_mode mode = fc_mode_enter();
        real zeros[12] = {0};
#pragma omp for schedule(dynamic, 1)
        for (ptrdiff_t task = 0; task < across * down; task++) {
            const ptrdiff_t o = (task / down) * wide, m = (task % down) * tall;
            const ptrdiff_t n = O - o < wide ? O - o : wide, rows = M - m < tall ? M - m : tall;
            ptrdiff_t i = 0;
            do { /* at least once: with D == 0, y is the bias */
                ptrdiff_t length = D - i < INNER ? D - i : INNER;
                const real *start = i > 0 ? NULL : bias ? bias + o : zeros;
                kernels.dot_products(rows, n, length, x + m * D + i, D, weight + o * D + i, D, start, y + m * O + o, O);
                i += length;
            } while (i < D);
        }
        fc_mode_leave(mode);
    }
}

/* c (m, n) = sum over l < length of a[l][i] * b[l][j]; a has rows of lda, b of ldb, c of n. */
static void FC(outer_matmul)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t length, const real *a, ptrdiff_t lda, const real *b,
                             ptrdiff_t ldb, real *c, const FC(linear_layout) *w, int threads) {
    if (m == 0 || n == 0) return;
    threads = fc_threads_for(fc_product(m, n, length), FC_FLOPS_PER_THREAD, threads);
    const ptrdiff_t wide = 2 * kernels.lanes;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        fc_mode mode = fc_mode_enter();
        real *panel = w->panels + (size_t)omp_get_thread_num() * w->panel;
#pragma omp for schedule(dynamic, 2)
        for (ptrdiff_t task = 0; task < (n + wide - 1) / wide; task++) {
            const ptrdiff_t j = task * wide, cols = n - j < wide ? n - j : wide;
            ptrdiff_t l = 0;
            do { /* at least once: an empty sum is 0 */
                const ptrdiff_t depth = length - l < DEPTH ? length - l : DEPTH;
                kernels.copy_panel(depth, cols, b + l * ldb + j, ldb, panel, wide);
                kernels.outer_products(m, cols, depth, a + l * lda, lda, panel, wide, l > 0, c + j, n);
                l += depth;
            } while (l < length);
        }
        fc_mode_leave(mode);
    }
}

void FC(linear_grad_x)(const real *grad_y, const real *weight, real *grad_x, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O,
                       void *workspace, int threads) {
    FC(linear_layout) w;
    FC(linear_carve)(&w, workspace, M, O, threads);
    const int lanes = kernels.lanes;
    for (ptrdiff_t m = 0; m < M; m += lanes) {
        int rows = M - m < lanes ? (int)(M - m) : lanes;
        kernels.transpose(grad_y + m * O, O, rows, O, w.transposed + m, M, rows, NULL);
    }
    FC(outer_matmul)(M, D, O, w.transposed, M, weight, D, grad_x, &w, threads);
}

void FC(linear_grad_weight)(const real *grad_y, const real *x, real *grad_weight, ptrdiff_t M, ptrdiff_t D, ptrdiff_t O,
                            void *workspace, int threads) {
    FC(linear_layout) w;
    FC(linear_carve)(&w, workspace, M, O, threads);
    FC(outer_matmul)(O, D, M, grad_y, O, x, D, grad_weight, &w, threads);
}

void FC(linear_grad_bias)(const real *grad_y, real *grad_bias, ptrdiff_t M, ptrdiff_t O, int threads) {
    (void)threads; /* a few numbers a row: not worth a second thread */
    fc_mode mode = fc_mode_enter();
    kernels.add_rows(grad_y, O, M, O, grad_bias);
    fc_mode_leave(mode);
}
