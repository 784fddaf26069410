/* Each allocation of a running flow fails in turn, and all after it: it halts with one message, or comes through;
 * nothing crashes, nothing is counted twice. */
#include "support.h"

#include <base/mem.h>

/* A flow that halts leaves to the end of the process what its records still held. */
const char *__lsan_default_options(void);
__attribute__((visibility("default"))) const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

static pl_status refuse_some(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    pl_value value;
    for (uint32_t i = 0; i < batch->count; i++)
        if (stub->host->field(stub->host, batch->records[i], PL_S("n"), &value) && value.as.i % 10 == 3)
            return pl_fail(error, PL_REJECT, "bad");
    return stub->writes % 4 == 1 ? pl_fail(error, PL_RETRY, "later") : PL_OK;
}

static const char script[] =
    "function on_record(r, m)\n"
    "  if r.n % 4 == 0 then emit('second', r) end\n"
    "  if r.n % 7 == 0 then error('seven') end\n"
    "  local n = r.n\n"
    "  if n % 5 == 0 then defer(m.time + 3, 'k' .. n // 10, function() return { n = n } end) end\n"
    "  return r\n"
    "end\n"
    "every('1ms', function() return { tick = true } end)\n";

static bool run_with(long after)
{
    static kit k;
    static kit_source_stub source;
    static kit_sink_stub sink;
    static kit_sink_stub second;
    static kit_sink_stub letters;
    source = (kit_source_stub){.count = 60, .lanes = 2, .payload = "{\"n\":%u}"};
    sink = (kit_sink_stub){.trouble = refuse_some};
    second = (kit_sink_stub){.async = true};
    letters = (kit_sink_stub){0};
    kit_open(&k, 1);
    pl_source_stage *in = kit_add_source(&k, "in", &source, NULL);
    pl_transform_setup ordered = {.ordered = true};
    pl_transform_stage *middle = kit_add_transform(&k, "script", script, &ordered);
    pl_sink_setup small = {.batch_records = 8};
    pl_sink_stage *out = kit_add_sink(&k, "out", &sink, &small);
    pl_sink_stage *other = kit_add_sink(&k, "second", &second, &small);
    kit_connect(&k, &in->stage, NULL, &middle->stage);
    kit_connect(&k, &middle->stage, NULL, &out->stage);
    kit_connect(&k, &middle->stage, "second", &other->stage);
    (void)kit_letters(&k, &letters);
    pl_mem_fail_after(after);
    bool ended = kit_run(&k, 20000);
    pl_mem_fail_after(-1);
    bool halted = atomic_load(&k.flow.halted);
    assert_true(ended || halted);
    for (size_t i = 0; i < k.count; i++) {
        const pl_account *account = &k.stages[i]->account;
        assert_true(pl_counted(&account->read) >= pl_counted(&account->delivered) + pl_counted(&account->filtered) +
                                                      pl_counted(&account->dead_lettered));
    }
    if (!halted) /* a record that found no memory may be a dead letter, but none is lost */
        assert_int_equal(pl_counted(&in->stage.account.read), 60);
    kit_close(&k);
    return !halted;
}

static void test_each_allocation(void **state)
{
    (void)state;
    int came_through = 0;
    for (long after = 0; came_through < 3; after++) {
        assert_true(after < 5000);
        came_through = run_with(after) ? came_through + 1 : 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
