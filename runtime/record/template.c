#include <base/mem.h>
#include <record/encode.h>
#include <record/template.h>

enum { HOLES_MAX = 32 };

struct pl_template {
    size_t count; /* holes */
    pl_path hole[HOLES_MAX];
    pl_str before[HOLES_MAX]; /* literal text in front of each hole, within `text` */
    pl_str after;             /* and behind the last */
    char text[];              /* literals, the doubled braces made single */
};

typedef struct reading {
    pl_str text;
    size_t at;
    pl_template *made;
    size_t used, start; /* of made->text: bytes written, where the current literal began */
} reading;

static pl_status wrong(const reading *in, const char *what, pl_error *error)
{
    return pl_fail(error, PL_BAD_CONFIG, "template \"%.*s\": %s at character %zu",
                   (int)(in->text.len < 80 ? in->text.len : 80), in->text.ptr, what, in->at + 1);
}

static pl_str literal(reading *in)
{
    pl_str text = {in->made->text + in->start, in->used - in->start};
    in->start = in->used;
    return text;
}

/* The closing brace of the hole that begins at `at`; a brace within a quoted key does not count. */
static size_t hole_end(const reading *in)
{
    bool quoted = false;
    for (size_t i = in->at + 1; i < in->text.len; i++) {
        char byte = in->text.ptr[i];
        if (quoted && byte == '\\')
            i++;
        else if (byte == '"')
            quoted = !quoted;
        else if (byte == '}' && !quoted)
            return i;
    }
    return 0;
}

static pl_status read_hole(reading *in, pl_error *error)
{
    pl_template *made = in->made;
    size_t end = hole_end(in);
    if (end == 0)
        return wrong(in, "a { without its } (write {{ for the brace itself)", error);
    if (end == in->at + 1)
        return wrong(in, "an empty hole: {field} is expected", error);
    if (made->count == HOLES_MAX)
        return wrong(in, "more than 32 holes", error);
    pl_str path = {in->text.ptr + in->at + 1, end - in->at - 1};
    if (pl_path_parse(path, &made->hole[made->count], error) != PL_OK)
        return PL_FAILED;
    made->before[made->count++] = literal(in);
    in->at = end + 1;
    return PL_OK;
}

static pl_status read_all(reading *in, pl_error *error)
{
    while (in->at < in->text.len) {
        char byte = in->text.ptr[in->at];
        bool doubled = in->at + 1 < in->text.len && in->text.ptr[in->at + 1] == byte;
        if (byte == '{' && !doubled) {
            if (read_hole(in, error) != PL_OK)
                return PL_FAILED;
            continue;
        }
        if (byte == '}' && !doubled)
            return wrong(in, "a } without its { (write }} for the brace itself)", error);
        in->made->text[in->used++] = byte;
        in->at += byte == '{' || byte == '}' ? 2 : 1;
    }
    in->made->after = literal(in);
    return PL_OK;
}

pl_template *pl_template_new(pl_str text, pl_error *error)
{
    reading in = {.text = text, .made = pl_calloc(1, sizeof(pl_template) + text.len + 1)};
    if (!in.made) {
        (void)pl_fail(error, PL_RETRY, "no memory left for a template");
        return NULL;
    }
    if (read_all(&in, error) != PL_OK)
        pl_template_free(&in.made);
    return in.made;
}

void pl_template_free(pl_template **tmpl)
{
    if (!tmpl)
        return;
    pl_free(*tmpl);
    *tmpl = NULL;
}

bool pl_template_is_constant(const pl_template *tmpl)
{
    return tmpl->count == 0;
}

const pl_path *pl_template_hole(const pl_template *tmpl, size_t index)
{
    return index < tmpl->count ? &tmpl->hole[index] : NULL;
}

static pl_status render_hole(const pl_path *path, pl_document *document, pl_buf *out, pl_error *error)
{
    pl_value value;
    pl_status status = pl_document_get(document, path, &value, error);
    bool empty = status == PL_OK && (value.type == PL_NIL || value.type == PL_JSON);
    if (status == PL_OK && !empty)
        return pl_encode_text(out, &value, error);
    if (status == PL_FAILED)
        return status;
    if (error) {
        char name[64];
        const char *why = status == PL_END ? "is absent" : value.type == PL_NIL ? "is null" : "is an object or array";
        (void)pl_fail(error, PL_REJECT, "field %s %s, where a text is needed", pl_path_format(path, name, sizeof name),
                      why);
    }
    return PL_END;
}

pl_status pl_template_render(const pl_template *tmpl, pl_document *document, pl_buf *out, pl_error *error)
{
    size_t before = out->len;
    pl_status status = PL_OK;
    for (size_t i = 0; i < tmpl->count && status == PL_OK; i++) {
        pl_buf_add(out, tmpl->before[i].ptr, tmpl->before[i].len);
        status = render_hole(&tmpl->hole[i], document, out, error);
    }
    pl_buf_add(out, tmpl->after.ptr, tmpl->after.len);
    if (status == PL_OK && pl_buf_failed(out))
        status =
            error ? pl_fail(error, PL_RETRY, "a text of more than %zu bytes, or no memory left", out->max) : PL_FAILED;
    if (status == PL_OK)
        return status;
    out->len = before;
    out->failed = false;
    if (out->data)
        out->data[before] = '\0';
    return status;
}
