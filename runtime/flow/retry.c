#include <base/log.h>
#include <flow/retry.h>

bool pl_retry_failed(pl_retry *retry, const char *component, const pl_error *error, pl_random *random, int64_t now_ns)
{
    int64_t most = retry->policy.max_ns < INT64_MAX / 4 ? retry->policy.max_ns : INT64_MAX / 4; /* no overflow below */
    int64_t ceiling = retry->policy.min_ns;
    for (uint32_t i = 0; i < retry->failures && ceiling < most; i++)
        ceiling *= 2;
    if (ceiling > most)
        ceiling = most;
    int64_t wait = error->retry_after_ms ? (int64_t)error->retry_after_ms * 1000000
                                         : 1000000 + (int64_t)pl_random_below(random, (uint64_t)ceiling);
    retry->due_ns = now_ns + wait;
    if (retry->failures++ == 0 && !retry->quiet)
        pl_log(PL_WARN, component, "%s; trying again", error->message);
    return !retry->policy.attempts || retry->failures < retry->policy.attempts;
}

void pl_retry_worked(pl_retry *retry, const char *component)
{
    if (retry->failures && !retry->quiet)
        pl_log(PL_INFO, component, "works again after %u failed attempt%s", retry->failures,
               retry->failures == 1 ? "" : "s");
    retry->failures = 0;
    retry->due_ns = 0;
}
