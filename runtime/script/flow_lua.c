/* What a script tells the flow: emit, reject, defer, every, metric; and emits, which names its fields. */
#include "script_state.h"

#include <base/units.h>

uint32_t pl_reject_marker = PL_MAGIC_REJECT;

static int raise_marker(lua_State *L)
{
    lua_pushlightuserdata(L, &pl_reject_marker);
    return lua_error(L);
}

void pl_script_note_stop(pl_script *script, const pl_error *error)
{
    if (error != &script->stop)
        script->stop = *error;
    script->stopped = true;
    pl_buf_clear(&script->world.message);
    pl_buf_adds(&script->world.message, error->message);
}

int pl_script_stop(lua_State *L, const pl_error *error)
{
    pl_script_note_stop(pl_script_of(L), error);
    return raise_marker(L);
}

static void need_call(lua_State *L, const char *name)
{
    if (!pl_world_of(L)->call)
        luaL_error(
            L, "%s: there is no record to work on while the script loads; call it from on_record or another function",
            name);
}

/* ---- emit --------------------------------------------------------------------------- */

static pl_str payload_text(lua_State *L, pl_str text)
{
    pl_str payload = pl_arena_str(pl_world_of(L)->arena, text);
    if (!payload.ptr)
        pl_raise_memory(L);
    return payload;
}

static pl_str record_payload(lua_State *L, int index)
{
    pl_world *world = pl_world_of(L);
    const pl_lua_record *record = pl_check_record(L, index);
    pl_error error = {.message = ""};
    pl_str payload;
    if (record->node != PL_JSON_ROOT)
        return payload_text(L, pl_record_text(L, record->node));
    if (pl_document_encode(world->document, world->arena, &payload, &error) != PL_OK)
        pl_world_raise(L, &error);
    return payload;
}

static inline bool hand_over(pl_script *script, const char *port, const pl_record *out)
{
    if (!script->host || script->host->emit(script->host->self, port, out, &script->stop) == PL_OK)
        return true;
    pl_script_note_stop(script, &script->stop);
    return false;
}

static void give_one(lua_State *L, const char *port, int index)
{
    pl_script *script = pl_script_of(L);
    pl_record out = script->world.envelope;
    out.ack = NULL;
    if (pl_magic_at(L, index) == PL_MAGIC_RECORD) {
        out.payload = record_payload(L, index);
    } else if (lua_istable(L, index)) {
        pl_buf_clear(&script->world.text);
        pl_build_json(L, index, true, &script->world.text);
        out.payload = payload_text(L, pl_buf_str(&script->world.text));
    } else if (lua_type(L, index) == LUA_TSTRING) {
        pl_str text;
        text.ptr = lua_tolstring(L, index, &text.len);
        out.payload = payload_text(L, text);
    } else {
        luaL_error(L, "a record to give out is r, a table, or text; this is a %s", pl_type_name(L, index));
    }
    if (!hand_over(script, port, &out))
        raise_marker(L);
}

static bool is_list(lua_State *L, int index)
{
    bool marked = false;
    if (!lua_istable(L, index))
        return false;
    if (lua_getmetatable(L, index)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, pl_world_of(L)->ref_array);
        marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    return marked || lua_rawlen(L, index) > 0;
}

/* A plain table with nothing in it: a list to which nothing was added. */
static bool is_empty(lua_State *L, int index)
{
    if (!lua_istable(L, index))
        return false;
    if (lua_getmetatable(L, index)) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushnil(L);
    if (!lua_next(L, index))
        return true;
    lua_pop(L, 2);
    return false;
}

static void give(lua_State *L, const char *port, int index)
{
    bool nothing = lua_isnil(L, index) || (lua_isboolean(L, index) && !lua_toboolean(L, index));
    if (nothing || is_empty(L, index))
        return;
    if (!is_list(L, index)) {
        give_one(L, port, index);
        return;
    }
    lua_Integer count = (lua_Integer)lua_rawlen(L, index);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        give_one(L, port, lua_gettop(L));
        lua_pop(L, 1);
    }
}

/* Gives out the one value that a function returned. */
static int give_result(lua_State *L)
{
    int count = pl_script_of(L)->returned;
    if (count > 1)
        return luaL_error(L, "%d values were returned: return one record, or a list of them", count);
    give(L, NULL, 1);
    return 0;
}

/* The whole record, as most functions return it. false: there is something else, or something is wrong, and give_result
 * will tell. */
static bool give_whole(pl_script *script, int index)
{
    pl_world *world = &script->world;
    const pl_lua_record *record = pl_userdata_at(world->L, index, PL_MAGIC_RECORD);
    if (!record || record->node != PL_JSON_ROOT || !world->has_record || record->call != world->call)
        return false;
    pl_str payload;
    if (pl_document_encode(world->document, world->arena, &payload, NULL) != PL_OK)
        return false;
    world->envelope.payload = payload; /* the call is over: nobody looks at `m` any more */
    world->envelope.ack = NULL;
    if (!hand_over(script, NULL, &world->envelope))
        raise_marker(world->L);
    return true;
}

void pl_give_results(pl_script *script, int first)
{
    lua_State *L = script->world.L;
    script->returned = lua_gettop(L) - first + 1;
    if (script->returned == 0 || (script->returned == 1 && give_whole(script, first)))
        return;
    lua_settop(L, first);
    lua_pushcfunction(L, give_result);
    lua_insert(L, first);
    lua_call(L, 1, 0);
}

static int flow_emit(lua_State *L)
{
    need_call(L, "emit");
    int count = lua_gettop(L);
    if (count == 0 || count > 2)
        return luaL_error(L, "emit: call it as emit(record) or emit(\"output\", record)");
    luaL_argexpected(L, count == 1 || lua_type(L, 1) == LUA_TSTRING, 1, "string");
    const char *port = count == 2 ? lua_tostring(L, 1) : NULL;
    if (lua_isnoneornil(L, count))
        return luaL_error(L, "emit: the record is nil");
    give(L, port, count);
    return 0;
}

/* ---- reject --------------------------------------------------------------------------- */

static int flow_reject(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    need_call(L, "reject");
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    lua_Integer count = lua_istable(L, 1) ? (lua_Integer)lua_rawlen(L, 1) : 1;
    if (count == 0)
        return 0;
    pl_buf_clear(&world->message);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_istable(L, 1))
            lua_rawgeti(L, 1, i);
        else
            lua_pushvalue(L, 1);
        if (i > 1)
            pl_buf_adds(&world->message, "; ");
        size_t len;
        const char *reason = luaL_tolstring(L, -1, &len);
        if (world->message.len + len < PL_WORLD_MESSAGE_MAX)
            pl_buf_add(&world->message, reason, len);
        else if (world->message.len == 0)
            pl_buf_add(&world->message, reason, PL_WORLD_MESSAGE_MAX / 2);
        lua_pop(L, 2);
    }
    return raise_marker(L);
}

/* ---- defer, every, metric ---------------------------------------------------------------- */

static int flow_defer(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    pl_error error = {.struct_size = sizeof error};
    need_call(L, "defer");
    int64_t at = luaL_checkinteger(L, 1);
    pl_str key;
    luaL_argexpected(L, lua_type(L, 2) == LUA_TSTRING, 2, "string");
    key.ptr = lua_tolstring(L, 2, &key.len);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (!script->host)
        return 0;
    lua_settop(L, 3);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    pl_status status = script->host->defer(script->host->self, at, key, ref, &error);
    if (status != PL_OK)
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
    if (status == PL_FAILED)
        return pl_script_stop(L, &error);
    return 0;
}

static int flow_every(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    pl_error error = {.message = ""};
    int64_t period;
    pl_str text;
    text.ptr = luaL_checklstring(L, 1, &text.len);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!script->world.loading)
        return luaL_error(L, "every: timers are set up while the script loads, not from a function");
    if (pl_parse_duration(text, &period, &error) != PL_OK)
        return luaL_error(L, "every: %s", error.message);
    if (period <= 0)
        return luaL_error(L, "every: the period must be above 0");
    if (script->timer_count == PL_SCRIPT_TIMERS_MAX)
        return luaL_error(L, "every: %d timers at most", PL_SCRIPT_TIMERS_MAX);
    lua_settop(L, 2);
    script->timers[script->timer_count].ref = luaL_ref(L, LUA_REGISTRYINDEX);
    script->timers[script->timer_count++].period_ns = period;
    return 0;
}

static int flow_metric(lua_State *L)
{
    const pl_script *script = pl_script_of(L);
    const char *name = luaL_checkstring(L, 1);
    const pl_decimal *decimal = pl_to_decimal(L, 2);
    double value = decimal ? pl_decimal_to_double(decimal) : luaL_optnumber(L, 2, 1);
    if (script->host && script->host->metric)
        script->host->metric(script->host->self, name, value);
    return 0;
}

/* ---- emits ----------------------------------------------------------------------------------- */

const char *pl_script_keep(lua_State *L, const char *text)
{
    pl_str copy = pl_arena_str(pl_script_of(L)->arena, PL_S(text));
    if (!copy.ptr)
        pl_raise_memory(L);
    return copy.ptr;
}

static int flow_emits(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    if (!script->world.loading || script->emits)
        return luaL_error(L, "emits: once, while the script loads");
    if (count == 0 || count > PL_SCRIPT_EMITS_MAX)
        return luaL_error(L, "emits: a list of 1 to %d field names was expected", PL_SCRIPT_EMITS_MAX);
    const char **emits = pl_arena_alloc(script->arena, ((size_t)count + 1) * sizeof *emits);
    if (!emits)
        pl_raise_memory(L);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(L, 1, i) != LUA_TSTRING)
            return luaL_error(L, "emits: a list of field names was expected; [%I] is a %s", (LUAI_UACINT)i,
                              pl_type_name(L, -1));
        emits[i - 1] = pl_script_keep(L, lua_tostring(L, -1));
        lua_rawseti(L, 2, i);
    }
    emits[count] = NULL;
    script->world.ref_emits = luaL_ref(L, LUA_REGISTRYINDEX);
    script->emits = emits;
    return 0;
}

void pl_open_flow(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"emit", flow_emit},     {"reject", flow_reject}, {"defer", flow_defer}, {"every", flow_every},
        {"metric", flow_metric}, {"emits", flow_emits},   {NULL, NULL},
    };
    lua_pushglobaltable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
