#include "file.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { PIPES_POLLED_MAX = 64 };
static const int64_t LOOK_AGAIN_NS = INT64_C(100) * 1000000;

typedef struct source {
    const pl_host *host;
    const file_source_config *config;
    file_reader *readers;
    size_t count, turn;
    bool lanes_open;
    int wake_fd;
    atomic_bool interrupted;
} source;

char file_delimiter(const char *delimiter)
{
    if (!delimiter) {
        return ',';
    }
    if (strcmp(delimiter, "\\t") == 0 || strcmp(delimiter, "tab") == 0) {
        return '\t';
    }
    bool one = strlen(delimiter) == 1 && (unsigned char)delimiter[0] < 0x80 && !strchr("\"\r\n", delimiter[0]);
    return one ? delimiter[0] : '\0';
}

static const char *path_at(const file_source_config *config, size_t i)
{
    return ((const char *const *)config->path.items)[i];
}

static pl_status bad_path(pl_error *error, size_t i, const char *message)
{
    (void)snprintf(error->option, sizeof error->option, "path[%zu]", i);
    return pl_fail(error, PL_BAD_CONFIG, "%s", message);
}

pl_status file_source_check(const void *opaque, pl_error *error)
{
    const file_source_config *config = opaque;
    if (config->path.count == 0) {
        (void)snprintf(error->option, sizeof error->option, "path");
        return pl_fail(error, PL_BAD_CONFIG, "at least one path is needed; '-' is standard input");
    }
    for (size_t i = 0; i < config->path.count; i++) {
        const char *path = path_at(config, i);
        if (config->resume && strcmp(path, "-") == 0) {
            return bad_path(error, i, "standard input cannot be resumed: it has no place to go back to");
        }
        if (path[0] == '\0' || strlen(path) > 255) {
            return bad_path(error, i, "a path has 1 to 255 bytes");
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(path, path_at(config, k)) == 0) {
                return bad_path(error, i, "this path stands there twice");
            }
        }
    }
    if (!file_delimiter(config->csv.delimiter)) {
        (void)snprintf(error->option, sizeof error->option, "csv.delimiter");
        return pl_fail(error, PL_BAD_CONFIG, "'%.20s' is no delimiter; expected one character, e.g. \",\" \";\" or tab",
                       config->csv.delimiter);
    }
    if (strcmp(config->format, "csv") == 0 && !config->csv.header && config->csv.columns.count == 0) {
        (void)snprintf(error->option, sizeof error->option, "csv.columns");
        return pl_fail(error, PL_BAD_CONFIG, "without a header line the columns must be named here");
    }
    if (config->csv.columns.count > CSV_FIELDS_MAX) {
        (void)snprintf(error->option, sizeof error->option, "csv.columns");
        return pl_fail(error, PL_BAD_CONFIG, "at most %d columns", CSV_FIELDS_MAX);
    }
    return PL_OK;
}

void file_source_destroy(void *opaque)
{
    source *self = opaque;
    if (!self) {
        return;
    }
    for (size_t i = 0; self->readers && i < self->count; i++) {
        reader_release(&self->readers[i]);
    }
    if (self->wake_fd >= 0) {
        (void)close(self->wake_fd);
    }
    free(self->readers);
    free(self);
}

pl_status file_source_create(const pl_host *host, const void *opaque, void **out, pl_error *error)
{
    const file_source_config *config = opaque;
    source *self = calloc(1, sizeof *self);
    if (!self) {
        return pl_fail(error, PL_RETRY, "no memory");
    }
    self->host = host;
    self->config = config;
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->readers = calloc(config->path.count, sizeof *self->readers);
    bool ready = self->wake_fd >= 0 && self->readers;
    for (size_t i = 0; ready && i < config->path.count; i++) {
        self->count++;
        ready = reader_init(&self->readers[i], host, config, path_at(config, i));
    }
    if (!ready) {
        file_source_destroy(self);
        return pl_fail(error, PL_RETRY, "no memory or no file descriptor left");
    }
    *out = self;
    return PL_OK;
}

void file_source_interrupt(void *opaque)
{
    source *self = opaque;
    atomic_store(&self->interrupted, true);
    (void)eventfd_write(self->wake_fd, 1);
}

/* Opens one lane a file; their names, the paths, stay the same over restarts. */
static void open_lanes(source *self)
{
    for (size_t i = 0; i < self->count && !self->lanes_open; i++) {
        self->readers[i].lane = self->host->lane_open(self->host, PL_S(self->readers[i].name));
    }
    self->lanes_open = true;
}

/* Waits for data in one of the pipes; returns the index of a reader that has some, or count. */
static size_t wait_for_pipe(source *self, int64_t deadline_ns)
{
    struct pollfd fds[PIPES_POLLED_MAX + 1] = {{.fd = self->wake_fd, .events = POLLIN}};
    size_t who[PIPES_POLLED_MAX + 1];
    nfds_t count = 1;
    for (size_t k = 0; k < self->count && count <= PIPES_POLLED_MAX; k++) {
        size_t i = (self->turn + k) % self->count;
        const file_reader *reader = &self->readers[i];
        if (!reader->ended && !reader->regular && reader->fd >= 0) {
            fds[count] = (struct pollfd){.fd = reader->fd, .events = POLLIN};
            who[count++] = i;
        }
    }
    if (count == 1) {
        return self->count;
    }
    int64_t wait = deadline_ns - self->host->now_ns(self->host);
    wait = wait < 0 ? 0 : wait > LOOK_AGAIN_NS ? LOOK_AGAIN_NS : wait;
    if (poll(fds, count, (int)(wait / 1000000)) > 0) {
        for (nfds_t k = 1; k < count; k++) {
            if (fds[k].revents != 0) {
                return who[k];
            }
        }
    }
    self->turn = (self->turn + PIPES_POLLED_MAX) % self->count; /* when there are more of them, the others' turn */
    return self->count;
}

static pl_status step(source *self, size_t i, bool readable, read_result *result, pl_error *error)
{
    *result = reader_step(&self->readers[i], readable, error);
    self->turn = *result == READ_FULL ? i : (i + 1) % self->count;
    return *result == READ_FAILED ? PL_FAILED : PL_OK;
}

static pl_status source_next(void *opaque, int64_t deadline_ns, int64_t *resume_ns, pl_error *error)
{
    source *self = opaque;
    size_t first = self->turn, ended = 0;
    read_result result;
    open_lanes(self);
    *resume_ns = INT64_MAX;
    if (atomic_load(&self->interrupted)) {
        return PL_AGAIN;
    }
    for (size_t k = 0; k < self->count; k++) {
        size_t i = (first + k) % self->count;
        if (!self->readers[i].ended) {
            if (step(self, i, false, &result, error) != PL_OK) {
                return PL_FAILED;
            }
            if (result == READ_SOME || result == READ_FULL) {
                return PL_OK;
            }
        }
        ended += self->readers[i].ended;
    }
    if (ended == self->count) {
        return PL_END;
    }
    int64_t before = self->host->now_ns(self->host);
    size_t readable = wait_for_pipe(self, deadline_ns);
    if (readable < self->count && !atomic_load(&self->interrupted)) {
        return step(self, readable, true, &result, error);
    }
    int64_t now = self->host->now_ns(self->host);
    *resume_ns = now > before + LOOK_AGAIN_NS / 2 ? now : now + LOOK_AGAIN_NS; /* the former: it waited already */
    return PL_AGAIN;
}

static pl_status source_commit(void *opaque, uint32_t lane, uint64_t position, pl_error *error)
{
    source *self = opaque;
    for (size_t i = 0; i < self->count; i++) {
        if (self->readers[i].lane == lane) {
            return reader_commit(&self->readers[i], position, error);
        }
    }
    return PL_OK;
}

/* Which records lie within the span only their event time tells, which is not ours to read: all are given again. */
static pl_status source_rewind(void *opaque, int64_t span_ns, pl_error *error)
{
    source *self = opaque;
    (void)span_ns;
    (void)error;
    for (size_t i = 0; i < self->count; i++) {
        self->readers[i].rewinds = true;
    }
    return PL_OK;
}

const void *file_source_extension(void *self, const char *id)
{
    static const pl_rewind rewind = {.struct_size = sizeof rewind, .rewind = source_rewind};
    (void)self;
    return strcmp(id, "pl.rewind/1") == 0 ? &rewind : NULL;
}

const pl_source file_source = {
    .struct_size = sizeof(pl_source),
    .flags = PL_SOURCE_REPLAYS,
    .next = source_next,
    .commit = source_commit,
};
