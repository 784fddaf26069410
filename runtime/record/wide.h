/* Unsigned integers of up to PL_WIDE_LIMBS * 64 bits, for the steps inside decimal arithmetic. Private to decimal*.c.
 * Results that do not fit are the caller's mistake and are asserted: the bounds in decimal.c keep them away. All [any].
 */
#ifndef PL_RECORD_WIDE_H
#define PL_RECORD_WIDE_H
#include <stdbool.h>
#include <stdint.h>

/* The largest step: a coefficient of 150 digits times 10^300 (a quotient of 150 places by a divisor of 150), 1496 bits.
 */
enum { PL_WIDE_LIMBS = 26, PL_WIDE_CHUNK_DIGITS = 19 };

typedef struct pl_wide {
    uint32_t used; /* limbs in use; the topmost is not 0; 0 for zero */
    uint64_t limb[PL_WIDE_LIMBS];
} pl_wide;

/* 10^0 ... 10^19, the powers of ten that fit a limb. */
extern const uint64_t pl_wide_pow10[PL_WIDE_CHUNK_DIGITS + 1];

void pl_wide_set(pl_wide *value, const uint64_t *limb, uint32_t used);
/* value = value * factor + addend */
void pl_wide_mul_add(pl_wide *value, uint64_t factor, uint64_t addend);
/* value *= 10^exponent */
void pl_wide_scale(pl_wide *value, uint32_t exponent);
/* value /= divisor (not 0); returns the remainder. */
uint64_t pl_wide_div_small(pl_wide *value, uint64_t divisor);
/* -1, 0, 1 */
int pl_wide_cmp(const pl_wide *a, const pl_wide *b);
/* a += b */
void pl_wide_add(pl_wide *a, const pl_wide *b);
/* a -= b, where a >= b. */
void pl_wide_sub(pl_wide *a, const pl_wide *b);
/* out = a * b; out is neither. */
void pl_wide_mul(const pl_wide *a, const pl_wide *b, pl_wide *out);
/* quotient = a / b, and a becomes the remainder; b is not 0; three different objects. */
void pl_wide_div(pl_wide *a, const pl_wide *b, pl_wide *quotient);
#endif
