/* RFC 3339 <-> nanoseconds since 1970-01-01T00:00:00Z. All [any]. Range 0001-01-01 .. 2262-04-11 (int64 ns from 1677).
 */
#ifndef PL_BASE_TIMESTAMP_H
#define PL_BASE_TIMESTAMP_H
#include <plumbline/plugin.h>

enum { PL_TIMESTAMP_MAX = 40 };
/* Reads "2022-05-01T10:00:00Z", fractions to 9 digits, offsets, lower-case t and z, a space for T.
 * A leap second :60 is read as :59.999999999. false: not such a time, or out of range; *ns untouched. */
bool pl_time_parse(pl_str text, int64_t *ns);
/* Writes UTC with as few fraction digits of 0, 3, 6, 9 as are exact; NUL-ended. Returns the length. */
size_t pl_time_format(int64_t ns, char out[PL_TIMESTAMP_MAX]);
#endif
