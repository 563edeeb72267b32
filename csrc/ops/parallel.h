/* Threads and floating-point mode: how many threads a piece of work deserves, and denormals as zero inside a call. */
#ifndef FC_PARALLEL_H
#define FC_PARALLEL_H

#include <omp.h>
#include <stdint.h>

/* Waking a second thread costs 1 to 50 microseconds; below these amounts of work it is not worth it. */
#ifndef FC_THREADS_ALWAYS
#define FC_FLOPS_PER_THREAD 1.5e6   /* multiply-adds of a convolution or a matrix product: about 25 us */
#define FC_STREAMED_PER_THREAD 400e3 /* bytes of weights that are read once: about 5 us */
#define FC_BYTES_PER_THREAD 300e3   /* memory read and written by an element-wise operation: about 20 us */
#else /* for those who look for races, in small problems */
#define FC_FLOPS_PER_THREAD 1.0
#define FC_STREAMED_PER_THREAD 1.0
#define FC_BYTES_PER_THREAD 1.0
#endif

static inline int fc_threads_for(double work, double per_thread, int threads) {
    double useful = work / per_thread;
    if (useful < 2) return 1;
    return useful < threads ? (int)useful : threads;
}

/* Denormals are zero between fc_mode_enter and fc_mode_leave, on the calling thread (x86-64: FTZ and DAZ; AArch64: FZ). */
#if defined(__SSE2__)
typedef unsigned fc_mode;
static inline fc_mode fc_mode_enter(void) {
    fc_mode mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040u);
    return mode;
}
static inline void fc_mode_leave(fc_mode mode) { 
    /* The caller's control bits; the exception flags that the work raised are dropped with it. */
    __builtin_ia32_ldmxcsr(mode);
}
#elif defined(__aarch64__)
typedef uint64_t fc_mode;
static inline fc_mode fc_mode_enter(void) {
    fc_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | (UINT64_C(1) << 24)));
    return mode;
}
static inline void fc_mode_leave(fc_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
typedef int fc_mode;
static inline fc_mode fc_mode_enter(void) { return 0; }
static inline void fc_mode_leave(fc_mode mode) { (void)mode; }
#endif

#endif
