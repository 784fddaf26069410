/* A pipeline whose sources do not run: one source reads dead letters, and a router gives them back to the components
 * that gave them up. */
#include <base/fs.h>
#include <base/log.h>
#include <base/str.h>
#include <graph/graph.h>

/* Names that no component of a pipeline can have. */
static const char READER[] = "dead letters";
static const char ROUTER[] = "put back";

static bool is_target(const pl_graph *graph, size_t index)
{
    return index < graph->setup.pipeline->count && (int)index != graph->dead_letter;
}

static void check_stage(const pl_graph *graph, pl_diags *diags)
{
    const char *wanted = graph->setup.replay->stage;
    const char **names = pl_arena_alloc(graph->arena, (graph->back.target_count + 1) * sizeof *names);
    bool known = !wanted || !names;
    for (size_t i = 0; !known && i < graph->back.target_count; i++)
        known = strcmp(graph->back.targets[i].name, wanted) == 0;
    if (known)
        return;
    for (size_t i = 0; i < graph->back.target_count; i++)
        names[i] = graph->back.targets[i].name;
    names[graph->back.target_count] = NULL;
    pl_diags_at(diags, PL_DIAG_ERROR, graph->setup.pipeline->file, 0, 0,
                "--stage %s: the pipeline has no such source, transform or sink", wanted);
    pl_diags_suggest(diags, wanted, names);
}

/* What a source gave up is checked as its own records are. */
static const pl_source_setup *intake_of(pl_graph *graph, const pl_node_plan *node)
{
    pl_source_setup *intake = pl_arena_alloc(graph->arena, sizeof *intake);
    if (intake)
        *intake = (pl_source_setup){.codec = node->spec->codec,
                                    .validate = node->spec->validate == PL_VALIDATE_FULL,
                                    .time_paths = node->time_paths,
                                    .time_count = node->spec->time_count};
    return intake;
}

static void add_targets(pl_graph *graph)
{
    size_t most = graph->setup.pipeline->count;
    graph->back.targets = pl_arena_alloc(graph->arena, (most + 1) * sizeof *graph->back.targets);
    for (size_t i = 0; graph->back.targets && i < most; i++) {
        pl_node_plan *node = &graph->nodes[i];
        if (!is_target(graph, i))
            continue;
        graph->back.targets[graph->back.target_count++] = (pl_replay_target){
            .name = node->name, .intake = node->kind == PL_KIND_SOURCE ? intake_of(graph, node) : NULL};
        node->upstream_count = 0; /* nobody waits for a source that does not run */
        if (node->kind == PL_KIND_SOURCE || graph->setup.replay->dry_run)
            node->worker_count = 0;
    }
}

/* `--from FILE`: lines as the file sink writes them. */
static void plan_file(pl_graph *graph, pl_diags *diags)
{
    pl_error error = {.struct_size = sizeof error};
    pl_node_plan *reader = graph->back.reader;
    const pl_plugin *plugin = pl_loader_open(graph->setup.loader, "file", &error);
    reader->component = plugin ? pl_plugin_component(plugin, false) : NULL;
    if (reader->component)
        reader->config =
            pl_graph_file_config(graph, reader->component, graph->setup.replay->from, "max_record: 1GiB\n", diags);
    else
        pl_diags_at(diags, PL_DIAG_ERROR, graph->setup.pipeline->file, 0, 0, "--from can't be read: %s", error.message);
}

void pl_graph_plan_replay(pl_graph *graph, pl_diags *diags)
{
    pl_component_spec *spec = pl_arena_alloc(graph->arena, sizeof *spec);
    if (!spec)
        return;
    *spec = (pl_component_spec){.kind = PL_KIND_SOURCE, .name = READER, .codec = PL_CODEC_BYTES};
    graph->back.router = &graph->nodes[graph->node_count - 2]; /* first: the reader asks it what is settled */
    graph->back.reader = &graph->nodes[graph->node_count - 1];
    *graph->back.router = (pl_node_plan){.name = ROUTER, .kind = PL_KIND_TRANSFORM, .worker_count = 1};
    *graph->back.reader = (pl_node_plan){.spec = spec, .name = READER, .kind = PL_KIND_SOURCE, .worker_count = 1};
    add_targets(graph);
    check_stage(graph, diags);
    if (graph->setup.replay->from)
        plan_file(graph, diags);
}

/* ---- state of the pipeline, which may be running ---------------------------------------------- */

static const char *durable_from(const pl_graph *graph, size_t index)
{
    const pl_pipeline *pipeline = graph->setup.pipeline;
    if (pipeline->components[index].state.kind == PL_STATE_DURABLE)
        return pipeline->components[index].name;
    const char *found = NULL;
    for (size_t i = index + 1; !found && i < pipeline->count; i++) /* components come after all that they read */
        for (size_t f = 0; !found && f < pipeline->components[i].from_count; f++)
            if (pipeline->components[i].from[f].component == (int)index)
                found = durable_from(graph, i);
    return found;
}

/* A checkpoint has one writer. Where the pipeline is not running, it can't be started until we are done. */
static void look_at_states(pl_graph *graph)
{
    pl_error ignored = {.struct_size = sizeof ignored};
    char lock[4096];
    bool durable = false;
    for (size_t i = 0; i < graph->setup.pipeline->count; i++) {
        const pl_component_spec *spec = &graph->setup.pipeline->components[i];
        durable = durable || spec->state.kind == PL_STATE_DURABLE;
        if (spec->state.kind == PL_STATE_REBUILD && !graph->setup.replay->dry_run)
            pl_log(PL_WARN, spec->name, "its state can't be rebuilt in a replay: it begins empty");
    }
    (void)snprintf(lock, sizeof lock, "%s/lock", graph->data_dir);
    graph->back.beside = durable && pl_fs_lock(lock, &graph->lock_fd, &ignored) != PL_OK;
    for (size_t i = 0, t = 0; graph->back.beside && i < graph->setup.pipeline->count; i++)
        if (is_target(graph, i))
            graph->back.targets[t++].held_by = durable_from(graph, i);
}

pl_status pl_graph_begin_replay(pl_graph *graph, pl_error *error)
{
    size_t size = strlen(graph->data_dir) + 32;
    char *dir = pl_arena_alloc(graph->arena, size);
    char *path = pl_arena_alloc(graph->arena, size);
    if (!dir || !path)
        return pl_fail(error, PL_HALT, "no memory");
    (void)snprintf(dir, size, "%s/replay", graph->data_dir);
    graph->back.dir = dir;
    (void)snprintf(path, size, "%s/lock", dir);
    if (pl_fs_mkdirs(dir, error) != PL_OK || pl_fs_lock(path, &graph->back.lock_fd, error) != PL_OK)
        return PL_FAILED;
    (void)snprintf(path, size, "%s/done", dir);
    graph->back.ledger = pl_ledger_open(path, error);
    if (!graph->back.ledger)
        return PL_FAILED;
    look_at_states(graph);
    return PL_OK;
}

void pl_graph_end_replay(pl_graph *graph)
{
    pl_ledger_close(&graph->back.ledger);
    if (graph->back.lock_fd >= 0)
        pl_fs_unlock(&graph->back.lock_fd);
}

/* ---- where the letters are -------------------------------------------------------------------------- */

static pl_status fill_defaults(pl_graph *graph, const pl_component *component, void **config, pl_error *error)
{
    pl_option_table table = pl_graph_options(component);
    pl_diags *diags = pl_diags_new();
    *config = pl_arena_alloc(graph->arena, component->config_size + 1);
    bool ok = diags && *config;
    if (ok) {
        memset(*config, 0, component->config_size + 1);
        ok = pl_options_defaults(&table, *config, graph->arena, diags);
    }
    pl_diags_free(&diags);
    return ok ? PL_OK : pl_fail(error, PL_HALT, "no memory");
}

/* The plugin of the dead-letter sink may know how its own source reads what the sink wrote. */
pl_status pl_graph_find_letters(pl_graph *graph, pl_error *error)
{
    pl_node_plan *reader = graph->back.reader;
    const pl_node_plan *sink = &graph->nodes[graph->dead_letter];
    const char *name = sink->spec ? sink->spec->plugin : "file";
    char group[160];
    if (reader->component)
        return PL_OK; /* --from */
    const pl_plugin *plugin = pl_loader_open(graph->setup.loader, name, error);
    const pl_component *source = plugin ? pl_plugin_component(plugin, false) : NULL;
    void *self = pl_instance_self(sink->instance);
    const pl_readback *readback =
        source && sink->component->extension ? sink->component->extension(self, "pl.readback/1") : NULL;
    if (!readback)
        return pl_fail(error, PL_BAD_CONFIG,
                       "plugin %s can't read back the dead letters that it wrote to '%s': write those to be put back "
                       "into a file, as the file sink does, and give it with --from",
                       name, sink->name);
    (void)snprintf(group, sizeof group, "plumbline-replay-%s", graph->setup.pipeline->name);
    if (fill_defaults(graph, source, &reader->config, error) != PL_OK)
        return PL_FAILED;
    pl_str copy = pl_arena_str(graph->arena, PL_S(group));
    pl_status status =
        copy.ptr ? readback->configure(self, copy.ptr, reader->config, error) : pl_fail(error, PL_HALT, "no memory");
    reader->component = status == PL_OK ? source : NULL;
    return status;
}

pl_stage *pl_graph_open_router(pl_graph *graph, pl_error *error)
{
    const pl_graph_replay *asked = graph->setup.replay;
    pl_replay_setup setup = {.targets = graph->back.targets,
                             .target_count = graph->back.target_count,
                             .ledger = graph->back.ledger,
                             .stage = asked->stage,
                             .reason = asked->reason,
                             .limit = asked->limit,
                             .dry_run = asked->dry_run};
    pl_replay_stage *stage = pl_replay_stage_new(&graph->flow, &setup);
    if (!stage)
        (void)pl_fail(error, PL_HALT, "no memory");
    return (pl_stage *)stage;
}
