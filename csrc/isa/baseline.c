/* The kernels for what every machine of its architecture has: SSE2 on x86-64, NEON on AArch64. */
#define FC_ISA_NAME "baseline"
#define FC_TABLE fc_table_baseline
#include "../kernels/all.h"
