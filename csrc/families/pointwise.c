/* Convolutions of one tap. */
#define FC_SOURCE_1 "../kernels/pointwise.c"
#include "each_type.h"
