#include <base/mem.h>
#include <base/str.h>
#include <config/merge.h>
#include <config/spec.h>

enum { COMPONENTS_MAX = 1000, ARENA_CHUNK = 16 << 10 };
static const int64_t second = 1000000000;
static const int64_t commit_min = 10000000, commit_max_seconds = 30; /* systems end a transaction that takes too long */

const char *pl_kind_name(pl_kind kind)
{
    static const char *const names[] = {"source", "transform", "sink"};
    return names[kind];
}

void pl_pipeline_free(pl_pipeline **pipeline)
{
    if (!pipeline || !*pipeline)
        return;
    pl_arena *arena = (*pipeline)->arena; /* holds the pipeline itself */
    pl_arena_free(&arena);
    *pipeline = NULL;
}

const pl_component_spec *pl_pipeline_find(const pl_pipeline *pipeline, const char *name)
{
    for (size_t i = 0; i < pipeline->count; i++)
        if (strcmp(pipeline->components[i].name, name) == 0)
            return &pipeline->components[i];
    return NULL;
}

/* "price_accuracy" for "pipelines/price_accuracy.yaml", made to fit a name. */
static const char *name_of_file(const char *path, pl_arena *arena)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    size_t len = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    char *name = pl_arena_alloc(arena, len + 1);
    if (!name)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        char c = base[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        name[i] = fits ? c : '-';
    }
    name[len] = '\0';
    return name;
}

static void refuse_what_is_to_come(const pl_node *root, pl_diags *diags)
{
    const pl_node *tests = pl_node_key(root, "tests"), *alerts = pl_node_key(root, "alerts");
    if (tests)
        pl_diags_warn(diags, tests, "tests within a pipeline file are not available yet: they are not run");
    if (alerts)
        pl_diags_warn(diags, alerts, "alerts are not available yet: none is raised");
}

static void read_commit_every(pl_pipeline *p, const pl_reader *r)
{
    const pl_node *key = NULL, *node = pl_read_node(r, "commit_every", (pl_node **)&key);
    p->commit_every_ns = second;
    pl_read_duration(r, "commit_every", &p->commit_every_ns);
    if (node && p->delivery != PL_EXACTLY_ONCE)
        pl_diags_error(r->diags, key, "commit_every is how long a transaction lasts: it needs delivery: exactly_once");
    else if (p->commit_every_ns < commit_min || p->commit_every_ns > commit_max_seconds * second)
        pl_diags_error(r->diags, node, "commit_every is between 10ms and 30s");
}

static void read_top(pl_pipeline *p, const pl_reader *r)
{
    static const char *const deliveries[] = {"at_least_once", "exactly_once", NULL};
    static const char *const schedulers[] = {"threads", "seeded", NULL};
    int delivery = PL_AT_LEAST_ONCE, scheduler = PL_SCHEDULER_THREADS;
    const pl_node *name = NULL;
    pl_read_text(r, "pipeline", &p->name, &name);
    if (name)
        (void)pl_spec_check_name(name, "pipeline", r->diags);
    pl_read_text(r, "data_dir", &p->data_dir, NULL);
    pl_read_size(r, "memory", &p->memory_bytes);
    pl_read_duration(r, "shutdown_deadline", &p->shutdown_deadline_ns);
    pl_read_choice(r, "delivery", deliveries, &delivery);
    p->delivery = (pl_delivery)delivery;
    read_commit_every(p, r);
    pl_read_choice(r, "scheduler", schedulers, &scheduler);
    p->scheduler = (pl_scheduler)scheduler;
    pl_read_integer(r, "seed", 0, INT64_MAX, &p->seed);
    refuse_what_is_to_come(r->map, r->diags);
}

static const pl_node *section(const pl_pipeline *p, pl_kind kind)
{
    const pl_reader top = {p->root, "", "", NULL, NULL, pl_top_keys};
    const pl_node *node = pl_read_node(&top, pl_merge_section(kind), NULL);
    return node && node->type == PL_NODE_MAP ? node : NULL;
}

static bool read_components(pl_pipeline *p, const pl_yaml_setup *yaml)
{
    size_t counts[3], total = 0;
    for (int kind = PL_KIND_SOURCE; kind <= PL_KIND_SINK; kind++) {
        const pl_node *map = section(p, (pl_kind)kind);
        counts[kind] = map ? map->count : 0;
        total += counts[kind];
    }
    if (total > COMPONENTS_MAX) {
        pl_diags_error(yaml->diags, p->root, "a pipeline has at most %d components, not %zu", COMPONENTS_MAX, total);
        return true;
    }
    p->components = pl_arena_alloc(p->arena, (total + 1) * sizeof *p->components);
    if (!p->components)
        return false;
    for (int kind = PL_KIND_SOURCE; kind <= PL_KIND_SINK; kind++)
        for (size_t i = 0; i < counts[kind]; i++) {
            const pl_node *map = section(p, (pl_kind)kind);
            pl_spec_read(&p->components[p->count++], (pl_kind)kind, map->keys[i], map->items[i], p->defaults, yaml);
        }
    p->source_count = counts[PL_KIND_SOURCE];
    p->transform_count = counts[PL_KIND_TRANSFORM];
    p->sink_count = counts[PL_KIND_SINK];
    if (p->source_count == 0)
        pl_diags_error(yaml->diags, p->root, "a pipeline needs at least one source");
    if (p->sink_count == 0)
        pl_diags_error(yaml->diags, p->root, "a pipeline needs at least one sink");
    return true;
}

static void check_defaults(const pl_pipeline *p, pl_diags *diags)
{
    for (size_t i = 0; p->defaults && i < p->defaults->count; i++) {
        const pl_node *item = p->defaults->items[i];
        if (item->type != PL_NODE_MAP && item->type != PL_NODE_NULL)
            pl_diags_error(diags, item, "defaults of plugin '%.64s' is a map of options, not %s",
                           p->defaults->keys[i]->text.ptr, pl_node_kind(item));
    }
}

static bool build(pl_pipeline *p, const pl_pipeline_setup *setup, const pl_yaml_setup *yaml)
{
    pl_node *root = pl_merge_load(setup, yaml);
    if (!root)
        return false;
    pl_merge_overrides(root, setup->overrides, setup->override_count, yaml);
    p->root = root;
    p->defaults = pl_node_get(root, "defaults");
    if (p->defaults && p->defaults->type != PL_NODE_MAP)
        p->defaults = NULL;
    check_defaults(p, yaml->diags);
    pl_reader top = {root, "the pipeline", "", p->arena, yaml->diags, pl_top_keys};
    read_top(p, &top);
    const pl_node *dead_letter = NULL;
    const char *ignored;
    pl_read_text(&top, "dead_letter", &ignored, &dead_letter);
    return read_components(p, yaml) && pl_wire(p, dead_letter, yaml->diags);
}

pl_pipeline *pl_pipeline_load(const pl_pipeline_setup *setup, pl_diags *diags)
{
    pl_arena *arena = pl_arena_new(ARENA_CHUNK);
    pl_pipeline *p = arena ? pl_arena_alloc(arena, sizeof *p) : NULL;
    size_t before = pl_diags_errors(diags);
    if (p) {
        *p = (pl_pipeline){.arena = arena,
                           .name = name_of_file(setup->path, arena),
                           .file = pl_arena_str(arena, PL_S(setup->path)).ptr,
                           .shutdown_deadline_ns = 30 * second,
                           .seed = 1,
                           .dead_letter = -1};
        pl_yaml_setup yaml = {.arena = arena, .diags = diags, .variable = setup->variable, .self = setup->self};
        if (p->name && p->file && build(p, setup, &yaml))
            return p;
    }
    if (pl_diags_errors(diags) == before)
        pl_diags_at(diags, PL_DIAG_ERROR, setup->path, 0, 0, "no memory");
    pl_arena_free(&arena);
    return NULL;
}
