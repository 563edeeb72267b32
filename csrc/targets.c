/* Class numbers as targets, whatever the type of the logits. */
#include "fastconv.h"

/* t and classes - 1 - t are both without sign where 0 <= t < classes: usually all are, and one quick pass says so. */
int fc_targets_within(const int64_t *target, ptrdiff_t n, int64_t classes, int64_t ignore_index) {
    uint64_t signs = 0;
    for (ptrdiff_t i = 0; i < n; i++) signs |= (uint64_t)target[i] | ((uint64_t)classes - 1 - (uint64_t)target[i]);
    if (!(signs >> 63)) return 1;
    for (ptrdiff_t i = 0; i < n; i++)
        if ((uint64_t)target[i] >= (uint64_t)classes && target[i] != ignore_index) return 0;
    return 1;
}
