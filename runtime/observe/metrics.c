#include <observe/metrics.h>

const pl_metric *pl_metrics_at(const pl_metrics *metrics, size_t index)
{
    return index < atomic_load_explicit(&metrics->count, memory_order_acquire) ? &metrics->items[index] : NULL;
}

const pl_metric *pl_metrics_find(const pl_metrics *metrics, const char *name)
{
    const pl_metric *metric;
    for (size_t i = 0; (metric = pl_metrics_at(metrics, i)); i++)
        if (strncmp(metric->name, name, PL_METRIC_NAME_BYTES - 1) == 0)
            return metric;
    return NULL;
}

pl_metric *pl_metrics_add(pl_metrics *metrics, int32_t kind, const char *name, const char *unit)
{
    const pl_metric *known = pl_metrics_find(metrics, name);
    size_t count = atomic_load_explicit(&metrics->count, memory_order_relaxed);
    if (known)
        return &metrics->items[known - metrics->items];
    if (count == PL_METRICS_MAX)
        return NULL;
    pl_metric *metric = &metrics->items[count];
    (void)snprintf(metric->name, sizeof metric->name, "%s", name);
    (void)snprintf(metric->unit, sizeof metric->unit, "%s", unit ? unit : "1");
    metric->kind = kind;
    atomic_store_explicit(&metrics->count, count + 1, memory_order_release);
    return metric;
}

void pl_metric_observe(pl_metric *metric, double value)
{
    if (!metric)
        return;
    double old = atomic_load_explicit(&metric->value, memory_order_relaxed);
    double next;
    do {
        next = metric->kind == PL_GAUGE ? value : old + value;
    } while (
        !atomic_compare_exchange_weak_explicit(&metric->value, &old, next, memory_order_relaxed, memory_order_relaxed));
    atomic_fetch_add_explicit(&metric->count, 1, memory_order_relaxed);
}
