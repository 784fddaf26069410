/* m: what a record carries besides its payload. Writing it changes what is given out from then on. */
#include "world.h"

#include <base/str.h>

static pl_world *check_envelope(lua_State *L, uint32_t magic)
{
    pl_world *world = pl_world_of(L);
    const pl_lua_envelope *envelope = pl_userdata_at(L, 1, magic);
    if (!envelope)
        luaL_typeerror(L, 1, "envelope");
    if (!world->call || envelope->call != world->call)
        luaL_error(L, "this envelope has expired: it was of an earlier call");
    return world;
}

static pl_world *check_writable(lua_State *L, uint32_t magic)
{
    pl_world *world = check_envelope(L, magic);
    if (!world->arena)
        luaL_error(L, "the envelope can't be changed here");
    return world;
}

static pl_lua_envelope *push_new(lua_State *L, uint32_t magic, int metatable, uint64_t call)
{
    pl_lua_envelope *envelope = lua_newuserdatauv(L, sizeof *envelope, 0);
    *envelope = (pl_lua_envelope){magic, call};
    lua_rawgeti(L, LUA_REGISTRYINDEX, metatable);
    lua_setmetatable(L, -2);
    return envelope;
}

void pl_push_envelope(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    size_t turn = world->call % PL_WORLD_RING;
    lua_rawgeti(L, LUA_REGISTRYINDEX, world->envelope_ring[turn].ref);
    world->envelope_ring[turn].envelope->call = world->call;
}

static void push_text(lua_State *L, pl_str text)
{
    if (text.ptr)
        lua_pushlstring(L, text.ptr, text.len);
    else
        lua_pushnil(L);
}

static int envelope_index(lua_State *L)
{
    pl_world *world = check_envelope(L, PL_MAGIC_ENVELOPE);
    const pl_record *envelope = &world->envelope;
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "time") == 0)
        lua_pushinteger(L, envelope->time_unix_ns);
    else if (strcmp(key, "key") == 0)
        push_text(L, envelope->key);
    else if (strcmp(key, "stream") == 0)
        push_text(L, envelope->stream);
    else if (strcmp(key, "headers") == 0)
        (void)push_new(L, PL_MAGIC_HEADERS, world->ref_headers, world->call);
    else if (strcmp(key, "payload") == 0)
        push_text(L, world->has_record ? envelope->payload : (pl_str){NULL, 0});
    else if (strcmp(key, "position") == 0)
        lua_pushinteger(L, (lua_Integer)envelope->position);
    else if (strcmp(key, "replay") == 0)
        lua_pushboolean(L, (envelope->flags & PL_RECORD_REPLAY) != 0);
    else
        return luaL_error(L, "the envelope has no '%s': it has time, key, stream, headers, payload, position, replay",
                          key);
    return 1;
}

/* The text at index, copied to live as long as what is given out; nil: null. */
static pl_str arena_text(lua_State *L, int index)
{
    pl_str text = {NULL, 0};
    if (!lua_isnil(L, index)) {
        text.ptr = luaL_checklstring(L, index, &text.len);
        text = pl_arena_str(pl_world_of(L)->arena, text);
        if (!text.ptr)
            pl_raise_memory(L);
    }
    return text;
}

static void set_headers(lua_State *L, pl_world *world);

static int envelope_newindex(lua_State *L)
{
    pl_world *world = check_writable(L, PL_MAGIC_ENVELOPE);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "time") == 0)
        world->envelope.time_unix_ns = luaL_checkinteger(L, 3);
    else if (strcmp(key, "key") == 0)
        world->envelope.key = arena_text(L, 3);
    else if (strcmp(key, "stream") == 0)
        world->envelope.stream = arena_text(L, 3);
    else if (strcmp(key, "headers") == 0)
        set_headers(L, world);
    else
        return luaL_error(L, "m.%s can't be set: only time, key, stream and headers can", key);
    return 0;
}

/* ---- headers: names may repeat; a name reads as its last value ------------------------------- */

static int headers_index(lua_State *L)
{
    pl_world *world = check_envelope(L, PL_MAGIC_HEADERS);
    pl_str name;
    name.ptr = luaL_checklstring(L, 2, &name.len);
    for (uint32_t i = world->envelope.header_count; i-- > 0;) {
        if (pl_str_eq(world->envelope.headers[i].name, name)) {
            pl_push_value(L, &world->envelope.headers[i].value, PL_JSON_ROOT);
            return 1;
        }
    }
    return 0;
}

/* A list of `count` headers that may be written, filled with those of now that are not called `name`. */
static pl_field *copy_headers(lua_State *L, pl_world *world, size_t extra, pl_str name)
{
    pl_record *envelope = &world->envelope;
    pl_field *headers = pl_arena_alloc(world->arena, (envelope->header_count + extra + 1) * sizeof *headers);
    if (!headers)
        pl_raise_memory(L);
    uint32_t count = 0;
    for (uint32_t i = 0; i < envelope->header_count; i++)
        if (!name.ptr || !pl_str_eq(envelope->headers[i].name, name))
            headers[count++] = envelope->headers[i];
    envelope->headers = headers;
    envelope->header_count = count;
    return headers;
}

static void add_header(lua_State *L, pl_world *world, pl_field *headers, int name, int value)
{
    luaL_argexpected(L, lua_type(L, value) == LUA_TSTRING || lua_isinteger(L, value), value, "string");
    lua_pushvalue(L, value); /* so that a number is not turned into text in its place */
    pl_field header = {.name = arena_text(L, name), .value = {.type = PL_STR, .as.s = arena_text(L, -1)}};
    lua_pop(L, 1);
    headers[world->envelope.header_count++] = header;
}

static int headers_newindex(lua_State *L)
{
    pl_world *world = check_writable(L, PL_MAGIC_HEADERS);
    pl_str name;
    name.ptr = luaL_checklstring(L, 2, &name.len);
    pl_field *headers = copy_headers(L, world, 1, name);
    if (!lua_isnil(L, 3))
        add_header(L, world, headers, 2, 3);
    return 0;
}

/* m.headers = { name = "text", ... } or nil */
static void set_headers(lua_State *L, pl_world *world)
{
    world->envelope.header_count = 0;
    if (lua_isnil(L, 3))
        return;
    luaL_checktype(L, 3, LUA_TTABLE);
    size_t from = pl_sorted_keys(L, 3, "m.headers"), count = world->key_count - from;
    pl_field *headers = copy_headers(L, world, count, (pl_str){NULL, 0});
    for (size_t i = 0; i < count; i++) {
        pl_push_key(L, &world->keys[from + i]);
        lua_pushvalue(L, -1);
        lua_rawget(L, 3);
        int top = lua_gettop(L);
        luaL_checktype(L, top - 1, LUA_TSTRING);
        add_header(L, world, headers, top - 1, top);
        lua_pop(L, 2);
    }
    world->key_count = from;
}

/* upvalue: how many were given */
static int headers_next(lua_State *L)
{
    pl_world *world = check_envelope(L, PL_MAGIC_HEADERS);
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(1));
    if (i >= world->envelope.header_count)
        return 0;
    lua_pushinteger(L, i + 1);
    lua_replace(L, lua_upvalueindex(1));
    push_text(L, world->envelope.headers[i].name);
    pl_push_value(L, &world->envelope.headers[i].value, PL_JSON_ROOT);
    return 2;
}

static int headers_pairs(lua_State *L)
{
    check_envelope(L, PL_MAGIC_HEADERS);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, headers_next, 1);
    lua_pushvalue(L, 1);
    return 2;
}

static int new_type(lua_State *L, const char *name, const luaL_Reg *events)
{
    lua_createtable(L, 0, 5);
    luaL_setfuncs(L, events, 0);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

void pl_open_envelope(lua_State *L)
{
    static const luaL_Reg envelope[] = {{"__index", envelope_index}, {"__newindex", envelope_newindex}, {NULL, NULL}};
    static const luaL_Reg headers[] = {
        {"__index", headers_index}, {"__newindex", headers_newindex}, {"__pairs", headers_pairs}, {NULL, NULL}};
    pl_world *world = pl_world_of(L);
    world->ref_envelope = new_type(L, "envelope", envelope);
    world->ref_headers = new_type(L, "headers", headers);
    for (size_t i = 0; i < PL_WORLD_RING; i++) {
        world->envelope_ring[i].envelope = push_new(L, PL_MAGIC_ENVELOPE, world->ref_envelope, 0);
        world->envelope_ring[i].ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}
