#include "tester.h"

#include "test_state.h"
#include <base/fs.h>
#include <base/mem.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SUFFIX "_test.lua"

/* ---- one file -------------------------------------------------------------------------- */

static int test_case(lua_State *L)
{
    pl_test_state *test = pl_test_of(L);
    const char *name = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!test->world.loading)
        return luaL_error(L, "test: tests don't stand inside of tests");
    if (test->case_count == PL_TEST_CASES_MAX)
        return luaL_error(L, "test: more than %d in one file", PL_TEST_CASES_MAX);
    lua_settop(L, 2);
    (void)snprintf(test->cases[test->case_count].name, PL_TEST_NAMES_MAX, "%s", name);
    test->cases[test->case_count++].ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int load_tests(lua_State *L)
{
    pl_test_state *test = pl_test_of(L);
    pl_error error = {.message = ""};
    test->world.loading = true;
    pl_open_feed(L);
    pl_open_expect(L);
    lua_pushcfunction(L, test_case);
    lua_setglobal(L, "test");
    pl_buf_clear(&test->world.text);
    pl_status status = pl_fs_read(test->path, &test->world.text, &error);
    if (status != PL_OK)
        return luaL_error(L, "%s", status == PL_END ? "there is no such file" : error.message);
    pl_world_load(L, pl_buf_str(&test->world.text), test->path, 1);
    lua_call(L, 0, 0);
    return 0;
}

static int run_case(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, pl_test_of(L)->running);
    lua_call(L, 0, 0);
    return 0;
}

static void tell(pl_test_state *test, const char *name, pl_status status)
{
    pl_tester *tester = test->tester;
    if (status == PL_OK) {
        tester->passed++;
        if (tester->verbose)
            (void)fprintf(tester->out, "ok    %s: %s\n", test->path, name);
        return;
    }
    tester->failed++;
    (void)fprintf(tester->out, "FAIL  %s: %s\n", test->path, name);
    const char *line = pl_buf_str(&test->world.message).ptr;
    while (*line) {
        size_t len = strcspn(line, "\n");
        (void)fprintf(tester->out, "      %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static bool is_wanted(const pl_test_state *test, const char *name)
{
    const char *filter = test->tester->filter;
    return !filter || strstr(name, filter) || strstr(test->path, filter);
}

static void run_cases(pl_test_state *test)
{
    pl_error error = {.struct_size = sizeof error};
    if (pl_world_call(&test->world, load_tests, &error) != PL_OK) {
        tell(test, "(loading the tests)", PL_FAILED);
        return;
    }
    for (size_t i = 0; i < test->case_count; i++) {
        if (!is_wanted(test, test->cases[i].name))
            continue;
        test->running = test->cases[i].ref;
        tell(test, test->cases[i].name, pl_world_call(&test->world, run_case, &error));
        pl_feed_free(&test->feed);
    }
}

/* lib/ beside the script; for what stands in lib/ itself, that folder. */
static char *library_of(const char *path)
{
    struct stat info;
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if ((len == 3 && strncmp(path, "lib", 3) == 0) || (len > 4 && strncmp(path + len - 4, "/lib", 4) == 0))
        return pl_strndup(path, len);
    char *library = pl_fs_beside(path, "lib");
    if (library && stat(library, &info) == 0 && S_ISDIR(info.st_mode))
        return library;
    pl_free(library);
    return NULL;
}

/* dir/x_test.lua tests dir/x.lua */
static char *script_of(const char *path)
{
    size_t stem = strlen(path) - strlen(SUFFIX);
    char *script = pl_strndup(path, strlen(path));
    if (script)
        memcpy(script + stem, ".lua", sizeof ".lua");
    return script;
}

static void free_test(pl_test_state *test)
{
    pl_feed_free(&test->feed);
    pl_diags_free(&test->diags);
    pl_world_release(&test->world);
    pl_arena_free(&test->arena);
    pl_buf_release(&test->story);
    pl_free(test->script);
    pl_free(test->library);
    pl_free(test);
}

void pl_tester_file(pl_tester *tester, const char *path)
{
    pl_test_state *test = pl_calloc(1, sizeof *test);
    pl_world_setup world = {.component = path, .time_limit_ns = PL_TEST_TIME_NS, .seed = 1};
    tester->files++;
    if (test) {
        test->tester = tester;
        test->path = path;
        test->story = PL_BUF(1 << 16);
        test->script = script_of(path);
        test->library = library_of(path);
        test->arena = pl_arena_new(1 << 12);
        world.library = test->library;
    }
    if (test && test->script && test->arena && pl_world_init(&test->world, &world)) {
        run_cases(test);
    } else {
        tester->failed++;
        (void)fprintf(tester->out, "FAIL  %s: out of memory\n", path);
    }
    if (test)
        free_test(test);
}

/* ---- folders --------------------------------------------------------------------------------- */

static bool is_test(const char *name)
{
    size_t len = strlen(name);
    return len > strlen(SUFFIX) && strcmp(name + len - strlen(SUFFIX), SUFFIX) == 0;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_folder(pl_tester *tester, const char *folder, int depth)
{
    struct dirent **entries;
    int count = depth > 8 ? 0 : scandir(folder, &entries, is_visible, alphasort);
    for (int i = 0; i < count; i++) {
        struct stat info;
        pl_buf path = PL_BUF(1 << 12);
        size_t len = strlen(folder);
        pl_buf_printf(&path, "%s%s%s", folder, folder[len - 1] == '/' ? "" : "/", entries[i]->d_name);
        if (!pl_buf_failed(&path) && lstat(path.data, &info) == 0) {
            if (S_ISDIR(info.st_mode))
                run_folder(tester, path.data, depth + 1);
            else if (S_ISREG(info.st_mode) && is_test(path.data))
                pl_tester_file(tester, path.data);
        }
        pl_buf_release(&path);
        free(entries[i]);
    }
    if (count > 0)
        free(entries);
}

pl_status pl_tester_path(pl_tester *tester, const char *path, pl_error *error)
{
    struct stat info;
    if (!*path || stat(path, &info) != 0)
        return pl_fail(error, PL_BAD_CONFIG, "there is no file or folder %s", path);
    size_t before = tester->files;
    if (S_ISDIR(info.st_mode))
        run_folder(tester, path, 0);
    else if (is_test(path))
        pl_tester_file(tester, path);
    else
        return pl_fail(error, PL_BAD_CONFIG, "%s is no test: tests are files called *%s", path, SUFFIX);
    if (tester->files == before)
        return pl_fail(error, PL_BAD_CONFIG, "there is no *%s in %s", SUFFIX, path);
    return PL_OK;
}
