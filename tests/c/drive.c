/* Every fc_* operation of the C core on random small shapes, against plain loops in double: a program without Python, for
 * what cannot well look into an interpreter: ThreadSanitizer, valgrind, an emulator of another architecture.
 *
 * drive [rounds] [threads] [instruction set] [seed]: exit status 0 when all agrees.  Inputs are small integers, so that sums and
 * products must be exact; what divides, or calls exp, has a tolerance.  Each array is a block of its own of just its size,
 * results are NaN beforehand: what reaches beyond an array or leaves a hole is seen.  tests/c/build compiles it. */
#include "dispatch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef VALGRIND_MAKE_MEM_UNDEFINED
#define VALGRIND_MAKE_MEM_UNDEFINED(address, bytes) ((void)(address))
#endif

static fc_dtype dtype;
static int threads = 2;
static uint64_t state = 88172645463325252u;
static long checks, failures;

/* -- random numbers, arrays --------------------------------------------------------------------------------------- */

static uint64_t next(void) { /* xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static ptrdiff_t between(ptrdiff_t low, ptrdiff_t high) { return low + (ptrdiff_t)(next() % (uint64_t)(high - low + 1)); }

/* An array in the type at hand (t) and what its elements are, or should be, in double (v). */
typedef struct {
    double *v;
    void *t;
    ptrdiff_t n;
} array;

static array made[64];
static int count;

static void spoil(void *memory, size_t bytes) { /* NaN in either type; for valgrind without a value */
    memset(memory, 0xff, bytes);
    VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes);
}
static void *block(size_t bytes) { /* aligned as a workspace is; NULL for none */
    void *memory = NULL;
    if (bytes && posix_memalign(&memory, 64, bytes) != 0) exit(2);
    if (memory) spoil(memory, bytes);
    return memory;
}
static size_t bytes_of(ptrdiff_t n) { return (size_t)n * (dtype == FC_F32 ? sizeof(float) : sizeof(double)); }
static double element(const void *t, ptrdiff_t i) { return dtype == FC_F32 ? (double)((const float *)t)[i] : ((const double *)t)[i]; }
static void put(array *a) {
    for (ptrdiff_t i = 0; i < a->n; i++)
        if (dtype == FC_F32) {
            ((float *)a->t)[i] = (float)a->v[i];
            a->v[i] = (double)((float *)a->t)[i];
        } else
            ((double *)a->t)[i] = a->v[i];
}
static array empty(ptrdiff_t n) {
    array a = {calloc((size_t)n + 1, sizeof(double)), malloc(bytes_of(n)), n};
    if (!a.v || (n && !a.t) || count == 64) exit(2);
    spoil(a.t, bytes_of(n));
    return made[count++] = a;
}
static array integers(ptrdiff_t n, ptrdiff_t low, ptrdiff_t high) {
    array a = empty(n);
    for (ptrdiff_t i = 0; i < n; i++) a.v[i] = (double)between(low, high);
    put(&a);
    return a;
}
static array fractions(ptrdiff_t n) {
    array a = empty(n);
    for (ptrdiff_t i = 0; i < n; i++) a.v[i] = (double)between(-40, 40) / 16;
    put(&a);
    return a;
}
static void release(void) {
    while (count > 0) {
        free(made[--count].v);
        free(made[count].t);
    }
}
/* Whether what was computed is what should be, within tolerance 1 + |v| times so many times the type's epsilon; 0: exactly. */
static void check(const char *name, const array *a, double units) {
    const double eps = dtype == FC_F32 ? 0x1p-23 : 0x1p-52;
    checks++;
    for (ptrdiff_t i = 0; i < a->n; i++) {
        const double got = element(a->t, i);
        if (fabs(got - a->v[i]) <= units * eps * (1 + fabs(a->v[i]))) continue;
        printf("%s (%s): element %td of %td is %.17g, should be %.17g\n", name, dtype == FC_F32 ? "f32" : "f64", i, a->n, got, a->v[i]);
        failures++;
        return;
    }
}
static void expect(const char *name, int holds) {
    checks++;
    if (holds) return;
    printf("%s (%s) does not hold\n", name, dtype == FC_F32 ? "f32" : "f64");
    failures++;
}

/* -- convolution -------------------------------------------------------------------------------------------------- */

typedef enum { FORWARD, GRAD_X, GRAD_WEIGHT } pass;

/* One loop nest for the three: y += w x, x += w y, w += y x. */
static void conv(const fc_conv2d *p, pass which, double *x, double *w, double *y) {
    const ptrdiff_t C = p->C / p->groups, K = p->K / p->groups;
    for (ptrdiff_t n = 0; n < p->N; n++)
        for (ptrdiff_t k = 0; k < p->K; k++)
            for (ptrdiff_t c = 0; c < C; c++)
                for (ptrdiff_t i = 0; i < p->OH; i++)
                    for (ptrdiff_t j = 0; j < p->OW; j++)
                        for (ptrdiff_t r = 0; r < p->R; r++)
                            for (ptrdiff_t s = 0; s < p->S; s++) {
                                const ptrdiff_t h = i * p->stride_h + r * p->dilation_h - p->pad_top;
                                const ptrdiff_t v = j * p->stride_w + s * p->dilation_w - p->pad_left;
                                if (h < 0 || h >= p->H || v < 0 || v >= p->W) continue;
                                double *xe = x + ((n * p->C + k / K * C + c) * p->H + h) * p->W + v;
                                double *we = w + ((k * C + c) * p->R + r) * p->S + s;
                                double *ye = y + ((n * p->K + k) * p->OH + i) * p->OW + j;
                                if (which == FORWARD) *ye += *we * *xe;
                                if (which == GRAD_X) *xe += *we * *ye;
                                if (which == GRAD_WEIGHT) *we += *ye * *xe;
                            }
}

/* Shapes that have algorithms of their own: 1x1 and many channels; 3x3 with a dilation that divides all sizes; a kernel as
 * large as the image; many positions of 3x3. */
static fc_conv2d special_shape(void) {
    fc_conv2d p = {.N = between(1, 2), .C = between(16, 33), .K = between(16, 33), .R = 3, .S = 3, .stride_h = 1, .stride_w = 1,
                   .dilation_h = 1, .dilation_w = 1, .groups = 1};
    const ptrdiff_t kind = between(0, 3);
    if (kind == 0) {
        p.R = p.S = 1;
        p.C = between(8, 70);
        p.K = between(8, 70);
    }
    if (kind == 1) p.dilation_h = p.dilation_w = p.pad_top = p.pad_left = 2;
    if (kind == 3) p.pad_top = p.pad_left = 1;
    p.H = kind == 2 ? 3 : 2 * between(6, 9);
    p.W = kind == 2 ? 3 : 2 * between(6, 9);
    p.OH = p.H + 2 * p.pad_top - (p.R - 1) * p.dilation_h;
    p.OW = p.W + 2 * p.pad_left - (p.S - 1) * p.dilation_w;
    return p;
}

/* The shapes that algorithms are chosen by: few and many channels, 1x1, 3x3 at stride 1, depthwise, strides, dilation. */
static fc_conv2d conv_shape(void) {
    fc_conv2d p = {0};
    const ptrdiff_t kind = between(0, 9);
    if (kind >= 8) return special_shape();
    p.groups = kind == 0 ? between(2, 20) : kind == 1 ? 2 : 1;
    p.C = p.groups * (kind == 0 ? 1 : kind == 2 ? between(16, 40) : between(1, 9));
    p.K = p.groups * (kind == 0 ? between(1, 2) : kind == 2 ? between(16, 40) : between(1, 20));
    p.N = between(1, 3);
    p.R = kind == 3 ? 1 : kind <= 2 ? 3 : between(1, 5);
    p.S = kind == 3 ? 1 : kind <= 2 ? 3 : between(1, 5);
    p.stride_h = kind == 2 ? 1 : between(1, 2 + (kind == 4));
    p.stride_w = kind == 2 ? 1 : between(1, 2 + (kind == 4));
    p.dilation_h = kind == 5 ? between(1, 3) : 1;
    p.dilation_w = kind == 5 ? between(1, 3) : 1;
    p.pad_top = between(0, p.R - 1);
    p.pad_left = between(0, p.S - 1);
    const ptrdiff_t high = (p.R - 1) * p.dilation_h + 1, wide = (p.S - 1) * p.dilation_w + 1;
    p.H = between(high, high + (kind == 2 ? 12 : 9));
    p.W = between(wide, wide + (kind == 6 ? 70 : 20));
    p.OH = (p.H + p.pad_top + between(0, p.pad_top) - high) / p.stride_h + 1;
    p.OW = (p.W + p.pad_left + between(0, p.pad_left) - wide) / p.stride_w + 1;
    return p;
}

static double maximum(double a, double b) { return a > b ? a : b; }

static void test_conv2d(void) {
    fc_conv2d p = conv_shape();
    p.precision = between(0, 3) == 0; /* "high": F(4x4, 3x3) rounds, where float32 has it */
    const double units = p.precision ? 4096 : 0;
    const ptrdiff_t plane = p.OH * p.OW, in = p.N * p.C * p.H * p.W, out = p.N * p.K * plane, taps = p.K * (p.C / p.groups) * p.R * p.S;
    array x = integers(in, -2, 2), w = integers(taps, -2, 2), b = integers(p.K, -3, 3), g = integers(out, -2, 2);
    if (between(0, 3) == 0) { /* a gradient that is mostly zeros has a way of its own */
        for (ptrdiff_t i = 0; i < out; i++) g.v[i] *= between(0, 7) == 0;
        put(&g);
    }
    array y = empty(out), gx = empty(in), gw = empty(taps), gb = empty(p.K);
    for (ptrdiff_t i = 0; i < out; i++) y.v[i] = b.v[i / plane % p.K];
    conv(&p, FORWARD, x.v, w.v, y.v);
    conv(&p, GRAD_X, gx.v, w.v, g.v);
    conv(&p, GRAD_WEIGHT, x.v, gw.v, g.v);
    for (ptrdiff_t i = 0; i < out; i++) gb.v[i / plane % p.K] += g.v[i];

    void *workspace = block(fc_conv2d_forward_workspace(&p, dtype, threads));
    fc_conv2d_forward(&p, dtype, x.t, w.t, b.t, y.t, workspace, threads);
    free(workspace);
    check("conv2d_forward", &y, units);
    workspace = block(fc_conv2d_grad_x_workspace(&p, dtype, threads));
    fc_conv2d_grad_x(&p, dtype, g.t, w.t, gx.t, workspace, threads);
    free(workspace);
    check("conv2d_grad_x", &gx, units);
    workspace = block(fc_conv2d_grad_weight_workspace(&p, dtype, threads));
    fc_conv2d_grad_weight(&p, dtype, g.t, x.t, gw.t, workspace, threads);
    free(workspace);
    check("conv2d_grad_weight", &gw, units);
    fc_conv2d_grad_bias(&p, dtype, g.t, gb.t, threads);
    check("conv2d_grad_bias", &gb, 0);
    for (int which = 0; which < 3; which++) {
        fc_explanation e;
        fc_conv2d_explain(&p, dtype, (fc_pass)which, threads, &e);
        expect("conv2d_explain", (int)e.algorithm >= 0 && e.algorithm <= FC_BY_PRODUCT);
    }

    /* conv_transpose2d's forward pass is grad_x, and a bias. */
    array yt = empty(in), bt = integers(p.C, -3, 3), gbt = empty(p.C);
    for (ptrdiff_t i = 0; i < in; i++) {
        yt.v[i] = gx.v[i] + bt.v[i / (p.H * p.W) % p.C];
        gbt.v[i / (p.H * p.W) % p.C] += x.v[i];
    }
    workspace = block(fc_conv_transpose2d_forward_workspace(&p, dtype, threads));
    fc_conv_transpose2d_forward(&p, dtype, g.t, w.t, bt.t, yt.t, workspace, threads);
    free(workspace);
    check("conv_transpose2d_forward", &yt, units);
    fc_conv_transpose2d_grad_bias(&p, dtype, x.t, gbt.t, threads);
    check("conv_transpose2d_grad_bias", &gbt, 0);
}

static void test_fused(void) {
    fc_conv2d p = conv_shape();
    const ptrdiff_t ph = p.OH / 2, pw = p.OW / 2, pooled = p.N * p.K * ph * pw;
    if (pooled == 0) return;
    const ptrdiff_t plane = p.OH * p.OW, in = p.N * p.C * p.H * p.W, out = p.N * p.K * plane, taps = p.K * (p.C / p.groups) * p.R * p.S;
    const int relu = (int)between(0, 1);
    array x = integers(in, -2, 2), w = integers(taps, -2, 2), b = integers(p.K, -3, 3), gy = integers(pooled, -2, 2);
    array full = empty(out), y = empty(pooled), g = empty(out), gb = empty(p.K), gx = empty(in), gw = empty(taps);
    for (ptrdiff_t i = 0; i < out; i++) full.v[i] = b.v[i / plane % p.K];
    conv(&p, FORWARD, x.v, w.v, full.v);
    uint8_t *winners = malloc((size_t)pooled), *found = malloc((size_t)pooled);
    if (!winners || !found) exit(2);
    for (ptrdiff_t i = 0; i < pooled; i++) {
        const ptrdiff_t at = i / (ph * pw) * plane + i / pw % ph * 2 * p.OW + i % pw * 2;
        const double from[4] = {full.v[at], full.v[at + 1], full.v[at + p.OW], full.v[at + p.OW + 1]};
        uint8_t best = 0;
        for (uint8_t t = 1; t < 4; t++)
            if (from[t] > from[best]) best = t;
        winners[i] = best;
        y.v[i] = relu ? maximum(from[best], 0) : from[best];
        const double passes = !relu || y.v[i] > 0 ? gy.v[i] : 0;
        g.v[at + best / 2 * p.OW + best % 2] = passes;
        gb.v[i / (ph * pw) % p.K] += passes;
    }
    conv(&p, GRAD_X, gx.v, w.v, g.v);
    conv(&p, GRAD_WEIGHT, x.v, gw.v, g.v);

    const fc_epilogue e = {.pool = 1, .relu = relu, .winners = found};
    size_t bytes = fc_conv2d_fused_workspace(&p, &e, dtype, threads);
    if (bytes) {
        void *workspace = block(bytes);
        if (fc_conv2d_fused(&p, &e, dtype, x.t, w.t, b.t, y.t, workspace, threads)) {
            check("conv2d_fused", &y, 0);
            expect("conv2d_fused: winners", memcmp(winners, found, (size_t)pooled) == 0);
        }
        free(workspace);
    }
    put(&y);
    void *workspace = block(fc_conv2d_pooled_grad_workspace(&p, dtype, threads));
    fc_conv2d_pooled_grad(&p, dtype, gy.t, relu ? y.t : NULL, winners, g.t, gb.t, workspace, threads);
    free(workspace);
    check("conv2d_pooled_grad", &g, 0);
    check("conv2d_pooled_grad: bias", &gb, 0);
    const int want = (int)between(0, 1);
    bytes = fc_conv2d_pooled_backward_workspace(&p, dtype, want, threads);
    if (bytes) {
        workspace = block(bytes);
        spoil(gb.t, bytes_of(p.K));
        if (fc_conv2d_pooled_backward(&p, dtype, gy.t, relu ? y.t : NULL, winners, x.t, w.t, want ? gx.t : NULL, gw.t, gb.t, workspace, threads)) {
            if (want) check("conv2d_pooled_backward: x", &gx, 0);
            check("conv2d_pooled_backward: weight", &gw, 0);
            check("conv2d_pooled_backward: bias", &gb, 0);
        }
        free(workspace);
    }
    free(winners);
    free(found);
}

/* -- pooling, windows --------------------------------------------------------------------------------------------- */

static fc_pool2d pool_shape(ptrdiff_t most_dilation) {
    fc_pool2d p = {0};
    const ptrdiff_t kind = between(0, 2); /* 2x2 at stride 2 and 3x3 have kernels of their own */
    p.N = between(1, 3);
    p.C = between(1, 6);
    p.kernel_h = kind == 0 ? 2 : kind == 1 ? 3 : between(1, 4);
    p.kernel_w = kind == 0 ? 2 : kind == 1 ? 3 : between(1, 4);
    p.stride_h = kind == 0 ? 2 : between(1, 3);
    p.stride_w = kind == 0 ? 2 : kind == 1 ? p.stride_h : between(1, 3);
    p.dilation_h = kind == 2 ? between(1, most_dilation) : 1;
    p.dilation_w = kind == 2 ? between(1, most_dilation) : 1;
    const ptrdiff_t high = (p.kernel_h - 1) * p.dilation_h + 1, wide = (p.kernel_w - 1) * p.dilation_w + 1;
    p.pad_h = kind == 0 ? 0 : between(0, p.kernel_h / 2);
    p.pad_w = kind == 0 ? 0 : between(0, p.kernel_w / 2);
    p.H = high + between(0, 20);
    p.W = wide + between(0, 50);
    p.OH = (p.H + 2 * p.pad_h - high) / p.stride_h + 1;
    p.OW = (p.W + 2 * p.pad_w - wide) / p.stride_w + 1;
    return p;
}

static void test_max_pool2d(void) {
    const fc_pool2d p = pool_shape(3);
    const ptrdiff_t planes = p.N * p.C, m = p.H * p.W, n = p.OH * p.OW;
    array x = integers(planes * m, -9, 9), y = empty(planes * n), g = integers(planes * n, -3, 3), gx = empty(planes * m);
    uint8_t *winners = malloc((size_t)(planes * n));
    int64_t *indices = malloc((size_t)(planes * n) * sizeof *indices);
    if (!winners || !indices) exit(2);
    int right = 1;
    const int kind = (int)between(0, 2);
    fc_max_pool2d_forward(&p, dtype, x.t, y.t, kind == 1 ? NULL : winners, kind == 2 ? NULL : indices, threads);
    for (ptrdiff_t i = 0; i < planes * n; i++) {
        const ptrdiff_t at = i / n, top = i / p.OW % p.OH * p.stride_h - p.pad_h, left = i % p.OW * p.stride_w - p.pad_w;
        ptrdiff_t best = -1, tap = 0;
        for (ptrdiff_t t = 0; t < p.kernel_h * p.kernel_w; t++) {
            const ptrdiff_t h = top + t / p.kernel_w * p.dilation_h, w = left + t % p.kernel_w * p.dilation_w;
            if (h < 0 || h >= p.H || w < 0 || w >= p.W) continue;
            if (best >= 0 && !(x.v[at * m + h * p.W + w] > x.v[at * m + best])) continue;
            best = h * p.W + w;
            tap = t;
        }
        y.v[i] = x.v[at * m + best];
        gx.v[at * m + best] += g.v[i];
        right &= (kind == 1 || winners[i] == tap) && (kind == 2 || indices[i] == best);
        winners[i] = (uint8_t)tap;
        indices[i] = best;
    }
    check("max_pool2d_forward", &y, 0);
    expect("max_pool2d_forward: winners and indices", right);
    fc_max_pool2d_backward_winners(&p, dtype, g.t, winners, gx.t, threads);
    check("max_pool2d_backward_winners", &gx, 0);
    spoil(gx.t, bytes_of(gx.n));
    expect("max_pool2d_backward: in range", fc_max_pool2d_backward(dtype, g.t, indices, gx.t, planes, n, m, threads) == 0);
    check("max_pool2d_backward", &gx, 0);
    indices[between(0, planes * n - 1)] = between(0, 1) ? m : -1;
    expect("max_pool2d_backward: out of range", fc_max_pool2d_backward(dtype, g.t, indices, gx.t, planes, n, m, threads) == -1);
    free(winners);
    free(indices);
}

static void test_avg_pool2d(void) {
    const fc_pool2d p = pool_shape(1);
    const ptrdiff_t planes = p.N * p.C, divisor = between(0, 2) ? 0 : between(1, 9);
    const int include = (int)between(0, 1);
    array x = integers(planes * p.H * p.W, -9, 9), y = empty(planes * p.OH * p.OW);
    array g = integers(planes * p.OH * p.OW, -9, 9), gx = empty(planes * p.H * p.W);
    for (ptrdiff_t i = 0; i < y.n; i++) {
        const ptrdiff_t top = i / p.OW % p.OH * p.stride_h - p.pad_h, left = i % p.OW * p.stride_w - p.pad_w;
        ptrdiff_t inside = 0, padded = 0;
        for (int again = 0; again < 2; again++)
            for (ptrdiff_t h = top; h < top + p.kernel_h; h++)
                for (ptrdiff_t w = left; w < left + p.kernel_w; w++) {
                    if (!again) padded += h < p.H + p.pad_h && w < p.W + p.pad_w;
                    if (h < 0 || h >= p.H || w < 0 || w >= p.W) continue;
                    const ptrdiff_t at = (i / (p.OH * p.OW) * p.H + h) * p.W + w;
                    if (!again) {
                        inside++;
                        y.v[i] += x.v[at];
                    } else
                        gx.v[at] += g.v[i] / (double)(divisor ? divisor : include ? padded : inside);
                }
        y.v[i] /= (double)(divisor ? divisor : include ? padded : inside);
    }
    fc_avg_pool2d_forward(&p, dtype, x.t, y.t, include, divisor, threads);
    check("avg_pool2d_forward", &y, 8);
    fc_avg_pool2d_backward(&p, dtype, g.t, gx.t, include, divisor, threads);
    check("avg_pool2d_backward", &gx, 64);
}

static void test_adaptive_avg_pool2d(void) {
    fc_pool2d p = {.N = between(1, 3), .C = between(1, 6), .H = between(1, 20), .W = between(1, 30)};
    p.OH = between(1, 12);
    p.OW = between(1, 12);
    if (between(0, 2) == 0) p.OH = p.OW = 1;
    const ptrdiff_t planes = p.N * p.C;
    array x = integers(planes * p.H * p.W, -9, 9), y = empty(planes * p.OH * p.OW);
    array g = integers(planes * p.OH * p.OW, -9, 9), gx = empty(planes * p.H * p.W);
    for (ptrdiff_t i = 0; i < y.n; i++) {
        const ptrdiff_t a = i / p.OW % p.OH, b = i % p.OW;
        const ptrdiff_t top = a * p.H / p.OH, bottom = ((a + 1) * p.H + p.OH - 1) / p.OH;
        const ptrdiff_t left = b * p.W / p.OW, right = ((b + 1) * p.W + p.OW - 1) / p.OW;
        const double size = (double)((bottom - top) * (right - left));
        for (ptrdiff_t h = top; h < bottom; h++)
            for (ptrdiff_t w = left; w < right; w++) {
                const ptrdiff_t at = (i / (p.OH * p.OW) * p.H + h) * p.W + w;
                y.v[i] += x.v[at] / size;
                gx.v[at] += g.v[i] / size;
            }
    }
    fc_adaptive_avg_pool2d_forward(&p, dtype, x.t, y.t, threads);
    check("adaptive_avg_pool2d_forward", &y, 64);
    fc_adaptive_avg_pool2d_backward(&p, dtype, g.t, gx.t, threads);
    check("adaptive_avg_pool2d_backward", &gx, 256);
}

static void test_unfold(void) {
    const fc_pool2d p = pool_shape(3);
    const ptrdiff_t taps = p.kernel_h * p.kernel_w, n = p.OH * p.OW, rows = p.N * p.C * taps;
    array x = integers(p.N * p.C * p.H * p.W, -9, 9), y = empty(rows * n), g = integers(rows * n, -3, 3), gx = empty(x.n);
    for (ptrdiff_t i = 0; i < rows * n; i++) {
        const ptrdiff_t t = i / n % taps;
        const ptrdiff_t h = i % n / p.OW * p.stride_h - p.pad_h + t / p.kernel_w * p.dilation_h;
        const ptrdiff_t w = i % n % p.OW * p.stride_w - p.pad_w + t % p.kernel_w * p.dilation_w;
        if (h < 0 || h >= p.H || w < 0 || w >= p.W) continue;
        y.v[i] = x.v[(i / n / taps * p.H + h) * p.W + w];
        gx.v[(i / n / taps * p.H + h) * p.W + w] += g.v[i];
    }
    fc_unfold(&p, dtype, x.t, y.t, threads);
    check("unfold", &y, 0);
    fc_fold(&p, dtype, g.t, gx.t, threads);
    check("fold", &gx, 0);
}

/* -- batch norm, linear ------------------------------------------------------------------------------------------- */

static void test_batch_norm(void) {
    const fc_batch_norm p = {between(1, 4), between(1, 20), between(2, 60), 1e-5, 0.25};
    const ptrdiff_t n = p.N * p.C * p.L, each = p.N * p.L;
    const int training = (int)between(0, 1), affine = (int)between(0, 1);
    array x = integers(n, -9, 9), w = fractions(p.C), b = fractions(p.C), rm = fractions(p.C), rv = integers(p.C, 1, 9), y = empty(n);
    array nm = empty(p.C), nv = empty(p.C), g = integers(n, -3, 3), gx = empty(n), gw = empty(p.C), gb = empty(p.C);
    double *mean = calloc((size_t)p.C, sizeof *mean), *inv_std = calloc((size_t)p.C, sizeof *inv_std);
    double *gxh = calloc((size_t)p.C, sizeof *gxh);
    if (!mean || !inv_std || !gxh) exit(2);
    void *workspace = block(fc_batch_norm_workspace(&p, dtype));
    fc_batch_norm_forward(&p, dtype, training, x.t, affine ? w.t : NULL, affine ? b.t : NULL, rm.t, rv.t, y.t, mean, inv_std,
                          training ? nm.t : NULL, training ? nv.t : NULL, workspace, threads);
    fc_batch_norm_backward(&p, dtype, training, g.t, x.t, affine ? w.t : NULL, mean, inv_std, gx.t, gw.t, gb.t, workspace, threads);
    free(workspace);
    for (ptrdiff_t c = 0; c < p.C; c++) {
        double m = 0, var = 0;
        for (ptrdiff_t i = 0; i < each; i++) m += x.v[(i / p.L * p.C + c) * p.L + i % p.L] / (double)each;
        for (ptrdiff_t i = 0; i < each; i++) var += pow(x.v[(i / p.L * p.C + c) * p.L + i % p.L] - m, 2) / (double)each;
        nm.v[c] = 0.75 * rm.v[c] + 0.25 * m;
        nv.v[c] = 0.75 * rv.v[c] + 0.25 * var * (double)each / (double)(each - 1);
        if (!training) m = rm.v[c], var = rv.v[c];
        const double inv = 1 / sqrt(var + p.eps);
        expect("batch_norm_forward: mean, inv_std", fabs(mean[c] - m) <= 1e-6 && fabs(inv_std[c] - inv) <= 1e-6 * inv);
        for (ptrdiff_t i = 0; i < each; i++) {
            const ptrdiff_t at = (i / p.L * p.C + c) * p.L + i % p.L;
            y.v[at] = (x.v[at] - m) * inv * (affine ? w.v[c] : 1) + (affine ? b.v[c] : 0);
            gw.v[c] += g.v[at] * (x.v[at] - m) * inv;
            gb.v[c] += g.v[at];
        }
        for (ptrdiff_t i = 0; i < each; i++) {
            const ptrdiff_t at = (i / p.L * p.C + c) * p.L + i % p.L;
            const double centred = training ? (gb.v[c] + (x.v[at] - m) * inv * gw.v[c]) / (double)each : 0;
            gx.v[at] = (g.v[at] - centred) * inv * (affine ? w.v[c] : 1);
        }
    }
    check("batch_norm_forward", &y, 256);
    if (training) check("batch_norm_forward: new_mean", &nm, 64), check("batch_norm_forward: new_var", &nv, 64);
    check("batch_norm_backward: x", &gx, 4096);
    check("batch_norm_backward: weight", &gw, 1024);
    check("batch_norm_backward: bias", &gb, 64);
    free(mean);
    free(inv_std);
    free(gxh);
}

static void test_linear(void) {
    const ptrdiff_t M = between(1, 40), D = between(1, 90), O = between(1, 40);
    array x = integers(M * D, -3, 3), w = integers(O * D, -3, 3), b = integers(O, -3, 3), g = integers(M * O, -3, 3);
    array y = empty(M * O), gx = empty(M * D), gw = empty(O * D), gb = empty(O);
    for (ptrdiff_t m = 0; m < M; m++)
        for (ptrdiff_t o = 0; o < O; o++) {
            y.v[m * O + o] = b.v[o];
            gb.v[o] += g.v[m * O + o];
            for (ptrdiff_t d = 0; d < D; d++) {
                y.v[m * O + o] += x.v[m * D + d] * w.v[o * D + d];
                gx.v[m * D + d] += g.v[m * O + o] * w.v[o * D + d];
                gw.v[o * D + d] += g.v[m * O + o] * x.v[m * D + d];
            }
        }
    void *workspace = block(fc_linear_workspace(dtype, M, D, O, threads));
    fc_linear_forward(dtype, x.t, w.t, b.t, y.t, M, D, O, workspace, threads);
    check("linear_forward", &y, 0);
    fc_linear_grad_x(dtype, g.t, w.t, gx.t, M, D, O, workspace, threads);
    check("linear_grad_x", &gx, 0);
    fc_linear_grad_weight(dtype, g.t, x.t, gw.t, M, D, O, workspace, threads);
    check("linear_grad_weight", &gw, 0);
    fc_linear_grad_bias(dtype, g.t, gb.t, M, O, threads);
    check("linear_grad_bias", &gb, 0);
    free(workspace);
}

/* -- element by element, rows, losses ----------------------------------------------------------------------------- */

static void test_activations(void) {
    const ptrdiff_t n = between(0, 300);
    array x = fractions(n), g = fractions(n), y = empty(n), gx = empty(n);
#define EACH(value, gradient)                                                                                          \
    for (ptrdiff_t i = 0; i < n; i++) {                                                                                \
        const double a = x.v[i];                                                                                       \
        y.v[i] = (value);                                                                                              \
        gx.v[i] = g.v[i] * (gradient);                                                                                 \
    }
    EACH(maximum(a, 0), a > 0)
    fc_relu_forward(dtype, x.t, y.t, n, threads);
    check("relu_forward", &y, 0);
    fc_relu_backward(dtype, g.t, x.t, gx.t, n, threads);
    check("relu_backward", &gx, 0);
    EACH(a > 0 ? a : 0.25 * a, a > 0 ? 1 : 0.25)
    fc_leaky_relu_forward(dtype, x.t, y.t, n, 0.25, threads);
    check("leaky_relu_forward", &y, 0);
    fc_leaky_relu_backward(dtype, g.t, x.t, gx.t, n, 0.25, threads);
    check("leaky_relu_backward", &gx, 0);
    EACH(1 / (1 + exp(-a)), y.v[i] * (1 - y.v[i]))
    fc_sigmoid_forward(dtype, x.t, y.t, n, threads);
    check("sigmoid_forward", &y, 4);
    fc_sigmoid_backward(dtype, g.t, y.t, gx.t, n, threads);
    check("sigmoid_backward", &gx, 8);
    EACH(tanh(a), 1 - y.v[i] * y.v[i])
    fc_tanh_forward(dtype, x.t, y.t, n, threads);
    check("tanh_forward", &y, 4);
    fc_tanh_backward(dtype, g.t, y.t, gx.t, n, threads);
    check("tanh_backward", &gx, 16);
#undef EACH
}

static void test_dropout(void) {
    const ptrdiff_t units = between(1, 200), unit = between(1, 2) == 1 ? 1 : between(1, 20), n = units * unit;
    array x = integers(n, -9, 9), y = empty(n), g = integers(n, -9, 9), gx = empty(n);
    uint8_t *mask = malloc((size_t)units);
    if (!mask) exit(2);
    spoil(mask, (size_t)units);
    fc_dropout_forward(dtype, x.t, y.t, mask, 0.5, next(), units, unit, threads);
    fc_dropout_backward(dtype, g.t, mask, gx.t, 0.5, units, unit, threads);
    int right = 1;
    for (ptrdiff_t i = 0; i < units; i++) right &= mask[i] <= 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        y.v[i] = mask[i / unit] ? 2 * x.v[i] : 0;
        gx.v[i] = mask[i / unit] ? 2 * g.v[i] : 0;
    }
    expect("dropout_forward: mask", right);
    check("dropout_forward", &y, 0);
    check("dropout_backward", &gx, 0);
    free(mask);
}

/* Along n of (images, n, inner): log p into out, for row i of images * inner. */
static void log_softmax(const double *x, double *out, ptrdiff_t i, ptrdiff_t n, ptrdiff_t inner) {
    const ptrdiff_t at = i / inner * n * inner + i % inner;
    double most = -INFINITY, sum = 0;
    for (ptrdiff_t c = 0; c < n; c++) most = maximum(most, x[at + c * inner]);
    for (ptrdiff_t c = 0; c < n; c++) sum += exp(x[at + c * inner] - most);
    for (ptrdiff_t c = 0; c < n; c++) out[at + c * inner] = x[at + c * inner] - most - log(sum);
}

static void test_rows(void) {
    const ptrdiff_t images = between(1, 12), n = between(1, 24), inner = between(0, 1) ? 1 : between(1, 20), rows = images * inner;
    const ptrdiff_t all = rows * n;
    array x = fractions(all), g = fractions(all), y = empty(all), gx = empty(all), logp = empty(all), w = integers(n, 0, 3);
    for (ptrdiff_t i = 0; i < rows; i++) log_softmax(x.v, logp.v, i, n, inner);
    for (int log = 0; log < 2; log++) {
        for (ptrdiff_t i = 0; i < all; i++) y.v[i] = log ? logp.v[i] : exp(logp.v[i]);
        fc_softmax_forward(dtype, x.t, y.t, images, n, inner, log, threads);
        check(log ? "log_softmax_forward" : "softmax_forward", &y, 64);
        for (ptrdiff_t i = 0; i < rows; i++) {
            const ptrdiff_t at = i / inner * n * inner + i % inner;
            double sum = 0;
            for (ptrdiff_t c = 0; c < n; c++) sum += g.v[at + c * inner] * (log ? 1 : y.v[at + c * inner]);
            for (ptrdiff_t c = 0; c < n; c++) {
                const ptrdiff_t e = at + c * inner;
                gx.v[e] = log ? g.v[e] - exp(y.v[e]) * sum : y.v[e] * (g.v[e] - sum);
            }
        }
        fc_softmax_backward(dtype, g.t, y.t, gx.t, images, n, inner, log, threads);
        check(log ? "log_softmax_backward" : "softmax_backward", &gx, 512);
    }

    /* Losses: class numbers, then probabilities, as q, what each class's -log p is weighted with. */
    int64_t *target = malloc((size_t)rows * sizeof *target);
    if (!target) exit(2);
    for (ptrdiff_t i = 0; i < rows; i++) target[i] = between(0, 5) ? between(0, n - 1) : -100;
    const int weighted = (int)between(0, 1);
    const double a = between(0, 1) ? 0.125 : 0;
    array scale = fractions(rows), losses = empty(rows), soft = empty(all), q = empty(all);
    for (ptrdiff_t i = 0; i < all; i++) soft.v[i] = (double)between(0, 8) / 8;
    put(&soft);
    for (int probabilities = 0; probabilities < 2; probabilities++) {
        memset(losses.v, 0, (size_t)rows * sizeof(double));
        for (ptrdiff_t i = 0; i < rows; i++) {
            const ptrdiff_t at = i / inner * n * inner + i % inner;
            double sum = 0;
            for (ptrdiff_t c = 0; c < n; c++) {
                const ptrdiff_t e = at + c * inner;
                const double one = probabilities ? soft.v[e] : c == target[i];
                q.v[e] = (weighted ? w.v[c] : 1) * ((1 - a) * one + a / (double)n);
                if (!probabilities && target[i] == -100) q.v[e] = 0;
                sum += q.v[e];
                losses.v[i] -= q.v[e] * logp.v[e];
            }
            for (ptrdiff_t c = 0; c < n; c++) gx.v[at + c * inner] = scale.v[i] * (exp(logp.v[at + c * inner]) * sum - q.v[at + c * inner]);
        }
        if (probabilities) {
            fc_soft_cross_entropy_forward(dtype, x.t, soft.t, weighted ? w.t : NULL, a, losses.t, images, n, inner, threads);
            fc_soft_cross_entropy_backward(dtype, scale.t, x.t, soft.t, weighted ? w.t : NULL, a, gx.t, images, n, inner, threads);
        } else {
            fc_cross_entropy_forward(dtype, x.t, target, weighted ? w.t : NULL, -100, a, losses.t, images, n, inner, threads);
            fc_cross_entropy_backward(dtype, scale.t, x.t, target, weighted ? w.t : NULL, -100, a, gx.t, images, n, inner, threads);
        }
        check(probabilities ? "soft_cross_entropy_forward" : "cross_entropy_forward", &losses, 1024);
        check(probabilities ? "soft_cross_entropy_backward" : "cross_entropy_backward", &gx, 1024);
    }
    memset(gx.v, 0, (size_t)all * sizeof(double));
    double counted = 0;
    for (ptrdiff_t i = 0; i < rows; i++) {
        losses.v[i] = 0;
        if (target[i] == -100) continue;
        const ptrdiff_t at = i / inner * n * inner + i % inner + target[i] * inner;
        const double weight = weighted ? w.v[target[i]] : 1;
        losses.v[i] = -weight * x.v[at];
        gx.v[at] = -weight * scale.v[i];
        counted += weight;
    }
    fc_nll_forward(dtype, x.t, target, weighted ? w.t : NULL, -100, losses.t, images, n, inner, threads);
    check("nll_forward", &losses, 0);
    fc_nll_backward(dtype, scale.t, target, weighted ? w.t : NULL, -100, gx.t, images, n, inner, threads);
    check("nll_backward", &gx, 0);
    expect("counted", fc_counted(dtype, target, weighted ? w.t : NULL, -100, rows) == counted);
    expect("targets_within", fc_targets_within(target, rows, n, -100));
    target[between(0, rows - 1)] = n;
    expect("targets_within: one outside", !fc_targets_within(target, rows, n, -100));
    double total = 0;
    for (ptrdiff_t i = 0; i < all; i++) total += x.v[i];
    expect("total", fc_total(dtype, x.t, all) == total);
    free(target);
}

static void test_squared_error(void) {
    const ptrdiff_t n = between(1, 300);
    array x = integers(n, -9, 9), t = integers(n, -9, 9), y = empty(n), g = integers(n, -3, 3), gx = empty(n);
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        y.v[i] = pow(x.v[i] - t.v[i], 2);
        gx.v[i] = 2 * (x.v[i] - t.v[i]) * g.v[i];
        sum += y.v[i];
    }
    expect("squared_error_sum", fc_squared_error_sum(dtype, x.t, t.t, n, threads) == sum);
    fc_squared_errors(dtype, x.t, t.t, y.t, n, threads);
    check("squared_errors", &y, 0);
    fc_squared_error_backward(dtype, g.t, x.t, t.t, 2, gx.t, n, threads);
    check("squared_error_backward", &gx, 0);
}

/* -- optimisers, data --------------------------------------------------------------------------------------------- */

static void test_optimisers(void) {
    const ptrdiff_t n = between(1, 300);
    array p = fractions(n), g = fractions(n), v = fractions(n), m = fractions(n), s = empty(n), most = empty(n), q = fractions(n);
    const int nesterov = (int)between(0, 1), maximize = (int)between(0, 1), first = (int)between(0, 1), momentum = (int)between(0, 1);
    for (ptrdiff_t i = 0; i < n; i++) {
        s.v[i] = (double)between(0, 40) / 16;
        most.v[i] = (double)between(0, 40) / 16;
    }
    put(&s);
    put(&most);
    for (ptrdiff_t i = 0; i < n; i++) {
        double d = (maximize ? -g.v[i] : g.v[i]) + 0.0625 * p.v[i];
        if (momentum) {
            v.v[i] = first ? d : 0.5 * v.v[i] + (nesterov ? 1 : 0.75) * d;
            d = nesterov ? d + 0.5 * v.v[i] : v.v[i];
        }
        p.v[i] -= 0.125 * d;
    }
    fc_sgd_step(dtype, p.t, g.t, momentum ? v.t : NULL, n, 0.125, momentum ? 0.5 : 0, nesterov ? 0 : 0.25, 0.0625, nesterov && momentum,
                maximize, first, threads);
    check("sgd_step", &p, 8);
    if (momentum) check("sgd_step: velocity", &v, 8);
    const int decoupled = (int)between(0, 1), amsgrad = (int)between(0, 1);
    const int64_t step = between(1, 9);
    for (ptrdiff_t i = 0; i < n; i++) {
        double d = maximize ? -g.v[i] : g.v[i];
        if (decoupled)
            q.v[i] *= 1 - 0.125 * 0.0625;
        else
            d += 0.0625 * q.v[i];
        m.v[i] = 0.75 * m.v[i] + 0.25 * d;
        s.v[i] = 0.875 * s.v[i] + 0.125 * d * d;
        most.v[i] = maximum(most.v[i], s.v[i]);
        const double root = sqrt((amsgrad ? most.v[i] : s.v[i]) / (1 - pow(0.875, (double)step)));
        q.v[i] -= 0.125 / (1 - pow(0.75, (double)step)) * m.v[i] / (root + 0.125);
    }
    fc_adam_step(dtype, q.t, g.t, m.t, s.t, amsgrad ? most.t : NULL, n, 0.125, 0.75, 0.875, 0.125, 0.0625, decoupled, maximize, step, threads);
    check("adam_step", &q, 64);
    check("adam_step: exp_avg", &m, 8);
    check("adam_step: exp_avg_sq", &s, 8);
    if (amsgrad) check("adam_step: max_exp_avg_sq", &most, 8);
}

static void test_gather(void) {
    const ptrdiff_t images = between(1, 9), rows = between(0, 12), d = between(1, 100);
    uint8_t *from = malloc((size_t)(images * d));
    int64_t *index = malloc((size_t)(rows + 1) * sizeof *index);
    if (!from || !index) exit(2);
    for (ptrdiff_t i = 0; i < images * d; i++) from[i] = (uint8_t)next();
    for (ptrdiff_t i = 0; i < rows; i++) index[i] = between(0, images - 1);
    array out = empty(rows * d);
    for (ptrdiff_t i = 0; i < rows * d; i++) out.v[i] = from[index[i / d] * d + i % d] * 0.25 - 3;
    fc_gather_images(dtype, from, index, out.t, rows, d, 0.25, -3, threads);
    check("gather_images", &out, 0);
    free(from);
    free(index);
}

/* Mistakes on purpose, which prove that a checker is at work: `drive overrun`, `drive undefined`, `drive race`. */
static int mistake(const char *kind) {
    array x = empty(3);
    volatile double *p = x.t;
    const ptrdiff_t at = strcmp(kind, "overrun") == 0 ? 3 : 1;
    if (strcmp(kind, "race") != 0 && p[at] > 0) puts("a positive number");
    int n = 0;
#pragma omp parallel num_threads(2)
    for (int i = 0; i < 10000; i++) ++*(volatile int *)&n;
    return n < 0;
}

int main(int argc, char **argv) {
    dtype = FC_F64;
    if (argc > 1 && strchr("our", argv[1][0])) return mistake(argv[1]);
    const long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 20;
    threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 2;
    fc_select_best();
    if (argc > 3 && fc_select(argv[3]) != 0) {
        printf("no instruction set %s here\n", argv[3]);
        return 2;
    }
    if (argc > 4) state ^= strtoull(argv[4], NULL, 10) * 0x9e3779b97f4a7c15u;
    static void (*const tests[])(void) = {test_conv2d, test_fused, test_max_pool2d, test_avg_pool2d, test_adaptive_avg_pool2d,
                                          test_unfold, test_batch_norm, test_linear, test_activations, test_dropout, test_rows,
                                          test_squared_error, test_optimisers, test_gather};
    for (long round = 0; round < rounds; round++)
        for (int type = 0; type < 2; type++)
            for (size_t t = 0; t < sizeof tests / sizeof *tests; t++)
                for (int again = 0; again < (t < 2 ? 4 : 1); again++) { /* convolution has the most ways */
                    dtype = type ? FC_F64 : FC_F32;
                    tests[t]();
                    release();
                }
    printf("%s, %d threads, %ld rounds: %ld checks, %ld failed\n", fc_active->isa, threads, rounds, checks, failures);
    return failures != 0;
}
