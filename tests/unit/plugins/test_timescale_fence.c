/* Exactly once: of two writers of a lane the second is fenced, whoever comes when. This program plays the core of both.
 * Needs a real server in PL_TEST_DSN. */
#include "support_timescale_txn.h"

#include <pthread.h>

static void a_second_writer_of_a_lane_is_fenced(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *old = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(old, "t/0"), -1);
    assert_int_equal(position_of(old, "t/1"), -1);
    expect_ok(old, begin(old));
    expect_ok(old, write_some(old, 0, 10));
    expect_ok(old, commit(old, "t/0", 9));
    stub *new = open_txn(PLAIN); /* the group gave it the partition */
    assert_int_equal(position_of(new, "t/0"), 9);
    if (!one_session) {
        expect_ok(old, begin(old)); /* while the old one is at it still */
        expect_ok(old, write_some(old, 10, 5));
    }
    expect_ok(new, begin(new));
    expect_ok(new, write_some(new, 10, 20));
    expect_ok(new, commit(new, "t/0", 29));
    if (one_session) {
        expect_ok(old, begin(old));
        expect_ok(old, write_some(old, 10, 5));
    }
    pl_txn_position both[] = {{PL_S("t/1"), 3}, {PL_S("t/0"), 14}};
    expect_failure(old, calls(old)->commit(old->self, both, 2, (pl_str){0}, INT64_MAX, no_error(old)), PL_HALT,
                   "fenced: another instance of this pipeline stores lane t/0; position 9 expected in unit_positions, "
                   "29 found");
    cancel(old);
    expect_ok(new, begin(new)); /* nothing of it is left behind */
    expect_ok(new, write_some(new, 30, 1));
    expect_ok(new, commit(new, "t/0", 30));
    assert_int_equal(position_of(new, "t/1"), -1);
    stub_close(&new);
    stub_close(&old);
    assert_string_equal(stored(), "31|31|30");
}

static void the_first_commit_of_a_lane_is_fenced_too(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *one = open_txn(", create: true" PLAIN), *other = open_txn(PLAIN);
    assert_int_equal(position_of(one, "t/0"), -1);
    assert_int_equal(position_of(other, "t/0"), -1);
    expect_ok(one, begin(one));
    expect_ok(one, write_some(one, 0, 3));
    expect_ok(one, commit(one, "t/0", 2));
    expect_ok(other, begin(other));
    expect_ok(other, write_some(other, 0, 3));
    expect_failure(other, commit(other, "t/0", 2), PL_HALT, "position none expected in unit_positions, 2 found");
    stub_close(&one);
    stub_close(&other);
    assert_string_equal(stored(), "3|3|2");
}

static void pipelines_and_sinks_have_lanes_of_their_own(void **state)
{
    (void)state;
    NEEDS_SERVER();
    stub *host = open_txn(", create: true" PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    expect_ok(host, begin(host));
    expect_ok(host, commit(host, "t/0", 7));
    stub_close(&host);
    (void)query("UPDATE unit_positions SET pipeline = 'p2'; INSERT INTO unit_positions SELECT 'p''1', 'other', lane, 5 "
                "FROM unit_positions");
    host = open_txn(PLAIN);
    assert_int_equal(position_of(host, "t/0"), -1);
    stub_close(&host);
}

/* Another session that has moved the lane and not committed yet; what waits for it does so in a thread. */
typedef struct waiter {
    stub *host;
    int64_t (*call)(stub *host);
    int64_t result;
    PGconn *other;
    pthread_t thread;
} waiter;

static void *run_waiter(void *opaque)
{
    waiter *waiter = opaque;
    waiter->result = waiter->call(waiter->host);
    return NULL;
}

static void start_waiting(waiter *waiter)
{
    waiter->other = PQconnectdb(dsn());
    PQclear(PQexec(waiter->other, "BEGIN; UPDATE unit_positions SET position = 41"));
    assert_int_equal(pthread_create(&waiter->thread, NULL, run_waiter, waiter), 0);
    while (strcmp(query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                        "AND application_name = 'plumbline/unit'"),
                  "1") != 0) {
    }
}

static void end_waiting(waiter *waiter)
{
    PQclear(PQexec(waiter->other, "COMMIT"));
    PQfinish(waiter->other);
    assert_int_equal(pthread_join(waiter->thread, NULL), 0);
}

static int64_t ask_for_it(stub *host)
{
    return position_of(host, "t/0");
}

/* Whoever takes a lane over sees what the one before it was just committing. */
static void asking_waits_for_a_commit_under_way(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (one_session) {
        skip();
    }
    waiter waiter = {.host = open_txn(", create: true" PLAIN), .call = ask_for_it};
    assert_int_equal(position_of(waiter.host, "t/0"), -1);
    start_waiting(&waiter);
    end_waiting(&waiter);
    assert_int_equal(waiter.result, 41);
    stub_close(&waiter.host);
}

static int64_t commit_it(stub *host)
{
    return commit(host, "t/0", 5);
}

static void a_commit_waits_for_the_one_under_way_and_is_fenced(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (one_session) {
        skip();
    }
    waiter waiter = {.host = open_txn(", create: true" PLAIN), .call = commit_it};
    assert_int_equal(position_of(waiter.host, "t/0"), -1);
    expect_ok(waiter.host, begin(waiter.host));
    expect_ok(waiter.host, write_some(waiter.host, 0, 3));
    start_waiting(&waiter);
    end_waiting(&waiter);
    expect_failure(waiter.host, (pl_status)waiter.result, PL_HALT,
                   "position none expected in unit_positions, 41 found");
    stub_close(&waiter.host);
    assert_string_equal(stored(), "0|0|-1");
}

static void an_interrupt_ends_the_wait_of_a_commit(void **state)
{
    (void)state;
    NEEDS_SERVER();
    if (one_session) {
        skip();
    }
    waiter waiter = {.host = open_txn(", create: true" PLAIN), .call = commit_it};
    assert_int_equal(position_of(waiter.host, "t/0"), -1);
    expect_ok(waiter.host, begin(waiter.host));
    start_waiting(&waiter);
    waiter.host->component->interrupt(waiter.host->self);
    assert_int_equal(pthread_join(waiter.thread, NULL), 0); /* the other one holds it still */
    PQfinish(waiter.other);
    expect_failure(waiter.host, (pl_status)waiter.result, PL_RETRY, "interrupted");
    cancel(waiter.host);
    stub_close(&waiter.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TXN_TEST(a_second_writer_of_a_lane_is_fenced),
        TXN_TEST(the_first_commit_of_a_lane_is_fenced_too),
        TXN_TEST(pipelines_and_sinks_have_lanes_of_their_own),
        TXN_TEST(asking_waits_for_a_commit_under_way),
        TXN_TEST(a_commit_waits_for_the_one_under_way_and_is_fenced),
        TXN_TEST(an_interrupt_ends_the_wait_of_a_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
