/* The forward pass of max and average pooling: which path. */

/* Rows begin .. end-1 of the N * C * OH rows of y. */
FC_INLINE void FC(pool_forward)(const FC(pool) *job, ptrdiff_t begin, ptrdiff_t end, const int max) {
    const fc_pool2d *p = job->p;
    const ptrdiff_t S = p->kernel_w, stride = p->stride_w, d = p->dilation_w;
    if (FC(pool_is_2x2)(p)) {
        FC(pool_2x2_rows)(job, begin, end, max);
        return;
    }
    const int narrow = p->OW <= LANES / 2 || stride > 2;
    if (narrow && FC(plane_width)(p) > 0 && begin % p->OH == 0 && end % p->OH == 0 && end - begin >= LANES * p->OH) {
        FC(pool_planes)(job, begin / p->OH, (end - begin) / p->OH, max);
        return;
    }
    if (FC(pool_is_3x3)(p)) {
        if (max && (job->winners || job->indices)) FC(pool_3x3_rows)(job, begin, end, max, 1);
        else FC(pool_3x3_rows)(job, begin, end, max, 0);
        return;
    }
    if (S == 3 && stride == 1 && d == 1) FC(pool_rows)(job, begin, end, 3, 1, 1, max);
    else if (stride == 2 && d == 1) FC(pool_rows)(job, begin, end, S, 2, 1, max);
    else if (stride == 1) FC(pool_rows)(job, begin, end, S, 1, d, max);
    else FC(pool_rows)(job, begin, end, S, stride, d, max);
}
