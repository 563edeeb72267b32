/* Which instruction sets this CPU and its operating system have, and the table of kernels in use. */
#ifndef FC_DISPATCH_H
#define FC_DISPATCH_H

#include "kernel_table.h"

typedef struct {
    unsigned sse2, avx2, fma, avx512f, avx512dq, avx512bw, avx512vl, neon; /* 0 or 1, as are these: */
    unsigned os_ymm, os_zmm; /* the operating system saves these registers (XGETBV) */
    long l1d, l2, l3;   /* bytes, 0 where unknown */
    char vendor[13];
    char brand[49];
} fc_cpu;

const fc_cpu *fc_cpu_info(void);

/* Tables compiled in, best last; NULL past the end. */
const fc_kernel_table *fc_table(int i);
int fc_table_supported(const fc_kernel_table *table);

/* The table in use; fc_select makes another one active: 0, or -1 unknown name, -2 not supported here. */
extern const fc_kernel_table *fc_active;
int fc_select(const char *isa);
void fc_select_best(void);

#endif
