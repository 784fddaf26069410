/* Edits of a document. Each one checks and copies first and links last, so that a failure changes nothing. */
#include <base/str.h>
#include <record/document_private.h>
#include <record/encode.h>
#include <record/lexeme.h>

static pl_status refuse(pl_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static pl_status refuse(pl_error *error, const char *format, ...)
{
    if (!error)
        return PL_FAILED;
    va_list arguments;
    va_start(arguments, format);
    error->error_class = PL_REJECT;
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return PL_FAILED;
}

/* Containers within containers of a text whose structure was scanned. */
static uint32_t nesting(pl_str text, const uint32_t *index, uint32_t count)
{
    uint32_t depth = 0, most = 0;
    for (uint32_t i = 0; i < count; i++) {
        char byte = text.ptr[index[i]];
        if (byte == '{' || byte == '[')
            most = ++depth > most ? depth : most;
        else if ((byte == '}' || byte == ']') && depth > 0)
            depth--;
    }
    return most;
}

/* A whole check of a text that simdjson's parser refused: it may hold integers beyond 64 bits. Rare, so it may
 * allocate. */
static pl_status check_apart(pl_str padded, pl_error *error)
{
    pl_json_reader *reader = pl_json_reader_new();
    if (!reader)
        return pl_tree_no_memory(error);
    pl_status status = pl_json_validate(reader, padded, error);
    pl_json_reader_free(&reader);
    return status;
}

static pl_status check_json(pl_tree *tree, pl_str padded, uint32_t *depth, pl_error *error)
{
    const uint32_t *index;
    uint32_t count;
    tree->grown = true;
    if (!tree->side)
        tree->side = pl_scanner_new();
    if (!tree->side)
        return pl_tree_no_memory(error);
    if (pl_scan(tree->side, padded, &index, &count) != PL_SCAN_OK)
        return check_apart(padded, error);
    *depth = nesting(padded, index, count);
    return pl_scan_check(tree->side) == PL_SCAN_OK ? PL_OK : check_apart(padded, error);
}

/* The value with its text copied into the scratch arena, checked: it can be written as JSON. */
static pl_status take(pl_document *document, const pl_value *value, pl_value *kept, uint32_t *depth, pl_error *error)
{
    pl_lexeme lexeme;
    *kept = *value;
    *depth = 0;
    if (pl_document_has_room(document, error) != PL_OK)
        return PL_FAILED;
    switch (value->type) {
    case PL_NIL:
    case PL_BOOL:
    case PL_INT:
    case PL_TIME:
        return PL_OK;
    case PL_FLOAT:
        return __builtin_isfinite(value->as.f) ? PL_OK : refuse(error, "a number that is not finite");
    case PL_STR:
        if (!pl_utf8_valid(value->as.s))
            return refuse(error, "a string that is not UTF-8");
        break;
    case PL_DECIMAL:
        if (!pl_lexeme_split(value->as.s, &lexeme))
            return refuse(error, "a decimal that is not a JSON number");
        break;
    case PL_BYTES:
    case PL_JSON:
        break;
    default:
        return refuse(error, "a value of an unknown type");
    }
    pl_str text = value->as.s.ptr ? value->as.s : (pl_str){"", 0};
    kept->as.s = pl_arena_str(document->tree.scratch, text);
    if (!kept->as.s.ptr)
        return pl_tree_no_memory(error);
    return value->type == PL_JSON ? check_json(&document->tree, kept->as.s, depth, error) : PL_OK;
}

static void mark_above(pl_tree *tree, uint32_t node)
{
    while (tree->node[node].parent != node) {
        node = tree->node[node].parent;
        if (tree->node[node].flags & PL_NODE_DIRTY)
            return;
        tree->node[node].flags |= PL_NODE_DIRTY;
    }
}

pl_status pl_edit_replace(pl_document *document, uint32_t node, const pl_value *kept, pl_error *error)
{
    pl_tree *tree = &document->tree;
    pl_tree_edit *edit = pl_tree_edit_of(tree, node);
    if (!edit)
        return pl_tree_no_memory(error);
    edit->value = *kept;
    edit->body = 0;
    uint16_t flags = tree->node[node].flags;
    tree->node[node].flags = (uint16_t)((flags | PL_NODE_REPLACED) & ~(PL_NODE_DIRTY | PL_NODE_GONE));
    if (node > 0) {
        uint32_t parent = tree->node[node].parent;
        pl_tree_drop_others(tree, &tree->box[tree->node[parent].box - 1], node);
        mark_above(tree, node);
    }
    document->touched = true;
    return PL_OK;
}

pl_status pl_edit_append(pl_document *document, uint32_t holder, pl_str key, const pl_value *kept, pl_error *error)
{
    pl_tree *tree = &document->tree;
    uint32_t node;
    pl_status status = pl_tree_add(tree, holder, key, &node, error);
    if (status != PL_OK)
        return status;
    tree->edit[tree->node[node].edit - 1].value = *kept;
    mark_above(tree, node);
    document->touched = true;
    return PL_OK;
}

static const char *kind_of(const pl_value *value)
{
    static const char *const words[] = {
        [PL_NIL] = "null",       [PL_BOOL] = "a boolean", [PL_INT] = "a number",
        [PL_FLOAT] = "a number", [PL_STR] = "a string",   [PL_DECIMAL] = "a number",
        [PL_TIME] = "a time",    [PL_BYTES] = "bytes",    [PL_JSON] = "an object or array"};
    return value->type >= PL_NIL && value->type <= PL_JSON ? words[value->type] : "something unknown";
}

static bool is_array(pl_str text)
{
    return text.len > 0 && *text.ptr == '[';
}

/* Why no member or element can be set in `node`. key null: an element was to be set. */
static pl_status no_container(pl_document *document, uint32_t node, pl_str key, pl_error *error)
{
    if (!error)
        return PL_FAILED;
    const pl_tree *tree = &document->tree;
    if (tree->node[node].flags & PL_NODE_GONE)
        return refuse(error, "the payload is null (a tombstone): there is no object to set a field in");
    pl_value value;
    if (tree->node[node].flags & PL_NODE_REPLACED)
        value = tree->edit[tree->node[node].edit - 1].value;
    else if (pl_tree_value(&document->tree, node, &value, error) != PL_OK)
        return PL_FAILED;
    const char *there = value.type != PL_JSON ? kind_of(&value) : is_array(value.as.s) ? "an array" : "an object";
    if (node == 0 && document->codec == PL_CODEC_TEXT)
        there = "text";
    if (!key.ptr)
        return refuse(error, "an element can be set in an array only: there is %s", there);
    return refuse(error, "field \"%.*s\" can be set in an object only: there is %s", (int)(key.len < 64 ? key.len : 64),
                  key.ptr, there);
}

/* Sets a member (key) or an element (key null) of the value of `node`, which is alive. */
static pl_status set_in(pl_document *document, uint32_t node, pl_str key, uint32_t index, const pl_value *value,
                        pl_error *error)
{
    pl_tree *tree = &document->tree;
    pl_value kept;
    uint32_t holder, target, depth, value_depth;
    pl_tree_box *box;
    pl_status status = take(document, value, &kept, &value_depth, error);
    if (status != PL_OK)
        return status;
    status = tree->node[node].flags & PL_NODE_GONE ? PL_END : pl_tree_open(tree, node, &holder, &box, error);
    if (status == PL_END || (status == PL_OK && box->object != (key.ptr != NULL)))
        return no_container(document, node, key, error);
    if (status != PL_OK)
        return status;
    (void)pl_tree_alive(tree, holder, &depth);
    if (depth + 1 + value_depth > PL_JSON_DEPTH_MAX)
        return refuse(error, "objects and arrays nested more than %d deep", PL_JSON_DEPTH_MAX);
    status = key.ptr ? pl_tree_member(tree, box, key, &target) : pl_tree_element(tree, box, index, &target);
    if (status == PL_OK)
        return pl_edit_replace(document, target, &kept, error);
    if (key.ptr && !pl_utf8_valid(key)) /* one that is there is, too */
        return refuse(error, "a field name that is not UTF-8");
    if (!key.ptr && index != box->live)
        return refuse(error, "index %u of an array of %u elements", index, box->live);
    return pl_edit_append(document, holder, key, &kept, error);
}

static pl_str named(pl_str key)
{
    return key.ptr ? key : (pl_str){"", 0};
}

pl_status pl_document_set_field(pl_document *document, pl_str name, const pl_value *value, pl_error *error)
{
    if (pl_document_is_flat(document) && pl_flat_set(document, name, value))
        return PL_OK;
    pl_status status = pl_document_ready(document, error);
    return status == PL_OK ? set_in(document, 0, named(name), 0, value, error) : status;
}

static pl_status alive(pl_document *document, pl_json_node node, pl_error *error)
{
    uint32_t depth;
    pl_status status = pl_document_ready(document, error);
    if (status != PL_OK)
        return status;
    if (node < document->tree.nodes && pl_tree_alive(&document->tree, node, &depth))
        return PL_OK;
    return node == 0 ? PL_OK : refuse(error, "what was to be changed is no longer in the record");
}

pl_status pl_document_set_member(pl_document *document, pl_json_node object, pl_str key, const pl_value *value,
                                 pl_error *error)
{
    pl_status status = alive(document, object, error);
    return status == PL_OK ? set_in(document, object, named(key), 0, value, error) : status;
}

pl_status pl_document_set_element(pl_document *document, pl_json_node array, uint32_t index, const pl_value *value,
                                  pl_error *error)
{
    pl_status status = alive(document, array, error);
    return status == PL_OK ? set_in(document, array, (pl_str){NULL, 0}, index, value, error) : status;
}

/* value wrapped in the objects (and arrays of one) that the steps of the path from `step` on ask for, as JSON. */
static pl_status wrap(pl_document *document, const pl_path *path, uint32_t step, const pl_value *value,
                      pl_value *wrapped, pl_error *error)
{
    pl_buf *out = &document->out;
    pl_buf_clear(out);
    for (uint32_t i = step; i < path->count; i++) {
        int32_t index = path->step[i].index;
        if (index > 0)
            return refuse(error, "index %d of an array that is not there", index);
        pl_buf_addc(out, index < 0 ? '{' : '[');
        if (index >= 0)
            continue;
        pl_encode_string(out, pl_path_key(path, i));
        pl_buf_addc(out, ':');
    }
    pl_status status = pl_encode_value(out, value, error);
    for (uint32_t i = path->count; status == PL_OK && i-- > step;)
        pl_buf_addc(out, path->step[i].index < 0 ? '}' : ']');
    if (status == PL_OK && pl_buf_failed(out))
        return pl_tree_no_memory(error);
    *wrapped = (pl_value){.type = PL_JSON, .as.s = pl_buf_str(out)};
    return status;
}

static pl_status set_root(pl_document *document, const pl_value *value, pl_error *error)
{
    pl_value kept;
    uint32_t depth;
    pl_status status = take(document, value, &kept, &depth, error);
    return status == PL_OK ? pl_edit_replace(document, 0, &kept, error) : status;
}

pl_status pl_document_set(pl_document *document, const pl_path *path, const pl_value *value, pl_error *error)
{
    uint32_t node = PL_JSON_ROOT, step = 0;
    if (pl_path_is_key(path))
        return pl_document_set_field(document, pl_path_key(path, 0), value, error);
    pl_status status = pl_document_ready(document, error);
    if (status != PL_OK)
        return status;
    if (path->count == 0)
        return set_root(document, value, error);
    bool gone = document->tree.node[0].flags & PL_NODE_GONE;
    for (; !gone && step + 1 < path->count; step++) {
        status = pl_document_step(document, path, step, &node, error);
        if (status == PL_END)
            break;
        if (status != PL_OK)
            return status;
    }
    pl_value wrapped = *value;
    if (!gone && step + 1 < path->count) {
        status = wrap(document, path, step + 1, value, &wrapped, error);
        if (status != PL_OK)
            return status;
    }
    bool element = path->step[step].index >= 0;
    pl_str key = element ? (pl_str){NULL, 0} : pl_path_key(path, step);
    return set_in(document, node, key, element ? (uint32_t)path->step[step].index : 0, &wrapped, error);
}

void pl_edit_drop(pl_document *document, uint32_t node)
{
    pl_tree *tree = &document->tree;
    document->touched = true;
    if (node == 0) {
        tree->node[0].flags |= PL_NODE_GONE;
        return;
    }
    pl_tree_box *box = &tree->box[tree->node[tree->node[node].parent].box - 1];
    pl_tree_drop_others(tree, box, node);
    tree->node[node].flags |= PL_NODE_GONE;
    box->live--;
    box->holes = true;
    mark_above(tree, node);
}

static pl_status remove_in(pl_document *document, uint32_t node, pl_str key, pl_error *error)
{
    uint32_t holder, target;
    pl_tree_box *box;
    if (document->tree.node[node].flags & PL_NODE_GONE)
        return PL_END;
    pl_status status = pl_tree_open(&document->tree, node, &holder, &box, error);
    if (status == PL_OK)
        status = pl_tree_member(&document->tree, box, key, &target);
    if (status == PL_OK)
        pl_edit_drop(document, target);
    return status;
}

pl_status pl_document_remove_field(pl_document *document, pl_str name, pl_error *error)
{
    pl_status status = pl_document_is_flat(document) ? pl_flat_remove(document, name) : PL_FAILED;
    if (status != PL_FAILED)
        return status;
    status = pl_document_ready(document, error);
    return status == PL_OK ? remove_in(document, 0, name, error) : status;
}

pl_status pl_document_remove_member(pl_document *document, pl_json_node object, pl_str key, pl_error *error)
{
    pl_status status = alive(document, object, error);
    return status == PL_OK ? remove_in(document, object, key, error) : status;
}

pl_status pl_document_remove(pl_document *document, const pl_path *path, pl_error *error)
{
    uint32_t node = PL_JSON_ROOT;
    if (pl_path_is_key(path))
        return pl_document_remove_field(document, pl_path_key(path, 0), error);
    pl_status status = pl_document_ready(document, error);
    if (status == PL_OK && document->tree.node[0].flags & PL_NODE_GONE)
        return PL_END;
    for (uint32_t i = 0; status == PL_OK && i < path->count; i++)
        status = pl_document_step(document, path, i, &node, error);
    if (status == PL_OK)
        pl_edit_drop(document, node);
    return status;
}
