/* Files in a folder of their own, and messages as a test compares them. */
#ifndef TEST_CONFIG_SUPPORT_H
#define TEST_CONFIG_SUPPORT_H
#include <config/pipeline.h>

/* Group fixtures: a new empty working directory, and its end. */
int enter_folder(void **state);
int leave_folder(void **state);
/* Writes a file (folders made), to be removed by leave_folder. */
void put_file(const char *path, const char *text);

typedef struct loaded {
    pl_pipeline *pipeline; /* NULL: refused */
    pl_diags *diags;
    char *text; /* all messages */
} loaded;
/* Of `text` as p.yaml. Variables: SET=value, EMPTY=, SECRET=hunter2; all others are unset. */
loaded load(const char *text, pl_override *overrides, size_t override_count);
void unload(loaded *one);

/* One text per message: "p.yaml:2:5: unknown key 'x' in ..." ("warning: ..." for one). Fails when the messages differ
 * from the NULL-ended list. */
void expect_messages(const pl_diags *diags, const char *const *expected);
const char *test_variable(void *self, const char *name);
#endif
