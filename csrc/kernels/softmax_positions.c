/* softmax.c along an axis that is not the last one: x (n, step), where each of `width` neighbouring positions has n
 * numbers that lie `step` apart, such as the channels of a pixel.
 *
 * Lanes are positions, so nothing is summed across lanes.  The caller hands over at most FC_POSITIONS at a time: their
 * numbers are read two or three times, by rows of a few cache lines, and stay in L1 or L2 meanwhile.  Sums are taken
 * in pieces of 64 terms, so that rounding errors don't pile up. */

enum { FC(TERMS) = 64 };

/* The largest number of each position; those that nothing is above, NaN among them, are left to make sums NaN. */
FC_INLINE void FC(positions_max)(const real *x, ptrdiff_t n, ptrdiff_t step, ptrdiff_t width, real *m) {
    for (ptrdiff_t i = 0; i < width; i += LANES) vec_store(m + i, vec_set1(-(real)INFINITY));
    for (ptrdiff_t c = 0; c < n; c++)
        for (ptrdiff_t i = 0; i < width; i += LANES)
            vec_store(m + i, vec_max(FC(load_part)(x + c * step + i, width - i), vec_load(m + i)));
}

/* sum of exp(x - m) over c; the terms go to y (step apart) unless that is NULL */
FC_INLINE void FC(positions_sum)(const real *x, ptrdiff_t n, ptrdiff_t step, ptrdiff_t width, const real *m, real *y,
                                 real *sum) {
    for (ptrdiff_t i = 0; i < width; i += LANES) {
        vec total = {0};
        const vec most = vec_load(m + i);
        for (ptrdiff_t piece = 0; piece < n; piece += FC(TERMS)) {
            const ptrdiff_t end = n - piece < FC(TERMS) ? n : piece + FC(TERMS);
            vec part = {0};
            for (ptrdiff_t c = piece; c < end; c++) {
                const vec e = FC(exp_down)(FC(load_part)(x + c * step + i, width - i) - most);
                part += e;
                if (y) FC(store_part)(y + c * step + i, e, width - i);
            }
            total += part;
        }
        vec_store(sum + i, total);
    }
}

/* The maximum m of each position and the logarithm of the sum of exp(x - m). */
FC_INLINE void FC(positions_log_sum)(const real *x, ptrdiff_t n, ptrdiff_t step, ptrdiff_t width, real *m,
                                     real *log_sum) {
    FC(positions_max)(x, n, step, width, m);
    FC(positions_sum)(x, n, step, width, m, NULL, log_sum);
    for (ptrdiff_t i = 0; i < width; i += LANES) vec_store(log_sum + i, FC(log)(vec_load(log_sum + i)));
}

void KERNEL(softmax_positions_forward)(const real *x, real *y, ptrdiff_t n, ptrdiff_t step, ptrdiff_t width, int log) {
    real m[FC_POSITIONS], sum[FC_POSITIONS];
    if (log) FC(positions_log_sum)(x, n, step, width, m, sum);
    else {
        FC(positions_max)(x, n, step, width, m);
        FC(positions_sum)(x, n, step, width, m, y, sum);
    }
    for (ptrdiff_t c = 0; c < n; c++)
        for (ptrdiff_t i = 0; i < width; i += LANES) {
            const ptrdiff_t at = c * step + i;
            const vec v = FC(load_part)(log ? x + at : y + at, width - i);
            FC(store_part)(y + at, log ? (v - vec_load(m + i)) - vec_load(sum + i) : v / vec_load(sum + i), width - i);
        }
}

void KERNEL(softmax_positions_backward)(const real *grad_y, const real *y, real *grad_x, ptrdiff_t n, ptrdiff_t step,
                                        ptrdiff_t width, int log) {
    for (ptrdiff_t i = 0; i < width; i += LANES) {
        const ptrdiff_t left = width - i;
        vec sum = {0};
        for (ptrdiff_t piece = 0; piece < n; piece += FC(TERMS)) {
            const ptrdiff_t end = n - piece < FC(TERMS) ? n : piece + FC(TERMS);
            vec part = {0};
            for (ptrdiff_t c = piece; c < end; c++) {
                const vec g = FC(load_part)(grad_y + c * step + i, left);
                part = log ? part + g : vec_fma(g, FC(load_part)(y + c * step + i, left), part);
            }
            sum += part;
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            const ptrdiff_t at = c * step + i;
            const vec g = FC(load_part)(grad_y + at, left), v = FC(load_part)(y + at, left);
            FC(store_part)(grad_x + at, log ? g - FC(exp)(v) * sum : v * (g - sum), left);
        }
    }
}

/* As cross_entropy_forward of softmax.c, at each position. */
void KERNEL(cross_entropy_positions_forward)(const fc_cross_entropy *job, const real *x, const int64_t *target,
                                             const real *weight, real *losses, ptrdiff_t step, ptrdiff_t width) {
    const ptrdiff_t n = job->n;
    const real a = (real)job->label_smoothing, keep = (real)(1 - job->label_smoothing);
    const real share = (real)(job->label_smoothing / (double)n);
    real m[FC_POSITIONS], log_sum[FC_POSITIONS];
    FC(positions_log_sum)(x, n, step, width, m, log_sum);
    for (ptrdiff_t i = 0; i < width; i++) {
        const int64_t t = target[i];
        if (t == job->ignore_index) losses[i] = 0;
        else losses[i] = keep * ((weight ? weight[t] : 1) * (log_sum[i] - (x[t * step + i] - m[i])));
    }
    if (a == 0) return;
    for (ptrdiff_t i = 0; i < width; i += LANES) {
        vec sum = {0};
        for (ptrdiff_t c = 0; c < n; c++) {
            const vec loss = vec_load(log_sum + i) - (FC(load_part)(x + c * step + i, width - i) - vec_load(m + i));
            sum += weight ? loss * weight[c] : loss;
        }
        vec_store(m + i, sum); /* the maxima of these positions are done with */
    }
    for (ptrdiff_t i = 0; i < width; i++)
        if (target[i] != job->ignore_index) losses[i] += share * m[i];
}

/* As cross_entropy_backward of softmax.c, at each position. */
void KERNEL(cross_entropy_positions_backward)(const fc_cross_entropy *job, const real *scale, const real *x,
                                              const int64_t *target, const real *weight, real *grad_x, ptrdiff_t step,
                                              ptrdiff_t width) {
    const ptrdiff_t n = job->n;
    const real each = (real)(job->label_smoothing / (double)n);
    real m[FC_POSITIONS], sum[FC_POSITIONS], total[FC_POSITIONS], by[FC_POSITIONS], at_target[FC_POSITIONS];
    FC(positions_max)(x, n, step, width, m);
    FC(positions_sum)(x, n, step, width, m, grad_x, sum);
    for (ptrdiff_t i = 0; i < FC_POSITIONS; i++) total[i] = by[i] = at_target[i] = 0;
    for (ptrdiff_t i = 0; i < width; i++) {
        const int64_t t = target[i];
        if (t == job->ignore_index) continue;
        const double w = weight ? weight[t] : 1, target_share = (1 - job->label_smoothing) * w;
        const double all = job->label_smoothing / (double)n * job->weight_sum + target_share;
        total[i] = (real)all;
        by[i] = scale[i];
        at_target[i] = (real)(grad_x[t * step + i] / sum[i] * all - ((double)each * w + target_share)) * scale[i];
    }
    for (ptrdiff_t c = 0; c < n; c++) {
        const real less = weight ? weight[c] * each : each;
        for (ptrdiff_t i = 0; i < width; i += LANES) {
            real *to = grad_x + c * step + i;
            const vec p = FC(load_part)(to, width - i) / vec_load(sum + i);
            FC(store_part)(to, (p * vec_load(total + i) - less) * vec_load(by + i), width - i);
        }
    }
    for (ptrdiff_t i = 0; i < width; i++) {
        const int64_t t = target[i];
        if (t != job->ignore_index) grad_x[t * step + i] = at_target[i];
        else
            for (ptrdiff_t c = 0; c < n; c++) grad_x[c * step + i] = 0; /* also where x is NaN or inf */
    }
}

/* As soft_cross_entropy_forward of softmax.c, at each position. */
FC_INLINE vec FC(soft_share_at)(const fc_cross_entropy *job, const real *target, const real *weight, ptrdiff_t c,
                                ptrdiff_t left) {
    vec share = FC(load_part)(target, left);
    if (job->label_smoothing != 0)
        share = share * (real)(1 - job->label_smoothing) + (real)(job->label_smoothing / (double)job->n);
    return weight ? share * weight[c] : share;
}

void KERNEL(soft_cross_entropy_positions_forward)(const fc_cross_entropy *job, const real *x, const real *target,
                                                  const real *weight, real *losses, ptrdiff_t step, ptrdiff_t width) {
    const ptrdiff_t n = job->n;
    real m[FC_POSITIONS], log_sum[FC_POSITIONS];
    FC(positions_log_sum)(x, n, step, width, m, log_sum);
    for (ptrdiff_t i = 0; i < width; i += LANES) {
        vec sum = {0};
        for (ptrdiff_t c = 0; c < n; c++) {
            const ptrdiff_t at = c * step + i;
            const vec loss = vec_load(log_sum + i) - (FC(load_part)(x + at, width - i) - vec_load(m + i));
            sum = vec_fma(FC(soft_share_at)(job, target + at, weight, c, width - i), loss, sum);
        }
        FC(store_part)(losses + i, sum, width - i);
    }
}

void KERNEL(soft_cross_entropy_positions_backward)(const fc_cross_entropy *job, const real *scale, const real *x,
                                                   const real *target, const real *weight, real *grad_x,
                                                   ptrdiff_t step, ptrdiff_t width) {
    const ptrdiff_t n = job->n;
    real m[FC_POSITIONS], sum[FC_POSITIONS];
    FC(positions_max)(x, n, step, width, m);
    FC(positions_sum)(x, n, step, width, m, grad_x, sum);
    for (ptrdiff_t i = 0; i < width; i += LANES) {
        const ptrdiff_t left = width - i;
        vec shares = {0};
        for (ptrdiff_t c = 0; c < n; c++) shares += FC(soft_share_at)(job, target + c * step + i, weight, c, left);
        const vec by = FC(load_part)(scale + i, left), each = shares / vec_load(sum + i);
        for (ptrdiff_t c = 0; c < n; c++) {
            const ptrdiff_t at = c * step + i;
            const vec share = FC(soft_share_at)(job, target + at, weight, c, left);
            FC(store_part)(grad_x + at, (FC(load_part)(grad_x + at, left) * each - share) * by, left);
        }
    }
}
