/* Decimal arithmetic at any width: what decimal.c falls back to where 128 bits are not enough, and what its short way
 * is tested against. Private to decimal*.c and their tests. All [any]. As in decimal.h, but the caller has seen to
 * these: divisors are not 0, places are at most PL_DECIMAL_SCALE_MAX. */
#ifndef PL_RECORD_DECIMAL_WIDE_H
#define PL_RECORD_DECIMAL_WIDE_H
#include <record/decimal.h>

/* Of the magnitudes: signs are not looked at. */
int pl_decimal_wide_cmp(const pl_decimal *a, const pl_decimal *b);
/* a + b, where b_negative stands for the sign of b. */
pl_decimal_status pl_decimal_wide_add(const pl_decimal *a, const pl_decimal *b, bool b_negative, pl_decimal *out);
pl_decimal_status pl_decimal_wide_mul(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
pl_decimal_status pl_decimal_wide_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
pl_decimal_status pl_decimal_wide_div_to(const pl_decimal *a, const pl_decimal *b, uint32_t places, pl_decimal *out);
pl_decimal_status pl_decimal_wide_mod(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
pl_decimal_status pl_decimal_wide_floor_div(const pl_decimal *a, const pl_decimal *b, pl_decimal *out);
pl_decimal_status pl_decimal_wide_round(const pl_decimal *value, uint32_t places, pl_decimal *out);
void pl_decimal_wide_trim(const pl_decimal *value, pl_decimal *out);
#endif
