#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_document.h"
#include <base/str.h>

pl_arena *arena;
pl_document *doc;
pl_error error;

int set_up(void **state)
{
    (void)state;
    arena = pl_arena_new(1024);
    doc = pl_document_new();
    return arena && doc ? 0 : -1;
}

static bool outlined;

int set_up_outlined(void **state)
{
    outlined = true;
    return set_up(state);
}

int tear_down(void **state)
{
    (void)state;
    pl_document_free(&doc);
    pl_arena_free(&arena);
    return 0;
}

pl_record record_of(pl_str payload, bool with_outline)
{
    pl_record record = {.payload = payload};
    pl_document *source = pl_document_new();
    pl_document_load(source, payload, PL_CODEC_JSON);
    if (with_outline && pl_document_validate(source, NULL) == PL_OK)
        record.outline = pl_document_keep_outline(source, arena);
    pl_document_free(&source);
    return record;
}

void load_asked(pl_document *document, const pl_record *record)
{
    pl_json_item item;
    pl_value value;
    uint32_t cursor = 0;
    pl_document_load_record(document, record, PL_CODEC_JSON);
    while (pl_document_each(document, PL_JSON_ROOT, &cursor, &item, NULL) == PL_OK && item.key.ptr)
        (void)pl_document_field(document, item.key, &value, NULL); /* the value may be no JSON */
    (void)pl_document_field(document, PL_S("new"), &value, NULL);
    pl_document_load_record(document, record, PL_CODEC_JSON);
}

void load(const char *text)
{
    pl_arena_reset(arena);
    pl_record record = record_of(pl_arena_str(arena, PL_S(text)), outlined);
    load_asked(doc, &record);
}

pl_path path_of(const char *text)
{
    pl_path path;
    if (pl_path_parse(PL_S(text), &path, &error) != PL_OK)
        fail_msg("%s", error.message);
    return path;
}

void set(const char *path, pl_value value)
{
    pl_path compiled = path_of(path);
    if (pl_document_set(doc, &compiled, &value, &error) != PL_OK)
        fail_msg("%s: %s", path, error.message);
}

void set_fails(const char *path, pl_value value, const char *message)
{
    pl_path compiled = path_of(path);
    assert_int_equal(pl_document_set(doc, &compiled, &value, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_REJECT);
    assert_string_equal(error.message, message);
}

void remove_at(const char *path)
{
    pl_path compiled = path_of(path);
    assert_int_equal(pl_document_remove(doc, &compiled, &error), PL_OK);
}

void absent(const char *path)
{
    pl_path compiled = path_of(path);
    pl_value value;
    assert_int_equal(pl_document_get(doc, &compiled, &value, &error), PL_END);
}

pl_value get(const char *path)
{
    pl_path compiled = path_of(path);
    pl_value value;
    pl_status status = pl_document_get(doc, &compiled, &value, &error);
    if (status != PL_OK)
        fail_msg("%s: %s", path, status == PL_END ? "absent" : error.message);
    return value;
}

void expect_text(const char *path, int32_t type, const char *expected)
{
    pl_value value = get(path);
    assert_int_equal(value.type, type);
    if (!pl_str_is(value.as.s, expected))
        fail_msg("%s: %.*s, expected %s", path, (int)value.as.s.len, value.as.s.ptr, expected);
}

void expect_int(const char *path, int64_t expected)
{
    pl_value value = get(path);
    assert_int_equal(value.type, PL_INT);
    assert_true(value.as.i == expected);
}

void encodes_to(const char *expected)
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
