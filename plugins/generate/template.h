/* JSON text with holes, filled anew for each record. Holes stand in braces and begin with a letter, which JSON never
 * has there: {n} {time} {key} {rand:LO..HI} {pick:A|B|C} {hex:LEN} {pad}. */
#ifndef PL_PLUGINS_GENERATE_TEMPLATE_H
#define PL_PLUGINS_GENERATE_TEMPLATE_H
#include "../common/text.h"

enum { TEMPLATE_PARTS_MAX = 256, TEMPLATE_PICKS_MAX = 64 };

typedef struct template_random { /* SplitMix64: one state a record, so that record n never depends on those before */
    uint64_t state;
} template_random;
uint64_t template_random_next(template_random *random);
/* Uniform in [0, bound); bound 0: any 64 bits. */
uint64_t template_random_below(template_random *random, uint64_t bound);

typedef enum template_kind {
    PART_TEXT,
    PART_N,
    PART_TIME,
    PART_KEY,
    PART_RAND,
    PART_PICK,
    PART_HEX,
    PART_PAD
} template_kind;
typedef struct template_part {
    template_kind kind;
    pl_str text;   /* TEXT */
    int64_t low;   /* RAND: in units of the last decimal place */
    uint64_t span; /* RAND: values from low; 0: all 2^64 */
    int decimals;  /* RAND */
    size_t len;    /* HEX: digits */
    pl_str *picks; /* PICK; malloc'ed */
    size_t pick_count;
} template_part;

typedef struct record_template {
    template_part parts[TEMPLATE_PARTS_MAX];
    size_t count;
    bool has_pad;
} record_template;

/* Borrows text. PL_BAD_CONFIG: what is wrong and at which character, counted from 1. */
pl_status template_compile(const char *text, record_template *out, pl_error *error);
void template_release(record_template *compiled);

typedef struct template_values {
    uint64_t n;
    int64_t time_unix_ns;
    pl_str key;
    size_t bytes; /* {pad} fills up to so many bytes in all */
    template_random random;
} template_values;
/* Appends one record's text. */
void template_render(const record_template *compiled, template_values *values, text_buf *out);
#endif
