/* What a script can't do: reach out, go on for ever, eat the memory, misspell a name. */
#include "support.h"

#include <base/log.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

static void test_what_is_gone(void **state)
{
    (void)state;
    static const char *const gone[] = {"load",  "dofile", "loadfile", "collectgarbage", "xpcall",    "io",
                                       "debug", "os",     "package",  "coroutine",      "loadstring"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        char text[100], expected[100];
        (void)snprintf(text, sizeof text, "local x = %s", gone[i]);
        (void)snprintf(expected, sizeof expected, "t.lua:1: '%s' is not available to scripts", gone[i]);
        lua_fails(text, expected);
    }
    lua_passes("assert(rawget(_G, 'load') == nil and rawget(string, 'dump') == nil)");
    lua_passes("assert(getmetatable(_G) == false and getmetatable('') == false)");
    lua_fails("setmetatable(_G, {})", "cannot change a protected metatable");
    lua_fails("setmetatable({}, { __gc = function() end })", "__gc is not available");
    lua_fails("setmetatable({}, setmetatable({ __gc = true }, {}))", "__gc is not available");
    lua_fails("getmetatable('').__index = nil", "attempt to index a boolean value");
}

static void test_bytecode(void **state)
{
    (void)state;
    lua_fails("\x1bLua", "this is compiled Lua; only source text is loaded");
    lua_fails("local x = = 1", "t.lua:1: unexpected symbol near '='");
}

static void test_globals(void **state)
{
    (void)state;
    lua_fails("local a = decimla('1')", "t.lua:1: unknown name 'decimla': did you mean 'decimal'?");
    lua_fails("local a = price", "unknown name 'price': a field is r.price");
    lua_passes("function helper() return 1 end assert(helper() == 1)");
    body_fails("count = 1", "{}", "'count' is not declared: write 'local count', or keep it in 'state'");
    body_fails("return onrecord", "{}", "did you mean 'on_record'?");
}

static void test_strings_are_no_numbers(void **state)
{
    (void)state;
    lua_fails("return ('1' + '2') / 2", "t.lua:1: arithmetic on the text \"1\": write decimal(x)");
    lua_fails("return 1 + '2'", "arithmetic on the text \"2\"");
    lua_fails("return -'2'", "arithmetic on the text");
    lua_fails("return '7' // 2", "arithmetic on the text");
    lua_fails("return decimal '1' + '2'", "decimal + on the text \"2\"");
    lua_fails("return math.max('10', '9')", "math.max on the text \"10\"");
    lua_fails("return math.floor('10.5')", "math.floor on the text");
    lua_passes("assert(tonumber('10') + 1 == 11 and tonumber(decimal '2.5') == 2.5 and tonumber(decimal '3.0') == 3)");
    lua_passes("assert(math.max(1, 2) == 2 and math.floor(2.5) == 2 and ('x'):rep(3) == 'xxx' and 1 .. 'a' == '1a')");
}

static bool runs_for(const char *body, int64_t limit_ns, const char *part)
{
    kit k;
    char text[KIT_TEXT];
    (void)snprintf(text, sizeof text, "function on_record(r) %s end", body);
    assert_true(kit_try(&k, text, (pl_script_setup){.component = "test", .time_limit_ns = limit_ns}));
    bool ended = kit_record(&k, "{}") == PL_FAILED && strstr(pl_script_reasons(k.script).ptr, part);
    if (!ended)
        print_message("%s: %s\n", body, pl_script_reasons(k.script).ptr);
    bool goes_on = kit_record(&k, "{\"stop\":true}") == PL_OK; /* the next record is not affected */
    kit_close(&k);
    return ended && goes_on;
}

#define MS INT64_C(1000000)
static void test_time(void **state)
{
    (void)state;
    const char *message = "t.lua:1: took longer than 50ms, the time limit of one call";
    assert_true(runs_for("if r.stop then return end while true do end", 50 * MS, message));
    assert_true(runs_for("if r.stop then return end while true do pcall(function() while true do end end) end", 50 * MS,
                         message));
    assert_true(
        runs_for("if r.stop then return end local function f() return pcall(f) or f() end f()", 50 * MS, message));
    assert_true(runs_for("if r.stop then return end while true do pcall(pcall, error) end", 50 * MS, message));
    assert_true(
        runs_for("if r.stop then return end repeat local t <close> = setmetatable({}, { __close = function() while "
                 "true do end end }) until false",
                 50 * MS, message));
    assert_true(runs_for("if r.stop then return end local t = {} for i = 1, 1000 do t[i] = i end "
                         "while true do table.sort(t, function(a, b) return a > b end) end",
                         50 * MS, message));
    assert_true(runs_for("if r.stop then return end while true do local s = ('x'):rep(1000000) end", 50 * MS, message));
}

static void *loop_with_signals_blocked(void *ended)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
    *(bool *)ended = runs_for("if r.stop then return end while true do end", 50 * MS, "took longer than 50ms");
    return NULL;
}

/* Stages of a flow block all signals; and each thread needs a timer of its own. */
static void test_time_on_other_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        pthread_t threads[2];
        bool ended[2] = {false, false};
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, loop_with_signals_blocked, &ended[t]), 0);
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
        assert_true(ended[0] && ended[1]);
    }
}

static void test_loops_in_c(void **state)
{
    (void)state;
    lua_fails("table.move({}, 1, 1 << 40, 2)", "table.move: more than 16777216 elements");
    lua_fails("table.insert(setmetatable({}, { __len = function() return 1 << 40 end }), 1, 1)",
              "more than 16777216 elements");
    lua_fails("table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, 1 << 40)",
              "more than 16777216");
    lua_passes("assert((''):rep(1 << 60) == '' and ('ab'):rep(2, '-') == 'ab-ab')");
    lua_fails("('x'):rep(1 << 50)", "string.rep: the result would be larger than the script's heap");
    lua_passes("local t = { 3, 1, 2 } table.sort(t) assert(table.concat(t, ',') == '1,2,3' and table.remove(t) == 3)");
}

static void test_memory(void **state)
{
    (void)state;
    kit k;
    assert_true(
        kit_try(&k,
                "local kept = {} function on_record(r) if r.keep then for i = 1, r.n do kept[#kept + 1] = ('x' .. "
                "i):rep(1000) end else local t = {} for i = 1, r.n do t[i] = ('x' .. i):rep(1000) end end end",
                (pl_script_setup){.component = "test", .memory_bytes = 4 << 20}));
    assert_int_equal(kit_record(&k, "{\"n\":100}"), PL_OK);
    kit_fails(&k, "{\"n\":100000}", "out of memory: one call wanted more than the script's heap has left");
    assert_int_equal(k.error.error_class, PL_REJECT);
    assert_int_equal(kit_record(&k, "{\"n\":100}"), PL_OK);
    assert_true(pl_script_heap_bytes(k.script) <= 4 << 20);
    kit_fails(&k, "{\"n\":100000,\"keep\":true}", "the script's heap is full");
    assert_int_equal(k.error.error_class, PL_HALT);
    kit_close(&k);
}

static void test_recursion(void **state)
{
    (void)state;
    lua_fails("local function f() return 1 + f() end f()", "stack overflow");
    body_gives("local function f(n) return n == 0 and 'x' or ('x'):gsub('x', function() return f(n - 1) end) end "
               "return (f(20))",
               "{}", "x");
}

static void test_messages(void **state)
{
    (void)state;
    kit k;
    pl_script_setup setup = {
        .component = "test",
        .text = "\nfunction on_record(r)\n  helper(r)\nend\nfunction helper(r)\n  error('bad ' .. r.n)\nend",
        .path = "pipeline.yaml",
        .first_line = 12};
    assert_true(kit_try(&k, NULL, setup));
    kit_fails(&k, "{\"n\":1}", "pipeline.yaml:17: bad 1\nstack traceback:");
    assert_string_equal(k.error.message, "pipeline.yaml:17: bad 1");
    assert_non_null(strstr(pl_script_reasons(k.script).ptr, "pipeline.yaml:14: in function"));
    assert_int_not_equal(k.error.code, 0);
    kit_close(&k);
    body_fails("error('<' .. ('x'):rep(200000))", "{}", "<xxxxx");
    body_fails("reject('<' .. ('x'):rep(200000))", "{}", "<xxxxx");
    body_fails("error({ code = 1 })", "{}", "table: ");
    body_fails("error()", "{}", "nil");
    body_fails("local x = r.a.b", "{}", "attempt to index a nil value (field 'a')");
    body_gives("local ok, e = pcall(error, 'x') return { ok = ok, e = e }", "{}", "{\"e\":\"x\",\"ok\":false}");
}

static char captured[1024];

static void capture(void *self, const char *line, size_t len)
{
    (void)self;
    (void)snprintf(captured + strlen(captured), sizeof captured - strlen(captured), "%.*s\n", (int)len, line);
}

static void test_log(void **state)
{
    (void)state;
    captured[0] = '\0';
    pl_log_capture(capture, NULL);
    lua_passes("print('hello', 1, nil, decimal '1.50') log.warn('late: ' .. 2) warn('one ', 'two')");
    pl_log_capture(NULL, NULL);
    assert_non_null(strstr(captured, "info test: hello 1 nil 1.50"));
    assert_non_null(strstr(captured, "warn test: late: 2"));
    assert_non_null(strstr(captured, "two"));
}

static void test_random(void **state)
{
    (void)state;
    kit a, b, c;
    const char *text = "function on_record() return { n = math.random(1 << 30) } end";
    assert_true(kit_try(&a, text, (pl_script_setup){.seed = 5}) && kit_try(&b, text, (pl_script_setup){.seed = 5}) &&
                kit_try(&c, text, (pl_script_setup){.seed = 6}));
    assert_int_equal(kit_record(&a, "{}") + kit_record(&b, "{}") + kit_record(&c, "{}"), 0);
    assert_string_equal(a.outputs[0].payload, b.outputs[0].payload);
    assert_string_not_equal(a.outputs[0].payload, c.outputs[0].payload);
    kit_close(&a);
    kit_close(&b);
    kit_close(&c);
}

static void test_require(void **state)
{
    (void)state;
    kit k;
    pl_script_setup setup = {.component = "test", .library = PL_SOURCE_DIR "/scripts/lib"};
    assert_true(kit_try(&k, "local a = require 'asof' assert(a == require('asof') and a.put)", setup));
    kit_close(&k);
    static const char *const refused[][2] = {
        {"require '../accuracy'", "names are made of a-z, 0-9, _ and /"},
        {"require '/etc/passwd'", "names are made of"},
        {"require 'a//b'", "names are made of"},
        {"require ''", "names are made of"},
        {"require 'nothing'", "there is no"},
        {"require 'Asof'", "names are made of"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_false(kit_try(&k, refused[i][0], setup));
        assert_non_null(strstr(k.error.message, refused[i][1]));
        kit_close(&k);
    }
    lua_fails("require 'asof'", "there is no library folder");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_gone), cmocka_unit_test(test_bytecode),
        cmocka_unit_test(test_globals),      cmocka_unit_test(test_strings_are_no_numbers),
        cmocka_unit_test(test_time),         cmocka_unit_test(test_time_on_other_threads),
        cmocka_unit_test(test_loops_in_c),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_recursion),    cmocka_unit_test(test_messages),
        cmocka_unit_test(test_log),          cmocka_unit_test(test_random),
        cmocka_unit_test(test_require),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
