/* Field paths: pair, quotes.USD.price, [0].id, quotes["a.b"].x. Compiled once, used for every record. All [any].
 *
 * path    = "" (the root) | first step*
 * first   = name | index | quoted
 * step    = "." name | index | quoted
 * name    = one or more bytes other than . [ ] " and controls; any UTF-8, so ETH-USD and 24h_volume are names
 * index   = "[" digits "]", from 0
 * quoted  = ["key"] for a key with any characters; within it \" and \\ stand for " and \
 */
#ifndef PL_RECORD_PATH_H
#define PL_RECORD_PATH_H
#include <plumbline/plugin.h>

enum { PL_PATH_STEPS_MAX = 16, PL_PATH_BYTES_MAX = 256, PL_PATH_INDEX_MAX = 0x7FFFFFFE };

typedef struct pl_step {
    uint16_t start, len; /* the key, decoded, within pl_path.text; len 0 with index -1 is the empty key */
    int32_t index;       /* -1: a key; else an element of an array, 0 ... */
} pl_step;

/* A plain value: it holds its own text and can be copied. */
typedef struct pl_path {
    uint32_t count; /* 0: the root */
    pl_step step[PL_PATH_STEPS_MAX];
    char text[PL_PATH_BYTES_MAX];
} pl_path;

/* PL_FAILED, PL_BAD_CONFIG: what is wrong and at which character (from 1); *path is untouched. */
pl_status pl_path_parse(pl_str text, pl_path *path, pl_error *error);
/* One key, taken as it is: dots and brackets mean nothing. false: longer than PL_PATH_BYTES_MAX - 1. */
bool pl_path_of_key(pl_str key, pl_path *path);

static inline pl_str pl_path_key(const pl_path *path, uint32_t step)
{
    pl_str key = {path->text + path->step[step].start, path->step[step].len};
    return key;
}
/* Whether it is one key: a member of the root. */
static inline bool pl_path_is_key(const pl_path *path)
{
    return path->count == 1 && path->step[0].index < 0;
}
/* The path as text again (quoted where needed), NUL-ended, cut to size. Returns out. For messages. */
const char *pl_path_format(const pl_path *path, char *out, size_t size);
#endif
