/* Dead letters read back: as records with headers, and as the file sink's lines. */
#include "support.h"

#include <fcntl.h>
#include <flow/ledger.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct desk {
    pl_json_reader *json;
    pl_arena *arena;
    pl_letter letter;
    pl_error error;
} desk;

static int open_desk(void **state)
{
    desk *d = calloc(1, sizeof *d);
    assert_non_null(d);
    d->json = pl_json_reader_new();
    d->arena = pl_arena_new(4096);
    d->error.struct_size = sizeof d->error;
    *state = d;
    return d->json && d->arena ? 0 : -1;
}

static int close_desk(void **state)
{
    desk *d = *state;
    pl_json_reader_free(&d->json);
    pl_arena_free(&d->arena);
    free(d);
    return 0;
}

static pl_status read_line(desk *d, const char *line)
{
    pl_record found = {.payload = pl_arena_str(d->arena, PL_S(line))};
    return pl_letter_read(d->json, &found, d->arena, &d->letter, &d->error);
}

static void expect(pl_str text, const char *bytes, size_t len)
{
    assert_non_null(text.ptr);
    assert_int_equal(text.len, len);
    assert_memory_equal(text.ptr, bytes, len);
}
#define EXPECT(text, bytes) expect(text, bytes, sizeof(bytes) - 1)

#define FACTS "\"plumbline.component\":\"check\",\"plumbline.reason\":\"why\\nnot\""

static void a_line_gives_the_record_that_it_was(void **state)
{
    desk *d = *state;
    assert_int_equal(
        read_line(d, "{\"headers\":{" FACTS ",\"plumbline.attempts\":\"3\",\"plumbline.origin.lane\":\"t/1\","
                     "\"plumbline.origin.position\":\"18446744073709551615\",\"a\":[\"1\",{\"base64\":\"AP8=\"},"
                     "null],\"plumbline.id\":\"00000000000000ff-a\"},\"key\":\"k\",\"stream\":\"t\","
                     "\"time\":\"2026-03-01T10:00:00.000000001Z\",\"payload\":{\"n\": 1.50,\"n\":2}}"),
        PL_OK);
    const pl_record *record = &d->letter.record;
    EXPECT(record->payload, "{\"n\": 1.50,\"n\":2}");
    EXPECT(record->key, "k");
    EXPECT(record->stream, "t");
    assert_int_equal(record->time_unix_ns, 1772359200000000001);
    assert_true(record->position == UINT64_MAX);
    assert_int_equal(record->header_count, 3);
    EXPECT(record->headers[0].value.as.s, "1");
    EXPECT(record->headers[1].value.as.s, "\x00\xff");
    assert_int_equal(record->headers[1].value.type, PL_BYTES);
    assert_int_equal(record->headers[2].value.type, PL_NIL);
    EXPECT(d->letter.component, "check");
    EXPECT(d->letter.reason, "why\nnot");
    EXPECT(d->letter.lane, "t/1");
    assert_int_equal(d->letter.attempts, 3);
    assert_true(d->letter.key.high == 0xff && d->letter.key.low == 0xa);
}

static void payloads_that_are_no_json_keep_their_bytes(void **state)
{
    desk *d = *state;
    const struct {
        const char *member, *bytes;
        size_t len;
    } cases[] = {
        {"\"payload\":\"{\\\"n\\\":\\n\\t \\u0000\\u00e9\\ud83d\\ude00\"", "{\"n\":\n\t \0\xc3\xa9\xf0\x9f\x98\x80",
         15},
        {"\"payload\":\"\"", "", 0},
        {"\"payload\":[]", "[]", 2},
        {"\"payload_base64\":\"AP/+\"", "\x00\xff\xfe", 3},
        {"\"payload_base64\":\"/w==\"", "\xff", 1},
        {"\"payload_base64\":\"\"", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[512];
        (void)snprintf(line, sizeof line, "{\"headers\":{" FACTS "},\"key_base64\":\"/w==\",%s}", cases[i].member);
        assert_int_equal(read_line(d, line), PL_OK);
        expect(d->letter.record.payload, cases[i].bytes, cases[i].len);
        EXPECT(d->letter.record.key, "\xff");
        assert_null(d->letter.record.stream.ptr);
        assert_int_equal(d->letter.record.time_unix_ns, 0);
    }
    assert_int_equal(read_line(d, "{\"headers\":{" FACTS "},\"payload\":null}"), PL_OK);
    assert_null(d->letter.record.payload.ptr);
}

static void a_payload_may_be_as_deep_as_json_may_be(void **state)
{
    desk *d = *state;
    char deep[2 * PL_JSON_DEPTH_MAX + 1];
    char line[512];
    memset(deep, '[', PL_JSON_DEPTH_MAX);
    memset(deep + PL_JSON_DEPTH_MAX, ']', PL_JSON_DEPTH_MAX);
    deep[2 * PL_JSON_DEPTH_MAX] = '\0';
    (void)snprintf(line, sizeof line, "{\"headers\":{" FACTS "},\"payload\":%s}", deep);
    assert_int_equal(read_line(d, line), PL_OK);
    expect(d->letter.record.payload, deep, strlen(deep));
}

static void headers_of_a_record_do_as_well(void **state)
{
    desk *d = *state;
    const pl_field headers[] = {
        {PL_S("mine"), {.type = PL_BYTES, .as.s = {"\x00\x01", 2}}},
        {PL_S("plumbline.component"), {.type = PL_BYTES, .as.s = PL_S("store")}},
        {PL_S("plumbline.stream"), {.type = PL_BYTES, .as.s = PL_S("prices")}},
        {PL_S("plumbline.event_time"), {.type = PL_BYTES, .as.s = PL_S("2026-03-01T10:00:00.123456789Z")}},
        {PL_S("plumbline.id"), {.type = PL_BYTES, .as.s = PL_S("0123456789abcdef-10")}},
    };
    pl_record found = {.payload = {"\xff", 1},
                       .stream = PL_S("dead"),
                       .headers = headers,
                       .header_count = 5,
                       .time_unix_ns = 5,
                       .position = 9};
    assert_int_equal(pl_letter_read(d->json, &found, d->arena, &d->letter, &d->error), PL_OK);
    const pl_record *record = &d->letter.record;
    EXPECT(record->payload, "\xff");
    EXPECT(record->stream, "prices");
    assert_int_equal(record->time_unix_ns, 1772359200123456789);
    assert_int_equal(record->position, 0);
    assert_int_equal(record->header_count, 1);
    EXPECT(record->headers[0].name, "mine");
    assert_int_equal(d->letter.attempts, 1);
    assert_true(d->letter.key.high == 0x0123456789abcdef && d->letter.key.low == 0x10);
}

static void what_is_no_letter_is_told(void **state)
{
    desk *d = *state;
    const struct {
        const char *line, *message;
    } cases[] = {
        {"{\"n\":1}", "neither the headers of a dead letter"},
        {"not json", "JSON"},
        {"{\"headers\":{" FACTS "}}", "no member 'payload'"},
        {"{\"headers\":{\"a\":\"b\"},\"payload\":1}", "which component"},
        {"{\"headers\":{" FACTS ",\"plumbline.attempts\":\"two\"},\"payload\":{}}", "attempts is no number"},
        {"{\"headers\":{" FACTS "},\"time\":\"noon\",\"payload\":{}}", "RFC 3339"},
        {"{\"headers\":{" FACTS "},\"key\":1,\"payload\":{}}", "strings or null"},
        {"{\"headers\":{" FACTS "},\"payload_base64\":\"A\"}", "base64"},
        {"{\"headers\":{" FACTS "},\"payload\":{\"a\":tru}}", "JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_line(d, cases[i].line), PL_FAILED);
        assert_int_equal(d->error.error_class, PL_REJECT);
        if (!strstr(d->error.message, cases[i].message))
            fail_msg("%s: %s", cases[i].line, d->error.message);
    }
}

/* Without an id two letters are the same only if all that they say is. */
static void a_letter_without_id_has_a_key_of_its_text(void **state)
{
    desk *d = *state;
    assert_int_equal(read_line(d, "{\"headers\":{" FACTS "},\"payload\":{\"n\":1}}"), PL_OK);
    pl_letter_key first = d->letter.key;
    assert_int_equal(read_line(d, "{\"headers\":{" FACTS "},\"payload\":{\"n\":2}}"), PL_OK);
    assert_false(first.high == d->letter.key.high && first.low == d->letter.key.low);
    assert_int_equal(read_line(d, "{\"headers\":{" FACTS "},\"payload\":{\"n\":1}}"), PL_OK);
    assert_true(first.high == d->letter.key.high && first.low == d->letter.key.low);
}

/* ---- the ledger ------------------------------------------------------------------------------- */

static bool knows(pl_ledger *ledger, uint64_t high, uint64_t low)
{
    return pl_ledger_look(ledger, (pl_letter_key){high, low}) == PL_LEDGER_SETTLED;
}

static void the_ledger_knows_what_was_written(void **state)
{
    desk *d = *state;
    char path[] = "/tmp/plumbline-ledger-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    pl_ledger *ledger = pl_ledger_open(path, &d->error);
    assert_non_null(ledger);
    for (uint64_t i = 0; i < 3000; i++) {
        assert_int_equal(pl_ledger_look(ledger, (pl_letter_key){i, i * i}), PL_LEDGER_NEW);
        assert_true(pl_ledger_mark(ledger, (pl_letter_key){i, i * i}));
    }
    for (uint64_t i = 0; i < 3000; i++)
        assert_int_equal(pl_ledger_look(ledger, (pl_letter_key){i, i * i}), PL_LEDGER_MARKED);
    pl_letter_key keys[300];
    for (uint64_t i = 0; i < 300; i++)
        keys[i] = (pl_letter_key){i + 1, UINT64_MAX - i};
    assert_int_equal(pl_ledger_write(ledger, keys, 300, &d->error), PL_OK);
    pl_ledger_close(&ledger);
    assert_true(lseek(fd, 0, SEEK_END) == 300 * 33);
    assert_int_equal(write(fd, "000000000000ab", 14), 14); /* torn by a crash */
    ledger = pl_ledger_open(path, &d->error);
    assert_non_null(ledger);
    for (uint64_t i = 0; i < 300; i++)
        assert_true(knows(ledger, i + 1, UINT64_MAX - i));
    assert_false(knows(ledger, 7, 49)); /* marked, and never settled */
    assert_int_equal(pl_ledger_write(ledger, &(pl_letter_key){9, 9}, 1, &d->error), PL_OK);
    pl_ledger_close(&ledger);
    ledger = pl_ledger_open(path, &d->error);
    assert_true(knows(ledger, 9, 9));
    pl_ledger_close(&ledger);
    (void)close(fd);
    (void)unlink(path);
}

static void the_ledger_forgets_the_oldest(void **state)
{
    desk *d = *state;
    char path[] = "/tmp/plumbline-ledger-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert_non_null(file);
    for (unsigned i = 1; i <= 2 * PL_LEDGER_KEPT + 5; i++)
        (void)fprintf(file, "%016x%016x\n", i, i);
    (void)fclose(file);
    pl_ledger *ledger = pl_ledger_open(path, &d->error);
    assert_non_null(ledger);
    assert_false(knows(ledger, PL_LEDGER_KEPT + 5, PL_LEDGER_KEPT + 5));
    assert_true(knows(ledger, PL_LEDGER_KEPT + 6, PL_LEDGER_KEPT + 6));
    assert_true(knows(ledger, 2 * PL_LEDGER_KEPT + 5, 2 * PL_LEDGER_KEPT + 5));
    pl_ledger_close(&ledger);
    (void)unlink(path);
}

/* Put back by one long run: more than is ever read at once. */
static void the_ledger_reads_the_end_of_a_large_file(void **state)
{
    desk *d = *state;
    char path[] = "/tmp/plumbline-ledger-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)5 * PL_LEDGER_KEPT * 33), 0); /* a hole, for lines long past */
    assert_true(lseek(fd, 0, SEEK_END) > 0);
    assert_int_equal(dprintf(fd, "\n%016x%016x\n", 7, 8), 34);
    for (int opened = 0; opened < 2; opened++) { /* the second time it is the short one */
        pl_ledger *ledger = pl_ledger_open(path, &d->error);
        if (!ledger)
            fail_msg("%s", d->error.message);
        assert_true(knows(ledger, 7, 8));
        assert_int_equal(pl_ledger_write(ledger, &(pl_letter_key){9, 9}, 1, &d->error), PL_OK);
        pl_ledger_close(&ledger);
    }
    (void)close(fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(lseek(fd, 0, SEEK_END) == (PL_LEDGER_KEPT + 2) * 33);
    (void)close(fd);
    (void)unlink(path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_desk, close_desk)
    const struct CMUnitTest tests[] = {
        TEST(a_line_gives_the_record_that_it_was),
        TEST(payloads_that_are_no_json_keep_their_bytes),
        TEST(a_payload_may_be_as_deep_as_json_may_be),
        TEST(headers_of_a_record_do_as_well),
        TEST(what_is_no_letter_is_told),
        TEST(a_letter_without_id_has_a_key_of_its_text),
        TEST(the_ledger_knows_what_was_written),
        TEST(the_ledger_forgets_the_oldest),
        TEST(the_ledger_reads_the_end_of_a_large_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
