/* The operations for double. */
#include "../dispatch.h"

#define real double
#define FC_SUFFIX f64
#include "../ops/templates.h"
