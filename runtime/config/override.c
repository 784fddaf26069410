/* --set: a path of keys, and a YAML value. */
#include <base/mem.h>
#include <base/str.h>
#include <config/merge.h>
#include <config/source.h>
#include <config/substitute.h>

#include <stdlib.h>

typedef struct override {
    pl_override *given;
    pl_str path, value;
    const pl_yaml_setup *yaml;
    pl_source_file *source; /* of the whole text */
    size_t at;              /* in path: where the next segment begins */
} override;

/* A message about the part of the text from `from` on. */
__attribute__((format(printf, 4, 5))) static void complain(const override *o, size_t from, size_t len,
                                                           const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    pl_diags_source(o->yaml->diags, o->source, 1, (int)from + 1, (int)(len ? len : 1), "%s", message);
}

/* The value's nodes were read as a text of their own: their places move behind the `=`. */
static void move_nodes(pl_node *node, pl_source_file *source, int columns)
{
    node->source = source;
    node->file = source->path;
    node->column += node->line == 1 ? columns : 0;
    node->end_column += node->end_line == 1 ? columns : 0;
    for (size_t i = 0; i < node->count; i++) {
        move_nodes(node->items[i], source, columns);
        if (node->keys)
            move_nodes(node->keys[i], source, columns);
    }
}

/* The next segment: up to the dot, or within double quotes; else, in a map, the longest key there is. Keys such as
 * librdkafka's hold dots themselves. */
static pl_str segment(override *o, const pl_node *map)
{
    const char *text = o->path.ptr + o->at;
    size_t left = o->path.len - o->at, len = 0;
    pl_str found = {NULL, 0};
    if (left > 0 && text[0] == '"') {
        const char *close = memchr(text + 1, '"', left - 1);
        found = close ? (pl_str){text + 1, (size_t)(close - text) - 1} : (pl_str){text, left};
        len = close ? found.len + 2 : left;
    } else {
        const char *dot = memchr(text, '.', left);
        found = (pl_str){text, dot ? (size_t)(dot - text) : left};
        for (size_t i = 0; map && map->type == PL_NODE_MAP && i < map->count; i++) {
            pl_str key = map->keys[i]->text;
            if (key.len > found.len && key.len <= left && memcmp(key.ptr, text, key.len) == 0 &&
                (key.len == left || text[key.len] == '.'))
                found.len = key.len;
        }
        len = found.len;
    }
    o->at += len + (len < left); /* the dot, too */
    return found;
}

static pl_node *make_node(const override *o, pl_node_type type, pl_str text)
{
    pl_node *node = pl_arena_alloc(o->yaml->arena, sizeof *node);
    pl_str copy = pl_arena_str(o->yaml->arena, text);
    if (!node || !copy.ptr)
        return NULL;
    int column = (int)(text.ptr - o->given->text) + 1;
    *node = (pl_node){.type = type,
                      .text = copy,
                      .written = copy,
                      .file = o->source->path,
                      .line = 1,
                      .column = column,
                      .end_line = 1,
                      .end_column = column + (int)text.len,
                      .source = o->source};
    return node;
}

/* The item a number names, or NULL (reported). */
static pl_node **list_item(const override *o, pl_node *list, pl_str name, size_t from)
{
    char digits[8] = "";
    char *end = digits;
    if (name.len > 0 && name.len < sizeof digits)
        memcpy(digits, name.ptr, name.len);
    unsigned long number = strtoul(digits, &end, 10);
    if (end != digits && *end == '\0' && number < list->count)
        return &list->items[number];
    complain(o, from, name.len, "this is a list of %zu: give a number from 0", list->count);
    return NULL;
}

/* Follows the path; what is missing on the way becomes a map. The place of the value, or NULL (reported). */
static void put(override *o, pl_node *root, pl_node *value)
{
    pl_node *here = root;
    while (o->at < o->path.len) {
        size_t from = o->at;
        pl_str name = segment(o, here);
        bool last = o->at >= o->path.len;
        pl_node **place = NULL;
        if (name.len == 0) {
            complain(o, from, 1, "an empty name in the path");
            return;
        }
        if (here->type == PL_NODE_SEQUENCE) {
            place = list_item(o, here, name, from);
            if (!place)
                return;
        } else if (here->type == PL_NODE_SCALAR) {
            complain(o, from, name.len, "what comes before is a text: it has no '%.*s'", (int)name.len, name.ptr);
            return;
        } else {
            here->type = PL_NODE_MAP;
            pl_node *key = make_node(o, PL_NODE_SCALAR, name);
            pl_node *old = key ? pl_node_get(here, key->text.ptr) : NULL;
            pl_node *next = last || !key ? value : old ? old : make_node(o, PL_NODE_NULL, name);
            pl_node *kept = key ? pl_node_key(here, key->text.ptr) : NULL;
            if (!key || !next || !pl_merge_put(here, kept ? kept : key, next, o->yaml->arena)) {
                complain(o, from, 1, "no memory");
                return;
            }
            here = next;
            continue;
        }
        if (last)
            *place = value;
        here = *place;
    }
}

/* False: this pipeline has no such component; another one may. */
static bool concerns(override *o, pl_node *root)
{
    override look = *o;
    pl_str top = segment(&look, NULL);
    bool known = false;
    for (const char *const *key = pl_top_keys; *key; key++)
        known |= pl_str_is(top, *key);
    if (!known || pl_str_is(top, "include")) {
        char word[64] = "";
        (void)snprintf(word, sizeof word, "%.*s", (int)(top.len < 60 ? top.len : 60), top.ptr);
        complain(o, 0, top.len, known ? "'%s' can't be set: it is read before" : "unknown key '%s' in a pipeline file",
                 word);
        if (!known)
            pl_diags_suggest(o->yaml->diags, word, pl_top_keys);
        o->given->used = true;
        return false;
    }
    if (!pl_str_is(top, "sources") && !pl_str_is(top, "transforms") && !pl_str_is(top, "sinks"))
        return true;
    char section[16];
    (void)snprintf(section, sizeof section, "%.*s", (int)top.len, top.ptr);
    const pl_node *components = pl_node_get(root, section);
    pl_str name = segment(&look, components);
    for (size_t i = 0; components && components->type == PL_NODE_MAP && i < components->count; i++)
        if (pl_str_eq(components->keys[i]->text, name))
            return true;
    return false;
}

/* What is wrong with the value is told as a mistake of the override. */
static pl_node *parse(const override *o, size_t from)
{
    pl_diags *own = pl_diags_new();
    pl_yaml_setup setup = *o->yaml;
    setup.diags = own;
    setup.literal = true;
    pl_node *value = own ? pl_yaml_parse(o->value, "--set", &setup) : NULL;
    const pl_diag *first = pl_diags_get(own, 0);
    if (!value || first)
        complain(o, from, o->value.len, "%s", first ? first->message : "no memory");
    pl_diags_free(&own);
    return value;
}

static void apply(pl_override *given, pl_node *root, const pl_yaml_setup *yaml)
{
    const char *equals = strchr(given->text, '=');
    size_t path_len = equals ? (size_t)(equals - given->text) : strlen(given->text);
    override o = {.given = given, .path = {given->text, path_len}, .yaml = yaml};
    o.source = pl_source_new(yaml->arena, "--set", PL_S(given->text));
    if (!o.source)
        return;
    if (!equals || path_len == 0) {
        given->used = true;
        complain(&o, 0, path_len, "expected KEY.KEY=VALUE, such as sources.prices.with.every=5s");
        return;
    }
    o.value = PL_S(equals + 1);
    if (!concerns(&o, root))
        return;
    given->used = true;
    pl_node *value = parse(&o, path_len + 1);
    if (!value)
        return;
    move_nodes(value, o.source, (int)path_len + 1);
    put(&o, root, value);
}

void pl_merge_overrides(pl_node *root, pl_override *overrides, size_t count, const pl_yaml_setup *yaml)
{
    for (size_t i = 0; i < count; i++)
        apply(&overrides[i], root, yaml);
    for (size_t i = 0; i < root->count; i++)
        if (!pl_str_is(root->keys[i]->text, "defaults"))
            (void)pl_substitute_all(root->items[i], yaml);
}

void pl_overrides_report(const pl_override *overrides, size_t count, const pl_pipeline *const *pipelines,
                         size_t pipeline_count, pl_diags *diags)
{
    enum { WORDS = 256 };
    for (size_t i = 0; i < count; i++) {
        if (overrides[i].used)
            continue;
        const char *words[WORDS + 1] = {NULL}, *dot = strchr(overrides[i].text, '.');
        char name[64] = "", section[16] = "";
        size_t found = 0;
        (void)snprintf(section, sizeof section, "%.*s", dot ? (int)(dot - overrides[i].text) : 0, overrides[i].text);
        if (dot)
            (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(dot + 1, ".="), dot + 1);
        for (size_t p = 0; p < pipeline_count; p++)
            for (size_t c = 0; pipelines[p] && c < pipelines[p]->count && found < WORDS; c++)
                if (strcmp(section, pl_merge_section(pipelines[p]->components[c].kind)) == 0)
                    words[found++] = pipelines[p]->components[c].name;
        pl_diags_at(diags, PL_DIAG_ERROR, NULL, 0, 0, "--set %s: there is no '%s' in %s", overrides[i].text, name,
                    section);
        pl_diags_suggest(diags, name, words);
    }
}
