/* Text that plugins write out: a growing buffer and the forms of values in it. Compiled into each plugin that wants it.
 * One thread at a time; failure of memory is sticky, so that one look at `failed` after many appends is enough. */
#ifndef PL_PLUGINS_TEXT_H
#define PL_PLUGINS_TEXT_H
#include <plumbline/plugin.h>

typedef struct text_buf { /* zeroed: empty. data is not NUL-ended unless text_end was called */
    char *data;
    size_t len, room;
    bool failed; /* no memory; what was appended since is lost */
} text_buf;

void text_release(text_buf *buf);
/* Room for `extra` more bytes: writes to data + len may follow. */
bool text_reserve(text_buf *buf, size_t extra);
void text_add(text_buf *buf, const char *bytes, size_t len);
void text_adds(text_buf *buf, const char *text);
void text_addc(text_buf *buf, char byte);
/* Puts a NUL behind the text, not counted in len; NULL when failed. */
const char *text_end(text_buf *buf);

/* Decimal digits of an integer. */
void text_int(text_buf *buf, int64_t number);
/* RFC 3339 UTC with as few fraction digits of 0, 3, 6, 9 as are exact. */
void text_time(text_buf *buf, int64_t unix_ns);
/* RFC 3339 UTC, always six fraction digits (rounded to the nearest): as text it sorts by time. */
void text_time_micros(text_buf *buf, int64_t unix_ns);
/* A JSON string with its quotes; the text must be UTF-8. */
void text_json_string(text_buf *buf, pl_str text);
/* RFC 4648, padded, no quotes. */
void text_base64(text_buf *buf, pl_str bytes);
/* A JSON text on one line: newlines, which JSON has only between tokens, become spaces. */
void text_json_line(text_buf *buf, pl_str json);
/* A value as bare text: strings, decimals and JSON as they are, times by text_time, bytes as base64, floats with as
 * many digits as bring the same double back. PL_NIL appends nothing. */
void text_value(text_buf *buf, const pl_value *value);

bool text_utf8_valid(pl_str text);
/* Strict RFC 3339: "2026-11-22T10:00:00Z", fractions of any length (cut at 9), offsets, lower-case t and z, a space for
 * T, second 60 read as the last nanosecond of 59. false: not such a time, or outside 1677 .. 2262. */
bool text_time_parse(pl_str text, int64_t *unix_ns);
#endif
