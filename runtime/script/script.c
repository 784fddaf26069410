#include "script_state.h"

#include <base/fs.h>
#include <base/mem.h>

/* ---- loading ------------------------------------------------------------------------ */

static void read_script(lua_State *L, const pl_script_setup *setup)
{
    pl_script *script = pl_script_of(L);
    pl_error error = {.struct_size = sizeof error};
    if (setup->text) {
        pl_world_load(L, PL_S(setup->text), setup->path, setup->first_line > 0 ? setup->first_line : 1);
        return;
    }
    pl_buf_clear(&script->world.text);
    pl_status status = pl_fs_read(setup->path, &script->world.text, &error);
    if (status == PL_END)
        (void)pl_fail(&error, PL_BAD_CONFIG, "there is no script %s", setup->path);
    if (status != PL_OK)
        pl_script_stop(L, &error);
    pl_world_load(L, pl_buf_str(&script->world.text), setup->path, 1);
}

/* The function is on the top of the stack, and popped. */
static void keep_on_record(lua_State *L, pl_script *script)
{
    lua_Debug function;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">u", &function);
    script->takes_envelope = function.isvararg || function.nparams > 1;
    script->ref_on_record = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int load_script(lua_State *L)
{
    pl_script *script = pl_script_of(L);
    const pl_script_setup *setup = script->setup;
    lua_pushglobaltable(L);
    int globals = lua_gettop(L);
    script->world.loading = true;
    pl_open_flow(L);
    pl_open_options(L);
    if (setup->state.ptr)
        pl_keep_restore(L, setup->state);
    else
        lua_newtable(L);
    lua_setglobal(L, "state");
    read_script(L, setup);
    lua_call(L, 0, 0);
    pl_options_finish(L);
    lua_pushliteral(L, "on_record");
    if (lua_rawget(L, globals) == LUA_TFUNCTION)
        keep_on_record(L, script);
    else if (!lua_isnil(L, -1))
        luaL_error(L, "%s: on_record is a %s; a function was expected", setup->path, pl_type_name(L, -1));
    return 0;
}

static bool copy_names(pl_script *script, const pl_script_setup *setup)
{
    script->path = pl_strndup(setup->path, strlen(setup->path));
    script->component = setup->component ? pl_strndup(setup->component, strlen(setup->component)) : NULL;
    script->library = setup->library ? pl_strndup(setup->library, strlen(setup->library)) : NULL;
    return script->path && (script->component || !setup->component) && (script->library || !setup->library);
}

static bool open_script(pl_script *script, const pl_script_setup *setup)
{
    if (!copy_names(script, setup))
        return false;
    script->arena = pl_arena_new(4096);
    if (!script->arena)
        return false;
    pl_world_setup world = {.component = script->component,
                            .library = script->library,
                            .clock = setup->clock,
                            .memory_bytes = setup->memory_bytes,
                            .time_limit_ns = setup->time_limit_ns,
                            .seed = setup->seed};
    if (!pl_world_init(&script->world, &world))
        return false;
    script->world.codec = (int)setup->codec;
    return true;
}

/* describe_to: where options { } writes its help, or NULL. */
static pl_status load(pl_script **out, const pl_script_setup *setup, pl_buf *describe_to, pl_error *error)
{
    pl_script *script = pl_calloc(1, sizeof *script);
    *out = script;
    if (!script || !open_script(script, setup))
        return pl_fail(error, PL_BAD_CONFIG, "%s: not enough memory to open the script (its cap is %zu bytes)",
                       setup->path, setup->memory_bytes ? setup->memory_bytes : PL_WORLD_MEMORY);
    script->host = setup->host;
    script->setup = setup;
    script->describe_to = describe_to;
    script->ref_on_record = LUA_NOREF;
    pl_status status = pl_world_call(&script->world, load_script, error);
    script->setup = NULL;
    if (status != PL_OK && script->stopped)
        *error = script->stop;
    error->error_class = PL_BAD_CONFIG;
    return status;
}

pl_script *pl_script_new(const pl_script_setup *setup, pl_error *error)
{
    pl_script *script;
    if (load(&script, setup, NULL, error) != PL_OK)
        pl_script_free(&script);
    return script;
}

void pl_script_serve(pl_script *script, const pl_script_host *host)
{
    script->host = host;
}

pl_status pl_script_describe(const pl_script_setup *setup, pl_buf *out, pl_error *error)
{
    pl_script_setup alone = {
        .path = setup->path, .text = setup->text, .first_line = setup->first_line, .library = setup->library};
    pl_script *script;
    pl_status status = load(&script, &alone, out, error);
    if (script && script->described)
        status = PL_OK;
    pl_script_free(&script);
    return status;
}

void pl_script_free(pl_script **script)
{
    if (!*script)
        return;
    pl_world_release(&(*script)->world);
    pl_arena_free(&(*script)->arena);
    pl_free((*script)->component);
    pl_free((*script)->path);
    pl_free((*script)->library);
    pl_free(*script);
    *script = NULL;
}

/* ---- what it declared ----------------------------------------------------------------- */

bool pl_script_has_on_record(const pl_script *script)
{
    return script->ref_on_record != LUA_NOREF;
}

const char *const *pl_script_emits(const pl_script *script)
{
    return script->emits;
}

size_t pl_script_timer_count(const pl_script *script)
{
    return script->timer_count;
}

int64_t pl_script_timer_period(const pl_script *script, size_t index)
{
    return index < script->timer_count ? script->timers[index].period_ns : 0;
}

/* ---- calls ------------------------------------------------------------------------------- */

/* on_record(r, m); a deferred function and a timer get m alone. */
static pl_status call(pl_script *script, int ref, const pl_record *record, const pl_record *envelope, pl_arena *arena,
                      pl_error *error)
{
    pl_world *world = &script->world;
    lua_State *L = world->L;
    int first = PL_WORLD_HANDLER + 1;
    script->stopped = false;
    pl_world_begin(world, record, envelope, arena);
    pl_world_enter(world);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    if (record)
        pl_push_record(L);
    if (!record || script->takes_envelope)
        pl_push_envelope(L);
    int status = lua_pcall(L, lua_gettop(L) - first, LUA_MULTRET, PL_WORLD_HANDLER);
    if (status == LUA_OK)
        status = pl_give_results(script, first);
    pl_status result = pl_world_leave(world, status, error);
    pl_world_end(world);
    if (result != PL_OK && script->stopped)
        *error = script->stop;
    return result;
}

pl_status pl_script_record(pl_script *script, const pl_record *record, pl_arena *arena, pl_error *error)
{
    if (script->ref_on_record == LUA_NOREF)
        return pl_fail(error, PL_HALT, "%s has no on_record", script->path);
    return call(script, script->ref_on_record, record, NULL, arena, error);
}

pl_status pl_script_deferred(pl_script *script, int ref, const pl_record *envelope, pl_arena *arena, pl_error *error)
{
    pl_status status = call(script, ref, NULL, envelope, arena, error);
    pl_script_forget(script, ref);
    return status;
}

pl_status pl_script_timer(pl_script *script, size_t index, pl_arena *arena, pl_error *error)
{
    const pl_clock *clock = script->world.clock;
    pl_record envelope = {.time_unix_ns = clock->unix_ns(clock)};
    if (index >= script->timer_count)
        return pl_fail(error, PL_HALT, "%s has no timer %zu", script->path, index);
    return call(script, script->timers[index].ref, NULL, &envelope, arena, error);
}

void pl_script_forget(pl_script *script, int ref)
{
    luaL_unref(script->world.L, LUA_REGISTRYINDEX, ref);
}

pl_str pl_script_reasons(const pl_script *script)
{
    return pl_buf_str(&script->world.message);
}

/* ---- state --------------------------------------------------------------------------------- */

static int save_state(lua_State *L)
{
    if (lua_getglobal(L, "state") != LUA_TTABLE)
        return luaL_error(L, "state is a %s; it must stay a table", pl_type_name(L, -1));
    pl_keep_save(L, -1, pl_script_of(L)->save_to);
    return 0;
}

pl_status pl_script_save(pl_script *script, pl_buf *out, pl_error *error)
{
    size_t before = out->len;
    script->save_to = out;
    pl_status status = pl_world_call(&script->world, save_state, error);
    script->save_to = NULL;
    if (status == PL_OK)
        return PL_OK;
    out->len = before;
    if (out->data)
        out->data[before] = '\0';
    error->error_class = PL_HALT;
    return PL_FAILED;
}

size_t pl_script_heap_bytes(const pl_script *script)
{
    return script->world.heap.used;
}
