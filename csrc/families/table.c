/* The table of all kernels of one instruction set: what dispatch.c chooses from. */
#include "../isa.h"
#include "../kernel_table.h"

#define FC_KERNEL(result, name, arguments) result FC_ISA_NAME_OF(name, f32) arguments;
#define real float
#define int_real int_f32
#include "../kernels.inc"
#undef real
#undef int_real
#undef FC_KERNEL
#define FC_KERNEL(result, name, arguments) result FC_ISA_NAME_OF(name, f64) arguments;
#define real double
#define int_real int_f64
#include "../kernels.inc"
#undef real
#undef int_real
#undef FC_KERNEL

#define FC_TABLE FC_PASTE(fc_table, FC_ISA)
#define FC_STRING_(x) #x
#define FC_STRING(x) FC_STRING_(x)

extern const fc_kernel_table FC_TABLE;
const fc_kernel_table FC_TABLE = {
    .isa = FC_STRING(FC_ISA),
    .f32 =
        {
            .lanes = FC_LANES_f32,
            .tiles = FC_TILES,
#define FC_KERNEL(result, name, arguments) .name = FC_ISA_NAME_OF(name, f32),
#include "../kernels.inc"
#undef FC_KERNEL
        },
    .f64 =
        {
            .lanes = FC_LANES_f64,
            .tiles = FC_TILES,
#define FC_KERNEL(result, name, arguments) .name = FC_ISA_NAME_OF(name, f64),
#include "../kernels.inc"
#undef FC_KERNEL
        },
};
