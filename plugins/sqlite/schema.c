#include "sqlite.h"

pl_status sqlite_failed(sqlite3 *db, const char *what, pl_error *error)
{
    int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
    error->code = code;
    int32_t class = PL_HALT;
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
    case SQLITE_NOMEM:
    case SQLITE_FULL: /* no space left */
    case SQLITE_IOERR:
    case SQLITE_SCHEMA:
        class = PL_RETRY;
        break;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        class = PL_REJECT;
        break;
    default: /* CANTOPEN, READONLY, NOTADB, CORRUPT, PERM, AUTH, ERROR (no such column): nothing that time heals */
        break;
    }
    return pl_fail(error, class, "%s: %s (SQLite %d)", what, db ? sqlite3_errmsg(db) : "no memory", code);
}

pl_status sqlite_run(sqlite3 *db, const char *sql, const char *what, pl_error *error)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? PL_OK : sqlite_failed(db, what, error);
}

/* Exactness first: a numeric, and a bigint beyond 64 bits would be, kept as text; NUMERIC affinity would make
 * 3041.80011967979705 a double. */
static const char *storage_type(table_type type)
{
    switch (type) {
    case TYPE_BOOLEAN:
    case TYPE_SMALLINT:
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        return "INTEGER";
    case TYPE_REAL:
    case TYPE_DOUBLE:
        return "REAL";
    default:
        return "TEXT";
    }
}

static void add_create(const table *columns, text_buf *sql)
{
    text_adds(sql, "CREATE TABLE IF NOT EXISTS ");
    table_add_table(sql, columns->options->table);
    text_adds(sql, " (");
    for (size_t i = 0; i < columns->count; i++) {
        text_adds(sql, i > 0 ? ", " : "");
        table_add_name(sql, columns->columns[i].name);
        text_addc(sql, ' ');
        text_adds(sql, storage_type(columns->columns[i].type));
        text_adds(sql, columns->columns[i].null ? "" : " NOT NULL");
    }
    text_adds(sql, ", UNIQUE (");
    table_add_key(columns, sql);
    text_adds(sql, "))");
}

void sqlite_add_insert(const table *columns, text_buf *sql)
{
    text_adds(sql, "INSERT INTO ");
    table_add_table(sql, columns->options->table);
    text_adds(sql, " (");
    for (size_t i = 0; i < columns->count; i++) {
        text_adds(sql, i > 0 ? ", " : "");
        table_add_name(sql, columns->columns[i].name);
    }
    text_adds(sql, ") VALUES (");
    for (size_t i = 0; i < columns->count; i++) {
        text_adds(sql, i > 0 ? ", ?" : "?");
    }
    text_addc(sql, ')');
    table_add_conflict(columns, sql);
}

/* The columns that are there, as text for a message; marks those that the pipeline asks for. */
static pl_status look_at_columns(sqlite3 *db, const table *columns, text_buf *there, bool *found, pl_error *error)
{
    text_buf sql = {0};
    text_adds(&sql, "SELECT * FROM ");
    table_add_table(&sql, columns->options->table);
    text_adds(&sql, " LIMIT 0");
    sqlite3_stmt *statement = NULL;
    const char *text = text_end(&sql);
    int code = text ? sqlite3_prepare_v2(db, text, -1, &statement, NULL) : SQLITE_NOMEM;
    text_release(&sql);
    if (code != SQLITE_OK) {
        return sqlite_failed(db, "cannot look at the table", error);
    }
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
        const char *name = sqlite3_column_name(statement, i);
        int at = name ? table_find(columns, name) : -1;
        if (at >= 0) {
            found[at] = true;
        }
        text_adds(there, i > 0 ? ", " : "");
        text_adds(there, name ? name : "?");
    }
    (void)sqlite3_finalize(statement);
    return PL_OK;
}

static pl_status check_columns(sqlite3 *db, const table *columns, const char *path, pl_error *error)
{
    bool *found = sqlite3_malloc64(columns->count * sizeof *found);
    text_buf there = {0};
    if (!found) {
        return pl_fail(error, PL_RETRY, "no memory");
    }
    memset(found, 0, columns->count * sizeof *found);
    pl_status status = look_at_columns(db, columns, &there, found, error);
    for (size_t i = 0; status == PL_OK && i < columns->count; i++) {
        if (!found[i]) {
            const char *names = text_end(&there);
            status = pl_fail(error, PL_HALT, "table %.60s in %.60s has no column '%.60s'; it has %.80s",
                             columns->options->table, path, columns->columns[i].name, names ? names : "others");
        }
    }
    sqlite3_free(found);
    text_release(&there);
    return status;
}

/* ON CONFLICT (key) needs a unique index on just these columns; preparing the statement tells. */
static pl_status check_key(sqlite3 *db, const table *columns, const char *path, pl_error *error)
{
    text_buf sql = {0}, key = {0};
    sqlite_add_insert(columns, &sql);
    table_add_key(columns, &key);
    sqlite3_stmt *statement = NULL;
    const char *text = text_end(&sql), *names = text_end(&key);
    pl_status status = PL_OK;
    if (!text || !names) {
        status = pl_fail(error, PL_RETRY, "no memory");
    } else if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) != SQLITE_OK) {
        bool no_index = strstr(sqlite3_errmsg(db), "ON CONFLICT clause does not match") != NULL;
        status = no_index ? pl_fail(error, PL_HALT, "table %.60s in %.60s has no unique index on the key (%.80s)",
                                    columns->options->table, path, names)
                          : sqlite_failed(db, "cannot prepare the insert", error);
    }
    (void)sqlite3_finalize(statement);
    text_release(&sql);
    text_release(&key);
    return status;
}

pl_status sqlite_check_table(sqlite3 *db, const table *columns, const char *path, pl_error *error)
{
    if (columns->options->create) {
        text_buf sql = {0};
        add_create(columns, &sql);
        const char *text = text_end(&sql);
        pl_status status =
            text ? sqlite_run(db, text, "cannot make the table", error) : pl_fail(error, PL_RETRY, "no memory");
        text_release(&sql);
        if (status != PL_OK) {
            return status;
        }
    }
    pl_status status = check_columns(db, columns, path, error);
    if (status != PL_OK && strstr(error->message, "no such table")) {
        return pl_fail(error, PL_HALT, "there is no table %.80s in %.80s; `create: true` makes it",
                       columns->options->table, path);
    }
    return status == PL_OK ? check_key(db, columns, path, error) : status;
}
