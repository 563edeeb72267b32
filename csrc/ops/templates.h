/* All operations for one element type; included by each unit of units/, after dispatch.h. */
#include "arena.h"
#include "ops.h"
#include "parallel.h"

#include <math.h>
#include <string.h>

#define kernels (fc_active->FC_SUFFIX)

#include "elementwise.c"
#include "softmax.c"
#include "optim.c"
#include "max_pool2d.c"
#include "avg_pool2d.c"
#include "unfold.c"
#include "adaptive_avg_pool2d.c"
#include "batch_norm.c"
#include "linear.c"
#include "unpool.c"
#include "epilogue.c"
#include "correlate.c"
#include "strided_grad_x.c"
#include "pointwise.c"
#include "weights.c"
#include "winograd.c"
#include "winograd_grad.c"
#include "depthwise.c"
#include "tap_sums.c"
#include "outer_positions.c"
#include "phases.c"
#include "sparse.c"
#include "choose.c"
#include "direct.c"
#include "outer_taps.c"
#include "conv_transpose2d.c"
#include "conv2d.c"
#include "fused.c"
