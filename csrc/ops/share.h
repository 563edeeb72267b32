/* A thread's share of n items: the items are cut into as many contiguous runs as the enclosing parallel region has
 * threads, at multiples of `grain` (a power of two).  No result may depend on where the cuts fall. */
#ifndef FC_SHARE_H
#define FC_SHARE_H

#include "../fastconv.h"
#include <omp.h>
#include <stddef.h>

typedef struct {
    ptrdiff_t begin, end;
} fc_range;

static inline fc_range fc_share(ptrdiff_t n, ptrdiff_t grain) {
    const ptrdiff_t threads = omp_get_num_threads(), me = omp_get_thread_num();
    const ptrdiff_t grains = (n + grain - 1) / grain;
    const ptrdiff_t each = grains / threads, more = grains % threads; /* the first `more` threads get one more */
    fc_range range;
    range.begin = (me * each + (me < more ? me : more)) * grain;
    range.end = range.begin + (each + (me < more)) * grain;
    if (range.begin > n) range.begin = n;
    if (range.end > n) range.end = n;
    return range;
}

/* Of the rows of y, all planes': whole planes where there are enough for balance, which the kernels like better. */
static inline fc_range fc_share_rows(const fc_pool2d *p) {
    const ptrdiff_t planes = p->N * p->C;
    if (planes < 16 * omp_get_num_threads()) return fc_share(planes * p->OH, 1);
    fc_range range = fc_share(planes, 1);
    range.begin *= p->OH;
    range.end *= p->OH;
    return range;
}

#endif
