/* The vector vocabulary that kernels are written in.
 *
 * isa.h defines FC_ISA_AVX512 or FC_ISA_AVX2 (or none: SSE2 on x86-64, NEON on AArch64, plain GCC vectors elsewhere).  A vector is a GCC vector type, so + - * / and comparisons are plain C; what
 * plain C cannot say is named here, with the suffix of the element type: f32 or f64.
 *
 *   vec_f32, ivec_f32        a vector of floats; the integer vector of the same shape (comparisons give 0 or -1 lanes)
 *   load(p) store(p, v)      unaligned, whole vector
 *   load_n(p, n) store_n     the first n lanes, 0 <= n <= lanes; the others load as 0 and are not stored or touched
 *   load_wide(p)             as many elements as a vector of doubles has lanes, as doubles
 *   set1(x)  fma(a, b, c)    x in all lanes; a*b + c (rounded once where the instruction set has it)
 *   max(a, b)                a > b ? a : b per lane: b where either is NaN
 *   sqrt(a)
 *   select(m, a, b)          m lane ? a : b, m the result of a comparison;  iselect: the same for integer vectors
 *   sum(a)                   of the lanes, by halves: a fixed order
 *
 * and, per element type through lanes.h: interleave, deinterleave and transpose; through bytes.h: bytes and halves; through masks.h: masks;
 * through scale.h: powers of two. */
#ifndef FC_SIMD_H
#define FC_SIMD_H

#include "real.h"
#include <math.h>
#include <string.h>

#define FC_INLINE static inline __attribute__((always_inline))

#if defined(FC_ISA_AVX512)
#define FC_VBYTES 64
#elif defined(FC_ISA_AVX2)
#define FC_VBYTES 32
#else
#define FC_VBYTES 16
#endif

typedef float vec_f32 __attribute__((vector_size(FC_VBYTES)));
typedef double vec_f64 __attribute__((vector_size(FC_VBYTES)));
typedef int32_t ivec_f32 __attribute__((vector_size(FC_VBYTES)));
typedef int64_t ivec_f64 __attribute__((vector_size(FC_VBYTES)));
typedef uint32_t uvec __attribute__((vector_size(FC_VBYTES)));

typedef float vec_unaligned_f32 __attribute__((vector_size(FC_VBYTES), aligned(4), may_alias));
typedef double vec_unaligned_f64 __attribute__((vector_size(FC_VBYTES), aligned(8), may_alias));

typedef float half_unaligned_f32 __attribute__((vector_size(FC_VBYTES / 2), aligned(4), may_alias));

#define FC_LANES_f32 (FC_VBYTES / 4)
#define FC_LANES_f64 (FC_VBYTES / 8)

FC_INLINE vec_f32 load_f32(const float *p) { return *(const vec_unaligned_f32 *)p; }
FC_INLINE vec_f64 load_f64(const double *p) { return *(const vec_unaligned_f64 *)p; }
FC_INLINE void store_f32(float *p, vec_f32 v) { *(vec_unaligned_f32 *)p = v; }
FC_INLINE void store_f64(double *p, vec_f64 v) { *(vec_unaligned_f64 *)p = v; }
/* FC_LANES_f64 elements as doubles */
FC_INLINE vec_f64 load_wide_f32(const float *p) { return __builtin_convertvector(*(const half_unaligned_f32 *)p, vec_f64); }
FC_INLINE vec_f64 load_wide_f64(const double *p) { return load_f64(p); }
/* x - 0 is x in every bit, so this is a plain broadcast. */
FC_INLINE vec_f32 set1_f32(float x) { return x - (vec_f32){0}; }
FC_INLINE vec_f64 set1_f64(double x) { return x - (vec_f64){0}; }

/* v, held in a register from here on: GCC may otherwise load it again for each of its uses. */
#if defined(__x86_64__)
#define FC_KEEP(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define FC_KEEP(v) __asm__("" : "+w"(v))
#else
#define FC_KEEP(v) (void)(v)
#endif

#if defined(FC_ISA_AVX512)
#include "simd/avx512.h"
#elif defined(FC_ISA_AVX2)
#include "simd/avx2.h"
#elif defined(__aarch64__)
#include "simd/neon.h"
#elif defined(__SSE2__)
#include "simd/sse2.h"
#else
#include "simd/portable.h"
#endif
#include "simd/bytes.h"
#include "simd/compress.h"
#include "simd/masks.h"
#include "simd/scale.h"

/* The short names, resolved to the element type of the template at hand. */
#define vec FC(vec)
#define ivec FC(ivec)
#define vec_load FC(load)
#define vec_store FC(store)
#define vec_load_n FC(load_n)
#define vec_store_n FC(store_n)
#define vec_load_wide FC(load_wide)
#define vec_set1 FC(set1)
#define vec_fma FC(fma)
#define vec_max FC(max)
#define vec_sqrt FC(sqrt)
#define vec_select FC(select)
#define ivec_select FC(iselect)
#define vec_sum FC(sum)
#define vec_interleave FC(interleave)
#define vec_deinterleave FC(deinterleave)
#define vec_shift_up FC(shift_up)
#define vec_transpose FC(transpose_square)
#define vec_load_strided FC(load_strided)
#define vec_sum_rows FC(sum_rows)
#define vec_max_lanes FC(max_lanes)
#define vec_compress FC(compress)
#define vec_load_transposed FC(load_transposed)
#define LANES FC(FC_LANES)

#endif
