/* feed { records ..., with = {...}, now = "..", time = "field" }: runs the script under test over the records. */
#include "test_state.h"

#include <base/timestamp.h>
#include <config/load.h>

#define FEED_START_NS INT64_C(1767225600000000000) /* 2026-01-01: where records that tell no time begin */

static const char *const time_fields[] = {"observed_at", "fetched_at", "updated_at", "time", "at", "timestamp", NULL};

/* ---- event time --------------------------------------------------------------------- */

/* The time in `field` of the record at `record`; false: no such field. */
static bool time_in(lua_State *L, int record, const char *field, int64_t *ns)
{
    lua_getfield(L, record, field);
    bool found = true;
    if (lua_isinteger(L, -1)) {
        *ns = lua_tointeger(L, -1);
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        pl_str text;
        text.ptr = lua_tolstring(L, -1, &text.len);
        found = pl_time_parse(text, ns);
    } else {
        found = false;
    }
    lua_pop(L, 1);
    return found;
}

/* options.time: a field or a list of fields; without it, the usual names. No time at all: that of the record before. */
static int64_t event_time(lua_State *L, int record, int options, int64_t before)
{
    int64_t ns = before;
    int kind = lua_getfield(L, options, "time");
    bool found = false;
    if (kind == LUA_TSTRING)
        found = time_in(L, record, lua_tostring(L, -1), &ns);
    for (lua_Integer i = 1; kind == LUA_TTABLE && !found && lua_rawgeti(L, -1, i) == LUA_TSTRING; i++) {
        found = time_in(L, record, lua_tostring(L, -1), &ns);
        lua_pop(L, 1);
    }
    for (size_t i = 0; kind == LUA_TNIL && !found && time_fields[i]; i++)
        found = time_in(L, record, time_fields[i], &ns);
    lua_settop(L, options > record ? options : record);
    return found ? ns : before;
}

/* ---- the script's options -------------------------------------------------------------- */

static const pl_node *read_with(lua_State *L, int options)
{
    pl_test_state *test = pl_test_of(L);
    const pl_node *node = NULL;
    if (lua_getfield(L, options, "with") == LUA_TTABLE) {
        pl_buf_clear(&test->world.text);
        pl_build_json(L, -1, false, &test->world.text);
        pl_yaml_setup yaml = {.arena = test->arena, .diags = test->diags, .literal = true};
        node = pl_yaml_parse(pl_buf_str(&test->world.text), test->path, &yaml);
    }
    lua_pop(L, 1);
    return node;
}

static void open_feed(lua_State *L, int options)
{
    pl_test_state *test = pl_test_of(L);
    pl_error error = {.struct_size = sizeof error};
    pl_feed_free(&test->feed);
    pl_diags_free(&test->diags);
    pl_arena_reset(test->arena);
    test->diags = pl_diags_new();
    if (!test->diags)
        pl_raise_memory(L);
    pl_feed_setup setup = {.script = test->script, .library = test->library, .diags = test->diags};
    setup.with = read_with(L, options);
    lua_settop(L, options);
    if (lua_getfield(L, options, "now") != LUA_TNIL) {
        lua_pop(L, 1);
        if (!time_in(L, options, "now", &setup.now_unix_ns))
            luaL_error(L, "feed: now is a time like 2022-05-01T10:00:00Z");
    }
    lua_settop(L, options);
    test->feed = pl_feed_new(&setup, &error);
    if (!test->feed)
        luaL_error(L, "feed: %s", error.message);
}

/* ---- records in --------------------------------------------------------------------------- */

static pl_str text_field(lua_State *L, int options, const char *name)
{
    pl_str text = {NULL, 0};
    if (lua_getfield(L, options, name) == LUA_TSTRING)
        text.ptr = lua_tolstring(L, -1, &text.len); /* anchored by the options */
    lua_pop(L, 1);
    return text;
}

static void add_records(lua_State *L, int records, int options)
{
    pl_test_state *test = pl_test_of(L);
    int64_t before = FEED_START_NS;
    lua_Integer count = (lua_Integer)lua_rawlen(L, records);
    int top = lua_gettop(L);
    for (lua_Integer i = 1; i <= count; i++) {
        int kind = lua_rawgeti(L, records, i);
        pl_record record = {.stream = text_field(L, options, "stream"), .key = text_field(L, options, "key")};
        record.position = (uint64_t)i;
        if (kind == LUA_TSTRING) { /* the payload itself: for what is not JSON */
            record.payload.ptr = lua_tolstring(L, -1, &record.payload.len);
        } else if (kind == LUA_TTABLE) {
            before = event_time(L, lua_gettop(L), options, before);
            pl_buf_clear(&test->world.text);
            pl_build_json(L, top + 1, false, &test->world.text);
            record.payload = pl_buf_str(&test->world.text);
        } else {
            luaL_error(L, "feed: record %I is a %s; a table was expected", (LUAI_UACINT)i, pl_type_name(L, -1));
        }
        record.time_unix_ns = before;
        if (!pl_feed_add(test->feed, &record))
            luaL_error(L, "feed: more than %d records, or out of memory", PL_FEED_RECORDS_MAX);
        lua_settop(L, top);
    }
}

/* ---- results out ------------------------------------------------------------------------------ */

/* The record as plain Lua data; text that is not JSON as a string. */
static void push_payload(lua_State *L, const pl_record *record)
{
    pl_world *world = pl_world_of(L);
    if (!record->payload.ptr) {
        pl_push_null(L);
        return;
    }
    if (record->payload.len == 0 || (record->payload.ptr[0] != '{' && record->payload.ptr[0] != '[')) {
        lua_pushlstring(L, record->payload.ptr, record->payload.len);
        return;
    }
    pl_world_begin(world, record, NULL, pl_test_of(L)->arena);
    pl_push_copy(L, PL_JSON_ROOT);
    pl_world_end(world);
}

static void push_envelope_text(lua_State *L, const char *name, pl_str text)
{
    if (text.ptr) {
        lua_pushlstring(L, text.ptr, text.len);
        lua_setfield(L, -2, name);
    }
}

static void push_outputs(lua_State *L, const pl_feed *feed)
{
    size_t count = pl_feed_output_count(feed);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        const pl_feed_output *output = pl_feed_output_at(feed, i);
        lua_createtable(L, 0, 5);
        push_payload(L, &output->record);
        lua_setfield(L, -2, "record");
        push_envelope_text(L, "payload", output->record.payload);
        if (output->port) {
            lua_pushstring(L, output->port);
            lua_setfield(L, -2, "output");
        }
        push_envelope_text(L, "key", output->record.key);
        push_envelope_text(L, "stream", output->record.stream);
        lua_pushinteger(L, output->record.time_unix_ns);
        lua_setfield(L, -2, "time");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void push_result(lua_State *L, const pl_feed *feed)
{
    size_t count = pl_feed_reject_count(feed);
    lua_createtable(L, 0, 3);
    push_outputs(L, feed);
    lua_setfield(L, -2, "outputs");
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        pl_str reason = pl_feed_reject_at(feed, i);
        lua_pushlstring(L, reason.ptr, reason.len);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "rejects");
    lua_newtable(L);
    for (size_t i = 0; i < pl_feed_metric_count(feed); i++) {
        const char *name;
        lua_pushnumber(L, pl_feed_metric_at(feed, i, &name));
        lua_setfield(L, -2, name);
    }
    lua_setfield(L, -2, "metrics");
    lua_rawgeti(L, LUA_REGISTRYINDEX, pl_test_of(L)->ref_result);
    lua_setmetatable(L, -2);
}

static int feed_records(lua_State *L)
{
    pl_error error = {.struct_size = sizeof error};
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_gettop(L) < 2 || lua_isnil(L, 2)) {
        lua_settop(L, 1);
        lua_pushvalue(L, 1); /* options stand beside the records */
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    open_feed(L, 2);
    add_records(L, 1, 2);
    if (pl_feed_run(pl_test_of(L)->feed, &error) != PL_OK)
        return luaL_error(L, "feed: %s", error.message);
    push_result(L, pl_test_of(L)->feed);
    return 1;
}

void pl_open_feed(lua_State *L)
{
    lua_newtable(L);
    pl_test_of(L)->ref_result = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, feed_records);
    lua_setglobal(L, "feed");
}
