#include <base/clock.h>

#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now); /* can't fail for these ids */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t system_now(const pl_clock *clock)
{
    (void)clock;
    int64_t now = read_clock(CLOCK_MONOTONIC);
    return now ? now : 1;
}

static int64_t system_unix(const pl_clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_REALTIME);
}

const pl_clock pl_system_clock = {system_now, system_unix};

int64_t pl_thread_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

static int64_t virtual_now(const pl_clock *clock)
{
    return ((const pl_virtual_clock *)(const void *)clock)->now;
}

static int64_t virtual_unix(const pl_clock *clock)
{
    const pl_virtual_clock *self = (const void *)clock;
    return self->now + self->unix_offset;
}

void pl_virtual_clock_init(pl_virtual_clock *clock, int64_t unix_start_ns)
{
    *clock = (pl_virtual_clock){{virtual_now, virtual_unix}, 1, unix_start_ns - 1};
}
