/* Lanes: the units of order. A lane belongs to one source; its name is stable across restarts. */
#ifndef PL_FLOW_LANE_H
#define PL_FLOW_LANE_H
#include <flow/ack.h>
#include <plumbline/plugin.h>
#include <pthread.h>
#include <record/record.h>

enum { PL_LANES_MAX = 65536, PL_LANE_NONE = 0 };

typedef struct pl_lane {
    /* Constant after opening; any thread may read these. */
    uint32_t index;       /* global in the pipeline, from 1 */
    uint32_t source_rank; /* order of the source in the pipeline file: ties in event time are broken by it */
    char *name;
    /* Set once, by the source stage: it was closed with inputs still out. Whoever reads the lane next has them again.
     * [any] */
    _Atomic bool abandoned;
    /* The rest is the source stage's own. */
    bool open;
    pl_ack **ring; /* inputs handed over and not yet settled, oldest first */
    size_t head, count, capacity;
    uint64_t settled_position; /* UINT64_MAX: none yet */
    bool settled_any, commit_due;
    struct pl_lane *before; /* one of the same name that was given up, and may still have inputs out; NULL: none */
    bool listed;            /* in the source's list of lanes that have something out */
    bool news;              /* in the source's list of lanes that the batch being built has to mark */
    bool at_end;            /* nothing more will be handed over: its next mark says so */
    int64_t newest_unix_ns; /* event time */
} pl_lane;

/* All lanes of a pipeline. Opening locks; looking up by index does not. */
typedef struct pl_lanes {
    pthread_mutex_t lock;
    _Atomic(pl_lane *) *lanes;
    _Atomic uint32_t count;
    _Atomic uint32_t abandoned; /* how many are */
} pl_lanes;

bool pl_lanes_init(pl_lanes *lanes);
void pl_lanes_release(pl_lanes *lanes);
/* [any] A new lane; NULL: no memory, or too many. */
pl_lane *pl_lane_open(pl_lanes *lanes, uint32_t source_rank, pl_str name);
/* [any] index from a record. */
pl_lane *pl_lane_at(const pl_lanes *lanes, uint32_t index);

void pl_lane_abandon(pl_lanes *lanes, pl_lane *lane);
/* [any] Whether an input, or what came of it, is of a lane that was given up: whoever reads that next has it again.
 * What came of several inputs (a group) never is, for the others may be of lanes that are open. */
static inline bool pl_lane_gave_up(const pl_lanes *lanes, const pl_record *record)
{
    if (atomic_load_explicit(&lanes->abandoned, memory_order_relaxed) == 0 || !record->ack || !record->ack->source)
        return false;
    const pl_lane *lane = pl_lane_at(lanes, record->lane);
    return lane && atomic_load_explicit(&lane->abandoned, memory_order_relaxed);
}

/* [any] The same of what no script has seen: it is of no use to go on with it. What a script made of an input is to be
 * delivered: when the input comes again, perhaps to this very process, a script that remembers it makes nothing of it.
 */
static inline bool pl_lane_lets_go(const pl_lanes *lanes, const pl_record *record)
{
    return !(record->flags & PL_RECORD_MADE) && pl_lane_gave_up(lanes, record);
}

/* [any] Of an input or a group: whether every input that it stands for is of a lane that was given up. The caller holds
 * a reference. */
bool pl_lanes_gave_up_all(const pl_lanes *lanes, const pl_ack *ack);

/* The source stage's own side. */
bool pl_lane_push(pl_lane *lane, pl_ack *ack); /* false: no memory */
/* Takes the oldest input if it is settled; NULL: none is. */
pl_ack *pl_lane_pop(pl_lane *lane, pl_outcome *outcome);
/* Whether a lane of the same name, given up before this one was opened, still has inputs out. What was read again may
 * be settled while what a script made of it the first time is not. */
bool pl_lane_is_preceded(const pl_lane *lane);
#endif
