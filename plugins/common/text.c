#include "text.h"

#include <stdlib.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

void text_release(text_buf *buf)
{
    free(buf->data);
    *buf = (text_buf){0};
}

bool text_reserve(text_buf *buf, size_t extra)
{
    if (buf->room - buf->len >= extra) {
        return true;
    }
    if (buf->failed || extra > SIZE_MAX / 4 || buf->len > SIZE_MAX / 4) {
        buf->failed = true;
        return false;
    }
    size_t room = 2 * buf->room > buf->len + extra ? 2 * buf->room : buf->len + extra;
    char *data = realloc(buf->data, room < 256 ? 256 : room);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->room = room < 256 ? 256 : room;
    return true;
}

void text_add(text_buf *buf, const char *bytes, size_t len)
{
    if (len > 0 && text_reserve(buf, len)) {
        memcpy(buf->data + buf->len, bytes, len);
        buf->len += len;
    }
}

void text_adds(text_buf *buf, const char *text)
{
    text_add(buf, text, strlen(text));
}

void text_addc(text_buf *buf, char byte)
{
    if (text_reserve(buf, 1)) {
        buf->data[buf->len++] = byte;
    }
}

const char *text_end(text_buf *buf)
{
    if (!text_reserve(buf, 1) || buf->failed) {
        return NULL;
    }
    buf->data[buf->len] = '\0';
    return buf->data;
}

void text_int(text_buf *buf, int64_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        digits[--at] = '-';
    }
    text_add(buf, digits + at, sizeof digits - at);
}

/* ---- Times ---------------------------------------------------------------- */

/* n digits with leading zeros. */
static char *put_digits(char *at, int64_t number, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        at[i] = (char)('0' + number % 10);
        number /= 10;
    }
    return at + n;
}

static void add_time(text_buf *buf, int64_t unix_ns, int fraction_digits)
{
    int64_t seconds = unix_ns / NS_PER_S, ns = unix_ns % NS_PER_S;
    if (ns < 0) {
        seconds--;
        ns += NS_PER_S;
    }
    time_t clock = (time_t)seconds;
    struct tm utc;
    if (!text_reserve(buf, 40) || !gmtime_r(&clock, &utc)) {
        return;
    }
    char *at = buf->data + buf->len;
    at = put_digits(at, utc.tm_year + 1900, 4);
    *at++ = '-';
    at = put_digits(at, utc.tm_mon + 1, 2);
    *at++ = '-';
    at = put_digits(at, utc.tm_mday, 2);
    *at++ = 'T';
    at = put_digits(at, utc.tm_hour, 2);
    *at++ = ':';
    at = put_digits(at, utc.tm_min, 2);
    *at++ = ':';
    at = put_digits(at, utc.tm_sec, 2);
    if (fraction_digits > 0) {
        *at++ = '.';
        for (int i = fraction_digits; i < 9; i++) {
            ns /= 10;
        }
        at = put_digits(at, ns, fraction_digits);
    }
    *at++ = 'Z';
    buf->len = (size_t)(at - buf->data);
}

void text_time(text_buf *buf, int64_t unix_ns)
{
    int64_t ns = unix_ns % NS_PER_S;
    add_time(buf, unix_ns, ns == 0 ? 0 : ns % 1000000 == 0 ? 3 : ns % 1000 == 0 ? 6 : 9);
}

void text_time_micros(text_buf *buf, int64_t unix_ns)
{
    add_time(buf, unix_ns > INT64_MAX - 500 ? unix_ns : unix_ns + 500, 6);
}

/* n digits at *at as a number no larger than max; false: something else stands there. */
static bool take_digits(const char **at, const char *end, int n, int max, int *number)
{
    *number = 0;
    if (end - *at < n) {
        return false;
    }
    for (int i = 0; i < n; i++, (*at)++) {
        if (**at < '0' || **at > '9') {
            return false;
        }
        *number = 10 * *number + (**at - '0');
    }
    return *number <= max;
}

static bool take(const char **at, const char *end, char byte)
{
    return *at < end && **at == byte && (*at)++;
}

static bool take_any(const char **at, const char *end, const char *any_of)
{
    return *at < end && **at && strchr(any_of, **at) && (*at)++;
}

static bool take_fraction(const char **at, const char *end, int64_t *ns)
{
    *ns = 0;
    if (!take(at, end, '.')) {
        return true;
    }
    const char *first = *at;
    for (int64_t unit = NS_PER_S / 10; *at < end && **at >= '0' && **at <= '9'; (*at)++, unit /= 10) {
        *ns += unit * (**at - '0');
    }
    return *at > first;
}

static bool take_offset(const char **at, const char *end, int64_t *offset_s)
{
    *offset_s = 0;
    if (take_any(at, end, "Zz")) {
        return true;
    }
    int hours, minutes;
    const char *sign = *at;
    if (!take_any(at, end, "+-") || !take_digits(at, end, 2, 23, &hours) || !take(at, end, ':') ||
        !take_digits(at, end, 2, 59, &minutes)) {
        return false;
    }
    *offset_s = (*sign == '-' ? -1 : 1) * (int64_t)(hours * 3600 + minutes * 60);
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"): timegm takes the time zone's lock
 * and reads its table, at several hundred ns a call. Years begin in March here, and 400 years before year 0. */
static int64_t days_from_date(int year, int month, int day)
{
    int64_t y = year + 400 - (month <= 2);
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719468 - 146097;
}

bool text_time_parse(pl_str text, int64_t *unix_ns)
{
    const char *at = text.ptr, *end = at ? at + text.len : at; /* null has no end to point at */
    int64_t ns, offset_s;
    int year, month, day, hour, minute, second;
    if (!text.ptr || !take_digits(&at, end, 4, 9999, &year) || !take(&at, end, '-') ||
        !take_digits(&at, end, 2, 12, &month) || month < 1 || !take(&at, end, '-') ||
        !take_digits(&at, end, 2, days_in(year, month), &day) || day < 1 || !take_any(&at, end, "Tt ") ||
        !take_digits(&at, end, 2, 23, &hour) || !take(&at, end, ':') || !take_digits(&at, end, 2, 59, &minute) ||
        !take(&at, end, ':') || !take_digits(&at, end, 2, 60, &second) || !take_fraction(&at, end, &ns) ||
        !take_offset(&at, end, &offset_s) || at != end) {
        return false;
    }
    if (second == 60) {
        second = 59;
        ns = NS_PER_S - 1;
    }
    int64_t seconds = 86400 * days_from_date(year, month, day) + 3600 * hour + 60 * minute + second - offset_s;
    return !__builtin_mul_overflow(seconds, NS_PER_S, &seconds) && !__builtin_add_overflow(seconds, ns, unix_ns);
}

/* ---- Strings -------------------------------------------------------------- */

void text_json_string(text_buf *buf, pl_str text)
{
    static const char hex[] = "0123456789abcdef";
    if (!text_reserve(buf, 6 * text.len + 2)) {
        return;
    }
    char *at = buf->data + buf->len;
    *at++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            *at++ = (char)c;
            continue;
        }
        static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
        const char *form = NULL;
        for (size_t k = 0; k < sizeof short_forms - 1 && !form; k += 2) {
            form = (unsigned char)short_forms[k] == c ? &short_forms[k + 1] : NULL;
        }
        *at++ = '\\';
        if (form) {
            *at++ = *form;
        } else {
            *at++ = 'u';
            *at++ = '0';
            *at++ = '0';
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        }
    }
    *at++ = '"';
    buf->len = (size_t)(at - buf->data);
}

void text_base64(text_buf *buf, pl_str bytes)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!text_reserve(buf, (bytes.len + 2) / 3 * 4)) {
        return;
    }
    char *at = buf->data + buf->len;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t three = (uint32_t)(unsigned char)bytes.ptr[i] << 16;
        three |= left > 1 ? (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8 : 0;
        three |= left > 2 ? (uint32_t)(unsigned char)bytes.ptr[i + 2] : 0;
        *at++ = letters[three >> 18];
        *at++ = letters[three >> 12 & 63];
        *at++ = left > 1 ? letters[three >> 6 & 63] : '=';
        *at++ = left > 2 ? letters[three & 63] : '=';
    }
    buf->len = (size_t)(at - buf->data);
}

void text_json_line(text_buf *buf, pl_str json)
{
    size_t start = buf->len;
    text_add(buf, json.ptr, json.len);
    if (buf->failed) {
        return;
    }
    char *at = buf->data + start, *end = buf->data + buf->len;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        *at++ = ' ';
    }
}

static void add_float(text_buf *buf, double number)
{
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) { /* 17 always bring a double back */
        (void)snprintf(digits, sizeof digits, "%.*g", precision, number);
        if (strtod(digits, NULL) == number) {
            break;
        }
    }
    text_adds(buf, digits);
}

void text_value(text_buf *buf, const pl_value *value)
{
    switch (value->type) {
    case PL_BOOL:
        text_adds(buf, value->as.b ? "true" : "false");
        break;
    case PL_INT:
        text_int(buf, value->as.i);
        break;
    case PL_FLOAT:
        add_float(buf, value->as.f);
        break;
    case PL_TIME:
        text_time(buf, value->as.i);
        break;
    case PL_BYTES:
        text_base64(buf, value->as.s);
        break;
    case PL_STR:
    case PL_DECIMAL:
    case PL_JSON:
        text_add(buf, value->as.s.ptr, value->as.s.len);
        break;
    default:
        break;
    }
}

bool text_utf8_valid(pl_str text)
{
    if (text.len == 0) /* null has no end to point at */
        return true;
    const unsigned char *at = (const unsigned char *)text.ptr, *end = at + text.len;
    while (at < end) {
        if (*at < 0x80) {
            at++;
            continue;
        }
        int more = *at >= 0xF0 ? 3 : *at >= 0xE0 ? 2 : 1;
        if (*at < 0xC2 || *at > 0xF4 || end - at <= more) {
            return false;
        }
        /* Overlong forms, surrogates, beyond U+10FFFF: all told by the second byte (Unicode 15, table 3-7). */
        unsigned char low = *at == 0xE0 ? 0xA0 : *at == 0xF0 ? 0x90 : 0x80;
        unsigned char high = *at == 0xED ? 0x9F : *at == 0xF4 ? 0x8F : 0xBF;
        if (at[1] < low || at[1] > high) {
            return false;
        }
        for (int i = 2; i <= more; i++) {
            if (at[i] < 0x80 || at[i] > 0xBF) {
                return false;
            }
        }
        at += more + 1;
    }
    return true;
}
#undef NS_PER_S
