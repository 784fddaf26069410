/* The way out: what did not change is copied from the source in as few pieces as there are, what changed is written
 * between. The separators around removed and added members are those that the source itself uses, so that its style
 * stays. */
#include <base/str.h>
#include <record/document_private.h>
#include <record/encode.h>
#include <record/put.h>

typedef struct splice { /* of one container */
    const pl_tree *tree;
    pl_buf *out;
    const char *text; /* of the source */
    const pl_tree_box *box;
    size_t open, end; /* offsets behind the opening bracket and of the closing one */
    size_t from;      /* not yet copied: what lies in the source from here on */
    uint32_t kept;    /* members written or about to be copied */
} splice;

static size_t start_of(const splice *s, uint32_t i)
{
    const pl_tree_node *node = &s->tree->node[s->box->first + i];
    return s->box->object ? node->key_at - 1 : node->raw_at;
}

static size_t end_of(const splice *s, uint32_t i)
{
    const pl_tree_node *node = &s->tree->node[s->box->first + i];
    return (size_t)node->raw_at + node->raw_len;
}

static void copy_to(splice *s, size_t to)
{
    if (to > s->from)
        pl_put(s->out, s->text + s->from, to - s->from);
    s->from = to;
}

/* The source's members, each copied, rewritten or left out. */
static pl_status splice_members(splice *s, pl_error *error)
{
    const pl_tree_node *const first = &s->tree->node[s->box->first];
    const uint32_t count = s->box->count;
    const uint16_t any = PL_NODE_GONE | PL_NODE_REPLACED | PL_NODE_DIRTY;
    bool gap = false;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t before = i;
        while (!gap && i < count && !(first[i].flags & any))
            i++;
        s->kept += i - before;
        if (i == count)
            break;
        const pl_tree_node *node = &first[i];
        if (node->flags & PL_NODE_GONE) {
            if (!gap)
                copy_to(s, i > 0 ? end_of(s, i - 1) : s->open);
            gap = true;
            continue;
        }
        if (gap) { /* what stands before this member now: the separator, or at the front the space there */
            s->from = s->kept > 0 ? end_of(s, i - 1) : s->open;
            copy_to(s, s->kept > 0 ? start_of(s, i) : start_of(s, 0));
            s->from = start_of(s, i);
            gap = false;
        }
        s->kept++;
        if (node->flags & any) {
            copy_to(s, node->raw_at);
            s->from = end_of(s, i);
            pl_status status = pl_splice((pl_tree *)s->tree, s->box->first + i, s->out, error);
            if (status != PL_OK)
                return status;
        }
    }
    copy_to(s, gap || count == 0 ? s->from : end_of(s, count - 1));
    return PL_OK;
}

/* Comma and space before an added member. */
static void add_separator(splice *s)
{
    if (s->box->count > 1) {
        pl_put(s->out, s->text + end_of(s, 0), start_of(s, 1) - end_of(s, 0));
    } else {
        pl_put_byte(s->out, ',');
        if (s->box->count == 1)
            pl_put(s->out, s->text + s->open, start_of(s, 0) - s->open);
    }
}

static void add_key(splice *s, pl_str key)
{
    pl_encode_string(s->out, key);
    if (s->box->count == 0) {
        pl_put_byte(s->out, ':');
        return;
    }
    const pl_tree_node *first = &s->tree->node[s->box->first];
    size_t colon =
        start_of(s, 0) + 1; /* from the key's closing quote on; an escaped key's length is not the source's */
    const char *at = s->text + first->raw_at;
    size_t space_behind = 0, space_before = 0;
    while (at[-1 - (ptrdiff_t)space_behind] != ':')
        space_behind++;
    while (first->raw_at - space_behind - 2 - space_before > colon &&
           s->text[first->raw_at - space_behind - 2 - space_before] != '"')
        space_before++;
    pl_put(s->out, at - space_behind - 1 - space_before, space_before + 1 + space_behind);
}

static pl_status splice_added(splice *s, pl_error *error)
{
    for (uint32_t i = s->box->added; i; i = s->tree->edit[s->tree->node[i - 1].edit - 1].next) {
        if (s->tree->node[i - 1].flags & PL_NODE_GONE)
            continue;
        if (s->kept++ > 0)
            add_separator(s);
        else if (s->box->count > 0)
            pl_put(s->out, s->text + s->open, start_of(s, 0) - s->open);
        if (s->box->object)
            add_key(s, pl_tree_key(s->tree, i - 1));
        pl_status status = pl_splice((pl_tree *)s->tree, i - 1, s->out, error);
        if (status != PL_OK)
            return status;
    }
    return PL_OK;
}

static pl_status splice_container(pl_tree *tree, uint32_t holder, pl_buf *out, pl_error *error)
{
    const pl_tree_node *node = &tree->node[holder];
    size_t start = node->raw_at, end = start + node->raw_len - 1;
    splice s = {.tree = tree,
                .out = out,
                .text = tree->source[node->source].text.ptr,
                .box = &tree->box[node->box - 1],
                .open = start + 1,
                .end = end,
                .from = start};
    pl_status status = splice_members(&s, error);
    if (s.box->count == 0)
        copy_to(&s, s.open);
    if (status == PL_OK)
        status = splice_added(&s, error);
    s.from = s.box->count > 0 ? end_of(&s, s.box->count - 1) : s.open;
    copy_to(&s, s.end + 1);
    return status;
}

pl_status pl_splice(pl_tree *tree, uint32_t number, pl_buf *out, pl_error *error)
{
    const pl_tree_node *node = &tree->node[number];
    if (node->flags & PL_NODE_REPLACED) {
        const pl_tree_edit *edit = &tree->edit[node->edit - 1];
        if (node->flags & PL_NODE_DIRTY)
            return splice_container(tree, edit->body - 1, out, error);
        pl_encode_checked(out, &edit->value);
        return PL_OK;
    }
    if (node->flags & PL_NODE_DIRTY)
        return splice_container(tree, number, out, error);
    pl_str raw = pl_tree_raw(tree, number);
    pl_put(out, raw.ptr, raw.len);
    return PL_OK;
}

static pl_status encode_root(pl_document *document, pl_buf *out, pl_error *error)
{
    pl_tree *tree = &document->tree;
    const pl_tree_node *root = &tree->node[0];
    if (document->codec != PL_CODEC_JSON && root->flags & PL_NODE_REPLACED && !(root->flags & PL_NODE_DIRTY)) {
        const pl_value *value = &tree->edit[root->edit - 1].value;
        if (value->type != PL_BYTES)
            return pl_encode_text(out, value, error);
        pl_put(out, value->as.s.ptr, value->as.s.len);
        return PL_OK;
    }
    if (root->flags & (PL_NODE_REPLACED | PL_NODE_DIRTY))
        return pl_splice(tree, 0, out, error);
    pl_put(out, document->payload.ptr, document->payload.len);
    return PL_OK;
}

/* In place, where what is left of the arena's chunk is enough. */
static bool encode_there(pl_document *document, pl_arena *arena, pl_str *payload)
{
    size_t room;
    char *place = pl_arena_text_begin(arena, &room);
    if (room == 0)
        return false;
    pl_buf out = {.data = place, .capacity = room + 1, .max = room}; /* it never grows */
    bool done = room > document->payload.len && encode_root(document, &out, NULL) == PL_OK && !pl_buf_failed(&out);
    pl_str text = pl_arena_text_end(arena, done ? out.len : 0);
    if (done)
        *payload = text;
    return done;
}

static __attribute__((noinline)) pl_status encode_tree(pl_document *document, pl_arena *arena, pl_str *payload,
                                                       pl_error *error)
{
    pl_status status = pl_document_ready(document, error);
    if (status != PL_OK)
        return status;
    if (document->tree.node[0].flags & PL_NODE_GONE) {
        *payload = (pl_str){NULL, 0};
        return PL_OK;
    }
    if (encode_there(document, arena, payload))
        return PL_OK;
    pl_buf_clear(&document->out);
    status = encode_root(document, &document->out, error);
    if (status != PL_OK)
        return status;
    if (pl_buf_failed(&document->out))
        return pl_tree_no_memory(error);
    pl_str copy = pl_arena_str(arena, pl_buf_str(&document->out));
    if (!copy.ptr)
        return pl_tree_no_memory(error);
    *payload = copy;
    return PL_OK;
}

pl_status pl_document_encode(pl_document *document, pl_arena *arena, pl_str *payload, pl_error *error)
{
    if (!document->touched) {
        *payload = document->payload;
        return PL_OK;
    }
    return document->flat.on && pl_flat_encode(document, arena, payload) ? PL_OK
                                                                         : encode_tree(document, arena, payload, error);
}
