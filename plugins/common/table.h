/* What the table sinks (timescale, sqlite) have in common: the options that map a record's fields to columns, and the
 * cells that come of them. Both stores then hold the same values and reject the same records. */
#ifndef PL_PLUGINS_TABLE_H
#define PL_PLUGINS_TABLE_H
#include "text.h"

/* ---- Options: the first member of each sink's config struct ------------------------------ */

typedef struct table_column_option {
    const char *name, *from, *type;
    bool null;
} table_column_option;
typedef struct table_options {
    const char *table;
    pl_array columns; /* of table_column_option */
    pl_array key;     /* of const char * */
    const char *on_conflict;
    bool create;
} table_options;

extern const pl_option table_column_element, table_key_element;
extern const char *const table_conflicts[];
/* For a pl_option[] of a struct that begins with table_options. */
#define TABLE_OPTIONS                                                                                                  \
    {PL_OPTION(table_options, table, STR, NULL, "the table; a schema may stand before it: prices.api_price"),          \
     .flags = PL_OPT_REQUIRED, .example = "api_price"},                                                                \
        {PL_OPTION(table_options, columns, LIST, NULL, "the columns, and the fields they come from"),                  \
         .flags = PL_OPT_REQUIRED,                                                                                     \
         .fields = &table_column_element,                                                                              \
         .field_count = 1,                                                                                             \
         .element_size = sizeof(table_column_option),                                                                  \
         .example = "[{ name: pair }, { name: price, type: numeric }]"},                                               \
        {PL_OPTION(table_options, key, LIST, NULL,                                                                     \
                   "columns that together are unique; writing a record twice leaves one"),                             \
         .flags = PL_OPT_REQUIRED,                                                                                     \
         .fields = &table_key_element,                                                                                 \
         .field_count = 1,                                                                                             \
         .element_size = sizeof(const char *),                                                                         \
         .example = "[pair, at]"},                                                                                     \
        {PL_OPTION(table_options, on_conflict, ENUM, "ignore", "what a record does whose key is already there"),       \
         .choices = table_conflicts},                                                                                  \
    {                                                                                                                  \
        PL_OPTION(table_options, create, BOOL, "false", "make the table when it is not there")                         \
    }

/* ---- Columns ------------------------------------------------------------------------------ */

typedef enum {
    TYPE_TEXT,
    TYPE_BOOLEAN,
    TYPE_SMALLINT,
    TYPE_INTEGER,
    TYPE_BIGINT,
    TYPE_NUMERIC,
    TYPE_REAL,
    TYPE_DOUBLE,
    TYPE_TIMESTAMPTZ,
    TYPE_DATE,
    TYPE_JSON,
    TYPE_JSONB,
    TYPE_UUID
} table_type;

typedef struct table_column {
    const char *name;
    pl_str from; /* path of the field */
    table_type type;
    char sql_type[32]; /* PostgreSQL's name of it, safe to paste into SQL */
    bool null, key;    /* key: then not null */
} table_column;

typedef struct table {
    const table_options *options;
    table_column *columns;
    size_t count;
    bool update; /* on_conflict: update */
} table;

/* PL_BAD_CONFIG names the option and the nearest mistake. Borrows the options. The key may be empty. */
pl_status table_compile(const table_options *options, table *out, pl_error *error);
/* PL_BAD_CONFIG where the key is empty; `why` ends the message. */
pl_status table_need_key(const table_options *options, const char *why, pl_error *error);
void table_release(table *compiled);
/* Index of a column, or -1. */
int table_find(const table *compiled, const char *name);
/* "name", inner quotes doubled. */
void table_add_name(text_buf *out, const char *name);
/* "schema"."table" of the option's schema.table; parts may be quoted already. */
void table_add_table(text_buf *out, const char *table);
/* "a", "b": the key's columns. */
void table_add_key(const table *compiled, text_buf *out);
/* What an INSERT does with a row whose key is there already, as on_conflict says. The key may not be empty. */
void table_add_conflict(const table *compiled, text_buf *out);

/* No error yet. Only what a reader looks at: one for each record of a batch, whole, would be most of a cache. */
static inline void error_clear(pl_error *error)
{
    error->struct_size = sizeof *error;
    error->error_class = error->code = 0;
    error->retry_after_ms = 0;
    error->option[0] = error->message[0] = '\0';
}

/* ---- Cells ---------------------------------------------------------------------------------- */

typedef struct table_cell {
    enum { CELL_NULL, CELL_TEXT, CELL_NUMBER, CELL_INT, CELL_REAL, CELL_BOOL, CELL_TIME } kind;
    int64_t i;   /* INT, BOOL; TIME: unix ns */
    double f;    /* REAL */
    pl_str text; /* all but NULL: as PostgreSQL reads it. NUMBER, INT, REAL, BOOL: only letters, digits, + - . */
} table_cell;
/* One cell; its text lives until the record's next cell or in `scratch`, which grows. PL_REJECT: the field is missing
 * where it must not be, or is no value of that type: says which column, which field, what was found. */
pl_status table_read(const pl_host *host, const table_column *column, const pl_record *record, text_buf *scratch,
                     table_cell *cell, pl_error *error);
#endif
