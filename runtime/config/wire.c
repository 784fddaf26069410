/* What can be said once all components are known. */
#include <base/mem.h>
#include <base/str.h>
#include <config/spec.h>

typedef struct wiring {
    pl_pipeline *p;
    pl_diags *diags;
    bool *used; /* by component: something reads it, or seems to mean it */
} wiring;

static int find(const pl_pipeline *p, const char *name)
{
    const pl_component_spec *found = pl_pipeline_find(p, name);
    return found ? (int)(found - p->components) : -1;
}

/* Names for "did you mean": of readable components, or of sinks. NULL: no memory. Free with pl_free. */
static const char **names(const pl_pipeline *p, bool sinks)
{
    const char **list = pl_calloc(p->count + 1, sizeof(const char *));
    size_t count = 0;
    for (size_t i = 0; list && i < p->count; i++)
        if ((p->components[i].kind == PL_KIND_SINK) == sinks)
            list[count++] = p->components[i].name;
    return list;
}

/* Returns the index of what was suggested, or -1. */
static int suggest_component(const wiring *w, const char *word, bool sinks)
{
    const char **list = names(w->p, sinks);
    const char *near = list ? pl_nearest(word, list) : NULL;
    if (list)
        pl_diags_suggest(w->diags, word, list);
    pl_free(list);
    return near ? find(w->p, near) : -1;
}

static void check_names(const wiring *w)
{
    for (size_t i = 0; i < w->p->count; i++) {
        const pl_component_spec *spec = &w->p->components[i];
        int first = find(w->p, spec->name);
        if (first == (int)i)
            continue;
        const pl_component_spec *other = &w->p->components[first];
        if (other->kind != spec->kind) /* within one section it is a duplicate key, reported as such */
            pl_diags_error(w->diags, spec->key, "%s '%.64s': the %s in line %d is called the same",
                           pl_kind_name(spec->kind), spec->name, pl_kind_name(other->kind), other->key->line);
    }
}

static void find_dead_letter(wiring *w, const pl_node *node)
{
    if (!node)
        return;
    int found = find(w->p, node->text.ptr);
    if (found < 0) {
        pl_diags_error(w->diags, node, "dead_letter: there is no sink '%.64s'", node->written.ptr);
        (void)suggest_component(w, node->text.ptr, true);
        return;
    }
    const pl_component_spec *spec = &w->p->components[found];
    if (spec->kind != PL_KIND_SINK) {
        pl_diags_error(w->diags, node, "dead_letter: '%.64s' is a %s, not a sink", spec->name,
                       pl_kind_name(spec->kind));
        return;
    }
    w->p->dead_letter = found;
    const pl_node *from = pl_node_key(spec->node, "from");
    if (from)
        pl_diags_error(w->diags, from, "sink '%.64s' is the dead letter: nothing else may feed it", spec->name);
}

static void check_port(const wiring *w, const pl_from *input, const pl_component_spec *read)
{
    static const char *const ports[] = {"gaps", NULL};
    if (read->kind != PL_KIND_SOURCE || !input->port || strcmp(input->port, "gaps") == 0)
        return;
    pl_diags_error(w->diags, input->node, "source '%.64s' has no output '%.64s'", read->name, input->port);
    pl_diags_suggest(w->diags, input->port, ports);
}

static void resolve(const wiring *w, const pl_component_spec *spec)
{
    for (size_t i = 0; i < spec->from_count; i++) {
        pl_from *input = (pl_from *)&spec->from[i];
        int found = find(w->p, input->name);
        if (found < 0) {
            pl_diags_error(w->diags, input->node, "from of %s '%.64s': there is no source or transform '%.64s'",
                           pl_kind_name(spec->kind), spec->name,
                           input->node->tainted ? input->node->written.ptr : input->name);
            int meant = suggest_component(w, input->name, false);
            if (meant >= 0)
                w->used[meant] = true; /* one mistake, one message */
        } else if (w->p->components[found].kind == PL_KIND_SINK) {
            pl_diags_error(w->diags, input->node, "from of %s '%.64s': '%.64s' is a sink, which gives nothing out",
                           pl_kind_name(spec->kind), spec->name, input->name);
        } else {
            input->component = found;
            w->used[found] = true;
            check_port(w, input, &w->p->components[found]);
        }
    }
}

static void check_use(const wiring *w)
{
    for (size_t i = 0; i < w->p->count; i++) {
        const pl_component_spec *spec = &w->p->components[i];
        const pl_node *from = pl_node_get(spec->node, "from");
        bool no_input =
            from ? (from->type == PL_NODE_NULL && !from->broken) || (from->type == PL_NODE_SEQUENCE && from->count == 0)
                 : spec->from_count == 0;
        if (spec->kind != PL_KIND_SINK && !w->used[i] && find(w->p, spec->name) == (int)i)
            pl_diags_error(w->diags, spec->key, "nothing reads %s '%.64s'", pl_kind_name(spec->kind), spec->name);
        if (!no_input || spec->node->type != PL_NODE_MAP)
            continue;
        if (spec->kind == PL_KIND_SINK && (int)i != w->p->dead_letter) {
            pl_diags_error(w->diags, spec->key, "sink '%.64s' needs `from`: what it takes in", spec->name);
            pl_diags_hint(w->diags, "or name it as the pipeline's `dead_letter`");
        } else if (spec->kind == PL_KIND_TRANSFORM && from) {
            pl_diags_error(w->diags, from, "from of transform '%.64s' is empty", spec->name);
        }
    }
}

/* ---- Order and cycles -------------------------------------------------------------- */

/* Places in `order` what only reads components already placed, in the file's order; what is left lies on a cycle or
 * behind one. Returns how many were placed. */
static size_t sort(const pl_pipeline *p, int *order, bool *placed)
{
    size_t count = 0;
    for (size_t before = SIZE_MAX; before != count;) {
        before = count;
        for (size_t i = 0; i < p->count; i++) {
            const pl_component_spec *spec = &p->components[i];
            bool ready = !placed[i] && (spec->kind != PL_KIND_SINK); /* sinks come last */
            for (size_t j = 0; ready && j < spec->from_count; j++)
                ready = spec->from[j].component < 0 || placed[spec->from[j].component];
            if (ready) {
                placed[i] = true;
                order[count++] = (int)i;
            }
        }
    }
    return count;
}

static int unplaced_input(const pl_pipeline *p, const bool *placed, int at)
{
    const pl_component_spec *spec = &p->components[at];
    for (size_t j = 0; j < spec->from_count; j++)
        if (spec->from[j].component >= 0 && !placed[spec->from[j].component])
            return (int)j;
    return -1;
}

/* What could not be placed reads something that could not: going upstream from it must come round. Reports that cycle,
 * and marks its members as placed, so that another cycle shows. `members` has room for all components. */
static void report_cycle(const wiring *w, bool *placed, int *members, int start)
{
    const pl_pipeline *p = w->p;
    pl_buf path = PL_BUF(400);
    size_t count = 0;
    int at = start;
    for (size_t i = 0; i < p->count; i++) /* into the cycle */
        at = p->components[at].from[unplaced_input(p, placed, at)].component;
    int top = at; /* its member that comes first in the file */
    do {
        members[count++] = at;
        at = p->components[at].from[unplaced_input(p, placed, at)].component;
        top = at < top ? at : top;
    } while (at != members[0] && count < p->count);
    const pl_node *node = p->components[top].from[unplaced_input(p, placed, top)].node;
    pl_buf_printf(&path, "%s", p->components[top].name);
    for (size_t i = 0, next = (size_t)top; i < count; i++) {
        next = (size_t)p->components[next].from[unplaced_input(p, placed, (int)next)].component;
        pl_buf_printf(&path, " <- %s", p->components[next].name);
    }
    pl_diags_error(w->diags, node, "a cycle: %s", pl_buf_failed(&path) ? "many transforms" : path.data);
    pl_buf_release(&path);
    while (count > 0)
        placed[members[--count]] = true;
}

/* `scratch` has room for all components. */
static void report_cycles(const wiring *w, bool *placed, int *scratch)
{
    for (size_t i = 0; i < w->p->count; i++) {
        if (w->p->components[i].kind == PL_KIND_SINK || placed[i])
            continue;
        if (unplaced_input(w->p, placed, (int)i) >= 0) {
            report_cycle(w, placed, scratch, (int)i);
            (void)sort(w->p, scratch, placed); /* what only stood behind that cycle is free now */
        }
    }
}

/* Puts the components in that order. */
static bool reorder(pl_pipeline *p, const int *order)
{
    pl_component_spec *sorted = pl_arena_alloc(p->arena, (p->count + 1) * sizeof *sorted);
    int *now = pl_calloc(p->count, sizeof(int));
    for (size_t i = 0; sorted && now && i < p->count; i++) {
        sorted[i] = p->components[order[i]];
        now[order[i]] = (int)i;
    }
    for (size_t i = 0; sorted && now && i < p->count; i++)
        for (size_t j = 0; j < sorted[i].from_count; j++) {
            pl_from *input = (pl_from *)&sorted[i].from[j];
            if (input->component >= 0)
                input->component = now[input->component];
        }
    bool ok = sorted && now;
    if (ok) {
        p->components = sorted;
        p->dead_letter = p->dead_letter >= 0 ? now[p->dead_letter] : -1;
    }
    pl_free(now);
    return ok;
}

static bool put_in_order(const wiring *w)
{
    pl_pipeline *p = w->p;
    int *order = pl_calloc(p->count, sizeof(int));
    bool *placed = pl_calloc(p->count, sizeof(bool));
    bool ok = order && placed;
    if (ok) {
        size_t count = sort(p, order, placed), flow = p->source_count + p->transform_count;
        if (count < flow) {
            report_cycles(w, placed, order);
            for (count = 0; count < flow; count++)
                order[count] = (int)count;
        }
        for (; count < p->count; count++) /* sinks stand last in the file's order, too */
            order[count] = (int)count;
        ok = reorder(p, order);
    }
    pl_free(order);
    pl_free(placed);
    return ok;
}

/* Two kept states on one path can't be brought back to the same moment. */
static bool check_durable(const wiring *w)
{
    const pl_pipeline *p = w->p;
    int *above = pl_calloc(p->count, sizeof(int)); /* a durable transform upstream, itself included; -1: none */
    for (size_t i = 0; above && i < p->count; i++) {
        const pl_component_spec *spec = &p->components[i];
        above[i] = -1;
        for (size_t j = 0; j < spec->from_count; j++) {
            int input = spec->from[j].component;
            if (input >= 0 && input < (int)i && above[input] >= 0)
                above[i] = above[input];
        }
        if (spec->state.kind != PL_STATE_DURABLE)
            continue;
        if (above[i] >= 0)
            pl_diags_error(w->diags, spec->state.node,
                           "transform '%.64s' has durable state, and so has '%.64s' before it: a path may have one",
                           spec->name, p->components[above[i]].name);
        above[i] = (int)i;
    }
    pl_free(above);
    return above != NULL;
}

bool pl_wire(pl_pipeline *pipeline, const pl_node *dead_letter, pl_diags *diags)
{
    wiring w = {.p = pipeline, .diags = diags, .used = pl_calloc(pipeline->count, sizeof(bool))};
    if (!w.used)
        return false;
    check_names(&w);
    find_dead_letter(&w, dead_letter);
    for (size_t i = 0; i < pipeline->count; i++)
        resolve(&w, &pipeline->components[i]);
    check_use(&w);
    pl_free(w.used);
    w.used = NULL;
    return put_in_order(&w) && check_durable(&w);
}
