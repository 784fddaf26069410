#include <base/str.h>
#include <base/units.h>
#include <config/values.h>

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

typedef struct reading {
    const pl_option *option;
    pl_str text;
    pl_arena *arena;
    pl_value_slot *out;
    char *message;
    size_t message_size;
} reading;

__attribute__((format(printf, 2, 3))) static bool expected(const reading *r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(r->message, r->message_size, format, arguments);
    va_end(arguments);
    return false;
}

static bool keep(const reading *r, pl_str text)
{
    r->out->text = pl_arena_str(r->arena, text).ptr;
    return r->out->text ? true : expected(r, "no memory");
}

const char *pl_value_bound(const pl_option *option, double value, char *out, size_t size)
{
    static const char *const units[] = {"TiB", "GiB", "MiB", "KiB"};
    bool whole = fabs(value) < 9.2e18 && value == floor(value);
    if (option->type == PL_OPT_DURATION_NS && whole)
        return pl_format_duration((int64_t)value, out, size);
    for (int i = 0; option->type == PL_OPT_SIZE && whole && value > 0 && i < 4; i++) {
        int64_t unit = (int64_t)1 << (40 - 10 * i);
        if ((int64_t)value % unit == 0) {
            (void)snprintf(out, size, "%lld%s", (long long)((int64_t)value / unit), units[i]);
            return out;
        }
    }
    (void)snprintf(out, size, whole ? "%.0f%s" : "%.15g%s", value, option->type == PL_OPT_PERCENT ? "%" : "");
    return out;
}

static bool in_range(const reading *r, double value)
{
    const pl_option *o = r->option;
    char low[80], high[80];
    if (o->min == o->max || (value >= o->min && value <= o->max))
        return true;
    (void)pl_value_bound(o, o->min, low, sizeof low);
    (void)pl_value_bound(o, o->max, high, sizeof high);
    if (o->max >= 9.2e18)
        return expected(r, "expected at least %s", low);
    if (o->min <= -9.2e18)
        return expected(r, "expected at most %s", high);
    return expected(r, "expected %s to %s", low, high);
}

static bool read_enum(const reading *r)
{
    for (const char *const *choice = r->option->choices; choice && *choice; choice++)
        if (pl_str_is(r->text, *choice)) {
            r->out->text = *choice;
            return true;
        }
    return expected(r, "not one of its words");
}

static size_t digits(pl_str text, size_t at)
{
    size_t count = 0;
    while (at + count < text.len && isdigit((unsigned char)text.ptr[at + count]))
        count++;
    return count;
}

/* -?digits[.digits]: what a decimal is made of. */
static bool is_decimal(pl_str text)
{
    size_t at = text.len > 0 && text.ptr[0] == '-', whole = digits(text, at);
    at += whole;
    if (at < text.len && text.ptr[at] == '.') {
        size_t part = digits(text, at + 1);
        at += part ? part + 1 : 0;
    }
    return whole > 0 && at == text.len;
}

static bool read_decimal(const reading *r)
{
    if (!is_decimal(r->text))
        return expected(r, "expected a decimal number such as 12.50");
    return in_range(r, strtod(r->text.ptr, NULL)) && keep(r, r->text);
}

static bool read_percent(const reading *r)
{
    char number[64];
    pl_error error = {0};
    if (pl_parse_percent(r->text, number, sizeof number, &error) != PL_OK)
        return expected(r, "%s", error.message);
    return in_range(r, strtod(number, NULL)) && keep(r, PL_S(number));
}

static bool read_integer(const reading *r)
{
    size_t sign = r->text.len > 0 && r->text.ptr[0] == '-', count = digits(r->text, sign);
    errno = 0;
    r->out->i = strtoll(r->text.ptr, NULL, 10);
    if (count == 0 || sign + count != r->text.len)
        return expected(r, "expected a whole number");
    if (errno)
        return expected(r, "expected a whole number within 64 bits");
    return in_range(r, (double)r->out->i);
}

static bool read_unit(const reading *r)
{
    pl_error error = {0};
    pl_status status = r->option->type == PL_OPT_SIZE ? pl_parse_size(r->text, &r->out->i, &error)
                                                      : pl_parse_duration(r->text, &r->out->i, &error);
    if (status != PL_OK)
        return expected(r, "%s", error.message);
    return in_range(r, (double)r->out->i);
}

static bool read_float(const reading *r)
{
    char *end = NULL;
    bool plain = r->text.len > 0;
    for (size_t i = 0; i < r->text.len; i++) /* no NaN, infinity, hexadecimal or blanks, all of which strtod takes */
        plain = plain && (isdigit((unsigned char)r->text.ptr[i]) || strchr("+-.eE", r->text.ptr[i]));
    r->out->f = strtod(r->text.ptr, &end);
    if (!plain || end != r->text.ptr + r->text.len || !isfinite(r->out->f))
        return expected(r, "expected a number");
    return in_range(r, r->out->f);
}

static bool read_bool(const reading *r)
{
    static const char *const others[] = {"yes", "no", "on", "off", "True", "False", "TRUE", "FALSE", "1", "0", NULL};
    r->out->b = pl_str_is(r->text, "true");
    if (r->out->b || pl_str_is(r->text, "false"))
        return true;
    for (size_t i = 0; others[i]; i++)
        if (pl_str_is(r->text, others[i]))
            return expected(r, "write true or false");
    return expected(r, "expected true or false");
}

/* pair, quotes.USD.price, [0].id: names and indices, none of them empty. */
static bool read_field(const reading *r)
{
    bool name_due = true;
    for (size_t i = 0; i < r->text.len; i++) {
        char c = r->text.ptr[i];
        if (c == '[') {
            size_t count = digits(r->text, i + 1);
            i += count + 1;
            if (count == 0 || i >= r->text.len || r->text.ptr[i] != ']')
                return expected(r, "an index is a number in [ ]");
            name_due = false;
        } else if (c == '.') {
            if (name_due)
                return expected(r, "a name is missing before a dot of the field path");
            name_due = true;
        } else {
            name_due = false;
        }
    }
    if (name_due)
        return expected(r, "expected a field path such as pair or quotes.USD.price");
    return keep(r, r->text);
}

static bool read_template(const reading *r)
{
    size_t open = 0; /* 1 + place of the brace that is open */
    for (size_t i = 0; i < r->text.len; i++) {
        char c = r->text.ptr[i];
        if ((c == '{' && open) || (c == '}' && !open))
            return expected(r, "the braces of a template come in pairs: price.{pair}");
        if (c == '}' && i == open)
            return expected(r, "a field is missing between the braces");
        if (c == '{')
            open = i + 1;
        else if (c == '}')
            open = 0;
    }
    return open ? expected(r, "the braces of a template come in pairs: price.{pair}") : keep(r, r->text);
}

bool pl_value_read(const pl_option *option, pl_str text, pl_arena *arena, pl_value_slot *out, char *message,
                   size_t message_size)
{
    const reading r = {option, text, arena, out, message, message_size};
    switch (option->type) {
    case PL_OPT_STR:
    case PL_OPT_SECRET:
        return keep(&r, text);
    case PL_OPT_PATH:
        return text.len > 0 ? keep(&r, text) : expected(&r, "expected a file name");
    case PL_OPT_ENUM:
        return read_enum(&r);
    case PL_OPT_FIELD:
        return read_field(&r);
    case PL_OPT_TEMPLATE:
        return read_template(&r);
    case PL_OPT_DECIMAL:
        return read_decimal(&r);
    case PL_OPT_PERCENT:
        return read_percent(&r);
    case PL_OPT_INT:
        return read_integer(&r);
    case PL_OPT_DURATION_NS:
    case PL_OPT_SIZE:
        return read_unit(&r);
    case PL_OPT_FLOAT:
        return read_float(&r);
    case PL_OPT_BOOL:
        return read_bool(&r);
    default:
        return expected(&r, "an option of a type that this version does not know");
    }
}
