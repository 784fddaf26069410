#include <base/mem.h>
#include <base/str.h>
#include <flow/defer.h>

static int compare(const pl_deferred *item, int64_t at_unix_ns, pl_str key)
{
    if (item->at_unix_ns != at_unix_ns)
        return item->at_unix_ns < at_unix_ns ? -1 : 1;
    return pl_str_cmp((pl_str){item->key, item->key_len}, key);
}

/* The first place whose item is not before (at, key). */
static size_t place(const pl_defers *defers, int64_t at_unix_ns, pl_str key)
{
    size_t low = defers->head;
    size_t high = defers->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&defers->items[middle], at_unix_ns, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

pl_deferred *pl_defers_find(const pl_defers *defers, int64_t at_unix_ns, pl_str key)
{
    size_t at = place(defers, at_unix_ns, key);
    if (at == defers->count || compare(&defers->items[at], at_unix_ns, key) != 0)
        return NULL;
    return &defers->items[at];
}

static bool make_room(pl_defers *defers)
{
    if (defers->head && defers->head >= defers->count / 2) {
        defers->count -= defers->head;
        memmove(defers->items, defers->items + defers->head, defers->count * sizeof *defers->items);
        defers->head = 0;
    }
    if (defers->count < defers->capacity)
        return true;
    size_t capacity = defers->capacity ? defers->capacity * 2 : 64;
    pl_deferred *grown = pl_realloc(defers->items, capacity, sizeof *grown);
    if (!grown)
        return false;
    defers->items = grown;
    defers->capacity = capacity;
    return true;
}

/* Of no input, nor of what is given out again where the state is rebuilt: nobody else will ask. */
static bool is_born(const pl_record *asker)
{
    return !asker->ack && !(asker->flags & PL_RECORD_REPLAY);
}

pl_deferred *pl_defers_add(pl_defers *defers, int64_t at_unix_ns, pl_str key, int ref, const pl_record *asker,
                           pl_flow_batch *batch)
{
    pl_ack *group = pl_ack_group_new(defers->groups);
    char *copy = pl_strndup(key.ptr ? key.ptr : "", key.len);
    if (!group || !copy || !make_room(defers) || !pl_ack_group_add(group, asker->ack)) {
        if (group)
            pl_ack_group_drop(group);
        pl_free(copy);
        return NULL;
    }
    size_t at = place(defers, at_unix_ns, key);
    memmove(&defers->items[at + 1], &defers->items[at], (defers->count - at) * sizeof *defers->items);
    defers->count++;
    if (batch)
        pl_flow_batch_ref(batch, 1);
    defers->items[at] = (pl_deferred){.at_unix_ns = at_unix_ns,
                                      .key = copy,
                                      .key_len = key.len,
                                      .ref = ref,
                                      .group = group,
                                      .envelope = *asker,
                                      .batch = batch,
                                      .live = !(asker->flags & PL_RECORD_REPLAY),
                                      .unowned = is_born(asker)};
    defers->items[at].envelope.time_unix_ns = at_unix_ns;
    return &defers->items[at];
}

bool pl_deferred_join(pl_deferred *deferred, const pl_record *asker)
{
    if (!(asker->flags & PL_RECORD_REPLAY))
        deferred->live = true;
    deferred->unowned = deferred->unowned || is_born(asker);
    return pl_ack_group_add(deferred->group, asker->ack);
}

pl_deferred pl_defers_take(pl_defers *defers)
{
    pl_deferred taken = defers->items[defers->head++];
    if (defers->head == defers->count)
        defers->head = defers->count = 0;
    return taken;
}

void pl_deferred_release(pl_deferred *deferred, pl_outcome outcome)
{
    pl_ack_done(deferred->group, outcome);
    pl_flow_batch_unref(deferred->batch);
    pl_free(deferred->key);
}

void pl_defers_free(pl_defers *defers)
{
    for (size_t i = defers->head; i < defers->count; i++) {
        pl_deferred *item = &defers->items[i];
        pl_ack_group_drop(item->group);
        pl_flow_batch_unref(item->batch);
        pl_free(item->key);
    }
    pl_free(defers->items);
    *defers = (pl_defers){0};
}
