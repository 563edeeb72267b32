/* The kernels for AVX2 with FMA. */
#define FC_ISA_AVX2
#define FC_ISA_NAME "avx2"
#define FC_TABLE fc_table_avx2
#include "../kernels/all.h"
