/* What has its own numbers for each channel, and pools whose windows differ from place to place. */
#define FC_SOURCE_1 "../kernels/batch_norm.c"
#define FC_SOURCE_2 "../kernels/adaptive_avg_pool2d.c"
#include "each_type.h"
