/* The gradients of a convolution with few channels. */
#define FC_SOURCE_1 "../kernels/tap_sums.c"
#define FC_SOURCE_2 "../kernels/outer_positions.c"
#include "each_type.h"
