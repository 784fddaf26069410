/* Functions put off. */
#include "support.h"

#include <base/mem.h>
#include <flow/defer.h>

static pl_ack_groups groups = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pl_record asker(pl_ack *ack, uint32_t flags)
{
    return (pl_record){.ack = ack, .flags = flags, .key = PL_S("k")};
}

static void add(pl_defers *defers, int64_t at, const char *key, int ref)
{
    pl_record record = asker(NULL, 0);
    assert_non_null(pl_defers_add(defers, at, PL_S(key), ref, &record, NULL));
}

static int take(pl_defers *defers)
{
    pl_deferred next = pl_defers_take(defers);
    int ref = next.ref;
    pl_deferred_release(&next, PL_OUTCOME_FILTERED);
    return ref;
}

static void test_in_the_order_of_time_and_key(void **state)
{
    (void)state;
    pl_defers defers = {.groups = &groups};
    assert_int_equal(pl_defers_next(&defers), INT64_MAX);
    add(&defers, 30, "b", 4);
    add(&defers, 10, "z", 1);
    add(&defers, 30, "a", 3);
    add(&defers, -5, "", 0);
    add(&defers, 20, "b", 2);
    assert_non_null(pl_defers_find(&defers, 30, PL_S("a")));
    assert_null(pl_defers_find(&defers, 30, PL_S("c")));
    assert_null(pl_defers_find(&defers, 31, PL_S("a")));
    assert_int_equal(pl_defers_next(&defers), -5);
    for (int ref = 0; ref < 5; ref++)
        assert_int_equal(take(&defers), ref);
    assert_int_equal(pl_defers_pending(&defers), 0);
    pl_defers_free(&defers);
}

static void test_many_in_and_out(void **state)
{
    (void)state;
    pl_defers defers = {.groups = &groups};
    pl_random random;
    pl_random_seed(&random, 3);
    int64_t last = INT64_MIN;
    int64_t base = 0;
    for (int i = 0; i < 5000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", i);
        add(&defers, base + (int64_t)pl_random_below(&random, 100), key, i);
        if (pl_random_below(&random, 10) > 3)
            continue;
        int64_t at = pl_defers_next(&defers);
        assert_true(at >= last);
        base = last = at;
        (void)take(&defers);
    }
    while (pl_defers_pending(&defers)) {
        assert_true(pl_defers_next(&defers) >= last);
        last = pl_defers_next(&defers);
        (void)take(&defers);
    }
    pl_defers_free(&defers);
}

static void test_all_who_asked_are_settled(void **state)
{
    (void)state;
    pl_stage source = {0};
    pl_defers defers = {.groups = &groups};
    pl_outcome outcome;
    pl_ack_block *block = pl_ack_block_new(2);
    pl_ack *first = pl_ack_block_add(block, &source, 1);
    pl_ack *second = pl_ack_block_add(block, &source, 2);
    pl_record record = asker(first, PL_RECORD_REPLAY);
    pl_deferred *deferred = pl_defers_add(&defers, 10, PL_S("x"), 1, &record, NULL);
    assert_false(deferred->live);
    record = asker(second, 0);
    assert_true(pl_deferred_join(deferred, &record));
    assert_true(deferred->live);
    pl_ack_done(first, PL_OUTCOME_FILTERED);
    pl_ack_done(second, PL_OUTCOME_FILTERED);
    assert_false(pl_ack_settled(first, &outcome));
    pl_deferred taken = pl_defers_take(&defers);
    pl_deferred_release(&taken, PL_OUTCOME_DELIVERED);
    assert_true(pl_ack_settled(first, &outcome));
    assert_true(pl_ack_settled(second, &outcome));
    assert_int_equal(outcome, PL_OUTCOME_DELIVERED);
    pl_defers_free(&defers);
    pl_free(block);
}

static void test_freeing_tells_nobody(void **state)
{
    (void)state;
    pl_stage source = {0};
    pl_defers defers = {.groups = &groups};
    pl_outcome outcome;
    pl_ack_block *block = pl_ack_block_new(1);
    pl_ack *ack = pl_ack_block_add(block, &source, 1);
    pl_flow_batch *batch = pl_flow_batch_new(NULL);
    pl_record record = asker(ack, 0);
    assert_non_null(pl_defers_add(&defers, 10, PL_S("x"), 1, &record, batch));
    pl_defers_free(&defers); /* the flow is over: nobody is told */
    assert_false(pl_ack_settled(ack, &outcome));
    pl_flow_batch_unref(batch);
    pl_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_the_order_of_time_and_key),
        cmocka_unit_test(test_many_in_and_out),
        cmocka_unit_test(test_all_who_asked_are_settled),
        cmocka_unit_test(test_freeing_tells_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
