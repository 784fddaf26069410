/* `plumbline test`: finds *_test.lua, runs each test("name", fn) in it, prints what failed and how. [main] */
#ifndef PL_SCRIPT_TESTER_H
#define PL_SCRIPT_TESTER_H
#include <plumbline/plugin.h>

typedef struct pl_tester {
    const char *filter; /* run only tests whose name, or file, contains it; NULL: all */
    FILE *out;          /* what happened, a line a test */
    bool verbose;       /* passed tests too */
    size_t passed, failed, files;
} pl_tester;

/* A *_test.lua file, or a folder that is searched for them (hidden files and symbolic links left aside). Adds to the
 * counts. PL_FAILED (PL_BAD_CONFIG): the path can't be read or is no test; nothing was run. */
pl_status pl_tester_path(pl_tester *tester, const char *path, pl_error *error);
/* One file. A file that does not load counts as one failed test. */
void pl_tester_file(pl_tester *tester, const char *path);
#endif
