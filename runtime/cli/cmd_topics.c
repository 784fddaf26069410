#include <base/log.h>
#include <cli/resources.h>
#include <record/encode.h>

enum { OUTPUT_MAX_BYTES = 16 << 20 };

static const char help[] =
    "usage: plumbline topics [OPTIONS] PIPELINE.yaml...\n\n"
    "Compares the topics that the pipelines name, and declare by create_topic, with those that are there. Changes\n"
    "nothing, unless --apply is given; deletes nothing, ever.\n\n"
    "  --apply             make what is declared and not there\n"
    "  --grow              with --apply: add partitions, too, where more are declared than there are. Can't be "
    "undone,\n"
    "                      and keys move to other partitions\n"
    "  --check             exit status 1 if anything is not as declared\n"
    "  --json              one JSON document instead of a table\n"
    "  --set PATH=VALUE    override a value, e.g. sources.x.with.topics=other\n"
    "  --plugin-dir DIR    look for plugins there first (may be repeated)\n";

typedef struct topics {
    pl_cli_files files;
    bool apply, grow, check, json;
    pl_resources found;
    bool in_order; /* all is as declared */
} topics;

/* ---- for people -------------------------------------------------------------------------- */

static void add_properties(pl_buf *out, const pl_subject *subject)
{
    const pl_mention *asked = subject->asked;
    if (subject->state == PL_RESOURCE_UNKNOWN)
        pl_buf_adds(out, "which ones there are is known only when it runs");
    if (subject->state == PL_RESOURCE_MISSING)
        pl_buf_adds(out, "not there, and no create_topic declares it");
    const char *between = "";
    bool declared = asked->said.flags & PL_RESOURCE_DECLARED;
    for (uint32_t i = 0; subject->there && i < subject->found_count; i++) {
        const pl_property *found = &subject->found[i];
        const pl_property *said = declared ? pl_resource_said(asked, found->name) : NULL;
        bool differs = found->flags & (PL_PROPERTY_GROWS | PL_PROPERTY_FIXED);
        pl_buf_printf(out, "%s%s %s", between, found->name, found->value ? found->value : "(not known)");
        if (differs && said)
            pl_buf_printf(out, " (declared: %s)", said->value);
        between = ", ";
    }
    for (uint32_t i = 0; !subject->there && declared && i < asked->said.property_count; i++) {
        const pl_property *said = &asked->said.properties[i];
        if (said->flags & PL_PROPERTY_USE)
            continue;
        pl_buf_printf(out, "%s%s %s", between, said->name, said->value);
        between = ", ";
    }
}

static void tell_reliance(void *to, const pl_reliance *found)
{
    pl_buf_printf(to, "    relied on by %s '%s' (%s:%d): %s\n", pl_kind_name(found->node->kind), found->node->name,
                  found->node->spec->key->file, found->node->spec->key->line, found->why);
}

static void add_notes(pl_buf *out, const pl_subject *subject)
{
    const pl_property *partitions = pl_resource_found(subject, "partitions");
    if (partitions && (partitions->flags & PL_PROPERTY_FIXED))
        pl_buf_adds(out, "    partitions can't be taken away: a topic never shrinks\n");
    if (subject->state == PL_RESOURCE_DIFFERS)
        pl_buf_adds(out, "    what differs is not changed by this command\n");
    if (subject->state == PL_RESOURCE_GROW || subject->state == PL_RESOURCE_GROWN) {
        pl_buf_printf(out, "    growing %s keys to other partitions: the order of a key's records breaks there\n",
                      subject->state == PL_RESOURCE_GROW ? "moves" : "moved");
        pl_resource_relied_on(subject, tell_reliance, out);
    }
}

static void tell_unlike(void *to, const pl_unlike *found)
{
    char place[128];
    (void)snprintf(place, sizeof place, "%.60s:%d", found->source->spec->key->file, found->source->spec->key->line);
    pl_buf_printf(to,
                  "source '%s' (%s) reads '%s' and '%s' together for '%s', but %s is %s and %s: instances that share\n"
                  "    its group would see a key's records apart\n",
                  found->source->name, place, found->one->asked->said.name, found->other->asked->said.name,
                  found->transform->name, found->property, found->one_value, found->other_value);
}

static size_t count_state(const pl_resources *found, pl_resource_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < found->count; i++)
        count += found->subjects[i].state == state ? 1 : 0;
    return count;
}

static void add_end(pl_buf *out, const topics *t)
{
    size_t make = count_state(&t->found, PL_RESOURCE_MAKE), grow = count_state(&t->found, PL_RESOURCE_GROW);
    if (t->in_order)
        pl_buf_adds(out, "all as declared\n");
    else
        pl_buf_printf(out, "not as declared: %zu to make, %zu to grow, %zu missing, %zu differ\n", make, grow,
                      count_state(&t->found, PL_RESOURCE_MISSING), count_state(&t->found, PL_RESOURCE_DIFFERS));
    if (!t->apply && (make || grow))
        pl_buf_printf(out, "nothing was changed; --apply makes%s\n",
                      grow ? " topics, --apply --grow makes and grows" : " them");
    else if (grow)
        pl_buf_adds(out, "nothing was grown: that needs --grow besides --apply\n");
}

static void print_table(pl_buf *out, const topics *t)
{
    int width = 5;
    for (size_t i = 0; i < t->found.count; i++) {
        int length = (int)strlen(t->found.subjects[i].asked->said.name);
        width = length > width ? length : width;
    }
    if (t->found.count)
        pl_buf_printf(out, "%-*s  %-8s  %s\n", width, "TOPIC", "STATE", "PROPERTIES");
    for (size_t i = 0; i < t->found.count; i++) {
        const pl_subject *subject = &t->found.subjects[i];
        pl_buf_printf(out, "%-*s  %-8s  ", width, subject->asked->said.name, pl_resource_states[subject->state]);
        add_properties(out, subject);
        pl_buf_addc(out, '\n');
        add_notes(out, subject);
    }
    pl_resources_unlike(&t->found, tell_unlike, out);
    add_end(out, t);
}

/* ---- for machines --------------------------------------------------------------------------- */

/* A member; the comma before it unless it is the first. */
static void add_member(pl_buf *out, const char *name, const char *value)
{
    if (out->len && !strchr("{[", out->data[out->len - 1]))
        pl_buf_addc(out, ',');
    pl_encode_string(out, PL_S(name));
    pl_buf_addc(out, ':');
    if (value)
        pl_encode_string(out, PL_S(value));
}

static void begin_item(pl_buf *out)
{
    if (out->len && out->data[out->len - 1] != '[')
        pl_buf_addc(out, ',');
    pl_buf_addc(out, '{');
}

static void add_place(pl_buf *out, const pl_graph *graph, const pl_node_plan *node, const pl_node *at)
{
    add_member(out, "pipeline", graph->setup.pipeline->name);
    add_member(out, pl_kind_name(node->kind), node->name);
    add_member(out, "file", at->file);
    pl_buf_printf(out, ",\"line\":%d", at->line);
}

static void add_reliance(void *to, const pl_reliance *found)
{
    begin_item(to);
    add_place(to, found->graph, found->node, found->node->spec->key);
    add_member(to, "why", found->why);
    pl_buf_addc(to, '}');
}

static void add_unlike(void *to, const pl_unlike *found)
{
    begin_item(to);
    add_place(to, found->graph, found->source, found->source->spec->key);
    add_member(to, "for", found->transform->name);
    add_member(to, "property", found->property);
    add_member(to, "topics", NULL);
    pl_buf_addc(to, '{');
    add_member(to, found->one->asked->said.name, found->one_value);
    add_member(to, found->other->asked->said.name, found->other_value);
    pl_buf_adds(to, "}}");
}

static void add_values(pl_buf *out, const char *name, const pl_property *properties, uint32_t count)
{
    add_member(out, name, NULL);
    pl_buf_addc(out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (properties[i].flags & PL_PROPERTY_USE)
            continue;
        add_member(out, properties[i].name, properties[i].value);
        if (!properties[i].value)
            pl_buf_adds(out, "null");
    }
    pl_buf_addc(out, '}');
}

static void add_topic(pl_buf *out, const pl_subject *subject)
{
    const pl_mention *asked = subject->asked;
    begin_item(out);
    add_member(out, "name", asked->said.name);
    add_member(out, "plugin", asked->node->spec->plugin);
    add_member(out, "at", asked->said.place);
    add_member(out, "state", pl_resource_states[subject->state]);
    add_values(out, "found", subject->found, subject->there ? subject->found_count : 0);
    add_values(out, "declared", asked->said.properties,
               asked->said.flags & PL_RESOURCE_DECLARED ? asked->said.property_count : 0);
    pl_buf_adds(out, ",\"named_by\":[");
    for (const pl_mention *m = subject->mentions; m; m = m->next) {
        begin_item(out);
        add_place(out, m->graph, m->node, m->at);
        pl_buf_printf(out, ",\"declares\":%s}", m->said.flags & PL_RESOURCE_DECLARED ? "true" : "false");
    }
    pl_buf_adds(out, "],\"relied_on_by\":[");
    pl_resource_relied_on(subject, add_reliance, out);
    pl_buf_adds(out, "]}");
}

static void print_json(pl_buf *out, const topics *t)
{
    pl_buf_printf(out, "{\"in_order\":%s,\"topics\":[", t->in_order ? "true" : "false");
    for (size_t i = 0; i < t->found.count; i++)
        add_topic(out, &t->found.subjects[i]);
    pl_buf_adds(out, "],\"unlike\":[");
    pl_resources_unlike(&t->found, add_unlike, out);
    pl_buf_adds(out, "]}\n");
}

/* ---- the command ------------------------------------------------------------------------------- */

static bool is_settled(pl_resource_state state)
{
    return state == PL_RESOURCE_OK || state == PL_RESOURCE_UNKNOWN || state == PL_RESOURCE_MADE ||
           state == PL_RESOURCE_GROWN;
}

static void not_in_order(void *to, const pl_unlike *found)
{
    (void)found;
    *(bool *)to = false;
}

static int failed(const pl_subject *subject, const pl_error *error)
{
    const pl_mention *asked = subject->asked;
    (void)fprintf(stderr, "plumbline topics: %s '%s' (%s:%d): %s\n", pl_kind_name(asked->node->kind), asked->node->name,
                  asked->node->spec->key->file, asked->node->spec->key->line, error->message);
    return PL_EXIT_FAILED;
}

/* Ends at the first failure: the others would most often wait for the same server. */
static int look_and_change(topics *t)
{
    pl_error error = {.struct_size = sizeof error};
    for (size_t i = 0; i < t->found.count; i++)
        if (pl_resource_look(&t->found, &t->found.subjects[i], &error) != PL_OK)
            return failed(&t->found.subjects[i], &error);
    for (size_t i = 0; t->apply && i < t->found.count; i++) {
        pl_subject *subject = &t->found.subjects[i];
        bool due = subject->state == PL_RESOURCE_MAKE || (subject->state == PL_RESOURCE_GROW && t->grow);
        if (due && pl_resource_change(&t->found, subject, &error) != PL_OK)
            return failed(subject, &error);
    }
    t->in_order = true;
    for (size_t i = 0; i < t->found.count; i++)
        t->in_order = t->in_order && is_settled(t->found.subjects[i].state);
    pl_resources_unlike(&t->found, not_in_order, &t->in_order);
    return PL_EXIT_DONE;
}

static int print(const topics *t)
{
    pl_buf out = PL_BUF(OUTPUT_MAX_BYTES);
    (t->json ? print_json : print_table)(&out, t);
    bool whole = !pl_buf_failed(&out);
    if (whole)
        (void)fwrite(out.data ? out.data : "", 1, out.len, stdout);
    else
        (void)fprintf(stderr, "plumbline topics: no memory for the output\n");
    if (!t->found.count)
        (void)fprintf(stderr, "plumbline topics: the pipelines name none\n");
    pl_buf_release(&out);
    return whole && (t->in_order || !(t->check || t->apply)) ? PL_EXIT_DONE : PL_EXIT_FAILED;
}

static int run(topics *t, char *const *paths, size_t count)
{
    pl_diags *diags = pl_diags_new();
    pl_loader *loader = pl_loader_new(pl_cli_plugin_dirs());
    if (!diags || !loader)
        return PL_EXIT_FAILED;
    pl_cli_load(&t->files, paths, count, diags);
    pl_cli_plan(&t->files, loader, diags);
    bool gathered = pl_resources_gather(&t->found, "topic", &t->files, loader, diags);
    int status = pl_cli_report(diags) ? PL_EXIT_USAGE : gathered ? look_and_change(t) : PL_EXIT_FAILED;
    if (status == PL_EXIT_DONE)
        status = print(t);
    pl_cli_unload(&t->files);
    pl_resources_release(&t->found);
    pl_loader_free(&loader);
    pl_diags_free(&diags);
    return status;
}

static int take_option(void *self, int option)
{
    topics *t = self;
    bool *flag = option == 'a' ? &t->apply : option == 'g' ? &t->grow : option == 'c' ? &t->check : &t->json;
    *flag = true;
    return -1;
}

int pl_cmd_topics(int argc, char **argv)
{
    static const struct option options[] = {{"apply", no_argument, NULL, 'a'},
                                            {"grow", no_argument, NULL, 'g'},
                                            {"check", no_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            PL_CLI_SET,
                                            PL_CLI_PLUGIN_DIR,
                                            PL_CLI_HELP,
                                            {0}};
    static topics t; /* large */
    const pl_cli_command command = {
        .name = "topics", .help = help, .options = options, .take = take_option, .self = &t};
    pl_log_setup(PL_LOG_TEXT, PL_ERROR, NULL);
    int status = pl_cli_options(&command, argc, argv, &t.files);
    if (status < 0)
        status = pl_cli_want_files(&command, argc);
    if (status < 0 && t.grow && !t.apply)
        status = pl_cli_usage("topics", "--grow goes with --apply");
    if (status < 0 && t.check && t.apply)
        status = pl_cli_usage("topics", "--check only looks, --apply changes: one of them");
    return status < 0 ? run(&t, argv + optind, (size_t)(argc - optind)) : status;
}
