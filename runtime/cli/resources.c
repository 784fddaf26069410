#include <base/mem.h>
#include <cli/resources.h>
#include <config/options.h>

enum { INSTANCE_BUDGET_BYTES = 1 << 20, ALIKE_MAX = 8 };
static const int64_t DEADLINE_NS = 10LL * 1000 * 1000 * 1000; /* of one call */

const char *const pl_resource_states[] = {"ok", "missing", "make", "grow", "differs", "unknown", "made", "grown"};

/* ---- gathering ------------------------------------------------------------------------- */

typedef struct gathering {
    pl_resources *resources;
    pl_graph *graph;
    pl_node_plan *node;
    const pl_provision *provision;
} gathering;

static const char *copy_text(pl_resources *r, const char *text)
{
    pl_str copy = text ? pl_arena_str(r->arena, PL_S(text)) : (pl_str){NULL, 0};
    r->failed = r->failed || (text && !copy.ptr);
    return copy.ptr;
}

static const pl_property *copy_properties(pl_resources *r, const pl_resource *from)
{
    pl_property *copies = pl_arena_alloc(r->arena, (from->property_count + 1) * sizeof *copies);
    r->failed = r->failed || !copies;
    for (uint32_t i = 0; !r->failed && i < from->property_count; i++) {
        const pl_property *p = &from->properties[i];
        copies[i] = (pl_property){copy_text(r, p->name), copy_text(r, p->value), copy_text(r, p->option), p->flags};
    }
    return copies;
}

static bool is_same(const pl_mention *a, const pl_mention *b)
{
    return strcmp(a->node->spec->plugin, b->node->spec->plugin) == 0 && strcmp(a->said.place, b->said.place) == 0 &&
           strcmp(a->said.name, b->said.name) == 0;
}

static pl_subject *subject_of(pl_resources *r, const pl_mention *mention)
{
    for (size_t i = 0; i < r->count; i++)
        if (is_same(r->subjects[i].mentions, mention))
            return &r->subjects[i];
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? r->capacity * 2 : 16;
        pl_subject *grown = pl_realloc(r->subjects, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        r->subjects = grown;
        r->capacity = capacity;
    }
    r->subjects[r->count] = (pl_subject){0};
    return &r->subjects[r->count++];
}

static void add_mention(pl_subject *subject, pl_mention *mention)
{
    pl_mention **end = &subject->mentions;
    while (*end)
        end = &(*end)->next;
    *end = mention;
    if (!subject->asked ||
        (!(subject->asked->said.flags & PL_RESOURCE_DECLARED) && (mention->said.flags & PL_RESOURCE_DECLARED)))
        subject->asked = mention;
}

static void take(void *to, const pl_resource *said)
{
    gathering *g = to;
    pl_resources *r = g->resources;
    if (r->failed || strcmp(said->kind, r->kind) != 0)
        return;
    pl_mention *mention = pl_arena_alloc(r->arena, sizeof *mention);
    r->failed = !mention;
    if (r->failed)
        return;
    const pl_component_spec *spec = g->node->spec;
    const pl_node *at = pl_options_locate(spec->with, said->option);
    *mention = (pl_mention){.graph = g->graph, .node = g->node, .provision = g->provision, .at = at ? at : spec->key};
    mention->said = (pl_resource){.struct_size = sizeof(pl_resource),
                                  .flags = said->flags,
                                  .kind = copy_text(r, said->kind),
                                  .name = copy_text(r, said->name),
                                  .place = copy_text(r, said->place),
                                  .option = copy_text(r, said->option),
                                  .relies = copy_text(r, said->relies),
                                  .properties = copy_properties(r, said),
                                  .property_count = said->property_count};
    pl_subject *subject = r->failed ? NULL : subject_of(r, mention);
    r->failed = !subject;
    if (subject)
        add_mention(subject, mention);
}

static void list_node(gathering *g, pl_loader *loader, pl_diags *diags)
{
    const pl_component_spec *spec = g->node->spec;
    pl_error error = {.struct_size = sizeof error};
    const pl_plugin *plugin = spec && g->node->component ? pl_loader_open(loader, spec->plugin, &error) : NULL;
    g->provision = plugin ? pl_plugin_offer(plugin, g->node->component, "pl.provision/1") : NULL;
    if (g->provision && g->provision->list(g->node->config, take, g, &error) != PL_OK)
        pl_diags_error(diags, spec->key, "%s", error.message);
}

const pl_property *pl_resource_said(const pl_mention *mention, const char *name)
{
    for (uint32_t i = 0; i < mention->said.property_count; i++)
        if (strcmp(mention->said.properties[i].name, name) == 0)
            return &mention->said.properties[i];
    return NULL;
}

static bool is_unlike(const char *a, const char *b)
{
    return a && b && strcmp(a, b) != 0;
}

/* Each property against the first component that gives it, too: two that both differ from that one are two errors. */
static void check_mention(const pl_subject *subject, const pl_mention *mention, pl_diags *diags)
{
    for (uint32_t i = 0; i < mention->said.property_count; i++) {
        const pl_property *here = &mention->said.properties[i];
        for (const pl_mention *before = subject->mentions; before != mention; before = before->next) {
            const pl_property *there = pl_resource_said(before, here->name);
            if (!there)
                continue;
            const pl_node *place = pl_options_locate(before->node->spec->with, there->option);
            if (is_unlike(here->value, there->value))
                pl_diags_error(diags, pl_options_locate(mention->node->spec->with, here->option),
                               "%s '%s': %s is %s here, and %s at %s:%d:%d (%s '%s')", mention->said.kind,
                               mention->said.name, here->name, here->value, there->value, place->file, place->line,
                               place->column, pl_kind_name(before->node->kind), before->node->name);
            break;
        }
    }
}

bool pl_resources_gather(pl_resources *resources, const char *kind, const pl_cli_files *files, pl_loader *loader,
                         pl_diags *diags)
{
    *resources = (pl_resources){.kind = kind, .arena = pl_arena_new(16 << 10)};
    resources->failed = !resources->arena;
    for (size_t i = 0; !resources->failed && i < files->count; i++) {
        pl_graph *graph = files->graphs[i];
        for (size_t n = 0; graph && n < graph->node_count; n++) {
            gathering g = {.resources = resources, .graph = graph, .node = &graph->nodes[n]};
            list_node(&g, loader, diags);
        }
    }
    for (size_t i = 0; !resources->failed && i < resources->count; i++)
        for (const pl_mention *m = resources->subjects[i].mentions; m; m = m->next)
            check_mention(&resources->subjects[i], m, diags);
    return !resources->failed;
}

void pl_resources_release(pl_resources *resources)
{
    pl_free(resources->subjects);
    pl_arena_free(&resources->arena);
    *resources = (pl_resources){0};
}

/* ---- looking and changing ----------------------------------------------------------------- */

static pl_status have_instance(const pl_mention *asked, pl_error *error)
{
    pl_node_plan *node = asked->node;
    pl_instance_setup setup = {.name = node->name,
                               .component = node->component,
                               .config = node->config,
                               .clock = asked->graph->flow.clock,
                               .budget_bytes = INSTANCE_BUDGET_BYTES};
    if (!node->instance)
        node->instance = pl_instance_new(&setup, error);
    return node->instance ? PL_OK : PL_FAILED;
}

static int64_t deadline_of(const pl_mention *asked)
{
    const pl_clock *clock = asked->graph->flow.clock;
    return clock->now_ns(clock) + DEADLINE_NS;
}

typedef struct looking {
    pl_resources *resources;
    pl_subject *subject;
} looking;

static void see(void *to, const pl_resource *found)
{
    looking *l = to;
    l->subject->there = true;
    l->subject->found = copy_properties(l->resources, found);
    l->subject->found_count = l->resources->failed ? 0 : found->property_count;
}

static pl_resource_state judge(const pl_subject *subject)
{
    uint32_t flags = 0;
    if (!subject->there)
        return subject->asked->said.flags & PL_RESOURCE_DECLARED ? PL_RESOURCE_MAKE : PL_RESOURCE_MISSING;
    for (uint32_t i = 0; i < subject->found_count; i++)
        flags |= subject->found[i].flags;
    return flags & PL_PROPERTY_GROWS   ? PL_RESOURCE_GROW
           : flags & PL_PROPERTY_FIXED ? PL_RESOURCE_DIFFERS
                                       : PL_RESOURCE_OK;
}

pl_status pl_resource_look(pl_resources *resources, pl_subject *subject, pl_error *error)
{
    pl_mention *asked = subject->asked;
    looking l = {resources, subject};
    if (asked->said.flags & PL_RESOURCE_PATTERN) {
        subject->state = PL_RESOURCE_UNKNOWN;
        return PL_OK;
    }
    subject->there = false;
    if (have_instance(asked, error) != PL_OK ||
        asked->provision->look(pl_instance_self(asked->node->instance), &asked->said, deadline_of(asked), see, &l,
                               error) != PL_OK)
        return PL_FAILED;
    subject->state = judge(subject);
    return resources->failed ? pl_fail(error, PL_HALT, "no memory") : PL_OK;
}

pl_status pl_resource_change(pl_resources *resources, pl_subject *subject, pl_error *error)
{
    pl_mention *asked = subject->asked;
    bool grows = subject->state == PL_RESOURCE_GROW;
    pl_status status = (grows ? asked->provision->grow : asked->provision->make)(
        pl_instance_self(asked->node->instance), &asked->said, deadline_of(asked), error);
    if (status == PL_OK)
        status = pl_resource_look(resources, subject, error);
    if (status == PL_OK && subject->state == PL_RESOURCE_OK)
        subject->state = grows ? PL_RESOURCE_GROWN : PL_RESOURCE_MADE;
    return status;
}

const pl_property *pl_resource_found(const pl_subject *subject, const char *name)
{
    for (uint32_t i = 0; subject->there && i < subject->found_count; i++)
        if (strcmp(subject->found[i].name, name) == 0)
            return &subject->found[i];
    return NULL;
}

/* ---- what rests on the number of parts ------------------------------------------------------ */

static bool reads(const pl_node_plan *transform, size_t source)
{
    for (size_t i = 0; i < transform->upstream_count; i++)
        if (transform->upstream[i] == source)
            return true;
    return false;
}

/* The next transform from index `from` on that keeps records of a source together by `by` or by state; NULL: none. */
static const pl_node_plan *keeper_below(const pl_graph *graph, const pl_node_plan *source, size_t *from)
{
    for (; *from < graph->node_count; ++*from) {
        const pl_node_plan *t = &graph->nodes[*from];
        bool keeps = t->kind == PL_KIND_TRANSFORM && (t->spec->by || t->spec->state.kind != PL_STATE_NONE);
        if (keeps && reads(t, (size_t)(source - graph->nodes))) {
            ++*from;
            return t;
        }
    }
    return NULL;
}

static void why_it_keeps(const pl_node_plan *transform, char *out, size_t size)
{
    static const char *const states[] = {"", "state: durable", "state: rebuild"};
    const char *by = transform->spec->by;
    const char *state = states[transform->spec->state.kind];
    (void)snprintf(out, size, "%s%s%s%s", by ? "by: " : "", by ? by : "", by && state[0] ? ", " : "", state);
}

void pl_resource_relied_on(const pl_subject *subject, void (*tell)(void *to, const pl_reliance *), void *to)
{
    for (const pl_mention *m = subject->mentions; m; m = m->next) {
        pl_reliance found = {.graph = m->graph, .node = m->node};
        if (m->said.relies) {
            (void)snprintf(found.why, sizeof found.why, "%s", m->said.relies);
            tell(to, &found);
        }
        size_t from = 0;
        while (m->node->kind == PL_KIND_SOURCE && (found.node = keeper_below(m->graph, m->node, &from))) {
            why_it_keeps(found.node, found.why, sizeof found.why);
            tell(to, &found);
        }
    }
}

/* ---- what is read together ---------------------------------------------------------------------- */

/* As it will be once what can be done is done; NULL: nobody knows. */
static const char *value_of(const pl_subject *subject, const char *name)
{
    const pl_property *found = pl_resource_found(subject, name);
    if (found && !(found->flags & PL_PROPERTY_GROWS))
        return found->value;
    for (const pl_mention *m = subject->mentions; m; m = m->next) {
        const pl_property *said = pl_resource_said(m, name);
        if (said)
            return said->value;
    }
    return NULL;
}

static const pl_mention *mention_by(const pl_subject *subject, const pl_node_plan *node)
{
    for (const pl_mention *m = subject->mentions; m; m = m->next)
        if (m->node == node && !(m->said.flags & PL_RESOURCE_PATTERN))
            return m;
    return NULL;
}

typedef struct names { /* of properties */
    const char *names[ALIKE_MAX];
    size_t count;
} names;

static void add_names(names *n, const pl_property *properties, uint32_t count)
{
    for (uint32_t i = 0; i < count && n->count < ALIKE_MAX; i++) {
        bool known = !(properties[i].flags & PL_PROPERTY_ALIKE);
        for (size_t k = 0; k < n->count; k++)
            known = known || strcmp(n->names[k], properties[i].name) == 0;
        if (!known)
            n->names[n->count++] = properties[i].name;
    }
}

static void compare(pl_unlike *pair, void (*tell)(void *to, const pl_unlike *), void *to)
{
    names alike = {.count = 0};
    add_names(&alike, pair->one->found, pair->one->there ? pair->one->found_count : 0);
    for (const pl_mention *m = pair->one->mentions; m; m = m->next)
        add_names(&alike, m->said.properties, m->said.property_count);
    for (size_t i = 0; i < alike.count; i++) {
        pair->property = alike.names[i];
        pair->one_value = value_of(pair->one, pair->property);
        pair->other_value = value_of(pair->other, pair->property);
        if (is_unlike(pair->one_value, pair->other_value))
            tell(to, pair);
    }
}

/* Each thing that the source reads against the first one. */
static void compare_joined(const pl_resources *r, pl_unlike *pair, void (*tell)(void *to, const pl_unlike *), void *to)
{
    pair->one = NULL;
    for (size_t i = 0; i < r->count; i++) {
        if (!mention_by(&r->subjects[i], pair->source))
            continue;
        pair->other = &r->subjects[i];
        if (pair->one)
            compare(pair, tell, to);
        else
            pair->one = pair->other;
    }
}

void pl_resources_unlike(const pl_resources *resources, void (*tell)(void *to, const pl_unlike *), void *to)
{
    for (size_t i = 0; i < resources->count; i++) {
        for (const pl_mention *m = resources->subjects[i].mentions; m; m = m->next) {
            size_t from = 0;
            bool before = false; /* the source was met at another thing already */
            for (size_t k = 0; k < i; k++)
                before = before || mention_by(&resources->subjects[k], m->node);
            pl_unlike pair = {.graph = m->graph, .source = m->node};
            if (m->node->kind == PL_KIND_SOURCE && !before && !(m->said.flags & PL_RESOURCE_APART))
                pair.transform = keeper_below(m->graph, m->node, &from);
            if (pair.transform)
                compare_joined(resources, &pair, tell, to);
        }
    }
}
