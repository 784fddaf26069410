/* The buffer in everyday use: order, settling, the cap, restarts. */
#include "support.h"

#include <sys/stat.h>
#include <unistd.h>

static void read_in_order_only_what_is_synced(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    assert_false(pl_buffer_unread(p->buffer));
    place_append(p, "a", 1);
    place_append(p, "b", 1);
    assert_int_equal(pl_buffer_pending_count(p->buffer), 2);
    assert_string_equal(place_read(p), "");
    place_sync(p);
    assert_true(pl_buffer_unread(p->buffer));
    place_append(p, "a", 2);
    assert_string_equal(place_read(p), "a:1 b:1");
    assert_false(pl_buffer_unread(p->buffer));
    place_sync(p);
    assert_string_equal(place_read(p), "a:2");
    place_sync(p); /* nothing pending: nothing to do */
    assert_int_equal(p->faults.forced_syncs, 2);
}

static void many_segments_in_order(void **state)
{
    place *p = *state;
    static char expected[1 << 20];
    size_t len = 0;
    place_open(p, 0, 300);
    for (uint64_t n = 1; n <= 400; n++) {
        place_append(p, n % 3 ? "a" : "b", n);
        len += (size_t)snprintf(expected + len, sizeof expected - len, "%s%s:%llu", len ? " " : "", n % 3 ? "a" : "b",
                                (unsigned long long)n);
        if (n % 2)
            place_sync(p);
    }
    place_sync(p);
    assert_true(place_segments(p, "") > 50);
    assert_string_equal(place_read(p), expected);
    place_close(p);
    place_open(p, 0, 300);
    assert_non_null(strstr(p->said, "400 records wait"));
    assert_string_equal(place_read(p), expected);
}

static void what_is_settled_goes_and_stays_gone(void **state)
{
    place *p = *state;
    place_open(p, 0, 300);
    for (uint64_t n = 1; n <= 20; n++) {
        place_append(p, "a", n);
        place_append(p, "b", n);
        place_sync(p);
    }
    (void)place_read(p);
    size_t before = place_segments(p, "");
    place_settle(p, "a", 20); /* b holds every segment */
    assert_true(pl_buffer_dirty(p->buffer));
    assert_int_equal(pl_buffer_save(p->buffer, &p->error), PL_OK);
    assert_false(pl_buffer_dirty(p->buffer));
    assert_int_equal(place_segments(p, ""), before);
    place_settle(p, "b", 18);
    assert_int_equal(pl_buffer_save(p->buffer, &p->error), PL_OK);
    assert_true(place_segments(p, "") < 4);
    place_settle(p, "b", 5); /* no way back */
    place_close(p);
    place_open(p, 0, 300);
    assert_string_equal(place_read(p), "b:19 b:20");
    place_settle(p, "b", 20);
    place_close(p);
    assert_int_equal(place_segments(p, ""), 0);
}

static void work_that_settles(place *p)
{
    place_open(p, 0, 0);
    for (uint64_t n = 1; n <= 6; n++)
        place_append(p, "a", n);
    place_sync(p);
    place_settle(p, "a", 2);
    assert_int_equal(pl_buffer_save(p->buffer, &p->error), PL_OK);
    place_settle(p, "a", 4); /* not saved any more */
}

static void a_kill_repeats_only_what_was_settled_since_the_save(void **state)
{
    place *p = *state;
    place_killed_after(p, work_that_settles);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "a:3 a:4 a:5 a:6");
}

static void a_source_that_begins_anew_counts_on(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    for (uint64_t n = 0; n < 3; n++)
        place_append(p, "a", n);
    place_sync(p);
    (void)place_read(p);
    place_settle(p, "a", 2);
    place_close(p);
    place_open(p, 0, 0);
    pl_buffer_lane *lane = pl_buffer_lane_of(p->buffer, PL_S("a"));
    for (uint64_t n = 0; n < 3; n++) {
        pl_kept kept = {.kind = PL_KEPT_RECORD, .payload = PL_S("x"), .position = n};
        assert_int_equal(pl_buffer_append(p->buffer, lane, &kept, &p->error), PL_OK);
        assert_int_equal(kept.position, 3 + n);
    }
    pl_kept kept = {.kind = PL_KEPT_RECORD, .payload = PL_S("x"), .position = 10}; /* what grows is kept in its steps */
    assert_int_equal(pl_buffer_append(p->buffer, lane, &kept, &p->error), PL_OK);
    assert_int_equal(kept.position, 13);
    place_sync(p);
    assert_string_equal(place_read(p), "x x x x");
}

static void the_cap_holds(void **state)
{
    place *p = *state;
    static char payload[10000];
    uint64_t n = 0;
    place_open(p, 1 << 20, 0);
    pl_buffer_lane *lane = pl_buffer_lane_of(p->buffer, PL_S("a"));
    for (int round = 0; round < 3; round++) {
        while (!pl_buffer_full(p->buffer)) {
            pl_kept kept = {.kind = PL_KEPT_RECORD, .payload = {payload, sizeof payload}, .position = ++n};
            assert_int_equal(pl_buffer_append(p->buffer, lane, &kept, &p->error), PL_OK);
            if (n % 3 == 0)
                place_sync(p);
        }
        place_sync(p);
        assert_in_range(pl_buffer_bytes(p->buffer), 900000, 1 << 20);
        pl_kept kept;
        while (pl_buffer_read(p->buffer, &kept, &lane, &p->error) == PL_OK)
            ;
        place_settle(p, "a", round == 2 ? n : n - 20);
        assert_int_equal(pl_buffer_save(p->buffer, &p->error), PL_OK);
        assert_false(pl_buffer_full(p->buffer));
    }
    assert_true(pl_buffer_bytes(p->buffer) < 200000);
}

/* One large answer fills a small buffer alone; it must come free again although it stands in the newest segment. */
static void a_large_answer_comes_free_again(void **state)
{
    place *p = *state;
    char *payload = pl_calloc(1 << 20, 1);
    place_open(p, 1 << 20, 0);
    pl_buffer_lane *lane = pl_buffer_lane_of(p->buffer, PL_S("a"));
    pl_kept kept = {.kind = PL_KEPT_RECORD, .payload = {payload, (1 << 20) * 2 / 3}, .position = 1};
    assert_int_equal(pl_buffer_append(p->buffer, lane, &kept, &p->error), PL_FAILED);
    assert_int_equal(p->error.error_class, PL_REJECT);
    for (uint64_t n = 1; n < 5; n++) {
        kept = (pl_kept){.kind = PL_KEPT_RECORD, .payload = {payload, 400000}, .position = n};
        assert_int_equal(pl_buffer_append(p->buffer, lane, &kept, &p->error), PL_OK);
    }
    place_sync(p);
    assert_true(pl_buffer_full(p->buffer));
    int count = 0;
    while (pl_buffer_read(p->buffer, &kept, &lane, &p->error) == PL_OK) {
        assert_int_equal(kept.payload.len, 400000); /* larger than what is read at a time */
        count++;
    }
    assert_int_equal(count, 4);
    place_settle(p, "a", 4);
    assert_int_equal(pl_buffer_save(p->buffer, &p->error), PL_OK);
    assert_false(pl_buffer_full(p->buffer));
    pl_free(payload);
}

static void thousands_of_lanes(void **state)
{
    place *p = *state;
    char name[32];
    place_open(p, 0, 0);
    for (uint64_t n = 0; n < 3000; n++) {
        (void)snprintf(name, sizeof name, "lane-%llu", (unsigned long long)n);
        place_append(p, name, n);
    }
    place_sync(p);
    for (uint64_t n = 0; n < 3000; n++) {
        (void)snprintf(name, sizeof name, "lane-%llu", (unsigned long long)n);
        assert_int_equal(pl_buffer_lane_of(p->buffer, PL_S(name))->last, n);
        if (n != 2999)
            place_settle(p, name, n);
    }
    place_close(p);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "lane-2999:2999");
}

static void private_and_locked(void **state)
{
    place *p = *state;
    struct stat found;
    place_open(p, 0, 0);
    place_append(p, "a", 1);
    place_sync(p);
    place_settle(p, "a", 0);
    assert_int_equal(pl_buffer_save(p->buffer, &p->error), PL_OK);
    assert_int_equal(stat(place_segment(p, 0), &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/positions", p->folder);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    pl_buffer_setup again = {.path = p->folder, .max_bytes = 1 << 20, .clock = &p->clock.clock};
    assert_null(pl_buffer_open(&again, &p->error));
    (void)snprintf(path, sizeof path, "locked by process %ld", (long)getpid());
    assert_non_null(strstr(p->error.message, path));
}

/* Each allocation fails in turn: an error, never a crash; what was synced is there afterwards. */
static void without_memory(void **state)
{
    place *p = *state;
    pl_buffer_setup setup = {.path = p->folder, .max_bytes = 1 << 20, .segment_bytes = 300, .clock = &p->clock.clock};
    uint64_t synced = 0;
    uint64_t n = 0;
    for (long round = 0; round < 150; round++) {
        pl_mem_fail_after(round < 100 ? round : round * round / 10);
        pl_buffer *buffer = pl_buffer_open(&setup, &p->error);
        pl_buffer_lane *lane = buffer ? pl_buffer_lane_of(buffer, PL_S("a")) : NULL;
        for (int i = 0; lane && i < 3; i++) {
            pl_kept kept = {.kind = PL_KEPT_RECORD, .payload = PL_S("x"), .position = n + 1};
            bool ok = pl_buffer_append(buffer, lane, &kept, &p->error) == PL_OK;
            n += ok ? 1 : 0;
            ok = ok && pl_buffer_sync(buffer, &p->error) == PL_OK;
            synced = ok ? n : synced;
            while (buffer && pl_buffer_read(buffer, &kept, &lane, &p->error) == PL_OK)
                ;
        }
        pl_mem_fail_after(-1);
        pl_buffer_close(&buffer);
    }
    place_open(p, 1 << 20, 300);
    const char *all = place_read(p);
    assert_true(synced > 0 && synced <= n);
    assert_int_equal((strlen(all) + 1) / 2, n); /* each exactly once: closing, with memory, synced the rest */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        TEST(read_in_order_only_what_is_synced),
        TEST(many_segments_in_order),
        TEST(what_is_settled_goes_and_stays_gone),
        TEST(a_kill_repeats_only_what_was_settled_since_the_save),
        TEST(a_source_that_begins_anew_counts_on),
        TEST(the_cap_holds),
        TEST(a_large_answer_comes_free_again),
        TEST(thousands_of_lanes),
        TEST(private_and_locked),
        TEST(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
