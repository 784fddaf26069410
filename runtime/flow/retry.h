/* Full-jitter exponential backoff with a circuit: after `circuit` failures in a row, or a Retry-After, it is open. Then
 * the caller makes one attempt (a probe) each time due_ns has come, and everything else waits until one works. The log
 * has a line for each change: it fails, it opens, it works again. */
#ifndef PL_FLOW_RETRY_H
#define PL_FLOW_RETRY_H
#include <flow/stage.h>
#include <plumbline/plugin.h>

typedef struct pl_retry_policy {
    int64_t min_ns, max_ns; /* the first wait is up to min_ns, doubled each time up to max_ns */
    uint32_t attempts;      /* after so many failures in a row it is given up; 0: never */
    uint32_t circuit;       /* after so many failures in a row it is open; 0: only a Retry-After opens it */
    bool then_halt;         /* given up: the pipeline stops, where else a dead letter or a gap would be made */
} pl_retry_policy;

typedef struct pl_retry {
    pl_retry_policy policy;
    uint32_t failures; /* in a row */
    int64_t due_ns;    /* monotonic; not before this */
    bool open;
    bool asked; /* the other side itself named the pause */
    bool sound; /* set by the caller: it is known to answer others, so failures open nothing */
    bool quiet; /* the caller tells of failures; the log has only what becomes of the circuit */
} pl_retry;

/* Another failure: sets due_ns; a Retry-After holds, and what chance adds to it keeps several instances apart.
 * false: the attempts are used up. */
bool pl_retry_failed(pl_retry *retry, pl_stage *stage, const pl_error *error, int64_t now_ns);
/* What belongs to a failure that was counted already: its Retry-After still holds. */
void pl_retry_prolong(pl_retry *retry, pl_stage *stage, const pl_error *error, int64_t now_ns);
/* An attempt begins; where the circuit is open it is the probe. */
void pl_retry_begin(pl_retry *retry, pl_stage *stage);
/* A success: says so when there were failures, and forgets them. */
void pl_retry_worked(pl_retry *retry, pl_stage *stage);
#endif
