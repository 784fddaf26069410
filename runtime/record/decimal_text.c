/* Decimals from and to text, and from and to doubles by way of it. */
#include <assert.h>
#include <record/decimal.h>
#include <record/json.h>
#include <record/lexeme.h>
#include <record/wide.h>

enum { SHORT_TEXT_MAX = PL_WIDE_CHUNK_DIGITS + 2 /* sign, point */ };

/* Appends digits to a coefficient; false once there are more than a decimal holds. *count is the digits so far without
 * leading zeros. */
static bool add_digits(pl_wide *wide, pl_str digits, size_t *count)
{
    size_t i = 0;
    while (*count == 0 && i < digits.len && digits.ptr[i] == '0')
        i++;
    if (digits.len - i > PL_DECIMAL_DIGITS - *count)
        return false;
    *count += digits.len - i;
    while (i < digits.len) {
        uint64_t chunk = 0;
        uint32_t taken = 0;
        for (; taken < PL_WIDE_CHUNK_DIGITS && i < digits.len; taken++, i++)
            chunk = chunk * 10 + (uint64_t)(digits.ptr[i] - '0');
        pl_wide_mul_add(wide, pl_wide_pow10[taken], chunk);
    }
    return true;
}

static void finish(const pl_wide *wide, bool negative, uint32_t scale, pl_decimal *out)
{
    assert(wide->used <= PL_DECIMAL_LIMBS && scale <= PL_DECIMAL_SCALE_MAX);
    for (uint32_t i = 0; i < wide->used; i++)
        out->limb[i] = wide->limb[i];
    out->used = (uint8_t)wide->used;
    out->negative = negative && wide->used > 0;
    out->scale = (uint16_t)scale;
}

/* Digits and at most one point between them, no more than a limb holds: nearly every number there is. false: it has to
 * be looked at closely. */
static bool parse_short(pl_str text, pl_decimal *out)
{
    if (text.len == 0 || text.len > SHORT_TEXT_MAX)
        return false;
    const char *at = text.ptr, *end = at + text.len, *point = NULL;
    bool negative = *at == '-';
    const char *whole = at += negative ? 1 : 0;
    uint64_t value = 0; /* beyond 19 digits it is wrong, and not used */
    for (; at < end; at++) {
        unsigned digit = (unsigned char)*at - (unsigned)'0';
        if (digit <= 9) {
            value = value * 10 + digit;
        } else if (*at == '.' && !point) {
            point = at;
        } else {
            return false;
        }
    }
    ptrdiff_t count = (point ? point : end) - whole, places = point ? end - point - 1 : 0;
    if (count == 0 || (count > 1 && *whole == '0') || (point && places == 0) || count + places > PL_WIDE_CHUNK_DIGITS)
        return false;
    out->limb[0] = value;
    out->used = value != 0;
    out->negative = negative && value != 0;
    out->scale = (uint16_t)places;
    return true;
}

/* Apart, so that the short way needs no frame. */
static __attribute__((noinline)) pl_decimal_status parse_any(pl_str text, pl_decimal *out)
{
    pl_lexeme parts;
    if (!pl_lexeme_split(text, &parts))
        return PL_DECIMAL_SYNTAX;
    pl_wide wide;
    wide.used = 0; /* the limbs need no clearing */
    size_t count = 0;
    if (!add_digits(&wide, parts.whole, &count) || !add_digits(&wide, parts.fraction, &count))
        return PL_DECIMAL_RANGE;
    int64_t scale = (int64_t)parts.fraction.len - parts.exponent;
    if (scale > PL_DECIMAL_SCALE_MAX)
        return PL_DECIMAL_RANGE;
    if (scale < 0) {
        if (wide.used > 0 && (int64_t)count - scale > PL_DECIMAL_DIGITS)
            return PL_DECIMAL_RANGE;
        if (wide.used > 0)
            pl_wide_scale(&wide, (uint32_t)-scale);
        scale = 0;
    }
    finish(&wide, parts.negative, (uint32_t)scale, out);
    return PL_DECIMAL_OK;
}

pl_decimal_status pl_decimal_parse(pl_str text, pl_decimal *out)
{
    return parse_short(text, out) ? PL_DECIMAL_OK : parse_any(text, out);
}

pl_decimal_status pl_decimal_from_scaled(pl_str integer, uint32_t decimals, pl_decimal *out)
{
    bool negative = integer.len > 0 && integer.ptr[0] == '-';
    pl_str digits = {integer.ptr + (negative ? 1 : 0), integer.len - (negative ? 1 : 0)};
    for (size_t i = 0; i < digits.len; i++)
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
            return PL_DECIMAL_SYNTAX;
    if (digits.len == 0)
        return PL_DECIMAL_SYNTAX;
    pl_wide wide;
    wide.used = 0; /* the limbs need no clearing */
    size_t count = 0;
    if (decimals > PL_DECIMAL_SCALE_MAX || !add_digits(&wide, digits, &count))
        return PL_DECIMAL_RANGE;
    finish(&wide, negative, decimals, out);
    return PL_DECIMAL_OK;
}

pl_decimal_status pl_decimal_from_double(double value, pl_decimal *out)
{
    char text[PL_DOUBLE_TEXT_MAX];
    size_t length = pl_double_format(value, text);
    pl_decimal exact;
    if (length == 0 || pl_decimal_parse((pl_str){text, length}, &exact) != PL_DECIMAL_OK)
        return PL_DECIMAL_RANGE;
    pl_decimal_trim(&exact, out); /* the ".0" of a whole double is not a digit that somebody wrote */
    return PL_DECIMAL_OK;
}

/* Digits of the coefficient, last first, with zeros up to `least` of them. Returns how many. */
static uint32_t reversed_digits(const pl_decimal *value, uint32_t least, char out[PL_DECIMAL_TEXT_MAX])
{
    pl_wide wide;
    pl_wide_set(&wide, value->limb, value->used);
    uint32_t count = 0;
    while (wide.used > 0) {
        uint64_t chunk = pl_wide_div_small(&wide, pl_wide_pow10[PL_WIDE_CHUNK_DIGITS]);
        uint32_t from = count;
        for (; chunk > 0; chunk /= 10)
            out[count++] = (char)('0' + chunk % 10);
        while (wide.used > 0 && count - from < PL_WIDE_CHUNK_DIGITS)
            out[count++] = '0';
    }
    while (count < least)
        out[count++] = '0';
    return count;
}

/* A coefficient of one limb. */
static size_t format_short(const pl_decimal *value, char out[PL_DECIMAL_TEXT_MAX])
{
    char text[PL_DECIMAL_TEXT_MAX];
    char *end = text + sizeof text - 1, *at = end;
    uint64_t left = value->used ? value->limb[0] : 0;
    *end = '\0';
    for (uint32_t i = 0; i < value->scale; i++, left /= 10)
        *--at = (char)('0' + left % 10);
    if (value->scale > 0)
        *--at = '.';
    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value->negative)
        *--at = '-';
    size_t length = (size_t)(end - at);
    memcpy(out, at, length + 1);
    return length;
}

static __attribute__((noinline)) size_t format_any(const pl_decimal *value, char out[PL_DECIMAL_TEXT_MAX])
{
    char digits[PL_DECIMAL_TEXT_MAX];
    size_t length = 0;
    uint32_t count = reversed_digits(value, value->scale + 1u, digits);
    assert(count + 3 <= PL_DECIMAL_TEXT_MAX);
    if (value->negative)
        out[length++] = '-';
    while (count > value->scale)
        out[length++] = digits[--count];
    if (count > 0)
        out[length++] = '.';
    while (count > 0)
        out[length++] = digits[--count];
    out[length] = '\0';
    return length;
}

size_t pl_decimal_format(const pl_decimal *value, char out[PL_DECIMAL_TEXT_MAX])
{
    return value->used <= 1 ? format_short(value, out) : format_any(value, out);
}

double pl_decimal_to_double(const pl_decimal *value)
{
    /* Both operands are exact up to these bounds, so one division rounds once (Clinger, 1990). */
    static const double pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double result = 0;
    if (value->used <= 1 && value->scale < sizeof pow10 / sizeof *pow10 &&
        (value->used == 0 || value->limb[0] <= (uint64_t)1 << 53)) {
        result = value->used == 0 ? 0.0 : (double)value->limb[0] / pow10[value->scale];
        return value->negative ? -result : result;
    }
    char text[PL_DECIMAL_TEXT_MAX];
    size_t length = pl_decimal_format(value, text);
    bool parsed = pl_double_parse((pl_str){text, length}, &result);
    assert(parsed);
    (void)parsed;
    return result;
}
