/* One scalar as the value of an option. Private to the config room. */
#ifndef PL_CONFIG_VALUES_H
#define PL_CONFIG_VALUES_H
#include <base/arena.h>
#include <config/options.h>

typedef struct pl_value_slot { /* which member: see PL_OPT_* in plugin.h */
    const char *text;
    int64_t i;
    double f;
    bool b;
} pl_value_slot;

/* false: the message says what was expected; it holds no part of the text. */
bool pl_value_read(const pl_option *option, pl_str text, pl_arena *arena, pl_value_slot *out, char *message,
                   size_t message_size);

/* A bound as the option's user would write it: 1s, 64MiB, 0.5%, 10000. Returns out. */
const char *pl_value_bound(const pl_option *option, double bound, char *out, size_t out_size);
#endif
