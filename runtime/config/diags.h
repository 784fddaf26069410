/* Messages about configuration, gathered so that all of a file's mistakes are told at once. Bounded: after PL_DIAGS_MAX
 * the rest is only counted. Everything is copied when it is added, so nodes and files may be gone by the time of
 * rendering. One thread at a time. In all functions a NULL pl_diags drops the message. */
#ifndef PL_CONFIG_DIAGS_H
#define PL_CONFIG_DIAGS_H
#include <base/buf.h>
#include <plumbline/plugin.h>

enum { PL_DIAGS_MAX = 100 };

struct pl_node;
typedef enum { PL_DIAG_ERROR, PL_DIAG_WARNING } pl_severity;

typedef struct pl_diag {
    pl_severity severity;
    const char *file;    /* NULL: about no file */
    int line, column;    /* from 1, columns in characters; line 0: about the whole file */
    int width;           /* characters under the caret line, at least 1 */
    const char *message; /* one line, no full stop at the end */
    const char *hint;    /* "did you mean 'brokers'?", or NULL */
    const char *excerpt; /* the source line with secrets as ***, or NULL */
} pl_diag;

typedef struct pl_diags pl_diags;
/* NULL: no memory. Free with pl_diags_free, which nulls the pointer and allows NULL. */
pl_diags *pl_diags_new(void);
void pl_diags_free(pl_diags **diags);

/* Adds a message about a node: its file, line, column and, when it is one scalar on one line, its width. at NULL: about
 * no place. The same message at the same place is kept once. Never put a value into a message by node->text: it may
 * come from the environment; node->written is what the file's reader sees. */
void pl_diags_error(pl_diags *diags, const struct pl_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void pl_diags_warn(pl_diags *diags, const struct pl_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* For what has a place but no node (a file that can't be read, a script's line). line 0: the whole file. */
void pl_diags_at(pl_diags *diags, pl_severity severity, const char *file, int line, int column, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* A line under the message just added, e.g. "did you mean 'brokers'?". */
void pl_diags_hint(pl_diags *diags, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The hint "did you mean 'X'?" with the word of the NULL-ended list nearest to `word`, if one is near; else, when the
 * list is short, "expected one of a, b, c". */
void pl_diags_suggest(pl_diags *diags, const char *word, const char *const *words);

/* Moves all of `from` to the end of `into`. */
void pl_diags_merge(pl_diags *into, pl_diags *from);
/* By file (in order of first mention), line, column; stable. */
void pl_diags_sort(pl_diags *diags);

size_t pl_diags_count(const pl_diags *diags);  /* kept: at most PL_DIAGS_MAX */
size_t pl_diags_errors(const pl_diags *diags); /* all errors, those not kept included */
/* No further message would be kept: what costs time to find out for one can be left out. True for NULL. */
bool pl_diags_full(const pl_diags *diags);
const pl_diag *pl_diags_get(const pl_diags *diags, size_t index);

/* All messages, each:
 *   FILE:LINE:COL: error: unknown key 'brokres' in sink 'topic' (plugin kafka)
 *      12 |     brokres: localhost
 *         |     ^~~~~~~
 *      did you mean 'brokers'?
 * The first line can be grepped and parsed as compilers' messages are. */
void pl_diags_render(const pl_diags *diags, pl_buf *out);
#endif
