/* plumbline test: what it finds, what it says, what it counts. */
#include "support.h"

#include <base/buf.h>
#include <script/tester.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct folder {
    char path[64];
    char files[16][96];
    size_t count;
    char output[16384];
    pl_tester tester;
} folder;

static void make(folder *f)
{
    memset(f, 0, sizeof *f);
    (void)snprintf(f->path, sizeof f->path, "/tmp/plumbline-tester-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static void add(folder *f, const char *name, const char *text)
{
    char *path = f->files[f->count++], home[sizeof f->path]; /* a copy: gcc can't see that the two do not overlap */
    memcpy(home, f->path, sizeof home);
    (void)snprintf(path, 96, "%s/%s", home, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static pl_status run(folder *f, const char *path, const char *filter, pl_error *error)
{
    FILE *out = fmemopen(f->output, sizeof f->output, "w");
    f->tester = (pl_tester){.out = out, .filter = filter, .verbose = true};
    pl_status status = pl_tester_path(&f->tester, path, error);
    assert_int_equal(fclose(out), 0);
    return status;
}

static void drop(folder *f)
{
    for (size_t i = 0; i < f->count; i++)
        (void)unlink(f->files[i]);
    assert_int_equal(rmdir(f->path), 0);
}

/* One script and one failing test each: what is printed must contain the text. */
static void fails_with(const char *script, const char *body, const char *part)
{
    folder f;
    pl_error error = {.message = ""};
    char test[2048];
    (void)snprintf(test, sizeof test, "test('t', function()\n%s\nend)\n", body);
    make(&f);
    add(&f, "x.lua", script);
    add(&f, "x_test.lua", test);
    assert_int_equal(run(&f, f.path, NULL, &error), PL_OK);
    if (f.tester.failed != 1 || !strstr(f.output, part))
        fail_msg("expected '%s', got: %s", part, f.output);
    assert_non_null(strstr(f.output, "FAIL  /tmp/plumbline-tester-"));
    drop(&f);
}

static const char pass[] = "function on_record(r) return r end";

static void test_failures(void **state)
{
    (void)state;
    fails_with(pass, "expect(feed { { a = 1, b = 'x' } }):has { a = 2, b = 'x', c = true }",
               "x_test.lua:2: no record is like that; the nearest of 1 differs (expected => got):\n          a: 2 => "
               "1\n          c: true => absent\n");
    fails_with(pass, "expect(feed { { a = 1 } }):has { a = absent }", "a: absent => 1");
    fails_with(pass, "expect(feed { { a = '2' } }):has { a = 2 }", "a: 2 => \"2\"");
    fails_with(pass, "expect(feed { { a = 1 } }):lacks { a = 1 }", "a record like that was given out: { a = 1 }");
    fails_with(pass, "expect(feed { { a = 1 } }):count(2)", "records given out: 2 => 1");
    fails_with(pass, "expect(feed { { a = 1 } }):is_empty()", "records given out: 0 => 1");
    fails_with(pass, "expect(feed { { a = 1 } }):equals { { a = 1 }, { a = 2 } }", "[2]: { a = 2 } => absent");
    fails_with(pass, "expect(feed {}):has { a = 1 }", "no record was given out");
    fails_with(pass, "expect(feed { { a = 1 } }):rejects()", "rejects: some => 0");
    fails_with(pass, "expect(feed { { a = 1 } }, { where = { a = 2 } }):has { a = 2 }",
               "no record was given out (that `where` and");
    fails_with("function on_record(r) reject 'bad thing' end", "expect(feed { {} }):count(1)",
               "(1 record was rejected: bad thing)");
    fails_with("function on_record(r) reject 'bad thing' end", "expect(feed { {} }):rejects('other')",
               "rejects: other => 1\n          bad thing");
    fails_with(pass, "expect(1 + 1):equals(3)", "not equal (expected => got):\n          3 => 2");
    fails_with(pass, "expect({ a = { 1 } }):equals { a = { 2 } }", "a: { 2 } => { 1 }");
    fails_with(pass, "expect(function() end):raises('x')", "an error was expected: x; there was none");
    fails_with(pass, "expect(function() error 'y' end):raises('zzz')", "the error differs");
    fails_with(pass, "error 'boom'", "x_test.lua:2: boom");
    fails_with(pass, "local x = undefined_thing", "unknown name 'undefined_thing'");
    fails_with(pass, "feed { 5 }", "feed: record 1 is a number; a table was expected");
    fails_with(pass, "feed { {}, with = { nothing = 1 } }", "unknown key 'nothing'");
    fails_with("function on_record(r", "feed { {} }", "x.lua:1:");
    fails_with(pass, "pcall(function() expect(1):equals(2) end)", "2 => 1") /* nothing swallows a failed expectation */;
}

static void passes(const char *script, const char *body)
{
    folder f;
    pl_error error = {.message = ""};
    char test[2048];
    (void)snprintf(test, sizeof test, "test('t', function()\n%s\nend)\n", body);
    make(&f);
    add(&f, "x.lua", script);
    add(&f, "x_test.lua", test);
    assert_int_equal(run(&f, f.path, NULL, &error), PL_OK);
    if (f.tester.failed || f.tester.passed != 1)
        fail_msg("%s", f.output);
    drop(&f);
}

static void test_matching(void **state)
{
    (void)state;
    passes(pass, "local out = feed { { a = '2.00', n = null, t = { 1, { x = 'y' } }, d = decimal '1.5', i = 3 } }\n"
                 "expect(out):has { a = decimal '2', n = null, t = { 1, { x = 'y' } }, d = decimal '1.50', i = 3, gone "
                 "= absent }\n"
                 "expect(out):lacks { a = decimal '3' }  expect(out):equals { { a = '2.00', n = null, t = { 1, { x = "
                 "'y' } }, d = '1.5', i = 3 } }");
    passes(pass,
           "expect(feed { decimal and '{\"a\":2.0}' }):has { a = 2 } expect(feed { '{\"a\":2.5}' }):has { a = 2.5 }");
    passes("function on_record(r) emit('late', r) end",
           "local out = feed { { a = 1 } } expect(out):is_empty() expect(out, { output = 'late' }):count(1)");
    passes(pass, "expect(nil):equals(nil) expect('x'):equals('x') expect(function() error 'xyz' end):raises('y')");
}

/* Event time orders records; deferred functions run when it has passed them, timers by it, and all at the end. */
static void test_time(void **state)
{
    (void)state;
    passes("state.n = 0\nevery('10s', function(m) return { tick = time.format(m.time), n = state.n } end)\n"
           "function on_record(r) state.n = state.n + 1 local id = r.id if r.bad then defer(1, 'never', function() "
           "return { never = true } end) error 'bad' end\n"
           "  defer(time(r.at) + 5 * time.second, 'b' .. id, function() return { after = id, n = state.n } end)\n"
           "  defer(time(r.at) + 5 * time.second, 'a' .. id, function() return { first = id } end) end",
           "local function at(id, s) return { id = id, at = '2022-05-01T10:00:' .. s .. 'Z' } end\n"
           "local bad = at(9, '20') bad.bad = true\n"
           "local out = feed { at(2, '12'), at(1, '00'), bad }\n"
           "expect(out):equals { { first = 1 }, { after = 1, n = 1 }, { tick = '2022-05-01T10:00:10Z', n = 1 }, { "
           "first = 2 }, { after = 2, n = 2 },\n"
           "  { tick = '2022-05-01T10:00:20Z', n = 2 } }\n"
           "expect(out):rejects(1)");
    passes("function on_record(r) metric('seen') metric('sum', r.n) end",
           "local out = feed { { n = 2 }, { n = 3 } } expect(out.metrics):equals { seen = 2, sum = 5 }");
    passes("function on_record(r, m) return { now = time.format(time.now()), t = m.time, k = m.key, s = m.stream } end",
           "expect(feed { { x = '2022-05-01T10:00:00Z' }, time = 'x', key = 'k', stream = 's' }):has { now = "
           "'2022-05-01T10:00:00Z', t = time '2022-05-01T10:00:00Z', k = 'k', s = 's' }\n"
           "expect(feed({ { a = 5, b = 7 } }, { time = { 'c', 'b' }, now = '2022-05-01T11:00:00Z' })):has { t = 7, now "
           "= '2022-05-01T11:00:00Z' }");
}

static void test_finding(void **state)
{
    (void)state;
    folder f;
    pl_error error = {.message = ""};
    make(&f);
    add(&f, "a.lua", pass);
    add(&f, "a_test.lua", "test('one', function() end) test('two', function() end)");
    add(&f, "b_test.lua", "test('three', function() expect(1):equals(1) end)");
    add(&f, ".hidden_test.lua", "error 'not run'");
    add(&f, "c_test.txt", "error 'not run'");
    assert_int_equal(run(&f, f.path, NULL, &error), PL_OK);
    assert_int_equal(f.tester.passed, 3);
    assert_int_equal(f.tester.files, 2);
    assert_true(strstr(f.output, "a_test.lua: two") < strstr(f.output, "b_test.lua: three"));
    assert_int_equal(run(&f, f.path, "two", &error), PL_OK);
    assert_int_equal(f.tester.passed, 1);
    assert_int_equal(run(&f, f.files[2], NULL, &error), PL_OK);
    assert_int_equal(f.tester.passed, 1);
    assert_int_equal(run(&f, f.files[0], NULL, &error), PL_FAILED);
    assert_non_null(strstr(error.message, "is no test"));
    assert_int_equal(run(&f, "/tmp/plumbline-no-such-folder", NULL, &error), PL_FAILED);
    assert_int_equal(error.error_class, PL_BAD_CONFIG);
    add(&f, "d_test.lua", "test('x', 5)");
    assert_int_equal(run(&f, f.path, NULL, &error), PL_OK);
    assert_int_equal(f.tester.failed, 1);
    assert_non_null(strstr(f.output, "(loading the tests)"));
    drop(&f);
    make(&f);
    assert_int_equal(run(&f, f.path, NULL, &error), PL_FAILED);
    assert_non_null(strstr(error.message, "there is no *_test.lua in"));
    drop(&f);
}

/* The scripts of the tree pass their own tests. */
static void test_scripts(void **state)
{
    (void)state;
    pl_error error = {.message = ""};
    pl_tester tester = {.out = stdout};
    assert_int_equal(pl_tester_path(&tester, PL_SOURCE_DIR "/scripts", &error), PL_OK);
    assert_int_equal(tester.failed, 0);
    assert_true(tester.passed >= 33 && tester.files >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_failures), cmocka_unit_test(test_matching),
                                       cmocka_unit_test(test_time), cmocka_unit_test(test_finding),
                                       cmocka_unit_test(test_scripts)};
    return cmocka_run_group_tests_name("tester", tests, NULL, NULL);
}
