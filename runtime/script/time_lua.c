/* time, sorted, null. */
#include "world.h"

#include <base/timestamp.h>

uint32_t pl_null_marker = PL_MAGIC_NULL;

/* ---- time ------------------------------------------------------------------------- */

static int time_call(lua_State *L)
{
    int64_t ns;
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "time: text like 2022-05-01T10:00:00Z was expected, got %s", pl_type_name(L, 2));
    pl_str text;
    text.ptr = lua_tolstring(L, 2, &text.len);
    if (!pl_time_parse(text, &ns))
        return luaL_error(L, "time: \"%s\" is not a time: 2022-05-01T10:00:00Z was expected (RFC 3339)", text.ptr);
    lua_pushinteger(L, ns);
    return 1;
}

static int time_parse(lua_State *L)
{
    int64_t ns;
    pl_str text = {NULL, 0};
    if (lua_type(L, 1) == LUA_TSTRING)
        text.ptr = lua_tolstring(L, 1, &text.len);
    if (text.ptr && pl_time_parse(text, &ns))
        lua_pushinteger(L, ns);
    else
        lua_pushnil(L);
    return 1;
}

static int time_format(lua_State *L)
{
    char text[PL_TIMESTAMP_MAX];
    lua_pushlstring(L, text, pl_time_format(luaL_checkinteger(L, 1), text));
    return 1;
}

static int time_now(lua_State *L)
{
    const pl_clock *clock = pl_world_of(L)->clock;
    lua_pushinteger(L, clock->unix_ns(clock));
    return 1;
}

static void open_time(lua_State *L)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"millisecond", 1000000},
                 {"second", INT64_C(1000000000)},
                 {"minute", INT64_C(60000000000)},
                 {"hour", INT64_C(3600000000000)},
                 {"day", INT64_C(86400000000000)}};
    static const luaL_Reg functions[] = {
        {"parse", time_parse}, {"format", time_format}, {"now", time_now}, {NULL, NULL}};
    luaL_newlib(L, functions);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        lua_pushinteger(L, units[i].ns);
        lua_setfield(L, -2, units[i].name);
    }
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, time_call);
    lua_setfield(L, -2, "__call");
    lua_setmetatable(L, -2);
    lua_setglobal(L, "time");
}

/* ---- sorted ------------------------------------------------------------------------- */

/* upvalues: the table, the list of its keys, how many were given out */
static int sorted_next(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)) + 1;
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(3));
    if (lua_rawgeti(L, lua_upvalueindex(2), i) == LUA_TNIL)
        return 1;
    lua_pushvalue(L, -1);
    lua_rawget(L, lua_upvalueindex(1));
    return 2;
}

static int sorted(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    size_t from = pl_sorted_keys(L, 1, "sorted");
    lua_createtable(L, (int)(world->key_count - from), 0);
    for (size_t i = from; i < world->key_count; i++) {
        pl_push_key(L, &world->keys[i]);
        lua_rawseti(L, 2, (lua_Integer)(i - from) + 1);
    }
    world->key_count = from;
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, sorted_next, 3);
    return 1;
}

/* ---- null ------------------------------------------------------------------------------ */

static int null_index(lua_State *L)
{
    return luaL_error(L, "null has no fields: compare first (x ~= null)");
}

static int null_tostring(lua_State *L)
{
    lua_pushliteral(L, "null");
    return 1;
}

static void open_null(lua_State *L)
{
    pl_push_null(L);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, null_index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "null");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setglobal(L, "null");
}

void pl_open_time(lua_State *L)
{
    open_time(L);
    lua_pushcfunction(L, sorted);
    lua_setglobal(L, "sorted");
    open_null(L);
}
