/* Exactly once: this program plays the core. It begins, writes batches, commits positions, and now and then goes wrong.
 * The tables have no key unless a test wants one, so that whatever is written twice shows. Needs a real server in
 * PL_TEST_DSN. */
#include "support_timescale_txn.h"

/* ---- What goes well ----------------------------------------------------------------------------- */

static void rows_and_positions_become_visible_together(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    assert_int_equal(position_of(host, "t/1"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, 5));
    assert_int_equal(stub_count(host, STUB_DURABLE), 5); /* written, that is */
    expect_ok(host, write_some(host, 5, LARGE));
    expect_ok(host, write_some(host, 5 + LARGE, 7));
    if (!one_session) {
        assert_string_equal(stored(), "0|0|-1");
    }
    assert_int_equal((int)stub_metric(host, "rows"), 0);
    pl_txn_position both[] = {{PL_S("t/1"), 99}, {PL_S("t/0"), 211}};
    expect_ok(host, calls(host)->commit(host->self, both, 2, (pl_str){0}, INT64_MAX, no_error(host)));
    assert_int_equal((int)stub_metric(host, "rows"), LARGE + 12);
    expect_ok(host, begin(host));
    expect_ok(host, commit(host, "t/1", 100)); /* all of it was filtered */
    stub_close(&host);
    assert_string_equal(stored(), "312|312|311");
    assert_string_equal(query("SELECT pipeline, sink, lane, position FROM unit_positions ORDER BY lane"),
                        "p'1|unit|t/0|211\np'1|unit|t/1|100");
    host = open_txn(PLAIN);
    assert_int_equal(position_of(host, "t/0"), 211);
    assert_int_equal(position_of(host, "t/1"), 100);
    assert_int_equal(position_of(host, "t/2"), -1);
    stub_close(&host);
}

static void large_batches_are_copied_without_a_key(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (one_session) {
        skip(); /* it takes no COPY */
    }
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1); /* makes the table */
    watch_ways();
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, LARGE));
    expect_ok(host, write_some(host, LARGE, 1));
    expect_ok(host, write_some(host, LARGE + 1, LARGE));
    expect_ok(host, commit(host, "t/0", 9));
    stub_close(&host);
    assert_string_equal(ways(), "cic");
}

static void a_position_may_be_as_large_as_it_can_be(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, commit(host, "t/0", UINT64_MAX - 1));
    expect_ok(host, begin(host));
    expect_ok(host, commit(host, "t/0", UINT64_MAX));
    stub_close(&host);
    assert_string_equal(query("SELECT position FROM unit_positions"), "18446744073709551615");
}

static void what_is_aborted_was_never_there(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, LARGE));
    cancel(host);
    assert_int_equal((int)stub_metric(host, "rows"), 0);
    assert_string_equal(stored(), "0|0|-1");
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, LARGE));
    stub_close(&host); /* and what was left open */
    assert_string_equal(stored(), "0|0|-1");
    host = open_txn(PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    stub_close(&host);
}

/* ---- Bad rows: the transaction stays as it was before them --------------------------------------------- */

#define BAD "{\"n\":1000,\"v\":1000.00}" /* numeric(5,2): only the server knows */

static void a_bad_row_leaves_the_rest_of_the_transaction(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_failure(host, stub_write(host, BATCH(BAD)), PL_REJECT, "(SQLSTATE 22003)"); /* before anything else */
    expect_ok(host, write_some(host, 0, 3));
    expect_failure(host, stub_write(host, BATCH("{\"n\":3,\"v\":1}", BAD)), PL_REJECT, "(SQLSTATE 22003)");
    expect_ok(host, stub_write(host, BATCH("{\"n\":3,\"v\":1}")));
    expect_failure(host, stub_write(host, BATCH(BAD)), PL_REJECT, "(SQLSTATE 22003)");
    expect_ok(host, write_some(host, 4, LARGE)); /* by COPY */
    expect_ok(host, stub_write(host, BATCH("{\"n\":\"x\",\"v\":1}", "{\"n\":304,\"v\":1}")));
    assert_int_equal(stub_settled(host, 0), PL_REJECT);
    expect_failure(host, stub_write(host, BATCH(BAD)), PL_REJECT, "(SQLSTATE 22003)"); /* the last of it */
    expect_ok(host, commit(host, "t/0", 400));
    stub_close(&host);
    assert_string_equal(stored(), "305|305|304");
}

static void a_large_batch_with_a_bad_row_leaves_the_rest(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    char texts[LARGE][48];
    const char *rows[LARGE + 1] = {NULL};
    for (int i = 0; i < LARGE; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "{\"n\":%d,\"v\":%s}", i, i == 177 ? "1000" : "1");
        rows[i] = texts[i];
    }
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 1000, LARGE));
    expect_failure(host, stub_write(host, rows), PL_REJECT, "(SQLSTATE 22003)");
    assert_int_equal(stub_count(host, STUB_OUT), LARGE);
    const char *half = rows[150]; /* as the core halves it */
    rows[150] = NULL;
    expect_ok(host, stub_write(host, rows));
    rows[150] = half;
    expect_failure(host, stub_write(host, rows + 150), PL_REJECT, "(SQLSTATE 22003)");
    rows[177] = NULL;
    expect_ok(host, stub_write(host, rows + 150));
    expect_ok(host, stub_write(host, rows + 178));
    expect_ok(host, commit(host, "t/0", LARGE - 1));
    stub_close(&host);
    assert_string_equal(stored(), "599|599|1299");
}

static void constraints_are_checked_while_the_row_is_at_hand(void **state)
{
    (void)state;
    NEEDS_SERVER();
    (void)query("CREATE TABLE unit_prices (n bigint NOT NULL, v numeric(5,2), UNIQUE (n) DEFERRABLE INITIALLY "
                "DEFERRED)");
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, 3));
    expect_failure(host, write_some(host, 2, 1), PL_REJECT, "(SQLSTATE 23505)");
    expect_ok(host, write_some(host, 3, LARGE));
    expect_ok(host, commit(host, "t/0", 9));
    stub_close(&host);
    assert_string_equal(stored(), "303|303|302");
}

/* With a key, records may come again in the topic itself. */
static void keys_that_are_there_already_fail_no_transaction(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" KEYED);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, 5));
    expect_ok(host, write_some(host, 0, LARGE));         /* a COPY that fails */
    expect_ok(host, write_some(host, LARGE - 1, LARGE)); /* COPY rests */
    expect_ok(host, commit(host, "t/0", 9));
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 1000, LARGE));
    expect_ok(host, write_some(host, 2000, LARGE));
    expect_ok(host, commit(host, "t/0", 10));
    assert_int_equal((int)stub_metric(host, "conflicts"), 6);
    stub_close(&host);
    assert_string_equal(stored(), "1199|1199|2299");
}

/* A lane that is opened while a transaction is under way, whose next write fails. */
static void a_lane_may_come_within_a_transaction(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    assert_int_equal(position_of(host, "t/1"), -1);
    expect_failure(host, stub_write(host, BATCH(BAD)), PL_REJECT, "(SQLSTATE 22003)");
    expect_ok(host, write_some(host, 0, 3));
    expect_ok(host, commit(host, "t/1", 2));
    stub_close(&host);
    assert_string_equal(query("SELECT lane, position FROM unit_positions ORDER BY lane"), "t/0|~\nt/1|2");
}

/* ---- The connection ------------------------------------------------------------------------------------------ */

static const char *end_session(void)
{
    return query("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
                 "'plumbline/unit'");
}

static void a_lost_session_takes_the_transaction_with_it(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (one_session) {
        skip();
    }
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, 3));
    assert_string_equal(end_session(), "1");
    assert_int_equal(write_some(host, 3, LARGE), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    /* Not on a new connection, in a transaction of its own. */
    expect_failure(host, write_some(host, 3, 1), PL_RETRY, "the open transaction with it");
    expect_failure(host, commit(host, "t/0", 3), PL_RETRY, "the open transaction with it");
    cancel(host);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, 2));
    assert_string_equal(end_session(), "1");
    assert_int_equal(commit(host, "t/0", 1), PL_FAILED);
    assert_int_equal(host->error.error_class, PL_RETRY);
    cancel(host);
    assert_int_equal(position_of(host, "t/0"), -1);
    stub_close(&host);
    assert_string_equal(stored(), "0|0|-1");
}

/* A transaction in which nothing was written yet is none at the server, however long that takes. */
static void a_session_lost_while_nothing_comes_does_no_harm(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (one_session) {
        skip();
    }
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    assert_string_equal(query("SELECT state FROM pg_stat_activity WHERE application_name = 'plumbline/unit'"), "idle");
    assert_string_equal(end_session(), "1");
    pl_status status = write_some(host, 0, 3);
    if (status != PL_OK) { /* the first to notice */
        assert_int_equal(host->error.error_class, PL_RETRY);
        expect_ok(host, write_some(host, 0, 3));
    }
    expect_ok(host, commit(host, "t/0", 2));
    stub_close(&host);
    assert_string_equal(stored(), "3|3|2");
}

static void commit_over(bool behind)
{
    wire wire;
    stub *host = open_wired(&wire, behind);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, write_some(host, 0, LARGE));
    if (behind) {
        expect_ok(host, commit(host, "t/0", LARGE - 1));
        assert_int_equal((int)stub_metric(host, "connects"), 2);
        assert_int_equal((int)stub_metric(host, "rows"), LARGE);
        expect_ok(host, begin(host)); /* it goes on, and what it knows of the lane is right */
        expect_ok(host, write_some(host, LARGE, 1));
        expect_ok(host, commit(host, "t/0", LARGE));
    } else {
        expect_failure(host, commit(host, "t/0", LARGE - 1), PL_RETRY,
                       "the commit did not come about, or nobody knows: cannot commit: ");
        cancel(host);
        assert_int_equal(position_of(host, "t/0"), -1);
    }
    wire_join(&wire);
    stub_close(&host);
    assert_string_equal(stored(), behind ? "301|301|300" : "0|0|-1");
}

static void a_commit_whose_answer_is_lost_is_looked_up(void **state)
{
    (void)state;
    NEEDS_SERVER();
    commit_over(true);
}

static void a_commit_that_never_arrived_is_looked_up(void **state)
{
    (void)state;
    NEEDS_SERVER();
    commit_over(false);
}

/* By a deferred trigger, and another that undoes SET CONSTRAINTS. What can't pass by waiting halts. */
static void what_the_server_says_of_a_commit_is_told(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    refuse_commits("53100");
    (void)query("CREATE OR REPLACE FUNCTION unit_defer() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NULL; END$$; "
                "CREATE TRIGGER a BEFORE UPDATE ON unit_positions FOR EACH STATEMENT EXECUTE FUNCTION unit_defer(); "
                "CREATE CONSTRAINT TRIGGER b AFTER UPDATE ON unit_positions DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW WHEN (new.position IS NOT NULL) EXECUTE FUNCTION unit_refuse()");
    static const char *const states[5] = {"53100", "40001", "23505", "22003", "42501"};
    for (size_t i = 0; i < 5; i++) {
        refuse_commits(states[i]);
        expect_ok(host, begin(host));
        expect_ok(host, write_some(host, 0, 3));
        expect_failure(host, commit(host, "t/0", 2), i < 2 ? PL_RETRY : PL_HALT,
                       i < 2 ? "nobody knows: cannot commit: no room" : "cannot commit: no room (SQLSTATE ");
        cancel(host);
    }
    stub_close(&host);
    assert_string_equal(stored(), "0|0|-1");
}

/* ---- Tables and options ---------------------------------------------------------------------------------------- */

static void without_create_the_table_of_positions_must_be_there(void **state)
{
    (void)state;
    NEEDS_SERVER();
    (void)query("CREATE TABLE unit_prices (n bigint NOT NULL, v numeric(5,2))");
    stub *host = open_txn(PLAIN);
    expect_failure(host, begin(host), PL_HALT, "exactly_once needs a table for positions");
    const char *ddl = strstr(host->error.message, "CREATE TABLE");
    assert_non_null(ddl);
    (void)query(ddl); /* the message says how */
    expect_ok(host, begin(host));
    cancel(host);
    (void)query("ALTER TABLE unit_positions DROP CONSTRAINT unit_positions_pkey");
    uint64_t position;
    expect_failure(host, calls(host)->position(host->self, PL_S("t/0"), &position, no_error(host)), PL_HALT,
                   "cannot ask for a position: there is no unique or exclusion constraint");
    stub_close(&host);
}

static void the_calls_must_come_in_their_order(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    expect_failure(host, write_some(host, 0, 1), PL_HALT, "a write outside of a transaction");
    expect_failure(host, commit(host, "t/0", 1), PL_HALT, "a commit outside of a transaction");
    expect_ok(host, begin(host));
    expect_failure(host, begin(host), PL_HALT, "a transaction is open already");
    expect_ok(host, write_some(host, 0, 1));
    expect_failure(host, commit(host, "t/0", 1), PL_HALT, "lane t/0 was never asked for its position");
    stub_close(&host);
    assert_string_equal(stored(), "0|0|-1");
}

static void a_table_without_a_key_may_be_a_hypertable(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true, key: [], columns: [{ name: n, type: bigint }, { name: at, type: timestamptz,"
                          " null: false }]");
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, stub_write(host, BATCH("{\"n\":1,\"at\":\"2022-04-01T00:00:00Z\"}",
                                           "{\"n\":1,\"at\":\"2022-04-01T00:00:00Z\"}")));
    expect_ok(host, commit(host, "t/0", 1));
    assert_true(stub_logged(host, has_timescale() ? "made hypertable unit_prices" : "made table unit_prices"));
    assert_true(stub_logged(host, "made table unit_positions"));
    stub_close(&host);
    assert_string_equal(stored(), "2|1|1");
}

static void a_key_may_be_missing_only_here(void **state)
{
    (void)state;
    static const char *const with[] = {
        "{ dsn: host=x, table: t, columns: [{ name: n }], key: [] }",
        "{ dsn: host=x, table: t, columns: [{ name: n }], key: [], on_conflict: update }",
        "{ dsn: host=x, table: t, columns: [{ name: at, type: timestamptz }], key: [], hypertable: { time: at } }",
    };
    static const char *const options[] = {"key", "on_conflict", "hypertable.time"};
    static const char *const messages[] = {"`key` needs at least one column, save under `delivery: exactly_once`",
                                           "`update` needs a key", "'at' must be `null: false`"};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        stub *host = stub_open("timescale", STUB_SINK);
        expect_failure(host, stub_try_create(host, with[i]), PL_BAD_CONFIG, messages[i]);
        assert_string_equal(host->error.option, options[i]);
        stub_close(&host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TXN_TEST(rows_and_positions_become_visible_together),
        TXN_TEST(large_batches_are_copied_without_a_key),
        TXN_TEST(a_position_may_be_as_large_as_it_can_be),
        TXN_TEST(what_is_aborted_was_never_there),
        TXN_TEST(a_bad_row_leaves_the_rest_of_the_transaction),
        TXN_TEST(a_large_batch_with_a_bad_row_leaves_the_rest),
        TXN_TEST(constraints_are_checked_while_the_row_is_at_hand),
        TXN_TEST(keys_that_are_there_already_fail_no_transaction),
        TXN_TEST(a_lane_may_come_within_a_transaction),
        TXN_TEST(a_lost_session_takes_the_transaction_with_it),
        TXN_TEST(a_session_lost_while_nothing_comes_does_no_harm),
        TXN_TEST(a_commit_whose_answer_is_lost_is_looked_up),
        TXN_TEST(a_commit_that_never_arrived_is_looked_up),
        TXN_TEST(what_the_server_says_of_a_commit_is_told),
        TXN_TEST(without_create_the_table_of_positions_must_be_there),
        TXN_TEST(the_calls_must_come_in_their_order),
        TXN_TEST(a_table_without_a_key_may_be_a_hypertable),
        TXN_TEST(a_key_may_be_missing_only_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
