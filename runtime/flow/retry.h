/* Full-jitter exponential backoff, and one log line on a change of state. */
#ifndef PL_FLOW_RETRY_H
#define PL_FLOW_RETRY_H
#include <base/random.h>
#include <plumbline/plugin.h>

typedef struct pl_retry_policy {
    int64_t min_ns, max_ns; /* the first wait is up to min_ns, doubled each time up to max_ns */
    uint32_t attempts;      /* after so many failures in a row it is given up; 0: never */
} pl_retry_policy;

typedef struct pl_retry {
    pl_retry_policy policy;
    uint32_t failures; /* in a row */
    int64_t due_ns;    /* monotonic; not before this */
    bool quiet;        /* the caller does the logging */
} pl_retry;

/* Another failure: sets due_ns (Retry-After wins over the backoff) and warns when it is the first in a row.
 * false: the attempts are used up. */
bool pl_retry_failed(pl_retry *retry, const char *component, const pl_error *error, pl_random *random, int64_t now_ns);
/* A success: says so when there were failures, and forgets them. */
void pl_retry_worked(pl_retry *retry, const char *component);
#endif
