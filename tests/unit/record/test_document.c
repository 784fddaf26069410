/* The lazy document: reads, edits, and what they are spliced to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/mem.h>
#include <base/str.h>
#include <record/document.h>

static pl_arena *arena;
static pl_document *doc;
static pl_error error;

static int set_up(void **state)
{
    (void)state;
    arena = pl_arena_new(1024);
    doc = pl_document_new();
    return arena && doc ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pl_document_free(&doc);
    pl_arena_free(&arena);
    return 0;
}

/* Inputs are given on the heap of an arena with nothing behind the padding, so that ASan sees a read too far. */
static void load(const char *text)
{
    pl_arena_reset(arena);
    pl_document_load(doc, pl_arena_str(arena, PL_S(text)), PL_CODEC_JSON);
}

static pl_path path_of(const char *text)
{
    pl_path path;
    if (pl_path_parse(PL_S(text), &path, &error) != PL_OK)
        fail_msg("%s", error.message);
    return path;
}

static void set(const char *path, pl_value value)
{
    pl_path compiled = path_of(path);
    if (pl_document_set(doc, &compiled, &value, &error) != PL_OK)
        fail_msg("%s: %s", path, error.message);
}

static void set_fails(const char *path, pl_value value, const char *message)
{
    pl_path compiled = path_of(path);
    assert_int_equal(pl_document_set(doc, &compiled, &value, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_REJECT);
    assert_string_equal(error.message, message);
}

static void remove_at(const char *path)
{
    pl_path compiled = path_of(path);
    assert_int_equal(pl_document_remove(doc, &compiled, &error), PL_OK);
}

static void absent(const char *path)
{
    pl_path compiled = path_of(path);
    pl_value value;
    assert_int_equal(pl_document_get(doc, &compiled, &value, &error), PL_END);
}

static pl_value get(const char *path)
{
    pl_path compiled = path_of(path);
    pl_value value;
    pl_status status = pl_document_get(doc, &compiled, &value, &error);
    if (status != PL_OK)
        fail_msg("%s: %s", path, status == PL_END ? "absent" : error.message);
    return value;
}

static void expect_text(const char *path, int32_t type, const char *expected)
{
    pl_value value = get(path);
    assert_int_equal(value.type, type);
    if (!pl_str_is(value.as.s, expected))
        fail_msg("%s: %.*s, expected %s", path, (int)value.as.s.len, value.as.s.ptr, expected);
}

static void expect_int(const char *path, int64_t expected)
{
    pl_value value = get(path);
    assert_int_equal(value.type, PL_INT);
    assert_true(value.as.i == expected);
}

/* What the document encodes to; it must be well-formed JSON, and ask the same a second time. */
static void encodes_to(const char *expected)
{
    pl_str out, again;
    assert_int_equal(pl_document_encode(doc, arena, &out, &error), PL_OK);
    if (!pl_str_is(out, expected))
        fail_msg("%.*s\nexpected %s", (int)out.len, out.ptr, expected);
    assert_int_equal(pl_document_encode(doc, arena, &again, &error), PL_OK);
    assert_true(pl_str_eq(out, again));
    pl_json_reader *reader = pl_json_reader_new();
    if (pl_json_validate(reader, out, &error) != PL_OK)
        fail_msg("%s", error.message);
    pl_json_reader_free(&reader);
}

#define INT(number) ((pl_value){.type = PL_INT, .as.i = (number)})
#define STR(text) ((pl_value){.type = PL_STR, .as.s = PL_S(text)})
#define JSON(text) ((pl_value){.type = PL_JSON, .as.s = PL_S(text)})
#define DEC(text) ((pl_value){.type = PL_DECIMAL, .as.s = PL_S(text)})
#define NIL ((pl_value){.type = PL_NIL})

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
        cmocka_unit_test(other_payloads),
        cmocka_unit_test(malformed_payloads),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(edits_without_end_are_refused),
        cmocka_unit_test(a_large_record_does_not_stay),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
