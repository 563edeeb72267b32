/* A family of kernels, for one instruction set, once for float and once for double: a unit of families/ names its
 * sources, FC_SOURCE_1, FC_SOURCE_2 .. in the order in which they build on each other, and includes this file. */
#include "../isa.h"

#define real float
#define FC_SUFFIX f32
#define FC_REAL_BYTES 4
#include "sources.h"
#undef real
#undef FC_SUFFIX
#undef FC_REAL_BYTES

#define real double
#define FC_SUFFIX f64
#define FC_REAL_BYTES 8
#include "sources.h"
