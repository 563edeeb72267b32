/* Convolution with vectors over channels, and Winograd's transforms on top of it. */
#define FC_SOURCE_1 "../kernels/correlate_channels.c"
#define FC_SOURCE_2 "../kernels/winograd.c"
#include "each_type.h"
