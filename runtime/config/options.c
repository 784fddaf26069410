#include <base/str.h>
#include <base/units.h>
#include <config/load.h>
#include <config/options.h>
#include <config/values.h>

#include <ctype.h>
#include <strings.h>

enum { PATH_MAX_BYTES = 160, WORDS_MAX = 128 };

typedef struct filler {
    pl_arena *arena;
    pl_diags *diags;
    const char *what;
    char path[PATH_MAX_BYTES]; /* "feeds[1].": before the name of the option at hand */
    bool fallback;             /* values come from the declaration, not from the user */
    bool ok;
} filler;

static const pl_option *option_at(const pl_option_table *table, size_t index)
{
    size_t stride = table->stride ? table->stride : sizeof(pl_option);
    return (const void *)((const char *)table->options + index * stride);
}

static pl_option_table nested(const pl_option *option, size_t stride)
{
    bool object = option->type == PL_OPT_OBJECT;
    return (pl_option_table){option->fields, option->fields ? (object ? option->field_count : 1) : 0, stride};
}

__attribute__((format(printf, 3, 4))) static void wrong(filler *f, const pl_node *at, const char *format, ...)
{
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    f->ok = false;
    if (f->fallback)
        pl_diags_error(f->diags, NULL, "%s: the declaration of option '%s' is wrong: %s", f->what, f->path, message);
    else
        pl_diags_error(f->diags, at, "%s of %s: %s", f->path, f->what, message);
}

/* Appends to the path; returns what to cut it back to. */
__attribute__((format(printf, 2, 3))) static size_t descend(filler *f, const char *format, ...)
{
    size_t before = strlen(f->path);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(f->path + before, sizeof f->path - before, format, arguments);
    va_end(arguments);
    return before;
}

static void fill_value(filler *f, const pl_option *option, size_t stride, const pl_node *node, char *at);
static void fill_table(filler *f, const pl_option_table *table, const pl_node *map, char *base, const pl_node *at,
                       bool given);

/* ---- One value ------------------------------------------------------------------ */

static void fill_object(filler *f, const pl_option *option, size_t stride, const pl_node *node, char *at)
{
    pl_option_table table = nested(option, stride);
    if (node->type != PL_NODE_MAP) {
        wrong(f, node, "expected a map, found %s", pl_node_kind(node));
        return;
    }
    fill_table(f, &table, node, at, node, true);
}

static bool in_count(filler *f, const pl_option *option, const pl_node *node, size_t count)
{
    if (option->min == option->max || ((double)count >= option->min && (double)count <= option->max))
        return true;
    wrong(f, node, "expected %.0f to %.0f entries, found %zu", option->min, option->max, count);
    return false;
}

/* A LIST's elements, or a MAP's, each behind its key. */
static void fill_array(filler *f, const pl_option *option, size_t stride, const pl_node *node, char *at)
{
    bool map = option->type == PL_OPT_MAP, list = node->type == PL_NODE_SEQUENCE;
    const pl_option *element = option->fields;
    if (map ? node->type != PL_NODE_MAP : false) {
        wrong(f, node, "expected a map, found %s", pl_node_kind(node));
        return;
    }
    size_t count = map || list ? node->count : 1;
    char *items = NULL;
    if (!element || option->element_size == 0 || count > (1u << 24) / option->element_size) {
        wrong(f, node, "too many entries");
        return;
    }
    if (!in_count(f, option, node, count))
        return;
    if (at) {
        items = pl_arena_alloc(f->arena, count * option->element_size);
        if (!items) {
            wrong(f, node, "no memory");
            return;
        }
        memset(items, 0, count * option->element_size);
        *(pl_array *)(void *)at = (pl_array){items, count};
    }
    for (size_t i = 0; i < count; i++) {
        const pl_node *item = map || list ? node->items[i] : node;
        char *entry = items ? items + i * option->element_size : NULL;
        size_t before = map    ? descend(f, ".%s", node->keys[i]->text.ptr)
                        : list ? descend(f, "[%zu]", i)
                               : strlen(f->path);
        if (map && entry && !(*(const char **)(void *)entry = pl_arena_str(f->arena, node->keys[i]->text).ptr))
            wrong(f, item, "no memory");
        if (item->type == PL_NODE_NULL && !item->broken)
            wrong(f, item, "a value is missing");
        else if (item->type == PL_NODE_NULL)
            f->ok = false;
        else
            fill_value(f, element, stride, item, entry ? entry + element->offset : NULL);
        f->path[before] = '\0';
    }
}

static void store(const pl_option *option, const pl_value_slot *slot, char *at)
{
    if (option->type == PL_OPT_BOOL)
        *(bool *)(void *)at = slot->b;
    else if (option->type == PL_OPT_FLOAT)
        *(double *)(void *)at = slot->f;
    else if (option->type == PL_OPT_INT || option->type == PL_OPT_DURATION_NS || option->type == PL_OPT_SIZE)
        *(int64_t *)(void *)at = slot->i;
    else
        *(const char **)(void *)at = slot->text;
}

static void fill_scalar(filler *f, const pl_option *option, const pl_node *node, char *at)
{
    char message[300];
    pl_value_slot slot = {.text = NULL};
    bool secret = option->type == PL_OPT_SECRET;
    if (node->type != PL_NODE_SCALAR) {
        char type[200];
        wrong(f, node, "expected %s, found %s", pl_option_type_name(option, type, sizeof type), pl_node_kind(node));
        return;
    }
    if (!pl_value_read(option, node->text, f->arena, &slot, message, sizeof message)) {
        wrong(f, node, secret ? "%s" : "%s; found '%.80s'", message, node->written.ptr);
        if (option->type == PL_OPT_ENUM && !f->fallback)
            pl_diags_suggest(f->diags, node->text.ptr, option->choices);
        return;
    }
    if (at)
        store(option, &slot, at);
}

static void fill_value(filler *f, const pl_option *option, size_t stride, const pl_node *node, char *at)
{
    if (option->type == PL_OPT_OBJECT)
        fill_object(f, option, stride, node, at);
    else if (option->type == PL_OPT_LIST || option->type == PL_OPT_MAP)
        fill_array(f, option, stride, node, at);
    else
        fill_scalar(f, option, node, at);
}

/* ---- A table ---------------------------------------------------------------------- */

static void hide_secrets(const pl_option *option, size_t stride, const pl_node *node)
{
    if (!node || node->type == PL_NODE_NULL)
        return;
    if (option->type == PL_OPT_SECRET) {
        pl_node_hide(node);
        return;
    }
    pl_option_table table = nested(option, stride);
    if (option->type == PL_OPT_OBJECT)
        for (size_t i = 0; i < table.count; i++)
            hide_secrets(option_at(&table, i), stride, pl_node_get(node, option_at(&table, i)->name));
    else if (table.count == 1 && node->count > 0)
        for (size_t i = 0; i < node->count; i++)
            hide_secrets(option->fields, stride, node->items[i]);
    else if (table.count == 1)
        hide_secrets(option->fields, stride, node);
}

/* Most defaults are one word that YAML reads as itself; a parser, of 64 kB, for each took a tenth of a start. */
static bool plain_word(const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./%";
    return isalnum((unsigned char)text[0]) && text[strspn(text, safe)] == '\0' && strcasecmp(text, "null") != 0;
}

static void fill_word(filler *f, const pl_option *option, size_t stride, char *at)
{
    pl_node *node = pl_arena_alloc(f->arena, sizeof *node);
    pl_str text = pl_arena_str(f->arena, PL_S(option->fallback));
    f->fallback = true;
    if (node && text.ptr) {
        *node = (pl_node){.type = PL_NODE_SCALAR, .text = text, .written = text, .file = "default"};
        fill_value(f, option, stride, node, at);
    } else
        wrong(f, NULL, "no memory");
    f->fallback = false;
}

static void fill_fallback(filler *f, const pl_option *option, size_t stride, char *at)
{
    if (plain_word(option->fallback)) {
        fill_word(f, option, stride, at);
        return;
    }
    pl_diags *own = pl_diags_new();
    pl_yaml_setup setup = {.arena = f->arena, .diags = own, .literal = true};
    const pl_node *node = pl_yaml_parse(PL_S(option->fallback), "default", &setup);
    f->fallback = true;
    if (!node || node->type == PL_NODE_NULL || pl_diags_errors(own) > 0)
        wrong(f, NULL, "its default '%s' is not YAML for a value", option->fallback);
    else
        fill_value(f, option, stride, node, at);
    f->fallback = false;
    pl_diags_free(&own);
}

static bool known_key(const pl_option_table *table, const pl_node *key)
{
    for (size_t j = 0; j < table->count; j++)
        if (pl_str_is(key->text, option_at(table, j)->name))
            return true;
    return false;
}

/* Names worth suggesting, NULL-ended. */
static void option_names(const pl_option_table *table, const char *words[WORDS_MAX + 1])
{
    size_t count = 0;
    for (size_t i = 0; i < table->count && count < WORDS_MAX; i++)
        if (!(option_at(table, i)->flags & PL_OPT_DEPRECATED))
            words[count++] = option_at(table, i)->name;
    words[count] = NULL;
}

static void check_unknown(filler *f, const pl_option_table *table, const pl_node *map)
{
    const char *words[WORDS_MAX + 1];
    char what[400];
    option_names(table, words);
    (void)snprintf(what, sizeof what, "%s%s%s", f->path, f->path[0] ? " of " : "", f->what);
    for (size_t i = 0; i < map->count; i++) {
        const pl_node *key = map->keys[i];
        if (key->inherited || known_key(table, key))
            continue;
        f->ok = false;
        pl_diags_error(f->diags, key, "unknown key '%.100s' in %s", key->text.ptr, what);
        pl_diags_suggest(f->diags, key->text.ptr, words);
    }
}

/* True when an unknown key of the map was reported as likely to be this option. */
static bool meant(const pl_option_table *table, const pl_node *map, const pl_option *option)
{
    const char *words[WORDS_MAX + 1];
    option_names(table, words);
    for (size_t i = 0; map && i < map->count; i++) {
        const pl_node *key = map->keys[i];
        if (!key->inherited && !known_key(table, key) && pl_nearest(key->text.ptr, words) == option->name)
            return true;
    }
    return false;
}

static void fill_absent(filler *f, const pl_option_table *whole, const pl_option *option, const pl_node *map,
                        char *place, const pl_node *at, bool given)
{
    size_t stride = whole->stride;
    if ((option->flags & PL_OPT_REQUIRED) && given && meant(whole, map, option)) {
        f->ok = false; /* "did you mean" says it all */
    } else if ((option->flags & PL_OPT_REQUIRED) && given) {
        f->ok = false;
        pl_diags_error(f->diags, at, "%s needs option '%s'", f->what, f->path);
        if (option->example)
            pl_diags_hint(f->diags, "for example `%s: %s`", option->name, option->example);
    } else if (option->fallback) {
        fill_fallback(f, option, stride, place);
    } else if (option->type == PL_OPT_OBJECT && option->present_offset == 0) {
        pl_option_table table = nested(option, stride); /* its own defaults; what it requires only once it is given */
        fill_table(f, &table, NULL, place, at, false);
    }
}

/* base NULL: only check. given false: the map's own key was not given, so nothing in it is required. */
static void fill_table(filler *f, const pl_option_table *table, const pl_node *map, char *base, const pl_node *at,
                       bool given)
{
    for (size_t i = 0; i < table->count; i++)
        hide_secrets(option_at(table, i), table->stride, pl_node_get(map, option_at(table, i)->name));
    if (map)
        check_unknown(f, table, map);
    for (size_t i = 0; i < table->count; i++) {
        const pl_option *option = option_at(table, i);
        const pl_node *node = pl_node_get(map, option->name);
        bool there = node && node->type != PL_NODE_NULL;
        char *place = base ? base + option->offset : NULL;
        size_t before = descend(f, "%s%s", f->path[0] ? "." : "", option->name);
        if (there && (option->flags & PL_OPT_DEPRECATED))
            pl_diags_warn(f->diags, pl_node_key(map, option->name), "option '%s' of %s is deprecated%s%s", f->path,
                          f->what, option->doc ? ": " : "", option->doc ? option->doc : "");
        const char *what = f->what;
        if (there && pl_node_key(map, option->name)->inherited)
            f->what = "the plugin's defaults"; /* said once, however many components inherit it */
        if (there)
            fill_value(f, option, table->stride, node, place);
        else if (node && node->broken)
            f->ok = false;
        else
            fill_absent(f, table, option, map, place, at, given);
        f->what = what;
        if (there && base && option->type == PL_OPT_OBJECT && option->present_offset > 0)
            *(bool *)(void *)(base + option->present_offset - 1) = true;
        f->path[before] = '\0';
    }
}

bool pl_options_check_and_fill(const pl_option_table *table, const pl_node *with, void *config, pl_arena *arena,
                               const pl_node *at, const char *what, pl_diags *diags)
{
    filler f = {.arena = arena, .diags = diags, .what = what, .ok = true};
    if (with && with->type == PL_NODE_NULL)
        with = NULL;
    if (with && with->type != PL_NODE_MAP) {
        pl_diags_error(diags, with, "with of %s is a map of options, not %s", what, pl_node_kind(with));
        return false;
    }
    fill_table(&f, table, with, config, at, true);
    return f.ok;
}

bool pl_options_defaults(const pl_option_table *table, void *config, pl_arena *arena, pl_diags *diags)
{
    filler f = {.arena = arena, .diags = diags, .what = "the defaults", .ok = true};
    fill_table(&f, table, NULL, config, NULL, false);
    return f.ok;
}

void pl_options_check_known(const pl_node *map, const pl_option_table *tables, size_t table_count, const char *what,
                            pl_diags *diags)
{
    const char *words[WORDS_MAX + 1] = {NULL};
    size_t count = 0;
    for (size_t t = 0; t < table_count; t++)
        for (size_t i = 0; i < tables[t].count && count < WORDS_MAX; i++)
            words[count++] = option_at(&tables[t], i)->name;
    pl_node_check_keys(map, words, what, diags);
}

const pl_node *pl_options_locate(const pl_node *with, const char *option)
{
    const pl_node *found = with;
    for (const char *at = option; found && *at;) {
        const pl_node *next = NULL;
        if (*at == '[') {
            size_t index = 0;
            for (at++; isdigit((unsigned char)*at) && index < 100000000; at++)
                index = index * 10 + (size_t)(*at - '0');
            if (!isdigit((unsigned char)at[-1]) || *at++ != ']')
                return found;
            if (found->type == PL_NODE_SEQUENCE && index < found->count)
                next = found->items[index];
            else if (found->type == PL_NODE_SCALAR && index == 0)
                next = found; /* a single value stands for a list of one */
        } else {
            at += *at == '.';
            size_t longest = 0, end = strcspn(at, ".[");
            for (size_t i = 0; found->type == PL_NODE_MAP && i < found->count; i++) {
                pl_str key = found->keys[i]->text; /* may hold dots itself */
                if (key.len > longest && strncmp(key.ptr, at, key.len) == 0 && strchr(".[", at[key.len])) {
                    longest = key.len;
                    next = found->items[i];
                }
            }
            at += longest ? longest : end;
        }
        if (!next)
            return found;
        found = next;
    }
    return found;
}
