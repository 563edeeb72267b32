/* Pooling with vectors over planes: lane q is plane q of LANES neighbouring ones, so that every vector is full however
 * narrow the planes are and whatever the stride.  x is transposed on its way in and y on its way out, a run of pixels
 * of all LANES planes at a time; in between, the code is that of a single plane, with vectors for numbers, and taps
 * outside x are passed over.  See pool2d_common.c. */

enum { FC(PLANE_PIXELS) = 256 };

/* Pixels begin .. end-1 (flat, in the plane) of LANES planes. */
typedef struct {
    vec value[FC(PLANE_PIXELS) + LANES];
    ptrdiff_t begin, end;
} FC(pixels);

/* x: the first of the planes, `size` pixels each; no plane is read at or past x_end. */
static void FC(pixels_load)(FC(pixels) *pixels, const real *x, ptrdiff_t size, const real *x_end, ptrdiff_t begin,
                            ptrdiff_t end) {
    pixels->begin = begin;
    pixels->end = end;
    for (ptrdiff_t at = begin; at < end; at += LANES) {
        vec *to = pixels->value + (at - begin);
        const real *from = x + at;
        if (from + (LANES - 1) * size + LANES <= x_end) {
            vec_load_transposed(from, size, to);
        } else {
            const int n = end - at < LANES ? (int)(end - at) : LANES;
            for (int q = 0; q < LANES; q++) to[q] = vec_load_n(from + q * size, n);
            vec_transpose(to);
        }
    }
}

/* n results of LANES planes, for pixels at .. at+n-1 of y, on their way out. */
typedef struct {
    vec value[LANES];
    ivec code[LANES];
    ptrdiff_t at;
    int n;
} FC(pending);

/* y: the first of the planes, `size` pixels each; winners and indices likewise, or NULL. */
static void FC(pending_store)(FC(pending) *pending, real *y, uint8_t *winners, int64_t *indices, ptrdiff_t size) {
    const int n = pending->n;
    const ptrdiff_t at = pending->at;
    if (!n) return;
    vec_transpose(pending->value);
    for (int q = 0; q < LANES; q++) {
        if (n == LANES) vec_store(y + q * size + at, pending->value[q]);
        else vec_store_n(y + q * size + at, pending->value[q], n);
    }
    pending->n = 0;
    pending->at = at + n;
    if (!winners && !indices) return;
    vec bits[LANES];
    memcpy(bits, pending->code, sizeof bits);
    vec_transpose(bits);
    for (int q = 0; q < LANES; q++) {
        const ivec code = (ivec)bits[q];
        if (winners && n == LANES) ivec_to_bytes(winners + q * size + at, code);
        else if (winners) ivec_to_bytes_n(winners + q * size + at, code, n);
        else if (n == LANES) ivec_to_int64(indices + q * size + at, code);
        else ivec_to_int64_n(indices + q * size + at, code, n);
    }
}

FC_INLINE int FC(pending_add)(FC(pending) *pending, ptrdiff_t at, vec value, ivec code) {
    if (!pending->n) pending->at = at;
    pending->value[pending->n] = value;
    pending->code[pending->n] = code;
    return ++pending->n == LANES;
}

/* Columns j0 .. j0+width-1 of y: the taps inside x, from `first` to before `last`. */
typedef struct {
    ptrdiff_t j0, width;
    int first[FC(POOL_KEPT)], last[FC(POOL_KEPT)];
    ptrdiff_t low, high; /* columns of x that they touch */
    ptrdiff_t counted[FC(POOL_KEPT)]; /* elements of an average */
} FC(plane_strip);

static void FC(plane_plan)(const FC(pool) *job, FC(plane_strip) *strip) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t d = p->dilation_w;
    for (ptrdiff_t v = 0; v < strip->width; v++) {
        const ptrdiff_t w0 = (strip->j0 + v) * p->stride_w - p->pad_w;
        const ptrdiff_t inside = (p->W - w0 + d - 1) / d; /* taps left of the right edge */
        strip->first[v] = w0 < 0 ? (int)((-w0 + d - 1) / d) : 0;
        strip->last[v] = (int)(inside < p->kernel_w ? inside : p->kernel_w);
        strip->counted[v] = FC(pool_count)(w0, p->kernel_w, p->W, p->pad_w, job->count_include_pad);
    }
    const ptrdiff_t end = (strip->j0 + strip->width - 1) * p->stride_w - p->pad_w + (p->kernel_w - 1) * d + 1;
    strip->low = strip->j0 * p->stride_w - p->pad_w;
    if (strip->low < 0) strip->low = 0;
    strip->high = end < p->W ? end : p->W;
}

/* Row h of x, for all columns of a strip.  Where one strip is as wide as y, all rows that fit are fetched at once. */
FC_INLINE void FC(plane_reduce_row)(const FC(pool) *job, const FC(plane_strip) *strip, const real *x, ptrdiff_t h,
                                    FC(pixels) *pixels, const int max, FC(pool_kept) *kept) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t begin = h * p->W + strip->low, size = p->H * p->W;
    ptrdiff_t end = h * p->W + strip->high;
    if (begin < pixels->begin || end > pixels->end) {
        if (strip->width == p->OW) end = begin + FC(PLANE_PIXELS) < size ? begin + FC(PLANE_PIXELS) : size;
        FC(pixels_load)(pixels, x, size, job->x_end, begin, end);
    }
    const int slot = FC(pool_slot)(kept, p, h);
    const vec *row = pixels->value + (h * p->W - pixels->begin);
    for (ptrdiff_t v = 0; v < strip->width; v++) {
        const ptrdiff_t w0 = (strip->j0 + v) * p->stride_w - p->pad_w;
        ptrdiff_t s = strip->first[v];
        vec best = row[w0 + s * p->dilation_w];
        ivec code = ivec_set1((ireal)(s * job->code_col));
        for (s++; s < strip->last[v]; s++)
            FC(pool_add)(max, &best, &code, row[w0 + s * p->dilation_w], ivec_set1((ireal)(s * job->code_col)));
        kept->best[slot * kept->width + v] = best;
        if (max) kept->code[slot * kept->width + v] = code;
    }
}

/* The strip of LANES planes from `plane` on. */
FC_INLINE void FC(plane_strip_forward)(const FC(pool) *job, const FC(plane_strip) *strip, ptrdiff_t plane,
                                       const int max, FC(pool_kept) *kept, FC(pixels) *pixels) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t size = p->OH * p->OW, start = plane * size;
    const real *x = job->x + plane * p->H * p->W;
    uint8_t *winners = job->winners ? job->winners + start : NULL;
    int64_t *indices = job->indices && !winners ? job->indices + start : NULL;
    FC(pending) pending;
    FC(pool_window) window;
    pending.n = 0;
    for (ptrdiff_t i = 0; i < p->OH; i++) {
        const ptrdiff_t top = i * p->stride_h - p->pad_h;
        const ptrdiff_t count = FC(pool_count)(top, p->kernel_h, p->H, p->pad_h, job->count_include_pad);
        for (ptrdiff_t r = 0, begin = 0; begin < p->kernel_h; begin = r) {
            FC(pool_next_rows)(job, kept, top, &r, &window);
            for (int k = 0; k < window.missing; k++)
                FC(plane_reduce_row)(job, strip, x, window.missing_row[k], pixels, max, kept);
            const int more = r < p->kernel_h;
            for (ptrdiff_t v = 0; v < strip->width; v++) {
                ivec code;
                vec best = begin == 0 && !more ? FC(pool_fold)(kept, &window, window.n, v, max, &code)
                                               : FC(pool_fold_part)(kept, &window, v, begin == 0, max, &code);
                if (more) continue;
                const ptrdiff_t j = strip->j0 + v;
                const real divisor = job->divisor != 0 ? job->divisor : (real)strip->counted[v] * (real)count;
                if (!max) best = FC(pool_mean)(best, vec_set1(divisor));
                if (indices) code += (ireal)(top * p->W + j * p->stride_w - p->pad_w);
                if (FC(pending_add)(&pending, i * p->OW + j, best, code))
                    FC(pending_store)(&pending, job->y + start, winners, indices, size);
            }
        }
        if (strip->width < p->OW) FC(pending_store)(&pending, job->y + start, winners, indices, size);
    }
    FC(pending_store)(&pending, job->y + start, winners, indices, size);
}

/* Columns of y that one strip can hold: its pixels must fit. */
FC_INLINE ptrdiff_t FC(plane_width)(const fc_pool2d *p) {
    const ptrdiff_t window = (p->kernel_w - 1) * p->dilation_w + 1;
    return window > FC(PLANE_PIXELS) ? 0 : (FC(PLANE_PIXELS) - window) / p->stride_w + 1;
}

/* `count` whole planes from `plane` on, at least LANES. */
FC_INLINE void FC(pool_planes)(const FC(pool) *job, ptrdiff_t plane, ptrdiff_t count, const int max) {
    const fc_pool2d *p = job->p;
    FC(pool_kept) kept;
    FC(pixels) pixels;
    FC(plane_strip) strip;
    for (strip.j0 = 0; strip.j0 < p->OW; strip.j0 += strip.width) {
        const ptrdiff_t left = p->OW - strip.j0, widest = FC(plane_width)(p);
        FC(pool_plan_kept)(p, left < widest ? left : widest, &kept);
        strip.width = kept.width;
        FC(plane_plan)(job, &strip);
        for (ptrdiff_t group = 0; group < count; group += LANES) {
            if (group + LANES > count) group = count - LANES; /* the last group overlaps the one before */
            FC(pool_forget)(&kept);
            pixels.begin = pixels.end = 0;
            FC(plane_strip_forward)(job, &strip, plane + group, max, &kept, &pixels);
        }
    }
}
