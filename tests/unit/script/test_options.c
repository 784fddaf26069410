/* options { ... } against the `with` of a pipeline file. */
#include "support.h"

#include <config/load.h>

static const char script[] =
    "options { age = duration { '20m', min = '1s', max = '1d', doc = 'how old' }, n = integer { 2, min = 1, max = 10 "
    "}, x = number { 0.5 },\n"
    "  band = percent { '0.5%' }, price = decimal { '1.50', min = 0 }, name = string { 'a \"b\"\\\\' }, on = boolean { "
    "true },\n"
    "  mode = enum { 'fast', 'slow' }, pairs_ = list { { 'A', 'B' }, of = 'string' }, ids = list { of = 'integer' },\n"
    "  bytes = size { '1MiB' }, must = string { required = true }, maybe = integer {} }\n"
    "function on_record() return { age = with.age, n = with.n, x = with.x, band = with.band, price = with.price, name "
    "= with.name, on = with.on,\n"
    "  mode = with.mode, pairs_ = array(with.pairs_), ids = with.ids and array(with.ids), bytes = with.bytes, must = "
    "with.must,\n"
    "  maybe = with.maybe } end";

typedef struct loaded {
    kit kit;
    pl_arena *arena;
    pl_diags *diags;
    pl_buf text;
    bool good;
} loaded;

static void load(loaded *l, const char *text, const char *yaml)
{
    l->arena = pl_arena_new(4096);
    l->diags = pl_diags_new();
    l->text = PL_BUF(1 << 16);
    pl_yaml_setup setup = {.arena = l->arena, .diags = l->diags};
    const pl_node *with = *yaml ? pl_yaml_parse(PL_S(yaml), "p.yaml", &setup) : NULL;
    l->good = kit_try(&l->kit, text, (pl_script_setup){.component = "acc", .with = with, .diags = l->diags});
    pl_diags_render(l->diags, &l->text);
}

static void unload(loaded *l)
{
    kit_close(&l->kit);
    pl_arena_free(&l->arena);
    pl_diags_free(&l->diags);
    pl_buf_release(&l->text);
}

static void says(const char *text, const char *yaml, const char *part)
{
    loaded l;
    load(&l, text, yaml);
    assert_false(l.good);
    if (!strstr(pl_buf_str(&l.text).ptr, part))
        fail_msg("expected '%s', got: %s", part, pl_buf_str(&l.text).ptr);
    assert_int_equal(l.kit.error.error_class, PL_BAD_CONFIG);
    unload(&l);
}

static void test_values(void **state)
{
    (void)state;
    loaded l;
    load(&l, script, "{ must: yes-text }");
    if (!l.good)
        fail_msg("%s %s", l.kit.error.message, pl_buf_str(&l.text).ptr);
    kit_expect(
        &l.kit, "{}",
        "{\"age\":1200000000000,\"band\":\"0.5\",\"bytes\":1048576,\"mode\":\"fast\",\"must\":\"yes-text\",\"n\":2,"
        "\"name\":\"a \\\"b\\\"\\\\\",\"on\":true,\"pairs_\":[\"A\",\"B\"],\"price\":\"1.50\",\"x\":0.5}",
        NULL);
    unload(&l);
    load(&l, script,
         "age: 90s\nn: 7\nx: 1.25\nband: 2%\nprice: 0.10\nname: z\non: false\nmode: slow\npairs_: [C]\nids: [1, 2]\n"
         "bytes: 2kB\nmust: m\nmaybe: 3\n");
    assert_true(l.good);
    kit_expect(&l.kit, "{}",
               "{\"age\":90000000000,\"band\":\"2\",\"bytes\":2000,\"ids\":[1,2],\"maybe\":3,\"mode\":\"slow\","
               "\"must\":\"m\",\"n\":7,"
               "\"name\":\"z\",\"on\":false,\"pairs_\":[\"C\"],\"price\":\"0.10\",\"x\":1.25}",
               NULL);
    unload(&l);
}

static void test_mistakes(void **state)
{
    (void)state;
    says(script, "{ must: a, agee: 5m }", "p.yaml:1:12: error: unknown key 'agee' in transform 'acc' (t.lua)");
    says(script, "{ must: a, agee: 5m }", "did you mean 'age'?");
    says(script, "{ must: a, n: two }", "p.yaml:1:15: error:");
    says(script, "{ must: a, n: 11 }", "p.yaml:1:15: error:");
    says(script, "{ must: a, age: 5 }", "p.yaml:1:17: error:");
    says(script, "{ must: a, mode: medium }", "p.yaml:1:18: error:");
    says(script, "{ n: 3 }", "must");
    says("function on_record() end", "{ n: 3 }", "p.yaml:1:3: error: unknown key 'n'");
    loaded l;
    load(&l, script, "{ must: a, n: two, age: 5, bogus: 1 }"); /* all at once */
    assert_int_equal(pl_diags_errors(l.diags), 3);
    unload(&l);
    kit k;
    assert_false(kit_try(&k, script, (pl_script_setup){.component = "acc"})); /* no diags: the error tells */
    assert_non_null(strstr(k.error.message, "must"));
    kit_close(&k);
}

static void test_declarations(void **state)
{
    (void)state;
    lua_fails("options { a = 5 }", "options: 'a': a type was expected: duration, integer");
    lua_fails("options { a = integer { 1, minn = 2 } }", "options: 'a': 'minn' is not known here, did you mean 'min'?");
    lua_fails("options { a = enum {} }", "the choices are missing");
    lua_fails("options { a = list { of = 'strin' } }", "`of` is the name of a type");
    lua_fails("options {} options {}", "options: once, while the script loads");
    lua_fails("options { integer { 1 } }", "options: names are text");
    lua_fails("options { a = integer { 1, min = {} } }", "min and max are numbers");
    lua_fails("options { max_age = duration { '1m' } } return with.maxage",
              "with.maxage: there is no such option: did you mean 'max_age'?");
    lua_fails("return with.x", "with.x: there is no such option; declare it with options { ... }");
    lua_fails("options { a = integer { 1 } } with.a = 2", "with.a can't be set");
    lua_fails("options { a = duration { '20 minutes' } }", "a");
    lua_passes("options { a = duration '20m', b = integer(3), c = string 'x', d = decimal { 5 } } assert(with.a == 20 "
               "* time.minute and "
               "with.b == 3 and with.c == 'x' and with.d == decimal '5')");
    lua_fails("emits {}", "emits: a list of 1 to 256 field names was expected");
    lua_fails("emits { 'a', 5 }", "[2] is a number");
    body_fails("options {}", "{}", "options: once, while the script loads");
}

static void test_describe(void **state)
{
    (void)state;
    pl_buf out = PL_BUF(1 << 16);
    pl_error error = {.message = ""};
    pl_script_setup setup = {.path = "t.lua", .text = script};
    assert_int_equal(pl_script_describe(&setup, &out, &error), PL_OK); /* though a required option is missing */
    static const char *const parts[] = {"age", "how old", "20m", "must", "required", "fast", "duration"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(pl_buf_str(&out).ptr, parts[i]))
            fail_msg("no '%s' in: %s", parts[i], pl_buf_str(&out).ptr);
    pl_buf_clear(&out);
    setup.text = "function on_record() end";
    assert_int_equal(pl_script_describe(&setup, &out, &error), PL_OK);
    assert_int_equal(out.len, 0);
    setup.text = "options { a = ";
    assert_int_equal(pl_script_describe(&setup, &out, &error), PL_FAILED);
    assert_non_null(strstr(error.message, "t.lua:1:"));
    pl_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_mistakes),
                                       cmocka_unit_test(test_declarations), cmocka_unit_test(test_describe)};
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
