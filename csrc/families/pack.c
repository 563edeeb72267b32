/* Rearranging, padding and checking arrays. */
#define FC_SOURCE_1 "../kernels/pack.c"
#include "each_type.h"
