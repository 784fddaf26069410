/* Records that could not be handled, on their way to the dead-letter sink: the payload as it came, and headers that
 * tell the rest; letter.h reads them again. Times are RFC 3339, numbers are text. */
#ifndef PL_FLOW_DEAD_LETTER_H
#define PL_FLOW_DEAD_LETTER_H
#include <flow/stage.h>

#define PL_LETTER_PREFIX "plumbline."
#define PL_LETTER_ID PL_LETTER_PREFIX "id"       /* of this letter alone; not under the seeded scheduler */
#define PL_LETTER_STAGE PL_LETTER_PREFIX "stage" /* source, transform, sink */
#define PL_LETTER_COMPONENT PL_LETTER_PREFIX "component"
#define PL_LETTER_CLASS PL_LETTER_PREFIX "class" /* reject, script */
#define PL_LETTER_REASON PL_LETTER_PREFIX "reason"
#define PL_LETTER_ATTEMPTS PL_LETTER_PREFIX "attempts"
#define PL_LETTER_LANE PL_LETTER_PREFIX "origin.lane"
#define PL_LETTER_POSITION PL_LETTER_PREFIX "origin.position"
#define PL_LETTER_TIME PL_LETTER_PREFIX "time"
/* The envelope, for sinks whose own has no room for all of it. Absent: it has none. */
#define PL_LETTER_STREAM PL_LETTER_PREFIX "stream"
#define PL_LETTER_EVENT_TIME PL_LETTER_PREFIX "event_time"

typedef struct pl_dead_letter {
    const char *stage;       /* source, transform, sink */
    const char *error_class; /* "reject" or "script" */
    pl_str reason;
    uint32_t attempts;
    const char *component; /* NULL: the stage's own */
} pl_dead_letter;

/* Takes over one reference of the record's ack: the dead-letter sink drops it; the caller counts. Records that only
 * rebuild state vanish. On failure (no memory, no dead-letter sink) the pipeline halts. */
void pl_dead_letter_add(pl_stage *stage, const pl_record *record, const pl_dead_letter *why);
/* Sends what was added; once a step. */
void pl_dead_letter_flush(pl_stage *stage);
#endif
