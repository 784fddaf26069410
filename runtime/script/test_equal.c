#include "test_state.h"

#include <base/str.h>

enum { DEPTH_MAX = 32, SHOWN_MAX = 400 };

/* ---- equal ------------------------------------------------------------------------- */

static bool as_decimal(lua_State *L, int index, pl_decimal *out)
{
    const pl_decimal *decimal = pl_to_decimal(L, index);
    pl_str text;
    if (decimal) {
        pl_decimal_copy(decimal, out);
        return true;
    }
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        if (!lua_isinteger(L, index))
            return pl_decimal_from_double(lua_tonumber(L, index), out) == PL_DECIMAL_OK;
        pl_decimal_from_int(lua_tointeger(L, index), out);
        return true;
    case LUA_TSTRING:
        text.ptr = lua_tolstring(L, index, &text.len);
        return pl_decimal_parse(text, out) == PL_DECIMAL_OK;
    default:
        return false;
    }
}

static bool equal_numbers(lua_State *L, int expected, int actual)
{
    pl_decimal a, b;
    if (!pl_to_decimal(L, expected) && lua_type(L, actual) == LUA_TSTRING)
        return false; /* 2000 is not "2000"; decimal "2000" is */
    return as_decimal(L, expected, &a) && as_decimal(L, actual, &b) && pl_decimal_cmp(&a, &b) == 0;
}

static bool equal(lua_State *L, int expected, int actual, int depth);

/* Every key of `left` has an equal value in `right`. swapped: left is the actual value. */
static bool covers(lua_State *L, int left, int right, bool swapped, int depth)
{
    bool same = true;
    for (lua_pushnil(L); same && lua_next(L, left);) {
        lua_pushvalue(L, -2);
        lua_rawget(L, right);
        int top = lua_gettop(L);
        same = swapped ? equal(L, top, top - 1, depth) : equal(L, top - 1, top, depth);
        lua_pop(L, 2);
    }
    if (!same)
        lua_pop(L, 1);
    return same;
}

static bool equal(lua_State *L, int expected, int actual, int depth)
{
    luaL_checkstack(L, 8, "nested too deep");
    if (depth > DEPTH_MAX)
        luaL_error(L, "nested deeper than %d", DEPTH_MAX);
    if (pl_magic_at(L, expected) == pl_absent_marker)
        return lua_isnil(L, actual);
    if (pl_to_decimal(L, expected) || lua_type(L, expected) == LUA_TNUMBER)
        return equal_numbers(L, expected, actual);
    if (lua_istable(L, expected) && lua_istable(L, actual))
        return lua_rawequal(L, expected, actual) ||
               (covers(L, expected, actual, false, depth + 1) && covers(L, actual, expected, true, depth + 1));
    return lua_rawequal(L, expected, actual);
}

bool pl_test_equal(lua_State *L, int expected, int actual)
{
    return equal(L, expected, actual, 0);
}

/* ---- show ---------------------------------------------------------------------------- */

static void show(lua_State *L, int index, pl_buf *out, int depth);

static void show_key(const pl_sort_key *key, pl_buf *out)
{
    bool word = key->text.len > 0;
    for (size_t i = 0; i < key->text.len; i++)
        word = word && (key->text.ptr[i] == '_' || (unsigned)(key->text.ptr[i] | 32) - 'a' < 26 ||
                        (i > 0 && (unsigned)key->text.ptr[i] - '0' < 10));
    pl_buf_printf(out, word ? "%.*s = " : "[\"%.*s\"] = ", (int)key->text.len, key->text.ptr);
}

static void show_table(lua_State *L, int index, pl_buf *out, int depth)
{
    pl_world *world = pl_world_of(L);
    size_t from = pl_sorted_keys(L, index, "table");
    pl_buf_adds(out, "{");
    for (size_t i = from; i < world->key_count; i++) {
        pl_sort_key key = world->keys[i];
        pl_buf_adds(out, i > from ? ", " : " ");
        if (key.text.ptr)
            show_key(&key, out);
        pl_push_key(L, &key);
        lua_rawget(L, index);
        show(L, lua_gettop(L), out, depth + 1);
        lua_pop(L, 1);
    }
    pl_buf_adds(out, world->key_count > from ? " }" : "}");
    world->key_count = from;
}

static void show(lua_State *L, int index, pl_buf *out, int depth)
{
    const char *text = luaL_tolstring(L, index, NULL);
    if (pl_magic_at(L, index) == pl_absent_marker)
        pl_buf_adds(out, "absent");
    else if (lua_type(L, index) == LUA_TSTRING)
        pl_buf_printf(out, "\"%.*s\"", SHOWN_MAX, text);
    else if (pl_to_decimal(L, index))
        pl_buf_printf(out, "decimal \"%s\"", text);
    else if (lua_istable(L, index) && depth < 8 && out->len < 4096)
        show_table(L, index, out, depth);
    else
        pl_buf_adds(out, text);
    lua_pop(L, 1);
}

void pl_test_show(lua_State *L, int index, pl_buf *out)
{
    luaL_checkstack(L, 60, "nested too deep");
    show(L, lua_absindex(L, index), out, 0);
}
