/* A record as it moves through the flow: an envelope and the payload bytes. Immutable once handed to an edge; all
 * memory it points to belongs to the arena of the batch that holds it (or of a batch that one keeps alive). A decoded
 * field, a parse cache, an edit belong to the reader (record/document.h), never to the record. */
#ifndef PL_RECORD_RECORD_H
#define PL_RECORD_RECORD_H
#include <plumbline/plugin.h>

struct pl_ack;
struct pl_outline;

enum {
    PL_RECORD_REPLAY = 1u << 0,    /* already committed; rebuilds script state, goes to no sink */
    PL_RECORD_RETURNED = 1u << 1,  /* back from the dead letter: its position was passed over long ago */
    PL_RECORD_MADE = 1u << 2,      /* given out by a script: its input, read again, need not come out of it again */
    PL_RECORD_ATTEMPTS_SHIFT = 16, /* above it: how often it was tried before it became a dead letter */
    PL_RECORD_ATTEMPTS_MAX = 0xFFFF
};

struct pl_record {
    pl_str stream;        /* null: none */
    pl_str key;           /* null: none */
    pl_str payload;       /* null: tombstone; else followed by PL_ARENA_PADDING readable bytes */
    int64_t time_unix_ns; /* event time */
    uint64_t position;    /* within the lane */
    const pl_field *headers;
    /* Of a payload that was checked whole: where its values lie (record/outline.h); NULL: unknown. It names the payload
     * it is of, so that one left from before the payload was replaced does no harm. */
    const struct pl_outline *outline;
    uint32_t header_count;
    uint32_t lane;      /* global index of the lane in its pipeline */
    uint32_t flags;     /* PL_RECORD_* */
    struct pl_ack *ack; /* whom to tell when settled; NULL: born without a parent */
};
#endif
