/* JSON out of values. Strings escape only what JSON demands (" \ and controls); UTF-8 stays as it is. PL_TIME is an RFC
 * 3339 UTC string, PL_BYTES a base64 string, PL_FLOAT its shortest exact text, PL_DECIMAL its lexeme as a number,
 * PL_JSON its text as it is. All [any].
 *
 * PL_FAILED: PL_REJECT (a float that is not finite, a decimal that is no JSON number, a string that is not UTF-8),
 * naming the field where there is one; PL_RETRY: no memory, or the buffer's maximum is reached. The buffer keeps what
 * it had before. */
#ifndef PL_RECORD_ENCODE_H
#define PL_RECORD_ENCODE_H
#include <base/arena.h>
#include <base/buf.h>
#include <record/decimal.h>

pl_status pl_encode_value(pl_buf *out, const pl_value *value, pl_error *error);
/* The same of a value that is known to be fit: it was checked when it was taken. A failed buffer tells by itself. */
void pl_encode_checked(pl_buf *out, const pl_value *value);
/* One object, members in the order given. Names are not checked for being unique. */
pl_status pl_encode_fields(pl_buf *out, const pl_field *fields, size_t count, pl_error *error);
/* "text" with its quotes and escapes; the text is trusted to be UTF-8. A failed buffer tells by itself. */
void pl_encode_string(pl_buf *out, pl_str text);
/* A decimal as a JSON number, and as a JSON string ("3043.59857420"), as prices go on the wire. */
void pl_encode_decimal(pl_buf *out, const pl_decimal *value);
void pl_encode_decimal_string(pl_buf *out, const pl_decimal *value);
/* RFC 4648 base64 with padding, without quotes. */
void pl_encode_base64(pl_buf *out, pl_str bytes);
/* The same as pl_encode_fields, straight into an arena, padded: a payload. */
pl_status pl_encode_payload(pl_arena *arena, const pl_field *fields, size_t count, pl_str *payload, pl_error *error);
/* The text of a scalar without JSON's quotes: for keys, templates and columns. Strings as they are; null, objects and
 * arrays as their JSON. */
pl_status pl_encode_text(pl_buf *out, const pl_value *value, pl_error *error);
#endif
