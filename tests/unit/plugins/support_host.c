#include "support_private.h"

#include <base/arena.h>
#include <base/clock.h>
#include <dlfcn.h>
#include <stdlib.h>

/* ---- Memory ------------------------------------------------------------- */

void *stub_alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    assert_non_null(memory);
    return memory;
}

char *stub_copy(pl_str text)
{
    if (!text.ptr) {
        return NULL;
    }
    char *copy = stub_alloc(text.len + PL_ARENA_PADDING);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

void *stub_grow(void *items, size_t count, size_t *room, size_t size)
{
    if (count < *room) {
        return items;
    }
    *room = *room ? 2 * *room : 16;
    items = realloc(items, *room * size);
    assert_non_null(items);
    return items;
}

static stub *stub_of(const pl_host *host)
{
    return (stub *)(uintptr_t)host;
}

/* ---- Clock, log, metrics, extensions ------------------------------------ */

static int64_t host_now_ns(const pl_host *host)
{
    const stub *self = stub_of(host);
    return self->real_time ? pl_system_clock.now_ns(&pl_system_clock) : self->now;
}

static int64_t host_unix_ns(const pl_host *host)
{
    const stub *self = stub_of(host);
    return self->real_time ? pl_system_clock.unix_ns(&pl_system_clock) : self->unix_now;
}

static void host_log(const pl_host *host, int32_t level, const char *message)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    stub *self = stub_of(host);
    size_t size = strlen(message) + 16;
    char *line = stub_alloc(size);
    (void)snprintf(line, size, "%s: %s", levels[level], message);
    (void)pthread_mutex_lock(&self->private->lock);
    self->logs = stub_grow(self->logs, self->log_count, &self->log_room, sizeof *self->logs);
    self->logs[self->log_count++] = line;
    (void)pthread_mutex_unlock(&self->private->lock);
}

static void host_wake(const pl_host *host)
{
    stub *self = stub_of(host);
    (void)pthread_mutex_lock(&self->private->lock);
    self->wakes++;
    (void)pthread_mutex_unlock(&self->private->lock);
}

static pl_metric *host_metric(const pl_host *host, int32_t kind, const char *name, const char *unit, const char *help)
{
    struct stub_private *private = stub_of(host)->private;
    (void)unit;
    (void)help;
    for (size_t i = 0; i < private->metric_count; i++) {
        if (strcmp(private->metrics[i].name, name) == 0) {
            return &private->metrics[i];
        }
    }
    assert_true(private->metric_count < STUB_METRICS_MAX);
    pl_metric *metric = &private->metrics[private->metric_count++];
    (void)snprintf(metric->name, sizeof metric->name, "%s", name);
    metric->kind = kind;
    return metric;
}

static void host_observe(pl_metric *metric, double value)
{
    metric->sum = metric->kind == PL_GAUGE ? value : metric->sum + value;
}

static bool store_get(const pl_host *host, pl_str key, pl_str *value)
{
    struct stub_private *private = stub_of(host)->private;
    for (size_t i = 0; i < private->entry_count; i++) {
        const stub_entry *entry = &private->entries[i];
        if (entry->key_len == key.len && memcmp(entry->key, key.ptr, key.len) == 0) {
            free(private->store_value);
            private->store_value = stub_copy((pl_str){entry->value, entry->value_len});
            *value = (pl_str){private->store_value, entry->value_len};
            return true;
        }
    }
    return false;
}

static pl_status store_put(const pl_host *host, pl_str key, pl_str value, pl_error *error)
{
    struct stub_private *private = stub_of(host)->private;
    if (private->store_fails) {
        return pl_fail(error, PL_RETRY, "the store is told to fail");
    }
    stub_entry *entry = NULL;
    for (size_t i = 0; i < private->entry_count && !entry; i++) {
        stub_entry *other = &private->entries[i];
        entry = other->key_len == key.len && memcmp(other->key, key.ptr, key.len) == 0 ? other : NULL;
    }
    if (!entry) {
        private->entries =
            stub_grow(private->entries, private->entry_count, &private->entry_room, sizeof *private->entries);
        entry = &private->entries[private->entry_count++];
        *entry = (stub_entry){.key = stub_copy(key), .key_len = key.len};
    }
    free(entry->value);
    entry->value = stub_copy(value);
    entry->value_len = value.len;
    return PL_OK;
}

static const pl_store store_table = {.struct_size = sizeof(pl_store), .get = store_get, .put = store_put};

static const void *host_extension(const pl_host *host, const char *id)
{
    const struct stub_private *private = stub_of(host)->private;
    for (size_t i = 0; i < private->answer_count; i++) {
        if (strcmp(private->answers[i].id, id) == 0) {
            return private->answers[i].table;
        }
    }
    if (strcmp(id, "pl.json/1") == 0) {
        return &stub_json_table;
    }
    return strcmp(id, "pl.store/1") == 0 ? &store_table : NULL;
}

/* ---- What sources call --------------------------------------------------- */

static pl_field *copy_fields(const pl_field *fields, uint32_t count)
{
    pl_field *copy = stub_alloc(count * sizeof *copy);
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = fields[i];
        copy[i].name.ptr = stub_copy(fields[i].name);
        if (fields[i].value.type >= PL_STR && fields[i].value.type != PL_TIME) {
            copy[i].value.as.s.ptr = stub_copy(fields[i].value.as.s);
        }
    }
    return copy;
}

static void free_fields(const pl_field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)fields[i].name.ptr);
        if (fields[i].value.type >= PL_STR && fields[i].value.type != PL_TIME) {
            free((void *)(uintptr_t)fields[i].value.as.s.ptr);
        }
    }
    free((void *)(uintptr_t)fields);
}

static bool host_emit(const pl_host *host, const pl_emission *emission)
{
    stub *self = stub_of(host);
    assert_true(emission->struct_size >= sizeof *emission);
    assert_false(emission->payload.ptr && emission->field_count > 0);
    self->emitted = stub_grow(self->emitted, self->emitted_count, &self->emitted_room, sizeof *self->emitted);
    stub_emission *kept = &self->emitted[self->emitted_count++];
    kept->envelope = *emission;
    kept->envelope.stream.ptr = stub_copy(emission->stream);
    kept->envelope.key.ptr = stub_copy(emission->key);
    kept->envelope.headers = copy_fields(emission->headers, emission->header_count);
    kept->envelope.fields = copy_fields(emission->fields, emission->field_count);
    kept->json = emission->field_count > 0 ? stub_fields_json(self, emission->fields, emission->field_count)
                                           : stub_copy(emission->payload);
    kept->envelope.payload.ptr = emission->payload.ptr ? kept->json : NULL;
    return self->emit_limit == 0 || self->emitted_count < self->emit_limit;
}

static uint32_t host_lane_open(const pl_host *host, pl_str name)
{
    stub *self = stub_of(host);
    self->lanes = stub_grow(self->lanes, self->lane_count, &self->lane_room, sizeof *self->lanes);
    self->lanes[self->lane_count] = (stub_lane){.name = stub_copy(name), .settled = UINT64_MAX};
    return (uint32_t)self->lane_count++;
}

static void host_lane_close(const pl_host *host, uint32_t lane, int64_t deadline_ns, uint64_t *settled_position)
{
    stub *self = stub_of(host);
    (void)deadline_ns;
    assert_true(lane < self->lane_count && !self->lanes[lane].closed);
    self->lanes[lane].closed = true;
    *settled_position = self->lanes[lane].settled;
}

/* ---- What sinks call ------------------------------------------------------ */

static pl_str host_payload(const pl_host *host, const pl_record *record)
{
    (void)host;
    return record->payload;
}

static const pl_emission *host_origin(const pl_host *host, const pl_record *record)
{
    pl_emission *origin = &stub_of(host)->private->origin;
    *origin = (pl_emission){
        .struct_size = sizeof *origin,
        .lane = record->lane,
        .position = record->position,
        .time_unix_ns = record->time_unix_ns,
        .stream = record->stream,
        .key = record->key,
        .payload = record->payload,
        .headers = record->headers,
        .header_count = record->header_count,
    };
    return origin;
}

static void host_settle(const pl_host *host, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why)
{
    stub *self = stub_of(host);
    (void)pthread_mutex_lock(&self->private->lock);
    assert_true(ticket < self->batch_count);
    stub_batch *batch = &self->batches[ticket];
    assert_true(first < batch->batch.count && count >= 1 && count <= batch->batch.count - first);
    for (uint32_t i = first; i < first + count; i++) {
        assert_int_equal(batch->given[i].state, STUB_OUT); /* each record once */
        batch->given[i].state = why ? why->error_class : STUB_DURABLE;
        (void)snprintf(batch->given[i].why, sizeof batch->given[i].why, "%s", why ? why->message : "");
    }
    (void)pthread_mutex_unlock(&self->private->lock);
}

static const pl_host host_table = {
    .struct_size = sizeof(pl_host),
    .instance = "unit",
    .log = host_log,
    .now_ns = host_now_ns,
    .unix_ns = host_unix_ns,
    .wake = host_wake,
    .emit = host_emit,
    .lane_open = host_lane_open,
    .lane_close = host_lane_close,
    .payload = host_payload,
    .field = stub_field,
    .origin = host_origin,
    .render = stub_render,
    .settle = host_settle,
    .metric = host_metric,
    .observe = host_observe,
    .extension = host_extension,
};

/* ---- Life ----------------------------------------------------------------- */

stub *stub_open(const char *plugin, stub_side side)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/plugins/%s.so", PL_BUILD_DIR, plugin);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* never closed, as in the runtime */
    if (!library) {
        fail_msg("%s", dlerror());
    }
    const pl_plugin *(*entry)(void) = NULL;
    void *symbol = dlsym(library, "pl_plugin_entry");
    assert_non_null(symbol);
    memcpy(&entry, &symbol, sizeof entry);

    stub *self = stub_alloc(sizeof *self);
    self->private = stub_alloc(sizeof *self->private);
    assert_int_equal(pthread_mutex_init(&self->private->lock, NULL), 0);
    self->host = host_table;
    self->now = INT64_C(1000000000);
    self->unix_now = INT64_C(1767225600) * 1000000000; /* 2026-01-01T00:00:00Z */
    self->plugin = entry();
    assert_int_equal(self->plugin->magic, PL_MAGIC);
    assert_string_equal(self->plugin->name, plugin);
    for (const pl_component *const *at = self->plugin->components; *at; at++) {
        if (((*at)->sink != NULL) == (side == STUB_SINK)) {
            assert_null(self->component); /* at most one of each side */
            self->component = *at;
        }
    }
    assert_non_null(self->component);
    self->config = stub_alloc(self->component->config_size);
    stub_reader_open(self);
    return self;
}

static pl_status start(stub *self)
{
    self->error = (pl_error){.struct_size = sizeof self->error};
    pl_status status = self->component->check ? self->component->check(self->config, &self->error) : PL_OK;
    if (status == PL_OK) {
        status = self->component->create(&self->host, self->config, &self->self, &self->error);
    }
    return status;
}

pl_status stub_try_create(stub *host, const char *with_yaml)
{
    assert_null(host->self);
    host->error = (pl_error){.struct_size = sizeof host->error};
    pl_status status = stub_fill(host, with_yaml);
    return status == PL_OK ? start(host) : status;
}

pl_status stub_try_create_struct(stub *host, const void *config)
{
    assert_null(host->self);
    memcpy(host->config, config, host->component->config_size);
    return start(host);
}

void stub_create(stub *host, const char *with_yaml)
{
    if (stub_try_create(host, with_yaml) != PL_OK) {
        fail_msg("create: %s%s%s", host->error.option, host->error.option[0] ? ": " : "", host->error.message);
    }
}

void stub_destroy(stub *host)
{
    if (host->self) {
        if (host->component->interrupt) {
            host->component->interrupt(host->self);
        }
        host->component->destroy(host->self);
        host->self = NULL;
    }
}

void stub_clear(stub *host)
{
    stub_reader_forget(host);
    for (size_t i = 0; i < host->emitted_count; i++) {
        stub_emission *kept = &host->emitted[i];
        free((void *)(uintptr_t)kept->envelope.stream.ptr);
        free((void *)(uintptr_t)kept->envelope.key.ptr);
        free_fields(kept->envelope.headers, kept->envelope.header_count);
        free_fields(kept->envelope.fields, kept->envelope.field_count);
        free(kept->json);
    }
    for (size_t b = 0; b < host->batch_count; b++) {
        stub_batch *batch = &host->batches[b];
        for (size_t i = 0; i < batch->batch.count; i++) {
            free(batch->given[i].payload);
            free(batch->given[i].key);
            free(batch->given[i].stream);
            free_fields(batch->given[i].headers, batch->given[i].record.header_count);
        }
        free(batch->given);
        free(batch->pointers);
    }
    for (size_t i = 0; i < host->log_count; i++) {
        free(host->logs[i]);
    }
    host->emitted_count = host->batch_count = host->log_count = 0;
}

static void forget_lanes(stub *host)
{
    for (size_t i = 0; i < host->lane_count; i++) {
        free(host->lanes[i].name);
    }
    host->lane_count = 0;
}

void stub_restart(stub *host, const char *with_yaml)
{
    stub_destroy(host);
    stub_clear(host);
    forget_lanes(host);
    memset(host->config, 0, host->component->config_size);
    stub_create(host, with_yaml);
}

void stub_refuses(stub *host, const char *with_yaml, const char *option, const char *part)
{
    memset(host->config, 0, host->component->config_size);
    assert_int_equal(stub_try_create(host, with_yaml), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_BAD_CONFIG);
    if (!strstr(host->error.message, part)) {
        fail_msg("'%s' is not in: %s", part, host->error.message);
    }
    assert_string_equal(host->error.option, option);
}

void stub_close(stub **host)
{
    stub *self = *host;
    if (!self) {
        return;
    }
    stub_destroy(self);
    stub_clear(self);
    forget_lanes(self);
    stub_reader_close(self);
    stub_options_close(self);
    for (size_t i = 0; i < self->private->entry_count; i++) {
        free(self->private->entries[i].key);
        free(self->private->entries[i].value);
    }
    (void)pthread_mutex_destroy(&self->private->lock);
    free(self->private->entries);
    free(self->private->store_value);
    free(self->private);
    free(self->emitted);
    free(self->lanes);
    free(self->batches);
    free(self->logs);
    free(self->config);
    free(self);
    *host = NULL;
}

/* ---- What the test asks ---------------------------------------------------- */

void stub_advance(stub *host, int64_t ns)
{
    host->now += ns;
    host->unix_now += ns;
}

size_t stub_logged_count(const stub *host, const char *text)
{
    size_t count = 0;
    for (size_t i = 0; i < host->log_count; i++) {
        count += strstr(host->logs[i], text) != NULL;
    }
    return count;
}

bool stub_logged(const stub *host, const char *text)
{
    return stub_logged_count(host, text) > 0;
}

void stub_store_fail(stub *host, bool fail)
{
    host->private->store_fails = fail;
}

double stub_metric(const stub *host, const char *name)
{
    for (size_t i = 0; i < host->private->metric_count; i++) {
        if (strcmp(host->private->metrics[i].name, name) == 0) {
            return host->private->metrics[i].sum;
        }
    }
    return 0;
}

void stub_extension(stub *host, const char *id, const void *table)
{
    struct stub_private *private = host->private;
    for (size_t i = 0; i < private->answer_count; i++) {
        if (strcmp(private->answers[i].id, id) == 0) {
            private->answers[i].table = table;
            return;
        }
    }
    assert_true(private->answer_count < STUB_ANSWERS_MAX);
    private->answers[private->answer_count++] = (stub_answer){id, table};
}
