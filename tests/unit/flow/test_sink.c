/* Gathering, writing, halving, retrying and settling, with one source in front. */
#include "support.h"

#include <time.h>

typedef struct bench {
    kit kit;
    kit_source_stub source;
    kit_sink_stub sink, letters;
    pl_source_stage *in;
    pl_sink_stage *out, *dead;
    int64_t given_ns; /* by the kit's clock: when the source had not yet given all */
} bench;

static void open_bench(bench *b, uint32_t records, const pl_sink_setup *setup)
{
    kit_open(&b->kit, 11);
    b->source.count = records;
    b->in = kit_add_source(&b->kit, "in", &b->source, NULL);
    b->out = kit_add_sink(&b->kit, "out", &b->sink, setup);
    kit_connect(&b->kit, &b->in->stage, NULL, &b->out->stage);
    b->dead = kit_letters(&b->kit, &b->letters);
}

static uint32_t number(const pl_batch *batch, uint32_t i, const pl_host *host)
{
    pl_value value;
    assert_true(host->field(host, batch->records[i], PL_S("n"), &value));
    return (uint32_t)value.as.i;
}

static void expect_in_order(const kit_sink_stub *sink, uint32_t count, uint32_t skip_modulo)
{
    uint32_t at = 0;
    for (uint32_t n = 0; n < count; n++) {
        char text[32];
        if (skip_modulo && n % skip_modulo == skip_modulo - 1)
            continue;
        (void)snprintf(text, sizeof text, "{\"n\":%u}", n);
        assert_string_equal(sink->text[at++], text);
    }
    assert_int_equal(sink->text_count, at);
}

static void test_everything_in_order(void **state)
{
    (void)state;
    static bench b;
    b = (bench){0};
    open_bench(&b, 500, NULL);
    assert_true(kit_run(&b.kit, 100000));
    expect_in_order(&b.sink, 500, 0);
    kit_expect(&b.in->stage, 500, 500, 0, 0);
    kit_expect(&b.out->stage, 500, 500, 0, 0);
    assert_int_equal(b.source.committed[0], 499);
    kit_close(&b.kit);
    assert_true(b.source.destroyed && b.sink.destroyed && b.letters.destroyed);
}

/* Refuses a batch with a bad record as a whole, as a database does. */
static pl_status refuse_bad(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    for (uint32_t i = 0; i < batch->count; i++)
        if (number(batch, i, stub->host) % 50 == 49)
            return pl_fail(error, PL_REJECT, "value out of range");
    return PL_OK;
}

static void test_halves_down_to_the_bad_record(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = refuse_bad, .source.a_call = 100};
    open_bench(&b, 200, NULL);
    assert_true(kit_run(&b.kit, 100000));
    expect_in_order(&b.sink, 200, 50);
    assert_string_equal(kit_text(&b.letters), "{\"n\":49} {\"n\":99} {\"n\":149} {\"n\":199}");
    kit_expect(&b.out->stage, 200, 196, 0, 4);
    kit_expect(&b.in->stage, 200, 196, 0, 4);
    kit_expect(&b.dead->stage, 4, 4, 0, 0);
    assert_int_equal(b.source.committed[0], 199);
    assert_true(b.sink.writes < 100); /* bisected, not one by one */
    kit_close(&b.kit);
}

/* Settles the good ones itself, then refuses: the rest is tried again, and only the bad one is refused. */
static pl_status settle_some_then_refuse(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    for (uint32_t i = 0; i < batch->count; i++)
        if (number(batch, i, stub->host) % 50 == 49) {
            if (i > 0)
                kit_take(stub, batch, 0, i);
            return pl_fail(error, PL_REJECT, "value out of range");
        }
    return PL_OK;
}

static void test_settles_some_then_refuses(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = settle_some_then_refuse, .source.a_call = 100};
    pl_sink_setup setup = {.retry.attempts = 1}; /* which is about failures that may pass, not about bad records */
    open_bench(&b, 200, &setup);
    assert_true(kit_run(&b.kit, 100000));
    expect_in_order(&b.sink, 200, 50);
    kit_expect(&b.out->stage, 200, 196, 0, 4);
    kit_expect(&b.in->stage, 200, 196, 0, 4);
    kit_close(&b.kit);
}

static pl_status fail_thrice_in_five(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)batch;
    return stub->writes % 5 >= 2 ? pl_fail(error, PL_RETRY, "connection lost") : PL_OK;
}

static void test_retries_in_order(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = fail_thrice_in_five};
    pl_sink_setup setup = {.batch_records = 7};
    open_bench(&b, 300, &setup);
    int64_t begun = b.kit.clock.now;
    assert_true(kit_run(&b.kit, 100000));
    expect_in_order(&b.sink, 300, 0);
    kit_expect(&b.out->stage, 300, 300, 0, 0);
    assert_true(b.kit.clock.now - begun > 100000000); /* it paused */
    assert_true(pl_counted(&b.out->stage.account.retries) > 20);
    kit_close(&b.kit);
}

static pl_status always_fail(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)stub;
    (void)batch;
    return pl_fail(error, PL_RETRY, "disk full");
}

/* Each record gets all its attempts, not only the first batch. */
static void test_attempts_are_used_up(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = always_fail};
    pl_sink_setup setup = {.batch_records = 5, .retry.attempts = 3};
    open_bench(&b, 20, &setup);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.writes, 4 * 3);
    kit_expect(&b.out->stage, 20, 0, 0, 20);
    kit_expect(&b.in->stage, 20, 0, 0, 20);
    expect_in_order(&b.letters, 20, 0);
    kit_close(&b.kit);
}

/* The first four batches are taken and given back, in any order; then all goes well. */
static pl_status give_back(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)error;
    static const uint32_t order[] = {2, 0, 3, 1};
    pl_error lost = {.struct_size = sizeof lost, .error_class = PL_RETRY, .message = "not acknowledged"};
    if (stub->writes > 4)
        stub->async = false;
    if (stub->writes != 4)
        return PL_OK;
    stub->open[3].ticket = batch->ticket;
    stub->open[3].count = batch->count;
    for (int i = 0; i < 4; i++) {
        stub->host->settle(stub->host, stub->open[order[i]].ticket, 0, 2, &lost);
        stub->host->settle(stub->host, stub->open[order[i]].ticket, 2, stub->open[order[i]].count - 2, &lost);
    }
    stub->open_count = 0;
    return PL_OK;
}

static void test_given_back_batches_keep_their_order(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink = {.async = true, .mute = true, .trouble = give_back}, .source.a_call = 100};
    pl_sink_setup setup = {.batch_records = 5};
    open_bench(&b, 100, &setup);
    /* All is handed over before the sink's turn, so that it takes several batches in a row. */
    while (b.source.given < 100)
        kit_step(&b.kit, &b.in->stage);
    (void)kit_run(&b.kit, 2000);
    b.sink.mute = false;
    assert_true(kit_run(&b.kit, 100000));
    expect_in_order(&b.sink, 100, 0);
    kit_expect(&b.out->stage, 100, 100, 0, 0);
    kit_close(&b.kit);
}

static pl_status busy_then_wakes(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)batch;
    (void)error;
    if (stub->writes % 3)
        return PL_AGAIN;
    return PL_OK;
}

static void test_again_takes_none(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = busy_then_wakes};
    pl_sink_setup setup = {.batch_records = 4};
    open_bench(&b, 40, &setup);
    assert_true(kit_run(&b.kit, 100000));
    expect_in_order(&b.sink, 40, 0);
    assert_int_equal(pl_counted(&b.out->stage.account.retries), 0);
    kit_close(&b.kit);
}

static pl_status halt_at_once(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    kit_take(stub, batch, 0, batch->count);
    return pl_fail(error, PL_HALT, "password authentication failed");
}

static void test_halt_though_all_is_settled(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = halt_at_once};
    open_bench(&b, 40, NULL);
    assert_true(kit_run(&b.kit, 100000));
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_component, "out");
    assert_string_equal(b.kit.flow.halt_error.message, "password authentication failed");
    kit_close(&b.kit);
}

static void test_the_dead_letter_sink_must_not_refuse(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = refuse_bad, .letters.trouble = refuse_bad};
    open_bench(&b, 60, NULL);
    assert_true(kit_run(&b.kit, 100000));
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_component, "dead_letter");
    kit_close(&b.kit);
}

static void test_when_and_its_errors(void **state)
{
    (void)state;
    static bench b;
    b = (bench){0};
    pl_sink_setup setup = {.when = "n % 2 == 0 and (n ~= 4 or n.x)", .when_path = "p.yaml", .when_line = 3};
    open_bench(&b, 8, &setup);
    assert_true(kit_run(&b.kit, 100000));
    assert_string_equal(kit_text(&b.sink), "{\"n\":0} {\"n\":2} {\"n\":6}");
    assert_string_equal(kit_text(&b.letters), "{\"n\":4}");
    kit_expect(&b.out->stage, 8, 3, 4, 1);
    kit_expect(&b.in->stage, 8, 3, 4, 1);
    kit_close(&b.kit);
}

static void test_a_batch_waits_and_is_full(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source.a_call = 3};
    pl_sink_setup setup = {.batch_records = 10, .batch_wait_ns = 3600000000000};
    open_bench(&b, 25, &setup);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.writes, 3);
    assert_int_equal(b.sink.sizes[0], 10);
    assert_int_equal(b.sink.sizes[2], 5); /* the end does not wait an hour */
    kit_close(&b.kit);
}

static void note_when_all_is_given(kit *k)
{
    bench *b = k->self;
    if (b->source.given < b->source.count)
        b->given_ns = k->clock.now;
}

static void run_late_sink(bench *b, size_t memory_bytes)
{
    *b = (bench){.source.a_call = 20, .sink = {.async = true, .late = true}};
    open_bench(b, 5000, NULL);
    b->kit.flow.seeded = false; /* the plugin is given time */
    b->kit.flow.memory.limit = memory_bytes;
    b->kit.after_step = note_when_all_is_given;
    b->kit.self = b;
    b->given_ns = b->kit.clock.now;
    int64_t begun_ns = b->kit.clock.now;
    assert_true(kit_run(&b->kit, 100000));
    assert_int_equal(b->given_ns, begun_ns); /* no tick had to pass for memory to come back */
    kit_expect(&b->in->stage, 5000, 5000, 0, 0);
    kit_close(&b->kit);
}

/* Memory is spent on what the sink has taken and not settled: it is asked to settle that, and not oftener than is worth
 * it. */
static void test_flushes_when_memory_is_wanted(void **state)
{
    (void)state;
    static bench b;
    run_late_sink(&b, 256 << 10);
    assert_in_range(b.sink.long_flushes, 2, 10); /* of some hundred batches */
    run_late_sink(&b, 64 << 20);
    assert_int_equal(b.sink.long_flushes, 1); /* at the end */
}

/* A plugin whose own thread settles, in pieces and out of order. */
typedef struct settler {
    pthread_t thread;
    pthread_mutex_t lock;
    struct {
        uint64_t ticket;
        uint32_t count;
    } todo[256];
    uint32_t count;
    bool stop;
    const pl_host *host;
} settler;

static pl_status hand_to_thread(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)error;
    settler *s = stub->self;
    pthread_mutex_lock(&s->lock);
    s->host = stub->host;
    s->todo[s->count].ticket = batch->ticket;
    s->todo[s->count++].count = batch->count;
    pthread_mutex_unlock(&s->lock);
    return PL_OK;
}

static void *settle_from_outside(void *self)
{
    settler *s = self;
    for (bool stop = false; !stop;) {
        pthread_mutex_lock(&s->lock);
        uint32_t count = s->count;
        uint64_t ticket = count ? s->todo[count - 1].ticket : 0;
        uint32_t records = count ? s->todo[count - 1].count : 0;
        s->count = count ? count - 1 : 0;
        stop = s->stop;
        const pl_host *host = s->host;
        pthread_mutex_unlock(&s->lock);
        for (uint32_t i = records; i > 0; i--)
            host->settle(host, ticket, i - 1, 1, NULL);
        if (host)
            host->wake(host);
        nanosleep(&(struct timespec){0, 10000}, NULL);
    }
    return NULL;
}

static void test_settles_from_another_thread(void **state)
{
    (void)state;
    static bench b;
    settler s = {.lock = PTHREAD_MUTEX_INITIALIZER};
    b = (bench){.sink = {.async = true, .mute = true, .trouble = hand_to_thread, .self = &s}};
    pl_sink_setup setup = {.batch_records = 16};
    open_bench(&b, 1000, &setup);
    assert_int_equal(pthread_create(&s.thread, NULL, settle_from_outside, &s), 0);
    bool ended = false;
    for (int i = 0; i < 20000 && !ended; i++) { /* the virtual clock races ahead of the thread */
        b.sink.open_count = 0;
        ended = kit_run(&b.kit, 500);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    pthread_mutex_lock(&s.lock);
    s.stop = true;
    pthread_mutex_unlock(&s.lock);
    pthread_join(s.thread, NULL);
    assert_true(ended);
    kit_expect(&b.out->stage, 1000, 1000, 0, 0);
    kit_expect(&b.in->stage, 1000, 1000, 0, 0);
    assert_int_equal(b.source.committed[0], 999);
    kit_close(&b.kit);
}

/* Settles what it was not given, twice, and beyond the end: nothing is counted twice. */
static pl_status settle_nonsense(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)error;
    stub->host->settle(stub->host, 987654, 0, 5, NULL);
    stub->host->settle(stub->host, batch->ticket, batch->count, 5, NULL);
    stub->host->settle(stub->host, batch->ticket, UINT32_MAX, UINT32_MAX, NULL);
    stub->host->settle(stub->host, batch->ticket, 0, 1, NULL);
    return PL_OK;
}

static void test_nonsense_is_ignored(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.sink.trouble = settle_nonsense};
    open_bench(&b, 50, NULL);
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.out->stage, 50, 50, 0, 0);
    kit_expect(&b.in->stage, 50, 50, 0, 0);
    kit_close(&b.kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_in_order),
        cmocka_unit_test(test_halves_down_to_the_bad_record),
        cmocka_unit_test(test_settles_some_then_refuses),
        cmocka_unit_test(test_retries_in_order),
        cmocka_unit_test(test_attempts_are_used_up),
        cmocka_unit_test(test_given_back_batches_keep_their_order),
        cmocka_unit_test(test_again_takes_none),
        cmocka_unit_test(test_halt_though_all_is_settled),
        cmocka_unit_test(test_the_dead_letter_sink_must_not_refuse),
        cmocka_unit_test(test_when_and_its_errors),
        cmocka_unit_test(test_a_batch_waits_and_is_full),
        cmocka_unit_test(test_flushes_when_memory_is_wanted),
        cmocka_unit_test(test_settles_from_another_thread),
        cmocka_unit_test(test_nonsense_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
