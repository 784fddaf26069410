#include <base/timestamp.h>

#include <stdint.h>

static const int64_t second_ns = 1000000000;

/* Days since 1970-01-01 in the proleptic Gregorian calendar; the year starts in March, so that a leap day ends it.
 * H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil. */
static int64_t days_from_date(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = (y >= 0 ? y : y - 399) / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int day_of_era = (int)(days - era * 146097);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int shifted = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (int)(year_of_era + era * 400) + (*month <= 2);
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* `count` digits at *at as a number; -1 when there are not. */
static int digits(pl_str text, size_t *at, size_t count)
{
    int value = 0;
    if (text.len < count || *at > text.len - count)
        return -1;
    for (size_t end = *at + count; *at < end; ++*at) {
        char c = text.ptr[*at];
        if (c < '0' || c > '9')
            return -1;
        value = value * 10 + (c - '0');
    }
    return value;
}

static bool take(pl_str text, size_t *at, const char *any_of)
{
    if (*at >= text.len || text.ptr[*at] == '\0' || !strchr(any_of, text.ptr[*at]))
        return false;
    ++*at;
    return true;
}

/* ".123456789" when there is one. false: a point without digits, or more than 9 of them. */
static bool fraction(pl_str text, size_t *at, int64_t *ns)
{
    int64_t each = second_ns;
    *ns = 0;
    if (!take(text, at, "."))
        return true;
    size_t start = *at;
    for (; *at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9'; ++*at) {
        each /= 10;
        *ns += (text.ptr[*at] - '0') * each;
    }
    return *at > start && *at - start <= 9;
}

static bool offset(pl_str text, size_t *at, int64_t *seconds)
{
    *seconds = 0;
    if (take(text, at, "Zz"))
        return true;
    bool west = *at < text.len && text.ptr[*at] == '-';
    if (!take(text, at, "+-"))
        return false;
    int hours = digits(text, at, 2);
    if (!take(text, at, ":"))
        return false;
    int minutes = digits(text, at, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *seconds = (int64_t)(hours * 60 + minutes) * (west ? -60 : 60);
    return true;
}

bool pl_time_parse(pl_str text, int64_t *ns)
{
    size_t at = 0;
    int year = digits(text, &at, 4);
    bool ok = take(text, &at, "-");
    int month = ok ? digits(text, &at, 2) : -1;
    ok = ok && take(text, &at, "-");
    int day = ok ? digits(text, &at, 2) : -1;
    ok = ok && take(text, &at, "Tt ");
    int hour = ok ? digits(text, &at, 2) : -1;
    ok = ok && take(text, &at, ":");
    int minute = ok ? digits(text, &at, 2) : -1;
    ok = ok && take(text, &at, ":");
    int second = ok ? digits(text, &at, 2) : -1;
    int64_t part, east, total;
    if (!ok || !fraction(text, &at, &part) || !offset(text, &at, &east) || at != text.len)
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    if (second == 60) {
        second = 59;
        part = second_ns - 1;
    }
    int64_t seconds =
        days_from_date(year, month, day) * 86400 + (int64_t)hour * 3600 + (int64_t)minute * 60 + second - east;
    /* a second less and its nanoseconds back: the first representable second is not a whole one */
    if (seconds < 0 && part > 0) {
        seconds++;
        part -= second_ns;
    }
    if (__builtin_mul_overflow(seconds, second_ns, &total) || __builtin_add_overflow(total, part, &total))
        return false;
    *ns = total;
    return true;
}

size_t pl_time_format(int64_t ns, char out[PL_TIMESTAMP_MAX])
{
    int64_t seconds = ns / second_ns, part = ns % second_ns;
    if (part < 0) {
        part += second_ns;
        seconds--;
    }
    int64_t days = seconds / 86400;
    int left = (int)(seconds % 86400);
    if (left < 0) {
        left += 86400;
        days--;
    }
    int year, month, day, places = 0, length;
    date_from_days(days, &year, &month, &day);
    int shown = (int)part;
    if (part > 0) {
        places = part % 1000000 == 0 ? 3 : part % 1000 == 0 ? 6 : 9;
        shown = (int)(part / (places == 3 ? 1000000 : places == 6 ? 1000 : 1));
    }
    length = snprintf(out, PL_TIMESTAMP_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", year, month, day, left / 3600,
                      left / 60 % 60, left % 60);
    if (length < 0 || length >= PL_TIMESTAMP_MAX - 11)
        return 0;
    size_t at = (size_t)length;
    if (places > 0)
        length = snprintf(out + at, PL_TIMESTAMP_MAX - at, ".%0*dZ", places, shown);
    else
        length = snprintf(out + at, PL_TIMESTAMP_MAX - at, "Z");
    return at + (size_t)(length > 0 ? length : 0);
}
