/* r: the record as a userdata over its document. Fields are decoded when read, edits are kept beside the payload.
 * The userdata are reused in turn, so that a record costs no allocation; each knows the call that it is good for. */
#include "world.h"

/* ---- what the call works on --------------------------------------------------------- */

void pl_world_begin(pl_world *world, const pl_record *record, const pl_record *envelope, pl_arena *arena)
{
    world->call = ++world->calls;
    world->arena = arena;
    world->has_record = record != NULL;
    world->envelope = *(record ? record : envelope);
    if (record)
        pl_document_load_record(world->document, record, (pl_codec)world->codec);
}

void pl_world_end(pl_world *world)
{
    world->call = 0;
    world->arena = NULL;
    if (world->has_record)
        pl_document_unload(world->document);
    world->has_record = false;
}

void pl_push_record(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    size_t turn = world->call % PL_WORLD_RING;
    lua_rawgeti(L, LUA_REGISTRYINDEX, world->record_ring[turn].ref);
    world->record_ring[turn].record->call = world->call;
}

static pl_lua_record *push_node(lua_State *L, pl_json_node node, uint64_t call)
{
    pl_world *world = pl_world_of(L);
    pl_lua_record *record = lua_newuserdatauv(L, sizeof *record, 0);
    *record = (pl_lua_record){PL_MAGIC_RECORD, node, call};
    lua_rawgeti(L, LUA_REGISTRYINDEX, world->ref_record);
    lua_setmetatable(L, -2);
    return record;
}

static __attribute__((noinline, cold)) int wrong_record(lua_State *L, int index)
{
    if (!pl_userdata_at(L, index, PL_MAGIC_RECORD))
        return luaL_typeerror(L, index, "record");
    return luaL_error(L, "this record has expired: it was of an earlier call. Keep its fields, or record.totable(r)");
}

static inline pl_lua_record *check_record(lua_State *L, const pl_world *world, int index)
{
    pl_lua_record *record = pl_userdata_at(L, index, PL_MAGIC_RECORD);
    if (!record || !world->has_record || record->call != world->call)
        wrong_record(L, index);
    return record;
}

pl_lua_record *pl_check_record(lua_State *L, int index)
{
    return check_record(L, pl_world_of(L), index);
}

/* ---- values out ------------------------------------------------------------------------ */

static void push_lexeme(lua_State *L, pl_str lexeme)
{
    pl_decimal value;
    pl_decimal_status status = pl_decimal_parse(lexeme, &value);
    if (status != PL_DECIMAL_OK)
        luaL_error(L, "the number %s%s %s", lua_pushlstring(L, lexeme.ptr, lexeme.len > 40 ? 40 : lexeme.len),
                   lexeme.len > 40 ? "..." : "", pl_decimal_reason(status));
    pl_push_decimal(L, &value, true);
}

static __attribute__((noinline)) void push_other(lua_State *L, const pl_value *value, pl_json_node node)
{
    switch (value->type) {
    case PL_NIL:
        pl_push_null(L);
        break;
    case PL_BOOL:
        lua_pushboolean(L, value->as.b);
        break;
    case PL_INT:
    case PL_TIME:
        lua_pushinteger(L, value->as.i);
        break;
    case PL_FLOAT:
        lua_pushnumber(L, value->as.f);
        break;
    case PL_DECIMAL:
        push_lexeme(L, value->as.s);
        break;
    case PL_JSON:
        (void)push_node(L, node, pl_world_of(L)->call);
        break;
    default:
        lua_pushlstring(L, value->as.s.ptr, value->as.s.len);
        break;
    }
}

static inline void push_value(lua_State *L, const pl_value *value, pl_json_node node)
{
    if (value->type == PL_STR)
        lua_pushlstring(L, value->as.s.ptr, value->as.s.len);
    else
        push_other(L, value, node);
}

void pl_push_value(lua_State *L, const pl_value *value, pl_json_node node)
{
    push_value(L, value, node);
}

/* PL_OK and the value; PL_END: there is none. Raises for a payload that is not JSON. */
static inline pl_status read_at(lua_State *L, pl_world *world, pl_json_node parent, int key, pl_value *value,
                                pl_json_node *node)
{
    pl_document *document = world->document;
    pl_error *error = &world->error;
    pl_status status = PL_END;
    *node = PL_JSON_ROOT;
    if (lua_type(L, key) == LUA_TSTRING) {
        pl_str name;
        name.ptr = lua_tolstring(L, key, &name.len);
        if (parent == PL_JSON_ROOT) {
            status = pl_document_field(document, name, value, error);
            if (status == PL_OK && value->type == PL_JSON)
                status = pl_document_member(document, parent, name, node, error);
        } else {
            status = pl_document_member(document, parent, name, node, error);
            if (status == PL_OK)
                status = pl_document_value(document, *node, value, error);
        }
    } else if (lua_isinteger(L, key)) {
        lua_Integer index = lua_tointeger(L, key);
        if (index >= 1 && index <= PL_PATH_INDEX_MAX)
            status = pl_document_element(document, parent, (uint32_t)(index - 1), node, error);
        if (status == PL_OK)
            status = pl_document_value(document, *node, value, error);
    }
    if (status == PL_FAILED)
        pl_world_raise(L, error);
    return status;
}

static int record_index(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    const pl_lua_record *record = check_record(L, world, 1);
    pl_value value;
    pl_json_node node;
    if (read_at(L, world, record->node, 2, &value, &node) == PL_OK)
        push_value(L, &value, node);
    else
        lua_pushnil(L);
    return 1;
}

pl_str pl_record_text(lua_State *L, pl_json_node node)
{
    pl_error error = {.message = ""};
    pl_value value;
    pl_status status = pl_document_value(pl_world_of(L)->document, node, &value, &error);
    if (status == PL_FAILED)
        pl_world_raise(L, &error);
    if (status == PL_END)
        return (pl_str){"null", 4};
    return value.type >= PL_STR && value.type != PL_TIME ? value.as.s : (pl_str){"null", 4};
}

static bool is_array(pl_str text)
{
    return text.len > 0 && text.ptr[0] == '[';
}

/* ---- values in ---------------------------------------------------------------------------- */

static inline pl_value decimal_value(pl_world *world, const pl_decimal *decimal)
{
    size_t len = pl_decimal_format(decimal, world->decimal_text);
    return (pl_value){.type = decimal->tag == PL_MAGIC_NUMBER ? PL_DECIMAL : PL_STR,
                      .as.s = {world->decimal_text, len}};
}

static pl_value userdata_value(lua_State *L, int index)
{
    const pl_decimal *decimal = pl_to_decimal(L, index);
    if (decimal)
        return decimal_value(pl_world_of(L), decimal);
    switch (pl_magic_at(L, index)) {
    case PL_MAGIC_NULL:
        return (pl_value){.type = PL_NIL};
    case PL_MAGIC_RECORD:
        return (pl_value){.type = PL_JSON, .as.s = pl_record_text(L, pl_check_record(L, index)->node)};
    default:
        luaL_error(L, "a %s can't be a value of a record", pl_type_name(L, index));
        return (pl_value){.type = PL_NIL};
    }
}

static inline pl_value value_of(lua_State *L, pl_world *world, int index, int type)
{
    pl_value value = {.type = PL_NIL};
    switch (type) {
    case LUA_TBOOLEAN:
        value = (pl_value){.type = PL_BOOL, .as.b = lua_toboolean(L, index)};
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            value = (pl_value){.type = PL_INT, .as.i = lua_tointeger(L, index)};
        else
            value = (pl_value){.type = PL_FLOAT, .as.f = lua_tonumber(L, index)};
        break;
    case LUA_TSTRING:
        value.type = PL_STR;
        value.as.s.ptr = lua_tolstring(L, index, &value.as.s.len);
        break;
    case LUA_TTABLE:
        pl_buf_clear(&world->text);
        pl_build_json(L, index, false, &world->text);
        value = (pl_value){.type = PL_JSON, .as.s = pl_buf_str(&world->text)};
        break;
    default:
        value = userdata_value(L, index);
        break;
    }
    return value;
}

pl_value pl_lua_value(lua_State *L, int index)
{
    return value_of(L, pl_world_of(L), index, lua_type(L, index));
}

static pl_status remove_at(lua_State *L, pl_json_node parent, pl_str name, pl_error *error)
{
    pl_document *document = pl_world_of(L)->document;
    if (parent == PL_JSON_ROOT)
        return pl_document_remove_field(document, name, error);
    return pl_document_remove_member(document, parent, name, error);
}

static inline pl_status write_member(lua_State *L, pl_world *world, pl_json_node parent)
{
    pl_document *document = world->document;
    pl_error *error = &world->error;
    pl_str name;
    int type = lua_type(L, 3);
    name.ptr = lua_tolstring(L, 2, &name.len);
    if (type == LUA_TNIL)
        return remove_at(L, parent, name, error);
    pl_value value = value_of(L, world, 3, type);
    if (parent == PL_JSON_ROOT)
        return pl_document_set_field(document, name, &value, error);
    return pl_document_set_member(document, parent, name, &value, error);
}

static __attribute__((noinline)) pl_status write_element(lua_State *L, pl_json_node parent, pl_error *error)
{
    lua_Integer index = lua_tointeger(L, 2);
    if (lua_isnil(L, 3))
        return pl_fail(error, PL_REJECT, "an element can't be removed in place: assign a new list to the field");
    if (index < 1 || index > PL_PATH_INDEX_MAX)
        return pl_fail(error, PL_REJECT, "lists begin with [1]");
    pl_value value = pl_lua_value(L, 3);
    return pl_document_set_element(pl_world_of(L)->document, parent, (uint32_t)(index - 1), &value, error);
}

static int record_newindex(lua_State *L)
{
    pl_world *world = pl_world_of(L);
    const pl_lua_record *record = check_record(L, world, 1);
    pl_status status;
    if (lua_type(L, 2) == LUA_TSTRING)
        status = write_member(L, world, record->node);
    else if (lua_isinteger(L, 2))
        status = write_element(L, record->node, &world->error);
    else
        return luaL_error(L, "a field's name is text, and an element's an integer, not %s", pl_type_name(L, 2));
    if (status == PL_FAILED)
        return luaL_error(L, "%s: %s", luaL_tolstring(L, 2, NULL), world->error.message);
    return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* upvalues: cursor, how many were given */
static int each_next(lua_State *L)
{
    pl_lua_record *record = pl_check_record(L, 1);
    pl_document *document = pl_world_of(L)->document;
    uint32_t cursor = (uint32_t)lua_tointeger(L, lua_upvalueindex(1));
    pl_error error = {.message = ""};
    pl_json_item item;
    pl_value value;
    pl_status status = pl_document_each(document, record->node, &cursor, &item, &error);
    if (status == PL_OK)
        status = pl_document_value(document, item.node, &value, &error);
    if (status == PL_FAILED)
        return pl_world_raise(L, &error);
    if (status != PL_OK) { /* PL_END */
        lua_pushnil(L);
        return 1;
    }
    lua_Integer count = lua_tointeger(L, lua_upvalueindex(2)) + 1;
    lua_pushinteger(L, cursor);
    lua_replace(L, lua_upvalueindex(1));
    lua_pushinteger(L, count);
    lua_replace(L, lua_upvalueindex(2));
    if (item.key.ptr)
        lua_pushlstring(L, item.key.ptr, item.key.len);
    else
        lua_pushinteger(L, count);
    pl_push_value(L, &value, item.node);
    return 2;
}

static int record_pairs(lua_State *L)
{
    pl_check_record(L, 1);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, each_next, 2);
    lua_pushvalue(L, 1);
    return 2;
}

static int record_len(lua_State *L)
{
    pl_lua_record *record = pl_check_record(L, 1);
    if (!is_array(pl_record_text(L, record->node)))
        return luaL_error(L, "# counts a list's elements; this is an object: walk it with pairs");
    lua_pushinteger(L, pl_document_count(pl_world_of(L)->document, record->node));
    return 1;
}

static int record_tostring(lua_State *L)
{
    const pl_lua_record *record = lua_touserdata(L, 1);
    pl_world *world = pl_world_of(L);
    pl_str text = {"record (expired)", 16};
    if (world->has_record && record->call == world->call)
        text = pl_record_text(L, record->node);
    lua_pushlstring(L, text.ptr, text.len);
    return 1;
}

static void push_children(lua_State *L, pl_json_node node, bool array)
{
    pl_world *world = pl_world_of(L);
    pl_error error = {.message = ""};
    pl_json_item item;
    uint32_t cursor = 0;
    pl_status status;
    luaL_checkstack(L, 8, "the record is nested too deep");
    lua_newtable(L);
    for (lua_Integer index = 1; (status = pl_document_each(world->document, node, &cursor, &item, &error)) == PL_OK;
         index++) {
        if (!array)
            lua_pushlstring(L, item.key.ptr, item.key.len);
        pl_push_copy(L, item.node);
        if (array)
            lua_rawseti(L, -2, index);
        else
            lua_rawset(L, -3);
    }
    if (status == PL_FAILED)
        pl_world_raise(L, &error);
    if (array) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, world->ref_array);
        lua_setmetatable(L, -2);
    }
}

void pl_push_copy(lua_State *L, pl_json_node node)
{
    pl_error error = {.message = ""};
    pl_value value = {.type = PL_NIL};
    if (pl_document_value(pl_world_of(L)->document, node, &value, &error) == PL_FAILED)
        pl_world_raise(L, &error);
    if (value.type == PL_JSON)
        push_children(L, node, is_array(value.as.s));
    else
        pl_push_value(L, &value, node);
}

static int record_totable(lua_State *L)
{
    if (lua_istable(L, 1))
        lua_settop(L, 1);
    else
        pl_push_copy(L, pl_check_record(L, 1)->node);
    return 1;
}

/* ---- array, object: markers of what a table is -------------------------------------------------- */

static int mark(lua_State *L, int metatable)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, metatable);
    lua_setmetatable(L, 1);
    return 1;
}

static int mark_array(lua_State *L)
{
    return mark(L, pl_world_of(L)->ref_array);
}

static int mark_object(lua_State *L)
{
    return mark(L, pl_world_of(L)->ref_object);
}

static int new_marker(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 1);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

void pl_open_record(lua_State *L)
{
    static const luaL_Reg events[] = {
        {"__index", record_index}, {"__newindex", record_newindex}, {"__pairs", record_pairs},
        {"__len", record_len},     {"__tostring", record_tostring}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"totable", record_totable}, {NULL, NULL}};
    pl_world *world = pl_world_of(L);
    luaL_newlib(L, events);
    lua_pushliteral(L, "record");
    lua_setfield(L, -2, "__name");
    lua_pushliteral(L, "record");
    lua_setfield(L, -2, "__metatable");
    world->ref_record = luaL_ref(L, LUA_REGISTRYINDEX);
    for (size_t i = 0; i < PL_WORLD_RING; i++) {
        world->record_ring[i].record = push_node(L, PL_JSON_ROOT, 0);
        world->record_ring[i].ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    world->ref_array = new_marker(L, "array");
    world->ref_object = new_marker(L, "object");
    luaL_newlib(L, functions);
    lua_setglobal(L, "record");
    lua_pushcfunction(L, mark_array);
    lua_setglobal(L, "array");
    lua_pushcfunction(L, mark_object);
    lua_setglobal(L, "object");
}
