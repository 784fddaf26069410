/* What a script gives out and asks for: emit, reject, defer, every, metric. */
#include "support.h"

static void test_emit(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "function on_record(r) emit(r) emit('late', { a = 1 }) r.x = 1 emit(r) emit({ { b = 1 }, r }) return "
                 "{ c = 1 } end");
    kit_expect(&k, "{}", "{}", "{\"a\":1}", "{\"x\":1}", "{\"b\":1}", "{\"x\":1}", "{\"c\":1}", NULL);
    assert_string_equal(k.outputs[1].port, "late");
    assert_string_equal(k.outputs[2].port, "");
    assert_string_equal(k.outputs[0].key, "k");
    assert_int_equal(k.outputs[1].record.time_unix_ns, 1000);
    assert_int_equal(k.outputs[1].record.position, 7);
    kit_close(&k);
    body_gives("", "{}", "");
    body_gives("return nil", "{}", "");
    body_gives("return false", "{}", "");
    body_gives("return {}", "{}", "");
    body_gives("return array {}", "{}", "");
    body_gives("return object {}", "{}", "{}");
    body_fails("emit()", "{}", "emit: call it as");
    body_fails("emit(nil)", "{}", "emit: the record is nil");
    body_fails("emit(1, r)", "{}", "bad argument #1 to 'emit'") /* numbers are text to Lua, but not a port */;
    lua_fails("emit {}", "emit: there is no record to work on while the script loads");
}

static void test_reject(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "function on_record(r) if r.list then reject(array(record.totable(r).list)) return r end "
                 "reject('price is ' .. r.price) end");
    kit_fails(&k, "{\"price\":0}", "price is 0");
    assert_string_equal(pl_script_reasons(k.script).ptr, "price is 0");
    assert_int_equal(k.error.error_class, PL_REJECT);
    assert_int_equal(k.error.code, 0);
    kit_fails(&k, "{\"list\":[\"a\",\"b\"]}", "a; b");
    kit_expect(&k, "{\"list\":[]}", "{\"list\":[]}", NULL);
    assert_int_equal(pl_script_reasons(k.script).len, 0);
    kit_close(&k);
    body_fails("pcall(reject, 'no') return r", "{}", "no");
    body_fails(
        "pcall(function() local x <close> = setmetatable({}, { __close = function() end }) reject 'no' end) return r",
        "{}", "no");
    lua_fails("reject 'x'", "reject: there is no record");
}

static void test_host_failure(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "function on_record(r) pcall(emit, r) return r end");
    k.emit_status = PL_FAILED;
    kit_fails(&k, "{}", "the flow is broken");
    assert_int_equal(k.error.error_class, PL_HALT);
    kit_close(&k);
}

static void test_defer(void **state)
{
    (void)state;
    kit k;
    pl_record envelope = {.time_unix_ns = 77, .key = PL_S("dk")};
    kit_open(&k, "function on_record(r) local n = r.n defer(n, 'a', function(m) return { n = n, at = m.time } end) "
                 "defer(n, 'a', "
                 "function() end) defer(5, 'b', function() error 'late' end) end");
    kit_expect(&k, "{\"n\":5}", NULL);
    assert_int_equal(k.defer_count, 2);
    assert_int_equal(k.defers[0].at, 5);
    assert_string_equal(k.defers[1].key, "b");
    assert_int_equal(pl_script_deferred(k.script, k.defers[0].ref, &envelope, k.arena, &k.error), PL_OK);
    assert_string_equal(k.outputs[0].payload, "{\"at\":77,\"n\":5}");
    assert_string_equal(k.outputs[0].key, "dk");
    assert_int_equal(pl_script_deferred(k.script, k.defers[1].ref, &envelope, k.arena, &k.error), PL_FAILED);
    kit_fails(&k, "{}", "bad argument #1 to 'defer'");
    kit_close(&k);
    body_fails("defer(1, 2, function() end)", "{}", "string expected");
    body_fails("defer(1, 'x')", "{}", "function expected");
    lua_fails("defer(1, 'x', function() end)", "defer: there is no record");
}

static void test_every(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "local n = 0 every('10s', function(m) n = n + 1 return { n = n, at = time.format(m.time) } end) "
                 "every('1m', function() end)");
    assert_false(pl_script_has_on_record(k.script));
    assert_int_equal(pl_script_timer_count(k.script), 2);
    assert_int_equal(pl_script_timer_period(k.script, 0), 10000000000);
    assert_int_equal(pl_script_timer_period(k.script, 1), 60000000000);
    assert_int_equal(pl_script_timer(k.script, 0, k.arena, &k.error), PL_OK);
    assert_string_equal(k.outputs[0].payload, "{\"at\":\"2022-05-01T10:00:00Z\",\"n\":1}");
    assert_int_equal(pl_script_timer(k.script, 2, k.arena, &k.error), PL_FAILED);
    kit_close(&k);
    lua_fails("every('10', function() end)", "every: ");
    lua_fails("every('0s', function() end)", "the period must be above 0");
    body_fails("every('1s', function() end)", "{}", "every: timers are set up while the script loads");
}

static void test_metric(void **state)
{
    (void)state;
    kit k;
    kit_open(&k, "function on_record(r) metric('seen', r.n) end");
    kit_expect(&k, "{\"n\":2.5}", NULL);
    assert_true(k.metric > 2.4 && k.metric < 2.6);
    kit_expect(&k, "{}", NULL);
    assert_true(k.metric > 0.9 && k.metric < 1.1);
    kit_close(&k);
}

/* ---- runs of records ------------------------------------------------------------- */

typedef struct run {
    kit *kit;
    int next, count; /* payloads {"n":1} to {"n":count} */
    pl_record record;
} run;

static const pl_record *next_number(void *self, pl_arena **arena)
{
    run *r = self;
    char json[32];
    if (r->next == r->count)
        return NULL;
    (void)snprintf(json, sizeof json, "{\"n\":%d}", ++r->next);
    r->record = (pl_record){.payload = pl_arena_str(r->kit->arena, PL_S(json))};
    *arena = r->kit->arena;
    return &r->record;
}

static pl_status go_on(run *r)
{
    return pl_script_records(r->kit->script, next_number, r, &r->kit->error);
}

static void test_run(void **state)
{
    (void)state;
    kit k;
    run r = {.kit = &k, .count = 6};
    kit_open(&k,
             "local before\nfunction on_record(r)\n  if before then assert(not pcall(function() return before.n end)) "
             "end\n  before = r\n  if r.n == 2 then r.n = nil .. 'x' end\n  if r.n == 4 then return 5 end\n"
             "  if r.n == 5 then emit(r) reject 'no' end\n  return r\nend");
    assert_int_equal(go_on(&r), PL_FAILED);
    assert_int_equal(r.next, 2);
    assert_string_equal(pl_script_reasons(k.script).ptr,
                        "t.lua:5: attempt to concatenate a nil value\nstack traceback:\n\tt.lua:5: in function "
                        "'on_record'"); /* and no frame of ours */
    assert_int_equal(go_on(&r), PL_FAILED);
    assert_int_equal(r.next, 4);
    assert_string_equal(pl_script_reasons(k.script).ptr,
                        "a record to give out is r, a table, or text; this is a number\nstack traceback:\n\t[C]: in ?");
    assert_int_equal(go_on(&r), PL_FAILED);
    assert_string_equal(pl_script_reasons(k.script).ptr, "no");
    assert_int_equal(go_on(&r), PL_OK);
    assert_int_equal(go_on(&r), PL_OK); /* there was none */
    assert_int_equal(k.output_count, 4);
    assert_string_equal(k.outputs[0].payload, "{\"n\":1}");
    assert_string_equal(k.outputs[1].payload, "{\"n\":3}");
    assert_string_equal(k.outputs[2].payload, "{\"n\":5}"); /* the flow's to take back */
    assert_string_equal(k.outputs[3].payload, "{\"n\":6}");
    kit_close(&k);
}

/* All of them together take many times what one may. */
static void test_run_time(void **state)
{
    (void)state;
    kit k;
    run r = {.kit = &k, .count = 1000};
    pl_script_setup setup = {.component = "test", .time_limit_ns = 50000000};
    assert_true(kit_try(&k, "function on_record(r) for i = 1, 200000 do end while r.n == 1000 do end end", setup));
    assert_int_equal(go_on(&r), PL_FAILED);
    assert_int_equal(r.next, 1000);
    assert_non_null(strstr(k.error.message, "took longer than 50ms"));
    assert_int_equal(go_on(&r), PL_OK);
    kit_close(&k);
}

static void test_checking_only(void **state)
{
    (void)state;
    pl_error error = {.message = ""};
    pl_script_setup setup = {
        .path = "t.lua", .text = "function on_record(r) defer(1, 'k', function() end) emit(r) metric 'x' return r end"};
    pl_script *script = pl_script_new(&setup, &error);
    pl_arena *arena = pl_arena_new(1024);
    pl_record record = {.payload = pl_arena_str(arena, PL_S("{}"))};
    assert_non_null(script);
    assert_int_equal(pl_script_record(script, &record, arena, &error), PL_OK);
    pl_script_free(&script);
    assert_null(script);
    pl_script_free(&script);
    pl_arena_free(&arena);
    setup = (pl_script_setup){.path = "nowhere/t.lua"};
    assert_null(pl_script_new(&setup, &error));
    assert_string_equal(error.message, "there is no script nowhere/t.lua");
    lua_fails("on_record = 5", "on_record is a number; a function was expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_emit),  cmocka_unit_test(test_reject),   cmocka_unit_test(test_host_failure),
        cmocka_unit_test(test_defer), cmocka_unit_test(test_every),    cmocka_unit_test(test_metric),
        cmocka_unit_test(test_run),   cmocka_unit_test(test_run_time), cmocka_unit_test(test_checking_only)};
    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
