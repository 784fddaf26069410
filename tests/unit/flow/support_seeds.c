#include "support_seeds.h"

#include "support.h"

#include <stdlib.h>

#if defined(__SANITIZE_THREAD__)
#define SHARE 10
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHARE 10
#endif
#endif
#ifndef SHARE
#define SHARE 1
#endif

static uint64_t running = UINT64_MAX; /* seed; none when all is well */

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

uint64_t seeds_run(void (*once)(void *self, uint64_t seed), void *self, uint64_t count)
{
    uint64_t first = number_from("PL_SEED", 0);
    count = getenv("PL_SEED") ? 1 : number_from("PL_SEEDS", count / SHARE);
    for (uint64_t seed = first; seed < first + count; seed++) {
        running = seed;
        once(self, seed);
    }
    running = UINT64_MAX;
    return count;
}

int seeds_tell(void **state)
{
    (void)state;
    if (running != UINT64_MAX)
        print_error("it was seed %llu: PL_SEED=%llu runs it alone\n", (unsigned long long)running,
                    (unsigned long long)running);
    return 0;
}
