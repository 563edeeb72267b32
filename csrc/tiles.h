/* The tiles of the convolution kernels, as data: how much of a result stays in registers at a time.
 *
 * AVX-512 and AArch64 have 32 vector registers, the others 16; a few must be left for the operands.  V stands for a vector:
 * 16 floats or 8 doubles in AVX-512, half as many in AVX2, a quarter in SSE2 and NEON. */
#ifndef FC_TILES_H
#define FC_TILES_H

#if defined(FC_ISA_AVX512) || defined(__aarch64__)
#define CONV_POSITIONS 14   /* correlate_channels, winograd: positions x 2 V of output channels */
#define POSITION_VECTORS {0, 8, 8, 8, 6, 5, 4, 4, 3} /* correlate_positions: V of positions x 0, 1, .. 8 output channels */
#define POINT_ROWS 8        /* pointwise: output channels .. */
#define POINT_VECTORS 3     /* .. x V of positions */
#define OUTER_BUDGET 14     /* outer_taps: values of x x 2 V of output channels */
#define OUTER_SUMS 27       /* outer_positions: sums, a V each: 3 x 9 or 5 x 5 of output channels x taps */
#define TAP_ROWS 9          /* tap_sums: taps .. */
#define TAP_VECTORS 3       /* .. x V of positions */
#define SPARSE_TAPS 25      /* sparse: taps x 1 V of input channels */
#else
#define CONV_POSITIONS 6
#define POSITION_VECTORS {0, 8, 4, 3, 3, 2, 2, 1, 1}
#define POINT_ROWS 4
#define POINT_VECTORS 3
#define OUTER_BUDGET 6
#define OUTER_SUMS 12       /* 3 x 4 */
#define TAP_ROWS 6
#define TAP_VECTORS 2
#define SPARSE_TAPS 12
#endif

#define FC_TILES                                                                                                       \
    {CONV_POSITIONS, POSITION_VECTORS, POINT_ROWS, POINT_VECTORS, OUTER_BUDGET, OUTER_SUMS, TAP_ROWS, TAP_VECTORS,     \
     SPARSE_TAPS}

#endif
