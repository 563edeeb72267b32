/* Convolution with vectors over positions. */
#define FC_SOURCE_1 "../kernels/correlate_positions.c"
#include "each_type.h"
