/* What a source hands over, commits, gives up and waits for. */
#include "support.h"

#include <base/str.h>
#include <record/outline.h>
#include <stdlib.h>

typedef struct bench {
    kit kit;
    kit_source_stub source;
    kit_sink_stub sink, letters;
    pl_source_stage *in;
    pl_sink_stage *out, *dead;
} bench;

static void open_bench(bench *b, const pl_source_setup *setup)
{
    kit_open(&b->kit, 23);
    b->in = kit_add_source(&b->kit, "in", &b->source, setup);
    b->out = kit_add_sink(&b->kit, "out", &b->sink, NULL);
    kit_connect(&b->kit, &b->in->stage, NULL, &b->out->stage);
    b->dead = kit_letters(&b->kit, &b->letters);
}

static void test_commits_each_lane_by_itself(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 1001, .lanes = 3}};
    open_bench(&b, NULL);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.source.committed[0], 999);
    assert_int_equal(b.source.committed[1], 1000);
    assert_int_equal(b.source.committed[2], 998);
    kit_expect(&b.in->stage, 1001, 1001, 0, 0);
    assert_int_equal(pl_counted(&b.in->stage.account.bytes), 10 * 7 + 90 * 8 + 900 * 9 + 10);
    kit_close(&b.kit);
}

static void test_bad_payloads_go_to_the_dead_letter(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 20, .payload = "{\"n\":%u"}};
    open_bench(&b, NULL);
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.in->stage, 20, 0, 0, 20);
    assert_int_equal(b.letters.text_count, 20);
    assert_string_equal(b.letters.text[19], "{\"n\":19"); /* as it came */
    assert_int_equal(b.source.committed[0], 19);
    kit_close(&b.kit);
}

static pl_status a_tombstone_first(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    (void)error;
    if (stub->calls > 1)
        return PL_OK;
    stub->given = 1;
    pl_emission emission = {.struct_size = sizeof emission, .lane = stub->lane[0], .key = PL_S("gone")};
    assert_true(stub->host->emit(stub->host, &emission));
    emission = (pl_emission){.struct_size = sizeof emission, .lane = stub->lane[0], .position = 1, .payload = PL_S("")};
    stub->given = 2;
    assert_true(stub->host->emit(stub->host, &emission));
    return PL_OK;
}

static pl_status look_for_null(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)error;
    uint32_t *tombstones = stub->self;
    for (uint32_t i = 0; i < batch->count; i++)
        *tombstones += stub->host->payload(stub->host, batch->records[i]).ptr == NULL;
    return PL_OK;
}

/* A null payload is valid and arrives as null; an empty one is no JSON. */
static void test_tombstones(void **state)
{
    (void)state;
    static bench b;
    uint32_t tombstones = 0;
    b = (bench){.source = {.count = 4, .trouble = a_tombstone_first},
                .sink = {.trouble = look_for_null, .self = &tombstones}};
    open_bench(&b, NULL);
    assert_true(kit_run(&b.kit, 10000));
    assert_int_equal(tombstones, 1);
    assert_string_equal(kit_text(&b.sink), " {\"n\":2} {\"n\":3}");
    kit_expect(&b.in->stage, 4, 3, 0, 1);
    assert_int_equal(b.source.committed[0], 3);
    kit_close(&b.kit);
}

typedef struct seen {
    uint32_t outlined, right; /* records; those whose field `pair` is "ETH-USD", and `n` a number */
} seen;

static pl_status look_at_fields(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)error;
    seen *seen = stub->self;
    for (uint32_t i = 0; i < batch->count; i++) {
        const pl_record *record = batch->records[i];
        pl_value pair = {.type = PL_NIL}, number = {.type = PL_NIL};
        seen->outlined += pl_outline_of(record->outline, record->payload);
        bool there = stub->host->field(stub->host, record, PL_S("pair"), &pair) &&
                     stub->host->field(stub->host, record, PL_S("n"), &number);
        seen->right += there && pair.type == PL_STR && pl_str_is(pair.as.s, "ETH-USD") && number.type == PL_INT;
    }
    return PL_OK;
}

static seen seen_with(bool validate, const char *lua)
{
    static bench b;
    seen seen = {0};
    b = (bench){
        .source = {.count = 100, .payload = "{\"debug\":\"xxxxxxxxxxxxxxxxxxxxxxxx\",\"pair\":\"ETH-USD\",\"n\":%u}"},
        .sink = {.trouble = look_at_fields, .self = &seen}};
    pl_source_setup setup = {.codec = PL_CODEC_JSON, .validate = validate};
    kit_open(&b.kit, 23);
    b.in = kit_add_source(&b.kit, "in", &b.source, &setup);
    b.out = kit_add_sink(&b.kit, "out", &b.sink, NULL);
    pl_transform_stage *transform = lua ? kit_add_transform(&b.kit, "t", lua, NULL) : NULL;
    kit_connect(&b.kit, &b.in->stage, NULL, transform ? &transform->stage : &b.out->stage);
    if (transform)
        kit_connect(&b.kit, &transform->stage, NULL, &b.out->stage);
    b.dead = kit_letters(&b.kit, &b.letters);
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.out->stage, 100, 100, 0, 0);
    kit_close(&b.kit);
    return seen;
}

/* Where a checked payload's values lie goes with the record, and not with another payload. */
static void test_outlines(void **state)
{
    (void)state;
    static const char touching[] = "function on_record(r) r.debug = nil; return r end";
    static const char passing[] = "function on_record(r) if r.n >= 0 then return r end end";
    static const char building[] = "function on_record(r) return { n = r.n, pair = r.pair } end";
    static const struct {
        const char *lua;
        bool validate;
        uint32_t outlined;
    } cases[] = {{NULL, true, 100},   {NULL, false, 0},    {passing, true, 100},
                 {touching, true, 0}, {building, true, 0}, {touching, false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        seen seen = seen_with(cases[i].validate, cases[i].lua);
        assert_int_equal(seen.outlined, cases[i].outlined);
        assert_int_equal(seen.right, 100);
    }
}

static int64_t newest_of(const char *payload, bool fails)
{
    static bench b;
    pl_path path;
    pl_error error = {.struct_size = sizeof error};
    b = (bench){.source = {.count = 1, .payload = payload}};
    assert_int_equal(pl_path_parse(PL_S("at"), &path, &error), PL_OK);
    pl_source_setup setup = {.codec = PL_CODEC_JSON, .validate = true, .time_paths = &path, .time_count = 1};
    open_bench(&b, &setup);
    assert_true(kit_run(&b.kit, 1000));
    assert_int_equal(b.letters.text_count, fails);
    int64_t newest = atomic_load(&b.in->stage.account.newest_unix_ns);
    kit_close(&b.kit);
    return newest;
}

static void test_event_time(void **state)
{
    (void)state;
    const int64_t second = 1000000000;
    assert_int_equal(newest_of("{\"at\":\"1970-01-01T00:00:02Z\",\"n\":%u}", false), 2 * second);
    assert_int_equal(newest_of("{\"at\":1651363200,\"n\":%u}", false), 1651363200 * second);
    assert_int_equal(newest_of("{\"at\":1651363200123,\"n\":%u}", false), 1651363200 * second + 123000000);
    assert_int_equal(newest_of("{\"at\":1651363200123456,\"n\":%u}", false), 1651363200 * second + 123456000);
    assert_int_equal(newest_of("{\"at\":1651363200123456789,\"n\":%u}", false), 1651363200 * second + 123456789);
    assert_int_equal(newest_of("{\"at\":9223372036854775807,\"n\":%u}", false), INT64_MAX);
    assert_int_equal(newest_of("{\"at\":99999999999,\"n\":%u}", false), 99999999999 * 1000000); /* once overflowed */
    assert_int_equal(newest_of("{\"at\":99999999999999,\"n\":%u}", false), 99999999999999 * 1000);
    assert_int_equal(newest_of("{\"at\":null,\"n\":%u}", false), KIT_T0); /* not there: the emission's own */
    assert_int_equal(newest_of("{\"at\":-1,\"n\":%u}", true), 0);
    assert_int_equal(newest_of("{\"at\":1.5,\"n\":%u}", true), 0);
    assert_int_equal(newest_of("{\"at\":\"yesterday\",\"n\":%u}", true), 0);
    assert_int_equal(newest_of("{\"at\":[1],\"n\":%u}", true), 0);
    assert_int_equal(newest_of("{\"at\":{},\"n\":%u}", true), 0);
    assert_int_equal(newest_of("{\"at\":true,\"n\":%u}", true), 0);
}

/* ---- trouble -------------------------------------------------------------------- */

static pl_status fails_often(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    return stub->calls % 4 ? pl_fail(error, PL_RETRY, "broker down") : PL_OK;
}

static void test_retries_for_ever(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 50, .trouble = fails_often}};
    open_bench(&b, NULL);
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.in->stage, 50, 50, 0, 0);
    assert_int_equal(pl_counted(&b.in->stage.account.errors), 18);
    assert_non_null(strstr(b.kit.log, "warn in: broker down; trying again\n"));
    assert_non_null(strstr(b.kit.log, "info in: works again after 3 failed attempts\n"));
    kit_close(&b.kit);
}

static pl_status gives_up(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    return stub->calls < 3 ? PL_OK : pl_fail(error, PL_HALT, "no such topic");
}

static void test_halts(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 500, .trouble = gives_up}};
    open_bench(&b, NULL);
    assert_true(kit_run(&b.kit, 100000));
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_error.message, "no such topic");
    kit_close(&b.kit);
}

static void test_commit_is_tried_again(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 50, .commit_status = PL_FAILED}};
    open_bench(&b, NULL);
    kit_run_for(&b.kit, 600000000000); /* it does not end before it is committed */
    assert_int_equal(b.source.commits, 0);
    assert_in_range(b.source.commits_tried, 600 / 5, 600); /* up to 5 s apart, by chance */
    assert_non_null(strstr(b.kit.log, "warn in: not now; trying again"));
    assert_null(strstr(strstr(b.kit.log, "not now") + 1, "not now"));
    b.source.commit_status = PL_OK;
    assert_true(kit_run(&b.kit, 1000));
    assert_int_equal(b.source.committed[0], 49);
    assert_non_null(strstr(b.kit.log, "info in: works again"));
    kit_close(&b.kit);
}

static pl_status emits_nowhere(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    (void)error;
    stub->lane[0] = 77;
    return PL_OK;
}

static void test_a_lane_that_is_not_open(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 50, .trouble = emits_nowhere}};
    open_bench(&b, NULL);
    assert_true(kit_run(&b.kit, 1000));
    assert_true(atomic_load(&b.kit.flow.halted));
    assert_string_equal(b.kit.flow.halt_error.message, "the plugin emitted into lane 77, which is not open");
    kit_close(&b.kit);
}

static void test_stopping_drains(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = UINT32_MAX}};
    open_bench(&b, NULL);
    (void)kit_run(&b.kit, 40);
    atomic_store(&b.kit.flow.stopping, true);
    for (size_t i = 0; i < b.kit.count; i++)
        pl_stage_note(b.kit.stages[i]);
    assert_true(kit_run(&b.kit, 10000));
    kit_expect(&b.in->stage, b.source.given, b.source.given, 0, 0);
    assert_int_equal(b.source.committed[0], b.source.given - 1);
    kit_close(&b.kit);
}

/* ---- lanes that are taken away ------------------------------------------------------ */

/* Closes its lane within next, as a rebalance does, and goes on in a new one of the same name. */
static pl_status rebalances(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    (void)error;
    if (stub->calls % 5)
        return PL_OK;
    uint64_t settled;
    stub->host->lane_close(stub->host, stub->lane[0], 0, &settled);
    stub->host->lane_close(stub->host, stub->lane[0], 0, &(uint64_t){0}); /* twice does no harm */
    stub->lane[0] = stub->host->lane_open(stub->host, PL_S("lane0"));
    if (settled != UINT64_MAX)
        assert_true(stub->committed[0] == UINT64_MAX || settled >= stub->committed[0]);
    uint32_t *begun = stub->self; /* where this lane began */
    stub->given = *begun = settled == UINT64_MAX ? *begun : (uint32_t)settled + 1;
    return PL_OK;
}

static void test_a_lane_is_closed_within_next(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        static bench b;
        static bool seen[4000];
        uint32_t begun = 0;
        b = (bench){.source = {.count = 4000, .a_call = 300, .trouble = rebalances}, .sink.async = seed % 2};
        b.source.self = &begun;
        memset(seen, 0, sizeof seen);
        open_bench(&b, NULL);
        pl_random_seed(&b.kit.random, seed);
        while (!kit_run(&b.kit, 50)) {
            for (uint32_t i = 0; i < b.sink.text_count; i++)
                seen[strtoul(b.sink.text[i] + 5, NULL, 10)] = true;
            b.sink.text_count = 0;
            if (b.source.calls > 60)
                b.source.trouble = NULL;
        }
        for (uint32_t i = 0; i < b.sink.text_count; i++)
            seen[strtoul(b.sink.text[i] + 5, NULL, 10)] = true;
        if (!b.sink.async)
            for (uint32_t i = 0; i < 4000; i++)
                assert_true(seen[i]);
        assert_int_equal(b.source.committed[0], 3999);
        assert_int_equal(pl_source_in_flight(b.in), 0);
        pl_account *account = &b.in->stage.account;
        assert_int_equal(pl_counted(&account->read), pl_counted(&account->delivered));
        kit_close(&b.kit);
    }
}

static pl_status closes_after_ten(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    (void)error;
    if (stub->given == 10) {
        uint64_t settled;
        stub->host->lane_close(stub->host, stub->lane[0], 0, &settled);
        assert_true(settled == UINT64_MAX);
        stub->lane[0] = stub->host->lane_open(stub->host, PL_S("lane0"));
    }
    return PL_OK;
}

/* Whoever has the lane next reads them again: nothing that still waits inside is delivered late. */
static void test_what_waits_inside_is_let_go_with_its_lane(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 100, .a_call = 10, .trouble = closes_after_ten}};
    open_bench(&b, NULL);
    for (int i = 0; b.source.calls < 2 && i < 100; i++)
        kit_step(&b.kit, &b.in->stage);
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.in->stage, 90, 90, 0, 0);
    kit_expect(&b.out->stage, 100, 90, 10, 0);
    assert_string_equal(b.sink.text[0], "{\"n\":10}");
    kit_close(&b.kit);
}

/* Its lane is given up exactly when the block of acks is full, while the sink still has the records in hand. */
static pl_status closes_when_full(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)resume_ns;
    (void)error;
    if (stub->given == PL_SOURCE_BATCH_RECORDS) {
        uint64_t settled;
        stub->host->lane_close(stub->host, stub->lane[0], 0, &settled);
        stub->lane[0] = stub->host->lane_open(stub->host, PL_S("lane0"));
    }
    return PL_OK;
}

static void test_late_settles_of_a_full_block(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 3000, .a_call = 256, .trouble = closes_when_full},
                .sink = {.async = true, .mute = true}};
    open_bench(&b, NULL);
    for (int i = 0; i < 5; i++) {
        kit_step(&b.kit, &b.in->stage);
        kit_step(&b.kit, &b.out->stage);
        kit_step(&b.kit, &b.out->stage);
    }
    assert_true(b.sink.open_count > 0 && b.source.given > PL_SOURCE_BATCH_RECORDS);
    b.sink.mute = false; /* only now the old records are settled: their acks must still be there */
    assert_true(kit_run(&b.kit, 100000));
    kit_expect(&b.in->stage, 3000 - PL_SOURCE_BATCH_RECORDS, 3000 - PL_SOURCE_BATCH_RECORDS, 0, 0);
    kit_close(&b.kit);
}

/* ---- memory ------------------------------------------------------------------------- */

static void test_a_blocked_sink_stops_the_source(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 100000, .a_call = 100}, .sink = {.async = true, .mute = true}};
    open_bench(&b, NULL);
    b.kit.flow.memory.limit = 256 << 10;
    assert_false(kit_run(&b.kit, 20000));
    uint32_t given = b.source.given;
    assert_true(given < 20000);
    assert_true(atomic_load(&b.kit.flow.memory.used) < 2 * (256 << 10));
    assert_false(kit_run(&b.kit, 20000));
    assert_int_equal(b.source.given, given); /* nothing moves */
    kit_close(&b.kit);
}

static pl_status idles_until_woken(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)error;
    *resume_ns = INT64_MAX;
    return stub->calls == 2 ? PL_AGAIN : PL_OK;
}

/* A wake that comes while there is no memory counts once there is. */
static void test_a_wake_is_not_forgotten(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 30, .a_call = 10, .trouble = idles_until_woken},
                .sink = {.async = true, .mute = true}};
    open_bench(&b, NULL);
    kit_step(&b.kit, &b.in->stage);
    kit_step(&b.kit, &b.in->stage); /* idles */
    assert_int_equal(b.source.calls, 2);
    size_t limit = b.kit.flow.memory.limit;
    b.kit.flow.memory.limit = 1;
    b.source.host->wake(b.source.host);
    kit_step(&b.kit, &b.in->stage);
    assert_int_equal(b.source.calls, 2);
    b.kit.flow.memory.limit = limit;
    b.sink.mute = false;
    assert_true(kit_run(&b.kit, 10000));
    kit_expect(&b.in->stage, 30, 30, 0, 0);
    kit_close(&b.kit);
}

/* Two sources that a join brings together, one a long way ahead of the other, and memory for a part of it. */
static void test_each_source_has_a_share(void **state)
{
    (void)state;
    static kit k;
    static kit_source_stub early;
    static kit_source_stub late;
    static kit_sink_stub sink;
    static kit_sink_stub letters;
    early = (kit_source_stub){.count = 1500, .a_call = 20, .spacing_ns = 1000, .payload = "{\"e\":%u}"};
    late = (kit_source_stub){.count = 1500, .a_call = 20, .spacing_ns = 1000, .payload = "{\"l\":%u}"};
    sink = (kit_sink_stub){0};
    letters = (kit_sink_stub){0};
    kit_open(&k, 5);
    pl_source_setup share = {.codec = PL_CODEC_JSON, .share_bytes = 32 << 10};
    pl_source_stage *a = kit_add_source(&k, "early", &early, &share);
    pl_source_stage *b = kit_add_source(&k, "late", &late, &share);
    pl_transform_setup ordered = {.ordered = true};
    pl_transform_stage *join = kit_add_transform(&k, "join",
                                                 "function on_record(r, m)\n"
                                                 "  local e, l = r.e, r.l\n"
                                                 "  defer(m.time + 3000, e and 'e' or 'l', "
                                                 "function() return { e = e, l = l } end)\n"
                                                 "end",
                                                 &ordered);
    pl_sink_stage *out = kit_add_sink(&k, "out", &sink, NULL);
    kit_connect(&k, &a->stage, NULL, &join->stage);
    kit_connect(&k, &b->stage, NULL, &join->stage);
    kit_connect(&k, &join->stage, NULL, &out->stage);
    (void)kit_letters(&k, &letters);
    k.flow.memory.limit = 300 << 10;
    while (early.given < early.count && atomic_load(&k.flow.memory.used) < k.flow.memory.limit) {
        kit_step(&k, &a->stage);
        kit_step(&k, &join->stage);
    }
    int64_t begun = k.clock.now;
    assert_true(kit_run(&k, 200000));
    assert_true(k.clock.now - begun < 10000000000); /* nobody had to wait for idle */
    assert_int_equal(sink.text_count, 3000);
    for (uint32_t i = 0; i < 3000; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, i % 2 ? "{\"l\":%u}" : "{\"e\":%u}", i / 2);
        assert_string_equal(sink.text[i], text);
    }
    kit_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commits_each_lane_by_itself),
        cmocka_unit_test(test_bad_payloads_go_to_the_dead_letter),
        cmocka_unit_test(test_tombstones),
        cmocka_unit_test(test_outlines),
        cmocka_unit_test(test_event_time),
        cmocka_unit_test(test_retries_for_ever),
        cmocka_unit_test(test_halts),
        cmocka_unit_test(test_commit_is_tried_again),
        cmocka_unit_test(test_a_lane_that_is_not_open),
        cmocka_unit_test(test_stopping_drains),
        cmocka_unit_test(test_a_lane_is_closed_within_next),
        cmocka_unit_test(test_what_waits_inside_is_let_go_with_its_lane),
        cmocka_unit_test(test_late_settles_of_a_full_block),
        cmocka_unit_test(test_a_blocked_sink_stops_the_source),
        cmocka_unit_test(test_a_wake_is_not_forgotten),
        cmocka_unit_test(test_each_source_has_a_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
