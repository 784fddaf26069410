/* The script between a source and sinks: what it gives out, puts off, refuses and keeps. */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct bench {
    kit kit;
    kit_source_stub source;
    kit_sink_stub sink, other, letters;
    pl_source_stage *in;
    pl_transform_stage *script;
    pl_sink_stage *out, *second;
} bench;

static void open_bench(bench *b, const char *lua, const pl_transform_setup *setup)
{
    kit_open(&b->kit, 3);
    b->in = kit_add_source(&b->kit, "in", &b->source, NULL);
    b->script = kit_add_transform(&b->kit, "script", lua, setup);
    b->out = kit_add_sink(&b->kit, "out", &b->sink, NULL);
    b->second = kit_add_sink(&b->kit, "second", &b->other, NULL);
    kit_connect(&b->kit, &b->in->stage, NULL, &b->script->stage);
    kit_connect(&b->kit, &b->script->stage, NULL, &b->out->stage);
    kit_connect(&b->kit, &b->script->stage, "second", &b->second->stage);
    (void)kit_letters(&b->kit, &b->letters);
}

static void run_all(bench *b, uint32_t count, const char *lua, const pl_transform_setup *setup)
{
    *b = (bench){.source.count = count};
    open_bench(b, lua, setup);
    assert_true(kit_run(&b->kit, 100000));
    assert_false(atomic_load(&b->kit.flow.halted));
    assert_int_equal(b->source.committed[0], count - 1);
}

static void test_filter_split_and_list(void **state)
{
    (void)state;
    static bench b;
    run_all(&b, 6,
            "function on_record(r)\n"
            "  if r.n == 0 then return end\n"
            "  if r.n == 1 then return r end\n"
            "  if r.n == 2 then emit('second', r) return end\n"
            "  if r.n == 3 then emit('second', r) return r end\n"
            "  if r.n == 4 then return { { a = 1 }, { a = 2 }, { a = 3 } } end\n"
            "  emit('nobody', r)\n"
            "end",
            NULL);
    assert_string_equal(kit_text(&b.sink), "{\"n\":1} {\"n\":3} {\"a\":1} {\"a\":2} {\"a\":3}");
    assert_string_equal(kit_text(&b.other), "{\"n\":2} {\"n\":3}");
    kit_expect(&b.in->stage, 6, 4, 2, 0); /* an input counts once, whatever became of its children */
    kit_expect(&b.script->stage, 6, 4, 2, 0);
    kit_close(&b.kit);
}

static void test_an_error_undoes_what_the_call_gave_out(void **state)
{
    (void)state;
    static bench b;
    run_all(&b, 4,
            "function on_record(r)\n"
            "  emit(r) emit('second', r)\n"
            "  defer(1, 'x', function() return { never = true } end)\n"
            "  if r.n == 1 then error('no ' .. r.n) end\n"
            "  if r.n == 2 then reject('odd', 'and even') end\n"
            "end",
            NULL);
    assert_string_equal(kit_text(&b.sink), "{\"n\":0} {\"never\":true} {\"n\":3} {\"never\":true}");
    assert_string_equal(kit_text(&b.other), "{\"n\":0} {\"n\":3}");
    assert_string_equal(kit_text(&b.letters), "{\"n\":1} {\"n\":2}");
    kit_expect(&b.in->stage, 4, 2, 0, 2);
    kit_expect(&b.script->stage, 4, 2, 0, 2);
    assert_non_null(strstr(b.kit.log, "t.lua:4: no 1"));
    kit_close(&b.kit);
}

static void test_deferred_once_a_key_and_time(void **state)
{
    (void)state;
    static bench b;
    pl_transform_setup ordered = {.ordered = true};
    run_all(&b, 30,
            "state.sum = 0\n"
            "function on_record(r, m)\n"
            "  state.sum = state.sum + r.n\n"
            "  local tens = r.n // 10\n"
            "  defer(1700000000000000000 + (tens * 10 + 9) * time.second, 'ten', function()\n"
            "    return { tens = tens, sum = state.sum }\n"
            "  end)\n"
            "end",
            &ordered);
    assert_string_equal(kit_text(&b.sink), "{\"sum\":45,\"tens\":0} {\"sum\":190,\"tens\":1} {\"sum\":435,\"tens\":2}");
    kit_expect(&b.in->stage, 30, 30, 0, 0);
    assert_int_equal(pl_counted(&b.script->stage.account.read), 30);
    assert_int_equal(b.script->pending_inputs, 0);
    kit_close(&b.kit);
}

static void test_a_deferred_error_is_its_askers_error(void **state)
{
    (void)state;
    static bench b;
    pl_transform_setup ordered = {.ordered = true};
    run_all(&b, 3, "function on_record(r, m) defer(m.time, 'k' .. r.n, function() error('late') end) end", &ordered);
    kit_expect(&b.in->stage, 3, 0, 0, 3);
    kit_expect(&b.script->stage, 3, 0, 0, 3);
    assert_string_equal(kit_text(&b.letters), "{\"n\":0} {\"n\":1} {\"n\":2}");
    kit_close(&b.kit);
}

static void test_defer_again_and_at_the_end_of_time(void **state)
{
    (void)state;
    static bench b;
    run_all(&b, 2,
            "function on_record(r)\n"
            "  defer(math.maxinteger, 'k', function() return { last = true } end)\n"
            "  defer(5, 'j', function() defer(math.maxinteger, 'l', function() return { later = true } end) end)\n"
            "end",
            NULL);
    assert_string_equal(kit_text(&b.sink), "{\"last\":true} {\"later\":true}");
    kit_expect(&b.in->stage, 2, 2, 0, 0);
    kit_close(&b.kit);
}

static void test_when_alone_and_its_error(void **state)
{
    (void)state;
    static bench b;
    pl_transform_setup setup = {.when = "n ~= 2 and n < 4 or n.x", .when_path = "p.yaml", .when_line = 7};
    run_all(&b, 5, NULL, &setup);
    assert_string_equal(kit_text(&b.sink), "{\"n\":0} {\"n\":1} {\"n\":3}");
    assert_string_equal(kit_text(&b.letters), "{\"n\":2} {\"n\":4}");
    kit_expect(&b.in->stage, 5, 3, 0, 2);
    kit_expect(&b.script->stage, 5, 3, 0, 2);
    assert_non_null(strstr(b.kit.log, "p.yaml:7"));
    kit_close(&b.kit);
}

static pl_status slowly(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)error;
    *resume_ns = stub->host->now_ns(stub->host) + 100000000;
    return stub->calls % 2 ? PL_OK : PL_AGAIN;
}

static void test_timers_are_born(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 40, .a_call = 1, .trouble = slowly}};
    open_bench(&b,
               "local n = 0\n"
               "every('1s', function() n = n + 1 return { tick = n } end)\n"
               "every('2s', function() error('broken') end)\n"
               "function on_record(r) end",
               NULL);
    assert_true(kit_run(&b.kit, 100000));
    assert_in_range(b.sink.text_count, 3, 4);
    assert_string_equal(b.sink.text[1], "{\"tick\":2}");
    assert_int_equal(pl_counted(&b.script->stage.account.born), b.sink.text_count);
    kit_expect(&b.in->stage, 40, 0, 40, 0);
    assert_non_null(strstr(b.kit.log, "t.lua:3: broken"));
    kit_close(&b.kit);
}

static const char puts_off[] = "function on_record(r, m)\n"
                               "  local n = r.n\n"
                               "  defer(m.time + 3600000000000, 'k' .. n, function() return { n = n } end)\n"
                               "end";

/* Its lane is taken away a second after the records were given, and comes back to the same process. */
static pl_status goes_and_comes_back(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)error;
    uint64_t settled;
    *resume_ns = stub->host->now_ns(stub->host) + 1000000000;
    if (stub->calls == 3) {
        stub->host->lane_close(stub->host, stub->lane[0], 0, &settled);
        assert_true(settled == UINT64_MAX);
        stub->given = 0;
    }
    if (stub->calls == 4)
        stub->lane[0] = stub->host->lane_open(stub->host, PL_S("lane0"));
    return stub->calls == 2 || stub->calls == 3 ? PL_AGAIN : PL_OK;
}

/* A script that is given everything again asks again; of another nobody knows. */
static void test_what_was_put_off_when_its_lane_is_given_up(void **state)
{
    (void)state;
    for (int rebuilt = 0; rebuilt < 2; rebuilt++) {
        static bench b;
        b = (bench){.source = {.count = 10, .trouble = goes_and_comes_back}};
        open_bench(&b, puts_off, &(pl_transform_setup){.ordered = true, .rebuilt = rebuilt});
        assert_true(kit_run(&b.kit, 100000));
        assert_int_equal(b.sink.text_count, rebuilt ? 10 : 20);
        assert_int_equal(b.source.committed[0], 9);
        kit_expect(&b.in->stage, 10, 10, 0, 0);
        kit_expect(&b.script->stage, 20, rebuilt ? 10 : 20, rebuilt ? 10 : 0, 0);
        kit_close(&b.kit);
    }
}

/* The others go on while the source waits for what its lane has out. */
static void others_go_on(void *driver, int64_t until_ns)
{
    bench *b = driver;
    for (int i = 0; i < 5; i++) {
        (void)kit_step(&b->kit, &b->script->stage);
        (void)kit_step(&b->kit, &b->out->stage);
    }
    b->kit.clock.now += until_ns > b->kit.clock.now ? 1000000000 : 0;
}

static pl_status goes_in_order(kit_source_stub *stub, int64_t *resume_ns, pl_error *error)
{
    (void)error;
    bench *b = stub->self;
    int64_t now_ns = stub->host->now_ns(stub->host);
    *resume_ns = now_ns + 1000000000;
    if (stub->calls < 3)
        return stub->calls == 1 ? PL_OK : PL_AGAIN;
    uint64_t settled;
    b->kit.flow.seeded = false; /* as driven by threads: it waits */
    b->in->stage.rest = others_go_on;
    b->in->stage.driver = b;
    stub->host->lane_close(stub->host, stub->lane[0], now_ns + 30000000000, &settled);
    b->in->stage.rest = NULL;
    b->in->stage.driver = NULL;
    b->kit.flow.seeded = true;
    assert_true(settled == (b->script->setup.rebuilt ? UINT64_MAX : 9));
    return PL_END;
}

/* What was put off runs at once, so that it is delivered before the lane goes; but not where the lane's next owner runs
 * it with all that it depends on. */
static void test_what_was_put_off_when_its_lane_goes_in_order(void **state)
{
    (void)state;
    for (int rebuilt = 0; rebuilt < 2; rebuilt++) {
        static bench b;
        b = (bench){.source = {.count = 10, .trouble = goes_in_order, .self = &b}};
        open_bench(&b, puts_off, &(pl_transform_setup){.ordered = true, .rebuilt = rebuilt});
        assert_true(kit_run(&b.kit, 100000));
        assert_int_equal(b.sink.text_count, rebuilt ? 0 : 10);
        kit_close(&b.kit);
    }
}

/* A timer's record reaches an ordered transform before any lane does. */
static void test_born_before_any_lane(void **state)
{
    (void)state;
    static kit k;
    static kit_source_stub source;
    static kit_sink_stub sink;
    static kit_sink_stub letters;
    source = (kit_source_stub){.count = 3, .a_call = 1, .trouble = slowly};
    sink = letters = (kit_sink_stub){0};
    kit_open(&k, 9);
    pl_source_stage *in = kit_add_source(&k, "in", &source, NULL);
    pl_transform_stage *ticks = kit_add_transform(&k, "ticks",
                                                  "every('1ms', function() return { tick = true } end)\n"
                                                  "function on_record(r) return r end",
                                                  NULL);
    pl_transform_setup ordered = {.ordered = true};
    pl_transform_stage *order = kit_add_transform(&k, "order", "function on_record(r) return r end", &ordered);
    pl_sink_stage *out = kit_add_sink(&k, "out", &sink, NULL);
    kit_connect(&k, &in->stage, NULL, &ticks->stage);
    kit_connect(&k, &ticks->stage, NULL, &order->stage);
    kit_connect(&k, &order->stage, NULL, &out->stage);
    (void)kit_letters(&k, &letters);
    kit_step(&k, &ticks->stage);
    k.clock.now += 2000000;
    kit_step(&k, &ticks->stage);
    kit_step(&k, &order->stage);
    assert_false(atomic_load(&k.flow.halted));
    assert_true(kit_run(&k, 100000));
    assert_true(sink.text_count > 3);
    kit_expect(&in->stage, 3, 3, 0, 0);
    kit_close(&k);
}

/* While the sink below takes nothing, for longer than idle, nobody above was silent. */
static pl_status stuck_for_a_minute(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)batch;
    (void)error;
    int64_t *until = stub->self;
    return stub->host->now_ns(stub->host) < *until ? PL_AGAIN : PL_OK;
}

static void test_a_stall_below_keeps_the_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        static kit k;
        static kit_source_stub a;
        static kit_source_stub c;
        static kit_sink_stub sink;
        static kit_sink_stub letters;
        a = (kit_source_stub){.count = 3000, .a_call = 40, .payload = "{\"a\":%u}"};
        c = (kit_source_stub){.count = 3000, .a_call = 40, .payload = "{\"c\":%u}"};
        sink = (kit_sink_stub){.trouble = stuck_for_a_minute};
        letters = (kit_sink_stub){0};
        kit_open(&k, seed);
        int64_t until = k.clock.now + 60000000000;
        sink.self = &until;
        pl_source_stage *in = kit_add_source(&k, "a", &a, NULL);
        pl_source_stage *in2 = kit_add_source(&k, "c", &c, NULL);
        pl_transform_setup ordered = {.ordered = true};
        pl_transform_stage *order = kit_add_transform(&k, "order", "function on_record(r) return r end", &ordered);
        pl_sink_stage *out = kit_add_sink(&k, "out", &sink, NULL);
        kit_connect(&k, &in->stage, NULL, &order->stage);
        kit_connect(&k, &in2->stage, NULL, &order->stage);
        kit_connect(&k, &order->stage, NULL, &out->stage);
        (void)kit_letters(&k, &letters);
        k.flow.memory.limit = 200 << 10;
        assert_true(kit_run(&k, 400000));
        assert_int_equal(sink.text_count, 6000);
        for (uint32_t i = 0; i < 6000; i++) {
            char text[32];
            (void)snprintf(text, sizeof text, i % 2 ? "{\"c\":%u}" : "{\"a\":%u}", i / 2);
            assert_string_equal(sink.text[i], text);
        }
        kit_close(&k);
    }
}

/* ---- durable state ----------------------------------------------------------------- */

static void durable_run(const char *dir, uint32_t first, uint32_t count, uint64_t steps, bench *b)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/script.checkpoint", dir);
    pl_transform_setup setup = {.durable = true, .checkpoint_path = path};
    *b = (bench){.source = {.count = count, .given = first, .a_call = 3}};
    open_bench(b,
               "state.sum = state.sum or 0\n"
               "function on_record(r) state.sum = state.sum + r.n return { n = r.n, sum = state.sum } end",
               &setup);
    (void)kit_run(&b->kit, steps);
}

/* Dropped in the middle, again and again, and begun anew at the committed position: in the store the sums are right. */
static void test_state_goes_with_the_positions(void **state)
{
    (void)state;
    char dir[] = "/tmp/plumbline-durable-XXXXXX";
    assert_non_null(mkdtemp(dir));
    enum { ALL = 400 };
    static bench b;
    unsigned long sums[ALL] = {0};
    uint32_t first = 0;
    for (int round = 0; round < 200 && first < ALL; round++) {
        uint64_t steps = round < 50 ? 20 + (uint64_t)round * 7 % 90 : 100000;
        durable_run(dir, first, ALL, steps, &b);
        for (uint32_t i = 0; i < b.sink.text_count; i++) {
            unsigned n;
            unsigned long sum;
            assert_int_equal(sscanf(b.sink.text[i], "{\"n\":%u,\"sum\":%lu}", &n, &sum), 2);
            sums[n] = sum; /* the store takes the last that was written */
        }
        if (b.source.committed[0] != UINT64_MAX)
            first = (uint32_t)b.source.committed[0] + 1;
        kit_close(&b.kit);
    }
    assert_int_equal(first, ALL);
    for (unsigned long n = 0, sum = 0; n < ALL; n++)
        assert_int_equal(sums[n], sum += n);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/script.checkpoint", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter_split_and_list),
        cmocka_unit_test(test_an_error_undoes_what_the_call_gave_out),
        cmocka_unit_test(test_deferred_once_a_key_and_time),
        cmocka_unit_test(test_a_deferred_error_is_its_askers_error),
        cmocka_unit_test(test_defer_again_and_at_the_end_of_time),
        cmocka_unit_test(test_when_alone_and_its_error),
        cmocka_unit_test(test_timers_are_born),
        cmocka_unit_test(test_what_was_put_off_when_its_lane_is_given_up),
        cmocka_unit_test(test_what_was_put_off_when_its_lane_goes_in_order),
        cmocka_unit_test(test_born_before_any_lane),
        cmocka_unit_test(test_a_stall_below_keeps_the_order),
        cmocka_unit_test(test_state_goes_with_the_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
