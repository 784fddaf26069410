#include <base/str.h>
#include <config/source.h>

static size_t find(const pl_node *map, const char *key)
{
    size_t len = strlen(key);
    if (!map || map->type != PL_NODE_MAP)
        return SIZE_MAX;
    for (size_t i = 0; i < map->count; i++)
        if (map->keys[i]->text.len == len && memcmp(map->keys[i]->text.ptr, key, len) == 0)
            return i;
    return SIZE_MAX;
}

pl_node *pl_node_get(const pl_node *map, const char *key)
{
    size_t at = find(map, key);
    return at == SIZE_MAX ? NULL : map->items[at];
}

pl_node *pl_node_key(const pl_node *map, const char *key)
{
    size_t at = find(map, key);
    return at == SIZE_MAX ? NULL : map->keys[at];
}

bool pl_node_is(const pl_node *node, const char *text)
{
    return node && node->type == PL_NODE_SCALAR && pl_str_is(node->text, text);
}

const char *pl_node_kind(const pl_node *node)
{
    static const char *const kinds[] = {"nothing", "text", "a list", "a map"};
    return node ? kinds[node->type] : kinds[PL_NODE_NULL];
}

void pl_node_hide(const pl_node *node)
{
    if (!node || !node->source)
        return;
    for (size_t i = 0; i < node->count; i++)
        pl_node_hide(node->items[i]);
    /* A lone ${...} gives nothing away, and helps the reader. */
    pl_str text = node->written;
    if (node->type != PL_NODE_SCALAR || (node->tainted && strncmp(text.ptr, "${", 2) == 0 &&
                                         memchr(text.ptr, '}', text.len) == text.ptr + text.len - 1))
        return;
    for (const pl_mask *old = node->source->masks; old; old = old->next)
        if (old->line == node->line && old->column == node->column)
            return;
    pl_mask *mask = pl_arena_alloc(node->source->arena, sizeof *mask);
    if (!mask)
        return;
    *mask = (pl_mask){node->line, node->column, node->end_line, node->end_column, node->source->masks};
    node->source->masks = mask;
}

void pl_node_check_keys(const pl_node *map, const char *const *known, const char *what, pl_diags *diags)
{
    if (!map || map->type != PL_NODE_MAP)
        return;
    for (size_t i = 0; i < map->count; i++) {
        const pl_node *key = map->keys[i];
        bool found = false;
        for (const char *const *word = known; *word && !found; word++)
            found = pl_str_is(key->text, *word);
        if (found)
            continue;
        pl_diags_error(diags, key, "unknown key '%.100s' in %s", key->text.ptr, what);
        pl_diags_suggest(diags, key->text.ptr, known);
    }
}
