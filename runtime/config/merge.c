#include <base/fs.h>
#include <base/mem.h>
#include <base/str.h>
#include <config/merge.h>
#include <config/substitute.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { INCLUDE_DEPTH = 16, INCLUDES_MAX = 64 };

const char *const pl_top_keys[] = {"pipeline",     "include",     "defaults",          "data_dir",  "memory",
                                   "delivery",     "dead_letter", "shutdown_deadline", "scheduler", "seed",
                                   "commit_every", "sources",     "transforms",        "sinks",     "tests",
                                   "alerts",       NULL};

const char *pl_merge_section(pl_kind kind)
{
    static const char *const sections[] = {"sources", "transforms", "sinks"};
    return sections[kind];
}

typedef struct includer {
    const pl_yaml_setup *yaml;
    pl_yaml_setup literal;          /* the same, nothing substituted */
    const char *seen[INCLUDES_MAX]; /* canonical paths of all files read */
    size_t seen_count;
    const char *chain[INCLUDE_DEPTH]; /* of those that are being read */
    size_t depth;
} includer;

static bool is_section(pl_str key)
{
    return pl_str_is(key, "sources") || pl_str_is(key, "transforms") || pl_str_is(key, "sinks");
}

bool pl_merge_put(pl_node *map, pl_node *key, pl_node *item, pl_arena *arena)
{
    for (size_t i = 0; i < map->count; i++)
        if (pl_str_eq(map->keys[i]->text, key->text)) {
            map->keys[i] = key;
            map->items[i] = item;
            return true;
        }
    size_t count = map->count;
    if (count == 0 || (count >= 8 && (count & (count - 1)) == 0)) { /* full: load.c too doubles from 8 */
        size_t capacity = count ? 2 * count : 8;
        pl_node **items = pl_arena_alloc(arena, 2 * capacity * sizeof(pl_node *));
        if (!items)
            return false;
        pl_node **keys = items + capacity;
        if (count > 0) {
            memcpy(items, map->items, count * sizeof(pl_node *));
            memcpy(keys, map->keys, count * sizeof(pl_node *));
        }
        map->items = items;
        map->keys = keys;
    }
    map->items[count] = item;
    map->keys[count] = key;
    map->count = count + 1;
    return true;
}

/* Maps within maps, key by key; anything else is replaced whole by the including file. */
static bool merge_deep(const includer *in, pl_node *under, const pl_node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        pl_node *old = pl_node_get(under, over->keys[i]->text.ptr), *now = over->items[i];
        bool both = old && old->type == PL_NODE_MAP && now->type == PL_NODE_MAP;
        if (both ? !merge_deep(in, old, now) : !pl_merge_put(under, over->keys[i], now, in->yaml->arena))
            return false;
    }
    return true;
}

/* What makes a component: a mapping without any of these is one half, e.g. a table's columns, waiting for its other. */
static bool is_whole(const pl_node *component)
{
    return pl_node_get(component, "plugin") || pl_node_get(component, "script") || pl_node_get(component, "lua");
}

/* Components of two files: two halves become one; two whole ones of the same name are an error that names both places.
 */
static bool merge_components(const includer *in, pl_node *under, const pl_node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        const pl_node *key = pl_node_key(under, over->keys[i]->text.ptr);
        pl_node *old = pl_node_get(under, over->keys[i]->text.ptr), *now = over->items[i];
        bool maps = old && old->type == PL_NODE_MAP && now->type == PL_NODE_MAP;
        if (maps && !(is_whole(old) && is_whole(now))) {
            if (!merge_deep(in, old, now))
                return false;
            continue;
        }
        if (key) {
            pl_diags_error(in->yaml->diags, over->keys[i], "duplicate component '%.64s': %.200s:%d has one already",
                           key->text.ptr, key->file, key->line);
            continue;
        }
        if (!pl_merge_put(under, over->keys[i], over->items[i], in->yaml->arena))
            return false;
    }
    return true;
}

/* Plugin by plugin, option by option: the including file wins. */
static bool merge_defaults(const includer *in, pl_node *under, const pl_node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        pl_node *old = pl_node_get(under, over->keys[i]->text.ptr), *now = over->items[i];
        bool both = old && old->type == PL_NODE_MAP && now->type == PL_NODE_MAP;
        if (!both && !pl_merge_put(under, over->keys[i], now, in->yaml->arena))
            return false;
        for (size_t j = 0; both && j < now->count; j++)
            if (!pl_merge_put(old, now->keys[j], now->items[j], in->yaml->arena))
                return false;
    }
    return true;
}

static bool merge_top(const includer *in, pl_node *under, const pl_node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        pl_node *key = over->keys[i], *now = over->items[i], *old = pl_node_get(under, key->text.ptr);
        bool both = old && old->type == PL_NODE_MAP && now->type == PL_NODE_MAP, ok;
        if (pl_str_is(key->text, "include"))
            continue;
        if (both && is_section(key->text))
            ok = merge_components(in, old, now);
        else if (both && pl_str_is(key->text, "defaults"))
            ok = merge_defaults(in, old, now);
        else if (old && now->type == PL_NODE_NULL)
            continue;
        else
            ok = pl_merge_put(under, key, now, in->yaml->arena);
        if (!ok)
            return false;
    }
    return true;
}

static pl_node *load_file(includer *in, const char *path, const pl_node *from);

static void include_one(includer *in, pl_node *merged, const char *base, const pl_node *item)
{
    pl_diags *diags = in->yaml->diags;
    if (item->type != PL_NODE_SCALAR) {
        pl_diags_error(diags, item, "an include is a file name, not %s", pl_node_kind(item));
        return;
    }
    char *path = pl_fs_beside(base, item->text.ptr);
    pl_node *root = path ? load_file(in, path, item) : NULL;
    if (!path || (root && !merge_top(in, merged, root)))
        pl_diags_error(diags, item, "no memory");
    pl_free(path);
}

/* The include list of `root` merged, then root itself over it. */
static pl_node *with_includes(includer *in, const char *path, pl_node *root)
{
    pl_node *list = pl_node_get(root, "include");
    if (list)
        (void)pl_substitute_all(list, in->yaml);
    if (!list || list->type == PL_NODE_NULL)
        return root;
    pl_node *merged = pl_arena_alloc(in->yaml->arena, sizeof *merged);
    if (!merged)
        return root;
    *merged = *root;
    merged->count = 0;
    merged->items = merged->keys = NULL;
    if (list->type == PL_NODE_SCALAR)
        include_one(in, merged, path, list);
    else if (list->type != PL_NODE_SEQUENCE)
        pl_diags_error(in->yaml->diags, list, "include is a list of file names, not %s", pl_node_kind(list));
    else
        for (size_t i = 0; i < list->count; i++)
            include_one(in, merged, path, list->items[i]);
    return merge_top(in, merged, root) ? merged : root;
}

static void report_cycle(const includer *in, const char *path, const pl_node *from)
{
    pl_diags_error(in->yaml->diags, from, "%.200s includes itself%s", path,
                   in->depth > 1 ? " through the files it includes" : "");
}

/* Notes a file as read. false: nothing to read, and said so where it is a mistake. */
static bool enter(includer *in, const char *path, const pl_node *from)
{
    char canonical[PATH_MAX];
    pl_diags *diags = in->yaml->diags;
    if (!realpath(path, canonical)) {
        if (from)
            pl_diags_error(diags, from, "cannot read %.200s: %s", path, strerror(errno));
        else
            pl_diags_at(diags, PL_DIAG_ERROR, path, 0, 0, "cannot read it: %s", strerror(errno));
        return false;
    }
    for (size_t i = 0; i < in->depth; i++)
        if (strcmp(in->chain[i], canonical) == 0) {
            report_cycle(in, path, from);
            return false;
        }
    for (size_t i = 0; i < in->seen_count; i++)
        if (strcmp(in->seen[i], canonical) == 0)
            return false; /* two files may include a third: once is enough */
    if (in->depth == INCLUDE_DEPTH || in->seen_count == INCLUDES_MAX) {
        pl_diags_error(diags, from, "includes are nested deeper than %d files, or more than %d", INCLUDE_DEPTH,
                       INCLUDES_MAX);
        return false;
    }
    pl_str kept = pl_arena_str(in->yaml->arena, PL_S(canonical));
    if (!kept.ptr)
        return false;
    in->chain[in->depth++] = in->seen[in->seen_count++] = kept.ptr;
    return true;
}

/* What a component section or `defaults` must be is checked here, where the file is known; the rest once merged. */
static void check_top(const includer *in, pl_node *root)
{
    pl_node_check_keys(root, pl_top_keys, "a pipeline file", in->yaml->diags);
    for (size_t i = 0; i < root->count; i++) {
        pl_node *item = root->items[i];
        bool section = is_section(root->keys[i]->text), defaults = pl_str_is(root->keys[i]->text, "defaults");
        if ((!section && !defaults) || item->type == PL_NODE_MAP || item->type == PL_NODE_NULL)
            continue;
        pl_diags_error(in->yaml->diags, item, "%s is a map %s, not %s", root->keys[i]->text.ptr,
                       section ? "from the name of a component to what it is" : "from the name of a plugin to options",
                       pl_node_kind(item));
        item->type = PL_NODE_NULL;
        item->count = 0;
    }
}

static pl_node *load_file(includer *in, const char *path, const pl_node *from)
{
    if (!enter(in, path, from))
        return NULL;
    pl_node *root = pl_yaml_load(path, &in->literal);
    if (root && root->type == PL_NODE_NULL) {
        pl_diags_at(in->yaml->diags, PL_DIAG_ERROR, path, 0, 0, "the file is empty");
        root = NULL;
    } else if (root && root->type != PL_NODE_MAP) {
        pl_diags_error(in->yaml->diags, root, "a pipeline file is a map with keys such as sources and sinks, not %s",
                       pl_node_kind(root));
        root = NULL;
    }
    if (root) {
        check_top(in, root);
        root = with_includes(in, path, root);
    }
    in->depth--;
    return root;
}

pl_node *pl_merge_load(const pl_pipeline_setup *setup, const pl_yaml_setup *yaml)
{
    includer in = {.yaml = yaml, .literal = *yaml};
    in.literal.literal = true;
    return load_file(&in, setup->path, NULL);
}

pl_node *pl_merge_with(pl_node *own, const pl_node *defaults, const pl_yaml_setup *yaml)
{
    bool inherits = defaults && defaults->type == PL_NODE_MAP && defaults->count > 0;
    if (own && own->type != PL_NODE_MAP)
        own = NULL;
    if (!inherits)
        return own;
    pl_node *merged = pl_arena_alloc(yaml->arena, sizeof *merged);
    if (!merged)
        return own;
    size_t own_count = own ? own->count : 0, most = own_count + defaults->count;
    *merged = own ? *own : *defaults;
    merged->count = own_count;
    merged->items = pl_arena_alloc(yaml->arena, 2 * most * sizeof(pl_node *));
    if (!merged->items)
        return own;
    merged->keys = merged->items + most;
    for (size_t i = 0; i < own_count; i++) {
        merged->items[i] = own->items[i];
        merged->keys[i] = own->keys[i];
    }
    for (size_t i = 0; i < defaults->count; i++) {
        if (pl_node_get(own, defaults->keys[i]->text.ptr))
            continue;
        pl_node *key = pl_arena_alloc(yaml->arena, sizeof *key);
        if (!key)
            return own;
        *key = *defaults->keys[i];
        (void)pl_substitute_all(defaults->items[i], yaml);
        key->inherited = true;
        merged->keys[merged->count] = key;
        merged->items[merged->count++] = defaults->items[i];
    }
    return merged;
}
