/* From planned components to instances and stages. */
#include <base/fs.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <flow/transaction.h>
#include <graph/graph.h>

enum { SINK_BATCH_RECORDS = 2000, SINK_BATCH_BYTES = 4 << 20, BUDGET_MIN_BYTES = 1 << 20, BUDGET_MAX_BYTES = 64 << 20 };

static void memory_freed(void *self)
{
    pl_graph *graph = self;
    if (pl_memory_spent(&graph->flow.memory))
        return;
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].kind == PL_KIND_SOURCE && graph->nodes[i].stages && graph->nodes[i].stages[0])
            pl_source_memory_freed((pl_source_stage *)graph->nodes[i].stages[0]);
}

static pl_status take_data_dir(pl_graph *graph, pl_error *error)
{
    const char *name = graph->setup.pipeline->name;
    size_t size = strlen(graph->setup.data_dir) + strlen(name) + 16;
    char *dir = pl_arena_alloc(graph->arena, size);
    char *lock = pl_arena_alloc(graph->arena, size);
    if (!dir || !lock)
        return pl_fail(error, PL_HALT, "no memory");
    (void)snprintf(dir, size, "%s/%s", graph->setup.data_dir, name);
    (void)snprintf(lock, size, "%s/lock", dir);
    graph->data_dir = dir;
    if (pl_fs_mkdirs(dir, error) != PL_OK)
        return PL_FAILED;
    if (graph->setup.replay)
        return pl_graph_begin_replay(graph, error);
    return pl_fs_lock(lock, &graph->lock_fd, error);
}

static size_t budget_of(const pl_graph *graph)
{
    size_t share = graph->flow.memory.limit / (4 * (graph->node_count + 1));
    return share < BUDGET_MIN_BYTES ? BUDGET_MIN_BYTES : share > BUDGET_MAX_BYTES ? BUDGET_MAX_BYTES : share;
}

static pl_status open_instance(pl_graph *graph, pl_node_plan *node, pl_error *error)
{
    pl_instance_setup setup = {.name = node->name,
                               .component = node->component,
                               .config = node->config,
                               .clock = graph->flow.clock,
                               .data_dir = graph->setup.replay ? graph->back.dir : graph->data_dir,
                               .budget_bytes = budget_of(graph),
                               .txn = pl_graph_transactional(graph, node) ? &graph->txn : NULL};
    node->instance = pl_instance_new(&setup, error);
    return node->instance ? PL_OK : PL_FAILED;
}

/* A quarter of the memory is shared out among the sources, see pl_source_setup. */
static size_t share_of(const pl_graph *graph)
{
    size_t sources = 1;
    for (size_t i = 0; i < graph->node_count; i++)
        sources += graph->nodes[i].kind == PL_KIND_SOURCE ? 1 : 0;
    return graph->flow.memory.limit / 4 / sources;
}

static pl_retry_policy retry_of(const pl_component_spec *spec)
{
    if (!spec || !spec->retry.min_ns) /* none of the file's */
        return (pl_retry_policy){.min_ns = 100000000, .max_ns = 30000000000, .circuit = PL_RETRY_CIRCUIT};
    return (pl_retry_policy){.min_ns = spec->retry.min_ns,
                             .max_ns = spec->retry.max_ns,
                             .attempts = (uint32_t)spec->retry.attempts,
                             .circuit = (uint32_t)spec->retry.circuit,
                             .then_halt = spec->retry.then_halt};
}

static void report_buffer(void *self, int32_t level, const char *message)
{
    pl_log(level, ((const pl_node_plan *)self)->name, "%s", message);
}

/* *buffer stays NULL where the source has none. */
static pl_status open_buffer(pl_graph *graph, pl_node_plan *node, pl_buffer **buffer, pl_error *error)
{
    if (!node->spec->buffer.given)
        return PL_OK;
    size_t size = strlen(graph->data_dir) + strlen(node->name) + 16;
    char *path = pl_arena_alloc(graph->arena, size);
    if (!path)
        return pl_fail(error, PL_HALT, "no memory");
    (void)snprintf(path, size, "%s/buffer/%s", graph->data_dir, node->name);
    pl_buffer_setup setup = {.path = path,
                             .max_bytes = (uint64_t)node->spec->buffer.max_bytes,
                             .clock = graph->flow.clock,
                             .report = report_buffer,
                             .self = node};
    *buffer = pl_buffer_open(&setup, error);
    return *buffer ? PL_OK : PL_FAILED;
}

static pl_stage *open_source(pl_graph *graph, pl_node_plan *node, pl_error *error)
{
    const pl_component_spec *spec = node->spec;
    pl_source_setup setup = {.instance = node->instance,
                             .codec = spec->codec,
                             .validate = spec->validate == PL_VALIDATE_FULL,
                             .time_paths = node->time_paths,
                             .time_count = spec->time_count,
                             .retry = retry_of(spec),
                             .rank = (uint32_t)(node - graph->nodes),
                             .share_bytes = share_of(graph),
                             .txn = pl_graph_txn_of(graph, node),
                             .buffer_sync_ns = spec->buffer.sync_ns};
    if (open_buffer(graph, node, &setup.buffer, error) != PL_OK)
        return NULL;
    if (node == graph->back.reader) {
        setup.settled = pl_replay_settled;
        setup.self = graph->back.router->stages[0];
    }
    pl_source_stage *source = pl_source_stage_new(&graph->flow, &setup);
    if (!source) {
        pl_buffer_close(&setup.buffer);
        (void)pl_fail(error, PL_HALT, "no memory");
    }
    return (pl_stage *)source;
}

static pl_stage *open_sink(pl_graph *graph, pl_node_plan *node, pl_error *error)
{
    const pl_component_spec *spec = node->spec;
    bool given = spec != NULL;
    pl_sink_setup setup = {
        .instance = node->instance,
        .when = given ? spec->when : NULL,
        .when_path = given ? spec->node->file : NULL,
        .when_line = given && spec->when_node ? spec->when_node->line : 0,
        .batch_records = given && spec->batch.records ? (uint32_t)spec->batch.records : SINK_BATCH_RECORDS,
        .batch_bytes = given && spec->batch.bytes ? (size_t)spec->batch.bytes : SINK_BATCH_BYTES,
        .batch_wait_ns = given && spec->batch.wait_ns > 0 ? spec->batch.wait_ns : 0,
        .retry = retry_of(spec),
        .reject_halts = given && spec->reject_halts,
        .dead_letters = node == &graph->nodes[graph->dead_letter],
        .txn = pl_graph_txn_of(graph, node),
    };
    return (pl_stage *)pl_sink_stage_new(&graph->flow, &setup, node->name, error);
}

static pl_stage *open_transform(pl_graph *graph, pl_node_plan *node, uint32_t worker, pl_error *error)
{
    const pl_component_spec *spec = node->spec;
    pl_transform_setup setup = {
        .script = pl_graph_script_setup(graph, spec, NULL),
        .when = spec->when,
        .when_path = spec->node->file,
        .when_line = spec->when_node ? spec->when_node->line : 0,
        .ordered = spec->order.enabled,
        .merge = {.slack_ns = spec->order.slack_ns, .idle_ns = spec->order.idle_ns},
        .durable = spec->state.kind == PL_STATE_DURABLE && !graph->back.beside,
        .rebuilt = spec->state.kind == PL_STATE_REBUILD,
    };
    if (worker == 0 && !setup.durable && !graph->flow.seeded) /* else it has another state, or clock */
        setup.checked = &node->checked;
    setup.script.seed += worker;
    size_t size = strlen(graph->data_dir) + strlen(node->name) + 32;
    char *path = pl_arena_alloc(graph->arena, size);
    if (!path) {
        (void)pl_fail(error, PL_HALT, "no memory");
        return NULL;
    }
    (void)snprintf(path, size, "%s/%s.checkpoint", graph->data_dir, node->name);
    setup.checkpoint_path = path;
    return (pl_stage *)pl_transform_stage_new(&graph->flow, &setup, node->name, error);
}

static pl_stage *open_stage(pl_graph *graph, pl_node_plan *node, uint32_t worker, pl_error *error)
{
    return node == graph->back.router     ? pl_graph_open_router(graph, error)
           : node->kind == PL_KIND_SOURCE ? open_source(graph, node, error)
           : node->kind == PL_KIND_SINK   ? open_sink(graph, node, error)
                                          : open_transform(graph, node, worker, error);
}

static pl_status open_node(pl_graph *graph, pl_node_plan *node, pl_error *error)
{
    if (node->worker_count == 0) /* no part of a replay */
        return PL_OK;
    pl_status found = node == graph->back.reader ? pl_graph_find_letters(graph, error) : PL_OK;
    if (found != PL_OK)
        return found;
    if (node->kind != PL_KIND_TRANSFORM && open_instance(graph, node, error) != PL_OK)
        return PL_FAILED;
    node->stages = pl_calloc(node->worker_count, sizeof *node->stages);
    if (!node->stages)
        return pl_fail(error, PL_HALT, "no memory");
    for (uint32_t w = 0; w < node->worker_count; w++) {
        pl_stage *stage = open_stage(graph, node, w, error);
        if (!stage)
            return PL_FAILED;
        node->stages[w] = stage;
        stage->name = node->name;
        stage->worker = w;
        pl_random_seed(&stage->random, graph->flow.seed ^ pl_str_hash(PL_S(node->name)) ^ w);
    }
    pl_script_free(&node->checked); /* nobody took it */
    return PL_OK;
}

/* `state: { rebuild: 3h }`: the sources above hand over again what they committed in that time. */
static pl_status ask_for_rewind(pl_graph *graph, const pl_node_plan *node, pl_error *error)
{
    if (!node->spec || node->spec->state.kind != PL_STATE_REBUILD)
        return PL_OK;
    for (size_t i = 0; i < node->upstream_count; i++) {
        const pl_node_plan *source = &graph->nodes[node->upstream[i]];
        const pl_rewind *rewind = source->component->extension
                                      ? source->component->extension(pl_instance_self(source->instance), "pl.rewind/1")
                                      : NULL;
        if (!rewind)
            return pl_fail(error, PL_BAD_CONFIG, "state can't be rebuilt from '%s': plugin %s can't go back in time",
                           source->name, source->component->name);
        if (rewind->rewind(pl_instance_self(source->instance), node->spec->state.span_ns, error) != PL_OK)
            return PL_FAILED;
    }
    return PL_OK;
}

pl_status pl_graph_open(pl_graph *graph, const char **component, pl_error *error)
{
    const pl_pipeline *pipeline = graph->setup.pipeline;
    pl_flow *flow = &graph->flow;
    *component = "";
    if (pipeline->scheduler == PL_SCHEDULER_SEEDED && !graph->setup.replay) {
        /* Far enough ahead that nothing replayed lies in the future: 2100-01-01. */
        pl_virtual_clock_init(&graph->virtual_clock, 4102444800000000000);
        flow->clock = &graph->virtual_clock.clock;
        flow->seeded = true;
    }
    flow->seed = flow->seeded ? (uint64_t)pipeline->seed : pl_random_entropy();
    flow->pipeline = pipeline->name;
    flow->memory.limit = pipeline->memory_bytes ? (size_t)pipeline->memory_bytes : PL_MEMORY_DEFAULT_BYTES;
    flow->memory.freed = memory_freed;
    flow->memory.self = graph;
    graph->flow_ready = pl_flow_init(flow);
    if (!graph->flow_ready)
        return pl_fail(error, PL_HALT, "no memory");
    if (take_data_dir(graph, error) != PL_OK)
        return PL_FAILED;
    flow->data_dir = graph->data_dir;
    if (pl_graph_open_transaction(graph, error) != PL_OK)
        return PL_FAILED;
    if (!graph->nodes[graph->dead_letter].spec && pl_graph_provide_dead_letter(graph, NULL) != PL_OK)
        return pl_fail(error, PL_HALT, "the default dead letter can't be made");
    for (size_t i = 0; i < graph->node_count; i++) {
        *component = graph->nodes[i].name;
        pl_status status = open_node(graph, &graph->nodes[i], error);
        if (status != PL_OK)
            return status;
    }
    for (size_t i = 0; !graph->setup.replay && i < graph->node_count; i++) {
        *component = graph->nodes[i].name;
        if (ask_for_rewind(graph, &graph->nodes[i], error) != PL_OK)
            return PL_FAILED;
    }
    *component = "";
    pl_graph_bind_transaction(graph);
    return pl_graph_wire(graph, error);
}

/* All stages are released before one is freed: emptying a queue tells the stage at its other end. */
static void release_node(pl_node_plan *node)
{
    for (uint32_t w = 0; node->stages && w < node->worker_count; w++)
        if (node->stages[w])
            node->stages[w]->release(node->stages[w]);
}

static void free_node(pl_node_plan *node)
{
    pl_script_free(&node->checked);
    for (uint32_t w = 0; node->stages && w < node->worker_count; w++) {
        pl_stage *stage = node->stages[w];
        if (!stage)
            continue;
        for (uint32_t p = 0; p < stage->port_count; p++) {
            for (uint32_t e = 0; e < stage->ports[p].edge_count; e++)
                pl_free((void *)stage->ports[p].edges[e].queues);
            pl_free(stage->ports[p].edges);
        }
        pl_free(stage->ports);
        pl_free((void *)stage->inputs);
        pl_free(stage);
    }
    pl_free((void *)node->stages);
}

void pl_graph_free(pl_graph **graph)
{
    pl_graph *gone = *graph;
    if (!gone)
        return;
    gone->flow.memory.freed = NULL; /* batches left behind go below, after the sources that it would wake */
    for (size_t i = 0; gone->nodes && i < gone->node_count; i++)
        pl_instance_free(&gone->nodes[i].instance);
    pl_graph_free_driver(gone);
    for (size_t i = 0; gone->nodes && i < gone->node_count; i++)
        release_node(&gone->nodes[i]);
    for (size_t i = 0; gone->nodes && i < gone->node_count; i++)
        free_node(&gone->nodes[i]);
    for (size_t i = 0; i < gone->queue_count; i++)
        pl_free(gone->queues[i]);
    pl_free((void *)gone->queues);
    pl_transaction_free(&gone->flow.transaction);
    if (gone->flow_ready)
        pl_flow_release(&gone->flow);
    if (gone->lock_fd >= 0)
        pl_fs_unlock(&gone->lock_fd);
    pl_graph_end_replay(gone);
    pl_arena_free(&gone->arena);
    pl_free(gone);
    *graph = NULL;
}
