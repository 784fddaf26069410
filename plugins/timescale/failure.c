#include "timescale.h"

/* Classes of SQLSTATE (PostgreSQL 15, appendix A). A prefix of two letters stands for its class; longer ones come
 * first.
 */
static const struct {
    const char *prefix;
    int32_t class;
} classes[] = {
    {"25006", PL_RETRY}, /* read-only: a standby before its promotion */
    {"55P03", PL_RETRY}, /* lock not available */
    {"57014", PL_RETRY}, /* statement timeout */
    {"XX001", PL_HALT},  /* data corrupted */
    {"XX002", PL_HALT},  /* index corrupted */
    {"08", PL_RETRY},    /* connection */
    {"21", PL_REJECT},   /* one key twice in a statement: the core halves the batch */
    {"22", PL_REJECT},   /* data */
    {"23", PL_REJECT},   /* integrity constraint */
    {"25", PL_RETRY},    /* transaction state */
    {"40", PL_RETRY},    /* rollback: serialization, deadlock */
    {"53", PL_RETRY},    /* resources: disk full, too many connections */
    {"54", PL_REJECT},   /* too large for a limit, e.g. an index row */
    {"55", PL_RETRY},    /* object not in the state needed */
    {"57", PL_RETRY},    /* shutting down, starting, terminated */
    {"58", PL_RETRY},    /* system error */
    {"XX", PL_RETRY},    /* internal */
    {"", PL_HALT},       /* 28: refused, 3D: no database, 42: no table or column, no right, and the rest */
};

int32_t failure_class(const char *sqlstate)
{
    size_t i = 0;
    while (strncmp(sqlstate, classes[i].prefix, strlen(classes[i].prefix)) != 0) {
        i++;
    }
    return classes[i].class;
}

/* The first line of a text, without what follows its newline. */
static int line_length(const char *text)
{
    return (int)strcspn(text, "\n");
}

pl_status failure_of_result(const PGresult *result, const char *what, pl_error *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *column = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);
    if (!state) {
        const char *text = PQresultErrorMessage(result);
        return pl_fail(error, PL_RETRY, "%s: %.*s", what, line_length(text), text);
    }
    primary = primary ? primary : "no message";
    return pl_fail(error, failure_class(state), "%s: %.*s%s%s (SQLSTATE %s)", what,
                   line_length(primary) < 160 ? line_length(primary) : 160, primary, column ? ", column " : "",
                   column ? column : "", state);
}

/* "FATAL:  28P01: password ...": the connection reports verbosely while it is made, for libpq gives no other access to
 * the SQLSTATE of a refused connection. */
static bool find_state(const char *message, char state[6], const char **rest)
{
    const char *at = strstr(message, "FATAL:  ");
    at = at ? at : strstr(message, "ERROR:  ");
    if (!at || strlen(at) < 15 || at[13] != ':') {
        return false;
    }
    memcpy(state, at + 8, 5);
    state[5] = '\0';
    *rest = at + 15;
    return strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5;
}

pl_status failure_of_connection(const PGconn *connection, const char *what, pl_error *error)
{
    static const char *const for_ever[] = {"certificate verify failed", "no password supplied",
                                           "server does not support SSL", "certificate for", "channel binding"};
    const char *message = connection ? PQerrorMessage(connection) : "no memory";
    const char *rest;
    char state[6];
    if (find_state(message, state, &rest)) {
        return pl_fail(error, failure_class(state), "%s: %.*s (SQLSTATE %s)", what, line_length(rest), rest, state);
    }
    int32_t class = PL_RETRY;
    for (size_t i = 0; i < sizeof for_ever / sizeof *for_ever; i++) {
        class = strstr(message, for_ever[i]) ? PL_HALT : class;
    }
    return pl_fail(error, class, "%s: %.*s", what, line_length(message), message);
}
