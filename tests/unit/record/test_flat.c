/* The flat form of a document against its tree: the same is read and written, whichever it is, and at whichever edit
 * the one becomes the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/buf.h>
#include <base/mem.h>
#include <base/random.h>
#include <base/str.h>
#include <math.h>
#include <record/document_private.h>

/* A payload of a shape that is known to `document`: fields are had without a tree where there can be. */
static void load_flat(pl_document *document, const char *text)
{
    pl_record record = record_of(pl_arena_str(arena, PL_S(text)), true);
    if (!record.outline)
        fail_msg("%s", text);
    pl_document_load_record(document, &record, PL_CODEC_JSON);
}

static void is_flat(bool expected)
{
    assert_int_equal(doc->flat.on, expected);
    assert_int_equal(doc->tree.nodes > 0, !expected);
}

static void reads_and_writes_without_a_tree(void **state)
{
    (void)state;
    load_flat(doc, " {\"pair\":\"ETH-USD\",\"price\":1.50,\"n\":7,\"debug\":{\"x\":[1]},\"ok\":true,\"none\":null,"
                   "\"text\":\"which is long enough for an outline\"} ");
    expect_text("pair", PL_STR, "ETH-USD");
    expect_text("price", PL_DECIMAL, "1.50");
    expect_int("n", 7);
    expect_text("debug", PL_JSON, "{\"x\":[1]}");
    assert_int_equal(get("ok").type, PL_BOOL);
    assert_int_equal(get("none").type, PL_NIL);
    absent("other");
    assert_false(pl_document_touched(doc));
    set("deviation", DEC("0.25"));
    set("n", STR("x"));
    remove_at("debug");
    absent("debug");
    expect_text("n", PL_STR, "x");
    expect_text("deviation", PL_DECIMAL, "0.25");
    encodes_to("{\"pair\":\"ETH-USD\",\"price\":1.50,\"n\":\"x\",\"ok\":true,\"none\":null,"
               "\"text\":\"which is long enough for an outline\",\"deviation\":0.25}");
    set("debug", INT(-3)); /* it is new now */
    set("deviation", NIL);
    remove_at("none");
    is_flat(true);
    encodes_to("{\"pair\":\"ETH-USD\",\"price\":1.50,\"n\":\"x\",\"ok\":true,"
               "\"text\":\"which is long enough for an outline\",\"deviation\":null,\"debug\":-3}");
    set("list", JSON("[1]"));
    is_flat(false);
    encodes_to("{\"pair\":\"ETH-USD\",\"price\":1.50,\"n\":\"x\",\"ok\":true,"
               "\"text\":\"which is long enough for an outline\",\"deviation\":null,\"debug\":-3,"
               "\"list\":[1]}");
}

/* What each of these asks for is given by the tree, with the edits made before. */
static void becomes_a_tree(void **state)
{
    (void)state;
    pl_json_node node;
    pl_value value;
    for (int way = 0; way < 12; way++) {
        load_flat(doc, "{\"a\":1,\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\"}");
        set("d", INT(3));
        remove_at("a");
        is_flat(true);
        const char *expected = "{\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\",\"d\":3}";
        switch (way) {
        case 0:
            assert_int_equal(pl_document_count(doc, PL_JSON_ROOT), 3);
            break;
        case 1:
            expect_int("b.c", 2);
            break;
        case 2:
            assert_int_equal(pl_document_member(doc, PL_JSON_ROOT, PL_S("d"), &node, &error), PL_OK);
            assert_int_equal(pl_document_value(doc, node, &value, &error), PL_OK);
            assert_int_equal(value.as.i, 3);
            break;
        case 3:
            set("b.c", INT(4));
            expected = "{\"b\":{\"c\":4},\"text\":\"which is long enough for an outline\",\"d\":3}";
            break;
        case 4:
            set("d", STR("\xC3\xBC"));
            expected = "{\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\",\"d\":\"\xC3\xBC\"}";
            break;
        case 5:
            set("d", STR("a\"b"));
            expected = "{\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\",\"d\":\"a\\\"b\"}";
            break;
        case 6:
            set("[\"\"]", INT(1));
            expected = "{\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\",\"d\":3,\"\":1}";
            break;
        case 7:
            set("a name of more than twenty-eight bytes", INT(1));
            expected = "{\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\",\"d\":3,"
                       "\"a name of more than twenty-eight bytes\":1}";
            break;
        case 8:
            set_fails("e", (pl_value){.type = PL_FLOAT, .as.f = HUGE_VAL}, "a number that is not finite");
            break;
        case 9:
            set_fails("e", DEC("1."), "a decimal that is not a JSON number");
            break;
        case 10:
            remove_at("b");
            remove_at("text");
            expected = "{\"d\":3}";
            break;
        default:
            expect_text("", PL_JSON, expected);
        }
        is_flat(false);
        encodes_to(expected);
    }
}

static void holds_so_many_edits(void **state)
{
    (void)state;
    char name[8];
    pl_buf expected = PL_BUF(4096);
    load_flat(doc, "{ \"a\" : 1, \"text\" : \"which is long enough for an outline\" }");
    pl_buf_adds(&expected, "{ \"a\" : 1, \"text\" : \"which is long enough for an outline\"");
    for (int i = 0; i < PL_FLAT_EDITS_MAX + 4; i++) {
        (void)snprintf(name, sizeof name, "k%d", i);
        set(name, INT(i));
        pl_buf_printf(&expected, ", \"%s\" : %d", name, i);
        is_flat(i < PL_FLAT_EDITS_MAX);
    }
    pl_buf_adds(&expected, " }");
    encodes_to(pl_buf_str(&expected).ptr);
    pl_buf_release(&expected);

    load_flat(doc, "{\"a\":1,\"text\":\"which is long enough for an outline\"}");
    for (int i = 0; i < 2 * PL_FLAT_TEXT_MAX / 10; i++) /* the text of each is kept */
        set("a", STR("ten bytes."));
    is_flat(false);
    encodes_to("{\"a\":\"ten bytes.\",\"text\":\"which is long enough for an outline\"}");
}

/* ---- at random ------------------------------------------------------------------------- */

static pl_document *other; /* a tree from the beginning */
static pl_random random_state;

static uint64_t below(uint64_t bound)
{
    return pl_random_below(&random_state, bound);
}

static const char *const payloads[] = {
    "{\"seq\":1,\"pair\":\"ETH-USD\",\"price\":\"3043.59\",\"n\":7,\"debug\":{\"pair\":[1,2]},\"ok\":true,"
    "\"text\":\"which is long enough for an outline\"}",
    " { \"seq\" : 1 ,\n\t\"pair\" : [ 1, {} ] , \"price\" : {\"n\":1}, \"n\":null, \"\":0, \"\xC3\xBC\":1.0e5 , "
    "\"ok\":\"text which is long enough for an outline\" } ",
    "{ \"debug\" :  \"the only member, long enough for an outline\" }",
    "\n{\n  \"seq\": [],\n  \"pair\": -1,\n  \"a name that is so long that no place is noted\": \"x\"\n}\n",
    "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,"
    "\"o\":1,\"p\":1,\"q\":1,\"r\":1,\"long enough to have an outline of some twenty-five members\":\"for this and "
    "that, and so on, one text longer than the other\",\"pair\":2}",
    "{\"pair\":1,\"pair\":2,\"n\":\"keys that are not distinct, in a text that is long enough\",\"n\":[3]}",
    "{                                                                    }",
    "{\"pair\"          :                    1,\"n\":\"more space than is kept\"}"};
static const char *const keys[] = {
    "pair", "n",   "seq",      "debug", "ok",  "price", "a",
    "r",    "",    "\xC3\xBC", "x\"y",  "new", "new2",  "a name that is so long that no place is noted",
    "a.b",  "\xFF"};

static pl_value some_value(void)
{
    static const pl_value values[] = {
        {.type = PL_INT, .as.i = -12},
        {.type = PL_INT, .as.i = INT64_MIN},
        {.type = PL_NIL},
        {.type = PL_BOOL, .as.b = true},
        {.type = PL_FLOAT, .as.f = 0.5},
        {.type = PL_TIME, .as.i = 1700000000123456789},
        {.type = PL_DECIMAL, .as.s = {"-2.500e-3", 9}},
        {.type = PL_STR, .as.s = {"some text", 9}},
        {.type = PL_STR, .as.s = {"", 0}},
        {.type = PL_STR, .as.s = {NULL, 0}},
        {.type = PL_STR, .as.s = {"a text of some length, so that soon there is no room for more of them", 69}},
        /* rarer from here on, as each of them ends the flat form */
        {.type = PL_STR, .as.s = {"\xC3\xBC", 2}},
        {.type = PL_STR, .as.s = {"a\nb", 3}},
        {.type = PL_BYTES, .as.s = {"\0\xFF", 2}},
        {.type = PL_JSON, .as.s = {"{\"n\":[1]}", 9}},
        {.type = PL_DECIMAL, .as.s = {"01", 2}},
        {.type = PL_DECIMAL, .as.s = {"1e400", 5}},
        {.type = PL_STR, .as.s = {"\xFF", 1}},
        {.type = PL_FLOAT, .as.f = NAN}};
    return values[below(below(16) ? 11 : sizeof values / sizeof *values)];
}

static void same_value(const pl_value *a, const pl_value *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case PL_NIL:
        return;
    case PL_BOOL:
        assert_int_equal(a->as.b, b->as.b);
        return;
    case PL_FLOAT:
        assert_true(a->as.f == b->as.f);
        return;
    case PL_INT:
    case PL_TIME:
        assert_true(a->as.i == b->as.i);
        return;
    default:
        if (!pl_str_eq(a->as.s, b->as.s))
            fail_msg("%.*s\nexpected %.*s", (int)a->as.s.len, a->as.s.ptr, (int)b->as.s.len, b->as.s.ptr);
    }
}

static void same_texts(void)
{
    pl_str mine, wanted;
    pl_arena *out = below(2) ? arena : pl_arena_new(128); /* with room, or with none */
    assert_int_equal(pl_document_encode(doc, out, &mine, &error), PL_OK);
    assert_int_equal(pl_document_encode(other, arena, &wanted, &error), PL_OK);
    if (!pl_str_eq(mine, wanted))
        fail_msg("%.*s\nexpected %.*s", (int)mine.len, mine.ptr, (int)wanted.len, wanted.ptr);
    assert_int_equal(pl_document_touched(doc), pl_document_touched(other));
    if (out != arena)
        pl_arena_free(&out);
}

/* One and the same call on both. */
static void do_something(void)
{
    const char *name = keys[below(sizeof keys / sizeof *keys)];
    pl_str key = PL_S(name);
    pl_value value = some_value(), wanted;
    pl_error why = {.message = ""};
    pl_status status;
    error.message[0] = '\0';
    switch (below(10)) {
    case 0:
    case 1:
    case 2:
        status = pl_document_set_field(doc, key, &value, &error);
        assert_int_equal(status, pl_document_set_field(other, key, &value, &why));
        if (status == PL_FAILED)
            assert_string_equal(error.message, why.message);
        return;
    case 3:
    case 4:
        assert_int_equal(pl_document_remove_field(doc, key, &error), pl_document_remove_field(other, key, &why));
        return;
    case 5:
        same_texts();
        return;
    case 6:
        if (below(8) == 0)
            assert_true(pl_document_count(doc, PL_JSON_ROOT) == pl_document_count(other, PL_JSON_ROOT));
        return;
    default:
        status = pl_document_field(doc, key, &value, &error);
        assert_int_equal(status, pl_document_field(other, key, &wanted, &why));
        if (status == PL_OK)
            same_value(&value, &wanted);
    }
}

static void same_members(void)
{
    pl_json_item mine, wanted;
    pl_value value, want;
    uint32_t cursor = 0, second = 0;
    while (pl_document_each(other, PL_JSON_ROOT, &second, &wanted, &error) == PL_OK) {
        assert_int_equal(pl_document_each(doc, PL_JSON_ROOT, &cursor, &mine, &error), PL_OK);
        assert_true(pl_str_eq(mine.key, wanted.key));
        assert_int_equal(pl_document_value(doc, mine.node, &value, &error), PL_OK);
        assert_int_equal(pl_document_value(other, wanted.node, &want, &error), PL_OK);
        same_value(&value, &want);
    }
    assert_int_equal(pl_document_each(doc, PL_JSON_ROOT, &cursor, &mine, &error), PL_END);
}

static void equals_the_tree(void **state)
{
    (void)state;
    enum { ROUNDS = 12000 };
    int flat = 0, changed = 0, tree = 0;
    other = pl_document_new();
    pl_random_seed(&random_state, 11);
    for (int round = 0; round < ROUNDS; round++) {
        const char *payload = payloads[(size_t)round / 64 % (sizeof payloads / sizeof *payloads)];
        pl_arena_reset(arena);
        if (round % 2)
            load_flat(doc, payload);
        else /* by the shape that it learned itself */
            pl_document_load(doc, pl_arena_str(arena, PL_S(payload)), PL_CODEC_JSON);
        load_flat(other, payload);
        (void)pl_document_count(other, PL_JSON_ROOT); /* only a tree can tell */
        bool began = false;
        for (uint64_t i = below(20); i > 0; i--) {
            do_something();
            assert_false(other->flat.on);
            began = began || (doc->flat.on && doc->flat.changed + doc->flat.added > 0);
        }
        flat += began && doc->flat.on;
        changed += began && !doc->flat.on;
        tree += !began && doc->tree.nodes > 0;
        same_texts();
        if (below(2))
            same_members();
        same_texts();
    }
    assert_true(flat > ROUNDS / 10 && changed > ROUNDS / 10 && tree > ROUNDS / 10);
    pl_document_free(&other);
}

static void a_tree_needs_memory(void **state)
{
    (void)state;
    static const char payload[] = "{\"a\":1,\"b\":{\"c\":2},\"text\":\"which is long enough for an outline\"}";
    int failures = 0;
    for (long n = 0; n < 12; n++) {
        pl_document *mine = pl_document_new();
        pl_value value;
        load_flat(mine, payload);
        assert_int_equal(pl_document_set_field(mine, PL_S("d"), &INT(3), &error), PL_OK);
        assert_int_equal(pl_document_remove_field(mine, PL_S("a"), &error), PL_OK);
        pl_mem_fail_after(n);
        int64_t count = pl_document_count(mine, PL_JSON_ROOT);
        pl_mem_fail_after(-1);
        assert_true(count == 3 || count == -1);
        failures += count == -1;
        if (count == -1)
            assert_true(mine->flat.on);
        assert_int_equal(pl_document_count(mine, PL_JSON_ROOT), 3);
        assert_int_equal(pl_document_field(mine, PL_S("d"), &value, &error), PL_OK);
        pl_document_free(&mine);
    }
    assert_in_range(failures, 1, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_without_a_tree),
        cmocka_unit_test(becomes_a_tree),
        cmocka_unit_test(holds_so_many_edits),
        cmocka_unit_test(equals_the_tree),
        cmocka_unit_test(a_tree_needs_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
