#include <base/str.h>
#include <base/timestamp.h>
#include <record/encode.h>
#include <record/json.h>
#include <record/lexeme.h>
#include <record/plain.h>
#include <record/put.h>

enum { NUMBER_TEXT_MAX = 48, ESCAPE_MAX = 6 };

/* How many bytes a byte of a string takes: 1 as it is, 2 \n, 6 \u001f. */
static size_t escaped_size(unsigned char byte)
{
    if (byte >= ' ')
        return byte == '"' || byte == '\\' ? 2 : 1;
    return byte == '\n' || byte == '\t' || byte == '\r' || byte == '\b' || byte == '\f' ? 2 : ESCAPE_MAX;
}

static void add_escaped(pl_buf *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    char text[ESCAPE_MAX] = {'\\', (char)byte, '0', '0', '0', '0'};
    switch (byte) {
    case '\n':
        text[1] = 'n';
        break;
    case '\t':
        text[1] = 't';
        break;
    case '\r':
        text[1] = 'r';
        break;
    case '\b':
        text[1] = 'b';
        break;
    case '\f':
        text[1] = 'f';
        break;
    default:
        if (byte < ' ')
            text[1] = 'u';
        text[4] = hex[byte >> 4];
        text[5] = hex[byte & 15];
    }
    pl_buf_add(out, text, escaped_size(byte));
}

/* True when the text can be copied as it is. What is left of the last eight, or four, bytes is looked at together with
 * some before it. */
static bool is_plain(pl_str text)
{
    uint64_t bytes;
    if (text.len >= sizeof bytes) {
        for (size_t i = 0; i + sizeof bytes < text.len; i += sizeof bytes) {
            memcpy(&bytes, text.ptr + i, sizeof bytes);
            if (pl_special_of_eight(bytes))
                return false;
        }
        memcpy(&bytes, text.ptr + text.len - sizeof bytes, sizeof bytes);
        return !pl_special_of_eight(bytes);
    }
    if (text.len >= sizeof(uint32_t)) {
        uint32_t front, back;
        memcpy(&front, text.ptr, sizeof front);
        memcpy(&back, text.ptr + text.len - sizeof back, sizeof back);
        return !pl_special_of_eight((uint64_t)front << 32 | back);
    }
    for (size_t i = 0; i < text.len; i++)
        if (escaped_size((unsigned char)text.ptr[i]) > 1)
            return false;
    return true;
}

void pl_encode_string(pl_buf *out, pl_str text)
{
    if (text.len > 0 && is_plain(text)) {
        pl_put_quoted(out, text);
        return;
    }
    pl_put_byte(out, '"');
    size_t start = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (escaped_size(byte) == 1)
            continue;
        pl_put(out, text.ptr + start, i - start);
        add_escaped(out, byte);
        start = i + 1;
    }
    if (start < text.len)
        pl_put(out, text.ptr + start, text.len - start);
    pl_put_byte(out, '"');
}

void pl_encode_decimal(pl_buf *out, const pl_decimal *value)
{
    char text[PL_DECIMAL_TEXT_MAX];
    pl_buf_add(out, text, pl_decimal_format(value, text));
}

void pl_encode_decimal_string(pl_buf *out, const pl_decimal *value)
{
    char text[PL_DECIMAL_TEXT_MAX + 2];
    size_t length = pl_decimal_format(value, text + 1);
    text[0] = text[length + 1] = '"';
    pl_buf_add(out, text, length + 2);
}

void pl_encode_base64(pl_buf *out, pl_str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t three = (uint32_t)(unsigned char)bytes.ptr[i] << 16;
        three |= left > 1 ? (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8 : 0;
        three |= left > 2 ? (uint32_t)(unsigned char)bytes.ptr[i + 2] : 0;
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63], left > 1 ? digits[three >> 6 & 63] : '=',
                        left > 2 ? digits[three & 63] : '='};
        pl_buf_add(out, four, sizeof four);
    }
}

static size_t format_int(int64_t value, char out[NUMBER_TEXT_MAX])
{
    char reversed[NUMBER_TEXT_MAX];
    size_t count = 0, length = 0;
    uint64_t left = value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
    do
        reversed[count++] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0)
        out[length++] = '-';
    while (count > 0)
        out[length++] = reversed[--count];
    return length;
}

static bool is_number(pl_str lexeme)
{
    pl_lexeme parts;
    return pl_lexeme_split(lexeme, &parts);
}

/* The text of a scalar that needs no quotes and no escapes, in out; 0: it is of another kind. */
static size_t bare_text(const pl_value *value, char out[NUMBER_TEXT_MAX])
{
    switch (value->type) {
    case PL_NIL:
        memcpy(out, "null", 4);
        return 4;
    case PL_BOOL:
        memcpy(out, value->as.b ? "true" : "false", value->as.b ? 4 : 5);
        return value->as.b ? 4 : 5;
    case PL_INT:
        return format_int(value->as.i, out);
    case PL_TIME:
        return pl_time_format(value->as.i, out);
    case PL_FLOAT:
        return pl_double_format(value->as.f, out);
    default:
        return 0;
    }
}

static pl_status reject(pl_error *error, const char *what)
{
    return error ? pl_fail(error, PL_REJECT, "%s", what) : PL_FAILED;
}

static pl_status finish(pl_buf *out, size_t before, pl_status status, pl_error *error)
{
    if (status == PL_OK && !pl_buf_failed(out))
        return PL_OK;
    if (status == PL_OK && error)
        (void)pl_fail(error, PL_RETRY, "no memory left to encode a record, or more than %zu bytes", out->max);
    out->len = before;
    out->failed = false;
    if (out->data)
        out->data[before] = '\0';
    return PL_FAILED;
}

/* Whether it can be written at all. */
static pl_status judge(const pl_value *value, pl_error *error)
{
    switch (value->type) {
    case PL_NIL:
    case PL_BOOL:
    case PL_INT:
    case PL_TIME:
    case PL_BYTES:
    case PL_JSON:
        return PL_OK;
    case PL_FLOAT:
        return __builtin_isfinite(value->as.f) ? PL_OK : reject(error, "a number that is not finite");
    case PL_STR:
        return pl_utf8_valid(value->as.s) ? PL_OK : reject(error, "a string that is not UTF-8");
    case PL_DECIMAL:
        return is_number(value->as.s) ? PL_OK : reject(error, "a decimal that is not a JSON number");
    default:
        return reject(error, "a value of an unknown type");
    }
}

static void write_value(pl_buf *out, const pl_value *value, bool quotes)
{
    char text[NUMBER_TEXT_MAX];
    switch (value->type) {
    case PL_STR:
        if (quotes)
            pl_encode_string(out, value->as.s);
        else
            pl_put(out, value->as.s.ptr, value->as.s.len);
        return;
    case PL_DECIMAL:
    case PL_JSON:
        pl_put(out, value->as.s.ptr, value->as.s.len);
        return;
    default:
        break;
    }
    quotes = quotes && (value->type == PL_BYTES || value->type == PL_TIME);
    if (quotes)
        pl_put_byte(out, '"');
    if (value->type == PL_BYTES)
        pl_encode_base64(out, value->as.s);
    else
        pl_put(out, text, bare_text(value, text));
    if (quotes)
        pl_put_byte(out, '"');
}

static pl_status add_value(pl_buf *out, const pl_value *value, bool quotes, pl_error *error)
{
    if (judge(value, error) != PL_OK)
        return PL_FAILED;
    write_value(out, value, quotes);
    return PL_OK;
}

void pl_encode_checked(pl_buf *out, const pl_value *value)
{
    write_value(out, value, true);
}

pl_status pl_encode_value(pl_buf *out, const pl_value *value, pl_error *error)
{
    size_t before = out->len;
    return finish(out, before, add_value(out, value, true, error), error);
}

pl_status pl_encode_text(pl_buf *out, const pl_value *value, pl_error *error)
{
    size_t before = out->len;
    return finish(out, before, add_value(out, value, false, error), error);
}

/* Puts the field's name in front of the message. */
static pl_status blame(const pl_field *field, pl_error *error)
{
    if (!error)
        return PL_FAILED;
    char what[sizeof error->message];
    memcpy(what, error->message, sizeof what);
    int shown = (int)(field->name.len < 64 ? field->name.len : 64);
    return pl_fail(error, error->error_class, "%.*s: %.180s", shown, field->name.ptr ? field->name.ptr : "", what);
}

pl_status pl_encode_fields(pl_buf *out, const pl_field *fields, size_t count, pl_error *error)
{
    size_t before = out->len;
    pl_status status = PL_OK;
    pl_buf_addc(out, '{');
    for (size_t i = 0; i < count && status == PL_OK; i++) {
        if (i > 0)
            pl_buf_addc(out, ',');
        status = pl_utf8_valid(fields[i].name) ? PL_OK : reject(error, "a field name that is not UTF-8");
        pl_encode_string(out, fields[i].name);
        pl_buf_addc(out, ':');
        if (status == PL_OK)
            status = add_value(out, &fields[i].value, true, error);
        if (status != PL_OK)
            (void)blame(&fields[i], error);
    }
    pl_buf_addc(out, '}');
    return finish(out, before, status, error);
}

static size_t string_size(pl_str text)
{
    size_t size = 2;
    for (size_t i = 0; i < text.len; i++)
        size += escaped_size((unsigned char)text.ptr[i]);
    return size;
}

/* At least what add_value writes. */
static size_t value_size(const pl_value *value)
{
    switch (value->type) {
    case PL_STR:
        return string_size(value->as.s);
    case PL_BYTES:
        return value->as.s.len / 3 * 4 + 6;
    case PL_DECIMAL:
    case PL_JSON:
        return value->as.s.len;
    default:
        return NUMBER_TEXT_MAX;
    }
}

pl_status pl_encode_payload(pl_arena *arena, const pl_field *fields, size_t count, pl_str *payload, pl_error *error)
{
    size_t size = 2;
    for (size_t i = 0; i < count; i++)
        size += string_size(fields[i].name) + value_size(&fields[i].value) + 2;
    char *room = pl_arena_alloc(arena, size + PL_ARENA_PADDING);
    if (!room)
        return error ? pl_fail(error, PL_RETRY, "no memory left to encode a record") : PL_FAILED;
    /* A buffer over memory of the arena: it is large enough, so that the buffer never grows. */
    pl_buf out = {.data = room, .capacity = size + 1, .max = size};
    out.data[0] = '\0';
    pl_status status = pl_encode_fields(&out, fields, count, error);
    if (status == PL_OK)
        *payload = pl_buf_str(&out);
    return status;
}
