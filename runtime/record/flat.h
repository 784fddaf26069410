/* The flat form of a document: what it is while nothing but members of its root object is asked for, by name, and the
 * payload is of a known shape. Values are read where the outline says that they lie, edits are kept as the bytes that
 * are to be written, and the way out is a few pieces of the payload and of these. Nearly all records are never more
 * than that.
 *
 * It holds little: a few edits of scalars, in ASCII without escapes. For whatever is more the document gets its tree,
 * and the edits are carried over; what comes out is the same. Private to record/. One thread at a time. */
#ifndef PL_RECORD_FLAT_H
#define PL_RECORD_FLAT_H
#include <record/known.h>

enum { PL_FLAT_EDITS_MAX = 16, PL_FLAT_TEXT_MAX = 1024 /* bytes */ };

typedef struct pl_flat_edit {
    pl_value value;   /* its text lies in pl_flat.text */
    uint16_t member;  /* of the source: which, from 0; of an added one: the length of its key */
    uint16_t at, len; /* in pl_flat.text: the JSON of the value; of an added member, with all that stands before it */
    bool gone;
} pl_flat_edit;

typedef struct pl_flat {
    bool on;
    uint8_t changed, added, gone; /* members of the source that have an edit, those added, and the edits that remove */
    uint16_t used;                /* of the text */
    uint64_t edited[PL_OUTLINE_ENTRIES_MAX / 64];
    pl_flat_edit change[PL_FLAT_EDITS_MAX]; /* in the order of the source */
    pl_flat_edit add[PL_FLAT_EDITS_MAX];
    char text[PL_FLAT_TEXT_MAX + PL_ARENA_PADDING];
} pl_flat;

/* Before the first field of a payload. false: this form is not for it. */
bool pl_flat_begin(pl_document *document);
/* PL_OK or PL_END. */
pl_status pl_flat_get(pl_document *document, pl_str name, pl_value *value);
/* false: nothing was done, and the tree has to do it, or to say why it can't be done. */
bool pl_flat_set(pl_document *document, pl_str name, const pl_value *value);
/* PL_OK, PL_END or, as above, PL_FAILED. */
pl_status pl_flat_remove(pl_document *document, pl_str name);
/* Of a document that was touched. false: as above. */
bool pl_flat_encode(const pl_document *document, pl_arena *arena, pl_str *payload);
/* Gives the document its tree, with the edits there are. PL_FAILED, PL_RETRY: no memory; it stays flat. */
pl_status pl_flat_spread(pl_document *document, pl_error *error);
#endif
