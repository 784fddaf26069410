/* From the pipeline file to components with their options filled and their scripts checked. */
#include <base/fs.h>
#include <base/log.h>
#include <base/mem.h>
#include <config/options.h>
#include <graph/graph.h>
#include <stdlib.h>
#include <unistd.h>

static const char *describe(pl_graph *graph, const pl_component_spec *spec)
{
    char text[256];
    if (spec->plugin)
        (void)snprintf(text, sizeof text, "%s '%s' (plugin %s)", pl_kind_name(spec->kind), spec->name, spec->plugin);
    else
        (void)snprintf(text, sizeof text, "%s '%s'", pl_kind_name(spec->kind), spec->name);
    pl_str copy = pl_arena_str(graph->arena, PL_S(text));
    return copy.ptr ? copy.ptr : spec->name;
}

pl_option_table pl_graph_options(const pl_component *component)
{
    return (pl_option_table){component->options, component->option_count, component->option_size};
}

void pl_graph_report(pl_diags *diags, const pl_component_spec *spec, const pl_error *error)
{
    const pl_node *at = error->option[0] ? pl_options_locate(spec->with, error->option) : NULL;
    pl_diags_error(diags, at ? at : spec->key, "%s", error->message);
}

/* A lane that goes to another instance would leave its rest in the buffer here: delivered late, beside its new owner.
 */
static void check_buffer(const pl_component *component, const pl_component_spec *spec, pl_diags *diags)
{
    if (spec->buffer.given && component->source && (component->source->flags & PL_SOURCE_SHARES))
        pl_diags_error(diags, spec->buffer.node,
                       "source '%s' needs no buffer: plugin %s reads again what was not delivered, and what waits in a "
                       "buffer would stay here when its partition goes to another instance",
                       spec->name, spec->plugin);
}

static void plan_plugin(pl_graph *graph, pl_node_plan *node, pl_diags *diags)
{
    const pl_component_spec *spec = node->spec;
    bool sink = node->kind == PL_KIND_SINK;
    pl_error error = {.struct_size = sizeof error};
    if (!spec->plugin)
        return;
    const pl_plugin *plugin = pl_loader_open(graph->setup.loader, spec->plugin, &error);
    if (!plugin) {
        pl_diags_error(diags, spec->plugin_node, "%s", error.message);
        return;
    }
    const pl_component *component = pl_plugin_component(plugin, sink);
    if (!component) {
        pl_diags_error(diags, spec->plugin_node, "plugin '%s' has no %s", spec->plugin, sink ? "sink" : "source");
        return;
    }
    node->config = pl_arena_alloc(graph->arena, component->config_size + 1);
    if (!node->config)
        return;
    memset(node->config, 0, component->config_size + 1);
    pl_option_table table = pl_graph_options(component);
    if (!pl_options_check_and_fill(&table, spec->with, node->config, graph->arena, spec->key, describe(graph, spec),
                                   diags))
        return;
    if (component->check && component->check(node->config, &error) != PL_OK) {
        pl_graph_report(diags, spec, &error);
        return;
    }
    node->component = component;
    check_buffer(component, spec, diags);
}

/* A script's message begins with PATH:LINE: - that becomes the place. */
static void report_script(pl_diags *diags, const pl_component_spec *spec, const char *path, const pl_error *error)
{
    size_t length = strlen(path);
    const char *rest = error->message;
    if (strncmp(rest, path, length) == 0 && rest[length] == ':') {
        char *end;
        long line = strtol(rest + length + 1, &end, 10);
        if (line > 0 && *end == ':') {
            pl_diags_at(diags, PL_DIAG_ERROR, path, (int)line, 1, "%s", end + 1 + (end[1] == ' '));
            return;
        }
    }
    pl_diags_error(diags, spec->script_node ? spec->script_node : spec->key, "%s", error->message);
}

static char *library_of(pl_graph *graph, const char *path)
{
    char *beside = pl_fs_beside(path, "lib");
    pl_str copy = beside ? pl_arena_str(graph->arena, PL_S(beside)) : (pl_str){NULL, 0};
    pl_free(beside);
    return (char *)copy.ptr;
}

pl_script_setup pl_graph_script_setup(pl_graph *graph, const pl_component_spec *spec, pl_diags *diags)
{
    const char *path = spec->script ? spec->script : spec->lua ? spec->node->file : NULL;
    return (pl_script_setup){
        .component = spec->name,
        .path = path,
        .text = spec->lua,
        .first_line = spec->lua ? spec->lua_first_line : 1,
        .library = path ? library_of(graph, path) : NULL,
        .with = spec->with,
        .diags = diags,
        .clock = graph->flow.clock,
        .seed = (uint64_t)graph->setup.pipeline->seed,
        .memory_bytes = (size_t)spec->limits.memory_bytes,
        .time_limit_ns = spec->limits.time_ns,
    };
}

/* The message without its PATH:LINE: - the diagnostic knows the place better. */
static const char *behind_place(const char *message, const char *path)
{
    size_t length = strlen(path);
    if (strncmp(message, path, length) != 0 || message[length] != ':')
        return message;
    const char *rest = message + length + 1 + strspn(message + length + 1, "0123456789");
    return rest[0] == ':' && rest[1] == ' ' ? rest + 2 : message;
}

static void plan_when(pl_graph *graph, const pl_component_spec *spec, pl_diags *diags)
{
    pl_error error = {.struct_size = sizeof error};
    if (!spec->when)
        return;
    pl_when *when = pl_when_new(spec->when, spec->node->file, spec->when_node->line, graph->flow.clock, &error);
    if (!when)
        pl_diags_error(diags, spec->when_node, "when: %s", behind_place(error.message, spec->node->file));
    pl_when_free(&when);
}

static void plan_transform(pl_graph *graph, pl_node_plan *node, pl_diags *diags)
{
    const pl_component_spec *spec = node->spec;
    pl_error error = {.struct_size = sizeof error};
    node->worker_count = (uint32_t)spec->workers;
    if (spec->by && strcmp(spec->by, "lane") != 0) {
        node->by_field = true;
        if (pl_path_parse(PL_S(spec->by), &node->by, &error) != PL_OK)
            pl_diags_error(diags, spec->by_node, "%s", error.message);
    }
    if (spec->state.kind == PL_STATE_DURABLE && spec->workers > 1)
        pl_diags_error(diags, spec->state.node,
                       "durable state needs workers: 1 for now; `state: { rebuild: ... }` does not");
    if ((!spec->script && !spec->lua) || (spec->script && access(spec->script, F_OK) != 0)) /* reported with the file */
        return;
    pl_script_setup setup = pl_graph_script_setup(graph, spec, diags);
    size_t before = pl_diags_errors(diags);
    pl_script *script = node->checked = pl_script_new(&setup, &error);
    if (!script && pl_diags_errors(diags) == before)
        report_script(diags, spec, setup.path, &error);
    else if (script && !pl_script_has_on_record(script) && pl_script_timer_count(script) == 0)
        pl_diags_error(diags, spec->script_node ? spec->script_node : spec->key, "the script defines no on_record(r)");
}

static void plan_source(pl_graph *graph, pl_node_plan *node, pl_diags *diags)
{
    const pl_component_spec *spec = node->spec;
    plan_plugin(graph, node, diags);
    if (node->component && !node->component->poller && spec->retry.then_node && !spec->retry.then_halt)
        pl_diags_error(diags, spec->retry.then_node, "'%s' has no gaps: plugin %s does not poll; it can only halt",
                       node->name, spec->plugin);
    node->time_paths = pl_arena_alloc(graph->arena, (spec->time_count + 1) * sizeof *node->time_paths);
    for (size_t i = 0; node->time_paths && i < spec->time_count; i++) {
        pl_error error = {.struct_size = sizeof error};
        if (pl_path_parse(PL_S(spec->time[i]), &node->time_paths[i], &error) != PL_OK)
            pl_diags_error(diags, pl_node_get(spec->node, "time"), "time: %s", error.message);
    }
}

/* A named output of a source is `gaps`, and only pollers have it. */
static void check_ports(const pl_graph *graph, const pl_node_plan *node, pl_diags *diags)
{
    for (size_t i = 0; i < node->spec->from_count; i++) {
        const pl_from *from = &node->spec->from[i];
        const pl_node_plan *above = from->component >= 0 ? &graph->nodes[from->component] : NULL;
        if (!above || !from->port || above->kind == PL_KIND_TRANSFORM)
            continue;
        if (above->kind != PL_KIND_SOURCE || strcmp(from->port, "gaps") != 0)
            pl_diags_error(diags, from->node, "'%s' has no output '%s'", from->name, from->port);
        else if (above->component && !above->component->poller)
            pl_diags_error(diags, from->node, "'%s' has no gaps: plugin %s does not poll", from->name,
                           above->spec->plugin);
    }
}

static void find_upstream(pl_graph *graph, pl_node_plan *node)
{
    size_t most = graph->node_count;
    bool *above = pl_calloc(most + 1, sizeof *above);
    node->upstream = pl_arena_alloc(graph->arena, (most + 1) * sizeof *node->upstream);
    if (!above || !node->upstream)
        return;
    above[node - graph->nodes] = true;
    for (size_t i = most; i-- > 0;) { /* components come after all that they read */
        const pl_component_spec *spec = graph->nodes[i].spec;
        for (size_t f = 0; above[i] && spec && f < spec->from_count; f++) {
            bool gaps = spec->from[f].component >= 0 && spec->from[f].port &&
                        graph->nodes[spec->from[f].component].kind == PL_KIND_SOURCE;
            if (spec->from[f].component >= 0 && !gaps)
                above[spec->from[f].component] = true;
        }
    }
    for (size_t i = 0; i < most; i++)
        if (above[i] && graph->nodes[i].kind == PL_KIND_SOURCE)
            node->upstream[node->upstream_count++] = (uint32_t)i;
    pl_free(above);
}

/* A checkpoint tells by positions what the state holds; workers above hand a lane's records over in no fixed order. */
static void check_durable(const pl_graph *graph, const pl_node_plan *node, pl_diags *diags)
{
    for (size_t i = 0; i < node->spec->from_count; i++) {
        const pl_node_plan *above =
            node->spec->from[i].component >= 0 ? &graph->nodes[node->spec->from[i].component] : NULL;
        if (above && above->kind == PL_KIND_TRANSFORM && above->worker_count > 1)
            pl_diags_error(diags, node->spec->from[i].node,
                           "durable state below '%s', which has several workers, is not available yet: give it one",
                           above->name);
        if (above && above->kind == PL_KIND_TRANSFORM)
            check_durable(graph, above, diags);
    }
}

/* What is handed over again to rebuild a state would go into the buffer, and be committed once more. */
static void check_rebuilt(const pl_graph *graph, const pl_node_plan *node, pl_diags *diags)
{
    for (size_t i = 0; i < node->upstream_count; i++) {
        const pl_component_spec *source = graph->nodes[node->upstream[i]].spec;
        if (source->buffer.given)
            pl_diags_error(diags, source->buffer.node,
                           "source '%s' has a buffer: the state of '%s' can't be rebuilt from it; use `state: durable`",
                           source->name, node->name);
    }
}

static void check_defaults(pl_graph *graph, pl_diags *diags)
{
    const pl_node *defaults = graph->setup.pipeline->defaults;
    for (size_t i = 0; defaults && i < defaults->count; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "%s", defaults->keys[i]->text.ptr);
        pl_error error = {.struct_size = sizeof error};
        const pl_plugin *plugin = pl_loader_open(graph->setup.loader, name, &error);
        pl_option_table tables[2];
        size_t count = 0;
        for (int sink = 0; plugin && sink < 2; sink++)
            if (pl_plugin_component(plugin, sink))
                tables[count++] = pl_graph_options(pl_plugin_component(plugin, sink));
        char what[160];
        (void)snprintf(what, sizeof what, "defaults of plugin %s", name);
        if (plugin)
            pl_options_check_known(defaults->items[i], tables, count, what, diags);
        else
            pl_diags_error(diags, defaults->keys[i], "%s", error.message);
    }
}

void *pl_graph_file_config(pl_graph *graph, const pl_component *component, const char *path, const char *more,
                           pl_diags *diags)
{
    pl_buf text = PL_BUF(16 << 10);
    pl_buf_adds(&text, "path: '");
    for (const char *at = path; *at; at++) {
        pl_buf_addc(&text, *at);
        if (*at == '\'')
            pl_buf_addc(&text, '\'');
    }
    pl_buf_printf(&text, "'\n%s", more);
    pl_yaml_setup yaml = {.arena = graph->arena, .diags = diags, .literal = true};
    const pl_node *with = pl_buf_failed(&text) ? NULL : pl_yaml_parse(pl_buf_str(&text), "dead letter", &yaml);
    pl_buf_release(&text);
    void *config = pl_arena_alloc(graph->arena, component->config_size + 1);
    if (!with || !config)
        return NULL;
    memset(config, 0, component->config_size + 1);
    pl_option_table table = pl_graph_options(component);
    return pl_options_check_and_fill(&table, with, config, graph->arena, with, "the dead letter", diags) ? config
                                                                                                         : NULL;
}

/* The runtime's own dead-letter sink: JSON lines in the data_dir. */
pl_status pl_graph_provide_dead_letter(pl_graph *graph, pl_diags *diags)
{
    pl_error error = {.struct_size = sizeof error};
    pl_node_plan *node = &graph->nodes[graph->dead_letter];
    const pl_plugin *plugin = pl_loader_open(graph->setup.loader, "file", &error);
    node->component = plugin ? pl_plugin_component(plugin, true) : NULL;
    if (!node->component) {
        pl_diags_at(diags, PL_DIAG_ERROR, graph->setup.pipeline->file, 0, 0,
                    "no dead_letter is named and the default one can't be made: %s", error.message);
        return PL_FAILED;
    }
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/dead_letter.jsonl", graph->data_dir ? graph->data_dir : ".");
    node->config = pl_graph_file_config(graph, node->component, path, "", diags);
    return node->config ? PL_OK : PL_FAILED;
}

static bool make_nodes(pl_graph *graph)
{
    const pl_pipeline *pipeline = graph->setup.pipeline;
    graph->node_count =
        pipeline->count + (pipeline->dead_letter < 0 ? 1 : 0) + (graph->setup.replay ? PL_REPLAY_NODES : 0);
    graph->dead_letter = pipeline->dead_letter < 0 ? (int)pipeline->count : pipeline->dead_letter;
    graph->nodes = pl_arena_alloc(graph->arena, graph->node_count * sizeof *graph->nodes);
    if (!graph->nodes)
        return false;
    memset(graph->nodes, 0, graph->node_count * sizeof *graph->nodes);
    for (size_t i = 0; i < graph->node_count; i++) {
        const pl_component_spec *spec = i < pipeline->count ? &pipeline->components[i] : NULL;
        graph->nodes[i] = (pl_node_plan){.spec = spec,
                                         .name = spec ? spec->name : "dead_letter",
                                         .kind = spec ? spec->kind : PL_KIND_SINK,
                                         .worker_count = 1};
    }
    return true;
}

pl_graph *pl_graph_plan(const pl_graph_setup *setup, pl_diags *diags)
{
    pl_graph *graph = pl_calloc(1, sizeof *graph);
    if (!graph)
        return NULL;
    graph->setup = *setup;
    graph->lock_fd = graph->back.lock_fd = -1;
    graph->flow.clock = setup->clock ? setup->clock : &pl_system_clock;
    graph->arena = pl_arena_new(16 << 10);
    if (!graph->arena || !make_nodes(graph)) {
        pl_graph_free(&graph);
        return NULL;
    }
    for (size_t i = 0; i < setup->pipeline->count; i++) {
        pl_node_plan *node = &graph->nodes[i];
        if (node->kind == PL_KIND_SOURCE)
            plan_source(graph, node, diags);
        else if (node->kind == PL_KIND_TRANSFORM)
            plan_transform(graph, node, diags);
        else
            plan_plugin(graph, node, diags);
        plan_when(graph, node->spec, diags);
        check_ports(graph, node, diags);
        find_upstream(graph, node);
        if (node->spec->state.kind == PL_STATE_DURABLE)
            check_durable(graph, node, diags);
        if (node->spec->state.kind == PL_STATE_REBUILD)
            check_rebuilt(graph, node, diags);
    }
    if (setup->pipeline->dead_letter < 0)
        (void)pl_graph_provide_dead_letter(graph, diags);
    pl_graph_check_exactly_once(graph, diags);
    check_defaults(graph, diags);
    if (setup->replay)
        pl_graph_plan_replay(graph, diags);
    return graph;
}
