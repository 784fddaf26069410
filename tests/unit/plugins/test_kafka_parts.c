/* The parts of the kafka plugin that need no client: runs of settled records, event times, the note beside an offset.
 */
#include "support_host.h"

#include <stdlib.h>

#include "../../../plugins/kafka/inflight.c"
#include "../../../plugins/kafka/marks.c"

/* ---- inflight.c ------------------------------------------------------------------ */

enum { BATCHES = 50, RECORDS = 300 };
static int settled[BATCHES][RECORDS]; /* 0, 1 durable, -1 failed */
static size_t calls;
static int64_t clock_ns;

static void count_settle(const pl_host *host, uint64_t ticket, uint32_t first, uint32_t count, const pl_error *why)
{
    (void)host;
    calls++;
    assert_true(ticket < BATCHES && count > 0 && first + count <= RECORDS);
    for (uint32_t i = first; i < first + count; i++) {
        assert_int_equal(settled[ticket][i], 0);
        settled[ticket][i] = why ? -1 : 1;
    }
}

static int64_t clock_now(const pl_host *host)
{
    (void)host;
    return clock_ns;
}

static const pl_host counting = {.struct_size = sizeof(pl_host), .settle = count_settle, .now_ns = clock_now};

static void begin(kafka_inflight *inflight)
{
    memset(settled, 0, sizeof settled);
    calls = 0;
    clock_ns = 0;
    kafka_inflight_init(inflight, &counting);
}

static void whole_batch_is_one_run(void **state)
{
    (void)state;
    kafka_inflight inflight;
    begin(&inflight);
    uint32_t slot = kafka_inflight_add(&inflight, 7, RECORDS);
    for (uint32_t start = 0; start < 3; start++) /* three partitions */
        for (uint32_t i = start; i < RECORDS; i += 3) {
            kafka_inflight_done(&inflight, slot, i);
            if (i % 50 == 0)
                kafka_inflight_tell(&inflight);
        }
    kafka_inflight_tell(&inflight);
    assert_int_equal(calls, 1);
    assert_int_equal(inflight.records, 0);
    assert_int_equal(kafka_inflight_add(&inflight, 8, 1), slot);
    kafka_inflight_release(&inflight);
}

static void part_of_a_batch_is_told_after_a_while(void **state)
{
    (void)state;
    kafka_inflight inflight;
    begin(&inflight);
    uint32_t slot = kafka_inflight_add(&inflight, 0, 130);
    static const uint32_t done[] = {0, 1, 2, 63, 64, 65, 129};
    for (size_t i = 0; i < sizeof done / sizeof *done; i++)
        kafka_inflight_done(&inflight, slot, done[i]);
    kafka_inflight_tell(&inflight);
    assert_int_equal(calls, 0);
    clock_ns = HOLD_NS;
    kafka_inflight_tell(&inflight);
    assert_int_equal(calls, 3); /* 0..2, 63..65, 129 */
    assert_int_equal(inflight.records, 130 - 7);
    kafka_inflight_release(&inflight);
}

/* Random order, random failures, random pauses: each record is told exactly once, as what it is. */
static void every_record_is_told_once(void **state)
{
    (void)state;
    kafka_inflight inflight;
    begin(&inflight);
    srand(20261122);
    uint32_t slots[BATCHES], sizes[BATCHES], total = 0;
    struct {
        uint32_t batch, index;
    } *order = calloc(BATCHES * RECORDS, sizeof *order);
    assert_non_null(order);
    for (uint32_t b = 0; b < BATCHES; b++) {
        sizes[b] = 1 + (uint32_t)rand() % RECORDS;
        slots[b] = kafka_inflight_add(&inflight, b, sizes[b]);
        for (uint32_t i = 0; i < sizes[b]; i++, total++) {
            order[total].batch = b;
            order[total].index = i;
        }
    }
    for (uint32_t i = total - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rand() % (i + 1);
        uint32_t batch = order[i].batch, index = order[i].index;
        order[i] = order[j];
        order[j].batch = batch;
        order[j].index = index;
    }
    const pl_error why = {.struct_size = sizeof why, .error_class = PL_REJECT};
    for (uint32_t i = 0; i < total; i++) {
        uint32_t batch = order[i].batch, index = order[i].index;
        if (index % 7 == 3)
            kafka_inflight_failed(&inflight, slots[batch], index, &why);
        else
            kafka_inflight_done(&inflight, slots[batch], index);
        clock_ns += rand() % 1000000;
        if (rand() % 5 == 0)
            kafka_inflight_tell(&inflight);
    }
    clock_ns += HOLD_NS;
    kafka_inflight_tell(&inflight);
    assert_int_equal(inflight.records, 0);
    for (uint32_t b = 0; b < BATCHES; b++)
        for (uint32_t i = 0; i < sizes[b]; i++)
            assert_int_equal(settled[b][i], i % 7 == 3 ? -1 : 1);
    free(order);
    kafka_inflight_release(&inflight);
}

/* ---- marks.c ------------------------------------------------------------------------ */

static void note_and_back(void **state)
{
    (void)state;
    char note[32];
    int size = kafka_commit_note(1795370914123, note, sizeof note);
    assert_string_equal(note, "t=1795370914123");
    assert_int_equal(kafka_commit_note_time(note, (size_t)size), 1795370914123);
    static const char *const strangers[] = {"", "t=", "x=5", "t=-5", "t=5x", "t=99999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        assert_int_equal(kafka_commit_note_time(strangers[i], strlen(strangers[i])), -1);
    assert_int_equal(kafka_commit_note_time(NULL, 0), -1);
}

/* Marks thin out under a backlog, but never tell a time later than that of the offset asked for, and stay within four
 * times the backlog divided by their number. */
static void marks_are_bounded_and_never_late(void **state)
{
    (void)state;
    kafka_marks marks = {.stride = 1};
    int64_t told = -1;
    for (int64_t offset = 0; offset < 100000; offset++)
        kafka_marks_add(&marks, offset, 1000 + offset);
    for (int64_t offset = 0; offset < 100000; offset += 1234) {
        told = kafka_marks_take(&marks, offset, told);
        assert_true(told <= 1000 + offset);
        assert_true(told >= 1000 + offset - 100000 * 4 / KAFKA_MARKS);
    }
    told = kafka_marks_take(&marks, 100000, told);
    assert_int_equal(marks.count, 0);
    assert_int_equal(kafka_marks_take(&marks, 200000, told), told);
    kafka_marks_add(&marks, 200001, 5);
    assert_int_equal(kafka_marks_take(&marks, 200000, told), told);
    assert_int_equal(kafka_marks_take(&marks, 200001, told), 5);
}

static void marks_keep_up_with_a_steady_reader(void **state)
{
    (void)state;
    kafka_marks marks = {.stride = 1};
    int64_t told = -1;
    for (int64_t offset = 0; offset < 10000; offset++) {
        kafka_marks_add(&marks, offset, offset * 10);
        if (offset >= 50)
            told = kafka_marks_take(&marks, offset - 50, told);
        assert_true(offset < 50 || told == (offset - 50) * 10);
    }
}

static void lane_and_back(void **state)
{
    (void)state;
    char name[KAFKA_TOPIC_BYTES + 16], topic[KAFKA_TOPIC_BYTES + 1], longest[KAFKA_TOPIC_BYTES + 1];
    int32_t partition;
    memset(longest, 'x', KAFKA_TOPIC_BYTES);
    longest[KAFKA_TOPIC_BYTES] = '\0';
    kafka_lane_name(longest, INT32_MAX, name, sizeof name);
    assert_true(kafka_lane_parse(PL_S(name), topic, &partition));
    assert_string_equal(topic, longest);
    assert_int_equal(partition, INT32_MAX);
    static const char *const wrong[] = {"", "/", "a", "a/", "/1", "a/b", "a/1x", "a/-1", "a/99999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(kafka_lane_parse(PL_S(wrong[i]), topic, &partition));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_batch_is_one_run),
        cmocka_unit_test(part_of_a_batch_is_told_after_a_while),
        cmocka_unit_test(lane_and_back),
        cmocka_unit_test(every_record_is_told_once),
        cmocka_unit_test(note_and_back),
        cmocka_unit_test(marks_are_bounded_and_never_late),
        cmocka_unit_test(marks_keep_up_with_a_steady_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
