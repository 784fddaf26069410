/* Pauses between attempts and the circuit, by counting the calls that are made. */
#include "support.h"

#include <base/log.h>
#include <flow/retry.h>

enum { SECOND = 1000000000 };

static uint32_t occurrences(const char *text, const char *words)
{
    uint32_t count = 0;
    for (const char *at = text; (at = strstr(at, words)); at++)
        count++;
    return count;
}

/* ---- the rule ------------------------------------------------------------------- */

static pl_stage stage_called(const char *name)
{
    pl_stage stage = {.name = name};
    pl_random_seed(&stage.random, 1);
    return stage;
}

static void test_backoff_grows_to_its_maximum(void **state)
{
    (void)state;
    pl_stage stage = stage_called("x");
    pl_retry retry = {.policy = {.min_ns = 100, .max_ns = 1000, .attempts = 4}, .quiet = true};
    pl_error error = {.message = "down"};
    int64_t longest = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(pl_retry_failed(&retry, &stage, &error, 5000));
        assert_true(retry.due_ns > 5000 && retry.due_ns <= 5000 + 1000000 + (100 << i));
    }
    assert_false(pl_retry_failed(&retry, &stage, &error, 0)); /* the fourth attempt was the last */
    for (int i = 0; i < 1000; i++) {
        (void)pl_retry_failed(&retry, &stage, &error, 0);
        longest = retry.due_ns > longest ? retry.due_ns : longest;
    }
    assert_in_range(longest, 1000000 + 900, 1000000 + 1000);
    pl_retry_worked(&retry, &stage);
    assert_int_equal(retry.failures, 0);
    assert_int_equal(retry.due_ns, 0);
    retry.policy = (pl_retry_policy){.min_ns = 100, .max_ns = INT64_MAX};
    for (int i = 0; i < 100; i++) /* for ever, and no overflow on the way */
        assert_true(pl_retry_failed(&retry, &stage, &error, 0));
}

static void test_retry_after_holds_and_chance_comes_on_top(void **state)
{
    (void)state;
    pl_stage stage = stage_called("x");
    pl_retry retry = {.policy = {.min_ns = SECOND, .max_ns = SECOND, .circuit = 5}, .quiet = true};
    pl_error error = {.message = "429", .retry_after_ms = 7000};
    int64_t least = INT64_MAX;
    int64_t most = 0;
    for (int i = 0; i < 200; i++) {
        (void)pl_retry_failed(&retry, &stage, &error, 1);
        least = retry.due_ns < least ? retry.due_ns : least;
        most = retry.due_ns > most ? retry.due_ns : most;
    }
    assert_true(least > 7LL * SECOND && most <= 8LL * SECOND + 1);
    assert_true(most - least > SECOND / 2); /* several instances that were told the same do not come at once */
    assert_int_equal(pl_counted(&stage.account.circuit_opened), 1);
}

static char said[1024];
static size_t lines;

static void capture(void *self, const char *line, size_t len)
{
    (void)self;
    lines++;
    (void)snprintf(said, sizeof said, "%.*s", (int)len, line);
}

static void test_one_line_on_a_change_of_state(void **state)
{
    (void)state;
    pl_stage store = stage_called("store");
    pl_retry retry = {.policy = {.min_ns = 100, .max_ns = 1000, .circuit = 5}};
    pl_error error = {.message = "connection refused"};
    pl_log_capture(capture, NULL);
    for (int i = 0; i < 4; i++)
        (void)pl_retry_failed(&retry, &store, &error, 0);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(said, "warn store: connection refused; trying again"));
    pl_retry_worked(&retry, &store);
    pl_retry_worked(&retry, &store);
    assert_int_equal(lines, 2);
    assert_non_null(strstr(said, "works again after 4 failed attempts"));
    assert_null(strstr(said, "circuit"));
    for (int i = 0; i < 50; i++) {
        (void)pl_retry_failed(&retry, &store, &error, 0);
        assert_int_equal(atomic_load(&store.account.circuit), i < 4 ? PL_CIRCUIT_CLOSED : PL_CIRCUIT_OPEN);
        pl_retry_begin(&retry, &store);
        assert_int_equal(atomic_load(&store.account.circuit), i < 4 ? PL_CIRCUIT_CLOSED : PL_CIRCUIT_HALF_OPEN);
    }
    assert_int_equal(lines, 4); /* it fails, it opens */
    assert_non_null(strstr(said, "warn store: connection refused; 5 failures in a row, the circuit is open"));
    pl_retry_worked(&retry, &store);
    assert_int_equal(lines, 5);
    assert_non_null(strstr(said, "works again after 50 failed attempts; the circuit is closed"));
    assert_int_equal(atomic_load(&store.account.circuit), PL_CIRCUIT_CLOSED);
    assert_int_equal(pl_counted(&store.account.circuit_opened), 1);
    pl_log_capture(NULL, NULL);
}

/* ---- a sink ------------------------------------------------------------------------ */

typedef struct store {
    kit kit;
    kit_source_stub source;
    kit_sink_stub sink, letters;
    pl_source_stage *in;
    pl_sink_stage *out;
} store;

static void open_store(store *b, const pl_sink_setup *setup)
{
    kit_open(&b->kit, 11);
    b->in = kit_add_source(&b->kit, "in", &b->source, NULL);
    b->out = kit_add_sink(&b->kit, "out", &b->sink, setup);
    kit_connect(&b->kit, &b->in->stage, NULL, &b->out->stage);
    (void)kit_letters(&b->kit, &b->letters);
}

static void expect_all(const store *b, uint32_t count)
{
    assert_int_equal(b->sink.text_count, count);
    for (uint32_t n = 0; n < count; n++) {
        char text[32];
        (void)snprintf(text, sizeof text, "{\"n\":%u}", n);
        assert_string_equal(b->sink.text[n], text);
    }
}

static pl_status is_down(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)batch;
    return stub->self ? pl_fail(error, PL_RETRY, "connection refused") : PL_OK;
}

/* Down for an hour: whole batches until the circuit opens, then one record at a time, at most one a pause. */
static void test_an_open_circuit_probes_with_one_record(void **state)
{
    (void)state;
    static store b;
    b = (store){.source = {.count = 1000, .a_call = 100}, .sink = {.trouble = is_down, .self = &b}};
    open_store(&b, NULL);
    kit_run_for(&b.kit, 3600LL * SECOND);
    assert_in_range(b.sink.writes, 3600 / 30, 3600 / 30 * 4); /* by chance each 15 s on average */
    for (uint32_t i = 0; i < b.sink.writes; i++)
        assert_int_equal(b.sink.sizes[i], i < 5 ? 100 : 1);
    assert_int_equal(occurrences(b.kit.log, "warn out:"), 2);
    uint32_t before = b.sink.writes;
    b.sink.self = NULL;
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.sizes[before], 1);      /* the probe, */
    assert_int_equal(b.sink.sizes[before + 1], 99); /* and all goes on where it was */
    assert_in_range(b.sink.writes - before, 11, 12);
    expect_all(&b, 1000);
    assert_non_null(strstr(b.kit.log, "; the circuit is closed"));
    assert_int_equal(pl_counted(&b.out->stage.account.circuit_opened), 1);
    kit_close(&b.kit);
}

/* A sink that takes batches and gives them back later: while the circuit is open it holds one at most. */
static pl_status gives_back_later(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)error;
    const store *b = stub->self;
    if (b && atomic_load(&b->out->stage.account.circuit) != PL_CIRCUIT_CLOSED)
        assert_int_equal(stub->open_count, 0);
    (void)batch;
    return PL_OK;
}

static void give_back(store *b)
{
    pl_error lost = {.struct_size = sizeof lost, .error_class = PL_RETRY, .message = "not acknowledged"};
    while (b->sink.open_count) {
        b->sink.open_count--;
        b->sink.host->settle(b->sink.host, b->sink.open[b->sink.open_count].ticket, 0,
                             b->sink.open[b->sink.open_count].count, &lost);
    }
}

static void test_an_asynchronous_sink_has_one_probe_under_way(void **state)
{
    (void)state;
    static store b;
    b = (store){.source = {.count = 500, .a_call = 100},
                .sink = {.async = true, .mute = true, .trouble = gives_back_later, .self = &b}};
    open_store(&b, NULL);
    for (int i = 0; i < 200; i++) {
        kit_run_for(&b.kit, SECOND);
        if (i > 30)
            assert_true(b.sink.open_count <= 1);
        give_back(&b);
    }
    assert_int_equal(pl_counted(&b.out->stage.account.circuit_opened), 1);
    assert_true(b.sink.writes < 40);
    b.sink.mute = false;
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.out->stage, 500, 500, 0, 0);
    kit_close(&b.kit);
}

static void test_used_up_attempts_can_halt(void **state)
{
    (void)state;
    static store b;
    b = (store){.source.count = 20, .sink = {.trouble = is_down, .self = &b}};
    pl_sink_setup setup = {.retry = {.attempts = 3, .then_halt = true}};
    open_store(&b, &setup);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.writes, 3);
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_error.message, "connection refused");
    assert_int_equal(b.letters.text_count, 0);
    kit_close(&b.kit);
}

/* What is given up went nowhere: that is no sign of life. */
static void test_used_up_attempts_close_nothing(void **state)
{
    (void)state;
    static store b;
    b = (store){.source.count = 40, .sink = {.trouble = is_down, .self = &b}};
    pl_sink_setup setup = {.retry.attempts = 3, .batch_records = 10};
    open_store(&b, &setup);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.writes, 4 * 3); /* the attempts of a batch, not of each record */
    assert_int_equal(b.letters.text_count, 40);
    assert_null(strstr(b.kit.log, "works again"));
    assert_int_equal(pl_counted(&b.out->stage.account.circuit_opened), 1);
    kit_close(&b.kit);
}

static pl_status refuses_the_seventh(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        pl_value value;
        assert_true(stub->host->field(stub->host, batch->records[i], PL_S("n"), &value));
        if (value.as.i == 7)
            return pl_fail(error, PL_REJECT, "value out of range");
    }
    return PL_OK;
}

static void test_a_refused_record_can_halt(void **state)
{
    (void)state;
    static store b;
    b = (store){.source.count = 20, .sink.trouble = refuses_the_seventh};
    pl_sink_setup setup = {.reject_halts = true};
    open_store(&b, &setup);
    assert_true(kit_run(&b.kit, 100000));
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_error.message, "value out of range");
    assert_int_equal(b.letters.text_count, 0);
    expect_all(&b, 7);
    kit_close(&b.kit);
}

/* ---- a poller ------------------------------------------------------------------------ */

typedef struct polls {
    kit kit;
    kit_poll_stub stub;
    kit_sink_stub sink, gaps, letters;
    pl_source_stage *in;
} polls;

static void open_polls(polls *b, const pl_source_setup *setup)
{
    kit_open(&b->kit, 5);
    b->in = kit_add_poller(&b->kit, "prices", &b->stub, setup);
    pl_sink_stage *out = kit_add_sink(&b->kit, "out", &b->sink, NULL);
    pl_sink_stage *gaps = kit_add_sink(&b->kit, "gaps", &b->gaps, NULL);
    kit_connect(&b->kit, &b->in->stage, NULL, &out->stage);
    kit_connect(&b->kit, &b->in->stage, "gaps", &gaps->stage);
    (void)kit_letters(&b->kit, &b->letters);
}

/* Each tick is a sample or a gap of each of the items. */
static void expect_ticks(const polls *b)
{
    int64_t ticks = (b->in->poll.tick_unix_ns - KIT_T0) / (10LL * SECOND) + 1;
    assert_int_equal(b->sink.text_count + b->gaps.text_count, (int64_t)b->stub.count * ticks);
}

static pl_status down(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)stub;
    (void)index;
    return pl_fail(error, PL_RETRY, "connection refused");
}

static void test_one_item_of_many_is_the_probe(void **state)
{
    (void)state;
    static polls b;
    b = (polls){.stub.count = 20};
    open_polls(&b, NULL);
    kit_run_for(&b.kit, 55LL * SECOND);
    uint32_t well = b.stub.calls;
    assert_int_equal(well % 20, 0);
    b.stub.answer = down;
    kit_run_for(&b.kit, 1000LL * SECOND); /* a hundred ticks: 2,000 requests when all is well */
    uint32_t asked = b.stub.calls - well;
    assert_in_range(asked, 100, 5 + 2 * 100); /* five until it opens, then about one a tick */
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    for (size_t i = 0; i < 20; i++) {
        uint32_t times = b.stub.asked[i] - well / 20;
        least = times < least ? times : least;
        most = times > most ? times : most;
    }
    assert_true(most - least <= 1); /* each is the probe in its turn: one bad item can't keep the circuit open */
    assert_int_equal(atomic_load(&b.in->stage.account.circuit), PL_CIRCUIT_OPEN);
    b.stub.answer = NULL;
    well = b.stub.calls;
    kit_run_for(&b.kit, 100LL * SECOND);
    assert_in_range(b.stub.calls - well, 9 * 20, 11 * 20); /* no burst: what was missed stays a gap */
    kit_stop(&b.kit, &b.in->stage);
    expect_ticks(&b);
    assert_int_equal(occurrences(b.kit.log, "the circuit is open"), 1);
    assert_int_equal(occurrences(b.kit.log, "the circuit is closed"), 1);
    assert_int_equal(occurrences(b.kit.log, "samples again"), 0);
    kit_close(&b.kit);
}

static pl_status third_asks_to_wait(kit_poll_stub *stub, size_t index, pl_error *error)
{
    if (index != 2 || stub->asked[2] != 3)
        return PL_OK;
    (void)pl_fail(error, PL_RETRY, "429");
    error->retry_after_ms = 45000;
    return PL_FAILED;
}

static void test_retry_after_of_one_item_holds_for_all(void **state)
{
    (void)state;
    static polls b;
    b = (polls){.stub = {.count = 4, .answer = third_asks_to_wait}};
    open_polls(&b, NULL);
    while (b.stub.asked[2] < 3)
        (void)kit_run(&b.kit, 1);
    uint32_t before = b.stub.calls;
    kit_run_for(&b.kit, 44LL * SECOND);
    assert_int_equal(b.stub.calls, before);
    kit_run_for(&b.kit, 56LL * SECOND);
    kit_stop(&b.kit, &b.in->stage);
    expect_ticks(&b);
    assert_in_range(b.gaps.text_count, 2 + 3 * 4, 2 + 5 * 4);
    kit_close(&b.kit);
}

static pl_status second_is_down(kit_poll_stub *stub, size_t index, pl_error *error)
{
    return index == 1 ? down(stub, index, error) : PL_OK;
}

/* What fails is one item's own: the others are asked at each tick. */
static void test_a_bad_item_opens_nothing(void **state)
{
    (void)state;
    static polls b;
    b = (polls){.stub = {.count = 3, .answer = second_is_down}};
    open_polls(&b, NULL);
    kit_run_for(&b.kit, 1000LL * SECOND);
    kit_stop(&b.kit, &b.in->stage);
    assert_in_range(b.stub.samples[0], 100, 102);
    assert_int_equal(b.stub.samples[2], b.stub.samples[0]);
    assert_int_equal(b.gaps.text_count, b.stub.samples[0]);
    assert_in_range(b.stub.asked[1], 3 * b.gaps.text_count, 12 * b.gaps.text_count); /* 0.1, 0.2, 0.4 .. of 10 s */
    assert_int_equal(occurrences(b.kit.log, "warn prices"), 1);
    assert_int_equal(pl_counted(&b.in->stage.account.circuit_opened), 0);
    kit_close(&b.kit);
}

/* All are asked once at a tick where one works; what failed is tried again one at a time. */
static pl_status half_are_down(kit_poll_stub *stub, size_t index, pl_error *error)
{
    return index >= 20 ? down(stub, index, error) : PL_OK;
}

static void test_many_bad_items_are_no_storm(void **state)
{
    (void)state;
    static polls b;
    b = (polls){.stub = {.count = 40, .answer = half_are_down}};
    open_polls(&b, NULL);
    kit_run_for(&b.kit, 1000LL * SECOND);
    kit_stop(&b.kit, &b.in->stage);
    uint32_t ticks = b.stub.samples[0];
    assert_in_range(b.stub.calls, 40 * ticks, 43 * ticks);
    assert_int_equal(b.sink.text_count, 20 * ticks);
    assert_in_range(b.gaps.text_count, 20 * (ticks - 1), 20 * ticks); /* the last tick is not over */
    kit_close(&b.kit);
}

static void test_used_up_attempts_of_a_poll(void **state)
{
    (void)state;
    static polls b;
    pl_source_setup setup = {.codec = PL_CODEC_JSON,
                             .retry = {.min_ns = 1000000, .max_ns = 2000000, .attempts = 2, .circuit = 1000}};
    b = (polls){.stub = {.count = 1, .answer = down}};
    open_polls(&b, &setup);
    kit_run_for(&b.kit, 95LL * SECOND);
    kit_stop(&b.kit, &b.in->stage);
    assert_int_equal(b.stub.calls, 2 * b.gaps.text_count);
    kit_close(&b.kit);
    setup.retry.then_halt = true;
    b = (polls){.stub = {.count = 1, .answer = down}};
    open_polls(&b, &setup);
    assert_true(kit_run(&b.kit, 10000));
    assert_int_equal(b.stub.calls, 2);
    assert_string_equal(b.kit.flow.halt_error.message, "connection refused");
    kit_close(&b.kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_grows_to_its_maximum),
        cmocka_unit_test(test_retry_after_holds_and_chance_comes_on_top),
        cmocka_unit_test(test_one_line_on_a_change_of_state),
        cmocka_unit_test(test_an_open_circuit_probes_with_one_record),
        cmocka_unit_test(test_an_asynchronous_sink_has_one_probe_under_way),
        cmocka_unit_test(test_used_up_attempts_can_halt),
        cmocka_unit_test(test_used_up_attempts_close_nothing),
        cmocka_unit_test(test_a_refused_record_can_halt),
        cmocka_unit_test(test_one_item_of_many_is_the_probe),
        cmocka_unit_test(test_retry_after_of_one_item_holds_for_all),
        cmocka_unit_test(test_a_bad_item_opens_nothing),
        cmocka_unit_test(test_many_bad_items_are_no_storm),
        cmocka_unit_test(test_used_up_attempts_of_a_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
