/* The timescale plugin's own parts. */
#ifndef PL_PLUGINS_TIMESCALE_H
#define PL_PLUGINS_TIMESCALE_H
#include "../common/table.h"

#include <libpq-fe.h>
#include <stdatomic.h>

typedef struct hypertable_options {
    const char *time; /* NULL: the key's first timestamptz */
    int64_t chunk;    /* ns */
} hypertable_options;

typedef struct timescale_config {
    table_options table; /* first: see TABLE_OPTIONS */
    const char *dsn;
    const char *timescale; /* auto, require, off */
    hypertable_options hypertable;
    int64_t connect_timeout, statement_timeout, lock_timeout; /* ns */
} timescale_config;

/* The time column of the hypertable: an index of a column; -1: there can be none (`require` then is PL_BAD_CONFIG). */
pl_status hypertable_column(const timescale_config *config, const table *columns, int *at, pl_error *error);

/* ---- Errors ----------------------------------------------------------------------------- */

/* By the SQLSTATE of a failed result; `what` begins the message. */
pl_status failure_of_result(const PGresult *result, const char *what, pl_error *error);
/* By the connection's last message: never a secret, one line. */
pl_status failure_of_connection(const PGconn *connection, const char *what, pl_error *error);
/* PL_RETRY, PL_REJECT or PL_HALT for a SQLSTATE (five letters). */
int32_t failure_class(const char *sqlstate);

/* ---- The connection: libpq without ever blocking in it -------------------------------------- */

typedef struct pg_link {
    const pl_host *host;
    const timescale_config *config;
    PGconn *connection; /* NULL: none */
    int wake_fd;        /* readable once interrupted */
} pg_link;

/* PL_OK at once when there is one. Interruptible; bounded by connect_timeout. Looking a host name up is the one step
 * that libpq does in one go (getaddrinfo). */
pl_status link_open(pg_link *link, pl_error *error);
void link_close(pg_link *link);
/* One statement with `count` text parameters, or several statements when count is 0: then one transaction. *result (may
 * be NULL) is the last one; clear it. After PL_FAILED without a SQLSTATE the connection is closed. */
pl_status link_run(pg_link *link, const char *sql, int count, const char *const *values, PGresult **result,
                   const char *what, pl_error *error);

/* ---- The table ----------------------------------------------------------------------------- */

/* Makes table and hypertable where asked; looks that the columns are there. */
pl_status schema_ready(pg_link *link, const table *columns, pl_error *error);
void schema_add_insert(const table *columns, text_buf *sql);

/* ---- Rows: one array literal a column -------------------------------------------------------- */

typedef struct rows {
    text_buf *arrays; /* one a column: {a,"b",NULL */
    const char **values;
    size_t *marks; /* length of each array before the row at hand */
    size_t columns, count;
    text_buf scratch;
} rows;
bool rows_init(rows *rows, size_t columns);
void rows_release(rows *rows);
void rows_begin(rows *rows);
/* PL_REJECT: this record is no row; nothing of it was added. */
pl_status rows_add(rows *rows, const pl_host *host, const table *columns, const pl_record *record, pl_error *error);
/* The literals, closed and NUL-ended, one a column; NULL: no memory. Until the next rows_begin. */
const char *const *rows_end(rows *rows);
#endif
