/* The reader: a tree without edits. */
#include <base/mem.h>
#include <record/tree.h>

struct pl_json_reader {
    pl_tree tree;
    char *copy; /* of pl_json_load_copy */
    size_t copy_room;
};

pl_json_reader *pl_json_reader_new(void)
{
    pl_json_reader *reader = pl_calloc(1, sizeof *reader);
    if (reader && !pl_tree_init(&reader->tree)) {
        pl_free(reader);
        return NULL;
    }
    return reader;
}

void pl_json_reader_free(pl_json_reader **reader)
{
    if (!reader || !*reader)
        return;
    pl_tree_release(&(*reader)->tree);
    pl_free((*reader)->copy);
    pl_free(*reader);
    *reader = NULL;
}

size_t pl_json_reader_bytes(const pl_json_reader *reader)
{
    return sizeof *reader + reader->copy_room + pl_tree_bytes(&reader->tree);
}

pl_status pl_json_load(pl_json_reader *reader, pl_str padded, pl_json_check check, pl_error *error)
{
    pl_tree_clear(&reader->tree, SIZE_MAX);
    return pl_tree_load(&reader->tree, padded, check, error);
}

pl_status pl_json_load_copy(pl_json_reader *reader, pl_str text, pl_json_check check, pl_error *error)
{
    pl_tree_clear(&reader->tree, SIZE_MAX);
    if (text.len > PL_JSON_BYTES_MAX)
        return error ? pl_fail(error, PL_REJECT, "a JSON text of more than 1 GiB") : PL_FAILED;
    if (text.len + PL_ARENA_PADDING > reader->copy_room) {
        size_t room = text.len + text.len / 2 + PL_ARENA_PADDING;
        char *more = pl_realloc(reader->copy, room, 1);
        if (!more)
            return pl_tree_no_memory(error);
        reader->copy = more;
        reader->copy_room = room;
    }
    if (text.len > 0)
        memcpy(reader->copy, text.ptr, text.len);
    memset(reader->copy + text.len, 0, PL_ARENA_PADDING);
    return pl_tree_load(&reader->tree, (pl_str){reader->copy, text.len}, check, error);
}

void pl_json_unload(pl_json_reader *reader, size_t keep_bytes)
{
    pl_tree_clear(&reader->tree, keep_bytes);
    if (reader->copy_room <= keep_bytes)
        return;
    pl_free(reader->copy);
    reader->copy = NULL;
    reader->copy_room = 0;
}

pl_status pl_json_validate(pl_json_reader *reader, pl_str padded, pl_error *error)
{
    pl_status status = pl_json_load(reader, padded, PL_JSON_FULL, error);
    pl_tree_clear(&reader->tree, SIZE_MAX);
    return status;
}

static pl_status resolve(pl_json_reader *reader, const pl_path *path, pl_json_node *node, pl_error *error)
{
    *node = PL_JSON_ROOT;
    for (uint32_t i = 0; i < path->count; i++) {
        int32_t index = path->step[i].index;
        pl_status status = index < 0 ? pl_json_member(reader, *node, pl_path_key(path, i), node, error)
                                     : pl_json_element(reader, *node, (uint32_t)index, node, error);
        if (status != PL_OK)
            return status;
    }
    return reader->tree.nodes > 0 ? PL_OK : PL_END;
}

pl_status pl_json_get(pl_json_reader *reader, const pl_path *path, pl_value *value, pl_error *error)
{
    pl_json_node node;
    pl_status status = resolve(reader, path, &node, error);
    return status == PL_OK ? pl_tree_value(&reader->tree, node, value, error) : status;
}

pl_status pl_json_find(pl_json_reader *reader, pl_str path, pl_value *value, pl_error *error)
{
    pl_path compiled;
    pl_error unused;
    pl_status status = pl_path_parse(path, &compiled, error ? error : &unused);
    return status == PL_OK ? pl_json_get(reader, &compiled, value, error) : status;
}

int64_t pl_json_count(pl_json_reader *reader, const pl_path *path)
{
    pl_json_node node;
    uint32_t holder;
    pl_tree_box *box;
    if (resolve(reader, path, &node, NULL) != PL_OK || pl_tree_open(&reader->tree, node, &holder, &box, NULL) != PL_OK)
        return -1;
    pl_tree_sift(&reader->tree, box);
    return box->live;
}

pl_status pl_json_member(pl_json_reader *reader, pl_json_node object, pl_str key, pl_json_node *node, pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    if (object >= reader->tree.nodes)
        return PL_END;
    pl_status status = pl_tree_open(&reader->tree, object, &holder, &box, error);
    return status == PL_OK ? pl_tree_member(&reader->tree, box, key, node) : status;
}

pl_status pl_json_element(pl_json_reader *reader, pl_json_node array, uint32_t index, pl_json_node *node,
                          pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    if (array >= reader->tree.nodes)
        return PL_END;
    pl_status status = pl_tree_open(&reader->tree, array, &holder, &box, error);
    return status == PL_OK ? pl_tree_element(&reader->tree, box, index, node) : status;
}

pl_status pl_json_value(pl_json_reader *reader, pl_json_node node, pl_value *value, pl_error *error)
{
    return node < reader->tree.nodes ? pl_tree_value(&reader->tree, node, value, error) : PL_END;
}

pl_str pl_json_raw(pl_json_reader *reader, pl_json_node node)
{
    return node < reader->tree.nodes ? pl_tree_raw(&reader->tree, node) : (pl_str){NULL, 0};
}

pl_status pl_json_each(pl_json_reader *reader, pl_json_node node, uint32_t *cursor, pl_json_item *item, pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    if (node >= reader->tree.nodes)
        return PL_END;
    pl_status status = pl_tree_open(&reader->tree, node, &holder, &box, error);
    if (status != PL_OK)
        return status;
    bool object = box->object;
    status = pl_tree_next(&reader->tree, holder, cursor, &item->node);
    if (status == PL_OK)
        item->key = object ? pl_tree_key(&reader->tree, item->node) : (pl_str){NULL, 0};
    return status;
}
