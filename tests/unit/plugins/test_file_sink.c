#include "support_files.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static stub *source(const char *options)
{
    stub *host = stub_open("file", STUB_SOURCE);
    stub_create(host, with(options));
    return host;
}

static stub *sink(const char *options)
{
    stub *host = stub_open("file", STUB_SINK);
    stub_create(host, with(options));
    return host;
}

/* ---- Sink ------------------------------------------------------------------------------------------ */

#define BATCH(...) ((const char *const[]){__VA_ARGS__, NULL})

static void lines_are_appended_and_durable(void **state)
{
    (void)state;
    put("out", "w", "{\"old\":1}\n");
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("{\"a\":1}", "{\n \"b\" : \"x\\n\"\n}", "[1,\n2]")), PL_OK);
    assert_int_equal(stub_count(host, STUB_DURABLE), 3);
    assert_int_equal(stub_write_records(host, &(stub_record){.payload = NULL}, 1), PL_OK);
    assert_string_equal(get("out"), "{\"old\":1}\n{\"a\":1}\n{  \"b\" : \"x\\n\" }\n[1, 2]\nnull\n");
    stub_close(&host);
    host = sink("{ path: %s/out, mode: truncate }");
    assert_int_equal(stub_write(host, BATCH("1")), PL_OK);
    assert_int_equal(stub_write(host, BATCH("2")), PL_OK);
    assert_string_equal(get("out"), "1\n2\n");
    stub_close(&host);
}

static void text_of_several_lines_becomes_a_string(void **state)
{
    (void)state;
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("plain text", "two\nlines")), PL_OK);
    assert_string_equal(get("out"), "plain text\n\"two\\nlines\"\n");
    stub_close(&host);
}

/* What the core does while lines are out: a flush that asks only for what is ready. */
static pl_status look(stub *host)
{
    return host->component->sink->flush(host->self, host->now, &host->error);
}

static void an_interval_settles_later_and_at_flush(void **state)
{
    (void)state;
    stub *host = sink("{ path: %s/out, sync: interval, sync_every: 200ms }");
    assert_int_equal(stub_write(host, BATCH("1", "2")), PL_OK);
    stub_advance(host, 150 * 1000000);
    assert_int_equal(stub_write(host, BATCH("3")), PL_OK);
    assert_int_equal(look(host), PL_AGAIN);
    assert_int_equal(stub_settled_in(host, 0, 0), STUB_OUT);
    stub_advance(host, 60 * 1000000);
    assert_int_equal(look(host), PL_OK);
    assert_int_equal(stub_settled_in(host, 0, 1), STUB_DURABLE);
    assert_int_equal(stub_settled_in(host, 1, 0), STUB_DURABLE);
    assert_int_equal(stub_write(host, BATCH("4")), PL_OK);
    assert_int_equal(look(host), PL_AGAIN);
    assert_int_equal(stub_flush(host), PL_OK); /* this one may wait, so it gets it done */
    assert_int_equal(stub_count(host, STUB_DURABLE), 1);
    stub_close(&host);
    assert_string_equal(get("out"), "1\n2\n3\n4\n");
}

static void csv_is_written(void **state)
{
    (void)state;
    static const char options[] = "{ path: %s/out, format: csv, csv: { columns: [pair, q.price, note] } }";
    stub *host = sink(options);
    const stub_record records[] = {
        {.payload = "{\"pair\":\"A\",\"q\":{\"price\":1.50},\"note\":\"x, \\\"y\\\"\"}"},
        {.payload = NULL},
        {.payload = "{\"pair\":null,\"note\":\"\"}"},
    };
    assert_int_equal(stub_write_records(host, records, 3), PL_OK);
    assert_int_equal(stub_settled(host, 0), STUB_DURABLE);
    assert_int_equal(stub_settled(host, 1), PL_REJECT);
    assert_int_equal(stub_settled(host, 2), STUB_DURABLE);
    stub_restart(host, with(options));
    assert_int_equal(stub_write(host, BATCH("{\"pair\":\"B\"}")), PL_OK);
    assert_string_equal(get("out"), "pair,q.price,note\nA,1.50,\"x, \"\"y\"\"\"\n,,\"\"\nB,,\n");
    stub_close(&host);
}

/* Rows of all that is awkward in CSV, over several blocks of the reader, written and read back. */
static void csv_comes_back_as_it_went(void **state)
{
    (void)state;
    enum { ROWS = 20000, WIDTH = 128 };
    static const char *const pieces[] = {"a", ",", "\\\"", "\\n", "\\r", ";", " ", "\xC3\xA9", ""};
    char(*text)[WIDTH] = malloc(ROWS * sizeof *text);
    const char **payloads = calloc(ROWS + 1, sizeof *payloads);
    assert_true(text && payloads);
    uint32_t random = 1;
    for (int i = 0; i < ROWS; i++) {
        size_t len = 0;
        for (char column = 'a'; column <= 'c'; column++) {
            len += (size_t)snprintf(text[i] + len, WIDTH - len, "%c\"%c\":\"", column == 'a' ? '{' : ',', column);
            for (int k = 0; k < 4; k++) {
                random = random * 1664525 + 1013904223;
                len += (size_t)snprintf(text[i] + len, WIDTH - len, "%s", pieces[(random >> 16) % 9]);
            }
            len += (size_t)snprintf(text[i] + len, WIDTH - len, "\"");
        }
        (void)snprintf(text[i] + len, WIDTH - len, "}");
        payloads[i] = text[i];
    }
    stub *host = sink("{ path: %s/out, format: csv, csv: { columns: [a, b, c] } }");
    assert_int_equal(stub_write(host, payloads), PL_OK);
    stub_close(&host);
    host = source("{ path: %s/out, format: csv }");
    assert_int_equal(stub_drain(host, ROWS + 1), PL_END);
    assert_int_equal(host->emitted_count, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        assert_string_equal(stub_json(host, i), text[i]);
    }
    stub_close(&host);
    free(payloads);
    free(text);
}

static void dead_letters_come_in_an_envelope(void **state)
{
    (void)state;
    const pl_field headers[] = {
        {PL_S("plumbline.reason"), {.type = PL_STR, .as.s = PL_S("price is \"0\"")}},
        {PL_S("trace"), {.type = PL_BYTES, .as.s = {"\x00\xff", 2}}},
        {PL_S("trace"), {.type = PL_STR, .as.s = PL_S("b")}},
    };
    stub *host = sink("{ path: %s/out }");
    const stub_record records[] = {
        {.payload = "{\"a\": 1}",
         .key = "k",
         .stream = "topic",
         .time_unix_ns = 1648771200500000000,
         .headers = headers,
         .header_count = 3},
        {.payload = "{\"a\":\n1}",
         .headers = headers,
         .header_count = 1,
         .time_unix_ns = 1}, /* not to lose the newline */
        {.payload = " [1] ", .headers = headers, .header_count = 1, .time_unix_ns = 1},
        {.payload = "{\"a\":", .headers = headers, .header_count = 1, .time_unix_ns = 1},
        {.payload = "\xff", .headers = headers, .header_count = 1, .time_unix_ns = 1},
        {.payload = "{\"plain\":1}"},
    };
    assert_int_equal(stub_write_records(host, records, 6), PL_OK);
    assert_string_equal(get("out"),
                        "{\"headers\":{\"plumbline.reason\":\"price is \\\"0\\\"\",\"trace\":[{\"base64\":"
                        "\"AP8=\"},\"b\"]},\"key\":\"k\",\"stream\":\"topic\",\"time\":\"2022-04-01T00:00:"
                        "00.500Z\",\"payload\":{\"a\": 1}}\n"
                        "{\"headers\":{\"plumbline.reason\":\"price is \\\"0\\\"\"},\"key\":null,\"stream\":"
                        "null,\"time\":\"1970-01-01T00:00:00.000000001Z\",\"payload\":\"{\\\"a\\\":\\n1}\"}\n"
                        "{\"headers\":{\"plumbline.reason\":\"price is \\\"0\\\"\"},\"key\":null,\"stream\":"
                        "null,\"time\":\"1970-01-01T00:00:00.000000001Z\",\"payload\":\" [1] \"}\n"
                        "{\"headers\":{\"plumbline.reason\":\"price is \\\"0\\\"\"},\"key\":null,\"stream\":"
                        "null,\"time\":\"1970-01-01T00:00:00.000000001Z\",\"payload\":\"{\\\"a\\\":\"}\n"
                        "{\"headers\":{\"plumbline.reason\":\"price is \\\"0\\\"\"},\"key\":null,\"stream\":"
                        "null,\"time\":\"1970-01-01T00:00:00.000000001Z\",\"payload_base64\":\"/w==\"}\n"
                        "{\"plain\":1}\n");
    stub_close(&host);
}

/* A crash in the middle of a line leaves half of it: it was never settled, and comes again. */
static void a_torn_last_line_is_cut_off(void **state)
{
    (void)state;
    put("out", "w", "{\"a\":1}\n{\"a\":2,\"b");
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("{\"a\":2,\"b\":0}")), PL_OK);
    assert_string_equal(get("out"), "{\"a\":1}\n{\"a\":2,\"b\":0}\n");
    assert_true(stub_logged(host, "was cut off"));
    stub_close(&host);
    put("out", "w", "{\"a\":1}\n{\"whole\":2}");
    host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("3")), PL_OK);
    assert_string_equal(get("out"), "{\"a\":1}\n{\"whole\":2}\n3\n");
    stub_close(&host);
    put("out", "w", "notes of somebody");
    host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("3")), PL_OK);
    assert_string_equal(get("out"), "notes of somebody\n3\n");
    stub_close(&host);
    put("out", "w", "a");
    host = sink("{ path: %s/out, format: csv, csv: { columns: [a, b] } }");
    assert_int_equal(stub_write(host, BATCH("{\"a\":1,\"b\":2}")), PL_OK);
    assert_string_equal(get("out"), "a,b\n1,2\n");
    stub_close(&host);
}

/* What looks torn may be a line that somebody else is writing just now. */
static void a_last_line_is_left_to_another_writer(void **state)
{
    (void)state;
    put("out", "w", "{\"a\":1}\n{\"a\":2,\"b");
    int other = open(at("out"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(other >= 0 && flock(other, LOCK_SH) == 0);
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(write(other, "\":3}\n", 5), 5);
    assert_int_equal(stub_write(host, BATCH("4")), PL_OK);
    assert_string_equal(get("out"), "{\"a\":1}\n{\"a\":2,\"b\":3}\n4\n");
    stub_close(&host);
    (void)close(other);
}

/* It may be torn all the same; then it stays, and no record is glued to it. */
static void a_line_that_another_writer_does_not_end_gets_its_end(void **state)
{
    (void)state;
    put("out", "w", "{\"a\":1}\n{\"a\":2,\"b");
    int other = open(at("out"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(other >= 0 && flock(other, LOCK_SH) == 0);
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("3")), PL_OK);
    assert_int_equal(stub_write(host, BATCH("4")), PL_OK);
    assert_string_equal(get("out"), "{\"a\":1}\n{\"a\":2,\"b\n3\n4\n");
    stub_close(&host);
    (void)close(other);
}

/* The lock is kept while the file is open, so that the next one does not take our line for a torn one. */
static void a_writer_holds_a_shared_lock(void **state)
{
    (void)state;
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("1")), PL_OK);
    int other = open(at("out"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(flock(other, LOCK_SH | LOCK_NB), 0);
    stub_close(&host);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    (void)close(other);
}

/* A full disk, by RLIMIT_FSIZE: what fits is durable, what was torn is taken back, the rest comes again. */
static void a_full_disk_leaves_whole_lines(void **state)
{
    (void)state;
    struct rlimit before, small = {.rlim_cur = 25, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    stub *host = sink("{ path: %s/out }");
    assert_int_equal(stub_write(host, BATCH("{\"n\":1}")), PL_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    pl_status status = stub_write(host, BATCH("{\"n\":2}", "{\"n\":3}", "{\"n\":4}", "{\"n\":5}"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    assert_int_equal(stub_settled(host, 1), STUB_DURABLE);
    assert_int_equal(stub_settled(host, 2), STUB_OUT);
    assert_string_equal(get("out"), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert_int_equal(stub_write(host, BATCH("{\"n\":4}", "{\"n\":5}")), PL_OK);
    assert_string_equal(get("out"), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n");
    stub_close(&host);
}

static void a_folder_that_is_not_there_halts(void **state)
{
    (void)state;
    stub *host = sink("{ path: %s/none/out }");
    assert_int_equal(stub_write(host, BATCH("1")), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_HALT);
    assert_non_null(strstr(host->error.message, "/none/out: No such file"));
    assert_int_equal(stub_count(host, STUB_OUT), 1);
    stub_close(&host);
}

static void a_pipe_without_reader_is_retried_and_a_closed_one_halts(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    stub *host = sink("{ path: %s/pipe }");
    assert_int_equal(stub_write(host, BATCH("1")), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    int fd = open(at("pipe"), O_RDONLY | O_NONBLOCK);
    assert_int_equal(stub_write(host, BATCH("1")), PL_OK);
    char read_back[8] = {0};
    assert_int_equal(read(fd, read_back, sizeof read_back), 2);
    assert_string_equal(read_back, "1\n");
    (void)close(fd);
    assert_int_equal(stub_write(host, BATCH("2")), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_HALT);
    stub_close(&host);
}

static void an_interrupt_ends_a_blocked_write(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    int fd = open(at("pipe"), O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    stub *host = sink("{ path: %s/pipe }");
    char *big = malloc(400001);
    assert_non_null(big);
    memset(big, '1', 400000);
    big[400000] = '\0';
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, host), 0);
    assert_int_equal(stub_write(host, BATCH(big)), PL_FAILED);
    (void)pthread_join(thread, NULL);
    assert_int_equal(host->error.error_class, PL_RETRY);
    assert_int_equal(stub_count(host, STUB_OUT), 1);
    free(big);
    (void)close(fd);
    stub_close(&host);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, files_set_up, files_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_are_appended_and_durable),
        TEST(text_of_several_lines_becomes_a_string),
        TEST(an_interval_settles_later_and_at_flush),
        TEST(csv_is_written),
        TEST(csv_comes_back_as_it_went),
        TEST(dead_letters_come_in_an_envelope),
        TEST(a_torn_last_line_is_cut_off),
        TEST(a_last_line_is_left_to_another_writer),
        TEST(a_line_that_another_writer_does_not_end_gets_its_end),
        TEST(a_writer_holds_a_shared_lock),
        TEST(a_full_disk_leaves_whole_lines),
        TEST(a_folder_that_is_not_there_halts),
        TEST(a_pipe_without_reader_is_retried_and_a_closed_one_halts),
        TEST(an_interrupt_ends_a_blocked_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
