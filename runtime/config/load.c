#include <base/fs.h>
#include <base/mem.h>
#include <base/str.h>
#include <config/source.h>
#include <config/substitute.h>

#include <stdlib.h>
#include <yaml.h>

enum { MAP_MAX_KEYS = 4096 };

typedef struct loader {
    yaml_parser_t parser;
    yaml_event_t event;
    const pl_yaml_setup *setup;
    pl_source_file *source;
} loader;

static pl_node *no_memory(loader *l)
{
    pl_diags_at(l->setup->diags, PL_DIAG_ERROR, l->source ? l->source->path : NULL, 0, 0, "no memory");
    return NULL;
}

static pl_node *refuse(loader *l, yaml_mark_t at, const char *message)
{
    pl_diags_source(l->setup->diags, l->source, (int)at.line + 1, (int)at.column + 1, 1, "%s", message);
    return NULL;
}

/* libyaml's own words where they can be understood; the classics in ours. */
static void syntax_error(loader *l)
{
    const yaml_parser_t *p = &l->parser;
    pl_diags *diags = l->setup->diags;
    const char *problem = p->problem ? p->problem : "not valid YAML", *text = l->source->text.ptr;
    if (p->error == YAML_MEMORY_ERROR) {
        (void)no_memory(l);
        return;
    }
    int line = (int)p->problem_mark.line + 1, column = (int)p->problem_mark.column + 1;
    if (p->error == YAML_READER_ERROR) {
        pl_source_place(l->source, p->problem_offset, &line, &column);
        pl_diags_source(diags, l->source, line, column, 1, "not valid YAML: control characters are not allowed");
        return;
    }
    size_t at = pl_source_offset(l->source, line, column);
    if (at > 0 && text[at] == '{' && text[at - 1] == '$') {
        const char *close = strchr(text + at, '}'), *end = strchr(text + at, '\n');
        size_t len = close && (!end || close < end) ? (size_t)(close - text) - at + 2 : 2;
        pl_diags_source(diags, l->source, line, column - 1, (int)(len < 200 ? len : 200),
                        "within { } and [ ] YAML takes the brace of ${ for its own: quote it");
        if (len > 2 && len < 200)
            pl_diags_hint(diags, "write \"%.*s\"", (int)len, text + at - 1);
        return;
    }
    if (p->context && strstr(p->context, "quoted scalar") && strstr(problem, "end of stream")) {
        pl_diags_source(diags, l->source, (int)p->context_mark.line + 1, (int)p->context_mark.column + 1, 1,
                        "the quote that opens here is never closed");
        return;
    }
    pl_diags_source(diags, l->source, line, column, 1, "not valid YAML: %s%s%s", problem, p->context ? " " : "",
                    p->context ? p->context : "");
    if (strstr(problem, "mapping values are not allowed"))
        pl_diags_hint(diags, "a value that contains ': ' needs quotes; or the line is indented too far");
    else if (strstr(problem, "cannot start any token"))
        pl_diags_hint(diags, "indent with blanks, not tabs; a value that begins with @, %% or ` needs quotes");
    else if (p->context && p->context_mark.line + 1 != (size_t)line)
        pl_diags_hint(diags, "what it belongs to begins in line %zu", p->context_mark.line + 1);
}

/* The next event is in l->event until the next call. false: refused, and said so. */
static bool next(loader *l)
{
    yaml_event_delete(&l->event);
    if (!yaml_parser_parse(&l->parser, &l->event)) {
        syntax_error(l);
        return false;
    }
    const yaml_event_t *e = &l->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT)
        return refuse(l, e->start_mark, "aliases (*name) are not supported") != NULL;
    if (e->type == YAML_SCALAR_EVENT)
        anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
    else if (e->type == YAML_SEQUENCE_START_EVENT)
        anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
    else if (e->type == YAML_MAPPING_START_EVENT)
        anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
    if (anchor)
        return refuse(l, e->start_mark, "anchors (&name) are not supported") != NULL;
    if (tag)
        return refuse(l, e->start_mark, "tags (!name) are not supported") != NULL;
    return true;
}

static pl_node *new_node(loader *l, pl_node_type type)
{
    const yaml_event_t *e = &l->event;
    pl_node *node = pl_arena_alloc(l->setup->arena, sizeof *node);
    if (!node)
        return no_memory(l);
    *node = (pl_node){.type = type,
                      .text = {"", 0},
                      .written = {"", 0},
                      .file = l->source->path,
                      .line = (int)e->start_mark.line + 1,
                      .column = (int)e->start_mark.column + 1,
                      .end_line = (int)e->end_mark.line + 1,
                      .end_column = (int)e->end_mark.column + 1,
                      .source = l->source};
    return node;
}

static bool plain_null(pl_str text)
{
    return text.len == 0 || pl_str_is(text, "~") || pl_str_is(text, "null") || pl_str_is(text, "Null") ||
           pl_str_is(text, "NULL");
}

static pl_node *scalar(loader *l, bool key)
{
    yaml_scalar_style_t style = l->event.data.scalar.style;
    pl_str text = {(const char *)l->event.data.scalar.value, l->event.data.scalar.length};
    if (memchr(text.ptr, '\0', text.len))
        return refuse(l, l->event.start_mark, "a text can't contain a NUL character");
    pl_node *node = new_node(l, PL_NODE_SCALAR);
    if (!node)
        return NULL;
    node->quoted = style != YAML_PLAIN_SCALAR_STYLE;
    node->block = style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE;
    node->text = node->written = pl_arena_str(l->setup->arena, text);
    if (!node->text.ptr)
        return no_memory(l);
    if (key)
        return node;
    if (!node->quoted && plain_null(text))
        node->type = PL_NODE_NULL;
    return pl_substitute(node, l->setup) ? node : no_memory(l);
}

typedef struct children { /* of a collection that is being read */
    pl_node **items, **keys;
    size_t count, capacity;
} children;

static bool grow(loader *l, children *c)
{
    if (c->count < c->capacity)
        return true;
    size_t capacity = c->capacity ? c->capacity * 2 : 8;
    pl_node **items = pl_arena_alloc(l->setup->arena, 2 * capacity * sizeof(pl_node *));
    if (!items)
        return no_memory(l) != NULL;
    if (c->count > 0) {
        memcpy(items, c->items, c->count * sizeof(pl_node *));
        memcpy(items + capacity, c->keys, c->count * sizeof(pl_node *));
    }
    c->items = items;
    c->keys = items + capacity;
    c->capacity = capacity;
    return true;
}

static int by_text(const void *left, const void *right)
{
    const pl_node *a = *(pl_node *const *)left, *b = *(pl_node *const *)right;
    int order = pl_str_cmp(a->text, b->text);
    if (order == 0)
        order = a->line != b->line ? (a->line > b->line) - (a->line < b->line) : a->column - b->column;
    return order;
}

/* All duplicates are told; the map itself stays as it is, refused. */
static bool keys_differ(loader *l, const children *c)
{
    bool differ = true;
    pl_node **sorted = pl_calloc(c->count, sizeof(pl_node *));
    if (!sorted)
        return no_memory(l) != NULL;
    if (c->count > 0) {
        memcpy(sorted, c->keys, c->count * sizeof(pl_node *));
        qsort(sorted, c->count, sizeof(pl_node *), by_text);
    }
    for (size_t i = 1; i < c->count; i++) {
        if (!pl_str_eq(sorted[i]->text, sorted[i - 1]->text))
            continue;
        differ = false;
        pl_diags_error(l->setup->diags, sorted[i], "duplicate key '%.100s': it was given in line %d already",
                       sorted[i]->text.ptr, sorted[i - 1]->line);
    }
    pl_free(sorted);
    return differ;
}

static pl_node *value(loader *l, int depth);

static pl_node *key(loader *l)
{
    if (l->event.type != YAML_SCALAR_EVENT)
        return refuse(l, l->event.start_mark, "a key must be a text, not a list or a map");
    return scalar(l, true);
}

static pl_node *collection(loader *l, pl_node *node, int depth)
{
    bool map = node->type == PL_NODE_MAP;
    yaml_event_type_t end = map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    children c = {.count = 0};
    if (depth >= PL_YAML_MAX_DEPTH)
        return refuse(l, l->event.start_mark, "nested deeper than 64 levels");
    for (;;) {
        if (!next(l))
            return NULL;
        if (l->event.type == end)
            break;
        if (map && c.count == MAP_MAX_KEYS)
            return refuse(l, l->event.start_mark, "more than 4096 keys in one map");
        if (!grow(l, &c))
            return NULL;
        c.keys[c.count] = NULL;
        if (map && (!(c.keys[c.count] = key(l)) || !next(l)))
            return NULL;
        c.items[c.count] = value(l, depth + 1);
        if (!c.items[c.count])
            return NULL;
        c.count++;
    }
    node->count = c.count;
    node->items = c.items;
    node->keys = map ? c.keys : NULL;
    node->end_line = (int)l->event.end_mark.line + 1;
    node->end_column = (int)l->event.end_mark.column + 1;
    if (map)
        (void)keys_differ(l, &c); /* reported: the rest is checked all the same, the first one counts */
    return node;
}

static pl_node *value(loader *l, int depth)
{
    pl_node *node;
    switch (l->event.type) {
    case YAML_SCALAR_EVENT:
        return scalar(l, false);
    case YAML_SEQUENCE_START_EVENT:
        node = new_node(l, PL_NODE_SEQUENCE);
        return node ? collection(l, node, depth) : NULL;
    case YAML_MAPPING_START_EVENT:
        node = new_node(l, PL_NODE_MAP);
        return node ? collection(l, node, depth) : NULL;
    default:
        return refuse(l, l->event.start_mark, "not valid YAML");
    }
}

static bool skip(loader *l, int events)
{
    while (events > 0 && next(l))
        events--;
    return events == 0;
}

static pl_node *document(loader *l)
{
    pl_node *root = NULL;
    if (!skip(l, 2)) /* stream start, document start */
        return NULL;
    if (l->event.type == YAML_STREAM_END_EVENT)
        return new_node(l, PL_NODE_NULL);
    if (!next(l) || !(root = value(l, 0)) || !skip(l, 2)) /* document end, what follows it */
        return NULL;
    if (l->event.type != YAML_STREAM_END_EVENT)
        return refuse(l, l->event.start_mark, "a second document begins here; one file holds one");
    return root;
}

/* What libyaml would refuse with less to say. */
static bool plain_text(loader *l)
{
    pl_str text = l->source->text;
    if (text.len > PL_YAML_MAX_BYTES) {
        pl_diags_at(l->setup->diags, PL_DIAG_ERROR, l->source->path, 0, 0, "the file is larger than 1 MiB");
        return false;
    }
    const char *nul = memchr(text.ptr, '\0', text.len);
    int line, column;
    if (nul) {
        pl_source_place(l->source, (size_t)(nul - text.ptr), &line, &column);
        pl_diags_at(l->setup->diags, PL_DIAG_ERROR, l->source->path, line, column, "a NUL byte: this is no text file");
        return false;
    }
    if (pl_utf8_valid(text))
        return true;
    size_t good = 0;
    for (;;) { /* one character after the other up to the bad one */
        unsigned char lead = (unsigned char)text.ptr[good];
        size_t step = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if (step > text.len - good || !pl_utf8_valid((pl_str){text.ptr + good, step}))
            break;
        good += step;
    }
    pl_source_place(l->source, good, &line, &column);
    pl_diags_at(l->setup->diags, PL_DIAG_ERROR, l->source->path, line, column, "the file is not UTF-8");
    return false;
}

pl_node *pl_yaml_parse(pl_str text, const char *file, const pl_yaml_setup *setup)
{
    loader l = {.setup = setup};
    if (text.len >= 3 && memcmp(text.ptr, "\xef\xbb\xbf", 3) == 0) /* a byte order mark says nothing in UTF-8 */
        text = (pl_str){text.ptr + 3, text.len - 3};
    if (text.len > PL_YAML_MAX_BYTES + 1)
        text.len = PL_YAML_MAX_BYTES + 1;
    l.source = pl_source_new(setup->arena, file, text.ptr ? text : (pl_str){"", 0});
    if (!l.source)
        return no_memory(&l);
    if (!plain_text(&l))
        return NULL;
    if (!yaml_parser_initialize(&l.parser))
        return no_memory(&l);
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)l.source->text.ptr, l.source->text.len);
    pl_node *root = document(&l);
    yaml_event_delete(&l.event);
    yaml_parser_delete(&l.parser);
    return root;
}

pl_node *pl_yaml_load(const char *path, const pl_yaml_setup *setup)
{
    pl_buf text = PL_BUF(PL_YAML_MAX_BYTES + 3);
    pl_error error = {0};
    pl_node *root = NULL;
    pl_status status = pl_fs_read(path, &text, &error);
    if (status == PL_OK)
        root = pl_yaml_parse(pl_buf_str(&text), path, setup);
    else if (status == PL_END)
        pl_diags_at(setup->diags, PL_DIAG_ERROR, path, 0, 0, "there is no such file");
    else if (text.len > PL_YAML_MAX_BYTES)
        pl_diags_at(setup->diags, PL_DIAG_ERROR, path, 0, 0, "the file is larger than 1 MiB");
    else
        pl_diags_at(setup->diags, PL_DIAG_ERROR, path, 0, 0, "%s", error.message);
    pl_buf_release(&text);
    return root;
}
