/* decimal: exact numbers for scripts. A userdata holds one pl_decimal; it never changes. */
#include "world.h"

#include <record/json.h>

enum { PLACES_MAX = PL_DECIMAL_SCALE_MAX };

void pl_push_decimal(lua_State *L, const pl_decimal *value, bool number)
{
    size_t size = offsetof(pl_decimal, limb) + value->used * sizeof value->limb[0];
    pl_decimal *decimal = lua_newuserdatauv(L, size, 0);
    decimal->tag = number ? PL_MAGIC_NUMBER : PL_MAGIC_DECIMAL;
    pl_decimal_copy(value, decimal);
    lua_rawgeti(L, LUA_REGISTRYINDEX, pl_world_of(L)->ref_decimal);
    lua_setmetatable(L, -2);
}

/* ---- operands ------------------------------------------------------------------- */

static _Noreturn __attribute__((cold)) void wrong_operand(lua_State *L, int index, const char *what)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        luaL_error(L,
                   "%s: the float %f is not exact: write it as text, decimal \"0.5\", or turn the decimal into a float "
                   "with tonumber(d)",
                   what, lua_tonumber(L, index));
        break;
    case LUA_TSTRING:
        luaL_error(L, "%s on the text \"%s\": write decimal(x)", what, lua_tostring(L, index));
        break;
    default:
        luaL_error(L, "%s: a decimal or an integer was expected, got %s", what, pl_type_name(L, index));
    }
    abort(); /* luaL_error does not return */
}

static __attribute__((noinline)) const pl_decimal *other_operand(lua_State *L, int index, const char *what,
                                                                 pl_decimal *room)
{
    if (!lua_isinteger(L, index))
        wrong_operand(L, index, what);
    pl_decimal_from_int(lua_tointeger(L, index), room);
    return room;
}

/* A decimal, where it is, or an integer, in `room`; raises for all else. */
static inline const pl_decimal *operand(lua_State *L, int index, const char *what, pl_decimal *room)
{
    const pl_decimal *decimal = pl_to_decimal(L, index);
    return decimal ? decimal : other_operand(L, index, what, room);
}

static void parse_operand(lua_State *L, int index, const char *what, pl_decimal *out)
{
    pl_str text;
    text.ptr = lua_tolstring(L, index, &text.len);
    pl_decimal_status status = pl_decimal_parse(text, out);
    if (status != PL_DECIMAL_OK)
        luaL_error(L, "%s: \"%s\" %s", what, text.ptr, pl_decimal_reason(status));
}

void pl_check_decimal(lua_State *L, int index, const char *what, pl_decimal *out)
{
    if (lua_type(L, index) == LUA_TSTRING)
        parse_operand(L, index, what, out);
    else
        pl_decimal_copy(operand(L, index, what, out), out);
}

static __attribute__((noinline, cold)) int no_result(lua_State *L, pl_decimal_status status, const char *what)
{
    if (status == PL_DECIMAL_BY_ZERO)
        return luaL_error(L, "%s: division by zero", what);
    return luaL_error(L, "%s: the result %s", what, pl_decimal_reason(status));
}

static inline int push_result(lua_State *L, pl_decimal_status status, const pl_decimal *value, const char *what)
{
    if (status != PL_DECIMAL_OK)
        return no_result(L, status, what);
    pl_push_decimal(L, value, false);
    return 1;
}

typedef pl_decimal_status (*operation)(const pl_decimal *, const pl_decimal *, pl_decimal *);

static inline int arithmetic(lua_State *L, operation function, const char *what)
{
    pl_decimal first, second, result;
    const pl_decimal *a = operand(L, 1, what, &first), *b = operand(L, 2, what, &second);
    pl_decimal_status status = function(a, b, &result);
    return push_result(L, status, &result, what);
}

static int decimal_add(lua_State *L)
{
    return arithmetic(L, pl_decimal_add, "decimal +");
}

static int decimal_sub(lua_State *L)
{
    return arithmetic(L, pl_decimal_sub, "decimal -");
}

static int decimal_mul(lua_State *L)
{
    return arithmetic(L, pl_decimal_mul, "decimal *");
}

static int decimal_idiv(lua_State *L)
{
    return arithmetic(L, pl_decimal_floor_div, "decimal //");
}

static int decimal_mod(lua_State *L)
{
    return arithmetic(L, pl_decimal_mod, "decimal %");
}

static int decimal_slash(lua_State *L)
{
    return luaL_error(
        L, "decimal /: say how to round: a:div(b) is exact up to 18 digits after the point, a:div(b, places) "
           "rounds once to so many");
}

static int decimal_pow(lua_State *L)
{
    return luaL_error(L, "decimal ^: not available; multiply, or use tonumber(d) ^ n for a float");
}

static int decimal_unm(lua_State *L)
{
    pl_decimal value;
    pl_decimal_neg(operand(L, 1, "decimal -", &value), &value);
    pl_push_decimal(L, &value, false);
    return 1;
}

/* ---- comparison ------------------------------------------------------------------- */

/* Floats compare as their shortest text: what was written as 0.1 is taken to be 0.1. */
static __attribute__((noinline)) const pl_decimal *other_comparand(lua_State *L, int index, pl_decimal *room)
{
    if (lua_type(L, index) != LUA_TNUMBER || lua_isinteger(L, index))
        return other_operand(L, index, "comparison with a decimal", room);
    pl_decimal_status status = pl_decimal_from_double(lua_tonumber(L, index), room);
    if (status != PL_DECIMAL_OK)
        luaL_error(L, "comparison of a decimal with a float that %s", pl_decimal_reason(status));
    return room;
}

static inline const pl_decimal *comparand(lua_State *L, int index, pl_decimal *room)
{
    const pl_decimal *decimal = pl_to_decimal(L, index);
    return decimal ? decimal : other_comparand(L, index, room);
}

static inline int compare(lua_State *L)
{
    pl_decimal first, second;
    const pl_decimal *a = comparand(L, 1, &first), *b = comparand(L, 2, &second);
    return pl_decimal_cmp(a, b);
}

static int decimal_lt(lua_State *L)
{
    lua_pushboolean(L, compare(L) < 0);
    return 1;
}

static int decimal_le(lua_State *L)
{
    lua_pushboolean(L, compare(L) <= 0);
    return 1;
}

static int decimal_eq(lua_State *L)
{
    const pl_decimal *left = pl_to_decimal(L, 1), *right = pl_to_decimal(L, 2);
    lua_pushboolean(L, left && right && pl_decimal_cmp(left, right) == 0);
    return 1;
}

static int decimal_is(lua_State *L)
{
    lua_pushboolean(L, compare(L) == 0);
    return 1;
}

/* ---- text ---------------------------------------------------------------------------- */

static int decimal_tostring(lua_State *L)
{
    char text[PL_DECIMAL_TEXT_MAX];
    pl_decimal value;
    lua_pushlstring(L, text, pl_decimal_format(operand(L, 1, "tostring", &value), text));
    return 1;
}

static int decimal_concat(lua_State *L)
{
    lua_settop(L, 2);
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

/* ---- methods --------------------------------------------------------------------------- */

static uint32_t places_at(lua_State *L, int index)
{
    int whole;
    lua_Integer places = lua_tointegerx(L, index, &whole);
    if (!whole)
        places = luaL_checkinteger(L, index); /* says what is wrong */
    if (places < 0 || places > PLACES_MAX)
        luaL_error(L, "decimal: places are 0 to %d, not %I", PLACES_MAX, (LUAI_UACINT)places);
    return (uint32_t)places;
}

static int decimal_div(lua_State *L)
{
    if (lua_isnoneornil(L, 3))
        return arithmetic(L, pl_decimal_div, "decimal:div");
    pl_decimal first, second, result;
    const pl_decimal *a = operand(L, 1, "decimal:div", &first), *b = operand(L, 2, "decimal:div", &second);
    pl_decimal_status status = pl_decimal_div_to(a, b, places_at(L, 3), &result);
    return push_result(L, status, &result, "decimal:div");
}

static int decimal_round(lua_State *L)
{
    pl_decimal value;
    const pl_decimal *whole = operand(L, 1, "decimal:round", &value);
    uint32_t places = lua_isnoneornil(L, 2) ? 0 : places_at(L, 2);
    pl_decimal_status status = pl_decimal_round(whole, places, &value);
    return push_result(L, status, &value, "decimal:round");
}

static int decimal_abs(lua_State *L)
{
    pl_decimal value;
    pl_decimal_abs(operand(L, 1, "decimal:abs", &value), &value);
    pl_push_decimal(L, &value, false);
    return 1;
}

static int decimal_trim(lua_State *L)
{
    pl_decimal value;
    pl_decimal_trim(operand(L, 1, "decimal:trim", &value), &value);
    pl_push_decimal(L, &value, false);
    return 1;
}

static int decimal_scale(lua_State *L)
{
    pl_decimal value;
    lua_pushinteger(L, operand(L, 1, "decimal:scale", &value)->scale);
    return 1;
}

static int decimal_number(lua_State *L)
{
    pl_decimal value;
    pl_push_decimal(L, operand(L, 1, "decimal:number", &value), true);
    return 1;
}

/* ---- decimal(x), decimal.min, decimal.max ------------------------------------------------ */

static int decimal_call(lua_State *L)
{
    pl_decimal value;
    const pl_decimal *given = &value;
    switch (lua_type(L, 2)) {
    case LUA_TSTRING:
        parse_operand(L, 2, "decimal", &value);
        break;
    case LUA_TTABLE:
        return pl_declare_decimal(L);
    default:
        given = operand(L, 2, "decimal", &value);
        if (given != &value && given->tag == PL_MAGIC_DECIMAL) {
            lua_settop(L, 2);
            return 1;
        }
        break;
    }
    pl_push_decimal(L, given, false);
    return 1;
}

/* nil instead of an error: for checking what came in. */
static int decimal_parse(lua_State *L)
{
    pl_decimal value;
    const pl_decimal *decimal = pl_to_decimal(L, 1);
    pl_decimal_status status = PL_DECIMAL_SYNTAX;
    if (decimal) {
        status = PL_DECIMAL_OK;
    } else if (lua_isinteger(L, 1)) {
        pl_decimal_from_int(lua_tointeger(L, 1), &value);
        status = PL_DECIMAL_OK;
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        pl_str text;
        text.ptr = lua_tolstring(L, 1, &text.len);
        status = pl_decimal_parse(text, &value);
    }
    if (status == PL_DECIMAL_OK)
        pl_push_decimal(L, decimal ? decimal : &value, false);
    else
        lua_pushnil(L);
    return 1;
}

static int extreme(lua_State *L, int sign)
{
    int count = lua_gettop(L), best = 1;
    luaL_checkany(L, 1);
    pl_decimal kept, room;
    const pl_decimal *found = operand(L, 1, "decimal.min/max", &kept);
    for (int i = 2; i <= count; i++) {
        const pl_decimal *value = operand(L, i, "decimal.min/max", &room);
        if (pl_decimal_cmp(value, found) * sign <= 0)
            continue;
        if (value == &room)
            kept = room;
        found = value == &room ? &kept : value;
        best = i;
    }
    if (pl_to_decimal(L, best))
        lua_pushvalue(L, best);
    else
        pl_push_decimal(L, found, false);
    return 1;
}

static int decimal_min(lua_State *L)
{
    return extreme(L, -1);
}

static int decimal_max(lua_State *L)
{
    return extreme(L, 1);
}

static int no_such_method(lua_State *L)
{
    return luaL_error(L, "a decimal has no '%s': it has div, round, abs, is, trim, scale, number",
                      luaL_tolstring(L, 2, NULL));
}

static void open_metatable(lua_State *L)
{
    static const luaL_Reg events[] = {
        {"__add", decimal_add},       {"__sub", decimal_sub}, {"__mul", decimal_mul}, {"__div", decimal_slash},
        {"__idiv", decimal_idiv},     {"__mod", decimal_mod}, {"__pow", decimal_pow}, {"__unm", decimal_unm},
        {"__lt", decimal_lt},         {"__le", decimal_le},   {"__eq", decimal_eq},   {"__tostring", decimal_tostring},
        {"__concat", decimal_concat}, {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"div", decimal_div},   {"round", decimal_round}, {"abs", decimal_abs},       {"is", decimal_is},
        {"trim", decimal_trim}, {"scale", decimal_scale}, {"number", decimal_number}, {NULL, NULL},
    };
    luaL_newlib(L, events);
    lua_pushliteral(L, "decimal");
    lua_setfield(L, -2, "__name");
    lua_pushliteral(L, "decimal");
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, methods);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, no_such_method);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    pl_world_of(L)->ref_decimal = luaL_ref(L, LUA_REGISTRYINDEX);
}

void pl_open_decimal(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"min", decimal_min}, {"max", decimal_max}, {"parse", decimal_parse}, {NULL, NULL}};
    open_metatable(L);
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, decimal_call);
    lua_setfield(L, -2, "__call");
    lua_setmetatable(L, -2);
    lua_setglobal(L, "decimal");
}
