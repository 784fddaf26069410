/* One reader's view of a record: its payload plus private edits. The record itself never changes: two readers may hold
 * documents of one record at once. One document a worker, reused from record to record; one thread at a time; in steady
 * state it allocates nothing.
 *
 * Loading costs next to nothing; the payload is scanned when a field is first asked for. An untouched document encodes
 * to the very payload; a touched one is spliced: what did not change is copied byte for byte (order, space, number
 * lexemes, escapes), replaced values are written in place, removed members go with their comma, new members come at the
 * end in the order they were set, in the style (space) of the object they join. Setting a member that was removed makes
 * it new.
 *
 * Duplicate keys: the last one wins; setting or removing a key drops the earlier ones.
 * Payloads that are not JSON objects: any path is PL_END but the root ("" or a path of 0 steps), which is the whole
 * payload: its value for JSON, PL_STR for text, PL_BYTES for bytes, PL_END for a tombstone. The root can be set and
 * removed (a tombstone); setting a field where there is no object fails with PL_REJECT and says what there is.
 *
 * Statuses: PL_OK; PL_END not there; PL_FAILED with PL_REJECT (the payload is not JSON, or the edit makes no sense) or
 * PL_RETRY (no memory). After PL_FAILED of an edit nothing was changed. error may be NULL. */
#ifndef PL_RECORD_DOCUMENT_H
#define PL_RECORD_DOCUMENT_H
#include <base/arena.h>
#include <base/codec.h>
#include <record/json.h>
#include <record/outline.h>
#include <record/path.h>
#include <record/record.h>

typedef struct pl_document pl_document;
/* NULL: no memory. */
pl_document *pl_document_new(void);
void pl_document_free(pl_document **document); /* nulls; NULL is allowed */
/* Bytes held from the system. */
size_t pl_document_bytes(const pl_document *document);

/* The payload (null: a tombstone; else followed by PL_ARENA_PADDING readable bytes) must stay until the next load or
 * unload. Edits and values of the record before are void. Never fails: mistakes come out at the first get. */
void pl_document_load(pl_document *document, pl_str payload, pl_codec codec);
/* The same of a record, of whose outline it makes use: fields are then found without a scan. */
void pl_document_load_record(pl_document *document, const pl_record *record, pl_codec codec);
/* Starts an empty object, `{}`: to build a record from fields. Counts as touched. */
void pl_document_load_empty(pl_document *document);
/* Forgets payload and edits. */
void pl_document_unload(pl_document *document);
/* Checks the whole payload as PL_JSON_FULL does, sharing the scan with the reads that follow. Before any edit. Text
 * must be UTF-8; bytes and tombstones are always fine. */
pl_status pl_document_validate(pl_document *document, pl_error *error);
/* After it found the payload valid: what it learned, for a record of that payload, in the arena that holds the payload.
 * At most as many bytes as the payload. NULL: there is nothing to be kept (too large a payload, too many values), or no
 * memory for it; readers then scan by themselves. */
const pl_outline *pl_document_keep_outline(const pl_document *document, pl_arena *arena);

/* ---- By path ------------------------------------------------------------- */

/* Values as json.h tells them; edits show. A value set as PL_INT, PL_TIME, PL_BYTES, PL_DECIMAL, PL_FLOAT, PL_STR comes
 * back as that. Strings and texts live until the next load, or, for a PL_JSON text, until the next edit inside it. */
pl_status pl_document_get(pl_document *document, const pl_path *path, pl_value *value, pl_error *error);
/* A member of the root object; the name is taken as it is (dots mean nothing). The quick way. */
pl_status pl_document_field(pl_document *document, pl_str name, pl_value *value, pl_error *error);
/* Value and name are copied. Objects missing on the way are made; an index equal to the array's length appends.
 * PL_FLOAT must be finite, PL_DECIMAL a JSON number, PL_STR UTF-8 and PL_JSON well-formed JSON: all are checked. */
pl_status pl_document_set(pl_document *document, const pl_path *path, const pl_value *value, pl_error *error);
pl_status pl_document_set_field(pl_document *document, pl_str name, const pl_value *value, pl_error *error);
/* Removing from an array moves the later elements down. PL_END: it was not there. */
pl_status pl_document_remove(pl_document *document, const pl_path *path, pl_error *error);
pl_status pl_document_remove_field(pl_document *document, pl_str name, pl_error *error);

/* ---- By node: for a script's view of a nested object ----------------------- */

/* A node stays valid until the next load; when it was removed or replaced since, reads of it are PL_END. */
pl_status pl_document_member(pl_document *document, pl_json_node object, pl_str key, pl_json_node *node,
                             pl_error *error);
pl_status pl_document_element(pl_document *document, pl_json_node array, uint32_t index, pl_json_node *node,
                              pl_error *error);
pl_status pl_document_value(pl_document *document, pl_json_node node, pl_value *value, pl_error *error);
/* Members or elements; -1: a scalar, or gone, or not JSON. */
int64_t pl_document_count(pl_document *document, pl_json_node node);
/* What the next encode would give, member by member: source order, then the added ones. *cursor begins as 0. PL_END: no
 * more, or a scalar. Editing values of existing members on the way is fine; added ones may or may not be met. */
pl_status pl_document_each(pl_document *document, pl_json_node node, uint32_t *cursor, pl_json_item *item,
                           pl_error *error);
pl_status pl_document_set_member(pl_document *document, pl_json_node object, pl_str key, const pl_value *value,
                                 pl_error *error);
pl_status pl_document_set_element(pl_document *document, pl_json_node array, uint32_t index, const pl_value *value,
                                  pl_error *error);
pl_status pl_document_remove_member(pl_document *document, pl_json_node object, pl_str key, pl_error *error);

/* ---- Out ----------------------------------------------------------------- */

/* True once an edit changed something. */
bool pl_document_touched(const pl_document *document);
/* Untouched: *payload is the very payload that was loaded. Touched: new bytes in the arena, padded. A removed root
 * gives null. PL_FAILED: no memory (PL_RETRY), or over PL_JSON_BYTES_MAX (PL_REJECT). The document stays as it is. */
pl_status pl_document_encode(pl_document *document, pl_arena *arena, pl_str *payload, pl_error *error);
#endif
