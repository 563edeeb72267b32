/* A bounded cache of freed memory blocks: what a training step frees, the next one gets back without a page fault. */
#ifndef FC_MEMORY_H
#define FC_MEMORY_H

#include <stddef.h>

/* Blocks are 64-byte aligned.  fc_alloc returns NULL when there is no memory; fc_free(NULL) does nothing. */
void *fc_alloc(size_t bytes);
void *fc_alloc_zeroed(size_t bytes);
void *fc_realloc(void *block, size_t bytes);
void fc_free(void *block);

size_t fc_memory_cached(void);         /* bytes held for later use */
size_t fc_memory_limit(void);          /* the most it will hold */
void fc_memory_set_limit(size_t bytes);
size_t fc_memory_release(void);        /* give all of it back; returns how much it was */

/* For tests: the n-th allocation from now (1: the next) fails, that one alone; 0: none.  Returns what was left to count. */
long fc_memory_fail(long n);

#endif
