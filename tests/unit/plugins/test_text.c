/* Times as text, which every store and some sources read: against the C library's calendar. */
#include "support_host.h"

#include <stdio.h>
#include <time.h>

#include "../../../plugins/common/text.c"

static const int64_t S_NS = INT64_C(1000000000);

static bool parse(const char *text, int64_t *ns)
{
    return text_time_parse(PL_S(text), ns);
}

/* Each day of the range that nanoseconds since 1970 can hold, back and forth. */
static void every_day_is_that_of_the_calendar(void **state)
{
    (void)state;
    text_buf written = {0};
    size_t days = 0;
    for (int64_t seconds = -106751 * INT64_C(86400); seconds < 106751 * INT64_C(86400); seconds += 86400) {
        struct tm utc;
        char text[40];
        int64_t ns;
        time_t clock = (time_t)(seconds + 3723);
        assert_non_null(gmtime_r(&clock, &utc));
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
        assert_true(parse(text, &ns));
        assert_int_equal(ns, (seconds + 3723) * S_NS);
        written.len = 0;
        text_time(&written, ns);
        assert_string_equal(text_end(&written), text);
        days++;
    }
    assert_int_equal(days, 213502);
    text_release(&written);
}

static void parts_of_a_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00.000000001z", 1},
        {"1970-01-01 00:00:00.1234567899Z", 123456789}, /* cut, not rounded */
        {"1970-01-01T02:30:00+02:30", 0},
        {"1969-12-31T23:59:00-00:01", 0},
        {"1969-12-31T23:59:60Z", -1},
        {"2000-02-29T00:00:00Z", INT64_C(951782400) * 1000000000},
        {"1677-09-21T00:12:44Z", -INT64_C(9223372036) * 1000000000},
        {"2262-04-11T23:47:16.854775807Z", INT64_MAX},
    };
    static const char *const bad[] = {
        "",
        "now",
        "2022-04-01",
        "2022-04-01T00:00:00",
        "2022-04-01T00:00:00Z ",
        "2022-4-01T00:00:00Z",
        "2022-00-01T00:00:00Z",
        "2022-13-01T00:00:00Z",
        "2022-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2022-04-31T00:00:00Z",
        "2022-04-00T00:00:00Z",
        "2022-04-01T24:00:00Z",
        "2022-04-01T00:60:00Z",
        "2022-04-01T00:00:61Z",
        "2022-04-01T00:00:00.Z",
        "2022-04-01T00:00:00+24:00",
        "2022-04-01T00:00:00+0100",
        "2022-04-01T00:00:00+01:60",
        "2022-04-01X00:00:00Z",
        "-022-04-01T00:00:00Z",
        "1677-09-20T00:00:00Z",
        "2262-04-11T23:47:16.854775808Z",
        "0000-01-01T00:00:00Z",
    };
    int64_t ns;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!parse(good[i].text, &ns) || ns != good[i].ns) {
            fail_msg("%s: %lld", good[i].text, (long long)ns);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], &ns)) {
            fail_msg("'%s' was taken for a time", bad[i]);
        }
    }
    assert_false(text_time_parse((pl_str){NULL, 0}, &ns));
    assert_false(text_time_parse((pl_str){"2022-04-01T00:00:0\0Z", 20}, &ns));
}

static void integers_are_written_as_they_are(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0,   1,    -1,    9,     10,       -10,       99,        100,
                                      101, 9999, 12345, 10000, 99999999, 100000000, INT64_MAX, INT64_MIN};
    text_buf written = {0};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[32];
        written.len = 0;
        (void)snprintf(text, sizeof text, "%lld", (long long)numbers[i]);
        text_int(&written, numbers[i]);
        assert_string_equal(text_end(&written), text);
    }
    text_release(&written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_day_is_that_of_the_calendar),
        cmocka_unit_test(parts_of_a_time),
        cmocka_unit_test(integers_are_written_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
