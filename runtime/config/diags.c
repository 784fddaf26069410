#include <base/mem.h>
#include <base/str.h>
#include <config/source.h>

#include <stdlib.h>

enum { MESSAGE_MAX = 1024 };

typedef struct entry {
    pl_diag diag;
    int caret; /* column of the caret in the excerpt */
    int caret_width;
    size_t order; /* of adding: what keeps the sort stable */
    size_t file_order;
} entry;

struct pl_diags {
    pl_arena *arena;
    entry entries[PL_DIAGS_MAX];
    size_t count, errors, dropped, order;
    entry *last; /* what a hint goes to; NULL: the message was not kept */
};

pl_diags *pl_diags_new(void)
{
    pl_diags *diags = pl_calloc(1, sizeof *diags);
    if (!diags)
        return NULL;
    diags->arena = pl_arena_new(4096);
    if (!diags->arena) {
        pl_free(diags);
        return NULL;
    }
    return diags;
}

void pl_diags_free(pl_diags **diags)
{
    if (!diags || !*diags)
        return;
    pl_arena_free(&(*diags)->arena);
    pl_free(*diags);
    *diags = NULL;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static const char *keep(pl_diags *diags, const char *text)
{
    return text ? pl_arena_str(diags->arena, PL_S(text)).ptr : NULL;
}

typedef struct place {
    const char *file;
    const pl_source_file *source; /* NULL: no excerpt */
    int line, column, width;
} place;

static void keep_excerpt(pl_diags *diags, const pl_source_file *source, entry *made)
{
    pl_buf excerpt = PL_BUF(PL_EXCERPT_MAX);
    made->caret = made->diag.column;
    made->caret_width = made->diag.width;
    if (pl_source_excerpt(source, made->diag.line, &made->caret, &made->caret_width, &excerpt))
        made->diag.excerpt = keep(diags, excerpt.data);
    pl_buf_release(&excerpt);
}

/* One message is one line: what it quotes may hold a line break or worse. */
static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

static void add(pl_diags *diags, pl_severity severity, place at, const char *format, va_list arguments)
{
    char message[MESSAGE_MAX];
    if (!diags)
        return;
    diags->last = NULL;
    if (diags->count < PL_DIAGS_MAX) {
        (void)vsnprintf(message, sizeof message, format, arguments);
        one_line(message);
        for (size_t i = 0; i < diags->count; i++) {
            const pl_diag *old = &diags->entries[i].diag;
            if (old->line == at.line && old->column == at.column && old->severity == severity &&
                same(old->file, at.file) && same(old->message, message))
                return;
        }
    }
    diags->errors += severity == PL_DIAG_ERROR;
    entry made = {.diag = {severity, NULL, at.line, at.column, at.width > 0 ? at.width : 1, NULL, NULL, NULL},
                  .order = diags->order++};
    if (diags->count < PL_DIAGS_MAX) {
        made.diag.message = keep(diags, message);
        made.diag.file = keep(diags, at.file);
    }
    if (!made.diag.message) { /* full, or no memory */
        diags->dropped++;
        return;
    }
    if (at.source && at.line > 0)
        keep_excerpt(diags, at.source, &made);
    diags->last = &diags->entries[diags->count++];
    *diags->last = made;
}

static place place_of(const pl_node *node)
{
    if (!node)
        return (place){.width = 1};
    bool one_line_scalar = node->type == PL_NODE_SCALAR && !node->block && node->end_line == node->line;
    return (place){node->file, node->source, node->line, node->column,
                   one_line_scalar ? node->end_column - node->column : 1};
}

void pl_diags_error(pl_diags *diags, const pl_node *at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(diags, PL_DIAG_ERROR, place_of(at), format, arguments);
    va_end(arguments);
}

void pl_diags_warn(pl_diags *diags, const pl_node *at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(diags, PL_DIAG_WARNING, place_of(at), format, arguments);
    va_end(arguments);
}

void pl_diags_at(pl_diags *diags, pl_severity severity, const char *file, int line, int column, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(diags, severity, (place){file, NULL, line, column, 1}, format, arguments);
    va_end(arguments);
}

void pl_diags_source(pl_diags *diags, const pl_source_file *source, int line, int column, int width, const char *format,
                     ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(diags, PL_DIAG_ERROR, (place){source->path, source, line, column, width}, format, arguments);
    va_end(arguments);
}

void pl_diags_hint(pl_diags *diags, const char *format, ...)
{
    char hint[MESSAGE_MAX];
    if (!diags || !diags->last)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(hint, sizeof hint, format, arguments);
    va_end(arguments);
    one_line(hint);
    diags->last->diag.hint = keep(diags, hint);
}

void pl_diags_suggest(pl_diags *diags, const char *word, const char *const *words)
{
    enum { SHORT_LIST = 12 };
    if (!diags || !diags->last)
        return;
    const char *near = pl_nearest(word, words);
    if (near) {
        pl_diags_hint(diags, "did you mean '%s'?", near);
        return;
    }
    size_t count = 0;
    while (words[count])
        count++;
    if (count == 0 || count > SHORT_LIST)
        return;
    pl_buf list = PL_BUF(MESSAGE_MAX - 64);
    for (size_t i = 0; i < count; i++)
        pl_buf_printf(&list, "%s%s", i ? ", " : "", words[i]);
    if (!pl_buf_failed(&list))
        pl_diags_hint(diags, count == 1 ? "expected %s" : "expected one of %s", list.data);
    pl_buf_release(&list);
}

void pl_diags_merge(pl_diags *into, pl_diags *from)
{
    if (!into || !from)
        return;
    size_t moved_errors = 0;
    for (size_t i = 0; i < from->count && into->count < PL_DIAGS_MAX; i++) {
        entry made = from->entries[i];
        pl_diag *diag = &made.diag;
        diag->message = keep(into, diag->message);
        if (!diag->message)
            break;
        diag->file = keep(into, diag->file);
        diag->hint = keep(into, diag->hint);
        diag->excerpt = keep(into, diag->excerpt);
        made.order = into->order++;
        into->entries[into->count++] = made;
        moved_errors++;
    }
    into->errors += from->errors;
    into->dropped += from->dropped + (from->count - moved_errors);
    into->last = NULL;
    from->count = from->errors = from->dropped = 0;
    from->last = NULL;
    pl_arena_reset(from->arena);
}

static int compare(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->file_order != b->file_order)
        return a->file_order < b->file_order ? -1 : 1;
    if (a->diag.line != b->diag.line)
        return a->diag.line < b->diag.line ? -1 : 1;
    if (a->diag.column != b->diag.column)
        return a->diag.column < b->diag.column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void pl_diags_sort(pl_diags *diags)
{
    if (!diags)
        return;
    for (size_t i = 0; i < diags->count; i++) {
        diags->entries[i].file_order = i;
        for (size_t j = 0; j < i; j++)
            if (same(diags->entries[i].diag.file, diags->entries[j].diag.file)) {
                diags->entries[i].file_order = diags->entries[j].file_order;
                break;
            }
    }
    qsort(diags->entries, diags->count, sizeof *diags->entries, compare);
    diags->last = NULL;
}

size_t pl_diags_count(const pl_diags *diags)
{
    return diags ? diags->count : 0;
}

size_t pl_diags_errors(const pl_diags *diags)
{
    return diags ? diags->errors : 0;
}

bool pl_diags_full(const pl_diags *diags)
{
    return !diags || diags->count == PL_DIAGS_MAX;
}

const pl_diag *pl_diags_get(const pl_diags *diags, size_t index)
{
    return diags && index < diags->count ? &diags->entries[index].diag : NULL;
}

static void render(const entry *one, pl_buf *out)
{
    const pl_diag *diag = &one->diag;
    const char *severity = diag->severity == PL_DIAG_ERROR ? "error" : "warning";
    if (diag->line > 0)
        pl_buf_printf(out, "%s:%d:%d: %s: %s\n", diag->file ? diag->file : "plumbline", diag->line, diag->column,
                      severity, diag->message);
    else
        pl_buf_printf(out, "%s: %s: %s\n", diag->file ? diag->file : "plumbline", severity, diag->message);
    if (diag->excerpt) {
        pl_buf_printf(out, "%5d | %s\n      | %*s^", diag->line, diag->excerpt, one->caret - 1, "");
        for (int i = 1; i < one->caret_width && i < PL_EXCERPT_COLUMNS; i++)
            pl_buf_addc(out, '~');
        pl_buf_addc(out, '\n');
    }
    if (diag->hint)
        pl_buf_printf(out, "   %s\n", diag->hint);
}

void pl_diags_render(const pl_diags *diags, pl_buf *out)
{
    if (!diags)
        return;
    for (size_t i = 0; i < diags->count; i++)
        render(&diags->entries[i], out);
    if (diags->dropped > 0)
        pl_buf_printf(out, "plumbline: error: %zu more message%s not shown\n", diags->dropped,
                      diags->dropped == 1 ? "" : "s");
}
