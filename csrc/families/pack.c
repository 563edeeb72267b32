/* Rearranging, padding and checking arrays. */
#define FC_SOURCE_1 "../kernels/pack.c"
#define FC_SOURCE_2 "../kernels/phases.c"
#define FC_SOURCE_3 "../kernels/unfold.c"
#include "each_type.h"
