/* `delivery: exactly_once`: what can be had so, the transaction of a graph, and starting over when one is lost. */
#include <flow/transaction.h>
#include <graph/graph.h>

static const char extension_id[] = "pl.txn/1";

/* Dead letters that are put back come as they do without. */
static bool exactly_once(const pl_graph *graph)
{
    return graph->setup.pipeline->delivery == PL_EXACTLY_ONCE && !graph->setup.replay;
}

bool pl_graph_transactional(const pl_graph *graph, const pl_node_plan *node)
{
    return exactly_once(graph) && node->kind != PL_KIND_TRANSFORM && node != &graph->nodes[graph->dead_letter];
}

const void *pl_graph_txn_of(const pl_graph *graph, const pl_node_plan *node)
{
    if (!pl_graph_transactional(graph, node) || !node->component || !node->component->extension)
        return NULL;
    if (node->instance)
        return node->component->extension(pl_instance_self(node->instance), extension_id);
    pl_error known = {.struct_size = sizeof known}; /* it was reported when the plugin was planned */
    const pl_plugin *plugin = pl_loader_open(graph->setup.loader, node->spec->plugin, &known);
    return plugin ? pl_plugin_offer(plugin, node->component, extension_id) : NULL;
}

/* ---- the check -------------------------------------------------------------------- */

static void check_transform(const pl_component_spec *spec, pl_diags *diags)
{
    if (spec->order.enabled)
        pl_diags_error(diags, pl_node_get(spec->node, "order"),
                       "order keeps records back beyond their transaction: it can't be had with "
                       "delivery: exactly_once");
    if (spec->state.kind != PL_STATE_NONE)
        pl_diags_error(diags, spec->state.node,
                       "script state is no part of the sink's transaction: it can't be had with "
                       "delivery: exactly_once");
}

static void check_part(const pl_graph *graph, const pl_node_plan *node, pl_diags *diags)
{
    const pl_component_spec *spec = node->spec;
    if (spec->buffer.given)
        pl_diags_error(diags, spec->buffer.node,
                       "a buffer gives records back after a restart, so that they may come twice: it can't be had "
                       "with delivery: exactly_once");
    if (node->kind == PL_KIND_SINK && spec->retry.attempts)
        pl_diags_error(diags, pl_node_get(spec->node, "retry"),
                       "a lost transaction is tried again for as long as it takes: retry.attempts can't be had with "
                       "delivery: exactly_once");
    if (node->component && !pl_graph_txn_of(graph, node))
        pl_diags_error(diags, spec->plugin_node,
                       "plugin %s can't %s (it lacks %s), which delivery: exactly_once needs; at_least_once is what "
                       "can be had with it",
                       spec->plugin, node->kind == PL_KIND_SOURCE ? "be told where to go on" : "write in a transaction",
                       extension_id);
}

/* Positions are kept by the lane's name, which two sources may both have. */
static void check_second(const pl_node_plan *source, const pl_node_plan *second, const pl_node_plan *sink,
                         pl_diags *diags)
{
    pl_diags_error(diags, second->spec->key,
                   "sink '%s' commits the positions of one source, '%s'; expected one that reads both", sink->name,
                   source->name);
}

/* Where the source's own group keeps the positions, they can only be committed to that system, and for one member. */
static void check_group(const pl_node_plan *source, const pl_node_plan *sink, const pl_txn_sink *txn, pl_diags *diags)
{
    pl_error error = {.struct_size = sizeof error};
    if (!source->component || !sink->component)
        return;
    if (strcmp(source->spec->plugin, sink->spec->plugin) != 0) {
        pl_diags_error(diags, sink->spec->plugin_node,
                       "plugin %s commits positions of a %s source only, not of %s, with delivery: exactly_once",
                       sink->spec->plugin, sink->spec->plugin, source->spec->plugin);
        return;
    }
    if (txn->check && txn->check(sink->config, source->config, &error) != PL_OK)
        pl_graph_report(diags, sink->spec, &error);
}

void pl_graph_check_exactly_once(const pl_graph *graph, pl_diags *diags)
{
    const pl_node_plan *sources[2] = {NULL, NULL}, *sink = NULL;
    const pl_pipeline *pipeline = graph->setup.pipeline;
    if (!exactly_once(graph))
        return;
    if (pipeline->scheduler == PL_SCHEDULER_SEEDED)
        pl_diags_error(diags, pl_node_get(pipeline->root, "scheduler"),
                       "the seeded scheduler is for replays: it can't be had with delivery: exactly_once");
    for (size_t i = 0; i < pipeline->count; i++) {
        const pl_node_plan *node = &graph->nodes[i];
        if (node->kind == PL_KIND_TRANSFORM)
            check_transform(node->spec, diags);
        if (!pl_graph_transactional(graph, node))
            continue;
        check_part(graph, node, diags);
        if (node->kind == PL_KIND_SOURCE && sources[0])
            sources[1] = sources[1] ? sources[1] : node;
        else if (node->kind == PL_KIND_SOURCE)
            sources[0] = node;
        else if (sink)
            pl_diags_error(diags, node->spec->key,
                           "a transaction has one sink, '%s': with delivery: exactly_once there can be no other but "
                           "the dead letter",
                           sink->name);
        else
            sink = node;
    }
    const pl_txn_sink *txn = sink ? pl_graph_txn_of(graph, sink) : NULL;
    if (txn && sources[1])
        check_second(sources[0], sources[1], sink, diags);
    else if (txn && sources[0] && !(txn->flags & PL_TXN_KEEPS_POSITIONS))
        check_group(sources[0], sink, txn, diags);
}

/* ---- the transaction ----------------------------------------------------------------- */

/* Nothing is on its way now, so the sums of all components belong together. */
static void committed(void *self)
{
    pl_graph *graph = self;
    for (size_t i = 0; i < graph->node_count; i++) {
        pl_counts *counts = &graph->nodes[i].committed;
        *counts = (pl_counts){0};
        for (uint32_t w = 0; w < graph->nodes[i].worker_count; w++) {
            const pl_account *account = &graph->nodes[i].stages[w]->account;
            counts->delivered += pl_counted(&account->delivered);
            counts->filtered += pl_counted(&account->filtered);
            counts->dead_lettered += pl_counted(&account->dead_lettered);
        }
    }
    atomic_store(&graph->lost, 0);
}

pl_status pl_graph_open_transaction(pl_graph *graph, pl_error *error)
{
    const pl_pipeline *pipeline = graph->setup.pipeline;
    if (!exactly_once(graph))
        return PL_OK;
    graph->txn = (pl_txn){sizeof graph->txn, pipeline->name, pipeline->commit_every_ns};
    graph->flow.transaction = pl_transaction_new(&graph->flow, pipeline->commit_every_ns);
    if (!graph->flow.transaction)
        return pl_fail(error, PL_HALT, "no memory");
    graph->flow.transaction->committed = committed;
    graph->flow.transaction->self = graph;
    return PL_OK;
}

void pl_graph_bind_transaction(pl_graph *graph)
{
    pl_transaction *transaction = graph->flow.transaction;
    for (size_t i = 0; transaction && i < graph->node_count; i++) {
        const pl_node_plan *node = &graph->nodes[i];
        if (node->kind != PL_KIND_SINK || !pl_graph_transactional(graph, node))
            continue;
        const pl_txn_sink *txn = ((const pl_sink_stage *)node->stages[0])->setup.txn;
        transaction->sink = node->stages[0];
        transaction->needs_token = !(txn->flags & PL_TXN_KEEPS_POSITIONS);
    }
}

/* ---- starting over --------------------------------------------------------------------- */

bool pl_graph_lost(const pl_graph *graph)
{
    return atomic_load(&graph->flow.start_over) && !atomic_load(&graph->flow.halted);
}

int64_t pl_graph_pause(const pl_graph *graph)
{
    static const int64_t least_ns = 100000000, most_ns = 30000000000;
    uint32_t lost = atomic_load(&graph->lost);
    int64_t ceiling_ns = lost < 9 ? least_ns << lost : most_ns;
    pl_random random;
    pl_random_seed(&random, pl_random_entropy());
    return 1 + (int64_t)pl_random_below(&random, (uint64_t)(ceiling_ns < most_ns ? ceiling_ns : most_ns));
}

bool pl_graph_start_over(pl_graph **graph, pl_diags *diags)
{
    pl_graph *old = *graph;
    pl_graph *next = pl_graph_plan(&old->setup, diags);
    pl_graph_join(old);
    if (!next || pl_diags_errors(diags)) {
        pl_graph_free(&next);
        return false;
    }
    for (size_t i = 0; i < old->node_count; i++) {
        pl_counts *before = &next->nodes[i].before;
        *before = pl_node_counts(old, &old->nodes[i]);
        before->read -= before->in_flight; /* they are read again */
        before->in_flight = 0;
    }
    atomic_store(&next->lost, atomic_load(&old->lost) + 1);
    pl_graph_free(graph);
    *graph = next;
    return true;
}
