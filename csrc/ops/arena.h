/* Carving a workspace into arrays.  The same code runs twice: with base NULL it only counts (for *_workspace), with a
 * block it hands out pointers; so the size can't disagree with the use. */
#ifndef FC_ARENA_H
#define FC_ARENA_H

#include <stddef.h>

typedef struct {
    char *base;
    size_t used;
} fc_arena;

static inline void *fc_carve(fc_arena *arena, size_t bytes) {
    void *at = arena->base ? arena->base + arena->used : NULL;
    arena->used += (bytes + 63) & ~(size_t)63;
    return at;
}

#endif
