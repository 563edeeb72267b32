/* Where a parallel region begins: what libgomp does badly for work of microseconds.
 *
 * GCC turns `#pragma omp parallel` into GOMP_parallel(work, data, threads, flags).  The definition below is the one that
 * our module's regions reach (it is hidden, so nobody else's do); real teams it hands to libgomp, by the older pair of
 * entry points that GOMP_parallel itself consists of.
 *
 * 1. A team of one is no team.  libgomp sets one up and ends it with a system call even so: half a microsecond a region,
 *    most of the time of a small layer.  The worksharing loops inside a region work without a team as well.  Inside
 *    somebody else's region (a level above 0) the thread belongs to a team, which must not be mistaken for ours.
 * 2. A thread that wakes up on the CPU of the one that waits for it is as slow as can be: the first spins, the second
 *    can't run until that gives up or has used up its slice, in each region anew.  Linux does this after some idle
 *    time, and takes a tenth of a second to notice.  So a thread that finds itself there moves away, and stays away. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
#include "ops/parallel.h"
#ifdef __linux__
#include <sched.h>
#include <unistd.h>
#endif

void GOMP_parallel_start(void (*work)(void *), void *data, unsigned threads);
void GOMP_parallel_end(void);
void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

#ifdef __linux__
typedef struct {
    void (*work)(void *);
    void *data;
    int cpu; /* of the thread that waits for the others */
    int threads;
} region;

/* Away from `cpu`, where there is a CPU for each thread.  It may not come back, or each wake-up could bring it there again;
 * when the other has moved, they may meet again, and it moves once more.  getpid(): the CPUs of the main thread, which are
 * those of the process. */
static void move_from(size_t cpu, int threads) {
    cpu_set_t others;
    if (sched_getaffinity(getpid(), sizeof others, &others) != 0 || CPU_COUNT(&others) < threads) return;
    CPU_CLR(cpu, &others);
    (void)sched_setaffinity(0, sizeof others, &others);
}

static void work_elsewhere(void *p) {
    const region *r = p;
    if (r->cpu >= 0 && r->cpu < CPU_SETSIZE && sched_getcpu() == r->cpu) move_from((size_t)r->cpu, r->threads);
    const fc_mode mode = fc_mode_plain(); /* another library may have left this thread in its own */
    r->work(r->data);
    fc_mode_leave(mode);
}
#endif

void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags; /* of proc_bind, which no region uses */
    if (threads == 1 && omp_get_level() == 0) {
        work(data);
        return;
    }
#ifdef __linux__
    region all = {work, data, sched_getcpu(), (int)threads};
    GOMP_parallel_start(work_elsewhere, &all, threads);
#else
    GOMP_parallel_start(work, data, threads);
#endif
    work(data);
    GOMP_parallel_end();
}
#else
typedef int fc_no_region; /* C forbids an empty unit */
#endif
