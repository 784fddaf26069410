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
    const char *positions;                                    /* the table of them */
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
    int64_t idle_ns;    /* how long the server keeps an open transaction that nothing is heard of */
    bool copying;       /* the server takes data */
} pg_link;

/* PL_OK at once when there is one. Interruptible; bounded by connect_timeout. Looking a host name up is the one step
 * that libpq does in one go (getaddrinfo). */
pl_status link_open(pg_link *link, pl_error *error);
void link_close(pg_link *link);
/* One statement with `count` text parameters, or several statements when count is 0: then one transaction. *result (may
 * be NULL) is the last one; clear it. After PL_FAILED without a SQLSTATE the connection is closed. */
pl_status link_run(pg_link *link, const char *sql, int count, const char *const *values, PGresult **result,
                   const char *what, pl_error *error);
/* A COPY .. FROM STDIN, with what may stand before it; begin only sends it, the first put (or end) waits for the server
 * to ask for data. The data goes out while the caller makes more. *result as in link_run; a server's refusal may come
 * from any of the three, and ends it. A caller that gives up closes the link. */
pl_status link_copy_begin(pg_link *link, const char *sql, pl_error *error);
pl_status link_copy_put(pg_link *link, const char *bytes, size_t len, pl_error *error);
pl_status link_copy_end(pg_link *link, PGresult **result, pl_error *error);

/* ---- The table ----------------------------------------------------------------------------- */

/* Makes table and hypertable where asked; looks that the columns are there. */
pl_status schema_ready(pg_link *link, const table *columns, pl_error *error);
/* Whether there is a table (or view) of that name, written as in the options. */
pl_status schema_has_table(pg_link *link, const char *name, bool *there, pl_error *error);
/* Runs what makes it, alone; `kind` is for the log. */
pl_status schema_make_table(pg_link *link, const char *name, const char *sql, const char *kind, pl_error *error);
void schema_add_insert(const table *columns, text_buf *sql);
/* Appends the COPY that stores rows as the insert would: values by the same types, refused where a key is there already
 * or the index that refuses it is not. Nothing is appended where no COPY does that (see the decision record 12).
 * `before` is what is run before it in the same round trip: statements, each with its semicolon. */
pl_status schema_add_copy(pg_link *link, const table *columns, const char *before, text_buf *sql, pl_error *error);

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
/* An element of an array literal, quoted. */
void array_add(text_buf *out, pl_str text);

/* ---- COPY (copy.c): quicker than the insert, but all of it fails when one key is there already ---------- */

typedef struct copy {
    text_buf sql;   /* NUL-ended; empty: not on this connection */
    text_buf lines; /* not sent yet */
    text_buf scratch;
    uint32_t rows;           /* sent or about to be */
    uint32_t pause, penalty; /* inserts without a conflict until the next try; what pause begins at */
} copy;
void copy_release(copy *copy);
/* On a connection whose table was looked at. `before`: see schema_add_copy. */
pl_status copy_look(copy *copy, pg_link *link, const table *columns, const char *before, pl_error *error);
/* Whether a batch of so many records should go this way. */
bool copy_wanted(const copy *copy, uint32_t count);
/* The records as rows, in one transaction or in the open one. rejected[i]: why record i is no row; error_class 0: it is
 * one. PL_OK: committed (or written), *written of them. PL_AGAIN: nothing of it is stored, the insert will do or tell
 * what is wrong; an open transaction has failed, up to its savepoint. */
pl_status copy_batch(copy *copy, pg_link *link, const table *columns, const pl_batch *batch, pl_error *rejected,
                     double *written, pl_error *error);
/* An insert went well, with or without keys that were there already. */
void copy_inserted(copy *copy, bool conflicts);

/* ---- Transactions of many batches, with the source's positions (txn.c): delivery: exactly_once ----------- */

/* Releases what was written since the last one, and begins what txn_undo undoes. */
#define TXN_MARK "RELEASE SAVEPOINT plumbline; SAVEPOINT plumbline; "

typedef struct txn_lane txn_lane;
typedef struct txn {
    const pl_txn *host; /* NULL: each batch is a transaction of its own; then nothing here is used */
    const timescale_config *config;
    text_buf ask, move; /* NUL-ended statements */
    text_buf arrays[3]; /* of the commit at hand */
    txn_lane *lanes;    /* those whose position was asked for */
    size_t count, room;
    bool open;    /* as the core sees it */
    bool begun;   /* at the server: not before something is to be written, which may be long after */
    bool touched; /* something was written since the savepoint */
} txn;
pl_status txn_init(txn *txn, const timescale_config *config, const pl_txn *host, pl_error *error);
void txn_release(txn *txn);
/* Makes the table of positions where asked. Outside of a transaction, on a new connection. */
pl_status txn_ready(const txn *txn, pg_link *link, pl_error *error);
/* PL_END: none is stored. Also within a transaction. */
pl_status txn_position(txn *txn, pg_link *link, pl_str lane, uint64_t *position, pl_error *error);
void txn_open(txn *txn);
/* Before the first write of one that is open. */
pl_status txn_begin(txn *txn, pg_link *link, pl_error *error);
/* Then, before a write that does not begin with TXN_MARK itself. */
pl_status txn_mark(txn *txn, pg_link *link, pl_error *error);
/* After a write that failed: the transaction is as it was before it, or closed with its connection. */
void txn_undo(txn *txn, pg_link *link);
void txn_abort(txn *txn, pg_link *link);
/* Any outcome ends the transaction. PL_AGAIN: the connection is closed, and txn_look_back on a new one tells what
 * became of it. */
pl_status txn_commit(txn *txn, pg_link *link, const pl_txn_position *positions, uint32_t count, pl_error *error);
/* PL_OK: they are committed. PL_RETRY: they are not, or it can't be known. error: txn_commit's, to be told with it. */
pl_status txn_look_back(txn *txn, pg_link *link, const pl_txn_position *positions, uint32_t count, pl_error *error);
#endif
