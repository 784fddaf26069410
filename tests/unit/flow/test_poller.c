/* Ticks of a poller under a virtual clock: each one is a sample or a gap. */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

enum { SECOND = 1000000000 };

typedef struct bench {
    kit kit;
    kit_poll_stub stub;
    kit_sink_stub sink, gaps, letters;
    pl_source_stage *in;
    pl_sink_stage *out;
} bench;

static void open_bench(bench *b)
{
    kit_open(&b->kit, 7);
    b->in = kit_add_poller(&b->kit, "prices", &b->stub, NULL);
    b->out = kit_add_sink(&b->kit, "out", &b->sink, NULL);
    pl_sink_stage *gaps = kit_add_sink(&b->kit, "gaps", &b->gaps, NULL);
    kit_connect(&b->kit, &b->in->stage, NULL, &b->out->stage);
    kit_connect(&b->kit, &b->in->stage, "gaps", &gaps->stage);
    (void)kit_letters(&b->kit, &b->letters);
}

static void run_for(bench *b, int64_t ns)
{
    kit_run_for(&b->kit, ns);
}

static void stop(bench *b)
{
    kit_stop(&b->kit, &b->in->stage);
}

static void test_every_tick_is_a_sample(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.count = 3};
    open_bench(&b);
    run_for(&b, 605LL * SECOND);
    stop(&b);
    assert_in_range(b.stub.samples[0], 60, 62);
    assert_int_equal(b.stub.samples[1], b.stub.samples[0]);
    assert_int_equal(b.gaps.text_count, 0);
    assert_int_equal(b.sink.text_count, 3 * b.stub.samples[0]);
    for (uint32_t i = 2; i < b.stub.polls; i++) /* after the first, jittered one */
        assert_int_equal(b.stub.polled_ns[i] - b.stub.polled_ns[i - 1], 10LL * SECOND);
    kit_close(&b.kit);
}

static pl_status second_is_rejected(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)stub;
    return index == 1 ? pl_fail(error, PL_REJECT, "an HTML page") : PL_OK;
}

static void test_one_bad_item_stops_no_other(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub = {.count = 3, .answer = second_is_rejected}};
    open_bench(&b);
    run_for(&b, 95LL * SECOND);
    stop(&b);
    assert_int_equal(b.stub.samples[1], 0);
    assert_int_equal(b.stub.samples[2], b.stub.samples[0]);
    assert_int_equal(b.gaps.text_count, b.stub.samples[0]);
    assert_int_equal(pl_counted(&b.in->stage.account.born), b.gaps.text_count);
    assert_null(strstr(strstr(b.kit.log, "an HTML page") + 1, "an HTML page")); /* one warning */
    kit_close(&b.kit);
}

static pl_status down(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)stub;
    (void)index;
    return pl_fail(error, PL_RETRY, "connection refused");
}

static void test_retried_within_the_tick_then_a_gap(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.answer = down};
    open_bench(&b);
    run_for(&b, 300LL * SECOND);
    b.stub.answer = NULL;
    run_for(&b, 300LL * SECOND);
    stop(&b);
    assert_in_range(b.gaps.text_count, 29, 31);
    assert_in_range(b.gaps.text_count + b.stub.samples[0], 59, 62);
    assert_true(b.stub.polls > b.gaps.text_count + b.stub.samples[0] + 3); /* it did try again */
    assert_non_null(strstr(b.kit.log, "connection refused; no sample at this tick"));
    assert_non_null(strstr(b.kit.log, "works again after"));
    kit_close(&b.kit);
}

static pl_status asks_to_wait(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)index;
    if (stub->polls != 3)
        return PL_OK;
    (void)pl_fail(error, PL_RETRY, "429");
    error->retry_after_ms = 45000; /* four and a half ticks */
    return PL_FAILED;
}

static void test_retry_after_holds_over_several_ticks(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.answer = asks_to_wait};
    open_bench(&b);
    run_for(&b, 125LL * SECOND);
    stop(&b);
    assert_true(b.stub.polled_ns[3] - b.stub.polled_ns[2] >= 45LL * SECOND);
    assert_in_range(b.gaps.text_count, 4, 5);
    assert_in_range(b.gaps.text_count + b.stub.samples[0], 12, 14);
    kit_close(&b.kit);
}

static pl_status takes_long(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)index;
    (void)error;
    if (stub->polls == 3) /* as if the machine had slept */
        ((bench *)(void *)((char *)stub - offsetof(bench, stub)))->kit.clock.now += 57LL * SECOND;
    return PL_OK;
}

static void test_missed_ticks_are_gaps(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.answer = takes_long};
    open_bench(&b);
    run_for(&b, 120LL * SECOND);
    stop(&b);
    assert_int_equal(b.gaps.text_count, 4);
    assert_in_range(b.gaps.text_count + b.stub.samples[0], 12, 13);
    kit_close(&b.kit);
}

static pl_status sleeps_for_days(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)index;
    (void)error;
    if (stub->polls == 3)
        ((bench *)(void *)((char *)stub - offsetof(bench, stub)))->kit.clock.now += 100000LL * SECOND;
    return PL_OK;
}

static void test_the_last_gap_of_many_stands_for_the_rest(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.answer = sleeps_for_days};
    open_bench(&b);
    run_for(&b, 100100LL * SECOND);
    stop(&b);
    assert_int_equal(b.gaps.text_count, 1000);
    assert_int_equal(pl_counted(&b.in->stage.account.born), 1000);
    /* Positions: each record has one, and no more. */
    assert_int_equal(b.in->poll.items[0].position - (uint64_t)KIT_T0, 1000 + b.stub.samples[0]);
    kit_close(&b.kit);
}

static pl_status third_to_sixth_fail(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)index;
    return stub->polls > 2 && stub->polls < 7 ? pl_fail(error, PL_REJECT, "an HTML page") : PL_OK;
}

static void run_in(bench *b, const char *folder, int64_t begins_ns, int64_t lasts_ns)
{
    *b = (bench){.stub.count = 2};
    open_bench(b);
    b->kit.flow.seeded = false;
    b->kit.flow.data_dir = folder;
    b->kit.clock.now += begins_ns;
    run_for(b, lasts_ns);
    stop(b);
}

static void test_ticks_between_two_runs_are_gaps(void **state)
{
    (void)state;
    static bench b;
    char folder[] = "/tmp/plumbline-ticks-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    run_in(&b, folder, 0, 95LL * SECOND);
    assert_int_equal(b.gaps.text_count, 0);
    int64_t last_ns = b.stub.ticked_unix_ns - KIT_T0;
    kit_close(&b.kit);
    run_in(&b, folder, 200LL * SECOND, 45LL * SECOND);
    int64_t missed = (200LL * SECOND - last_ns) / (10LL * SECOND) - 1; /* that of 200 s is late, not missed */
    assert_in_range(missed, 8, 10);
    assert_int_equal(b.gaps.text_count, 2 * missed); /* two items */
    kit_close(&b.kit);
    run_in(&b, folder, 250LL * SECOND, 15LL * SECOND); /* no tick in between */
    assert_int_equal(b.gaps.text_count, 0);
    kit_close(&b.kit);
    run_in(&b, folder, 30LL * SECOND, 15LL * SECOND); /* the clock was set back */
    assert_int_equal(b.gaps.text_count, 0);
    kit_close(&b.kit);
    (void)snprintf(path, sizeof path, "%s/prices.tick", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* Killed while a gap record was on its way: its tick is a gap of the next run. */
static void test_a_gap_that_is_not_settled_comes_again(void **state)
{
    (void)state;
    static bench b;
    char folder[] = "/tmp/plumbline-ticks-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    b = (bench){.stub.answer = third_to_sixth_fail, .gaps = {.async = true, .mute = true}};
    open_bench(&b);
    b.kit.flow.seeded = false;
    b.kit.flow.data_dir = folder;
    run_for(&b, 75LL * SECOND);
    assert_int_equal(pl_counted(&b.in->stage.account.born), 4);
    int64_t kept_ns = b.in->poll.kept_unix_ns - KIT_T0;
    assert_in_range(kept_ns, 10LL * SECOND, 12LL * SECOND); /* the second tick: all after it is settled by nobody */
    atomic_store(&b.kit.flow.aborting, true);
    (void)kit_run(&b.kit, 1000);
    kit_close(&b.kit);
    run_in(&b, folder, 80LL * SECOND, 5LL * SECOND);
    assert_int_equal(b.gaps.text_count, 2 * ((80LL * SECOND - kept_ns) / (10LL * SECOND) - 1)); /* two items now */
    kit_close(&b.kit);
    (void)snprintf(path, sizeof path, "%s/prices.tick", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_positions_grow_over_gaps(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub = {.count = 2, .answer = second_is_rejected}};
    open_bench(&b);
    run_for(&b, 50LL * SECOND);
    pl_poll_item *items = b.in->poll.items;
    assert_true(items[1].position > (uint64_t)KIT_T0); /* gaps have positions of their own, later than any before */
    assert_int_equal(items[0].position - (uint64_t)KIT_T0, b.stub.samples[0]);
    stop(&b);
    kit_close(&b.kit);
}

static void test_a_tick_is_committed_when_its_records_are_settled(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub = {.count = 2}, .sink = {.async = true, .mute = true}};
    open_bench(&b);
    run_for(&b, 35LL * SECOND);
    assert_int_equal(b.stub.commits, 0);
    b.sink.mute = false;
    run_for(&b, 20LL * SECOND);
    assert_true(b.stub.commits >= 2);
    assert_true(b.stub.ticked_unix_ns - b.stub.committed_unix_ns <= 10LL * SECOND);
    b.stub.commit_fails = 2;
    run_for(&b, 20LL * SECOND);
    assert_non_null(strstr(b.kit.log, "warn prices: the disk is full; trying again"));
    stop(&b);
    assert_int_equal(b.stub.commit_fails, 0);
    assert_int_equal(b.stub.committed_unix_ns, b.stub.ticked_unix_ns);
    kit_close(&b.kit);
}

static void test_ticks_without_a_sample_are_committed(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.answer = down};
    open_bench(&b);
    run_for(&b, 300LL * SECOND);
    stop(&b);
    assert_in_range(b.stub.commits, 28, 31);
    kit_close(&b.kit);
}

static pl_status halts(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)index;
    return stub->polls < 3 ? PL_OK : pl_fail(error, PL_HALT, "the key was refused");
}

static void test_halt(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.stub.answer = halts};
    open_bench(&b);
    assert_true(kit_run(&b.kit, 10000));
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_error.message, "the key was refused");
    kit_close(&b.kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tick_is_a_sample),
        cmocka_unit_test(test_one_bad_item_stops_no_other),
        cmocka_unit_test(test_retried_within_the_tick_then_a_gap),
        cmocka_unit_test(test_retry_after_holds_over_several_ticks),
        cmocka_unit_test(test_missed_ticks_are_gaps),
        cmocka_unit_test(test_the_last_gap_of_many_stands_for_the_rest),
        cmocka_unit_test(test_ticks_between_two_runs_are_gaps),
        cmocka_unit_test(test_a_gap_that_is_not_settled_comes_again),
        cmocka_unit_test(test_positions_grow_over_gaps),
        cmocka_unit_test(test_a_tick_is_committed_when_its_records_are_settled),
        cmocka_unit_test(test_ticks_without_a_sample_are_committed),
        cmocka_unit_test(test_halt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
