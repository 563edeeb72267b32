/* The operations for float. */
#define real float
#define FC_SUFFIX f32
#include "../ops/templates.h"
