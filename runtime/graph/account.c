/* The sums that must come out. */
#include <flow/transaction.h>
#include <graph/graph.h>

static uint64_t held_by(const pl_node_plan *node, const pl_stage *stage)
{
    uint64_t held = 0;
    if (node->kind == PL_KIND_SOURCE) {
        const pl_source_stage *source = (const pl_source_stage *)stage;
        for (size_t i = 0; i < source->lane_count; i++)
            held += source->lanes[i]->count;
    } else if (node->kind == PL_KIND_TRANSFORM && node->spec) { /* a replay's router holds nothing */
        const pl_merge *merge = &((const pl_transform_stage *)stage)->merge;
        held += ((const pl_transform_stage *)stage)->pending_inputs;
        for (size_t i = 0; i < merge->lane_count; i++)
            for (size_t j = 0; j < merge->lanes[i].count; j++)
                held += merge->lanes[i].heap[j].record->flags & PL_RECORD_REPLAY ? 0 : 1;
    } else if (node->kind == PL_KIND_SINK) {
        const pl_sink_stage *sink = (const pl_sink_stage *)stage;
        held += sink->gathered;
        for (const pl_write *write = sink->queue; write; write = write->next)
            held += write->open;
        for (const pl_write *write = sink->taken; write; write = write->next)
            for (uint32_t i = 0; i < write->count; i++)
                held += write->states[i] == PL_RECORD_SETTLED ? 0 : 1;
    }
    return held;
}

/* Of this graph alone. */
static pl_counts counts_of(const pl_graph *graph, const pl_node_plan *node)
{
    pl_counts sum = {0};
    uint64_t held = 0;
    bool ended = pl_graph_ended(graph);
    for (uint32_t w = 0; node->stages && w < node->worker_count; w++) {
        const pl_account *account = &node->stages[w]->account;
        sum.read += pl_counted(&account->read);
        sum.delivered += pl_counted(&account->delivered);
        sum.filtered += pl_counted(&account->filtered);
        sum.dead_lettered += pl_counted(&account->dead_lettered);
        sum.born += pl_counted(&account->born);
        sum.replayed += pl_counted(&account->replayed);
        sum.retries += pl_counted(&account->retries);
        sum.errors += pl_counted(&account->errors);
        sum.bytes += pl_counted(&account->bytes);
        sum.circuit_opened += pl_counted(&account->circuit_opened);
        sum.circuit = (pl_circuit)atomic_load_explicit(&account->circuit, memory_order_relaxed);
        sum.newest_unix_ns = atomic_load_explicit(&account->newest_unix_ns, memory_order_relaxed);
        held += ended ? held_by(node, node->stages[w]) : 0;
    }
    uint64_t settled = sum.delivered + sum.filtered + sum.dead_lettered;
    sum.in_flight = ended ? held : sum.read > settled ? sum.read - settled : 0;
    return sum;
}

pl_counts pl_node_counts(const pl_graph *graph, const pl_node_plan *node)
{
    pl_counts sum = counts_of(graph, node);
    const pl_counts *before = &node->before, *committed = &node->committed;
    if (graph->flow.transaction && pl_graph_ended(graph) && pl_transaction_dirty(graph->flow.transaction)) {
        /* What was settled since the last commit was aborted with it. */
        sum.delivered = committed->delivered;
        sum.filtered = committed->filtered;
        sum.dead_lettered = committed->dead_lettered;
        sum.in_flight = sum.read - sum.delivered - sum.filtered - sum.dead_lettered;
    }
    sum.read += before->read;
    sum.delivered += before->delivered;
    sum.filtered += before->filtered;
    sum.dead_lettered += before->dead_lettered;
    sum.born += before->born;
    sum.replayed += before->replayed;
    sum.retries += before->retries;
    sum.errors += before->errors;
    sum.bytes += before->bytes;
    sum.circuit_opened += before->circuit_opened;
    if (before->newest_unix_ns > sum.newest_unix_ns)
        sum.newest_unix_ns = before->newest_unix_ns;
    return sum;
}

bool pl_graph_balanced(const pl_graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        pl_counts counts = counts_of(graph, &graph->nodes[i]);
        if (counts.read != counts.delivered + counts.filtered + counts.dead_lettered + counts.in_flight)
            return false;
    }
    return true;
}

uint64_t pl_graph_unsettled(const pl_graph *graph)
{
    uint64_t unsettled = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].kind == PL_KIND_SOURCE)
            unsettled += pl_node_counts(graph, &graph->nodes[i]).in_flight;
    return unsettled;
}
