/* Log lines on stderr, text or JSON, rate-limited by (component, level, message up to its first digit):
 * at most 10 of a kind a minute; once the minute is over, with the next line of any kind, one line says how many were
 * held back. A line is at most 4 KiB; control characters in it are escaped, so that what came from outside can neither
 * start a line of its own nor drive the terminal. [any] */
#ifndef PL_BASE_LOG_H
#define PL_BASE_LOG_H
#include <base/clock.h>
#include <plumbline/plugin.h>

typedef enum { PL_LOG_TEXT, PL_LOG_JSON } pl_log_format;
/* [main] Before any thread starts. level: the least that is printed (PL_DEBUG ... PL_ERROR). clock NULL: the system's.
 */
void pl_log_setup(pl_log_format format, int32_t level, const pl_clock *clock);
/* text: `2026-11-22T10:00:00.123Z warn topic: broker 127.0.0.1:9092 down`;
 * JSON: {"time":..,"level":"warn","component":"topic","message":..}. component may be NULL. */
void pl_log(int32_t level, const char *component, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A hook that is told each line (no newline) instead of stderr (tests, the terminal's live view); NULL restores stderr.
 * Called under the log's lock: it must not log. [main] */
void pl_log_capture(void (*write)(void *self, const char *line, size_t len), void *self);
#endif
