/* Event time over many lanes: what the merge finds by its heap and remembers of its bound is what a look at every lane
 * would find. */
#include "support.h"

#include <flow/merge.h>

enum { LANES = 40, INPUTS = 2, SEEDS = 120, ACTIONS = 300, TIMES = 60 };
static const int64_t IDLE_NS = 50;

/* ---- the same by looking at every lane --------------------------------------------- */

static bool silent(const pl_merge *merge, const pl_merge_lane *lane, int64_t now_ns)
{
    return now_ns - lane->active_ns >= merge->setup.idle_ns;
}

static int64_t bound_of(const pl_merge *merge, const pl_merge_lane *lane, int64_t now_ns)
{
    if (lane->closed || (lane->count == 0 && silent(merge, lane, now_ns)))
        return INT64_MAX;
    if (lane->newest_unix_ns == INT64_MIN || silent(merge, lane, now_ns))
        return lane->newest_unix_ns;
    return lane->newest_unix_ns - merge->setup.slack_ns;
}

static int64_t bound_of_all(const pl_merge *merge, int64_t now_ns)
{
    int64_t lowest = INT64_MAX;
    for (size_t i = 0; !merge->ended && i < merge->lane_count; i++) {
        int64_t bound = bound_of(merge, &merge->lanes[i], now_ns);
        lowest = bound < lowest ? bound : lowest;
    }
    return lowest;
}

static int lane_order(const pl_merge_lane *a, const pl_merge_lane *b)
{
    if (a->lane->source_rank != b->lane->source_rank)
        return a->lane->source_rank < b->lane->source_rank ? -1 : 1;
    return strcmp(a->lane->name, b->lane->name);
}

static const pl_merge_lane *first_of_all(const pl_merge *merge)
{
    const pl_merge_lane *first = NULL;
    for (size_t i = 0; i < merge->lane_count; i++) {
        const pl_merge_lane *lane = &merge->lanes[i];
        if (lane->count == 0)
            continue;
        const pl_record *here = lane->heap[0].record;
        const pl_record *best = first ? first->heap[0].record : here;
        int order = first ? lane_order(lane, first) : -1;
        if (order == 0)
            order = here->position < best->position ? -1 : 1;
        if (here->time_unix_ns < best->time_unix_ns || (here->time_unix_ns == best->time_unix_ns && order < 0))
            first = lane;
    }
    return first;
}

static const pl_record *due(const pl_merge *merge, int64_t now_ns)
{
    const pl_merge_lane *first = first_of_all(merge);
    int64_t bound = bound_of_all(merge, now_ns);
    if (!first || first->heap[0].record->time_unix_ns > bound)
        return NULL;
    for (size_t i = 0; !merge->ended && first->heap[0].record->time_unix_ns == bound && i < merge->lane_count; i++) {
        const pl_merge_lane *other = &merge->lanes[i];
        bool brings = other->count == 0 || other->heap[0].record->time_unix_ns > bound;
        if (other != first && brings && bound_of(merge, other, now_ns) == bound && lane_order(other, first) <= 0)
            return NULL;
    }
    return first->heap[0].record;
}

/* ---- a crowd of lanes ----------------------------------------------------------------- */

typedef struct crowd {
    pl_lanes lanes;
    pl_lane *lane[LANES];
    int64_t reached[LANES];
    bool closed[LANES];
    pl_merge merge;
    pl_random random;
    int64_t now_ns;
    uint64_t position, given, drawn;
} crowd;

static uint32_t below(crowd *c, uint32_t n)
{
    return (uint32_t)pl_random_below(&c->random, n);
}

static void open_crowd(crowd *c, uint64_t seed)
{
    *c = (crowd){.now_ns = 1};
    pl_random_seed(&c->random, seed);
    assert_true(pl_lanes_init(&c->lanes));
    for (uint32_t i = 0; i < LANES; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "l%u", i * 7 % LANES); /* their names' order is not that of opening */
        c->lane[i] = pl_lane_open(&c->lanes, i % 3, PL_S(name));
    }
    pl_merge_setup setup = {seed % 3 ? 0 : 5, IDLE_NS, INPUTS, NULL, 0};
    assert_true(pl_merge_init(&c->merge, &setup, 1));
}

/* One packet with records of some lanes, each at about its own time; some say only how far they have come. */
static void give(crowd *c)
{
    pl_flow_batch *batch = pl_flow_batch_new(NULL);
    uint32_t begin = below(c, LANES);
    for (uint32_t i = begin; i < LANES && i < begin + 8; i++) {
        if (c->closed[i])
            continue;
        for (uint32_t n = below(c, 4); n; n--) {
            pl_record *record = pl_flow_batch_add(batch);
            record->lane = c->lane[i]->index;
            record->position = c->position++;
            c->reached[i] += below(c, 3);
            record->time_unix_ns = c->reached[i] - (c->merge.setup.slack_ns ? below(c, 4) : 0);
        }
        c->closed[i] = below(c, 40) == 0;
        assert_true(pl_flow_batch_mark(batch, (pl_lane_mark){c->lane[i], c->reached[i], c->closed[i]}));
    }
    pl_packet packet = {batch, (const pl_record *const *)batch->records, batch->count};
    c->given += batch->count;
    assert_true(pl_merge_take(&c->merge, &packet, below(c, INPUTS), c->now_ns));
    pl_flow_batch_unref(batch);
}

static void draw(crowd *c, uint32_t most)
{
    for (uint32_t n = 0; n < most; n++) {
        int64_t bound = pl_merge_bound(&c->merge, c->now_ns);
        assert_int_equal(bound, bound_of_all(&c->merge, c->now_ns));
        const pl_record *expected = due(&c->merge, c->now_ns);
        pl_merge_item item;
        bool got = pl_merge_next(&c->merge, bound, c->now_ns, &item);
        assert_ptr_equal(got ? item.record : NULL, expected);
        if (!got)
            return;
        c->drawn++;
        pl_flow_batch_unref(item.batch);
    }
}

static void close_crowd(crowd *c)
{
    pl_merge_release(&c->merge);
    pl_lanes_release(&c->lanes);
}

static void test_same_as_a_look_at_every_lane(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        static crowd c;
        open_crowd(&c, seed);
        for (int i = 0; i < ACTIONS; i++) {
            c.merge.held_up = below(&c, 4) == 0;
            switch (below(&c, 4)) {
            case 0:
            case 1:
                give(&c);
                break;
            case 2:
                c.now_ns += below(&c, (uint32_t)IDLE_NS);
                break;
            default:
                draw(&c, below(&c, 30));
            }
        }
        c.merge.ended = true;
        draw(&c, UINT32_MAX);
        assert_int_equal(c.drawn, c.given);
        assert_int_equal(c.merge.buffered, 0);
        close_crowd(&c);
    }
}

/* Each lane that heard or gave out something is listed once. */
static void test_changes(void **state)
{
    (void)state;
    static crowd c;
    open_crowd(&c, 1);
    for (int i = 0; i < 100; i++) {
        bool listed[LANES * INPUTS] = {false};
        pl_merge_forget_changes(&c.merge);
        assert_int_equal(c.merge.changed_count, 0);
        give(&c);
        draw(&c, 10);
        for (size_t k = 0; k < c.merge.changed_count; k++) {
            assert_false(listed[c.merge.changed[k]]);
            listed[c.merge.changed[k]] = true;
        }
        for (size_t k = 0; k < c.merge.lane_count; k++)
            assert_int_equal(c.merge.lanes[k].changed, listed[k]);
    }
    close_crowd(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_a_look_at_every_lane),
        cmocka_unit_test(test_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
