/* Class numbers as targets, whatever the type of the logits. */
#include "fastconv.h"

int fc_targets_within(const int64_t *target, ptrdiff_t n, int64_t classes, int64_t ignore_index) {
    int64_t outside = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        outside |= ((uint64_t)target[i] >= (uint64_t)classes) & (target[i] != ignore_index);
    return !outside;
}
