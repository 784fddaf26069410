/* The bare Lua call of file_lua_file: the same script, called by the same Lua library, on C stubs. A field is a text
 * pushed from memory, a write is thrown away, and a decimal is the least that an exact number can be in Lua: a
 * userdata of its own with a metatable, holding a double that costs nothing to compute. No JSON, no exact arithmetic,
 * no text of a number, no sandbox, no input, no output. Usage: limit_lua INPUT COUNT SCRIPT */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 20000, TEXT_MAX = 32 };

typedef struct sample {
    char pair[TEXT_MAX], price[TEXT_MAX];
    size_t pair_len, price_len;
} sample;

static sample samples[SAMPLES];
static const sample *current;
static int ref_decimal;

static int push_decimal(lua_State *L, double value)
{
    double *number = lua_newuserdatauv(L, sizeof *number, 0);
    *number = value;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref_decimal);
    lua_setmetatable(L, -2);
    return 1;
}

static double operand(lua_State *L, int index)
{
    const double *number = lua_touserdata(L, index);
    return number ? *number : (double)lua_tointeger(L, index);
}

static int decimal_new(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    /* Thousands and nothing else: enough to filter the same records. */
    return push_decimal(L, len < 4 ? 0 : (text[0] - '0') * 1000 + (text[1] - '0') * 100 + (text[2] - '0') * 10);
}

static int decimal_sub(lua_State *L)
{
    return push_decimal(L, operand(L, 1) - operand(L, 2));
}

static int decimal_mul(lua_State *L)
{
    return push_decimal(L, operand(L, 1) * operand(L, 2));
}

static int decimal_div(lua_State *L)
{
    return push_decimal(L, operand(L, 1) / operand(L, 2));
}

static int decimal_lt(lua_State *L)
{
    lua_pushboolean(L, operand(L, 1) < operand(L, 2));
    return 1;
}

static int record_index(lua_State *L)
{
    size_t len;
    const char *name = lua_tolstring(L, 2, &len);
    if (len == 5 && memcmp(name, "price", 5) == 0) {
        lua_pushlstring(L, current->price, current->price_len);
    } else {
        lua_pushlstring(L, current->pair, current->pair_len);
    }
    return 1;
}

static int record_newindex(lua_State *L)
{
    (void)L;
    return 0;
}

static void open_stubs(lua_State *L)
{
    static const luaL_Reg decimal[] = {
        {"__sub", decimal_sub}, {"__mul", decimal_mul}, {"__lt", decimal_lt}, {"div", decimal_div}, {NULL, NULL}};
    static const luaL_Reg record[] = {{"__index", record_index}, {"__newindex", record_newindex}, {NULL, NULL}};
    luaL_openlibs(L);
    luaL_newlib(L, decimal);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    ref_decimal = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, decimal_new);
    lua_setglobal(L, "decimal");
    (void)lua_newuserdatauv(L, 0, 0); /* the one record that all calls share */
    luaL_newlib(L, record);
    lua_setmetatable(L, -2);
}

static size_t text_of(const char *line, const char *name, char out[TEXT_MAX])
{
    const char *at = strstr(line, name);
    size_t len = at ? strcspn(at + strlen(name), "\"") : 0;
    if (len == 0 || len >= TEXT_MAX) {
        return 0;
    }
    memcpy(out, at + strlen(name), len);
    return len;
}

static size_t load(const char *path)
{
    char line[4096];
    size_t count = 0;
    FILE *file = fopen(path, "re");
    while (file && count < SAMPLES && fgets(line, sizeof line, file)) {
        sample *s = &samples[count];
        s->pair_len = text_of(line, "\"pair\":\"", s->pair);
        s->price_len = text_of(line, "\"price\":\"", s->price);
        count += s->pair_len && s->price_len;
    }
    if (file) {
        (void)fclose(file);
    }
    return count;
}

int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    size_t count = argc == 4 ? load(argv[1]) : 0;
    if (!L || count == 0) {
        (void)fprintf(stderr,
                      argc == 4 ? "limit_lua: no records in the input\n" : "usage: limit_lua INPUT COUNT SCRIPT\n");
        return 2;
    }
    open_stubs(L);
    int record = lua_gettop(L);
    if (luaL_dofile(L, argv[3]) || lua_getglobal(L, "on_record") != LUA_TFUNCTION) {
        (void)fprintf(stderr, "limit_lua: %s\n", lua_tostring(L, -1));
        return 1;
    }
    int function = lua_gettop(L);
    unsigned long long calls = strtoull(argv[2], NULL, 10), kept = 0;
    for (unsigned long long i = 0; i < calls; i++) {
        current = &samples[i % count];
        lua_pushvalue(L, function);
        lua_pushvalue(L, record);
        lua_pushvalue(L, record); /* the envelope, which the script does not look at */
        if (lua_pcall(L, 2, 1, 0)) {
            (void)fprintf(stderr, "limit_lua: %s\n", lua_tostring(L, -1));
            return 1;
        }
        kept += lua_toboolean(L, -1) ? 1 : 0;
        lua_pop(L, 1);
    }
    (void)printf("%llu of %llu kept\n", kept, calls);
    lua_close(L);
    return 0;
}
