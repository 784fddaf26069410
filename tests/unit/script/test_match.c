/* Our matcher against the library's, over many patterns and subjects; and its bound. */
#include "support.h"

#include <lauxlib.h>
#include <lualib.h>
#include <script/match.h>

/* Every pattern over every subject through find, match, gmatch and gsub: one line of text each. */
static const char program[] =
    "local patterns = { '', 'a', 'b+', 'a*', 'a-', 'a-b', '^a', 'a$', '^a*$', '.', '.-', '(a)(b)', '(a*)(b*)', '()', "
    "'()a()',\n"
    "  '(a(b))', '%a+', '%d', '%s*', '%w-%s', '[abc]', '[^abc]', '[a-c]+', '[%a_]*', '[]]', '[^]]', '[a-]', '[%-a]', "
    "'%f[%w]%w+',\n"
    "  '%f[%W]', '%b()', '%bxy', '(%w)%1', '(.)(.)%2%1', 'x?y?', 'a?', '(a?)', '%.', '%%', '$', '^', 'a^', 'a$b', "
    "'[%s%p]+', '%u%l*',\n"
    "  '(%w+)=(%w+)', '^%s*(.-)%s*$', '%x%x', '[+-]?%d+', '%g', '%c', '%P', '%S+', '[[]', '[a%]]', '\\0', '[\\0]', "
    "'[%z]?',\n"
    "  }\n"
    "local subjects = { '', 'a', 'b', 'ab', 'aab', 'abab', 'aaa', 'abc def', ' x  y ', '(a(b)c)', 'xxyy', 'hello "
    "world', 'abba', 'k=v, x=1',\n"
    "  'THE (quick) fox', '12 +34 -5', 'a.b%c', ']a]', 'a-b', 'a$b^c', 'ab\\0cd', '\\xff\\xfe', '[x]', 'aXbYc' }\n"
    "local out = {}\n"
    "local function add(...) local t = table.pack(...) for i = 1, t.n do t[i] = tostring(t[i]) end out[#out + 1] = "
    "table.concat(t, '|') end\n"
    "for _, p in ipairs(patterns) do for _, s in ipairs(subjects) do\n"
    "  local ok = pcall(string.find, s, p)\n"
    "  if ok then\n"
    "    add(string.find(s, p)) add(string.match(s, p)) add(string.find(s, p, 2)) add(string.match(s, p, -2))\n"
    "    add(string.find(s, p, 1, true)) add(string.gsub(s, p, '<%0>')) add(string.gsub(s, p, '<%1>', 2))\n"
    "    add(string.gsub(s, p, { a = 'A', b = false })) add(string.gsub(s, p, function(x) return x == 'a' and 'Z' "
    "end))\n"
    "    local n = 0 for a, b in string.gmatch(s, p) do add(a, b) n = n + 1 if n > 50 then break end end\n"
    "  end\n"
    "end end\n"
    "return table.concat(out, '\\n')\n";

/* What the program gives in plain Lua, with errors for malformed patterns left out on both sides. */
static void test_same_as_lua(void **state)
{
    (void)state;
    kit k;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_dostring(L, program) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    size_t size;
    const char *expected = lua_tolstring(L, -1, &size);
    char *text = test_malloc(sizeof program + 100);
    (void)snprintf(text, sizeof program + 100, "local function f()\n%s\nend\nfunction on_record() return f() end",
                   program);
    kit_open(&k, text);
    assert_int_equal(kit_record(&k, "{}"), PL_OK);
    pl_str got = k.outputs[0].record.payload;
    assert_true(size > 10000);
    for (size_t i = 0, line = 1; i < size || i < got.len; i++) {
        if (i >= size || i >= got.len || expected[i] != got.ptr[i])
            fail_msg("line %zu differs near: %.40s", line, expected + (i > 20 ? i - 20 : 0));
        line += expected[i] == '\n';
    }
    test_free(text);
    kit_close(&k);
    lua_close(L);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {"(",   ")",  "%",  "[",  "[a", "%b",   "%bx", "%f",
                                      "%fa", "%1", "(a", "a)", "[%", "(%1)", "%0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pl_pattern pattern;
        assert_non_null(pl_pattern_compile(&pattern, PL_S(bad[i]), true));
    }
    lua_fails("return ('abc'):find('[a')", "malformed pattern (missing ']'): '[a'");
    lua_fails("return ('abc'):gsub('b', '%9')", "invalid capture index %9");
    lua_fails("return ('abc'):gsub('b', '%x')", "invalid use of '%' in the replacement");
    char longer[PL_PATTERN_ITEMS + 40];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    pl_pattern pattern;
    assert_non_null(pl_pattern_compile(&pattern, PL_S(longer), true));
    lua_passes("assert(('a'):rep(400):find(('a'):rep(300), 1, true) == 1)");
}

/* A subject and a pattern that keep the library's matcher busy for half a minute. */
static void test_bound(void **state)
{
    (void)state;
    char subject[301];
    memset(subject, 'a', 300);
    subject[300] = '\0';
    pl_pattern pattern;
    pl_matcher matcher = {.tick = NULL};
    assert_null(pl_pattern_compile(&pattern, PL_S(".-.-.-.-.-b"), true));
    pl_matcher_init(&matcher, &pattern, PL_S(subject));
    assert_null(pl_match_at(&matcher, subject));
    assert_true(matcher.exhausted);
    body_fails("return ('a'):rep(300):find('.-.-.-.-.-b')", "{}",
               "pattern too costly: gave up after 10 million steps over 300 bytes");
    body_fails("return ('a'):rep(300):gsub('.-.-.-.-.-b', '')", "{}", "pattern too costly");
    body_fails("for x in ('a'):rep(300):gmatch('.*.*.*.*.*b') do end", "{}", "pattern too costly");
    body_fails("local s = ('a'):rep(30000) while true do pcall(string.find, s, '.-.-.-.-b') end", "{}",
               "took longer than 1s");
    body_gives("return { n = select(2, ('a b '):rep(20000):gsub('%s+', '')) }", "{}", "{\"n\":40000}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_lua), cmocka_unit_test(test_malformed),
                                       cmocka_unit_test(test_bound)};
    return cmocka_run_group_tests_name("match", tests, NULL, NULL);
}
