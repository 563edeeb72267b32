/* The gradients of a convolution with few channels. */
#define FC_SOURCE_1 "../kernels/tap_sums.c"
#include "each_type.h"
