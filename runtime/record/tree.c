/* Loading, checking and the memory of a tree. */
#include <base/mem.h>
#include <base/random.h>
#include <record/lexeme.h>
#include <record/tree.h>

enum { SCRATCH_CHUNK = 4096, SCRATCH_SLACK = 1024 };

pl_status pl_tree_no_memory(pl_error *error)
{
    return error ? pl_fail(error, PL_RETRY, "no memory left for a JSON document") : PL_FAILED;
}

pl_status pl_tree_malformed(pl_error *error, const char *what, size_t at)
{
    return error ? pl_fail(error, PL_REJECT, "not JSON: %s at byte %zu", what, at) : PL_FAILED;
}

bool pl_tree_init(pl_tree *tree)
{
    *tree = (pl_tree){.scratch_chunk = SCRATCH_CHUNK, .seed = pl_random_entropy()};
    tree->known = tree->shapes;
    tree->scanner = pl_scanner_new();
    tree->scratch = pl_arena_new(tree->scratch_chunk);
    if (tree->scanner && tree->scratch)
        return true;
    pl_tree_release(tree);
    return false;
}

static void free_lists(pl_tree *tree)
{
    pl_free(tree->node);
    pl_free(tree->box);
    pl_free(tree->edit);
    pl_free(tree->source);
    tree->node = NULL;
    tree->box = NULL;
    tree->edit = NULL;
    tree->source = NULL;
    tree->node_room = tree->box_room = tree->edit_room = tree->source_room = 0;
}

void pl_tree_release(pl_tree *tree)
{
    free_lists(tree);
    pl_shape_release(&tree->shape);
    pl_scanner_free(&tree->scanner);
    pl_scanner_free(&tree->side);
    pl_arena_free(&tree->scratch);
}

size_t pl_tree_bytes(const pl_tree *tree)
{
    return pl_scanner_bytes(tree->scanner) + (tree->side ? pl_scanner_bytes(tree->side) : 0) +
           pl_arena_bytes(tree->scratch) + tree->shape.room + tree->node_room * sizeof *tree->node +
           tree->box_room * sizeof *tree->box + tree->edit_room * sizeof *tree->edit +
           tree->source_room * sizeof *tree->source;
}

static inline bool overflowed(const pl_tree *tree)
{
    return pl_arena_bytes(tree->scratch) > tree->scratch_chunk + SCRATCH_SLACK;
}

/* A scratch that overflowed its first chunk gets a larger one, so that records alike need no further memory. */
static void reset_scratch(pl_tree *tree)
{
    size_t held = pl_arena_bytes(tree->scratch);
    if (overflowed(tree)) {
        pl_arena *larger = pl_arena_new(held);
        if (larger) {
            pl_arena_free(&tree->scratch);
            tree->scratch = larger;
            tree->scratch_chunk = held;
            return;
        }
    }
    pl_arena_reset(tree->scratch);
}

static void shrink(pl_tree *tree)
{
    free_lists(tree);
    pl_scanner_free(&tree->side);
    pl_scanner_shrink(tree->scanner, 0);
    pl_arena *smaller = pl_arena_new(SCRATCH_CHUNK);
    if (!smaller)
        return;
    pl_arena_free(&tree->scratch);
    tree->scratch = smaller;
    tree->scratch_chunk = SCRATCH_CHUNK;
}

void pl_tree_unload(pl_tree *tree)
{
    tree->nodes = tree->boxes = tree->edits = tree->sources = 0;
}

void pl_tree_clear_used(pl_tree *tree, size_t keep_bytes)
{
    bool counted = !tree->grown && !overflowed(tree) && keep_bytes >= tree->kept;
    tree->used = tree->grown = false;
    tree->kept = keep_bytes;
    pl_tree_unload(tree);
    if (!counted && pl_tree_bytes(tree) > keep_bytes)
        shrink(tree);
    else
        reset_scratch(tree);
}

static pl_status scan_failed(pl_scan_status status, pl_str text, pl_error *error)
{
    static const char *const words[] = {
        [PL_SCAN_EMPTY] = "an empty text",
        [PL_SCAN_UNCLOSED] = "the last string does not end",
        [PL_SCAN_CONTROL] = "an unescaped control character in a string",
        [PL_SCAN_DEPTH] = "objects and arrays nested more than 64 deep",
        [PL_SCAN_SYNTAX] = "wrong syntax",
    };
    if (status == PL_SCAN_MEMORY)
        return text.len > PL_JSON_BYTES_MAX && error ? pl_fail(error, PL_REJECT, "a JSON text of more than 1 GiB")
                                                     : pl_tree_no_memory(error);
    if (!error)
        return PL_FAILED;
    if (status == PL_SCAN_UTF8)
        return pl_fail(error, PL_REJECT, "not JSON: not UTF-8");
    return pl_fail(error, PL_REJECT, "not JSON: %s", words[status]);
}

bool pl_tree_reserve(pl_tree *tree, uint32_t more)
{
    if (more <= tree->node_room - tree->nodes)
        return true;
    uint32_t room = tree->node_room * 2u + 32 > tree->nodes + more ? tree->node_room * 2u + 32 : tree->nodes + more;
    pl_tree_node *grown = pl_realloc(tree->node, room, sizeof *grown);
    if (!grown)
        return false;
    tree->node = grown;
    tree->node_room = room;
    tree->grown = true;
    return true;
}

/* Where the root of a text lies whose structure was scanned. */
static pl_status find_root(const pl_tree_source *source, pl_tree_node *root, pl_error *error)
{
    uint32_t last = source->index[source->count - 1];
    char first_byte = source->text.ptr[source->index[0]], last_byte = source->text.ptr[last];
    size_t end = source->text.len;
    if (first_byte == '{' || first_byte == '[') {
        if (last_byte != (first_byte == '{' ? '}' : ']'))
            return pl_tree_malformed(error, "an object or array without its end", end);
        end = last + 1;
    } else if (source->count > 1) {
        return pl_tree_malformed(error, "something behind the end", source->index[1]);
    }
    while (end > 1 && pl_tree_is_space(source->text.ptr[end - 1]))
        end--;
    root->raw_at = source->index[0];
    root->raw_len = (uint32_t)(end - source->index[0]);
    return PL_OK;
}

/* Notes the text's structure and its root; the text's own mistakes are found when it is opened. */
static pl_status add_source(pl_tree *tree, const pl_tree_source *source, uint32_t parent, uint32_t *root,
                            pl_error *error)
{
    if (tree->sources == tree->source_room) {
        pl_tree_source *more = pl_realloc(tree->source, tree->source_room * 2u + 4, sizeof *more);
        if (!more)
            return pl_tree_no_memory(error);
        tree->source = more;
        tree->source_room = tree->source_room * 2 + 4;
        tree->grown = true;
    }
    if (tree->sources > UINT16_MAX)
        return error ? pl_fail(error, PL_REJECT, "more than 65536 edited texts in one record") : PL_FAILED;
    if (!pl_tree_reserve(tree, 1))
        return pl_tree_no_memory(error);
    pl_tree_node node = {.parent = parent, .source = (uint16_t)tree->sources, .flags = PL_NODE_BODY};
    if (source->outline) {
        node.raw_at = source->outline->at;
        node.raw_len = source->outline->len;
    } else if (find_root(source, &node, error) != PL_OK) {
        return PL_FAILED;
    }
    *root = tree->nodes++;
    tree->node[*root] = node;
    tree->source[tree->sources++] = *source;
    return PL_OK;
}

/* Notes in the tree what source 0 holds. */
static pl_outline_verdict walk(pl_tree *tree, uint32_t *count)
{
    const pl_tree_source *source = &tree->source[0];
    return pl_outline_walk(source->text, source->index, source->count, source->escapes, tree->noted,
                           pl_outline_room(source->text.len), count);
}

/* From now on source 0 goes by what was noted, unless too much of it was found, or nodes are numbered by the index. */
static void note_outline(pl_tree *tree, uint32_t count)
{
    pl_tree_source *source = &tree->source[0];
    if (tree->nodes > 1 || count > pl_outline_room(source->text.len))
        return;
    source->outline = tree->noted;
    source->count = count;
}

/* Of source 0, whose shape was not known. Where nobody asked for the check it is made for this. */
static void learn_shape(pl_tree *tree, pl_json_check check)
{
    pl_tree_source *source = &tree->source[0];
    uint32_t count;
    if (source->escapes || source->text.len > PL_SHAPE_TEXT_MAX)
        return;
    if (check != PL_JSON_FULL && walk(tree, &count) == PL_OUTLINE_VALID)
        note_outline(tree, count);
    if (source->outline && pl_shape_learn(&tree->shape, source->text, source->outline, source->count))
        source->shape = tree->shape.id;
}

pl_shape_match pl_tree_match(pl_tree *tree, pl_str padded, pl_tree_source *source)
{
    pl_shape_match match = pl_shape_try(&tree->shape, padded, tree->noted);
    if (match == PL_SHAPE_SAME)
        *source = (pl_tree_source){
            .text = padded, .outline = tree->noted, .shape = tree->shape.id, .count = tree->shape.count};
    return match;
}

pl_status pl_tree_scan(pl_tree *tree, pl_str padded, pl_shape_match match, pl_json_check check, pl_error *error)
{
    pl_tree_source source = {.text = padded};
    tree->used = true;
    tree->grown = true; /* by what the scan takes, perhaps */
    pl_scan_status scanned = pl_scan(tree->scanner, padded, &source.index, &source.count);
    if (scanned != PL_SCAN_OK)
        return scan_failed(scanned, padded, error);
    source.escapes = memchr(padded.ptr, '\\', padded.len) != NULL;
    uint32_t root = 0;
    pl_status status = add_source(tree, &source, 0, &root, error);
    if (status == PL_OK && check == PL_JSON_FULL)
        status = pl_tree_check(tree, error);
    if (status == PL_OK && match == PL_SHAPE_OTHER)
        learn_shape(tree, check);
    if (status != PL_OK)
        pl_tree_unload(tree);
    return status;
}

pl_status pl_tree_load_outlined(pl_tree *tree, const pl_tree_source *source, pl_error *error)
{
    uint32_t root;
    tree->used = true;
    return add_source(tree, source, 0, &root, error);
}

pl_status pl_tree_load(pl_tree *tree, pl_str padded, pl_json_check check, pl_error *error)
{
    pl_tree_source source;
    pl_shape_match match = pl_tree_match(tree, padded, &source);
    return match == PL_SHAPE_SAME ? pl_tree_load_outlined(tree, &source, error)
                                  : pl_tree_scan(tree, padded, match, check, error);
}

void pl_tree_know_other(pl_tree *tree, const pl_tree_source *source)
{
    for (uint32_t i = 0; i < PL_TREE_SHAPES; i++) {
        tree->known = &tree->shapes[i];
        if (tree->known->shape == source->shape)
            return;
    }
    tree->known = &tree->shapes[tree->next_shape++ % PL_TREE_SHAPES];
    pl_known_learn(tree->known, source->shape, source->text.ptr, source->outline, source->count);
}

static bool too_deep(const pl_tree_source *source)
{
    int depth = 0;
    for (uint32_t i = 0; i < source->count; i++) {
        char byte = source->text.ptr[source->index[i]];
        depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
        if (depth > PL_JSON_DEPTH_MAX)
            return true;
    }
    return false;
}

/* A number that is neither finite nor read by simdjson's parser, or any other scalar. */
static pl_status check_scalar(pl_tree *tree, uint32_t node, bool *big, pl_error *error)
{
    pl_value value;
    pl_status status = pl_tree_value(tree, node, &value, error);
    if (status != PL_OK || value.type != PL_DECIMAL)
        return status;
    pl_lexeme lexeme;
    if (!pl_lexeme_split(value.as.s, &lexeme) || !pl_lexeme_finite(value.as.s, &lexeme))
        return pl_tree_malformed(error, "a number beyond the range of a double", tree->node[node].raw_at);
    *big = *big || lexeme.integer;
    return PL_OK;
}

/* Visits everything: to say where simdjson's parser, which tells no place, found a mistake; and to let pass what it
 * can't read but JSON allows, integers beyond 64 bits. */
static pl_status visit_all(pl_tree *tree, pl_error *error)
{
    if (too_deep(&tree->source[0]))
        return scan_failed(PL_SCAN_DEPTH, tree->source[0].text, error);
    bool big = false;
    for (uint32_t i = 0; i < tree->nodes; i++) {
        uint32_t holder;
        pl_tree_box *box;
        pl_status status = pl_tree_open(tree, i, &holder, &box, error);
        if (status == PL_END)
            status = check_scalar(tree, i, &big, error);
        if (status != PL_OK)
            return status;
    }
    return big ? PL_OK : scan_failed(PL_SCAN_SYNTAX, tree->source[0].text, error);
}

/* The judgement of simdjson's parser, and of a visit where it can't judge. */
static pl_status check_apart(pl_tree *tree, pl_error *error)
{
    pl_scan_status checked = pl_scan_check(tree->scanner);
    if (checked == PL_SCAN_OK)
        return PL_OK;
    return checked == PL_SCAN_SYNTAX ? visit_all(tree, error) : scan_failed(checked, tree->source[0].text, error);
}

pl_status pl_tree_check(pl_tree *tree, pl_error *error)
{
    if (tree->source[0].outline)
        return PL_OK;
    uint32_t count;
    pl_outline_verdict verdict = walk(tree, &count);
    pl_status status = verdict == PL_OUTLINE_VALID ? PL_OK : check_apart(tree, error);
    if (status == PL_OK && verdict != PL_OUTLINE_NONE)
        note_outline(tree, count);
    return status;
}

pl_status pl_tree_adopt(pl_tree *tree, pl_str padded, uint32_t parent, uint32_t *root, pl_error *error)
{
    if (!tree->side)
        tree->side = pl_scanner_new();
    if (!tree->side)
        return pl_tree_no_memory(error);
    pl_tree_source source = {.text = padded};
    const uint32_t *index;
    tree->grown = true;
    pl_scan_status scanned = pl_scan(tree->side, padded, &index, &source.count);
    if (scanned != PL_SCAN_OK)
        return scan_failed(scanned, padded, error);
    uint32_t *kept =
        pl_arena_alloc(tree->scratch, source.count * sizeof *kept); /* the scanner's own is soon overwritten */
    if (!kept)
        return pl_tree_no_memory(error);
    memcpy(kept, index, source.count * sizeof *kept);
    source.index = kept;
    source.escapes = memchr(padded.ptr, '\\', padded.len) != NULL;
    return add_source(tree, &source, parent, root, error);
}

pl_tree_edit *pl_tree_edit_of(pl_tree *tree, uint32_t node)
{
    if (tree->node[node].edit)
        return &tree->edit[tree->node[node].edit - 1];
    if (tree->edits == tree->edit_room) {
        pl_tree_edit *more = pl_realloc(tree->edit, tree->edit_room * 2u + 16, sizeof *more);
        if (!more)
            return NULL;
        tree->edit = more;
        tree->edit_room = tree->edit_room * 2 + 16;
        tree->grown = true;
    }
    tree->edit[tree->edits] = (pl_tree_edit){.key = {NULL, 0}};
    tree->node[node].edit = ++tree->edits;
    return &tree->edit[tree->edits - 1];
}
