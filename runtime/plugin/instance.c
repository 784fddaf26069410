#include <base/fs.h>
#include <base/log.h>
#include <base/mem.h>
#include <plugin/host.h>

pl_instance *pl_instance_of(const pl_host *host)
{
    return (pl_instance *)host;
}

static void host_log(const pl_host *host, int32_t level, const char *message)
{
    pl_log(level, host->instance, "%s", message);
}

static int64_t host_now(const pl_host *host)
{
    const pl_clock *clock = pl_instance_of(host)->clock;
    return clock->now_ns(clock);
}

static int64_t host_unix(const pl_host *host)
{
    const pl_clock *clock = pl_instance_of(host)->clock;
    return clock->unix_ns(clock);
}

static void host_wake(const pl_host *host)
{
    const pl_services *services = &pl_instance_of(host)->services;
    if (services->wake)
        services->wake(services->self);
}

static bool host_emit(const pl_host *host, const pl_emission *emission)
{
    const pl_services *services = &pl_instance_of(host)->services;
    return services->emit && services->emit(services->self, emission);
}

static uint32_t host_lane_open(const pl_host *host, pl_str name)
{
    const pl_services *services = &pl_instance_of(host)->services;
    return services->lane_open ? services->lane_open(services->self, name) : 0;
}

static void host_lane_close(const pl_host *host, uint32_t lane, int64_t deadline_ns, uint64_t *settled_position)
{
    const pl_services *services = &pl_instance_of(host)->services;
    *settled_position = UINT64_MAX;
    if (services->lane_close)
        services->lane_close(services->self, lane, deadline_ns, settled_position);
}

static void host_settle(const pl_host *host, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why)
{
    const pl_services *services = &pl_instance_of(host)->services;
    if (services->settle)
        services->settle(services->self, ticket, first, count, why);
}

static pl_metric *host_metric(const pl_host *host, int32_t kind, const char *name, const char *unit, const char *help)
{
    (void)help; /* for the exposition, which is to come */
    return pl_metrics_add(&pl_instance_of(host)->metrics, kind, name, unit);
}

const pl_metrics *pl_instance_metrics(const pl_instance *instance)
{
    return &instance->metrics;
}

static void fill_host(pl_instance *instance)
{
    instance->host = (pl_host){
        .struct_size = sizeof(pl_host),
        .instance = instance->name,
        .log = host_log,
        .now_ns = host_now,
        .unix_ns = host_unix,
        .wake = host_wake,
        .emit = host_emit,
        .lane_open = host_lane_open,
        .lane_close = host_lane_close,
        .payload = pl_host_payload,
        .field = pl_host_field,
        .origin = pl_host_origin,
        .render = pl_host_render,
        .settle = host_settle,
        .metric = host_metric,
        .observe = pl_metric_observe,
        .extension = pl_host_extension,
    };
}

pl_instance *pl_instance_new(const pl_instance_setup *setup, pl_error *error)
{
    pl_instance *instance = pl_calloc(1, sizeof *instance);
    if (instance) {
        instance->name = pl_strndup(setup->name, strlen(setup->name));
        instance->component = setup->component;
        instance->clock = setup->clock;
        instance->data_dir = setup->data_dir;
        instance->budget_bytes = setup->budget_bytes;
        instance->txn = setup->txn;
        instance->rendered = PL_BUF(PL_INSTANCE_RENDER_MAX);
        instance->stored = PL_BUF(PL_INSTANCE_STORE_MAX + 512);
        instance->document = pl_document_new();
        instance->http = pl_http_client_new(setup->clock);
    }
    if (!instance || !instance->name || !instance->document || !instance->http) {
        pl_instance_free(&instance);
        (void)pl_fail(error, PL_RETRY, "no memory");
        return NULL;
    }
    fill_host(instance);
    *error = (pl_error){.struct_size = sizeof *error};
    if (setup->component->create(&instance->host, setup->config, &instance->self, error) != PL_OK) {
        instance->component = NULL;
        pl_instance_free(&instance);
        return NULL;
    }
    return instance;
}

void pl_instance_free(pl_instance **instance)
{
    pl_instance *gone = *instance;
    if (!gone)
        return;
    if (gone->component)
        gone->component->destroy(gone->self);
    pl_host_release(gone);
    pl_http_client_free(&gone->http);
    pl_document_free(&gone->document);
    pl_buf_release(&gone->rendered);
    pl_buf_release(&gone->stored);
    pl_free(gone->name);
    pl_free(gone);
    *instance = NULL;
}

void pl_instance_serve(pl_instance *instance, const pl_services *services)
{
    instance->services = *services;
}

const pl_component *pl_instance_component(const pl_instance *instance)
{
    return instance->component;
}

void *pl_instance_self(const pl_instance *instance)
{
    return instance->self;
}

const char *pl_instance_name(const pl_instance *instance)
{
    return instance->name;
}

void pl_instance_interrupt(pl_instance *instance)
{
    pl_http_client_interrupt(instance->http);
    if (instance->component->interrupt)
        instance->component->interrupt(instance->self);
}

void pl_instance_release_answers(pl_instance *instance)
{
    pl_http_client_release_answers(instance->http);
    pl_host_release_documents(instance);
}
