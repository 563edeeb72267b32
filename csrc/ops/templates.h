/* All operations for one element type; included by each unit of units/. */
#include "../dispatch.h"
#include "ops.h"
#include "parallel.h"

#define kernels (fc_active->FC_SUFFIX)

#include "elementwise.c"
#include "softmax.c"
#include "optim.c"
#include "max_pool2d.c"
#include "avg_pool2d.c"
#include "linear.c"
#include "correlate.c"
#include "conv2d.c"
