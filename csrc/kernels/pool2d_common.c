/* What the paths of max and average pooling share; `max` is a literal in every call, so that each kind of pool gets
 * code of its own.  There are three paths, by the vectors and by the window:
 *
 *   pool2d_rows.c     neighbouring outputs of a row of y
 *   pool2d_2x2.c      the same for 2x2 windows of stride 2 without padding, the most common
 *   pool2d_3x3.c      the same for 3x3 windows of stride 2
 *   pool2d_planes.c   one output of neighbouring planes, for planes too narrow to fill a vector and for large strides
 *
 * In all of them each row of a window is reduced over its columns first, then the rows over the window.  What a row of
 * x gave is kept for the next windows that hold this row: a third to two thirds of the work where windows overlap.  As
 * the order is the same, so are the bits: it does not matter that the choice of a path depends on where in the batch an
 * image lies. */

/* One call; x and y are the whole arrays.  codes: of tap (r, s) of a maximum, r * code_row + s * code_col, which is
 * its place in the window where `winners` are wanted, or its distance in x from tap (0, 0) for `indices`. */
typedef struct {
    const fc_pool2d *p;
    const real *x, *x_end;
    real *y;
    uint8_t *winners;
    int64_t *indices;
    ptrdiff_t y_end; /* elements of y that this call may write */
    ptrdiff_t code_row, code_col;
    real divisor; /* of an average; 0: the number of elements */
    int count_include_pad;
    ptrdiff_t ahead; /* how far ahead x is prefetched, in bytes; 0: not at all */
} FC(pool);

/* What lies in the last level of cache comes a quarter to a half faster if it is asked for 8 KB ahead.  What comes from
 * memory does not: asking takes the misses away from the hardware's own prefetch, which is faster there (by half).
 * Below 1 MB, x is likely to be in L2. */
enum { FC(POOL_AHEAD) = 8192, FC(POOL_NEAR) = 1 << 20, FC(POOL_FAR) = 32 << 20 };
FC_INLINE ptrdiff_t FC(pool_ahead)(const real *x, const real *end) {
    const ptrdiff_t bytes = (end - x) * (ptrdiff_t)sizeof *x;
    return bytes > FC(POOL_NEAR) && bytes <= FC(POOL_FAR) ? FC(POOL_AHEAD) : 0;
}

/* 2 * LANES columns, `ahead` after x: not to be read, so they may lie outside the array. */
FC_INLINE void FC(pool_prefetch)(const real *x, ptrdiff_t ahead) {
    const uintptr_t at = (uintptr_t)x + (uintptr_t)ahead;
    __builtin_prefetch((const void *)at, 0, 2);
    if (FC_VBYTES > 32) __builtin_prefetch((const void *)(at + 64), 0, 2);
}

enum { FC(POOL_KEPT) = 128, FC(POOL_ROWS) = 16 }; /* vectors kept; rows of a window handled at once */

/* What rows of x gave: `width` vectors each, row h in slot (h / dilation_h) % slots.  Behind the slots lies one more
 * row, for the result so far of windows of more than POOL_ROWS rows. */
typedef struct {
    vec best[FC(POOL_KEPT)];
    ivec code[FC(POOL_KEPT)];
    ptrdiff_t row[FC(POOL_ROWS)]; /* h of each slot, or -1 */
    ptrdiff_t width;
    int slots; /* a power of two, enough for the rows of one window, but at most POOL_ROWS */
} FC(pool_kept);

/* Of a window: n rows, where their results are and their codes; the rows that are yet to be reduced. */
typedef struct {
    int n, missing;
    int slot[FC(POOL_ROWS)];
    ireal code[FC(POOL_ROWS)];
    ptrdiff_t missing_row[FC(POOL_ROWS)];
} FC(pool_window);

/* Room for up to `width` vectors a row. */
static void FC(pool_plan_kept)(const fc_pool2d *p, ptrdiff_t width, FC(pool_kept) *kept) {
    kept->slots = 1;
    while (kept->slots < p->kernel_h && kept->slots < FC(POOL_ROWS)) kept->slots *= 2;
    const ptrdiff_t room = FC(POOL_KEPT) / (kept->slots + 1);
    kept->width = width < room ? width : room;
}

/* Before another plane, or other columns. */
FC_INLINE void FC(pool_forget)(FC(pool_kept) *kept) {
    for (int slot = 0; slot < kept->slots; slot++) kept->row[slot] = -1;
}

FC_INLINE int FC(pool_slot)(const FC(pool_kept) *kept, const fc_pool2d *p, ptrdiff_t h) {
    return (int)((p->dilation_h == 1 ? h : h / p->dilation_h) & (kept->slots - 1));
}

/* One more tap, or one more row, of a window. */
FC_INLINE void FC(pool_add)(const int max, vec *best, ivec *code, vec v, ivec c) {
    if (max) vec_keep_larger(best, code, v, c);
    else *best += v;
}

/* Elements of a window that an average counts, along one axis: in the padded or in the plain image. */
FC_INLINE ptrdiff_t FC(pool_count)(ptrdiff_t start, ptrdiff_t kernel, ptrdiff_t size, ptrdiff_t pad, int include) {
    const ptrdiff_t low = include ? -pad : 0, high = include ? size + pad : size;
    const ptrdiff_t begin = start > low ? start : low, end = start + kernel < high ? start + kernel : high;
    return end - begin;
}

/* Sums of all +-0 are +0, as from a sum that starts at 0. */
FC_INLINE vec FC(pool_mean)(vec sum, vec divisor) { return (sum + (real)0) / divisor; }

/* The next rows of the window whose tap 0 is at row `top`: at most POOL_ROWS, from tap *r on; *r moves on, to kernel_h
 * when there are no more. */
FC_INLINE void FC(pool_next_rows)(const FC(pool) *job, FC(pool_kept) *kept, ptrdiff_t top, ptrdiff_t *r,
                                  FC(pool_window) *window) {
    const fc_pool2d *p = job->p;
    window->n = window->missing = 0;
    for (; *r < p->kernel_h && window->n < FC(POOL_ROWS); ++*r) {
        const ptrdiff_t h = top + *r * p->dilation_h;
        if (h < 0) continue;
        if (h >= p->H) break;
        const int slot = FC(pool_slot)(kept, p, h);
        if (kept->row[slot] != h) window->missing_row[window->missing++] = h;
        kept->row[slot] = h;
        window->slot[window->n] = slot;
        window->code[window->n++] = (ireal)(*r * job->code_row);
    }
    if (top + *r * p->dilation_h >= p->H) *r = p->kernel_h;
}

/* Vector v of the n rows in `window`; n is a literal where it is common. */
FC_INLINE vec FC(pool_fold)(const FC(pool_kept) *kept, const FC(pool_window) *window, const int n, ptrdiff_t v,
                            const int max, ivec *code) {
    const ptrdiff_t first = window->slot[0] * kept->width;
    vec best = kept->best[first + v];
    *code = kept->code[first + v] + window->code[0];
#pragma GCC unroll 3
    for (int k = 1; k < n; k++) {
        const ptrdiff_t row = window->slot[k] * kept->width;
        FC(pool_add)(max, &best, code, kept->best[row + v], kept->code[row + v] + window->code[k]);
    }
    return best;
}

/* The same for a window of more than POOL_ROWS rows, one part after the other: `first` for its first part. */
static vec FC(pool_fold_part)(FC(pool_kept) *kept, const FC(pool_window) *window, ptrdiff_t v, int first, const int max,
                              ivec *code) {
    vec *so_far = kept->best + kept->slots * kept->width + v;
    ivec *code_so_far = kept->code + kept->slots * kept->width + v;
    const vec best = FC(pool_fold)(kept, window, window->n, v, max, code);
    if (first) *so_far = best, *code_so_far = *code;
    else FC(pool_add)(max, so_far, code_so_far, best, *code);
    *code = *code_so_far;
    return *so_far;
}

/* Lanes 0 .. n-1 to y[at ..]; the others may be written too, unless they are another thread's.  origin: the place in
 * the plane of tap (0, 0) of the first lane's window. */
FC_INLINE void FC(pool_store)(const FC(pool) *job, ptrdiff_t at, vec best, ivec code, int n, ptrdiff_t origin,
                              ptrdiff_t stride) {
    const int whole = at + LANES <= job->y_end;
    if (whole) vec_store(job->y + at, best);
    else vec_store_n(job->y + at, best, n);
    if (job->winners) {
        if (whole) ivec_to_bytes(job->winners + at, code);
        else ivec_to_bytes_n(job->winners + at, code, n);
    } else if (job->indices) {
        code += ivec_iota() * (ireal)stride + (ireal)origin;
        if (whole) ivec_to_int64(job->indices + at, code);
        else ivec_to_int64_n(job->indices + at, code, n);
    }
}
