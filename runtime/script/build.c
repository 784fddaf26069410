/* Lua values -> JSON, in an order that is the same on every run. */
#include "world.h"

#include <base/mem.h>
#include <base/str.h>
#include <record/encode.h>
#include <stdlib.h>

/* ---- where in a value -------------------------------------------------------------- */

static bool is_word(pl_str key)
{
    for (size_t i = 0; i < key.len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", key.ptr[i]) || !key.ptr[i])
            return false;
    return key.len > 0;
}

static void add_trail(lua_State *L, luaL_Buffer *out, const pl_trail *trail)
{
    if (!trail)
        return;
    add_trail(L, out, trail->up);
    if (!trail->key.ptr) {
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)trail->index);
        luaL_addvalue(out);
    } else if (is_word(trail->key)) {
        luaL_addchar(out, '.');
        luaL_addlstring(out, trail->key.ptr, trail->key.len);
    } else {
        luaL_addstring(out, "[\"");
        luaL_addlstring(out, trail->key.ptr, trail->key.len > 60 ? 60 : trail->key.len);
        luaL_addstring(out, "\"]");
    }
}

const char *pl_push_trail(lua_State *L, const pl_trail *trail, const char *root)
{
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addstring(&out, root);
    add_trail(L, &out, trail);
    luaL_pushresult(&out);
    const char *text = lua_tostring(L, -1);
    return *text == '.' ? text + 1 : *text ? text : "the record";
}

/* ---- sorted keys -------------------------------------------------------------------- */

static int compare_keys(const void *left, const void *right)
{
    const pl_sort_key *a = left, *b = right;
    if (!a->text.ptr || !b->text.ptr) {
        if (a->text.ptr || b->text.ptr)
            return a->text.ptr ? 1 : -1;
        return (a->integer > b->integer) - (a->integer < b->integer);
    }
    return pl_str_cmp(a->text, b->text);
}

static pl_sort_key *new_key(lua_State *L, pl_world *world)
{
    if (world->key_count == world->key_capacity) {
        size_t capacity = world->key_capacity ? world->key_capacity * 2 : 64;
        pl_sort_key *keys = pl_realloc(world->keys, capacity, sizeof *keys);
        if (!keys)
            pl_raise_memory(L);
        world->keys = keys;
        world->key_capacity = capacity;
    }
    return &world->keys[world->key_count++];
}

size_t pl_sorted_keys(lua_State *L, int index, const char *path)
{
    pl_world *world = pl_world_of(L);
    size_t from = world->key_count;
    luaL_checkstack(L, 3, "nested too deep");
    index = lua_absindex(L, index);
    for (lua_pushnil(L); lua_next(L, index);) {
        lua_pop(L, 1);
        pl_sort_key key = {{NULL, 0}, 0};
        if (lua_type(L, -1) == LUA_TSTRING)
            key.text.ptr = lua_tolstring(L, -1, &key.text.len);
        else if (lua_isinteger(L, -1))
            key.integer = lua_tointeger(L, -1);
        else
            luaL_error(L, "%s: a key is a %s; text or an integer was expected", path, pl_type_name(L, -1));
        *new_key(L, world) = key;
    }
    if (world->key_count > from)
        qsort(world->keys + from, world->key_count - from, sizeof *world->keys, compare_keys);
    return from;
}

void pl_push_key(lua_State *L, const pl_sort_key *key)
{
    if (key->text.ptr)
        lua_pushlstring(L, key->text.ptr, key->text.len);
    else
        lua_pushinteger(L, key->integer);
}

/* ---- JSON ------------------------------------------------------------------------------- */

typedef struct builder {
    lua_State *L;
    pl_world *world;
    pl_buf *out;
    int depth;
} builder;

static void build(builder *b, int index, const pl_trail *trail);

static int refuse(builder *b, const pl_trail *trail, const char *problem)
{
    return luaL_error(b->L, "%s: %s", pl_push_trail(b->L, trail, ""), problem);
}

static void build_text(builder *b, pl_str text, const pl_trail *trail)
{
    if (!pl_utf8_valid(text))
        refuse(b, trail, "the text is not UTF-8");
    pl_encode_string(b->out, text);
}

static void build_float(builder *b, double value, const pl_trail *trail)
{
    char text[PL_DOUBLE_TEXT_MAX];
    size_t len = pl_double_format(value, text);
    if (!len)
        refuse(b, trail, "a float that is not finite (a division by zero?) can't be written as JSON");
    pl_buf_add(b->out, text, len);
}

static void build_userdata(builder *b, int index, const pl_trail *trail)
{
    pl_str text;
    switch (pl_magic_at(b->L, index)) {
    case PL_MAGIC_NULL:
        pl_buf_adds(b->out, "null");
        break;
    case PL_MAGIC_NUMBER:
        pl_encode_decimal(b->out, pl_to_decimal(b->L, index));
        break;
    case PL_MAGIC_DECIMAL:
        pl_encode_decimal_string(b->out, pl_to_decimal(b->L, index));
        break;
    case PL_MAGIC_RECORD:
        text = pl_record_text(b->L, pl_check_record(b->L, index)->node);
        pl_buf_add(b->out, text.ptr, text.len);
        break;
    default:
        luaL_error(b->L, "%s: a %s can't be part of a record", pl_push_trail(b->L, trail, ""),
                   pl_type_name(b->L, index));
    }
}

static void build_array(builder *b, int index, size_t count, const pl_trail *trail)
{
    pl_buf_addc(b->out, '[');
    for (size_t i = 1; i <= count; i++) {
        pl_trail here = {trail, {NULL, 0}, (int64_t)i};
        if (i > 1)
            pl_buf_addc(b->out, ',');
        if (lua_rawgeti(b->L, index, (lua_Integer)i) == LUA_TNIL)
            refuse(b, &here, "a list has no element here: use null for a gap");
        build(b, -1, &here);
        lua_pop(b->L, 1);
    }
    pl_buf_addc(b->out, ']');
}

/* The value is on the top of the stack, and popped. */
static void build_member(builder *b, pl_str name, bool *first, const pl_trail *trail)
{
    pl_trail here = {trail, name, 0};
    if (!*first)
        pl_buf_addc(b->out, ',');
    *first = false;
    build_text(b, name, &here);
    pl_buf_addc(b->out, ':');
    build(b, -1, &here);
    lua_pop(b->L, 1);
}

static bool is_emitted(builder *b, int emits, pl_str name)
{
    bool found = false;
    for (lua_Integer i = 1; !found && lua_rawgeti(b->L, emits, i) == LUA_TSTRING; i++) {
        pl_str declared;
        declared.ptr = lua_tolstring(b->L, -1, &declared.len);
        found = pl_str_eq(declared, name);
        lua_pop(b->L, 1);
    }
    if (!found)
        lua_pop(b->L, 1);
    return found;
}

static void build_sorted(builder *b, int index, int emits, bool *first, const pl_trail *trail)
{
    pl_world *world = b->world;
    size_t from = pl_sorted_keys(b->L, index, "a record");
    for (size_t i = from; i < world->key_count; i++) {
        pl_sort_key key = world->keys[i];
        if (!key.text.ptr)
            refuse(b, trail, "a table with both text and number keys is neither an object nor a list");
        if (emits && is_emitted(b, emits, key.text))
            continue;
        pl_push_key(b->L, &key);
        lua_rawget(b->L, index);
        build_member(b, key.text, first, trail);
    }
    world->key_count = from;
}

static size_t count_keys(lua_State *L, int index)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, index); count++)
        lua_pop(L, 1);
    return count;
}

/* emits: index of the list of declared names on the stack, or 0. */
static void build_object(builder *b, int index, int emits, const pl_trail *trail)
{
    bool first = true;
    size_t written = 0;
    pl_buf_addc(b->out, '{');
    for (lua_Integer i = 1; emits && lua_rawgeti(b->L, emits, i) == LUA_TSTRING; i++) {
        pl_str name;
        name.ptr = lua_tolstring(b->L, -1, &name.len);
        lua_pushvalue(b->L, -1);
        if (lua_rawget(b->L, index) == LUA_TNIL) {
            lua_pop(b->L, 1);
        } else {
            build_member(b, name, &first, trail);
            written++;
        }
        lua_pop(b->L, 1);
    }
    if (emits)
        lua_pop(b->L, 1);
    if (!emits || written < count_keys(b->L, index))
        build_sorted(b, index, emits, &first, trail);
    pl_buf_addc(b->out, '}');
}

/* 1: marked as an array, 2: as an object, 0: neither. */
static int marker_of(builder *b, int index)
{
    int kind = 0;
    if (!lua_getmetatable(b->L, index))
        return 0;
    lua_rawgeti(b->L, LUA_REGISTRYINDEX, b->world->ref_array);
    lua_rawgeti(b->L, LUA_REGISTRYINDEX, b->world->ref_object);
    if (lua_rawequal(b->L, -3, -2))
        kind = 1;
    else if (lua_rawequal(b->L, -3, -1))
        kind = 2;
    lua_pop(b->L, 3);
    return kind;
}

static void build_table(builder *b, int index, int emits, const pl_trail *trail)
{
    size_t count = lua_rawlen(b->L, index);
    int marker = marker_of(b, index);
    if (++b->depth > PL_WORLD_DEPTH_MAX)
        refuse(b, trail, "nested deeper than 64 (does a table contain itself?)");
    luaL_checkstack(b->L, 12, "nested too deep");
    if (marker == 1 || (marker == 0 && count > 0)) {
        if (count_keys(b->L, index) != count)
            refuse(b, trail, count ? "a list has gaps or text keys" : "an array has keys that are not 1, 2, 3 ...");
        build_array(b, index, count, trail);
    } else {
        build_object(b, index, emits, trail);
    }
    b->depth--;
}

static void build(builder *b, int index, const pl_trail *trail)
{
    lua_State *L = b->L;
    pl_str text;
    index = lua_absindex(L, index);
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        pl_buf_adds(b->out, lua_toboolean(L, index) ? "true" : "false");
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            pl_buf_printf(b->out, "%lld", (long long)lua_tointeger(L, index));
        else
            build_float(b, lua_tonumber(L, index), trail);
        break;
    case LUA_TSTRING:
        text.ptr = lua_tolstring(L, index, &text.len);
        build_text(b, text, trail);
        break;
    case LUA_TTABLE:
        build_table(b, index, 0, trail);
        break;
    default:
        build_userdata(b, index, trail);
        break;
    }
}

void pl_build_json(lua_State *L, int index, bool ordered, pl_buf *out)
{
    pl_world *world = pl_world_of(L);
    builder b = {L, world, out, 0};
    int emits = 0;
    index = lua_absindex(L, index);
    if (ordered && world->ref_emits) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, world->ref_emits);
        emits = lua_gettop(L);
    }
    if (lua_istable(L, index))
        build_table(&b, index, emits, NULL);
    else
        build(&b, index, NULL);
    if (emits)
        lua_remove(L, emits);
    if (pl_buf_failed(out))
        luaL_error(L, "a built record is larger than %d MiB", (int)(out->max >> 20));
}
