/* Exactly once: a transaction over many batches, with the source's positions in it (docs/decisions/0017-positions-in-
 * the-store.md). Each lane has one row, which is moved only from where this instance knows it to be: whoever comes
 * second finds another position there and stops. The row is there before anything is stored of the lane, so whoever
 * asks for it waits for a transaction that is still about to commit. */
#include "timescale.h"

#include <inttypes.h>
#include <stdlib.h>

enum { DIGITS_MAX = 24 };

struct txn_lane {
    char *name; /* NUL-ended */
    size_t len;
    bool stored;             /* `position` is */
    uint64_t position, next; /* next: what the commit at hand moves it to */
};

static const char columns_of_it[] = "(pipeline text, sink text, lane text, position numeric(20), "
                                    "updated_at timestamptz, PRIMARY KEY (pipeline, sink, lane))";

static pl_status no_memory(pl_error *error)
{
    return pl_fail(error, PL_RETRY, "no memory for a statement");
}

/* ---- Life --------------------------------------------------------------------------------------- */

pl_status txn_init(txn *txn, const timescale_config *config, const pl_txn *host, pl_error *error)
{
    txn->host = host;
    txn->config = config;
    text_adds(&txn->ask, "INSERT INTO ");
    table_add_table(&txn->ask, config->positions);
    text_adds(&txn->ask, " AS p (pipeline, sink, lane) VALUES ($1, $2, $3) ON CONFLICT (pipeline, sink, lane) "
                         "DO UPDATE SET lane = excluded.lane RETURNING p.position");
    text_adds(&txn->move, "UPDATE ");
    table_add_table(&txn->move, config->positions);
    text_adds(&txn->move, " AS p SET position = g.position, updated_at = clock_timestamp() "
                          "FROM unnest($3::text[], $4::numeric[], $5::numeric[]) AS g(lane, position, expected) "
                          "WHERE p.pipeline = $1 AND p.sink = $2 AND p.lane = g.lane "
                          "AND p.position IS NOT DISTINCT FROM g.expected RETURNING p.lane");
    return text_end(&txn->ask) && text_end(&txn->move) ? PL_OK : no_memory(error);
}

void txn_release(txn *txn)
{
    for (size_t i = 0; i < txn->count; i++) {
        free(txn->lanes[i].name);
    }
    free(txn->lanes);
    text_release(&txn->ask);
    text_release(&txn->move);
    for (size_t i = 0; i < 3; i++) {
        text_release(&txn->arrays[i]);
    }
}

/* ---- The table ------------------------------------------------------------------------------------- */

pl_status txn_ready(const txn *txn, pg_link *link, pl_error *error)
{
    const char *name = txn->config->positions;
    bool there;
    text_buf sql = {0};
    if (schema_has_table(link, name, &there, error) != PL_OK) {
        return PL_FAILED;
    }
    if (there) {
        return PL_OK;
    }
    text_adds(&sql, "CREATE TABLE IF NOT EXISTS ");
    table_add_table(&sql, name);
    text_addc(&sql, ' ');
    text_adds(&sql, columns_of_it);
    pl_status status = text_end(&sql) ? PL_OK : no_memory(error);
    if (status == PL_OK && !txn->config->table.create) {
        status =
            pl_fail(error, PL_HALT, "exactly_once needs a table for positions; `create: true` makes it: %s", sql.data);
    } else if (status == PL_OK) {
        status = schema_make_table(link, name, sql.data, "table", error);
    }
    text_release(&sql);
    return status;
}

/* ---- Lanes ------------------------------------------------------------------------------------------- */

/* Mostly at its place of the last time, `hint`. */
static txn_lane *find_lane(const txn *txn, pl_str name, size_t hint)
{
    for (size_t i = 0; i < txn->count; i++) {
        txn_lane *lane = &txn->lanes[(hint + i) % txn->count];
        if (lane->len == name.len && memcmp(lane->name, name.ptr, name.len) == 0) {
            return lane;
        }
    }
    return NULL;
}

static txn_lane *add_lane(txn *txn, pl_str name, pl_error *error)
{
    txn_lane *lane = find_lane(txn, name, 0);
    if (lane) {
        return lane;
    }
    if (txn->count == txn->room) {
        size_t room = txn->room ? 2 * txn->room : 16;
        txn_lane *lanes = realloc(txn->lanes, room * sizeof *lanes);
        if (!lanes) {
            (void)no_memory(error);
            return NULL;
        }
        txn->lanes = lanes;
        txn->room = room;
    }
    char *copy = malloc(name.len + 1);
    if (!copy) {
        (void)no_memory(error);
        return NULL;
    }
    memcpy(copy, name.ptr, name.len);
    copy[name.len] = '\0';
    lane = &txn->lanes[txn->count++];
    *lane = (txn_lane){.name = copy, .len = name.len};
    return lane;
}

/* What is stored for a lane; waits for whoever is about to change it. */
static pl_status ask(const txn *txn, pg_link *link, const char *lane, bool *stored, uint64_t *position, pl_error *error)
{
    const char *const values[] = {txn->host->pipeline, link->host->instance, lane};
    PGresult *result = NULL;
    if (link_run(link, txn->ask.data, 3, values, &result, "cannot ask for a position", error) != PL_OK) {
        return PL_FAILED;
    }
    *stored = PQntuples(result) > 0 && !PQgetisnull(result, 0, 0);
    *position = *stored ? strtoull(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    return PL_OK;
}

pl_status txn_position(txn *txn, pg_link *link, pl_str name, uint64_t *position, pl_error *error)
{
    txn_lane *lane = add_lane(txn, name, error);
    if (!lane) {
        return PL_FAILED;
    }
    if (ask(txn, link, lane->name, &lane->stored, &lane->position, error) != PL_OK) {
        txn_undo(txn, link);
        return PL_FAILED;
    }
    txn->touched = txn->begun; /* a write that fails must not take the lane's row with it */
    *position = lane->position;
    return lane->stored ? PL_OK : PL_END;
}

/* ---- Transactions --------------------------------------------------------------------------------------- */

void txn_open(txn *txn)
{
    txn->open = true;
    txn->begun = txn->touched = false;
}

/* Constraints are checked by the statement, so that a record that breaks one can be told from the others. */
pl_status txn_begin(txn *txn, pg_link *link, pl_error *error)
{
    if (!txn->open || txn->begun) {
        return PL_OK;
    }
    pl_status status = link_run(link,
                                "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE; "
                                "SAVEPOINT plumbline",
                                0, NULL, NULL, "cannot begin a transaction", error);
    if (status != PL_OK) {
        link_close(link);
        return status;
    }
    txn->begun = true;
    txn->touched = false;
    return PL_OK;
}

pl_status txn_mark(txn *txn, pg_link *link, pl_error *error)
{
    pl_status status = PL_OK;
    if (txn->touched) {
        status = link_run(link, TXN_MARK, 0, NULL, NULL, "cannot set a savepoint", error);
    }
    txn->touched = txn->begun;
    return status;
}

void txn_undo(txn *txn, pg_link *link)
{
    pl_error unused = {.struct_size = sizeof unused};
    if (txn->begun && link->connection &&
        link_run(link, "ROLLBACK TO SAVEPOINT plumbline", 0, NULL, NULL, "cannot roll back", &unused) != PL_OK) {
        link_close(link);
    }
    txn->touched = false;
}

void txn_abort(txn *txn, pg_link *link)
{
    pl_error unused = {.struct_size = sizeof unused};
    if (txn->begun && link->connection &&
        link_run(link, "ROLLBACK", 0, NULL, NULL, "cannot roll back", &unused) != PL_OK) {
        link_close(link); /* the server then rolls back */
    }
    txn->open = txn->begun = false;
}

/* ---- Committing ------------------------------------------------------------------------------------------- */

static void add_number(text_buf *out, uint64_t number)
{
    char digits[DIGITS_MAX];
    text_add(out, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number));
}

/* Lanes, new positions and expected ones as array literals. */
static pl_status list_moves(txn *txn, const pl_txn_position *positions, uint32_t count, pl_error *error)
{
    for (size_t k = 0; k < 3; k++) {
        txn->arrays[k].len = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        txn_lane *lane = find_lane(txn, positions[i].lane, i);
        if (!lane) {
            return pl_fail(error, PL_HALT, "lane %.*s was never asked for its position",
                           (int)(positions[i].lane.len < 120 ? positions[i].lane.len : 120), positions[i].lane.ptr);
        }
        lane->next = positions[i].position;
        for (size_t k = 0; k < 3; k++) {
            text_addc(&txn->arrays[k], i > 0 ? ',' : '{');
        }
        array_add(&txn->arrays[0], positions[i].lane);
        add_number(&txn->arrays[1], lane->next);
        if (lane->stored) {
            add_number(&txn->arrays[2], lane->position);
        } else {
            text_adds(&txn->arrays[2], "NULL");
        }
    }
    for (size_t k = 0; k < 3; k++) {
        text_addc(&txn->arrays[k], '}');
        if (!text_end(&txn->arrays[k])) {
            text_release(&txn->arrays[k]);
            return no_memory(error);
        }
    }
    return PL_OK;
}

/* Another instance has moved a lane. After the rollback, so that what is told is what was committed. */
static pl_status fenced(txn *txn, pg_link *link, const txn_lane *lane, pl_error *error)
{
    char expected[DIGITS_MAX] = "none", found[DIGITS_MAX] = "none";
    bool stored;
    uint64_t position;
    txn_abort(txn, link);
    if (lane->stored) {
        (void)snprintf(expected, sizeof expected, "%" PRIu64, lane->position);
    }
    if (!link->connection || ask(txn, link, lane->name, &stored, &position, error) != PL_OK) {
        (void)snprintf(found, sizeof found, "another");
    } else if (stored) {
        (void)snprintf(found, sizeof found, "%" PRIu64, position);
    }
    return pl_fail(error, PL_HALT,
                   "fenced: another instance of this pipeline stores lane %.100s; position %s expected in %.60s, "
                   "%s found",
                   lane->name, expected, txn->config->positions, found);
}

static bool was_moved(const PGresult *moved, const txn_lane *lane, int hint)
{
    int rows = PQntuples(moved);
    for (int i = 0; i < rows; i++) {
        if (strcmp(PQgetvalue(moved, (hint + i) % rows, 0), lane->name) == 0) {
            return true;
        }
    }
    return false;
}

static pl_status move(txn *txn, pg_link *link, const pl_txn_position *positions, uint32_t count, pl_error *error)
{
    PGresult *moved = NULL;
    if (list_moves(txn, positions, count, error) != PL_OK) {
        return PL_FAILED;
    }
    const char *const values[] = {txn->host->pipeline, link->host->instance, txn->arrays[0].data, txn->arrays[1].data,
                                  txn->arrays[2].data};
    if (link_run(link, txn->move.data, 5, values, &moved, "cannot store the positions", error) != PL_OK) {
        return PL_FAILED;
    }
    const txn_lane *left = NULL;
    for (uint32_t i = 0; i < count && !left && (uint32_t)PQntuples(moved) != count; i++) {
        const txn_lane *lane = find_lane(txn, positions[i].lane, i);
        left = was_moved(moved, lane, (int)i) ? NULL : lane;
    }
    PQclear(moved);
    return left ? fenced(txn, link, left, error) : PL_OK;
}

/* PL_FAILED: nothing is committed. PL_AGAIN: it can't be told from here. */
static pl_status finish(pg_link *link, pl_error *error)
{
    PGresult *result = NULL;
    if (link_run(link, "COMMIT", 0, NULL, &result, "cannot commit", error) != PL_OK) {
        bool for_good = link->connection && error->error_class != PL_RETRY; /* the server's own answer */
        return for_good ? PL_FAILED : PL_AGAIN;
    }
    /* A transaction that had failed is rolled back by it, and that is no error. */
    bool committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    PQclear(result);
    return committed ? PL_OK : pl_fail(error, PL_RETRY, "cannot commit: the server rolled back");
}

static void moved_all(txn *txn, const pl_txn_position *positions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        txn_lane *lane = find_lane(txn, positions[i].lane, i);
        lane->stored = true;
        lane->position = lane->next;
    }
}

pl_status txn_commit(txn *txn, pg_link *link, const pl_txn_position *positions, uint32_t count, pl_error *error)
{
    pl_status status = txn_begin(txn, link, error);
    if (status == PL_OK && count > 0) {
        status = move(txn, link, positions, count, error);
    }
    status = status == PL_OK ? finish(link, error) : status;
    if (status == PL_FAILED) {
        txn_abort(txn, link);
        return status;
    }
    txn->open = txn->begun = false;
    if (status == PL_OK) {
        moved_all(txn, positions, count);
    } else {
        link_close(link);
    }
    return status;
}

pl_status txn_look_back(txn *txn, pg_link *link, const pl_txn_position *positions, uint32_t count, pl_error *error)
{
    bool stored = false;
    uint64_t position = 0;
    const pl_error why = *error;
    const txn_lane *lane = count > 0 ? find_lane(txn, positions[0].lane, 0) : NULL;
    if (lane && ask(txn, link, lane->name, &stored, &position, error) != PL_OK) {
        return PL_FAILED;
    }
    if (!stored || position != lane->next) {
        return pl_fail(error, PL_RETRY, "the commit did not come about, or nobody knows: %s", why.message);
    }
    moved_all(txn, positions, count);
    return PL_OK;
}
