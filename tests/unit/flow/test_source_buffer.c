/* Sources with a disk buffer on the real filesystem: what goes in comes out, in order, over stuck sinks and restarts.
 */
#include "support.h"

#include <base/mem.h>
#include <base/str.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SECOND = 1000000000 };

static char folder[64];
static bool sync_fails;

static int failing_sync(void *self, int fd)
{
    (void)self;
    errno = EIO;
    return sync_fails ? -1 : fdatasync(fd);
}

static int make_folder(void **state)
{
    (void)state;
    sync_fails = false;
    (void)snprintf(folder, sizeof folder, "%s/unit-source-buffer-XXXXXX", P_tmpdir);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    if (dir)
        (void)closedir(dir);
    return rmdir(folder);
}

static pl_source_setup with_buffer(kit *k, uint64_t max_bytes)
{
    static pl_buffer_io io;
    io = pl_buffer_system_io;
    io.sync = failing_sync;
    pl_error error = {.struct_size = sizeof error};
    pl_buffer_setup setup = {
        .path = folder, .max_bytes = max_bytes ? max_bytes : 64 << 20, .clock = &k->clock.clock, .io = &io};
    pl_buffer *buffer = pl_buffer_open(&setup, &error);
    if (!buffer)
        fail_msg("%s", error.message);
    return (pl_source_setup){.codec = PL_CODEC_JSON, .validate = true, .buffer = buffer};
}

typedef struct bench {
    kit kit;
    kit_source_stub source;
    kit_sink_stub sink, letters;
    pl_source_stage *in;
    pl_sink_stage *out;
} bench;

static void open_bench(bench *b, uint64_t max_bytes)
{
    kit_open(&b->kit, 3);
    pl_source_setup setup = with_buffer(&b->kit, max_bytes);
    b->in = kit_add_source(&b->kit, "in", &b->source, &setup);
    b->out = kit_add_sink(&b->kit, "out", &b->sink, NULL);
    kit_connect(&b->kit, &b->in->stage, NULL, &b->out->stage);
    (void)kit_letters(&b->kit, &b->letters);
}

static void expect_numbers(const kit_sink_stub *sink, uint32_t from, uint32_t to)
{
    assert_int_equal(sink->text_count, to - from);
    for (uint32_t i = 0; i < to - from; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof expected, "{\"n\":%u}", from + i);
        assert_string_equal(sink->text[i], expected);
    }
}

static pl_status down(kit_sink_stub *stub, const pl_batch *batch, pl_error *error)
{
    (void)batch;
    return stub->self ? pl_fail(error, PL_RETRY, "down") : PL_OK;
}

static void all_comes_through_in_order(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 5000, .lanes = 3}};
    open_bench(&b, 0);
    assert_true(kit_run(&b.kit, 100000));
    expect_numbers(&b.sink, 0, 5000);
    kit_expect(&b.in->stage, 5000, 5000, 0, 0);
    assert_int_equal(b.source.committed[0], 4998);
    assert_int_equal(b.source.committed[1], 4999);
    kit_close(&b.kit);
}

static void a_stuck_sink_stops_nobody(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 20000}, .sink = {.trouble = down, .self = &b}};
    open_bench(&b, 0);
    b.kit.flow.memory.limit = 256 << 10;
    for (int i = 0; i < 50000 && b.source.given < 20000; i++)
        (void)kit_run(&b.kit, 1);
    assert_int_equal(b.source.given, 20000);
    assert_in_range(b.source.committed[0], 19900, 19999); /* the plugin is rid of it: it is on disk */
    assert_true(atomic_load(&b.kit.flow.memory.used) < 3 << 20);
    assert_true(pl_counted(&b.in->stage.account.read) < 10000);
    assert_int_equal(b.sink.text_count, 0);
    b.sink.self = NULL;
    assert_true(kit_run(&b.kit, 200000));
    expect_numbers(&b.sink, 0, 20000);
    kit_expect(&b.in->stage, 20000, 20000, 0, 0);
    kit_close(&b.kit);
}

static void what_was_not_delivered_comes_after_the_restart(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 3000}, .sink = {.trouble = down, .self = &b}};
    open_bench(&b, 0);
    for (int i = 0; i < 50000 && b.source.given < 3000; i++)
        (void)kit_run(&b.kit, 1);
    (void)kit_run(&b.kit, 100);
    atomic_store(&b.kit.flow.aborting, true);
    kit_close(&b.kit);
    b = (bench){.source = {.count = 5}}; /* it begins anew: these are new records, although their positions are not */
    open_bench(&b, 0);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.text_count, 3005);
    b.sink.text_count = 3000;
    expect_numbers(&b.sink, 0, 3000);
    assert_string_equal(b.sink.text[3000], "{\"n\":0}");
    kit_close(&b.kit);
    b = (bench){.source = {.count = 0}};
    open_bench(&b, 0);
    assert_true(kit_run(&b.kit, 100000));
    assert_int_equal(b.sink.text_count, 0);
    kit_close(&b.kit);
}

static void a_disk_that_refuses_holds_the_source(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 100}};
    open_bench(&b, 0);
    for (int i = 0; i < 1000 && b.source.given < 50; i++)
        (void)kit_run(&b.kit, 1);
    sync_fails = true;
    uint64_t committed = b.source.committed[0];
    uint32_t given = b.source.given;
    int64_t until = b.kit.clock.now + 60LL * SECOND;
    for (int i = 0; i < 100000 && b.kit.clock.now < until; i++)
        (void)kit_run(&b.kit, 1);
    assert_true(b.source.given <= given + 10); /* one call more, and it waits */
    assert_int_equal(b.source.committed[0], committed);
    const char *told = strstr(b.kit.log, "cannot sync");
    assert_non_null(told);
    assert_null(strstr(told + 1, "cannot sync")); /* once */
    sync_fails = false;
    assert_true(kit_run(&b.kit, 100000));
    assert_non_null(strstr(b.kit.log, "in: works again after"));
    expect_numbers(&b.sink, 0, 100);
    assert_int_equal(b.source.committed[0], 99);
    kit_close(&b.kit);
}

static void a_full_buffer_holds_the_source(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 60000}, .sink = {.trouble = down, .self = &b}};
    open_bench(&b, 1 << 20);
    b.kit.flow.memory.limit = 64 << 10;
    for (int i = 0; i < 20000; i++)
        (void)kit_run(&b.kit, 1);
    assert_in_range(b.source.given, 8000, 20000); /* about 80 bytes each */
    assert_in_range(pl_buffer_bytes(b.in->setup.buffer), 800000, 1 << 20);
    assert_non_null(strstr(b.kit.log, "the disk buffer is full"));
    b.source.count = b.source.given + 5000;
    b.sink.self = NULL;
    assert_true(kit_run(&b.kit, 500000));
    assert_non_null(strstr(b.kit.log, "has room again"));
    expect_numbers(&b.sink, 0, b.source.count);
    kit_close(&b.kit);
}

static void a_bad_payload_goes_to_the_dead_letter(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = 7, .payload = "{%u"}};
    open_bench(&b, 0);
    assert_true(kit_run(&b.kit, 10000));
    assert_int_equal(b.letters.text_count, 7);
    kit_expect(&b.in->stage, 7, 0, 0, 7);
    kit_close(&b.kit);
}

static void a_stop_hands_over_what_there_is(void **state)
{
    (void)state;
    static bench b;
    b = (bench){.source = {.count = UINT32_MAX}};
    open_bench(&b, 0);
    for (int i = 0; i < 1000 && b.source.given < 500; i++)
        (void)kit_run(&b.kit, 1);
    atomic_store(&b.kit.flow.stopping, true);
    pl_stage_note(&b.in->stage);
    assert_true(kit_run(&b.kit, 10000));
    expect_numbers(&b.sink, 0, b.source.given);
    kit_close(&b.kit);
}

/* ---- a poller ------------------------------------------------------------------------------ */

typedef struct polls {
    kit kit;
    kit_poll_stub stub;
    kit_sink_stub sink, gaps, letters;
    pl_source_stage *in;
} polls;

static void open_polls(polls *b)
{
    kit_open(&b->kit, 7);
    b->kit.clock.unix_offset += (int64_t)b->stub.polls * SECOND; /* a later run */
    pl_source_setup setup = with_buffer(&b->kit, 0);
    b->in = kit_add_poller(&b->kit, "prices", &b->stub, &setup);
    pl_sink_stage *out = kit_add_sink(&b->kit, "out", &b->sink, NULL);
    pl_sink_stage *gaps = kit_add_sink(&b->kit, "gaps", &b->gaps, NULL);
    kit_connect(&b->kit, &b->in->stage, NULL, &out->stage);
    kit_connect(&b->kit, &b->in->stage, "gaps", &gaps->stage);
    (void)kit_letters(&b->kit, &b->letters);
}

static pl_status third_is_rejected(kit_poll_stub *stub, size_t index, pl_error *error)
{
    (void)index;
    return stub->polls % 3 == 0 ? pl_fail(error, PL_REJECT, "an HTML page") : PL_OK;
}

static void polls_and_gaps_survive(void **state)
{
    (void)state;
    static polls b;
    b = (polls){
        .stub.answer = third_is_rejected, .sink = {.trouble = down, .self = &b}, .gaps = {.trouble = down, .self = &b}};
    open_polls(&b);
    for (int i = 0; i < 200000 && b.stub.polls < 300; i++)
        (void)kit_run(&b.kit, 1);
    (void)kit_run(&b.kit, 20);
    atomic_store(&b.kit.flow.aborting, true); /* as good as killed */
    assert_true(b.stub.polls >= 300);
    assert_in_range(b.stub.commits, 290, b.stub.polls); /* on disk is settled, for the plugin */
    assert_int_equal(pl_counted(&b.in->stage.account.born), b.stub.polls / 3);
    kit_close(&b.kit);
    b = (polls){.stub = {.polls = b.stub.polls, .answer = third_is_rejected}};
    open_polls(&b);
    while (b.stub.polls < 330)
        (void)kit_run(&b.kit, 1);
    kit_stop(&b.kit, &b.in->stage);
    assert_int_equal(b.sink.text_count + b.gaps.text_count,
                     b.stub.polls); /* ticks = samples + gaps, over the restart */
    assert_int_equal(b.gaps.text_count, b.stub.polls / 3);
    for (uint32_t i = 0; i < b.sink.text_count; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof expected, "{\"item\":0,\"n\":%u}", i / 2 * 3 + i % 2 + 1);
        assert_string_equal(b.sink.text[i], expected);
    }
    kit_close(&b.kit);
}

/* Durable state counts each record once, though it comes from the buffer again, and none is taken for seen. */
static void durable_state_over_a_kill(void **state)
{
    (void)state;
    static bench b;
    char checkpoint[96];
    (void)snprintf(checkpoint, sizeof checkpoint, "%s/t.checkpoint", folder);
    for (int round = 0; round < 3; round++) {
        b = (bench){.source = {.count = 400}};
        kit_open(&b.kit, (uint64_t)round + 5);
        pl_source_setup setup = with_buffer(&b.kit, 0);
        pl_transform_setup durable = {.durable = true, .checkpoint_path = checkpoint};
        b.in = kit_add_source(&b.kit, "in", &b.source, &setup);
        pl_transform_stage *t = kit_add_transform(
            &b.kit, "t", "function on_record(r) state.n = (state.n or 0) + 1 return { seen = state.n } end", &durable);
        b.out = kit_add_sink(&b.kit, "out", &b.sink, NULL);
        kit_connect(&b.kit, &b.in->stage, NULL, &t->stage);
        kit_connect(&b.kit, &t->stage, NULL, &b.out->stage);
        (void)kit_letters(&b.kit, &b.letters);
        if (round < 2) {
            for (int i = 0; i < 100000 && b.sink.text_count < 150; i++)
                (void)kit_run(&b.kit, 1);
            for (int i = 0; i < 100000 && b.source.given < 400; i++)
                (void)kit_run(&b.kit, 1);
            atomic_store(&b.kit.flow.aborting, true);
        } else {
            assert_true(kit_run(&b.kit, 100000));
        }
        kit_close(&b.kit);
    }
    assert_string_equal(b.sink.text[b.sink.text_count - 1], "{\"seen\":1200}");
}

/* No memory from some moment on: the pipeline halts or goes on, and what was synced comes at the next start. */
static void without_memory(void **state)
{
    (void)state;
    static bench b;
    uint64_t committed = 0; /* records of which the source was told that they are safe */
    uint64_t arrived = 0;
    for (long after = 0; after < 150; after++) {
        b = (bench){.source = {.count = 40, .lanes = 2}, .sink = {.trouble = down, .self = after % 2 ? &b : NULL}};
        open_bench(&b, 0);
        pl_mem_fail_after(after);
        (void)kit_run(&b.kit, 60);
        pl_mem_fail_after(-1);
        atomic_store(&b.kit.flow.aborting, true);
        (void)kit_run(&b.kit, 100);
        committed += b.source.committed[0] == UINT64_MAX ? 0 : b.source.committed[0] / 2 + 1;
        committed += b.source.committed[1] == UINT64_MAX ? 0 : b.source.committed[1] / 2 + 1;
        arrived += b.sink.text_count;
        kit_close(&b.kit);
    }
    b = (bench){.source = {.count = 0}};
    open_bench(&b, 0);
    assert_true(kit_run(&b.kit, 100000));
    arrived += b.sink.text_count;
    kit_close(&b.kit);
    assert_true(committed > 0 && arrived >= committed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(all_comes_through_in_order),
        TEST(a_stuck_sink_stops_nobody),
        TEST(what_was_not_delivered_comes_after_the_restart),
        TEST(a_disk_that_refuses_holds_the_source),
        TEST(a_full_buffer_holds_the_source),
        TEST(a_bad_payload_goes_to_the_dead_letter),
        TEST(a_stop_hands_over_what_there_is),
        TEST(polls_and_gaps_survive),
        TEST(durable_state_over_a_kill),
        TEST(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
