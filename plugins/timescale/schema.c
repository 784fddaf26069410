#include "timescale.h"

#include <stdlib.h>

static const int64_t S_NS = INT64_C(1000000000);

static bool has_key(const table *columns)
{
    return columns->options->key.count > 0;
}

/* A hypertable's rows always have a time, and its unique keys hold it. */
static bool is_time(const table *columns, const table_column *column)
{
    return column->type == TYPE_TIMESTAMPTZ && (has_key(columns) ? column->key : !column->null);
}

pl_status hypertable_column(const timescale_config *config, const table *columns, int *at, pl_error *error)
{
    bool require = strcmp(config->timescale, "require") == 0;
    const char *name = config->hypertable.time;
    *at = -1;
    if (strcmp(config->timescale, "off") == 0) {
        return PL_OK;
    }
    if (name) {
        (void)snprintf(error->option, sizeof error->option, "hypertable.time");
        *at = table_find(columns, name);
        if (*at < 0 || columns->columns[*at].type != TYPE_TIMESTAMPTZ) {
            return pl_fail(error, PL_BAD_CONFIG, "'%.60s' is not a timestamptz column of the table", name);
        }
        if (!is_time(columns, &columns->columns[*at])) {
            return pl_fail(error, PL_BAD_CONFIG,
                           has_key(columns) ? "'%.60s' must be part of the key: a hypertable's unique key holds its "
                                              "time column"
                                            : "'%.60s' must be `null: false`: a hypertable's rows all have a time",
                           name);
        }
        error->option[0] = '\0';
        return PL_OK;
    }
    for (size_t i = 0; i < columns->count && *at < 0; i++) {
        *at = is_time(columns, &columns->columns[i]) ? (int)i : -1;
    }
    if (*at < 0 && require) {
        (void)snprintf(error->option, sizeof error->option, "timescale");
        return pl_fail(error, PL_BAD_CONFIG, "a hypertable needs a timestamptz column %s, and there is none",
                       has_key(columns) ? "in its key" : "with `null: false`");
    }
    return PL_OK;
}

/* ---- SQL ------------------------------------------------------------------------------------ */

static void add_literal(text_buf *out, const char *text)
{
    text_adds(out, " E'"); /* E: backslashes mean the same whatever standard_conforming_strings says */
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') {
            text_addc(out, *text == '\'' ? '\'' : '\\');
        }
        text_addc(out, *text);
    }
    text_addc(out, '\'');
}

/* PostgreSQL's numeric knows NaN and, from 14, infinities; no price is one. */
static void add_check(text_buf *sql, const table_column *column, int server_version)
{
    text_adds(sql, ", CHECK (");
    table_add_name(sql, column->name);
    text_adds(sql, server_version >= 140000 ? " NOT IN ('NaN', 'Infinity', '-Infinity'))" : " <> 'NaN')");
}

static void add_create(text_buf *sql, const table *columns, int server_version)
{
    text_adds(sql, "CREATE TABLE IF NOT EXISTS ");
    table_add_table(sql, columns->options->table);
    text_adds(sql, " (");
    for (size_t i = 0; i < columns->count; i++) {
        const table_column *column = &columns->columns[i];
        text_adds(sql, i > 0 ? ", " : "");
        table_add_name(sql, column->name);
        text_addc(sql, ' ');
        text_adds(sql, column->sql_type);
        text_adds(sql, column->null ? "" : " NOT NULL");
    }
    for (size_t i = 0; i < columns->count; i++) {
        if (columns->columns[i].type == TYPE_NUMERIC) {
            add_check(sql, &columns->columns[i], server_version);
        }
    }
    if (has_key(columns)) {
        text_adds(sql, ", UNIQUE (");
        table_add_key(columns, sql);
        text_addc(sql, ')');
    }
    text_addc(sql, ')');
}

typedef struct extension {
    bool there, by_range; /* by_range: the interface of 2.13 and later */
    char schema[128];     /* where its functions are; quoted */
} extension;

static void add_hypertable(text_buf *sql, const table *columns, const extension *extension, const char *time,
                           int64_t chunk_ns)
{
    text_buf name = {0};
    char interval[48];
    table_add_table(&name, columns->options->table);
    (void)snprintf(interval, sizeof interval, "make_interval(secs => %lld)", (long long)(chunk_ns / S_NS));
    text_adds(sql, "; SELECT ");
    text_adds(sql, extension->schema);
    text_adds(sql, ".create_hypertable(");
    add_literal(sql, text_end(&name) ? name.data : "");
    text_adds(sql, "::regclass, ");
    if (extension->by_range) {
        text_adds(sql, extension->schema);
        text_adds(sql, ".by_range(");
        add_literal(sql, time);
        text_adds(sql, ", ");
        text_adds(sql, interval);
        text_addc(sql, ')');
    } else {
        add_literal(sql, time);
        text_adds(sql, "::name, chunk_time_interval => ");
        text_adds(sql, interval);
    }
    text_adds(sql, ", if_not_exists => true, migrate_data => false)");
    sql->failed = sql->failed || name.failed;
    text_release(&name);
}

/* c1, c2, .. as `alias`.c1 or the columns' own names. */
static void add_columns(const table *columns, text_buf *sql, const char *prefix)
{
    for (size_t i = 0; i < columns->count; i++) {
        text_adds(sql, i > 0 ? ", " : "");
        if (prefix) {
            text_adds(sql, prefix);
            text_int(sql, (int64_t)i + 1);
        } else {
            table_add_name(sql, columns->columns[i].name);
        }
    }
}

static void add_key_numbers(const table *columns, text_buf *sql)
{
    const char *comma = "";
    for (size_t i = 0; i < columns->count; i++) {
        if (columns->columns[i].key) {
            text_adds(sql, comma);
            text_addc(sql, 'c');
            text_int(sql, (int64_t)i + 1);
            comma = ", ";
        }
    }
}

/* Arrays in, rows out: one round trip a batch. For `update` the newest row of each key is chosen here, because DO
 * UPDATE refuses to meet one key twice (21000); sorted by key, so that two writers lock in the same order. */
void schema_add_insert(const table *columns, text_buf *sql)
{
    text_adds(sql, "INSERT INTO ");
    table_add_table(sql, columns->options->table);
    text_adds(sql, " (");
    add_columns(columns, sql, NULL);
    text_adds(sql, ") SELECT ");
    if (columns->update) {
        text_adds(sql, "DISTINCT ON (");
        add_key_numbers(columns, sql);
        text_adds(sql, ") ");
    }
    add_columns(columns, sql, "c");
    text_adds(sql, " FROM unnest(");
    for (size_t i = 0; i < columns->count; i++) {
        text_adds(sql, i > 0 ? ", $" : "$");
        text_int(sql, (int64_t)i + 1);
        text_adds(sql, "::");
        text_adds(sql, columns->columns[i].sql_type);
        text_adds(sql, "[]");
    }
    text_adds(sql, columns->update ? ") WITH ORDINALITY AS r(" : ") AS r(");
    add_columns(columns, sql, "c");
    if (columns->update) {
        text_adds(sql, ", n) ORDER BY ");
        add_key_numbers(columns, sql);
        text_adds(sql, ", n DESC");
    } else {
        text_addc(sql, ')');
    }
    if (has_key(columns)) {
        table_add_conflict(columns, sql);
    }
}

/* ---- Looking --------------------------------------------------------------------------------- */

static const char *table_name(const table *columns)
{
    return columns->options->table;
}

static pl_status no_memory(pl_error *error)
{
    return pl_fail(error, PL_RETRY, "no memory for a statement");
}

/* Rows of one text parameter, the quoted table name. */
static pl_status ask_about_table(pg_link *link, const char *name, const char *sql, PGresult **result, pl_error *error)
{
    text_buf quoted = {0};
    table_add_table(&quoted, name);
    const char *values[] = {text_end(&quoted)};
    pl_status status =
        values[0] ? link_run(link, sql, 1, values, result, "cannot look at the table", error) : no_memory(error);
    text_release(&quoted);
    return status;
}

pl_status schema_has_table(pg_link *link, const char *name, bool *there, pl_error *error)
{
    PGresult *result = NULL;
    if (ask_about_table(link, name, "SELECT to_regclass($1) IS NOT NULL", &result, error) != PL_OK) {
        return PL_FAILED;
    }
    *there = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    PQclear(result);
    return PL_OK;
}

static pl_status find_extension(pg_link *link, extension *out, pl_error *error)
{
    static const char sql[] =
        "SELECT quote_ident(n.nspname), "
        "(SELECT count(*) FROM pg_proc p WHERE p.proname = 'by_range' AND p.pronamespace = n.oid) "
        "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'";
    PGresult *result = NULL;
    *out = (extension){0};
    if (strcmp(link->config->timescale, "off") == 0) {
        return PL_OK;
    }
    if (link_run(link, sql, 0, NULL, &result, "cannot look for TimescaleDB", error) != PL_OK) {
        return PL_FAILED;
    }
    if (PQntuples(result) > 0) {
        out->there = true;
        out->by_range = strcmp(PQgetvalue(result, 0, 1), "0") != 0;
        (void)snprintf(out->schema, sizeof out->schema, "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    if (!out->there && strcmp(link->config->timescale, "require") == 0) {
        return pl_fail(error, PL_HALT,
                       "database %.60s has no TimescaleDB, which `timescale: require` asks for; "
                       "CREATE EXTENSION timescaledb, or set `timescale: auto`",
                       PQdb(link->connection));
    }
    return PL_OK;
}

/* ---- Making ------------------------------------------------------------------------------------ */

pl_status schema_make_table(pg_link *link, const char *name, const char *sql, const char *kind, pl_error *error)
{
    text_buf all = {0};
    /* All in one transaction; the lock, so that two writers who both find no table do not collide in the catalog. */
    text_adds(&all, "SELECT pg_advisory_xact_lock(hashtext(");
    add_literal(&all, name);
    text_adds(&all, ")); ");
    text_adds(&all, sql);
    const char *text = text_end(&all);
    pl_status status = text ? link_run(link, text, 0, NULL, NULL, "cannot make the table", error) : no_memory(error);
    text_release(&all);
    if (status == PL_OK) {
        char line[160];
        (void)snprintf(line, sizeof line, "made %s %.100s", kind, name);
        link->host->log(link->host, PL_INFO, line);
    }
    return status;
}

static pl_status create_table(pg_link *link, const table *columns, const extension *extension, pl_error *error)
{
    text_buf sql = {0};
    int time;
    if (hypertable_column(link->config, columns, &time, error) != PL_OK) {
        return PL_FAILED;
    }
    bool hypertable = extension->there && time >= 0;
    add_create(&sql, columns, PQserverVersion(link->connection));
    if (hypertable) {
        add_hypertable(&sql, columns, extension, columns->columns[time].name, link->config->hypertable.chunk);
    }
    const char *text = text_end(&sql);
    pl_status status =
        text ? schema_make_table(link, table_name(columns), text, hypertable ? "hypertable" : "table", error)
             : no_memory(error);
    text_release(&sql);
    return status;
}

static pl_status check_columns(const pg_link *link, const table *columns, const PGresult *result, pl_error *error)
{
    for (size_t i = 0; i < columns->count; i++) {
        bool found = false;
        for (int row = 0; row < PQntuples(result) && !found; row++) {
            found = strcmp(PQgetvalue(result, row, 0), columns->columns[i].name) == 0;
        }
        if (!found) {
            text_buf there = {0};
            for (int row = 0; row < PQntuples(result); row++) {
                text_adds(&there, row > 0 ? ", " : "");
                text_adds(&there, PQgetvalue(result, row, 0));
            }
            const char *names = text_end(&there);
            pl_status status = pl_fail(
                error, PL_HALT, "table %.60s in database %.30s has no column '%.60s'; it has %.80s",
                table_name(columns), PQdb(link->connection), columns->columns[i].name, names ? names : "others");
            text_release(&there);
            return status;
        }
    }
    return PL_OK;
}

static pl_status check_hypertable(pg_link *link, const table *columns, pl_error *error)
{
    static const char sql[] = "SELECT 1 FROM timescaledb_information.hypertables "
                              "WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = to_regclass($1)";
    PGresult *result = NULL;
    if (strcmp(link->config->timescale, "require") != 0) {
        return PL_OK;
    }
    if (ask_about_table(link, table_name(columns), sql, &result, error) != PL_OK) {
        return PL_FAILED;
    }
    int rows = PQntuples(result);
    PQclear(result);
    return rows > 0 ? PL_OK
                    : pl_fail(error, PL_HALT,
                              "table %.80s is no hypertable, which `timescale: require` asks for; "
                              "see create_hypertable, or set `timescale: auto`",
                              table_name(columns));
}

/* Names of the columns that are there; no rows: no such table. */
static pl_status list_columns(pg_link *link, const table *columns, PGresult **result, pl_error *error)
{
    static const char sql[] = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 "
                              "AND NOT attisdropped ORDER BY attnum";
    return ask_about_table(link, table_name(columns), sql, result, error);
}

pl_status schema_ready(pg_link *link, const table *columns, pl_error *error)
{
    extension extension;
    PGresult *there = NULL;
    if (find_extension(link, &extension, error) != PL_OK || list_columns(link, columns, &there, error) != PL_OK) {
        return PL_FAILED;
    }
    if (PQntuples(there) == 0 && columns->options->create) {
        PQclear(there);
        if (create_table(link, columns, &extension, error) != PL_OK ||
            list_columns(link, columns, &there, error) != PL_OK) {
            return PL_FAILED;
        }
    }
    pl_status status = PL_OK;
    if (PQntuples(there) == 0) {
        status = pl_fail(error, PL_HALT, "there is no table %.80s in database %.60s; `create: true` makes it",
                         table_name(columns), PQdb(link->connection));
    }
    status = status == PL_OK ? check_columns(link, columns, there, error) : status;
    PQclear(there);
    return status == PL_OK ? check_hypertable(link, columns, error) : status;
}

/* ---- COPY ------------------------------------------------------------------------------------------ */

/* Where COPY stores what the insert stores: an ordinary or partitioned table, no rules, no row security, and columns of
 * the very types that the insert casts to (COPY reads the text by the column's own type). PGlite's process ends at a
 * COPY; it tells its compiler. */
#define WANT "WITH want AS (SELECT * FROM unnest($2::text[], $3::text[], $4::boolean[]) AS w(name, type, key)) "
#define TAKES_IT                                                                                                       \
    "WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p') AND NOT c.relhasrules AND NOT c.relrowsecurity "        \
    "AND NOT EXISTS (SELECT FROM want w JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.name "             \
    "WHERE a.attidentity = 'a' OR a.attgenerated <> '' OR NOT ("                                                       \
    "w.type IN (format_type(a.atttypid, NULL), format_type(a.atttypid, a.atttypmod)) "                                 \
    "OR (w.type = 'timestamptz' AND a.atttypid = 'timestamptz'::regtype) "                                             \
    "OR (w.type = 'text' AND a.atttypid = 'varchar'::regtype))) "                                                      \
    "AND version() NOT LIKE '%compiled by emcc%' "
static const char copyable[] = WANT "SELECT c.oid::regclass FROM pg_class c " TAKES_IT;
/* And the unique index that the insert's ON CONFLICT would find. */
static const char copyable_by_key[] =
    WANT "SELECT i.indexrelid::regclass FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid " TAKES_IT
         "AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL "
         "AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a "
         "WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) "
         "= (SELECT array_agg(name ORDER BY name COLLATE \"C\") FROM want WHERE key) LIMIT 1";

static pl_status ask_for_index(pg_link *link, const table *columns, PGresult **result, pl_error *error)
{
    text_buf parameters[4] = {{0}};
    const char *values[4];
    pl_status status = PL_OK;
    table_add_table(&parameters[0], table_name(columns));
    for (size_t i = 0; i < columns->count; i++) {
        const table_column *column = &columns->columns[i];
        const char *texts[] = {column->name, column->sql_type, column->key ? "true" : "false"};
        for (size_t k = 0; k < 3; k++) {
            text_addc(&parameters[k + 1], i > 0 ? ',' : '{');
            array_add(&parameters[k + 1], PL_S(texts[k]));
        }
    }
    for (size_t k = 0; k < 4; k++) {
        text_adds(&parameters[k], k > 0 ? "}" : "");
        values[k] = text_end(&parameters[k]);
        status = values[k] ? status : no_memory(error);
    }
    if (status == PL_OK) {
        status = link_run(link, has_key(columns) ? copyable_by_key : copyable, 4, values, result,
                          "cannot look at the table's indexes", error);
    }
    for (size_t k = 0; k < 4; k++) {
        text_release(&parameters[k]);
    }
    return status;
}

/* COPY would go on without the index, and store keys twice: so its name is looked up in each transaction. */
pl_status schema_add_copy(pg_link *link, const table *columns, const char *before, text_buf *sql, pl_error *error)
{
    PGresult *found = NULL;
    if (columns->update) {
        return PL_OK;
    }
    if (ask_for_index(link, columns, &found, error) != PL_OK) {
        return link->connection ? PL_OK : PL_FAILED; /* a server that has no such catalog: the insert does */
    }
    if (PQntuples(found) > 0) {
        text_adds(sql, before);
        text_adds(sql, "SELECT");
        add_literal(sql, PQgetvalue(found, 0, 0));
        text_adds(sql, "::regclass; COPY ");
        table_add_table(sql, columns->options->table);
        text_adds(sql, " (");
        add_columns(columns, sql, NULL);
        text_adds(sql, ") FROM STDIN");
    }
    PQclear(found);
    return PL_OK;
}
