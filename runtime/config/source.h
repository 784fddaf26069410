/* The text of a file kept for excerpts in messages. Private to the config room. */
#ifndef PL_CONFIG_SOURCE_H
#define PL_CONFIG_SOURCE_H
#include <config/node.h>

enum {
    PL_EXCERPT_MAX = 4096,
    PL_EXCERPT_COLUMNS = 160
}; /* bytes of a line that is shown at all; what is shown of it */

typedef struct pl_mask { /* a secret's place: from the first character to just behind the last */
    int line, column, end_line, end_column;
    struct pl_mask *next;
} pl_mask;

struct pl_source_file {
    const char *path;
    pl_str text;
    pl_arena *arena;
    pl_mask *masks;
};

/* Copies both into the arena. NULL: no memory. */
pl_source_file *pl_source_new(pl_arena *arena, const char *path, pl_str text);
/* The line without its break; null when there is none. Lines end as libyaml ends them: LF, CR, CR LF, U+0085, U+2028,
 * U+2029. */
pl_str pl_source_line(const pl_source_file *source, int line);
/* Line and column (from 1, in characters) of the byte at an offset, and back. */
void pl_source_place(const pl_source_file *source, size_t offset, int *line, int *column);
size_t pl_source_offset(const pl_source_file *source, int line, int column);

/* Appends the line as a message shows it: secrets (masked nodes, values of keys that are called like a secret,
 * passwords in URLs) as ***, tabs and control characters as blanks, a long line cut to a window around the column.
 * *caret and *width, columns of the line, become those of what was appended. false: nothing to show. */
bool pl_source_excerpt(const pl_source_file *source, int line, int *caret, int *width, pl_buf *out);

/* As pl_diags_error, for a place within a source. */
void pl_diags_source(pl_diags *diags, const pl_source_file *source, int line, int column, int width, const char *format,
                     ...) __attribute__((format(printf, 6, 7)));
#endif
