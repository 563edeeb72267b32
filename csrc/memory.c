/* The cache behind result arrays and workspaces.
 *
 * A fresh large block costs about 75 microseconds a megabyte in page faults, more than many an operation on it.  So
 * freed blocks are kept in lists, one for each size class, up to a limit; sizes are rounded up so that a class wastes
 * at most an eighth.  Each block has a header of 64 bytes in front with its class.
 *
 * One lock guards the lists.  Nobody ever waits for it: a thread that finds it taken goes to the system allocator
 * instead (this also keeps a child after fork safe, should the lock have been taken at that moment).
 *
 * Under AddressSanitizer nothing is kept and no size is rounded up, or it would not see what it looks for: a use after the
 * end, or beyond the end, of a block.  Of the header, what nobody reads is out of bounds. */
#define _GNU_SOURCE
#include "memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FC_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define FC_ASAN 1
#endif
#ifdef FC_ASAN
#include <sanitizer/asan_interface.h>
#else
#define FC_ASAN 0
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)0)
#endif

enum { ALIGNMENT = 64, HEADER = 64, CLASSES = 8 * 40, SMALLEST_LOG2 = 8 };
enum { HUGE_PAGE = 2 << 20 };

typedef union block {
    struct {
        size_t bytes; /* usable bytes after the header: the size of the class */
        int class;    /* -1: too large for any class */
        union block *next;
    } h;
    char pad[HEADER];
} block;

static block *lists[CLASSES];
static size_t cached, limit = (size_t)512 << 20;
static atomic_flag locked = ATOMIC_FLAG_INIT;
static atomic_long failing; /* the allocation to fail, counted from 1; 0: none */

static int try_lock(void) { return !atomic_flag_test_and_set_explicit(&locked, memory_order_acquire); }
static void unlock(void) { atomic_flag_clear_explicit(&locked, memory_order_release); }

/* The class of a size: eight steps between each power of two and the next.  *rounded is the class's size. */
static int size_class(size_t bytes, size_t *rounded) {
    if (bytes < (size_t)1 << SMALLEST_LOG2) bytes = (size_t)1 << SMALLEST_LOG2;
    int log2 = 63 - __builtin_clzll((unsigned long long)bytes);
    size_t step = ((size_t)1 << log2) / 8;
    size_t steps = (bytes - ((size_t)1 << log2) + step - 1) / step; /* 0 .. 8 */
    *rounded = ((size_t)1 << log2) + steps * step;
    int class = (log2 - SMALLEST_LOG2) * 8 + (int)steps;
    return class < CLASSES ? class : -1;
}

static block *system_block(size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t total = bytes + HEADER;
    void *memory = NULL;
    int huge = total >= 2 * (size_t)HUGE_PAGE;
    if (posix_memalign(&memory, huge ? HUGE_PAGE : ALIGNMENT, total) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (huge) (void)madvise(memory, total, MADV_HUGEPAGE); /* fewer, larger page faults; only a hint */
#endif
    return memory;
}

void *fc_alloc(size_t bytes) {
    if (atomic_load_explicit(&failing, memory_order_relaxed) > 0 && atomic_fetch_sub(&failing, 1) == 1) return NULL;
    size_t rounded;
    int class = FC_ASAN || bytes > SIZE_MAX / 4 ? -1 : size_class(bytes, &rounded);
    if (class < 0) rounded = bytes;
    block *b = NULL;
    if (class >= 0 && try_lock()) {
        b = lists[class];
        if (b) {
            lists[class] = b->h.next;
            cached -= b->h.bytes;
        }
        unlock();
    }
    if (!b) {
        b = system_block(rounded);
        if (!b && fc_memory_release() > 0) b = system_block(rounded);
        if (!b) return NULL;
        b->h.bytes = rounded;
        b->h.class = class;
    }
    ASAN_POISON_MEMORY_REGION((char *)b + sizeof b->h, HEADER - sizeof b->h);
    return (char *)b + HEADER;
}

void *fc_alloc_zeroed(size_t bytes) {
    void *memory = fc_alloc(bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

void fc_free(void *memory) {
    if (!memory) return;
    block *b = (block *)((char *)memory - HEADER);
    if (b->h.class >= 0 && try_lock()) {
        int keep = cached + b->h.bytes <= limit;
        if (keep) {
            b->h.next = lists[b->h.class];
            lists[b->h.class] = b;
            cached += b->h.bytes;
        }
        unlock();
        if (keep) return;
    }
    ASAN_UNPOISON_MEMORY_REGION(b, HEADER);
    free(b);
}

void *fc_realloc(void *memory, size_t bytes) {
    if (!memory) return fc_alloc(bytes);
    block *b = (block *)((char *)memory - HEADER);
    if (bytes <= b->h.bytes && bytes >= b->h.bytes / 2) return memory;
    void *fresh = fc_alloc(bytes);
    if (!fresh) return NULL;
    memcpy(fresh, memory, bytes < b->h.bytes ? bytes : b->h.bytes);
    fc_free(memory);
    return fresh;
}

long fc_memory_fail(long n) { return atomic_exchange(&failing, n); }

size_t fc_memory_cached(void) { return cached; }
size_t fc_memory_limit(void) { return limit; }

void fc_memory_set_limit(size_t bytes) {
    limit = bytes;
    if (cached > limit) fc_memory_release();
}

size_t fc_memory_release(void) {
    if (!try_lock()) return 0;
    block *all = NULL;
    for (int i = 0; i < CLASSES; i++) {
        while (lists[i]) {
            block *b = lists[i];
            lists[i] = b->h.next;
            b->h.next = all;
            all = b;
        }
    }
    size_t released = cached;
    cached = 0;
    unlock();
    while (all) {
        block *next = all->h.next;
        free(all);
        all = next;
    }
#ifdef __GLIBC__
    malloc_trim(0); /* free alone may keep what came from its heap */
#endif
    return released;
}
