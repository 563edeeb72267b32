/* Weights as one pass of a convolution sees them: K output channels, C input channels and T taps in each group.  In
 * grad_x the output channels of the layer are inputs, so weight (groups * C, K, T) is read with c and k in each other's
 * place, and the taps in another order. */

#ifndef FC_WEIGHTS
#define FC_WEIGHTS
enum { WEIGHT_SLICE = 16 }; /* input channels packed at a time where the packed weights are used up at once */
#endif

typedef struct {
    const real *weight;
    ptrdiff_t K, C, T; /* of this pass */
    int swapped;       /* weight is (groups * C, K, T), not (groups * K, C, T) */
    const ptrdiff_t *order; /* swapped: where each tap goes */
} FC(weights);

static size_t FC(weight_slice_size)(const FC(blocks) *b) { return (size_t)WEIGHT_SLICE * 9 * (size_t)b->width; }

/* Output channels k .. k + width - 1 (zeros past K) and input channels c .. c + n - 1 -> to [c][t][width] */
static void FC(weight_slice)(const FC(weights) *w, ptrdiff_t g, ptrdiff_t k, int width, ptrdiff_t c, ptrdiff_t n, real *to) {
    const int lanes = kernels.lanes;
    const ptrdiff_t K = w->K, C = w->C, T = w->T;
    for (int v = 0; v < width; v += lanes) {
        const ptrdiff_t left = K - k - v;
        const int part = width - v < lanes ? width - v : lanes, rows = left < 0 ? 0 : left < part ? (int)left : part;
        if (!w->swapped) {
            kernels.transpose(w->weight + ((g * K + k + v) * C + c) * T, C * T, rows, n * T, to + v, width, part, NULL);
            continue;
        }
        for (ptrdiff_t i = 0; i < n; i++)
            kernels.transpose(w->weight + ((g * C + c + i) * K + k + v) * T, T, rows, T, to + i * T * width + v, width, part,
                              w->order);
    }
}
