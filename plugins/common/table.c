#include "table.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

enum { NUMERIC_DIGITS_MAX = 1000, SHOWN_MAX = 40 };

static const pl_option column_fields[] = {
    {PL_OPTION(table_column_option, name, STR, NULL, "the column"), .flags = PL_OPT_REQUIRED},
    {PL_OPTION(table_column_option, from, FIELD, NULL, "the record's field; the column's name unless given"),
     .example = "quotes.USD.price"},
    {PL_OPTION(table_column_option, type, STR, "text",
               "text, boolean, smallint, integer, bigint, numeric, numeric(P,S), real, double precision, "
               "timestamptz, date, json, jsonb or uuid")},
    {PL_OPTION(table_column_option, null, BOOL, "true", "false: a record without it is rejected")},
};
const pl_option table_column_element = {
    .type = PL_OPT_OBJECT,
    .fields = column_fields,
    .field_count = sizeof column_fields / sizeof *column_fields,
    .element_size = sizeof(table_column_option),
};
const pl_option table_key_element = {.type = PL_OPT_STR};
const char *const table_conflicts[] = {"ignore", "update", NULL};

/* ---- Compiling ------------------------------------------------------------------------------ */

static const struct {
    const char *name, *sql;
    table_type type;
} types[] = {
    {"text", "text", TYPE_TEXT},
    {"boolean", "boolean", TYPE_BOOLEAN},
    {"bool", "boolean", TYPE_BOOLEAN},
    {"smallint", "smallint", TYPE_SMALLINT},
    {"int2", "smallint", TYPE_SMALLINT},
    {"integer", "integer", TYPE_INTEGER},
    {"int", "integer", TYPE_INTEGER},
    {"int4", "integer", TYPE_INTEGER},
    {"bigint", "bigint", TYPE_BIGINT},
    {"int8", "bigint", TYPE_BIGINT},
    {"numeric", "numeric", TYPE_NUMERIC},
    {"decimal", "numeric", TYPE_NUMERIC},
    {"real", "real", TYPE_REAL},
    {"float4", "real", TYPE_REAL},
    {"double precision", "double precision", TYPE_DOUBLE},
    {"double", "double precision", TYPE_DOUBLE},
    {"float8", "double precision", TYPE_DOUBLE},
    {"timestamptz", "timestamptz", TYPE_TIMESTAMPTZ},
    {"timestamp with time zone", "timestamptz", TYPE_TIMESTAMPTZ},
    {"date", "date", TYPE_DATE},
    {"json", "json", TYPE_JSON},
    {"jsonb", "jsonb", TYPE_JSONB},
    {"uuid", "uuid", TYPE_UUID},
};

static bool skip(const char **at, const char *word)
{
    *at += strspn(*at, " ");
    size_t len = strlen(word);
    bool there = strncasecmp(*at, word, len) == 0;
    *at += there ? len : 0;
    return there;
}

static bool take_number(const char **at, unsigned long *number)
{
    char *end;
    *at += strspn(*at, " ");
    *number = strtoul(*at, &end, 10);
    bool digits = isdigit((unsigned char)**at);
    *at = end;
    return digits;
}

/* numeric(P) or numeric(P,S), as PostgreSQL bounds them. */
static bool parse_numeric(const char *text, table_column *column)
{
    unsigned long precision, scale = 0;
    if (!skip(&text, "numeric") || !skip(&text, "(") || !take_number(&text, &precision) ||
        (skip(&text, ",") && !take_number(&text, &scale)) || !skip(&text, ")") || text[0] != '\0') {
        return false;
    }
    column->type = TYPE_NUMERIC;
    (void)snprintf(column->sql_type, sizeof column->sql_type, "numeric(%lu,%lu)", precision, scale);
    return precision >= 1 && precision <= NUMERIC_DIGITS_MAX && scale <= precision;
}

static bool parse_type(const char *text, table_column *column)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcasecmp(text, types[i].name) == 0) {
            column->type = types[i].type;
            (void)snprintf(column->sql_type, sizeof column->sql_type, "%s", types[i].sql);
            return true;
        }
    }
    return parse_numeric(text, column);
}

int table_find(const table *compiled, const char *name)
{
    for (size_t i = 0; i < compiled->count; i++) {
        const char *own = compiled->columns[i].name; /* NULL: not compiled yet */
        if (own && strcmp(own, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static pl_status compile_column(table *out, const table_column_option *given, pl_error *error)
{
    size_t i = out->count;
    if (given->name[0] == '\0' || strlen(given->name) > 63) { /* PostgreSQL cuts longer names */
        (void)snprintf(error->option, sizeof error->option, "columns[%zu].name", i);
        return pl_fail(error, PL_BAD_CONFIG, "a column's name has 1 to 63 bytes");
    }
    if (table_find(out, given->name) >= 0) {
        (void)snprintf(error->option, sizeof error->option, "columns[%zu].name", i);
        return pl_fail(error, PL_BAD_CONFIG, "column '%s' stands there twice", given->name);
    }
    table_column *column = &out->columns[i];
    *column = (table_column){.name = given->name, .null = given->null};
    column->from = PL_S(given->from ? given->from : given->name);
    if (!parse_type(given->type, column)) {
        (void)snprintf(error->option, sizeof error->option, "columns[%zu].type", i);
        return pl_fail(error, PL_BAD_CONFIG,
                       "'%.40s' is not a type; expected text, boolean, smallint, integer, bigint, numeric, "
                       "numeric(P,S), real, double precision, timestamptz, date, json, jsonb or uuid",
                       given->type);
    }
    out->count++;
    return PL_OK;
}

static pl_status compile_key(table *out, size_t i, const char *name, pl_error *error)
{
    (void)snprintf(error->option, sizeof error->option, "key[%zu]", i);
    int at = table_find(out, name);
    if (at < 0) {
        return pl_fail(error, PL_BAD_CONFIG, "'%.60s' is not one of the columns", name);
    }
    if (out->columns[at].key) {
        return pl_fail(error, PL_BAD_CONFIG, "'%.60s' stands there twice", name);
    }
    if (out->columns[at].type == TYPE_JSON || out->columns[at].type == TYPE_JSONB) {
        return pl_fail(error, PL_BAD_CONFIG, "'%.60s' is JSON, which makes no key", name);
    }
    out->columns[at].key = true;
    out->columns[at].null = false;
    error->option[0] = '\0';
    return PL_OK;
}

pl_status table_compile(const table_options *options, table *out, pl_error *error)
{
    *out = (table){.options = options, .update = strcmp(options->on_conflict, "update") == 0};
    const table_column_option *columns = options->columns.items;
    if (options->columns.count == 0) {
        (void)snprintf(error->option, sizeof error->option, "columns");
        return pl_fail(error, PL_BAD_CONFIG, "at least one is needed");
    }
    if (out->update && options->key.count == 0) {
        (void)snprintf(error->option, sizeof error->option, "on_conflict");
        return pl_fail(error, PL_BAD_CONFIG, "`update` needs a key, by which it finds the row");
    }
    out->columns = calloc(options->columns.count, sizeof *out->columns);
    if (!out->columns) {
        return pl_fail(error, PL_RETRY, "no memory for %zu columns", options->columns.count);
    }
    for (size_t i = 0; i < options->columns.count; i++) {
        if (compile_column(out, &columns[i], error) != PL_OK) {
            return PL_FAILED;
        }
    }
    for (size_t i = 0; i < options->key.count; i++) {
        if (compile_key(out, i, ((const char *const *)options->key.items)[i], error) != PL_OK) {
            return PL_FAILED;
        }
    }
    return PL_OK;
}

pl_status table_need_key(const table_options *options, const char *why, pl_error *error)
{
    if (options->key.count > 0) {
        return PL_OK;
    }
    (void)snprintf(error->option, sizeof error->option, "key");
    return pl_fail(error, PL_BAD_CONFIG, "`key` needs at least one column%s", why);
}

void table_release(table *compiled)
{
    free(compiled->columns);
    *compiled = (table){0};
}

/* ---- Names in SQL ----------------------------------------------------------------------------- */

void table_add_name(text_buf *out, const char *name)
{
    text_addc(out, '"');
    for (; *name; name++) {
        if (*name == '"') {
            text_addc(out, '"');
        }
        text_addc(out, *name);
    }
    text_addc(out, '"');
}

void table_add_table(text_buf *out, const char *table)
{
    bool quoted = false;
    text_addc(out, '"');
    for (const char *at = table; *at; at++) {
        if (*at == '"') {
            if (quoted && at[1] == '"') {
                text_adds(out, "\"\"");
                at++;
            } else {
                quoted = !quoted; /* the quotes around a part are ours already */
            }
        } else if (*at == '.' && !quoted) {
            text_adds(out, "\".\"");
        } else {
            text_addc(out, *at);
        }
    }
    text_addc(out, '"');
}

void table_add_key(const table *compiled, text_buf *out)
{
    const pl_array *key = &compiled->options->key;
    for (size_t i = 0; i < key->count; i++) {
        text_adds(out, i > 0 ? ", " : "");
        table_add_name(out, ((const char *const *)key->items)[i]);
    }
}

void table_add_conflict(const table *compiled, text_buf *out)
{
    text_adds(out, " ON CONFLICT (");
    table_add_key(compiled, out);
    text_adds(out, ") DO ");
    const char *before = "UPDATE SET ";
    for (size_t i = 0; compiled->update && i < compiled->count; i++) {
        if (!compiled->columns[i].key) {
            text_adds(out, before);
            table_add_name(out, compiled->columns[i].name);
            text_adds(out, " = excluded.");
            table_add_name(out, compiled->columns[i].name);
            before = ", ";
        }
    }
    text_adds(out, before[0] == 'U' ? "NOTHING" : ""); /* also where there is nothing but the key */
}

/* ---- Cells --------------------------------------------------------------------------------------- */

/* JSON's number grammar plus a leading +; PostgreSQL's words NaN and Infinity are no numbers here. */
static bool is_number(pl_str text)
{
    size_t i = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+'), digits = 0;
    for (; i < text.len && isdigit((unsigned char)text.ptr[i]); i++) {
        digits++;
    }
    if (i < text.len && text.ptr[i] == '.') {
        for (i++; i < text.len && isdigit((unsigned char)text.ptr[i]); i++) {
            digits++;
        }
    }
    if (digits == 0) {
        return false;
    }
    if (i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
        i += i + 1 < text.len && (text.ptr[i + 1] == '-' || text.ptr[i + 1] == '+') ? 2 : 1;
        size_t first = i;
        while (i < text.len && isdigit((unsigned char)text.ptr[i])) {
            i++;
        }
        if (i == first || i - first > 6) {
            return false;
        }
    }
    return i == text.len;
}

/* Digits with or without a sign; from a number that was one already, only its range is looked at. */
static bool read_integer(const pl_value *value, pl_str text, table_type type, int64_t *out)
{
    char digits[24];
    int64_t max = type == TYPE_SMALLINT ? INT16_MAX : type == TYPE_INTEGER ? INT32_MAX : INT64_MAX;
    if (value->type == PL_INT) {
        *out = value->as.i;
        return *out <= max && *out >= -max - 1;
    }
    size_t sign = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+');
    if (text.len == sign || text.len >= sizeof digits) {
        return false;
    }
    for (size_t i = sign; i < text.len; i++) {
        if (!isdigit((unsigned char)text.ptr[i])) {
            return false;
        }
    }
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    errno = 0;
    *out = strtoll(digits, NULL, 10);
    return errno == 0 && *out <= max && *out >= -max - 1;
}

static bool read_double(pl_str text, double *out)
{
    char digits[512];
    if (!is_number(text) || text.len >= sizeof digits) {
        return false;
    }
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    *out = strtod(digits, NULL);
    return isfinite(*out);
}

static bool is_date(pl_str text)
{
    char midnight[32];
    int64_t ignored;
    if (text.len != 10) {
        return false;
    }
    int len = snprintf(midnight, sizeof midnight, "%.10sT00:00:00Z", text.ptr);
    return text_time_parse((pl_str){midnight, (size_t)len}, &ignored);
}

static bool is_uuid(pl_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text.ptr[i] != '-' : !isxdigit((unsigned char)text.ptr[i])) {
            return false;
        }
    }
    return text.len == 36;
}

static bool read_boolean(const pl_value *value, table_cell *cell)
{
    cell->kind = CELL_BOOL;
    if (value->type == PL_BOOL) {
        cell->i = value->as.b;
    } else if (value->type == PL_STR && value->as.s.len == 4 && memcmp(value->as.s.ptr, "true", 4) == 0) {
        cell->i = 1;
    } else if (!(value->type == PL_STR && value->as.s.len == 5 && memcmp(value->as.s.ptr, "false", 5) == 0)) {
        return false;
    }
    cell->text = cell->i ? PL_S("true") : PL_S("false");
    return true;
}

/* Times come as RFC 3339 text: a bare number could be seconds or milliseconds. */
static bool read_time(const pl_value *value, text_buf *scratch, table_cell *cell)
{
    cell->kind = CELL_TIME;
    if (value->type == PL_TIME) {
        cell->i = value->as.i;
        return true; /* its text stands in scratch */
    }
    if (value->type != PL_STR || !text_time_parse(cell->text, &cell->i)) {
        return false;
    }
    if (cell->text.ptr[10] != 'T') {
        size_t start = scratch->len;
        text_time(scratch, cell->i);
        cell->text = (pl_str){scratch->data + start, scratch->len - start};
    }
    return true;
}

static bool read_json(const pl_value *value, text_buf *scratch, table_cell *cell)
{
    cell->kind = CELL_TEXT;
    if (value->type == PL_STR || value->type == PL_TIME || value->type == PL_BYTES) {
        text_buf quoted = {0};
        text_json_string(&quoted, cell->text);
        size_t start = scratch->len;
        text_add(scratch, quoted.data, quoted.len);
        scratch->failed = scratch->failed || quoted.failed;
        text_release(&quoted);
        cell->text = (pl_str){scratch->data + start, scratch->len - start};
    }
    return true;
}

static bool convert(const table_column *column, const pl_value *value, text_buf *scratch, table_cell *cell)
{
    switch (column->type) {
    case TYPE_TEXT:
        cell->kind = CELL_TEXT;
        return !memchr(cell->text.ptr, '\0', cell->text.len); /* PostgreSQL's text holds none */
    case TYPE_BOOLEAN:
        return read_boolean(value, cell);
    case TYPE_SMALLINT:
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        cell->kind = CELL_INT;
        return value->type != PL_BOOL && read_integer(value, cell->text, column->type, &cell->i);
    case TYPE_NUMERIC:
        cell->kind = CELL_NUMBER;
        return value->type != PL_TIME && is_number(cell->text);
    case TYPE_REAL:
    case TYPE_DOUBLE:
        cell->kind = CELL_REAL;
        return value->type != PL_TIME && read_double(cell->text, &cell->f);
    case TYPE_TIMESTAMPTZ:
        return read_time(value, scratch, cell);
    case TYPE_DATE:
        cell->kind = CELL_TEXT;
        return value->type == PL_STR && is_date(cell->text);
    case TYPE_UUID:
        cell->kind = CELL_TEXT;
        return value->type == PL_STR && is_uuid(cell->text);
    case TYPE_JSON:
    case TYPE_JSONB:
        return read_json(value, scratch, cell);
    }
    return false;
}

/* The beginning of a value for a message: one line of whole characters. */
static const char *show(const pl_value *value, pl_str text, char out[SHOWN_MAX + 8])
{
    size_t len = text.len < SHOWN_MAX ? text.len : SHOWN_MAX, used = 0;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xC0) == 0x80) {
        len--;
    }
    if (value->type == PL_STR) {
        out[used++] = '"';
    }
    for (size_t i = 0; i < len; i++) {
        out[used++] = (unsigned char)text.ptr[i] < 0x20 ? '?' : text.ptr[i];
    }
    (void)snprintf(out + used, 6, "%s%s", len < text.len ? "..." : "", value->type == PL_STR ? "\"" : "");
    return out;
}

pl_status table_read(const pl_host *host, const table_column *column, const pl_record *record, text_buf *scratch,
                     table_cell *cell, pl_error *error)
{
    pl_value value = {.type = PL_NIL};
    *cell = (table_cell){.kind = CELL_NULL};
    bool there = host->field(host, record, column->from, &value);
    if (!there || value.type == PL_NIL) {
        return column->null
                   ? PL_OK
                   : pl_fail(error, PL_REJECT, "column '%s' must not be null: field '%.*s' is %s", column->name,
                             (int)column->from.len, column->from.ptr, there ? "null" : "missing");
    }
    if (value.type == PL_STR || value.type == PL_DECIMAL || value.type == PL_JSON) {
        cell->text = value.as.s;
    } else {
        /* Room first: what is appended later must not move it. */
        (void)text_reserve(scratch, 128 + (value.type == PL_BYTES ? 2 * value.as.s.len : 0));
        size_t start = scratch->len;
        text_value(scratch, &value);
        cell->text = (pl_str){scratch->data + start, scratch->len - start};
    }
    if (scratch->failed) {
        return pl_fail(error, PL_RETRY, "no memory for a value of column '%s'", column->name);
    }
    if (!convert(column, &value, scratch, cell)) {
        char shown[SHOWN_MAX + 8];
        return pl_fail(error, PL_REJECT, "column '%s' takes %s: field '%.*s' is %s", column->name, column->sql_type,
                       (int)column->from.len, column->from.ptr, show(&value, cell->text, shown));
    }
    return PL_OK;
}
