#include <base/log.h>
#include <flow/retry.h>

static void show(pl_stage *stage, pl_circuit circuit)
{
    atomic_store_explicit(&stage->account.circuit, (uint32_t)circuit, memory_order_relaxed);
}

static int64_t pause_ns(const pl_retry *retry, pl_stage *stage, const pl_error *error)
{
    int64_t most = retry->policy.max_ns < INT64_MAX / 4 ? retry->policy.max_ns : INT64_MAX / 4; /* no overflow below */
    int64_t ceiling = retry->policy.min_ns;
    for (uint32_t i = 0; i < retry->failures && ceiling < most; i++)
        ceiling *= 2;
    if (ceiling > most)
        ceiling = most;
    int64_t least = error->retry_after_ms ? (int64_t)error->retry_after_ms * 1000000 : 1000000;
    return least + (int64_t)pl_random_below(&stage->random, (uint64_t)ceiling);
}

static void open_circuit(pl_retry *retry, pl_stage *stage, const pl_error *error)
{
    retry->open = true;
    pl_count(&stage->account.circuit_opened, 1);
    if (error->retry_after_ms)
        pl_log(PL_WARN, stage->name, "%s; the circuit is open", error->message);
    else
        pl_log(PL_WARN, stage->name, "%s; %u failures in a row, the circuit is open", error->message, retry->failures);
}

bool pl_retry_failed(pl_retry *retry, pl_stage *stage, const pl_error *error, int64_t now_ns)
{
    const pl_retry_policy *policy = &retry->policy;
    retry->due_ns = now_ns + pause_ns(retry, stage, error);
    retry->asked = error->retry_after_ms != 0;
    retry->failures++;
    if (!retry->open && (retry->asked || (policy->circuit && !retry->sound && retry->failures >= policy->circuit)))
        open_circuit(retry, stage, error);
    else if (retry->failures == 1 && !retry->quiet)
        pl_log(PL_WARN, stage->name, "%s; trying again", error->message);
    if (retry->open)
        show(stage, PL_CIRCUIT_OPEN);
    return !policy->attempts || retry->failures < policy->attempts;
}

void pl_retry_prolong(pl_retry *retry, pl_stage *stage, const pl_error *error, int64_t now_ns)
{
    int64_t until_ns = now_ns + (int64_t)error->retry_after_ms * 1000000;
    if (!error->retry_after_ms)
        return;
    if (!retry->open)
        open_circuit(retry, stage, error);
    show(stage, PL_CIRCUIT_OPEN);
    if (retry->due_ns < until_ns)
        retry->due_ns = now_ns + pause_ns(retry, stage, error);
    retry->asked = true;
}

void pl_retry_begin(pl_retry *retry, pl_stage *stage)
{
    if (retry->open)
        show(stage, PL_CIRCUIT_HALF_OPEN);
}

void pl_retry_worked(pl_retry *retry, pl_stage *stage)
{
    if (!retry->failures)
        return;
    if (retry->open || !retry->quiet)
        pl_log(PL_INFO, stage->name, "works again after %u failed attempt%s%s", retry->failures,
               retry->failures == 1 ? "" : "s", retry->open ? "; the circuit is closed" : "");
    if (retry->open)
        show(stage, PL_CIRCUIT_CLOSED);
    retry->failures = 0;
    retry->due_ns = 0;
    retry->open = retry->asked = false;
}
