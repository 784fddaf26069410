/* The shape of texts that were checked: a text that has it is judged, and outlined, as the walk over its structure
 * does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/random.h>
#include <base/str.h>
#include <record/scan.h>
#include <record/shape.h>

static pl_scanner *scanner;
static pl_shape shape;

/* The outline by a walk; count 0: not certainly valid. */
static uint32_t walk(pl_str padded, pl_outline_entry *entry)
{
    const uint32_t *index;
    uint32_t structurals, count;
    if (pl_scan(scanner, padded, &index, &structurals) != PL_SCAN_OK)
        return 0;
    bool escapes = memchr(padded.ptr, '\\', padded.len) != NULL;
    return pl_outline_walk(padded, index, structurals, escapes, entry, PL_OUTLINE_ENTRIES_MAX, &count) ==
                   PL_OUTLINE_VALID
               ? count
               : 0;
}

static void learn(const char *text)
{
    pl_outline_entry entry[PL_OUTLINE_ENTRIES_MAX + 1];
    pl_str padded = pl_arena_str(arena, PL_S(text));
    uint32_t count = walk(padded, entry);
    assert_true(count > 0);
    pl_shape_learn(&shape, padded, entry, count);
}

/* What is said of a text; where it has the shape, its outline must be that of a walk. */
static pl_shape_match try(pl_str text)
{
    pl_outline_entry wanted[PL_OUTLINE_ENTRIES_MAX + 1], found[PL_OUTLINE_ENTRIES_MAX + 1];
    pl_str padded = pl_arena_str(arena, text);
    pl_shape_match match = pl_shape_try(&shape, padded, found);
    if (match != PL_SHAPE_SAME)
        return match;
    if (walk(padded, wanted) != shape.count)
        fail_msg("not valid: %.*s", (int)text.len, text.ptr);
    assert_memory_equal(found, wanted, shape.count * sizeof *found);
    return match;
}

static int begin(void **state)
{
    scanner = pl_scanner_new();
    return set_up(state);
}

static int end(void **state)
{
    pl_shape_release(&shape);
    pl_scanner_free(&scanner);
    return tear_down(state);
}

static void knows_what_is_alike(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        pl_shape_match match;
    } cases[] = {
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5e3}",
         PL_SHAPE_SAME},
        {"{\"a\":\"\", \"bc\" : [ 12345678901234567890,{\"d\":false},[]] ,\"a name so long that the outline takes less "
         "than the text\":true}",
         PL_SHAPE_SAME},
        {"{\"a\":1, \"bc\" : [ \"a text of more than sixteen bytes\",{\"d\":0},[]] ,\"a name so long that the outline "
         "takes less than the text\":-0}",
         PL_SHAPE_SAME},
        {"{\"a\":1, \"bd\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_OTHER},
        {"{\"a\":1,  \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_OTHER},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "texT\":-2.5e3}",
         PL_SHAPE_OTHER},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5} ",
         PL_SHAPE_OTHER},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":null},[1]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_OTHER},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":{}},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":01, \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1, \"bc\" : [ \"\\n\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1, \"bc\" : [ \"\xC3\xBC\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1, \"bc\" : [ \"a\nb\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":nul},[]] ,\"a name so long that the outline takes less than the "
         "text\":-2.5}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":\"no end}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1, \"bc\" : [ \"x\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
         "text\":2e400}",
         PL_SHAPE_DOUBTED},
        {"{\"a\":1}", PL_SHAPE_DOUBTED}, /* too short for an outline */
        {"}", PL_SHAPE_DOUBTED},
        {"", PL_SHAPE_DOUBTED},
    };
    learn("{\"a\":10, \"bc\" : [ \"text\",{\"d\":null},[]] ,\"a name so long that the outline takes less than the "
          "text\":3}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        shape.misses = shape.rest = 0;
        pl_shape_match match = try(PL_S(cases[i].text));
        if (match != cases[i].match)
            fail_msg("%s: %d", cases[i].text, match);
    }
}

/* Rarely tried where texts are of many shapes, and tried again. */
static void rests_after_misses(void **state)
{
    (void)state;
    int looked = 0;
    learn("[ 1, 2 ]");
    for (int i = 0; i < 10000; i++)
        looked += try(PL_S("[ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 ]")) == PL_SHAPE_OTHER;
    assert_in_range(looked, 100, 300);
    while (shape.rest > 0)
        assert_int_equal(try(PL_S("[ \"longer\", \"by so much that it may have an outline\" ]")), PL_SHAPE_DOUBTED);
    for (int i = 0; i < 100; i++)
        assert_int_equal(try(PL_S("[ \"longer\", \"by so much that it may have an outline\" ]")), PL_SHAPE_SAME);
}

/* A source of two kinds of records: learning each as it comes would cost more than it saves. */
static void learns_little_from_what_is_mixed(void **state)
{
    (void)state;
    static const char *const kinds[] = {"[ \"a text that is long\", \"by so much that it may have an outline\" ]",
                                        "{ \"a\": \"a text that is long\", \"b\": \"so that it has an outline\" }"};
    static const char *const orders[] = {"01", "0011", "00001", "0100110101110010"};
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        int learned = 0, same = 0;
        shape.misses = shape.rest = 0;
        for (size_t i = 0; i < 10000; i++) {
            const char *text = kinds[orders[k][i % strlen(orders[k])] - '0'];
            pl_shape_match match = try(PL_S(text));
            same += match == PL_SHAPE_SAME;
            if (match == PL_SHAPE_OTHER) {
                learn(text);
                learned++;
            }
        }
        assert_in_range(learned, 1, same + 10000 / 10); /* what is learned is of use as often */
    }
}

static void keeps_what_is_small(void **state)
{
    (void)state;
    static char large[PL_SHAPE_TEXT_MAX + 2];
    memset(large, ' ', sizeof large - 1);
    large[0] = '[';
    large[sizeof large - 2] = ']';
    learn("[ 1, 2, 3, 4, 5, 6 ]");
    uint64_t id = shape.id;
    learn(large);
    assert_int_equal(shape.id, id);
    learn("[ 1, 2, 3, 4, 5, 6, 7 ]");
    assert_int_not_equal(shape.id, id);
}

/* Scalars of which most are right. */
static size_t add_scalar(pl_random *random, char *out)
{
    static const char *const scalars[] = {"1",
                                          "-2.50",
                                          "0",
                                          "1e3",
                                          "12345678",
                                          "123456789.123456789",
                                          "true",
                                          "null",
                                          "false",
                                          "\"\"",
                                          "\"a\"",
                                          "\"b c\"",
                                          "\"a text that is long\"",
                                          "01",
                                          "1.",
                                          "-",
                                          "nul",
                                          "\"x",
                                          "\"\\n\"",
                                          "[]",
                                          "{",
                                          "2e400",
                                          "1e-05",
                                          "\"\xC3\"",
                                          "+1"};
    const char *scalar = scalars[pl_random_below(random, pl_random_below(random, 4) ? 13 : 25)];
    memcpy(out, scalar, strlen(scalar));
    return strlen(scalar);
}

static void says_nothing_that_is_wrong(void **state)
{
    (void)state;
    enum { TEXTS = 200000 };
    static const char *const shapes[] = {"{\"seq\":1, \"pair\":1,\"l\":[1,{\"n\":1}, [] ],\"o\":{\"t\":1}} ",
                                         "[1,[1,1],[[{}]],{\"a\":{\"b\":{\"c\":1},\"d\":1}}]",
                                         "{\"a\":1,\"a\":1,\"\":1,\"a name of some length\":1}"};
    pl_random random;
    pl_random_seed(&random, 7);
    int same = 0, other = 0;
    for (int i = 0; i < TEXTS; i++) {
        const char *model = shapes[i * 3 / TEXTS];
        char text[512];
        size_t length = 0;
        if (i * 3 % TEXTS < 3)
            learn(model);
        for (const char *at = model; *at; at++) {
            if (*at == '1')
                length += add_scalar(&random, text + length);
            else
                text[length++] = *at;
        }
        if (pl_random_below(&random, 4) == 0)
            text[pl_random_below(&random, length)] = "{}[]:,\"1 tx-.e\\"[pl_random_below(&random, 15)];
        length -= pl_random_below(&random, 16) == 0 ? pl_random_below(&random, length) : 0;
        shape.misses = shape.rest = 0;
        pl_shape_match match = try((pl_str){text, length});
        same += match == PL_SHAPE_SAME;
        other += match == PL_SHAPE_OTHER;
        pl_arena_reset(arena);
    }
    assert_true(same > TEXTS / 20 && other > TEXTS / 20);
}

/* By way of the document: what stands in a record of a known shape is read as in any other. */
static void documents_go_by_it(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"pair\":\"ETH-USD\",\"price\":\"1.5\",\"in\":{\"a\":1,\"b\":[1,2]},\"n\":7}",
        "{\"pair\":\"X\",\"price\":\"1000.25\",\"in\":{\"a\":22,\"b\":[30,\"4\"]},\"n\":null}",
        "{\"pair\":\"X\",\"price\":\"1000.25\",\"in\":{\"a\":22,\"b\":[30,\"4\"]},\"n\":nil}"};
    for (int i = 0; i < 3; i++) {
        pl_document_load(doc, pl_arena_str(arena, PL_S(texts[i])), PL_CODEC_JSON);
        assert_int_equal(pl_document_validate(doc, &error), i < 2 ? PL_OK : PL_FAILED);
        if (i == 1) {
            expect_text("pair", PL_STR, "X");
            expect_text("in.b", PL_JSON, "[30,\"4\"]");
            expect_int("in.a", 22);
            expect_int("in.b[0]", 30);
            set("in.b[1]", INT(5));
            encodes_to("{\"pair\":\"X\",\"price\":\"1000.25\",\"in\":{\"a\":22,\"b\":[30,5]},\"n\":null}");
        }
    }
    assert_string_equal(error.message, "not JSON: null is expected at byte 61");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_what_is_alike),
        cmocka_unit_test(rests_after_misses),
        cmocka_unit_test(learns_little_from_what_is_mixed),
        cmocka_unit_test(keeps_what_is_small),
        cmocka_unit_test(says_nothing_that_is_wrong),
        cmocka_unit_test(documents_go_by_it),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
