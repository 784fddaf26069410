/* Records that could not be handled, on their way to the dead-letter sink: the payload as it came, and headers that
 * tell the rest: plumbline.stage (source, transform, sink), plumbline.component, plumbline.class (reject, script),
 * plumbline.reason, plumbline.attempts, plumbline.origin.lane, plumbline.origin.position, plumbline.time (RFC 3339). */
#ifndef PL_FLOW_DEAD_LETTER_H
#define PL_FLOW_DEAD_LETTER_H
#include <flow/stage.h>

typedef struct pl_dead_letter {
    const char *stage;       /* source, transform, sink */
    const char *error_class; /* "reject" or "script" */
    pl_str reason;
    uint32_t attempts;
} pl_dead_letter;

/* Takes over one reference of the record's ack: the dead-letter sink drops it; the caller counts. Records that only
 * rebuild state vanish. On failure (no memory, no dead-letter sink) the pipeline halts. */
void pl_dead_letter_add(pl_stage *stage, const pl_record *record, const pl_dead_letter *why);
/* Sends what was added; once a step. */
void pl_dead_letter_flush(pl_stage *stage);
#endif
