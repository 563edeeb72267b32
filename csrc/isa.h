/* The instruction set that a unit of families/ is compiled for.
 *
 * setup.py compiles each unit once for each instruction set, with the compiler's flags for it and FC_ISA set to its name:
 * baseline, avx2 or avx512.  KERNEL(name) is the name of a kernel's instance for this set and element type, such as
 * relu_forward_f32_avx2; kernels.inc lists them all. */
#ifndef FC_ISA_H
#define FC_ISA_H

#include "fastconv.h"
#include "jobs.h"
#include "real.h"

#if defined(__AVX512F__)
#define FC_ISA_AVX512
#elif defined(__AVX2__)
#define FC_ISA_AVX2
#endif
#ifndef FC_ISA
#define FC_ISA baseline
#endif

#define FC_ISA_NAME_3(name, type, isa) name##_##type##_##isa
#define FC_ISA_NAME_2(name, type, isa) FC_ISA_NAME_3(name, type, isa)
#define FC_ISA_NAME_OF(name, type) FC_ISA_NAME_2(name, type, FC_ISA)
#define KERNEL(name) FC_ISA_NAME_OF(name, FC_SUFFIX)

#include "simd.h"
#include "tiles.h"

#endif
