/* Finding plugins, and refusing files that must not be loaded. What a wrong .so says is told in
 * tests/scenarios/plugins. */
#include <plugin/loader.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h wants these before itself. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char home[] = "/tmp/plumbline-loader-XXXXXX";
static char path[96];

static pl_error error_of(const char *dir, const char *name)
{
    pl_plugin_dirs dirs = {.paths = {dir, PL_BUILD_DIR "/plugins"}, .count = 2};
    pl_error error = {.struct_size = sizeof error};
    pl_loader *loader = pl_loader_new(&dirs);
    assert_non_null(loader);
    assert_null(pl_loader_open(loader, name, &error));
    assert_int_equal(error.error_class, PL_BAD_CONFIG);
    pl_loader_free(&loader);
    assert_null(loader);
    return error;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    (void)snprintf(path, sizeof path, "%s/%s", home, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_opens_once(void **state)
{
    (void)state;
    pl_plugin_dirs dirs = {.paths = {home, PL_BUILD_DIR "/plugins"}, .count = 2};
    pl_error error = {.struct_size = sizeof error};
    pl_loader *loader = pl_loader_new(&dirs);
    const pl_plugin *plugin = pl_loader_open(loader, "file", &error);
    assert_non_null(plugin);
    assert_ptr_equal(pl_loader_open(loader, "file", &error), plugin);
    assert_string_equal(plugin->name, "file");
    assert_string_equal(pl_loader_path(loader, plugin), PL_BUILD_DIR "/plugins/file.so");
    assert_non_null(pl_plugin_component(plugin, true)->sink);
    assert_non_null(pl_plugin_component(plugin, false)->source);
    assert_null(pl_plugin_component(pl_loader_open(loader, "generate", &error), true));
    pl_loader_free(&loader);
    pl_loader_free(&loader);
}

static void test_lists_each_name_once(void **state)
{
    (void)state;
    write_file("file.so", "x", 0644);
    write_file("zebra.so", "x", 0644);
    write_file("zebra.txt", "x", 0644);
    write_file(".so", "x", 0644);
    pl_plugin_dirs dirs = {.paths = {home, "/nowhere", PL_BUILD_DIR "/plugins"}, .count = 3};
    pl_loader *loader = pl_loader_new(&dirs);
    size_t count;
    const char *const *names = pl_loader_names(loader, &count);
    int files = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || strcmp(names[i - 1], names[i]) < 0);
        files += strcmp(names[i], "file") == 0;
    }
    assert_int_equal(files, 1);
    assert_string_equal(names[count - 1], "zebra");
    pl_loader_free(&loader);
    (void)snprintf(path, sizeof path, "%s/file.so", home);
    assert_int_equal(unlink(path), 0);
}

static void test_not_found(void **state)
{
    (void)state;
    assert_non_null(strstr(error_of(home, "fyle").message, "did you mean 'file'?"));
    assert_non_null(strstr(error_of(home, "nothing-like-it").message, "no plugin 'nothing-like-it'"));
    assert_non_null(strstr(error_of(home, "../plugins/file").message, "no plugin")); /* a name, not a path */
    assert_non_null(strstr(error_of(home, "").message, "no plugin"));
    pl_plugin_dirs none = {.count = 0};
    pl_error error = {.struct_size = sizeof error};
    pl_loader *loader = pl_loader_new(&none);
    assert_null(pl_loader_open(loader, "file", &error));
    assert_non_null(strstr(error.message, "there is no plugin directory"));
    pl_loader_free(&loader);
}

static void test_not_an_object(void **state)
{
    (void)state;
    write_file("rubbish.so", "not an ELF file\n", 0644);
    pl_error error = error_of(home, "rubbish");
    assert_non_null(strstr(error.message, "rubbish.so can't be loaded"));
    write_file("empty.so", "", 0644);
    assert_non_null(strstr(error_of(home, "empty").message, "empty.so can't be loaded"));
}

static void test_writable_by_others(void **state)
{
    (void)state;
    write_file("open.so", "x", 0646);
    assert_non_null(strstr(error_of(home, "open").message, "open.so can be written to by others"));
    write_file("open.so", "x", 0644);
    assert_int_equal(chmod(home, 0777), 0);
    assert_non_null(strstr(error_of(home, "open").message, "can be written to by others"));
    assert_int_equal(chmod(home, 0755), 0);
    assert_null(strstr(error_of(home, "open").message, "can be written to by others"));
    if (geteuid() != 0)
        return;
    (void)snprintf(path, sizeof path, "%s/open.so", home);
    assert_int_equal(chown(path, 12345, 0), 0);
    assert_non_null(strstr(error_of(home, "open").message, "belongs to user 12345"));
    assert_int_equal(chown(path, 0, 12345), 0);
    assert_int_equal(chmod(path, 0664), 0);
    assert_non_null(strstr(error_of(home, "open").message, "can be written to by others"));
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(home) && chmod(home, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const files[] = {"zebra.so", "zebra.txt", ".so", "rubbish.so", "empty.so", "open.so", ""};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", home, files[i]);
        (void)remove(path);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_once),         cmocka_unit_test(test_lists_each_name_once),
        cmocka_unit_test(test_not_found),          cmocka_unit_test(test_not_an_object),
        cmocka_unit_test(test_writable_by_others),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
