/* What the stages of one pipeline share. */
#ifndef PL_FLOW_FLOW_H
#define PL_FLOW_FLOW_H
#include <base/clock.h>
#include <flow/batch.h>
#include <flow/lane.h>

enum { PL_FLOW_TICK_NS = 100 * 1000 * 1000 }; /* the longest a plugin's call may block while others wait */

typedef struct pl_flow {
    const char *pipeline;
    const char *data_dir; /* this pipeline's own folder */
    const pl_clock *clock;
    uint64_t seed;
    bool seeded;              /* the single-thread scheduler drives: plugins get deadlines that are already over */
    _Atomic uint64_t letters; /* dead letters so far, see dead_letter.h */
    pl_lanes lanes;
    pl_ack_groups groups;
    pl_memory memory;
    struct pl_stage *sources; /* all of them, linked by next_alike; constant once the first stage runs */
    struct pl_stage *sinks;   /* likewise */
    uint32_t sink_count;
    _Atomic uint32_t held_sources;      /* have more to hand over, but no memory or no room below */
    _Atomic uint32_t busy_sinks;        /* have records that are not settled */
    _Atomic uint32_t closing_sources;   /* wait for what a lane that is taken away has out */
    bool rebuilds;                      /* a script's state is rebuilt. Constant once the first stage runs */
    _Atomic bool stopping;              /* sources hand over nothing more; the rest drains */
    _Atomic bool aborting;              /* everything ends now, settled or not */
    struct pl_transaction *transaction; /* NULL: at least once. Constant once the first stage runs */
    _Atomic bool start_over; /* the transaction is lost: once this flow ended, another goes on from what is committed */
    /* The first halt wins. */
    pthread_mutex_t halt_lock;
    _Atomic bool halted;
    char halt_component[128];
    pl_error halt_error;
    /* Told once when the flow must stop (a halt), or is to start over. [any] */
    void (*on_halt)(void *self);
    void *self;
} pl_flow;

bool pl_flow_init(pl_flow *flow);
void pl_flow_release(pl_flow *flow);
/* [any] Stops the pipeline with this error, and says so. */
void pl_flow_halt(pl_flow *flow, const char *component, const pl_error *error);
/* [any] Ends the flow so that another can go on from what is committed, and says why. */
void pl_flow_start_over(pl_flow *flow, const char *component, const pl_error *error);
/* Sources are held up by what sinks have not got rid of, or by a lane that is taken away: who says nothing now may have
 * much to say. [any] */
static inline bool pl_flow_stalled(const pl_flow *flow)
{
    return (atomic_load(&flow->held_sources) && atomic_load(&flow->busy_sinks)) || atomic_load(&flow->closing_sources);
}
static inline int64_t pl_flow_now(const pl_flow *flow)
{
    return flow->clock->now_ns(flow->clock);
}
static inline int64_t pl_flow_unix(const pl_flow *flow)
{
    return flow->clock->unix_ns(flow->clock);
}
/* Wakes the sources whose inputs were settled since they were last told. [any] */
void pl_flow_tell_settled(pl_flow *flow);
/* A source is held up: where memory is what it wants, sinks that hold much of it wake and flush. [any] */
void pl_flow_tell_held(pl_flow *flow);
/* Deadline for a blocking call of a plugin: a tick from now, or now itself under the seeded scheduler. */
static inline int64_t pl_flow_deadline(const pl_flow *flow, int64_t now_ns)
{
    return flow->seeded ? now_ns : now_ns + PL_FLOW_TICK_NS;
}
#endif
