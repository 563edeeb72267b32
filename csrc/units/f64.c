/* The operations for double. */
#define real double
#define FC_SUFFIX f64
#include "../ops/templates.h"
