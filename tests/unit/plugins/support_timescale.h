/* For the tests of the timescale sink: a server, when PL_TEST_DSN names one (the integration tier runs these programs
 * on PostgreSQL and on TimescaleDB), asked by a connection of its own; and the sink on a table unit_prices. */
#ifndef PL_TEST_SUPPORT_TIMESCALE_H
#define PL_TEST_SUPPORT_TIMESCALE_H
#include "support_files.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH(...) ((const char *const[]){__VA_ARGS__, NULL})
#define COLUMNS                                                                                                        \
    "key: [pair, at], columns: [{ name: pair }, { name: at, type: timestamptz, from: t.at },"                          \
    "{ name: price, type: numeric, null: false }, { name: n, type: bigint }, { name: ok, type: boolean },"             \
    "{ name: f, type: double precision }, { name: raw, type: jsonb }]"

static inline const char *dsn(void)
{
    return getenv("PL_TEST_DSN");
}

/* Rows as text: values joined by |, rows by a newline; null as ~. A connection of its own, so that the servers that
 * have but one session can be asked too. */
static inline const char *query(const char *sql)
{
    static char out[8192];
    size_t len = 0;
    out[0] = '\0';
    PGconn *connection = PQconnectdb(dsn());
    assert_int_equal(PQstatus(connection), CONNECTION_OK);
    PQclear(PQexec(connection, "SET TIME ZONE 'UTC'; SET client_min_messages = 'warning'"));
    PGresult *result = PQexec(connection, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(connection));
    }
    for (int row = 0; row < PQntuples(result); row++) {
        len += (size_t)snprintf(out + len, sizeof out - len, "%s", row > 0 ? "\n" : "");
        for (int i = 0; i < PQnfields(result); i++) {
            const char *text = PQgetisnull(result, row, i) ? "~" : PQgetvalue(result, row, i);
            len += (size_t)snprintf(out + len, sizeof out - len, "%s%s", i > 0 ? "|" : "", text);
        }
    }
    PQclear(result);
    PQfinish(connection);
    return out;
}

static inline bool has_timescale(void)
{
    return strcmp(query("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"), "1") == 0;
}

/* A trigger that notes the way of each statement that was committed. */
static inline void watch_ways(void)
{
    (void)query("DROP TABLE IF EXISTS unit_ways; CREATE TABLE unit_ways (n serial, way text); "
                "CREATE OR REPLACE FUNCTION unit_way() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                "INSERT INTO unit_ways (way) VALUES (CASE WHEN current_query() LIKE '%COPY%' THEN 'c' ELSE 'i' END); "
                "RETURN NULL; END$$; CREATE TRIGGER way AFTER INSERT ON unit_prices FOR EACH STATEMENT "
                "EXECUTE FUNCTION unit_way()");
}

/* One letter a committed batch: c by COPY, i by the insert. */
static inline const char *ways(void)
{
    return query("SELECT coalesce(string_agg(way, '' ORDER BY n), '') FROM unit_ways");
}

static inline int fresh_table(void **state)
{
    (void)state;
    if (dsn()) {
        (void)query("DROP TABLE IF EXISTS unit_prices");
    }
    return 0;
}

static inline stub *open_sink(const char *more)
{
    char with[1024];
    stub *host = stub_open("timescale", STUB_SINK);
    host->real_time = true;
    (void)snprintf(with, sizeof with, "{ dsn: \"%s\", table: unit_prices, " COLUMNS "%s }", dsn(), more);
    stub_create(host, with);
    return host;
}

static inline void expect_ok(stub *host, pl_status status)
{
    if (status != PL_OK) {
        fail_msg("write: %s", host->error.message);
    }
}

static inline void expect_failure(stub *host, pl_status status, int32_t class, const char *message)
{
    assert_int_equal(status, PL_FAILED);
    if (host->error.error_class != class || !strstr(host->error.message, message)) {
        fail_msg("class %d, '%s' expected; found %d, '%s'", class, message, host->error.error_class,
                 host->error.message);
    }
}

#define NEEDS_SERVER()                                                                                                 \
    if (!dsn())                                                                                                        \
    skip()

#define PRICE(pair, price) "{\"pair\":\"" pair "\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":" price "}"
#define TEST(name) cmocka_unit_test_setup(name, fresh_table)
#endif
