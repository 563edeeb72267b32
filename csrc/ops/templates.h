/* All operations for one element type; included by each unit of units/, after dispatch.h. */
#include "arena.h"
#include "ops.h"
#include "parallel.h"

#include <string.h>

#define kernels (fc_active->FC_SUFFIX)

#include "elementwise.c"
#include "softmax.c"
#include "optim.c"
#include "max_pool2d.c"
#include "avg_pool2d.c"
#include "linear.c"
#include "epilogue.c"
#include "correlate.c"
#include "weights.c"
#include "winograd.c"
#include "depthwise.c"
#include "winograd_grad.c"
#include "phases.c"
#include "sparse.c"
#include "conv2d.c"
#include "fused.c"
