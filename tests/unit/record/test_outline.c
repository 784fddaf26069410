/* The outline of a checked text: what it judges, what it notes, how much of it is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/random.h>
#include <base/str.h>
#include <record/outline.h>
#include <record/scan.h>

typedef struct judged {
    pl_scan_status scanned, parsed; /* by simdjson; parsed only where scanned is PL_SCAN_OK */
    pl_outline_verdict verdict;
    uint32_t count;
    pl_outline_entry entry[PL_OUTLINE_ENTRIES_MAX + 1];
} judged;

static judged judge(pl_scanner *scanner, pl_str padded)
{
    const uint32_t *index;
    uint32_t structurals;
    judged it = {.scanned = pl_scan(scanner, padded, &index, &structurals)};
    if (it.scanned != PL_SCAN_OK)
        return it;
    bool escapes = memchr(padded.ptr, '\\', padded.len) != NULL;
    it.verdict = pl_outline_walk(padded, index, structurals, escapes, it.entry, PL_OUTLINE_ENTRIES_MAX, &it.count);
    it.parsed = pl_scan_check(scanner);
    return it;
}

/* ---- verdicts --------------------------------------------------------------------------- */

static void judges(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        pl_outline_verdict verdict;
    } cases[] = {
        {"{}", PL_OUTLINE_VALID},
        {" [ ] ", PL_OUTLINE_VALID},
        {"[0]", PL_OUTLINE_VALID},
        {"[ -0.0 ]", PL_OUTLINE_VALID},
        {"[\"x\" ]", PL_OUTLINE_VALID},
        {"{\"a\":[1,{\"b\":null}],\"c\" : true , \"\":false}", PL_OUTLINE_VALID},
        {"[123456789012345678901234567890123456789012345678901234567890123456789012345678]", PL_OUTLINE_VALID},
        {"[1e5,-0.5E-07,0e+0]", PL_OUTLINE_VALID},
        {"[\"\\n\\\\\",\"\\\"\\u00e9\\u0000\"]", PL_OUTLINE_VALID},
        {"{\"\\u0061\":1}", PL_OUTLINE_VALID},
        {"[1e100]", PL_OUTLINE_DOUBTED},
        {"[1e]", PL_OUTLINE_DOUBTED},
        {"[1e+]", PL_OUTLINE_DOUBTED},
        {"[1.e1]", PL_OUTLINE_DOUBTED},
        {"[\"\\ud83d\\ude00\"]", PL_OUTLINE_DOUBTED},
        {"[\"\\uDC00\"]", PL_OUTLINE_DOUBTED},
        {"[\"\\u00g9\"]", PL_OUTLINE_DOUBTED},
        {"[\"\\u00e\"]", PL_OUTLINE_DOUBTED},
        {"[1e999]", PL_OUTLINE_DOUBTED},
        {"[01]", PL_OUTLINE_DOUBTED},
        {"[1.]", PL_OUTLINE_DOUBTED},
        {"[-]", PL_OUTLINE_DOUBTED},
        {"[1x]", PL_OUTLINE_DOUBTED},
        {"{\"\\q\":1}", PL_OUTLINE_DOUBTED},
        {"0", PL_OUTLINE_NONE},
        {"\"x\"", PL_OUTLINE_NONE},
        {"[x]", PL_OUTLINE_NONE},
        {"[", PL_OUTLINE_NONE},
        {"[{", PL_OUTLINE_NONE},
        {"{\"a\":{", PL_OUTLINE_NONE},
        {"{\"a\":[1", PL_OUTLINE_NONE},
        {"nul", PL_OUTLINE_NONE},
        {"truefalse", PL_OUTLINE_NONE},
        {"1 2", PL_OUTLINE_NONE},
        {"{}{}", PL_OUTLINE_NONE},
        {"[1,]", PL_OUTLINE_NONE},
        {"[,1]", PL_OUTLINE_NONE},
        {"[1 2]", PL_OUTLINE_NONE},
        {"[1:2]", PL_OUTLINE_NONE},
        {"[\"a\":2]", PL_OUTLINE_NONE},
        {"[1}", PL_OUTLINE_NONE},
        {"{\"a\":1]", PL_OUTLINE_NONE},
        {"{\"a\"}", PL_OUTLINE_NONE},
        {"{\"a\":}", PL_OUTLINE_NONE},
        {"{\"a\":1,}", PL_OUTLINE_NONE},
        {"{\"a\",1}", PL_OUTLINE_NONE},
        {"{\"a\" x:1}", PL_OUTLINE_NONE},
        {"{1:2}", PL_OUTLINE_NONE},
        {"{,}", PL_OUTLINE_NONE},
        {"[\"a\"x]", PL_OUTLINE_NONE},
        {"[[1]", PL_OUTLINE_NONE},
        {"]", PL_OUTLINE_NONE},
        {":", PL_OUTLINE_NONE},
    };
    pl_scanner *scanner = pl_scanner_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_arena_reset(arena);
        judged it = judge(scanner, pl_arena_str(arena, PL_S(cases[i].text)));
        assert_int_equal(it.scanned, PL_SCAN_OK);
        if (it.verdict != cases[i].verdict)
            fail_msg("%s: %d", cases[i].text, it.verdict);
    }
    pl_scanner_free(&scanner);
}

static void depth(void **state)
{
    (void)state;
    char text[2 * (PL_JSON_DEPTH_MAX + 1) + 1];
    pl_scanner *scanner = pl_scanner_new();
    for (size_t deep = PL_JSON_DEPTH_MAX; deep <= PL_JSON_DEPTH_MAX + 1; deep++) {
        memset(text, '[', deep);
        memset(text + deep, ']', deep);
        judged it = judge(scanner, pl_arena_str(arena, (pl_str){text, 2 * deep}));
        assert_int_equal(it.verdict, deep > PL_JSON_DEPTH_MAX ? PL_OUTLINE_NONE : PL_OUTLINE_VALID);
    }
    pl_scanner_free(&scanner);
}

/* A text that is rarely right: pieces of JSON in any order, or a right one with some bytes changed. */
static size_t make_text(pl_random *random, char *out, size_t size)
{
    static const char *const pieces[] = {"{",           "}",
                                         "[",           "]",
                                         ",",           ":",
                                         "\"a\"",       "\"\"",
                                         "\"b c\"",     "1",
                                         "-2.50",       "0",
                                         "1e3",         "12345",
                                         "true",        "null",
                                         "false",       " ",
                                         "\"\\n\"",     "\n",
                                         "x",           "\"\\u00e9\\/\"",
                                         "\"\\ud800\"", "\"\\u12\"",
                                         "1e-05",       "1E400",
                                         "\"\\q\":"};
    static const char right[] = "{\"seq\":1, \"pair\":\"ETH-USD\",\"l\":[1.5,{\"n\":null}, [] ],\"o\":{\"t\":true}}";
    size_t length = 0;
    if (pl_random_below(random, 2)) {
        memcpy(out, right, sizeof right);
        for (uint64_t changes = pl_random_below(random, 4); changes > 0; changes--)
            out[pl_random_below(random, sizeof right - 1)] = "{}[]:,\"1 tx-.e\\"[pl_random_below(random, 15)];
        return sizeof right - 1;
    }
    for (uint64_t left = 1 + pl_random_below(random, 12); left > 0; left--) {
        const char *piece = pieces[pl_random_below(random, sizeof pieces / sizeof *pieces)];
        if (length + strlen(piece) < size) {
            memcpy(out + length, piece, strlen(piece));
            length += strlen(piece);
        }
    }
    return length;
}

/* Beyond 64 bits simdjson's parser refuses what JSON allows. */
static bool has_long_number(const char *text, size_t length)
{
    size_t digits = 0;
    for (size_t i = 0; i < length && digits < 19; i++)
        digits = text[i] >= '0' && text[i] <= '9' ? digits + 1 : 0;
    return digits >= 19;
}

static bool is_container(const char *text, size_t length)
{
    size_t start = 0;
    while (start < length && (text[start] == ' ' || text[start] == '\n'))
        start++;
    return start < length && (text[start] == '{' || text[start] == '[');
}

static void agrees_with_simdjson(void **state)
{
    (void)state;
    enum { TEXTS = 200000 };
    pl_random random;
    pl_random_seed(&random, 4);
    pl_scanner *scanner = pl_scanner_new();
    int valid = 0, none = 0;
    for (int i = 0; i < TEXTS; i++) {
        char text[256];
        size_t length = make_text(&random, text, sizeof text);
        if (has_long_number(text, length))
            continue;
        pl_arena_reset(arena);
        judged it = judge(scanner, pl_arena_str(arena, (pl_str){text, length}));
        if (it.scanned != PL_SCAN_OK)
            continue;
        if (it.verdict == PL_OUTLINE_VALID && it.parsed != PL_SCAN_OK)
            fail_msg("valid, but not to simdjson: %.*s", (int)length, text);
        if (it.verdict == PL_OUTLINE_NONE && is_container(text, length) && it.parsed == PL_SCAN_OK)
            fail_msg("none, but not to simdjson: %.*s", (int)length, text);
        valid += it.verdict == PL_OUTLINE_VALID;
        none += it.verdict == PL_OUTLINE_NONE;
    }
    assert_true(valid > TEXTS / 20 && none > TEXTS / 20);
    pl_scanner_free(&scanner);
}

/* ---- what is noted and kept ------------------------------------------------------------------ */

static void notes_every_value(void **state)
{
    (void)state;
    static const char text[] = " { \"a\" : [10, {\"b\":\"x\"} ],\"cc\":{ }, \"d\":-1.5 } ";
    static const struct {
        const char *key, *value;
    } want[] = {{"", "{ \"a\" : [10, {\"b\":\"x\"} ],\"cc\":{ }, \"d\":-1.5 }"},
                {"a", "[10, {\"b\":\"x\"} ]"},
                {"", "10"},
                {"", "{\"b\":\"x\"}"},
                {"b", "\"x\""},
                {"cc", "{ }"},
                {"d", "-1.5"}};
    pl_scanner *scanner = pl_scanner_new();
    judged it = judge(scanner, pl_arena_str(arena, PL_S(text)));
    assert_int_equal(it.verdict, PL_OUTLINE_VALID);
    assert_int_equal(it.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < it.count; i++) {
        assert_true(pl_str_is((pl_str){text + it.entry[i].key_at, it.entry[i].key_len}, want[i].key));
        assert_true(pl_str_is((pl_str){text + it.entry[i].at, it.entry[i].len}, want[i].value));
    }
    pl_scanner_free(&scanner);
}

/* An array of `count` zeros. */
static pl_str zeros(size_t count, size_t spaces)
{
    static char text[1 << 18];
    size_t length = 0;
    text[length++] = '[';
    for (size_t i = 0; i < count; i++) {
        text[length++] = i > 0 ? ',' : ' ';
        text[length++] = '0';
    }
    memset(text + length, ' ', spaces);
    length += spaces;
    text[length++] = ']';
    return pl_arena_str(arena, (pl_str){text, length});
}

static void keeps_little(void **state)
{
    (void)state;
    static const struct {
        size_t values, spaces;
        bool kept;
    } cases[] = {{3, 0, false},     /* more than the text itself */
                 {3, 60, true},     /**/
                 {127, 2000, true}, /* and the array makes 128 */
                 {128, 2000, false}, {3, UINT16_MAX - 8, true}, {3, UINT16_MAX - 7, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_arena_reset(arena);
        pl_str payload = zeros(cases[i].values, cases[i].spaces);
        pl_record record = record_of(payload, true);
        assert_true((record.outline != NULL) == cases[i].kept);
        if (!record.outline)
            continue;
        assert_true(sizeof *record.outline + record.outline->count * sizeof *record.outline->entry <= payload.len);
        pl_value value;
        pl_path path = path_of("[2]"), beyond = path_of("[500]");
        pl_document_load_record(doc, &record, PL_CODEC_JSON);
        assert_int_equal(pl_document_get(doc, &path, &value, &error), PL_OK);
        assert_int_equal(pl_document_get(doc, &beyond, &value, &error), PL_END);
    }
}

static void is_used_for_its_own_payload_only(void **state)
{
    (void)state;
    static const char text[] = "{\"price\":\"1000.00000001\",\"pair\":\"ETH-USD\",\"n\":123456789}";
    static const char other[] = "{\"pair\":\"BTC-USD\",\"price\":\"1000.0000000\",\"n\":123456789}";
    pl_value value;
    pl_record record = record_of(pl_arena_str(arena, PL_S(text)), true);
    assert_non_null(record.outline);
    pl_document_load_record(doc, &record, PL_CODEC_JSON);
    expect_text("pair", PL_STR, "ETH-USD");
    record.payload = pl_arena_str(arena, PL_S(other)); /* a script gave out other bytes */
    pl_document_load_record(doc, &record, PL_CODEC_JSON);
    expect_text("pair", PL_STR, "BTC-USD");
    record.payload = (pl_str){NULL, 0};
    pl_document_load_record(doc, &record, PL_CODEC_JSON);
    absent("pair");
    assert_int_equal(pl_document_field(doc, PL_S("pair"), &value, &error), PL_END);
    record = record_of(pl_arena_str(arena, PL_S(text)), true);
    pl_document_load_record(doc, &record, PL_CODEC_TEXT);
    expect_text("", PL_STR, text);
    pl_document_load_record(doc, &record, PL_CODEC_JSON);
    assert_int_equal(pl_document_validate(doc, &error), PL_OK);
    set("pair", STR("LINK-USD"));
    encodes_to("{\"price\":\"1000.00000001\",\"pair\":\"LINK-USD\",\"n\":123456789}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges),
        cmocka_unit_test(depth),
        cmocka_unit_test(agrees_with_simdjson),
        cmocka_unit_test(notes_every_value),
        cmocka_unit_test(keeps_little),
        cmocka_unit_test(is_used_for_its_own_payload_only),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
