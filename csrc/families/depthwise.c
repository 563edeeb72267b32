/* Convolution plane by plane. */
#define FC_SOURCE_1 "../kernels/depthwise.c"
#include "each_type.h"
