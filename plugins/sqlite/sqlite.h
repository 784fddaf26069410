/* The sqlite plugin's own parts. */
#ifndef PL_PLUGINS_SQLITE_H
#define PL_PLUGINS_SQLITE_H
#include "../common/table.h"

#include <sqlite3.h>

typedef struct sqlite_config {
    table_options table; /* first: see TABLE_OPTIONS */
    const char *path;
    int64_t busy_timeout; /* ns */
} sqlite_config;

/* Fills the error from the connection's last failure: RETRY, REJECT or HALT by its code. `what`: "cannot open". */
pl_status sqlite_failed(sqlite3 *db, const char *what, pl_error *error);
pl_status sqlite_run(sqlite3 *db, const char *sql, const char *what, pl_error *error);
/* Makes the table where asked, and looks that all columns and the unique key are there. */
pl_status sqlite_check_table(sqlite3 *db, const table *columns, const char *path, pl_error *error);
/* INSERT .. ON CONFLICT with one parameter a column; appended to sql. */
void sqlite_add_insert(const table *columns, text_buf *sql);
#endif
