#include <base/log.h>
#include <flow/flow.h>
#include <flow/stage.h>

bool pl_flow_init(pl_flow *flow)
{
    flow->memory.chunks = pl_chunk_pool_new(PL_MEMORY_KEPT_BYTES);
    return flow->memory.chunks && pl_lanes_init(&flow->lanes) && pl_ack_groups_init(&flow->groups) &&
           pthread_mutex_init(&flow->halt_lock, NULL) == 0;
}

void pl_flow_release(pl_flow *flow)
{
    pl_ack_groups_release(&flow->groups);
    pl_chunk_pool_free(&flow->memory.chunks);
    pl_lanes_release(&flow->lanes);
    pthread_mutex_destroy(&flow->halt_lock);
}

void pl_flow_tell_settled(pl_flow *flow)
{
    for (pl_stage *source = flow->sources; source; source = source->next_alike)
        if (atomic_load_explicit(&source->settled, memory_order_relaxed) && atomic_exchange(&source->settled, false))
            pl_stage_note(source);
}

void pl_flow_tell_held(pl_flow *flow)
{
    for (pl_stage *sink = pl_memory_spent(&flow->memory) ? flow->sinks : NULL; sink; sink = sink->next_alike)
        pl_stage_note(sink);
}

static void end_now(pl_flow *flow)
{
    atomic_store(&flow->stopping, true);
    atomic_store(&flow->aborting, true);
    if (flow->on_halt)
        flow->on_halt(flow->self);
}

void pl_flow_halt(pl_flow *flow, const char *component, const pl_error *error)
{
    pthread_mutex_lock(&flow->halt_lock);
    bool first = !atomic_load(&flow->halted);
    if (first) {
        flow->halt_error = *error;
        (void)snprintf(flow->halt_component, sizeof flow->halt_component, "%s", component);
        atomic_store(&flow->halted, true);
    }
    pthread_mutex_unlock(&flow->halt_lock);
    if (!first)
        return;
    pl_log(PL_ERROR, component, "%s; the pipeline stops", error->message);
    end_now(flow);
}

void pl_flow_start_over(pl_flow *flow, const char *component, const pl_error *error)
{
    if (atomic_load(&flow->aborting) || atomic_exchange(&flow->start_over, true))
        return;
    pl_log(PL_WARN, component, "%s; the transaction is aborted: starting over from what is committed", error->message);
    end_now(flow);
}
