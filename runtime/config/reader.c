#include <base/str.h>
#include <base/units.h>
#include <config/spec.h>

#include <errno.h>
#include <stdlib.h>

static bool is_known(const char *const *known, const char *key)
{
    for (; *known; known++)
        if (strcmp(*known, key) == 0)
            return true;
    return false;
}

pl_node *pl_read_node(const pl_reader *r, const char *key, pl_node **found)
{
    pl_node *own = pl_node_key(r->map, key);
    for (size_t i = 0; !own && r->known && r->map && r->map->type == PL_NODE_MAP && i < r->map->count; i++) {
        const char *word = r->map->keys[i]->text.ptr;
        if (is_known(r->known, word))
            continue;
        const char *near = pl_nearest(word, r->known);
        if (near && strcmp(near, key) == 0)
            own = r->map->keys[i];
    }
    if (found)
        *found = own;
    return own ? pl_node_get(r->map, own->text.ptr) : NULL;
}

/* The scalar under a key; NULL: absent or null, or something else (reported). */
static const pl_node *scalar(const pl_reader *r, const char *key, const char *expected)
{
    const pl_node *node = pl_read_node(r, key, NULL);
    if (!node || node->type == PL_NODE_NULL)
        return NULL;
    if (node->type == PL_NODE_SCALAR)
        return node;
    pl_diags_error(r->diags, node, "%s%s of %s is %s, not %s", r->prefix, key, r->what, expected, pl_node_kind(node));
    return NULL;
}

void pl_read_text(const pl_reader *r, const char *key, const char **out, const pl_node **at)
{
    const pl_node *node = scalar(r, key, "a text");
    if (!node)
        return;
    *out = node->text.ptr;
    if (at)
        *at = node;
}

void pl_read_duration(const pl_reader *r, const char *key, int64_t *out)
{
    pl_error error = {0};
    const pl_node *node = scalar(r, key, "a duration");
    if (node && pl_parse_duration(node->text, out, &error) != PL_OK)
        pl_diags_error(r->diags, node, "%s%s of %s: %s; found '%.80s'", r->prefix, key, r->what, error.message,
                       node->written.ptr);
}

void pl_read_size(const pl_reader *r, const char *key, int64_t *out)
{
    pl_error error = {0};
    const pl_node *node = scalar(r, key, "a size");
    if (node && pl_parse_size(node->text, out, &error) != PL_OK)
        pl_diags_error(r->diags, node, "%s%s of %s: %s; found '%.80s'", r->prefix, key, r->what, error.message,
                       node->written.ptr);
}

void pl_read_integer(const pl_reader *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const pl_node *node = scalar(r, key, "a whole number");
    if (!node)
        return;
    char *end;
    const char *text = node->text.ptr;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool digit = (text[0] >= '0' && text[0] <= '9') || (text[0] == '-' && text[1] >= '0' && text[1] <= '9');
    if (!digit || *end || errno || value < min || value > max)
        pl_diags_error(r->diags, node, "%s%s of %s is a whole number from %lld to %lld; found '%.80s'", r->prefix, key,
                       r->what, (long long)min, (long long)max, node->written.ptr);
    else
        *out = value;
}

void pl_read_choice(const pl_reader *r, const char *key, const char *const *words, int *out)
{
    const pl_node *node = scalar(r, key, "a word");
    if (!node)
        return;
    for (int i = 0; words[i]; i++)
        if (pl_str_is(node->text, words[i])) {
            *out = i;
            return;
        }
    pl_diags_error(r->diags, node, "%s%s of %s can't be '%.80s'", r->prefix, key, r->what, node->written.ptr);
    pl_diags_suggest(r->diags, node->text.ptr, words);
}

void pl_read_texts(const pl_reader *r, const char *key, const char ***out, size_t *count)
{
    const pl_node *node = pl_read_node(r, key, NULL);
    if (!node || node->type == PL_NODE_NULL)
        return;
    bool one = node->type == PL_NODE_SCALAR;
    if (!one && node->type != PL_NODE_SEQUENCE) {
        pl_diags_error(r->diags, node, "%s%s of %s is a text or a list of texts, not %s", r->prefix, key, r->what,
                       pl_node_kind(node));
        return;
    }
    size_t given = one ? 1 : node->count, kept = 0;
    const char **texts = pl_arena_alloc(r->arena, (given + 1) * sizeof *texts);
    for (size_t i = 0; texts && i < given; i++) {
        const pl_node *item = one ? node : node->items[i];
        if (item->type == PL_NODE_SCALAR)
            texts[kept++] = item->text.ptr;
        else if (!item->broken)
            pl_diags_error(r->diags, item, "%s%s of %s is a list of texts; found %s", r->prefix, key, r->what,
                           pl_node_kind(item));
    }
    if (!texts)
        pl_diags_error(r->diags, node, "no memory");
    *out = texts;
    *count = kept;
}

const pl_node *pl_read_map(const pl_reader *r, const char *key, const char *const *known)
{
    const pl_node *node = pl_read_node(r, key, NULL);
    char what[128];
    if (!node || node->type == PL_NODE_NULL)
        return NULL;
    if (node->type != PL_NODE_MAP) {
        pl_diags_error(r->diags, node, "%s%s of %s is a map, not %s", r->prefix, key, r->what, pl_node_kind(node));
        pl_diags_suggest(r->diags, "", known);
        return NULL;
    }
    (void)snprintf(what, sizeof what, "%s%s of %s", r->prefix, key, r->what);
    pl_node_check_keys(node, known, what, r->diags);
    return node;
}
