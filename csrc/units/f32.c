/* The operations for float. */
#include "../dispatch.h"

#define real float
#define FC_SUFFIX f32
#include "../ops/templates.h"
