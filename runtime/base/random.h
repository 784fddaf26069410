/* Seeded random numbers (xoshiro256**): the same seed gives the same numbers everywhere. One thread at a time. */
#ifndef PL_BASE_RANDOM_H
#define PL_BASE_RANDOM_H
#include <stdint.h>

typedef struct pl_random {
    uint64_t s[4];
} pl_random;
void pl_random_seed(pl_random *random, uint64_t seed);
uint64_t pl_random_next(pl_random *random);
/* Uniform in [0, bound); bound 0 gives 0. */
uint64_t pl_random_below(pl_random *random, uint64_t bound);
/* A seed from the system's entropy. */
uint64_t pl_random_entropy(void);
#endif
