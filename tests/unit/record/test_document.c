/* The lazy document: reads, edits, and what they are spliced to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/str.h>

/* ---- reading ---------------------------------------------------------------- */

static void reads_each_kind(void **state)
{
    (void)state;
    load(" { \"s\" : \"x\" , \"i\":-42,\"d\":1.50,\"big\":9223372036854775808,\"t\":true,\"f\":false,\"n\":null,"
         "\"o\":{\"a\":[1,{\"b\":2}]},\"e\":{},\"l\":[ "
         "],\"esc\":\"\\u0041\\n\\\"\\ud83d\\ude00\",\"min\":-9223372036854775808,"
         "\"z\":-0} ");
    expect_text("s", PL_STR, "x");
    expect_int("i", -42);
    expect_text("d", PL_DECIMAL, "1.50");
    expect_text("big", PL_DECIMAL, "9223372036854775808");
    expect_int("min", INT64_MIN);
    expect_int("z", 0);
    assert_true(get("t").type == PL_BOOL && get("t").as.b);
    assert_true(get("f").type == PL_BOOL && !get("f").as.b);
    assert_int_equal(get("n").type, PL_NIL);
    expect_text("o", PL_JSON, "{\"a\":[1,{\"b\":2}]}");
    expect_text("o.a", PL_JSON, "[1,{\"b\":2}]");
    expect_int("o.a[0]", 1);
    expect_int("o.a[1].b", 2);
    expect_text("e", PL_JSON, "{}");
    expect_text("l", PL_JSON, "[ ]");
    expect_text("esc", PL_STR, "A\n\"\xF0\x9F\x98\x80");
    static const char *const gone[] = {"x", "S", "s.x", "i[0]", "o[0]", "o.a.b", "o.a[2]", "l[0]", "n.x", "e.x", "[0]"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        absent(gone[i]);
    assert_false(pl_document_touched(doc));
}

static void untouched_is_the_same_pointer(void **state)
{
    (void)state;
    pl_str payload = pl_arena_str(arena, PL_S("{\"a\": 1.0 , \"b\":[]}")), out;
    pl_document_load(doc, payload, PL_CODEC_JSON);
    expect_text("a", PL_DECIMAL, "1.0");
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    assert_ptr_equal(out.ptr, payload.ptr);
    assert_int_equal(out.len, payload.len);
    pl_document_load(doc, PL_S("not json"), PL_CODEC_JSON); /* never looked at: forwarded as it is */
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    assert_true(pl_str_is(out, "not json"));
}

static void names_with_escapes_dots_and_nothing(void **state)
{
    (void)state;
    load("{\"p\\u0061ir\":1,\"a.b\":2,\"\":3,\"a\\\"b\":4,\"[0]\":5,\"q\\\\\":6}");
    expect_int("pair", 1);
    expect_int("[\"a.b\"]", 2);
    expect_int("[\"\"]", 3);
    expect_int("[\"a\\\"b\"]", 4);
    expect_int("[\"[0]\"]", 5);
    expect_int("[\"q\\\\\"]", 6);
    pl_value value;
    assert_int_equal(pl_document_field(doc, PL_S("a.b"), &value, &error), PL_OK);
    assert_int_equal(pl_document_field(doc, PL_S(""), &value, &error), PL_OK);
    assert_int_equal(value.as.i, 3);
    set("pair", INT(7));
    encodes_to("{\"p\\u0061ir\":7,\"a.b\":2,\"\":3,\"a\\\"b\":4,\"[0]\":5,\"q\\\\\":6}");
}

static void the_last_of_equal_keys_wins(void **state)
{
    (void)state;
    load("{\"a\":1,\"b\":2,\"\\u0061\":3,\"b\":4,\"b\":5}");
    expect_int("a", 3);
    expect_int("b", 5);
    assert_int_equal(pl_document_count(doc, PL_JSON_ROOT), 2);
    set("b", INT(6)); /* the earlier ones of b go, those of a stay as they are */
    encodes_to("{\"a\":1,\"\\u0061\":3,\"b\":6}");
    remove_at("a");
    absent("a");
    encodes_to("{\"b\":6}");
    load("{\"a\":1,\"a\":2}");
    remove_at("a");
    absent("a");
    encodes_to("{}");
    set("a", INT(3));
    encodes_to("{\"a\":3}");
}

static void wide_objects(void **state)
{
    (void)state;
    char text[40000] = "{", want[40000] = "{";
    size_t length = 1, want_length = 1;
    for (int i = 0; i < 1000; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%s\"key%d\":%d", i ? "," : "", i % 900, i);
        if (i >= 100)
            want_length += (size_t)snprintf(want + want_length, sizeof want - want_length, "%s\"key%d\":%d",
                                            i > 100 ? "," : "", i % 900, i);
    }
    (void)snprintf(text + length, sizeof text - length, "}");
    load(text);
    expect_int("key0", 900);
    expect_int("key99", 999);
    expect_int("key100", 100);
    absent("key900");
    assert_int_equal(pl_document_count(doc, PL_JSON_ROOT), 900);
    for (int i = 0; i < 900; i++) { /* add and remove over and over: the table must not fill up */
        char name[32];
        (void)snprintf(name, sizeof name, "new%d", i);
        set(name, INT(i));
        expect_int(name, i);
        remove_at(name);
        absent(name);
    }
    for (int i = 0; i < 100; i++) { /* now the doubles are dropped */
        char name[32];
        (void)snprintf(name, sizeof name, "key%d", i);
        set(name, INT(i + 900));
    }
    (void)snprintf(want + want_length, sizeof want - want_length, "}");
    encodes_to(want);
}

/* ---- editing ------------------------------------------------------------------ */

static void edits_in_place(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1,\"b\": \"x\" ,\"c\":[1,2, 3],\"d\":1.0}";
    load(text);
    set("b", STR("y\"\n"));
    encodes_to("{\"a\":1,\"b\": \"y\\\"\\n\" ,\"c\":[1,2, 3],\"d\":1.0}");
    load(text);
    remove_at("a");
    encodes_to("{\"b\": \"x\" ,\"c\":[1,2, 3],\"d\":1.0}");
    load(text);
    remove_at("b"); /* the space before the comma behind it was not part of b */
    encodes_to("{\"a\":1 ,\"c\":[1,2, 3],\"d\":1.0}");
    load(text);
    remove_at("d");
    encodes_to("{\"a\":1,\"b\": \"x\" ,\"c\":[1,2, 3]}");
    load(text);
    remove_at("a");
    remove_at("b");
    set("c[1]", INT(9));
    set("e", DEC("3043.59857420"));
    set("d", NIL);
    encodes_to("{\"c\":[1,9, 3],\"d\":null,\"e\":3043.59857420}");
    load(text);
    remove_at("a");
    remove_at("b");
    remove_at("c");
    remove_at("d");
    encodes_to("{}");
    set("x", INT(1));
    encodes_to("{\"x\":1}");
    remove_at("x");
    set("a", INT(2)); /* once removed it is a new member */
    set("x", INT(3));
    encodes_to("{\"a\":2,\"x\":3}");
}

static void the_style_of_the_object_stays(void **state)
{
    (void)state;
    static const char pretty[] = "{\n  \"a\" : 1,\n  \"b\" : {}\n}";
    load(pretty);
    set("c", INT(3));
    encodes_to("{\n  \"a\" : 1,\n  \"b\" : {},\n  \"c\" : 3\n}");
    remove_at("a");
    encodes_to("{\n  \"b\" : {},\n  \"c\" : 3\n}");
    remove_at("b");
    encodes_to("{\n  \"c\" : 3\n}");
    remove_at("c");
    encodes_to("{\n}");
    load("{\n\t\"a\":1\n}");
    set("b", INT(2));
    encodes_to("{\n\t\"a\":1,\n\t\"b\":2\n}");
    load("{ }");
    set("b", INT(2));
    encodes_to("{\"b\":2 }");
    load("[ 1 , 2 ]");
    set("[2]", INT(3));
    remove_at("[0]");
    encodes_to("[ 2 , 3 ]");
    load(" [ ] ");
    set("[0]", INT(3));
    encodes_to("[3 ]");
}

static void nested_edits(void **state)
{
    (void)state;
    load("{\"quotes\":{\"USD\":{\"price\":1.50,\"v\":2}},\"x\":[{\"id\":1},{\"id\":2}]}");
    set("quotes.USD.price", STR("2"));
    set("quotes.EUR.price", INT(3));
    set("x[1].id", INT(20));
    set("x[2].id", INT(30));
    remove_at("x[0]");
    expect_int("x[0].id", 20);
    expect_int("x[1].id", 30);
    absent("x[2]");
    expect_text("quotes.USD.price", PL_STR, "2");
    expect_int("quotes.EUR.price", 3);
    expect_text("quotes", PL_JSON, "{\"USD\":{\"price\":\"2\",\"v\":2},\"EUR\":{\"price\":3}}");
    encodes_to(
        "{\"quotes\":{\"USD\":{\"price\":\"2\",\"v\":2},\"EUR\":{\"price\":3}},\"x\":[{\"id\":20},{\"id\":30}]}");
    remove_at("quotes.USD");
    set("quotes.EUR.more[0].deep", INT(1));
    encodes_to("{\"quotes\":{\"EUR\":{\"price\":3,\"more\":[{\"deep\":1}]}},\"x\":[{\"id\":20},{\"id\":30}]}");
    set("quotes", JSON("{\"a\": {\"b\":[1]}}"));
    expect_int("quotes.a.b[0]", 1);
    absent("quotes.EUR");
    set("quotes.a.b[0]", INT(2));
    set("quotes.a.c", INT(3));
    expect_text("quotes.a", PL_JSON, "{\"b\":[2],\"c\":3}");
    encodes_to("{\"quotes\":{\"a\": {\"b\":[2],\"c\":3}},\"x\":[{\"id\":20},{\"id\":30}]}");
    set("quotes.a", INT(1));
    encodes_to("{\"quotes\":{\"a\": 1},\"x\":[{\"id\":20},{\"id\":30}]}");
}

static void refusals_change_nothing(void **state)
{
    (void)state;
    load("{\"a\":1,\"s\":\"x\",\"n\":null,\"l\":[1,2],\"o\":{}}");
    set_fails("a.b", INT(1), "field \"b\" can be set in an object only: there is a number");
    set_fails("s.b.c", INT(1), "field \"b\" can be set in an object only: there is a string");
    set_fails("n.b", INT(1), "field \"b\" can be set in an object only: there is null");
    set_fails("l.b", INT(1), "field \"b\" can be set in an object only: there is an array");
    set_fails("o[0]", INT(1), "an element can be set in an array only: there is an object");
    set_fails("l[3]", INT(1), "index 3 of an array of 2 elements");
    set_fails("new[1]", INT(1), "index 1 of an array that is not there");
    set_fails("a", (pl_value){.type = PL_FLOAT, .as.f = __builtin_inf()}, "a number that is not finite");
    set_fails("a", (pl_value){.type = PL_FLOAT, .as.f = __builtin_nan("")}, "a number that is not finite");
    set_fails("a", STR("\xFF"), "a string that is not UTF-8");
    set_fails("a", DEC("NaN"), "a decimal that is not a JSON number");
    set_fails("a", DEC("01"), "a decimal that is not a JSON number");
    set_fails("a", JSON("{\"a\":1"), "not JSON: an object or array without its end at byte 6");
    set_fails("a", JSON("{\"a\":tru}"), "not JSON: true or false is expected at byte 5");
    set_fails("a", JSON("[1] 2"), "not JSON: an object or array without its end at byte 5");
    set_fails("a", JSON(""), "not JSON: an empty text");
    set_fails("a", (pl_value){.type = 77}, "a value of an unknown type");
    assert_false(pl_document_touched(doc));
    pl_path path = path_of("o.x");
    assert_int_equal(pl_document_remove(doc, &path, &error), PL_END);
    assert_false(pl_document_touched(doc));
    set("a", JSON("[123456789012345678901234567890123456789012345678901234567890123456789012345678]"));
    encodes_to("{\"a\":[123456789012345678901234567890123456789012345678901234567890123456789012345678],\"s\":\"x\","
               "\"n\":null,\"l\":[1,2],\"o\":{}}");
}

static void depth_is_bounded(void **state)
{
    (void)state;
    load("{}");
    pl_json_node node = PL_JSON_ROOT, child = 0;
    int depth = 1;
    for (; depth < 200; depth++) {
        if (pl_document_set_member(doc, node, PL_S("a"), &JSON("{}"), &error) != PL_OK)
            break;
        assert_int_equal(pl_document_member(doc, node, PL_S("a"), &child, &error), PL_OK);
        node = child;
    }
    assert_int_equal(depth, PL_JSON_DEPTH_MAX);
    assert_string_equal(error.message, "objects and arrays nested more than 64 deep");
    assert_int_equal(pl_document_set_member(doc, node, PL_S("b"), &INT(1), &error), PL_OK);
    pl_str out;
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    pl_document_load(doc, out, PL_CODEC_JSON);
    assert_int_equal(pl_document_validate(doc, &error), PL_OK);
}

static void values_of_all_types(void **state)
{
    (void)state;
    load("{}");
    set("i", INT(INT64_MIN));
    set("f", (pl_value){.type = PL_FLOAT, .as.f = 0.1});
    set("w", (pl_value){.type = PL_FLOAT, .as.f = 3});
    set("b", (pl_value){.type = PL_BOOL, .as.b = true});
    set("t", (pl_value){.type = PL_TIME, .as.i = 1650189632000000000});
    set("y", (pl_value){.type = PL_BYTES, .as.s = {"\0\1\2\3", 4}});
    set("d", DEC("1e-7"));
    set("s", (pl_value){.type = PL_STR, .as.s = {NULL, 0}});
    encodes_to(
        "{\"i\":-9223372036854775808,\"f\":0.1,\"w\":3.0,\"b\":true,\"t\":\"2022-04-17T10:00:32Z\",\"y\":\"AAECAw==\","
        "\"d\":1e-7,\"s\":\"\"}");
    assert_int_equal(get("t").type, PL_TIME);
    assert_int_equal(get("y").type, PL_BYTES);
    assert_int_equal(get("f").type, PL_FLOAT);
}

static void kept_nodes_notice_that_they_are_gone(void **state)
{
    (void)state;
    load("{\"o\":{\"a\":{\"b\":1}},\"p\":2}");
    pl_json_node o, a, b;
    pl_value value;
    assert_int_equal(pl_document_member(doc, PL_JSON_ROOT, PL_S("o"), &o, &error), PL_OK);
    assert_int_equal(pl_document_member(doc, o, PL_S("a"), &a, &error), PL_OK);
    assert_int_equal(pl_document_member(doc, a, PL_S("b"), &b, &error), PL_OK);
    assert_int_equal(pl_document_value(doc, b, &value, &error), PL_OK);
    set("o.a", JSON("{\"b\":5}"));
    assert_int_equal(pl_document_value(doc, b, &value, &error), PL_END); /* that b is not this b */
    assert_int_equal(pl_document_member(doc, a, PL_S("b"), &b, &error), PL_OK);
    assert_int_equal(pl_document_value(doc, b, &value, &error), PL_OK);
    assert_int_equal(value.as.i, 5);
    remove_at("o");
    assert_int_equal(pl_document_value(doc, o, &value, &error), PL_END);
    assert_int_equal(pl_document_value(doc, b, &value, &error), PL_END);
    assert_int_equal(pl_document_set_member(doc, a, PL_S("c"), &INT(1), &error), PL_FAILED);
    assert_int_equal(pl_document_remove_member(doc, a, PL_S("b"), &error), PL_FAILED);
    assert_int_equal(pl_document_count(doc, a), -1);
    assert_int_equal(pl_document_value(doc, 12345, &value, &error), PL_END);
    encodes_to("{\"p\":2}");
}

static void walks_what_would_be_written(void **state)
{
    (void)state;
    load("{\"a\":1,\"b\":2,\"a\":3,\"c\":{\"x\":[7]}}");
    set("d", INT(4));
    set("e", INT(5));
    remove_at("b");
    remove_at("d");
    static const char *const keys[] = {"a", "c", "e"};
    uint32_t cursor = 0, count = 0;
    pl_json_item item;
    while (pl_document_each(doc, PL_JSON_ROOT, &cursor, &item, &error) == PL_OK) {
        assert_true(count < 3 && pl_str_is(item.key, keys[count]));
        count++;
    }
    assert_int_equal(count, 3);
    pl_json_node list;
    pl_json_node c;
    assert_int_equal(pl_document_member(doc, PL_JSON_ROOT, PL_S("c"), &c, &error), PL_OK);
    assert_int_equal(pl_document_member(doc, c, PL_S("x"), &list, &error), PL_OK);
    cursor = 0;
    assert_int_equal(pl_document_each(doc, list, &cursor, &item, &error), PL_OK);
    assert_null(item.key.ptr);
    assert_int_equal(pl_document_each(doc, list, &cursor, &item, &error), PL_END);
    cursor = 0;
    assert_int_equal(pl_document_each(doc, item.node, &cursor, &item, &error), PL_END); /* a scalar has none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_each_kind),
        cmocka_unit_test(untouched_is_the_same_pointer),
        cmocka_unit_test(names_with_escapes_dots_and_nothing),
        cmocka_unit_test(the_last_of_equal_keys_wins),
        cmocka_unit_test(wide_objects),
        cmocka_unit_test(edits_in_place),
        cmocka_unit_test(the_style_of_the_object_stays),
        cmocka_unit_test(nested_edits),
        cmocka_unit_test(refusals_change_nothing),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_of_all_types),
        cmocka_unit_test(kept_nodes_notice_that_they_are_gone),
        cmocka_unit_test(walks_what_would_be_written),
    };
    int failed = cmocka_run_group_tests_name("scanned", tests, set_up, tear_down);
    return failed + cmocka_run_group_tests_name("outlined", tests, set_up_outlined, tear_down);
}
