#include <assert.h>
#include <record/wide.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide_u128;

const uint64_t pl_wide_pow10[PL_WIDE_CHUNK_DIGITS + 1] = {1u,
                                                          10u,
                                                          100u,
                                                          1000u,
                                                          10000u,
                                                          100000u,
                                                          1000000u,
                                                          10000000u,
                                                          100000000u,
                                                          1000000000u,
                                                          10000000000u,
                                                          100000000000u,
                                                          1000000000000u,
                                                          10000000000000u,
                                                          100000000000000u,
                                                          1000000000000000u,
                                                          10000000000000000u,
                                                          100000000000000000u,
                                                          1000000000000000000u,
                                                          10000000000000000000u};

static void trim(pl_wide *value)
{
    while (value->used > 0 && value->limb[value->used - 1] == 0)
        value->used--;
}

void pl_wide_set(pl_wide *value, const uint64_t *limb, uint32_t used)
{
    assert(used <= PL_WIDE_LIMBS);
    for (uint32_t i = 0; i < used; i++)
        value->limb[i] = limb[i];
    value->used = used;
    trim(value);
}

void pl_wide_mul_add(pl_wide *value, uint64_t factor, uint64_t addend)
{
    uint64_t carry = addend;
    for (uint32_t i = 0; i < value->used; i++) {
        wide_u128 product = (wide_u128)value->limb[i] * factor + carry;
        value->limb[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    if (carry != 0) {
        assert(value->used < PL_WIDE_LIMBS);
        value->limb[value->used++] = carry;
    }
    trim(value);
}

void pl_wide_scale(pl_wide *value, uint32_t exponent)
{
    for (; exponent > PL_WIDE_CHUNK_DIGITS; exponent -= PL_WIDE_CHUNK_DIGITS)
        pl_wide_mul_add(value, pl_wide_pow10[PL_WIDE_CHUNK_DIGITS], 0);
    if (exponent > 0)
        pl_wide_mul_add(value, pl_wide_pow10[exponent], 0);
}

uint64_t pl_wide_div_small(pl_wide *value, uint64_t divisor)
{
    assert(divisor != 0);
    uint64_t rest = 0;
    for (uint32_t i = value->used; i-- > 0;) {
        if (rest == 0) { /* spares the 128-bit division, which is most of the cost of a small number */
            uint64_t limb = value->limb[i];
            value->limb[i] = limb / divisor;
            rest = limb % divisor;
        } else {
            wide_u128 part = ((wide_u128)rest << 64) | value->limb[i];
            value->limb[i] = (uint64_t)(part / divisor);
            rest = (uint64_t)(part % divisor);
        }
    }
    trim(value);
    return rest;
}

int pl_wide_cmp(const pl_wide *a, const pl_wide *b)
{
    if (a->used != b->used)
        return a->used < b->used ? -1 : 1;
    for (uint32_t i = a->used; i-- > 0;)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

void pl_wide_add(pl_wide *a, const pl_wide *b)
{
    while (a->used < b->used)
        a->limb[a->used++] = 0;
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->used; i++) {
        wide_u128 sum = (wide_u128)a->limb[i] + (i < b->used ? b->limb[i] : 0) + carry;
        a->limb[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
    if (carry != 0) {
        assert(a->used < PL_WIDE_LIMBS);
        a->limb[a->used++] = carry;
    }
}

void pl_wide_sub(pl_wide *a, const pl_wide *b)
{
    assert(pl_wide_cmp(a, b) >= 0);
    uint64_t borrow = 0;
    for (uint32_t i = 0; i < a->used; i++) {
        uint64_t take = i < b->used ? b->limb[i] : 0;
        uint64_t from = a->limb[i];
        a->limb[i] = from - take - borrow;
        borrow = from < take || (from == take && borrow != 0);
    }
    trim(a);
}

void pl_wide_mul(const pl_wide *a, const pl_wide *b, pl_wide *out)
{
    assert(a->used + b->used <= PL_WIDE_LIMBS);
    out->used = a->used + b->used;
    for (uint32_t i = 0; i < out->used; i++)
        out->limb[i] = 0;
    for (uint32_t i = 0; i < a->used; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < b->used; j++) {
            wide_u128 step = (wide_u128)a->limb[i] * b->limb[j] + out->limb[i + j] + carry;
            out->limb[i + j] = (uint64_t)step;
            carry = (uint64_t)(step >> 64);
        }
        out->limb[i + b->used] = carry;
    }
    trim(out);
}

/* value <<= shift, 0 <= shift < 64; keeps one more limb than before, which may be 0. */
static void shift_left(pl_wide *value, unsigned shift)
{
    assert(value->used < PL_WIDE_LIMBS);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < value->used; i++) {
        uint64_t limb = value->limb[i];
        value->limb[i] = (limb << shift) | carry;
        carry = shift == 0 ? 0 : limb >> (64 - shift);
    }
    value->limb[value->used++] = carry;
}

static void shift_right(pl_wide *value, unsigned shift)
{
    for (uint32_t i = 0; i < value->used && shift > 0; i++) {
        uint64_t above = i + 1 < value->used ? value->limb[i + 1] : 0;
        value->limb[i] = (value->limb[i] >> shift) | (above << (64 - shift));
    }
    trim(value);
}

/* The trial digit of Knuth's algorithm D (The Art of Computer Programming, vol. 2, 4.3.1, steps D3): top is the
 * dividend's three leading limbs, d1 d0 the divisor's two, normalised. At most one too large. */
static uint64_t trial_digit(uint64_t top2, uint64_t top1, uint64_t top0, uint64_t d1, uint64_t d0)
{
    wide_u128 lead = ((wide_u128)top2 << 64) | top1;
    wide_u128 digit = top2 >= d1 ? (wide_u128)UINT64_MAX : lead / d1;
    wide_u128 rest = lead - digit * d1;
    while ((rest >> 64) == 0 && digit * d0 > ((rest << 64) | top0)) {
        digit--;
        rest += d1;
    }
    return (uint64_t)digit;
}

/* a[at ...] -= digit * b; true when that went below zero (mod 2^(64 * (used + 1))). */
static bool sub_product(pl_wide *a, uint32_t at, const pl_wide *b, uint64_t digit)
{
    uint64_t carry = 0, borrow = 0;
    for (uint32_t i = 0; i <= b->used; i++) {
        wide_u128 product = (wide_u128)(i < b->used ? b->limb[i] : 0) * digit + carry;
        carry = (uint64_t)(product >> 64);
        uint64_t take = (uint64_t)product, from = a->limb[at + i];
        a->limb[at + i] = from - take - borrow;
        borrow = from < take || (from == take && borrow != 0);
    }
    return borrow != 0;
}

static void add_back(pl_wide *a, uint32_t at, const pl_wide *b)
{
    uint64_t carry = 0;
    for (uint32_t i = 0; i <= b->used; i++) {
        wide_u128 sum = (wide_u128)a->limb[at + i] + (i < b->used ? b->limb[i] : 0) + carry;
        a->limb[at + i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
}

void pl_wide_div(pl_wide *a, const pl_wide *b, pl_wide *quotient)
{
    assert(b->used > 0 && a->used < PL_WIDE_LIMBS);
    if (b->used == 1) {
        pl_wide_set(quotient, a->limb, a->used);
        uint64_t rest = pl_wide_div_small(quotient, b->limb[0]);
        pl_wide_set(a, &rest, 1);
        return;
    }
    quotient->used = 0;
    if (a->used < b->used)
        return;
    unsigned shift = (unsigned)__builtin_clzll(b->limb[b->used - 1]);
    pl_wide divisor;
    pl_wide_set(&divisor, b->limb, b->used);
    shift_left(&divisor, shift);
    trim(&divisor);
    shift_left(a, shift);
    uint32_t n = divisor.used, digits = a->used - n;
    for (uint32_t j = digits; j-- > 0;) {
        uint64_t digit = trial_digit(a->limb[j + n], a->limb[j + n - 1], a->limb[j + n - 2], divisor.limb[n - 1],
                                     divisor.limb[n - 2]);
        if (sub_product(a, j, &divisor, digit)) {
            digit--;
            add_back(a, j, &divisor);
        }
        quotient->limb[j] = digit;
    }
    quotient->used = digits;
    trim(quotient);
    trim(a);
    shift_right(a, shift);
}
