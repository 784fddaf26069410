/* Numbers out of other people's answers: judged, and passed on with the digits that arrived. Pure functions. [any] */
#ifndef PL_PLUGINS_NUMBER_H
#define PL_PLUGINS_NUMBER_H
#include <plumbline/plugin.h>

enum { NUMBER_TEXT_MAX = 64 }; /* with its NUL */
enum {
    NUMBER_OR_ZERO = 1u << 0, /* 0 is fine, too */
    NUMBER_IN_TEXT = 1u << 1  /* "3043.60" in quotes is fine, too */
};

/* A number above 0, finite, as JSON writes it. NULL on success and its digits in out; else what the value is instead:
 * "missing" (found is false), "null", "zero", ... and out is untouched. */
const char *number_positive(bool found, const pl_value *value, unsigned flags, char out[NUMBER_TEXT_MAX]);

/* A number of units of unit_ns nanoseconds since 1970, above 0, a fraction allowed (cut at nanoseconds), as
 * nanoseconds. Results as above. */
const char *number_unix_time(bool found, const pl_value *value, int64_t unit_ns, int64_t *unix_ns);
#endif
