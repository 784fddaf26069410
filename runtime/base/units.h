/* Durations, sizes and percentages as people write them. All [any]; on failure the result is untouched and
 * error->message says what was expected, error_class PL_BAD_CONFIG. */
#ifndef PL_BASE_UNITS_H
#define PL_BASE_UNITS_H
#include <plumbline/plugin.h>

/* "1h30m", "200ms", "1.5s", "2d"; units ns us ms s m h d; a bare 0 is allowed, other bare numbers are not. ns out. */
pl_status pl_parse_duration(pl_str text, int64_t *ns, pl_error *error);
/* "64MiB", "1kB", "512"; powers of 1000 for kB MB GB, of 1024 for KiB MiB GiB; a bare number is bytes. */
pl_status pl_parse_size(pl_str text, int64_t *bytes, pl_error *error);
/* "0.5%": the number before the sign, as exact text copied to out ("0.5"). A bare number is refused. */
pl_status pl_parse_percent(pl_str text, char *out, size_t out_size, pl_error *error);
/* "1h30m" for 5400000000000: the shortest exact form. Returns out. */
const char *pl_format_duration(int64_t ns, char *out, size_t out_size);
#endif
