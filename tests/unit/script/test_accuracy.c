/* scripts/accuracy.lua over the prices of April and May 2022, where they are at hand: the results were published with
 * them. Exact, and the same whatever the order in which the records come. */
#include <base/buf.h>
#include <base/fs.h>
#include <base/timestamp.h>
#include <record/document.h>
#include <script/feed.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCRIPT PL_SOURCE_DIR "/scripts/accuracy.lua"
#define LIBRARY PL_SOURCE_DIR "/scripts/lib"
#define DATA PL_SOURCE_DIR "/../shared/data/eth_usd_2022_a"

enum { ROUNDS = 1699, OVER_BAND = 25 };

typedef struct lines {
    pl_buf text;
    pl_str at[8000];
    size_t count;
} lines;

static bool read_lines(const char *path, lines *out)
{
    pl_error error;
    out->text = PL_BUF(16 << 20);
    out->count = 0;
    if (pl_fs_read(path, &out->text, &error) != PL_OK)
        return false;
    const char *at = out->text.data, *end = at + out->text.len;
    while (at < end && out->count < 8000) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            stop = end;
        out->at[out->count++] = (pl_str){at, (size_t)(stop - at)};
        at = stop + 1;
    }
    return true;
}

/* A field of a JSON text, as text; "" when it is absent. */
static const char *field(pl_str json, const char *name, char out[128])
{
    pl_arena *arena = pl_arena_new(1024);
    pl_document *document = pl_document_new();
    pl_value value;
    pl_error error;
    out[0] = '\0';
    pl_document_load(document, pl_arena_str(arena, json), PL_CODEC_JSON);
    if (pl_document_field(document, PL_S(name), &value, &error) == PL_OK && value.type == PL_STR)
        (void)snprintf(out, 128, "%.*s", (int)value.as.s.len, value.as.s.ptr);
    pl_document_free(&document);
    pl_arena_free(&arena);
    return out;
}

static int64_t event_time(pl_str json)
{
    char text[128];
    int64_t ns = 0;
    if (!*field(json, "observed_at", text))
        field(json, "fetched_at", text);
    assert_true(pl_time_parse(PL_S(text), &ns));
    return ns;
}

static pl_feed *run(const lines *input, bool reversed)
{
    pl_feed_setup setup = {.script = SCRIPT, .library = LIBRARY};
    pl_error error = {.message = ""};
    pl_feed *feed = pl_feed_new(&setup, &error);
    if (!feed)
        fail_msg("%s", error.message);
    for (size_t i = 0; i < input->count; i++) {
        pl_str line = input->at[reversed ? input->count - 1 - i : i];
        pl_record record = {.payload = line, .time_unix_ns = event_time(line)};
        assert_true(pl_feed_add(feed, &record));
    }
    assert_int_equal(pl_feed_run(feed, &error), PL_OK);
    assert_int_equal(pl_feed_reject_count(feed), 0);
    return feed;
}

static void check_update(const pl_feed *feed, const lines *expected)
{
    static const char *const fields[] = {"agg_round", "at", "contract_price", "ref_price", "deviation_pct"};
    size_t met = 0;
    for (size_t i = 0; i < pl_feed_output_count(feed); i++) {
        pl_str got = pl_feed_output_at(feed, i)->record.payload;
        char a[128], b[128];
        if (strcmp(field(got, "basis", a), "update") != 0)
            continue;
        assert_true(met < expected->count);
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
            assert_string_equal(field(got, fields[f], a), field(expected->at[met], fields[f], b));
        met++;
    }
    assert_int_equal(met, ROUNDS);
}

static void check_now(const pl_feed *feed)
{
    size_t rows = 0, over = 0;
    char text[128];
    for (size_t i = 0; i < pl_feed_output_count(feed); i++) {
        pl_str got = pl_feed_output_at(feed, i)->record.payload;
        if (strcmp(field(got, "basis", text), "now") != 0)
            continue;
        rows++;
        over += strcmp(field(got, "verdict", text), "over_band") == 0;
    }
    assert_int_equal(rows, ROUNDS);
    assert_int_equal(over, OVER_BAND);
}

static void assert_same(const pl_feed *a, const pl_feed *b)
{
    assert_int_equal(pl_feed_output_count(a), pl_feed_output_count(b));
    for (size_t i = 0; i < pl_feed_output_count(a); i++) {
        pl_str x = pl_feed_output_at(a, i)->record.payload, y = pl_feed_output_at(b, i)->record.payload;
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.ptr, y.ptr, x.len);
    }
}

static void test_2022(void **state)
{
    (void)state;
    static lines input, expected;
    if (!read_lines(DATA ".jsonl", &input) || !read_lines(DATA ".expected.jsonl", &expected)) {
        pl_buf_release(&input.text);
        skip();
    }
    assert_int_equal(expected.count, ROUNDS);
    pl_feed *forward = run(&input, false), *backward = run(&input, true);
    check_update(forward, &expected);
    check_now(forward);
    assert_same(forward, backward);
    pl_feed_free(&forward);
    pl_feed_free(&backward);
    pl_buf_release(&input.text);
    pl_buf_release(&expected.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_2022)};
    return cmocka_run_group_tests_name("accuracy", tests, NULL, NULL);
}
