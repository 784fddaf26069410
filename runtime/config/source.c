#include <config/source.h>

#include <ctype.h>
#include <strings.h>

pl_source_file *pl_source_new(pl_arena *arena, const char *path, pl_str text)
{
    pl_source_file *source = pl_arena_alloc(arena, sizeof *source);
    pl_str name = pl_arena_str(arena, PL_S(path)), copy = pl_arena_str(arena, text);
    if (!source || !name.ptr || !copy.ptr)
        return NULL;
    *source = (pl_source_file){.path = name.ptr, .text = copy, .arena = arena};
    return source;
}

/* Bytes of the line break at p, 0: none. */
static size_t line_break(const char *p, size_t left)
{
    static const char *const breaks[] = {"\r\n", "\n", "\r", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
    unsigned char first = (unsigned char)*p;
    if (first != '\n' && first != '\r' && first < 0xc2)
        return 0;
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        size_t len = strlen(breaks[i]);
        if (left >= len && memcmp(p, breaks[i], len) == 0)
            return len;
    }
    return 0;
}

static bool starts_character(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

pl_str pl_source_line(const pl_source_file *source, int line)
{
    const char *text = source->text.ptr;
    size_t len = source->text.len, at = 0;
    if (line < 1)
        return (pl_str){NULL, 0};
    for (int number = 1;; number++) {
        size_t end = at, step = 0;
        while (end < len && (step = line_break(text + end, len - end)) == 0)
            end++;
        if (number == line)
            return (pl_str){text + at, end - at};
        if (end >= len)
            return (pl_str){NULL, 0};
        at = end + step;
    }
}

void pl_source_place(const pl_source_file *source, size_t offset, int *line, int *column)
{
    const char *text = source->text.ptr;
    size_t len = source->text.len;
    *line = *column = 1;
    for (size_t at = 0; at < offset && at < len;) {
        size_t step = line_break(text + at, len - at);
        if (step > 0) {
            ++*line;
            *column = 1;
            at += step;
        } else {
            at++;
            *column += at >= len || starts_character(text[at]);
        }
    }
}

size_t pl_source_offset(const pl_source_file *source, int line, int column)
{
    pl_str found = pl_source_line(source, line);
    if (!found.ptr)
        return source->text.len;
    size_t at = 0;
    for (int number = 1; number < column && at < found.len; number++)
        for (at++; at < found.len && !starts_character(found.ptr[at]);)
            at++;
    return (size_t)(found.ptr - source->text.ptr) + at;
}

/* ---- Secrets in a line ---------------------------------------------------- */

enum { SPANS_MAX = 32 };
typedef struct spans { /* bytes of a line to hide */
    size_t from[SPANS_MAX], to[SPANS_MAX];
    size_t count;
} spans;

static void hide(spans *hidden, size_t from, size_t to)
{
    if (hidden->count == SPANS_MAX) /* rather too much than a secret: all from the last one on */
        hidden->to[SPANS_MAX - 1] = SIZE_MAX;
    else if (from < to)
        hidden->from[hidden->count] = from, hidden->to[hidden->count++] = to;
}

static bool word_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_' || byte == '-' || byte == '.';
}

static bool secret_word(const char *word, size_t len)
{
    static const char *const parts[] = {"password", "passwd",  "secret",      "token",      "api_key",
                                        "apikey",   "api-key", "private_key", "credential", "dsn"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t part = strlen(parts[i]);
        for (size_t at = 0; at + part <= len; at++)
            if (strncasecmp(word + at, parts[i], part) == 0)
                return true;
    }
    return false;
}

/* End of the YAML value that begins at `at`. */
static size_t value_end(pl_str line, size_t at)
{
    char quote = line.ptr[at];
    if (quote == '[' || quote == '{')
        return line.len;
    for (size_t i = at + 1; i < line.len; i++) {
        if (quote == '"' || quote == '\'') {
            if (line.ptr[i] == quote && !(quote == '"' && line.ptr[i - 1] == '\\'))
                return i + 1;
        } else if (line.ptr[i] == '{' && line.ptr[i - 1] == '$') {
            while (i + 1 < line.len && line.ptr[i] != '}')
                i++;
        } else if (line.ptr[i] == ',' || line.ptr[i] == '}' || (line.ptr[i] == '#' && line.ptr[i - 1] == ' ')) {
            return i;
        }
    }
    return line.len;
}

/* Values of keys called like a secret. One that is a ${...} is none itself. */
static void hide_by_name(pl_str line, spans *hidden)
{
    for (size_t at = 0; at < line.len;) {
        size_t start = at;
        while (at < line.len && word_byte(line.ptr[at]))
            at++;
        if (at == start) {
            at++;
            continue;
        }
        if (!secret_word(line.ptr + start, at - start))
            continue;
        size_t value = at;
        while (value < line.len && strchr(" \t\"'", line.ptr[value]))
            value++;
        if (value >= line.len || (line.ptr[value] != ':' && line.ptr[value] != '='))
            continue;
        for (value++; value < line.len && (line.ptr[value] == ' ' || line.ptr[value] == '\t');)
            value++;
        size_t skip = value < line.len && (line.ptr[value] == '"' || line.ptr[value] == '\'');
        if (value >= line.len || strncmp(line.ptr + value + skip, "${", 2) == 0)
            continue;
        size_t end = at = value_end(line, value);
        while (end > value && line.ptr[end - 1] == ' ')
            end--;
        hide(hidden, value, end);
    }
}

/* scheme://user:password@host */
static void hide_url_passwords(pl_str line, spans *hidden)
{
    for (size_t at = 0; at + 3 < line.len; at++) {
        if (memcmp(line.ptr + at, "://", 3) != 0)
            continue;
        size_t colon = 0, i = at + 3;
        for (; i < line.len && !strchr("/@ \t\"'", line.ptr[i]); i++)
            if (line.ptr[i] == ':' && !colon)
                colon = i + 1;
        if (i < line.len && line.ptr[i] == '@' && colon && strncmp(line.ptr + colon, "${", 2) != 0)
            hide(hidden, colon, i);
    }
}

static size_t byte_of_column(pl_str line, int column)
{
    size_t at = 0;
    for (int number = 1; number < column && at < line.len; number++)
        for (at++; at < line.len && !starts_character(line.ptr[at]);)
            at++;
    return at;
}

static void hide_masked(const pl_source_file *source, int number, pl_str line, spans *hidden)
{
    for (const pl_mask *mask = source->masks; mask; mask = mask->next) {
        if (number < mask->line || number > mask->end_line)
            continue;
        hide(hidden, number == mask->line ? byte_of_column(line, mask->column) : 0,
             number == mask->end_line ? byte_of_column(line, mask->end_column) : line.len);
    }
}

static size_t hidden_until(const spans *hidden, size_t at)
{
    size_t until = 0;
    for (size_t i = 0; i < hidden->count; i++)
        if (at >= hidden->from[i] && at < hidden->to[i] && hidden->to[i] > until)
            until = hidden->to[i];
    return until;
}

/* ---- Excerpts -------------------------------------------------------------- */

/* Copies the characters from column `first` on, at most PL_EXCERPT_COLUMNS; tells where the byte columns at_byte and
 * end_byte came to lie. */
static void copy_shown(pl_str line, const spans *hidden, size_t first_byte, size_t at_byte, size_t end_byte, int *caret,
                       int *width, pl_buf *out)
{
    int column = 1, begin = 0, end = 0;
    if (first_byte > 0) {
        pl_buf_adds(out, "...");
        column = 4;
    }
    size_t i = first_byte;
    for (; i < line.len && column <= PL_EXCERPT_COLUMNS;) {
        size_t until = hidden_until(hidden, i), next = i + 1;
        int shown = 1;
        if (until > i) {
            next = until < line.len ? until : line.len;
            shown = 3;
            pl_buf_adds(out, "***");
        } else {
            while (next < line.len && !starts_character(line.ptr[next]))
                next++;
            if ((unsigned char)line.ptr[i] < 0x20 || line.ptr[i] == 0x7f)
                pl_buf_addc(out, ' ');
            else
                pl_buf_add(out, line.ptr + i, next - i);
        }
        if (!begin && at_byte < next)
            begin = column;
        column += shown;
        if (begin && !end && end_byte <= next)
            end = column;
        i = next;
    }
    if (i < line.len)
        pl_buf_adds(out, "...");
    *caret = begin ? begin : column;
    *width = end > *caret ? end - *caret : begin && !end && column > begin ? column - begin : 1;
}

bool pl_source_excerpt(const pl_source_file *source, int number, int *caret, int *width, pl_buf *out)
{
    pl_str line = pl_source_line(source, number);
    spans hidden = {.count = 0};
    if (!line.ptr || line.len == 0 || line.len > PL_EXCERPT_MAX)
        return false;
    hide_masked(source, number, line, &hidden);
    hide_by_name(line, &hidden);
    hide_url_passwords(line, &hidden);
    size_t at = byte_of_column(line, *caret), end = byte_of_column(line, *caret + *width);
    int first = *caret > PL_EXCERPT_COLUMNS / 2 ? *caret - PL_EXCERPT_COLUMNS / 2 : 1;
    size_t first_byte = line.len > PL_EXCERPT_COLUMNS ? byte_of_column(line, first) : 0;
    size_t inside = hidden_until(&hidden, first_byte);
    if (inside > first_byte) /* a window never opens within a secret */
        for (size_t i = 0; i < hidden.count; i++)
            if (first_byte > hidden.from[i] && first_byte < hidden.to[i])
                first_byte = hidden.from[i];
    copy_shown(line, &hidden, first_byte, at, end, caret, width, out);
    return !pl_buf_failed(out);
}
