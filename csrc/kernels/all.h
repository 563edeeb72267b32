/* All kernels, once for float and once for double, and the table of them: a unit of isa/ names its instruction set
 * (FC_ISA_*, and FC_ISA_NAME, FC_TABLE for its one exported symbol), then includes this file. */
#include "../kernel_table.h"
#include "../simd.h"

#define real float
#define FC_SUFFIX f32
#define FC_REAL_BYTES 4
#include "templates.h"
#undef real
#undef FC_SUFFIX
#undef FC_REAL_BYTES

#define real double
#define FC_SUFFIX f64
#define FC_REAL_BYTES 8
#include "templates.h"
#undef real
#undef FC_SUFFIX
#undef FC_REAL_BYTES

extern const fc_kernel_table FC_TABLE;
const fc_kernel_table FC_TABLE = {
    .isa = FC_ISA_NAME,
    .f32 =
        {
            .lanes = FC_LANES_f32,
            .conv_positions = CONV_POSITIONS,
#define FC_KERNEL(result, name, arguments) .name = name##_f32,
#include "../kernels.inc"
#undef FC_KERNEL
        },
    .f64 =
        {
            .lanes = FC_LANES_f64,
            .conv_positions = CONV_POSITIONS,
#define FC_KERNEL(result, name, arguments) .name = name##_f64,
#include "../kernels.inc"
#undef FC_KERNEL
        },
};
