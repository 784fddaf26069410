/* For the tests of the timescale sink in a transaction: the sink as the core drives it, on a table without a key unless
 * a test wants one, so that whatever is written twice shows. For one program: it holds what that program has open. */
#ifndef PL_TEST_SUPPORT_TIMESCALE_TXN_H
#define PL_TEST_SUPPORT_TIMESCALE_TXN_H
#include "support_timescale.h"
#include "support_wire.h"

enum { LARGE = 300 }; /* goes by COPY */
static const pl_txn exactly_once = {.struct_size = sizeof exactly_once, .pipeline = "p'1", .commit_every_ns = 1000};

#define POSITIONS "positions: unit_positions"
#define PLAIN ", key: [], columns: [{ name: n, type: bigint, null: false }, { name: v, type: 'numeric(5,2)' }]"
#define KEYED ", key: [n], columns: [{ name: n, type: bigint }, { name: v, type: 'numeric(5,2)' }]"

static bool one_session; /* PGlite: nobody else is let in while a transaction is open */

static inline int fresh(void **state)
{
    (void)fresh_table(state);
    if (dsn()) {
        one_session = has_timescale();
        (void)query("DROP TABLE IF EXISTS unit_positions");
    }
    return 0;
}
#define TXN_TEST(name) cmocka_unit_test_setup(name, fresh)

static inline stub *open_with(const char *at, const char *more)
{
    char with[1024];
    stub *host = stub_open("timescale", STUB_SINK);
    host->real_time = true;
    stub_extension(host, "pl.txn/1", &exactly_once);
    (void)snprintf(with, sizeof with, "{ dsn: \"%s\", table: unit_prices, " POSITIONS "%s }", at, more);
    stub_create(host, with);
    return host;
}

static inline stub *open_txn(const char *more)
{
    return open_with(dsn(), more);
}

static inline const pl_txn_sink *calls(const stub *host)
{
    return host->component->extension(host->self, "pl.txn/1");
}

static inline pl_error *no_error(stub *host)
{
    host->error = (pl_error){.struct_size = sizeof host->error};
    return &host->error;
}

static inline pl_status begin(stub *host)
{
    return calls(host)->begin(host->self, no_error(host));
}

static inline pl_status commit(stub *host, const char *lane, uint64_t position)
{
    pl_txn_position at = {.lane = PL_S(lane), .position = position};
    return calls(host)->commit(host->self, &at, 1, (pl_str){0}, INT64_MAX, no_error(host));
}

/* The function unit_refuse, for a trigger, fails with that SQLSTATE. */
static inline void refuse_commits(const char *state)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "CREATE OR REPLACE FUNCTION unit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
                   "$$BEGIN RAISE 'no room' USING ERRCODE = '%s'; END$$",
                   state);
    (void)query(sql);
}

static inline void cancel(stub *host)
{
    assert_int_equal(calls(host)->abort(host->self, no_error(host)), PL_OK);
}

/* What is stored for the lane; -1: nothing. */
static inline int64_t position_of(stub *host, const char *lane)
{
    uint64_t position = UINT64_MAX;
    pl_status status = calls(host)->position(host->self, PL_S(lane), &position, no_error(host));
    if (status == PL_END) {
        return -1;
    }
    expect_ok(host, status);
    return (int64_t)position;
}

/* The records n = first .. first+count-1. */
static inline pl_status write_some(stub *host, int first, int count)
{
    char texts[LARGE][48];
    const char *rows[LARGE + 1] = {NULL};
    assert_true(count <= LARGE);
    for (int i = 0; i < count; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "{\"n\":%d,\"v\":1.50}", first + i);
        rows[i] = texts[i];
    }
    return stub_write(host, rows);
}

static inline const char *stored(void)
{
    return query("SELECT count(*), count(DISTINCT n), coalesce(max(n), -1) FROM unit_prices");
}

/* The sink behind the wire, whose second connection finds the server by itself. */
static inline stub *open_wired(wire *wire, bool behind)
{
    char at[512];
    const char *port = strrchr(dsn(), ':'), *slash = strrchr(dsn(), '/');
    assert_true(port && slash && slash > port);
    long number = strtol(port + 1, NULL, 10);
    wire_open(wire, (uint16_t)number, "COMMIT", behind);
    const char *host = strrchr(dsn(), '@');
    assert_non_null(host);
    (void)snprintf(at, sizeof at, "%.*s127.0.0.1:%d,127.0.0.1:%ld%s?sslmode=disable&gssencmode=disable",
                   (int)(host + 1 - dsn()), dsn(), wire->port, number, slash);
    return open_with(at, ", create: true" PLAIN);
}
#endif
