/* Threads and floating-point mode: how many threads a piece of work deserves, and the mode in which a call computes. */
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

/* The floating-point mode.  Whatever a caller has set (rounding, traps, flush to zero), a call computes as on any other
 * thread, and leaves the caller's mode as it was, exception flags included:
 *
 *   fc_mode_plain  round to nearest, no traps, denormals alive: on entry to every call (fastconv.c), and on each thread of a
 *                  team (region.c)
 *   fc_mode_enter  the same with denormals as zero (x86-64: FTZ and DAZ; AArch64: FZ), around arithmetic that may meet them
 *   fc_mode_leave  back to what either returned */
#if defined(__SSE2__)
typedef unsigned fc_mode;
enum { FC_MODE_PLAIN = 0x1F80, FC_MODE_FLUSH = 0x9FC0, FC_MODE_FLAGS = 0x3F };
static inline fc_mode fc_mode_plain(void) {
    const fc_mode mode = __builtin_ia32_stmxcsr();
    if ((mode & ~(fc_mode)FC_MODE_FLAGS) != FC_MODE_PLAIN) __builtin_ia32_ldmxcsr(FC_MODE_PLAIN);
    return mode;
}
static inline fc_mode fc_mode_enter(void) {
    const fc_mode mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(FC_MODE_FLUSH);
    return mode;
}
static inline void fc_mode_leave(fc_mode mode) {
    if (__builtin_ia32_stmxcsr() != mode) __builtin_ia32_ldmxcsr(mode);
}
#elif defined(__aarch64__)
typedef struct {
    uint64_t control, flags;
} fc_mode;
static inline fc_mode fc_mode_set(uint64_t control) {
    fc_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode.control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(mode.flags));
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
    return mode;
}
static inline fc_mode fc_mode_plain(void) { return fc_mode_set(0); }
static inline fc_mode fc_mode_enter(void) { return fc_mode_set(UINT64_C(1) << 24); }
static inline void fc_mode_leave(fc_mode mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode.control));
    __asm__ volatile("msr fpsr, %0" : : "r"(mode.flags));
}
#else
typedef int fc_mode;
static inline fc_mode fc_mode_plain(void) { return 0; }
static inline fc_mode fc_mode_enter(void) { return 0; }
static inline void fc_mode_leave(fc_mode mode) { (void)mode; }
#endif

#endif
