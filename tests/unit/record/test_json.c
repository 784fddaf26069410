/* The reader: several documents at once, whole-document validation, doubles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/mem.h>
#include <base/str.h>
#include <math.h>
#include <record/json.h>
#include <stdlib.h>

static pl_json_reader *reader;
static pl_error error;

static int set_up(void **state)
{
    (void)state;
    reader = pl_json_reader_new();
    return reader ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pl_json_reader_free(&reader);
    assert_null(reader);
    pl_json_reader_free(&reader);
    return 0;
}

static pl_status check(const char *text)
{
    return pl_json_load_copy(reader, PL_S(text), PL_JSON_FULL, &error);
}

static void a_list_of_tickers(void **state)
{
    (void)state;
    assert_int_equal(
        check("[{\"id\":\"btc\",\"quotes\":{\"USD\":{\"price\":107077.69661924685,\"n\":[]}}},{\"id\":\"eth\"}]"),
        PL_OK);
    pl_value value;
    assert_int_equal(pl_json_find(reader, PL_S("[0].quotes.USD.price"), &value, &error), PL_OK);
    assert_int_equal(value.type, PL_DECIMAL);
    assert_true(pl_str_is(value.as.s, "107077.69661924685"));
    assert_int_equal(pl_json_find(reader, PL_S("[1].id"), &value, &error), PL_OK);
    assert_true(pl_str_is(value.as.s, "eth"));
    assert_int_equal(pl_json_find(reader, PL_S("[1].quotes.USD"), &value, &error), PL_END);
    assert_int_equal(pl_json_find(reader, PL_S("[2]"), &value, NULL), PL_END);
    assert_int_equal(pl_json_find(reader, PL_S("[1].."), &value, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_BAD_CONFIG);
    static const struct {
        const char *path;
        int64_t count;
    } counts[] = {{"", 2}, {"[0]", 2}, {"[0].quotes.USD.n", 0}, {"[0].id", -1}, {"[7]", -1}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        pl_path path;
        assert_int_equal(pl_path_parse(PL_S(counts[i].path), &path, &error), PL_OK);
        assert_true(pl_json_count(reader, &path) == counts[i].count);
    }
}

static void several_documents_live_at_once(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    pl_json_reader *readers[COUNT];
    char text[64];
    for (int i = 0; i < COUNT; i++) {
        readers[i] = pl_json_reader_new();
        (void)snprintf(text, sizeof text, "{\"a\":%d,\"b\":\"\\u004%d\"}", i, i % 10);
        assert_int_equal(pl_json_load_copy(readers[i], PL_S(text), PL_JSON_FULL, &error), PL_OK);
    }
    for (int i = COUNT; i-- > 0;) {
        pl_value value;
        assert_int_equal(pl_json_find(readers[i], PL_S("a"), &value, &error), PL_OK);
        assert_int_equal(value.as.i, i);
        assert_int_equal(pl_json_find(readers[i], PL_S("b"), &value, &error), PL_OK);
        assert_int_equal(value.as.s.ptr[0], 0x40 + i % 10);
        pl_json_reader_free(&readers[i]);
    }
}

static void nothing_loaded_holds_nothing(void **state)
{
    (void)state;
    pl_value value;
    pl_json_item item;
    uint32_t cursor = 0;
    assert_int_equal(check("{\"a\":1}"), PL_OK);
    assert_int_equal(check("{\"a\":}"), PL_FAILED);
    assert_int_equal(pl_json_find(reader, PL_S(""), &value, &error), PL_END);
    assert_int_equal(pl_json_find(reader, PL_S("a"), &value, &error), PL_END);
    assert_int_equal(pl_json_each(reader, PL_JSON_ROOT, &cursor, &item, &error), PL_END);
    assert_null(pl_json_raw(reader, PL_JSON_ROOT).ptr);
    assert_int_equal(check("{\"a\":1}"), PL_OK);
    size_t before = pl_json_reader_bytes(reader);
    char *large = pl_calloc(1 << 20, 1);
    memset(large, ' ', 1 << 20);
    large[0] = '1';
    assert_int_equal(pl_json_load_copy(reader, (pl_str){large, 1 << 20}, PL_JSON_FULL, &error), PL_OK);
    assert_true(pl_json_reader_bytes(reader) > 1 << 22);
    pl_json_unload(reader, 1 << 16);
    assert_true(pl_json_reader_bytes(reader) <= before + (1 << 16));
    assert_int_equal(pl_json_find(reader, PL_S(""), &value, &error), PL_END);
    pl_free(large);
}

static void full_validation_accepts(void **state)
{
    (void)state;
    static const char *const fine[] = {
        "{}",
        "[]",
        "0",
        "-0",
        "-0.0",
        "1e308",
        "1E-400",
        "\"\"",
        " true ",
        "null",
        "[1.7976931348623157e308]",
        "115792089237316195423570985008687907853269984665640564039457584007913129639935",
        "[-123456789012345678901234567890,1.5,\"\\ud83d\\ude00\",{\"a\":{}}]",
        "{\"a\":1,\"a\":2}",
        "\t{ \"a\" :\r\n[ ] } ",
        "\"\\/\\b\\f\\n\\r\\t\\\\\\\"\"",
        "\"\x7F\"",
        "0.00000000000000000000000000000000000000000000000000000000000000000000000001e70",
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (check(fine[i]) != PL_OK)
            fail_msg("%s: %s", fine[i], error.message);
}

static void full_validation_rejects(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"1e999", "not JSON: a number beyond the range of a double at byte 0"},
        {"[1,-1e309]", "not JSON: a number beyond the range of a double at byte 3"},
        {"[1.7976931348623159e308]", "not JSON: a number beyond the range of a double at byte 1"},
        {"[NaN]", "not JSON: a value is expected at byte 1"},
        {"[Infinity]", "not JSON: a value is expected at byte 1"},
        {"[01]", "not JSON: a value is expected at byte 1"},
        {"[1.]", "not JSON: a value is expected at byte 1"},
        {"[.5]", "not JSON: a value is expected at byte 1"},
        {"[+1]", "not JSON: a value is expected at byte 1"},
        {"[1,]", "not JSON: a value is expected at byte 3"},
        {"[1 2]", "not JSON: a comma or ] is expected at byte 3"},
        {"[1}", "not JSON: an object or array without its end at byte 3"},
        {"{\"a\":[1}}", "not JSON: a comma or ] is expected at byte 7"},
        {"[\"\\x\"]", "not JSON: a wrong escape in a string at byte 1"},
        {"[\"\\ud800\"]", "not JSON: a wrong escape in a string at byte 1"},
        {"{\"\\ud800\":1}", "not JSON: a wrong escape in a key at byte 2"},
        {"{\"a\":1}{}", "not JSON: something behind the end at byte 7"},
        {"1 2", "not JSON: something behind the end at byte 2"},
        {"{\"a\":truee}", "not JSON: true or false is expected at byte 5"},
        {"{\"a\":nul}", "not JSON: null is expected at byte 5"},
        {"{'a':1}", "not JSON: a key and a colon are expected at byte 1"},
        {"{a:1}", "not JSON: a key and a colon are expected at byte 1"},
        {"{\"a\":1/**/}", "not JSON: a value is expected at byte 5"},
        {"123456789012345678901234567890x", "not JSON: a value is expected at byte 0"},
        {"[123456789012345678901234567890,1e999]", "not JSON: a number beyond the range of a double at byte 32"},
        {"[123456789012345678901234567890,tru]", "not JSON: true or false is expected at byte 32"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (check(wrong[i].text) != PL_FAILED)
            fail_msg("%s is taken", wrong[i].text);
        assert_int_equal(error.error_class, PL_REJECT);
        if (strcmp(error.message, wrong[i].message) != 0)
            fail_msg("%s: %s, expected %s", wrong[i].text, error.message, wrong[i].message);
    }
    assert_int_equal(pl_json_load_copy(reader, (pl_str){"[1\0]", 4}, PL_JSON_FULL, &error), PL_FAILED);
    assert_int_equal(pl_json_load_copy(reader, (pl_str){"1\0", 2}, PL_JSON_TOUCHED, &error), PL_OK);
    pl_value value; /* only touched ones are looked at, and then it is noticed */
    assert_int_equal(pl_json_find(reader, PL_S(""), &value, &error), PL_FAILED);
}

static void depth_64_is_fine_and_65_is_not(void **state)
{
    (void)state;
    char text[256];
    for (int depth = 63; depth <= 66; depth++) {
        for (int big = 0; big <= 1; big++) { /* with and without simdjson's own parser */
            (void)snprintf(text, sizeof text, "%.*s%s%.*s", depth,
                           "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                           big ? "123456789012345678901234567890" : "1", depth,
                           "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
            assert_int_equal(check(text), depth <= 64 ? PL_OK : PL_FAILED);
            if (depth > 64)
                assert_string_equal(error.message, "not JSON: objects and arrays nested more than 64 deep");
        }
    }
}

static void lines_of_any_length_stay_in_their_padding(void **state)
{
    (void)state;
    for (size_t length = 2; length < 300; length++) { /* the tail of simdjson's 64-byte blocks, under ASan */
        char *text = malloc(length + PL_ARENA_PADDING);
        memset(text, 'x', length + PL_ARENA_PADDING); /* what lies behind must not matter */
        text[0] = '"';
        text[length - 1] = '"';
        pl_value value;
        assert_int_equal(pl_json_load(reader, (pl_str){text, length}, PL_JSON_FULL, &error), PL_OK);
        assert_int_equal(pl_json_find(reader, PL_S(""), &value, &error), PL_OK);
        assert_int_equal(value.as.s.len, length - 2);
        text[length - 1] = 'x';
        text[length] = '"';
        assert_int_equal(pl_json_validate(reader, (pl_str){text, length}, &error), PL_FAILED);
        free(text);
    }
}

static void doubles_keep_their_value(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {1, "1.0"},
                 {-0.0, "-0.0"},
                 {1e25, "1e+25"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {123456789012, "123456789012.0"}};
    char text[PL_DOUBLE_TEXT_MAX];
    double back = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pl_double_format(cases[i].value, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
        assert_true(pl_double_parse(PL_S(text), &back) && back == cases[i].value);
    }
    assert_int_equal(pl_double_format(NAN, text), 0);
    assert_int_equal(pl_double_format(INFINITY, text), 0);
    assert_true(pl_double_parse(PL_S("1e-999"), &back) && back == 0.0);
    back = 7;
    static const char *const wrong[] = {"", "1e999", "-1e400", "inf", "nan", "0x1p3", "1 ", "+1", ".5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(pl_double_parse(PL_S(wrong[i]), &back));
    assert_true(back == 7);
}

static void steady_state_allocates_nothing(void **state)
{
    (void)state;
    static const char line[] =
        "{\"p\\u0061ir\":\"ETH-\\u0055SD\",\"price\":3040.0814242677975,\"n\":[1,2,{\"x\":[]}],\"k\":\"v\"}";
    for (int i = 0; i < 50; i++) {
        pl_value value;
        if (i == 2)
            pl_mem_fail_after(0); /* from here on any allocation fails */
        bool fine = pl_json_load_copy(reader, PL_S(line), PL_JSON_FULL, &error) == PL_OK &&
                    pl_json_find(reader, PL_S("pair"), &value, &error) == PL_OK && pl_str_is(value.as.s, "ETH-USD") &&
                    pl_json_find(reader, PL_S("n[2].x"), &value, &error) == PL_OK;
        if (!fine) {
            pl_mem_fail_after(-1);
            fail_msg("record %d: %s", i, error.message);
        }
    }
    pl_mem_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_tickers),
        cmocka_unit_test(several_documents_live_at_once),
        cmocka_unit_test(nothing_loaded_holds_nothing),
        cmocka_unit_test(full_validation_accepts),
        cmocka_unit_test(full_validation_rejects),
        cmocka_unit_test(depth_64_is_fine_and_65_is_not),
        cmocka_unit_test(lines_of_any_length_stay_in_their_padding),
        cmocka_unit_test(doubles_keep_their_value),
        cmocka_unit_test(steady_state_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
