/* docs/scripts.md: every example runs. A block ```lua is a script, ```lua test the tests of the script before it, each
 * line of ```lua when an expression. */
#include "support.h"

#include <base/buf.h>
#include <base/fs.h>
#include <script/tester.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUIDE PL_SOURCE_DIR "/docs/scripts.md"

typedef struct guide {
    pl_buf text;
    char folder[64];
    size_t scripts, tests, expressions;
} guide;

static void path_of(const guide *g, const char *suffix, char out[128])
{
    (void)snprintf(out, 128, "%s/example_%zu%s.lua", g->folder, g->scripts, suffix);
}

static void write_block(const guide *g, const char *suffix, pl_str block)
{
    char path[128];
    path_of(g, suffix, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(block.ptr, 1, block.len, file), block.len);
    assert_int_equal(fclose(file), 0);
}

static void load_script(const guide *g, size_t line)
{
    char path[128];
    pl_error error = {.message = ""};
    path_of(g, "", path);
    pl_script_setup setup = {.path = path, .library = PL_SOURCE_DIR "/scripts/lib"};
    pl_script *script = pl_script_new(&setup, &error);
    if (!script)
        fail_msg("docs/scripts.md:%zu: %s", line, error.message);
    assert_true(pl_script_has_on_record(script));
    pl_script_free(&script);
}

static void compile_lines(guide *g, pl_str block, size_t line)
{
    const char *at = block.ptr, *end = at + block.len;
    for (; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        char expression[256];
        pl_error error = {.message = ""};
        (void)snprintf(expression, sizeof expression, "%.*s", (int)(stop - at), at);
        pl_when *when = pl_when_new(expression, "docs/scripts.md", (int)line, NULL, &error);
        if (!when)
            fail_msg("%s", error.message);
        pl_when_free(&when);
        g->expressions++;
        at = stop + 1;
    }
}

/* info: what stands behind the three backticks. line: of the block's first line. */
static void take_block(guide *g, pl_str info, pl_str block, size_t line)
{
    if (info.len == 3 && memcmp(info.ptr, "lua", 3) == 0) {
        g->scripts++;
        write_block(g, "", block);
        load_script(g, line);
    } else if (info.len == 8 && memcmp(info.ptr, "lua test", 8) == 0) {
        g->tests++;
        write_block(g, "_test", block);
    } else if (info.len == 8 && memcmp(info.ptr, "lua when", 8) == 0) {
        compile_lines(g, block, line);
    } else {
        assert_false(info.len >= 3 && memcmp(info.ptr, "lua", 3) == 0); /* a word that nothing runs */
    }
}

static void read_guide(guide *g)
{
    pl_error error = {.message = ""};
    g->text = PL_BUF(1 << 20);
    assert_int_equal(pl_fs_read(GUIDE, &g->text, &error), PL_OK);
    const char *at = g->text.data, *end = at + g->text.len, *block = NULL;
    pl_str info = {NULL, 0};
    size_t first = 0;
    for (size_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        assert_non_null(stop);
        if (strncmp(at, "```", 3) == 0 && !block) {
            info = (pl_str){at + 3, (size_t)(stop - at - 3)};
            block = stop + 1;
            first = line + 1;
        } else if (strncmp(at, "```", 3) == 0) {
            take_block(g, info, (pl_str){block, (size_t)(at - block)}, first);
            block = NULL;
        }
        at = stop + 1;
    }
    assert_null(block);
}

static void remove_files(guide *g)
{
    char path[128];
    for (; g->scripts > 0; g->scripts--) {
        path_of(g, "", path);
        (void)unlink(path);
        path_of(g, "_test", path);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/lib", g->folder);
    (void)unlink(path);
    (void)rmdir(g->folder);
    pl_buf_release(&g->text);
}

static void test_guide(void **state)
{
    (void)state;
    guide g = {.folder = "/tmp/plumbline-guide-XXXXXX"};
    char library[128];
    pl_error error = {.message = ""};
    assert_non_null(mkdtemp(g.folder));
    (void)snprintf(library, sizeof library, "%s/lib", g.folder);
    assert_int_equal(symlink(PL_SOURCE_DIR "/scripts/lib", library), 0);
    read_guide(&g);
    pl_tester tester = {.out = stdout};
    assert_int_equal(pl_tester_path(&tester, g.folder, &error), PL_OK);
    assert_int_equal(tester.failed, 0);
    assert_int_equal(tester.files, g.tests);
    assert_true(g.scripts >= 10 && g.tests + 1 >= g.scripts && g.expressions >= 4);
    remove_files(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_guide)};
    return cmocka_run_group_tests_name("docs", tests, NULL, NULL);
}
