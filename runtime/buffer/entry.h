/* One entry of a segment: a record, or a gap, with all that its source said about it. Pure functions on bytes.
 *
 * Layout, little endian: length of the body (4), CRC-32C of length and body (4), body. The body: kind (1), which texts
 * are there (1), number of headers (2), lengths of lane (4), then event time (8), arrival (8), position (8), lengths of
 * stream, key, payload and headers (4 each), and these in the same order, the lane first. The CRC begins with the
 * segment's salt, which nobody outside knows: no payload can be made to look like an entry. */
#ifndef PL_BUFFER_ENTRY_H
#define PL_BUFFER_ENTRY_H
#include <base/buf.h>
#include <plumbline/plugin.h>

enum {
    PL_ENTRY_HEAD_BYTES = 8,
    PL_ENTRY_BODY_BYTES = 48, /* of an entry whose texts are all empty */
    PL_ENTRY_MAX_BYTES = 64 << 20,
    PL_ENTRY_HEADERS_MAX = 65535
};

typedef enum { PL_KEPT_RECORD = 1, PL_KEPT_GAP = 2 } pl_kept_kind;

typedef struct pl_kept {
    pl_kept_kind kind;
    pl_str lane;                 /* name; may be empty, not null */
    pl_str stream, key, payload; /* null: not there */
    int64_t time_unix_ns;        /* event time; 0: to be found in the payload */
    int64_t arrived_unix_ns;
    uint64_t position; /* grows within the lane */
    uint32_t header_count;
    const pl_field *headers; /* for encoding */
    pl_str header_bytes;     /* of a decoded one, see pl_entry_headers */
} pl_kept;

/* Appends the entry. PL_FAILED: too large (PL_REJECT), or no memory (PL_HALT); out is as it was. */
pl_status pl_entry_encode(pl_buf *out, uint32_t salt, const pl_kept *kept, pl_error *error);
/* Reads the entry at the beginning of bytes; what it tells points into them. PL_OK: *size bytes are its own.
 * PL_AGAIN: bytes end within it; *size: how many it would have. PL_FAILED: there is no entry; no error is told. */
pl_status pl_entry_decode(const char *bytes, size_t len, uint32_t salt, pl_kept *kept, size_t *size);
/* True when the lengths add up, the CRC unseen: cheap, for looking for the next entry behind damage. */
bool pl_entry_plausible(const char *bytes, size_t len, size_t *size);
/* Fills kept->header_count fields, whose texts point into the decoded bytes. */
void pl_entry_headers(const pl_kept *kept, pl_field *out);

/* For this room: little-endian numbers. */
static inline void pl_entry_put(char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (char)(value >> (8 * i));
}
static inline uint64_t pl_entry_get(const char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)(unsigned char)at[i] << (8 * i);
    return value;
}
#endif
