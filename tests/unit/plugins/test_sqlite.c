#include "support_files.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *database(void)
{
    return at("t.sqlite");
}

#define COLUMNS                                                                                                        \
    "table: prices, key: [pair, at], columns: [{ name: pair }, { name: at, type: timestamptz, from: t.at },"           \
    "{ name: price, type: numeric, null: false }, { name: n, type: bigint }, { name: ok, type: boolean },"             \
    "{ name: f, type: double precision }, { name: raw, type: jsonb }]"

static stub *open_sink(const char *more)
{
    char with[1024];
    stub *host = stub_open("sqlite", STUB_SINK);
    (void)snprintf(with, sizeof with, "{ path: %s, " COLUMNS "%s }", database(), more);
    stub_create(host, with);
    return host;
}

/* Rows as sqlite3 sees them: values joined by |, rows by a newline; null as ~. */
static const char *query(const char *sql)
{
    static char out[4096];
    sqlite3 *db;
    sqlite3_stmt *statement;
    size_t len = 0;
    out[0] = '\0';
    assert_int_equal(sqlite3_open_v2(database(), &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 2000), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    while (sqlite3_step(statement) == SQLITE_ROW) {
        len += (size_t)snprintf(out + len, sizeof out - len, "%s", len > 0 ? "\n" : "");
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const char *text = (const char *)sqlite3_column_text(statement, i);
            len += (size_t)snprintf(out + len, sizeof out - len, "%s%s", i > 0 ? "|" : "", text ? text : "~");
        }
    }
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    return out;
}

#define BATCH(...) ((const char *const[]){__VA_ARGS__, NULL})

static void values_stay_what_they_were(void **state)
{
    (void)state;
    stub *host = open_sink(", create: true");
    assert_int_equal(
        stub_write(host,
                   BATCH("{\"pair\":\"ETH-USD\",\"t\":{\"at\":\"2022-04-01T02:00:00.5+02:00\"},\"price\":"
                         "3041.80011967979705,\"n\":9007199254740993,\"ok\":true,\"f\":0.1,\"raw\":{\"a\":[1.0]}}",
                         "{\"pair\":\"B\",\"t\":{\"at\":\"2022-04-01T00:00:01Z\"},\"price\":\"-1e3\",\"n\":\"-5\"}",
                         "{\"pair\":\"C\",\"t\":{\"at\":\"2022-04-01T00:00:02Z\"},\"price\":"
                         "1157920892373161954235709850086879078532699846656405640394575840079131296399}")),
        PL_OK);
    assert_int_equal(stub_count(host, STUB_DURABLE), 3);
    assert_string_equal(
        query("SELECT *, typeof(price), typeof(n), typeof(f) FROM prices ORDER BY at"),
        "ETH-USD|2022-04-01T00:00:00.500000Z|3041.80011967979705|9007199254740993|1|0.1|{\"a\":[1.0]}|"
        "text|integer|real\n"
        "B|2022-04-01T00:00:01.000000Z|-1e3|-5|~|~|~|text|integer|null\n"
        "C|2022-04-01T00:00:02.000000Z|"
        "1157920892373161954235709850086879078532699846656405640394575840079131296399|~|~|~|~|text|null|"
        "null");
    assert_string_equal(query("PRAGMA journal_mode"), "wal");
    stub_close(&host);
}

/* What is no row is rejected with column, field and value; its neighbours are stored. */
static void bad_records_stand_alone(void **state)
{
    (void)state;
    stub *host = open_sink(", create: true");
    static const struct {
        const char *json, *why;
    } bad[] = {
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":\"NaN\"}",
         "column 'price' takes numeric: field 'price' is \"NaN\""},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":\"Infinity\"}", "is \"Infinity\""},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"}}", "must not be null: field 'price' is missing"},
        {"{\"pair\":null,\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1}", "field 'pair' is null"},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"now\"},\"price\":1}", "takes timestamptz: field 't.at' is \"now\""},
        {"{\"pair\":\"A\",\"t\":{\"at\":1648771200},\"price\":1}", "takes timestamptz: field 't.at' is 1648771200"},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-02-30T00:00:00Z\"},\"price\":1}", "takes timestamptz"},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1,\"n\":9223372036854775808}",
         "takes bigint: field 'n' is 9223372036854775808"},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1,\"n\":1.0}", "takes bigint"},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1,\"ok\":1}", "takes boolean"},
        {"{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1,\"f\":1e999}", "takes double precision"},
        {"{\"pair\":\"A\\u0000\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1}", "takes text"},
        {"not json", "is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char good[2][128];
        for (int k = 0; k < 2; k++) {
            (void)snprintf(good[k], sizeof good[k],
                           "{\"pair\":\"G%d\",\"t\":{\"at\":\"2022-04-01T00:00:%02zuZ\"},\"price\":%zu}", k, i, i);
        }
        assert_int_equal(stub_write(host, BATCH(good[0], bad[i].json, good[1])), PL_OK);
        assert_int_equal(stub_settled(host, 0), STUB_DURABLE);
        assert_int_equal(stub_settled(host, 1), PL_REJECT);
        assert_int_equal(stub_settled(host, 2), STUB_DURABLE);
        if (!strstr(stub_settled_why(host, 1), bad[i].why)) {
            fail_msg("'%s' is not in '%s'", bad[i].why, stub_settled_why(host, 1));
        }
    }
    assert_string_equal(query("SELECT count(*) FROM prices"), "26");
    stub_close(&host);
}

#define PRICE(pair, price) "{\"pair\":\"" pair "\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":" price "}"
#define SAME_INSTANT(pair, price)                                                                                      \
    "{\"pair\":\"" pair "\",\"t\":{\"at\":\"2022-04-01T01:00:00+01:00\"},\"price\":" price "}"

static void twice_written_leaves_one(void **state)
{
    (void)state;
    stub *host = open_sink(", create: true");
    assert_int_equal(stub_write(host, BATCH(PRICE("A", "1"), SAME_INSTANT("A", "2"), PRICE("B", "3"))), PL_OK);
    assert_int_equal(stub_count(host, STUB_DURABLE), 3);
    assert_int_equal(stub_write(host, BATCH(PRICE("A", "9"))), PL_OK);
    assert_string_equal(query("SELECT pair, price FROM prices ORDER BY pair"), "A|1\nB|3");
    stub_close(&host);
    host = open_sink(", on_conflict: update");
    assert_int_equal(stub_write(host, BATCH(PRICE("A", "4"), SAME_INSTANT("A", "5"))), PL_OK);
    assert_string_equal(query("SELECT pair, price FROM prices ORDER BY pair"), "A|5\nB|3");
    stub_close(&host);
}

static void a_table_that_does_not_fit_halts(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *why;
    } tables[] = {
        {"CREATE TABLE other (a)", "there is no table prices"},
        {"CREATE TABLE prices (pair, at, price)", "has no column 'n'; it has pair, at, price"},
        {"CREATE TABLE prices (pair, at, price, n, ok, f, raw)", "has no unique index on the key (\"pair\", \"at\")"},
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        (void)unlink(database());
        sqlite3 *db;
        assert_int_equal(sqlite3_open(database(), &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, tables[i].sql, NULL, NULL, NULL), SQLITE_OK);
        (void)sqlite3_close(db);
        stub *host = open_sink("");
        assert_int_equal(stub_write(host, BATCH(PRICE("A", "1"))), PL_FAILED);
        assert_int_equal(host->error.error_class, PL_HALT);
        if (!strstr(host->error.message, tables[i].why)) {
            fail_msg("'%s' is not in '%s'", tables[i].why, host->error.message);
        }
        assert_int_equal(stub_count(host, STUB_OUT), 1);
        stub_close(&host);
    }
    FILE *file = fopen(database(), "w");
    assert_non_null(file);
    (void)fputs("this is no database, and it is long enough to have a header of a hundred bytes and some more of it",
                file);
    (void)fclose(file);
    stub *host = open_sink("");
    assert_int_equal(stub_write(host, BATCH(PRICE("A", "1"))), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_HALT);
    stub_close(&host);
}

static void another_writer_is_waited_for_and_then_retried(void **state)
{
    (void)state;
    stub *host = open_sink(", create: true, busy_timeout: 50ms");
    assert_int_equal(stub_write(host, BATCH(PRICE("A", "1"))), PL_OK);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(database(), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(stub_write(host, BATCH(PRICE("B", "2"))), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    assert_int_equal(stub_count(host, STUB_OUT), 1);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    assert_int_equal(stub_write(host, BATCH(PRICE("B", "2"))), PL_OK);
    stub_close(&host);
}

enum { WRITERS = 4, BATCHES = 25, ROWS = 20 };

static void *write_many(void *opaque)
{
    stub *host = opaque;
    for (int b = 0; b < BATCHES; b++) {
        char text[ROWS][128];
        const char *payloads[ROWS + 1] = {NULL};
        for (int i = 0; i < ROWS; i++) {
            (void)snprintf(text[i], sizeof text[i],
                           "{\"pair\":\"%p\",\"t\":{\"at\":\"2022-04-01T00:%02d:%02dZ\"},\"price\":1}", (void *)host, b,
                           i);
            payloads[i] = text[i];
        }
        while (stub_write(host, payloads) != PL_OK) {
            assert_int_equal(host->error.error_class, PL_RETRY);
        }
    }
    return NULL;
}

static void several_sinks_share_a_file(void **state)
{
    (void)state;
    stub *hosts[WRITERS];
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        hosts[i] = open_sink(", create: true");
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, hosts[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_string_equal(query("SELECT count(*), count(DISTINCT pair) FROM prices"), "2000|4");
    for (int i = 0; i < WRITERS; i++) {
        stub_close(&hosts[i]);
    }
}

static void an_interrupt_is_sticky(void **state)
{
    (void)state;
    stub *host = open_sink(", create: true");
    host->component->interrupt(host->self);
    assert_int_equal(stub_write(host, BATCH(PRICE("A", "1"))), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    stub_close(&host);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *with, *option, *message;
    } bad[] = {
        {"{ path: x, table: t, key: [a], columns: [{ name: a, type: float }] }", "columns[0].type",
         "'float' is not a type"},
        {"{ path: x, table: t, key: [a], columns: [{ name: a, type: \"numeric(5,9)\" }] }", "columns[0].type", ""},
        {"{ path: x, table: t, key: [a], columns: [{ name: a }, { name: a }] }", "columns[1].name", "twice"},
        {"{ path: x, table: t, key: [b], columns: [{ name: a }] }", "key[0]", "'b' is not one of the columns"},
        {"{ path: x, table: t, key: [a], columns: [{ name: a, type: jsonb }] }", "key[0]", "JSON"},
        {"{ path: x, table: t, key: [], columns: [{ name: a }] }", "key", "at least one"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        stub *host = stub_open("sqlite", STUB_SINK);
        stub_refuses(host, bad[i].with, bad[i].option, bad[i].message);
        stub_close(&host);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, files_set_up, files_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_stay_what_they_were),
        TEST(bad_records_stand_alone),
        TEST(twice_written_leaves_one),
        TEST(a_table_that_does_not_fit_halts),
        TEST(another_writer_is_waited_for_and_then_retried),
        TEST(several_sinks_share_a_file),
        TEST(an_interrupt_is_sticky),
        TEST(bad_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
