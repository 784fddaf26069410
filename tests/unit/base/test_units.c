/* Durations, sizes, percentages and RFC 3339 times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/random.h>
#include <base/timestamp.h>
#include <base/units.h>

static const int64_t s = 1000000000;

static void durations_are_read_exactly(void **unused)
{
    (void)unused;
    const struct {
        const char *text;
        int64_t ns;
    } cases[] = {{"0", 0},
                 {"0s", 0},
                 {"1ns", 1},
                 {"200ms", s / 5},
                 {"1.5s", s + s / 2},
                 {"1h30m", 5400 * s},
                 {"2d", 172800 * s},
                 {"1d2h3m4s5ms6us7ns", 93784 * s + 5006007},
                 {"0.000000001s", 1},
                 {"90m", 5400 * s},
                 {"9223372036854775807ns", INT64_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_error error = {0};
        int64_t ns = -1;
        assert_int_equal(pl_parse_duration(PL_S(cases[i].text), &ns, &error), PL_OK);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void bad_durations_say_what_was_expected(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"",      "5",    "5 s",     "s",    "1.s",
                                      "-1s",   "1h1h", "1m1h",    "1min", "1.5h30",
                                      "0.1ns", "1e3s", "300000d", ".5s",  "99999999999999999999s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pl_error error = {0};
        int64_t ns = 77;
        assert_int_equal(pl_parse_duration(PL_S(bad[i]), &ns, &error), PL_FAILED);
        assert_int_equal(ns, 77);
        assert_int_equal(error.error_class, PL_BAD_CONFIG);
        assert_non_null(strstr(error.message, "duration"));
    }
    pl_error error = {0};
    int64_t ns;
    assert_int_equal(pl_parse_duration(PL_S("5"), &ns, &error), PL_FAILED);
    assert_non_null(strstr(error.message, "needs a unit"));
}

static void durations_are_written_shortest_and_read_back(void **unused)
{
    (void)unused;
    const struct {
        int64_t ns;
        const char *text;
    } cases[] = {{0, "0s"},
                 {5400 * s, "1h30m"},
                 {s / 5, "200ms"},
                 {s + s / 2, "1.5s"},
                 {86400 * s, "1d"},
                 {1, "1ns"},
                 {1500, "1.5us"},
                 {90061 * s + s / 2, "1d1h1m1.5s"},
                 {60 * s + 1, "1m1ns"},
                 {-5 * s, "-5s"},
                 {s + 1, "1.000000001s"}};
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(pl_format_duration(cases[i].ns, out, sizeof out), cases[i].text);
    pl_random random;
    pl_random_seed(&random, 3);
    for (int i = 0; i < 2000; i++) {
        int64_t ns = (int64_t)(pl_random_next(&random) >> (1 + pl_random_below(&random, 60))), back = -1;
        pl_error error = {0};
        assert_int_equal(pl_parse_duration(PL_S(pl_format_duration(ns, out, sizeof out)), &back, &error), PL_OK);
        assert_int_equal(back, ns);
    }
    assert_string_equal(pl_format_duration(INT64_MIN, out, sizeof out), "-106751d23h47m16.854775808s");
    char small[4];
    assert_true(strlen(pl_format_duration(90061 * s, small, sizeof small)) < sizeof small);
}

static void sizes_know_both_kinds_of_kilo(void **unused)
{
    (void)unused;
    const struct {
        const char *text;
        int64_t bytes;
    } cases[] = {{"0", 0},
                 {"512", 512},
                 {"512B", 512},
                 {"1kB", 1000},
                 {"64MiB", 67108864},
                 {"1.5KiB", 1536},
                 {"2GB", 2000000000},
                 {"1TiB", (int64_t)1 << 40}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pl_error error = {0};
        int64_t bytes = -1;
        assert_int_equal(pl_parse_size(PL_S(cases[i].text), &bytes, &error), PL_OK);
        assert_int_equal(bytes, cases[i].bytes);
    }
    static const char *const bad[] = {"", "MiB", "1 MiB", "64M", "64mb", "-1", "1.5", "1.2345KiB", "9000000TiB", "1KB"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pl_error error = {0};
        int64_t bytes = 77;
        assert_int_equal(pl_parse_size(PL_S(bad[i]), &bytes, &error), PL_FAILED);
        assert_int_equal(bytes, 77);
        assert_non_null(strstr(error.message, "size"));
    }
}

static void percentages_keep_their_digits(void **unused)
{
    (void)unused;
    char out[16];
    pl_error error = {0};
    assert_int_equal(pl_parse_percent(PL_S("0.50%"), out, sizeof out, &error), PL_OK);
    assert_string_equal(out, "0.50");
    assert_int_equal(pl_parse_percent(PL_S("-3%"), out, sizeof out, &error), PL_OK);
    assert_string_equal(out, "-3");
    assert_int_equal(pl_parse_percent(PL_S("0.5"), out, sizeof out, &error), PL_FAILED);
    assert_string_equal(error.message, "a percentage needs its sign, such as 0.5%");
    static const char *const bad[] = {"", "%", ".5%", "5.%", "1e2%", "5%%", "5 %", "--5%", "+5%", "1.2.3%"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pl_parse_percent(PL_S(bad[i]), out, sizeof out, &error), PL_FAILED);
    assert_int_equal(pl_parse_percent(PL_S("0.1234567890123456789%"), out, sizeof out, &error), PL_FAILED);
    assert_string_equal(out, "-3");
}

static void times_are_read(void **unused)
{
    (void)unused;
    const struct {
        const char *text;
        int64_t ns;
    } cases[] = {{"1970-01-01T00:00:00Z", 0},
                 {"2022-05-01T10:00:00Z", 1651399200 * s},
                 {"2022-05-01 10:00:00z", 1651399200 * s},
                 {"2022-05-01t12:30:00+02:30", 1651399200 * s},
                 {"2022-05-01T05:00:00-05:00", 1651399200 * s},
                 {"2022-05-01T10:00:00.123456789Z", 1651399200 * s + 123456789},
                 {"2022-05-01T10:00:00.5Z", 1651399200 * s + s / 2},
                 {"2016-12-31T23:59:60Z", 1483228800 * s - 1},
                 {"2000-02-29T00:00:00Z", 951782400 * s},
                 {"1969-12-31T23:59:59.5Z", -s / 2},
                 {"1677-09-21T00:12:43.145224192Z", INT64_MIN},
                 {"2262-04-11T23:47:16.854775807Z", INT64_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ns = 77;
        assert_true(pl_time_parse(PL_S(cases[i].text), &ns));
        assert_true(ns == cases[i].ns);
    }
    static const char *const bad[] = {"",
                                      "2022",
                                      "2022-05-01",
                                      "2022-05-01T10:00:00",
                                      "2022-05-01T10:00Z",
                                      "2022-13-01T10:00:00Z",
                                      "2022-02-29T10:00:00Z",
                                      "1900-02-29T10:00:00Z",
                                      "2022-05-01T24:00:00Z",
                                      "2022-05-01T10:60:00Z",
                                      "2022-05-01T10:00:61Z",
                                      "2022-05-01T10:00:00.Z",
                                      "2022-05-01T10:00:00.1234567890Z",
                                      "2022-05-01T10:00:00+24:00",
                                      "2022-05-01T10:00:00+0200",
                                      "2022-05-01T10:00:00Z ",
                                      "22-05-01T10:00:00Z",
                                      "2262-04-11T23:47:16.854775808Z",
                                      "1677-09-21T00:12:43.145224191Z",
                                      "0001-01-01T00:00:00Z",
                                      "9999-12-31T23:59:59Z"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ns = 77;
        if (pl_time_parse(PL_S(bad[i]), &ns))
            fail_msg("read: %s", bad[i]);
        assert_int_equal(ns, 77);
    }
}

static void times_are_written_and_read_back(void **unused)
{
    (void)unused;
    char out[PL_TIMESTAMP_MAX];
    assert_int_equal(pl_time_format(0, out), 20);
    assert_string_equal(out, "1970-01-01T00:00:00Z");
    pl_time_format(1651399200 * s + s / 2, out);
    assert_string_equal(out, "2022-05-01T10:00:00.500Z");
    pl_time_format(1651399200 * s + 1000, out);
    assert_string_equal(out, "2022-05-01T10:00:00.000001Z");
    pl_time_format(INT64_MIN, out);
    assert_string_equal(out, "1677-09-21T00:12:43.145224192Z");
    pl_random random;
    pl_random_seed(&random, 9);
    for (int i = 0; i < 5000; i++) {
        int64_t ns = (int64_t)pl_random_next(&random), back = 0;
        size_t len = pl_time_format(ns, out);
        assert_int_equal(len, strlen(out));
        assert_true(pl_time_parse(PL_S(out), &back));
        assert_true(back == ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read_exactly),
        cmocka_unit_test(bad_durations_say_what_was_expected),
        cmocka_unit_test(durations_are_written_shortest_and_read_back),
        cmocka_unit_test(sizes_know_both_kinds_of_kilo),
        cmocka_unit_test(percentages_keep_their_digits),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(times_are_written_and_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
