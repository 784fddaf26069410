/* The driver of replay and simulation: one thread, a virtual clock, and a seed that decides whose turn it is. The same
 * seed and input give the same run, step by step. Time moves only when nobody can do anything. */
#include <base/mem.h>
#include <graph/graph.h>

typedef struct pl_turn {
    pl_stage *stage;
    int64_t resume_ns; /* 0: can go on at once */
    bool done;
} pl_turn;

static bool ready(const pl_turn *turn, int64_t now_ns)
{
    return !turn->done && (turn->resume_ns <= now_ns || atomic_load(&turn->stage->noted));
}

static pl_turn *choose(pl_turn *turns, uint32_t count, pl_random *random, int64_t now_ns)
{
    uint32_t able = 0;
    for (uint32_t i = 0; i < count; i++)
        able += ready(&turns[i], now_ns) ? 1 : 0;
    uint64_t pick = pl_random_below(random, able);
    for (uint32_t i = 0; able && i < count; i++)
        if (ready(&turns[i], now_ns) && pick-- == 0)
            return &turns[i];
    return NULL;
}

static void take_turn(pl_turn *turn, int64_t now_ns)
{
    (void)pl_stage_take_note(turn->stage);
    pl_stepped step = turn->stage->step(turn->stage, now_ns);
    turn->done = step.state == PL_STEP_DONE;
    turn->resume_ns = step.state == PL_STEP_AGAIN ? 0 : step.resume_ns;
}

/* The next time something can happen; INT64_MAX: never. *left: stages that are not done. */
static int64_t next_event(const pl_turn *turns, uint32_t count, uint32_t *left)
{
    int64_t soonest = INT64_MAX;
    *left = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (turns[i].done)
            continue;
        ++*left;
        soonest = turns[i].resume_ns < soonest ? turns[i].resume_ns : soonest;
    }
    return soonest;
}

static pl_status run(pl_graph *graph, pl_turn *turns, uint32_t count, pl_random *random, bool (*stop)(void *),
                     void *self, pl_error *error)
{
    pl_virtual_clock *clock = &graph->virtual_clock;
    for (uint64_t steps = 0;; steps++) {
        if (stop && steps % 256 == 0 && stop(self))
            atomic_store(&graph->flow.stopping, true);
        pl_turn *turn = choose(turns, count, random, clock->now);
        if (turn) {
            take_turn(turn, clock->now);
            continue;
        }
        uint32_t left;
        int64_t soonest = next_event(turns, count, &left);
        if (left == 0)
            return PL_OK;
        if (soonest == INT64_MAX)
            return pl_fail(error, PL_HALT, "%u stages wait for each other", left);
        clock->now = soonest;
    }
}

pl_status pl_graph_run_seeded(pl_graph *graph, uint64_t seed, bool (*stop)(void *self), void *self, pl_error *error)
{
    uint32_t count = 0;
    pl_turn *turns = pl_calloc(pl_graph_stage_count(graph), sizeof *turns);
    if (!turns)
        return pl_fail(error, PL_HALT, "no memory");
    for (size_t i = 0; i < graph->node_count; i++)
        for (uint32_t w = 0; w < graph->nodes[i].worker_count; w++)
            turns[count++].stage = graph->nodes[i].stages[w];
    pl_random random;
    pl_random_seed(&random, seed);
    pl_status status = run(graph, turns, count, &random, stop, self, error);
    pl_free(turns);
    return status;
}
