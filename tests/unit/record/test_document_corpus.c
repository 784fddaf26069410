/* A random corpus, against decode, modify, encode by Python's json (make_document_vectors.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/buf.h>
#include <base/str.h>
#include <record/document.h>
#include <record/encode.h>

enum { LINE_MAX_BYTES = 1 << 16 };

typedef struct world {
    pl_document *doc;
    pl_arena *arena;         /* what lives for one case */
    pl_json_reader *operand; /* JSON texts of the lines */
    pl_json_reader *result;
    pl_buf compact, expected;
    bool exact, outlined;
    int line, cases, edits, gets, outlines;
} world;

/* Without space, keys and strings escaped as pl_encode_string does, numbers as they stand. */
static void compact(pl_json_reader *reader, pl_json_node node, pl_buf *out)
{
    pl_value value;
    pl_error error;
    if (pl_json_value(reader, node, &value, &error) != PL_OK)
        fail_msg("%s", error.message);
    pl_str raw = pl_json_raw(reader, node);
    if (value.type == PL_STR) {
        pl_encode_string(out, value.as.s);
        return;
    }
    if (value.type != PL_JSON) {
        pl_buf_add(out, raw.ptr, raw.len);
        return;
    }
    uint32_t cursor = 0;
    pl_json_item item;
    bool object = *raw.ptr == '{', first = true;
    pl_buf_addc(out, object ? '{' : '[');
    for (; pl_json_each(reader, node, &cursor, &item, &error) == PL_OK; first = false) {
        if (!first)
            pl_buf_addc(out, ',');
        if (object) {
            pl_encode_string(out, item.key);
            pl_buf_addc(out, ':');
        }
        compact(reader, item.node, out);
    }
    pl_buf_addc(out, object ? '}' : ']');
}

static void compact_text(world *w, pl_str text, pl_buf *out)
{
    pl_error error;
    pl_buf_clear(out);
    if (pl_json_load_copy(w->result, text, PL_JSON_FULL, &error) != PL_OK)
        fail_msg("line %d: %s: %.*s", w->line, error.message, (int)text.len, text.ptr);
    compact(w->result, PL_JSON_ROOT, out);
}

static void expect_same(world *w, pl_str got, pl_str want)
{
    if (!pl_str_eq(got, want))
        fail_msg("line %d: %.*s\nexpected %.*s", w->line, (int)got.len, got.ptr, (int)want.len, want.ptr);
}

/* Takes a JSON string from the front of *rest. */
static pl_path take_path(world *w, pl_str *rest)
{
    size_t end = 1;
    while (rest->ptr[end] != '"')
        end += rest->ptr[end] == '\\' ? 2 : 1;
    pl_str text = {rest->ptr, end + 1};
    pl_value value;
    pl_path path;
    pl_error error;
    assert_int_equal(pl_json_load_copy(w->operand, text, PL_JSON_FULL, &error), PL_OK);
    assert_int_equal(pl_json_value(w->operand, PL_JSON_ROOT, &value, &error), PL_OK);
    if (pl_path_parse(value.as.s, &path, &error) != PL_OK)
        fail_msg("line %d: %s", w->line, error.message);
    char shown[1024]; /* and back to text: the same path */
    pl_path again;
    assert_int_equal(pl_path_parse(PL_S(pl_path_format(&path, shown, sizeof shown)), &again, &error), PL_OK);
    assert_int_equal(again.count, path.count);
    size_t used = end + 1 < rest->len ? end + 2 : rest->len;
    *rest = (pl_str){rest->ptr + used, rest->len - used};
    return path;
}

static pl_value value_of(world *w, pl_str json)
{
    pl_value value;
    pl_error error;
    assert_int_equal(pl_json_load_copy(w->operand, json, PL_JSON_FULL, &error), PL_OK);
    assert_int_equal(pl_json_value(w->operand, PL_JSON_ROOT, &value, &error), PL_OK);
    return value;
}

static void run_get(world *w, pl_str rest)
{
    pl_value got, want;
    pl_error error;
    pl_path path = take_path(w, &rest);
    pl_status status = pl_document_get(w->doc, &path, &got, &error);
    w->gets++;
    if (rest.len == 0) {
        assert_int_equal(status, PL_END);
        return;
    }
    assert_int_equal(status, PL_OK);
    want = value_of(w, rest);
    assert_int_equal(got.type, want.type);
    if (got.type == PL_JSON) {
        compact_text(w, got.as.s, &w->compact);
        expect_same(w, pl_buf_str(&w->compact), want.as.s);
    } else if (got.type == PL_STR || got.type == PL_DECIMAL) {
        expect_same(w, got.as.s, want.as.s);
    } else if (got.type != PL_NIL) {
        assert_true(got.type == PL_BOOL ? got.as.b == want.as.b : got.as.i == want.as.i);
    }
}

static void run_set(world *w, pl_str rest)
{
    pl_error error;
    pl_path path = take_path(w, &rest);
    pl_value value = value_of(w, rest);
    if (value.type == PL_INT) /* keeps -0 */
        value = (pl_value){.type = PL_DECIMAL, .as.s = rest};
    if (pl_document_set(w->doc, &path, &value, &error) != PL_OK)
        fail_msg("line %d: %s", w->line, error.message);
    w->edits++;
}

static void run_out(world *w, pl_str want)
{
    pl_str out;
    pl_error error;
    assert_int_equal(pl_document_encode(w->doc, w->arena, &out, &error), PL_OK);
    compact_text(w, out, &w->compact);
    compact_text(w, want, &w->expected);
    expect_same(w, pl_buf_str(&w->compact), pl_buf_str(&w->expected));
    if (w->exact && pl_document_touched(w->doc))
        expect_same(w, out, want);
    w->cases++;
}

/* As whoever checks the payload has it, or as a reader behind that one has it. */
static void load_case(world *w, pl_str payload)
{
    pl_record record = {.payload = payload};
    pl_document_load_record(w->doc, &record, PL_CODEC_JSON);
    assert_int_equal(pl_document_validate(w->doc, &(pl_error){0}), PL_OK);
    if (!w->outlined)
        return;
    pl_document_load_record(w->doc, &record, PL_CODEC_JSON);
    assert_int_equal(pl_document_validate(w->doc, &(pl_error){0}), PL_OK); /* by its shape, where one was learned */
    record.outline = pl_document_keep_outline(w->doc, w->arena);
    w->outlines += record.outline != NULL;
    load_asked(w->doc, &record);
}

static void run_line(world *w, pl_str line)
{
    const char *space = memchr(line.ptr, ' ', line.len);
    pl_str verb = {line.ptr, (size_t)(space - line.ptr)};
    pl_str rest = {space + 1, line.len - verb.len - 1};
    if (pl_str_is(verb, "doc") || pl_str_is(verb, "exact")) {
        pl_arena_reset(w->arena);
        w->exact = pl_str_is(verb, "exact");
        load_case(w, pl_arena_str(w->arena, rest));
    } else if (pl_str_is(verb, "get")) {
        run_get(w, rest);
    } else if (pl_str_is(verb, "set")) {
        run_set(w, rest);
    } else if (pl_str_is(verb, "remove")) {
        pl_path path = take_path(w, &rest);
        assert_int_equal(pl_document_remove(w->doc, &path, &(pl_error){0}), PL_OK);
        w->edits++;
    } else {
        assert_true(pl_str_is(verb, "out"));
        run_out(w, rest);
    }
}

static void run_corpus(bool outlined)
{
    static char line[LINE_MAX_BYTES];
    world w = {.outlined = outlined,
               .doc = pl_document_new(),
               .arena = pl_arena_new(4096),
               .operand = pl_json_reader_new(),
               .result = pl_json_reader_new(),
               .compact = PL_BUF(1 << 20),
               .expected = PL_BUF(1 << 20)};
    FILE *file = fopen(PL_SOURCE_DIR "/tests/unit/record/document_vectors.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        size_t length = strlen(line);
        assert_true(length > 0 && line[length - 1] == '\n');
        w.line++;
        if (length > 1)
            run_line(&w, (pl_str){line, length - 1});
    }
    (void)fclose(file);
    assert_int_equal(w.cases, 260);
    assert_true(w.edits > 500 && w.gets == 780);
    assert_true(outlined ? w.outlines > 150 : w.outlines == 0);
    pl_buf_release(&w.compact);
    pl_buf_release(&w.expected);
    pl_json_reader_free(&w.operand);
    pl_json_reader_free(&w.result);
    pl_arena_free(&w.arena);
    pl_document_free(&w.doc);
}

static void equals_decode_modify_encode(void **state)
{
    (void)state;
    run_corpus(false);
}

static void equals_it_by_an_outline_too(void **state)
{
    (void)state;
    run_corpus(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_decode_modify_encode),
        cmocka_unit_test(equals_it_by_an_outline_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
