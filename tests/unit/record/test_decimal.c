#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <base/random.h>
#include <math.h>
#include <record/decimal.h>
#include <record/json.h>
#include <stdlib.h>

static pl_decimal dec(const char *text)
{
    pl_decimal value;
    if (pl_decimal_parse(PL_S(text), &value) != PL_DECIMAL_OK)
        fail_msg("%s does not parse", text);
    return value;
}

static void expect_text(const pl_decimal *value, const char *expected)
{
    char text[PL_DECIMAL_TEXT_MAX];
    size_t length = pl_decimal_format(value, text);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
}

static void test_parse_keeps_what_was_written(void **state)
{
    (void)state;
    static const char *const same[] = {
        "0",       "1",          "-1",      "1.0",    "1.00",
        "0.0",     "0.10",       "-0.5",    "100",    "3043.59857420",
        "0.00001", "9999999999", "12.3400", "-70.00", "115792089237316195423570985008687907853.5"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        pl_decimal value = dec(same[i]);
        expect_text(&value, same[i]);
    }
    static const char *const changed[][2] = {
        {"1e3", "1000"},       {"1.5e3", "1500"}, {"1.5E-3", "0.0015"}, {"-0", "0"},          {"-0.00", "0.00"},
        {"1.50e1", "15.0"},    {"1e+2", "100"},   {"0e5", "0"},         {"0e-3", "0.000"},    {"0e99999999999", "0"},
        {"123e-5", "0.00123"}, {"5e-150", NULL},  {"0.000e2", "0.0"},   {"-2.5e-1", "-0.25"}, {"1.25e2", "125"},
    };
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        pl_decimal value = dec(changed[i][0]);
        if (changed[i][1] != NULL)
            expect_text(&value, changed[i][1]);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    "-",    "+1",    "01",    "-01",      ".5",   "5.", "1.e3",
                                        "1e",  "1e+",  "NaN",   "nan",   "Infinity", "-inf", "1 ", " 1",
                                        "1,5", "0x10", "1_000", "1.2.3", "--1",      "1e1.5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pl_decimal value = {.scale = 77};
        assert_int_equal(pl_decimal_parse(PL_S(wrong[i]), &value), PL_DECIMAL_SYNTAX);
        assert_int_equal(value.scale, 77);
    }
    static const char *const large[] = {"1e150", "1e-151", "1e999", "1e99999999999", "1e-99999999999", "12e149"};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        pl_decimal value = {.scale = 77};
        assert_int_equal(pl_decimal_parse(PL_S(large[i]), &value), PL_DECIMAL_RANGE);
        assert_int_equal(value.scale, 77);
    }
    assert_int_equal(pl_decimal_parse((pl_str){"1\0002", 3}, &(pl_decimal){0}), PL_DECIMAL_SYNTAX);
    assert_int_equal(pl_decimal_parse((pl_str){NULL, 0}, &(pl_decimal){0}), PL_DECIMAL_SYNTAX);
}

static void test_the_edges_hold(void **state)
{
    (void)state;
    char nines[PL_DECIMAL_DIGITS + 2], text[PL_DECIMAL_TEXT_MAX];
    memset(nines, '9', PL_DECIMAL_DIGITS + 1);
    pl_decimal most, one = dec("1"), out = dec("7");
    assert_int_equal(pl_decimal_parse((pl_str){nines, PL_DECIMAL_DIGITS}, &most), PL_DECIMAL_OK);
    assert_int_equal(pl_decimal_parse((pl_str){nines, PL_DECIMAL_DIGITS + 1}, &out), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_format(&most, text), PL_DECIMAL_DIGITS);
    assert_memory_equal(text, nines, PL_DECIMAL_DIGITS);
    assert_int_equal(pl_decimal_add(&most, &one, &out), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_mul(&most, &most, &out), PL_DECIMAL_RANGE);
    expect_text(&out, "7");
    assert_int_equal(pl_decimal_div(&most, &most, &out), PL_DECIMAL_OK);
    expect_text(&out, "1");
    pl_decimal least = dec("-1e-150");
    assert_int_equal(pl_decimal_format(&least, text), 1 + 2 + PL_DECIMAL_SCALE_MAX);
    assert_int_equal(pl_decimal_cmp(&most, &least), 1);
    assert_int_equal(pl_decimal_cmp(&least, &most), -1);
    assert_int_equal(pl_decimal_div(&most, &least, &out), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_div_to(&most, &least, PL_DECIMAL_SCALE_MAX, &out), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_div_to(&least, &most, PL_DECIMAL_SCALE_MAX, &out), PL_DECIMAL_OK);
    assert_true(pl_decimal_is_zero(&out));
    assert_int_equal(pl_decimal_div_to(&one, &one, PL_DECIMAL_SCALE_MAX + 1, &out), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_mul(&least, &least, &out), PL_DECIMAL_RANGE);
}

static void test_integers(void **state)
{
    (void)state;
    static const int64_t values[] = {0, 1, -1, 42, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        pl_decimal value;
        char text[32];
        int64_t back = 5;
        pl_decimal_from_int(values[i], &value);
        (void)snprintf(text, sizeof text, "%lld", (long long)values[i]);
        expect_text(&value, text);
        assert_int_equal(pl_decimal_to_int(&value, &back), PL_DECIMAL_OK);
        assert_true(back == values[i]);
    }
    pl_decimal value = dec("2.000");
    int64_t whole = 0;
    assert_int_equal(pl_decimal_to_int(&value, &whole), PL_DECIMAL_OK);
    assert_int_equal(whole, 2);
    value = dec("2.001");
    assert_int_equal(pl_decimal_to_int(&value, &whole), PL_DECIMAL_INEXACT);
    value = dec("9223372036854775808");
    assert_int_equal(pl_decimal_to_int(&value, &whole), PL_DECIMAL_RANGE);
    value = dec("-9223372036854775809");
    assert_int_equal(pl_decimal_to_int(&value, &whole), PL_DECIMAL_RANGE);
    assert_int_equal(whole, 2);
}

static void test_scaled_integers(void **state)
{
    (void)state;
    static const struct {
        const char *integer;
        uint32_t decimals;
        const char *expected;
    } cases[] = {
        {"304359857420", 8, "3043.59857420"},
        {"0", 8, "0.00000000"},
        {"-1", 18, "-0.000000000000000001"},
        {"007", 0, "7"},
        {"57896044618658097711785492504343953926634992332820282019728792003956564819967", 18,
         "57896044618658097711785492504343953926634992332820282019728.792003956564819967"},
        {"-57896044618658097711785492504343953926634992332820282019728792003956564819968", 0,
         "-57896044618658097711785492504343953926634992332820282019728792003956564819968"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_decimal value;
        assert_int_equal(pl_decimal_from_scaled(PL_S(cases[i].integer), cases[i].decimals, &value), PL_DECIMAL_OK);
        expect_text(&value, cases[i].expected);
    }
    pl_decimal value = dec("7");
    static const char *const wrong[] = {"", "-", "+1", "1.5", "0x1", "1e5", " 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(pl_decimal_from_scaled(PL_S(wrong[i]), 8, &value), PL_DECIMAL_SYNTAX);
    assert_int_equal(pl_decimal_from_scaled(PL_S("1"), PL_DECIMAL_SCALE_MAX + 1, &value), PL_DECIMAL_RANGE);
    expect_text(&value, "7");
}

static void test_doubles(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"}, {2.0, "2"},  {-0.5, "-0.5"},      {1e22, "10000000000000000000000"},
                 {0.0, "0"},   {-0.0, "0"}, {1e-7, "0.0000001"}, {107077.69661924685, "107077.69661924685"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_decimal value;
        assert_int_equal(pl_decimal_from_double(cases[i].value, &value), PL_DECIMAL_OK);
        expect_text(&value, cases[i].text);
        assert_true(pl_decimal_to_double(&value) == cases[i].value);
    }
    pl_decimal value = dec("7");
    assert_int_equal(pl_decimal_from_double(NAN, &value), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_from_double(-INFINITY, &value), PL_DECIMAL_RANGE);
    assert_int_equal(pl_decimal_from_double(1e200, &value), PL_DECIMAL_RANGE);
    expect_text(&value, "7");
    value = dec("9007199254740993"); /* 2^53 + 1: the nearest doubles are equally far, the even one wins */
    assert_true(pl_decimal_to_double(&value) == 9007199254740992.0);
    value = dec("-12345678901234567890123456789.5");
    assert_true(pl_decimal_to_double(&value) == -12345678901234567890123456789.5);
    pl_random random;
    pl_random_seed(&random, 7);
    for (int i = 0; i < 20000; i++) { /* strtod is the oracle */
        char text[64];
        uint64_t digits = pl_random_next(&random) >> pl_random_below(&random, 60);
        (void)snprintf(text, sizeof text, "%llue-%d", (unsigned long long)digits, (int)pl_random_below(&random, 40));
        value = dec(text);
        assert_true(pl_decimal_to_double(&value) == strtod(text, NULL));
    }
}

static void test_division_keeps_the_scale(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"1.00", "4", "0.25"},
        {"1", "8", "0.125"},
        {"1", "3", "0.333333333333333333"},
        {"2", "3", "0.666666666666666667"},
        {"10", "5", "2"},
        {"10.0", "5", "2.0"},
        {"0.00", "7", "0.00"},
        {"-1", "8", "-0.125"},
        {"1", "0.001", "1000"},
        {"6083.6002393595941", "2", "3041.80011967979705"},
        {"0.00000000000000000001", "3", "0.00000000000000000000"},
        {"0.00000000000000000003", "3", "0.00000000000000000001"},
        {"1", "1000000000000000000", "0.000000000000000001"},
        {"1", "2000000000000000000", "0.000000000000000000"}, /* half, to even: 0 */
        {"3", "2000000000000000000", "0.000000000000000002"}, /* half, to even: 2 */
        {"-3", "2000000000000000000", "-0.000000000000000002"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_decimal a = dec(cases[i][0]), b = dec(cases[i][1]);
        assert_int_equal(pl_decimal_div(&a, &b, &a), PL_DECIMAL_OK); /* out is an operand */
        expect_text(&a, cases[i][2]);
    }
}

static void test_equal_numbers_of_other_scales(void **state)
{
    (void)state;
    pl_decimal a = dec("1.50"), b = dec("1.5"), c = dec("-1.5"), zero = dec("0.000"), nothing = {0};
    assert_int_equal(pl_decimal_cmp(&a, &b), 0);
    assert_false(pl_decimal_same(&a, &b));
    assert_true(pl_decimal_same(&a, &a));
    assert_true(pl_decimal_hash(&a) == pl_decimal_hash(&b));
    assert_true(pl_decimal_hash(&a) != pl_decimal_hash(&c));
    assert_true(pl_decimal_hash(&zero) == pl_decimal_hash(&nothing));
    assert_int_equal(pl_decimal_cmp(&zero, &nothing), 0);
    assert_int_equal(pl_decimal_sign(&zero), 0);
    assert_int_equal(pl_decimal_sign(&c), -1);
    pl_decimal_neg(&zero, &zero);
    assert_false(zero.negative);
    pl_decimal_neg(&c, &c);
    assert_int_equal(pl_decimal_cmp(&b, &c), 0);
    pl_decimal_neg(&c, &c);
    pl_decimal_abs(&c, &c);
    expect_text(&c, "1.5");
    pl_decimal out;
    assert_int_equal(pl_decimal_div(&a, &zero, &out), PL_DECIMAL_BY_ZERO);
    assert_int_equal(pl_decimal_div_to(&a, &zero, 2, &out), PL_DECIMAL_BY_ZERO);
    assert_int_equal(pl_decimal_mod(&a, &zero, &out), PL_DECIMAL_BY_ZERO);
    assert_int_equal(pl_decimal_floor_div(&a, &zero, &out), PL_DECIMAL_BY_ZERO);
    for (int status = PL_DECIMAL_OK; status <= PL_DECIMAL_INEXACT; status++)
        assert_true(strlen(pl_decimal_reason((pl_decimal_status)status)) > 4);
}

/* ---- against Python's decimal and fractions ------------------------------- */

static void show(pl_decimal_status status, const pl_decimal *value, char out[PL_DECIMAL_TEXT_MAX])
{
    if (status == PL_DECIMAL_OK)
        (void)pl_decimal_format(value, out);
    else
        (void)snprintf(out, PL_DECIMAL_TEXT_MAX, "%s",
                       status == PL_DECIMAL_RANGE     ? "range"
                       : status == PL_DECIMAL_BY_ZERO ? "by_zero"
                                                      : "other");
}

static void run_vector(char *const word[], int count, char got[PL_DECIMAL_TEXT_MAX])
{
    typedef pl_decimal_status binary(const pl_decimal *, const pl_decimal *, pl_decimal *);
    static const struct {
        const char *name;
        binary *run;
    } binaries[] = {{"add", pl_decimal_add}, {"sub", pl_decimal_sub}, {"mul", pl_decimal_mul},
                    {"div", pl_decimal_div}, {"mod", pl_decimal_mod}, {"floor", pl_decimal_floor_div}};
    pl_decimal a = dec(word[1]), out = {0};
    for (size_t i = 0; i < sizeof binaries / sizeof *binaries; i++) {
        if (strcmp(word[0], binaries[i].name) == 0) {
            pl_decimal b = dec(word[2]);
            show(binaries[i].run(&a, &b, &out), &out, got);
            return;
        }
    }
    if (strcmp(word[0], "div_to") == 0) {
        pl_decimal b = dec(word[2]);
        show(pl_decimal_div_to(&a, &b, (uint32_t)strtoul(word[3], NULL, 10), &out), &out, got);
    } else if (strcmp(word[0], "round") == 0) {
        show(pl_decimal_round(&a, (uint32_t)strtoul(word[2], NULL, 10), &out), &out, got);
    } else if (strcmp(word[0], "cmp") == 0) {
        pl_decimal b = dec(word[2]);
        (void)snprintf(got, PL_DECIMAL_TEXT_MAX, "%d", pl_decimal_cmp(&a, &b));
    } else {
        assert_string_equal(word[0], "trim");
        assert_int_equal(count, 3);
        pl_decimal_trim(&a, &out);
        show(PL_DECIMAL_OK, &out, got);
    }
}

static void test_against_python(void **state)
{
    (void)state;
    FILE *file = fopen(PL_SOURCE_DIR "/tests/unit/record/decimal_vectors.txt", "r");
    assert_non_null(file);
    char line[1024], got[PL_DECIMAL_TEXT_MAX];
    int lines = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *word[6], *rest = NULL;
        int count = 0;
        for (char *at = strtok_r(line, " \n", &rest); at != NULL && count < 6; at = strtok_r(NULL, " \n", &rest))
            word[count++] = at;
        run_vector(word, count, got);
        if (strcmp(got, word[count - 1]) != 0)
            fail_msg("line %d: %s %s %s: %s, expected %s", lines + 1, word[0], word[1], word[2], got, word[count - 1]);
        lines++;
    }
    (void)fclose(file);
    assert_int_equal(lines, 1100);
}

/* ---- laws, on random numbers of all widths ------------------------------------ */

static pl_decimal random_decimal(pl_random *random, uint32_t most_digits)
{
    char text[PL_DECIMAL_TEXT_MAX];
    uint32_t digits = 1 + (uint32_t)pl_random_below(random, most_digits), scale = (uint32_t)pl_random_below(random, 40);
    for (uint32_t i = 0; i < digits; i++) /* runs of 0 and 9 carry and borrow */
        text[i] = (char)(pl_random_below(random, 3) == 0 ? (pl_random_below(random, 2) == 0 ? '0' : '9')
                                                         : '0' + (int)pl_random_below(random, 10));
    pl_decimal value;
    assert_int_equal(pl_decimal_from_scaled((pl_str){text, digits}, scale, &value), PL_DECIMAL_OK);
    if (pl_random_below(random, 2) == 0)
        pl_decimal_neg(&value, &value);
    return value;
}

static void test_laws(void **state)
{
    (void)state;
    pl_random random;
    pl_random_seed(&random, 20221122);
    for (int i = 0; i < 20000; i++) {
        pl_decimal a = random_decimal(&random, 70), b = random_decimal(&random, 70), c, d;
        assert_int_equal(pl_decimal_add(&a, &b, &c), PL_DECIMAL_OK);
        assert_int_equal(pl_decimal_sub(&c, &b, &c), PL_DECIMAL_OK);
        assert_int_equal(pl_decimal_cmp(&a, &c), 0);
        assert_int_equal(pl_decimal_cmp(&a, &b), -pl_decimal_cmp(&b, &a));
        assert_int_equal(pl_decimal_mul(&a, &b, &c), PL_DECIMAL_OK);
        if (pl_decimal_is_zero(&b))
            continue;
        assert_int_equal(pl_decimal_div_to(&c, &b, a.scale, &d), PL_DECIMAL_OK);
        assert_true(pl_decimal_same(&a, &d));
        pl_decimal whole, rest; /* a = whole * b + rest, rest on the side of b */
        assert_int_equal(pl_decimal_floor_div(&a, &b, &whole), PL_DECIMAL_OK);
        assert_int_equal(pl_decimal_mod(&a, &b, &rest), PL_DECIMAL_OK);
        assert_int_equal(pl_decimal_mul(&whole, &b, &c), PL_DECIMAL_OK);
        assert_int_equal(pl_decimal_add(&c, &rest, &c), PL_DECIMAL_OK);
        assert_int_equal(pl_decimal_cmp(&a, &c), 0);
        assert_true(pl_decimal_is_zero(&rest) || rest.negative == b.negative);
        char text[PL_DECIMAL_TEXT_MAX];
        size_t length = pl_decimal_format(&a, text);
        assert_int_equal(pl_decimal_parse((pl_str){text, length}, &c), PL_DECIMAL_OK);
        assert_true(pl_decimal_same(&a, &c));
    }
}

/* ---- the prices of a real feed, where they are at hand -------------------------------- */

typedef struct series { /* newest API values as of one line of the input */
    pl_decimal price[2];
    bool known[2];
    char at[2][32];
} series;

static void text_of(pl_json_reader *reader, const char *path, char *out, size_t size)
{
    pl_value value;
    assert_int_equal(pl_json_find(reader, PL_S(path), &value, NULL), PL_OK);
    assert_int_equal(value.type, PL_STR);
    (void)snprintf(out, size, "%.*s", (int)value.as.s.len, value.as.s.ptr);
}

/* The input's API values of one instant stand before that instant's round. */
static void check_round(const series *now, const char *contract_text, const char *ref_price, const char *deviation)
{
    pl_decimal sum, n, contract = dec(contract_text), ref, pct, hundred = dec("100");
    assert_true(now->known[0] && now->known[1]);
    assert_int_equal(pl_decimal_add(&now->price[0], &now->price[1], &sum), PL_DECIMAL_OK);
    pl_decimal_from_int(2, &n);
    assert_int_equal(pl_decimal_div(&sum, &n, &ref), PL_DECIMAL_OK);
    expect_text(&ref, ref_price);
    assert_int_equal(pl_decimal_mul(&contract, &n, &pct), PL_DECIMAL_OK);
    assert_int_equal(pl_decimal_sub(&pct, &sum, &pct), PL_DECIMAL_OK);
    assert_int_equal(pl_decimal_mul(&pct, &hundred, &pct), PL_DECIMAL_OK);
    assert_int_equal(pl_decimal_div_to(&pct, &sum, 6, &pct), PL_DECIMAL_OK);
    expect_text(&pct, deviation);
}

static void test_real_rounds(void **state)
{
    (void)state;
    FILE *input = fopen(PL_SOURCE_DIR "/../shared/data/eth_usd_2022_a.jsonl", "r");
    FILE *expected = fopen(PL_SOURCE_DIR "/../shared/data/eth_usd_2022_a.expected.jsonl", "r");
    if (input == NULL || expected == NULL)
        skip();
    pl_json_reader *reader = pl_json_reader_new();
    char line[1024], want[1024], kind[32], text[64], ref[64], pct[64];
    series now = {0};
    int rounds = 0;
    while (fgets(line, sizeof line, input) != NULL) {
        assert_int_equal(pl_json_load_copy(reader, PL_S(line), PL_JSON_FULL, &(pl_error){0}), PL_OK);
        text_of(reader, "kind", kind, sizeof kind);
        text_of(reader, "price", text, sizeof text);
        if (strcmp(kind, "api") == 0) {
            text_of(reader, "source", kind, sizeof kind);
            size_t which = strcmp(kind, "coingecko") == 0;
            now.price[which] = dec(text);
            now.known[which] = true;
            continue;
        }
        assert_non_null(fgets(want, sizeof want, expected));
        assert_int_equal(pl_json_load_copy(reader, PL_S(want), PL_JSON_FULL, &(pl_error){0}), PL_OK);
        text_of(reader, "ref_price", ref, sizeof ref);
        text_of(reader, "deviation_pct", pct, sizeof pct);
        check_round(&now, text, ref, pct);
        rounds++;
    }
    pl_json_reader_free(&reader);
    (void)fclose(input);
    (void)fclose(expected);
    assert_int_equal(rounds, 1699);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_keeps_what_was_written),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_the_edges_hold),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_scaled_integers),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_division_keeps_the_scale),
        cmocka_unit_test(test_equal_numbers_of_other_scales),
        cmocka_unit_test(test_against_python),
        cmocka_unit_test(test_laws),
        cmocka_unit_test(test_real_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
