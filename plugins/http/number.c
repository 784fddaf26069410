#include "number.h"

#include <math.h>
#include <stdlib.h>

static const char digits[] = "0123456789";

/* JSON's grammar of a number: strtod alone would let "0x1p3", "nan" and " 1" pass. */
static bool is_number(const char *text)
{
    text += *text == '-';
    size_t whole = strspn(text, digits);
    if (whole == 0 || (whole > 1 && text[0] == '0'))
        return false;
    text += whole;
    if (*text == '.') {
        size_t fraction = strspn(text + 1, digits);
        if (fraction == 0)
            return false;
        text += 1 + fraction;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        size_t exponent = strspn(text, digits);
        if (exponent == 0)
            return false;
        text += exponent;
    }
    return *text == '\0';
}

static const char *take_digits(bool found, const pl_value *value, unsigned flags, char out[NUMBER_TEXT_MAX])
{
    if (!found)
        return "missing";
    if (value->type == PL_NIL)
        return "null";
    if (value->type == PL_INT) {
        (void)snprintf(out, NUMBER_TEXT_MAX, "%lld", (long long)value->as.i);
        return NULL;
    }
    if (value->type != PL_DECIMAL && !(value->type == PL_STR && (flags & NUMBER_IN_TEXT)))
        return "not a number";
    pl_str text = value->as.s;
    if (text.len >= NUMBER_TEXT_MAX)
        return value->type == PL_STR ? "not a number" : "a number of too many digits";
    if (text.len > 0 && memchr(text.ptr, '\0', text.len))
        return "not a number";
    (void)snprintf(out, NUMBER_TEXT_MAX, "%.*s", (int)text.len, text.ptr);
    return is_number(out) ? NULL : "not a number";
}

const char *number_positive(bool found, const pl_value *value, unsigned flags, char out[NUMBER_TEXT_MAX])
{
    char text[NUMBER_TEXT_MAX];
    const char *wrong = take_digits(found, value, flags, text);
    if (wrong)
        return wrong;
    double size = strtod(text, NULL); /* only to judge it: the digits go on as they are */
    if (!isfinite(size))
        return "not finite";
    if (size < 0)
        return "negative";
    if (size == 0 && !(flags & NUMBER_OR_ZERO))
        return "zero";
    memcpy(out, text, sizeof text);
    return NULL;
}

const char *number_unix_time(bool found, const pl_value *value, int64_t unit_ns, int64_t *unix_ns)
{
    char text[NUMBER_TEXT_MAX], *rest = NULL;
    const char *wrong = take_digits(found, value, NUMBER_IN_TEXT, text);
    if (wrong)
        return wrong;
    if (strpbrk(text, "-eE"))
        return "no time since 1970";
    if (strcspn(text, ".") > 18) /* else strtoll could overflow */
        return "no time that nanoseconds can hold";
    int64_t units = strtoll(text, &rest, 10), sum;
    if (__builtin_mul_overflow(units, unit_ns, &sum))
        return "no time that nanoseconds can hold";
    if (*rest == '.') {
        int64_t place = unit_ns;
        for (rest++; *rest && place > 0; rest++) {
            place /= 10;
            if (__builtin_add_overflow(sum, (*rest - '0') * place, &sum))
                return "no time that nanoseconds can hold";
        }
    }
    if (sum <= 0)
        return "no time since 1970";
    *unix_ns = sum;
    return NULL;
}
