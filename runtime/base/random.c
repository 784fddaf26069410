#include <base/clock.h>
#include <base/random.h>

#include <sys/random.h>

__extension__ typedef unsigned __int128 wide;

/* splitmix64, which the authors of xoshiro recommend for seeding it: https://prng.di.unimi.it/ */
static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void pl_random_seed(pl_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->s[i] = splitmix(&seed);
}

static uint64_t rotate(uint64_t value, int by)
{
    return (value << by) | (value >> (64 - by));
}

uint64_t pl_random_next(pl_random *random)
{
    uint64_t *s = random->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t pl_random_below(pl_random *random, uint64_t bound)
{
    if (bound == 0)
        return 0;
    /* Lemire, "Fast Random Integer Generation in an Interval" (2019): the high half of a product, the few low values
     * that would favour some results drawn again. */
    wide product = (wide)pl_random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t floor = (0 - bound) % bound;
        while ((uint64_t)product < floor)
            product = (wide)pl_random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}

uint64_t pl_random_entropy(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed)
        return seed;
    return (uint64_t)pl_system_clock.unix_ns(&pl_system_clock) * 0x9e3779b97f4a7c15u;
}
