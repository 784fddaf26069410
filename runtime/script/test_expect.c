/* expect(value):has { ... }, :lacks, :equals, :is_empty, :count, :rejects, :raises. A failed expectation ends its test
 * with the test's file and line and what differs. */
#include "test_state.h"

uint32_t pl_absent_marker = 0x4E534241u;

enum { VALUE = 1, FIRST_ARGUMENT }; /* stack of a method: the expectation, then what it was given */

/* ---- failing ------------------------------------------------------------------------ */

static void add_rejects(lua_State *L, pl_buf *story)
{
    lua_getfield(L, VALUE, "value");
    if (lua_istable(L, -1) && lua_getfield(L, -1, "rejects") == LUA_TTABLE) {
        size_t count = lua_rawlen(L, -1);
        if (count > 0 && lua_rawgeti(L, -1, 1) == LUA_TSTRING) {
            const char *reason = lua_tostring(L, -1);
            pl_buf_printf(story, "\n    (%zu record%s rejected: %.*s)", count, count > 1 ? "s were" : " was",
                          (int)strcspn(reason, "\n"), reason);
        }
    }
}

/* Ends the test with what test->story says, at the line of the test that called the method. */
static int fail(lua_State *L)
{
    pl_test_state *test = pl_test_of(L);
    luaL_where(L, 1);
    pl_buf_clear(&test->world.message);
    pl_buf_adds(&test->world.message, lua_tostring(L, -1));
    add_rejects(L, &test->story);
    pl_buf_add(&test->world.message, test->story.data, test->story.len);
    lua_pushlightuserdata(L, &pl_reject_marker);
    return lua_error(L);
}

static pl_buf *story(lua_State *L)
{
    pl_buf *buf = &pl_test_of(L)->story;
    pl_buf_clear(buf);
    return buf;
}

/* ---- records of a result that the expectation is about ---------------------------------- */

static bool is_result(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, pl_test_of(L)->ref_result);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* How many keys of `expected` differ in `record`. */
static size_t differences(lua_State *L, int expected, int record)
{
    size_t count = 0;
    if (!lua_istable(L, record))
        return SIZE_MAX;
    for (lua_pushnil(L); lua_next(L, expected);) {
        lua_pushvalue(L, -2);
        lua_rawget(L, record);
        count += !pl_test_equal(L, lua_gettop(L) - 1, lua_gettop(L));
        lua_pop(L, 2);
    }
    return count;
}

static bool is_meant(lua_State *L, int output, int expectation)
{
    bool meant = true;
    lua_getfield(L, expectation, "output");
    lua_getfield(L, output, "output");
    meant = lua_rawequal(L, -1, -2);
    lua_getfield(L, expectation, "where");
    if (meant && lua_istable(L, -1)) {
        lua_getfield(L, output, "record");
        meant = differences(L, lua_gettop(L) - 1, lua_gettop(L)) == 0;
        lua_pop(L, 1);
    }
    lua_pop(L, 3);
    return meant;
}

/* Leaves the list of the records that `where` and `output` choose. */
static int push_meant(lua_State *L)
{
    lua_getfield(L, VALUE, "value");
    if (!is_result(L, -1))
        luaL_error(L, "this expectation is about what feed { ... } gave; for other values there are equals and raises");
    lua_getfield(L, -1, "outputs");
    lua_newtable(L);
    int list = lua_gettop(L), outputs = list - 1;
    lua_Integer count = 0, all = (lua_Integer)lua_rawlen(L, outputs);
    for (lua_Integer i = 1; i <= all; i++) {
        lua_rawgeti(L, outputs, i);
        if (is_meant(L, lua_gettop(L), VALUE)) {
            lua_getfield(L, -1, "record");
            lua_rawseti(L, list, ++count);
        }
        lua_pop(L, 1);
    }
    return list;
}

/* ---- has, lacks ---------------------------------------------------------------------------- */

static void tell_differences(lua_State *L, int expected, int record, pl_buf *out)
{
    pl_world *world = pl_world_of(L);
    size_t from = pl_sorted_keys(L, expected, "has");
    for (size_t i = from; i < world->key_count; i++) {
        pl_sort_key key = world->keys[i];
        pl_push_key(L, &key);
        lua_rawget(L, expected);
        pl_push_key(L, &key);
        lua_rawget(L, record);
        int top = lua_gettop(L);
        if (!pl_test_equal(L, top - 1, top)) {
            pl_buf_adds(out, "\n    ");
            key.text.ptr ? pl_buf_add(out, key.text.ptr, key.text.len)
                         : pl_buf_printf(out, "[%lld]", (long long)key.integer);
            pl_buf_adds(out, ": ");
            pl_test_show(L, top - 1, out);
            pl_buf_adds(out, " => ");
            lua_isnil(L, top) ? pl_buf_adds(out, "absent") : pl_test_show(L, top, out);
        }
        lua_pop(L, 2);
    }
    world->key_count = from;
}

/* The record of the list with the fewest differences, 0: the list is empty. */
static lua_Integer nearest(lua_State *L, int list, int expected, size_t *least)
{
    lua_Integer best = 0, count = (lua_Integer)lua_rawlen(L, list);
    *least = SIZE_MAX;
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        size_t found = differences(L, expected, lua_gettop(L));
        lua_pop(L, 1);
        if (best == 0 || found < *least) {
            best = i;
            *least = found;
        }
    }
    return best;
}

static int expect_has(lua_State *L)
{
    size_t least;
    luaL_checktype(L, FIRST_ARGUMENT, LUA_TTABLE);
    int list = push_meant(L);
    lua_Integer best = nearest(L, list, FIRST_ARGUMENT, &least);
    if (best && least == 0)
        return 0;
    pl_buf *out = story(L);
    if (!best) {
        pl_buf_adds(out, "no record was given out (that `where` and `output` allow)");
        return fail(L);
    }
    pl_buf_printf(out, "no record is like that; the nearest of %llu differs (expected => got):", lua_rawlen(L, list));
    lua_rawgeti(L, list, best);
    if (lua_istable(L, -1))
        tell_differences(L, FIRST_ARGUMENT, lua_gettop(L), out);
    else
        pl_test_show(L, -1, out);
    return fail(L);
}

static int expect_lacks(lua_State *L)
{
    size_t least;
    luaL_checktype(L, FIRST_ARGUMENT, LUA_TTABLE);
    int list = push_meant(L);
    lua_Integer best = nearest(L, list, FIRST_ARGUMENT, &least);
    if (!best || least > 0)
        return 0;
    pl_buf *out = story(L);
    pl_buf_adds(out, "a record like that was given out: ");
    lua_rawgeti(L, list, best);
    pl_test_show(L, -1, out);
    return fail(L);
}

/* ---- equals, count, is_empty ------------------------------------------------------------------ */

static int tell_unequal(lua_State *L, int expected, int actual)
{
    pl_buf *out = story(L);
    pl_buf_adds(out, "not equal (expected => got):");
    if (lua_istable(L, expected) && lua_istable(L, actual)) {
        tell_differences(L, expected, actual, out);
        pl_buf_adds(out, "\n    all of what was got: ");
    } else {
        pl_buf_adds(out, "\n    ");
        pl_test_show(L, expected, out);
        pl_buf_adds(out, " => ");
    }
    lua_isnil(L, actual) ? pl_buf_adds(out, "nil") : pl_test_show(L, actual, out);
    return fail(L);
}

static int expect_equals(lua_State *L)
{
    luaL_checkany(L, FIRST_ARGUMENT);
    lua_settop(L, FIRST_ARGUMENT);
    lua_getfield(L, VALUE, "value");
    int actual = is_result(L, -1) ? push_meant(L) : lua_gettop(L);
    return pl_test_equal(L, FIRST_ARGUMENT, actual) ? 0 : tell_unequal(L, FIRST_ARGUMENT, actual);
}

static int check_count(lua_State *L, lua_Integer expected)
{
    int list = push_meant(L);
    if ((lua_Integer)lua_rawlen(L, list) == expected)
        return 0;
    pl_buf *out = story(L);
    pl_buf_printf(out, "records given out: %lld => %llu", (long long)expected, lua_rawlen(L, list));
    for (lua_Integer i = 1; i <= 3 && lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
        pl_buf_adds(out, "\n    ");
        pl_test_show(L, -1, out);
    }
    return fail(L);
}

static int expect_count(lua_State *L)
{
    return check_count(L, luaL_checkinteger(L, FIRST_ARGUMENT));
}

static int expect_is_empty(lua_State *L)
{
    return check_count(L, 0);
}

/* ---- rejects, raises ------------------------------------------------------------------------------ */

/* True when some reason of the list at `rejects` contains the text. */
static bool is_rejected(lua_State *L, int rejects, const char *text)
{
    bool found = false;
    for (lua_Integer i = 1; !found && lua_rawgeti(L, rejects, i) == LUA_TSTRING; i++) {
        found = strstr(lua_tostring(L, -1), text) != NULL;
        lua_pop(L, 1);
    }
    return found;
}

static int tell_rejects(lua_State *L, int rejects, const char *expected)
{
    pl_buf *out = story(L);
    pl_buf_printf(out, "rejects: %s => %llu", expected, lua_rawlen(L, rejects));
    for (lua_Integer i = 1; i <= 5 && lua_rawgeti(L, rejects, i) == LUA_TSTRING; i++)
        pl_buf_printf(out, "\n    %s", lua_tostring(L, -1));
    lua_pushnil(L);
    lua_setfield(L, VALUE, "value"); /* they have been told */
    return fail(L);
}

/* rejects(n), rejects("part of a reason"), rejects { "one", "another" }, rejects() for any. */
static int expect_rejects(lua_State *L)
{
    lua_settop(L, FIRST_ARGUMENT);
    (void)push_meant(L);
    lua_getfield(L, VALUE, "value");
    lua_getfield(L, -1, "rejects");
    int rejects = lua_gettop(L);
    size_t count = lua_rawlen(L, rejects);
    if (lua_isinteger(L, FIRST_ARGUMENT)) {
        if ((lua_Integer)count != lua_tointeger(L, FIRST_ARGUMENT))
            return tell_rejects(L, rejects, lua_tostring(L, FIRST_ARGUMENT));
    } else if (lua_type(L, FIRST_ARGUMENT) == LUA_TSTRING) {
        if (!is_rejected(L, rejects, lua_tostring(L, FIRST_ARGUMENT)))
            return tell_rejects(L, rejects, lua_tostring(L, FIRST_ARGUMENT));
    } else if (lua_istable(L, FIRST_ARGUMENT)) {
        for (lua_Integer i = 1; lua_rawgeti(L, FIRST_ARGUMENT, i) == LUA_TSTRING; i++)
            if (!is_rejected(L, rejects, lua_tostring(L, -1)))
                return tell_rejects(L, rejects, lua_tostring(L, -1));
    } else if (count == 0) {
        return tell_rejects(L, rejects, "some");
    }
    return 0;
}

static int expect_raises(lua_State *L)
{
    const char *text = luaL_optstring(L, FIRST_ARGUMENT, "");
    lua_getfield(L, VALUE, "value");
    luaL_argexpected(L, lua_isfunction(L, -1), 1, "function");
    if (lua_pcall(L, 0, 0, 0) == LUA_OK) {
        pl_buf_printf(story(L), "an error was expected%s%s; there was none", *text ? ": " : "", text);
        return fail(L);
    }
    if (pl_magic_at(L, -1) == PL_MAGIC_REJECT || pl_world_of(L)->out_of_time)
        return lua_error(L);
    const char *message = luaL_tolstring(L, -1, NULL);
    if (strstr(message, text))
        return 0;
    pl_buf_printf(story(L), "the error differs (expected => got):\n    %s => %s", text, message);
    return fail(L);
}

/* ---- expect ------------------------------------------------------------------------------------------ */

static int expect(lua_State *L)
{
    lua_settop(L, 2);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, 1);
    lua_setfield(L, 3, "value");
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "where");
        lua_setfield(L, 3, "where");
        lua_getfield(L, 2, "output");
        lua_setfield(L, 3, "output");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, pl_test_of(L)->ref_expectation);
    lua_setmetatable(L, 3);
    return 1;
}

void pl_open_expect(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"has", expect_has},           {"lacks", expect_lacks},     {"equals", expect_equals}, {"count", expect_count},
        {"is_empty", expect_is_empty}, {"rejects", expect_rejects}, {"raises", expect_raises}, {NULL, NULL},
    };
    lua_createtable(L, 0, 1);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    pl_test_of(L)->ref_expectation = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, expect);
    lua_setglobal(L, "expect");
    lua_pushlightuserdata(L, &pl_absent_marker);
    lua_setglobal(L, "absent");
}
