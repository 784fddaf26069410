/* options { name = duration { "20m", doc = ".." }, ... }: a script's options as a pl_option table, so that they are
 * checked, explained and filled by the same code as a plugin's. */
#include "script_state.h"

#include <base/str.h>
#include <base/units.h>
#include <config/options.h>

enum { SLOT_BYTES = 16 }; /* of the config struct: the largest C type of an option is pl_array */

static const struct {
    const char *name;
    int32_t type;
} types[] = {
    {"duration", PL_OPT_DURATION_NS},
    {"integer", PL_OPT_INT},
    {"number", PL_OPT_FLOAT},
    {"percent", PL_OPT_PERCENT},
    {"decimal", PL_OPT_DECIMAL},
    {"string", PL_OPT_STR},
    {"boolean", PL_OPT_BOOL},
    {"enum", PL_OPT_ENUM},
    {"list", PL_OPT_LIST},
    {"size", PL_OPT_SIZE},
    {"field", PL_OPT_FIELD},
};
enum { TYPE_COUNT = sizeof types / sizeof *types };

/* ---- declarators ------------------------------------------------------------------------ */

static const char type_key; /* its address: the key in a declaration under which its type stands */

/* The argument (a table, or just the default) is at index; leaves the declaration. */
static int declare(lua_State *L, int index, int type)
{
    lua_settop(L, index);
    if (!lua_istable(L, index)) {
        lua_createtable(L, 1, 1);
        lua_insert(L, index);
        lua_rawseti(L, index, 1);
    }
    lua_pushinteger(L, type);
    lua_rawsetp(L, index, &type_key);
    return 1;
}

static int declarator(lua_State *L)
{
    return declare(L, 1, (int)lua_tointeger(L, lua_upvalueindex(1)));
}

static int called_declarator(lua_State *L)
{
    return declare(L, 2, (int)lua_tointeger(L, lua_upvalueindex(1)));
}

int pl_declare_decimal(lua_State *L)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (types[i].type == PL_OPT_DECIMAL)
            return declare(L, 2, i);
    return 0;
}

/* ---- a declaration -> pl_option ------------------------------------------------------------ */

typedef struct reading {
    lua_State *L;
    pl_script *script;
    const char *name; /* of the option */
    int index;        /* of its declaration */
} reading;

static void *keep_bytes(reading *in, size_t size)
{
    void *memory = pl_arena_alloc(in->script->arena, size);
    if (!memory)
        pl_raise_memory(in->L);
    memset(memory, 0, size);
    return memory;
}

static const char *keep_top(reading *in)
{
    const char *text = pl_script_keep(in->L, lua_tostring(in->L, -1));
    lua_pop(in->L, 1);
    return text;
}

static int bad(reading *in, const char *problem)
{
    return luaL_error(in->L, "options: '%s': %s", in->name, problem);
}

/* YAML for the value at the top of the stack, which it replaces by a string. */
static void push_yaml(reading *in, int32_t type)
{
    lua_State *L = in->L;
    int value = lua_gettop(L);
    if (lua_type(L, value) == LUA_TSTRING && (type == PL_OPT_STR || type == PL_OPT_ENUM || type == PL_OPT_FIELD)) {
        luaL_Buffer out;
        luaL_buffinit(L, &out);
        luaL_addchar(&out, '"');
        for (const char *c = lua_tostring(L, value); *c; c++) {
            if (*c == '"' || *c == '\\')
                luaL_addchar(&out, '\\');
            luaL_addstring(&out, *c == '\n' ? "\\n" : *c == '\t' ? "\\t" : (char[]){*c, '\0'});
        }
        luaL_addchar(&out, '"');
        luaL_pushresult(&out);
    } else if (lua_istable(L, value)) {
        bad(in, "the default of this type can't be a table");
    } else {
        luaL_tolstring(L, value, NULL);
    }
    lua_remove(L, value);
}

static void push_yaml_list(reading *in, int32_t type)
{
    lua_State *L = in->L;
    int list = lua_gettop(L);
    if (!lua_istable(L, list)) {
        push_yaml(in, type);
        return;
    }
    lua_pushliteral(L, "[");
    lua_Integer count = (lua_Integer)lua_rawlen(L, list);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        push_yaml(in, type);
        lua_pushstring(L, i < count ? ", " : "");
        lua_concat(L, 3);
    }
    lua_pushliteral(L, "]");
    lua_concat(L, 2);
    lua_remove(L, list);
}

static double read_bound(reading *in, const char *key, int32_t type)
{
    lua_State *L = in->L;
    double bound = 0;
    pl_error error = {.message = ""};
    int64_t unit = 0;
    int kind = lua_getfield(L, in->index, key);
    const pl_decimal *decimal = pl_to_decimal(L, -1);
    if (kind == LUA_TSTRING && (type == PL_OPT_DURATION_NS || type == PL_OPT_SIZE)) {
        pl_status status = type == PL_OPT_SIZE ? pl_parse_size(PL_S(lua_tostring(L, -1)), &unit, &error)
                                               : pl_parse_duration(PL_S(lua_tostring(L, -1)), &unit, &error);
        if (status != PL_OK)
            bad(in, error.message);
        bound = (double)unit;
    } else if (decimal) {
        bound = pl_decimal_to_double(decimal);
    } else if (kind == LUA_TNUMBER) {
        bound = lua_tonumber(L, -1);
    } else if (kind == LUA_TSTRING) {
        pl_decimal value;
        pl_check_decimal(L, -1, key, &value);
        bound = pl_decimal_to_double(&value);
    } else {
        bad(in, "min and max are numbers, or text as the option itself takes it (\"5m\")");
    }
    lua_pop(L, 1);
    return bound;
}

static bool has_key(reading *in, const char *key)
{
    bool there = lua_getfield(in->L, in->index, key) != LUA_TNIL;
    lua_pop(in->L, 1);
    return there;
}

static void read_range(reading *in, pl_option *option)
{
    bool has_min = has_key(in, "min"), has_max = has_key(in, "max");
    if (!has_min && !has_max)
        return;
    option->min = has_min ? read_bound(in, "min", option->type) : -1e300;
    option->max = has_max ? read_bound(in, "max", option->type) : 1e300;
}

static const char *read_text(reading *in, const char *key)
{
    int kind = lua_getfield(in->L, in->index, key);
    if (kind == LUA_TNIL) {
        lua_pop(in->L, 1);
        return NULL;
    }
    luaL_tolstring(in->L, -1, NULL);
    lua_remove(in->L, -2);
    return keep_top(in);
}

static void read_choices(reading *in, pl_option *option)
{
    lua_Integer count = (lua_Integer)lua_rawlen(in->L, in->index);
    const char **choices = keep_bytes(in, ((size_t)count + 1) * sizeof *choices);
    if (count == 0)
        bad(in, "enum { \"a\", \"b\" }: the choices are missing; the first is the default");
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(in->L, in->index, i) != LUA_TSTRING)
            bad(in, "the choices of an enum are text");
        choices[i - 1] = keep_top(in);
    }
    option->choices = choices;
}

static void read_element(reading *in, pl_option *option)
{
    pl_option *element = keep_bytes(in, sizeof *element);
    const char *of = read_text(in, "of");
    element->type = PL_OPT_STR;
    for (size_t i = 0; of && i < TYPE_COUNT; i++)
        if (strcmp(types[i].name, of) == 0)
            element->type = types[i].type;
    if (of && element->type == PL_OPT_STR && strcmp(of, "string") != 0)
        bad(in, "list: `of` is the name of a type: \"string\", \"integer\", \"duration\" ...");
    if (element->type == PL_OPT_LIST || element->type == PL_OPT_ENUM)
        bad(in, "a list of lists or of enums is not available");
    option->fields = element;
    option->field_count = 1;
    option->element_size = SLOT_BYTES;
}

static void read_default(reading *in, pl_option *option)
{
    lua_State *L = in->L;
    if (lua_rawgeti(L, in->index, 1) == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (option->type == PL_OPT_LIST)
        push_yaml_list(in, option->fields->type);
    else
        push_yaml(in, option->type);
    option->fallback = keep_top(in);
}

static void check_keys(reading *in)
{
    static const char *const known[] = {"doc", "min", "max", "required", "example", "of", NULL};
    lua_State *L = in->L;
    for (lua_pushnil(L); lua_next(L, in->index);) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            continue;
        const char *key = lua_tostring(L, -1);
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        const char *near = known[i] ? NULL : pl_nearest(key, known);
        if (!known[i])
            luaL_error(
                L,
                "options: '%s': '%s' is not known here%s%s%s; a declaration has a default, doc, min, max, required, "
                "example, of",
                in->name, key, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
}

/* The declaration is at the top of the stack. */
static void read_option(reading *in, pl_option *option)
{
    lua_State *L = in->L;
    in->index = lua_gettop(L);
    if (!lua_istable(L, in->index) || lua_rawgetp(L, in->index, &type_key) != LUA_TNUMBER)
        bad(in, "a type was expected: duration, integer, number, percent, decimal, string, boolean, enum, list, size, "
                "field");
    option->type = types[lua_tointeger(L, -1)].type;
    lua_pop(L, 1);
    check_keys(in);
    option->doc = read_text(in, "doc");
    option->example = read_text(in, "example");
    lua_getfield(L, in->index, "required");
    bool required = lua_toboolean(L, -1);
    lua_pop(L, 1);
    option->flags = required ? PL_OPT_REQUIRED : 0;
    read_range(in, option);
    if (option->type == PL_OPT_ENUM)
        read_choices(in, option);
    if (option->type == PL_OPT_LIST)
        read_element(in, option);
    if (!required)
        read_default(in, option);
}

/* ---- values ------------------------------------------------------------------------------------ */

static void push_option_value(reading *in, const pl_option *option, const char *slot);

static void push_list(reading *in, const pl_option *option, const pl_array *array)
{
    lua_createtable(in->L, (int)array->count, 0);
    for (size_t i = 0; i < array->count; i++) {
        push_option_value(in, option->fields, (const char *)array->items + i * option->element_size);
        lua_rawseti(in->L, -2, (lua_Integer)i + 1);
    }
}

static void push_number_text(reading *in, const char *text)
{
    pl_decimal value;
    pl_decimal_status status = pl_decimal_parse(PL_S(text), &value);
    if (status != PL_DECIMAL_OK)
        luaL_error(in->L, "option '%s': '%s' %s", in->name, text, pl_decimal_reason(status));
    pl_push_decimal(in->L, &value, false);
}

static void push_option_value(reading *in, const pl_option *option, const char *slot)
{
    const void *at = slot; /* slots are 16 bytes apart in memory aligned for any type */
    const char *text;
    switch (option->type) {
    case PL_OPT_INT:
    case PL_OPT_DURATION_NS:
    case PL_OPT_SIZE:
        lua_pushinteger(in->L, *(const int64_t *)at);
        return;
    case PL_OPT_FLOAT:
        lua_pushnumber(in->L, *(const double *)at);
        return;
    case PL_OPT_BOOL:
        lua_pushboolean(in->L, *(const bool *)at);
        return;
    case PL_OPT_LIST:
        push_list(in, option, at);
        return;
    default:
        break;
    }
    text = *(const char *const *)at;
    if (!text)
        lua_pushnil(in->L);
    else if (option->type == PL_OPT_DECIMAL || option->type == PL_OPT_PERCENT)
        push_number_text(in, text);
    else
        lua_pushstring(in->L, text);
}

/* An option that was not given and has no default is nil in Lua, whatever zero its slot holds. */
static bool is_given(const pl_script *script, const pl_option *option)
{
    const pl_node *node = pl_node_get(script->setup->with, option->name);
    return option->fallback || (node && node->type != PL_NODE_NULL) || option->type == PL_OPT_STR;
}

static void fill_with(lua_State *L, const pl_option *options, size_t count, const char *config)
{
    pl_script *script = pl_script_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, script->ref_with);
    int with = lua_gettop(L);
    lua_getmetatable(L, with);
    lua_getfield(L, -1, "declared");
    for (size_t i = 0; i < count; i++) {
        reading in = {L, script, options[i].name, 0};
        lua_pushstring(L, options[i].name);
        lua_pushboolean(L, true);
        lua_rawset(L, with + 2);
        if (!is_given(script, &options[i]))
            continue;
        lua_pushstring(L, options[i].name);
        push_option_value(&in, &options[i], config + options[i].offset);
        lua_rawset(L, with);
    }
    lua_settop(L, with - 1);
}

/* ---- checking the pipeline file's `with` ----------------------------------------------------------- */

static int refuse_options(lua_State *L, pl_diags *diags, size_t before)
{
    pl_error error = {.struct_size = sizeof error, .error_class = PL_BAD_CONFIG};
    const pl_diag *diag = pl_diags_count(diags) > before ? pl_diags_get(diags, before) : NULL;
    if (diag && diag->file)
        (void)pl_fail(&error, PL_BAD_CONFIG, "%s:%d:%d: %s", diag->file, diag->line, diag->column, diag->message);
    else
        (void)pl_fail(&error, PL_BAD_CONFIG, "%s", diag ? diag->message : "the options are wrong");
    return pl_script_stop(L, &error);
}

/* Messages go to the setup's diags; without those, the first one becomes the error. */
static void check_with(lua_State *L, const pl_option *options, size_t count, void *config)
{
    pl_script *script = pl_script_of(L);
    const pl_script_setup *setup = script->setup;
    const char *what = lua_pushfstring(L, "%s%s%s(%s)", setup->component ? "transform '" : "",
                                       setup->component ? setup->component : "",
                                       setup->component ? "' " : "the options of ", setup->path);
    pl_option_table table = {options, count, sizeof *options};
    const pl_node *at = setup->at ? setup->at : setup->with;
    pl_diags *diags = setup->diags ? setup->diags : pl_diags_new();
    size_t before = diags ? pl_diags_count(diags) : 0;
    bool good = pl_options_check_and_fill(&table, setup->with, config, script->arena, at, what, diags);
    pl_error error = {.struct_size = sizeof error};
    if (!good && !setup->diags) { /* a raise would leak the diags: keep the message first */
        const pl_diag *diag = diags && pl_diags_count(diags) ? pl_diags_get(diags, 0) : NULL;
        (void)pl_fail(&error, PL_BAD_CONFIG, "%s", diag ? diag->message : "the options are wrong");
    }
    if (!setup->diags)
        pl_diags_free(&diags);
    if (!good && setup->diags)
        refuse_options(L, diags, before);
    else if (!good)
        pl_script_stop(L, &error);
    lua_pop(L, 1);
}

static int options(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    pl_world *world = &script->world;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (!world->loading || script->has_options)
        return luaL_error(L, "options: once, while the script loads");
    script->has_options = true;
    size_t from = pl_sorted_keys(L, 1, "options"), count = world->key_count - from;
    if (count > PL_SCRIPT_OPTIONS_MAX)
        return luaL_error(L, "options: more than %d", PL_SCRIPT_OPTIONS_MAX);
    reading in = {L, script, "", 0};
    pl_option *table = keep_bytes(&in, (count + 1) * sizeof *table);
    char *config = keep_bytes(&in, (count + 1) * SLOT_BYTES);
    for (size_t i = 0; i < count; i++) {
        pl_sort_key key = world->keys[from + i];
        if (!key.text.ptr)
            return luaL_error(L, "options: names are text: options { max_age = duration { \"20m\" } }");
        in.name = table[i].name = pl_script_keep(L, key.text.ptr);
        table[i].offset = i * SLOT_BYTES;
        pl_push_key(L, &key);
        lua_rawget(L, 1);
        read_option(&in, &table[i]);
        lua_settop(L, 1);
    }
    world->key_count = from;
    if (script->describe_to) {
        pl_option_table described = {table, count, sizeof *table};
        pl_error none = {.struct_size = sizeof none};
        pl_options_describe(&described, 2, script->describe_to);
        script->described = true;
        return pl_script_stop(L, &none);
    }
    check_with(L, table, count, config);
    fill_with(L, table, count, config);
    return 0;
}

void pl_options_finish(lua_State *L)
{
    const pl_script *script = pl_script_of(L);
    if (!script->has_options && script->setup->with)
        check_with(L, NULL, 0, NULL);
}

/* ---- with ---------------------------------------------------------------------------------------------- */

static int with_index(lua_State *L)
{
    const char *words[PL_SCRIPT_OPTIONS_MAX + 1];
    size_t count = 0;
    const char *name = luaL_tolstring(L, 2, NULL);
    lua_getmetatable(L, 1);
    lua_getfield(L, -1, "declared");
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pop(L, 1);
    for (lua_pushnil(L); lua_next(L, -2) && count < PL_SCRIPT_OPTIONS_MAX;) {
        lua_pop(L, 1);
        words[count++] = lua_tostring(L, -1);
    }
    words[count] = NULL;
    const char *near = pl_nearest(name, words);
    if (near)
        return luaL_error(L, "with.%s: there is no such option: did you mean '%s'?", name, near);
    return luaL_error(L, "with.%s: there is no such option; declare it with options { ... }", name);
}

static int with_newindex(lua_State *L)
{
    return luaL_error(L, "with.%s can't be set: options come from the pipeline file", luaL_tolstring(L, 2, NULL));
}

static void set_called_declarator(lua_State *L, const char *global, int type)
{
    lua_getglobal(L, global);
    lua_createtable(L, 0, 1);
    lua_pushinteger(L, type);
    lua_pushcclosure(L, called_declarator, 1);
    lua_setfield(L, -2, "__call");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static int with_pairs(lua_State *L)
{
    lua_getglobal(L, "next");
    lua_rawgeti(L, LUA_REGISTRYINDEX, pl_script_of(L)->ref_with);
    return 2;
}

/* `with` stays empty, so that each write to it is seen; the values stand in a table behind it, and what is not there
 * either is not declared. */
static void open_with(lua_State *L)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_newtable(L);
    lua_setfield(L, -2, "declared");
    lua_pushcfunction(L, with_index);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    pl_script_of(L)->ref_with = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 0, 4);
    lua_insert(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, with_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, with_pairs);
    lua_setfield(L, -2, "__pairs");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setglobal(L, "with");
}

void pl_open_options(lua_State *L)
{
    for (int i = 0; i < TYPE_COUNT; i++) {
        if (types[i].type == PL_OPT_DECIMAL)
            continue; /* decimal { ... } is told from decimal "1" by its argument: decimal_lua.c */
        if (types[i].type == PL_OPT_STR) {
            set_called_declarator(L, "string", i);
            continue;
        }
        lua_pushinteger(L, i);
        lua_pushcclosure(L, declarator, 1);
        lua_setglobal(L, types[i].name);
    }
    lua_pushcfunction(L, options);
    lua_setglobal(L, "options");
    open_with(L);
}
