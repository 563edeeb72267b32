/* The gradients of a convolution from a sparse grad_y. */
#define FC_SOURCE_1 "../kernels/sparse.c"
#include "each_type.h"
