/* The gradients of a convolution from a grad_y that is mostly zeros, as it is behind a max pool (one of four at most is
 * not zero behind a 2x2 window) and a ReLU: only the numbers that are there are multiplied.
 *
 * The image is [row][column][lane] with its border, a vector of channels at a time, which L1 holds for small images; the
 * window's taps are offsets into it.  What is not zero is listed first:
 *
 *   grad_weight[k]:  a list for each plane of grad_y: the numbers, and for each where its window begins in the image
 *                    sum[t][c] += g * x[at + taps[t]][c]      sums of a group of taps stay in registers along the list
 *   grad_x:          a list for each position of y: the numbers, and for each where its output channel's weights are
 *                    sum[t][c] += g * w[at][t][c]             as above; then the window at this position is added to
 *
 * Each of these loads a vector for each multiplication, which is no faster than a dense kernel's; but there are few. */

/* n numbers, and a place for each -> list of the numbers that are not 0, in order, and at: their places.  Returns how many
 * they are; both lists need LANES places more. */
ptrdiff_t KERNEL(list_nonzero)(const real *x, ptrdiff_t n, const FC(int) *places, real *list, FC(int) *at) {
    ptrdiff_t found = 0, i = 0;
    for (; i + LANES <= n; i += LANES) {
        ivec place;
        memcpy(&place, places + i, sizeof place);
        found += vec_compress(list + found, at + found, vec_load(x + i), place);
    }
    if (i < n) {
        ivec place = {0};
        memcpy(&place, places + i, sizeof *places * (size_t)(n - i));
        found += vec_compress(list + found, at + found, vec_load_n(x + i, (int)(n - i)), place);
    }
    return found;
}

/* How many of n numbers are not 0; -1 when one is infinite or NaN. */
ptrdiff_t KERNEL(count_nonzero)(const real *x, ptrdiff_t n) {
    ptrdiff_t count = n;
    vec sum = {0}; /* x - x is 0 for finite x alone */
    for (ptrdiff_t i = 0; i < n;) {
        ivec zeros = {0};
        const ptrdiff_t end = n - i > 1 << 16 ? i + (1 << 16) : n; /* a lane can count so many */
        for (; i + LANES <= end; i += LANES) {
            const vec v = vec_load(x + i);
            zeros += v == vec_set1(0); /* -1 each */
            sum += v - v;
        }
        for (int l = 0; l < LANES; l++) count += (ptrdiff_t)zeros[l];
        for (; i < end; i++) {
            count -= x[i] == 0;
            sum[0] += x[i] - x[i];
        }
    }
    return vec_sum(sum) == 0 ? count : -1;
}

/* Groups of up to SPARSE_TAPS taps fill the registers. */
FC_INLINE void FC(sparse_sum)(const int nt, ptrdiff_t n, const real *list, const FC(int) *at, const ptrdiff_t *taps,
                              const real *x, real *sum) {
    vec acc[SPARSE_TAPS];
#pragma GCC unroll 32
    for (int t = 0; t < nt; t++) acc[t] = vec_load(sum + t * LANES);
    for (ptrdiff_t i = 0; i < n; i++) {
        const vec g = vec_set1(list[i]);
        const real *window = x + at[i];
#pragma GCC unroll 32
        for (int t = 0; t < nt; t++) acc[t] = vec_fma(g, vec_load(window + taps[t]), acc[t]);
    }
#pragma GCC unroll 32
    for (int t = 0; t < nt; t++) vec_store(sum + t * LANES, acc[t]);
}

FC_INLINE void FC(sparse_spread)(const int nt, ptrdiff_t n, const ptrdiff_t *first, const real *list, const FC(int) *at,
                                 const FC(int) *places, const ptrdiff_t *taps, const real *w, real *x) {
    for (ptrdiff_t p = 0; p < n; p++) {
        ptrdiff_t i = first[p];
        const ptrdiff_t end = first[p + 1];
        if (i == end) continue;
        vec acc[SPARSE_TAPS];
#pragma GCC unroll 32
        for (int t = 0; t < nt; t++) acc[t] = vec_set1(0);
        do {
            const vec g = vec_set1(list[i]);
            const real *weights = w + at[i];
#pragma GCC unroll 32
            for (int t = 0; t < nt; t++) acc[t] = vec_fma(g, vec_load(weights + t * LANES), acc[t]);
        } while (++i < end);
        real *window = x + places[p];
#pragma GCC unroll 32
        for (int t = 0; t < nt; t++) vec_store(window + taps[t], vec_load(window + taps[t]) + acc[t]);
    }
}

#define CASES_12(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#if SPARSE_TAPS == 25
#define CASES(X) CASES_12(X) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25)
#else
#define CASES(X) CASES_12(X)
#endif
#define SUM(N) case N: FC(sparse_sum)(N, n, list, at, taps + t, x, sum + t * LANES); break;
#define SPREAD(N) case N: FC(sparse_spread)(N, n, first, list, at, places, taps + t, w + t * LANES, x); break;

/* LANES channels; sum [t][LANES] is added to. */
void KERNEL(sparse_grad_weight)(ptrdiff_t n, const real *list, const FC(int) *at, ptrdiff_t T, const ptrdiff_t *taps,
                                const real *x, real *sum) {
    for (ptrdiff_t t = 0, runs = (T + SPARSE_TAPS - 1) / SPARSE_TAPS, nt; runs > 0; runs--, t += nt) {
        nt = (T - t + runs - 1) / runs;
        switch (nt) { CASES(SUM) }
    }
}

/* LANES channels and n positions, whose lists begin at first[p]; w [..][t][LANES]; x is added to. */
void KERNEL(sparse_grad_x)(ptrdiff_t n, const ptrdiff_t *first, const real *list, const FC(int) *at, const FC(int) *places,
                           ptrdiff_t T, const ptrdiff_t *taps, const real *w, real *x) {
    for (ptrdiff_t t = 0, runs = (T + SPARSE_TAPS - 1) / SPARSE_TAPS, nt; runs > 0; runs--, t += nt) {
        nt = (T - t + runs - 1) / runs;
        switch (nt) { CASES(SPREAD) }
    }
}
#undef SUM
#undef SPREAD
#undef CASES
#undef CASES_12
