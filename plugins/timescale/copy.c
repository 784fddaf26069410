/* COPY straight into the table: the server is done with a row in a third of the time that the insert takes
 * (docs/decisions/0012-copy-first.md). It knows no ON CONFLICT, so a batch with a key that is there already fails as a
 * whole and goes by the insert; and since keys that come again come in swarms (a replay, a second poll of the same
 * round), COPY then rests. Text format: PostgreSQL 15, COPY, File Formats. */
#include "timescale.h"

#include <stdlib.h>

enum {
    ROWS_MIN = 100,         /* fewer are not worth the second round trip */
    CHUNK_BYTES = 32 << 10, /* sent at once */
    KEEP_BYTES = 1 << 20,
    PENALTY_MAX = 1023,
};

void copy_release(copy *copy)
{
    text_release(&copy->sql);
    text_release(&copy->lines);
    text_release(&copy->scratch);
}

pl_status copy_look(copy *copy, pg_link *link, const table *columns, const char *before, pl_error *error)
{
    text_release(&copy->sql);
    if (schema_add_copy(link, columns, before, &copy->sql, error) != PL_OK) {
        return PL_FAILED;
    }
    if (copy->sql.len > 0 && !text_end(&copy->sql)) {
        text_release(&copy->sql);
        return pl_fail(error, PL_RETRY, "no memory for a statement");
    }
    return PL_OK;
}

bool copy_wanted(const copy *copy, uint32_t count)
{
    return copy->sql.len > 0 && copy->pause == 0 && count >= ROWS_MIN;
}

void copy_inserted(copy *copy, bool conflicts)
{
    if (conflicts) {
        copy->pause = copy->penalty;
    } else if (copy->pause > 0) {
        copy->pause--;
    }
}

/* ---- Lines ------------------------------------------------------------------------------------ */

static void add_escaped(text_buf *out, pl_str text)
{
    static const char escapes[256] = {['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    size_t done = 0;
    for (size_t i = 0; i < text.len; i++) {
        char escape = escapes[(unsigned char)text.ptr[i]];
        if (escape) {
            text_add(out, text.ptr + done, i - done);
            text_add(out, (const char[]){'\\', escape}, 2);
            done = i + 1;
        }
    }
    text_add(out, text.ptr + done, text.len - done);
}

static void add_cell(text_buf *out, const table_cell *cell)
{
    if (cell->kind == CELL_NULL) {
        text_add(out, "\\N", 2);
    } else if (cell->kind == CELL_TEXT) {
        add_escaped(out, cell->text);
    } else {
        text_add(out, cell->text.ptr, cell->text.len);
    }
}

static pl_status add_line(copy *copy, const pl_host *host, const table *columns, const pl_record *record,
                          pl_error *error)
{
    size_t start = copy->lines.len;
    for (size_t i = 0; i < columns->count; i++) {
        table_cell cell;
        copy->scratch.len = 0;
        if (table_read(host, &columns->columns[i], record, &copy->scratch, &cell, error) != PL_OK) {
            copy->lines.len = start; /* the record's earlier cells */
            return PL_FAILED;
        }
        add_cell(&copy->lines, &cell);
        text_addc(&copy->lines, i + 1 < columns->count ? '\t' : '\n');
    }
    copy->rows++;
    return copy->lines.failed ? pl_fail(error, PL_RETRY, "no memory for a row") : PL_OK;
}

/* ---- Batches ----------------------------------------------------------------------------------- */

static pl_status put_lines(copy *copy, pg_link *link, pl_error *error)
{
    pl_status status = link_copy_put(link, copy->lines.data, copy->lines.len, error);
    copy->lines.len = 0;
    return status;
}

static pl_status put_all(copy *copy, pg_link *link, const table *columns, const pl_batch *batch, pl_error *rejected,
                         pl_error *error)
{
    copy->rows = 0;
    copy->lines.len = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        pl_error *why = &rejected[i];
        error_clear(why);
        if (add_line(copy, link->host, columns, batch->records[i], why) != PL_OK && why->error_class != PL_REJECT) {
            *error = *why;
            link_close(link);
            text_release(&copy->lines);
            return PL_FAILED;
        }
        if (copy->lines.len >= CHUNK_BYTES && put_lines(copy, link, error) != PL_OK) {
            return PL_FAILED;
        }
    }
    return copy->lines.len > 0 ? put_lines(copy, link, error) : PL_OK;
}

/* After a failure: does the insert take over? */
static pl_status give_way(copy *copy, const pg_link *link, const pl_error *error)
{
    copy->penalty = copy->penalty < PENALTY_MAX ? 2 * copy->penalty + 1 : PENALTY_MAX;
    copy->pause = copy->penalty;
    if (!link->connection || error->error_class == PL_RETRY) {
        return PL_FAILED;
    }
    if (strstr(error->message, "(SQLSTATE 0A000)")) {
        text_release(&copy->sql); /* a server, or a table, that takes none */
    }
    return PL_AGAIN;
}

pl_status copy_batch(copy *copy, pg_link *link, const table *columns, const pl_batch *batch, pl_error *rejected,
                     double *written, pl_error *error)
{
    PGresult *result = NULL;
    pl_status status = link_copy_begin(link, copy->sql.data, error);
    status = status == PL_OK ? put_all(copy, link, columns, batch, rejected, error) : status;
    status = status == PL_OK ? link_copy_end(link, &result, error) : status;
    if (copy->lines.room > KEEP_BYTES) {
        text_release(&copy->lines);
    }
    if (status != PL_OK) {
        return give_way(copy, link, error);
    }
    copy->penalty /= 2;
    *written = strtod(PQcmdTuples(result), NULL);
    PQclear(result);
    return PL_OK;
}
