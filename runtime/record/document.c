/* Loading a record's payload and reading it through the edits. Edits are in edit.c, the way out in splice.c. */
#include <base/mem.h>
#include <base/str.h>
#include <record/document_private.h>

enum { KEEP_BYTES = 4 << 20 /* a document keeps this much memory from a large record to the next */ };

/* Texts that stand for payloads which have no JSON of their own. The literal is padded by an array of fixed size. */
static const char null_text[4 + PL_ARENA_PADDING] = "null";
static const char empty_object[2 + PL_ARENA_PADDING] = "{}";

pl_document *pl_document_new(void)
{
    pl_document *document = pl_calloc(1, sizeof *document);
    if (!document)
        return NULL;
    document->out = PL_BUF(PL_JSON_BYTES_MAX);
    if (!pl_tree_init(&document->tree)) {
        pl_free(document);
        return NULL;
    }
    return document;
}

void pl_document_free(pl_document **document)
{
    if (!document || !*document)
        return;
    pl_tree_release(&(*document)->tree);
    pl_buf_release(&(*document)->out);
    pl_free(*document);
    *document = NULL;
}

size_t pl_document_bytes(const pl_document *document)
{
    return sizeof *document + document->out.capacity + pl_tree_bytes(&document->tree);
}

static inline void set_payload(pl_document *document, pl_str payload, pl_codec codec)
{
    document->payload = payload;
    document->codec = codec;
    document->touched = document->matched = document->flat.on = false;
    document->source.outline = NULL;
}

/* Of what was known of the payload before, at the end of each load: most leave nothing to be cleared. */
static inline void clear(pl_document *document)
{
    if (document->out.capacity > KEEP_BYTES)
        pl_buf_release(&document->out);
    pl_tree_clear(&document->tree, KEEP_BYTES);
}

void pl_document_load(pl_document *document, pl_str payload, pl_codec codec)
{
    set_payload(document, payload, codec);
    clear(document);
}

void pl_document_load_record(pl_document *document, const pl_record *record, pl_codec codec)
{
    const pl_outline *outline = record->outline;
    set_payload(document, record->payload, codec);
    if (codec == PL_CODEC_JSON && pl_outline_of(outline, record->payload))
        document->source = (pl_tree_source){.text = record->payload,
                                            .outline = outline->entry,
                                            .shape = outline->shape,
                                            .count = outline->count,
                                            .escapes = outline->escapes};
    clear(document);
}

void pl_document_load_empty(pl_document *document)
{
    pl_document_load(document, (pl_str){empty_object, 2}, PL_CODEC_JSON);
    document->touched = true;
}

void pl_document_unload(pl_document *document)
{
    pl_document_load(document, (pl_str){NULL, 0}, PL_CODEC_JSON);
}

/* A root for a payload that is not JSON: as if `null` had been replaced by it, or removed. */
static pl_status stand_in(pl_document *document, pl_error *error)
{
    pl_tree *tree = &document->tree;
    pl_status status = pl_tree_load(tree, (pl_str){null_text, 4}, PL_JSON_TOUCHED, error);
    if (status != PL_OK)
        return status;
    if (!document->payload.ptr) {
        tree->node[0].flags |= PL_NODE_GONE;
        return PL_OK;
    }
    pl_tree_edit *edit = pl_tree_edit_of(tree, 0);
    if (!edit) {
        tree->nodes = 0;
        return pl_tree_no_memory(error);
    }
    edit->value = (pl_value){.type = document->codec == PL_CODEC_TEXT ? PL_STR : PL_BYTES, .as.s = document->payload};
    tree->node[0].flags |= PL_NODE_REPLACED;
    return PL_OK;
}

bool pl_document_outlined(pl_document *document)
{
    if (document->source.outline)
        return true;
    if (document->matched || document->codec != PL_CODEC_JSON || !document->payload.ptr)
        return false;
    document->matched = true;
    document->match = pl_tree_match(&document->tree, document->payload, &document->source);
    return document->match == PL_SHAPE_SAME;
}

pl_status pl_document_begin(pl_document *document, pl_error *error)
{
    if (pl_document_outlined(document))
        return pl_flat_spread(document, error);
    if (document->codec == PL_CODEC_JSON && document->payload.ptr)
        return pl_tree_scan(&document->tree, document->payload, document->match, PL_JSON_TOUCHED, error);
    return stand_in(document, error);
}

pl_status pl_document_validate(pl_document *document, pl_error *error)
{
    if (!document->payload.ptr || document->codec == PL_CODEC_BYTES)
        return PL_OK;
    if (document->codec == PL_CODEC_TEXT) {
        if (pl_utf8_valid(document->payload))
            return PL_OK;
        return error ? pl_fail(error, PL_REJECT, "not UTF-8 text") : PL_FAILED;
    }
    if (pl_document_outlined(document))
        return PL_OK;
    if (document->tree.nodes > 0)
        return pl_tree_check(&document->tree, error);
    return pl_tree_scan(&document->tree, document->payload, document->match, PL_JSON_FULL, error);
}

const pl_outline *pl_document_keep_outline(const pl_document *document, pl_arena *arena)
{
    const pl_tree_source *source = document->tree.sources > 0 ? document->tree.source : &document->source;
    if (!source->outline)
        return NULL;
    const pl_outline about = {.text = source->text.ptr,
                              .shape = source->shape,
                              .len = (uint32_t)source->text.len,
                              .count = (uint16_t)source->count,
                              .escapes = source->escapes};
    return pl_outline_keep(arena, &about, source->outline);
}

enum { EDIT_BYTES_MAX = 64 << 20, TREE_BYTES_A_BYTE = 48 /* index, tape and nodes of the densest text, [1,1,1] */ };

pl_status pl_document_has_room(const pl_document *document, pl_error *error)
{
    if (pl_tree_bytes(&document->tree) <= EDIT_BYTES_MAX + TREE_BYTES_A_BYTE * document->payload.len)
        return PL_OK;
    return error ? pl_fail(error, PL_REJECT, "the edits of one record take more than %d MiB", EDIT_BYTES_MAX >> 20)
                 : PL_FAILED;
}

/* The value of a node that is there, edits included. */
static pl_status value_of(pl_document *document, uint32_t node, pl_value *value, pl_error *error)
{
    pl_tree *tree = &document->tree;
    uint16_t flags = tree->node[node].flags;
    if (!(flags & (PL_NODE_REPLACED | PL_NODE_DIRTY)))
        return pl_tree_value(tree, node, value, error);
    if (!(flags & PL_NODE_DIRTY)) {
        *value = tree->edit[tree->node[node].edit - 1].value;
        return PL_OK;
    }
    if (pl_document_has_room(document, error) != PL_OK)
        return PL_FAILED;
    pl_buf_clear(&document->out);
    pl_status status = pl_splice(tree, node, &document->out, error);
    if (status != PL_OK)
        return status;
    pl_str text = {NULL, 0};
    if (!pl_buf_failed(&document->out))
        text = pl_arena_str(tree->scratch, pl_buf_str(&document->out));
    if (!text.ptr)
        return pl_tree_no_memory(error);
    *value = (pl_value){.type = PL_JSON, .as.s = text};
    return PL_OK;
}

/* A member of the root of a document that has a tree, or needs one. */
static __attribute__((noinline)) pl_status field_of_tree(pl_document *document, pl_str name, pl_value *value,
                                                         pl_error *error)
{
    uint32_t holder, node;
    pl_tree_box *box;
    pl_status status = pl_document_ready(document, error);
    if (status != PL_OK)
        return status;
    if (document->tree.node[0].flags & PL_NODE_GONE)
        return PL_END;
    status = pl_tree_open(&document->tree, 0, &holder, &box, error);
    if (status == PL_OK)
        status = pl_tree_member(&document->tree, box, name, &node);
    return status == PL_OK ? value_of(document, node, value, error) : status;
}

pl_status pl_document_field(pl_document *document, pl_str name, pl_value *value, pl_error *error)
{
    return pl_document_is_flat(document) ? pl_flat_get(document, name, value)
                                         : field_of_tree(document, name, value, error);
}

pl_status pl_document_step(pl_document *document, const pl_path *path, uint32_t step, uint32_t *node, pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    pl_status status = pl_tree_open(&document->tree, *node, &holder, &box, error);
    if (status != PL_OK)
        return status;
    int32_t index = path->step[step].index;
    return index < 0 ? pl_tree_member(&document->tree, box, pl_path_key(path, step), node)
                     : pl_tree_element(&document->tree, box, (uint32_t)index, node);
}

pl_status pl_document_get(pl_document *document, const pl_path *path, pl_value *value, pl_error *error)
{
    uint32_t node = PL_JSON_ROOT;
    if (pl_path_is_key(path))
        return pl_document_field(document, pl_path_key(path, 0), value, error);
    pl_status status = pl_document_ready(document, error);
    if (status == PL_OK && document->tree.node[0].flags & PL_NODE_GONE)
        return PL_END;
    for (uint32_t i = 0; status == PL_OK && i < path->count; i++)
        status = pl_document_step(document, path, i, &node, error);
    return status == PL_OK ? value_of(document, node, value, error) : status;
}

/* A node that a caller kept: scanned, in range, and neither it nor anything above it removed or replaced. */
static pl_status revisit(pl_document *document, pl_json_node node, pl_error *error)
{
    uint32_t depth;
    pl_status status = pl_document_ready(document, error);
    if (status != PL_OK)
        return status;
    return node < document->tree.nodes && pl_tree_alive(&document->tree, node, &depth) ? PL_OK : PL_END;
}

pl_status pl_document_member(pl_document *document, pl_json_node object, pl_str key, pl_json_node *node,
                             pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    pl_status status = revisit(document, object, error);
    if (status == PL_OK)
        status = pl_tree_open(&document->tree, object, &holder, &box, error);
    return status == PL_OK ? pl_tree_member(&document->tree, box, key, node) : status;
}

pl_status pl_document_element(pl_document *document, pl_json_node array, uint32_t index, pl_json_node *node,
                              pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    pl_status status = revisit(document, array, error);
    if (status == PL_OK)
        status = pl_tree_open(&document->tree, array, &holder, &box, error);
    return status == PL_OK ? pl_tree_element(&document->tree, box, index, node) : status;
}

pl_status pl_document_value(pl_document *document, pl_json_node node, pl_value *value, pl_error *error)
{
    pl_status status = revisit(document, node, error);
    return status == PL_OK ? value_of(document, node, value, error) : status;
}

int64_t pl_document_count(pl_document *document, pl_json_node node)
{
    uint32_t holder;
    pl_tree_box *box;
    if (revisit(document, node, NULL) != PL_OK || pl_tree_open(&document->tree, node, &holder, &box, NULL) != PL_OK)
        return -1;
    pl_tree_sift(&document->tree, box);
    return box->live;
}

pl_status pl_document_each(pl_document *document, pl_json_node node, uint32_t *cursor, pl_json_item *item,
                           pl_error *error)
{
    uint32_t holder;
    pl_tree_box *box;
    pl_status status = revisit(document, node, error);
    if (status == PL_OK)
        status = pl_tree_open(&document->tree, node, &holder, &box, error);
    if (status != PL_OK)
        return status;
    bool object = box->object;
    status = pl_tree_next(&document->tree, holder, cursor, &item->node);
    if (status == PL_OK)
        item->key = object ? pl_tree_key(&document->tree, item->node) : (pl_str){NULL, 0};
    return status;
}

bool pl_document_touched(const pl_document *document)
{
    return document->touched;
}
