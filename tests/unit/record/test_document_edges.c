/* The lazy document: payloads that are no objects or no JSON, and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/mem.h>
#include <base/str.h>

/* ---- payloads that are not objects --------------------------------------------- */

static void other_payloads(void **state)
{
    (void)state;
    pl_str out;
    load("[1,2]");
    expect_int("[1]", 2);
    set_fails("a", INT(1), "field \"a\" can be set in an object only: there is an array");
    load("42");
    expect_int("", 42);
    set_fails("a", INT(1), "field \"a\" can be set in an object only: there is a number");
    set("", JSON("{\"a\":1}"));
    set("a", INT(2));
    encodes_to("{\"a\":2}");
    load("\"x\"");
    expect_text("", PL_STR, "x");

    pl_document_load(doc, PL_S("plain {text"), PL_CODEC_TEXT);
    expect_text("", PL_STR, "plain {text");
    absent("a");
    set_fails("a", INT(1), "field \"a\" can be set in an object only: there is text");
    assert_int_equal(pl_document_validate(doc, &error), PL_OK);
    set("", STR("other \"text\""));
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    assert_true(pl_str_is(out, "other \"text\""));

    pl_document_load(doc, (pl_str){"\0\xFF", 2}, PL_CODEC_BYTES);
    assert_int_equal(get("").type, PL_BYTES);
    assert_int_equal(pl_document_validate(doc, &error), PL_OK);
    set("", (pl_value){.type = PL_BYTES, .as.s = {"\xFE\0", 2}});
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    assert_true(pl_str_eq(out, (pl_str){"\xFE\0", 2}));

    pl_document_load(doc, (pl_str){NULL, 0}, PL_CODEC_JSON);
    absent("");
    absent("a");
    set_fails("a", INT(1), "the payload is null (a tombstone): there is no object to set a field in");
    assert_int_equal(pl_document_validate(doc, &error), PL_OK);
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    assert_null(out.ptr);
    set("", JSON("{}"));
    set("a", INT(1));
    encodes_to("{\"a\":1}");
    remove_at("");
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    assert_null(out.ptr);

    pl_document_load_empty(doc);
    encodes_to("{}");
    set("a", INT(1));
    encodes_to("{\"a\":1}");
}

static void malformed_payloads(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "not JSON: an empty text"},
        {"  ", "not JSON: an empty text"},
        {"{\"a\":1", "not JSON: an object or array without its end at byte 6"},
        {"{\"a\":\"x}", "not JSON: the last string does not end"},
        {"{\"a\":1}x", "not JSON: an object or array without its end at byte 8"},
        {"{\"a\":1}}", "not JSON: something behind the end at byte 7"},
        {"{\"a\" 1}", "not JSON: a key and a colon are expected at byte 1"},
        {"{\"a\":1 \"b\":2}", "not JSON: a comma or } is expected at byte 7"},
        {"{\"a\":1,}", "not JSON: a key and a colon are expected at byte 7"},
        {"{,}", "not JSON: a key and a colon are expected at byte 1"},
        {"{\"a\":}", "not JSON: a value is expected at byte 5"},
        {"{\"a\":\"\xFF\"}", "not JSON: not UTF-8"},
        {"{\"a\":\"\x01\"}", "not JSON: an unescaped control character in a string"},
        {"<html>", "not JSON: a value is expected at byte 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_value value;
        load(cases[i].text);
        assert_int_equal(pl_document_field(doc, PL_S("b"), &value, &error) == PL_OK, 0);
        load(cases[i].text);
        assert_int_equal(pl_document_validate(doc, &error), PL_FAILED);
        assert_int_equal(error.error_class, PL_REJECT);
        assert_string_equal(error.message, cases[i].message);
    }
    load("{\"a\":1,\"b\":tru}"); /* found where it is read, or by validation */
    expect_int("a", 1);
    pl_value value;
    assert_int_equal(pl_document_field(doc, PL_S("b"), &value, &error), PL_FAILED);
    assert_string_equal(error.message, "not JSON: true or false is expected at byte 11");
    assert_int_equal(pl_document_validate(doc, &error), PL_FAILED);
    assert_string_equal(error.message, "not JSON: true or false is expected at byte 11");
}

/* ---- memory --------------------------------------------------------------------- */

static void one_life(void)
{
    pl_document *mine = pl_document_new();
    if (!mine)
        return;
    pl_arena *own = pl_arena_new(256);
    pl_str payload =
        own ? pl_arena_str(own, PL_S("{\"a\":{\"b\":[1,2]},\"p\\u0061ir\":\"\\u0041\"}")) : (pl_str){NULL, 0};
    pl_path path = path_of("a.b[1]"), more = path_of("new.x.y");
    pl_value value;
    pl_str out;
    pl_error why;
    if (payload.ptr) {
        pl_document_load(mine, payload, PL_CODEC_JSON);
        bool right = pl_document_validate(mine, &why) == PL_OK &&
                     pl_document_set(mine, &path, &INT(7), &why) == PL_OK &&
                     pl_document_set(mine, &more, &STR("z"), &why) == PL_OK &&
                     pl_document_field(mine, PL_S("pair"), &value, &why) == PL_OK &&
                     pl_document_encode(mine, own, &out, &why) == PL_OK;
        if (right)
            assert_true(
                pl_str_is(out, "{\"a\":{\"b\":[1,7]},\"p\\u0061ir\":\"\\u0041\",\"new\":{\"x\":{\"y\":\"z\"}}}"));
        else
            assert_int_equal(why.error_class, PL_RETRY);
    }
    pl_arena_free(&own);
    pl_document_free(&mine);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (long n = 0; n < 40; n++) {
        pl_mem_fail_after(n);
        one_life();
        pl_mem_fail_after(-1);
    }
    one_life();
}

static void edits_without_end_are_refused(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    char *text = pl_calloc(SIZE, 1);
    memset(text, 'x', SIZE);
    load("{\"a\":1,\"esc\":\"\\u0041\"}");
    pl_value value = {.type = PL_STR, .as.s = {text, SIZE}}, got;
    int edits = 0;
    while (edits < 1000 && pl_document_set_field(doc, PL_S("a"), &value, &error) == PL_OK)
        edits++;
    assert_true(edits > 50 && edits < 70);
    assert_int_equal(error.error_class, PL_REJECT);
    assert_string_equal(error.message, "the edits of one record take more than 64 MiB");
    pl_free(text);
    size_t before = pl_document_bytes(doc);
    for (int i = 0; i < 10000; i++) /* reading takes nothing, escapes or not */
        assert_int_equal(pl_document_field(doc, PL_S("esc"), &got, &error), PL_OK);
    assert_int_equal(pl_document_bytes(doc), before);
    load("{\"a\":1}");
    set("a", INT(2));
    encodes_to("{\"a\":2}");
    assert_true(pl_document_bytes(doc) < 1 << 20);
}

static void a_large_record_does_not_stay(void **state)
{
    (void)state;
    size_t before = pl_document_bytes(doc), size = 3000000;
    char *text = pl_calloc(size + PL_ARENA_PADDING, 1);
    memset(text, ',', size);
    for (size_t i = 1; i < size; i += 2)
        text[i] = '1';
    text[0] = '[';
    text[size - 1] = ']';
    text[size - 2] = ' ';
    text[size - 3] = '1';
    pl_document_load(doc, (pl_str){text, size}, PL_CODEC_JSON);
    pl_value value;
    pl_path path = path_of("[1000]");
    assert_int_equal(pl_document_get(doc, &path, &value, &error), PL_OK);
    assert_true(pl_document_bytes(doc) > 10 * size);
    load("{\"a\":1}");
    expect_int("a", 1);
    assert_true(pl_document_bytes(doc) < before + 65536);
    pl_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_payloads),
        cmocka_unit_test(malformed_payloads),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(edits_without_end_are_refused),
        cmocka_unit_test(a_large_record_does_not_stay),
    };
    int failed = cmocka_run_group_tests_name("scanned", tests, set_up, tear_down);
    return failed + cmocka_run_group_tests_name("outlined", tests, set_up_outlined, tear_down);
}
