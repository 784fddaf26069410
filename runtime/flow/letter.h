/* A dead letter, read back: from the record that a source makes of it to the record that it was. */
#ifndef PL_FLOW_LETTER_H
#define PL_FLOW_LETTER_H
#include <base/arena.h>
#include <record/json.h>
#include <record/record.h>

/* What tells a letter from all others: its id, or, where it has none, a hash of all that it says. */
typedef struct pl_letter_key {
    uint64_t high, low;
} pl_letter_key;

typedef struct pl_letter {
    pl_str component, reason; /* who gave it up, and why */
    pl_str lane;              /* where it once came from; its position is the record's */
    uint32_t attempts;
    pl_letter_key key;
    pl_record record; /* as it was: without the headers that made a dead letter of it, lane, flags and ack */
} pl_letter;

/* A letter is a record with the headers of dead_letter.h, or one whose payload is the JSON object that the file sink
 * writes: headers, key, stream, time, payload. Texts of the result lie in the arena or in `found`. PL_FAILED with
 * PL_REJECT: it is no dead letter, and why; PL_RETRY: no memory. */
pl_status pl_letter_read(pl_json_reader *json, const pl_record *found, pl_arena *arena, pl_letter *letter,
                         pl_error *error);
#endif
