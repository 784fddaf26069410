/* Lua patterns under a step budget. The language is that of the Lua 5.4 manual, section 6.4.1; the matcher is our own
 * because the library's cannot be stopped: 300 bytes and a backtracking pattern kept it busy for half a minute.
 * No Lua in here. One thread at a time, no allocation. */
#ifndef PL_SCRIPT_MATCH_H
#define PL_SCRIPT_MATCH_H
#include <plumbline/plugin.h>

enum {
    PL_PATTERN_ITEMS = 256,  /* characters, classes, captures of one pattern */
    PL_PATTERN_CAPTURES = 32 /* as in Lua */
};

/* What a search may cost: this many steps and so many more a byte of subject. A step is one item tried at one place, or
 * one byte taken by a repetition: about 2 ns. */
#define PL_MATCH_STEPS 10000000u
#define PL_MATCH_STEPS_PER_BYTE 1000u

typedef struct pl_pattern_item {
    uint8_t kind, repeat;
    uint8_t a, b;    /* CHAR: the byte; BALANCED: opening, closing; BACKREF, CLOSE: index of the capture */
    uint8_t set[32]; /* SET, FRONTIER: one bit a byte value */
} pl_pattern_item;

typedef struct pl_pattern {
    uint32_t count;
    uint8_t captures; /* how many there are */
    bool anchored;    /* begins with ^ */
    pl_pattern_item items[PL_PATTERN_ITEMS];
} pl_pattern;

typedef struct pl_capture {
    const char *start;
    ptrdiff_t len; /* PL_CAPTURE_POSITION for () */
} pl_capture;
enum { PL_CAPTURE_OPEN = -1, PL_CAPTURE_POSITION = -2 };

typedef struct pl_matcher {
    const pl_pattern *pattern;
    pl_str subject;
    uint64_t steps_left;
    bool (*tick)(void *self); /* asked every 65,536 steps; true: stop. May be NULL */
    void *self;
    bool exhausted; /* out: steps ran out, or tick said so; the search has no answer */
    pl_capture captures[PL_PATTERN_CAPTURES];
} pl_matcher;

/* Reads a pattern. anchors: whether a leading ^ is one (not in gmatch). NULL: good; else what is wrong with it. */
const char *pl_pattern_compile(pl_pattern *pattern, pl_str text, bool anchors);
/* Gives the matcher a subject and a full budget. */
void pl_matcher_init(pl_matcher *matcher, const pl_pattern *pattern, pl_str subject);
/* Tries at exactly `start`, which lies in the subject. The end of the match, or NULL: none, or exhausted. */
const char *pl_match_at(pl_matcher *matcher, const char *start) __attribute__((nonnull));
#endif
