#include <base/units.h>

#include <ctype.h>

typedef struct unit {
    const char *name;
    int64_t each;
} unit;

static const int64_t second = 1000000000;
static const unit duration_units[] = {{"d", 86400 * second}, {"h", 3600 * second}, {"m", 60 * second}, {"s", second},
                                      {"ms", 1000000},       {"us", 1000},         {"ns", 1},          {NULL, 0}};
static const unit size_units[] = {{"B", 1},
                                  {"kB", 1000},
                                  {"MB", 1000000},
                                  {"GB", 1000000000},
                                  {"TB", 1000000000000},
                                  {"KiB", (int64_t)1 << 10},
                                  {"MiB", (int64_t)1 << 20},
                                  {"GiB", (int64_t)1 << 30},
                                  {"TiB", (int64_t)1 << 40},
                                  {NULL, 0}};

/* A decimal number at the start of text: whole.fraction, the fraction as digits over a power of ten. */
typedef struct number {
    int64_t whole, fraction, scale;
    size_t len; /* 0: none there, or more digits than fit */
} number;

static number read_number(pl_str text)
{
    number n = {.scale = 1};
    size_t i = 0;
    for (; i < text.len && isdigit((unsigned char)text.ptr[i]); i++)
        if (__builtin_mul_overflow(n.whole, 10, &n.whole) ||
            __builtin_add_overflow(n.whole, text.ptr[i] - '0', &n.whole))
            return n;
    size_t whole_digits = i;
    if (whole_digits > 0 && i + 1 < text.len && text.ptr[i] == '.' && isdigit((unsigned char)text.ptr[i + 1])) {
        for (i++; i < text.len && isdigit((unsigned char)text.ptr[i]); i++) {
            if (n.scale > 100000000000)
                return n;
            n.fraction = n.fraction * 10 + (text.ptr[i] - '0');
            n.scale *= 10;
        }
    }
    n.len = whole_digits > 0 ? i : 0;
    return n;
}

/* whole.fraction times each, exactly. false: too large, or not a whole result. */
static bool multiply(number n, int64_t each, int64_t *out)
{
    int64_t whole, part;
    if (__builtin_mul_overflow(n.whole, each, &whole) || __builtin_mul_overflow(n.fraction, each, &part) ||
        part % n.scale != 0)
        return false;
    return !__builtin_add_overflow(whole, part / n.scale, out);
}

static const unit *find_unit(const unit *units, pl_str text)
{
    for (; units->name; units++)
        if (strlen(units->name) == text.len && memcmp(units->name, text.ptr, text.len) == 0)
            return units;
    return NULL;
}

static pl_str rest(pl_str text, size_t skip)
{
    return (pl_str){text.ptr + skip, text.len - skip};
}

static size_t letters(pl_str text)
{
    size_t i = 0;
    while (i < text.len && isalpha((unsigned char)text.ptr[i]))
        i++;
    return i;
}

/* The messages name no value: it may be a secret's. */
pl_status pl_parse_duration(pl_str text, int64_t *ns, pl_error *error)
{
    int64_t total = 0;
    const unit *last = NULL;
    if (text.len == 1 && text.ptr[0] == '0') {
        *ns = 0;
        return PL_OK;
    }
    for (pl_str left = text; left.len > 0 || !last;) {
        number n = read_number(left);
        size_t unit_len = n.len ? letters(rest(left, n.len)) : 0;
        if (n.len && n.len == left.len)
            return pl_fail(error, PL_BAD_CONFIG, "a duration needs a unit, such as 200ms, 30s, 5m, 1h30m");
        const unit *found = n.len ? find_unit(duration_units, (pl_str){left.ptr + n.len, unit_len}) : NULL;
        if (!found || (last && found <= last))
            return pl_fail(error, PL_BAD_CONFIG,
                           "expected a duration such as 200ms, 30s, 5m, 1h30m (units ns us ms s m h d)");
        int64_t part;
        if (!multiply(n, found->each, &part) || __builtin_add_overflow(total, part, &total))
            return pl_fail(error, PL_BAD_CONFIG, "a duration is at most 292 years and at finest a nanosecond");
        last = found;
        left = rest(left, n.len + unit_len);
    }
    *ns = total;
    return PL_OK;
}

pl_status pl_parse_size(pl_str text, int64_t *bytes, pl_error *error)
{
    number n = read_number(text);
    int64_t result;
    if (n.len == 0)
        return pl_fail(error, PL_BAD_CONFIG, "expected a size such as 512, 64kB, 64MiB");
    const unit *found = n.len == text.len ? size_units : find_unit(size_units, rest(text, n.len));
    if (!found)
        return pl_fail(error, PL_BAD_CONFIG,
                       "expected a size such as 512, 64kB, 64MiB (units B kB MB GB TB KiB MiB GiB TiB)");
    if (!multiply(n, found->each, &result))
        return pl_fail(error, PL_BAD_CONFIG, "a size is a whole number of bytes, below 8 EiB");
    *bytes = result;
    return PL_OK;
}

pl_status pl_parse_percent(pl_str text, char *out, size_t out_size, pl_error *error)
{
    size_t sign = text.len > 0 && text.ptr[0] == '-', i = sign, digits = 0;
    for (bool point = false; i < text.len; i++) {
        if (text.ptr[i] == '.' && !point && digits > 0)
            point = true;
        else if (isdigit((unsigned char)text.ptr[i]))
            digits++;
        else
            break;
    }
    bool number = digits > 0 && text.ptr[i - 1] != '.';
    if (number && i == text.len)
        return pl_fail(error, PL_BAD_CONFIG, "a percentage needs its sign, such as 0.5%%");
    if (!number || i + 1 != text.len || text.ptr[i] != '%')
        return pl_fail(error, PL_BAD_CONFIG, "expected a percentage such as 0.5%%");
    if (i >= out_size)
        return pl_fail(error, PL_BAD_CONFIG, "a percentage has at most %zu characters", out_size);
    memcpy(out, text.ptr, i);
    out[i] = '\0';
    return PL_OK;
}

/* "1.5" for 3/2: value over a power of ten, without trailing zeros. */
static void add_fraction(char *out, size_t out_size, size_t *at, uint64_t value, uint64_t each, const char *unit_name)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)(value / each));
    uint64_t left = value % each;
    if (left > 0 && len < 22)
        text[len++] = '.';
    for (; left > 0 && len < 31; left %= each) {
        each /= 10;
        text[len++] = (char)('0' + left / each);
    }
    int wrote = snprintf(out + *at, out_size - *at, "%.*s%s", len, text, unit_name);
    *at = wrote > 0 && *at + (size_t)wrote < out_size ? *at + (size_t)wrote : out_size - 1;
}

const char *pl_format_duration(int64_t ns, char *out, size_t out_size)
{
    uint64_t left = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    size_t at = 0;
    if (out_size == 0)
        return "";
    out[0] = '\0';
    if (ns < 0)
        add_fraction(out, out_size, &at, 0, 1, ""), out[0] = '-';
    for (int i = 0; i < 3; i++) {
        uint64_t each = (uint64_t)duration_units[i].each;
        if (left >= each) {
            add_fraction(out, out_size, &at, left / each, 1, duration_units[i].name);
            left %= each;
            if (left == 0)
                return out;
        }
    }
    if (left == 0 && at == 0)
        add_fraction(out, out_size, &at, 0, 1, "s");
    for (int i = 3; left > 0; i++) {
        uint64_t each = (uint64_t)duration_units[i].each;
        if (left >= each || duration_units[i + 1].name == NULL) {
            add_fraction(out, out_size, &at, left, each, duration_units[i].name);
            break;
        }
    }
    return out;
}
