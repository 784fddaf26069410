/* The root object of texts of one shape, looked at once: its members, how they are written, and where the keys that
 * were asked for stand among them. Private to record/. One thread at a time. */
#ifndef PL_RECORD_KNOWN_H
#define PL_RECORD_KNOWN_H
#include <record/outline.h>
#include <record/plain.h>

/* In bytes: of keys whose places are noted, and of all that stands in front of a value but the key. */
enum { PL_KNOWN_PLACES = 16, PL_KNOWN_KEY_MAX = 28, PL_KNOWN_STYLE_MAX = 32 };

/* A key that was asked for. */
typedef struct pl_known_place {
    uint16_t number; /* 1 + its place; 0: there is no such member */
    uint8_t len;     /* of the key; 0: nobody asked */
    bool plain;      /* ASCII that needs no escapes */
    /* What would stand in front of its value if it were added: separator, key in quotes, colon. */
    char text[PL_KNOWN_STYLE_MAX + PL_KNOWN_KEY_MAX];
} pl_known_place;

typedef struct pl_known {
    uint64_t shape;                 /* 0: none */
    bool distinct;                  /* there are members, all keys differ, and places are noted */
    uint8_t count;                  /* members of the root */
    uint8_t before, behind;         /* bytes of a place's text in front of the key, its quote included, and behind it */
    char style[PL_KNOWN_STYLE_MAX]; /* the two, one behind the other */
    uint8_t entry[PL_OUTLINE_ENTRIES_MAX]; /* each member's number in the outline */
    pl_known_place place[PL_KNOWN_PLACES];
    pl_known_place unnoted; /* of a key that is too long, or empty: its number */
} pl_known;

/* Of a text of the shape and its outline; the root is an object or array. */
void pl_known_learn(pl_known *known, uint64_t shape, const char *text, const pl_outline_entry *entry, uint32_t count);
/* The place of any key, of which all members differ. Good until the next one is looked for. */
const pl_known_place *pl_known_find(pl_known *known, const char *text, const pl_outline_entry *entry, pl_str key);

/* Where the place of a key of 1 to PL_KNOWN_KEY_MAX bytes is noted; it may hold another key's. */
static inline uint32_t pl_known_slot(pl_str key)
{
    unsigned ends = (unsigned char)key.ptr[0] * 5u + (unsigned char)key.ptr[key.len - 1] * 3u;
    return (uint32_t)(ends + key.len) % PL_KNOWN_PLACES;
}
/* As pl_known_find, of a key that was asked for before; NULL: it has to be found. */
static inline const pl_known_place *pl_known_place_of(const pl_known *known, pl_str key)
{
    if (key.len == 0 || key.len > PL_KNOWN_KEY_MAX)
        return NULL;
    const pl_known_place *place = &known->place[pl_known_slot(key)];
    return place->len == key.len && pl_same_bytes(place->text + known->before, key.ptr, key.len) ? place : NULL;
}
#endif
