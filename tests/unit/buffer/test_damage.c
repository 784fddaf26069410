/* What crashes and disks do to the files: nothing that was synced goes without a word. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void three_records(place *p)
{
    place_open(p, 0, 0);
    for (uint64_t n = 1; n <= 3; n++) {
        place_append(p, "a", n);
        place_sync(p);
    }
}

/* The segment of three_records, and where its last entry begins. */
static pl_str killed_image(place *p, size_t *last, char path[160])
{
    place_killed_after(p, three_records);
    (void)snprintf(path, 160, "%s", place_segment(p, 0));
    pl_str image = place_load(path);
    *last = image.len - (image.len - PL_SEGMENT_HEAD_BYTES) / 3;
    return image;
}

static void a_tail_torn_at_every_byte(void **state)
{
    place *p = *state;
    char path[160];
    size_t last;
    pl_str image = killed_image(p, &last, path);
    for (size_t len = last; len <= image.len; len++) {
        p->said[0] = '\0';
        place_store(path, image.ptr, len);
        place_open(p, 0, 0);
        assert_string_equal(place_read(p), len == image.len ? "a:1 a:2 a:3" : "a:1 a:2");
        assert_int_equal(strstr(p->said, "cut off") != NULL, len != last && len != image.len);
        place_append(p, "a", 4); /* and life goes on */
        place_sync(p);
        place_close(p);
        place_open(p, 0, 0);
        assert_string_equal(place_read(p), len == image.len ? "a:1 a:2 a:3 a:4" : "a:1 a:2 a:4");
        place_close(p);
        assert_int_equal(unlink(place_segment(p, 1)), 0);
        assert_int_equal(place_segments(p, ".corrupt"), 0);
    }
    pl_free((void *)(uintptr_t)image.ptr);
}

static void a_file_longer_than_its_bytes(void **state)
{
    place *p = *state;
    char path[160];
    size_t last;
    pl_str image = killed_image(p, &last, path);
    char *longer = pl_calloc(image.len + 5000, 1);
    memcpy(longer, image.ptr, last);
    place_store(path, longer, image.len + 5000);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "a:1 a:2");
    assert_non_null(strstr(p->said, "cut off"));
    place_close(p);
    place_store(path, longer, 0);
    place_open(p, 0, 0); /* it was made, and nothing more */
    assert_string_equal(place_read(p), "");
    assert_int_equal(place_segments(p, ""), 0);
    pl_free(longer);
    pl_free((void *)(uintptr_t)image.ptr);
}

static void check_flipped(place *p, const char *path, size_t byte, size_t last)
{
    size_t entry = (last - PL_SEGMENT_HEAD_BYTES) / 2;
    size_t hit = byte < PL_SEGMENT_HEAD_BYTES ? 0 : 1 + (byte - PL_SEGMENT_HEAD_BYTES) / entry;
    const char *expected = hit == 1 ? "a:2 a:3" : hit == 2 ? "a:1 a:3" : hit == 3 ? "a:1 a:2" : "a:1 a:2 a:3";
    p->said[0] = '\0';
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), expected);
    bool aside = place_segments(p, ".corrupt") == 1;
    bool cut = strstr(p->said, "cut off") != NULL;
    assert_true(aside || cut); /* reported either way */
    if (cut)                   /* only a length of the last entry can look like a torn tail */
        assert_true(hit == 3 && byte - last < 4);
    if (aside)
        assert_non_null(strstr(p->said, "ERROR"));
    place_close(p);
    p->said[0] = '\0';
    place_open(p, 0, 0); /* what was mended stays mended, and is not forgotten */
    assert_string_equal(place_read(p), expected);
    assert_null(strstr(p->said, "ERROR"));
    assert_int_equal(strstr(p->said, "set aside earlier") != NULL, aside);
    place_close(p);
    char corrupt[180];
    (void)snprintf(corrupt, sizeof corrupt, "%s.corrupt", path);
    (void)unlink(corrupt);
}

static void a_bit_flipped_in_every_byte(void **state)
{
    place *p = *state;
    char path[160];
    size_t last;
    pl_str image = killed_image(p, &last, path);
    char *bad = pl_calloc(image.len, 1);
    for (size_t i = 0; i < image.len; i++) {
        memcpy(bad, image.ptr, image.len);
        bad[i] = (char)(bad[i] ^ 1 << i % 8);
        place_store(path, bad, image.len);
        check_flipped(p, path, i, last);
    }
    pl_free(bad);
    pl_free((void *)(uintptr_t)image.ptr);
}

static void damage_in_an_older_segment(void **state)
{
    place *p = *state;
    place_open(p, 0, 200);
    for (uint64_t n = 1; n <= 9; n++) {
        place_append(p, "a", n);
        place_sync(p);
    }
    place_close(p);
    assert_int_equal(place_segments(p, ""), 3);
    pl_str image = place_load(place_segment(p, 1)); /* a:4 a:5 a:6, its tail is no torn one */
    char path[160];
    (void)snprintf(path, sizeof path, "%s", place_segment(p, 1));
    place_store(path, image.ptr, image.len - 1);
    place_open(p, 0, 200);
    assert_string_equal(place_read(p), "a:1 a:2 a:3 a:4 a:5 a:7 a:8 a:9");
    assert_int_equal(place_segments(p, ".corrupt"), 1);
    place_close(p);
    memset((void *)(uintptr_t)image.ptr, 'z', image.len); /* all of it */
    place_store(path, image.ptr, image.len);
    place_open(p, 0, 200);
    assert_string_equal(place_read(p), "a:1 a:2 a:3 a:7 a:8 a:9");
    assert_non_null(strstr(p->said, "both copies of its header"));
    place_close(p);
    char corrupt[200]; /* the second of the same segment has a name of its own */
    (void)snprintf(corrupt, sizeof corrupt, "%s.corrupt.1", path);
    assert_int_equal(unlink(corrupt), 0);
    pl_free((void *)(uintptr_t)image.ptr);
}

static void damage_while_it_runs(void **state)
{
    place *p = *state;
    pl_kept kept;
    pl_buffer_lane *lane;
    three_records(p);
    int fd = open(place_segment(p, 0), O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\x55\x55\x55", 3, PL_SEGMENT_HEAD_BYTES + 60), 3);
    (void)close(fd);
    assert_int_equal(pl_buffer_read(p->buffer, &kept, &lane, &p->error), PL_OK);
    assert_int_equal(pl_buffer_read(p->buffer, &kept, &lane, &p->error), PL_FAILED);
    assert_int_equal(p->error.error_class, PL_HALT);
    place_close(p);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "a:1 a:3");
}

static void another_version_is_left_alone(void **state)
{
    place *p = *state;
    char path[160];
    size_t last;
    pl_str image = killed_image(p, &last, path);
    char *head = (char *)(uintptr_t)image.ptr;
    pl_entry_put(head + 4, PL_SEGMENT_VERSION + 1, 4);
    pl_entry_put(head + 28, pl_crc32c(0, head, 28), 4);
    memcpy(head + 32, head, 32);
    place_store(path, image.ptr, image.len);
    pl_buffer_setup setup = {.path = p->folder, .max_bytes = 1 << 20, .clock = &p->clock.clock};
    assert_null(pl_buffer_open(&setup, &p->error));
    assert_non_null(strstr(p->error.message, "it has version 2"));
    pl_str after = place_load(path);
    assert_true(pl_str_eq(after, image));
    pl_free((void *)(uintptr_t)after.ptr);
    pl_free(head);
}

static void damaged_positions_stop_it(void **state)
{
    place *p = *state;
    char path[160];
    three_records(p);
    place_settle(p, "a", 2);
    place_close(p);
    (void)snprintf(path, sizeof path, "%s/positions", p->folder);
    pl_str image = place_load(path);
    pl_buffer_setup setup = {.path = p->folder, .max_bytes = 1 << 20, .clock = &p->clock.clock};
    for (size_t i = 0; i < image.len; i++) {
        char *bytes = (char *)(uintptr_t)image.ptr;
        bytes[i] ^= 4;
        place_store(path, bytes, image.len);
        assert_null(pl_buffer_open(&setup, &p->error));
        assert_non_null(strstr(p->error.message, "is damaged; move it away"));
        bytes[i] ^= 4;
        place_store(path, bytes, i);
        assert_null(pl_buffer_open(&setup, &p->error));
    }
    assert_int_equal(unlink(path), 0);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "a:1 a:2 a:3");
    pl_free((void *)(uintptr_t)image.ptr);
}

/* ---- a disk that refuses ---------------------------------------------------------------- */

static void expect_refused(place *p, const char *words)
{
    assert_int_equal(pl_buffer_sync(p->buffer, &p->error), PL_FAILED);
    assert_int_equal(p->error.error_class, PL_RETRY);
    assert_non_null(strstr(p->error.message, words));
    assert_true(pl_buffer_pending_count(p->buffer) > 0);
}

static void no_room_and_then_room(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    place_append(p, "a", 1);
    place_sync(p);
    place_append(p, "a", 2);
    p->faults.writes = 0;
    expect_refused(p, "No space left");
    expect_refused(p, "No space left");
    place_append(p, "a", 3);
    assert_string_equal(place_read(p), "a:1"); /* what was refused is not there */
    p->faults.writes = -1;
    place_sync(p);
    assert_string_equal(place_read(p), "a:2 a:3");
    place_close(p);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "a:1 a:2 a:3");
    assert_null(strstr(p->said, "cut off"));
}

static void a_short_write_is_finished(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    place_append(p, "a", 1);
    place_sync(p);
    place_append(p, "a", 2);
    p->faults.short_once = true;
    place_sync(p);
    place_append(p, "a", 3);
    p->faults.short_once = true;
    p->faults.writes = 0; /* half of it, then no more room */
    expect_refused(p, "No space left");
    p->faults.writes = -1;
    place_sync(p);
    assert_string_equal(place_read(p), "a:1 a:2 a:3");
}

static void a_failed_sync_is_never_repeated_on_its_segment(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    place_append(p, "a", 1);
    place_sync(p);
    place_append(p, "a", 2);
    p->faults.syncs = 0;
    p->faults.code = EIO;
    expect_refused(p, "Input/output error");
    expect_refused(p, "Input/output error");
    assert_int_equal(place_segments(p, ""), 1); /* tries leave nothing behind */
    p->faults.syncs = -1;
    place_sync(p);
    assert_int_equal(place_segments(p, ""), 2);
    assert_string_equal(place_read(p), "a:1 a:2");
    place_close(p);
    place_open(p, 0, 0);
    assert_string_equal(place_read(p), "a:1 a:2");
}

static void no_folder_entry_no_sync(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    place_append(p, "a", 1);
    p->faults.dir_syncs = 0;
    expect_refused(p, "cannot sync");
    p->faults.dir_syncs = -1;
    p->faults.opens = 0;
    expect_refused(p, "cannot create");
    p->faults.opens = -1;
    place_sync(p);
    assert_string_equal(place_read(p), "a:1");
}

static void closing_tells_what_it_could_not_write(void **state)
{
    place *p = *state;
    place_open(p, 0, 0);
    place_append(p, "a", 1);
    p->faults.writes = 0;
    place_close(p);
    assert_non_null(strstr(p->said, "ERROR 1 records could not be written and are lost"));
    p->faults.writes = -1;
}

/* Every call in turn fails once, with a kill after it: what a sync had said to be there is there, once, in order. */
static int fault_at;
static int acknowledged_pipe[2];

static void faulty_work(place *p)
{
    place_open(p, 0, 250);
    p->faults.code = fault_at % 2 ? EIO : ENOSPC;
    p->faults.writes = fault_at % 3 == 0 ? fault_at / 3 : -1;
    p->faults.syncs = fault_at % 3 == 1 ? fault_at / 3 : -1;
    p->faults.dir_syncs = fault_at % 3 == 2 ? fault_at / 3 : -1;
    for (uint64_t n = 1; n <= 12; n++) {
        place_append(p, "a", n);
        if (pl_buffer_sync(p->buffer, &p->error) == PL_OK)
            assert_int_equal(write(acknowledged_pipe[1], &n, sizeof n), sizeof n);
        else if (n % 2)
            p->faults.writes = p->faults.syncs = p->faults.dir_syncs = -1;
    }
}

static uint64_t acknowledged(void)
{
    uint64_t last = 0;
    uint64_t n;
    (void)close(acknowledged_pipe[1]);
    while (read(acknowledged_pipe[0], &n, sizeof n) == sizeof n)
        last = n;
    (void)close(acknowledged_pipe[0]);
    return last;
}

static void expect_run(place *p, uint64_t at_least)
{
    const char *at = place_read(p);
    uint64_t next = 1;
    for (char word[32]; sscanf(at, "%31s", word) == 1; next++) {
        char expected[32];
        (void)snprintf(expected, sizeof expected, "a:%llu", (unsigned long long)next);
        assert_string_equal(word, expected);
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    assert_true(next > at_least);
}

static void every_fault_then_a_kill(void **state)
{
    place *p = *state;
    for (fault_at = 0; fault_at < 60; fault_at++) {
        assert_int_equal(pipe2(acknowledged_pipe, O_CLOEXEC), 0);
        place_killed_after(p, faulty_work);
        uint64_t last = acknowledged();
        place_open(p, 0, 250);
        expect_run(p, last);
        place_settle(p, "a", 12);
        place_close(p);
        char path[128];
        (void)snprintf(path, sizeof path, "%s/positions", p->folder);
        (void)unlink(path);
        while (place_segments(p, ""))
            assert_int_equal(unlink(place_segment(p, 0)), 0);
    }
}

/* The real thing: a limit on file sizes cuts a write short, and then refuses. */
static void limited_work(place *p)
{
    struct rlimit limit = {3000, 3000};
    (void)signal(SIGXFSZ, SIG_IGN);
    place_open(p, 0, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint64_t n = 1; n <= 200; n++) {
        place_append(p, "a", n);
        if (n % 7 == 0 && pl_buffer_sync(p->buffer, &p->error) == PL_FAILED)
            place_sync(p); /* another segment has room */
    }
    place_sync(p);
}

static void the_systems_own_refusal(void **state)
{
    place *p = *state;
    place_killed_after(p, limited_work);
    place_open(p, 0, 0);
    expect_run(p, 200);
}

/* ---- killed at any moment ------------------------------------------------------------------ */

static void endless_work(place *p)
{
    place_open(p, 0, 2000);
    uint64_t n = pl_buffer_lane_of(p->buffer, PL_S("a"))->last;
    for (;;) {
        for (int i = 0; i < 5; i++)
            place_append(p, "a", ++n);
        place_sync(p);
        if (write(acknowledged_pipe[1], &n, sizeof n) != sizeof n)
            _exit(1);
    }
}

static void killed_at_random_moments(void **state)
{
    place *p = *state;
    uint64_t settled = 0;
    srand(7);
    for (int round = 0; round < 15; round++) {
        assert_int_equal(pipe2(acknowledged_pipe, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0)
            endless_work(p);
        uint64_t n;
        for (int i = rand() % 40; i >= 0; i--) /* at least one sync, then at any moment */
            assert_int_equal(read(acknowledged_pipe[0], &n, sizeof n), sizeof n);
        (void)usleep((useconds_t)(rand() % 3000));
        (void)kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        uint64_t last = acknowledged();
        last = last > n ? last : n;
        place_open(p, 0, 2000);
        const char *all = place_read(p);
        uint64_t next = settled;
        while (*all) { /* each once, in order, none missing */
            assert_int_equal(strtoull(all + 2, NULL, 10), ++next);
            all += strcspn(all, " ");
            all += *all == ' ';
        }
        assert_true(next >= last);
        settled = settled + (next - settled) / 2;
        place_settle(p, "a", settled);
        place_close(p);
        assert_int_equal(place_segments(p, ".corrupt"), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_tail_torn_at_every_byte),   TEST(a_file_longer_than_its_bytes),
        TEST(a_bit_flipped_in_every_byte), TEST(damage_in_an_older_segment),
        TEST(damage_while_it_runs),        TEST(another_version_is_left_alone),
        TEST(damaged_positions_stop_it),   TEST(no_room_and_then_room),
        TEST(a_short_write_is_finished),   TEST(a_failed_sync_is_never_repeated_on_its_segment),
        TEST(no_folder_entry_no_sync),     TEST(closing_tells_what_it_could_not_write),
        TEST(every_fault_then_a_kill),     TEST(the_systems_own_refusal),
        TEST(killed_at_random_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
