/* Functions a script put off until the event time has passed `at`, once a (time, key). The inputs that asked stay
 * unsettled until then: what the function gives out is their child. One thread. */
#ifndef PL_FLOW_DEFER_H
#define PL_FLOW_DEFER_H
#include <flow/batch.h>

typedef struct pl_deferred {
    int64_t at_unix_ns;
    char *key;
    size_t key_len;
    int ref;              /* the script's name for the function */
    pl_ack *group;        /* of all that asked; NULL: nobody has an ack (timers, replay) */
    pl_record envelope;   /* of the first that asked; its bytes are kept alive by `batch` */
    pl_flow_batch *batch; /* one reference; may be NULL */
    uint32_t inputs;      /* of the transform's account that are done with when this has run */
    bool live;            /* somebody asked who is not just rebuilding state */
    bool unowned;         /* somebody asked who has no input and is no replay: a timer */
} pl_deferred;

typedef struct pl_defers { /* sorted by (at, key); items[head] is the next */
    pl_deferred *items;
    size_t head, count, capacity;
    pl_ack_groups *groups; /* the flow's */
} pl_defers;

/* The one of that time and key, or NULL. The pointer holds until the next add or take. */
pl_deferred *pl_defers_find(const pl_defers *defers, int64_t at_unix_ns, pl_str key);
/* Adds a new one, copying the key and taking references on the batch; its group stands for the asker's ack. NULL: no
 * memory. */
pl_deferred *pl_defers_add(pl_defers *defers, int64_t at_unix_ns, pl_str key, int ref, const pl_record *asker,
                           pl_flow_batch *batch);
/* One more who asked for the same. false: no memory. */
bool pl_deferred_join(pl_deferred *deferred, const pl_record *asker);
/* Event time of the next; INT64_MAX: none. */
static inline int64_t pl_defers_next(const pl_defers *defers)
{
    return defers->head < defers->count ? defers->items[defers->head].at_unix_ns : INT64_MAX;
}
/* Takes the next out; the caller owns what it holds: pl_deferred_release. */
pl_deferred pl_defers_take(pl_defers *defers);
/* Drops the group's own reference (outcome: what it came to) and frees. */
void pl_deferred_release(pl_deferred *deferred, pl_outcome outcome);
/* Frees all without telling anybody: the flow is over. */
void pl_defers_free(pl_defers *defers);
static inline size_t pl_defers_pending(const pl_defers *defers)
{
    return defers->count - defers->head;
}
#endif
