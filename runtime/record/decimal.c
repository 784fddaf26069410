/* What most numbers need: coefficients of one limb, and steps that fit 128 bits. Whatever does not goes the wide way
 * (decimal_wide.c), with the same results. */
#include <record/decimal.h>
#include <record/decimal_wide.h>
#include <record/wide.h>

__extension__ typedef unsigned __int128 decimal_u128;

const char *pl_decimal_reason(pl_decimal_status status)
{
    switch (status) {
    case PL_DECIMAL_OK:
        return "is fine";
    case PL_DECIMAL_SYNTAX:
        return "is not a number";
    case PL_DECIMAL_RANGE:
        return "has more than 150 digits, or more than 150 after the point";
    case PL_DECIMAL_BY_ZERO:
        return "is a division by zero";
    case PL_DECIMAL_INEXACT:
        return "is not an integer";
    }
    return "is unknown";
}

void pl_decimal_from_int(int64_t value, pl_decimal *out)
{
    out->limb[0] = value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
    out->used = value != 0;
    out->negative = value < 0;
    out->scale = 0;
}

pl_decimal_status pl_decimal_to_int(const pl_decimal *value, int64_t *out)
{
    pl_decimal whole;
    pl_decimal_trim(value, &whole);
    if (whole.scale > 0)
        return PL_DECIMAL_INEXACT;
    if (whole.used == 0) {
        *out = 0;
        return PL_DECIMAL_OK;
    }
    uint64_t limit = (uint64_t)INT64_MAX + (whole.negative ? 1u : 0u);
    if (whole.used > 1 || whole.limb[0] > limit)
        return PL_DECIMAL_RANGE;
    *out = whole.negative ? -(int64_t)(whole.limb[0] - 1) - 1 : (int64_t)whole.limb[0];
    return PL_DECIMAL_OK;
}

bool pl_decimal_same(const pl_decimal *a, const pl_decimal *b)
{
    if (a->used != b->used || a->scale != b->scale || a->negative != b->negative)
        return false;
    for (uint32_t i = 0; i < a->used; i++)
        if (a->limb[i] != b->limb[i])
            return false;
    return true;
}

uint64_t pl_decimal_hash(const pl_decimal *value)
{
    pl_decimal plain;
    pl_decimal_trim(value, &plain);
    uint64_t hash =
        14695981039346656037u ^ plain.scale ^ (plain.negative ? 1u << 16 : 0u); /* FNV-1a, a limb at a time */
    for (uint32_t i = 0; i < plain.used; i++) {
        hash = (hash ^ plain.limb[i]) * 1099511628211u;
        hash ^= hash >> 32; /* a plain FNV step over a limb would leave its high bits out of the low ones */
    }
    return hash;
}

void pl_decimal_neg(const pl_decimal *value, pl_decimal *out)
{
    bool negative = !value->negative && value->used > 0;
    pl_decimal_copy(value, out);
    out->negative = negative;
}

void pl_decimal_abs(const pl_decimal *value, pl_decimal *out)
{
    pl_decimal_copy(value, out);
    out->negative = false;
}

/* ---- one limb ------------------------------------------------------------------ */

static inline bool is_short(const pl_decimal *value)
{
    return value->used <= 1;
}

static inline uint64_t coefficient(const pl_decimal *value)
{
    return value->used ? value->limb[0] : 0;
}

/* out = value * 10^exponent; false: it may not fit. */
static inline bool scale_up(uint64_t value, uint32_t exponent, decimal_u128 *out)
{
    if (exponent > PL_WIDE_CHUNK_DIGITS)
        return false;
    *out = (decimal_u128)value * pl_wide_pow10[exponent];
    return true;
}

/* A coefficient of 128 bits has 39 digits: it is never out of range. */
static inline pl_decimal_status put(decimal_u128 value, bool negative, uint32_t scale, pl_decimal *out)
{
    uint64_t low = (uint64_t)value, high = (uint64_t)(value >> 64);
    out->limb[0] = low;
    out->limb[1] = high;
    out->used = high ? 2 : low != 0;
    out->scale = (uint16_t)scale;
    out->negative = negative && out->used > 0;
    return PL_DECIMAL_OK;
}

/* Both coefficients at the larger of the two scales. */
static inline bool align(const pl_decimal *a, const pl_decimal *b, decimal_u128 *x, decimal_u128 *y, uint32_t *scale)
{
    if (!is_short(a) || !is_short(b))
        return false;
    if (a->scale < b->scale) {
        *scale = b->scale;
        *y = coefficient(b);
        return scale_up(coefficient(a), (uint32_t)b->scale - a->scale, x);
    }
    *scale = a->scale;
    *x = coefficient(a);
    return scale_up(coefficient(b), (uint32_t)a->scale - b->scale, y);
}

/* Quotient and remainder, by the machine's own division where that does. */
static inline decimal_u128 divide(decimal_u128 numerator, decimal_u128 denominator, decimal_u128 *rest)
{
    if (((numerator | denominator) >> 64) == 0) {
        *rest = (uint64_t)numerator % (uint64_t)denominator;
        return (uint64_t)numerator / (uint64_t)denominator;
    }
    decimal_u128 quotient = numerator / denominator;
    *rest = numerator - quotient * denominator;
    return quotient;
}

/* Rounded half to even. */
static inline decimal_u128 divide_rounding(decimal_u128 numerator, decimal_u128 denominator, bool *exact)
{
    decimal_u128 rest, quotient = divide(numerator, denominator, &rest), missing = denominator - rest;
    *exact = rest == 0;
    return quotient + (rest > missing || (rest == missing && (quotient & 1)) ? 1 : 0);
}

/* a * 10^places / b as a fraction of two integers, the scales taken into account. */
static inline bool set_up_division(const pl_decimal *a, const pl_decimal *b, uint32_t places, decimal_u128 *numerator,
                                   decimal_u128 *denominator)
{
    if (!is_short(a) || !is_short(b))
        return false;
    uint32_t up = places + b->scale;
    if (up < a->scale) {
        *numerator = coefficient(a);
        return scale_up(coefficient(b), a->scale - up, denominator);
    }
    *denominator = coefficient(b);
    return scale_up(coefficient(a), up - a->scale, numerator);
}

/* Drops trailing zeros after the point while the scale is above `least`. */
static uint64_t drop_zeros(uint64_t value, uint32_t *scale, uint32_t least)
{
    if (value == 0)
        *scale = least;
    for (uint32_t digits = 16; digits > 0; digits /= 2) {
        while (*scale - least >= digits && value % pl_wide_pow10[digits] == 0) {
            value /= pl_wide_pow10[digits];
            *scale -= digits;
        }
    }
    return value;
}

/* ---- comparison and arithmetic ------------------------------------------------------ */

int pl_decimal_cmp(const pl_decimal *a, const pl_decimal *b)
{
    int sign = pl_decimal_sign(a), other = pl_decimal_sign(b);
    if (sign != other)
        return sign < other ? -1 : 1;
    decimal_u128 x, y;
    uint32_t scale;
    if (align(a, b, &x, &y, &scale))
        return x == y ? 0 : x < y ? -sign : sign;
    return sign * pl_decimal_wide_cmp(a, b);
}

static inline pl_decimal_status add(const pl_decimal *a, const pl_decimal *b, bool b_negative, pl_decimal *out)
{
    decimal_u128 x, y;
    uint32_t scale;
    if (!align(a, b, &x, &y, &scale))
        return pl_decimal_wide_add(a, b, b_negative, out);
    if (a->negative == b_negative) /* below 2^64 * 10^19 + 2^64: no carry out of 128 bits */
        return put(x + y, b_negative, scale, out);
    return x >= y ? put(x - y, a->negative, scale, out) : put(y - x, b_negative, scale, out);
}

pl_decimal_status pl_decimal_add(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    return add(a, b, b->negative, out);
}

pl_decimal_status pl_decimal_sub(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    return add(a, b, !b->negative, out);
}

pl_decimal_status pl_decimal_mul(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    uint32_t scale = (uint32_t)a->scale + b->scale;
    if (!is_short(a) || !is_short(b) || scale > PL_DECIMAL_SCALE_MAX)
        return pl_decimal_wide_mul(a, b, out);
    return put((decimal_u128)coefficient(a) * coefficient(b), a->negative != b->negative, scale, out);
}

pl_decimal_status pl_decimal_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    if (b->used == 0)
        return PL_DECIMAL_BY_ZERO;
    uint32_t least = a->scale, scale = least > PL_DECIMAL_DIV_SCALE ? least : PL_DECIMAL_DIV_SCALE;
    decimal_u128 numerator, denominator;
    bool exact, negative = a->negative != b->negative;
    if (!set_up_division(a, b, scale, &numerator, &denominator))
        return pl_decimal_wide_div(a, b, out);
    decimal_u128 quotient = divide_rounding(numerator, denominator, &exact);
    if (!exact)
        return put(quotient, negative, scale, out);
    if (quotient >> 64)
        return pl_decimal_wide_div(a, b, out);
    uint64_t value = drop_zeros((uint64_t)quotient, &scale, least);
    return put(value, negative, scale, out);
}

pl_decimal_status pl_decimal_div_to(const pl_decimal *a, const pl_decimal *b, uint32_t places, pl_decimal *out)
{
    if (b->used == 0)
        return PL_DECIMAL_BY_ZERO;
    if (places > PL_DECIMAL_SCALE_MAX)
        return PL_DECIMAL_RANGE;
    decimal_u128 numerator, denominator;
    bool exact;
    if (!set_up_division(a, b, places, &numerator, &denominator))
        return pl_decimal_wide_div_to(a, b, places, out);
    decimal_u128 quotient = divide_rounding(numerator, denominator, &exact);
    return put(quotient, a->negative != b->negative, places, out);
}

pl_decimal_status pl_decimal_mod(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    if (b->used == 0)
        return PL_DECIMAL_BY_ZERO;
    decimal_u128 x, y, rest;
    uint32_t scale;
    if (!align(a, b, &x, &y, &scale))
        return pl_decimal_wide_mod(a, b, out);
    (void)divide(x, y, &rest);
    return put(rest == 0 || a->negative == b->negative ? rest : y - rest, b->negative, scale, out);
}

pl_decimal_status pl_decimal_floor_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    if (b->used == 0)
        return PL_DECIMAL_BY_ZERO;
    decimal_u128 x, y, rest;
    uint32_t scale;
    if (!align(a, b, &x, &y, &scale))
        return pl_decimal_wide_floor_div(a, b, out);
    decimal_u128 quotient = divide(x, y, &rest);
    bool negative = a->negative != b->negative;
    return put(negative && rest ? quotient + 1 : quotient, negative, 0, out);
}

pl_decimal_status pl_decimal_round(const pl_decimal *value, uint32_t places, pl_decimal *out)
{
    if (places > PL_DECIMAL_SCALE_MAX)
        return PL_DECIMAL_RANGE;
    decimal_u128 scaled;
    bool exact;
    if (is_short(value) && places >= value->scale && scale_up(coefficient(value), places - value->scale, &scaled))
        return put(scaled, value->negative, places, out);
    if (is_short(value) && places < value->scale && value->scale - places <= PL_WIDE_CHUNK_DIGITS) {
        scaled = divide_rounding(coefficient(value), pl_wide_pow10[value->scale - places], &exact);
        return put(scaled, value->negative, places, out);
    }
    return pl_decimal_wide_round(value, places, out);
}

void pl_decimal_trim(const pl_decimal *value, pl_decimal *out)
{
    if (!is_short(value)) {
        pl_decimal_wide_trim(value, out);
        return;
    }
    uint32_t scale = value->scale;
    uint64_t trimmed = drop_zeros(coefficient(value), &scale, 0);
    (void)put(trimmed, value->negative, scale, out);
}
