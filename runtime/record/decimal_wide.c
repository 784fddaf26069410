/* Arithmetic on numbers of any width. Each operation works on wide integers, where nothing can overflow, and is bounded
 * once, when it is stored. */
#include <assert.h>
#include <record/decimal_wide.h>
#include <record/wide.h>

/* 10^PL_DECIMAL_DIGITS: the first coefficient that is too large. */
static const uint64_t coefficient_end[PL_DECIMAL_LIMBS] = {0u,
                                                           0u,
                                                           0x04AD402632400000u,
                                                           0x2994D1D5F91E7250u,
                                                           0xA23B2E96665BCDBBu,
                                                           0x77DE53AC65FA7DDBu,
                                                           0xC6BFF953B020A29Bu,
                                                           0x0004E34D4B9425ABu};

static void load(pl_wide *wide, const pl_decimal *value)
{
    pl_wide_set(wide, value->limb, value->used);
}

static bool fits(const pl_wide *wide)
{
    if (wide->used != PL_DECIMAL_LIMBS)
        return wide->used < PL_DECIMAL_LIMBS;
    for (uint32_t i = PL_DECIMAL_LIMBS; i-- > 0;)
        if (wide->limb[i] != coefficient_end[i])
            return wide->limb[i] < coefficient_end[i];
    return false;
}

static pl_decimal_status store(const pl_wide *wide, bool negative, uint32_t scale, pl_decimal *out)
{
    if (scale > PL_DECIMAL_SCALE_MAX || !fits(wide))
        return PL_DECIMAL_RANGE;
    for (uint32_t i = 0; i < wide->used; i++)
        out->limb[i] = wide->limb[i];
    out->used = (uint8_t)wide->used;
    out->scale = (uint16_t)scale;
    out->negative = negative && wide->used > 0;
    return PL_DECIMAL_OK;
}

/* Both coefficients at the larger of the two scales, which is returned. */
static uint32_t align(const pl_decimal *a, const pl_decimal *b, pl_wide *wide_a, pl_wide *wide_b)
{
    load(wide_a, a);
    load(wide_b, b);
    if (a->scale < b->scale) {
        pl_wide_scale(wide_a, (uint32_t)b->scale - a->scale);
        return b->scale;
    }
    pl_wide_scale(wide_b, (uint32_t)a->scale - b->scale);
    return a->scale;
}

int pl_decimal_wide_cmp(const pl_decimal *a, const pl_decimal *b)
{
    pl_wide wide_a, wide_b;
    (void)align(a, b, &wide_a, &wide_b);
    return pl_wide_cmp(&wide_a, &wide_b);
}

pl_decimal_status pl_decimal_wide_add(const pl_decimal *a, const pl_decimal *b, bool b_negative, pl_decimal *out)
{
    pl_wide wide_a, wide_b;
    uint32_t scale = align(a, b, &wide_a, &wide_b);
    if (a->negative == b_negative) {
        pl_wide_add(&wide_a, &wide_b);
        return store(&wide_a, b_negative, scale, out);
    }
    if (pl_wide_cmp(&wide_a, &wide_b) >= 0) {
        pl_wide_sub(&wide_a, &wide_b);
        return store(&wide_a, a->negative, scale, out);
    }
    pl_wide_sub(&wide_b, &wide_a);
    return store(&wide_b, b_negative, scale, out);
}

pl_decimal_status pl_decimal_wide_mul(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    pl_wide wide_a, wide_b, product;
    load(&wide_a, a);
    load(&wide_b, b);
    pl_wide_mul(&wide_a, &wide_b, &product);
    return store(&product, a->negative != b->negative, (uint32_t)a->scale + b->scale, out);
}

static void increment(pl_wide *wide)
{
    static const pl_wide one = {.used = 1, .limb = {1}};
    pl_wide_add(wide, &one);
}

/* quotient = numerator / denominator, rounded half to even; the numerator is used up. True when nothing was lost. */
static bool divide(pl_wide *numerator, const pl_wide *denominator, pl_wide *quotient)
{
    pl_wide_div(numerator, denominator, quotient); /* leaves the remainder in numerator */
    if (numerator->used == 0)
        return true;
    pl_wide_mul_add(numerator, 2, 0);
    int half = pl_wide_cmp(numerator, denominator);
    if (half > 0 || (half == 0 && quotient->used > 0 && (quotient->limb[0] & 1) != 0))
        increment(quotient);
    return false;
}

/* Drops trailing zeros after the point while the scale is above `least`. */
static void drop_zeros(pl_wide *wide, uint32_t *scale, uint32_t least)
{
    if (wide->used == 0) {
        *scale = least;
        return;
    }
    for (uint32_t digits = 16; digits > 0; digits /= 2) {
        while (*scale - least >= digits) {
            pl_wide shorter;
            pl_wide_set(&shorter, wide->limb, wide->used);
            if (pl_wide_div_small(&shorter, pl_wide_pow10[digits]) != 0)
                break;
            pl_wide_set(wide, shorter.limb, shorter.used);
            *scale -= digits;
        }
    }
}

/* a * 10^places / b as a fraction of two integers, the scales taken into account. */
static void set_up_division(const pl_decimal *a, const pl_decimal *b, uint32_t places, pl_wide *numerator,
                            pl_wide *denominator)
{
    load(numerator, a);
    load(denominator, b);
    uint32_t up = places + b->scale;
    if (up >= a->scale)
        pl_wide_scale(numerator, up - a->scale);
    else
        pl_wide_scale(denominator, a->scale - up);
}

pl_decimal_status pl_decimal_wide_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    uint32_t least = a->scale, scale = least > PL_DECIMAL_DIV_SCALE ? least : PL_DECIMAL_DIV_SCALE;
    pl_wide numerator, denominator, quotient;
    set_up_division(a, b, scale, &numerator, &denominator);
    if (divide(&numerator, &denominator, &quotient))
        drop_zeros(&quotient, &scale, least);
    return store(&quotient, a->negative != b->negative, scale, out);
}

pl_decimal_status pl_decimal_wide_div_to(const pl_decimal *a, const pl_decimal *b, uint32_t places, pl_decimal *out)
{
    pl_wide numerator, denominator, quotient;
    set_up_division(a, b, places, &numerator, &denominator);
    (void)divide(&numerator, &denominator, &quotient);
    return store(&quotient, a->negative != b->negative, places, out);
}

pl_decimal_status pl_decimal_wide_mod(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    pl_wide rest, divisor, quotient;
    uint32_t scale = align(a, b, &rest, &divisor);
    pl_wide_div(&rest, &divisor, &quotient);
    if (rest.used == 0 || a->negative == b->negative)
        return store(&rest, b->negative, scale, out);
    pl_wide_sub(&divisor, &rest);
    return store(&divisor, b->negative, scale, out);
}

pl_decimal_status pl_decimal_wide_floor_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    pl_wide rest, divisor, quotient;
    (void)align(a, b, &rest, &divisor);
    pl_wide_div(&rest, &divisor, &quotient);
    bool negative = a->negative != b->negative;
    if (negative && rest.used > 0)
        increment(&quotient);
    return store(&quotient, negative, 0, out);
}

pl_decimal_status pl_decimal_wide_round(const pl_decimal *value, uint32_t places, pl_decimal *out)
{
    pl_wide wide, divisor, quotient;
    load(&wide, value);
    if (places >= value->scale) {
        pl_wide_scale(&wide, places - value->scale);
        return store(&wide, value->negative, places, out);
    }
    pl_wide_set(&divisor, &(uint64_t){1}, 1);
    pl_wide_scale(&divisor, value->scale - places);
    (void)divide(&wide, &divisor, &quotient);
    return store(&quotient, value->negative, places, out);
}

void pl_decimal_wide_trim(const pl_decimal *value, pl_decimal *out)
{
    pl_wide wide;
    uint32_t scale = value->scale;
    load(&wide, value);
    drop_zeros(&wide, &scale, 0);
    pl_decimal_status status = store(&wide, value->negative, scale, out);
    assert(status == PL_DECIMAL_OK);
    (void)status;
}
