/* Matrix products. */
#define FC_SOURCE_1 "../kernels/matmul.c"
#include "each_type.h"
