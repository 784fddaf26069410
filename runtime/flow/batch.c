#include <base/mem.h>
#include <flow/batch.h>

enum { FIRST_CHUNK_BYTES = 4 * 1024 }; /* what a batch of a few records is charged */

pl_flow_batch *pl_flow_batch_new(pl_memory *memory)
{
    pl_flow_batch *batch = pl_calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    atomic_init(&batch->references, 1);
    batch->memory = memory;
    batch->arena = pl_arena_new_pooled(FIRST_CHUNK_BYTES, memory ? memory->chunks : NULL);
    if (!batch->arena) {
        pl_free(batch);
        return NULL;
    }
    return batch;
}

/* Grown arrays leave their old half in the arena: it dies with the batch, and doubling bounds it. */
static void *grown(pl_arena *arena, const void *old, uint32_t count, uint32_t capacity, size_t size)
{
    void *array = pl_arena_alloc(arena, capacity * size);
    if (array && count)
        memcpy(array, old, count * size);
    return array;
}

static inline pl_record *place(pl_flow_batch *batch)
{
    if (batch->count == batch->capacity) {
        uint32_t capacity = batch->capacity ? batch->capacity * 2 : 64;
        const pl_record **records =
            grown(batch->arena, (const void *)batch->records, batch->count, capacity, sizeof(pl_record *));
        if (!records)
            return NULL;
        batch->records = records;
        batch->capacity = capacity;
    }
    pl_record *record = pl_arena_alloc(batch->arena, sizeof *record);
    if (record)
        batch->records[batch->count++] = record;
    return record;
}

pl_record *pl_flow_batch_add(pl_flow_batch *batch)
{
    pl_record *record = place(batch);
    if (record)
        *record = (pl_record){.ack = NULL};
    return record;
}

pl_record *pl_flow_batch_push(pl_flow_batch *batch, const pl_record *record)
{
    pl_record *copy = place(batch);
    if (copy)
        *copy = *record;
    return copy;
}

void pl_flow_batch_cut(pl_flow_batch *batch, uint32_t count)
{
    if (count < batch->count)
        batch->count = count;
}

bool pl_flow_batch_mark(pl_flow_batch *batch, pl_lane_mark mark)
{
    if (batch->mark_count == batch->mark_capacity) {
        uint32_t capacity = batch->mark_capacity ? batch->mark_capacity * 2 : 4;
        pl_lane_mark *marks = grown(batch->arena, batch->marks, batch->mark_count, capacity, sizeof *marks);
        if (!marks)
            return false;
        batch->marks = marks;
        batch->mark_capacity = capacity;
    }
    batch->marks[batch->mark_count++] = mark;
    return true;
}

bool pl_flow_batch_keep_other(pl_flow_batch *batch, pl_flow_batch *parent)
{
    if (batch->parent_count == batch->parent_capacity) {
        uint32_t capacity = batch->parent_capacity ? batch->parent_capacity * 2 : 4;
        pl_flow_batch **parents =
            grown(batch->arena, (const void *)batch->parents, batch->parent_count, capacity, sizeof(pl_flow_batch *));
        if (!parents)
            return false;
        batch->parents = parents;
        batch->parent_capacity = capacity;
    }
    pl_flow_batch_ref(parent, 1);
    batch->parents[batch->parent_count++] = parent;
    return true;
}

void pl_flow_batch_seal(pl_flow_batch *batch)
{
    if (!batch->memory || batch->charged_bytes)
        return;
    batch->charged_bytes = pl_arena_bytes(batch->arena);
    atomic_fetch_add(&batch->memory->used, batch->charged_bytes);
}

pl_field *pl_flow_headers_copy(pl_arena *arena, const pl_field *headers, uint32_t count, uint32_t more)
{
    pl_field *copies = pl_arena_alloc(arena, (count + more) * sizeof *copies);
    for (uint32_t i = 0; copies && i < count; i++) {
        copies[i] = headers[i];
        copies[i].name = pl_arena_str(arena, headers[i].name);
        if (headers[i].value.type >= PL_STR && headers[i].value.type != PL_TIME)
            copies[i].value.as.s = pl_arena_str(arena, headers[i].value.as.s);
    }
    return copies;
}

void pl_flow_batch_ref(pl_flow_batch *batch, uint32_t count)
{
    atomic_fetch_add_explicit(&batch->references, count, memory_order_relaxed);
}

void pl_flow_batch_unref(pl_flow_batch *batch)
{
    if (!batch || atomic_fetch_sub_explicit(&batch->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < batch->parent_count; i++)
        pl_flow_batch_unref(batch->parents[i]);
    pl_memory *memory = batch->memory;
    size_t charged = batch->charged_bytes;
    pl_arena_free(&batch->arena);
    pl_free(batch);
    if (memory && charged) {
        atomic_fetch_sub(&memory->used, charged);
        if (memory->freed)
            memory->freed(memory->self);
    }
}
