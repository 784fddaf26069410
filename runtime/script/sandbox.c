/* What a script may call: Lua's base, string, table, math and utf8 less what loads code, reaches out or never ends. */
#include "world.h"

#include <base/fs.h>
#include <base/log.h>
#include <base/str.h>
#include <ctype.h>

enum {
    GLOBALS_MAX = 256,
    TABLE_SPAN_MAX = 1 << 24 /* elements one call of the table library walks over: more don't fit a heap anyway */
};

/* ---- errors that can't be caught --------------------------------------------------- */

/* pcall, except that reject() and the end of the time go through it. */
static int protected_call(lua_State *L)
{
    luaL_checkany(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    if (status != LUA_OK && (pl_magic_at(L, -1) == PL_MAGIC_REJECT || pl_world_of(L)->out_of_time))
        return lua_error(L);
    lua_pushboolean(L, status == LUA_OK);
    lua_insert(L, 1);
    return lua_gettop(L);
}

/* ---- globals ------------------------------------------------------------------------ */

static const char *nearest_global(lua_State *L, const char *name)
{
    const char *words[GLOBALS_MAX + 1];
    size_t count = 0;
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pop(L, 1);
        if (count < GLOBALS_MAX && lua_type(L, -1) == LUA_TSTRING)
            words[count++] = lua_tostring(L, -1);
    }
    words[count] = NULL;
    return pl_nearest(name, words);
}

static int unknown_global(lua_State *L)
{
    static const char *const removed[] = {"load", "loadstring", "dofile",  "loadfile", "collectgarbage", "xpcall",
                                          "io",   "os",         "package", "debug",    "coroutine",      NULL};
    const char *name = luaL_tolstring(L, 2, NULL);
    for (size_t i = 0; removed[i]; i++)
        if (strcmp(name, removed[i]) == 0)
            return luaL_error(L, "'%s' is not available to scripts", name);
    const char *near = nearest_global(L, name);
    if (near)
        return luaL_error(L, "unknown name '%s': did you mean '%s'?", name, near);
    return luaL_error(L, "unknown name '%s': a field is r.%s, and a variable of your own needs 'local'", name, name);
}

static int new_global(lua_State *L)
{
    if (!pl_world_of(L)->loading)
        return luaL_error(L, "'%s' is not declared: write 'local %s', or keep it in 'state'",
                          luaL_tolstring(L, 2, NULL), luaL_tolstring(L, 2, NULL));
    lua_rawset(L, 1);
    return 0;
}

static void guard_globals(lua_State *L)
{
    static const luaL_Reg events[] = {{"__index", unknown_global}, {"__newindex", new_global}, {NULL, NULL}};
    lua_pushglobaltable(L);
    luaL_newlib(L, events);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

/* ---- base ---------------------------------------------------------------------------- */

const char *pl_type_name(lua_State *L, int index)
{
    switch (pl_magic_at(L, index)) {
    case PL_MAGIC_DECIMAL:
    case PL_MAGIC_NUMBER:
        return "decimal";
    case PL_MAGIC_NULL:
        return "null";
    case PL_MAGIC_ENVELOPE:
        return "envelope";
    case PL_MAGIC_HEADERS:
        return "headers";
    case PL_MAGIC_RECORD: {
        const pl_lua_record *record = lua_touserdata(L, index);
        if (record->node == PL_JSON_ROOT)
            return "record";
        pl_str text = {"", 0};
        if (record->call && record->call == pl_world_of(L)->call)
            text = pl_record_text(L, record->node);
        return text.len && text.ptr[0] == '[' ? "array" : "object";
    }
    default:
        return luaL_typename(L, index);
    }
}

static int base_type(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushstring(L, pl_type_name(L, 1));
    return 1;
}

/* Finalizers would run outside of any call, beyond its limits. */
static int base_setmetatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "setmetatable: __gc is not available to scripts");
        lua_pop(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int base_tonumber(lua_State *L)
{
    const pl_decimal *decimal = pl_to_decimal(L, 1);
    int64_t integer;
    if (decimal && pl_decimal_to_int(decimal, &integer) == PL_DECIMAL_OK) {
        lua_pushinteger(L, integer);
    } else if (decimal) {
        lua_pushnumber(L, pl_decimal_to_double(decimal));
    } else {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, 1);
    }
    return 1;
}

static int base_print(lua_State *L)
{
    luaL_Buffer line;
    int count = lua_gettop(L);
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&line, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    pl_log((int32_t)lua_tointeger(L, lua_upvalueindex(1)), pl_world_of(L)->component, "%s", lua_tostring(L, -1));
    return 0;
}

static void open_log(lua_State *L)
{
    static const struct {
        const char *name;
        int32_t level;
    } levels[] = {{"debug", PL_DEBUG}, {"info", PL_INFO}, {"warn", PL_WARN}, {"error", PL_ERROR}};
    lua_createtable(L, 0, 4);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        lua_pushinteger(L, levels[i].level);
        lua_pushcclosure(L, base_print, 1);
        lua_setfield(L, -2, levels[i].name);
    }
    lua_setglobal(L, "log");
    lua_pushinteger(L, PL_INFO);
    lua_pushcclosure(L, base_print, 1);
    lua_setglobal(L, "print");
}

/* ---- require --------------------------------------------------------------------------- */

static bool is_module_name(const char *name)
{
    if (!*name || *name == '/' || strstr(name, "//") || name[strlen(name) - 1] == '/')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_/") == strlen(name);
}

static void load_module(lua_State *L, const char *name)
{
    pl_world *world = pl_world_of(L);
    pl_error error = {.message = ""};
    const char *path = lua_pushfstring(L, "%s/%s.lua", world->library, name);
    pl_buf_clear(&world->text);
    pl_status status = pl_fs_read(path, &world->text, &error);
    if (status == PL_END)
        luaL_error(L, "require: there is no %s", path);
    if (status != PL_OK)
        luaL_error(L, "require: %s", error.message);
    pl_world_load(L, pl_buf_str(&world->text), path, 1);
    bool loading = world->loading;
    world->loading = false; /* a module says `local` and returns; it defines no globals */
    lua_call(L, 0, 1);
    world->loading = loading;
}

static int base_require(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    const char *name = luaL_checkstring(L, 1);
    if (!world->library)
        return luaL_error(L, "require '%s': there is no library folder (lib/ beside the script)", name);
    if (!is_module_name(name))
        return luaL_error(L, "require '%s': names are made of a-z, 0-9, _ and / and stand for files of %s", name,
                          world->library);
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, world->ref_loaded);
    lua_pushvalue(L, 1);
    int type = lua_rawget(L, 2);
    if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        return luaL_error(L, "require '%s': it requires itself", name);
    if (type != LUA_TNIL)
        return 1;
    lua_pushvalue(L, 1);
    lua_pushboolean(L, false);
    lua_rawset(L, 2);
    load_module(L, name);
    if (lua_isnil(L, -1))
        return luaL_error(L, "require '%s': the file must end with 'return' and a value", name);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
    return 1;
}

/* ---- strings are not numbers --------------------------------------------------------------- */

static int string_arithmetic(lua_State *L)
{
    int index = lua_type(L, 1) == LUA_TSTRING ? 1 : 2;
    return luaL_error(L, "arithmetic on the text \"%s\": write decimal(x) for an exact number, or tonumber(x)",
                      lua_tostring(L, index));
}

static void guard_strings(lua_State *L)
{
    static const char *const events[] = {"__add", "__sub", "__mul", "__div", "__idiv", "__mod", "__pow", "__unm"};
    lua_pushliteral(L, "");
    lua_createtable(L, 0, 12);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        lua_pushcfunction(L, string_arithmetic);
        lua_setfield(L, -2, events[i]);
    }
    lua_getglobal(L, "string");
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static int math_call(lua_State *L)
{
    int count = lua_gettop(L);
    for (int i = 1; i <= count; i++)
        if (lua_type(L, i) == LUA_TSTRING)
            return luaL_error(L, "math.%s on the text \"%s\": write tonumber(x), or use decimal",
                              lua_tostring(L, lua_upvalueindex(2)), lua_tostring(L, i));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
}

static void guard_math(lua_State *L)
{
    static const char *const names[] = {"abs", "ceil", "floor", "max",  "min", "sqrt",
                                        "exp", "log",  "fmod",  "modf", "ult", NULL};
    lua_getglobal(L, "math");
    for (size_t i = 0; names[i]; i++) {
        lua_getfield(L, -1, names[i]);
        lua_pushstring(L, names[i]);
        lua_pushcclosure(L, math_call, 2);
        lua_setfield(L, -2, names[i]);
    }
    lua_pop(L, 1);
}

/* ---- loops of the table library that no hook can stop --------------------------------------- */

static int table_call(lua_State *L)
{
    const char *name = lua_tostring(L, lua_upvalueindex(2));
    lua_Integer first = 1, last = 0;
    if (strcmp(name, "move") == 0) {
        first = luaL_checkinteger(L, 2);
        last = luaL_checkinteger(L, 3);
    } else if (strcmp(name, "concat") == 0 && !lua_isnoneornil(L, 4)) {
        first = luaL_optinteger(L, 3, 1);
        last = luaL_checkinteger(L, 4);
    } else if (lua_type(L, 1) == LUA_TTABLE || lua_type(L, 1) == LUA_TUSERDATA) {
        last = luaL_len(L, 1);
    }
    if (last > first && (lua_Unsigned)last - (lua_Unsigned)first > TABLE_SPAN_MAX)
        return luaL_error(L, "table.%s: more than %d elements", name, TABLE_SPAN_MAX);
    int count = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
}

static void guard_tables(lua_State *L)
{
    static const char *const names[] = {"move", "insert", "remove", "concat", "sort", NULL};
    lua_getglobal(L, "table");
    for (size_t i = 0; names[i]; i++) {
        lua_getfield(L, -1, names[i]);
        lua_pushstring(L, names[i]);
        lua_pushcclosure(L, table_call, 2);
        lua_setfield(L, -2, names[i]);
    }
    lua_pop(L, 1);
}

/* Puts function over the global `name`, with the global of before as its upvalue. */
static void wrap_global(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getglobal(L, name);
    lua_pushcclosure(L, function, 1);
    lua_setglobal(L, name);
}

void pl_open_sandbox(lua_State *L, uint64_t seed)
{
    static const char *const removed[] = {"load", "dofile", "loadfile", "collectgarbage", "xpcall", NULL};
    pl_world *world = pl_world_of(L);
    for (size_t i = 0; removed[i]; i++) {
        lua_pushnil(L);
        lua_setglobal(L, removed[i]);
    }
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, (lua_Integer)seed);
    lua_pushinteger(L, 0);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
    wrap_global(L, "setmetatable", base_setmetatable);
    wrap_global(L, "tonumber", base_tonumber);
    lua_pushcfunction(L, base_type);
    lua_setglobal(L, "type");
    lua_pushcfunction(L, protected_call);
    lua_setglobal(L, "pcall");
    lua_pushcfunction(L, base_require);
    lua_setglobal(L, "require");
    open_log(L);
    lua_newtable(L);
    world->ref_loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    guard_strings(L);
    guard_math(L);
    guard_tables(L);
    guard_globals(L);
}
