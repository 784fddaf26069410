#include "heap.h"

#include <base/mem.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_ASAN 1
#endif
#endif
#ifdef HEAP_ASAN
enum { SMALL_MAX = 0 };
#else
enum { SMALL_MAX = PL_HEAP_SMALL_MAX };
#endif

enum { SLAB_BYTES = 8 << 10, REGION_BYTES = 256 << 10 };

typedef struct block { /* while it is free */
    struct block *next;
} block;

struct pl_slab {
    block *free;
    pl_slab *next, *before; /* among the open slabs of its class; next alone: among the empty ones */
    uint32_t live;          /* blocks in use */
    uint32_t class;
};
_Static_assert(sizeof(pl_slab) % PL_HEAP_GRAIN == 0, "blocks are aligned as malloc's");

typedef struct pl_region { /* REGION_BYTES from malloc */
    struct pl_region *next;
} pl_region;

static pl_slab *slab_of(void *small)
{
    return (pl_slab *)((uintptr_t)small & ~(uintptr_t)(SLAB_BYTES - 1));
}

static uint32_t class_of(size_t size)
{
    return (uint32_t)((size - 1) / PL_HEAP_GRAIN);
}

static bool add_region(pl_heap *heap)
{
    pl_region *region = pl_realloc(NULL, REGION_BYTES, 1);
    if (!region)
        return false;
    region->next = heap->regions;
    heap->regions = region;
    uintptr_t start = (uintptr_t)region, end = start + REGION_BYTES;
    uintptr_t first = (start + sizeof *region + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1);
    heap->fresh = (char *)region + (first - start);
    heap->fresh_slabs = (end - first) / SLAB_BYTES;
    return true;
}

/* A slab that was never used stays untouched, and so costs no memory, until it is needed. */
static pl_slab *find_slab(pl_heap *heap)
{
    pl_slab *slab = heap->empty;
    if (slab) {
        heap->empty = slab->next;
        return slab;
    }
    if (heap->fresh_slabs == 0 && !add_region(heap))
        return NULL;
    slab = (pl_slab *)(void *)heap->fresh;
    heap->fresh += SLAB_BYTES;
    heap->fresh_slabs--;
    return slab;
}

static void open_slab(pl_heap *heap, pl_slab *slab)
{
    pl_slab **first = &heap->open[slab->class];
    slab->before = NULL;
    slab->next = *first;
    if (*first)
        (*first)->before = slab;
    *first = slab;
}

static void close_slab(pl_heap *heap, pl_slab *slab)
{
    if (slab->before)
        slab->before->next = slab->next;
    else
        heap->open[slab->class] = slab->next;
    if (slab->next)
        slab->next->before = slab->before;
}

static pl_slab *new_slab(pl_heap *heap, uint32_t class)
{
    bool threaded = heap->empty && heap->empty->class == class; /* the list of its blocks is whole */
    pl_slab *slab = find_slab(heap);
    if (!slab)
        return NULL;
    if (!threaded) {
        size_t size = ((size_t) class + 1) * PL_HEAP_GRAIN, count = (SLAB_BYTES - sizeof *slab) / size;
        char *blocks = (char *)(slab + 1);
        slab->free = NULL;
        while (count-- > 0) {
            block *made = (block *)(void *)(blocks + count * size);
            made->next = slab->free;
            slab->free = made;
        }
    }
    slab->live = 0;
    slab->class = class;
    open_slab(heap, slab);
    return slab;
}

static void *take_small(pl_heap *heap, uint32_t class)
{
    pl_slab *slab = heap->open[class];
    if (!slab)
        slab = new_slab(heap, class);
    if (!slab)
        return NULL;
    block *taken = slab->free;
    slab->free = taken->next;
    slab->live++;
    if (!slab->free)
        close_slab(heap, slab);
    return taken;
}

static void free_small(pl_heap *heap, void *small)
{
    pl_slab *slab = slab_of(small);
    block *freed = small;
    if (!slab->free)
        open_slab(heap, slab);
    freed->next = slab->free;
    slab->free = freed;
    if (--slab->live > 0 || (!slab->next && !slab->before)) /* one is kept open, lest one block go to and fro */
        return;
    close_slab(heap, slab);
    slab->next = heap->empty;
    heap->empty = slab;
}

/* A large block that shrank to a small size when there was no memory for a slab. */
static bool is_stray(const pl_heap *heap, const void *small)
{
    if (heap->strays == 0)
        return false;
    for (const pl_region *region = heap->regions; region; region = region->next)
        if ((uintptr_t)small - (uintptr_t)region < REGION_BYTES)
            return false;
    return true;
}

static void *take(pl_heap *heap, size_t size)
{
    return size <= SMALL_MAX ? take_small(heap, class_of(size)) : pl_realloc(NULL, size, 1);
}

static void give_back(pl_heap *heap, void *old, size_t size)
{
    if (size > SMALL_MAX) {
        pl_free(old);
    } else if (is_stray(heap, old)) {
        heap->strays--;
        pl_free(old);
    } else {
        free_small(heap, old);
    }
}

/* A shrink must not fail (manual, lua_Alloc): where memory for the smaller block is short, the old one does as well. */
static void *resize(pl_heap *heap, void *old, size_t old_size, size_t size)
{
    bool was_small = old_size <= SMALL_MAX, shrinks = size <= old_size;
    if (!was_small && size > SMALL_MAX) {
        void *block = pl_realloc(old, size, 1);
        return block || !shrinks ? block : old;
    }
    if (was_small && size <= SMALL_MAX && class_of(size) == class_of(old_size))
        return old;
    void *block = take(heap, size);
    if (block) {
        memcpy(block, old, shrinks ? size : old_size);
        give_back(heap, old, old_size);
        return block;
    }
    if (!shrinks)
        return NULL;
    heap->strays += !was_small;
    return old;
}

/* Lua tells the old size, and instead of it a type when there is no old block. */
static __attribute__((noinline)) void *allocate(pl_heap *heap, void *old, size_t old_size, size_t size)
{
    if (size == 0) {
        if (old) {
            give_back(heap, old, old_size);
            heap->used -= old_size;
        }
        return NULL;
    }
    if (!old)
        old_size = 0;
    if (size > old_size && size - old_size > heap->cap - heap->used)
        return NULL;
    void *block = old ? resize(heap, old, old_size, size) : take(heap, size);
    if (block)
        heap->used = heap->used - old_size + size;
    return block;
}

/* What nearly all calls are, in few steps: a small block from a slab that has more, and back to a slab that keeps more
 * in use. */
void *pl_heap_allocate(void *self, void *old, size_t old_size, size_t size)
{
    pl_heap *heap = self;
    if (!old && size > 0 && size <= SMALL_MAX && size <= heap->cap - heap->used) {
        pl_slab *slab = heap->open[class_of(size)];
        if (slab && slab->free->next) {
            block *taken = slab->free;
            slab->free = taken->next;
            slab->live++;
            heap->used += size;
            return taken;
        }
    } else if (old && size == 0 && old_size <= SMALL_MAX && heap->strays == 0) {
        pl_slab *slab = slab_of(old);
        if (slab->free && slab->live > 1) {
            block *freed = old;
            freed->next = slab->free;
            slab->free = freed;
            slab->live--;
            heap->used -= old_size;
            return NULL;
        }
    }
    return allocate(heap, old, old_size, size);
}

void pl_heap_release(pl_heap *heap)
{
    for (pl_region *region = heap->regions, *next; region; region = next) {
        next = region->next;
        pl_free(region);
    }
    *heap = (pl_heap){.cap = heap->cap};
}
