/* Reading the value of a node as it stands in its source. */
#include <base/str.h>
#include <record/lexeme.h>
#include <record/tree.h>

/* A string with escapes, decoded once; the edit beside the node keeps it, without replacing anything. */
static pl_status decode(pl_tree *tree, uint32_t number, pl_value *value, pl_error *error)
{
    pl_tree_edit *edit = pl_tree_edit_of(tree, number);
    if (!edit)
        return pl_tree_no_memory(error);
    if (edit->value.type != PL_STR) {
        pl_str raw = pl_tree_raw(tree, number);
        char *decoded = pl_arena_alloc(tree->scratch, raw.len + PL_ARENA_PADDING);
        if (!decoded)
            return pl_tree_no_memory(error);
        size_t length = pl_scan_unescape(tree->scanner, raw.ptr + 1, decoded);
        if (length == SIZE_MAX)
            return pl_tree_malformed(error, "a wrong escape in a string", tree->node[number].raw_at);
        edit->value = (pl_value){.type = PL_STR, .as.s = {decoded, length}};
    }
    *value = edit->value;
    return PL_OK;
}

static pl_status string_value(pl_str raw, size_t at, pl_value *value, pl_error *error)
{
    if (raw.len < 2 || raw.ptr[raw.len - 1] != '"')
        return pl_tree_malformed(error, "a string is not followed by a comma or an end", at);
    *value = (pl_value){.type = PL_STR, .as.s = {raw.ptr + 1, raw.len - 2}};
    return PL_OK;
}

static pl_status number_value(pl_str raw, size_t at, pl_value *value, pl_error *error)
{
    pl_lexeme lexeme;
    if (!pl_lexeme_split(raw, &lexeme))
        return pl_tree_malformed(error, "a value is expected", at);
    if (pl_lexeme_int(&lexeme, &value->as.i)) {
        value->type = PL_INT;
    } else {
        value->type = PL_DECIMAL;
        value->as.s = raw;
    }
    return PL_OK;
}

pl_status pl_raw_value(pl_str raw, size_t at, pl_value *value, pl_error *error)
{
    switch (raw.len > 0 ? *raw.ptr : '\0') {
    case '"':
        return string_value(raw, at, value, error);
    case '{':
    case '[':
        *value = (pl_value){.type = PL_JSON, .as.s = raw};
        return PL_OK;
    case 't':
    case 'f':
        *value = (pl_value){.type = PL_BOOL, .as.b = *raw.ptr == 't'};
        if (!pl_str_is(raw, *raw.ptr == 't' ? "true" : "false"))
            return pl_tree_malformed(error, "true or false is expected", at);
        return PL_OK;
    case 'n':
        *value = (pl_value){.type = PL_NIL};
        return pl_str_is(raw, "null") ? PL_OK : pl_tree_malformed(error, "null is expected", at);
    default:
        return number_value(raw, at, value, error);
    }
}

pl_status pl_tree_value(pl_tree *tree, uint32_t number, pl_value *value, pl_error *error)
{
    const pl_tree_node *node = &tree->node[number];
    pl_str raw = pl_tree_raw(tree, number);
    pl_status status = pl_raw_value(raw, node->raw_at, value, error);
    if (status != PL_OK || value->type != PL_STR || !tree->source[node->source].escapes ||
        !memchr(raw.ptr, '\\', raw.len))
        return status;
    return decode(tree, number, value, error);
}
