/* Values and fields as JSON, field paths, templates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/mem.h>
#include <base/str.h>
#include <record/encode.h>
#include <record/template.h>
#include <stdlib.h>

static pl_error error;

static void expect(pl_buf *out, const char *expected)
{
    assert_false(pl_buf_failed(out));
    assert_string_equal(out->data, expected);
    pl_buf_clear(out);
}

static void strings_escape_what_json_demands(void **state)
{
    (void)state;
    pl_buf out = PL_BUF(1 << 16);
    static const struct {
        pl_str text;
        const char *json;
    } cases[] = {
        {{"", 0}, "\"\""},
        {{"plain", 5}, "\"plain\""},
        {{"a\"b\\c/d", 7}, "\"a\\\"b\\\\c/d\""},
        {{"\b\f\n\r\t", 5}, "\"\\b\\f\\n\\r\\t\""},
        {{"\0\x01\x1F\x7F", 4}, "\"\\u0000\\u0001\\u001f\x7F\""},
        {{"\xC3\xBC\xF0\x9F\x98\x80", 6}, "\"\xC3\xBC\xF0\x9F\x98\x80\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_encode_string(&out, cases[i].text);
        expect(&out, cases[i].json);
    }
    pl_buf_release(&out);
}

/* Strings are looked at several bytes at a time: each byte at each place of each short length. */
static void each_byte_at_each_place(void **state)
{
    (void)state;
    enum { LENGTH_MAX = 27 };
    pl_buf out = PL_BUF(1 << 10);
    for (size_t length = 1; length <= LENGTH_MAX; length++) {
        for (size_t place = 0; place < length; place++) {
            for (int byte = 0; byte < 256; byte++) {
                char *text = malloc(length); /* of just that size, so that ASan sees a read beyond it */
                memset(text, 'x', length);
                text[place] = (char)byte;
                pl_encode_string(&out, (pl_str){text, length});
                bool escaped = byte < ' ' || byte == '"' || byte == '\\';
                size_t grown = !escaped ? 0 : byte >= ' ' || (byte && strchr("\b\f\n\r\t", byte)) ? 1 : 5;
                assert_int_equal(out.len, length + 2 + grown);
                assert_true(out.data[0] == '"' && out.data[out.len - 1] == '"' && out.data[out.len] == '\0');
                assert_memory_equal(out.data + 1, text, place);
                assert_true(out.data[1 + place] == (escaped ? '\\' : (char)byte));
                assert_memory_equal(out.data + 1 + place + 1 + grown, text + place + 1, length - place - 1);
                pl_buf_clear(&out);
                free(text);
            }
        }
    }
    pl_buf_release(&out);
}

static void values_and_their_text(void **state)
{
    (void)state;
    pl_buf out = PL_BUF(1 << 16);
    static const struct {
        pl_value value;
        const char *json, *text;
    } cases[] = {
        {{.type = PL_NIL}, "null", "null"},
        {{.type = PL_BOOL, .as.b = true}, "true", "true"},
        {{.type = PL_BOOL, .as.b = false}, "false", "false"},
        {{.type = PL_INT, .as.i = 0}, "0", "0"},
        {{.type = PL_INT, .as.i = INT64_MIN}, "-9223372036854775808", "-9223372036854775808"},
        {{.type = PL_INT, .as.i = INT64_MAX}, "9223372036854775807", "9223372036854775807"},
        {{.type = PL_FLOAT, .as.f = 0.1}, "0.1", "0.1"},
        {{.type = PL_FLOAT, .as.f = 1e300}, "1e+300", "1e+300"},
        {{.type = PL_STR, .as.s = {"a\"", 2}}, "\"a\\\"\"", "a\""},
        {{.type = PL_STR, .as.s = {NULL, 0}}, "\"\"", ""},
        {{.type = PL_DECIMAL, .as.s = {"3043.59857420", 13}}, "3043.59857420", "3043.59857420"},
        {{.type = PL_TIME, .as.i = 1650189632123000000}, "\"2022-04-17T10:00:32.123Z\"", "2022-04-17T10:00:32.123Z"},
        {{.type = PL_BYTES, .as.s = {"f", 1}}, "\"Zg==\"", "Zg=="},
        {{.type = PL_BYTES, .as.s = {"fo", 2}}, "\"Zm8=\"", "Zm8="},
        {{.type = PL_BYTES, .as.s = {"foobar", 6}}, "\"Zm9vYmFy\"", "Zm9vYmFy"}, /* RFC 4648, section 10 */
        {{.type = PL_BYTES, .as.s = {"\xFF\xEF\xBE", 3}}, "\"/+++\"", "/+++"},
        {{.type = PL_JSON, .as.s = {"[1, 2]", 6}}, "[1, 2]", "[1, 2]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pl_encode_value(&out, &cases[i].value, &error), PL_OK);
        expect(&out, cases[i].json);
        pl_buf_addc(&out, ':');
        assert_int_equal(pl_encode_text(&out, &cases[i].value, &error), PL_OK);
        assert_string_equal(out.data + 1, cases[i].text);
        pl_buf_clear(&out);
    }
    pl_decimal price;
    assert_int_equal(pl_decimal_parse(PL_S("1.50"), &price), PL_DECIMAL_OK);
    pl_encode_decimal(&out, &price);
    pl_encode_decimal_string(&out, &price);
    expect(&out, "1.50\"1.50\"");
    pl_buf_release(&out);
}

#define FIELD(key, ...)                                                                                                \
    {                                                                                                                  \
        .name = {(key), sizeof(key) - 1}, .value = { __VA_ARGS__ }                                                     \
    }

static void objects_keep_their_order(void **state)
{
    (void)state;
    static const pl_field fields[] = {FIELD("z", .type = PL_INT, .as.i = 1),
                                      FIELD("a\"", .type = PL_STR, .as.s = {"\n\1", 2}), FIELD("", .type = PL_NIL),
                                      FIELD("t", .type = PL_TIME, .as.i = 0),
                                      FIELD("b", .type = PL_BYTES, .as.s = {"1234567", 7})};
    static const char expected[] =
        "{\"z\":1,\"a\\\"\":\"\\n\\u0001\",\"\":null,\"t\":\"1970-01-01T00:00:00Z\",\"b\":\"MTIzNDU2Nw==\"}";
    pl_buf out = PL_BUF(1 << 16);
    assert_int_equal(pl_encode_fields(&out, fields, 5, &error), PL_OK);
    expect(&out, expected);
    assert_int_equal(pl_encode_fields(&out, NULL, 0, &error), PL_OK);
    expect(&out, "{}");
    pl_buf_release(&out);
    pl_arena *arena = pl_arena_new(256);
    pl_str payload;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pl_encode_payload(arena, fields, 5, &payload, &error), PL_OK);
        assert_true(pl_str_is(payload, expected));
    }
    assert_int_equal(pl_encode_payload(arena, NULL, 0, &payload, &error), PL_OK);
    assert_true(pl_str_is(payload, "{}"));
    pl_arena_free(&arena);
}

static void refusals_name_the_field_and_leave_the_buffer(void **state)
{
    (void)state;
    static const struct {
        pl_field field;
        const char *message;
    } wrong[] = {
        {FIELD("price", .type = PL_FLOAT, .as.f = __builtin_inf()), "price: a number that is not finite"},
        {FIELD("price", .type = PL_DECIMAL, .as.s = {"1.", 2}), "price: a decimal that is not a JSON number"},
        {FIELD("name", .type = PL_STR, .as.s = {"\xC3", 1}), "name: a string that is not UTF-8"},
        {FIELD("odd", .type = 99), "odd: a value of an unknown type"},
    };
    pl_buf out = PL_BUF(64);
    pl_arena *arena = pl_arena_new(256);
    pl_buf_adds(&out, "before");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pl_field fields[] = {FIELD("fine", .type = PL_INT, .as.i = 1), wrong[i].field};
        pl_str payload = {NULL, 7};
        assert_int_equal(pl_encode_fields(&out, fields, 2, &error), PL_FAILED);
        assert_int_equal(error.error_class, PL_REJECT);
        assert_string_equal(error.message, wrong[i].message);
        assert_string_equal(out.data, "before");
        assert_int_equal(pl_encode_payload(arena, fields, 2, &payload, &error), PL_FAILED);
        assert_int_equal(payload.len, 7);
        assert_int_equal(pl_encode_value(&out, &wrong[i].field.value, NULL), PL_FAILED);
    }
    pl_field name = FIELD("\xFF", .type = PL_NIL);
    assert_int_equal(pl_encode_fields(&out, &name, 1, &error), PL_FAILED);
    char large[100];
    memset(large, 'x', sizeof large);
    pl_value value = {.type = PL_STR, .as.s = {large, sizeof large}};
    assert_int_equal(pl_encode_value(&out, &value, &error), PL_FAILED); /* over the buffer's maximum */
    assert_int_equal(error.error_class, PL_RETRY);
    expect(&out, "before");
    pl_buf_release(&out);
    pl_arena_free(&arena);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    static const pl_field field = FIELD("a", .type = PL_INT, .as.i = 1);
    for (long n = 0; n < 6; n++) {
        pl_mem_fail_after(n);
        pl_arena *arena = pl_arena_new(64);
        pl_str payload;
        pl_template *made = pl_template_new(PL_S("price.{pair}"), &error);
        pl_buf out = PL_BUF(100);
        pl_status status = pl_encode_fields(&out, &field, 1, &error);
        assert_true(status == PL_OK || error.error_class == PL_RETRY);
        if (arena)
            assert_true(pl_encode_payload(arena, &field, 1, &payload, &error) == PL_OK ||
                        error.error_class == PL_RETRY);
        pl_mem_fail_after(-1);
        pl_buf_release(&out);
        pl_template_free(&made);
        pl_arena_free(&arena);
    }
}

/* ---- paths ------------------------------------------------------------------------ */

static void paths_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *text, *again;
        uint32_t count;
    } cases[] = {
        {"", "", 0},
        {"pair", "pair", 1},
        {"quotes.USD.price", "quotes.USD.price", 3},
        {"[0].id", "[0].id", 2},
        {"a[0][12].b", "a[0][12].b", 4},
        {"24h_volume", "24h_volume", 1},
        {"ETH-USD.$x", "ETH-USD.$x", 2},
        {"quotes[\"a.b\"].x", "quotes[\"a.b\"].x", 3},
        {"[\"plain\"]", "plain", 1},
        {"[\"\"]", "[\"\"]", 1},
        {"a[\"x\\\"\\\\y]\"]", "a[\"x\\\"\\\\y]\"]", 2},
        {"a\\b", "a\\b", 1},
        {"\xC3\xBC", "\xC3\xBC", 1},
        {"[2147483646]", "[2147483646]", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_path path;
        char text[64];
        if (pl_path_parse(PL_S(cases[i].text), &path, &error) != PL_OK)
            fail_msg("%s", error.message);
        assert_int_equal(path.count, cases[i].count);
        assert_string_equal(pl_path_format(&path, text, sizeof text), cases[i].again);
    }
    pl_path path;
    char small[4];
    assert_int_equal(pl_path_parse(PL_S("quotes"), &path, &error), PL_OK);
    assert_string_equal(pl_path_format(&path, small, sizeof small), "quo");
    assert_true(pl_path_of_key(PL_S("a.b[0]"), &path));
    assert_int_equal(path.count, 1);
    assert_true(pl_str_is(pl_path_key(&path, 0), "a.b[0]"));
}

static void wrong_paths(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {".a", "field path \".a\": a name is expected at character 1"},
        {"a.", "field path \"a.\": a name is expected at character 3"},
        {"a..b", "field path \"a..b\": a name is expected at character 3"},
        {"a.[0]", "field path \"a.[0]\": a name is expected at character 3"},
        {"a]", "field path \"a]\": a dot or [ is expected at character 2"},
        {"a[x]", "field path \"a[x]\": an index or a key in quotes is expected at character 3"},
        {"a[-1]", "field path \"a[-1]\": an index or a key in quotes is expected at character 3"},
        {"a[1", "field path \"a[1\": ] is expected at character 4"},
        {"a[\"b]", "field path \"a[\"b]\": a closing quote is expected at character 6"},
        {"a[\"b\\n\"]", "field path \"a[\"b\\n\"]\": \\\" or \\\\ is expected at character 6"},
        {"a[\"b\"c]", "field path \"a[\"b\"c]\": ] is expected at character 6"},
        {"a[2147483647]", "field path \"a[2147483647]\": too large an index at character 12"},
        {"a\"b", "field path \"a\"b\": a dot or [ is expected at character 2"},
        {"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q",
         "field path \"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q\": more than 16 steps at character 33"},
    };
    pl_path path = {.count = 5};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pl_path_parse(PL_S(cases[i].text), &path, &error), PL_FAILED);
        assert_int_equal(error.error_class, PL_BAD_CONFIG);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(path.count, 5);
    }
    char text[PL_PATH_BYTES_MAX];
    memset(text, 'a', sizeof text);
    assert_int_equal(pl_path_parse((pl_str){text, sizeof text}, &path, &error), PL_FAILED);
    assert_int_equal(pl_path_parse((pl_str){text, sizeof text - 1}, &path, &error), PL_OK);
    assert_false(pl_path_of_key((pl_str){text, sizeof text}, &path));
}

/* ---- templates ----------------------------------------------------------------------- */

static void templates(void **state)
{
    (void)state;
    static const struct {
        const char *text, *rendered;
    } cases[] = {
        {"price.{pair}", "price.ETH-USD"},  {"", ""},
        {"constant", "constant"},           {"{{{pair}}}", "{ETH-USD}"},
        {"{pair}{pair}", "ETH-USDETH-USD"}, {"{q[\"}\"].x}-{n}-{d}-{t}", "5-7-1.50-true"},
    };
    pl_arena *arena = pl_arena_new(256);
    pl_document *doc = pl_document_new();
    pl_buf out = PL_BUF(100);
    pl_str payload = pl_arena_str(
        arena, PL_S("{\"pair\":\"ETH-USD\",\"q\":{\"}\":{\"x\":5}},\"n\":7,\"d\":1.50,\"t\":true,\"z\":null}"));
    pl_document_load(doc, payload, PL_CODEC_JSON);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_template *made = pl_template_new(PL_S(cases[i].text), &error);
        if (!made)
            fail_msg("%s", error.message);
        pl_buf_adds(&out, "");
        assert_int_equal(pl_template_render(made, doc, &out, &error), PL_OK);
        expect(&out, cases[i].rendered);
        assert_int_equal(pl_template_is_constant(made), pl_template_hole(made, 0) == NULL);
        pl_template_free(&made);
    }
    static const char *const absent[][2] = {
        {"a {missing}", "field missing is absent, where a text is needed"},
        {"a {z}", "field z is null, where a text is needed"},
        {"a {q}", "field q is an object or array, where a text is needed"},
    };
    pl_buf_adds(&out, "before");
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        pl_template *made = pl_template_new(PL_S(absent[i][0]), &error);
        assert_int_equal(pl_template_render(made, doc, &out, &error), PL_END);
        assert_string_equal(error.message, absent[i][1]);
        assert_string_equal(out.data, "before");
        pl_template_free(&made);
    }
    pl_buf_release(&out);
    pl_document_free(&doc);
    pl_arena_free(&arena);
}

static void wrong_templates(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a{b", "template \"a{b\": a { without its } (write {{ for the brace itself) at character 2"},
        {"a}b", "template \"a}b\": a } without its { (write }} for the brace itself) at character 2"},
        {"{}", "template \"{}\": an empty hole: {field} is expected at character 1"},
        {"x{a..b}", "field path \"a..b\": a name is expected at character 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(pl_template_new(PL_S(cases[i][0]), &error));
        assert_int_equal(error.error_class, PL_BAD_CONFIG);
        assert_string_equal(error.message, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_escape_what_json_demands),
        cmocka_unit_test(each_byte_at_each_place),
        cmocka_unit_test(values_and_their_text),
        cmocka_unit_test(objects_keep_their_order),
        cmocka_unit_test(refusals_name_the_field_and_leave_the_buffer),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(paths_and_back),
        cmocka_unit_test(wrong_paths),
        cmocka_unit_test(templates),
        cmocka_unit_test(wrong_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
