#include "timescale.h"

#include <stdlib.h>

enum { KEEP_BYTES = 1 << 20 }; /* of each column's array, between batches */

bool rows_init(rows *rows, size_t columns)
{
    rows->arrays = calloc(columns, sizeof *rows->arrays);
    rows->values = calloc(columns, sizeof *rows->values);
    rows->marks = calloc(columns, sizeof *rows->marks);
    rows->columns = columns;
    return rows->arrays && rows->values && rows->marks;
}

void rows_release(rows *rows)
{
    for (size_t i = 0; rows->arrays && i < rows->columns; i++) {
        text_release(&rows->arrays[i]);
    }
    text_release(&rows->scratch);
    free(rows->arrays);
    free(rows->values);
    free(rows->marks);
}

void rows_begin(rows *rows)
{
    for (size_t i = 0; i < rows->columns; i++) {
        if (rows->arrays[i].room > KEEP_BYTES || rows->arrays[i].failed) {
            text_release(&rows->arrays[i]);
        }
        rows->arrays[i].len = 0;
    }
    rows->count = 0;
}

/* In an array literal, inside quotes, only \ and " are special (PostgreSQL 15, 8.15.6). */
void array_add(text_buf *out, pl_str text)
{
    if (!text_reserve(out, 2 * text.len + 2)) {
        return;
    }
    char *at = out->data + out->len;
    *at++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\') {
            *at++ = '\\';
        }
        *at++ = text.ptr[i];
    }
    *at++ = '"';
    out->len = (size_t)(at - out->data);
}

static void add_cell(text_buf *out, const table_cell *cell, bool first)
{
    text_addc(out, first ? '{' : ',');
    if (cell->kind == CELL_NULL) {
        text_adds(out, "NULL");
    } else if (cell->kind == CELL_TEXT || cell->kind == CELL_TIME) {
        array_add(out, cell->text);
    } else {
        text_add(out, cell->text.ptr, cell->text.len);
    }
}

pl_status rows_add(rows *rows, const pl_host *host, const table *columns, const pl_record *record, pl_error *error)
{
    for (size_t i = 0; i < rows->columns; i++) {
        table_cell cell;
        rows->marks[i] = rows->arrays[i].len;
        rows->scratch.len = 0;
        if (table_read(host, &columns->columns[i], record, &rows->scratch, &cell, error) != PL_OK) {
            for (size_t k = 0; k < i; k++) {
                rows->arrays[k].len = rows->marks[k]; /* the record's earlier cells */
            }
            return PL_FAILED;
        }
        add_cell(&rows->arrays[i], &cell, rows->count == 0);
    }
    rows->count++;
    return PL_OK;
}

const char *const *rows_end(rows *rows)
{
    for (size_t i = 0; i < rows->columns; i++) {
        text_addc(&rows->arrays[i], '}');
        rows->values[i] = text_end(&rows->arrays[i]);
        if (!rows->values[i]) {
            return NULL;
        }
    }
    return rows->values;
}
