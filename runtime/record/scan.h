/* The one place that speaks to simdjson: where the structure of a JSON text lies, whether it is well formed, what a
 * string says. Private to record/. One scanner is used by one thread at a time. */
#ifndef PL_RECORD_SCAN_H
#define PL_RECORD_SCAN_H
#include <plumbline/plugin.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum pl_scan_status {
    PL_SCAN_OK,
    PL_SCAN_EMPTY,    /* nothing but space */
    PL_SCAN_UTF8,     /* not UTF-8 */
    PL_SCAN_UNCLOSED, /* the last string does not end */
    PL_SCAN_CONTROL,  /* a control character inside a string */
    PL_SCAN_DEPTH,    /* more than PL_JSON_DEPTH_MAX */
    PL_SCAN_SYNTAX,   /* pl_scan_check only; also an integer beyond 64 bits, which simdjson refuses and JSON allows */
    PL_SCAN_MEMORY
} pl_scan_status;

typedef struct pl_scanner pl_scanner;
pl_scanner *pl_scanner_new(void); /* NULL: no memory */
void pl_scanner_free(pl_scanner **scanner);
/* Gives memory back that texts above keep_bytes needed. */
void pl_scanner_shrink(pl_scanner *scanner, size_t keep_bytes);
size_t pl_scanner_bytes(const pl_scanner *scanner);

/* Offsets of { } [ ] : , of the quotes that begin strings and of the first bytes of other scalars, in order; live until
 * the next scan or shrink. The text: at most PL_JSON_BYTES_MAX bytes, padded (base/arena.h). */
pl_scan_status pl_scan(pl_scanner *scanner, pl_str padded, const uint32_t **index, uint32_t *count);
/* The grammar of the whole text that was scanned last and has not moved: all scalars, nesting, depth, nothing behind.
 */
pl_scan_status pl_scan_check(pl_scanner *scanner);
/* Decodes what lies behind the opening quote at `text` up to its closing quote (which the scan has found to exist) into
 * out, which has room for that many bytes and 64 more. Returns the length, or SIZE_MAX: a wrong escape. */
size_t pl_scan_unescape(const pl_scanner *scanner, const char *text, char *out);
#ifdef __cplusplus
}
#endif
#endif
