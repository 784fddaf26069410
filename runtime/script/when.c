/* when: one Lua expression over a record's fields. */
#include "script.h"
#include "world.h"

#include <base/mem.h>

struct pl_when {
    pl_world world; /* first: a lua_State leads to it, and it to the rest */
    char *path;
    const char *expression; /* while pl_when_new runs */
    int line;
    int ref_expression, ref_names;
    bool pass;
};

static pl_when *when_of(lua_State *L)
{
    return (pl_when *)(void *)pl_world_of(L);
}

/* _ENV's __index: the few names of ours, else a field of the record. */
static int field_index(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, when_of(L)->ref_names);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL)
        return 1;
    if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "m") == 0) {
        pl_push_envelope(L);
        return 1;
    }
    pl_push_record(L);
    if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "r") == 0)
        return 1;
    lua_pushvalue(L, 2);
    lua_gettable(L, -2);
    return 1;
}

static void push_environment(lua_State *L)
{
    static const char *const names[] = {"decimal", "time", "math", "string", "null", "tonumber", "tostring", NULL};
    pl_when *when = when_of(L);
    lua_createtable(L, 0, 8);
    for (size_t i = 0; names[i]; i++) {
        lua_getglobal(L, names[i]);
        lua_setfield(L, -2, names[i]);
    }
    when->ref_names = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, field_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

static int load_expression(lua_State *L)
{
    pl_when *when = when_of(L);
    pl_buf *text = &when->world.text;
    pl_buf_clear(text);
    /* `return` ends a chunk, which keeps statements out; the line break lets the expression end in a comment. */
    pl_buf_printf(text, "return %s\n", when->expression);
    pl_world_load(L, pl_buf_str(text), when->path, when->line);
    push_environment(L);
    lua_setupvalue(L, -2, 1); /* the only upvalue of a main chunk is _ENV */
    when->ref_expression = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int test_expression(lua_State *L)
{
    pl_when *when = when_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, when->ref_expression);
    lua_call(L, 0, 1);
    when->pass = lua_toboolean(L, -1) && !pl_is_null(L, -1);
    return 0;
}

pl_when *pl_when_new(const char *expression, const char *path, int line, const pl_clock *clock, pl_error *error)
{
    pl_when *when = pl_calloc(1, sizeof *when);
    pl_world_setup setup = {.clock = clock, .memory_bytes = (size_t)16 << 20};
    pl_status status = PL_FAILED;
    if (when)
        when->path = pl_strndup(path, strlen(path));
    if (!when || !when->path || !pl_world_init(&when->world, &setup)) {
        (void)pl_fail(error, PL_BAD_CONFIG, "%s:%d: not enough memory for the expression", path, line);
    } else {
        when->expression = expression;
        when->line = line;
        status = pl_world_call(&when->world, load_expression, error);
        when->expression = NULL;
    }
    if (status == PL_OK)
        return when;
    error->error_class = PL_BAD_CONFIG;
    pl_when_free(&when);
    return NULL;
}

void pl_when_free(pl_when **when)
{
    if (!*when)
        return;
    pl_world_release(&(*when)->world);
    pl_free((*when)->path);
    pl_free(*when);
    *when = NULL;
}

pl_status pl_when_test(pl_when *when, const pl_record *record, bool *pass, pl_error *error)
{
    pl_world_begin(&when->world, record, NULL, NULL);
    pl_status status = pl_world_call(&when->world, test_expression, error);
    pl_world_end(&when->world);
    if (status == PL_OK)
        *pass = when->pass;
    return status;
}
