/* The table of kernels: one pointer for each line of kernels.inc, for float and for double, and the tile sizes that the
 * blocking in ops/ needs to know.  families/table.c defines one for each instruction set. */
#ifndef FC_KERNEL_TABLE_H
#define FC_KERNEL_TABLE_H

#include "fastconv.h"
#include "jobs.h"
#include "real.h"
#include <stddef.h>
#include <stdint.h>

/* See tiles.h. */
typedef struct {
    int positions;
    unsigned char position_vectors[9];
    int point_rows, point_vectors, outer, outer_sums, tap_rows, tap_vectors, sparse_taps;
} fc_tiles;

#define FC_KERNEL(result, name, arguments) result(*name) arguments;

typedef struct {
    int lanes; /* elements in a vector */
    fc_tiles tiles;
#define real float
#define int_real int_f32
#include "kernels.inc"
#undef real
#undef int_real
} fc_kernels_f32;

typedef struct {
    int lanes;
    fc_tiles tiles;
#define real double
#define int_real int_f64
#include "kernels.inc"
#undef real
#undef int_real
} fc_kernels_f64;

#undef FC_KERNEL

typedef struct {
    const char *isa;
    fc_kernels_f32 f32;
    fc_kernels_f64 f64;
} fc_kernel_table;

#endif
