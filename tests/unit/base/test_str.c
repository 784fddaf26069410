/* Text: order, hashes, CRC-32C, the nearest word, UTF-8; and random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/random.h>
#include <base/str.h>

static void order_is_bytewise_and_a_prefix_comes_first(void **unused)
{
    (void)unused;
    assert_int_equal(pl_str_cmp(PL_S("a"), PL_S("a")), 0);
    assert_true(pl_str_cmp(PL_S("a"), PL_S("ab")) < 0);
    assert_true(pl_str_cmp(PL_S("b"), PL_S("ab")) > 0);
    assert_true(pl_str_cmp(PL_S("\x7f"), PL_S("\xc3\xa4")) < 0);
    assert_true(pl_str_cmp((pl_str){NULL, 0}, PL_S("")) == 0);
    assert_true(pl_str_is(PL_S("x"), "x"));
    assert_false(pl_str_is(PL_S("x"), "xy"));
}

static void hash_is_fnv_1a(void **unused)
{
    (void)unused;
    /* Test vectors of the FNV page, http://www.isthe.com/chongo/tech/comp/fnv/ */
    assert_true(pl_str_hash(PL_S("")) == 0xcbf29ce484222325u);
    assert_true(pl_str_hash(PL_S("a")) == 0xaf63dc4c8601ec8cu);
    assert_true(pl_str_hash(PL_S("foobar")) == 0x85944171f73967e8u);
}

static void crc32c_matches_rfc_3720(void **unused)
{
    (void)unused;
    unsigned char zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < sizeof up; i++)
        up[i] = (unsigned char)i;
    assert_int_equal(pl_crc32c(0, zeros, 32), 0x8a9136aau); /* appendix B.4 */
    assert_int_equal(pl_crc32c(0, ones, 32), 0x62a8ab43u);
    assert_int_equal(pl_crc32c(0, up, 32), 0x46dd794eu);
    assert_int_equal(pl_crc32c(0, "123456789", 9), 0xe3069283u);
    for (size_t cut = 0; cut <= 32; cut++)
        assert_int_equal(pl_crc32c(pl_crc32c(0, up, cut), up + cut, 32 - cut), 0x46dd794eu);
}

static void nearest_word_is_near(void **unused)
{
    (void)unused;
    static const char *const words[] = {"brokers", "topic", "group", "key", "create_topic", NULL};
    assert_string_equal(pl_nearest("brokres", words), "brokers");
    assert_string_equal(pl_nearest("broker", words), "brokers");
    assert_string_equal(pl_nearest("Topic", words), "topic");
    assert_string_equal(pl_nearest("kye", words), "key");
    assert_string_equal(pl_nearest("createtopic", words), "create_topic");
    assert_null(pl_nearest("partitions", words));
    assert_null(pl_nearest("", words));
    char endless[5000];
    memset(endless, 'k', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(pl_nearest(endless, words));
    assert_null(pl_nearest("x", (const char *const[]){NULL}));
}

static void utf8_is_checked_to_the_letter(void **unused)
{
    (void)unused;
    static const char *const good[] = {"",
                                       "plain text over eight bytes",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "12345678\xc3\xa4"};
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",         "\xc3",
                                      "\xe0\x9f\xbf", "\xed\xa0\x80",     "\xe2\x82",         "\xf0\x8f\xbf\xbf",
                                      "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
                                      "1234567\xc3",  "12345678\xa4"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(pl_utf8_valid(PL_S(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(pl_utf8_valid(PL_S(bad[i])));
    assert_true(pl_utf8_valid((pl_str){"\0", 1}));
}

static void random_numbers_repeat_with_their_seed(void **unused)
{
    (void)unused;
    pl_random a = {{1, 2, 3, 4}}, b;
    /* First outputs of xoshiro256** for the state 1, 2, 3, 4: from the reference code at prng.di.unimi.it */
    assert_true(pl_random_next(&a) == 11520u);
    assert_true(pl_random_next(&a) == 0u);
    assert_true(pl_random_next(&a) == 1509978240u);
    pl_random_seed(&a, 7);
    pl_random_seed(&b, 7);
    for (int i = 0; i < 100; i++)
        assert_true(pl_random_next(&a) == pl_random_next(&b));
    pl_random_seed(&b, 8);
    assert_true(pl_random_next(&a) != pl_random_next(&b));
    assert_true(pl_random_entropy() != pl_random_entropy());
}

static void random_below_stays_below_and_covers(void **unused)
{
    (void)unused;
    pl_random random;
    unsigned seen[6] = {0};
    pl_random_seed(&random, 1);
    for (int i = 0; i < 6000; i++)
        seen[pl_random_below(&random, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_int_equal(pl_random_below(&random, 0), 0);
    assert_int_equal(pl_random_below(&random, 1), 0);
}

static void virtual_clock_moves_by_hand(void **unused)
{
    (void)unused;
    pl_virtual_clock clock;
    pl_virtual_clock_init(&clock, 1000);
    assert_true(clock.clock.now_ns(&clock.clock) != 0);
    assert_int_equal(clock.clock.unix_ns(&clock.clock), 1000);
    int64_t before = clock.clock.now_ns(&clock.clock);
    clock.now += 5;
    assert_int_equal(clock.clock.unix_ns(&clock.clock), 1005);
    assert_int_equal(clock.clock.now_ns(&clock.clock), before + 5);
    assert_true(pl_system_clock.unix_ns(&pl_system_clock) > 1700000000000000000);
    assert_true(pl_system_clock.now_ns(&pl_system_clock) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_bytewise_and_a_prefix_comes_first),
        cmocka_unit_test(hash_is_fnv_1a),
        cmocka_unit_test(crc32c_matches_rfc_3720),
        cmocka_unit_test(nearest_word_is_near),
        cmocka_unit_test(utf8_is_checked_to_the_letter),
        cmocka_unit_test(random_numbers_repeat_with_their_seed),
        cmocka_unit_test(random_below_stays_below_and_covers),
        cmocka_unit_test(virtual_clock_moves_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
