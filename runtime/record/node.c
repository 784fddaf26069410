/* Finding and reading the nodes of a tree. */
#include <base/mem.h>
#include <base/str.h>
#include <record/plain.h>
#include <record/tree.h>

enum { TABLE_ABOVE = 16 /* members; up to here a look at each is quicker than a hash */ };

static inline bool same_key(pl_str a, pl_str b)
{
    return a.len == b.len && pl_same_bytes(a.ptr, b.ptr, a.len);
}

__extension__ typedef unsigned __int128 node_u128;

/* Multiplies to 128 bits and folds. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    node_u128 product = (node_u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Of the key table alone; seeded, so that nobody can write a record whose keys all meet in one slot. */
static uint64_t hash_key(uint64_t seed, pl_str key)
{
    const uint64_t factor = 0x9E3779B97F4A7C15u; /* 2^64 over the golden ratio */
    uint64_t hash = fold(seed ^ key.len, factor), word;
    size_t i = 0;
    for (; i + sizeof word <= key.len; i += sizeof word) {
        memcpy(&word, key.ptr + i, sizeof word);
        hash = fold(hash ^ word, factor ^ seed);
    }
    for (word = 0; i < key.len; i++)
        word = word << 8 | (unsigned char)key.ptr[i];
    return fold(hash ^ word, factor ^ seed);
}

static char byte_at(const pl_tree_source *source, uint32_t at)
{
    return at < source->count ? source->text.ptr[source->index[at]] : '\0';
}

static size_t offset_at(const pl_tree_source *source, uint32_t at)
{
    return at < source->count ? source->index[at] : source->text.len;
}

/* The structural number of the bracket that closes the one at `at`, or the count: there is none. Brackets of both kinds
 * count alike here; a mismatch comes out when the container is opened. */
static uint32_t closing(const pl_tree_source *source, uint32_t at)
{
    static const int8_t nesting[256] = {['{'] = 1, ['['] = 1, ['}'] = -1, [']'] = -1};
    int32_t depth = 1;
    for (at++; at < source->count; at++) {
        depth += nesting[(unsigned char)source->text.ptr[source->index[at]]];
        if (depth == 0)
            break;
    }
    return at;
}

/* Past the value that begins at structural number `at`, where it lies: the number behind it, or 0: no value. */
static inline uint32_t pass_value(const pl_tree_source *source, uint32_t at, pl_tree_node *node)
{
    if (at >= source->count)
        return 0;
    const char *text = source->text.ptr;
    uint32_t start = source->index[at], last = at;
    size_t end;
    switch (text[start]) {
    case '{':
    case '[':
        last = closing(source, at);
        if (last == source->count)
            return 0;
        end = (size_t)source->index[last] + 1;
        break;
    case '}':
    case ']':
    case ':':
    case ',':
        return 0;
    default:
        end = offset_at(source, at + 1);
        while (pl_tree_is_space(text[end - 1]))
            end--;
    }
    node->raw_at = start;
    node->raw_len = (uint32_t)(end - start);
    return last + 1;
}

/* The key at structural number `at`, which a colon must follow. */
static inline bool pass_key(const pl_tree_source *source, uint32_t at, pl_tree_node *node)
{
    if (at + 1 >= source->count)
        return false;
    const char *text = source->text.ptr;
    uint32_t start = source->index[at], end = source->index[at + 1];
    if (text[start] != '"' || text[end] != ':')
        return false;
    while (pl_tree_is_space(text[end - 1]))
        end--;
    if (end < start + 2 || text[end - 1] != '"')
        return false;
    node->key_at = start + 1;
    node->key_len = end - start - 2;
    return true;
}

static inline pl_tree_node *push(pl_tree *tree)
{
    if (tree->nodes == tree->node_room && !pl_tree_reserve(tree, 1))
        return NULL;
    return &tree->node[tree->nodes++];
}

/* A key with escapes is decoded once, beside the node. */
static pl_status decode_key(pl_tree *tree, uint32_t number, pl_error *error)
{
    pl_tree_node *node = &tree->node[number];
    const pl_tree_source *source = &tree->source[node->source];
    const char *raw = source->text.ptr + node->key_at;
    if (!memchr(raw, '\\', node->key_len))
        return PL_OK;
    char *decoded = pl_arena_alloc(tree->scratch, node->key_len + PL_ARENA_PADDING);
    pl_tree_edit *edit = pl_tree_edit_of(tree, number);
    if (!decoded || !edit)
        return pl_tree_no_memory(error);
    size_t length = pl_scan_unescape(tree->scanner, raw, decoded);
    if (length == SIZE_MAX)
        return pl_tree_malformed(error, "a wrong escape in a key", node->key_at);
    edit->key = (pl_str){decoded, length};
    node->key_len = (uint32_t)length;
    return PL_OK;
}

/* Notes the members of the container that `holder` is, in its source, up to its end. */
static pl_status note_members(pl_tree *tree, uint32_t holder, bool object, uint32_t *count, pl_error *error)
{
    const pl_tree_node parent = tree->node[holder];
    const pl_tree_source source = tree->source[parent.source];
    const char end = object ? '}' : ']';
    uint32_t at = parent.at + 1;
    bool more = byte_at(&source, at) != end;
    while (more) {
        pl_tree_node *node = push(tree);
        if (!node)
            return pl_tree_no_memory(error);
        *node = (pl_tree_node){.parent = holder, .source = parent.source, .at = object ? at + 2 : at};
        if (object && !pass_key(&source, at, node))
            return pl_tree_malformed(error, "a key and a colon are expected", offset_at(&source, at));
        at = pass_value(&source, node->at, node);
        if (!at)
            return pl_tree_malformed(error, "a value is expected", offset_at(&source, node->at));
        if (object && source.escapes && decode_key(tree, tree->nodes - 1, error) != PL_OK)
            return PL_FAILED;
        ++*count;
        more = byte_at(&source, at) == ',';
        at += more;
    }
    if (byte_at(&source, at) != end)
        return pl_tree_malformed(error, object ? "a comma or } is expected" : "a comma or ] is expected",
                                 offset_at(&source, at));
    if (source.index[at] + 1 != parent.raw_at + parent.raw_len)
        return pl_tree_malformed(error, "something behind the end", offset_at(&source, at + 1));
    return PL_OK;
}

typedef uint16_t entry_lanes __attribute__((vector_size(8)));
typedef uint32_t wide_lanes __attribute__((vector_size(16)));

/* A node's first half is its entry, widened. */
static inline void note_entry(pl_tree_node *node, const pl_tree_source *source, uint32_t at, uint32_t holder,
                              uint16_t number)
{
    entry_lanes noted;
    memcpy(&noted, &source->outline[at], sizeof noted);
    const wide_lanes place = __builtin_convertvector(noted, wide_lanes), rest = {at, holder, 0, 0};
    memcpy(&node->key_at, &place, sizeof place);
    memcpy(&node->at, &rest, sizeof rest);
    node->source = number;
    node->flags = 0;
}

/* The same of a text that was checked whole. */
static pl_status note_outlined(pl_tree *tree, uint32_t holder, bool object, uint32_t *count, pl_error *error)
{
    const uint16_t number = tree->node[holder].source;
    const pl_tree_source source = tree->source[number];
    const uint32_t end = tree->node[holder].raw_at + tree->node[holder].raw_len;
    uint32_t at = tree->node[holder].at + 1, first = tree->nodes;
    if (!pl_tree_reserve(tree, source.count - at))
        return pl_tree_no_memory(error);
    pl_tree_node *node = &tree->node[first];
    for (; at < source.count && source.outline[at].at < end; node++) {
        note_entry(node, &source, at, holder, number);
        const uint32_t behind = node->raw_at + node->raw_len;
        do /* what lies within it is not a member of ours */
            at++;
        while (at < source.count && source.outline[at].at < behind);
    }
    tree->nodes = (uint32_t)(node - tree->node);
    *count = tree->nodes - first;
    for (uint32_t i = first; object && source.escapes && i < first + *count; i++)
        if (decode_key(tree, i, error) != PL_OK)
            return PL_FAILED;
    return PL_OK;
}

/* The same of the root object of a text of the known shape. */
static pl_status note_known(pl_tree *tree, uint32_t *count, pl_error *error)
{
    const pl_known *known = tree->known;
    const pl_tree_source source = tree->source[0];
    if (!pl_tree_reserve(tree, known->count))
        return pl_tree_no_memory(error);
    pl_tree_node *node = &tree->node[tree->nodes];
    for (uint32_t i = 0; i < known->count; i++, node++)
        note_entry(node, &source, known->entry[i], 0, 0);
    tree->nodes += known->count;
    *count = known->count;
    return PL_OK;
}

static inline pl_str key_of(const pl_tree *tree, const pl_tree_node *node)
{
    if (node->edit && tree->edit[node->edit - 1].key.ptr)
        return tree->edit[node->edit - 1].key;
    return (pl_str){tree->source[node->source].text.ptr + node->key_at, node->key_len};
}

pl_str pl_tree_key(const pl_tree *tree, uint32_t number)
{
    return key_of(tree, &tree->node[number]);
}

pl_str pl_tree_raw(const pl_tree *tree, uint32_t number)
{
    const pl_tree_node *node = &tree->node[number];
    return (pl_str){tree->source[node->source].text.ptr + node->raw_at, node->raw_len};
}

/* Enters a member into the key table, of which at least half is free; marks an earlier member of the same key. */
static void enter(pl_tree *tree, pl_tree_box *box, uint32_t number)
{
    pl_str key = pl_tree_key(tree, number);
    for (uint32_t i = (uint32_t)hash_key(tree->seed, key) & box->mask;; i = (i + 1) & box->mask) {
        uint32_t there = box->slots[i];
        if (there && !same_key(pl_tree_key(tree, there - 1), key))
            continue;
        if (there && !(tree->node[there - 1].flags & PL_NODE_GONE)) {
            tree->node[there - 1].flags |= PL_NODE_SHADOWED;
            box->live--;
            box->shadows = true;
        }
        box->filled += !there;
        box->slots[i] = number + 1;
        return;
    }
}

static bool make_table(pl_tree *tree, pl_tree_box *box, uint32_t members)
{
    uint32_t size = TABLE_ABOVE * 4;
    while (size < members * 3)
        size *= 2;
    uint32_t *slots = pl_arena_alloc(tree->scratch, size * sizeof *slots);
    if (!slots)
        return false;
    memset(slots, 0, size * sizeof *slots);
    box->slots = slots;
    box->mask = size - 1;
    box->filled = 0;
    for (uint32_t i = 0; i < box->count; i++)
        if (!(tree->node[box->first + i].flags & (PL_NODE_GONE | PL_NODE_SHADOWED)))
            enter(tree, box, box->first + i);
    for (uint32_t i = box->added; i; i = tree->edit[tree->node[i - 1].edit - 1].next)
        if (!(tree->node[i - 1].flags & PL_NODE_GONE))
            enter(tree, box, i - 1);
    box->sifted = true;
    return true;
}

static inline bool is_named(const pl_tree *tree, uint32_t holder, bool object)
{
    return holder == 0 && object && tree->source[0].outline && tree->source[0].shape;
}

static pl_status note(pl_tree *tree, uint32_t holder, pl_tree_box *box, pl_error *error)
{
    const pl_tree_source *source = &tree->source[tree->node[holder].source];
    const bool known = is_named(tree, holder, box->object);
    if (known)
        pl_tree_know(tree, source);
    pl_status status = known             ? note_known(tree, &box->count, error)
                       : source->outline ? note_outlined(tree, holder, box->object, &box->count, error)
                                         : note_members(tree, holder, box->object, &box->count, error);
    box->live = box->count;
    box->known = box->sifted = known && tree->known->distinct;
    return status;
}

static pl_status open_box(pl_tree *tree, uint32_t holder, bool object, pl_error *error)
{
    if (tree->boxes == tree->box_room) {
        pl_tree_box *more = pl_realloc(tree->box, tree->box_room * 2u + 8, sizeof *more);
        if (!more)
            return pl_tree_no_memory(error);
        tree->box = more;
        tree->box_room = tree->box_room * 2 + 8;
        tree->grown = true;
    }
    pl_tree_box box = {.first = tree->nodes, .object = object};
    pl_status status = note(tree, holder, &box, error);
    if (status == PL_OK && object && box.count > TABLE_ABOVE && !box.known && !make_table(tree, &box, box.count))
        status = pl_tree_no_memory(error);
    if (status != PL_OK) {
        tree->nodes = box.first;
        return status;
    }
    tree->box[tree->boxes++] = box;
    tree->node[holder].box = tree->boxes;
    return PL_OK;
}

pl_status pl_tree_open_first(pl_tree *tree, uint32_t number, uint32_t *holder, pl_tree_box **box, pl_error *error)
{
    const pl_tree_node *node = &tree->node[number];
    if (node->flags & PL_NODE_REPLACED) {
        const pl_tree_edit *edit = &tree->edit[node->edit - 1];
        if (edit->value.type != PL_JSON)
            return PL_END;
        uint32_t body = edit->body;
        if (!body) {
            pl_status status = pl_tree_adopt(tree, edit->value.as.s, number, &body, error);
            if (status != PL_OK)
                return status;
            tree->edit[tree->node[number].edit - 1].body = ++body;
        }
        number = body - 1;
        node = &tree->node[number];
    }
    char first = tree->source[node->source].text.ptr[node->raw_at];
    if (first != '{' && first != '[')
        return PL_END;
    if (!node->box) {
        pl_status status = open_box(tree, number, first == '{', error);
        if (status != PL_OK)
            return status;
    }
    *holder = number;
    *box = &tree->box[tree->node[number].box - 1];
    return PL_OK;
}

static inline bool is_member(const pl_tree *tree, const pl_tree_node *node, pl_str key)
{
    return node->key_len == key.len && !(node->flags & (PL_NODE_GONE | PL_NODE_SHADOWED)) &&
           pl_same_bytes(key_of(tree, node).ptr, key.ptr, key.len);
}

/* The same by the key table. Apart, so that looking at a few members needs no registers for it. */
static __attribute__((noinline)) pl_status member_by_table(const pl_tree *tree, const pl_tree_box *box, pl_str key,
                                                           uint32_t *node)
{
    for (uint32_t i = (uint32_t)hash_key(tree->seed, key) & box->mask; box->slots[i]; i = (i + 1) & box->mask) {
        uint32_t there = box->slots[i] - 1;
        if (!same_key(pl_tree_key(tree, there), key))
            continue;
        *node = there;
        return tree->node[there].flags & PL_NODE_GONE ? PL_END : PL_OK;
    }
    return PL_END;
}

static pl_status added_member(const pl_tree *tree, const pl_tree_box *box, pl_str key, uint32_t *node)
{
    for (uint32_t i = box->added; i; i = tree->edit[tree->node[i - 1].edit - 1].next) {
        if (is_member(tree, &tree->node[i - 1], key)) {
            *node = i - 1;
            return PL_OK;
        }
    }
    return PL_END;
}

pl_status pl_tree_find(pl_tree *tree, const pl_tree_box *box, pl_str key, uint32_t *node)
{
    if (!box->object)
        return PL_END;
    if (box->mask)
        return member_by_table(tree, box, key, node);
    if (box->known) {
        uint32_t place = pl_known_find(tree->known, tree->source[0].text.ptr, tree->source[0].outline, key)->number;
        *node = box->first + place - 1;
        return place && !(tree->node[*node].flags & PL_NODE_GONE) ? PL_OK : added_member(tree, box, key, node);
    }
    const pl_tree_node *first = &tree->node[box->first];
    for (const pl_tree_node *at = first + box->count; at > first;) { /* from the end: the last of equal keys wins */
        at--;
        if (is_member(tree, at, key)) {
            *node = (uint32_t)(at - tree->node);
            return PL_OK;
        }
    }
    return added_member(tree, box, key, node);
}

pl_status pl_tree_element(const pl_tree *tree, const pl_tree_box *box, uint32_t index, uint32_t *node)
{
    if (box->object || index >= box->live)
        return PL_END;
    if (!box->holes && index < box->count) {
        *node = box->first + index;
        return PL_OK;
    }
    uint32_t left = index;
    for (uint32_t i = 0; i < box->count; i++) {
        if (tree->node[box->first + i].flags & PL_NODE_GONE)
            continue;
        if (left-- == 0) {
            *node = box->first + i;
            return PL_OK;
        }
    }
    for (uint32_t i = box->added; i; i = tree->edit[tree->node[i - 1].edit - 1].next) {
        if (tree->node[i - 1].flags & PL_NODE_GONE)
            continue;
        if (left-- == 0) {
            *node = i - 1;
            return PL_OK;
        }
    }
    return PL_END;
}

void pl_tree_sift(pl_tree *tree, pl_tree_box *box)
{
    if (box->sifted)
        return;
    box->sifted = true;
    pl_tree_node *node = &tree->node[box->first];
    for (uint32_t i = 1; box->object && i < box->count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (node[j].key_len != node[i].key_len || !is_member(tree, &node[j], key_of(tree, &node[i])))
                continue;
            node[j].flags |= PL_NODE_SHADOWED;
            box->live--;
            box->shadows = true;
        }
    }
}

void pl_tree_drop_others(pl_tree *tree, pl_tree_box *box, uint32_t number)
{
    if (!box->object || (box->sifted && !box->shadows))
        return;
    pl_str key = pl_tree_key(tree, number);
    pl_tree_node *first = &tree->node[box->first];
    for (pl_tree_node *other = first; other < first + box->count; other++) {
        if (other->key_len != key.len || other == &tree->node[number] || other->flags & PL_NODE_GONE ||
            !same_key(key_of(tree, other), key))
            continue;
        box->live -= !(other->flags & PL_NODE_SHADOWED);
        other->flags |= PL_NODE_GONE;
    }
}

pl_status pl_tree_add(pl_tree *tree, uint32_t holder, pl_str key, uint32_t *node, pl_error *error)
{
    pl_tree_box *box = &tree->box[tree->node[holder].box - 1];
    pl_str copy = pl_arena_str(tree->scratch, key);
    pl_tree_node *made = push(tree);
    if (!made || (!copy.ptr && copy.len))
        goto no_memory;
    uint32_t number = tree->nodes - 1;
    *made = (pl_tree_node){.key_len = (uint32_t)key.len,
                           .parent = holder,
                           .source = tree->node[holder].source,
                           .flags = PL_NODE_ADDED | PL_NODE_REPLACED};
    pl_tree_edit *edit = pl_tree_edit_of(tree, number);
    if (!edit)
        goto no_memory;
    edit->key = copy;
    if (box->object && (box->mask ? box->filled * 2 > box->mask : box->live >= TABLE_ABOVE) &&
        !make_table(tree, box, box->live * 2))
        goto no_memory;
    if (box->last)
        tree->edit[tree->node[box->last - 1].edit - 1].next = number + 1;
    else
        box->added = number + 1;
    box->last = number + 1;
    box->live++;
    if (box->mask)
        enter(tree, box, number);
    *node = number;
    return PL_OK;
no_memory:
    if (made)
        tree->nodes--;
    return pl_tree_no_memory(error);
}

pl_status pl_tree_next(pl_tree *tree, uint32_t holder, uint32_t *cursor, uint32_t *node)
{
    const uint16_t passed = PL_NODE_GONE | PL_NODE_SHADOWED;
    pl_tree_box *box = &tree->box[tree->node[holder].box - 1];
    pl_tree_sift(tree, box);
    while (*cursor < box->count) {
        *node = box->first + (*cursor)++;
        if (!(tree->node[*node].flags & passed))
            return PL_OK;
    }
    /* behind the source's members the cursor holds count + 1 + the number of the added node given last */
    uint32_t next = *cursor == box->count ? box->added : tree->edit[tree->node[*cursor - box->count - 1].edit - 1].next;
    while (next && tree->node[next - 1].flags & PL_NODE_GONE)
        next = tree->edit[tree->node[next - 1].edit - 1].next;
    if (!next)
        return PL_END;
    *node = next - 1;
    *cursor = box->count + next;
    return PL_OK;
}

bool pl_tree_alive(const pl_tree *tree, uint32_t number, uint32_t *depth)
{
    for (*depth = 0;;) {
        const pl_tree_node *node = &tree->node[number];
        if (node->flags & (PL_NODE_GONE | PL_NODE_SHADOWED))
            return false;
        if (number == node->parent)
            return true;
        const pl_tree_node *parent = &tree->node[node->parent];
        if (node->flags & PL_NODE_BODY) {
            if (!(parent->flags & PL_NODE_REPLACED) || tree->edit[parent->edit - 1].body != number + 1)
                return false;
        } else {
            if (parent->flags & PL_NODE_REPLACED)
                return false;
            ++*depth;
        }
        number = node->parent;
    }
}
