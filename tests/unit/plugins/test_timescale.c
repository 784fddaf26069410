/* Against a real server when PL_TEST_DSN names one (the integration tier runs this program on PostgreSQL and on
 * TimescaleDB); without it, what needs none. */
#include "support_timescale.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Values ------------------------------------------------------------------------------------ */

static void values_stay_what_they_were(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true");
    expect_ok(host,
              stub_write(
                  host, BATCH("{\"pair\":\"ETH-USD\",\"t\":{\"at\":\"2022-04-01T02:00:00.5+02:00\"},\"price\":"
                              "3041.80011967979705,\"n\":9007199254740993,\"ok\":true,\"f\":0.1,\"raw\":{\"a\":[1.0]}}",
                              "{\"pair\":\"q\\\"\\\\ ,{}\\u00e9'\",\"t\":{\"at\":\"2022-04-01T00:00:01Z\"},\"price\":"
                              "\"-1e3\",\"n\":\"-5\",\"raw\":\"text\"}",
                              "{\"pair\":\"NULL\",\"t\":{\"at\":\"2022-04-01T00:00:02Z\"},\"price\":"
                              "1157920892373161954235709850086879078532699846656405640394575840079131296399}",
                              "{\"pair\":\"\",\"t\":{\"at\":\"2022-04-01 00:00:03z\"},\"price\":1.0,\"raw\":null}")));
    assert_int_equal(stub_count(host, STUB_DURABLE), 4);
    stub_close(&host);
    assert_string_equal(query("SELECT * FROM unit_prices ORDER BY at"),
                        "ETH-USD|2022-04-01 00:00:00.5+00|3041.80011967979705|9007199254740993|t|0.1|{\"a\": [1.0]}\n"
                        "q\"\\ ,{}\xC3\xA9'|2022-04-01 00:00:01+00|-1000|-5|~|~|\"text\"\n"
                        "NULL|2022-04-01 00:00:02+00|"
                        "1157920892373161954235709850086879078532699846656405640394575840079131296399|~|~|~|~\n"
                        "|2022-04-01 00:00:03+00|1.0|~|~|~|~");
}

static void bad_records_stand_alone(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true");
    expect_ok(host, stub_write(host, BATCH("{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":1}",
                                           "{\"pair\":\"A\",\"t\":{\"at\":\"infinity\"},\"price\":1}",
                                           "{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:01Z\"},\"price\":\"NaN\"}",
                                           "{\"t\":{\"at\":\"2022-04-01T00:00:02Z\"},\"price\":1}",
                                           "{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:03Z\"},\"price\":2}")));
    assert_int_equal(stub_settled(host, 0), STUB_DURABLE);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(stub_settled(host, i), PL_REJECT);
    }
    assert_int_equal(stub_settled(host, 4), STUB_DURABLE);
    assert_non_null(strstr(stub_settled_why(host, 2), "column 'price' takes numeric: field 'price' is \"NaN\""));
    expect_ok(host, stub_write(host, BATCH("{}", "{}")));
    assert_int_equal(stub_count(host, PL_REJECT), 2);
    stub_close(&host);
    assert_string_equal(query("SELECT price FROM unit_prices ORDER BY at"), "1\n2");
}

#define SAME_INSTANT(pair, price)                                                                                      \
    "{\"pair\":\"" pair "\",\"t\":{\"at\":\"2022-04-01T01:00:00+01:00\"},\"price\":" price "}"

static void twice_written_leaves_one(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"), SAME_INSTANT("A", "2"), PRICE("B", "3"))));
    assert_int_equal(stub_count(host, STUB_DURABLE), 3);
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "9"))));
    assert_int_equal((int)stub_metric(host, "rows"), 2);
    assert_int_equal((int)stub_metric(host, "conflicts"), 2);
    stub_close(&host);
    assert_string_equal(query("SELECT pair, price FROM unit_prices ORDER BY pair"), "A|1\nB|3");
    host = open_sink(", on_conflict: update");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "4"), PRICE("C", "7"), SAME_INSTANT("A", "5"))));
    stub_close(&host);
    assert_string_equal(query("SELECT pair, price FROM unit_prices ORDER BY pair"), "A|5\nB|3\nC|7");
}

/* What only the server can tell is bad fails the batch as a reject, with nothing written: the core halves it. */
static void the_server_rejects_a_batch_whole(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    stub_close(&host);
    (void)query("ALTER TABLE unit_prices ADD CHECK (price < 100)");
    host = open_sink("");
    expect_failure(host, stub_write(host, BATCH(PRICE("B", "2"), PRICE("C", "200"))), PL_REJECT, "(SQLSTATE 23514)");
    assert_int_equal(stub_count(host, STUB_OUT), 2);
    expect_ok(host, stub_write(host, BATCH(PRICE("B", "2"))));
    stub_close(&host);
    assert_string_equal(query("SELECT pair FROM unit_prices ORDER BY pair"), "A\nB");
}

/* Only the end of the statement's own transaction tells: that is in time, too. */
static void a_deferred_constraint_rejects_a_batch_whole(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true, timescale: off");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    (void)query("ALTER TABLE unit_prices ADD UNIQUE (price) DEFERRABLE INITIALLY DEFERRED");
    expect_failure(host, stub_write(host, BATCH(PRICE("B", "2"), PRICE("C", "1"))), PL_REJECT, "(SQLSTATE 23505)");
    assert_int_equal(stub_count(host, STUB_OUT), 2);
    expect_ok(host, stub_write(host, BATCH(PRICE("B", "2"))));
    stub_close(&host);
    assert_string_equal(query("SELECT pair FROM unit_prices ORDER BY pair"), "A\nB");
}

/* ---- The table -------------------------------------------------------------------------------------- */

static void the_table_is_made_with_its_guards(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true, hypertable: { chunk: 1d }");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    expect_ok(host, stub_write(host, BATCH(PRICE("B", "1"))));
    assert_true(stub_logged(host, has_timescale() ? "made hypertable unit_prices" : "made table unit_prices"));
    stub_close(&host);
    assert_string_equal(
        query("SELECT attname FROM pg_attribute WHERE attrelid = 'unit_prices'::regclass AND attnum > 0 "
              "AND attnotnull ORDER BY attnum"),
        "pair\nat\nprice");
    if (has_timescale()) {
        assert_string_equal(query("SELECT column_name, time_interval FROM timescaledb_information.dimensions "
                                  "WHERE hypertable_name = 'unit_prices'"),
                            "at|1 day");
    }
    PGconn *connection = PQconnectdb(dsn());
    PGresult *result = PQexec(connection, "INSERT INTO unit_prices (pair, at, price) VALUES ('N', now(), 'NaN')");
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "23514");
    PQclear(result);
    PQfinish(connection);
}

static void names_are_taken_as_they_are(void **state)
{
    (void)state;
    NEEDS_SERVER();
    (void)query("DROP SCHEMA IF EXISTS \"unit S\" CASCADE; CREATE SCHEMA \"unit S\"");
    stub *host = stub_open("timescale", STUB_SINK);
    host->real_time = true;
    char with[512];
    (void)snprintf(with, sizeof with,
                   "{ dsn: \"%s\", table: 'unit S.\"a.b\"', create: true, on_conflict: update, "
                   "key: [\"K'ey\"], columns: [{ name: \"K'ey\", from: k, type: timestamptz }, "
                   "{ name: 'sel\"ect', from: 'v[1]' }] }",
                   dsn());
    stub_create(host, with);
    expect_ok(host, stub_write(host, BATCH("{\"k\":\"2022-04-01T00:00:00Z\",\"v\":[1,\"x\"]}")));
    stub_close(&host);
    assert_string_equal(query("SELECT \"sel\"\"ect\" FROM \"unit S\".\"a.b\" WHERE \"K'ey\" = '2022-04-01T00:00:00Z'"),
                        "x");
    (void)query("DROP SCHEMA \"unit S\" CASCADE");
}

static void a_table_that_does_not_fit_halts(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink("");
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT,
                   "there is no table unit_prices in database");
    stub_close(&host);
    (void)query("CREATE TABLE unit_prices (pair text, at timestamptz, price numeric)");
    host = open_sink("");
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT,
                   "has no column 'n'; it has pair, at, price");
    stub_close(&host);
    (void)query("ALTER TABLE unit_prices ADD n bigint, ADD ok boolean, ADD f float8, ADD raw jsonb");
    host = open_sink("");
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT,
                   "no unique index on the key (\"pair\", \"at\")");
    assert_int_equal(stub_count(host, STUB_OUT), 1);
    stub_close(&host);
}

static void a_column_dropped_under_way_halts(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    (void)query("ALTER TABLE unit_prices DROP f");
    expect_failure(host, stub_write(host, BATCH(PRICE("B", "1"))), PL_HALT,
                   "has no column 'f'; it has pair, at, price, n, ok, raw");
    stub_close(&host);
}

static void timescale_can_be_required(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_sink(", create: true, timescale: require");
    if (has_timescale()) {
        expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
        stub_close(&host);
        (void)query(
            "DROP TABLE unit_prices; CREATE TABLE unit_prices (pair text, at timestamptz, price numeric, n bigint, "
            "ok boolean, f float8, raw jsonb, UNIQUE (pair, at))");
        host = open_sink(", timescale: require");
        expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT, "is no hypertable");
        stub_close(&host);
        host = open_sink(", timescale: off");
        expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    } else {
        expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT, "has no TimescaleDB");
    }
    stub_close(&host);
}

enum { MAKERS = 4 };

static void *write_once(void *host)
{
    return stub_write(host, BATCH(PRICE("A", "1"))) == PL_OK ? NULL : host;
}

static void several_sinks_make_one_table(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *hosts[MAKERS];
    pthread_t threads[MAKERS];
    for (int i = 0; i < MAKERS; i++) {
        hosts[i] = open_sink(", create: true");
        assert_int_equal(pthread_create(&threads[i], NULL, write_once, hosts[i]), 0);
    }
    for (int i = 0; i < MAKERS; i++) {
        void *failed;
        (void)pthread_join(threads[i], &failed);
        if (failed) {
            fail_msg("sink %d: %s", i, hosts[i]->error.message);
        }
        stub_close(&hosts[i]);
    }
    assert_string_equal(query("SELECT count(*) FROM unit_prices"), "1");
}

/* ---- The connection ------------------------------------------------------------------------------------ */

static void a_killed_session_is_retried(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (has_timescale()) {
        skip(); /* its server has but one session */
    }
    stub *host = open_sink(", create: true");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    assert_string_equal(query("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                              "WHERE application_name = 'plumbline/unit'"),
                        "1");
    assert_int_equal(stub_write(host, BATCH(PRICE("B", "1"))), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    expect_ok(host, stub_write(host, BATCH(PRICE("B", "1"))));
    assert_int_equal((int)stub_metric(host, "connects"), 2);
    stub_close(&host);
}

static void refused_credentials_halt(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (has_timescale()) {
        skip(); /* it takes any */
    }
    stub *host = stub_open("timescale", STUB_SINK);
    host->real_time = true;
    char with[1024];
    (void)snprintf(with, sizeof with, "{ dsn: \"%s?password=geheim\", table: unit_prices, " COLUMNS " }", dsn());
    stub_create(host, with);
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT, "(SQLSTATE 28P01)");
    assert_null(strstr(host->error.message, "geheim"));
    stub_close(&host);
    host = stub_open("timescale", STUB_SINK);
    host->real_time = true;
    (void)snprintf(with, sizeof with, "{ dsn: \"%s?dbname=nowhere\", table: unit_prices, " COLUMNS " }", dsn());
    stub_create(host, with);
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_HALT, "(SQLSTATE 3D000)");
    stub_close(&host);
}

static void a_lock_is_waited_for_and_retried(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (has_timescale()) {
        skip();
    }
    stub *host = open_sink(", create: true, lock_timeout: 100ms");
    expect_ok(host, stub_write(host, BATCH(PRICE("A", "1"))));
    PGconn *connection = PQconnectdb(dsn());
    PQclear(PQexec(connection, "BEGIN; LOCK TABLE unit_prices"));
    expect_failure(host, stub_write(host, BATCH(PRICE("B", "1"))), PL_RETRY, "(SQLSTATE 55P03)");
    PQfinish(connection);
    expect_ok(host, stub_write(host, BATCH(PRICE("B", "1"))));
    stub_close(&host);
}

/* A port of 127.0.0.1 that takes connections and never says a word; -1 in *fd: one that nobody listens on. */
static int silent_port(int *fd, bool listens)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(*fd >= 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&address, &len), 0);
    if (listens) {
        assert_int_equal(listen(*fd, 4), 0);
    }
    return ntohs(address.sin_port);
}

static stub *open_at(int port, const char *more)
{
    char with[512];
    stub *host = stub_open("timescale", STUB_SINK);
    host->real_time = true;
    (void)snprintf(
        with, sizeof with,
        "{ dsn: \"host=127.0.0.1 port=%d dbname=x user=u password=geheim sslmode=disable gssencmode=disable\", "
        "table: unit_prices, " COLUMNS "%s }",
        port, more);
    stub_create(host, with);
    return host;
}

static void a_refused_connection_is_retried(void **state)
{
    (void)state;
    int fd;
    stub *host = open_at(silent_port(&fd, false), "");
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_RETRY, "Connection refused");
    assert_null(strstr(host->error.message, "geheim"));
    assert_int_equal(stub_count(host, STUB_OUT), 1);
    stub_close(&host);
    (void)close(fd);
}

static void a_silent_server_is_given_up_in_time(void **state)
{
    (void)state;
    int fd;
    stub *host = open_at(silent_port(&fd, true), ", connect_timeout: 50ms");
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_RETRY, "no answer in time");
    stub_close(&host);
    (void)close(fd);
}

static void an_interrupt_ends_the_wait_for_a_silent_server(void **state)
{
    (void)state;
    int fd;
    stub *host = open_at(silent_port(&fd, true), ", connect_timeout: 600s");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, host), 0);
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_RETRY, "interrupted");
    (void)pthread_join(thread, NULL);
    expect_failure(host, stub_write(host, BATCH(PRICE("A", "1"))), PL_RETRY, "interrupted");
    stub_close(&host);
    (void)close(fd);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *with, *option;
    } bad[] = {
        {"{ dsn: \"geheim host\", table: t, key: [a], columns: [{ name: a }] }", "dsn"},
        {"{ dsn: \"dbname=x\", table: t, key: [a], columns: [{ name: a }], timescale: require }", "timescale"},
        {"{ dsn: \"dbname=x\", table: t, key: [a], columns: [{ name: a }], hypertable: { time: a } }",
         "hypertable.time"},
        {"{ dsn: \"dbname=x\", table: t, key: [a], columns: [{ name: a }, { name: b, type: timestamptz }], "
         "hypertable: { time: b } }",
         "hypertable.time"},
        {"{ dsn: \"dbname=x\", table: t, key: [a], columns: [{ name: a, type: \"text; DROP TABLE x\" }] }",
         "columns[0].type"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        stub *host = stub_open("timescale", STUB_SINK);
        stub_refuses(host, bad[i].with, bad[i].option, "");
        assert_null(strstr(host->error.message, "geheim"));
        stub_close(&host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_stay_what_they_were),
        TEST(bad_records_stand_alone),
        TEST(twice_written_leaves_one),
        TEST(the_server_rejects_a_batch_whole),
        TEST(a_deferred_constraint_rejects_a_batch_whole),
        TEST(the_table_is_made_with_its_guards),
        TEST(names_are_taken_as_they_are),
        TEST(a_table_that_does_not_fit_halts),
        TEST(a_column_dropped_under_way_halts),
        TEST(timescale_can_be_required),
        TEST(several_sinks_make_one_table),
        TEST(a_killed_session_is_retried),
        TEST(refused_credentials_halt),
        TEST(a_lock_is_waited_for_and_retried),
        TEST(a_refused_connection_is_retried),
        TEST(a_silent_server_is_given_up_in_time),
        TEST(an_interrupt_ends_the_wait_for_a_silent_server),
        TEST(bad_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
