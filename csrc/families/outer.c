/* The gradient of a convolution's weight. */
#define FC_SOURCE_1 "../kernels/outer_taps.c"
#include "each_type.h"
