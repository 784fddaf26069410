/* JSON by simdjson behind a C face: one reader holds one document at a time and answers questions about it.
 *
 * simdjson finds the structure of the text (one pass at some GB/s, dispatched at run time to the CPU at hand) and
 * checks UTF-8; members of an object or elements of an array are noted when somebody first asks for one of them; a
 * scalar is decoded when asked for. A reader is used by one thread at a time and reused from document to document: in
 * steady state it allocates nothing. Several readers may be alive at once.
 *
 * Duplicate keys: the last one wins, everywhere (as in JavaScript, Python and PostgreSQL's jsonb); the earlier ones are
 * not seen. Numbers: PL_INT when the lexeme is a plain integer that fits int64 ("-0" is 0), else PL_DECIMAL with the
 * lexeme's digits as they stand. Strings are decoded; objects and arrays are PL_JSON, their text as it stands; null is
 * PL_NIL.
 *
 * Statuses: PL_OK found; PL_END not there; PL_FAILED with PL_REJECT: the text is not JSON at that place. */
#ifndef PL_RECORD_JSON_H
#define PL_RECORD_JSON_H
#include <base/arena.h>
#include <record/path.h>
#ifdef __cplusplus
extern "C" {
#endif

enum { PL_JSON_DEPTH_MAX = 64, PL_JSON_BYTES_MAX = 0x3FFFFFFF };

typedef enum pl_json_check {
    PL_JSON_TOUCHED, /* UTF-8 and string ends are checked whole; other mistakes only where somebody reads */
    PL_JSON_FULL /* everything: scalars well formed, numbers finite as doubles, depth <= 64, nothing after the end */
} pl_json_check;

/* A value in the loaded document; stays valid until the next load. */
typedef uint32_t pl_json_node;
#define PL_JSON_ROOT ((pl_json_node)0)

typedef struct pl_json_reader pl_json_reader;
/* NULL: no memory. Free with pl_json_reader_free, which nulls the caller's pointer; NULL is allowed. */
pl_json_reader *pl_json_reader_new(void);
void pl_json_reader_free(pl_json_reader **reader);

/* Takes a text of up to PL_JSON_BYTES_MAX bytes that is followed by PL_ARENA_PADDING readable bytes and that stays
 * where it is, unchanged, until the next load. All values handed out before are void. PL_FAILED: PL_REJECT, not JSON:
 * what and at which byte (from 0) where that is known; PL_RETRY, no memory. After a failure the reader holds nothing.
 */
pl_status pl_json_load(pl_json_reader *reader, pl_str padded, pl_json_check check, pl_error *error);
/* As above for a text without padding: it is copied into the reader. */
pl_status pl_json_load_copy(pl_json_reader *reader, pl_str text, pl_json_check check, pl_error *error);
/* Forgets the document; the memory is kept for the next, except what is beyond keep_bytes. */
void pl_json_unload(pl_json_reader *reader, size_t keep_bytes);
/* Only the whole check, as PL_JSON_FULL, of a padded text; loads nothing and unloads what was loaded. */
pl_status pl_json_validate(pl_json_reader *reader, pl_str padded, pl_error *error);
/* Bytes held from the system. */
size_t pl_json_reader_bytes(const pl_json_reader *reader);

/* ---- By path ------------------------------------------------------------- */

/* Strings and texts in *value live until the next load. A step into a scalar, null or the wrong kind: PL_END.
 * error may be NULL where the caller does not care why. */
pl_status pl_json_get(pl_json_reader *reader, const pl_path *path, pl_value *value, pl_error *error);
/* The same from a path's text; PL_FAILED with PL_BAD_CONFIG when it is not a path. */
pl_status pl_json_find(pl_json_reader *reader, pl_str path, pl_value *value, pl_error *error);
/* Elements of an array, or members of an object; -1: there is no array or object at path. */
int64_t pl_json_count(pl_json_reader *reader, const pl_path *path);

/* ---- By node ------------------------------------------------------------- */

pl_status pl_json_member(pl_json_reader *reader, pl_json_node object, pl_str key, pl_json_node *node, pl_error *error);
pl_status pl_json_element(pl_json_reader *reader, pl_json_node array, uint32_t index, pl_json_node *node,
                          pl_error *error);
pl_status pl_json_value(pl_json_reader *reader, pl_json_node node, pl_value *value, pl_error *error);
/* The bytes of the value as they stand, without space around. */
pl_str pl_json_raw(pl_json_reader *reader, pl_json_node node);

typedef struct pl_json_item {
    pl_str key; /* decoded; of an array's element: null */
    pl_json_node node;
} pl_json_item;
/* Members of an object, or elements of an array, in the order of the document. *cursor begins as 0. PL_END: no more, or
 * `node` is a scalar. */
pl_status pl_json_each(pl_json_reader *reader, pl_json_node node, uint32_t *cursor, pl_json_item *item,
                       pl_error *error);

/* ---- Numbers ------------------------------------------------------------- */

enum { PL_DOUBLE_TEXT_MAX = 32 };
/* The shortest text that gives the same double back, as JSON; whole numbers keep a ".0" so that they stay floats.
 * NUL-ended; returns the length. 0: not finite. [any] */
size_t pl_double_format(double value, char out[PL_DOUBLE_TEXT_MAX]);
/* The nearest double of a JSON number's text, whatever the locale; too small a number is 0. false: not a number, or too
 * large. [any] */
bool pl_double_parse(pl_str text, double *out);
#ifdef __cplusplus
}
#endif
#endif
