#include <float.h>
#include <record/json.h>
#include <record/lexeme.h>

enum { EXPONENT_MAX = 100000, INT64_DIGITS = 19 };

static pl_str digits_at(const char **at, const char *end)
{
    const char *start = *at;
    while (*at < end && **at >= '0' && **at <= '9')
        ++*at;
    return (pl_str){start, (size_t)(*at - start)};
}

static bool split_exponent(const char **at, const char *end, int32_t *exponent)
{
    bool negative = *at < end && **at == '-';
    if (*at < end && (**at == '-' || **at == '+'))
        ++*at;
    pl_str digits = digits_at(at, end);
    int32_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        value = value * 10 + (digits.ptr[i] - '0');
        if (value > EXPONENT_MAX)
            value = EXPONENT_MAX;
    }
    *exponent = negative ? -value : value;
    return digits.len > 0;
}

bool pl_lexeme_split(pl_str text, pl_lexeme *out)
{
    if (text.len == 0)
        return false;
    const char *at = text.ptr, *end = at + text.len;
    out->negative = *at == '-';
    if (out->negative)
        at++;
    out->whole = digits_at(&at, end);
    out->fraction = (pl_str){at, 0};
    out->exponent = 0;
    out->integer = at == end;
    if (out->whole.len == 0 || (out->whole.len > 1 && *out->whole.ptr == '0'))
        return false;
    if (at < end && *at == '.') {
        at++;
        out->fraction = digits_at(&at, end);
        if (out->fraction.len == 0)
            return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (!split_exponent(&at, end, &out->exponent))
            return false;
    }
    return at == end;
}

bool pl_lexeme_int(const pl_lexeme *lexeme, int64_t *out)
{
    if (!lexeme->integer || lexeme->whole.len > INT64_DIGITS)
        return false;
    uint64_t value = 0; /* 19 digits always fit */
    for (size_t i = 0; i < lexeme->whole.len; i++)
        value = value * 10 + (uint64_t)(lexeme->whole.ptr[i] - '0');
    if (value > (uint64_t)INT64_MAX + (lexeme->negative ? 1u : 0u))
        return false;
    *out = lexeme->negative ? (int64_t)(0u - value) : (int64_t)value;
    return true;
}

int64_t pl_lexeme_magnitude(const pl_lexeme *lexeme)
{
    for (size_t i = 0; i < lexeme->whole.len; i++)
        if (lexeme->whole.ptr[i] != '0')
            return (int64_t)(lexeme->whole.len - i) - 1 + lexeme->exponent;
    for (size_t i = 0; i < lexeme->fraction.len; i++)
        if (lexeme->fraction.ptr[i] != '0')
            return -(int64_t)i - 1 + lexeme->exponent;
    return 0;
}

bool pl_lexeme_finite(pl_str text, const pl_lexeme *lexeme)
{
    int64_t magnitude = pl_lexeme_magnitude(lexeme);
    if (magnitude != DBL_MAX_10_EXP)
        return magnitude < DBL_MAX_10_EXP;
    double value = 0;
    return pl_double_parse(text, &value);
}
