/* What moves through the queues: a batch of records that share one arena, and packets, which are views of a batch. */
#ifndef PL_FLOW_BATCH_H
#define PL_FLOW_BATCH_H
#include <base/arena.h>
#include <flow/lane.h>
#include <record/record.h>
#include <stdatomic.h>

/* How far a lane has come, carried even by batches whose records were all filtered. */
typedef struct pl_lane_mark {
    pl_lane *lane;
    int64_t time_unix_ns; /* greatest event time handed over so far; INT64_MIN: opened, nothing yet */
    bool closed;          /* nothing more will come */
} pl_lane_mark;

/* Bytes a pipeline may hold; sources wait when it is spent. [any] */
typedef struct pl_memory {
    _Atomic size_t used;
    size_t limit;
    pl_chunk_pool *chunks;     /* of batches that are gone, for new ones; not counted in `used`. NULL: none are kept */
    void (*freed)(void *self); /* told when memory came back; may be NULL */
    void *self;
} pl_memory;
enum { PL_MEMORY_KEPT_BYTES = 4 << 20 }; /* in `chunks`, at most */

static inline bool pl_memory_spent(const pl_memory *memory)
{
    return atomic_load(&memory->used) >= memory->limit;
}

typedef struct pl_flow_batch {
    _Atomic uint32_t references;
    pl_arena *arena;
    const pl_record **records; /* in the arena; so are the records themselves */
    uint32_t count, capacity;
    pl_lane_mark *marks; /* in the arena */
    uint32_t mark_count, mark_capacity;
    struct pl_flow_batch **parents; /* batches whose bytes the records point into */
    uint32_t parent_count, parent_capacity;
    pl_memory *memory;            /* charged with the arena once sealed, until the last reference goes */
    _Atomic size_t charged_bytes; /* a batch that points into this one may be weighed before this one is sealed */
} pl_flow_batch;

/* An empty batch with one reference. NULL: no memory. One thread fills it; then it is sealed and never changes. */
pl_flow_batch *pl_flow_batch_new(pl_memory *memory);
/* A zeroed record at the end of the batch, or NULL: no memory. */
pl_record *pl_flow_batch_add(pl_flow_batch *batch);
/* The same, a copy of `record`. */
pl_record *pl_flow_batch_push(pl_flow_batch *batch, const pl_record *record);
/* Drops records from index `count` on (those of a call that failed). */
void pl_flow_batch_cut(pl_flow_batch *batch, uint32_t count);
bool pl_flow_batch_mark(pl_flow_batch *batch, pl_lane_mark mark);           /* once a lane; false: no memory */
bool pl_flow_batch_keep_other(pl_flow_batch *batch, pl_flow_batch *parent); /* for the next one */
/* Keeps `parent` alive as long as this batch; consecutive repeats cost nothing. false: no memory. */
static inline bool pl_flow_batch_keep(pl_flow_batch *batch, pl_flow_batch *parent)
{
    return !parent || (batch->parent_count && batch->parents[batch->parent_count - 1] == parent) ||
           pl_flow_batch_keep_other(batch, parent);
}
void pl_flow_batch_seal(pl_flow_batch *batch); /* charges the memory */
/* Headers with all they point to, copied into the arena, with room for `more` behind them. NULL: no memory. */
pl_field *pl_flow_headers_copy(pl_arena *arena, const pl_field *headers, uint32_t count, uint32_t more);
/* [any] */
void pl_flow_batch_ref(pl_flow_batch *batch, uint32_t count);
void pl_flow_batch_unref(pl_flow_batch *batch);

/* A view: all or some of a batch's records, in order, and always its marks. Holds one reference of the batch. */
typedef struct pl_packet {
    pl_flow_batch *batch;
    const pl_record *const *records; /* in the batch's arena */
    uint32_t count;
} pl_packet;
#endif
