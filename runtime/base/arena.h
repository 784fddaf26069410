/* Bump allocation: everything in an arena dies with it. Used by one thread at a time. */
#ifndef PL_BASE_ARENA_H
#define PL_BASE_ARENA_H
#include <plumbline/plugin.h>

enum { PL_ARENA_PADDING = 64 }; /* readable bytes after every payload: simdjson reads past the end */

/* Chunks that arenas have left, kept for the next ones: memory that is in the cache and needs no page from the system.
 * [any] */
typedef struct pl_chunk_pool pl_chunk_pool;
/* Keeps up to keep_bytes; NULL: no memory. It outlives the arenas that use it. */
pl_chunk_pool *pl_chunk_pool_new(size_t keep_bytes);
/* Nulls the caller's pointer; NULL is allowed. */
void pl_chunk_pool_free(pl_chunk_pool **pool);
/* Frees what it keeps; the number of bytes. */
size_t pl_chunk_pool_trim(pl_chunk_pool *pool);

typedef struct pl_arena pl_arena;
/* An empty arena whose chunks are at least chunk_bytes, or NULL. Free with pl_arena_free. */
pl_arena *pl_arena_new(size_t chunk_bytes);
/* The same; all chunks but the first, and those of large allocations, are the pool's. NULL pool: pl_arena_new. */
pl_arena *pl_arena_new_pooled(size_t first_bytes, pl_chunk_pool *pool);
/* Nulls the caller's pointer; NULL is allowed. */
void pl_arena_free(pl_arena **arena);
/* Keeps the first chunk, forgets all that was allocated. */
void pl_arena_reset(pl_arena *arena);
/* size bytes aligned for any type, not zeroed, or NULL. */
void *pl_arena_alloc(pl_arena *arena, size_t size);
/* A copy of text followed by PL_ARENA_PADDING readable bytes (the first a NUL); a null text stays null.
 * ptr NULL with len 1: out of memory. */
pl_str pl_arena_str(pl_arena *arena, pl_str text);
/* Where the next text would go, to be written in place: *room bytes may be, and a NUL, then pl_arena_text_end makes the
 * first `len` of them a text as pl_arena_str does. Nothing else may be asked of the arena in between. *room is what is
 * left of a chunk and may be 0: then there is no end to be made. */
char *pl_arena_text_begin(pl_arena *arena, size_t *room);
pl_str pl_arena_text_end(pl_arena *arena, size_t len);
/* Bytes held from the system, chunks whole: what a memory budget is charged. */
size_t pl_arena_bytes(const pl_arena *arena);
#endif
