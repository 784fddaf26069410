/* Where the values of a JSON text lie, as noted by the check that read all of it: whoever reads the text after that
 * need neither scan nor check it again. Private to record/, except as a thing that a record carries. All [any].
 *
 * Small texts only, and never more bytes than the text itself has: what is kept beside a record has to stay small. */
#ifndef PL_RECORD_OUTLINE_H
#define PL_RECORD_OUTLINE_H
#include <base/arena.h>

enum { PL_OUTLINE_ENTRIES_MAX = 128, PL_OUTLINE_TEXT_MAX = UINT16_MAX };

/* A value and its key; what lies within a container follows it at once. In bytes from the start of the text. */
typedef struct pl_outline_entry {
    uint16_t key_at, key_len; /* without the quotes; 0, 0 where there is no key */
    uint16_t at, len;         /* the value, without space around */
} pl_outline_entry;

typedef struct pl_outline {
    const char *text; /* of which it tells */
    uint64_t shape; /* outlines with the same one have the same keys at the same places (record/shape.h); 0: unknown */
    uint32_t len;
    uint16_t count; /* entries, the first one being the root */
    bool escapes;   /* there is a backslash somewhere */
    pl_outline_entry entry[];
} pl_outline;

typedef enum pl_outline_verdict {
    PL_OUTLINE_VALID,   /* well-formed JSON, for certain */
    PL_OUTLINE_DOUBTED, /* there are scalars that somebody else has to judge; the rest is well-formed */
    PL_OUTLINE_NONE /* no object or array, or not well-formed, or nested deeper than PL_JSON_DEPTH_MAX: no word on it */
} pl_outline_verdict;

/* How many entries at most may be kept of a text of so many bytes; 0: none. */
uint32_t pl_outline_room(size_t text_len);
/* Walks over a text whose structural offsets are known (scan.h): UTF-8 and the ends of strings were found to be right
 * by that scan. *count: the values of the text; those that fit are noted in entry[], which has room + 1 places. */
pl_outline_verdict pl_outline_walk(pl_str text, const uint32_t *index, uint32_t structurals, bool escapes,
                                   pl_outline_entry *entry, uint32_t room, uint32_t *count);
/* A copy in the arena, for as long as the text stays where it is: about->count entries. NULL: no memory. */
const pl_outline *pl_outline_keep(pl_arena *arena, const pl_outline *about, const pl_outline_entry *entry);
/* Whether it tells of this very payload: a record's outline stays when a script gives out other bytes. */
static inline bool pl_outline_of(const pl_outline *outline, pl_str text)
{
    return outline && outline->text == text.ptr && outline->len == text.len;
}
#endif
