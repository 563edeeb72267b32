/* What follows a convolution in the same call. */
#define FC_SOURCE_1 "../kernels/pool_band.c"
#include "each_type.h"
