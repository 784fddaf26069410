#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"

#include <base/fs.h>
#include <base/mem.h>

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

int enter_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/unit-config-XXXXXX", P_tmpdir);
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    (void)found, (void)kind, (void)where;
    return remove(path);
}

int leave_folder(void **state)
{
    (void)state;
    return chdir("/") == 0 ? nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) : -1;
}

void put_file(const char *path, const char *text)
{
    pl_error error = {0};
    char parent[128];
    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash) {
        *slash = '\0';
        assert_int_equal(pl_fs_mkdirs(parent, &error), PL_OK);
    }
    assert_int_equal(pl_fs_replace(path, PL_S(text), &error), PL_OK);
}

const char *test_variable(void *self, const char *name)
{
    (void)self;
    return strcmp(name, "SET") == 0      ? "value"
           : strcmp(name, "EMPTY") == 0  ? ""
           : strcmp(name, "SECRET") == 0 ? "hunter2"
                                         : NULL;
}

loaded load(const char *text, pl_override *overrides, size_t override_count)
{
    loaded one = {.diags = pl_diags_new()};
    pl_buf out = PL_BUF(1 << 20);
    pl_pipeline_setup setup = {"p.yaml", overrides, override_count, test_variable, NULL};
    put_file("p.yaml", text);
    one.pipeline = pl_pipeline_load(&setup, one.diags);
    pl_diags_sort(one.diags);
    pl_diags_render(one.diags, &out);
    one.text = pl_strndup(pl_buf_str(&out).ptr, out.len);
    pl_buf_release(&out);
    return one;
}

void unload(loaded *one)
{
    pl_pipeline_free(&one->pipeline);
    pl_diags_free(&one->diags);
    pl_free(one->text);
}

void expect_messages(const pl_diags *diags, const char *const *expected)
{
    size_t i = 0;
    for (; i < pl_diags_count(diags); i++) {
        const pl_diag *diag = pl_diags_get(diags, i);
        char line[1500];
        int at = diag->file ? snprintf(line, sizeof line, "%s:%d:%d: ", diag->file, diag->line, diag->column) : 0;
        (void)snprintf(line + at, sizeof line - (size_t)at, "%s%s%s%s%s",
                       diag->severity == PL_DIAG_WARNING ? "warning: " : "", diag->message, diag->hint ? " [" : "",
                       diag->hint ? diag->hint : "", diag->hint ? "]" : "");
        if (!expected[i])
            fail_msg("one more than expected: %s", line);
        assert_string_equal(line, expected[i]);
    }
    if (expected[i])
        fail_msg("missing: %s", expected[i]);
}
