/* Sizes as doubles, for estimates of work and memory: a product of sizes may be beyond ptrdiff_t, and that a double rounds
 * above 2^53 is no loss to an estimate.  The only place where a size becomes a floating-point number for that purpose. */
#ifndef FC_ESTIMATE_H
#define FC_ESTIMATE_H

#include <stddef.h>

static inline double fc_estimate(ptrdiff_t n) { return (double)n; }

static inline double fc_product_of(const ptrdiff_t *sizes, size_t n) {
    double product = 1;
    for (size_t i = 0; i < n; i++) product *= (double)sizes[i];
    return product;
}

/* fc_product(N, C, H, W): the product of any number of sizes, multiplied as doubles. */
#define fc_product(...)                                                                                                \
    fc_product_of((const ptrdiff_t[]){__VA_ARGS__}, sizeof((const ptrdiff_t[]){__VA_ARGS__}) / sizeof(ptrdiff_t))

#endif
