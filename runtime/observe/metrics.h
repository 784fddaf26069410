/* The metrics of one component: those a plugin declares, those a script counts. */
#ifndef PL_OBSERVE_METRICS_H
#define PL_OBSERVE_METRICS_H
#include <plumbline/plugin.h>
#include <stdatomic.h>

enum { PL_METRICS_MAX = 64, PL_METRIC_NAME_BYTES = 64 };

struct pl_metric {
    char name[PL_METRIC_NAME_BYTES], unit[16];
    int32_t kind;           /* PL_COUNTER, PL_GAUGE, PL_HISTOGRAM */
    _Atomic double value;   /* counter: sum; gauge: last; histogram: sum */
    _Atomic uint64_t count; /* of observations */
};

typedef struct pl_metrics { /* grows only; zeroed to begin with */
    struct pl_metric items[PL_METRICS_MAX];
    _Atomic size_t count; /* published: items below it never move or change their name */
} pl_metrics;

/* One thread at a time. The metric of that name, added if it is new. Names are cut to PL_METRIC_NAME_BYTES - 1 bytes.
 * NULL: there are PL_METRICS_MAX already. */
pl_metric *pl_metrics_add(pl_metrics *metrics, int32_t kind, const char *name, const char *unit);
/* [any] NULL is allowed: counted into the void. */
void pl_metric_observe(pl_metric *metric, double value);
/* [any] index from 0; NULL: no more. */
const pl_metric *pl_metrics_at(const pl_metrics *metrics, size_t index);
/* [any] The one of that name, or NULL. */
const pl_metric *pl_metrics_find(const pl_metrics *metrics, const char *name);
#endif
