/* The document's inside, shared by document.c, edit.c, flat.c and splice.c. */
#ifndef PL_RECORD_DOCUMENT_PRIVATE_H
#define PL_RECORD_DOCUMENT_PRIVATE_H
#include <base/buf.h>
#include <record/document.h>
#include <record/flat.h>
#include <record/tree.h>

struct pl_document {
    pl_str payload;
    pl_codec codec;
    bool touched;
    bool matched; /* with the shape of those before, and `match` is what came of it */
    pl_shape_match match;
    pl_tree_source source; /* with the outline of the payload; no outline: it is unknown */
    pl_flat flat;          /* either this is on, */
    pl_tree tree;          /* or this has nodes, or nobody has asked for a field yet */
    pl_buf out;            /* what is being spliced */
};

/* Gives the document its tree. */
pl_status pl_document_begin(pl_document *document, pl_error *error);
/* The same unless that was done. Afterwards node 0 is the root; PL_NODE_GONE on it is a tombstone. */
static inline pl_status pl_document_ready(pl_document *document, pl_error *error)
{
    return document->tree.nodes > 0 ? PL_OK : pl_document_begin(document, error);
}
/* Whether the flat form will do, so far. */
static inline bool pl_document_is_flat(pl_document *document)
{
    return document->flat.on || (document->tree.nodes == 0 && pl_flat_begin(document));
}
/* Whether the outline is known, by now. Before there is a tree. */
bool pl_document_outlined(pl_document *document);
/* Edits, and reads of edited objects, only take memory until the next load: a script that goes round in one record must
 * not fill it. PL_FAILED, PL_REJECT: they take more than 64 MiB beside what the payload itself needs. */
pl_status pl_document_has_room(const pl_document *document, pl_error *error);
/* One step of a path from *node to *node. */
pl_status pl_document_step(pl_document *document, const pl_path *path, uint32_t step, uint32_t *node, pl_error *error);
/* The edits, of values that were checked and whose texts stay until the next load. PL_FAILED, PL_RETRY: no memory. */
pl_status pl_edit_replace(pl_document *document, uint32_t node, const pl_value *kept, pl_error *error);
pl_status pl_edit_append(pl_document *document, uint32_t holder, pl_str key, const pl_value *kept, pl_error *error);
void pl_edit_drop(pl_document *document, uint32_t node);
/* Appends the JSON of a node as it is with all edits. */
pl_status pl_splice(pl_tree *tree, uint32_t node, pl_buf *out, pl_error *error);
#endif
