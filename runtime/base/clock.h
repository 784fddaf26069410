/* Time is injected: nothing outside base/ calls the system's clocks. */
#ifndef PL_BASE_CLOCK_H
#define PL_BASE_CLOCK_H
#include <stdint.h>

typedef struct pl_clock {                        /* [any] */
    int64_t (*now_ns)(const struct pl_clock *);  /* monotonic; never 0 */
    int64_t (*unix_ns)(const struct pl_clock *); /* wall clock */
} pl_clock;

extern const pl_clock pl_system_clock;

/* [any] How long the calling thread has computed so far: time in which it was stopped, or others had its core, is none.
 */
int64_t pl_thread_cpu_ns(void);

typedef struct pl_virtual_clock { /* moved by hand; single-threaded */
    pl_clock clock;               /* first: cast back */
    int64_t now, unix_offset;     /* unix = now + unix_offset */
} pl_virtual_clock;
void pl_virtual_clock_init(pl_virtual_clock *clock, int64_t unix_start_ns);
#endif
