/* Pooling of 2x2 windows, stride 2, no padding, forward and backward; see pool2d_common.c.  Two rows of x are split
 * into even and odd columns, and 4 vectors meet in 3 steps; backward, the four are put together again, so that each
 * element of grad_x is written once.  Where a row of y fills at most half a vector, the vector takes two rows.  What a
 * vector writes past the end of a row is written again after it: rows go in rising order. */

/* Whether no window of 2x2, stride 2 touches padding or hangs over. */
FC_INLINE int FC(pool_is_2x2)(const fc_pool2d *p) {
    return p->kernel_h == 2 && p->kernel_w == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h == 0 &&
           p->pad_w == 0 && p->dilation_h == 1 && p->dilation_w == 1 && 2 * p->OH <= p->H && 2 * p->OW <= p->W;
}

/* `top` and `bottom` hold 2 * LANES columns of two rows, a then b. */
FC_INLINE vec FC(pool_2x2)(const FC(pool) *job, vec top_a, vec top_b, vec bottom_a, vec bottom_b, const int max,
                           ivec *code) {
    vec best, right, lower, lower_right;
    const ivec one = ivec_set1((ireal)job->code_col), row = ivec_set1((ireal)job->code_row);
    vec_deinterleave(top_a, top_b, &best, &right);
    vec_deinterleave(bottom_a, bottom_b, &lower, &lower_right);
    ivec lower_code = row;
    *code = (ivec){0};
    FC(pool_add)(max, &best, code, right, one);
    FC(pool_add)(max, &lower, &lower_code, lower_right, row + one);
    FC(pool_add)(max, &best, code, lower, lower_code);
    return max ? best : FC(pool_mean)(best, vec_set1(job->divisor != 0 ? job->divisor : 4));
}

/* Where row `row` of all planes' rows of y has its windows in x. */
typedef struct {
    ptrdiff_t row, plane, i;
} FC(pool_place);

FC_INLINE void FC(place_next)(FC(pool_place) *place, ptrdiff_t OH) {
    place->row++;
    if (++place->i == OH) place->i = 0, place->plane++;
}

FC_INLINE const real *FC(place_x)(const FC(pool) *job, const FC(pool_place) *place) {
    return job->x + (place->plane * job->p->H + 2 * place->i) * job->p->W;
}

/* Two rows of y, at most LANES / 2 wide, in one vector. */
FC_INLINE void FC(pool_2x2_pair)(const FC(pool) *job, const FC(pool_place) *a, const FC(pool_place) *b,
                                 const int max) {
    const ptrdiff_t W = job->p->W, at = a->row * job->p->OW, next = b->row * job->p->OW;
    const real *x0 = FC(place_x)(job, a), *x1 = FC(place_x)(job, b);
    ivec code;
    const vec best = FC(pool_2x2)(job, vec_load(x0), vec_load(x1), vec_load(x0 + W), vec_load(x1 + W), max, &code);
    vec_store_halves(job->y + at, job->y + next, best);
    if (job->winners) {
        ivec_to_bytes_halves(job->winners + at, job->winners + next, code);
    } else if (job->indices) {
        const ivec lane = ivec_iota();
        const ivec upper = lane >= LANES / 2;
        code += 2 * lane + (ireal)(2 * a->i * W) + (upper & (ireal)(2 * (b->i - a->i) * W - LANES));
        ivec_to_int64_halves(job->indices + at, job->indices + next, code);
    }
}

/* One row of y. */
FC_INLINE void FC(pool_2x2_row)(const FC(pool) *job, const FC(pool_place) *place, const int max) {
    const ptrdiff_t W = job->p->W, OW = job->p->OW;
    const real *x = FC(place_x)(job, place);
    for (ptrdiff_t j = 0; j < OW; j += LANES) {
        if (j + LANES > OW && OW > LANES) j = OW - LANES; /* the last vector overlaps the one before */
        const int n = OW - j < LANES ? (int)(OW - j) : LANES;
        const real *top = x + 2 * j, *bottom = top + W;
        ivec code;
        vec best;
        if (bottom + 2 * LANES <= job->x_end) {
            best = FC(pool_2x2)(job, vec_load(top), vec_load(top + LANES), vec_load(bottom), vec_load(bottom + LANES),
                                max, &code);
        } else {
            const int a = 2 * n < LANES ? 2 * n : LANES, b = 2 * n - a;
            best = FC(pool_2x2)(job, vec_load_n(top, a), vec_load_n(top + a, b), vec_load_n(bottom, a),
                                vec_load_n(bottom + a, b), max, &code);
        }
        FC(pool_store)(job, place->row * OW + j, best, code, n, 2 * place->i * W + 2 * j, 2);
    }
}

/* Rows begin .. end-1 of all planes' rows of y. */
FC_INLINE void FC(pool_2x2_rows)(const FC(pool) *shared, ptrdiff_t begin, ptrdiff_t end, const int max) {
    const fc_pool2d shape = *shared->p; /* copies, which no store can change: they stay in registers */
    FC(pool) copy = *shared;
    copy.p = &shape;
    const FC(pool) *job = &copy;
    const ptrdiff_t OH = job->p->OH, OW = job->p->OW, W = job->p->W;
    FC(pool_place) place = {begin, begin / OH, begin % OH};
    while (place.row < end) {
        FC(pool_place) second = place;
        FC(place_next)(&second, OH);
        if (OW <= LANES / 2 && second.row < end && second.row * OW + LANES / 2 <= job->y_end &&
            FC(place_x)(job, &second) + W + LANES <= job->x_end) {
            FC(pool_2x2_pair)(job, &place, &second, max);
            place = second;
        } else {
            FC(pool_2x2_row)(job, &place, max);
        }
        FC(place_next)(&place, OH);
    }
}

/* The gradients of a row of x, from those of LANES windows: `a` and `b` hold 2 * LANES columns.  lower: the bottom row.
 * Of an average, `gradient` is divided already. */
FC_INLINE void FC(spread_2x2)(vec gradient, ivec code, int lower, const int max, vec *a, vec *b) {
    const vec zero = {0};
    const ivec left = ivec_set1(2 * lower), right = left + 1;
    if (max) vec_interleave(vec_select(code == left, gradient, zero), vec_select(code == right, gradient, zero), a, b);
    else vec_interleave(gradient, gradient, a, b);
}

/* One row of y: two rows of x, `end` being the end of what may be written. */
FC_INLINE void FC(backward_2x2_row)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                    const real *end, vec divisor, const int max) {
    for (int lower = 0; lower < 2; lower++, grad_x += p->W) {
        for (ptrdiff_t j = 0; j < p->OW; j += LANES) {
            if (j + LANES > p->OW && p->OW > LANES) j = p->OW - LANES;
            const int n = p->OW - j < LANES ? (int)(p->OW - j) : LANES;
            vec g = vec_load_n(grad_y + j, n), a, b;
            if (!max) g /= divisor;
            FC(spread_2x2)(g, max ? ivec_from_bytes_n(winners + j, n) : (ivec){0}, lower, max, &a, &b);
            real *to = grad_x + 2 * j;
            if (to + 2 * LANES <= end) {
                vec_store(to, a);
                vec_store(to + LANES, b);
            } else {
                const int first = 2 * n < LANES ? 2 * n : LANES;
                vec_store_n(to, a, first);
                if (2 * n > first) vec_store_n(to + LANES, b, 2 * n - first);
            }
        }
        for (ptrdiff_t w = 2 * p->OW; w < p->W; w++) grad_x[w] = 0;
    }
}

/* The same where the row fills at most one vector, which may read and write past its end: what it writes too much is
 * written again after it. */
FC_INLINE void FC(backward_2x2_short)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                      vec divisor, const int max) {
    const ptrdiff_t W = p->W, OW = p->OW;
    const vec g = max ? vec_load(grad_y) : vec_load(grad_y) / divisor;
    const ivec code = max ? ivec_from_bytes(winners) : (ivec){0};
#pragma GCC unroll 2
    for (int lower = 0; lower < 2; lower++, grad_x += W) {
        vec a, b;
        FC(spread_2x2)(g, code, lower, max, &a, &b);
        vec_store(grad_x, a);
        if (2 * OW > LANES) vec_store(grad_x + LANES, b);
        for (ptrdiff_t w = 2 * OW; w < W; w++) grad_x[w] = 0;
    }
}

/* Two rows of y in one vector, W <= LANES: rows of x at `first` and at `second`, which may lie in the next
 * plane; `gap` elements behind the first two rows belong to no window.  What a vector writes too much is written again
 * after it. */
FC_INLINE void FC(backward_2x2_pair)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *first,
                                     real *second, ptrdiff_t gap, vec divisor, const int max) {
    const ptrdiff_t W = p->W, OW = p->OW;
    const ivec in_row = (ivec_iota() & (LANES / 2 - 1)) < (ireal)OW;
    vec g = vec_load_halves(grad_y, grad_y + OW), top_a, top_b, bottom_a, bottom_b;
    if (!max) g /= divisor;
    g = vec_select(in_row, g, (vec){0}); /* a last column without a window gets 0 */
    const ivec code = max ? ivec_from_bytes_halves(winners, winners + OW) : (ivec){0};
    FC(spread_2x2)(g, code, 0, max, &top_a, &top_b);
    FC(spread_2x2)(g, code, 1, max, &bottom_a, &bottom_b);
    vec_store(first, top_a);
    vec_store(first + W, bottom_a);
    for (ptrdiff_t w = 0; w < gap; w += LANES) vec_store(first + 2 * W + w, (vec){0});
    vec_store(second, top_b);
    vec_store(second + W, bottom_b);
}

/* Each element of grad_x is written once (or twice, at the ends of rows); winners only of a maximum. */
FC_INLINE void FC(backward_2x2)(const fc_pool2d *p, const real *grad_y, const uint8_t *winners, real *grad_x,
                                ptrdiff_t planes, real divisor, const int max) {
    const ptrdiff_t W = p->W, OH = p->OH, OW = p->OW, rest = (p->H - 2 * OH) * W; /* below the last window */
    const real *end = grad_x + planes * p->H * W, *grad_y_end = grad_y + planes * OH * OW;
    const vec divisors = vec_set1(divisor);
    ptrdiff_t i = 0; /* row of y in its plane */
    while (grad_y < grad_y_end) {
        const ptrdiff_t gap = i + 1 == OH ? rest : 0;
        real *second = grad_x + 2 * W + gap;
        if (W <= LANES && grad_y + OW + LANES / 2 <= grad_y_end && second + W + LANES <= end) {
            FC(backward_2x2_pair)(p, grad_y, winners, grad_x, second, gap, divisors, max);
            i = i + 1 == OH ? 1 : i + 2;
            grad_y += 2 * OW;
            winners += 2 * OW;
            grad_x = second + 2 * W;
            if (i < OH) continue;
        } else {
            if (OW <= LANES && grad_y + LANES <= grad_y_end && grad_x + W + 2 * LANES <= end)
                FC(backward_2x2_short)(p, grad_y, winners, grad_x, divisors, max);
            else FC(backward_2x2_row)(p, grad_y, winners, grad_x, end, divisors, max);
            i++;
            grad_y += OW;
            winners += OW;
            grad_x += 2 * W;
            if (i < OH) continue;
        }
        memset(grad_x, 0, (size_t)rest * sizeof *grad_x);
        grad_x += rest;
        i = 0;
    }
}
