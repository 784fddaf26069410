#include <base/arena.h>
#include <base/mem.h>

#include <pthread.h>
#include <stdint.h>

/* Under AddressSanitizer what was not handed out is poisoned, so that running over the end of one allocation is found
 * although the next one lies right behind it. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { OWN_PADDING = PL_ARENA_PADDING };
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
/* The padding behind a text only has to be readable: it may be the next allocation, and every chunk ends in spare
 * bytes. */
enum { OWN_PADDING = 1 };
#endif

enum { ALIGNMENT = _Alignof(max_align_t), GROWTH_LIMIT = 256 << 10, POOLED_BYTES = 64 << 10 };

typedef struct chunk {
    struct chunk *next;
    size_t size; /* of bytes[], the spare ones at the end not counted */
    _Alignas(max_align_t) unsigned char bytes[];
} chunk;

struct pl_arena {
    unsigned char *at, *end; /* free part of the current chunk */
    chunk *first, *current;  /* list in order of use; chunks behind `current` hold one large allocation each */
    size_t chunk_bytes, next_bytes, held;
    pl_chunk_pool *pool; /* NULL: none */
};

struct pl_chunk_pool {
    pthread_mutex_t lock;
    chunk *chunks;
    size_t count, keep;
};

/* ---- the pool ------------------------------------------------------------- */

pl_chunk_pool *pl_chunk_pool_new(size_t keep_bytes)
{
    pl_chunk_pool *pool = pl_calloc(1, sizeof *pool);
    if (!pool || pthread_mutex_init(&pool->lock, NULL) != 0) {
        pl_free(pool);
        return NULL;
    }
    pool->keep = keep_bytes / POOLED_BYTES;
    return pool;
}

static size_t free_all(chunk *chunks)
{
    size_t bytes = 0;
    for (chunk *next; chunks; chunks = next) {
        next = chunks->next;
        bytes += chunks->size;
        ASAN_UNPOISON_MEMORY_REGION(chunks->bytes, chunks->size + PL_ARENA_PADDING);
        pl_free(chunks);
    }
    return bytes;
}

size_t pl_chunk_pool_trim(pl_chunk_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    chunk *chunks = pool->chunks;
    pool->chunks = NULL;
    pool->count = 0;
    pthread_mutex_unlock(&pool->lock);
    return free_all(chunks);
}

void pl_chunk_pool_free(pl_chunk_pool **pool)
{
    if (!*pool)
        return;
    (void)pl_chunk_pool_trim(*pool);
    pthread_mutex_destroy(&(*pool)->lock);
    pl_free(*pool);
    *pool = NULL;
}

static chunk *take_pooled(pl_chunk_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    chunk *taken = pool->chunks;
    if (taken) {
        pool->chunks = taken->next;
        pool->count--;
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

/* Keeps what there is room for and frees the rest. */
static void give_pooled(pl_chunk_pool *pool, chunk *chunks)
{
    pthread_mutex_lock(&pool->lock);
    for (chunk *next; chunks && pool->count < pool->keep; chunks = next) {
        next = chunks->next;
        chunks->next = pool->chunks;
        pool->chunks = chunks;
        pool->count++;
    }
    pthread_mutex_unlock(&pool->lock);
    (void)free_all(chunks);
}

/* ---- arenas ----------------------------------------------------------------- */

static chunk *new_chunk(pl_arena *arena, size_t size)
{
    if (size > PTRDIFF_MAX - sizeof(chunk) - PL_ARENA_PADDING)
        return NULL;
    chunk *made = arena->pool && size == POOLED_BYTES ? take_pooled(arena->pool) : NULL;
    if (!made)
        made = pl_realloc(NULL, sizeof(chunk) + size + PL_ARENA_PADDING, 1);
    if (!made)
        return NULL;
    made->next = NULL;
    made->size = size;
    arena->held += sizeof(chunk) + size + PL_ARENA_PADDING;
    ASAN_POISON_MEMORY_REGION(made->bytes, size + PL_ARENA_PADDING);
    return made;
}

static void free_chunk(pl_arena *arena, chunk *old)
{
    arena->held -= sizeof(chunk) + old->size + PL_ARENA_PADDING;
    ASAN_UNPOISON_MEMORY_REGION(old->bytes, old->size + PL_ARENA_PADDING);
    pl_free(old);
}

static void use_chunk(pl_arena *arena, chunk *now)
{
    arena->current = now;
    arena->at = now->bytes;
    arena->end = now->bytes + now->size;
}

pl_arena *pl_arena_new(size_t chunk_bytes)
{
    pl_arena *arena = pl_calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    arena->chunk_bytes = arena->next_bytes = chunk_bytes < 256 ? 256 : chunk_bytes;
    arena->held = sizeof *arena;
    arena->first = new_chunk(arena, arena->chunk_bytes);
    if (!arena->first) {
        pl_free(arena);
        return NULL;
    }
    use_chunk(arena, arena->first);
    return arena;
}

pl_arena *pl_arena_new_pooled(size_t first_bytes, pl_chunk_pool *pool)
{
    pl_arena *arena = pl_arena_new(first_bytes);
    if (arena && pool) {
        arena->pool = pool;
        arena->next_bytes = POOLED_BYTES;
    }
    return arena;
}

void pl_arena_free(pl_arena **arena)
{
    if (!arena || !*arena)
        return;
    chunk *pooled = NULL;
    for (chunk *old = (*arena)->first, *next; old; old = next) {
        next = old->next;
        if ((*arena)->pool && old->size == POOLED_BYTES) {
            old->next = pooled;
            pooled = old;
        } else {
            free_chunk(*arena, old);
        }
    }
    if (pooled)
        give_pooled((*arena)->pool, pooled);
    pl_free(*arena);
    *arena = NULL;
}

void pl_arena_reset(pl_arena *arena)
{
    for (chunk *old = arena->first->next, *next; old; old = next) {
        next = old->next;
        free_chunk(arena, old);
    }
    arena->first->next = NULL;
    arena->next_bytes = arena->pool ? POOLED_BYTES : arena->chunk_bytes;
    ASAN_POISON_MEMORY_REGION(arena->first->bytes, arena->first->size + PL_ARENA_PADDING);
    use_chunk(arena, arena->first);
}

/* Room for `size` bytes when the current chunk has none: a chunk of its own for what would waste most of one (the
 * current chunk stays in use), else the next, larger chunk. Apart, so that the quick way needs no frame. */
static __attribute__((noinline)) void *alloc_slow(pl_arena *arena, size_t size)
{
    bool own = size > arena->next_bytes / 4;
    chunk *made = new_chunk(arena, own ? size : arena->next_bytes);
    if (!made)
        return NULL;
    if (own) {
        made->next = arena->current->next;
        arena->current->next = made;
        ASAN_UNPOISON_MEMORY_REGION(made->bytes, size);
        return made->bytes;
    }
    while (arena->current->next)
        arena->current = arena->current->next;
    arena->current->next = made;
    use_chunk(arena, made);
    if (!arena->pool && arena->next_bytes < GROWTH_LIMIT)
        arena->next_bytes *= 2;
    ASAN_UNPOISON_MEMORY_REGION(made->bytes, size);
    arena->at += size;
    return made->bytes;
}

void *pl_arena_alloc(pl_arena *arena, size_t size)
{
    size_t skip = (size_t)(-(uintptr_t)arena->at & (ALIGNMENT - 1));
    if (size == 0)
        size = 1;
    size_t left = (size_t)(arena->end - arena->at);
    if (left < skip || left - skip < size)
        return alloc_slow(arena, size);
    unsigned char *given = arena->at + skip;
    arena->at = given + size;
    ASAN_UNPOISON_MEMORY_REGION(given, size);
    return given;
}

pl_str pl_arena_str(pl_arena *arena, pl_str text)
{
    if (!text.ptr)
        return text;
    if (text.len > PTRDIFF_MAX - OWN_PADDING)
        return (pl_str){NULL, 1};
    size_t size = text.len + OWN_PADDING;
    char *copy;
    if ((size_t)(arena->end - arena->at) >= size) { /* a text needs no alignment */
        copy = (char *)arena->at;
        arena->at += size;
        ASAN_UNPOISON_MEMORY_REGION(copy, size);
    } else {
        copy = alloc_slow(arena, size);
    }
    if (!copy)
        return (pl_str){NULL, 1};
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return (pl_str){copy, text.len};
}

char *pl_arena_text_begin(pl_arena *arena, size_t *room)
{
    size_t left = (size_t)(arena->end - arena->at);
    *room = left > OWN_PADDING ? left - OWN_PADDING : 0;
    if (*room)
        ASAN_UNPOISON_MEMORY_REGION(arena->at, left);
    return (char *)arena->at;
}

pl_str pl_arena_text_end(pl_arena *arena, size_t len)
{
    char *text = (char *)arena->at;
    text[len] = '\0';
    arena->at += len + OWN_PADDING;
    ASAN_POISON_MEMORY_REGION(arena->at, (size_t)(arena->end - arena->at));
    return (pl_str){text, len};
}

size_t pl_arena_bytes(const pl_arena *arena)
{
    return arena->held;
}
