#include <record/document_private.h>
#include <record/encode.h>

static inline const pl_outline_entry *entry_of(const pl_document *document, uint32_t member)
{
    return &document->source.outline[document->tree.known->entry[member]];
}

static inline size_t start_of(const pl_document *document, uint32_t member)
{
    return entry_of(document, member)->key_at - 1u;
}

static inline size_t end_of(const pl_document *document, uint32_t member)
{
    const pl_outline_entry *entry = entry_of(document, member);
    return (size_t)entry->at + entry->len;
}

bool pl_flat_begin(pl_document *document)
{
    const pl_tree_source *source = &document->source;
    if (!pl_document_outlined(document) || source->shape == 0)
        return false;
    pl_tree_know(&document->tree, source);
    if (!document->tree.known->distinct)
        return false;
    pl_flat *flat = &document->flat;
    flat->changed = flat->added = flat->gone = 0;
    flat->used = 0;
    flat->edited[0] = flat->edited[1] = 0;
    flat->on = true;
    return true;
}

/* Where a key stands among the source's members, whatever became of them. Once, for all that ask: the code of a worker
 * is to be small. */
static __attribute__((noinline)) const pl_known_place *place_of(pl_document *document, pl_str name)
{
    pl_known *known = document->tree.known;
    const pl_known_place *place = pl_known_place_of(known, name);
    return place ? place : pl_known_find(known, document->source.text.ptr, document->source.outline, name);
}

/* The edit of a member of the source; NULL: there is none. */
static inline pl_flat_edit *change_of(pl_flat *flat, uint32_t member)
{
    if (!(flat->edited[member / 64] >> member % 64 & 1))
        return NULL;
    pl_flat_edit *edit = flat->change;
    while (edit->member != member)
        edit++;
    return edit;
}

static pl_str added_key(const pl_document *document, const pl_flat_edit *edit)
{
    return (pl_str){document->flat.text + edit->at + document->tree.known->before, edit->member};
}

static pl_flat_edit *added_of(pl_document *document, pl_str name)
{
    pl_flat *flat = &document->flat;
    for (pl_flat_edit *edit = flat->add; edit < flat->add + flat->added; edit++)
        if (edit->member == name.len && pl_same_bytes(added_key(document, edit).ptr, name.ptr, name.len))
            return edit;
    return NULL;
}

/* As it stands in the source: a string is one without escapes. */
static inline pl_status source_value(const pl_document *document, uint32_t member, pl_value *value)
{
    const pl_outline_entry *entry = entry_of(document, member);
    const char *raw = document->source.text.ptr + entry->at;
    if (*raw != '"')
        return pl_raw_value((pl_str){raw, entry->len}, entry->at, value, NULL);
    value->type = PL_STR;
    value->as.s = (pl_str){raw + 1, entry->len - 2u};
    return PL_OK;
}

pl_status pl_flat_get(pl_document *document, pl_str name, pl_value *value)
{
    const uint32_t number = place_of(document, name)->number;
    const pl_flat_edit *edit = number > 0 ? change_of(&document->flat, number - 1) : NULL;
    if (number > 0 && !edit)
        return source_value(document, number - 1, value);
    if (!edit || edit->gone)
        edit = added_of(document, name);
    if (!edit)
        return PL_END;
    *value = edit->value;
    return PL_OK;
}

/* Each of these writes JSON at `to`, and where that is the value's own text points it there. What is behind it; NULL:
 * it is not of this form, or there is no room. */
static char *write_string(char *to, const char *end, pl_value *value)
{
    const size_t len = value->as.s.len;
    if (len + 2 > (size_t)(end - to))
        return NULL;
    *to++ = '"';
    if (len > 0)
        memcpy(to, value->as.s.ptr, len);
    to[len] = '"';
    value->as.s.ptr = to;
    return pl_plain_run(to, to + len) == to + len ? to + len + 1 : NULL;
}

static char *write_decimal(char *to, const char *end, pl_value *value)
{
    const size_t len = value->as.s.len;
    if (len >= (size_t)(end - to))
        return NULL;
    if (len > 0)
        memcpy(to, value->as.s.ptr, len);
    to[len] = '\0';
    value->as.s.ptr = to;
    return pl_plain_number(to) == to + len ? to + len : NULL;
}

static char *write_bare(char *to, const char *end, const pl_value *value)
{
    pl_buf out = {.data = to, .capacity = (size_t)(end - to), .max = (size_t)(end - to) - 1};
    bool bare = value->type == PL_NIL || value->type == PL_BOOL || value->type == PL_INT || value->type == PL_TIME ||
                (value->type == PL_FLOAT && __builtin_isfinite(value->as.f));
    if (!bare)
        return NULL;
    pl_encode_checked(&out, value);
    return pl_buf_failed(&out) ? NULL : to + out.len;
}

static inline char *write_value(char *to, const char *end, pl_value *value)
{
    if (to >= end)
        return NULL;
    if (value->type == PL_STR)
        return write_string(to, end, value);
    return value->type == PL_DECIMAL ? write_decimal(to, end, value) : write_bare(to, end, value);
}

/* The edit that a member of the source has, or one that it gets now; NULL: there are too many. */
static pl_flat_edit *change_for(pl_flat *flat, uint32_t member)
{
    pl_flat_edit *edit = change_of(flat, member);
    if (edit || flat->changed == PL_FLAT_EDITS_MAX)
        return edit;
    for (edit = flat->change + flat->changed++; edit > flat->change && edit[-1].member > member; edit--)
        *edit = edit[-1];
    flat->edited[member / 64] |= UINT64_C(1) << member % 64;
    edit->member = (uint16_t)member;
    edit->gone = false;
    return edit;
}

static pl_flat_edit *add_for(pl_document *document, pl_str name)
{
    pl_flat *flat = &document->flat;
    pl_flat_edit *edit = flat->added > 0 ? added_of(document, name) : NULL;
    if (edit || flat->added == PL_FLAT_EDITS_MAX)
        return edit;
    edit = &flat->add[flat->added++];
    edit->member = (uint16_t)name.len;
    edit->gone = false;
    return edit;
}

bool pl_flat_set(pl_document *document, pl_str name, const pl_value *value)
{
    pl_flat *flat = &document->flat;
    const pl_known *known = document->tree.known;
    const pl_known_place *place = place_of(document, name);
    const uint32_t number = place->number;
    const pl_flat_edit *there = number > 0 ? change_of(flat, number - 1) : NULL;
    const bool added = number == 0 || (there && there->gone);
    char *const start = flat->text + flat->used, *const end = flat->text + PL_FLAT_TEXT_MAX, *at = start;
    pl_value kept = *value;
    if (added) {
        if (!place->plain || (size_t)(end - at) <= sizeof place->text)
            return false;
        memcpy(at, place->text, sizeof place->text); /* more than there is: of a size that is known it is quicker */
        at += (size_t)known->before + place->len + known->behind;
    }
    at = write_value(at, end, &kept);
    pl_flat_edit *edit = !at ? NULL : added ? add_for(document, name) : change_for(flat, number - 1);
    if (!edit)
        return false;
    edit->value = kept;
    edit->at = flat->used;
    edit->len = (uint16_t)(at - start);
    flat->used = (uint16_t)(at - flat->text);
    document->touched = true;
    return true;
}

pl_status pl_flat_remove(pl_document *document, pl_str name)
{
    pl_flat *flat = &document->flat;
    const uint32_t number = place_of(document, name)->number;
    pl_flat_edit *edit = number > 0 ? change_of(flat, number - 1) : NULL;
    if (number > 0 && !(edit && edit->gone)) {
        if (flat->gone + 1 == document->tree.known->count) /* nothing that stays would show where things stand */
            return PL_FAILED;
        edit = change_for(flat, number - 1);
        if (!edit)
            return PL_FAILED;
        edit->gone = true;
        edit->len = 0;
        flat->gone++;
    } else {
        edit = added_of(document, name);
        if (!edit)
            return PL_END;
        for (flat->added--; edit < flat->add + flat->added; edit++)
            *edit = edit[1];
    }
    document->touched = true;
    return PL_OK;
}

typedef struct pieces {
    const char *text;
    char *to;
    size_t from; /* not yet copied: what lies in the text from here on */
} pieces;

static inline void copy_to(pieces *out, size_t to)
{
    if (to > out->from) {
        memcpy(out->to, out->text + out->from, to - out->from);
        out->to += to - out->from;
    }
    out->from = to;
}

static inline void put(pieces *out, const pl_flat *flat, const pl_flat_edit *edit)
{
    memcpy(out->to, flat->text + edit->at, edit->len);
    out->to += edit->len;
}

bool pl_flat_encode(const pl_document *document, pl_arena *arena, pl_str *payload)
{
    const pl_flat *flat = &document->flat;
    const pl_outline_entry *root = document->source.outline;
    size_t room;
    char *place = pl_arena_text_begin(arena, &room);
    if (room <= (size_t)root->len + flat->used) {
        if (room > 0)
            (void)pl_arena_text_end(arena, 0);
        return false;
    }
    pieces out = {document->source.text.ptr, place, root->at};
    bool front = true; /* nothing was kept so far */
    for (const pl_flat_edit *edit = flat->change; edit < flat->change + flat->changed; edit++) {
        const uint32_t member = edit->member;
        front = front && edit->gone && edit == flat->change + member;
        if (!edit->gone) {
            copy_to(&out, entry_of(document, member)->at);
            put(&out, flat, edit);
            out.from = end_of(document, member);
        } else if (front) { /* goes with the separator behind it, any other with the one before it */
            copy_to(&out, start_of(document, member));
            out.from = start_of(document, member + 1);
        } else {
            copy_to(&out, end_of(document, member - 1));
            out.from = end_of(document, member);
        }
    }
    copy_to(&out, end_of(document, document->tree.known->count - 1u));
    for (const pl_flat_edit *edit = flat->add; edit < flat->add + flat->added; edit++)
        put(&out, flat, edit);
    copy_to(&out, (size_t)root->at + root->len);
    *payload = pl_arena_text_end(arena, (size_t)(out.to - place));
    return true;
}

static pl_status carry_over(pl_document *document, pl_error *error)
{
    const pl_flat *flat = &document->flat;
    uint32_t holder;
    pl_tree_box *box;
    pl_status status = pl_tree_open(&document->tree, 0, &holder, &box, error);
    if (status != PL_OK)
        return status;
    const uint32_t first = box->first;
    document->tree.node[0].flags |= PL_NODE_DIRTY; /* even where the edits left nothing changed */
    for (uint32_t i = 0; status == PL_OK && i < flat->changed; i++) {
        const pl_flat_edit *edit = &flat->change[i];
        if (edit->gone)
            pl_edit_drop(document, first + edit->member);
        else
            status = pl_edit_replace(document, first + edit->member, &edit->value, error);
    }
    for (uint32_t i = 0; status == PL_OK && i < flat->added; i++)
        status = pl_edit_append(document, 0, added_key(document, &flat->add[i]), &flat->add[i].value, error);
    return status;
}

pl_status pl_flat_spread(pl_document *document, pl_error *error)
{
    pl_status status = pl_tree_load_outlined(&document->tree, &document->source, error);
    if (status == PL_OK && document->touched)
        status = carry_over(document, error);
    if (status == PL_OK)
        document->flat.on = false;
    else
        pl_tree_unload(&document->tree);
    return status;
}
