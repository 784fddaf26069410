#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool fails(int *countdown, const faults *faults)
{
    if (*countdown < 0)
        return false;
    if (*countdown > 0) {
        --*countdown;
        return false;
    }
    errno = faults->code ? faults->code : ENOSPC;
    return true;
}

static int faulty_open(void *self, const char *path, int flags, mode_t mode)
{
    faults *f = self;
    return fails(&f->opens, f) ? -1 : open(path, flags, mode);
}

static ssize_t faulty_write_at(void *self, int fd, const void *bytes, size_t len, off_t at)
{
    faults *f = self;
    if (f->short_once && len > 1) {
        f->short_once = false;
        return pwrite(fd, bytes, len / 2, at);
    }
    return fails(&f->writes, f) ? -1 : pwrite(fd, bytes, len, at);
}

static int faulty_sync(void *self, int fd)
{
    faults *f = self;
    f->forced_syncs++;
    return fails(&f->syncs, f) ? -1 : fdatasync(fd);
}

static int faulty_sync_dir(void *self, int fd)
{
    faults *f = self;
    return fails(&f->dir_syncs, f) ? -1 : fsync(fd);
}

static void report(void *self, int32_t level, const char *message)
{
    place *p = self;
    size_t have = strlen(p->said);
    (void)snprintf(p->said + have, sizeof p->said - have, "%s%s\n", level == PL_ERROR ? "ERROR " : "", message);
}

int place_setup(void **state)
{
    static place only;
    only = (place){.faults = {-1, -1, -1, -1, 0, false, 0}};
    (void)snprintf(only.folder, sizeof only.folder, "%s/unit-buffer-XXXXXX", P_tmpdir);
    pl_virtual_clock_init(&only.clock, 1700000000000000000);
    only.io = (pl_buffer_io){faulty_open, faulty_write_at, faulty_sync, faulty_sync_dir, &only.faults};
    only.error.struct_size = sizeof only.error;
    *state = &only;
    return mkdtemp(only.folder) ? 0 : -1;
}

int place_teardown(void **state)
{
    place *p = *state;
    pl_buffer_close(&p->buffer);
    DIR *dir = opendir(p->folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", p->folder, entry->d_name);
        (void)unlink(path);
    }
    if (dir)
        (void)closedir(dir);
    return rmdir(p->folder);
}

static pl_buffer_setup setup_of(place *p, uint64_t max_bytes, uint64_t segment_bytes)
{
    return (pl_buffer_setup){.path = p->folder,
                             .max_bytes = max_bytes ? max_bytes : 64 << 20,
                             .segment_bytes = segment_bytes,
                             .clock = &p->clock.clock,
                             .io = &p->io,
                             .report = report,
                             .self = p};
}

void place_open(place *p, uint64_t max_bytes, uint64_t segment_bytes)
{
    pl_buffer_setup setup = setup_of(p, max_bytes, segment_bytes);
    p->buffer = pl_buffer_open(&setup, &p->error);
    if (!p->buffer)
        fail_msg("%s", p->error.message);
}

void place_close(place *p)
{
    pl_buffer_close(&p->buffer);
}

void place_killed_after(place *p, void (*work)(place *p))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        work(p);
        (void)raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* else a step of the work failed */
}

void place_append(place *p, const char *lane, uint64_t number)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s:%llu", lane, (unsigned long long)number);
    pl_kept kept = {.kind = PL_KEPT_RECORD, .payload = PL_S(text), .position = number, .arrived_unix_ns = 7};
    pl_buffer_lane *its = pl_buffer_lane_of(p->buffer, PL_S(lane));
    assert_non_null(its);
    assert_int_equal(pl_buffer_append(p->buffer, its, &kept, &p->error), PL_OK);
}

void place_sync(place *p)
{
    if (pl_buffer_sync(p->buffer, &p->error) != PL_OK)
        fail_msg("%s", p->error.message);
}

const char *place_read(place *p)
{
    static char all[1 << 20];
    size_t len = 0;
    pl_kept kept;
    pl_buffer_lane *lane;
    pl_status status;
    all[0] = '\0';
    while ((status = pl_buffer_read(p->buffer, &kept, &lane, &p->error)) == PL_OK) {
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%.*s", len ? " " : "", (int)kept.payload.len,
                                kept.payload.ptr);
        assert_true(len < sizeof all);
    }
    if (status == PL_FAILED)
        fail_msg("%s", p->error.message);
    assert_int_equal(status, PL_AGAIN);
    return all;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static size_t list(place *p, const char *suffix, char (*names)[64], size_t most)
{
    size_t count = 0;
    DIR *dir = opendir(p->folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (len < 20 || strncmp(entry->d_name + 16, ".seg", 4) != 0 || strcmp(entry->d_name + 20, suffix) != 0)
            continue;
        assert_true(count < most);
        (void)snprintf(names[count++], 64, "%.60s", entry->d_name);
    }
    (void)closedir(dir);
    qsort(names, count, 64, compare);
    return count;
}

size_t place_segments(place *p, const char *suffix)
{
    char names[200][64];
    return list(p, suffix, names, 200);
}

const char *place_segment(place *p, size_t n)
{
    static char path[160];
    char names[200][64];
    assert_true(n < list(p, "", names, 200));
    (void)snprintf(path, sizeof path, "%s/%s", p->folder, names[n]);
    return path;
}

pl_str place_load(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct stat found;
    assert_int_equal(fstat(fd, &found), 0);
    char *bytes = pl_calloc((size_t)found.st_size + 1, 1);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, (size_t)found.st_size), found.st_size);
    (void)close(fd);
    return (pl_str){bytes, (size_t)found.st_size};
}

void place_store(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    (void)close(fd);
}

void place_settle(place *p, const char *lane, uint64_t position)
{
    pl_buffer_settle(p->buffer, pl_buffer_lane_of(p->buffer, PL_S(lane)), position);
}
