#include "file.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    KEEP_BYTES = 4 << 20, /* of the buffer, between batches */
    SYNC_BYTES = 4 << 20, /* of sync_bytes, at most */
    READ_BACK_MAX = 1 << 30
};

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
    _Atomic bool reopen; /* asked for, after a log rotation */
    text_buf out;
    size_t *ends; /* of each record's line in `out`; of a rejected one: where the line before it ended */
    size_t ends_room;

    size_t sync_bytes; /* so much is made durable without waiting for the interval: its records are held in memory */
    bool interval;     /* sync: interval; the core calls flush often enough for it */
    range *pending;
    size_t pending_count, pending_room, pending_bytes;
    int64_t pending_since_ns; /* monotonic: when the oldest of them was written */
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

void file_sink_destroy(void *opaque)
{
    sink *self = opaque;
    if (!self) {
        return;
    }
    writer_close(&self->writer);
    if (self->writer.wake_fd >= 0) {
        (void)close(self->writer.wake_fd);
    }
    text_release(&self->out);
    free(self->ends);
    free(self->pending);
    free(self);
}

/* What waits for the interval keeps sources from going on when the pipeline's memory is small. */
static size_t sync_bytes_of(const pl_host *host)
{
    const pl_budget *budget = host->extension(host, "pl.budget/1");
    size_t bytes = budget ? budget->bytes(host) / 4 : SYNC_BYTES; /* a record takes more than its line */
    return bytes < SYNC_BYTES ? bytes : SYNC_BYTES;
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
    self->sync_bytes = sync_bytes_of(host);
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
    if (self->writer.wake_fd < 0) {
        file_sink_destroy(self);
        return pl_fail(error, PL_RETRY, "no file descriptor left");
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
    pl_status status = self->pending_count > 0 ? writer_sync(&self->writer, error) : PL_OK;
    if (status != PL_OK) {
        error->error_class = PL_HALT; /* later lines stand behind these: they cannot be taken back */
    }
    for (size_t i = 0; i < self->pending_count; i++) {
        const range *group = &self->pending[i];
        self->host->settle(self->host, group->ticket, group->first, group->count, status == PL_OK ? NULL : error);
    }
    self->pending_count = self->pending_bytes = 0;
    return status;
}

static bool is_due(const sink *self)
{
    return self->pending_bytes >= self->sync_bytes ||
           self->host->now_ns(self->host) - self->pending_since_ns >= self->config->sync_every;
}

/* A pipe has nothing to be made durable. */
static bool waits_for_sync(const sink *self)
{
    return self->interval && self->writer.durable;
}

static bool keep_pending(sink *self, uint64_t ticket, uint32_t first, uint32_t count)
{
    if (self->pending_count == self->pending_room) {
        size_t room = self->pending_room ? 2 * self->pending_room : 64;
        range *grown = realloc(self->pending, room * sizeof *grown);
        if (!grown) {
            return false;
        }
        self->pending = grown;
        self->pending_room = room;
    }
    if (self->pending_count == 0) {
        self->pending_since_ns = self->host->now_ns(self->host);
    }
    self->pending[self->pending_count++] = (range){ticket, first, count};
    return true;
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
        if (run > 0 && !(waits_for_sync(self) && keep_pending(self, batch->ticket, first, run))) {
            pl_error error = {.struct_size = sizeof error};
            bool durable = !waits_for_sync(self) || writer_sync(&self->writer, &error) == PL_OK;
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

/* What was written to the file that was renamed is settled there; the next line goes to a new one of the old name. */
static pl_status close_for_reopen(sink *self, pl_error *error)
{
    pl_status status = sync_pending(self, error);
    writer_close(&self->writer);
    return status;
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
    if (!waits_for_sync(self) && kept > 0 && writer_sync(&self->writer, &sync_error) != PL_OK) {
        writer_cut(&self->writer, kept);
        *error = sync_error;
        return PL_FAILED;
    }
    settle_lines(self, batch, whole);
    self->pending_bytes += waits_for_sync(self) ? kept : 0;
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
    if (atomic_exchange(&self->reopen, false) && close_for_reopen(self, error) != PL_OK) {
        return PL_FAILED;
    }
    if (self->writer.fd < 0 && open_writer(self, error) != PL_OK) {
        return PL_FAILED;
    }
    if (write_header(self, error) != PL_OK || build_lines(self, batch, error) != PL_OK) {
        return PL_FAILED;
    }
    pl_status status = write_lines(self, batch, error);
    settle_rejected(self, batch);
    if (status == PL_OK && self->pending_count > 0 && is_due(self)) {
        status = sync_pending(self, error);
    }
    if (self->out.room > KEEP_BYTES) {
        text_release(&self->out);
    }
    return status;
}

/* A deadline that is over asks only for what is ready. */
static pl_status sink_flush(void *opaque, int64_t deadline_ns, pl_error *error)
{
    sink *self = opaque;
    if (self->pending_count == 0) {
        return PL_OK;
    }
    bool wait = deadline_ns > self->host->now_ns(self->host);
    return wait || is_due(self) ? sync_pending(self, error) : PL_AGAIN;
}

static void ask_to_reopen(void *opaque)
{
    atomic_store(&((sink *)opaque)->reopen, true);
}

/* Dead letters as lines of JSON. */
static pl_status read_back(void *opaque, const char *reader, void *source_config, pl_error *error)
{
    const sink *self = opaque;
    file_source_config *source = source_config;
    (void)reader;
    bool never = !self->lines.envelope_auto && !self->lines.envelope_always;
    if (strcmp(self->config->path, "-") == 0) {
        return pl_fail(error, PL_BAD_CONFIG, "what went to standard output can't be read back: give a file of it");
    }
    if (self->lines.csv || never) {
        return pl_fail(error, PL_BAD_CONFIG, "%.180s holds no envelopes (%s): dead letters need them",
                       self->config->path, never ? "envelope: never" : "format: csv");
    }
    if (access(self->config->path, F_OK) != 0 && errno == ENOENT) {
        return PL_END;
    }
    source->path = (pl_array){&self->config->path, 1};
    source->max_record = READ_BACK_MAX;
    return PL_OK;
}

const void *file_sink_extension(void *opaque, const char *id)
{
    (void)opaque;
    static const pl_reopen reopen = {sizeof reopen, ask_to_reopen};
    static const pl_readback readback = {sizeof readback, read_back};
    return strcmp(id, "pl.reopen/1") == 0 ? (const void *)&reopen : strcmp(id, "pl.readback/1") == 0 ? &readback : NULL;
}

const pl_sink file_sink = {.struct_size = sizeof(pl_sink), .write = sink_write, .flush = sink_flush};
