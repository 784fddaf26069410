#include "support_files.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static stub *source(const char *options)
{
    stub *host = stub_open("file", STUB_SOURCE);
    stub_create(host, with(options));
    return host;
}

/* ---- Source: lines -------------------------------------------------------------------------- */

static void lines_become_records(void **state)
{
    (void)state;
    put("in", "w", "\xEF\xBB\xBF{\"a\":1}\r\n\n  \n{\"a\":2}\n{\"a\":3}");
    stub *host = source("{ path: %s/in }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 3);
    assert_string_equal(stub_json(host, 0), "{\"a\":1}");
    assert_string_equal(stub_json(host, 2), "{\"a\":3}");
    assert_string_equal(host->lanes[0].name, at("in"));
    assert_int_equal(host->emitted[0].envelope.position, 12);
    assert_int_equal(host->emitted[2].envelope.position, 31);
    stub_close(&host);
}

static void text_keeps_empty_lines_and_bytes_take_the_file_whole(void **state)
{
    (void)state;
    put("in", "w", "one\n\nthree\n");
    stub *host = source("{ path: %s/in, format: text }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 3);
    assert_string_equal(stub_json(host, 1), "");
    stub_close(&host);
    host = source("{ path: %s/in, format: bytes }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 1);
    assert_string_equal(stub_json(host, 0), "one\n\nthree\n");
    stub_close(&host);
}

/* Lines of 1 to 3000 bytes over several blocks of the reader, and a host that stops it now and then. */
static void many_lines_over_block_borders(void **state)
{
    (void)state;
    enum { LINES = 1500 };
    FILE *file = fopen(at("in"), "w");
    assert_non_null(file);
    for (int i = 0; i < LINES; i++) {
        (void)fprintf(file, "{\"i\":%d,\"pad\":\"%0*d\"}\n", i, 1 + i * 2, 0);
    }
    (void)fclose(file);
    stub *host = source("{ path: %s/in }");
    for (size_t limit = 7; host->emitted_count < LINES; limit += 97) {
        host->emit_limit = limit;
        pl_status status = stub_next(host);
        assert_true(status == PL_OK || status == PL_END);
    }
    for (int i = 0; i < LINES; i++) {
        int found;
        assert_int_equal(sscanf(stub_json(host, (size_t)i), "{\"i\":%d,", &found), 1);
        assert_int_equal(found, i);
        assert_int_equal(strlen(stub_json(host, (size_t)i)),
                         strlen("{\"i\":,\"pad\":\"\"}") + (size_t)snprintf(NULL, 0, "%d", i) + 1 + (size_t)i * 2);
    }
    struct stat about;
    assert_int_equal(stat(at("in"), &about), 0);
    assert_int_equal(host->emitted[LINES - 1].envelope.position, about.st_size);
    stub_close(&host);
}

static void too_long_a_line_halts_and_says_where(void **state)
{
    (void)state;
    put("in", "w", "{\"a\":1}\n{\"long\":\"0123456789012345678901234567890123456789\"}\n{}\n");
    stub *host = source("{ path: %s/in, max_record: 40 }");
    assert_int_equal(stub_drain(host, 100), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_HALT);
    assert_non_null(strstr(host->error.message, "/in:2: "));
    assert_non_null(strstr(host->error.message, "40 bytes"));
    assert_int_equal(host->emitted_count, 1);
    stub_close(&host);
}

static void two_files_are_two_lanes(void **state)
{
    (void)state;
    put("in", "w", "1\n2\n");
    put("in2", "w", "3\n");
    stub *host = source("{ path: [%s/in, %s/in2] }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->lane_count, 2);
    assert_int_equal(host->emitted_count, 3);
    stub_close(&host);
}

static void what_cannot_be_read_halts(void **state)
{
    (void)state;
    stub *host = source("{ path: %s/in }");
    assert_int_equal(stub_next(host), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_HALT);
    assert_non_null(strstr(host->error.message, "No such file"));
    stub_close(&host);
    host = source("{ path: %s }");
    assert_int_equal(stub_next(host), PL_FAILED);
    assert_non_null(strstr(host->error.message, "is a directory"));
    stub_close(&host);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const struct {
        stub_side side;
        const char *with, *option;
    } bad[] = {
        {STUB_SOURCE, "{ path: \"-\", resume: true }", "path[0]"},
        {STUB_SOURCE, "{ path: [a, b, a] }", "path[2]"},
        {STUB_SOURCE, "{ path: [] }", "path"},
        {STUB_SOURCE, "{ path: a, format: csv, csv: { header: false } }", "csv.columns"},
        {STUB_SOURCE, "{ path: a, csv: { delimiter: \"::\" } }", "csv.delimiter"},
        {STUB_SINK, "{ path: a, format: csv }", "csv.columns"},
        {STUB_SINK, "{ path: a, format: csv, envelope: always, csv: { columns: [a] } }", "envelope"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        stub *host = stub_open("file", bad[i].side);
        stub_refuses(host, bad[i].with, bad[i].option, "");
        stub_close(&host);
    }
}

/* ---- Source: going on ------------------------------------------------------------------------- */

static void resume_goes_on_behind_what_was_settled(void **state)
{
    (void)state;
    static const char options[] = "{ path: %s/in, resume: true }";
    put("in", "w", "1\n2\n3\n4\n");
    stub *host = source(options);
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(stub_commit(host, 0, host->emitted[1].envelope.position), PL_OK);
    put("in", "a", "5\n");
    stub_restart(host, with(options));
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 3);
    assert_string_equal(stub_json(host, 0), "3");
    assert_int_equal(host->emitted[0].envelope.position, 6);
    assert_int_equal(stub_commit(host, 0, 10), PL_OK);
    stub_restart(host, with(options));
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 0);
    stub_close(&host);
}

/* For `state: rebuild`: all that was delivered comes again, flagged, then what is new. */
static void a_rewind_gives_again_what_was_delivered(void **state)
{
    (void)state;
    static const char options[] = "{ path: %s/in, resume: true }";
    put("in", "w", "1\n2\n3\n");
    stub *host = source(options);
    (void)stub_drain(host, 100);
    assert_int_equal(stub_commit(host, 0, 4), PL_OK);
    for (int restart = 0; restart < 2; restart++) {
        stub_restart(host, with(options));
        const pl_rewind *rewind = host->component->extension(host->self, "pl.rewind/1");
        assert_int_equal(rewind->rewind(host->self, 1, &host->error), PL_OK);
        assert_int_equal(stub_drain(host, 100), PL_END);
        assert_int_equal(host->emitted_count, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(host->emitted[i].envelope.flags, i < 2 ? PL_EMIT_REPLAY : 0);
        }
        assert_int_equal(stub_commit(host, 0, 2), PL_OK); /* of the replay: takes nothing back */
    }
    stub_close(&host);
}

static void another_file_of_that_name_is_read_from_its_start(void **state)
{
    (void)state;
    static const char options[] = "{ path: %s/in, resume: true }";
    put("in", "w", "1\n2\n3\n");
    stub *host = source(options);
    (void)stub_drain(host, 100);
    assert_int_equal(stub_commit(host, 0, 6), PL_OK);
    put("in", "w", "7\n8\n9\n10\n"); /* the same inode, longer: only its text tells */
    stub_restart(host, with(options));
    (void)stub_drain(host, 100);
    assert_int_equal(host->emitted_count, 4);
    assert_true(stub_logged(host, "is another file"));
    stub_close(&host);
}

static void a_store_that_fails_is_told(void **state)
{
    (void)state;
    put("in", "w", "1\n2\n");
    stub *host = source("{ path: %s/in, resume: true }");
    (void)stub_drain(host, 100);
    stub_store_fail(host, true);
    assert_int_equal(stub_commit(host, 0, 4), PL_FAILED);
    stub_close(&host);
}

static void follow_waits_for_whole_lines(void **state)
{
    (void)state;
    put("in", "w", "1\n{\"a\"");
    stub *host = source("{ path: %s/in, follow: true }");
    (void)stub_drain(host, 1);
    assert_int_equal(stub_next(host), PL_AGAIN);
    assert_int_equal(host->emitted_count, 1);
    put("in", "a", ":2}\n3\n");
    (void)stub_drain(host, 3);
    assert_string_equal(stub_json(host, 1), "{\"a\":2}");
    assert_string_equal(stub_json(host, 2), "3");
    stub_close(&host);
}

static void follow_sees_a_cut_and_a_replaced_file(void **state)
{
    (void)state;
    put("in", "w", "one\ntwo\n");
    stub *host = source("{ path: %s/in, follow: true, format: text }");
    (void)stub_drain(host, 2);
    assert_int_equal(stub_next(host), PL_AGAIN);
    put("in", "w", "x\n");
    (void)stub_drain(host, 3);
    assert_string_equal(stub_json(host, 2), "x");
    assert_true(host->emitted[2].envelope.position > host->emitted[1].envelope.position);
    char old[256];
    (void)snprintf(old, sizeof old, "%s", at("old"));
    assert_int_equal(rename(at("in"), old), 0);
    put("in", "w", "new\n");
    (void)stub_drain(host, 4);
    assert_string_equal(stub_json(host, 3), "new");
    assert_true(host->emitted[3].envelope.position > host->emitted[2].envelope.position);
    assert_true(stub_logged(host, "was cut"));
    assert_true(stub_logged(host, "was replaced"));
    stub_close(&host);
}

static void follow_waits_for_a_file_that_is_not_there(void **state)
{
    (void)state;
    stub *host = source("{ path: %s/in, follow: true }");
    assert_int_equal(stub_next(host), PL_AGAIN);
    assert_int_equal(stub_next(host), PL_AGAIN);
    assert_int_equal(stub_logged_count(host, "waiting"), 1);
    put("in", "w", "1\n");
    (void)stub_drain(host, 1);
    assert_int_equal(host->emitted_count, 1);
    stub_close(&host);
}

static void a_pipe_is_read_as_it_comes(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    stub *host = source("{ path: %s/pipe }");
    host->real_time = true;
    assert_int_equal(stub_next(host), PL_AGAIN); /* no writer yet, and it did not hang */
    int fd = open(at("pipe"), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "1\n2", 3), 3);
    (void)stub_drain(host, 1);
    assert_int_equal(host->emitted_count, 1);
    assert_int_equal(write(fd, "2\n3", 3), 3);
    (void)close(fd);
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 3);
    assert_string_equal(stub_json(host, 1), "22");
    assert_string_equal(stub_json(host, 2), "3");
    stub_close(&host);
}

static void an_interrupt_ends_the_wait_for_a_pipe(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    stub *host = source("{ path: %s/pipe }");
    host->real_time = true;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, host), 0);
    assert_int_equal(stub_next(host), PL_AGAIN);
    (void)pthread_join(thread, NULL);
    assert_int_equal(stub_next(host), PL_AGAIN);
    stub_close(&host);
}

/* ---- Source: CSV --------------------------------------------------------------------------------- */

static void csv_rows(void **state)
{
    (void)state;
    put("in", "w",
        "pair,price,note\r\nETH-USD,3041.80011967979705,\"a \"\"b\"\", "
        "c\"\r\nBTC-USD,,\"\"\n\nX,1,\"two\nlines\"\nY,2,z");
    stub *host = source("{ path: %s/in, format: csv }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    assert_int_equal(host->emitted_count, 4);
    assert_string_equal(stub_json(host, 0),
                        "{\"pair\":\"ETH-USD\",\"price\":\"3041.80011967979705\",\"note\":\"a \\\"b\\\", c\"}");
    assert_string_equal(stub_json(host, 1), "{\"pair\":\"BTC-USD\",\"price\":null,\"note\":\"\"}");
    assert_string_equal(stub_json(host, 2), "{\"pair\":\"X\",\"price\":\"1\",\"note\":\"two\\nlines\"}");
    assert_string_equal(stub_json(host, 3), "{\"pair\":\"Y\",\"price\":\"2\",\"note\":\"z\"}");
    stub_close(&host);
}

static void bad_csv_rows_go_on_as_they_stand(void **state)
{
    (void)state;
    put("in", "w", "a;b\n1;2\n1;2;3\n\"x\"y;2\n\"p\"\"q\";4\n\xff;\"r\"\"s\"\n\"open;5\n6;7\n");
    stub *host = source("{ path: %s/in, format: csv, csv: { delimiter: ; } }");
    assert_int_equal(stub_drain(host, 100), PL_END);
    static const char *const expected[] = {
        "{\"a\":\"1\",\"b\":\"2\"}",      "1;2;3",           "\"x\"y;2",
        "{\"a\":\"p\\\"q\",\"b\":\"4\"}", "\xff;\"r\"\"s\"", "\"open;5",
        "{\"a\":\"6\",\"b\":\"7\"}",
    };
    assert_int_equal(host->emitted_count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < host->emitted_count; i++) {
        assert_string_equal(stub_json(host, i), expected[i]);
    }
    assert_true(stub_logged(host, "/in:3: its number of fields"));
    assert_true(stub_logged(host, "/in:4: text follows a closing quote"));
    assert_true(stub_logged(host, "/in:6: it is not UTF-8"));
    assert_true(stub_logged(host, "/in:7: a quote is never closed"));
    stub_close(&host);
}

static void csv_resumes_behind_its_header(void **state)
{
    (void)state;
    static const char options[] = "{ path: %s/in, format: csv, resume: true, csv: { delimiter: tab } }";
    put("in", "w", "a\tb\n1\t2\n3\t4\n");
    stub *host = source(options);
    (void)stub_drain(host, 100);
    assert_int_equal(stub_commit(host, 0, host->emitted[0].envelope.position), PL_OK);
    stub_restart(host, with(options));
    (void)stub_drain(host, 100);
    assert_int_equal(host->emitted_count, 1);
    assert_string_equal(stub_json(host, 0), "{\"a\":\"3\",\"b\":\"4\"}");
    stub_close(&host);
}

static void csv_columns_by_option(void **state)
{
    (void)state;
    put("in", "w", "old,names\n1,2\n");
    stub *host = source("{ path: %s/in, format: csv, csv: { columns: [x, y] } }");
    (void)stub_drain(host, 100);
    assert_int_equal(host->emitted_count, 1);
    assert_string_equal(stub_json(host, 0), "{\"x\":\"1\",\"y\":\"2\"}");
    stub_close(&host);
    host = source("{ path: %s/in, format: csv, csv: { header: false, columns: [x, y] } }");
    (void)stub_drain(host, 100);
    assert_int_equal(host->emitted_count, 2);
    stub_close(&host);
    put("in", "w", "x,x\n1,2\n");
    host = source("{ path: %s/in, format: csv }");
    assert_int_equal(stub_drain(host, 100), PL_FAILED);
    assert_non_null(strstr(host->error.message, "column 'x' stands there twice"));
    stub_close(&host);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, files_set_up, files_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_become_records),
        TEST(text_keeps_empty_lines_and_bytes_take_the_file_whole),
        TEST(many_lines_over_block_borders),
        TEST(too_long_a_line_halts_and_says_where),
        TEST(two_files_are_two_lanes),
        TEST(what_cannot_be_read_halts),
        TEST(bad_options_are_named),
        TEST(resume_goes_on_behind_what_was_settled),
        TEST(a_rewind_gives_again_what_was_delivered),
        TEST(another_file_of_that_name_is_read_from_its_start),
        TEST(a_store_that_fails_is_told),
        TEST(follow_waits_for_whole_lines),
        TEST(follow_sees_a_cut_and_a_replaced_file),
        TEST(follow_waits_for_a_file_that_is_not_there),
        TEST(a_pipe_is_read_as_it_comes),
        TEST(an_interrupt_ends_the_wait_for_a_pipe),
        TEST(csv_rows),
        TEST(bad_csv_rows_go_on_as_they_stand),
        TEST(csv_resumes_behind_its_header),
        TEST(csv_columns_by_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
