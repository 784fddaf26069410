/* The document's inside, shared by document.c, edit.c and splice.c. */
#ifndef PL_RECORD_DOCUMENT_PRIVATE_H
#define PL_RECORD_DOCUMENT_PRIVATE_H
#include <base/buf.h>
#include <record/document.h>
#include <record/tree.h>

struct pl_document {
    pl_tree tree; /* holds nothing until somebody asks for a field */
    pl_buf out;   /* what is being spliced */
    pl_str payload;
    const pl_outline *outline; /* of the payload, or NULL */
    pl_codec codec;
    bool touched;
};

/* Notes the root, by the outline or a scan. */
pl_status pl_document_begin(pl_document *document, pl_error *error);
/* The same unless that was done. Afterwards node 0 is the root; PL_NODE_GONE on it is a tombstone. */
static inline pl_status pl_document_ready(pl_document *document, pl_error *error)
{
    return document->tree.nodes > 0 ? PL_OK : pl_document_begin(document, error);
}
/* Edits, and reads of edited objects, only take memory until the next load: a script that goes round in one record must
 * not fill it. PL_FAILED, PL_REJECT: they take more than 64 MiB beside what the payload itself needs. */
pl_status pl_document_has_room(const pl_document *document, pl_error *error);
/* One step of a path from *node to *node. */
pl_status pl_document_step(pl_document *document, const pl_path *path, uint32_t step, uint32_t *node, pl_error *error);
/* Appends the JSON of a node as it is with all edits. */
pl_status pl_splice(pl_tree *tree, uint32_t node, pl_buf *out, pl_error *error);
#endif
