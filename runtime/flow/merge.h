/* Event time: records of several lanes come in as they arrive and go out in the order of their event time, ties by the
 * source's place in the pipeline file, the lane's name, the position. So the order of arrival changes nothing.
 *
 * A lane's bound is its newest event time less the slack: nothing older is expected from it. A record is due when no
 * other lane can still bring one before it. A lane that is silent for `idle` with nothing buffered is not waited for,
 * nor is a closed one; a source that has not opened a lane yet is waited for as long. Once silence has lasted, the
 * lane's slack is over too. While sources are held up, a lane's silence begins when its last record goes out: what
 * waits here may be what keeps it from saying more. Records without a lane of their own (born of a timer, or in place
 * of a sample) wait in a lane that is never waited for.
 *
 * `now_ns` is the caller's time spent listening: while it could not take anything in, nobody was silent. One thread. */
#ifndef PL_FLOW_MERGE_H
#define PL_FLOW_MERGE_H
#include <flow/batch.h>

typedef struct pl_merge_source { /* lanes of a source that an input will bring */
    uint32_t input, rank;
} pl_merge_source;

typedef struct pl_merge_setup {
    int64_t slack_ns, idle_ns;
    uint32_t input_count;           /* at least 1 */
    const pl_merge_source *sources; /* who is waited for before its first lane is open; copied */
    size_t source_count;
} pl_merge_setup;

typedef struct pl_merge_item {
    int64_t time_unix_ns; /* the record's, here so that comparing two does not fetch both */
    const pl_record *record;
    pl_flow_batch *batch; /* one reference, passed on with the item */
} pl_merge_item;

typedef struct pl_merge_lane { /* a lane as one input brings it: what one worker above has done vouches for no other */
    pl_lane *lane;
    uint32_t input;
    pl_merge_item *heap; /* by (time, position) */
    size_t count, capacity;
    size_t rank;            /* 1 + its place in merge.heads; 0: it holds no record */
    int64_t first_unix_ns;  /* of its first record, if it holds one */
    int64_t newest_unix_ns; /* INT64_MIN: nothing yet */
    int64_t active_ns;      /* when it last said something, see above */
    bool closed;
    bool changed;           /* listed in merge.changed */
    bool told, told_closed; /* what downstream knows */
    int64_t told_unix_ns;
} pl_merge_lane;

typedef struct pl_merge {
    pl_merge_setup setup;
    pl_merge_source *expected; /* a copy of the setup's */
    pl_merge_source *waiting;  /* those without a lane yet */
    size_t waiting_count;
    int64_t started_ns;
    pl_merge_lane *lanes;
    size_t lane_count, lane_capacity;
    uint32_t *slot_of; /* by lane index and input: 1 + place in lanes */
    size_t slot_capacity;
    uint32_t
        *heads; /* places of the lanes that hold records: a heap, the one whose first record goes out first on top */
    size_t head_count;
    uint32_t *changed; /* places of the lanes that heard or gave out something since pl_merge_forget_changes */
    size_t changed_count;
    size_t buffered; /* records */
    bool held_up;    /* set by the caller: sources have no memory or room for what they have to say */
    bool ended;      /* no more input: everything is due */
    /* The bound as it was found at bound_ns, for as long as nothing was heard and nobody fell silent. */
    bool bound_known;
    int64_t bound_ns, bound;
    size_t stands; /* 1 + place of the lane, first in their order, that may still bring a record of the bound's very
                      time */
} pl_merge;

/* The lane of records that have none. */
static inline bool pl_merge_born(const pl_merge_lane *lane)
{
    return lane->lane->index == PL_LANE_NONE;
}

bool pl_merge_init(pl_merge *merge, const pl_merge_setup *setup, int64_t now_ns);
void pl_merge_release(pl_merge *merge);

/* All of a packet that came by that input; takes a reference of the batch for each record. false: no memory. */
bool pl_merge_take(pl_merge *merge, const pl_packet *packet, uint32_t input, int64_t now_ns);
/* Only the marks and newest times, for a transform that does not reorder. */
bool pl_merge_observe(pl_merge *merge, const pl_packet *packet, uint32_t input, int64_t now_ns);
/* The lane as that input brings it; NULL: it has not yet. *expected: it may still. */
const pl_merge_lane *pl_merge_find(const pl_merge *merge, const pl_lane *lane, uint32_t input, bool *expected);

/* Empties the list of changed lanes. */
void pl_merge_forget_changes(pl_merge *merge);

/* Nothing before this event time will come any more: the lowest bound, INT64_MAX when nobody is waited for. */
int64_t pl_merge_bound(pl_merge *merge, int64_t now_ns);
/* The event time of the record that is first in line, due or not; INT64_MAX: none. */
int64_t pl_merge_head(const pl_merge *merge);
/* Takes the next due record, its batch reference included; false: none is due. `bound` from pl_merge_bound. */
bool pl_merge_next(pl_merge *merge, int64_t bound, int64_t now_ns, pl_merge_item *item);
/* Monotonic time at which a silent lane stops being waited for; INT64_MAX: none is waited for. */
int64_t pl_merge_resume(const pl_merge *merge, int64_t now_ns);
#endif
