#include "file.h"

/* The field that begins at `at`: sets ptr and len; returns where it ends (delimiter, newline or end), NULL when it is
 * quoted and not closed, and the closing quote's follower in *bad when something else than a separator follows it. */
static char *take_quoted(char *at, char *end, csv_field *field)
{
    *field = (csv_field){.ptr = at + 1, .quoted = true};
    for (char *quote = at + 1; (quote = memchr(quote, '"', (size_t)(end - quote))) != NULL; quote += 2) {
        if (quote + 1 < end && quote[1] == '"') {
            field->doubled = true;
            continue;
        }
        field->len = (size_t)(quote - field->ptr);
        return quote + 1;
    }
    return NULL;
}

static char *take_plain(char *at, char *end, char delimiter, csv_field *field)
{
    char *stop = at;
    while (stop < end && *stop != delimiter && *stop != '\n') {
        stop++;
    }
    *field = (csv_field){.ptr = at, .len = (size_t)(stop - at)};
    if (field->len > 0 && (stop == end || *stop == '\n') && stop[-1] == '\r') {
        field->len--;
    }
    return stop;
}

static csv_result bad_line(char *at, char *end, bool at_eof, char **next, const char *text, const char **why)
{
    char *newline = memchr(at, '\n', (size_t)(end - at));
    if (!newline && !at_eof) {
        return CSV_MORE;
    }
    *next = newline ? newline + 1 : end;
    *why = text;
    return CSV_BAD;
}

csv_result csv_split(char *at, char *end, bool at_eof, char delimiter, csv_field *fields, size_t *count, char **next,
                     const char **why)
{
    char *line = at;
    for (*count = 0;; at++) {
        csv_field field;
        if (at < end && *at == '"') {
            at = take_quoted(at, end, &field);
            /* A quote at the very end of what was read may be the first of two. */
            if (!at || (at == end && !at_eof)) {
                return at_eof ? bad_line(line, end, true, next, "a quote is never closed", why) : CSV_MORE;
            }
            if (at + 1 < end && at[0] == '\r' && at[1] == '\n') {
                at++;
            }
            if (at < end && *at != delimiter && *at != '\n') {
                return at[0] == '\r' && at + 1 == end && !at_eof
                           ? CSV_MORE
                           : bad_line(at, end, at_eof, next, "text follows a closing quote", why);
            }
        } else {
            at = take_plain(at, end, delimiter, &field);
        }
        if (at == end && !at_eof) {
            return CSV_MORE;
        }
        if (*count == CSV_FIELDS_MAX) {
            return bad_line(at, end, at_eof, next, "more than 1024 fields", why);
        }
        fields[(*count)++] = field;
        if (at == end || *at == '\n') {
            *next = at == end ? end : at + 1;
            return CSV_RECORD;
        }
    }
}

void csv_undouble(csv_field *field)
{
    if (!field->doubled) {
        return;
    }
    size_t to = 0;
    for (size_t from = 0; from < field->len; from++) {
        field->ptr[to++] = field->ptr[from];
        from += field->ptr[from] == '"'; /* the other of the two */
    }
    field->len = to;
    field->doubled = false;
}

void csv_write(text_buf *out, pl_str text, char delimiter, bool quote)
{
    for (size_t i = 0; i < text.len && !quote; i++) {
        char c = text.ptr[i];
        quote = c == delimiter || c == '"' || c == '\n' || c == '\r';
    }
    if (!quote) {
        text_add(out, text.ptr, text.len);
        return;
    }
    text_addc(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"') {
            text_addc(out, '"');
        }
        text_addc(out, text.ptr[i]);
    }
    text_addc(out, '"');
}
