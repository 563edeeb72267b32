/* All kernels for one element type; included by all.h. */
#include "../simd/lanes.h"

#include "pack.c"
#include "correlate_channels.c"
#include "winograd.c"
#include "correlate_positions.c"
#include "outer_taps.c"
#include "matmul.c"
#include "elementwise.c"
#include "softmax.c"
#include "optim.c"
#include "max_pool2d.c"
#include "avg_pool2d.c"
