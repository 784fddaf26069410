/* The memory of one Lua state: a cap on what Lua asks for, and small blocks cut from slabs, since a script makes and
 * drops a few with every record. One thread at a time.
 *
 * A slab holds blocks of one size class and lies at a multiple of its own size, so that a block leads to it. Empty
 * slabs serve any class; they stay until the heap is released. Under AddressSanitizer every block comes from malloc, so
 * that use after free is found. */
#ifndef PL_SCRIPT_HEAP_H
#define PL_SCRIPT_HEAP_H
#include <stdbool.h>
#include <stddef.h>

enum {
    PL_HEAP_GRAIN = 16,      /* bytes between two size classes */
    PL_HEAP_SMALL_MAX = 256, /* bytes of a block that still comes from a slab */
    PL_HEAP_CLASSES = PL_HEAP_SMALL_MAX / PL_HEAP_GRAIN
};

typedef struct pl_slab pl_slab;

/* Zeroed but for `cap` it is ready. */
typedef struct pl_heap {
    size_t used, cap;               /* bytes that Lua holds, and may hold */
    pl_slab *open[PL_HEAP_CLASSES]; /* slabs with a free block, by class */
    pl_slab *empty;                 /* slabs without a block in use */
    char *fresh;                    /* the newest region's part that no slab was cut from yet ... */
    size_t fresh_slabs;             /* ... and how many there are in it */
    struct pl_region *regions;      /* what slabs are cut from */
    size_t strays;                  /* small blocks that lie in no slab; next to always 0 */
} pl_heap;

/* lua_Alloc; self is the pl_heap. */
void *pl_heap_allocate(void *self, void *old, size_t old_size, size_t size);
/* After lua_close. */
void pl_heap_release(pl_heap *heap);
#endif
