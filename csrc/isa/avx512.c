/* The kernels for AVX-512 (F, DQ, BW, VL). */
#define FC_ISA_AVX512
#define FC_ISA_NAME "avx512"
#define FC_TABLE fc_table_avx512
#include "../kernels/all.h"
