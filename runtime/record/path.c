#include <record/path.h>

typedef struct reading {
    pl_str text;
    size_t at;
    pl_path *path;
    uint32_t used; /* of path->text */
} reading;

static pl_status wrong(const reading *in, const char *expected, pl_error *error)
{
    return pl_fail(error, PL_BAD_CONFIG, "field path \"%.*s\": %s at character %zu",
                   (int)(in->text.len < 80 ? in->text.len : 80), in->text.ptr, expected, in->at + 1);
}

static char now(const reading *in)
{
    return in->at < in->text.len ? in->text.ptr[in->at] : '\0';
}

static bool is_name_byte(char byte)
{
    return (unsigned char)byte >= ' ' && byte != '.' && byte != '[' && byte != ']' && byte != '"' && byte != 0x7F;
}

static pl_step *new_step(reading *in)
{
    if (in->path->count == PL_PATH_STEPS_MAX)
        return NULL;
    pl_step *step = &in->path->step[in->path->count++];
    *step = (pl_step){.start = (uint16_t)in->used, .index = -1};
    return step;
}

static void keep(reading *in, pl_step *step, char byte)
{
    in->path->text[in->used++] = byte;
    step->len++;
}

static pl_status read_name(reading *in, pl_error *error)
{
    pl_step *step = new_step(in);
    if (!step)
        return wrong(in, "more than 16 steps", error);
    while (in->at < in->text.len && is_name_byte(now(in)))
        keep(in, step, in->text.ptr[in->at++]);
    return step->len > 0 ? PL_OK : wrong(in, "a name is expected", error);
}

static pl_status read_quoted(reading *in, pl_step *step, pl_error *error)
{
    for (in->at++; now(in) != '"'; in->at++) {
        bool escaped = now(in) == '\\';
        in->at += escaped;
        if (in->at >= in->text.len)
            return wrong(in, "a closing quote is expected", error);
        if (escaped && now(in) != '"' && now(in) != '\\')
            return wrong(in, "\\\" or \\\\ is expected", error);
        keep(in, step, now(in));
    }
    in->at++;
    return PL_OK;
}

static pl_status read_index(reading *in, pl_step *step, pl_error *error)
{
    int64_t index = 0;
    size_t start = in->at;
    for (; now(in) >= '0' && now(in) <= '9'; in->at++) {
        index = index * 10 + (now(in) - '0');
        if (index > PL_PATH_INDEX_MAX)
            return wrong(in, "too large an index", error);
    }
    if (in->at == start)
        return wrong(in, "an index or a key in quotes is expected", error);
    step->index = (int32_t)index;
    return PL_OK;
}

static pl_status read_bracket(reading *in, pl_error *error)
{
    pl_step *step = new_step(in);
    if (!step)
        return wrong(in, "more than 16 steps", error);
    in->at++;
    pl_status status = now(in) == '"' ? read_quoted(in, step, error) : read_index(in, step, error);
    if (status != PL_OK)
        return status;
    if (now(in) != ']')
        return wrong(in, "] is expected", error);
    in->at++;
    return PL_OK;
}

pl_status pl_path_parse(pl_str text, pl_path *path, pl_error *error)
{
    pl_path made;
    reading in = {.text = text, .path = &made};
    made.count = 0;
    if (text.len >= PL_PATH_BYTES_MAX)
        return pl_fail(error, PL_BAD_CONFIG, "a field path of %zu bytes: at most %d are allowed", text.len,
                       PL_PATH_BYTES_MAX - 1);
    pl_status status = PL_OK;
    for (bool first = true; status == PL_OK && in.at < text.len; first = false) {
        if (now(&in) == '[') {
            status = read_bracket(&in, error);
        } else if (first) {
            status = read_name(&in, error);
        } else if (now(&in) == '.') {
            in.at++;
            status = read_name(&in, error);
        } else {
            status = wrong(&in, "a dot or [ is expected", error);
        }
    }
    if (status == PL_OK) {
        path->count = made.count;
        memcpy(path->step, made.step, made.count * sizeof *made.step);
        memcpy(path->text, made.text, in.used);
    }
    return status;
}

bool pl_path_of_key(pl_str key, pl_path *path)
{
    if (key.len >= PL_PATH_BYTES_MAX)
        return false;
    path->count = 1;
    path->step[0] = (pl_step){.start = 0, .len = (uint16_t)key.len, .index = -1};
    if (key.len > 0)
        memcpy(path->text, key.ptr, key.len);
    return true;
}

static bool is_name(pl_str key)
{
    for (size_t i = 0; i < key.len; i++)
        if (!is_name_byte(key.ptr[i]))
            return false;
    return key.len > 0;
}

typedef struct writing {
    char *out;
    size_t size, length;
} writing;

static void put(writing *to, char byte)
{
    if (to->length + 1 < to->size)
        to->out[to->length++] = byte;
}

static void put_key(writing *to, pl_str key, bool first)
{
    bool plain = is_name(key);
    if (!plain) {
        put(to, '[');
        put(to, '"');
    } else if (!first) {
        put(to, '.');
    }
    for (size_t i = 0; i < key.len; i++) {
        if (!plain && (key.ptr[i] == '"' || key.ptr[i] == '\\'))
            put(to, '\\');
        put(to, key.ptr[i]);
    }
    if (!plain) {
        put(to, '"');
        put(to, ']');
    }
}

const char *pl_path_format(const pl_path *path, char *out, size_t size)
{
    writing to = {.out = out, .size = size};
    for (uint32_t i = 0; i < path->count; i++) {
        if (path->step[i].index < 0) {
            put_key(&to, pl_path_key(path, i), i == 0);
            continue;
        }
        char digits[16];
        (void)snprintf(digits, sizeof digits, "[%d]", path->step[i].index);
        for (const char *at = digits; *at; at++)
            put(&to, *at);
    }
    if (size > 0)
        out[to.length] = '\0';
    return out;
}
