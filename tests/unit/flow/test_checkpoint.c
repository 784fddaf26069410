/* Durable state on disk: what it covers, and what happens when the file is not as it was written. */
#include "support.h"

#include <base/fs.h>
#include <base/mem.h>
#include <flow/checkpoint.h>
#include <stdlib.h>
#include <unistd.h>

enum { SECOND = 1000000000 };

typedef struct bench {
    char dir[64], path[96];
    pl_lanes lanes;
    pl_lane *lane;
    pl_stage source;
    pl_ack_block *block;
    pl_merge merge;
    pl_checkpoint checkpoint;
    pl_str state;
    pl_error error;
} bench;

static pl_status open_file(bench *b)
{
    b->error = (pl_error){.struct_size = sizeof b->error};
    return pl_checkpoint_open(&b->checkpoint, b->path, SECOND, &b->state, &b->error);
}

static void open_bench(bench *b)
{
    *b = (bench){0};
    (void)snprintf(b->dir, sizeof b->dir, "/tmp/plumbline-checkpoint-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->path, sizeof b->path, "%s/t.checkpoint", b->dir);
    assert_true(pl_lanes_init(&b->lanes));
    b->lane = pl_lane_open(&b->lanes, 0, PL_S("prices/0"));
    b->block = pl_ack_block_new(64);
    pl_merge_setup setup = {.idle_ns = SECOND, .input_count = 1};
    assert_true(pl_merge_init(&b->merge, &setup, 1));
    assert_int_equal(open_file(b), PL_OK);
    assert_null(b->state.ptr);
}

static void close_bench(bench *b)
{
    pl_checkpoint_release(&b->checkpoint);
    pl_merge_release(&b->merge);
    pl_lanes_release(&b->lanes);
    pl_free(b->block);
    (void)unlink(b->path);
    (void)rmdir(b->dir);
}

static pl_ack *process(bench *b, uint64_t position)
{
    pl_ack *ack = pl_ack_block_add(b->block, &b->source, position);
    pl_record record = {.lane = b->lane->index, .position = position, .ack = ack};
    assert_true(pl_checkpoint_note(&b->checkpoint, b->lane, &record));
    return ack;
}

/* Into the merge, not yet processed. */
static void buffer(bench *b, pl_lane *lane, uint64_t position)
{
    pl_flow_batch *batch = pl_flow_batch_new(NULL);
    pl_record *record = pl_flow_batch_add(batch);
    record->lane = lane->index;
    record->position = position;
    record->time_unix_ns = 1000 - (int64_t)position;
    assert_true(pl_flow_batch_mark(batch, (pl_lane_mark){lane, 0, false}));
    pl_packet packet = {batch, (const pl_record *const *)batch->records, 1};
    assert_true(pl_merge_take(&b->merge, &packet, 0, 1));
    pl_flow_batch_unref(batch);
}

static void reopen(bench *b)
{
    pl_checkpoint_release(&b->checkpoint);
    assert_int_equal(open_file(b), PL_OK);
}

static void save(bench *b, const char *state)
{
    assert_true(pl_checkpoint_take(&b->checkpoint, PL_S(state), &b->merge, 1));
    assert_int_equal(pl_checkpoint_advance(&b->checkpoint, &b->error), PL_OK);
}

static void test_written_only_once_all_is_settled(void **state)
{
    (void)state;
    bench b;
    pl_outcome outcome;
    open_bench(&b);
    assert_false(pl_checkpoint_due(&b.checkpoint, 5LL * SECOND, true)); /* nothing happened */
    pl_ack *first = process(&b, 0);
    pl_ack *second = process(&b, 1);
    assert_true(pl_checkpoint_due(&b.checkpoint, 5LL * SECOND, false));
    pl_ack_done(first, PL_OUTCOME_DELIVERED);
    assert_false(pl_ack_settled(first, &outcome)); /* its state is not on disk */
    assert_true(pl_checkpoint_take(&b.checkpoint, PL_S("one"), &b.merge, 5LL * SECOND));
    assert_int_equal(pl_checkpoint_advance(&b.checkpoint, &b.error), PL_AGAIN);
    assert_int_not_equal(access(b.path, F_OK), 0);
    pl_ack *later = process(&b, 2); /* after the snapshot: of the next one */
    pl_ack_done(later, PL_OUTCOME_DELIVERED);
    assert_false(pl_checkpoint_due(&b.checkpoint, 9LL * SECOND, true));
    pl_ack_done(second, PL_OUTCOME_FILTERED);
    assert_int_equal(pl_checkpoint_advance(&b.checkpoint, &b.error), PL_OK);
    assert_true(pl_ack_settled(first, &outcome) && pl_ack_settled(second, &outcome));
    assert_false(pl_ack_settled(later, &outcome));
    assert_false(pl_checkpoint_done(&b.checkpoint));
    assert_false(pl_checkpoint_due(&b.checkpoint, 5LL * SECOND + SECOND / 2, false));
    assert_true(pl_checkpoint_due(&b.checkpoint, 6LL * SECOND, false));
    save(&b, "two");
    assert_true(pl_ack_settled(later, &outcome));
    assert_true(pl_checkpoint_done(&b.checkpoint));
    pl_checkpoint_touch(&b.checkpoint); /* a deferred function, when all inputs were on disk */
    assert_false(pl_checkpoint_done(&b.checkpoint));
    assert_true(pl_checkpoint_due(&b.checkpoint, 6LL * SECOND, true));
    save(&b, "2.5");
    assert_true(pl_checkpoint_done(&b.checkpoint));
    reopen(&b);
    assert_memory_equal(b.state.ptr, "2.5", 3);
    assert_int_equal(b.state.len, 3);
    for (uint64_t p = 0; p < 3; p++)
        assert_true(pl_checkpoint_covers(&b.checkpoint, b.lane, p));
    assert_false(pl_checkpoint_covers(&b.checkpoint, b.lane, 3));
    close_bench(&b);
}

static void test_what_waited_in_the_merge_is_not_covered(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    pl_ack_done(process(&b, 5), PL_OUTCOME_DELIVERED);
    buffer(&b, b.lane, 2);
    buffer(&b, b.lane, 5); /* another child of 5 */
    buffer(&b, b.lane, 7);
    save(&b, "s");
    reopen(&b);
    static const bool covered[] = {true, true, false, true, true, false, false, false};
    for (uint64_t p = 0; p < 8; p++)
        assert_int_equal(pl_checkpoint_covers(&b.checkpoint, b.lane, p), covered[p]);
    pl_ack_done(process(&b, 2), PL_OUTCOME_DELIVERED);
    assert_false(pl_checkpoint_covers(&b.checkpoint, b.lane, 2)); /* its other children are not covered either */
    close_bench(&b);
}

static void test_a_lane_that_was_only_opened_is_not_covered(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    pl_lane *other = pl_lane_open(&b.lanes, 1, PL_S("rounds/0"));
    buffer(&b, other, 0); /* offsets of Kafka begin at 0 */
    pl_ack_done(process(&b, 9), PL_OUTCOME_DELIVERED);
    save(&b, "s");
    reopen(&b);
    assert_true(pl_checkpoint_covers(&b.checkpoint, b.lane, 0));
    assert_false(pl_checkpoint_covers(&b.checkpoint, other, 0));
    /* In this run the state grows on: what is covered stays as it was in the file. */
    pl_ack_done(process(&b, 20), PL_OUTCOME_DELIVERED);
    assert_false(pl_checkpoint_covers(&b.checkpoint, b.lane, 15));
    close_bench(&b);
}

static void test_lanes_are_known_by_name(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    pl_ack_done(process(&b, 3), PL_OUTCOME_DELIVERED);
    save(&b, "s");
    reopen(&b);
    pl_lane *again = pl_lane_open(&b.lanes, 0, PL_S("prices/0")); /* after a rebalance: another index */
    assert_true(pl_checkpoint_covers(&b.checkpoint, again, 3));
    pl_ack_done(process(&b, 4), PL_OUTCOME_DELIVERED);
    save(&b, "t");
    reopen(&b);
    assert_true(pl_checkpoint_covers(&b.checkpoint, b.lane, 4));
    close_bench(&b);
}

static void test_groups_hold_their_inputs(void **state)
{
    (void)state;
    bench b;
    pl_outcome outcome;
    open_bench(&b);
    pl_ack *input = pl_ack_block_add(b.block, &b.source, 1);
    pl_ack_groups groups;
    assert_true(pl_ack_groups_init(&groups));
    pl_ack *group = pl_ack_group_new(&groups);
    assert_true(pl_ack_group_add(group, input));
    pl_ack_done(input, PL_OUTCOME_FILTERED);
    pl_record record = {.lane = b.lane->index, .position = 1, .ack = group};
    assert_true(pl_checkpoint_note(&b.checkpoint, b.lane, &record));
    pl_ack_done(group, PL_OUTCOME_DELIVERED); /* gone; its input is held */
    assert_false(pl_ack_settled(input, &outcome));
    save(&b, "s");
    assert_true(pl_ack_settled(input, &outcome));
    assert_int_equal(outcome, PL_OUTCOME_DELIVERED);
    assert_null(groups.first);
    pl_ack_groups_release(&groups);
    close_bench(&b);
}

static void write_file(const bench *b, const char *bytes, size_t len)
{
    FILE *file = fopen(b->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

/* Every byte changed, and every length: refused with a message, or the same as before; never a crash. */
static void test_damage_is_refused(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    pl_ack_done(process(&b, 3), PL_OUTCOME_DELIVERED);
    buffer(&b, b.lane, 1);
    save(&b, "some state");
    pl_buf whole = PL_BUF(4096);
    assert_int_equal(pl_fs_read(b.path, &whole, &b.error), PL_OK);
    for (size_t cut = 0; cut < whole.len; cut++) {
        write_file(&b, whole.data, cut);
        pl_checkpoint_release(&b.checkpoint);
        assert_int_equal(open_file(&b), PL_FAILED);
        assert_int_equal(b.error.error_class, PL_HALT);
        assert_non_null(strstr(b.error.message, "t.checkpoint"));
    }
    for (size_t at = 0; at < whole.len; at++) {
        whole.data[at] = (char)(whole.data[at] ^ 0x41);
        write_file(&b, whole.data, whole.len);
        whole.data[at] = (char)(whole.data[at] ^ 0x41);
        pl_checkpoint_release(&b.checkpoint);
        assert_int_equal(open_file(&b), PL_FAILED);
        assert_non_null(strstr(b.error.message, "move it away"));
    }
    write_file(&b, whole.data, whole.len);
    reopen(&b);
    assert_memory_equal(b.state.ptr, "some state", 10);
    pl_buf_release(&whole);
    close_bench(&b);
}

static void test_a_disk_that_fails(void **state)
{
    (void)state;
    bench b;
    pl_outcome outcome;
    open_bench(&b);
    pl_ack *ack = process(&b, 1);
    pl_ack_done(ack, PL_OUTCOME_DELIVERED);
    pl_free(b.checkpoint.path);
    b.checkpoint.path = pl_strndup("/nowhere/at/all", 15);
    assert_true(pl_checkpoint_take(&b.checkpoint, PL_S("s"), &b.merge, 1));
    assert_int_equal(pl_checkpoint_advance(&b.checkpoint, &b.error), PL_FAILED);
    assert_false(pl_ack_settled(ack, &outcome)); /* never committed without its state */
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_only_once_all_is_settled),
        cmocka_unit_test(test_what_waited_in_the_merge_is_not_covered),
        cmocka_unit_test(test_a_lane_that_was_only_opened_is_not_covered),
        cmocka_unit_test(test_lanes_are_known_by_name),
        cmocka_unit_test(test_groups_hold_their_inputs),
        cmocka_unit_test(test_damage_is_refused),
        cmocka_unit_test(test_a_disk_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
