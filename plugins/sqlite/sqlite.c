/* sqlite: records as rows of an SQLite file, one transaction a batch, durable when settled. */
#include "sqlite.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { KEEP_BYTES = 1 << 20 };

typedef struct sink {
    const pl_host *host;
    const sqlite_config *config;
    table table;
    sqlite3 *db; /* NULL: not open. Written by the worker; read by interrupt under db_lock */
    sqlite3_mutex *db_lock;
    sqlite3_stmt *insert;
    text_buf scratch;
    pl_error *rejected; /* of the batch at hand: why record i was refused; error_class 0: it was taken */
    size_t rejected_room;
    atomic_bool interrupted;
} sink;

static pl_status check(const void *opaque, pl_error *error)
{
    const sqlite_config *config = opaque;
    table compiled;
    pl_status status = table_compile(&config->table, &compiled, error);
    table_release(&compiled);
    status = status == PL_OK ? table_need_key(&config->table, "", error) : status;
    if (status == PL_OK && config->path[0] == '\0') {
        (void)snprintf(error->option, sizeof error->option, "path");
        return pl_fail(error, PL_BAD_CONFIG, "the name of the database file is needed");
    }
    return status;
}

static void close_db(sink *self)
{
    sqlite3_mutex_enter(self->db_lock);
    sqlite3 *db = self->db;
    self->db = NULL;
    sqlite3_mutex_leave(self->db_lock);
    (void)sqlite3_finalize(self->insert);
    self->insert = NULL;
    (void)sqlite3_close_v2(db);
}

static void destroy(void *opaque)
{
    sink *self = opaque;
    if (!self) {
        return;
    }
    if (self->db_lock) {
        close_db(self);
        sqlite3_mutex_free(self->db_lock);
    }
    table_release(&self->table);
    text_release(&self->scratch);
    free(self->rejected);
    free(self);
}

static pl_status create(const pl_host *host, const void *opaque, void **out, pl_error *error)
{
    const sqlite_config *config = opaque;
    sink *self = calloc(1, sizeof *self);
    if (!self) {
        return pl_fail(error, PL_RETRY, "no memory");
    }
    self->host = host;
    self->config = config;
    self->db_lock = sqlite3_initialize() == SQLITE_OK ? sqlite3_mutex_alloc(SQLITE_MUTEX_FAST) : NULL;
    pl_status status = table_compile(&config->table, &self->table, error);
    if (status == PL_OK && !self->db_lock) {
        status = pl_fail(error, PL_RETRY, "no memory for SQLite");
    }
    if (status != PL_OK) {
        destroy(self);
        return status;
    }
    *out = self;
    return PL_OK;
}

static void interrupt(void *opaque)
{
    sink *self = opaque;
    atomic_store(&self->interrupted, true);
    sqlite3_mutex_enter(self->db_lock);
    if (self->db) {
        sqlite3_interrupt(self->db);
    }
    sqlite3_mutex_leave(self->db_lock);
}

/* ---- Opening ------------------------------------------------------------------------------- */

/* Another connection writes: wait in short steps, so that an interrupt is heard. */
static int on_busy(void *opaque, int calls)
{
    sink *self = opaque;
    struct timespec step = {.tv_nsec = 5000000};
    if (atomic_load(&self->interrupted) || (int64_t)calls * step.tv_nsec >= self->config->busy_timeout) {
        return 0;
    }
    (void)nanosleep(&step, NULL);
    return 1;
}

/* WAL: readers and the writer do not wait for each other. FULL: a commit is on disk when it returns. */
static const char session[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

static pl_status prepare(sink *self, pl_error *error)
{
    if (sqlite_run(self->db, session, "cannot set up the connection", error) != PL_OK ||
        sqlite_check_table(self->db, &self->table, self->config->path, error) != PL_OK) {
        return PL_FAILED;
    }
    text_buf sql = {0};
    sqlite_add_insert(&self->table, &sql);
    const char *text = text_end(&sql);
    int code =
        text ? sqlite3_prepare_v3(self->db, text, -1, SQLITE_PREPARE_PERSISTENT, &self->insert, NULL) : SQLITE_NOMEM;
    text_release(&sql);
    return code == SQLITE_OK ? PL_OK : sqlite_failed(self->db, "cannot prepare the insert", error);
}

static pl_status open_db(sink *self, pl_error *error)
{
    char what[160];
    sqlite3 *db = NULL;
    (void)snprintf(what, sizeof what, "cannot open %.140s", self->config->path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(self->config->path, &db, flags, NULL);
    sqlite3_mutex_enter(self->db_lock);
    self->db = db;
    sqlite3_mutex_leave(self->db_lock);
    pl_status status = code == SQLITE_OK ? PL_OK : sqlite_failed(db, what, error);
    if (status == PL_OK) {
        (void)sqlite3_extended_result_codes(db, 1);
        (void)sqlite3_busy_handler(db, on_busy, self);
        status = prepare(self, error);
    }
    if (status != PL_OK) {
        close_db(self);
    }
    return status;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static int bind(sink *self, int at, const table_column *column, const table_cell *cell)
{
    if (cell->kind == CELL_NULL) {
        return sqlite3_bind_null(self->insert, at);
    }
    if (cell->kind == CELL_INT || cell->kind == CELL_BOOL) {
        return sqlite3_bind_int64(self->insert, at, cell->i);
    }
    if (cell->kind == CELL_REAL) {
        return sqlite3_bind_double(self->insert, at, cell->f);
    }
    pl_str text = cell->text;
    if (cell->kind == CELL_TIME) { /* equal instants are equal texts, and texts sort by time */
        size_t start = self->scratch.len;
        text_time_micros(&self->scratch, cell->i);
        text = (pl_str){self->scratch.data + start, self->scratch.len - start};
    }
    (void)column;
    return sqlite3_bind_text64(self->insert, at, text.ptr ? text.ptr : "", text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/* One row. PL_REJECT: only this record is bad; the transaction goes on. */
static pl_status insert_row(sink *self, const pl_record *record, pl_error *error)
{
    for (size_t i = 0; i < self->table.count; i++) {
        table_cell cell;
        self->scratch.len = 0;
        if (table_read(self->host, &self->table.columns[i], record, &self->scratch, &cell, error) != PL_OK) {
            return PL_FAILED;
        }
        if (bind(self, (int)i + 1, &self->table.columns[i], &cell) != SQLITE_OK || self->scratch.failed) {
            return sqlite_failed(self->db, "cannot bind a value", error);
        }
    }
    int code = sqlite3_step(self->insert);
    pl_status status = code == SQLITE_DONE ? PL_OK : sqlite_failed(self->db, "cannot insert", error);
    (void)sqlite3_reset(self->insert);
    return status;
}

static pl_status insert_all(sink *self, const pl_batch *batch, pl_error *error)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        pl_error *why = &self->rejected[i];
        *why = (pl_error){.struct_size = sizeof *why};
        if (insert_row(self, batch->records[i], why) != PL_OK && why->error_class != PL_REJECT) {
            *error = *why;
            return PL_FAILED;
        }
    }
    return PL_OK;
}

/* Ranges of taken records as durable, each refused one with its reason. */
static void settle_all(sink *self, const pl_batch *batch)
{
    for (uint32_t first = 0; first < batch->count;) {
        uint32_t run = 0;
        while (first + run < batch->count && self->rejected[first + run].error_class == 0) {
            run++;
        }
        if (run > 0) {
            self->host->settle(self->host, batch->ticket, first, run, NULL);
        } else {
            self->host->settle(self->host, batch->ticket, first, 1, &self->rejected[first]);
        }
        first += run + (run == 0);
    }
}

static pl_status write_batch(sink *self, const pl_batch *batch, pl_error *error)
{
    if (sqlite_run(self->db, "BEGIN IMMEDIATE", "cannot begin", error) != PL_OK) {
        return PL_FAILED;
    }
    pl_status status = insert_all(self, batch, error);
    if (status == PL_OK) {
        status = sqlite_run(self->db, "COMMIT", "cannot commit", error);
    }
    if (status != PL_OK && !sqlite3_get_autocommit(self->db)) {
        (void)sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

static pl_status sink_write(void *opaque, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    sink *self = opaque;
    (void)deadline_ns;
    if (atomic_load(&self->interrupted)) {
        return pl_fail(error, PL_RETRY, "interrupted");
    }
    if (self->rejected_room < batch->count) {
        pl_error *rejected = realloc(self->rejected, batch->count * sizeof *rejected);
        if (!rejected) {
            return pl_fail(error, PL_RETRY, "no memory for a batch of %u records", batch->count);
        }
        self->rejected = rejected;
        self->rejected_room = batch->count;
    }
    pl_status status = self->db ? PL_OK : open_db(self, error);
    if (status == PL_OK) {
        status = write_batch(self, batch, error);
        if (status == PL_OK) {
            settle_all(self, batch);
        } else if (error->error_class != PL_REJECT && (error->code & 0xFF) != SQLITE_BUSY) {
            close_db(self); /* the next attempt begins with a fresh look at file and table */
        }
    }
    if (self->scratch.room > KEEP_BYTES) {
        text_release(&self->scratch);
    }
    return status;
}

/* ---- Declaration --------------------------------------------------------------------------------- */

static const pl_option options[] = {
    {PL_OPTION(sqlite_config, path, PATH, NULL, "the database file; made when it is not there"),
     .flags = PL_OPT_REQUIRED, .example = "prices.sqlite"},
    TABLE_OPTIONS,
    {PL_OPTION(sqlite_config, busy_timeout, DURATION_NS, "5s", "how long to wait for another writer of the file"),
     .min = 0, .max = 600e9},
};

static const pl_sink sink_calls = {
    .struct_size = sizeof(pl_sink),
    .flags = PL_SINK_IDEMPOTENT,
    .write = sink_write,
};

static const pl_component component = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "sqlite",
    .summary = "stores records as rows of an SQLite file",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .config_size = sizeof(sqlite_config),
    .check = check,
    .create = create,
    .interrupt = interrupt,
    .destroy = destroy,
    .sink = &sink_calls,
};

static const pl_component *const components[] = {&component, NULL};

const pl_plugin *pl_plugin_entry(void)
{
    static const pl_plugin plugin = {
        .magic = PL_MAGIC,
        .abi_major = PL_ABI_MAJOR,
        .abi_minor = PL_ABI_MINOR,
        .struct_size = sizeof(pl_plugin),
        .name = "sqlite",
        .version = PLUGIN_VERSION,
        .components = components,
    };
    return &plugin;
}
