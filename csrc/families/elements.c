/* What runs over the elements or the rows of arrays. */
#define FC_SOURCE_1 "../kernels/elementwise.c"
#define FC_SOURCE_2 "../kernels/sums.c"
#define FC_SOURCE_3 "../kernels/softmax.c"
#define FC_SOURCE_4 "../kernels/optim.c"
#include "each_type.h"
