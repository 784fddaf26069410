/* Large batches go by COPY; what is stored, refused and settled is what the insert would have made of it. Needs a real
 * server in PL_TEST_DSN; on one that takes no COPY (TimescaleDB for tests) the same must come out by the insert. */
#include "support_timescale.h"

enum { ROWS = 300 };
static char texts[ROWS][160];
static const char *rows[ROWS + 1];

/* ROWS records, keys P<first> ..; in the table's order of columns. */
static const char *const *make_rows(int first)
{
    for (int i = 0; i < ROWS; i++) {
        (void)snprintf(texts[i], sizeof texts[i],
                       "{\"pair\":\"P%d\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":%d.50,\"n\":%d}", first + i,
                       first + i, first + i);
        rows[i] = texts[i];
    }
    return rows;
}

/* The table, made by a batch that is too small for COPY. */
static stub *open_made(const char *more)
{
    char with[256];
    (void)snprintf(with, sizeof with, ", create: true%s", more);
    stub *host = open_sink(with);
    expect_ok(host, stub_write(host, BATCH(PRICE("first", "1"))));
    return host;
}

static bool copies(void)
{
    return dsn() && !has_timescale(); /* the one that tests use takes no COPY */
}

/* ---- Ways ---------------------------------------------------------------------------------------- */

static void large_batches_are_copied(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    if (copies()) {
        watch_ways();
    }
    expect_ok(host, stub_write(host, make_rows(0)));
    assert_int_equal(stub_count(host, STUB_DURABLE), ROWS);
    expect_ok(host, stub_write(host, make_rows(1000)));
    expect_ok(host, stub_write(host, BATCH(PRICE("small", "1"))));
    assert_int_equal((int)stub_metric(host, "rows"), 2 * ROWS + 2);
    assert_int_equal((int)stub_metric(host, "conflicts"), 0);
    stub_close(&host);
    assert_string_equal(query("SELECT count(*), sum(price) FROM unit_prices"), "602|390002.00");
    if (copies()) {
        assert_string_equal(ways(), "cci");
    }
}

#define AT(time) "\"t\":{\"at\":\"2022-04-01T" time "\"}"
static const char *const odd[] = {
    "{\"pair\":\"a\\tb\\nc\\rd\\\\e\\\\N\\b\\f\\u000b\"," AT("00:00:00.123456789Z") ",\"price\":1}",
    "{\"pair\":\"\\\\.\"," AT("00:00:00.1234565Z") ",\"price\":\"+1.50\",\"n\":\"-9223372036854775808\"}",
    "{\"pair\":\"\\\\N\"," AT("02:00:00.0000005+02:00") ",\"price\":-1e3,\"ok\":false,\"f\":5e-324}",
    "{\"pair\":\"\"," AT("00:00:00z") ",\"price\":1.0,\"raw\":null,\"f\":0.1,\"ok\":true}",
    "{\"pair\":\"NULL\"," AT("23:59:60Z") ",\"price\":0.000000000000000001,\"raw\":\"\\\\ \\t \\\"\"}",
    "{\"pair\":\"\\u00e9\\ud83d\\ude00{},'\\\"\"," AT("00:00:00Z") ",\"price\":1,\"raw\":{\"k\":[1.0,\"\\n\\\\n\"]}}",
    "{\"pair\":\"big\"," AT(
        "00:00:00Z") ",\"n\":9007199254740993,\"price\":"
                     "1157920892373161954235709850086879078532699846656405640394575840079131296399}",
};
enum { ODD = sizeof odd / sizeof *odd };

static void values_are_those_of_the_insert(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    for (size_t i = 0; i < ODD; i++) {
        expect_ok(host, stub_write(host, BATCH(odd[i])));
    }
    stub_close(&host);
    (void)query("DROP TABLE IF EXISTS unit_inserted; CREATE TABLE unit_inserted AS SELECT * FROM unit_prices; "
                "DELETE FROM unit_prices");
    host = open_made("");
    make_rows(0);
    for (size_t i = 0; i < ODD; i++) {
        rows[i * (ROWS / ODD)] = odd[i];
    }
    if (copies()) {
        watch_ways();
    }
    expect_ok(host, stub_write(host, rows));
    assert_int_equal(stub_count(host, STUB_DURABLE), ROWS);
    stub_close(&host);
    if (copies()) {
        assert_string_equal(ways(), "c");
    }
    assert_string_equal(query("SELECT (SELECT count(*) FROM unit_inserted), count(*) FROM "
                              "(SELECT unit_inserted::text FROM unit_inserted INTERSECT "
                              "SELECT unit_prices::text FROM unit_prices) AS same"),
                        "8|8");
    (void)query("DROP TABLE unit_inserted");
}

/* ---- Keys that are there already ------------------------------------------------------------------ */

static void a_key_twice_in_a_batch_leaves_one_row(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    make_rows(0);
    rows[ROWS - 1] = "{\"pair\":\"P7\",\"t\":{\"at\":\"2022-04-01T01:00:00+01:00\"},\"price\":99999}";
    expect_ok(host, stub_write(host, rows));
    assert_int_equal(stub_count(host, STUB_DURABLE), ROWS);
    assert_int_equal((int)stub_metric(host, "rows"), ROWS);
    assert_int_equal((int)stub_metric(host, "conflicts"), 1);
    stub_close(&host);
    assert_string_equal(query("SELECT count(*), max(price) FROM unit_prices"), "300|298.50");
}

/* A batch whose COMMIT was not heard of comes again, whole. */
static void a_batch_written_again_changes_nothing(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    for (int i = 0; i < 3; i++) {
        expect_ok(host, stub_write(host, make_rows(0)));
        assert_int_equal(stub_count(host, STUB_DURABLE), ROWS);
    }
    stub_close(&host);
    host = open_sink(""); /* and after a restart */
    expect_ok(host, stub_write(host, make_rows(ROWS / 2)));
    assert_int_equal((int)stub_metric(host, "rows"), ROWS / 2);
    assert_int_equal((int)stub_metric(host, "conflicts"), ROWS / 2);
    stub_close(&host);
    assert_string_equal(query("SELECT count(*), count(DISTINCT pair) FROM unit_prices"), "451|451");
}

static void copies_rest_while_keys_come_again(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (!copies()) {
        skip();
    }
    stub *host = open_made("");
    watch_ways();
    static const int firsts[] = {0, 0, 1000, 1000, 2000, 3000, 4000, 5000, 6000, 6000, 7000, 8000, 9000};
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        expect_ok(host, stub_write(host, make_rows(firsts[i])));
    }
    stub_close(&host);
    assert_string_equal(ways(), "ciiiiiicciicc"); /* an insert, then three until the next try; two successes forgive */
}

/* ---- Refusals -------------------------------------------------------------------------------------- */

static void a_bad_record_is_refused_alone(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    make_rows(0);
    rows[0] = "{\"pair\":\"A\",\"t\":{\"at\":\"2022-04-01T00:00:00Z\"},\"price\":\"NaN\"}";
    rows[150] = "{\"pair\":\"A\",\"t\":{\"at\":\"now\"},\"price\":1}";
    rows[ROWS - 1] = "{}";
    expect_ok(host, stub_write(host, rows));
    assert_int_equal(stub_count(host, STUB_DURABLE), ROWS - 3);
    assert_int_equal(stub_settled(host, 0), PL_REJECT);
    assert_int_equal(stub_settled(host, 150), PL_REJECT);
    assert_int_equal(stub_settled(host, ROWS - 1), PL_REJECT);
    assert_non_null(strstr(stub_settled_why(host, 0), "column 'price' takes numeric: field 'price' is \"NaN\""));
    for (int i = 0; i < ROWS; i++) {
        rows[i] = "{}";
    }
    expect_ok(host, stub_write(host, rows));
    assert_int_equal(stub_count(host, PL_REJECT), ROWS);
    stub_close(&host);
    assert_string_equal(query("SELECT count(*) FROM unit_prices"), "298");
}

static void what_the_server_refuses_fails_the_batch_whole(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    (void)query("ALTER TABLE unit_prices ADD CHECK (price < 100000)");
    make_rows(0);
    rows[200] = PRICE("bad", "100001");
    expect_failure(host, stub_write(host, rows), PL_REJECT, "(SQLSTATE 23514)");
    assert_int_equal(stub_count(host, STUB_OUT), ROWS);
    assert_string_equal(query("SELECT count(*) FROM unit_prices"), "1");
    (void)query("ALTER TABLE unit_prices DROP CONSTRAINT unit_prices_price_check, "
                "ADD UNIQUE (price, at) DEFERRABLE INITIALLY DEFERRED");
    rows[200] = PRICE("good", "1.5");
    rows[201] = PRICE("the same", "1.5");
    expect_failure(host, stub_write(host, rows), PL_REJECT, "(SQLSTATE 23505)");
    assert_string_equal(query("SELECT count(*) FROM unit_prices"), "1");
    (void)query("ALTER TABLE unit_prices DROP CONSTRAINT unit_prices_price_at_key");
    expect_ok(host, stub_write(host, rows));
    stub_close(&host);
    assert_string_equal(query("SELECT count(*) FROM unit_prices"), "301");
}

static void without_its_index_nothing_is_stored(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_made("");
    expect_ok(host, stub_write(host, make_rows(0)));
    (void)query("ALTER TABLE unit_prices DROP CONSTRAINT unit_prices_pair_at_key");
    expect_failure(host, stub_write(host, make_rows(0)), PL_HALT, "no unique index on the key (\"pair\", \"at\")");
    stub_close(&host);
    host = open_sink("");
    expect_failure(host, stub_write(host, make_rows(0)), PL_HALT, "no unique index on the key (\"pair\", \"at\")");
    stub_close(&host);
    assert_string_equal(query("SELECT count(*) FROM unit_prices"), "301");
}

/* Each of these tables would take the COPY and make something else of it, or none. */
static void other_tables_get_inserts(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (!copies()) {
        skip();
    }
    static const char *const tables[] = {
        "(pair text, at timestamp, price numeric, n bigint, ok boolean, f float8, raw jsonb, UNIQUE (pair, at))",
        "(pair text, at timestamptz, price numeric, n int, ok boolean, f float8, raw jsonb, UNIQUE (pair, at))",
        "(pair text, at timestamptz, price numeric, n bigint, ok boolean, f float8, raw text, UNIQUE (pair, at))",
        "(pair text, at timestamptz, price numeric, n bigint, ok boolean, f float8, raw jsonb, UNIQUE (at, pair)); "
        "ALTER TABLE unit_prices ENABLE ROW LEVEL SECURITY",
        "(pair text, at timestamptz, price numeric, n bigint, ok boolean, f float8, raw jsonb, UNIQUE (at, pair)); "
        "CREATE RULE twice AS ON INSERT TO unit_prices WHERE new.n < 0 DO ALSO NOTHING",
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[512];
        (void)snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS unit_prices; CREATE TABLE unit_prices %s", tables[i]);
        (void)query(sql);
        stub *host = open_sink("");
        pl_status first = stub_write(host, BATCH(PRICE("first", "1")));
        watch_ways();
        pl_status status = stub_write(host, make_rows(0));
        stub_close(&host);
        assert_int_equal(status, first); /* where the insert is refused (a rule, text for json), COPY is no way round */
        assert_null(strchr(ways(), 'c'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(large_batches_are_copied),
        TEST(values_are_those_of_the_insert),
        TEST(a_key_twice_in_a_batch_leaves_one_row),
        TEST(a_batch_written_again_changes_nothing),
        TEST(copies_rest_while_keys_come_again),
        TEST(a_bad_record_is_refused_alone),
        TEST(what_the_server_refuses_fails_the_batch_whole),
        TEST(without_its_index_nothing_is_stored),
        TEST(other_tables_get_inserts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
