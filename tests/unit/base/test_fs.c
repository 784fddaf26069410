/* Files of the data_dir, and log lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <base/fs.h>
#include <base/log.h>
#include <base/mem.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

static int enter_folder(void **unused)
{
    (void)unused;
    (void)snprintf(folder, sizeof folder, "%s/unit-fs-XXXXXX", P_tmpdir);
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **unused)
{
    (void)unused;
    static const char *const made[] = {"a/b/c", "a/b", "a", "file", "file.new", "lock", NULL};
    for (const char *const *path = made; *path; path++)
        if (unlink(*path) != 0)
            (void)rmdir(*path);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static void folders_are_made_private(void **unused)
{
    (void)unused;
    pl_error error = {0};
    struct stat found;
    assert_int_equal(pl_fs_mkdirs("a/b/c/", &error), PL_OK);
    assert_int_equal(pl_fs_mkdirs("a/b/c", &error), PL_OK);
    assert_int_equal(stat("a/b/c", &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
    pl_buf content = PL_BUF(10);
    assert_int_equal(pl_fs_replace("file", PL_S("x"), &error), PL_OK);
    assert_int_equal(pl_fs_mkdirs("file/below", &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_HALT);
    assert_non_null(strstr(error.message, "file"));
    assert_int_equal(pl_fs_mkdirs("", &error), PL_FAILED);
    assert_int_equal(pl_fs_read("a", &content, &error), PL_FAILED); /* a folder */
    pl_buf_release(&content);
}

static void files_are_replaced_whole_and_read_back(void **unused)
{
    (void)unused;
    pl_error error = {0};
    struct stat found;
    pl_buf content = PL_BUF(5);
    assert_int_equal(pl_fs_read("none", &content, &error), PL_END);
    assert_int_equal(pl_fs_replace("file", PL_S("first and long"), &error), PL_OK);
    assert_int_equal(pl_fs_replace("file", PL_S("12345"), &error), PL_OK);
    assert_int_equal(stat("file", &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_int_equal(access("file.new", F_OK), -1);
    assert_int_equal(pl_fs_read("file", &content, &error), PL_OK);
    assert_string_equal(content.data, "12345");
    pl_buf_release(&content);
    content.max = 4;
    assert_int_equal(pl_fs_read("file", &content, &error), PL_FAILED);
    assert_non_null(strstr(error.message, "larger than 4 bytes"));
    pl_buf_release(&content);
    assert_int_equal(pl_fs_replace("none/file", PL_S("x"), &error), PL_FAILED);
    assert_non_null(strstr(error.message, "none/file"));
}

static void a_lock_is_held_once_and_names_its_holder(void **unused)
{
    (void)unused;
    pl_error error = {0};
    int first = -1, second = -1;
    char holder[32];
    assert_int_equal(pl_fs_lock("lock", &first, &error), PL_OK);
    assert_int_equal(pl_fs_lock("lock", &second, &error), PL_FAILED);
    assert_int_equal(second, -1);
    (void)snprintf(holder, sizeof holder, "process %ld", (long)getpid());
    assert_non_null(strstr(error.message, holder));
    pl_fs_unlock(&first);
    assert_int_equal(first, -1);
    assert_int_equal(pl_fs_lock("lock", &second, &error), PL_OK);
    pl_fs_unlock(&second);
    pl_fs_unlock(&second);
}

static void a_lock_dies_with_its_process(void **unused)
{
    (void)unused;
    pl_error error = {0};
    int fd = -1, status = 0;
    pid_t child = fork();
    if (child == 0) {
        int own = -1;
        _exit(pl_fs_lock("lock", &own, &error) == PL_OK ? 7 : 8);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(pl_fs_lock("lock", &fd, &error), PL_OK);
    pl_fs_unlock(&fd);
}

static void a_path_beside_another(void **unused)
{
    (void)unused;
    const char *cases[][3] = {{"x.yaml", "../s.lua", "../s.lua"},
                              {"p/x.yaml", "../s.lua", "p/../s.lua"},
                              {"/p/x.yaml", "s.lua", "/p/s.lua"},
                              {"p/x.yaml", "/s.lua", "/s.lua"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *joined = pl_fs_beside(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        pl_free(joined);
    }
}

static struct {
    char last[5000];
    int count;
} seen;

static void see(void *self, const char *line, size_t len)
{
    assert_ptr_equal(self, &seen);
    assert_true(len < sizeof seen.last);
    memcpy(seen.last, line, len);
    seen.last[len] = '\0';
    seen.count++;
}

static pl_virtual_clock start_log(void)
{
    pl_virtual_clock clock;
    pl_virtual_clock_init(&clock, 1651399200123456789);
    seen.count = 0;
    pl_log_capture(see, &seen);
    return clock;
}

static void log_lines_read_well(void **unused)
{
    (void)unused;
    pl_virtual_clock clock = start_log();
    pl_log_setup(PL_LOG_TEXT, PL_INFO, &clock.clock);
    pl_log(PL_DEBUG, "topic", "hidden");
    assert_int_equal(seen.count, 0);
    pl_log(PL_WARN, "topic", "broker %s down\n", "127.0.0.1:9092");
    assert_string_equal(seen.last, "2022-05-01T10:00:00.123Z warn topic: broker 127.0.0.1:9092 down");
    clock.now += 876543211;
    pl_log(PL_ERROR, NULL, "a\nb\x1b[31m\xff \xc3\xa4");
    assert_string_equal(seen.last, "2022-05-01T10:00:01.000Z error a\\nb\\x1b[31m\\xff \xc3\xa4");
    pl_log_setup(PL_LOG_JSON, PL_INFO, &clock.clock);
    pl_log(PL_INFO, "x", "say \"hi\"\x01\\");
    assert_string_equal(seen.last, "{\"time\":\"2022-05-01T10:00:01.000Z\",\"level\":\"info\",\"component\":\"x\","
                                   "\"message\":\"say \\\"hi\\\"\\u0001\\\\\"}");
    char endless[4000];
    memset(endless, '\x02', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    pl_log(PL_INFO, "x", "%s", endless);
    assert_in_range(strlen(seen.last), 4000, 4096);
    assert_string_equal(seen.last + strlen(seen.last) - 2, "\"}");
    pl_log_capture(NULL, NULL);
}

static void log_holds_back_repetition_and_says_so(void **unused)
{
    (void)unused;
    pl_virtual_clock clock = start_log();
    pl_log_setup(PL_LOG_TEXT, PL_INFO, &clock.clock);
    for (int i = 0; i < 25; i++)
        pl_log(PL_WARN, "api", "status %d", 500 + i);
    assert_int_equal(seen.count, 10);
    pl_log(PL_WARN, "other", "status 1");
    pl_log(PL_ERROR, "api", "status 1");
    assert_int_equal(seen.count, 12);
    clock.now += 60000000000;
    pl_log(PL_INFO, NULL, "tick");
    assert_int_equal(seen.count, 14);
    assert_string_equal(seen.last, "2022-05-01T10:01:00.123Z info tick");
    pl_log(PL_WARN, "api", "status 1");
    assert_int_equal(seen.count, 15);
    for (int i = 0; i < 2000; i++) /* more kinds than are remembered */
        pl_log(PL_INFO, "api", "%c%c%c", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676);
    assert_true(seen.count >= 2015);
    pl_log_capture(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folders_are_made_private, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(files_are_replaced_whole_and_read_back, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_lock_is_held_once_and_names_its_holder, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_lock_dies_with_its_process, enter_folder, leave_folder),
        cmocka_unit_test(a_path_beside_another),
        cmocka_unit_test(log_lines_read_well),
        cmocka_unit_test(log_holds_back_repetition_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
