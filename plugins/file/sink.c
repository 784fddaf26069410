#include "file.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { KEEP_BYTES = 4 << 20 }; /* of the buffer, between batches */

typedef struct range { /* written, not yet durable */
    uint64_t ticket;
    uint32_t first, count;
} range;

typedef struct sink {
    const pl_host *host;
    const file_sink_config *config;
    file_lines lines;
    file_writer writer;
    bool opened_before;
    text_buf out;
    size_t *ends; /* of each record's line in `out`; of a rejected one: where the line before it ended */
    size_t ends_room;

    /* sync: interval */
    bool interval;
    pthread_t syncer;
    bool syncer_runs;
    pthread_mutex_t sync_lock;    /* held while a group is made durable and settled */
    pthread_mutex_t pending_lock; /* guards the rest; taken after sync_lock */
    pthread_cond_t more;
    range *pending;
    size_t pending_count, pending_room;
    bool stop;
} sink;

/* ---- Life --------------------------------------------------------------------- */

pl_status file_sink_check(const void *opaque, pl_error *error)
{
    const file_sink_config *config = opaque;
    bool csv = strcmp(config->format, "csv") == 0;
    if (config->path[0] == '\0') {
        (void)snprintf(error->option, sizeof error->option, "path");
        return pl_fail(error, PL_BAD_CONFIG, "a path is needed; '-' is standard output");
    }
    if (!file_delimiter(config->csv.delimiter)) {
        (void)snprintf(error->option, sizeof error->option, "csv.delimiter");
        return pl_fail(error, PL_BAD_CONFIG, "'%.20s' is no delimiter; expected one character, e.g. \",\" \";\" or tab",
                       config->csv.delimiter);
    }
    if (csv && (config->csv.columns.count == 0 || config->csv.columns.count > CSV_FIELDS_MAX)) {
        (void)snprintf(error->option, sizeof error->option, "csv.columns");
        return pl_fail(error, PL_BAD_CONFIG, "CSV needs its columns: 1 to %d fields of the record", CSV_FIELDS_MAX);
    }
    if (csv && strcmp(config->envelope, "always") == 0) {
        (void)snprintf(error->option, sizeof error->option, "envelope");
        return pl_fail(error, PL_BAD_CONFIG, "an envelope is JSON; CSV has none");
    }
    return PL_OK;
}

static pl_status sync_pending(sink *self, pl_error *error);

/* Makes durable at each interval what was written since. */
static void *sync_loop(void *opaque)
{
    sink *self = opaque;
    int64_t every = self->config->sync_every;
    for (;;) {
        (void)pthread_mutex_lock(&self->pending_lock);
        while (self->pending_count == 0 && !self->stop) {
            (void)pthread_cond_wait(&self->more, &self->pending_lock);
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t ns = until.tv_nsec + every % 1000000000;
        until.tv_sec += every / 1000000000 + ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        while (!self->stop && pthread_cond_timedwait(&self->more, &self->pending_lock, &until) == 0) {
        }
        bool stop = self->stop;
        (void)pthread_mutex_unlock(&self->pending_lock);
        if (stop) {
            return NULL;
        }
        pl_error error = {.struct_size = sizeof error};
        (void)sync_pending(self, &error); /* a failure is settled, so the core knows */
    }
}

static bool start_syncer(sink *self)
{
    pthread_condattr_t clock;
    bool ready = pthread_condattr_init(&clock) == 0;
    ready = ready && pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0;
    ready = ready && pthread_mutex_init(&self->sync_lock, NULL) == 0;
    ready = ready && pthread_mutex_init(&self->pending_lock, NULL) == 0;
    ready = ready && pthread_cond_init(&self->more, &clock) == 0;
    (void)pthread_condattr_destroy(&clock);
    self->syncer_runs = ready && self->interval && pthread_create(&self->syncer, NULL, sync_loop, self) == 0;
    return ready && self->syncer_runs == self->interval;
}

void file_sink_destroy(void *opaque)
{
    sink *self = opaque;
    if (!self) {
        return;
    }
    if (self->syncer_runs) {
        (void)pthread_mutex_lock(&self->pending_lock);
        self->stop = true;
        (void)pthread_cond_signal(&self->more);
        (void)pthread_mutex_unlock(&self->pending_lock);
        (void)pthread_join(self->syncer, NULL);
    }
    (void)pthread_cond_destroy(&self->more);
    (void)pthread_mutex_destroy(&self->pending_lock);
    (void)pthread_mutex_destroy(&self->sync_lock);
    writer_close(&self->writer);
    if (self->writer.wake_fd >= 0) {
        (void)close(self->writer.wake_fd);
    }
    text_release(&self->out);
    free(self->ends);
    free(self->pending);
    free(self);
}

pl_status file_sink_create(const pl_host *host, const void *opaque, void **out, pl_error *error)
{
    const file_sink_config *config = opaque;
    sink *self = calloc(1, sizeof *self);
    if (!self) {
        return pl_fail(error, PL_RETRY, "no memory");
    }
    self->host = host;
    self->config = config;
    self->interval = strcmp(config->sync, "interval") == 0;
    self->writer = (file_writer){.host = host, .path = config->path, .fd = -1};
    self->lines = (file_lines){
        .host = host,
        .config = config,
        .json = host->extension(host, "pl.json/1"),
        .csv = strcmp(config->format, "csv") == 0,
        .envelope_auto = strcmp(config->envelope, "auto") == 0,
        .envelope_always = strcmp(config->envelope, "always") == 0,
        .delimiter = file_delimiter(config->csv.delimiter),
    };
    self->writer.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->writer.wake_fd < 0 || !start_syncer(self)) {
        file_sink_destroy(self);
        return pl_fail(error, PL_RETRY, "no memory, thread or file descriptor left");
    }
    *out = self;
    return PL_OK;
}

void file_sink_interrupt(void *opaque)
{
    sink *self = opaque;
    (void)eventfd_write(self->writer.wake_fd, 1);
}

/* ---- Settling ------------------------------------------------------------------ */

static pl_status sync_pending(sink *self, pl_error *error)
{
    (void)pthread_mutex_lock(&self->sync_lock);
    (void)pthread_mutex_lock(&self->pending_lock);
    range *group = self->pending;
    size_t count = self->pending_count;
    self->pending = NULL;
    self->pending_count = self->pending_room = 0;
    (void)pthread_mutex_unlock(&self->pending_lock);

    pl_status status = count > 0 ? writer_sync(&self->writer, error) : PL_OK;
    if (status != PL_OK) {
        error->error_class = PL_HALT; /* later lines stand behind these: they cannot be taken back */
    }
    for (size_t i = 0; i < count; i++) {
        self->host->settle(self->host, group[i].ticket, group[i].first, group[i].count, status == PL_OK ? NULL : error);
    }
    (void)pthread_mutex_unlock(&self->sync_lock);
    free(group);
    return status;
}

static bool keep_pending(sink *self, uint64_t ticket, uint32_t first, uint32_t count)
{
    (void)pthread_mutex_lock(&self->pending_lock);
    bool kept = true;
    if (self->pending_count == self->pending_room) {
        size_t room = self->pending_room ? 2 * self->pending_room : 64;
        range *grown = realloc(self->pending, room * sizeof *grown);
        kept = grown != NULL;
        self->pending = kept ? grown : self->pending;
        self->pending_room = kept ? room : self->pending_room;
    }
    if (kept) {
        self->pending[self->pending_count++] = (range){ticket, first, count};
        (void)pthread_cond_signal(&self->more);
    }
    (void)pthread_mutex_unlock(&self->pending_lock);
    return kept;
}

static bool has_line(const sink *self, uint32_t i)
{
    return self->ends[i] > (i > 0 ? self->ends[i - 1] : 0);
}

/* Settles, or keeps for the next sync, the lines of records [0, count) in runs; rejected ones were settled already. */
static void settle_lines(sink *self, const pl_batch *batch, uint32_t count)
{
    for (uint32_t first = 0; first < count;) {
        uint32_t run = 0;
        while (first + run < count && has_line(self, first + run)) {
            run++;
        }
        if (run > 0 && !(self->interval && keep_pending(self, batch->ticket, first, run))) {
            pl_error error = {.struct_size = sizeof error};
            bool durable = !self->interval || writer_sync(&self->writer, &error) == PL_OK;
            self->host->settle(self->host, batch->ticket, first, run, durable ? NULL : &error);
        }
        first += run + (run == 0);
    }
}

/* ---- Writing --------------------------------------------------------------------- */

static pl_status open_writer(sink *self, pl_error *error)
{
    bool truncate = strcmp(self->config->mode, "truncate") == 0 && !self->opened_before;
    if (writer_open(&self->writer, &self->lines, truncate, error) != PL_OK) {
        return PL_FAILED;
    }
    self->opened_before = true;
    return PL_OK;
}

static pl_status build_lines(sink *self, const pl_batch *batch, pl_error *error)
{
    if (self->ends_room < batch->count) {
        size_t *ends = realloc(self->ends, batch->count * sizeof *ends);
        if (!ends) {
            return pl_fail(error, PL_RETRY, "no memory for %u lines", batch->count);
        }
        self->ends = ends;
        self->ends_room = batch->count;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        (void)lines_add(&self->lines, &self->out, batch->records[i], error);
        self->ends[i] = self->out.len;
    }
    return self->out.failed ? pl_fail(error, PL_RETRY, "no memory for %u lines", batch->count) : PL_OK;
}

/* Those without a line; after this the batch can no longer fail as a whole. */
static void settle_rejected(sink *self, const pl_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (!has_line(self, i)) {
            pl_error why = {.struct_size = sizeof why};
            (void)pl_fail(&why, PL_REJECT, "a tombstone has no fields to write as CSV");
            self->host->settle(self->host, batch->ticket, i, 1, &why);
        }
    }
}

/* Writes self->out; `header` bytes of it come before the first record. */
static pl_status write_lines(sink *self, const pl_batch *batch, pl_error *error)
{
    size_t done = 0;
    pl_status status = writer_write(&self->writer, self->out.data, self->out.len, &done, error);
    uint32_t whole = 0;
    while (whole < batch->count && self->ends[whole] <= done) {
        whole++;
    }
    size_t kept = whole > 0 ? self->ends[whole - 1] : 0;
    writer_cut(&self->writer, done - kept);
    pl_error sync_error = {.struct_size = sizeof sync_error};
    if (!self->interval && kept > 0 && writer_sync(&self->writer, &sync_error) != PL_OK) {
        writer_cut(&self->writer, kept);
        *error = sync_error;
        return PL_FAILED;
    }
    settle_lines(self, batch, whole);
    return status;
}

static pl_status write_header(sink *self, pl_error *error)
{
    if (!self->writer.fresh || !self->lines.csv || !self->config->csv.header) {
        return PL_OK;
    }
    size_t done;
    lines_add_header(&self->lines, &self->out);
    pl_status status = self->out.failed ? pl_fail(error, PL_RETRY, "no memory")
                                        : writer_write(&self->writer, self->out.data, self->out.len, &done, error);
    if (status == PL_OK) {
        self->writer.fresh = false;
    } else if (!self->out.failed) {
        writer_cut(&self->writer, done);
    }
    self->out.len = 0;
    return status;
}

static pl_status sink_write(void *opaque, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    sink *self = opaque;
    (void)deadline_ns;
    self->out.len = 0;
    self->out.failed = false;
    if (self->writer.fd < 0 && open_writer(self, error) != PL_OK) {
        return PL_FAILED;
    }
    if (write_header(self, error) != PL_OK || build_lines(self, batch, error) != PL_OK) {
        return PL_FAILED;
    }
    pl_status status = write_lines(self, batch, error);
    settle_rejected(self, batch);
    if (self->out.room > KEEP_BYTES) {
        text_release(&self->out);
    }
    return status;
}

static pl_status sink_flush(void *opaque, int64_t deadline_ns, pl_error *error)
{
    sink *self = opaque;
    (void)deadline_ns;
    return sync_pending(self, error);
}

const pl_sink file_sink = {.struct_size = sizeof(pl_sink), .write = sink_write, .flush = sink_flush};
