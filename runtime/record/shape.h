/* The shape of a text that was found to be JSON: all that is in it but the scalars. A text that has the same bytes
 * between scalars of its own is JSON, too, and where its values lie is known as well: records of one source are mostly
 * alike, and then neither a scan nor a walk is needed. Private to record/. One thread at a time. */
#ifndef PL_RECORD_SHAPE_H
#define PL_RECORD_SHAPE_H
#include <record/outline.h>

enum { PL_SHAPE_TEXT_MAX = 4096 }; /* bytes of a text that one is learned from */

enum { PL_SHAPE_FRONT = 16 };

typedef struct pl_shape_step {  /* an entry of the learned outline */
    char front[PL_SHAPE_FRONT]; /* of a scalar: what stands between the scalar before and it, or the first bytes of that
                                 */
    uint64_t model;   /* the entry, a scalar's without its length, as one number: sums of entries are entries */
    uint64_t moves;   /* 1 in the fields that move with what stands before */
    uint16_t unasked; /* a bit for each byte of `front` that is not used */
    uint16_t between; /* bytes from the scalar before to it */
    uint16_t from;    /* end of the scalar before */
    uint16_t end;     /* of the value */
    uint8_t closes;   /* containers that end between the entry before and it */
    bool container;
    bool plain; /* a scalar, closes none, and `front` is all that stands between */
} pl_shape_step;

typedef struct pl_shape {
    uint64_t id;         /* no other shape of this process has it; 0: none was learned */
    pl_shape_step *step; /* followed by the text it was learned from, and some bytes of room */
    uint32_t count, len; /* of the entries, and of the text */
    size_t room;         /* bytes at step */
    uint32_t misses;     /* a miss adds 1 or 2, a match takes 1 off */
    uint32_t rest;       /* texts not to be looked at: those before were of other shapes */
} pl_shape;

typedef enum pl_shape_match {
    PL_SHAPE_SAME,    /* the text is JSON, and its outline noted */
    PL_SHAPE_DOUBTED, /* as far as it was read it has the shape, but a scalar that is not plain */
    PL_SHAPE_OTHER    /* no word on it */
} pl_shape_match;

void pl_shape_release(pl_shape *shape);
/* Of a padded text. entry[] has room for the shape's count. */
pl_shape_match pl_shape_try(pl_shape *shape, pl_str text, pl_outline_entry *entry);
/* Of a text without a backslash and its whole outline. false: it would not pay, or there is no memory for it, and the
 * shape there was stays. */
bool pl_shape_learn(pl_shape *shape, pl_str text, const pl_outline_entry *entry, uint32_t count);
#endif
