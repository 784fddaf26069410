/* state: what is kept, that it comes back the same, and what is refused. */
#include "support.h"

#include <base/random.h>
#include <stdlib.h>

static void save(kit *k, pl_buf *out)
{
    pl_buf_clear(out);
    if (pl_script_save(k->script, out, &k->error) != PL_OK)
        fail_msg("%s", k->error.message);
}

static const char fill[] =
    "state.s = 'text\\0\\xff' state.i = -5 state.big = math.mininteger state.f = 0.1 state.t = true state.no = false\n"
    "state.d = decimal '1.50' state.n = decimal('2.0'):number() state.null = null\n"
    "state.list = { 10, 20, { 30 } } state.marked = { array {}, object {}, array { 1 } }\n"
    "state[7] = 'seven' state[-1] = 'minus' state['7'] = 'text seven' state.nested = { a = { b = { c = 1 } } }";

static const char check[] =
    "assert(state.s == 'text\\0\\xff' and state.i == -5 and state.big == math.mininteger and state.f == 0.1)\n"
    "assert(state.t == true and state.no == false and state.d == decimal '1.5' and tostring(state.d) == '1.50')\n"
    "assert(state.null == null and state.list[3][1] == 30 and #state.list == 3 and state[7] == 'seven')\n"
    "assert(state[-1] == 'minus' and state['7'] == 'text seven' and state.nested.a.b.c == 1)\n"
    "function on_record() return { d = state.d, n = state.n, m = state.marked } end";

static void test_round_trip(void **state)
{
    (void)state;
    kit a, b;
    pl_buf first = PL_BUF(1 << 20), second = PL_BUF(1 << 20);
    kit_open(&a, fill);
    save(&a, &first);
    assert_true(kit_try(&b, check, (pl_script_setup){.component = "test", .state = pl_buf_str(&first)}));
    kit_expect(&b, "{}", "{\"d\":\"1.50\",\"m\":[[],{},[1]],\"n\":2.0}", NULL);
    save(&b, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    kit_close(&a);
    kit_close(&b);
    pl_buf_release(&first);
    pl_buf_release(&second);
}

static void test_canonical(void **state)
{
    (void)state;
    kit a, b;
    pl_buf first = PL_BUF(1 << 20), second = PL_BUF(1 << 20);
    kit_open(&a, "for i = 1, 200 do state['k' .. i] = i state[i] = true end");
    kit_open(&b, "for i = 200, 1, -1 do state[i] = true state['k' .. i] = i end state.gone = 1 state.gone = nil");
    save(&a, &first);
    save(&b, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    kit_close(&a);
    kit_close(&b);
    pl_buf_release(&first);
    pl_buf_release(&second);
}

static void refuses(const char *text, const char *message)
{
    kit k;
    pl_buf out = PL_BUF(1 << 20);
    pl_buf_adds(&out, "before");
    kit_open(&k, text);
    assert_int_equal(pl_script_save(k.script, &out, &k.error), PL_FAILED);
    assert_int_equal(k.error.error_class, PL_HALT);
    assert_string_equal(k.error.message, message);
    assert_string_equal(out.data, "before");
    kit_close(&k);
    pl_buf_release(&out);
}

static void test_refusals(void **state)
{
    (void)state;
    refuses("state.a = { b = { ['ETH-USD'] = { 1, print } } }",
            "state.a.b[\"ETH-USD\"][2]: a function can't be kept: state is plain data");
    refuses("state.a = {} state.b = { state.a }",
            "state.b[1]: the same table stands in two places of state (or contains itself): keep a copy");
    refuses("state.a = {} state.a.x = state.a",
            "state.a.x: the same table stands in two places of state (or contains itself): keep a copy");
    refuses("state.m = setmetatable({}, { __index = {} })",
            "state.m: a table with a metatable can't be kept: state is plain data");
    refuses("state[0.5] = 1", "state: a key is a number; text or an integer was expected");
    refuses("state = 5", "state is a number; it must stay a table");
    kit k;
    pl_buf out = PL_BUF(1 << 20);
    kit_open(&k, "function on_record(r) state.r = r end");
    kit_expect(&k, "{}", NULL);
    assert_int_equal(pl_script_save(k.script, &out, &k.error), PL_FAILED);
    assert_string_equal(k.error.message,
                        "state.r: a record lives for one call only: keep its fields, or record.totable(r)");
    kit_close(&k);
    out.max = 10;
    kit_open(&k, "state.x = ('x'):rep(1000)");
    assert_int_equal(pl_script_save(k.script, &out, &k.error), PL_FAILED);
    kit_close(&k);
    pl_buf_release(&out);
}

/* Restoring must take any bytes: a clear error or a state, nothing else. */
static void test_damage(void **state)
{
    (void)state;
    kit k;
    pl_buf saved = PL_BUF(1 << 20);
    pl_random random;
    pl_random_seed(&random, 11);
    kit_open(&k, fill);
    save(&k, &saved);
    kit_close(&k);
    for (int i = 0; i < 600; i++) {
        size_t len = i < 300 ? (size_t)pl_random_below(&random, saved.len) : saved.len;
        char *copy = test_malloc(saved.len + 1);
        memcpy(copy, saved.data, saved.len);
        if (i >= 300)
            copy[pl_random_below(&random, saved.len)] = (char)pl_random_next(&random);
        bool opened = kit_try(&k, "", (pl_script_setup){.component = "test", .state = {copy, len}});
        assert_true(opened || strstr(k.error.message, "the saved state is") || strstr(k.error.message, "memory"));
        assert_true(i >= 300 || !opened); /* a shorter one never passes */
        kit_close(&k);
        test_free(copy);
    }
    pl_buf_release(&saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_canonical),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests_name("keep", tests, NULL, NULL);
}
