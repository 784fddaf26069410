/* The inside of one test file's run; private to runtime/script. */
#ifndef PL_SCRIPT_TEST_STATE_H
#define PL_SCRIPT_TEST_STATE_H
#include "feed.h"
#include "tester.h"
#include "world.h"

enum { PL_TEST_CASES_MAX = 2000, PL_TEST_NAMES_MAX = 256 };
#define PL_TEST_TIME_NS INT64_C(60000000000)

typedef struct pl_test_state {
    pl_world world; /* first: a lua_State leads to it, and it to the rest */
    pl_tester *tester;
    const char *path; /* of the *_test.lua */
    char *script;     /* the script under test: the path without _test */
    char *library;    /* NULL: none */
    pl_feed *feed;    /* the one under way; the one before is freed */
    pl_arena *arena;  /* options of feed {} */
    pl_diags *diags;
    size_t case_count;
    int running;
    struct {
        int ref;
        char name[PL_TEST_NAMES_MAX];
    } cases[PL_TEST_CASES_MAX];
    int ref_result, ref_expectation; /* metatables */
    pl_buf story;                    /* of a failed expectation */
} pl_test_state;

static inline pl_test_state *pl_test_of(lua_State *L)
{
    return (pl_test_state *)(void *)pl_world_of(L);
}
extern uint32_t pl_absent_marker;

void pl_open_feed(lua_State *L);   /* test_feed.c: feed */
void pl_open_expect(lua_State *L); /* test_expect.c: expect, absent */

/* test_equal.c. The two values at absolute indices; expected decimals fit numbers and text of the same value. */
bool pl_test_equal(lua_State *L, int expected, int actual);
/* Appends the value as one would write it in a test. */
void pl_test_show(lua_State *L, int index, pl_buf *out);
#endif
