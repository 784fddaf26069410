/* timescale: records as rows of PostgreSQL, hypertables where TimescaleDB is there. One transaction a batch, by COPY
 * where it can be, else by one insert; a row is settled when it is committed. Under `delivery: exactly_once` a
 * transaction holds many batches and the source's positions (txn.c); a row is settled when it is written in it. */
#include "timescale.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const int64_t IDLE_NS = INT64_C(60) * 1000000000;

typedef struct sink {
    const pl_host *host;
    const timescale_config *config;
    table table;
    pg_link link;
    bool checked; /* the table, on the link's connection */
    text_buf sql; /* the insert, NUL-ended. Not prepared by name: poolers in transaction mode would lose it */
    rows rows;
    copy copy;
    txn txn;
    double rows_open, written_open; /* in the open transaction: told once it is committed */
    pl_error *rejected;             /* of the batch at hand: why record i is no row; error_class 0: it is one */
    size_t rejected_room;
    pl_metric *inserted, *conflicts, *connects;
} sink;

static pl_status check(const void *opaque, pl_error *error)
{
    const timescale_config *config = opaque;
    table compiled;
    int time;
    pl_status status = table_compile(&config->table, &compiled, error);
    if (status == PL_OK) {
        status = hypertable_column(config, &compiled, &time, error);
    }
    table_release(&compiled);
    if (status != PL_OK) {
        return status;
    }
    /* libpq's own message may quote the password, so it is not passed on. */
    PQconninfoOption *parts = PQconninfoParse(config->dsn, NULL);
    if (!parts) {
        (void)snprintf(error->option, sizeof error->option, "dsn");
        return pl_fail(error, PL_BAD_CONFIG,
                       "not a PostgreSQL connection string; expected postgresql://user@host:5432/database "
                       "or host=.. dbname=..");
    }
    PQconninfoFree(parts);
    return PL_OK;
}

static void destroy(void *opaque)
{
    sink *self = opaque;
    if (!self) {
        return;
    }
    link_close(&self->link);
    if (self->link.wake_fd >= 0) {
        (void)close(self->link.wake_fd);
    }
    table_release(&self->table);
    rows_release(&self->rows);
    copy_release(&self->copy);
    txn_release(&self->txn);
    text_release(&self->sql);
    free(self->rejected);
    free(self);
}

static pl_status create(const pl_host *host, const void *opaque, void **out, pl_error *error)
{
    const timescale_config *config = opaque;
    sink *self = calloc(1, sizeof *self);
    if (!self) {
        return pl_fail(error, PL_RETRY, "no memory");
    }
    self->host = host;
    self->config = config;
    self->link = (pg_link){.host = host, .config = config, .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pl_status status = table_compile(&config->table, &self->table, error);
    const pl_txn *exactly_once = host->extension(host, "pl.txn/1");
    self->link.idle_ns = IDLE_NS + (exactly_once ? exactly_once->commit_every_ns : 0);
    if (status == PL_OK && exactly_once) {
        status = txn_init(&self->txn, config, exactly_once, error);
    } else if (status == PL_OK) {
        status =
            table_need_key(&config->table, ", save under `delivery: exactly_once`: a record may come twice", error);
    }
    if (status == PL_OK) {
        schema_add_insert(&self->table, &self->sql);
    }
    if (status == PL_OK &&
        (self->link.wake_fd < 0 || !rows_init(&self->rows, self->table.count) || !text_end(&self->sql))) {
        status = pl_fail(error, PL_RETRY, "no memory or no file descriptor left");
    }
    if (status != PL_OK) {
        destroy(self);
        return status;
    }
    self->inserted = host->metric(host, PL_COUNTER, "rows", "records", "rows inserted or updated");
    self->conflicts = host->metric(host, PL_COUNTER, "conflicts", "records", "records whose key was already there");
    self->connects = host->metric(host, PL_COUNTER, "connects", "1", "connections made");
    *out = self;
    return PL_OK;
}

static void interrupt(void *opaque)
{
    (void)eventfd_write(((sink *)opaque)->link.wake_fd, 1); /* never read: sticky */
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* A connection whose table was looked at. */
static pl_status ready(sink *self, pl_error *error)
{
    if (self->link.connection && self->checked) {
        return PL_OK;
    }
    if (self->txn.begun) {
        return pl_fail(error, PL_RETRY, "the connection was lost, and the open transaction with it");
    }
    self->checked = false;
    if (link_open(&self->link, error) != PL_OK) {
        return PL_FAILED;
    }
    self->host->observe(self->connects, 1);
    bool exactly_once = self->txn.host;
    self->checked = schema_ready(&self->link, &self->table, error) == PL_OK &&
                    (!exactly_once || txn_ready(&self->txn, &self->link, error) == PL_OK) &&
                    copy_look(&self->copy, &self->link, &self->table, exactly_once ? TXN_MARK : "", error) == PL_OK;
    if (!self->checked) {
        link_close(&self->link); /* begin anew, also after a halt that somebody mends */
    }
    return self->checked ? PL_OK : PL_FAILED;
}

static pl_status make_room(sink *self, uint32_t count, pl_error *error)
{
    if (self->rejected_room < count) {
        pl_error *rejected = realloc(self->rejected, count * sizeof *rejected);
        if (!rejected) {
            return pl_fail(error, PL_RETRY, "no memory for a batch of %u records", count);
        }
        self->rejected = rejected;
        self->rejected_room = count;
    }
    return PL_OK;
}

static void observe(sink *self, double rows, double written)
{
    if (self->txn.open) {
        self->rows_open += rows;
        self->written_open += written;
        return;
    }
    self->host->observe(self->inserted, written);
    self->host->observe(self->conflicts, rows - written);
}

/* PL_AGAIN: by the insert. */
static pl_status copy_rows(sink *self, const pl_batch *batch, pl_error *error)
{
    double written = 0;
    if (!copy_wanted(&self->copy, batch->count)) {
        return PL_AGAIN;
    }
    if (ready(self, error) != PL_OK) {
        return PL_FAILED;
    }
    if (!copy_wanted(&self->copy, batch->count)) { /* it was known of the connection before */
        return PL_AGAIN;
    }
    if (txn_begin(&self->txn, &self->link, error) != PL_OK) {
        return PL_FAILED;
    }
    pl_status status = copy_batch(&self->copy, &self->link, &self->table, batch, self->rejected, &written, error);
    self->txn.touched = self->txn.begun;
    if (status == PL_OK) {
        observe(self, self->copy.rows, written);
    } else {
        txn_undo(&self->txn, &self->link);
    }
    return status;
}

static pl_status build_rows(sink *self, const pl_batch *batch, pl_error *error)
{
    rows_begin(&self->rows);
    for (uint32_t i = 0; i < batch->count; i++) {
        pl_error *why = &self->rejected[i];
        error_clear(why);
        if (rows_add(&self->rows, self->host, &self->table, batch->records[i], why) != PL_OK &&
            why->error_class != PL_REJECT) {
            *error = *why;
            return PL_FAILED;
        }
    }
    return PL_OK;
}

/* A table that changed under way: say what it lacks now, rather than what the statement stumbled over. */
static pl_status explain(sink *self, pl_error *error)
{
    pl_error found = {.struct_size = sizeof found};
    bool undefined = strstr(error->message, "(SQLSTATE 42703)") || strstr(error->message, "(SQLSTATE 42P01)");
    if (undefined && self->link.connection && schema_ready(&self->link, &self->table, &found) != PL_OK) {
        *error = found;
    }
    if (strstr(error->message, "(SQLSTATE 42P10)")) {
        text_buf key = {0};
        table_add_key(&self->table, &key);
        const char *names = text_end(&key);
        (void)pl_fail(error, PL_HALT, "table %.80s has no unique index on the key (%.100s)", self->config->table.table,
                      names ? names : "");
        text_release(&key);
    }
    if (error->error_class == PL_HALT) {
        link_close(&self->link);
    }
    return PL_FAILED;
}

static pl_status insert(sink *self, pl_error *error)
{
    if (self->rows.count == 0) {
        return PL_OK;
    }
    const char *const *values = rows_end(&self->rows);
    if (!values) {
        return pl_fail(error, PL_RETRY, "no memory for %zu rows", self->rows.count);
    }
    if (ready(self, error) != PL_OK) {
        return PL_FAILED;
    }
    PGresult *result = NULL;
    if (txn_begin(&self->txn, &self->link, error) != PL_OK || txn_mark(&self->txn, &self->link, error) != PL_OK ||
        link_run(&self->link, self->sql.data, (int)self->table.count, values, &result, "cannot insert", error) !=
            PL_OK) {
        txn_undo(&self->txn, &self->link);
        return explain(self, error);
    }
    double written = strtod(PQcmdTuples(result), NULL);
    observe(self, (double)self->rows.count, written);
    copy_inserted(&self->copy, written < (double)self->rows.count);
    PQclear(result);
    return PL_OK;
}

/* Ranges of rows as durable, each refused record with its reason. */
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

/* The deadline is not used: a statement that was sent is waited for, up to statement_timeout, or interrupted. */
static pl_status sink_write(void *opaque, const pl_batch *batch, int64_t deadline_ns, pl_error *error)
{
    sink *self = opaque;
    (void)deadline_ns;
    if (self->txn.host && !self->txn.open) {
        return pl_fail(error, PL_HALT, "a write outside of a transaction");
    }
    pl_status status = make_room(self, batch->count, error);
    status = status == PL_OK ? copy_rows(self, batch, error) : status;
    if (status == PL_AGAIN) {
        status = build_rows(self, batch, error);
        status = status == PL_OK ? insert(self, error) : status;
    }
    if (status == PL_OK) {
        settle_all(self, batch);
    }
    return status;
}

/* ---- Exactly once ------------------------------------------------------------------------------- */

static pl_status sink_begin(void *opaque, pl_error *error)
{
    sink *self = opaque;
    if (self->txn.open) {
        return pl_fail(error, PL_HALT, "a transaction is open already");
    }
    if (ready(self, error) != PL_OK) {
        return PL_FAILED;
    }
    self->rows_open = self->written_open = 0;
    txn_open(&self->txn);
    return PL_OK;
}

/* The deadline is not used, as in write. */
static pl_status sink_commit(void *opaque, const pl_txn_position *positions, uint32_t count, pl_str group_token,
                             int64_t deadline_ns, pl_error *error)
{
    sink *self = opaque;
    (void)group_token;
    (void)deadline_ns;
    if (!self->txn.open) {
        return pl_fail(error, PL_HALT, "a commit outside of a transaction");
    }
    pl_status status = ready(self, error);
    status = status == PL_OK ? txn_commit(&self->txn, &self->link, positions, count, error) : status;
    if (status == PL_AGAIN) {
        pl_error unconnected = {.struct_size = sizeof unconnected};
        status = ready(self, &unconnected);
        if (status != PL_OK) {
            *error = unconnected;
        }
        status = status == PL_OK ? txn_look_back(&self->txn, &self->link, positions, count, error) : status;
    }
    if (status == PL_OK) {
        observe(self, self->rows_open, self->written_open);
    } else if (error->error_class == PL_REJECT) {
        error->error_class = PL_HALT; /* there is no record to blame */
    }
    return status;
}

static pl_status sink_abort(void *opaque, pl_error *error)
{
    sink *self = opaque;
    (void)error;
    txn_abort(&self->txn, &self->link);
    return PL_OK;
}

static pl_status sink_position(void *opaque, pl_str lane, uint64_t *position, pl_error *error)
{
    sink *self = opaque;
    return ready(self, error) == PL_OK ? txn_position(&self->txn, &self->link, lane, position, error) : PL_FAILED;
}

static const void *extension(void *opaque, const char *id)
{
    static const pl_txn_sink calls = {
        .struct_size = sizeof calls,
        .flags = PL_TXN_KEEPS_POSITIONS,
        .begin = sink_begin,
        .commit = sink_commit,
        .abort = sink_abort,
        .position = sink_position,
    };
    (void)opaque;
    return strcmp(id, "pl.txn/1") == 0 ? &calls : NULL;
}

/* ---- Declaration --------------------------------------------------------------------------------- */

static const char *const timescale_choices[] = {"auto", "require", "off", NULL};

static const pl_option hypertable_fields[] = {
    {PL_OPTION(hypertable_options, time, STR, NULL,
               "the time column; the key's first timestamptz column unless given")},
    {PL_OPTION(hypertable_options, chunk, DURATION_NS, "7d", "span of one chunk"), .min = 1e9, .max = 31536000e9},
};

static const pl_option options[] = {
    {PL_OPTION(timescale_config, dsn, SECRET, NULL, "how to reach the database"), .flags = PL_OPT_REQUIRED,
     .example = "\"${file:/run/secrets/pg_dsn}\""},
    TABLE_OPTIONS,
    {PL_OPTION(timescale_config, timescale, ENUM, "auto",
               "what `create` makes: auto, a hypertable where TimescaleDB is there; off, a plain table; "
               "require, stop where there is no hypertable"),
     .choices = timescale_choices},
    {PL_OPTION(timescale_config, hypertable, OBJECT, NULL, "how the hypertable is cut"), .fields = hypertable_fields,
     .field_count = sizeof hypertable_fields / sizeof *hypertable_fields, .element_size = sizeof(hypertable_options)},
    {PL_OPTION(timescale_config, positions, STR, "plumbline_positions",
               "under `delivery: exactly_once`, the table that tells how far each lane is stored; a schema may stand "
               "before it")},
    {PL_OPTION(timescale_config, connect_timeout, DURATION_NS, "10s", "how long a connection may take to be made"),
     .min = 1e7, .max = 600e9},
    {PL_OPTION(timescale_config, statement_timeout, DURATION_NS, "30s", "how long the server may work on a batch"),
     .min = 1e7, .max = 3600e9},
    {PL_OPTION(timescale_config, lock_timeout, DURATION_NS, "5s", "how long the server may wait for a lock"),
     .min = 1e7, .max = 3600e9},
};

static const pl_sink sink_calls = {
    .struct_size = sizeof(pl_sink),
    .flags = PL_SINK_IDEMPOTENT,
    .write = sink_write,
};

static const pl_component component = {
    .struct_size = sizeof(pl_component),
    .option_size = sizeof(pl_option),
    .name = "timescale",
    .summary = "stores records as rows of PostgreSQL or TimescaleDB",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .config_size = sizeof(timescale_config),
    .check = check,
    .create = create,
    .interrupt = interrupt,
    .destroy = destroy,
    .sink = &sink_calls,
    .extension = extension,
};

static const pl_component *const components[] = {&component, NULL};

const pl_plugin *pl_plugin_entry(void)
{
    static const pl_plugin plugin = {
        .magic = PL_MAGIC,
        .abi_major = PL_ABI_MAJOR,
        .abi_minor = PL_ABI_MINOR,
        .struct_size = sizeof(pl_plugin),
        .name = "timescale",
        .version = PLUGIN_VERSION,
        .components = components,
    };
    return &plugin;
}
