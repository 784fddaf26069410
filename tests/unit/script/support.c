#include "support.h"

#include <stdlib.h>

static pl_status on_emit(void *self, const char *port, const pl_record *out, pl_error *error)
{
    kit *k = self;
    if (k->emit_status != PL_OK)
        return pl_fail(error, PL_HALT, "the flow is broken");
    assert_true(k->output_count < KIT_OUTPUTS);
    assert_null(out->ack);
    k->outputs[k->output_count].record = *out;
    (void)snprintf(k->outputs[k->output_count].port, 64, "%s", port ? port : "");
    (void)snprintf(k->outputs[k->output_count].key, 64, "%.*s", (int)out->key.len, out->key.ptr ? out->key.ptr : "");
    (void)snprintf(k->outputs[k->output_count++].payload, KIT_TEXT, "%.*s", (int)out->payload.len,
                   out->payload.ptr ? out->payload.ptr : "(null)");
    return PL_OK;
}

static pl_status on_defer(void *self, int64_t at, pl_str key, int ref, pl_error *error)
{
    kit *k = self;
    (void)error;
    for (size_t i = 0; i < k->defer_count; i++)
        if (k->defers[i].at == at && strlen(k->defers[i].key) == key.len &&
            memcmp(k->defers[i].key, key.ptr, key.len) == 0)
            return PL_AGAIN;
    assert_true(k->defer_count < KIT_OUTPUTS);
    k->defers[k->defer_count].at = at;
    k->defers[k->defer_count].ref = ref;
    (void)snprintf(k->defers[k->defer_count++].key, 64, "%.*s", (int)key.len, key.ptr);
    return PL_OK;
}

static void on_metric(void *self, const char *name, double value)
{
    kit *k = self;
    assert_string_equal(name, "seen");
    k->metric = value;
}

bool kit_try(kit *k, const char *text, pl_script_setup setup)
{
    memset(k, 0, sizeof *k);
    k->error.struct_size = sizeof k->error;
    k->host = (pl_script_host){k, on_emit, on_defer, on_metric};
    pl_virtual_clock_init(&k->clock, 1651399200000000000);
    k->arena = pl_arena_new(4096);
    if (text) {
        setup.text = text;
        setup.path = "t.lua";
    }
    setup.host = &k->host;
    setup.clock = &k->clock.clock;
    k->script = pl_script_new(&setup, &k->error);
    return k->script != NULL;
}

void kit_open(kit *k, const char *text)
{
    if (!kit_try(k, text, (pl_script_setup){.component = "test"}))
        fail_msg("%s", k->error.message);
}

void kit_close(kit *k)
{
    pl_script_free(&k->script);
    pl_arena_free(&k->arena);
}

pl_status kit_record(kit *k, const char *json)
{
    pl_record record = {.stream = PL_S("s"), .key = PL_S("k"), .time_unix_ns = 1000, .position = 7};
    record.payload = pl_arena_str(k->arena, PL_S(json));
    k->output_count = 0;
    return pl_script_record(k->script, &record, k->arena, &k->error);
}

void kit_expect(kit *k, const char *json, ...)
{
    size_t count = 0;
    va_list list;
    if (kit_record(k, json) != PL_OK)
        fail_msg("%s", pl_script_reasons(k->script).ptr);
    va_start(list, json);
    for (const char *expected; (expected = va_arg(list, const char *)); count++) {
        assert_true(count < k->output_count);
        assert_string_equal(k->outputs[count].payload, expected);
    }
    va_end(list);
    assert_int_equal(k->output_count, count);
}

void kit_fails(kit *k, const char *json, const char *part)
{
    assert_int_equal(kit_record(k, json), PL_FAILED);
    pl_str reasons = pl_script_reasons(k->script);
    if (!strstr(reasons.ptr, part))
        fail_msg("expected '%s', got: %s", part, reasons.ptr);
}

void lua_passes(const char *text)
{
    kit k;
    kit_open(&k, text);
    kit_close(&k);
}

void lua_fails(const char *text, const char *part)
{
    kit k;
    pl_script_setup setup = {.component = "test", .time_limit_ns = 30000000000}; /* sanitizers on a busy machine */
    if (kit_try(&k, text, setup))
        fail_msg("expected '%s', but it passed: %s", part, text);
    if (!strstr(k.error.message, part))
        fail_msg("expected '%s', got: %s", part, k.error.message);
    assert_int_equal(k.error.error_class, PL_BAD_CONFIG);
    kit_close(&k);
}

static void open_body(kit *k, const char *body)
{
    char text[KIT_TEXT];
    (void)snprintf(text, sizeof text, "function on_record(r, m) %s end", body);
    kit_open(k, text);
}

void body_gives(const char *body, const char *json, const char *payload)
{
    kit k;
    open_body(&k, body);
    kit_expect(&k, json, *payload ? payload : NULL, NULL);
    kit_close(&k);
}

void body_fails(const char *body, const char *json, const char *part)
{
    kit k;
    open_body(&k, body);
    kit_fails(&k, json, part);
    kit_close(&k);
}
