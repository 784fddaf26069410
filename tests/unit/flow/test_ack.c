/* Acks, groups of acks, lanes, and the queue between two stages. */
#include "support.h"

#include <base/mem.h>
#include <flow/ack.h>
#include <flow/lane.h>
#include <flow/queue.h>

static pl_outcome outcome_of(const pl_ack *ack)
{
    pl_outcome outcome;
    assert_true(pl_ack_settled(ack, &outcome));
    return outcome;
}

static void test_strongest_outcome_counts(void **state)
{
    (void)state;
    static const struct {
        pl_outcome met[3], is;
    } rows[] = {{{PL_OUTCOME_FILTERED, PL_OUTCOME_FILTERED, PL_OUTCOME_FILTERED}, PL_OUTCOME_FILTERED},
                {{PL_OUTCOME_FILTERED, PL_OUTCOME_DELIVERED, PL_OUTCOME_FILTERED}, PL_OUTCOME_DELIVERED},
                {{PL_OUTCOME_DEAD, PL_OUTCOME_DELIVERED, PL_OUTCOME_FILTERED}, PL_OUTCOME_DEAD},
                {{PL_OUTCOME_DELIVERED, PL_OUTCOME_DELIVERED, PL_OUTCOME_DEAD}, PL_OUTCOME_DEAD}};
    pl_stage source = {0};
    pl_flow flow = {.sources = &source};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pl_ack_block *block = pl_ack_block_new(1);
        pl_ack *ack = pl_ack_block_add(block, &source, 7);
        pl_ack_add(ack, 2);
        for (int child = 0; child < 3; child++) {
            pl_outcome early;
            assert_false(pl_ack_settled(ack, &early));
            pl_flow_tell_settled(&flow);
            assert_false(pl_stage_take_note(&source));
            pl_ack_done(ack, rows[i].met[child]);
        }
        assert_false(pl_stage_take_note(&source)); /* once the step is over */
        pl_flow_tell_settled(&flow);
        assert_true(pl_stage_take_note(&source));
        pl_flow_tell_settled(&flow);
        assert_false(pl_stage_take_note(&source));
        assert_int_equal(outcome_of(ack), rows[i].is);
        pl_free(block);
    }
}

static void test_hold_keeps_it_unsettled(void **state)
{
    (void)state;
    pl_stage source = {0};
    pl_flow flow = {.sources = &source};
    pl_outcome outcome;
    pl_ack_block *block = pl_ack_block_new(1);
    pl_ack *ack = pl_ack_block_add(block, &source, 0);
    pl_ack_hold(ack);
    pl_ack_hold(ack);
    pl_ack_done(ack, PL_OUTCOME_DELIVERED);
    assert_false(pl_ack_settled(ack, &outcome));
    pl_ack_release(ack);
    pl_flow_tell_settled(&flow);
    (void)pl_stage_take_note(&source);
    assert_false(pl_ack_settled(ack, &outcome));
    pl_ack_release(ack);
    pl_flow_tell_settled(&flow);
    assert_true(pl_stage_take_note(&source));
    assert_int_equal(outcome_of(ack), PL_OUTCOME_DELIVERED);
    pl_free(block);
}

static void test_groups_settle_their_parents(void **state)
{
    (void)state;
    pl_stage source = {0};
    pl_outcome ignored;
    pl_ack_block *block = pl_ack_block_new(3);
    pl_ack *inputs[3];
    for (uint64_t i = 0; i < 3; i++)
        inputs[i] = pl_ack_block_add(block, &source, i);
    pl_ack_groups groups;
    assert_true(pl_ack_groups_init(&groups));
    pl_ack *inner = pl_ack_group_new(&groups);
    pl_ack *left = pl_ack_group_new(&groups);
    pl_ack *outer = pl_ack_group_new(&groups);
    assert_true(pl_ack_group_add(left, inputs[0]));
    assert_true(pl_ack_group_add(inner, inputs[0]) && pl_ack_group_add(inner, inputs[1]) &&
                pl_ack_group_add(inner, inputs[1]) && pl_ack_group_add(inner, NULL));
    assert_true(pl_ack_group_add(outer, inner) && pl_ack_group_add(outer, inputs[2]));
    for (int i = 0; i < 3; i++)
        pl_ack_done(inputs[i], PL_OUTCOME_FILTERED); /* the stage is done with them, the groups are not */
    pl_ack_done(inner, PL_OUTCOME_FILTERED);
    for (int i = 0; i < 3; i++)
        assert_false(pl_ack_settled(inputs[i], &ignored));
    pl_ack_add(outer, 1);
    pl_ack_done(outer, PL_OUTCOME_DELIVERED);
    assert_false(pl_ack_settled(inputs[2], &ignored));
    pl_ack_done(outer, PL_OUTCOME_FILTERED); /* the last one: both groups free themselves */
    for (int i = 1; i < 3; i++)
        assert_int_equal(outcome_of(inputs[i]), PL_OUTCOME_DELIVERED);
    assert_false(pl_ack_settled(inputs[0], &ignored));
    pl_ack_groups_release(&groups); /* frees the one that is left, and tells nobody */
    assert_false(pl_ack_settled(inputs[0], &ignored));
    pl_free(block);
}

static void test_nothing_to_tell(void **state)
{
    (void)state;
    pl_ack_add(NULL, 3);
    pl_ack_done(NULL, PL_OUTCOME_DEAD);
}

static void test_lane_gives_back_in_order(void **state)
{
    (void)state;
    pl_lanes lanes = {0};
    pl_stage source = {0};
    pl_outcome outcome;
    assert_true(pl_lanes_init(&lanes));
    assert_null(pl_lane_at(&lanes, PL_LANE_NONE));
    assert_null(pl_lane_at(&lanes, 1));
    pl_lane *lane = pl_lane_open(&lanes, 3, PL_S("prices/0"));
    assert_ptr_equal(pl_lane_at(&lanes, lane->index), lane);
    assert_string_equal(lane->name, "prices/0");
    assert_null(pl_lane_pop(lane, &outcome));
    enum { ALL = 3000 };
    pl_ack_block *block = pl_ack_block_new(ALL);
    uint64_t in = 0;
    uint64_t out = 0;
    pl_random random;
    pl_random_seed(&random, 5);
    while (out < ALL) { /* the ring wraps and grows while it is in use */
        for (uint64_t n = pl_random_below(&random, 700); n && in < ALL; n--) {
            pl_ack *ack = pl_ack_block_add(block, &source, in++);
            assert_true(pl_lane_push(lane, ack));
            if (ack->position % 3) /* some settle at once, out of order */
                pl_ack_done(ack, PL_OUTCOME_DELIVERED);
        }
        for (uint64_t n = pl_random_below(&random, 700); n && out < in; n--) {
            pl_ack *oldest = &block->acks[out];
            if (out % 3 == 0) {
                assert_null(pl_lane_pop(lane, &outcome));
                pl_ack_done(oldest, PL_OUTCOME_DEAD);
            }
            assert_ptr_equal(pl_lane_pop(lane, &outcome), oldest);
            assert_int_equal(outcome, out % 3 ? PL_OUTCOME_DELIVERED : PL_OUTCOME_DEAD);
            out++;
        }
    }
    assert_int_equal(lane->count, 0);
    pl_lanes_release(&lanes);
    pl_free(block);
}

static void test_queue_is_bounded_and_wakes(void **state)
{
    (void)state;
    pl_stage producer = {0};
    pl_stage consumer = {0};
    pl_queue queue = {.producer = &producer, .consumer = &consumer};
    pl_packet packet = {0};
    for (uint32_t i = 0; i < PL_QUEUE_PACKETS; i++) {
        packet.count = i;
        assert_true(pl_queue_push(&queue, &packet));
        assert_true(pl_stage_take_note(&consumer));
    }
    assert_false(pl_queue_push(&queue, &packet));
    pl_queue_close(&queue);
    assert_true(pl_stage_take_note(&consumer));
    assert_false(pl_queue_ended(&queue));
    for (uint32_t i = 0; i < PL_QUEUE_PACKETS; i++) {
        assert_false(pl_queue_empty(&queue));
        assert_true(pl_queue_pop(&queue, &packet));
        assert_int_equal(packet.count, i);
        /* It was told once that there is room: for half of the ring. */
        assert_int_equal(pl_stage_take_note(&producer), i + 1 == PL_QUEUE_PACKETS / 2);
    }
    assert_false(pl_queue_pop(&queue, &packet));
    assert_true(pl_queue_ended(&queue));
}

static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;

static void wake(void *driver)
{
    pthread_mutex_lock(&told_lock);
    *(int *)driver = 1;
    pthread_cond_broadcast(&told);
    pthread_mutex_unlock(&told_lock);
}

static void wait_until_told(pl_stage *stage)
{
    pthread_mutex_lock(&told_lock);
    while (!*(int *)stage->driver)
        pthread_cond_wait(&told, &told_lock);
    *(int *)stage->driver = 0;
    pthread_mutex_unlock(&told_lock);
}

enum { CROSSED = 200000 };

static void *produce(void *self)
{
    pl_queue *queue = self;
    for (uint32_t i = 0; i < CROSSED;) {
        pl_packet packet = {.count = i};
        (void)pl_stage_take_note(queue->producer);
        if (pl_queue_push(queue, &packet))
            i++;
        else if (!atomic_load(&queue->producer->noted))
            wait_until_told(queue->producer);
    }
    pl_queue_close(queue);
    return NULL;
}

/* Both sides sleep as the threads' driver does: a lost wake-up would hang the test. */
static void test_queue_between_threads(void **state)
{
    (void)state;
    int signals[2] = {0, 0};
    pl_stage producer = {.wake = wake, .driver = &signals[0]};
    pl_stage consumer = {.wake = wake, .driver = &signals[1]};
    pl_queue queue = {.producer = &producer, .consumer = &consumer};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, produce, &queue), 0);
    uint32_t got = 0;
    for (;;) {
        pl_packet packet;
        (void)pl_stage_take_note(&consumer);
        bool ended = pl_queue_ended(&queue);
        if (pl_queue_pop(&queue, &packet))
            assert_int_equal(packet.count, got++);
        else if (ended)
            break;
        else if (!atomic_load(&consumer.noted))
            wait_until_told(&consumer);
    }
    pthread_join(thread, NULL);
    assert_int_equal(got, CROSSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strongest_outcome_counts),    cmocka_unit_test(test_hold_keeps_it_unsettled),
        cmocka_unit_test(test_groups_settle_their_parents), cmocka_unit_test(test_nothing_to_tell),
        cmocka_unit_test(test_lane_gives_back_in_order),    cmocka_unit_test(test_queue_is_bounded_and_wakes),
        cmocka_unit_test(test_queue_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
