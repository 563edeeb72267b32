/* A parallel region of one thread without OpenMP's runtime.
 *
 * GCC turns `#pragma omp parallel if (threads > 1)` into GOMP_parallel(work, data, threads, flags), and libgomp sets up
 * a team and ends it with a system call even where the team is the calling thread alone: half a microsecond a region,
 * most of the time of a small layer.  The definition below is the one that our module's regions reach (it is hidden, so
 * nobody else's do): it just calls the work, and hands real teams to libgomp, by the older pair of entry points that
 * GOMP_parallel itself consists of.  The worksharing loops inside a region are written to work without a team as well.
 *
 * Inside somebody else's region (a level above 0) the thread belongs to a team, which must not be mistaken for ours. */
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
#include <omp.h>

void GOMP_parallel_start(void (*work)(void *), void *data, unsigned threads);
void GOMP_parallel_end(void);
void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags; /* of proc_bind, which no region uses */
    if (threads == 1 && omp_get_level() == 0) {
        work(data);
        return;
    }
    GOMP_parallel_start(work, data, threads);
    work(data);
    GOMP_parallel_end();
}
#else
typedef int fc_no_team_of_one; /* C forbids an empty unit */
#endif
