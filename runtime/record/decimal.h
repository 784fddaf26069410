/* Exact signed decimal numbers: coefficient / 10^scale. All [any]; no allocation, no shared state.
 *
 * A number has at most PL_DECIMAL_DIGITS digits in its coefficient and at most PL_DECIMAL_SCALE_MAX digits after the
 * point. The scale is part of the number as written ("1.0" and "1.00" are equal but not the same text) and survives.
 * Operations either give the exact (or once-rounded, where they say so) result or report PL_DECIMAL_RANGE: they are
 * never wrong. On any result but PL_DECIMAL_OK the out parameter is untouched. Out may be the same object as an
 * operand. */
#ifndef PL_RECORD_DECIMAL_H
#define PL_RECORD_DECIMAL_H
#include <plumbline/plugin.h>

enum {
    PL_DECIMAL_LIMBS = 8,       /* 512 bits: 154 digits */
    PL_DECIMAL_DIGITS = 150,    /* of the coefficient; an int256 (78) times a price of 18 decimals needs about 105 */
    PL_DECIMAL_SCALE_MAX = 150, /* digits after the point */
    PL_DECIMAL_DIV_SCALE = 18,  /* where an inexact pl_decimal_div is rounded */
    PL_DECIMAL_TEXT_MAX = 160   /* room for any number's text, its NUL included */
};

/* A plain value: copy it, memcpy it, keep it in a Lua userdata, and there without the limbs beyond `used`: they are
 * read by none of these functions. Zeroed memory is the number 0. Two equal numbers may differ in bytes (scale; limbs
 * beyond `used` are unspecified): compare with pl_decimal_cmp, serialise with pl_decimal_format. */
typedef struct pl_decimal {
    uint32_t tag;                    /* for who keeps it; of no meaning here, and not set in a result */
    uint16_t scale;                  /* digits after the point, 0 .. PL_DECIMAL_SCALE_MAX */
    uint8_t used;                    /* limbs in use; 0 for zero; the topmost one is not 0 */
    bool negative;                   /* never with used == 0: there is no minus zero */
    uint64_t limb[PL_DECIMAL_LIMBS]; /* the coefficient, least significant first */
} pl_decimal;

/* An assignment, but for the tag and the limbs beyond `used`. */
static inline void pl_decimal_copy(const pl_decimal *value, pl_decimal *out)
{
    out->scale = value->scale;
    out->used = value->used;
    out->negative = value->negative;
    if (value->used == 1)
        out->limb[0] = value->limb[0];
    else if (value != out)
        memcpy(out->limb, value->limb, value->used * sizeof value->limb[0]);
}

typedef enum pl_decimal_status {
    PL_DECIMAL_OK,
    PL_DECIMAL_SYNTAX,  /* not a number as JSON writes it */
    PL_DECIMAL_RANGE,   /* more digits than a decimal holds; NaN and infinity of a double */
    PL_DECIMAL_BY_ZERO, /* division by zero */
    PL_DECIMAL_INEXACT  /* not an integer, where one was asked for */
} pl_decimal_status;

/* Words for a message, e.g. "is not a number", "has more than 150 digits"; for PL_DECIMAL_OK "is fine". */
const char *pl_decimal_reason(pl_decimal_status status);

/* ---- In ------------------------------------------------------------------ */

/* The JSON number grammar, whole text: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?. No plus sign, no spaces, no
 * leading zeros, no NaN. The scale is the digits after the point less the exponent, at least 0: "1.50" has 2, "1.5e-3"
 * has 4, "1.5e3" is 1500 with 0. SYNTAX, RANGE. */
pl_decimal_status pl_decimal_parse(pl_str text, pl_decimal *out);
void pl_decimal_from_int(int64_t value, pl_decimal *out);
/* The shortest decimal text that gives the same double back (0.1 is 0.1). RANGE: not finite, or too many digits. */
pl_decimal_status pl_decimal_from_double(double value, pl_decimal *out);
/* An integer's text (-?[0-9]+, leading zeros allowed; an int256 as a contract gives it) divided by 10^decimals, with
 * exactly `decimals` digits after the point: "304359857420", 8 is 3043.59857420. SYNTAX, RANGE. */
pl_decimal_status pl_decimal_from_scaled(pl_str integer, uint32_t decimals, pl_decimal *out);

/* ---- Out ----------------------------------------------------------------- */

/* Plain digits with exactly `scale` of them after the point, never an exponent; NUL-ended. A valid JSON number, and
 * pl_decimal_parse gives the same number with the same scale back. Returns the length without the NUL. */
size_t pl_decimal_format(const pl_decimal *value, char out[PL_DECIMAL_TEXT_MAX]);
/* The nearest double, half to even; above the range of a double never happens (150 digits). */
double pl_decimal_to_double(const pl_decimal *value);
/* INEXACT: it has a fraction that is not zero ("2.0" is fine). RANGE: beyond int64. */
pl_decimal_status pl_decimal_to_int(const pl_decimal *value, int64_t *out);

/* ---- Questions ----------------------------------------------------------- */

/* By value, scale aside: 1.0 equals 1.00. -1, 0, 1. Never fails. */
int pl_decimal_cmp(const pl_decimal *a, const pl_decimal *b);
/* -1, 0, 1 */
static inline int pl_decimal_sign(const pl_decimal *value)
{
    return value->used == 0 ? 0 : value->negative ? -1 : 1;
}
static inline bool pl_decimal_is_zero(const pl_decimal *value)
{
    return value->used == 0;
}
/* True when both are the same number of the same scale, that is, the same text. */
bool pl_decimal_same(const pl_decimal *a, const pl_decimal *b);
/* Equal numbers have equal hashes, whatever their scales; the same in every run. */
uint64_t pl_decimal_hash(const pl_decimal *value);

/* ---- Arithmetic ---------------------------------------------------------- */

void pl_decimal_neg(const pl_decimal *value, pl_decimal *out);
void pl_decimal_abs(const pl_decimal *value, pl_decimal *out);
/* The scale of a sum or difference is the larger of the two; of a product, the sum of the two. RANGE. */
pl_decimal_status pl_decimal_add(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
pl_decimal_status pl_decimal_sub(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
pl_decimal_status pl_decimal_mul(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
/* a / b with the scale of a, longer only until it is exact, at most PL_DECIMAL_DIV_SCALE (or the scale of a where that
 * is larger); what is not exact by then is rounded there, half to even. 1.00 / 4 is 0.25; 1 / 8 is 0.125; 1 / 3 is
 * 0.333333333333333333. BY_ZERO, RANGE. */
pl_decimal_status pl_decimal_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
/* a / b with exactly `places` digits after the point, rounded once, half to even. BY_ZERO, RANGE. */
pl_decimal_status pl_decimal_div_to(const pl_decimal *a, const pl_decimal *b, uint32_t places, pl_decimal *out);
/* What is left of a after the whole multiples of b, with the sign of b (Lua's %): a - floor(a / b) * b. The scale is
 * the larger of the two. BY_ZERO, RANGE. */
pl_decimal_status pl_decimal_mod(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
/* floor(a / b), scale 0 (Lua's //). BY_ZERO, RANGE. */
pl_decimal_status pl_decimal_floor_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
/* Exactly `places` digits after the point: zeros are added, or it is rounded once, half to even. RANGE. */
pl_decimal_status pl_decimal_round(const pl_decimal *value, uint32_t places, pl_decimal *out);
/* The same number without trailing zeros after the point: 1.500 is 1.5, 2.00 is 2. The canonical form. */
void pl_decimal_trim(const pl_decimal *value, pl_decimal *out);
#endif
