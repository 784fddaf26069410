/* Delivery reports come per partition, so the indices of one batch arrive interleaved: bits gather them, and the core
 * is told in runs. */
#include "sink.h"

#include <stdlib.h>

enum { HOLD_NS = 20000000 };

void kafka_inflight_init(kafka_inflight *inflight, const pl_host *host)
{
    *inflight = (kafka_inflight){.host = host, .first_free = KAFKA_NO_SLOT, .first_dirty = KAFKA_NO_SLOT};
}

void kafka_inflight_release(kafka_inflight *inflight)
{
    for (uint32_t i = 0; i < inflight->slot_count; i++)
        free(inflight->slots[i].done);
    free(inflight->slots);
    *inflight = (kafka_inflight){.first_free = KAFKA_NO_SLOT, .first_dirty = KAFKA_NO_SLOT};
}

static uint32_t take_slot(kafka_inflight *inflight)
{
    uint32_t slot = inflight->first_free;
    if (slot != KAFKA_NO_SLOT) {
        inflight->first_free = inflight->slots[slot].next_free;
        return slot;
    }
    if (inflight->slot_count == inflight->slot_room) {
        uint32_t room = inflight->slot_room ? inflight->slot_room * 2 : 16;
        kafka_slot *grown = realloc(inflight->slots, room * sizeof *grown);
        if (!grown)
            return KAFKA_NO_SLOT;
        inflight->slots = grown;
        inflight->slot_room = room;
    }
    inflight->slots[inflight->slot_count] = (kafka_slot){0};
    return inflight->slot_count++;
}

static void give_back(kafka_inflight *inflight, uint32_t slot)
{
    inflight->slots[slot].next_free = inflight->first_free;
    inflight->first_free = slot;
}

uint32_t kafka_inflight_add(kafka_inflight *inflight, uint64_t ticket, uint32_t count)
{
    uint32_t slot = take_slot(inflight);
    if (slot == KAFKA_NO_SLOT)
        return slot;
    kafka_slot *s = &inflight->slots[slot];
    size_t words = ((size_t)count + 63) / 64;
    if (words > s->done_room) {
        uint64_t *grown = realloc(s->done, words * sizeof *grown);
        if (!grown) {
            give_back(inflight, slot);
            return KAFKA_NO_SLOT;
        }
        s->done = grown;
        s->done_room = words;
    }
    memset(s->done, 0, words * sizeof *s->done);
    s->ticket = ticket;
    s->count = count;
    s->settled = s->waiting = 0;
    s->dirty = false;
    inflight->records += count;
    return slot;
}

void kafka_inflight_done(kafka_inflight *inflight, uint32_t slot, uint32_t index)
{
    kafka_slot *s = &inflight->slots[slot];
    s->done[index / 64] |= UINT64_C(1) << (index % 64);
    s->waiting++;
    if (!s->dirty) {
        s->dirty = true;
        s->since_ns = inflight->host->now_ns(inflight->host);
        s->low = s->high = index;
        s->next_dirty = inflight->first_dirty;
        inflight->first_dirty = slot;
    }
    if (index < s->low)
        s->low = index;
    if (index > s->high)
        s->high = index;
}

/* After this the batch, and the slot, may be gone. */
static void tell(kafka_inflight *inflight, uint32_t slot, uint32_t first, uint32_t count, const pl_error *why)
{
    kafka_slot *s = &inflight->slots[slot];
    s->settled += count;
    inflight->records -= count;
    uint64_t ticket = s->ticket;
    if (s->settled == s->count && !s->dirty)
        give_back(inflight, slot);
    inflight->host->settle(inflight->host, ticket, first, count, why);
}

void kafka_inflight_failed(kafka_inflight *inflight, uint32_t slot, uint32_t index, const pl_error *why)
{
    tell(inflight, slot, index, 1, why);
}

static bool is_done(const kafka_slot *s, uint32_t index)
{
    return s->done[index / 64] >> (index % 64) & 1;
}

static void tell_slot(kafka_inflight *inflight, uint32_t slot)
{
    kafka_slot *s = &inflight->slots[slot];
    uint32_t index = s->low, high = s->high;
    while (index <= high) {
        uint64_t rest = s->done[index / 64] >> (index % 64);
        if (!rest) {
            index = (index / 64 + 1) * 64;
            continue;
        }
        index += (uint32_t)__builtin_ctzll(rest);
        uint32_t first = index;
        for (; index <= high && is_done(s, index); index++)
            s->done[index / 64] &= ~(UINT64_C(1) << (index % 64));
        s->waiting -= index - first;
        if (index > high)
            s->dirty = false; /* the last run: the slot may be given back */
        tell(inflight, slot, first, index - first, NULL);
    }
}

void kafka_inflight_tell(kafka_inflight *inflight)
{
    if (inflight->first_dirty == KAFKA_NO_SLOT)
        return;
    int64_t now = inflight->host->now_ns(inflight->host);
    uint32_t slot = inflight->first_dirty;
    inflight->first_dirty = KAFKA_NO_SLOT;
    while (slot != KAFKA_NO_SLOT) {
        kafka_slot *s = &inflight->slots[slot];
        uint32_t next = s->next_dirty;
        if (s->settled + s->waiting == s->count || now - s->since_ns >= HOLD_NS) {
            tell_slot(inflight, slot);
        } else { /* stays on the list */
            s->next_dirty = inflight->first_dirty;
            inflight->first_dirty = slot;
        }
        slot = next;
    }
}
