/* One plugin component at work: its config, its self, and the pl_host it was given. What a host call means for the flow
 * is in pl_services, which the stage provides. */
#ifndef PL_PLUGIN_INSTANCE_H
#define PL_PLUGIN_INSTANCE_H
#include <base/clock.h>
#include <observe/metrics.h>
#include <plumbline/plugin.h>

typedef struct pl_services { /* threads as in plugin.h; unused ones may be NULL */
    void *self;
    bool (*emit)(void *self, const pl_emission *emission);
    uint32_t (*lane_open)(void *self, pl_str name);
    void (*lane_close)(void *self, uint32_t lane, int64_t deadline_ns, uint64_t *settled_position);
    void (*settle)(void *self, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why);
    void (*wake)(void *self);
} pl_services;

typedef struct pl_instance_setup {
    const char *name;              /* borrowed */
    const pl_component *component; /* lives for ever */
    const void *config;            /* lives as long as the instance */
    const pl_clock *clock;
    const char *data_dir; /* for pl.store/1; NULL: not available */
    size_t budget_bytes;
    const pl_txn *txn; /* for pl.txn/1; NULL: not available */
} pl_instance_setup;

typedef struct pl_instance pl_instance;
/* [main] Calls the component's create. NULL: error. */
pl_instance *pl_instance_new(const pl_instance_setup *setup, pl_error *error);
/* [main] Calls destroy, then frees everything. NULL allowed; nulls. */
void pl_instance_free(pl_instance **instance);
/* [main] Before the flow starts. */
void pl_instance_serve(pl_instance *instance, const pl_services *services);

const pl_component *pl_instance_component(const pl_instance *instance);
void *pl_instance_self(const pl_instance *instance);
const char *pl_instance_name(const pl_instance *instance);
/* [any] Also interrupts a pl.http/1 request. */
void pl_instance_interrupt(pl_instance *instance);
/* [worker] After next, poll or write returned: answers and documents die. */
void pl_instance_release_answers(pl_instance *instance);
const pl_metrics *pl_instance_metrics(const pl_instance *instance); /* [any] */
#endif
