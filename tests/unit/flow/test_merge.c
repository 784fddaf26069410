/* Event time: the order in which records of several lanes go out. */
#include "support.h"

#include <flow/merge.h>

enum { SECOND = 1000000000 };
static const int64_t IDLE_NS = 15LL * SECOND;

typedef struct bench {
    pl_lanes lanes;
    pl_lane *lane[4];
    pl_merge merge;
    char order[256]; /* "a1 b2": lane and event time in seconds */
} bench;

static void open_bench(bench *b, size_t lanes, int64_t slack_ns)
{
    static const pl_merge_source sources[] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}};
    static const char *const names[] = {"a", "b", "c", "d"};
    *b = (bench){0};
    assert_true(pl_lanes_init(&b->lanes));
    for (size_t i = 0; i < lanes; i++)
        b->lane[i] = pl_lane_open(&b->lanes, (uint32_t)i, PL_S(names[i]));
    pl_merge_setup setup = {slack_ns, IDLE_NS, 1, sources, lanes};
    assert_true(pl_merge_init(&b->merge, &setup, 1));
}

static void close_bench(bench *b)
{
    pl_merge_release(&b->merge);
    pl_lanes_release(&b->lanes);
}

static void give(bench *b, int lane, int64_t now_ns, const int *times, size_t count, bool closed)
{
    static uint64_t position = 1;
    pl_flow_batch *batch = pl_flow_batch_new(NULL);
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        pl_record *record = pl_flow_batch_add(batch);
        record->lane = lane < 0 ? PL_LANE_NONE : b->lane[lane]->index;
        record->time_unix_ns = (int64_t)times[i] * SECOND;
        record->position = position++;
        newest = record->time_unix_ns > newest ? record->time_unix_ns : newest;
    }
    if (lane >= 0)
        assert_true(pl_flow_batch_mark(batch, (pl_lane_mark){b->lane[lane], newest, closed}));
    pl_packet packet = {batch, (const pl_record *const *)batch->records, batch->count};
    assert_true(pl_merge_take(&b->merge, &packet, 0, now_ns));
    pl_flow_batch_unref(batch);
}
#define GIVE(b, lane, now_ns, ...)                                                                                     \
    give(b, lane, now_ns, (const int[]){__VA_ARGS__}, sizeof(int[]){__VA_ARGS__} / sizeof(int), false)

static const char *drawn(bench *b, int64_t now_ns)
{
    pl_merge_item item;
    size_t length = 0;
    b->order[0] = '\0';
    while (pl_merge_next(&b->merge, pl_merge_bound(&b->merge, now_ns), now_ns, &item)) {
        pl_lane *lane = pl_lane_at(&b->lanes, item.record->lane);
        length += (size_t)snprintf(b->order + length, sizeof b->order - length, "%s%s%d", length ? " " : "",
                                   lane ? lane->name : "-", (int)(item.record->time_unix_ns / SECOND));
        pl_flow_batch_unref(item.batch);
    }
    return b->order;
}

static void test_waits_for_the_slower_lane(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 2, 0);
    GIVE(&b, 0, 1, 1, 2, 5, 9);
    assert_string_equal(drawn(&b, 1), ""); /* b's source has not opened a lane yet */
    GIVE(&b, 1, 2, 3);
    assert_string_equal(drawn(&b, 2), "a1 a2 b3");
    GIVE(&b, 1, 3, 5, 6);
    assert_string_equal(drawn(&b, 3), "a5 b5 b6"); /* a comes first in the file */
    give(&b, 1, 4, NULL, 0, true);
    assert_string_equal(drawn(&b, 4), "a9");
    assert_int_equal(b.merge.buffered, 0);
    close_bench(&b);
}

static void test_ties_wait_for_the_lane_that_comes_first(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 2, 0);
    GIVE(&b, 0, 1, 4);
    GIVE(&b, 1, 1, 5);
    assert_string_equal(drawn(&b, 1), "a4");
    GIVE(&b, 0, 2, 5); /* a second one of time 5 may follow, and would come before b's */
    assert_string_equal(drawn(&b, 2), "a5");
    GIVE(&b, 0, 3, 5);
    assert_string_equal(drawn(&b, 3), "a5");
    GIVE(&b, 0, 4, 6);
    assert_string_equal(drawn(&b, 4), "b5");
    close_bench(&b);
}

static void test_slack_allows_disorder_within_a_lane(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 1, 10LL * SECOND);
    GIVE(&b, 0, 1, 20, 12, 15, 11);
    assert_string_equal(drawn(&b, 1), "");
    GIVE(&b, 0, 2, 24, 14);
    assert_string_equal(drawn(&b, 2), "a11 a12 a14");
    GIVE(&b, 0, 3, 40);
    assert_string_equal(drawn(&b, 3), "a15 a20 a24");
    assert_string_equal(drawn(&b, 2 + IDLE_NS), ""); /* silent for almost as long as idle */
    assert_string_equal(drawn(&b, 3 + IDLE_NS), "a40");
    close_bench(&b);
}

/* A lane that may still bring a record of that very time, though it holds later ones. */
static void test_ties_under_slack(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 2, 10LL * SECOND);
    GIVE(&b, 0, 1, 20);
    GIVE(&b, 1, 1, 10, 25);
    assert_string_equal(drawn(&b, 1), "");
    GIVE(&b, 0, 2, 10, 21);
    assert_string_equal(drawn(&b, 2), "a10 b10");
    close_bench(&b);
}

static void test_idle_lanes_hold_back_for_a_while(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 2, 0);
    GIVE(&b, 0, 1, 1, 8);
    GIVE(&b, 1, 1, 1);
    assert_string_equal(drawn(&b, 1), "a1 b1");
    assert_int_equal(pl_merge_resume(&b.merge, 1), 1 + IDLE_NS);
    assert_string_equal(drawn(&b, IDLE_NS), "");
    assert_string_equal(drawn(&b, 1 + IDLE_NS), "a8");
    GIVE(&b, 1, 2 + IDLE_NS, 3); /* late: it goes out at once, nothing waits for it */
    assert_string_equal(drawn(&b, 2 + IDLE_NS), "b3");
    close_bench(&b);
}

/* While sources are held up, a lane whose records waited for others was not silent: when they are out it gets its time
 * to say more. */
static void test_silence_begins_with_an_empty_buffer(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 2, 0);
    b.merge.held_up = true;
    GIVE(&b, 0, 1, 1);
    GIVE(&b, 1, 1, 2, 3);
    assert_string_equal(drawn(&b, 1), "a1");
    b.merge.held_up = true; /* its source waits for the memory that its records here take */
    int64_t later = 1 + IDLE_NS - 5;
    GIVE(&b, 0, later, 50);
    int64_t much_later = later + 10; /* b has said nothing for longer than idle, but its records waited */
    assert_string_equal(drawn(&b, much_later), "b2 b3");
    GIVE(&b, 1, much_later + 1, 4);
    assert_string_equal(drawn(&b, much_later + 1), "b4");
    close_bench(&b);
}

/* Lanes that fell silent together are given up together: idle does not add up from one to the next. */
static void test_silence_of_several_lanes_is_one(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 4, 0);
    for (int lane = 0; lane < 4; lane++)
        GIVE(&b, lane, 1, 1, 2 + lane);
    assert_string_equal(drawn(&b, 1), "a1 b1 c1 d1 a2");
    assert_string_equal(drawn(&b, IDLE_NS), "");
    assert_string_equal(drawn(&b, 1 + IDLE_NS), "b3 c4 d5");
    close_bench(&b);
}

static void test_a_source_that_never_speaks(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 2, 0);
    GIVE(&b, 0, 1, 1, 2);
    assert_int_equal(pl_merge_bound(&b.merge, 5), INT64_MIN);
    assert_int_equal(pl_merge_resume(&b.merge, 5), 1 + IDLE_NS);
    assert_string_equal(drawn(&b, 1 + IDLE_NS), "a1 a2");
    close_bench(&b);
}

static void test_what_is_born_has_no_lane(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 1, 0);
    GIVE(&b, -1, 1, 4); /* before any lane is known */
    assert_string_equal(drawn(&b, 1), "");
    GIVE(&b, 0, 2, 1, 3);
    assert_string_equal(drawn(&b, 2), "a1 a3");
    GIVE(&b, 0, 3, 4, 5);
    assert_string_equal(drawn(&b, 3), "a4 -4 a5");
    GIVE(&b, -1, 4, 6);
    GIVE(&b, -1, 4, 7);
    b.merge.ended = true;
    assert_string_equal(drawn(&b, 4), "-6 -7");
    close_bench(&b);
}

static void test_extreme_times(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 1, 10LL * SECOND);
    pl_flow_batch *batch = pl_flow_batch_new(NULL);
    static const int64_t times[] = {INT64_MAX, INT64_MIN, 0};
    for (size_t i = 0; i < 3; i++) {
        pl_record *record = pl_flow_batch_add(batch);
        record->lane = b.lane[0]->index;
        record->time_unix_ns = times[i];
    }
    pl_packet packet = {batch, (const pl_record *const *)batch->records, 1};
    assert_true(pl_flow_batch_mark(batch, (pl_lane_mark){b.lane[0], INT64_MIN + 5, false}));
    assert_true(pl_merge_take(&b.merge, &packet, 0, 1));
    assert_int_equal(pl_merge_bound(&b.merge, 1), INT64_MIN); /* less slack: no wrapping round */
    packet = (pl_packet){batch, (const pl_record *const *)batch->records + 1, 2};
    assert_true(pl_merge_take(&b.merge, &packet, 0, 1));
    pl_flow_batch_unref(batch);
    b.merge.ended = true;
    (void)drawn(&b, 2);
    assert_int_equal(b.merge.buffered, 0);
    close_bench(&b);
}

/* Whatever the order in which batches of three lanes arrive, what goes out is the same. */
static void test_arrival_order_changes_nothing(void **state)
{
    (void)state;
    char first[256] = "";
    for (uint64_t seed = 0; seed < 300; seed++) {
        bench b;
        pl_random random;
        pl_random_seed(&random, seed);
        open_bench(&b, 3, 0);
        int next[3] = {0, 0, 0};
        char all[256] = "";
        size_t length = 0;
        for (int left = 3; left;) {
            int lane = (int)pl_random_below(&random, 3);
            if (next[lane] > 8)
                continue;
            if (next[lane] == 8)
                give(&b, lane, 1, NULL, 0, true), left--;
            else
                GIVE(&b, lane, 1, next[lane] * (lane + 1));
            next[lane]++;
            const char *more = drawn(&b, 1);
            length += (size_t)snprintf(all + length, sizeof all - length, "%s%s", length && *more ? " " : "", more);
        }
        if (!seed)
            memcpy(first, all, sizeof first);
        assert_string_equal(all, first);
        close_bench(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_the_slower_lane),
        cmocka_unit_test(test_ties_wait_for_the_lane_that_comes_first),
        cmocka_unit_test(test_slack_allows_disorder_within_a_lane),
        cmocka_unit_test(test_ties_under_slack),
        cmocka_unit_test(test_idle_lanes_hold_back_for_a_while),
        cmocka_unit_test(test_silence_begins_with_an_empty_buffer),
        cmocka_unit_test(test_silence_of_several_lanes_is_one),
        cmocka_unit_test(test_a_source_that_never_speaks),
        cmocka_unit_test(test_what_is_born_has_no_lane),
        cmocka_unit_test(test_extreme_times),
        cmocka_unit_test(test_arrival_order_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
