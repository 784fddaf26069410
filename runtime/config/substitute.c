#include <base/fs.h>
#include <base/str.h>
#include <config/source.h>
#include <config/substitute.h>

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 255 };

typedef struct substitution {
    const pl_yaml_setup *setup;
    pl_node *node;
    pl_buf out;
    size_t search;       /* in the source: behind the last ${ reported; 0: none was */
    bool wrong, literal; /* an error was reported; there was something outside ${...} */
} substitution;

/* Reports at the ${ itself: its place in the file, not in the unquoted text, must be searched for. */
__attribute__((format(printf, 3, 4))) static void wrong(substitution *s, pl_str expression, const char *format, ...)
{
    const pl_source_file *source = s->node->source;
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    s->wrong = true;
    const char *found = NULL;
    if (!pl_diags_full(s->setup->diags)) { /* searching costs the length of the file */
        size_t from = s->search ? s->search : pl_source_offset(source, s->node->line, s->node->column);
        size_t end = pl_source_offset(source, s->node->end_line, s->node->end_column);
        found = from < end ? memmem(source->text.ptr + from, end - from, expression.ptr, expression.len) : NULL;
    }
    if (!found) {
        pl_diags_error(s->setup->diags, s->node, "%s", message);
        return;
    }
    int line, column;
    pl_source_place(source, (size_t)(found - source->text.ptr), &line, &column);
    s->search = (size_t)(found - source->text.ptr) + expression.len;
    pl_diags_source(s->setup->diags, source, line, column, (int)expression.len, "%s", message);
}

static bool is_name(const char *name, size_t len)
{
    if (len == 0 || isdigit((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

static void add_file(substitution *s, pl_str expression, const char *path)
{
    pl_buf content = PL_BUF(PL_SUBSTITUTE_MAX_BYTES);
    pl_error error = {0};
    char message[sizeof error.message + 64];
    pl_status status = pl_fs_read(path, &content, &error);
    if (status == PL_END)
        (void)snprintf(message, sizeof message, "there is no file %.200s", path);
    else if (status != PL_OK)
        (void)snprintf(message, sizeof message, "%s", error.message);
    else if (content.len > 0 && (memchr(content.data, '\0', content.len) || !pl_utf8_valid(pl_buf_str(&content))))
        (void)snprintf(message, sizeof message, "%.200s is not UTF-8 text", path), status = PL_FAILED;
    if (status != PL_OK) {
        wrong(s, expression, "%s", message);
    } else {
        size_t len = content.len;
        if (len > 0 && content.data[len - 1] == '\n')
            len--;
        if (len > 0 && len < content.len && content.data[len - 1] == '\r')
            len--;
        pl_buf_add(&s->out, content.data, len);
    }
    if (content.data)
        explicit_bzero(content.data, content.capacity); /* most such files are secrets */
    pl_buf_release(&content);
}

static void add_variable(substitution *s, pl_str expression, const char *name, pl_str fallback)
{
    const pl_yaml_setup *setup = s->setup;
    const char *value = setup->variable ? setup->variable(setup->self, name) : getenv(name);
    if (value && (value[0] || !fallback.ptr)) {
        if (!pl_utf8_valid(PL_S(value)))
            wrong(s, expression, "the environment variable %s is not UTF-8 text", name);
        else
            pl_buf_adds(&s->out, value);
    } else if (fallback.ptr) {
        pl_buf_add(&s->out, fallback.ptr, fallback.len);
    } else {
        wrong(s, expression, "the environment variable %s is not set", name);
        pl_diags_hint(setup->diags, "set it, or give a default: ${%s:-...}", name);
    }
}

/* expression: "${...}" whole. */
static void expand(substitution *s, pl_str expression)
{
    pl_str inner = {expression.ptr + 2, expression.len - 3};
    const char *colon = memchr(inner.ptr, ':', inner.len);
    size_t name_len = colon ? (size_t)(colon - inner.ptr) : inner.len;
    char name[NAME_MAX_BYTES + 1];
    bool file = inner.len > 5 && memcmp(inner.ptr, "file:", 5) == 0 && strncmp(inner.ptr, "file:-", 6) != 0;
    pl_str fallback = {NULL, 0}, kept = file ? (pl_str){inner.ptr + 5, inner.len - 5} : (pl_str){inner.ptr, name_len};
    s->node->tainted = true;
    if (kept.len > NAME_MAX_BYTES) {
        wrong(s, expression, "a name within ${...} has at most 255 bytes");
        return;
    }
    memcpy(name, kept.ptr, kept.len);
    name[kept.len] = '\0';
    if (file) {
        add_file(s, expression, name);
        return;
    }
    if (colon && inner.len > name_len + 1 && colon[1] == '-')
        fallback = (pl_str){colon + 2, inner.len - name_len - 2};
    if (!is_name(name, name_len) || (colon && !fallback.ptr)) {
        wrong(s, expression, "expected ${VAR}, ${VAR:-default} or ${file:PATH}");
        pl_diags_hint(s->setup->diags, "write $${ for a literal ${");
        return;
    }
    add_variable(s, expression, name, fallback);
}

static void run(substitution *s)
{
    pl_str text = s->node->written;
    for (size_t at = 0; at < text.len;) {
        const char *dollar = memchr(text.ptr + at, '$', text.len - at);
        size_t until = dollar ? (size_t)(dollar - text.ptr) : text.len;
        pl_buf_add(&s->out, text.ptr + at, until - at);
        s->literal |= until > at;
        at = until;
        if (!dollar)
            break;
        if (strncmp(dollar, "$${", 3) == 0) {
            pl_buf_adds(&s->out, "${");
            s->literal = true;
            at += 3;
        } else if (dollar[1] != '{') {
            pl_buf_addc(&s->out, '$');
            s->literal = true;
            at++;
        } else {
            const char *close = memchr(dollar, '}', text.len - at);
            if (!close) {
                wrong(s, (pl_str){dollar, 2}, "${ without its }");
                pl_diags_hint(s->setup->diags, "write $${ for a literal ${");
                return;
            }
            pl_str expression = {dollar, (size_t)(close - dollar) + 1};
            expand(s, expression);
            at += expression.len;
        }
    }
}

bool pl_substitute(pl_node *node, const pl_yaml_setup *setup)
{
    node->text = node->written;
    if (setup->literal || !memchr(node->written.ptr, '$', node->written.len))
        return true;
    substitution s = {.setup = setup, .node = node};
    /* What a block holds may be a script, as long as a file can be; a value from outside is short. */
    s.out.max = node->block ? PL_YAML_MAX_BYTES : PL_SUBSTITUTE_MAX_BYTES;
    if (s.out.max < node->written.len)
        s.out.max = node->written.len;
    run(&s);
    if (pl_buf_failed(&s.out)) {
        pl_diags_error(setup->diags, node, "the value is longer than %zu bytes after ${...} was replaced", s.out.max);
        s.wrong = true;
    }
    if (s.wrong || (node->tainted && !s.literal && s.out.len == 0)) {
        node->type = PL_NODE_NULL;
        node->broken = s.wrong;
        node->text = (pl_str){"", 0};
    } else {
        node->text = pl_arena_str(setup->arena, pl_buf_str(&s.out));
    }
    pl_buf_release(&s.out);
    return node->text.ptr != NULL;
}

bool pl_substitute_all(pl_node *node, const pl_yaml_setup *setup)
{
    bool ok = node->type != PL_NODE_SCALAR || pl_substitute(node, setup);
    for (size_t i = 0; i < node->count; i++)
        ok = pl_substitute_all(node->items[i], setup) && ok;
    return ok;
}
