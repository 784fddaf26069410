/* when: one expression over a record's fields. */
#include "support.h"

static bool passes(const char *expression, const char *json)
{
    pl_error error = {.message = ""};
    pl_arena *arena = pl_arena_new(1024);
    pl_when *when = pl_when_new(expression, "p.yaml", 7, NULL, &error);
    if (!when)
        fail_msg("%s", error.message);
    pl_record record = {.payload = pl_arena_str(arena, PL_S(json)), .time_unix_ns = 5, .key = PL_S("k")};
    bool pass = false;
    for (int i = 0; i < 3; i++) /* compiled once, used often */
        if (pl_when_test(when, &record, &pass, &error) != PL_OK)
            fail_msg("%s", error.message);
    pl_when_free(&when);
    pl_arena_free(&arena);
    return pass;
}

static void fails(const char *expression, const char *json, const char *part)
{
    pl_error error = {.message = ""};
    pl_arena *arena = pl_arena_new(1024);
    pl_when *when = pl_when_new(expression, "p.yaml", 7, NULL, &error);
    pl_record record = {.payload = pl_arena_str(arena, PL_S(json))};
    bool pass = true;
    if (when) {
        assert_int_equal(pl_when_test(when, &record, &pass, &error), PL_FAILED);
        assert_int_equal(error.error_class, PL_REJECT);
    } else {
        assert_int_equal(error.error_class, PL_BAD_CONFIG);
    }
    assert_true(pass);
    if (!strstr(error.message, part))
        fail_msg("expected '%s', got: %s", part, error.message);
    pl_when_free(&when);
    pl_arena_free(&arena);
}

static void test_passes(void **state)
{
    (void)state;
    const char *json = "{\"verdict\":\"stale\",\"basis\":\"now\",\"n\":3,\"d\":1.50,\"s\":\"2.5\",\"q\":{\"p\":0.1},"
                       "\"nul\":null,\"time\":8,\"f\":false}";
    assert_true(passes("verdict ~= \"ok\" and basis == \"now\"", json));
    assert_false(passes("verdict == 'ok'", json));
    assert_true(passes("n > 2 and d > 1 and d < 1.6 and d >= decimal '1.5'", json));
    assert_true(passes("decimal(s) > 2 and q.p <= 0.1 -- a comment", json));
    assert_true(passes("none == nil and nul == null", json));
    assert_false(passes("nul", json));
    assert_false(passes("none", json));
    assert_false(passes("f", json));
    assert_true(passes("r.time == 8 and m.key == 'k' and m.time == 5", json));
    assert_true(passes("math.max(n, 2) == 3 and s:find('5') and tonumber(s) > 2", json));
    assert_true(passes("n > 1\n  and n < 5", json));
    assert_true(passes("a == nil", "{}"));
}

static void test_fails(void **state)
{
    (void)state;
    fails("verdict ==", "{}", "p.yaml:");
    fails("x = 1", "{}", "p.yaml:7:");
    fails("1) and (2) return (3", "{}", "p.yaml:7:");
    fails("n > 1", "{\"n\":\"2\"}", "p.yaml:7: attempt to compare number with string");
    fails("n > 1", "{}", "attempt to compare number with nil");
    fails("n + 1 > 1", "{\"n\":\"2\"}", "arithmetic on the text \"2\"");
    fails("os.exit()", "{}", "attempt to index a nil value (global 'os')");
    fails("n == 1", "{\"n\":", "JSON");
    fails("(function() m.key = 'x' end)()", "{}", "the envelope can't be changed here");
    fails("(function() m.headers.a = 'x' end)()", "{}", "the envelope can't be changed here");
    fails("(function() while true do end end)()", "{}", "took longer than 1s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_passes), cmocka_unit_test(test_fails)};
    return cmocka_run_group_tests_name("when", tests, NULL, NULL);
}
