/* The short way of decimals (one limb, steps of 128 bits) against the wide one: the same results, the same refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <base/random.h>
#include <record/decimal.h>
#include <record/decimal_wide.h>
#include <record/lexeme.h>

enum { ROUNDS = 60000 };

static uint64_t random_limb(pl_random *random)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     3,
                                     5,
                                     10,
                                     100,
                                     25,
                                     1000000000000000000u,
                                     9999999999999999999u,
                                     10000000000000000000u,
                                     UINT64_MAX,
                                     UINT64_MAX - 1,
                                     (uint64_t)1 << 63,
                                     (uint64_t)1 << 32,
                                     4999999999999999999u,
                                     5000000000000000000u};
    if (pl_random_below(random, 3) == 0)
        return edges[pl_random_below(random, sizeof edges / sizeof *edges)];
    return pl_random_next(random) >> pl_random_below(random, 64);
}

/* Mostly one limb; scales mostly near each other, up to the largest. */
static pl_decimal random_number(pl_random *random)
{
    pl_decimal value = {0};
    uint32_t limbs = pl_random_below(random, 8) == 0 ? 1 + (uint32_t)pl_random_below(random, 4) : 1;
    for (uint32_t i = 0; i < limbs; i++)
        value.limb[i] = random_limb(random);
    value.used = (uint8_t)limbs;
    while (value.used > 0 && value.limb[value.used - 1] == 0)
        value.used--;
    value.scale = (uint16_t)pl_random_below(random, pl_random_below(random, 6) == 0 ? PL_DECIMAL_SCALE_MAX + 1
                                                                                    : 2 + pl_random_below(random, 24));
    value.negative = value.used > 0 && pl_random_below(random, 2) == 0;
    return value;
}

static void say(const pl_decimal *value, pl_decimal_status status, char out[PL_DECIMAL_TEXT_MAX])
{
    if (status == PL_DECIMAL_OK)
        (void)pl_decimal_format(value, out);
    else
        (void)snprintf(out, PL_DECIMAL_TEXT_MAX, "%s", pl_decimal_reason(status));
}

static void compare(const char *name, const pl_decimal *a, const pl_decimal *b, pl_decimal_status status,
                    const pl_decimal *got, pl_decimal_status wide_status, const pl_decimal *wide)
{
    char x[PL_DECIMAL_TEXT_MAX], y[PL_DECIMAL_TEXT_MAX], z[PL_DECIMAL_TEXT_MAX], w[PL_DECIMAL_TEXT_MAX];
    if (status == wide_status && (status != PL_DECIMAL_OK || pl_decimal_same(got, wide)))
        return;
    say(a, PL_DECIMAL_OK, x);
    say(b, PL_DECIMAL_OK, y);
    say(got, status, z);
    say(wide, wide_status, w);
    fail_msg("%s of %s and %s: %s, the wide way %s", name, x, y, z, w);
}

static pl_decimal_status wide_sum(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    return pl_decimal_wide_add(a, b, b->negative, out);
}

static pl_decimal_status wide_difference(const pl_decimal *a, const pl_decimal *b, pl_decimal *out)
{
    return pl_decimal_wide_add(a, b, !b->negative, out);
}

static void test_arithmetic(void **state)
{
    (void)state;
    typedef pl_decimal_status binary(const pl_decimal *, const pl_decimal *, pl_decimal *);
    static const struct {
        const char *name;
        binary *run, *wide;
        bool divides;
    } operations[] = {{"add", pl_decimal_add, wide_sum, false},
                      {"sub", pl_decimal_sub, wide_difference, false},
                      {"mul", pl_decimal_mul, pl_decimal_wide_mul, false},
                      {"div", pl_decimal_div, pl_decimal_wide_div, true},
                      {"mod", pl_decimal_mod, pl_decimal_wide_mod, true},
                      {"floor_div", pl_decimal_floor_div, pl_decimal_wide_floor_div, true}};
    pl_random random;
    pl_random_seed(&random, 20261122);
    for (int i = 0; i < ROUNDS; i++) {
        pl_decimal a = random_number(&random), b = random_number(&random);
        for (size_t o = 0; o < sizeof operations / sizeof *operations; o++) {
            pl_decimal got = {0}, wide = {0}, in_place = a;
            if (operations[o].divides && pl_decimal_is_zero(&b))
                continue;
            pl_decimal_status status = operations[o].run(&a, &b, &got), wide_status = operations[o].wide(&a, &b, &wide);
            compare(operations[o].name, &a, &b, status, &got, wide_status, &wide);
            assert_int_equal(operations[o].run(&in_place, &b, &in_place), status);
            assert_true(pl_decimal_same(&in_place, status == PL_DECIMAL_OK ? &got : &a));
        }
        int sign = pl_decimal_sign(&a), other = pl_decimal_sign(&b);
        int expected = sign != other ? (sign > other) - (sign < other) : sign * pl_decimal_wide_cmp(&a, &b);
        assert_int_equal(pl_decimal_cmp(&a, &b), expected);
    }
}

static void test_rounding(void **state)
{
    (void)state;
    pl_random random;
    pl_random_seed(&random, 22112026);
    for (int i = 0; i < ROUNDS; i++) {
        pl_decimal a = random_number(&random), b = random_number(&random), got = {0}, wide = {0};
        uint32_t places =
            (uint32_t)pl_random_below(&random, pl_random_below(&random, 6) ? 24 : PL_DECIMAL_SCALE_MAX + 1);
        if (!pl_decimal_is_zero(&b)) {
            pl_decimal_status status = pl_decimal_div_to(&a, &b, places, &got);
            compare("div_to", &a, &b, status, &got, pl_decimal_wide_div_to(&a, &b, places, &wide), &wide);
        }
        pl_decimal_status status = pl_decimal_round(&a, places, &got);
        compare("round", &a, &a, status, &got, pl_decimal_wide_round(&a, places, &wide), &wide);
        pl_decimal_trim(&a, &got);
        pl_decimal_wide_trim(&a, &wide);
        compare("trim", &a, &a, PL_DECIMAL_OK, &got, PL_DECIMAL_OK, &wide);
        pl_decimal half = {.limb = {places * 2 + 1}, .used = 1, .scale = 0}, two = {.limb = {2}, .used = 1, .scale = 0};
        assert_int_equal(pl_decimal_div_to(&half, &two, 0, &got), PL_DECIMAL_OK);
        assert_true((got.used ? got.limb[0] : 0) == places + (places & 1)); /* x.5 goes to the even neighbour */
    }
}

/* An exponent of 0 changes nothing, and has the text read with care. */
static void test_text(void **state)
{
    (void)state;
    static const char bytes[] = "00123456789999.-+e ";
    pl_random random;
    pl_random_seed(&random, 4);
    size_t good = 0;
    for (int i = 0; i < 4 * ROUNDS; i++) {
        char text[40], again[PL_DECIMAL_TEXT_MAX];
        size_t len = pl_random_below(&random, 25), usual = pl_random_below(&random, 3) ? 12 : sizeof bytes - 1;
        for (size_t at = 0; at < len; at++)
            text[at] = bytes[pl_random_below(&random, usual)];
        if (usual == 12 && len > 3) {
            text[len / 2] = '.';
            text[0] = pl_random_below(&random, 2) ? '-' : '7';
        }
        pl_lexeme parts;
        pl_decimal value = {0}, careful = {0};
        pl_decimal_status status = pl_decimal_parse((pl_str){text, len}, &value);
        assert_int_equal(status != PL_DECIMAL_SYNTAX, pl_lexeme_split((pl_str){text, len}, &parts));
        if (status != PL_DECIMAL_OK || memchr(text, 'e', len))
            continue;
        memcpy(text + len, "e0", 2);
        assert_int_equal(pl_decimal_parse((pl_str){text, len + 2}, &careful), PL_DECIMAL_OK);
        assert_true(pl_decimal_same(&value, &careful));
        size_t again_len = pl_decimal_format(&value, again);
        assert_int_equal(again_len, strlen(again));
        if (pl_decimal_is_zero(&value) && *text == '-')
            continue; /* there is no minus zero */
        assert_int_equal(again_len, len);
        assert_memory_equal(again, text, len);
        good++;
    }
    assert_true(good > ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_rounding),
                                       cmocka_unit_test(test_text)};
    return cmocka_run_group_tests_name("decimal_short", tests, NULL, NULL);
}
