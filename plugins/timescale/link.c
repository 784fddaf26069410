#include "timescale.h"

#include <errno.h>
#include <poll.h>

static const int64_t MARGIN_NS = INT64_C(5) * 1000000000, MS_NS = 1000000;

void link_close(pg_link *link)
{
    PQfinish(link->connection); /* NULL is allowed */
    link->connection = NULL;
}

/* Waits until the socket is ready for `events`; gives the connection up when it is interrupted or late. */
static pl_status wait_for(pg_link *link, short events, int64_t deadline_ns, const char *what, pl_error *error)
{
    struct pollfd fds[] = {{.fd = link->wake_fd, .events = POLLIN},
                           {.fd = PQsocket(link->connection), .events = events}};
    for (;;) {
        int64_t left = deadline_ns - link->host->now_ns(link->host);
        if (left <= 0) {
            link_close(link);
            return pl_fail(error, PL_RETRY, "%s: no answer in time", what);
        }
        int ready = poll(fds, 2, (int)((left < 1000 * MS_NS ? left : 1000 * MS_NS) / MS_NS) + 1);
        if (ready > 0 && fds[0].revents != 0) {
            link_close(link); /* the server rolls back what it had begun */
            return pl_fail(error, PL_RETRY, "%s: interrupted", what);
        }
        if (ready > 0) {
            return PL_OK;
        }
        if (ready < 0 && errno != EINTR) {
            link_close(link);
            return pl_fail(error, PL_RETRY, "%s: %s", what, strerror(errno));
        }
    }
}

static void on_notice(void *opaque, const char *message)
{
    const pg_link *link = opaque;
    char line[200];
    (void)snprintf(line, sizeof line, "%.*s", (int)strcspn(message, "\n"), message);
    link->host->log(link->host, PL_DEBUG, line);
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static pl_status start_connecting(pg_link *link, pl_error *error)
{
    char name[64];
    (void)snprintf(name, sizeof name, "plumbline/%.50s", link->host->instance);
    /* What stands before dbname, the dsn, gives way to what the dsn says. */
    const char *const keywords[] = {"fallback_application_name",
                                    "client_encoding",
                                    "keepalives_idle",
                                    "keepalives_interval",
                                    "tcp_user_timeout",
                                    "dbname",
                                    NULL};
    const char *const values[] = {name, "UTF8", "30", "10", "30000", link->config->dsn, NULL};
    link->connection = PQconnectStartParams(keywords, values, 1);
    if (!link->connection || PQstatus(link->connection) == CONNECTION_BAD) {
        pl_status status = failure_of_connection(link->connection, "cannot connect", error);
        link_close(link);
        return status;
    }
    (void)PQsetErrorVerbosity(link->connection, PQERRORS_VERBOSE);
    (void)PQsetNoticeProcessor(link->connection, on_notice, link);
    return PL_OK;
}

static pl_status finish_connecting(pg_link *link, int64_t deadline_ns, pl_error *error)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state == PGRES_POLLING_WRITING || state == PGRES_POLLING_READING) {
        short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (wait_for(link, events, deadline_ns, "cannot connect", error) != PL_OK) {
            return PL_FAILED;
        }
        state = PQconnectPoll(link->connection);
    }
    if (state != PGRES_POLLING_OK || PQsetnonblocking(link->connection, 1) != 0) {
        pl_status status = failure_of_connection(link->connection, "cannot connect", error);
        link_close(link);
        return status;
    }
    (void)PQsetErrorVerbosity(link->connection, PQERRORS_DEFAULT);
    return PL_OK;
}

static pl_status set_up_session(pg_link *link, pl_error *error)
{
    char sql[320];
    (void)snprintf(sql, sizeof sql,
                   "SET TIME ZONE 'UTC'; SET datestyle = 'ISO'; SET statement_timeout = %lld; SET lock_timeout = %lld; "
                   "SET idle_in_transaction_session_timeout = %lld; SET client_min_messages = 'warning'",
                   (long long)(link->config->statement_timeout / MS_NS),
                   (long long)(link->config->lock_timeout / MS_NS), (long long)(link->idle_ns / MS_NS));
    pl_status status = link_run(link, sql, 0, NULL, NULL, "cannot set up the session", error);
    if (status != PL_OK) {
        link_close(link);
    }
    return status;
}

pl_status link_open(pg_link *link, pl_error *error)
{
    if (link->connection && PQstatus(link->connection) == CONNECTION_OK) {
        return PL_OK;
    }
    link_close(link);
    int64_t deadline = link->host->now_ns(link->host) + link->config->connect_timeout;
    if (start_connecting(link, error) != PL_OK || finish_connecting(link, deadline, error) != PL_OK) {
        return PL_FAILED;
    }
    return set_up_session(link, error);
}

/* ---- Statements --------------------------------------------------------------------------------- */

static pl_status lost(pg_link *link, const char *what, pl_error *error)
{
    pl_status status = failure_of_connection(link->connection, what, error);
    link_close(link);
    return status;
}

static pl_status send_all(pg_link *link, int64_t deadline_ns, const char *what, pl_error *error)
{
    for (int more; (more = PQflush(link->connection)) != 0;) {
        if (more < 0) {
            return lost(link, what, error);
        }
        /* The server may need to be read from before it takes more. */
        if (wait_for(link, POLLIN | POLLOUT, deadline_ns, what, error) != PL_OK) {
            return PL_FAILED;
        }
        if (!PQconsumeInput(link->connection)) {
            return lost(link, what, error);
        }
    }
    return PL_OK;
}

/* The next result, or NULL after the last. */
static pl_status next_result(pg_link *link, int64_t deadline_ns, PGresult **result, const char *what, pl_error *error)
{
    while (PQisBusy(link->connection)) {
        if (wait_for(link, POLLIN, deadline_ns, what, error) != PL_OK) {
            return PL_FAILED;
        }
        if (!PQconsumeInput(link->connection)) {
            return lost(link, what, error);
        }
    }
    *result = PQgetResult(link->connection);
    return PL_OK;
}

/* Reads all results, or up to the server's wish for data; keeps the first that failed, else the last. */
static pl_status collect(pg_link *link, PGresult **kept, const char *what, pl_error *error)
{
    int64_t deadline =
        link->host->now_ns(link->host) + link->config->statement_timeout + link->config->lock_timeout + MARGIN_NS;
    PGresult *result = NULL;
    bool failed = false;
    *kept = NULL;
    pl_status status = send_all(link, deadline, what, error);
    while (status == PL_OK) {
        status = next_result(link, deadline, &result, what, error);
        if (status != PL_OK || !result) {
            break;
        }
        if (failed) {
            PQclear(result);
            continue;
        }
        PQclear(*kept);
        *kept = result;
        ExecStatusType state = PQresultStatus(result);
        if (state == PGRES_COPY_IN) {
            return PL_OK;
        }
        failed = state != PGRES_COMMAND_OK && state != PGRES_TUPLES_OK && state != PGRES_EMPTY_QUERY;
    }
    if (status != PL_OK || failed) {
        status = status == PL_OK ? failure_of_result(*kept, what, error) : status;
        PQclear(*kept);
        *kept = NULL;
    }
    if (link->connection && PQstatus(link->connection) == CONNECTION_BAD) {
        link_close(link);
    }
    return status;
}

pl_status link_run(pg_link *link, const char *sql, int count, const char *const *values, PGresult **result,
                   const char *what, pl_error *error)
{
    int sent = count == 0 ? PQsendQuery(link->connection, sql)
                          : PQsendQueryParams(link->connection, sql, count, NULL, values, NULL, NULL, 0);
    PGresult *last;
    if (!sent) {
        return lost(link, what, error);
    }
    pl_status status = collect(link, &last, what, error);
    if (result && status == PL_OK) {
        *result = last;
    } else {
        PQclear(last);
    }
    return status;
}

/* ---- COPY ------------------------------------------------------------------------------------------ */

static const char cannot_copy[] = "cannot insert"; /* what it is to the user */

pl_status link_copy_begin(pg_link *link, const char *sql, pl_error *error)
{
    link->copying = false;
    return PQsendQuery(link->connection, sql) ? PL_OK : lost(link, cannot_copy, error);
}

static pl_status copy_open(pg_link *link, pl_error *error)
{
    PGresult *result;
    if (link->copying) {
        return PL_OK;
    }
    if (collect(link, &result, cannot_copy, error) != PL_OK) {
        return PL_FAILED;
    }
    link->copying = result && PQresultStatus(result) == PGRES_COPY_IN;
    PQclear(result);
    return link->copying ? PL_OK : pl_fail(error, PL_HALT, "%s: the server asks for no data", cannot_copy);
}

pl_status link_copy_put(pg_link *link, const char *bytes, size_t len, pl_error *error)
{
    if (copy_open(link, error) != PL_OK) {
        return PL_FAILED;
    }
    /* 0: no memory for what waits to be sent. */
    return PQputCopyData(link->connection, bytes, (int)len) == 1 ? PL_OK : lost(link, cannot_copy, error);
}

pl_status link_copy_end(pg_link *link, PGresult **result, pl_error *error)
{
    if (copy_open(link, error) != PL_OK) {
        return PL_FAILED;
    }
    link->copying = false;
    return PQputCopyEnd(link->connection, NULL) == 1 ? collect(link, result, cannot_copy, error)
                                                     : lost(link, cannot_copy, error);
}
