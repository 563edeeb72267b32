/* The tiles of the convolution kernels, as data: how many vectors of results stay in registers at a time.
 *
 * AVX-512 and AArch64 have 32 vector registers, the others 16; a few must be left for the operands. */
#ifndef FC_TILES_H
#define FC_TILES_H

#if defined(FC_ISA_AVX512) || defined(__aarch64__)
#define CONV_POSITIONS 14 /* correlate_channels: positions x 2 vectors of channels */
#define OUTER_BUDGET 14   /* outer_taps: values of x x 2 vectors of channels */
#define SPARSE_TAPS 25    /* sparse: taps x 1 vector of channels */
#else
#define CONV_POSITIONS 6
#define OUTER_BUDGET 6
#define SPARSE_TAPS 12
#endif

#endif
