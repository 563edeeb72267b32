/* Rearranging, padding and checking arrays. */
#define FC_SOURCE_1 "../kernels/pack.c"
#define FC_SOURCE_2 "../kernels/phases.c"
#include "each_type.h"
